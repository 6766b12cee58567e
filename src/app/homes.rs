//! Which cores have members of the groups that are at home here: [`Homes`].
//!
//! Bound: an entry for each such group, with those cores.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::ident::{CoreId, NamespaceId, Reach};
use crate::shard::Interest;

/// Cores with members, in order.
pub type CoreList = SmallVec<[CoreId; 4]>;

/// Which cores have members of the groups that are at home here.
#[derive(Default)]
pub struct Homes {
    namespaces: AHashMap<NamespaceId, AHashMap<Box<str>, CoreList>>,
}

impl Homes {
    pub fn set(&mut self, core: CoreId, of: &Interest) {
        let Interest {
            namespace,
            group,
            wanted,
        } = of;
        if *wanted {
            let groups = self.namespaces.entry(*namespace).or_default();
            let cores = groups.entry(Box::from(&**group)).or_default();
            if let Err(at) = cores.binary_search(&core) {
                cores.insert(at, core);
            }
            return;
        }
        let Some(groups) = self.namespaces.get_mut(namespace) else {
            return;
        };
        let Some(cores) = groups.get_mut(&**group) else {
            return;
        };
        cores.retain(|one| *one != core);
        if cores.is_empty() {
            groups.remove(&**group);
            if groups.len() < groups.capacity() / 4 {
                let kept = 2 * groups.len();
                groups.shrink_to(kept);
            }
        }
        if groups.is_empty() {
            self.namespaces.remove(namespace);
        }
    }

    /// The cores with members within reach, in order.
    pub fn cores(&self, reach: Reach, group: &str) -> CoreList {
        let mut found = CoreList::new();
        for namespace in reach.namespaces() {
            let groups = self.namespaces.get(&namespace);
            found.extend(
                groups
                    .and_then(|groups| groups.get(group))
                    .into_iter()
                    .flatten()
                    .copied(),
            );
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
    }
}
