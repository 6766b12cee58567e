//! Namespaces by the names that they have on every node, since numbers are a node's own: [`Spaces`].

use std::sync::Arc;

use ahash::AHashMap;

use crate::app::namespaces::Registry;
use crate::ident::{NamespaceId, Reach};
use crate::protocol::cluster::NamespaceName;

/// See the module.
#[derive(Clone)]
pub struct Spaces {
    /// The apps', by number.
    apps: Vec<&'static str>,
    registry: Arc<Registry>,
    /// Those of them that were asked for.
    made: AHashMap<NamespaceId, Box<str>>,
}

impl Spaces {
    /// Of a server whose apps have these.
    pub fn new(apps: Vec<&'static str>, registry: Arc<Registry>) -> Spaces {
        Spaces {
            apps,
            registry,
            made: AHashMap::new(),
        }
    }

    /// What a reach has, by name.
    pub fn names(&mut self, reach: Reach) -> Vec<NamespaceName> {
        let name = |namespace: NamespaceId| match self.apps.get(namespace.0 as usize) {
            Some(name) => Some(NamespaceName::Apps(Box::from(*name))),
            None => self.made(namespace).map(NamespaceName::Made),
        };
        reach.namespaces().filter_map(name).collect()
    }

    /// The name of one in what Redis keeps.
    pub fn key_name(&mut self, namespace: NamespaceId) -> String {
        match self.apps.get(namespace.0 as usize) {
            Some(name) => (*name).to_owned(),
            None => format!("+{}", self.made(namespace).unwrap_or_default()),
        }
    }

    fn made(&mut self, namespace: NamespaceId) -> Option<Box<str>> {
        if let Some(name) = self.made.get(&namespace) {
            return Some(name.clone());
        }
        let name = self.registry.name(namespace)?;
        self.made.insert(namespace, name.clone());
        Some(name)
    }

    /// What of these is on this node; `None` if that cannot be reached together.
    pub fn reach(&self, names: &[NamespaceName]) -> Option<Reach> {
        let mut reach = Reach::default();
        for name in names {
            let namespace = match name {
                NamespaceName::Apps(name) => {
                    let place = self.apps.iter().position(|known| **known == **name);
                    place.map(|place| NamespaceId(place as u32))
                }
                NamespaceName::Made(name) => self.registry.find(name),
            };
            if let Some(namespace) = namespace {
                reach = reach.with(namespace)?;
            }
        }
        Some(reach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_nodes_have_in_common() {
        let mut one = Spaces::new(vec!["relay", "push"], Registry::new(2));
        let other = Spaces::new(vec!["chat", "push"], Registry::new(2));
        let both = Reach::of(NamespaceId(0)).with(NamespaceId(1));
        let names = one.names(both.expect("both have bits"));
        assert_eq!(names.len(), 2);
        assert_eq!(one.reach(&names), both);
        assert_eq!(other.reach(&names), Some(Reach::of(NamespaceId(1))));
        let made = [NamespaceName::Made("tenant".into())];
        assert_eq!(one.reach(&made), Some(Reach::default()));
    }
}
