//! What waits because this core has not come to write it, and who is slowed for it: [`Backlog`].
//!
//! A reader is slow only if its kernel refuses bytes. What waits before that is the core's own lateness, and is
//! bounded by not reading those who cause it. Each of them has a [`Debt`]: the bytes that it has caused, receiver by
//! receiver, until as much has been written for it. What is written is shared out among those who wait, so that a
//! small debt is repaid before a large one, whatever order the writing has. What a kernel has refused is nobody's debt:
//! one stalled reader would halt all who write to it.
//!
//! Bound: a sender goes on while it owes no more than is left of [`UNWRITTEN_BYTES_MAX`] (the dynamic thresholds of
//! Choudhury and Hahne, 1998: n who want all get a part of n + 1 each), and always with [`OWED_BYTES_FREE`]. So the
//! backlog passes that maximum by what each sender may owe and one message of each at most. Here: a debt for each
//! sender of this core, while much waits. The shard counts; the host charges and asks.

use ahash::AHashMap;

use crate::ident::ConnId;

/// What of the core's backlog those who cause it may fill: some 30 ms of writing. A quarter of
/// `outbox_bytes_core_max` where that is less.
pub const UNWRITTEN_BYTES_MAX: usize = 128 << 20;
/// Who owes no more than this is never slowed for the others' backlog.
pub const OWED_BYTES_FREE: usize = 64 << 10;

/// What somebody has caused that has not been written: the time, in bytes that each debtor has been repaid so far, at
/// which it owes nothing any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Debt(u64);

/// See the module.
pub struct Backlog {
    most: usize,
    /// When more than this waits, it matters who has caused it.
    much: usize,
    /// What waits for connections whose kernel has refused nothing.
    bytes: usize,
    /// All that has been queued, ever.
    caused: u64,
    /// All that has been taken off, and what of that has been shared out.
    paid: u64,
    shared: u64,
    /// What each debtor has been repaid, ever.
    repaid: u64,
    /// Of connections that have caused something while much waited.
    debts: AHashMap<ConnId, Debt>,
}

impl Backlog {
    /// For a core whose outboxes may hold so many bytes.
    pub fn new(outbox_bytes_core: usize) -> Backlog {
        let mut backlog = Backlog {
            most: 0,
            much: 0,
            bytes: 0,
            caused: 0,
            paid: 0,
            shared: 0,
            repaid: 0,
            debts: AHashMap::new(),
        };
        backlog.renew(outbox_bytes_core);
        backlog
    }

