//! What is known of the messages on their way, and what is wrong with those that arrive: [`Inbox`]
//! for messages to one connection, [`Sequence`] for messages to everybody.
//!
//! Exact: every message is either in flight, or arrived once, or a fault. Bounded by what is in
//! flight. Kept by the workloads, one for each connection.

use std::collections::VecDeque;

use serde::Serialize;

/// What went wrong in a run. Any of these makes its exit status non-zero.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Faults {
    /// Sent, and never arrived.
    pub lost: u64,
    /// Arrived once more than sent.
    pub doubled: u64,
    /// Arrived after a later message of its sender to the same receiver.
    pub reordered: u64,
    /// Arrived changed, or was never sent.
    pub corrupt: u64,
    /// Arrived at another connection than its receiver.
    pub strayed: u64,
    /// The server refused it, in words.
    pub refused: u64,
    /// A connection that ended although nobody meant it to.
    pub closed: u64,
    /// A connection that did not come about.
    pub unopened: u64,
}

impl Faults {
    pub fn add(&mut self, other: &Faults) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.strayed += other.strayed;
        self.refused += other.refused;
        self.closed += other.closed;
        self.unopened += other.unopened;
    }

    /// Their names and counts, in the order in which they are shown.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("lost", self.lost),
            ("doubled", self.doubled),
            ("reordered", self.reordered),
            ("corrupt", self.corrupt),
            ("strayed", self.strayed),
            ("refused", self.refused),
            ("closed", self.closed),
            ("unopened", self.unopened),
        ]
    }

    pub fn total(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    /// Counts an arrival; whether the message is one that was in flight until now.
    pub fn count(&mut self, arrival: Arrival) -> bool {
        match arrival {
            Arrival::InOrder => return true,
            Arrival::Late => {
                self.reordered += 1;
                return true;
            }
            Arrival::Again => self.doubled += 1,
            Arrival::Unsent => self.corrupt += 1,
        }
        false
    }
}

/// How a message arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// As it should.
    InOrder,
    /// After a later one of its sender's.
    Late,
    /// It had arrived already.
    Again,
    /// Its sender has not sent that many.
    Unsent,
}

/// The messages on their way to one connection, in the order sent.
#[derive(Default, Debug)]
pub struct Inbox(VecDeque<Due>);

#[derive(Debug)]
struct Due {
    sender: u32,
    sequence: u32,
    /// Whether a later one of its sender has arrived: lost, unless it comes yet.
    passed: bool,
}

impl Inbox {
    /// A message has been sent here.
    pub fn expect(&mut self, sender: u32, sequence: u32) {
        self.0.push_back(Due {
            sender,
            sequence,
            passed: false,
        });
    }

    /// A message has arrived whose sender has sent `sent` messages so far, to whomever.
    pub fn arrive(&mut self, sender: u32, sequence: u32, sent: u32) -> Arrival {
        let is_this = |due: &Due| due.sender == sender && due.sequence == sequence;
        let Some(at) = self.0.iter().position(is_this) else {
            return match sequence < sent {
                true => Arrival::Again,
                false => Arrival::Unsent,
            };
        };
        for earlier in self.0.range_mut(..at) {
            earlier.passed |= earlier.sender == sender;
        }
        match self.0.remove(at) {
            Some(due) if due.passed => Arrival::Late,
            _ => Arrival::InOrder,
        }
    }

    /// Forgets what is on its way, for the connection is gone; yields the senders.
    pub fn clear(&mut self) -> impl Iterator<Item = u32> + use<> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|due| due.sender)
    }
}

/// What one connection has received of a sender who sends every message to everybody.
#[derive(Default, Debug)]
pub struct Sequence {
    next: u32,
    /// Passed over so far: lost, unless they come yet.
    missing: Vec<u32>,
}

impl Sequence {
    /// A message has arrived whose sender has sent `sent` so far.
    pub fn arrive(&mut self, sequence: u32, sent: u32) -> Arrival {
        if sequence >= sent {
            return Arrival::Unsent;
        }
        if sequence >= self.next {
            self.missing.extend(self.next..sequence);
            self.next = sequence + 1;
            // A gap is a loss until the missing one comes; then it is a disorder.
            return Arrival::InOrder;
        }
        match self.missing.iter().position(|missing| *missing == sequence) {
            Some(at) => {
                self.missing.swap_remove(at);
                Arrival::Late
            }
            None => Arrival::Again,
        }
    }

