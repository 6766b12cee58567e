//! How a server has webhooks: started with its cores, and given a last while when they have ended.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listen::Listening;
use super::reload::Current;
use crate::config::Webhooks;
use crate::events::Reporting;
use crate::net::webhooks::{DeliveryThread, ListenerName, WebhookTarget};

/// What is left for the last events when the drain has taken all of its time.
const FLUSH_TIME_MIN: Duration = Duration::from_secs(1);
/// A receiver that is away does not hold up the end for longer, whatever is left of the drain's time.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(10);

/// The thread that delivers, while the server runs.
pub struct WebhookDelivery {
    thread: Option<DeliveryThread>,
    /// For how long a drain may take, as it is configured by then.
    current: Arc<Current>,
}

impl WebhookDelivery {
    /// Starts it where it is configured.
    pub fn start(
        config: &Webhooks,
        target: Option<WebhookTarget>,
        listening: &[Listening],
        cores: usize,
        current: Arc<Current>,
    ) -> io::Result<(WebhookDelivery, Option<Reporting>)> {
        let Some(target) = target else {
            let thread = None;
            return Ok((WebhookDelivery { thread, current }, None));
        };
        let listeners = listening.iter().map(|one| ListenerName {
            app: one.namespace,
            url: one.url.clone(),
        });
        let bounds = (config.queue_events_max.max(1), config.queue_bytes_max);
        let (reporting, queue) = Reporting::new(config.events, bounds, cores);
        let accounts = (reporting.tallies(), reporting.bytes());
        let thread = DeliveryThread::start(config, target, listeners.collect(), queue, accounts)?;
        let thread = Some(thread);
        Ok((WebhookDelivery { thread, current }, Some(reporting)))
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
