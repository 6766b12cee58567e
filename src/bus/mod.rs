//! What crosses cores: the [`Endpoint`] of each core, through which envelopes leave and arrive.
//!
//! It owns the mailboxes, the doorbells, the credit that keeps mailboxes small, and the counts that
//! tell whether anything is still under way. It does not know what an envelope carries. Mailboxes
//! have no bound of their own: credit bounds what connections put in, and the rest (answers, moving
//! connections) is bounded by what was asked. `server` makes the endpoints and gives one to each
//! core's thread.

mod counters;
mod credit;
mod doorbell;
mod endpoint;
mod envelope;
mod eventfd;
mod mailbox;
mod relays;
mod route;
#[cfg(all(test, not(loom)))]
mod stress;

pub use counters::{BusCounters, Look};
pub use doorbell::{Doorbell, Notify, WakeFor};
pub use endpoint::{Endpoint, Writing, connect, connect_by, connect_with_engine};
pub use envelope::{ENVELOPE_COST, Envelope, OUTSIDE, RECEIVER_COST, Until};
pub use eventfd::Eventfd;
pub use mailbox::Remote;
pub use route::{CORES_MAX, Route};
