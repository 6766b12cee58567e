//! One core's end of the bus: posts to all cores, takes from its own mailbox, keeps its connections'
//! credit, sleeps by its doorbell.
//!
//! Owned by the core's thread. A turn of it: [`Endpoint::disarm`] and [`Endpoint::drain`] on waking;
//! [`Endpoint::take`] until nothing is left or the turn is long enough, and deal with each;
//! [`Endpoint::publish_taken`]; [`Endpoint::settle_credits`]; [`Endpoint::ring_posted`] when all is posted; then wait on the descriptor if
//! [`Endpoint::arm`] agrees, or [`Endpoint::ring_self`] for another turn.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::counters::BusCounters;
use super::credit::{CreditBook, Payer};
use super::doorbell::{Doorbell, WakeFor};
use super::envelope::{ENVELOPE_COST, Envelope, Until};
use super::eventfd::Eventfd;
use super::mailbox::{Mailbox, Remote};
use super::relays::Relays;
use super::route::Route;
use crate::ident::{ConnId, CoreId};

/// Envelopes to one core after which it is rung even amid a burst: with a CPU of its own it can begin.
const BURST: u32 = 32;

/// See the module.
#[derive(Debug)]
pub struct Endpoint<B> {
    core: CoreId,
    route: Route,
    mailboxes: Arc<[Mailbox<B>]>,
    queue: Receiver<Envelope<B>>,
    bell: Arc<Doorbell<Eventfd>>,
    counters: Arc<BusCounters>,
    credit: CreditBook,
    wants_credit: bool,
    /// By sender, the outside last: what this core has taken from it.
    tallies: Box<[TakenCount]>,
    /// The senders whose tally is not published, each once; never grows past its first capacity.
    unpublished: Vec<CoreId>,
    /// Envelopes it has taken.
    took: u64,
    /// What has been taken that is for many, and not been written: whose it is, up to which of its envelopes, and how
    /// much must have been written then. Bounded by the senders' credit.
    unwritten: VecDeque<(CoreId, u64, u64)>,
    /// What has been taken that was to be passed on, and not been: as in `unwritten`, and how much must have been paid back. Its credit depends on that of
    /// `unwritten` elsewhere and never the other way, so no core waits for itself.
    passing: VecDeque<(CoreId, u64, u64, u64)>,
    relays: Relays,
    /// By core: what has been posted to it since it was last rung.
    unrung: Box<[u32]>,
    /// The cores with any, each once; never grows past its first capacity.
    to_ring: Vec<CoreId>,
}

/// How far a core is with its writing, in bytes since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Writing {
    /// What has been written, or waits no more for another reason.
    pub done: u64,
    /// Where that will be when all that waits now is written.
    pub due: u64,
    /// What may wait even so when the senders get their credit back.
    pub slack: u64,
}

impl Writing {
    /// Of a core for which nothing waits.
    pub const NOTHING: Writing = Writing {
        done: 0,
        due: 0,
        slack: u64::MAX,
    };

