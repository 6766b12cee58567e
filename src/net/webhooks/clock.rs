//! What a delivery reads of the world beside the network: time, chance, and what it is told to do ([`DeliveryCommand`]).

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, select};

use super::inheritance::Inheritance;
use crate::events::UidEvent;

/// What the thread that delivers is told.
pub enum DeliveryCommand {
    /// The server stops: all is to be over then.
    Close(Instant),
    /// Nothing is to be sent from now on. It is answered when the request under way has ended.
    Hold(Sender<()>),
    /// While nothing is sent: what is there?
    Pack(Sender<Inheritance>),
    /// It may send again.
    GoOn,
    /// To deliver what another process has not.
    TakeOver(Box<Inheritance>),
}

/// What has come of waiting for an event.
pub enum Awaited {
    Event(UidEvent),
    /// Something is to be done, or may be.
    Command,
    /// Nobody is left to tell of any.
    Ended,
}

pub trait Clock {
    fn now(&self) -> Instant;
    fn wall_seconds(&self) -> u64;
    /// From 0 to 1.
    fn random(&mut self) -> f64;
    /// Waits so long, or less if it is told something meanwhile.
    fn pause(&mut self, time: Duration);
    /// When all is to be over, if the server stops.
    fn until(&self) -> Option<Instant>;
    /// Waits for an event.
    fn wait(&self, queue: &Receiver<UidEvent>) -> Awaited;
    /// Whether nothing is to be sent now.
    fn is_held(&self) -> bool;
    /// While that is so, the next thing to be done; `None` if it is over for good.
    fn command(&self) -> Option<DeliveryCommand>;
    /// What another process has not delivered, if it has come.
    fn inherit(&self) -> Option<Box<Inheritance>>;
}

/// The real one.
pub struct SystemClock {
    commands: Receiver<DeliveryCommand>,
    until: Cell<Option<Instant>>,
    /// Who is to be told that nothing is sent any more.
    hold: RefCell<Option<Sender<()>>>,
    inherited: RefCell<Option<Box<Inheritance>>>,
}

impl SystemClock {
    pub fn new(commands: Receiver<DeliveryCommand>) -> SystemClock {
        SystemClock {
            commands,
            until: Cell::new(None),
            hold: RefCell::default(),
            inherited: RefCell::default(),
        }
    }

    fn take(&self, command: DeliveryCommand) {
        match command {
            DeliveryCommand::Close(until) => self.until.set(Some(until)),
            DeliveryCommand::Hold(reply) => _ = self.hold.replace(Some(reply)),
            DeliveryCommand::TakeOver(inherited) => _ = self.inherited.replace(Some(inherited)),
            // It sends: there is nothing to be answered.
            DeliveryCommand::Pack(_) | DeliveryCommand::GoOn => {}
        }
    }

    fn look(&self) {
        while let Ok(command) = self.commands.try_recv() {
            self.take(command);
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn wall_seconds(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs())
    }

    fn random(&mut self) -> f64 {
        let mut byte = [0];
        // Without any the pauses are merely alike.
        let _ = aws_lc_rs::rand::fill(&mut byte);
        f64::from(byte[0]) / 255.0
    }

    fn pause(&mut self, time: Duration) {
        // What has been said since is taken below.
        if self.until.get().is_some() {
            return std::thread::sleep(time);
        }
        match self.commands.recv_timeout(time) {
            Ok(command) => self.take(command),
            Err(RecvTimeoutError::Timeout) => {}
            // Whoever would have said so is gone.
            Err(RecvTimeoutError::Disconnected) => self.until.set(Some(Instant::now())),
        }
    }

    fn until(&self) -> Option<Instant> {
        self.look();
        self.until.get()
    }

    fn wait(&self, queue: &Receiver<UidEvent>) -> Awaited {
        let event = select! {
            recv(queue) -> event => event,
            recv(self.commands) -> command => match command {
                Ok(command) => {
                    self.take(command);
                    return Awaited::Command;
                }
                // Nothing is said any more.
                Err(_) => queue.recv(),
            },
        };
        event.map_or(Awaited::Ended, Awaited::Event)
    }

    fn is_held(&self) -> bool {
        self.look();
        self.hold.borrow().is_some()
    }

    fn command(&self) -> Option<DeliveryCommand> {
        if let Some(reply) = self.hold.take() {
            return Some(DeliveryCommand::Hold(reply));
        }
        let command = self.commands.recv().ok()?;
        if let DeliveryCommand::Close(until) = command {
            self.until.set(Some(until));
        }
        Some(command)
    }

    fn inherit(&self) -> Option<Box<Inheritance>> {
        self.look();
        self.inherited.take()
    }
}
