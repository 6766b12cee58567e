//! What a program on this server looks like: [`App`], and the [`Context`] its callbacks act through.
//!
//! One value of the app lives on each core, and the values share nothing. Callbacks are synchronous
//! and never nest: closing or overflowing a connection inside one marks it, and its `on_close`
//! comes after.

pub(crate) mod abroad;
pub(crate) mod abroad_streams;
mod acknowledged;
mod addressed;
mod addressing;
mod asked_bind;
mod authentication;
mod bind_answers;
mod bind_refusals;
mod binding;
pub(crate) mod bulk;
mod callbacks;
mod calls;
mod claiming;
mod claims_abroad;
mod client_requests;
mod context;
mod crossing;
mod crossings;
mod effect;
mod engine;
pub(crate) mod envelope;
mod flow;
pub(crate) mod follow_step;
mod following;
mod for_many;
mod forwards;
mod groups;
mod guarded_store;
mod handover;
pub(crate) mod history;
pub(crate) mod hold_order;
mod holding;
mod homes;
mod homes_abroad;
#[cfg(not(feature = "internals"))]
pub(crate) mod host;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod host;
#[cfg(not(feature = "internals"))]
pub(crate) mod hosted;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod hosted;
pub(crate) mod idempotency;
mod inherited;
mod keeping;
mod kept_abroad;
mod kept_streams;
mod local;
pub(crate) mod looks;
pub(crate) mod migration;
mod mirrored_questions;
mod mirroring;
mod mirrors;
#[cfg(not(feature = "internals"))]
pub(crate) mod namespaces;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod namespaces;
mod note;
mod order;
pub(crate) mod outcome;
mod outgoing;
mod pausing;
pub(crate) mod pending;
mod placed;
mod policy;
mod presence;
pub(crate) mod promise;
mod queries;
pub(crate) mod query;
mod queueing;
mod receiving;
mod replies;
mod roster;
mod rosters;
pub(crate) mod round;
mod sending;
mod settling;
#[cfg(all(test, not(loom)))]
mod simulation;
mod snapshot;
mod sticking;
pub(crate) mod sticky_order;
mod tapping;
mod tasks;
#[cfg(test)]
mod tests;
mod ticks;
mod timekeeping;
mod timers;
pub(crate) mod to_connection;
mod transfer;
mod transit;
mod v1;
mod watch;
mod watching;
mod whereabouts;

pub use crate::events::MessageTold;
pub use crate::protocol::http::opening::OpeningRequest;
pub use crate::shard::{EnterError, GroupTraits, JoinError};
pub use callbacks::{App, Context};
pub use namespaces::{Namespace, NamespaceError};
pub use note::To;
pub(crate) use outcome::ending;
pub use outcome::{Answer, BindError, Unknown};
pub use policy::{Login, Peers, Protocol, WhenFlawed, WhenFull};
pub use presence::MemberPage;
