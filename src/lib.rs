//! ringpost: a push server for Linux. Connections, by websocket or plain TCP, are bound to a *uid*, and
//! messages are sent to one uid, to a group or to everybody, on every core at once.
//!
//! This is the library under the program of the same name. You write an [`App`](app::App): one value on
//! each core, and callbacks that never wait. They act through a [`Context`](app::Context), and a
//! [`Server`] puts the app on listeners, with a [`Config`] in which every limit has a name.
//!
//! # An app in twenty lines
//!
//! Say who you are, and all you say is shouted to everybody, on whichever core they are:
//!
//! ```no_run
//! use ringpost::app::{App, Context};
//! use ringpost::{Config, Message, Server};
//!
//! struct Shout;
//!
//! impl App for Shout {
//!     type Session = ();
//!     type Note = ();
//!     const NAMESPACE: &'static str = "shout";
//!
//!     fn on_connect(&mut self, _: &mut Context<'_, Self>) {}
//!
//!     fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
//!         let text = message.text().unwrap_or_default();
//!         match cx.uid() {
//!             Some(name) => {
//!                 let shout = format!("{name}: {}!", text.to_uppercase());
//!                 cx.broadcast(&shout);
//!             }
//!             None => cx.bind_uid(text),
//!         }
//!     }
//! }
//!
//! fn main() -> std::io::Result<()> {
//!     Server::new(Config::default()).listen("websocket://127.0.0.1:1234", || Shout).run()
//! }
//! ```
//!
//! A uid that the first message names is only a claim, unless [`Config::auth`] has connections prove it: then the
//! first message is a token, its uid comes to [`on_proved`](app::App::on_proved), and nothing else can be
//! [bound](app::Context::bind_uid).
//!
//! # How it works
//!
//! Each core is a pinned thread with its own runtime and its own share of the uids. A connection moves to its uid's
//! core when the uid is [bound](app::Context::bind_uid), and stays there. So a send is one hop to another core at most.
//! What is sent waits in outboxes, and each connection gets one write at the end of a core's turn.
//!
//! # What is public
//!
//! [`app`] is what an app is written against, [`Server`] and [`Config`] what it is served by, and [`testing`] what it is
//! tested with. [`auth`], [`close`], [`ident`], [`payload`], [`stats`] and [`unix_peer`] hold the types that these speak of;
//! [`log`], [`escape`], [`accounts`] and [`machine`] are what the program itself needs beside them. Enums and structs that may grow are
//! `non_exhaustive`; a [`Config`] grows, too, so write `..Config::default()`. The feature `internals` opens what is under
//! all this to the project's own benchmarks and fuzzing: nothing of it is promised.
//!
//! `ARCHITECTURE.md` in the repository tells the life of one push step by step, with the places in the source; the
//! pages in `docs/` tell the rest.

#![warn(missing_docs)]
// What benchmarks and fuzzing alone use is no dead code. Clippy looks for that with the feature.
#![cfg_attr(not(feature = "internals"), allow(dead_code, unused_imports))]

pub mod accounts;
pub mod app;
pub mod auth;
#[cfg(not(feature = "internals"))]
mod bus;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod bus;
pub mod close;
pub mod config;
pub mod escape;
#[cfg(not(feature = "internals"))]
mod events;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod events;
mod guard;
#[cfg(not(feature = "internals"))]
mod handover;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod handover;
pub mod ident;
pub mod log;
mod log_limiter;
#[cfg(not(feature = "internals"))]
mod migration;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod migration;
mod net;
mod pages;
pub mod payload;
#[cfg(not(feature = "internals"))]
mod protocol;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod protocol;
mod queue;
mod server;
#[cfg(not(feature = "internals"))]
mod shard;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod shard;
pub mod stats;
#[cfg(not(feature = "internals"))]
mod streams;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod streams;
pub mod testing;
#[cfg(all(feature = "tls", not(feature = "internals")))]
mod tls;
#[cfg(all(feature = "tls", feature = "internals"))]
#[doc(hidden)]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls/absent.rs"]
mod tls;
pub mod unix_peer;

pub use close::CloseReason;
pub use config::Config;
pub use net::cluster::{ClusterDoubt, ClusterTrial, check_cluster, try_cluster};
pub use net::http::{Asset, Roles, Site};
pub use net::listen_address::ListenAddress;
pub use net::webhooks::check_webhooks;
pub use payload::Message;
pub use server::{Listen, Listening, Listens, Reload, Running, Server};
pub use tls::{
    CheckedChains as CheckedCertificateChains, CheckedFiles as CheckedCertificates,
    check_chains as check_certificate_chains, check_files as check_certificates,
};

/// What a server finds out about its machine before it starts, and what `ringpost doctor` tells of it.
pub mod machine {
    pub use crate::server::{
        DescriptorNeed, RingTrial, asker_name, control_groups, cores_for, cpu_percent, try_rings,
    };
}

/// The programs in the documents are compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/library.md")]
struct Documents;
