//! A core's book of what its connections have under way to other cores.
//!
//! One queue a destination, in the order of posting, which is the order in which that core takes
//! them: so a single count from there says which are paid back, and no envelope has to return. What is for many has
//! a queue and a count of its own, for it is paid back when it is written. The book is as long as what is under way, which
//! its connections' credit bounds. `bus::endpoint` keeps it.

use std::collections::VecDeque;

use super::envelope::Until;
use crate::ident::{ConnId, CoreId};

/// Places that an emptied queue keeps.
const KEPT: usize = 1 << 8;

/// What is owed to connections of one core, by destination.
#[derive(Debug)]
pub(super) struct CreditBook {
    owed: Box<[Owed]>,
    bytes: usize,
    /// How many loans there are.
    loans: usize,
}

#[derive(Debug, Default)]
struct Owed {
    until_taken: VecDeque<Loan>,
    until_written: VecDeque<Loan>,
    until_relayed: VecDeque<Loan>,
}

#[derive(Clone, Copy, Debug)]
struct Loan {
    payer: Payer,
    bytes: usize,
    /// The envelope's number among all from this core to that one.
    number: u64,
}

/// On whose account an envelope is: a connection of this core, or, in the place of one, who sent what is passed on. That
/// one has been charged on its core. In one word, since there may be many loans.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Payer(ConnId);

/// No connection has this slot.
const RELAY: u32 = u32::MAX;

impl Payer {
    pub(super) fn own(connection: ConnId) -> Payer {
        Payer(connection)
    }

    /// Of what is passed on with this number.
    pub(super) fn relay(number: u64) -> Payer {
        Payer(ConnId {
            slot: RELAY,
            generation: number as u32,
        })
    }

    /// The connection; or the end of the number.
    pub(super) fn connection(self) -> Result<ConnId, u32> {
        match self.0.slot {
            RELAY => Err(self.0.generation),
            _ => Ok(self.0),
        }
    }
}

impl Owed {
    fn queues(&mut self) -> [(&mut VecDeque<Loan>, Until); 3] {
        [
            (&mut self.until_taken, Until::Taken),
            (&mut self.until_written, Until::Written),
            (&mut self.until_relayed, Until::Relayed),
        ]
    }
}

fn next(loans: &mut VecDeque<Loan>, reached: u64) -> Option<Loan> {
    loans.front().filter(|loan| loan.number <= reached)?;
    let loan = loans.pop_front()?;
    if loans.is_empty() {
        loans.shrink_to(KEPT);
    }
    Some(loan)
}

impl CreditBook {
    pub(super) fn new(cores: usize) -> CreditBook {
        CreditBook {
            owed: (0..cores).map(|_| Owed::default()).collect(),
            bytes: 0,
            loans: 0,
        }
    }

    /// All that is owed, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What one connection owes, for the simulation.
    #[cfg(test)]
    pub(super) fn owed_by(&self, payer: ConnId) -> usize {
        let loans = self.owed.iter();
        let loans = loans.flat_map(|owed| {
            let paid_later = owed.until_written.iter().chain(&owed.until_relayed);
            owed.until_taken.iter().chain(paid_later)
        });
        let own = loans.filter(|loan| loan.payer == Payer::own(payer));
        own.map(|loan| loan.bytes).sum()
    }

    /// Lends somebody so much for an envelope with this number.
    pub(super) fn lend(
        &mut self,
        to: CoreId,
        payer: Payer,
        bytes: usize,
        number: u64,
        until: Until,
    ) {
        self.bytes += bytes;
        self.loans += 1;
        let owed = &mut self.owed[to.index()];
        let loans = match until {
            Until::Taken => &mut owed.until_taken,
            Until::Written => &mut owed.until_written,
            Until::Relayed => &mut owed.until_relayed,
        };
        loans.push_back(Loan {
            payer,
            bytes,
            number,
        });
    }

    /// Gives back what the destinations are done with, each once and in order. `reached` is asked up to which envelope a
    /// destination is, and only for those that owe something. Returns whether anything came back.
    pub(super) fn settle(
        &mut self,
        reached: impl Fn(CoreId, Until) -> u64,
        mut back: impl FnMut(Payer, usize),
    ) -> bool {
        let before = self.loans;
        if before == 0 {
            return false;
        }
        for (to, owed) in self.owed.iter_mut().enumerate() {
            for (loans, until) in owed.queues() {
                if loans.is_empty() {
                    continue;
                }
                let reached = reached(CoreId(to as u16), until);
                while let Some(loan) = next(loans, reached) {
                    self.bytes -= loan.bytes;
                    self.loans -= 1;
                    back(loan.payer, loan.bytes);
                }
            }
        }
        self.loans < before
    }

    /// Whether [`CreditBook::settle`] would give anything back.
    pub(super) fn returns(&self, reached: impl Fn(CoreId, Until) -> u64) -> bool {
        let mut owed = self.owed.iter().enumerate();
        owed.any(|(to, owed)| {
            let queues = [
                (&owed.until_taken, Until::Taken),
                (&owed.until_written, Until::Written),
                (&owed.until_relayed, Until::Relayed),
            ];
            queues.into_iter().any(|(loans, until)| {
                let first = loans.front();
                first.is_some_and(|loan| loan.number <= reached(CoreId(to as u16), until))
            })
        })
    }
}
