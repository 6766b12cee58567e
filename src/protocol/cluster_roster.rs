//! What the nodes of a cluster tell each other of who is in a group whose members are told of each other: [`RosterWords`].
//!
//! A node tells what it has itself: members by name with how many connections each has, every time as many as there are
//! then. What it tells to all is numbered, so that whoever has missed something sees it and asks for the whole list.

use serde::{Deserialize, Serialize};

/// Each is about one group of one namespace, and about the node that it comes from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RosterWords {
    /// Who has which members? That is answered by lists, to the one that asks. It stands there itself.
    Ask(RosterState),
    /// These members have so many connections now.
    Told {
        life: u64,
        serial: u64,
        members: Vec<(Box<str>, u32)>,
    },
    /// A piece of the list of all, as it was behind what was told by that number.
    List {
        life: u64,
        serial: u64,
        first: bool,
        last: bool,
        members: Vec<(Box<str>, u32)>,
    },
    /// What it has told comes to that.
    Check(RosterState),
    /// It has nobody there any more.
    Ended,
}

/// How far a node has told of its members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RosterState {
    /// Drawn at random when it begins to tell; what it tells is numbered from 1 on.
    pub life: u64,
    pub serial: u64,
    pub members: u32,
    /// Of all their names and counts ([`RosterState::count`]).
    pub sum: u64,
}

impl RosterState {
    /// A member that had so many connections has so many now.
    pub fn count(&mut self, name: &str, before: u32, now: u32) {
        if before > 0 {
            self.members = self.members.wrapping_sub(1);
            self.sum = self.sum.wrapping_sub(mix(name, before));
        }
        if now > 0 {
            self.members = self.members.wrapping_add(1);
            self.sum = self.sum.wrapping_add(mix(name, now));
        }
    }
}

/// FNV-1a and a finish. The same on every node, of whichever release.
fn mix(name: &str, count: u32) -> u64 {
    let bytes = name.bytes().chain(count.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

impl RosterWords {
    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        match self {
            RosterWords::Told { members, .. } | RosterWords::List { members, .. } => {
                members.iter().map(|(name, _)| name.len() + 8).sum()
            }
            RosterWords::Ask(_) | RosterWords::Check(_) | RosterWords::Ended => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_of_what_is_there_however_it_came() {
        let (mut one, mut other) = (RosterState::default(), RosterState::default());
        one.count("a", 0, 1);
        one.count("b", 0, 2);
        one.count("b", 2, 1);
        other.count("b", 0, 1);
        other.count("a", 0, 3);
        other.count("c", 0, 1);
        assert_ne!(one.sum, other.sum);
        other.count("a", 3, 1);
        other.count("c", 1, 0);
        assert_eq!(one, other);
        // It is the same on every node, today and later.
        assert_eq!(one.sum, ONE_SUM);
        one.count("a", 1, 0);
        one.count("b", 1, 0);
        assert_eq!(one, RosterState::default());
    }

    const ONE_SUM: u64 = 11_312_177_806_531_113_106;
}
