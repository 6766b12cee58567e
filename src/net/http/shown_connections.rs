//! Connections as those outside know them, other nodes and back ends: with the names of their listeners in place of numbers.

use super::metrics::Facts;
use crate::app::query::ConnectionAnswer;
use crate::protocol::connection_facts::{ConnectionFacts, ConnectionOutcome};
use crate::shard::ConnectionInfo;

impl Facts {
    /// One of this node's.
    pub fn connection(&self, info: ConnectionInfo) -> ConnectionFacts {
        let listener = self.app_listener(info.listener);
        ConnectionFacts {
            name: info.name,
            uid: info.uid,
            attributes: info.attributes,
            since: info.since,
            address: info.address,
            listener: listener.map(|(app, url)| (Box::from(app), Box::from(url))),
            bytes_waiting: info.bytes_waiting as u64,
            paused: info.paused,
        }
    }

    /// What has come of something that was to be done with one.
    pub fn outcome(&self, answer: ConnectionAnswer) -> ConnectionOutcome {
        match answer {
            ConnectionAnswer::None => ConnectionOutcome::None,
            ConnectionAnswer::Is(info) => ConnectionOutcome::Is(Box::new(self.connection(*info))),
            ConnectionAnswer::Attributes(attributes) => ConnectionOutcome::Attributes(attributes),
            ConnectionAnswer::Flawed(error) => ConnectionOutcome::Flawed(error),
            ConnectionAnswer::Bound => ConnectionOutcome::Bound,
            ConnectionAnswer::Unbound => ConnectionOutcome::Unbound,
            ConnectionAnswer::InUse => ConnectionOutcome::InUse,
            ConnectionAnswer::Busy => ConnectionOutcome::Busy,
        }
    }

    /// The numbers of the listeners of apps that have this URL.
    pub fn listeners_at(&self, url: &str) -> Box<[u16]> {
        let numbers = (0..u16::MAX).take_while(|number| self.has_listener(*number));
        let of_url = |number: &u16| {
            let listener = self.app_listener(*number);
            listener.is_some_and(|(_, own)| own == url)
        };
        numbers.filter(of_url).collect()
    }
}
