//! How the names of a cluster are divided where it has several Redis: [`Partition`], one of them, and [`Topic`], what something
//! is about, which is in one partition on every node.
//!
//! Stable: nodes of two releases agree. Where a partition is added at the end, only what goes into it leaves the others.

use serde::{Deserialize, Serialize};

/// Of so many partitions, one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Partition {
    pub nth: u16,
    pub of: u16,
}

/// What decides on the partition: all about a uid is in one, its connections' messages and what is kept for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Topic<'a> {
    Uid(&'a str),
    Group(&'a str),
    /// Everybody.
    All,
    /// By its number.
    Node(u64),
    /// The id of a request.
    Id(&'a [u8]),
}

impl Partition {
    /// The only one.
    pub const WHOLE: Partition = Partition { nth: 0, of: 1 };

    /// Where something is, among so many.
    #[inline]
    pub fn holding(topic: Topic<'_>, of: u16) -> Partition {
        let nth = match of {
            0 | 1 => 0,
            _ => jump(topic.hash(), of),
        };
        Partition { nth, of }
    }

    /// Whether it is here.
    #[inline]
    pub fn has(self, topic: Topic<'_>) -> bool {
        Partition::holding(topic, self.of) == self
    }

    /// The place in a list of all.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.nth)
    }
}

impl Topic<'_> {
    fn hash(self) -> u64 {
        let number;
        let (kind, name) = match self {
            Topic::Uid(name) => (b'u', name.as_bytes()),
            Topic::Group(name) => (b'g', name.as_bytes()),
            Topic::All => (b'a', &[][..]),
            Topic::Node(node) => {
                number = node.to_be_bytes();
                (b'n', &number[..])
            }
            Topic::Id(id) => (b'i', id),
        };
        // FNV-1a.
        let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        [kind].iter().chain(name).fold(0xcbf2_9ce4_8422_2325, hash)
    }
}

/// The jump consistent hash of Lamping and Veach.
fn jump(mut key: u64, buckets: u16) -> u16 {
    let (mut at, mut next) = (0, 0);
    while next < i64::from(buckets) {
        at = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let step = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((at + 1) as f64 * step) as i64;
    }
    at as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_where_they_were() {
        // Nodes of all releases have to agree.
        let places = |of| {
            ["a", "b", "alice", "bob", "0", "1"]
                .map(|uid| Partition::holding(Topic::Uid(uid), of).nth)
        };
        assert_eq!(places(1), [0; 6]);
        assert_eq!(places(3), [1, 0, 0, 2, 0, 1]);
        assert_eq!(Partition::holding(Topic::All, 5).nth, 2);
    }

    #[test]
    fn each_has_its_share_and_few_move() {
        let place = |nth: u32, of| Partition::holding(Topic::Uid(&nth.to_string()), of).nth;
        let mut counts = [0_u32; 5];
        let mut moved = 0;
        for nth in 0..10_000 {
            counts[usize::from(place(nth, 5))] += 1;
            moved += u32::from(place(nth, 5) != place(nth, 6));
        }
        assert!(
            counts.iter().all(|count| (1_700..2_300).contains(count)),
            "{counts:?}"
        );
        assert!((1_300..2_000).contains(&moved), "{moved}");
    }

    #[test]
    fn one_has_it() {
        let (uid, group) = (Topic::Uid("u"), Topic::Group("u"));
        for topic in [uid, group, Topic::All, Topic::Node(7), Topic::Id(b"id")] {
            let has = |nth: &u16| Partition { nth: *nth, of: 7 }.has(topic);
            assert_eq!((0..7).filter(has).count(), 1, "{topic:?}");
            assert!(Partition::WHOLE.has(topic));
        }
    }
}
