//! Streams: the kept messages of a uid, a group or everybody, in order, so that a client that comes back misses none or
//! is told.
//!
//! A *stream* is an ordered log. Its messages have offsets 1, 2, 3 … without gaps; an *epoch* names one life of it, and a
//! [`Position`] is both. The home core of its name owns it, in its [`Store`]. Knows neither shard, bus nor sockets: values
//! in, values out, and the time is told. [`Rules`] say what is kept, [`Engine`] is what any store of streams must do.

mod address;
mod ages;
mod counters;
mod dues;
mod engine;
#[cfg(test)]
mod faults;
mod ids;
mod list;
mod mirrored;
mod names;
mod nursery;
mod position;
mod reading;
mod rules;
mod salvage;
mod store;
mod stream;
#[cfg(test)]
mod tests;
mod unpacking;
mod window;
mod written;

pub use address::{Address, Kind};
pub use counters::{Counters, Undelivered};
pub use engine::{Appended, Engine, Gap, Id, Limit, Outcome, Page, Recovery};
pub use mirrored::Mirrored;
pub use position::{Epoch, Joined, POSITIONS_MAX, Position, PositionError, Positions};
pub use reading::Piece;
pub use rules::{Keep, Pattern, Rules, Wish};
pub use store::{META_TIME, Store};
pub use written::StreamRecord;
