//! [`Engine`]: the narrow interface of whatever keeps streams, and the values it is asked with and answers by.
//!
//! Four questions, and of each no more than both memory and a database can do in one atomic step. Every answer is a plain
//! value that borrows nothing and holds no lock, and is `Send`. So an engine that is elsewhere, and answers later, is
//! asked by an envelope with the same arguments and answers by one with the same value; no core ever waits for it. The
//! [`Store`](super::Store) of a core answers at once. Whoever serves from it uses its own methods, which lend what these
//! copy.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::position::Position;
use super::rules::Keep;
use crate::payload::Payload;

/// What a request is known again by: a digest of its `id`, so long that no two are alike.
pub type Id = [u8; 16];

/// What keeps streams.
pub trait Engine {
    /// Appends a message, and what its stream has too many of goes. If a message with this id was appended to this stream
    /// of late, nothing is, and that one's position is the answer.
    fn append(
        &mut self,
        now: Instant,
        to: Address<'_>,
        keep: Keep,
        id: Option<Id>,
        payload: &Payload,
    ) -> Appended;

    /// What follows a position, the oldest first, up to a limit: all of it, or a gap. An unreadable position is none.
    fn read(
        &mut self,
        now: Instant,
        of: Address<'_>,
        after: Option<Position>,
        limit: Limit,
    ) -> Result<Page, Gap>;

    /// The position of the last message, or that of a stream not yet born.
    fn top(&mut self, now: Instant, of: Address<'_>) -> Position;

    /// Throws the messages away; the position at the top stays as it is. Returns how many there were.
    fn discard(&mut self, now: Instant, of: Address<'_>) -> u32;
}

/// What has become of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Appended {
    /// Its own, or that of the first with its id.
    pub position: Position,
    /// Which of these, and whether it is kept.
    pub outcome: Outcome,
}

/// See [`Appended`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is the newest of its stream.
    Kept,
    /// A message with this id was appended before: this one is not to be sent, either.
    Repeated,
    /// It has its offset and is to be sent, but is larger than all that may be kept: whoever is not there misses it, and
    /// is told.
    TooLarge,
}

/// How much is read at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Messages.
    pub messages: usize,
    /// Bytes of messages; the first is read however large it is.
    pub bytes: usize,
}

/// A piece of a stream.
#[derive(Clone, Debug)]
pub struct Page {
    /// Each message with its own position, the oldest first.
    pub messages: Vec<(Position, Payload)>,
    /// Where the stream ends by now.
    pub top: Position,
}

/// Not all that followed a position can be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// The position; `None` if it was unreadable.
    pub asked: Option<Position>,
    /// The first message from which on all are there; `None` if none is.
    pub first: Option<Position>,
    /// The last one: whoever loads its state anew goes on from here.
    pub top: Position,
}

/// Whether somebody who comes back can have all that it has missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// All that follows `after`, up to `top`, is there; where they are equal, nothing was missed. `after` means what was
    /// asked, as the stream calls it now.
    Recovered {
        /// Read on from here.
        after: Position,
        /// Where the stream ends by now.
        top: Position,
    },
    /// It cannot.
    Gap(Gap),
}
