//! Tests of apps without sockets: the apps, the cores and what is between them are the real ones, on one thread and
//! with a clock of their own.
//!
//! A [`TestServer`] is made of what a [`Server`] is made of. Clients connect to it, say something, and a test looks at
//! what has reached each of them. Whoever binds a uid moves to that uid's core, half messages and all, as with a real
//! server; time goes on only where the test says so.
//!
//! ```
//! use std::time::Duration;
//!
//! use ringpost::app::{App, Context};
//! use ringpost::testing::TestServer;
//! use ringpost::{CloseReason, Message};
//!
//! struct Shout;
//!
//! impl App for Shout {
//!     type Session = ();
//!     type Note = ();
//!     const NAMESPACE: &'static str = "shout";
//!
//!     fn on_connect(&mut self, cx: &mut Context<'_, Self>) {
//!         cx.send("who are you?");
//!     }
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
//! let mut server = TestServer::new(2, || Shout);
//! let (ann, bob) = (server.connect(), server.connect());
//! assert_eq!(server.take_messages(ann), ["who are you?"]);
//!
//! server.say(ann, "ann");
//! server.say(bob, "bob");
//! server.say(ann, "tea");
//! assert_eq!(server.take_messages(bob), ["who are you?", "ann: TEA!"]);
//! assert_eq!(server.core_of(ann), Some(server.home("ann")));
//!
//! // Who never says who he is, is closed after `login_timeout`.
//! let mute = server.connect();
//! server.advance(Duration::from_secs(60));
//! assert_eq!(server.close_reason(mute), Some(CloseReason::LoginTimeout));
//! ```
//!
//! # What is not played
//!
//! Whatever needs a socket: how a handshake is answered and compression, HTTP and its API, proxies' headers, origins, rates, and
//! the limits on connections and on input that is kept. A close is over when it has been sent. A token's expiry goes by
//! the machine's clock. For these start a real [`Server`] on port 0.

mod client;
mod cores;
mod dial;
#[cfg(test)]
mod tests;

pub use client::{Client, Received};
pub use dial::Dial;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use crate::app::{self, App, OpeningRequest};
use crate::close::CloseReason;
use crate::config::Config;
use crate::ident::ConnId;
use crate::payload::AsMessage;
use crate::protocol::Codec;
use crate::protocol::http::token::{self, Token};
use crate::protocol::http::{HeadScan, check_head};
use crate::protocol::websocket::handshake::Handshake;
use crate::server::{Parts, Server};
use crate::shard::ListenerSpec;
use client::{Connection, Place};
use cores::Cores;

/// The URL of the listener that [`TestServer::new`] has.
const URL: &str = "websocket://127.0.0.1:0";
/// The first client's port; the others' follow.
const FIRST_PORT: u16 = 10_000;

/// What a request comes to that opens a connection.
type Opened = (OpeningRequest, Option<Token>);

/// Reads a client's request as the server does.
fn ask(dial: &Dial, spec: &ListenerSpec) -> Result<Opened, CloseReason> {
    let listens = spec.codec == Codec::Sse;
    let bytes = dial.head(listens);
    if !listens {
        let mut handshake = Handshake::new().with_token(spec.proves);
        return match handshake.advance_for(bytes.as_bytes(), spec.headers) {
            Ok(accepted) => {
                let accepted = accepted.expect("its head is whole");
                Ok((accepted.request, accepted.token))
            }
            Err(_) => Err(CloseReason::BadHandshake),
        };
    }
    let mut scan = HeadScan::new(bytes.len());
    let head = check_head(&mut scan, bytes.as_bytes());
    let head = head.ok().flatten().ok_or(CloseReason::BadHandshake)?;
    let token = token::token(&head).map_err(|_| CloseReason::BadHandshake)?;
    let request = OpeningRequest::new(head.path, head.query, head.fields(), spec.headers);
    Ok((request, token.filter(|_| spec.proves)))
}

/// A server on one thread, without sockets.
///
/// Each step of a test (connect, say, let time pass) returns when all has happened that it causes, on every core. Its
/// methods panic where a test is wrong: a client of another server's, a message that its codec cannot carry, a
/// callback that has panicked ([`TestServer::allow_panics`]), an app that never comes to rest.
///
/// [The module](self) has an example.
#[must_use]
pub struct TestServer {
    cores: Cores,
    parts: Parts,
    /// Panics that a test has not been told of, or is not to be.
    panics: Option<u64>,
}

