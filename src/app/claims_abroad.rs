//! Requests with an id whose claim Redis has been asked for: [`ClaimsAbroad`]. Bound: an entry for each, until it answers.

use ahash::{AHashMap, AHashSet};

use super::idempotency::Digest;
use crate::ident::CoreId;

/// A claim that Redis is asked for.
pub struct AskedClaim {
    pub asked_by: (CoreId, u64),
    pub id: Digest,
    pub wanted: Digest,
    pub waits: bool,
    pub again: bool,
}

/// See the module.
#[derive(Default)]
pub struct ClaimsAbroad {
    pub asked: AHashMap<u64, AskedClaim>,
    pub last: u64,
    /// By which what a request does now is kept once.
    pub carried: Option<Digest>,
    /// Those that this core has in Redis, of requests that can be done again.
    pub again: AHashSet<Digest>,
}
