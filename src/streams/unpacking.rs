//! What has come of another process' streams, until all of it has: [`Unpacking`]. Bound: some words a message, as long as that
//! takes.

use super::ages::Age;
use super::engine::Id;
use super::nursery::KnownTurns;
use super::position::Epoch;
use super::window::Second;

/// See the module.
#[derive(Default)]
pub struct Unpacking {
    /// Those of each core.
    pub turns: Vec<KnownTurns>,
    /// Streams by their numbers, and the positions that were told of them before they were born.
    pub births: Vec<(u32, Option<Epoch>)>,
    /// The age of the first message, and of each from it on how many had come since.
    pub first: Age,
    pub behind: Vec<u64>,
    /// Ids of requests: when each came, the stream's life, and the message's offset.
    pub ids: Vec<(Second, Epoch, Id, u64)>,
}