impl TestServer {
    /// One app on a websocket listener, with this many cores (1 to 1,024) and a default [`Config`]. `make` is called
    /// once on each core, as in [`Server::listen`].
    pub fn new<A: App>(cores: usize, make: impl Fn() -> A + Send + Sync + 'static) -> TestServer {
        let server = Server::new(Config::default()).listen(URL, make);
        TestServer::of(server, cores).expect("one app on a listener, and 1 to 1,024 cores")
    }

    /// Everything that this server has: its configuration, its apps and their listeners. What a program puts together
    /// is tested as it is. Of the configuration [`Config::cores`] is not looked at; this many cores there are.
    ///
    /// # Errors
    /// What [`Server::start`] would find wrong before it opens a socket.
    pub fn of(server: Server, cores: usize) -> io::Result<TestServer> {
        let parts = server.into_parts()?;
        let mut server = TestServer {
            cores: Cores::start(&parts, cores)?,
            parts,
            panics: Some(0),
        };
        server.run();
        Ok(server)
    }

    /// From now on draws by this seed which core and which client is next, how much of a client's bytes is read at
    /// once, and how many envelopes. The same seed draws the same. Without one each has its turn in order and takes all
    /// there is.
    ///
    /// A test that holds with many seeds holds in many orders of what happens at once.
    pub fn seeded(mut self, seed: u64) -> TestServer {
        self.cores.rng = Some(Rng::with_seed(seed));
        self
    }

    /// Has callbacks panic without the test. What becomes of a connection then: see [`App`].
    pub fn allow_panics(&mut self) {
        self.panics = None;
    }

    /// A client connects to the first listener, and the app knows it. The first client comes to core 0, and each to the
    /// core after the last one's.
    pub fn connect(&mut self) -> Client {
        self.dial(Dial::new())
    }

    /// A client connects to the listener of this URL, written as the server was asked for it.
    pub fn connect_to(&mut self, url: &str) -> Client {
        self.dial(Dial::to(url))
    }

    /// A client connects in just this way.
    pub fn dial(&mut self, dial: Dial) -> Client {
        let listener = self.listener(dial.url.as_deref());
        let client = self.cores.connections.len();
        let in_turn = (0..self.cores.hosts.len()).cycle().nth(client);
        let core = dial.core.or(in_turn).unwrap_or_default();
        let loopback = SocketAddr::from(([127, 0, 0, 1], FIRST_PORT.wrapping_add(client as u16)));
        let spec = &self.parts.specs[listener];
        let cores = self.cores.hosts.len();
        let host = self.cores.hosts.get_mut(core);
        let host = host.unwrap_or_else(|| panic!("there is no core {core}, of {cores}"));
        let id = host.connect(listener as u16, dial.peer.unwrap_or(loopback));
        let place = Place::On(core, id);
        let connection = Connection::new(place, spec.codec, Cores::decoder(spec));
        self.cores.connections.push(connection);
        let opened = match spec.codec {
            Codec::WebSocket | Codec::V1 | Codec::Sse => ask(&dial, spec).map(Some),
            Codec::Text | Codec::Frame | Codec::Http => Ok(None),
        };
        self.open(core, id, opened, dial.uid);
        self.cores.depart_all(core);
        self.run();
        Client(client)
    }

    /// Lets a client in by its request, if it came by one, or ends it.
    fn open(
        &mut self,
        core: usize,
        id: ConnId,
        opened: Result<Option<Opened>, CloseReason>,
        uid: Option<String>,
    ) {
        let host = &mut self.cores.hosts[core];
        let (request, token) = match opened {
            Ok(opened) => opened.unzip(),
            Err(reason) => return host.close(id, reason),
        };
        match token
            .flatten()
            .map(|token| host.check_credential(&token.text))
        {
            Some(Err(error)) => host.close(id, app::ending(error)),
            Some(Ok(credential)) => {
                host.open_by(id, request.as_ref());
                host.prove(id, credential);
            }
            None => {
                host.open_by(id, request.as_ref());
                if let Some(uid) = uid {
                    host.claim(id, &uid);
                }
            }
        }
    }