    /// Goes on with another limit.
    pub fn renew(&mut self, outbox_bytes_core: usize) {
        self.most = UNWRITTEN_BYTES_MAX.min(outbox_bytes_core / 4);
        self.much = self.most / 8;
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All bytes that have been written so far, or wait no more for another reason.
    pub fn done(&self) -> u64 {
        self.paid
    }

    /// What may wait when others get back the credit for what they have caused here.
    pub fn slack(&self) -> usize {
        self.most / 2
    }

    /// Changes whenever less waits, or something is repaid.
    pub fn progress(&self) -> u64 {
        self.paid + self.shared
    }

    /// All bytes that have been queued so far: the difference between two looks is what was caused in between.
    #[inline]
    pub fn caused(&self) -> u64 {
        self.caused
    }

    /// So much more waits.
    #[inline]
    pub fn queued(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.caused += bytes as u64;
    }

    /// So much waits no more, or is for its receiver to take.
    #[inline]
    pub fn settled(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.paid += bytes as u64;
    }

    /// What a kernel had refused it takes now: it is to be written like all else, though nobody owes it.
    pub fn taken_back(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Shares out what has been written, among so many who wait.
    #[inline]
    pub fn share_out(&mut self, debtors: usize) {
        if self.paid == self.shared {
            return;
        }
        self.repaid += (self.paid - self.shared) / debtors.max(1) as u64;
        self.shared = self.paid;
        if !self.is_much() && !self.debts.is_empty() {
            self.debts = AHashMap::new();
        }
    }

    /// Whether so much waits that it matters who has caused it.
    #[inline]
    pub fn is_much(&self) -> bool {
        self.bytes > self.much
    }

    /// What may still be caused before all who cause much are slowed.
    pub fn room(&self) -> usize {
        self.most.saturating_sub(self.bytes)
    }

    /// Somebody has caused so much.
    pub fn charge(&self, debt: &mut Debt, bytes: u64) {
        debt.0 = debt.0.max(self.repaid) + bytes;
    }

    /// A connection has. While little waits, nobody is asked.
    #[inline]
    pub fn charge_connection(&mut self, id: ConnId, bytes: u64) {
        if bytes > 0 && self.is_much() {
            let debt = self.debts.entry(id).or_default();
            debt.0 = debt.0.max(self.repaid) + bytes;
        }
    }

    /// It is gone.
    pub fn forget(&mut self, id: ConnId) {
        if !self.debts.is_empty() {
            self.debts.remove(&id);
        }
    }

    /// Whether a connection owes something, while much waits: others come first.
    #[inline]
    pub fn is_owed_by(&self, id: ConnId) -> bool {
        self.is_much() && self.debts.get(&id).is_some_and(|debt| debt.0 > self.repaid)
    }

    /// Whether who owes this may cause more. Nobody owes more than waits.
    pub fn lets_on(&self, debt: Debt) -> bool {
        let owed = usize::try_from(debt.0.saturating_sub(self.repaid)).unwrap_or(usize::MAX);
        owed.min(self.bytes) <= self.room().max(OWED_BYTES_FREE.min(self.most / 8))
    }

    /// Whether this connection may.
    #[inline]
    pub fn lets_connection_on(&self, id: ConnId) -> bool {
        !self.is_much() || self.debts.get(&id).is_none_or(|debt| self.lets_on(*debt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 4 * UNWRITTEN_BYTES_MAX;

    fn backlog() -> Backlog {
        Backlog::new(1 << 30)
    }

    fn owing(backlog: &mut Backlog, bytes: usize) -> Debt {
        let mut debt = Debt::default();
        backlog.queued(bytes);
        backlog.charge(&mut debt, bytes as u64);
        debt
    }

    #[test]
    fn one_alone_may_fill_half_of_it() {
        let mut backlog = backlog();
        let mut debt = owing(&mut backlog, UNWRITTEN_BYTES_MAX / 2);
        assert!(backlog.lets_on(debt));
        backlog.queued(2);
        backlog.charge(&mut debt, 2);
        assert!(!backlog.lets_on(debt));
        backlog.settled(2);
        assert!(backlog.lets_on(debt), "no more is owed than waits");
    }

    #[test]
    fn many_who_want_all_stay_below_it() {
        let mut backlog = backlog();
        let mut debts = [Debt::default(); 100];
        for _ in 0..10_000 {
            for debt in &mut debts {
                if backlog.lets_on(*debt) {
                    backlog.queued(100_000);
                    backlog.charge(debt, 100_000);
                }
            }
        }
        let most = UNWRITTEN_BYTES_MAX + 100 * (100_000 + OWED_BYTES_FREE);
        assert!(backlog.bytes() <= most, "{} wait", backlog.bytes());
    }

    #[test]
    fn a_small_debt_is_repaid_before_a_large_one() {
        let mut backlog = backlog();
        let large = owing(&mut backlog, LARGE);
        let small = owing(&mut backlog, 2 * OWED_BYTES_FREE);
        assert!(!backlog.lets_on(large) && !backlog.lets_on(small));
        // Whoever it was written for.
        backlog.settled(4 * OWED_BYTES_FREE);
        backlog.share_out(2);
        assert!(!backlog.lets_on(large) && backlog.lets_on(small));
    }

    #[test]
    fn who_owes_nothing_goes_on_whatever_waits() {
        let mut backlog = backlog();
        let debt = owing(&mut backlog, LARGE);
        assert!(!backlog.lets_on(debt));
        assert!(backlog.lets_on(Debt::default()));
        assert_eq!(backlog.room(), 0);
        assert_eq!(
            (backlog.done(), backlog.slack()),
            (0, UNWRITTEN_BYTES_MAX / 2)
        );
    }

    #[test]
    fn what_kernels_refuse_is_owed_by_nobody() {
        let mut backlog = backlog();
        let debt = owing(&mut backlog, LARGE);
        backlog.settled(LARGE);
        assert!(backlog.lets_on(debt));
        backlog.share_out(1);
        backlog.taken_back(LARGE);
        assert!(backlog.lets_on(debt), "it was repaid when it was refused");
    }

    #[test]
    fn connections_are_charged_while_much_waits() {
        let mut backlog = backlog();
        let id = ConnId::from_bits(1);
        backlog.queued(100);
        backlog.charge_connection(id, 100);
        assert!(backlog.debts.is_empty());
        backlog.queued(LARGE);
        backlog.charge_connection(id, LARGE as u64);
        assert!(!backlog.lets_connection_on(id));
        assert!(backlog.lets_connection_on(ConnId::from_bits(2)));
        backlog.settled(LARGE);
        backlog.share_out(1);
        assert!(backlog.debts.is_empty() && backlog.lets_connection_on(id));
    }
}
