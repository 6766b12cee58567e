//! Streams, tested: the cases that every engine must pass, a store against a plain engine, a store that is short of
//! memory against the whole truth, and what it holds.

mod cases;
mod memory;
mod plain;
mod tight;
mod written;

use std::time::{Duration, Instant};

use ahash::RandomState;
use proptest::test_runner::{Config as Runs, FileFailurePersistence};

use super::*;
use crate::config::Config;
use crate::ident::NamespaceId;
use crate::payload::{Message, Payload};

pub const NAMESPACE: NamespaceId = NamespaceId(0);
pub const SECOND: Duration = Duration::from_secs(1);
pub const ALL: Limit = Limit {
    messages: usize::MAX,
    bytes: usize::MAX,
};

pub fn text(text: &str) -> Payload {
    Payload::new(Message::Text(text))
}

pub fn keep(size: u32, seconds: u64) -> Keep {
    Keep {
        size,
        ttl: Duration::from_secs(seconds),
        queue: false,
    }
}

/// A store of so many bytes.
pub fn store(now: Instant, bytes_max: usize) -> Store {
    let config = Config {
        history_bytes_core_max: bytes_max,
        ..Config::default()
    };
    Store::new(&config, now, RandomState::with_seeds(1, 2, 3, 4))
}

/// As many runs as PROPTEST_CASES says, or 256.
fn runs() -> Runs {
    Runs {
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..Runs::default()
    }
}
