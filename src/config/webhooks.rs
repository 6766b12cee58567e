//! [`Webhooks`]: where a back end is told of its users' coming and going, and with which bounds.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A set of the events that a back end is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventKinds(u8);

impl EventKinds {
    /// A connection has bound its uid.
    pub const CONNECT: EventKinds = EventKinds(1);
    /// A connection that had a uid has ended.
    pub const DISCONNECT: EventKinds = EventKinds(2);
    /// A uid's connections have been closed by a back end.
    pub const KICK: EventKinds = EventKinds(4);
    /// Messages that waited for a uid's login are gone.
    pub const EXPIRED: EventKinds = EventKinds(8);
    /// A client has said something after its login, where that is for the back end.
    pub const MESSAGE: EventKinds = EventKinds(16);
    /// All of them.
    pub const ALL: EventKinds = EventKinds(31);

    const NAMES: [(&str, EventKinds); 5] = [
        ("connect", EventKinds::CONNECT),
        ("disconnect", EventKinds::DISCONNECT),
        ("kick", EventKinds::KICK),
        ("expired", EventKinds::EXPIRED),
        ("message", EventKinds::MESSAGE),
    ];

    /// Whether all of `others` are among them.
    pub fn has(self, others: EventKinds) -> bool {
        self.0 & others.0 == others.0
    }

    /// Reads `connect, kick`; `None` where a name is none of ours, or there is none.
    pub fn parse(text: &str) -> Option<EventKinds> {
        text.split(',').try_fold(EventKinds(0), |kinds, name| {
            let (_, kind) = Self::NAMES
                .iter()
                .find(|(known, _)| *known == name.trim())?;
            Some(EventKinds(kinds.0 | kind.0))
        })
    }
}

/// `connect, kick`.
impl fmt::Display for EventKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().filter(|(_, kind)| self.has(*kind));
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

/// What becomes of a client's message for the back end when as many wait as may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MessagesFull {
    /// It is taken, and the client is not read until there is room.
    #[default]
    Pause,
    /// It is refused.
    Refuse,
}

/// Where and how a back end is told of events.
#[derive(Clone, PartialEq)]
pub struct Webhooks {
    /// Where batches of events are posted to, `https://` or `http://`; `None` turns it all off.
    pub url: Option<String>,
    /// What batches are signed with, at least 32 characters.
    pub secret: Option<String>,
    /// The file that holds the secret, in place of it.
    pub secret_file: Option<PathBuf>,
    /// Certificates (PEM) that the receiver's must be signed by, in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// The events that are told.
    pub events: EventKinds,
    /// Events in one batch; one that is full leaves at once.
    pub batch_events_max: usize,
    /// How long a batch waits for more.
    pub batch_delay: Duration,
    /// Events that wait; one more is dropped, and counted. Of clients' messages half as many.
    pub queue_events_max: usize,
    /// Bytes of clients' messages that wait for the receiver or are on the way to it; who says more is not read until there
    /// is room, or refused ([`MessagesFull`]).
    pub queue_bytes_max: usize,
    /// Time for a request and its response; then it is made again.
    pub timeout: Duration,
    /// The longest pause before a request is made again. The first is a quarter of a second, each later one
    /// twice as long.
    pub retry_delay_max: Duration,
    /// For how long a batch is tried anew; then it is given up, and its events count as failed.
    pub retry_timeout: Duration,
}

impl Default for Webhooks {
    fn default() -> Self {
        Webhooks {
            url: None,
            secret: None,
            secret_file: None,
            ca_file: None,
            events: EventKinds::ALL,
            batch_events_max: 500,
            batch_delay: Duration::from_millis(100),
            queue_events_max: 65_536,
            queue_bytes_max: 64 << 20,
            timeout: Duration::from_secs(10),
            retry_delay_max: Duration::from_secs(30),
            retry_timeout: Duration::from_secs(3_600),
        }
    }
}

// By hand, so that no log or panic message ever shows the secret.
impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("url", &self.url)
            .field("secret", &self.secret.as_ref().map(|_| "(hidden)"))
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_by_name() {
        assert_eq!(
            EventKinds::parse("kick,connect, disconnect, expired,message"),
            Some(EventKinds::ALL)
        );
        let some = EventKinds::parse("kick, connect").unwrap();
        assert_eq!(some.to_string(), "connect, kick");
        assert!(some.has(EventKinds::KICK) && !some.has(EventKinds::DISCONNECT));
        for text in ["", "all", "connect,", "connect;kick", "Connect"] {
            assert_eq!(EventKinds::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let hooks = Webhooks {
            secret: Some("s3cret".to_owned()),
            ..Webhooks::default()
        };
        assert!(!format!("{hooks:?}").contains("s3cret"));
    }
}
