//! A core's book of what its connections have under way to other cores.
//!
//! One queue a destination, in the order of posting, which is the order in which that core takes
//! them: so a single count from there says which are paid back, and no envelope has to return. The
//! book is as long as what is under way, which its connections' credit bounds. `bus::endpoint` keeps it.

use std::collections::VecDeque;

use crate::ident::{ConnId, CoreId};

/// What is owed to connections of one core, by destination.
#[derive(Debug)]
pub(super) struct CreditBook {
    owed: Box<[VecDeque<Loan>]>,
    bytes: usize,
}

#[derive(Debug)]
struct Loan {
    payer: ConnId,
    bytes: usize,
    /// The envelope's number among all from this core to that one.
    number: u64,
}

impl CreditBook {
    pub(super) fn new(cores: usize) -> CreditBook {
        CreditBook {
            owed: (0..cores).map(|_| VecDeque::new()).collect(),
            bytes: 0,
        }
    }

    /// All that is owed, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What one connection owes, for the simulation.
    #[cfg(test)]
    pub(super) fn owed_by(&self, payer: ConnId) -> usize {
        let loans = self.owed.iter().flatten();
        let own = loans.filter(|loan| loan.payer == payer);
        own.map(|loan| loan.bytes).sum()
    }

    pub(super) fn lend(&mut self, to: CoreId, payer: ConnId, bytes: usize, number: u64) {
        self.bytes += bytes;
        self.owed[to.index()].push_back(Loan {
            payer,
            bytes,
            number,
        });
    }

    /// Gives back what the destinations have taken, each once and in order. `taken` is asked only
    /// for those that owe something. Returns whether anything came back.
    pub(super) fn settle(
        &mut self,
        taken: impl Fn(CoreId) -> u64,
        mut back: impl FnMut(ConnId, usize),
    ) -> bool {
        let before = self.bytes;
        for (to, loans) in self.owed.iter_mut().enumerate() {
            if loans.is_empty() {
                continue;
            }
            let taken = taken(CoreId(to as u16));
            while let Some(loan) = loans.front().filter(|loan| loan.number <= taken) {
                self.bytes -= loan.bytes;
                back(loan.payer, loan.bytes);
                loans.pop_front();
            }
        }
        self.bytes != before
    }

    /// Whether [`CreditBook::settle`] would give anything back.
    pub(super) fn returns(&self, taken: impl Fn(CoreId) -> u64) -> bool {
        let fronts = self.owed.iter().enumerate();
        fronts
            .filter_map(|(to, loans)| Some((to, loans.front()?)))
            .any(|(to, loan)| loan.number <= taken(CoreId(to as u16)))
    }
}
