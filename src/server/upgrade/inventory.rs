//! [`Inventory`]: what a server's numbers stand for, so that another one finds its own for them.

use std::sync::Arc;

use super::messages::ListenerKey;
use crate::app::namespaces::Registry;
use crate::ident::NamespaceId;
use crate::server::layout::Layout;
use crate::server::listen::Listening;
use crate::server::namespaces::NamespaceNumbers;

/// What the numbers of listeners and namespaces stand for.
pub struct Inventory {
    /// By number.
    pub listeners: Vec<ListenerKey>,
    /// Of the apps, by number.
    app_namespaces: Vec<String>,
    registry: Arc<Registry>,
}

impl Inventory {
    /// Of a server that listens at these places.
    pub fn new(
        layout: &Layout,
        listening: &[Listening],
        namespaces: &NamespaceNumbers,
        registry: Arc<Registry>,
    ) -> Inventory {
        let mut listeners: Vec<ListenerKey> = Vec::new();
        for spec in &layout.specs {
            let shown = listening.get(usize::from(spec.shown));
            let mut key = ListenerKey {
                url: shown.map_or_else(String::new, |one| one.url.clone()),
                namespace: match spec.app {
                    u8::MAX => String::new(),
                    _ => namespaces.name(spec.namespace).to_owned(),
                },
                codec: format!("{:?}", spec.codec),
                nth: 0,
            };
            while listeners.contains(&key) {
                key.nth += 1;
            }
            listeners.push(key);
        }
        let numbers = (0..namespaces.count()).map(|number| NamespaceId(number as u32));
        Inventory {
            listeners,
            app_namespaces: numbers.map(|id| namespaces.name(id).to_owned()).collect(),
            registry,
        }
    }

    /// All namespaces by number, the apps' first, and how many of them are the apps'.
    pub fn namespaces(&self) -> (Vec<String>, u32) {
        let mut names = self.app_namespaces.clone();
        let apps = names.len() as u32;
        names.extend(self.registry.made_names());
        (names, apps)
    }

    /// Which listener another server's is here, by its number there.
    pub fn map_listeners(&self, theirs: &[ListenerKey]) -> Vec<Option<u16>> {
        let own = |key: &ListenerKey| {
            let at = self.listeners.iter().position(|own| own == key);
            at.map(|at| at as u16)
        };
        theirs.iter().map(own).collect()
    }

    /// Which namespace another server's is here, by its number there. Those that it has made are made here.
    pub fn map_namespaces(
        &self,
        theirs: &[String],
        apps: u32,
        most: usize,
    ) -> Result<Vec<Option<NamespaceId>>, String> {
        let mut mapped = Vec::with_capacity(theirs.len());
        for (number, name) in theirs.iter().enumerate() {
            mapped.push(if number < apps as usize {
                let at = self.app_namespaces.iter().position(|own| own == name);
                at.map(|at| NamespaceId(at as u32))
            } else {
                let made = self.registry.make(name, most);
                Some(made.map_err(|error| error.to_string())?)
            });
        }
        Ok(mapped)
    }
}
