//! Connections by events that follow groups and have all there is: [`Resting`].
//!
//! Where such a one stands is said by its core: in its uid's stream where that stands, in a group's where all stand who are
//! in it here and have everything ([`Group`](super::members)'s `seen`), in everybody's likewise. So of its streams nothing
//! is kept but which groups they are, in the order in which its client has their positions. Whatever else is to be done with
//! its streams, they are unfolded first ([`Shard::unfold`](super::Shard::unfold)).
//!
//! Bound: 12 bytes for each of them in a table that is at least 7/16 full; of one with more than two groups a list besides.

use ahash::AHashMap;
use smallvec::SmallVec;

use super::limits::LIST_KEPT;

/// No group.
const NONE: u32 = u32::MAX;
/// In the first place: there are more than two, in a list.
const LISTED: u32 = u32::MAX - 1;

/// The numbers of one's groups, in the order of its positions.
pub type GroupNumbers = SmallVec<[u32; 4]>;

/// See the module.
#[derive(Default)]
pub struct Resting {
    /// The groups of a slot's connection, if they are one or two.
    few: AHashMap<u32, [u32; 2]>,
    more: AHashMap<u32, Box<[u32]>>,
}

impl Resting {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.few.is_empty()
    }

    /// The groups of the connection in this slot, if it rests.
    pub fn groups(&self, slot: u32) -> Option<&[u32]> {
        let few = self.few.get(&slot)?;
        Some(match few {
            [LISTED, _] => self.more.get(&slot).map_or(&[], |list| &**list),
            [_, NONE] => &few[..1],
            _ => few,
        })
    }

    /// The connection in this slot rests from now on. It has one group at least.
    pub(super) fn insert(&mut self, slot: u32, groups: &[u32]) {
        let few = match *groups {
            [one] => [one, NONE],
            [one, other] => [one, other],
            _ => {
                self.more.insert(slot, Box::from(groups));
                [LISTED, NONE]
            }
        };
        self.few.insert(slot, few);
    }

    /// It does not rest any more. The groups it had.
    pub fn remove(&mut self, slot: u32) -> Option<GroupNumbers> {
        if self.few.is_empty() {
            return None;
        }
        let groups = GroupNumbers::from_slice(self.groups(slot)?);
        if self.few.remove(&slot) == Some([LISTED, NONE]) {
            self.more.remove(&slot);
        }
        if self.few.is_empty() {
            self.few.shrink_to(LIST_KEPT);
            self.more.shrink_to(LIST_KEPT);
        }
        Some(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_groups_is_kept_in_its_order() {
        let mut resting = Resting::default();
        assert!(resting.is_empty());
        for count in 1..6_u32 {
            let groups: Vec<u32> = (0..count).rev().collect();
            resting.insert(count, &groups);
            assert_eq!(resting.groups(count), Some(&groups[..]));
        }
        for count in 1..6_u32 {
            let groups: Vec<u32> = (0..count).rev().collect();
            assert_eq!(resting.remove(count).as_deref(), Some(&groups[..]));
            assert_eq!(resting.groups(count), None);
        }
        assert!(resting.is_empty() && resting.more.is_empty());
    }
}