    fn reaches(self, due: u64) -> bool {
        due <= self.done.saturating_add(self.slack)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct TakenCount {
    taken: u64,
    listed: bool,
    /// Whether any that is not published was credited, so that the sender may wait for it.
    credited: bool,
    /// The latest that is for many, if it is not listed among the unwritten.
    bulk: Option<u64>,
    /// The latest that is to be passed on, if it is not listed.
    relay: Option<u64>,
}

/// Makes the endpoints of so many cores, all connected, with uids spread by a seed of their own.
pub fn connect<B: Send>(cores: usize) -> io::Result<Vec<Endpoint<B>>> {
    connect_by(Route::new(cores)?)
}

/// Connects so many cores by a route of the caller's.
pub fn connect_by<B: Send>(route: Route) -> io::Result<Vec<Endpoint<B>>> {
    let cores = route.cores();
    connect_parties(route, cores)
}

/// As [`connect`], with one party more that is no core and has nothing at home: it posts and takes as cores do, and is
/// counted with them. Its number is that of the core that would come next.
pub fn connect_with_engine<B: Send>(cores: usize) -> io::Result<(Vec<Endpoint<B>>, Endpoint<B>)> {
    let mut endpoints = connect_parties(Route::new(cores)?, cores + 1)?;
    let engine = endpoints.pop().ok_or(io::ErrorKind::InvalidInput)?;
    Ok((endpoints, engine))
}

fn connect_parties<B: Send>(route: Route, parties: usize) -> io::Result<Vec<Endpoint<B>>> {
    let counters = Arc::new(BusCounters::new(parties));
    let mut mailboxes = Vec::with_capacity(parties);
    let mut queues = Vec::with_capacity(parties);
    for _ in 0..parties {
        let bell = Arc::new(Doorbell::new(Eventfd::open()?));
        let (mailbox, queue) = Mailbox::open(bell);
        mailboxes.push(mailbox);
        queues.push(queue);
    }
    let mailboxes: Arc<[Mailbox<B>]> = mailboxes.into();
    let endpoint = |(index, queue): (usize, Receiver<Envelope<B>>)| Endpoint {
        core: CoreId(index as u16),
        route: route.clone(),
        bell: Arc::clone(&mailboxes[index].bell),
        mailboxes: Arc::clone(&mailboxes),
        queue,
        counters: Arc::clone(&counters),
        credit: CreditBook::new(parties),
        wants_credit: false,
        tallies: vec![TakenCount::default(); parties + 1].into(),
        unpublished: Vec::with_capacity(parties + 1),
        took: 0,
        unwritten: VecDeque::new(),
        passing: VecDeque::new(),
        relays: Relays::default(),
        unrung: vec![0; parties].into(),
        to_ring: Vec::with_capacity(parties),
    };
    Ok(queues.into_iter().enumerate().map(endpoint).collect())
}

impl<B> Endpoint<B> {
    /// Whose endpoint it is.
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.route.cores()
    }

    /// The party that is no core, if there is one.
    pub fn engine(&self) -> Option<CoreId> {
        let cores = self.cores();
        (self.mailboxes.len() > cores).then_some(CoreId(cores as u16))
    }

    /// The core where the connections of this uid live.
    pub fn home(&self, uid: &str) -> CoreId {
        self.route.home(uid)
    }

    /// The core that does what comes by one way from other nodes.
    pub fn core_of_lane(&self, lane: u64) -> CoreId {
        self.route.core_of_lane(lane)
    }

    /// The core that knows where the connections are that are called by this one.
    pub fn keeper(&self, named: CoreId) -> CoreId {
        self.route.keeper(named)
    }

    /// Posts to a core, oneself too. It never waits. A core that sleeps is rung by [`Endpoint::ring_posted`].
    ///
    /// `payer` is the local connection whose credit the envelope uses until then, and the
    /// bytes it carries; `None` for what is bounded otherwise. Returns what was charged: the bytes
    /// and [`ENVELOPE_COST`], which [`Endpoint::settle_credits`] gives back in one piece; or 0 for
    /// what has no payer. To a core that is gone nothing is charged: the body is dropped and counted.
    pub fn post(
        &mut self,
        to: CoreId,
        payer: Option<(ConnId, usize)>,
        until: Until,
        body: B,
    ) -> usize {
        let posted = self.put(to, payer.is_some(), until, body);
        let (Some(number), Some((connection, bytes))) = (posted, payer) else {
            return 0;
        };
        let charge = bytes + ENVELOPE_COST;
        let payer = Payer::own(connection);
        self.credit.lend(to, payer, charge, number, until);
        charge
    }

    /// Passes on what an envelope has brought. It is on the account of whoever sent that, on the core that it came from,
    /// and nothing is charged here: that one gets its credit back ([`Until::Relayed`]) when this is paid back. What is
    /// passed on once more ([`Until::Relayed`] again) goes to cores of ever higher numbers, lest two wait for each other.
    pub fn relay(&mut self, to: CoreId, until: Until, body: B) {
        debug_assert!(
            until != Until::Relayed || to.0 > self.core.0,
            "two cores would wait for each other"
        );
        if let Some(number) = self.put(to, true, until, body) {
            let payer = Payer::relay(self.relays.begin());
            self.credit.lend(to, payer, 0, number, until);
        }
    }

    /// The envelope's number among those to that core, if that is not gone.
    fn put(&mut self, to: CoreId, credited: bool, until: Until, body: B) -> Option<u64> {
        let number = self.counters.count_post(self.core, to);
        let envelope = Envelope {
            from: self.core,
            credited,
            until,
            body,
        };
        if self.mailboxes[to.index()].put(envelope) {
            self.remember_to_ring(to);
            return Some(number);
        }
        self.counters.count_undeliverable(self.core);
        None
    }

    fn remember_to_ring(&mut self, to: CoreId) {
        let unrung = &mut self.unrung[to.index()];
        *unrung += 1;
        match *unrung {
            1 => self.to_ring.push(to),
            BURST => {
                *unrung = 1;
                self.mailboxes[to.index()].bell.mail_posted();
            }
            _ => {}
        }
    }

    /// Wakes the cores that something was posted to, if they sleep. A core that is rung at the first envelope of a burst
    /// takes that one alone, and sleeps again before the next: each costs it a wake-up, and where the two share a CPU,
    /// both a switch. So this is called when the burst is over, before the writing.
    #[inline]
    pub fn ring_posted(&mut self) {
        while let Some(core) = self.to_ring.pop() {
            self.unrung[core.index()] = 0;
            self.mailboxes[core.index()].bell.mail_posted();
        }
    }

    /// A point in this core's own mailbox: what waits there now is before it.
    pub fn mark(&self) -> u64 {
        self.took + self.queue.len() as u64
    }

    /// Whether all before that point is taken.
    pub fn has_passed(&self, mark: u64) -> bool {
        self.took >= mark
    }

    /// How many envelopes this core has posted to that one.
    pub fn posted_to(&self, to: CoreId) -> u64 {
        self.counters.posted_to(self.core, to)
    }

    /// Whether so many envelopes from one core to another have been dealt with there: what they have caused is posted.
    pub fn has_taken(&self, from: CoreId, to: CoreId, number: u64) -> bool {
        self.counters.taken_of(from, to) >= number
    }

    /// Whether so many have been dealt with there and where they were passed on to.
    pub fn has_relayed(&self, from: CoreId, to: CoreId, number: u64) -> bool {
        self.counters.relayed_of(from, to) >= number
    }

    /// The next envelope of one's own mailbox, at once or not at all.
    pub fn take(&mut self) -> Option<Envelope<B>> {
        let envelope = self.queue.try_recv().ok()?;
        self.took += 1;
        let sender = envelope.from.index().min(self.mailboxes.len());
        let tally = &mut self.tallies[sender];
        tally.taken += 1;
        match envelope.until {
            Until::Taken => {}
            Until::Written => tally.bulk = Some(tally.taken),
            Until::Relayed => tally.relay = Some(tally.taken),
        }
        tally.credited |= envelope.credited;
        if !tally.listed {
            tally.listed = true;
            self.unpublished.push(envelope.from);
        }
        Some(envelope)
    }

    /// Gives the senders back the credit of what was taken, and wakes those that sleep for it. To be
    /// called when that is dealt with, what it caused being posted: [`BusCounters::look`] relies on it. Of what is for many
    /// they get it back when what waits now is written.
    pub fn publish_taken(&mut self, writing: Writing) {
        let parties = self.mailboxes.len();
        while let Some(from) = self.unpublished.pop() {
            let tally = &mut self.tallies[from.index().min(parties)];
            tally.listed = false;
            let credited = std::mem::take(&mut tally.credited);
            if let Some(number) = tally.bulk.take() {
                self.unwritten.push_back((from, number, writing.due));
            }
            if let Some(number) = tally.relay.take() {
                let relays = self.relays.begun();
                self.passing.push_back((from, number, writing.due, relays));
            }
            self.counters.publish_taken(from, self.core, tally.taken);
            if credited {
                self.mailboxes[from.index()].bell.credit_returned();
            }
        }
        while let Some(&(from, number, due)) = self.unwritten.front()
            && writing.reaches(due)
        {
            self.unwritten.pop_front();
            self.counters.publish_written(from, self.core, number);
            if let Some(mailbox) = self.mailboxes.get(from.index()) {
                mailbox.bell.credit_returned();
            }
        }
        while let Some(&(from, number, due, relays)) = self.passing.front()
            && writing.reaches(due)
            && relays <= self.relays.done()
        {
            self.passing.pop_front();
            self.counters.publish_relayed(from, self.core, number);
            if let Some(mailbox) = self.mailboxes.get(from.index()) {
                mailbox.bell.credit_returned();
            }
        }
    }

    /// Calls `back` with the payer and its charge for each envelope of a connection's that is paid back
    /// since, in the order posted to each core. Returns whether anything was paid back. The payer may be
    /// closed by now.
    pub fn settle_credits(&mut self, mut back: impl FnMut(ConnId, usize)) -> bool {
        let (counters, relays, core) = (&self.counters, &mut self.relays, self.core);
        self.credit.settle(
            |to, until| counters.reached(core, to, until),
            |payer, bytes| match payer.connection() {
                Ok(connection) => back(connection, bytes),
                Err(number) => relays.end(number),
            },
        )
    }

    /// Charges of this core's connections that have not been settled: what other cores have not
    /// taken, at most.
    pub fn in_transit_bytes(&self) -> usize {
        self.credit.bytes()
    }

    /// Whether all that it has passed on is paid back, for the simulation.
    #[cfg(test)]
    pub fn has_passed_all(&self) -> bool {
        self.passing.is_empty() && self.relays.begun() == self.relays.done()
    }

    /// What one connection has on the way, for the simulation.
    #[cfg(test)]
    pub fn owed_by(&self, payer: ConnId) -> usize {
        self.credit.owed_by(payer)
    }

    /// Says whether some connection is paused for credit. While so, returned credit ends this core's
    /// sleep as an envelope does.
    pub fn want_credit(&mut self, waiting: bool) {
        self.wants_credit = waiting;
    }

    /// About to wait: true if nothing is there to do, and from then on whoever posts rings; false if
    /// an envelope waits, or credit that is wanted. Rings, and publishes what was taken: a core never sleeps on
    /// other cores' mail or credit.
    #[must_use]
    pub fn arm(&mut self) -> bool {
        self.ring_posted();
        self.publish_taken(Writing::NOTHING);
        let (counters, core) = (&self.counters, self.core);
        // What is passed on is paid back here first, and its sender may wait for that.
        if !self.wants_credit && self.passing.is_empty() {
            return self.bell.arm(WakeFor::Mail, || self.queue.is_empty());
        }
        self.bell.arm(WakeFor::MailAndCredit, || {
            self.queue.is_empty()
                && !self
                    .credit
                    .returns(|to, until| counters.reached(core, to, until))
        })
    }

    /// Awake, by whatever: from now on nobody rings.
    pub fn disarm(&self) {
        self.bell.disarm();
    }

    /// Makes the descriptor unreadable again, before one looks at the mailbox; returns whether it had
    /// been rung.
    pub fn drain(&self) -> bool {
        self.bell.ring().drain()
    }

    /// Makes the descriptor readable, to get another turn after what else the poller has.
    pub fn ring_self(&self) {
        self.bell.ring_now();
    }

    /// Readable when rung. It lives as long as any endpoint or remote of this bus.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.ring().descriptor()
    }

