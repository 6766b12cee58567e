//! What a core passes on for others: which of it is paid back.
//!
//! Each piece has a number. They are paid back in the order of posting by each destination, but not among several; so the
//! ends are marked, and all up to a number are done when none before it is missing. Bound: what is under way, which the
//! credit of those who sent it bounds.

use std::collections::VecDeque;

/// Places that an emptied list keeps.
const KEPT: usize = 1 << 8;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Relays {
    /// All up to this number are done.
    done: u64,
    /// Of those after it, whether they are.
    ended: VecDeque<bool>,
}

impl Relays {
    /// The number of one more.
    pub(super) fn begin(&mut self) -> u64 {
        self.ended.push_back(false);
        self.begun()
    }

    /// The number of the latest.
    pub(super) fn begun(&self) -> u64 {
        self.done + self.ended.len() as u64
    }

    /// All up to this one are paid back.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// The one whose number ends so is paid back. Fewer are under way than there are such ends.
    pub(super) fn end(&mut self, number: u32) {
        let place = number.wrapping_sub(self.done as u32).wrapping_sub(1);
        if let Some(ended) = self.ended.get_mut(place as usize) {
            *ended = true;
        }
        while self.ended.front() == Some(&true) {
            self.ended.pop_front();
            self.done += 1;
        }
        if self.ended.is_empty() {
            self.ended.shrink_to(KEPT);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn all_up_to_a_number_are_done_when_none_is_missing() {
        let mut relays = Relays::default();
        let numbers: Vec<u64> = (0..4).map(|_| relays.begin()).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        for (ends, done) in [(3, 0), (1, 1), (2, 3), (4, 4)] {
            relays.end(ends);
            assert_eq!(relays.done(), done, "after {ends}");
        }
        assert_eq!(relays.begin(), 5);
        relays.end(4);
        assert_eq!((relays.done(), relays.begun()), (4, 5));
    }
}
