//! ringpost: a push server for Linux, on every core at once.

pub mod app;
#[doc(hidden)]
pub mod bus;
pub mod close;
pub mod config;
pub mod ident;
pub mod payload;
#[doc(hidden)]
pub mod protocol;
pub mod stats;
