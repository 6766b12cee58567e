//! [`Dues`]: when which stream is to be looked at, because a message's time may be over by then.
//!
//! A stream that has messages stands in the second in which the first of their times is over, or earlier: it is not moved
//! when that message goes otherwise, but when it is looked at. So a message costs nothing here but the first of a stream,
//! and one whose time is shorter than that of all before it. Bound: an entry a stream, linked by the stream itself.

use std::collections::BTreeMap;

use super::list::{List, NONE};
use super::names::Streams;
use super::window::Second;

/// See the module.
#[derive(Default)]
pub struct Dues {
    seconds: BTreeMap<Second, List>,
    /// The stream that is being looked at in helpings.
    pub(super) looked_at: Option<Sweep>,
}

/// How far a stream has been looked at whose messages are not in the order of their times.
#[derive(Clone, Copy)]
pub(super) struct Sweep {
    pub stream: u32,
    /// What is before it has been seen.
    pub offset: u64,
    /// The first second in which the time of one is over that was seen, and is there.
    pub first: Second,
}

impl Dues {
    /// A stream that is to be looked at by now.
    #[inline]
    pub fn due(&self, now: Second) -> Option<u32> {
        let (second, list) = self.seconds.first_key_value()?;
        (*second <= now).then_some(list.first)
    }

    /// A stream has messages now.
    pub fn insert(&mut self, streams: &mut Streams, number: u32, due: Second) {
        streams[number].second = due;
        self.seconds.entry(due).or_default().push(streams, number);
    }

    /// It has none any more.
    pub fn remove(&mut self, streams: &mut Streams, number: u32) {
        self.take(streams, number);
        if self.looked_at.is_some_and(|look| look.stream == number) {
            self.looked_at = None;
        }
    }

    fn take(&mut self, streams: &mut Streams, number: u32) {
        let second = streams[number].second;
        if let Some(list) = self.seconds.get_mut(&second) {
            list.remove(streams, number);
            if list.first == NONE {
                self.seconds.remove(&second);
            }
        }
    }

    /// It is to be looked at then.
    #[inline(never)]
    pub fn put_off(&mut self, streams: &mut Streams, number: u32, until: Second) {
        self.take(streams, number);
        self.insert(streams, number, until);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty() && self.looked_at.is_none()
    }
}