    /// The doorbell, for a task that waits on it without holding the endpoint.
    pub fn bell(&self) -> &Arc<Doorbell<Eventfd>> {
        &self.bell
    }

    /// Envelopes this core has posted.
    pub fn posted_total(&self) -> u64 {
        self.counters.posted_by(self.core)
    }

    /// Envelopes this core has taken and published.
    pub fn taken_total(&self) -> u64 {
        self.counters.taken_by(self.core)
    }

    /// What waits in each core's mailbox at this moment.
    pub fn depths(&self) -> impl Iterator<Item = usize> {
        self.mailboxes.iter().take(self.cores()).map(Mailbox::depth)
    }

    /// The counts of the whole bus.
    pub fn counters(&self) -> &Arc<BusCounters> {
        &self.counters
    }

    /// A way to post for threads that are no core.
    pub fn remote(&self) -> Remote<B> {
        Remote::new(
            Arc::clone(&self.mailboxes),
            Arc::clone(&self.counters),
            self.cores(),
        )
    }
}

impl<B> Drop for Endpoint<B> {
    /// A core that ends, by a panic too, must not keep the credit of others: what lies in its mailbox
    /// is dropped, and its senders are told that nothing waits there any more. What it took and did
    /// not publish falls under the same.
    fn drop(&mut self) {
        self.ring_posted();
        self.counters.declare_gone(self.core);
        for mailbox in self.mailboxes.iter() {
            mailbox.bell.credit_returned();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