    /// How many of `sent` messages have not arrived.
    pub fn lost(&self, sent: u32) -> u64 {
        self.missing.len() as u64 + u64::from(sent.saturating_sub(self.next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `sent` messages of sender 5 to one inbox, lets `arrived` arrive, and counts.
    fn inbox(sent: u32, arrived: &[u32]) -> (u64, Faults) {
        let (mut inbox, mut faults) = (Inbox::default(), Faults::default());
        // Others in between must not matter.
        for sequence in 0..sent {
            inbox.expect(9, sequence);
            inbox.expect(5, sequence);
        }
        let mut delivered = 0;
        for sequence in arrived {
            delivered += u64::from(faults.count(inbox.arrive(5, *sequence, sent)));
        }
        faults.lost = inbox.clear().filter(|sender| *sender == 5).count() as u64;
        (delivered, faults)
    }

    fn sequence(sent: u32, arrived: &[u32]) -> (u64, Faults) {
        let (mut state, mut faults) = (Sequence::default(), Faults::default());
        let mut delivered = 0;
        for sequence in arrived {
            delivered += u64::from(faults.count(state.arrive(*sequence, sent)));
        }
        faults.lost = state.lost(sent);
        (delivered, faults)
    }

    /// Both kinds of ledger must say the same of the same stream.
    fn both(sent: u32, arrived: &[u32], delivered: u64, expected: Faults) {
        assert_eq!(inbox(sent, arrived), (delivered, expected), "{arrived:?}");
        assert_eq!(
            sequence(sent, arrived),
            (delivered, expected),
            "{arrived:?}"
        );
    }

    #[test]
    fn a_clean_stream_has_no_faults() {
        both(5, &[0, 1, 2, 3, 4], 5, Faults::default());
        both(0, &[], 0, Faults::default());
    }

    #[test]
    fn a_missing_message_is_lost_wherever_it_was() {
        let lost = |lost| Faults {
            lost,
            ..Faults::default()
        };
        both(5, &[0, 1, 2, 3], 4, lost(1));
        both(5, &[0, 2, 3, 4], 4, lost(1));
        both(5, &[4], 1, lost(4));
        both(5, &[], 0, lost(5));
    }

    #[test]
    fn a_second_copy_is_doubled() {
        let doubled = Faults {
            doubled: 1,
            ..Faults::default()
        };
        both(3, &[0, 0, 1, 2], 3, doubled);
        both(3, &[0, 1, 2, 0], 3, doubled);
    }

    #[test]
    fn an_exchange_is_reordered_and_not_lost() {
        let reordered = Faults {
            reordered: 1,
            ..Faults::default()
        };
        both(4, &[0, 2, 1, 3], 4, reordered);
    }

    #[test]
    fn what_was_never_sent_is_corrupt() {
        let corrupt = Faults {
            corrupt: 1,
            ..Faults::default()
        };
        both(2, &[0, 1, 2], 2, corrupt);
    }

    #[test]
    fn senders_do_not_disturb_each_other() {
        let mut inbox = Inbox::default();
        inbox.expect(1, 0);
        inbox.expect(2, 0);
        inbox.expect(1, 1);
        assert_eq!(inbox.arrive(2, 0, 1), Arrival::InOrder);
        assert_eq!(inbox.arrive(1, 0, 2), Arrival::InOrder);
        assert_eq!(inbox.arrive(1, 1, 2), Arrival::InOrder);
        assert_eq!(inbox.0.len(), 0);
        assert_eq!(inbox.arrive(3, 0, 0), Arrival::Unsent);
    }

    #[test]
    fn every_fault_is_in_the_total() {
        let one = Faults {
            lost: 1,
            doubled: 1,
            reordered: 1,
            corrupt: 1,
            strayed: 1,
            refused: 1,
            closed: 1,
            unopened: 1,
        };
        let mut two = one;
        two.add(&one);
        assert_eq!(two.total(), 16);
    }
}
