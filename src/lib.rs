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
//!     const SPACE: &'static str = "shout";
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
//! # The life of one push
//!
//! Each core is a pinned thread with its own runtime and its own share of the uids. From `accept` to
//! the last write, with the places in the source:
//!
//! 1. **Accept.** The kernel gives a browser's connection to one core's listener; `Tasks::accept`
//!    (`server/runtime.rs`) takes it, `Transport::accept` (`net/transport.rs`) gives it a slot
//!    in the core's shard and a place on its wire. It gets no task.
//! 2. **Handshake.** Its request is read into the core's one buffer (`Transport::read_into`) and checked
//!    (`Handshake::advance`); `Host::open` (`app/host.rs`) calls [`on_connect`](app::App::on_connect).
//! 3. **Login.** `Decoder::next` cuts out its first message, `Host::message` hands it to
//!    [`on_message`](app::App::on_message), and the app calls `bind_uid`. That takes effect after the callback.
//! 4. **Move.** `Route::home` (`bus/route.rs`) says on which core the uid lives. If it is another,
//!    `Transport::depart_all` takes the connection off the wire and `Host::depart` posts all that it is, in one
//!    envelope, to that core.
//! 5. **At home.** `Host::arrive` gives it a slot there, `Shard::bind` enters the uid,
//!    [`on_bound`](app::App::on_bound) is called, and `Transport::adopt` puts it on that core's wire, for good.
//! 6. **Somebody sends.** On any core, an app calls [`send_to_uid`](app::Context::send_to_uid) or
//!    [`push`](app::Context::push). `app/local.rs` computes the home core. If that is its own, step 8 follows at once.
//! 7. **One hop.** `Endpoint::post` (`bus/endpoint.rs`) puts one envelope into the home core's mailbox, and
//!    `Doorbell::mail_posted` rings only if that core sleeps.
//! 8. **Delivery.** In the home core's next turn (`Turn::run`, `server/turn.rs`) `Host::receive` takes the
//!    envelope and `Shard::send_to_uid` (`shard/delivery.rs`) finds the uid's connections.
//! 9. **Outbox.** The message is encoded once for each codec needed and put into each outbox
//!    (`shard/outbox.rs`), or, where it does not fit, closes that connection. Each goes onto the dirty list. A
//!    `push` is answered by how many it reached ([`on_answer`](app::App::on_answer)).
//! 10. **Write.** At the turn's end `Transport::flush` writes each dirty connection once, all that waits for
//!     it: `Wire::write` hands these writes to the kernel in one call (`net/wire/uring.rs`), or where there is no
//!     io_uring by one `send` each (`net/wire/epoll.rs`).
//!
//! ARCHITECTURE.md in the repository has the rest: the modules by layer, what there is not, the bus, the limits.

#![warn(missing_docs)]

pub mod app;
pub mod auth;
#[doc(hidden)]
pub mod bus;
pub mod close;
pub mod config;
pub mod escape;
#[doc(hidden)]
pub mod events;
mod guard;
mod hush;
pub mod ident;
pub mod log;
mod net;
mod pages;
pub mod payload;
#[doc(hidden)]
pub mod protocol;
mod server;
#[doc(hidden)]
pub mod shard;
pub mod stats;

pub use close::CloseReason;
pub use config::Config;
pub use net::http::{Asset, Roles, Site};
pub use net::webhooks::check_webhooks;
pub use payload::Message;
pub use server::{
    DescriptorNeed, Listen, Listening, Listens, Reload, RingTrial, Running, Server, control_groups,
    cores_for, cpu_percent, try_rings,
};

/// The README's program is compiled, too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
