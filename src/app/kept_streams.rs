//! The streams of one core, and the rules by which messages are kept in them: [`KeptStreams`].

use std::time::Instant;

use super::query::{HistoryPage, HistoryQuery};
use crate::config::Config;
use crate::ident::{Reach, Space};
use crate::protocol::Codec;
use crate::shard::ListenerSpec;
use crate::streams::{Address, Rules, Store};

/// Messages that a round lets go because their time is over: more than a core is sent in one.
const DUE_PER_ROUND: usize = 1_024;

/// The streams of one core, and what is kept in them.
pub struct KeptStreams {
    pub store: Store,
    pub(super) rules: Rules,
    /// The spaces whose clients can come back for what they have missed.
    pub(super) readable: Box<[Space]>,
}

impl KeptStreams {
    pub fn new(store: Store, config: &Config, listeners: &[ListenerSpec]) -> KeptStreams {
        KeptStreams {
            store,
            rules: Rules::new(&config.history),
            readable: readable(listeners),
        }
    }

    /// Goes on by other rules and bounds.
    pub fn renew(&mut self, config: &Config, listeners: &[ListenerSpec]) {
        self.store.renew(config);
        self.rules = Rules::new(&config.history);
        self.readable = readable(listeners);
    }

    /// Lets go of what is over by now, so much as one round may.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        if !self.store.is_empty() {
            self.store.advance(now, DUE_PER_ROUND);
        }
    }

    /// The first space within reach where messages are kept: one whose clients can come back for them.
    pub fn first_space(&self, reach: Reach) -> Option<Space> {
        reach.spaces().find(|space| self.readable.contains(space))
    }
}

fn readable(listeners: &[ListenerSpec]) -> Box<[Space]> {
    let events = listeners.iter().filter(|spec| spec.codec == Codec::Events);
    let mut spaces: Vec<Space> = events.map(|spec| spec.space).collect();
    spaces.sort_unstable_by_key(|space| space.0);
    spaces.dedup();
    spaces.into()
}

impl KeptStreams {
    pub fn page(
        &mut self,
        now: std::time::Instant,
        of: Address<'_>,
        query: &HistoryQuery,
    ) -> HistoryPage {
        let store = &mut self.store;
        let top = store.top(now, of);
        let mut gap = None;
        let after = match query.since {
            None => 0,
            Some(asked) => match store.recover(now, of, asked) {
                crate::streams::Recovery::Recovered { after, .. } => after.offset,
                crate::streams::Recovery::Gap(found) => {
                    gap = Some(found);
                    0
                }
            },
        };
        let limit = query.limit;
        let piece = store.read_what_is_there(now, of, after, limit);
        let piece = match query.reverse {
            false => piece,
            true => piece.backwards(),
        };
        let messages = piece
            .map(|(position, payload)| (position, payload.clone()))
            .collect();
        HistoryPage { top, messages, gap }
    }
}
