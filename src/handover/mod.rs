//! What a server leaves to the process that goes on in its place, but for its connections ([`crate::migration`]): values in
//! writing, each of which is one small thing.
//!
//! A core gives out its own ([`CoreRecord`]), without losing any of it: whoever goes on in the end is not decided yet. The
//! new process may have other cores and another route, so each record goes to the core that is its home there
//! ([`RecordPlace`]). Times are durations from the moment of packing, which is one for all cores. What is read back may be
//! damaged: each record is checked as what comes from outside is, and nothing is allocated that has not come.
//!
//! Not carried: who looks at the live log, asks again; a listing that is read page by page may show one entry twice; timers of
//! apps are set anew by their `on_start`.

mod counters;
mod process;
mod record;
#[cfg(test)]
mod tests;
mod webhooks;

pub use counters::WrittenCounters;
pub use process::{ProcessRecord, WrittenTickets};
pub use record::{
    BadRecord, CoreRecord, RecordPlace, Renumbering, VERSION, WrittenAnswer, WrittenApp,
    WrittenHandled, WrittenMember, WrittenPresence, WrittenSticky,
};
pub use webhooks::{WrittenBatch, WrittenWebhooks};
