//! ringpost: a push server for Linux, on every core at once.

pub mod app;
pub mod close;
pub mod config;
pub mod escape;
pub mod ident;
pub mod payload;
pub mod stats;
