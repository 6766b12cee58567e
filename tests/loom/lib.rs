//! The doorbell that ships, compiled for loom; see `doorbell.rs` beside this file.
#![cfg(loom)]

#[path = "../../src/bus/doorbell.rs"]
mod doorbell;

pub use doorbell::{Doorbell, Notify, WakeFor};
