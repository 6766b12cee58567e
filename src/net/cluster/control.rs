//! How the thread of an upgrade has the cluster's thread do its part: [`ClusterControl`].

use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::succession::TurnoverAnswer;

/// What the cluster's thread is to do.
pub enum TurnoverOrder {
    /// Another process comes, to whose cluster's thread this goes.
    Begin(Option<UnixStream>),
    /// Say when it is subscribed to all that this one is.
    BeShadowed(Sender<TurnoverAnswer>),
    /// The cores come to rest.
    Rest,
    /// They have: say when it is parted what is whose.
    Part(Sender<TurnoverAnswer>),
    /// The cores serve (again): what others ask comes as it comes.
    Resume,
    /// The other process goes on.
    BeGone,
    /// This process goes on in another's place.
    GoOn,
}

/// See the module.
#[derive(Clone)]
pub struct ClusterControl(UnboundedSender<TurnoverOrder>);

impl ClusterControl {
    /// What it orders comes out there.
    pub fn new() -> (ClusterControl, UnboundedReceiver<TurnoverOrder>) {
        let (orders, ordered) = unbounded_channel();
        (ClusterControl(orders), ordered)
    }

    fn order(&self, order: TurnoverOrder) {
        // A thread that is gone does nothing.
        let _ = self.0.send(order);
    }

    fn ask(
        &self,
        order: impl FnOnce(Sender<TurnoverAnswer>) -> TurnoverOrder,
        until: Instant,
        what: &str,
    ) -> TurnoverAnswer {
        let (reply, replied) = mpsc::channel();
        self.order(order(reply));
        let left = until.saturating_duration_since(Instant::now());
        replied.recv_timeout(left).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => {
                    format!("{what} has taken too long in the cluster")
                }
                RecvTimeoutError::Disconnected => "the cluster's thread has ended".to_owned(),
            })
        })
    }

    /// Another process comes, to whose cluster's thread this goes, if it has one.
    pub fn begin(&self, socket: Option<UnixStream>) {
        self.order(TurnoverOrder::Begin(socket));
    }

    /// Waits until the new process gets all that this one does. Whether it will.
    pub fn be_shadowed(&self, until: Instant) -> TurnoverAnswer {
        let what = "subscribing the new process to all that this one is subscribed to";
        self.ask(TurnoverOrder::BeShadowed, until, what)
    }

    /// The cores come to rest: what other nodes ask comes in bursts.
    pub fn rest(&self) {
        self.order(TurnoverOrder::Rest);
    }

    /// Waits until it is parted what is this process', and what the new one's. Whether nobody sees it.
    pub fn part(&self, until: Instant) -> TurnoverAnswer {
        let what = "parting what is the new process'";
        self.ask(TurnoverOrder::Part, until, what)
    }

    /// The cores serve: in this process after all, or in this one now.
    pub fn resume(&self) {
        self.order(TurnoverOrder::Resume);
    }

    /// The new process goes on.
    pub fn be_gone(&self) {
        self.order(TurnoverOrder::BeGone);
    }

    /// This process goes on in another's place.
    pub fn go_on(&self) {
        self.order(TurnoverOrder::GoOn);
    }
}
