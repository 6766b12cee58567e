//! Webhooks: a back end is told by HTTP who comes and goes. [`DeliveryThread`] is the thread that does so; the cores put
//! events into its queue ([`crate::events`]) and know nothing else of it.
//!
//! Started by `server` where a URL is configured. Bounds: `queue_events_max` events wait, `batch_events_max` are under
//! way, one request at a time.

mod attempt;
mod batch;
mod clock;
mod delivery;
mod inheritance;
mod post;
mod signature;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::{error, warn};

pub use batch::ListenerName;
pub use inheritance::Inheritance;
pub use post::{WebhookTarget, check_webhooks};

use crate::config::Webhooks;
use crate::events::{Tally, UidEvent};
use crate::guard::guard;
use clock::{DeliveryCommand, SystemClock};
use delivery::Delivery;
use post::{Post, Poster};

/// After a panic of ours, before it goes on.
const PANIC_PAUSE: Duration = Duration::from_secs(1);
/// Commands that may wait: more are never given at once.
const COMMANDS_MAX: usize = 8;
/// A thread that sends nothing answers at once.
const PACKED_WITHIN: Duration = Duration::from_secs(5);
/// How much longer than it may take the thread is waited for.
const LENIENCE: Duration = Duration::from_millis(50);

/// The thread that delivers.
pub struct DeliveryThread {
    queue: Receiver<UidEvent>,
    under_way: Arc<AtomicUsize>,
    commands: Sender<DeliveryCommand>,
    /// Nothing comes of it: it is closed when the thread has ended.
    ended: Receiver<()>,
}

impl DeliveryThread {
    /// Starts it.
    pub fn start(
        config: &Webhooks,
        target: WebhookTarget,
        (node, listeners): (Option<String>, Vec<ListenerName>),
        queue: Receiver<UidEvent>,
        accounts: (Arc<[Tally]>, Arc<AtomicUsize>),
    ) -> io::Result<DeliveryThread> {
        let (commands, told) = bounded(COMMANDS_MAX);
        let (ending, ended) = bounded::<()>(0);
        let sender = batch::BatchSender {
            server: random_name()?,
            node,
            listeners,
        };
        let key = target.key.clone();
        let post = Poster::new(target, config.timeout);
        let taken = queue.clone();
        let means = (key, post, SystemClock::new(told));
        let delivery = Delivery::new(config, taken, accounts, sender, means);
        let under_way = delivery.under_way();
        thread::Builder::new()
            .name("webhooks".into())
            .spawn(move || {
                run(delivery);
                drop(ending);
            })?;
        Ok(DeliveryThread {
            queue,
            under_way,
            commands,
            ended,
        })
    }

    /// Sends nothing from now on. True when the request under way has ended, within so long; else it goes on.
    pub fn hold(&self, within: Duration) -> bool {
        let (reply, held) = bounded(1);
        let told = self.commands.send(DeliveryCommand::Hold(reply)).is_ok();
        let is_held = told && held.recv_timeout(within).is_ok();
        if !is_held {
            self.go_on();
        }
        is_held
    }

    /// While nothing is sent: all that another process is to deliver. It is here still.
    pub fn pack(&self) -> Option<Inheritance> {
        let (reply, packed) = bounded(1);
        self.commands.send(DeliveryCommand::Pack(reply)).ok()?;
        packed.recv_timeout(PACKED_WITHIN).ok()
    }

    /// Sends again.
    pub fn go_on(&self) {
        let _ = self.commands.send(DeliveryCommand::GoOn);
    }

    /// Delivers what another process has not, before all that is told here.
    pub fn take_over(&self, inherited: Inheritance) {
        let command = DeliveryCommand::TakeOver(Box::new(inherited));
        let _ = self.commands.send(command);
    }

    /// Another process delivers what waits: nothing is sent any more.
    pub fn give_up(self) {
        drop(self.commands);
    }

    /// The cores have ended: what waits is delivered until this time.
    pub fn finish(self, until: Instant) {
        let _ = self.commands.send(DeliveryCommand::Close(until));
        let _ = self.ended.recv_deadline(until + LENIENCE);
        let lost = self.queue.len() + self.under_way.load(Ordering::Acquire);
        if lost > 0 {
            warn!(
                lost,
                "webhooks: the time to stop is over; these events are not delivered"
            );
        }
    }
}

/// A panic is our mistake, costs the batch in hand and nothing else.
fn run<P: Post>(mut delivery: Delivery<P, SystemClock>) {
    use clock::Clock;
    while let Err(fault) = guard(|| delivery.run()) {
        error!(%fault, "webhooks: the delivery panicked; its batch is dropped");
        delivery.give_up_batch();
        delivery.clock.pause(PANIC_PAUSE);
    }
}

fn random_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("there is no randomness"))?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}
