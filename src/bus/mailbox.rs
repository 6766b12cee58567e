//! Where the envelopes of each core wait for it: one unbounded queue a core, and its doorbell.
//!
//! Whoever posts holds the list of all mailboxes; only the owner's endpoint holds the other end of
//! its queue. The bound is credit, which `bus::endpoint` keeps.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};

use super::counters::BusCounters;
use super::doorbell::Doorbell;
use super::envelope::{Envelope, OUTSIDE, Until};
use super::eventfd::Eventfd;
use crate::ident::CoreId;

/// The side of a mailbox on which others put things in.
#[derive(Debug)]
pub(super) struct Mailbox<B> {
    queue: Sender<Envelope<B>>,
    pub(super) bell: Arc<Doorbell<Eventfd>>,
}

impl<B> Mailbox<B> {
    /// A mailbox, and the end its owner takes from.
    pub(super) fn open(bell: Arc<Doorbell<Eventfd>>) -> (Mailbox<B>, Receiver<Envelope<B>>) {
        let (queue, receiver) = crossbeam_channel::unbounded();
        (Mailbox { queue, bell }, receiver)
    }

    /// Envelopes in it, at this moment.
    pub(super) fn depth(&self) -> usize {
        self.queue.len()
    }

    /// Puts an envelope in; false if there is no owner any more, and then the envelope is dropped. Whoever puts it there
    /// has to call [`Doorbell::mail_posted`] afterwards.
    pub(super) fn put(&self, envelope: Envelope<B>) -> bool {
        self.queue.send(envelope).is_ok()
    }
}

/// For threads that are no core, as the one that waits for signals: posts to any core, without credit.
#[derive(Debug)]
pub struct Remote<B> {
    mailboxes: Arc<[Mailbox<B>]>,
    counters: Arc<BusCounters>,
    cores: usize,
}

impl<B> Remote<B> {
    pub(super) fn new(
        mailboxes: Arc<[Mailbox<B>]>,
        counters: Arc<BusCounters>,
        cores: usize,
    ) -> Remote<B> {
        Remote {
            mailboxes,
            counters,
            cores,
        }
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Posts an envelope from [`OUTSIDE`]; it is dropped and counted if the core is gone.
    pub fn post(&self, to: CoreId, body: B) {
        self.counters.count_post_from_outside(to);
        let envelope = Envelope {
            from: OUTSIDE,
            credited: false,
            until: Until::Taken,
            body,
        };
        let mailbox = &self.mailboxes[to.index()];
        if mailbox.put(envelope) {
            mailbox.bell.mail_posted();
        } else {
            self.counters.count_undeliverable_from_outside();
        }
    }

    /// Whether a core has not taken all that was posted to it from outside. One that is gone takes nothing, and
    /// nothing waits there.
    pub fn waits_at(&self, core: CoreId) -> bool {
        self.counters.waits_from_outside(core)
    }

    /// The counts of the bus, to see whether anything is under way.
    pub fn counters(&self) -> &Arc<BusCounters> {
        &self.counters
    }
}

impl<B> Clone for Remote<B> {
    fn clone(&self) -> Self {
        Remote::new(
            Arc::clone(&self.mailboxes),
            Arc::clone(&self.counters),
            self.cores,
        )
    }
}