    fn listener(&self, url: Option<&str>) -> usize {
        let of_app = |spec: &ListenerSpec| spec.codec != Codec::Http;
        let found = match url {
            None => self.parts.specs.iter().position(of_app),
            Some("events://") => {
                let is_events = |spec: &ListenerSpec| spec.codec == Codec::Sse;
                self.parts.specs.iter().position(is_events)
            }
            Some(url) => self.parts.urls.iter().position(|known| known == url),
        };
        let found = found.filter(|&number| of_app(&self.parts.specs[number]));
        found.unwrap_or_else(|| {
            let urls = &self.parts.urls;
            panic!(
                "no app listens on {}; there are {urls:?}",
                url.unwrap_or("anything")
            )
        })
    }

    /// A client sends this message, and everything happens that it causes. What it says before the server has read
    /// what it said earlier waits for that.
    pub fn say(&mut self, client: Client, message: impl AsMessage) {
        self.post(client, message);
        self.run();
    }

    /// A client sends a message, but nothing happens yet: of what several clients have posted, all is under way at once when the
    /// server [runs](TestServer::run).
    pub fn post(&mut self, client: Client, message: impl AsMessage) {
        let connection = self.connection(client);
        if connection.place != Place::Gone {
            connection.send(message.as_message());
        }
    }

    /// A client sends these bytes, which may be half a message, or no message at all.
    pub fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        self.connection(client).unread.extend_from_slice(bytes);
        self.run();
    }

    /// Has everything happen that is under way, on every core.
    pub fn run(&mut self) {
        self.cores.rest();
        self.look_for_panics();
    }

    /// Lets time pass: timers run out, and clients are pinged or closed for their silence, each at its time.
    pub fn advance(&mut self, time: Duration) {
        let until = self.cores.now + time;
        self.cores.advance(until);
        self.look_for_panics();
    }

    fn look_for_panics(&mut self) {
        let panics = self.cores.panics();
        if let Some(known) = self.panics
            && panics > known
        {
            // Once is enough, should the test catch it.
            self.panics = Some(panics);
            panic!("a callback has panicked; what it said is above");
        }
    }

    /// All messages that have reached a client since this was last asked. Those that came before its end are there
    /// after it, too.
    pub fn take_messages(&mut self, client: Client) -> Vec<Received> {
        std::mem::take(&mut self.connection(client).received)
    }

    /// Why the server has ended a client's connection; `None` while it is there. [`CloseReason::code`] is what the
    /// client was told.
    pub fn close_reason(&mut self, client: Client) -> Option<CloseReason> {
        self.connection(client).reason
    }

    /// A client closes its connection: by a close frame, or by the end of its stream.
    pub fn close(&mut self, client: Client) {
        self.connection(client).close();
        self.run();
    }

    /// A client's connection breaks.
    pub fn reset(&mut self, client: Client) {
        if let Place::On(core, id) = self.connection(client).place {
            self.cores.hosts[core].close(id, CloseReason::Reset);
            self.cores.remove(core, id);
        }
        self.run();
    }

    /// A client reads nothing from now on and answers no ping, as if its machine stood still: what is sent to it waits
    /// on the server. Where that comes to more than [`Config::outbox_bytes_max`], it is closed after ten seconds of that
    /// ([`CloseReason::SlowConsumer`]).
    pub fn stall(&mut self, client: Client) {
        self.connection(client).is_stalled = true;
    }

    /// A client that was [stalled](TestServer::stall) reads on.
    pub fn unstall(&mut self, client: Client) {
        let connection = self.connection(client);
        connection.is_stalled = false;
        if let Place::On(core, id) = connection.place {
            self.cores.hosts[core].shard().set_blocked(id, false);
        }
        self.run();
    }

    /// The core that a client's connection is on; `None` once it has ended.
    pub fn core_of(&mut self, client: Client) -> Option<usize> {
        match self.connection(client).place {
            Place::On(core, _) => Some(core),
            Place::Travelling | Place::Gone => None,
        }
    }

    /// The uid that a client's connection is bound to.
    pub fn uid_of(&mut self, client: Client) -> Option<String> {
        match self.connection(client).place {
            Place::On(core, id) => self.cores.hosts[core]
                .shard()
                .connections
                .uid(id)
                .map(str::to_owned),
            Place::Travelling | Place::Gone => None,
        }
    }

    /// The core where the connections of this uid live. It is the same in every run.
    pub fn home(&mut self, uid: &str) -> usize {
        self.cores.hosts[0].bus().home(uid).index()
    }

    fn connection(&mut self, client: Client) -> &mut Connection {
        let connection = self.cores.connections.get_mut(client.0);
        connection.expect("the client is another server's")
    }
}
