//! How a server has webhooks: started with its cores, and given a last while when they have ended.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::warn;

use super::listen::Listening;
use super::reload::Current;
use crate::config::Webhooks;
use crate::events::Reporting;
use crate::net::webhooks::{DeliveryThread, Inheritance, ListenerName, WebhookTarget};

/// What is left for the last events when the drain has taken all of its time.
const FLUSH_TIME_MIN: Duration = Duration::from_secs(1);
/// A receiver that is away does not hold up the end for longer, whatever is left of the drain's time.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(10);

/// How much longer than it may take the request under way is waited for.
const HOLD_LENIENCE: Duration = Duration::from_millis(500);

/// The thread that delivers, while the server runs.
pub struct WebhookDelivery {
    thread: Option<DeliveryThread>,
    /// A request may take so long.
    request_time: Duration,
    /// For how long a drain may take, as it is configured by then.
    current: Arc<Current>,
}

impl WebhookDelivery {
    /// Starts it where it is configured.
    pub fn start(
        config: &Webhooks,
        target: Option<WebhookTarget>,
        node: Option<String>,
        listening: &[Listening],
        cores: usize,
        current: Arc<Current>,
    ) -> io::Result<(WebhookDelivery, Option<Reporting>)> {
        let Some(target) = target else {
            let none = WebhookDelivery {
                thread: None,
                request_time: config.timeout,
                current,
            };
            return Ok((none, None));
        };
        let listeners = listening.iter().map(|one| ListenerName {
            app: one.namespace.into(),
            url: one.url.clone(),
        });
        let bounds = (config.queue_events_max.max(1), config.queue_bytes_max);
        let (reporting, queue) = Reporting::new(config.events, bounds, cores);
        let accounts = (reporting.tallies(), reporting.bytes());
        let thread =
            DeliveryThread::start(config, target, (node, listeners.collect()), queue, accounts)?;
        let delivery = WebhookDelivery {
            thread: Some(thread),
            request_time: config.timeout,
            current,
        };
        Ok((delivery, Some(reporting)))
    }

    /// Sends nothing from now on; false if the request under way has not ended in the time that it may take.
    pub fn hold(&self) -> bool {
        let within = self.request_time + HOLD_LENIENCE;
        self.thread
            .as_ref()
            .is_none_or(|thread| thread.hold(within))
    }

    /// While nothing is sent: all that another process is to deliver. It is here still.
    pub fn pack(&self) -> Option<Inheritance> {
        self.thread.as_ref()?.pack()
    }

    /// Sends again.
    pub fn go_on(&self) {
        if let Some(thread) = &self.thread {
            thread.go_on();
        }
    }

    /// Another process delivers what waits: nothing is sent any more.
    pub fn give_up(self) {
        if let Some(thread) = self.thread {
            thread.give_up();
        }
    }

    /// Delivers what an earlier process has not.
    pub fn take_over(&self, inherited: Inheritance) {
        match &self.thread {
            Some(thread) => thread.take_over(inherited),
            None if inherited.events.is_empty() => {}
            None => warn!(
                lost = inherited.events.len(),
                "webhooks: there are none any more; these events are not delivered"
            ),
        }
    }

    /// The cores have ended, after a drain that began then: what it has left of its time is for what waits, within
    /// bounds.
    pub fn finish(self, drain_began: Instant) {
        if let Some(thread) = self.thread {
            let (config, now) = (self.current.config(), Instant::now());
            let until = drain_began + config.drain_delay + config.drain_timeout;
            thread.finish(until.clamp(now + FLUSH_TIME_MIN, now + FLUSH_TIME_MAX));
        }
    }
}
