//! Which cores have members of the groups that are at home here: [`Homes`].
//!
//! Bound: an entry for each such group, with those cores.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::ident::{CoreId, Reach, Space};
use crate::shard::Interest;

/// Cores with members, in order.
pub type CoreList = SmallVec<[CoreId; 4]>;

/// Which cores have members of the groups that are at home here.
#[derive(Default)]
pub struct Homes {
    spaces: AHashMap<Space, AHashMap<Box<str>, CoreList>>,
}

impl Homes {
    pub fn set(&mut self, core: CoreId, of: &Interest) {
        let Interest {
            space,
            group,
            wanted,
        } = of;
        if *wanted {
            let groups = self.spaces.entry(*space).or_default();
            let cores = groups.entry(Box::from(&**group)).or_default();
            if let Err(at) = cores.binary_search(&core) {
                cores.insert(at, core);
            }
            return;
        }
        let Some(groups) = self.spaces.get_mut(space) else {
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
            self.spaces.remove(space);
        }
    }

    /// The cores with members within reach, in order.
    pub fn cores(&self, reach: Reach, group: &str) -> CoreList {
        let mut found = CoreList::new();
        for space in reach.spaces() {
            let groups = self.spaces.get(&space);
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
        self.spaces.is_empty()
    }
}
