//! A server without sockets: the hosts of some cores on one thread, and between them and the clients what
//! the transport does, in the order of a core's turn (`src/server/turn.rs`).
//!
//! Time stands still but for a step each turn, and every table of a core hashes by a fixed seed, so that
//! two runs do the same. (The back end's app seeds its own table of some 16 entries at random, which
//! changes nothing before a count's fifth digit.) Bound: what a workload prepares. `workloads` plays one.

use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use ahash::RandomState;
use ringpost::Config;
use ringpost::app::App;
use ringpost::app::host::{Arrival, Flow, Handled, Host};
use ringpost::app::hosted::{Hosted, Hosting};
use ringpost::app::namespaces::Registry;
use ringpost::auth::backend_tokens::BackendTokens;
use ringpost::bus::{Route, connect_by};
use ringpost::ident::{ConnId, CoreId, NamespaceId, Reach};
use ringpost::migration::{Counted, Input as Reading, Progress, Socket, TransportPart};
use ringpost::protocol::websocket::handshake::Handshake;
use ringpost::protocol::{Codec, Decoded, Decoder};
use ringpost::shard::ListenerSpec;

use crate::apps::backend::report::ServerFacts;
use crate::apps::backend::{Backend, TokenTimeout};
use crate::apps::echo::Echo;
use crate::apps::push::Push;
use crate::apps::relay::Relay;
use crate::room::Room;

/// The seed of every table, and of uid -> core.
const SEED: u64 = 0x7269_6e67_706f_7374;
/// The time that a turn takes.
const TURN: Duration = Duration::from_micros(100);
/// Pieces of one write, as in the wire (`src/net/wire/batch.rs`).
const PIECES_MAX: usize = 64;
/// As in the transport (`src/net/transport/mod.rs`).
const WRITES_PER_TURN: usize = 256;

/// The apps, each with one listener, by their numbers as app, listener and namespace.
pub const RELAY: u16 = 0;
pub const PUSH: u16 = 1;
pub const BACKEND: u16 = 2;
pub const ECHO: u16 = 3;
pub const ROOM: u16 = 4;
const EVENTS: u16 = 5;
/// Of the push app, whose clients speak `ringpost.v1`.
pub const V1: u16 = 6;

/// What the bytes of a client are to the server.
enum Input {
    Handshake(Box<Handshake>),
    Messages(Decoder),
}

/// Where a client is.
enum Place {
    Away,
    On(usize, ConnId),
    Moving,
}

struct Client {
    listener: u16,
    place: Place,
    input: Input,
}

/// What one client sends in one turn: which bytes of the script's.
pub struct Read {
    pub client: usize,
    pub bytes: Range<usize>,
}

/// One turn of one core: which of the script's reads.
pub struct Step {
    pub core: usize,
    pub reads: Range<usize>,
}

/// All that the clients of a workload do.
#[derive(Default)]
pub struct Script {
    pub bytes: Vec<u8>,
    pub reads: Vec<Read>,
    pub steps: Vec<Step>,
}

pub struct Cores {
    hosts: Vec<Host>,
    clients: Vec<Client>,
    now: Instant,
    /// What has been written to clients.
    pub bytes_out: u64,
    /// The bytes themselves, if somebody looks.
    pub tap: Option<Vec<u8>>,
}

fn spec(number: u16, codec: Codec, binds: bool) -> ListenerSpec {
    ListenerSpec {
        binds,
        pauses: number == BACKEND,
        ..ListenerSpec::new(number as u8, codec, NamespaceId(number.into()))
    }
}

fn hosting<A: App>(app: A, number: u16, reach: &[u16]) -> Box<dyn Hosted> {
    let reach = reach
        .iter()
        .try_fold(Reach::default(), |reach, namespace| {
            reach.with(NamespaceId((*namespace).into()))
        })
        .expect("a few namespaces are reached together");
    Box::new(Hosting::new(app, number as u8, reach))
}

impl Cores {
    pub fn new(cores: usize) -> Cores {
        Cores::configured(cores, &Config::default())
    }

    /// So many cores, by this configuration.
    pub fn configured(cores: usize, config: &Config) -> Cores {
        let listeners: Rc<[ListenerSpec]> = Rc::from([
            spec(RELAY, Codec::WebSocket, true),
            spec(PUSH, Codec::WebSocket, true),
            spec(BACKEND, Codec::Text, false),
            spec(ECHO, Codec::WebSocket, false),
            spec(ROOM, Codec::WebSocket, true),
            // What is kept of the push app's uids can be had from here.
            ListenerSpec {
                namespace: NamespaceId(PUSH.into()),
                ..spec(EVENTS, Codec::Sse, true)
            },
            ListenerSpec {
                app: PUSH as u8,
                namespace: NamespaceId(PUSH.into()),
                ..spec(V1, Codec::V1, true)
            },
        ]);
        let now = Instant::now();
        let route = Route::with_seed(cores, SEED).expect("a few cores");
        let ends = connect_by(route).expect("the doorbells open");
        let registry = Registry::new(6);
        let hosts = ends.into_iter().map(|bus| {
            let apps = vec![
                hosting(Relay::new(Arc::new(AtomicBool::new(true))), RELAY, &[RELAY]),
                hosting(
                    Push {
                        tells: Default::default(),
                    },
                    PUSH,
                    &[],
                ),
                hosting(
                    Backend::new(
                        BackendTokens::default(),
                        TokenTimeout::new(Duration::from_secs(10)),
                        ServerFacts::new(),
                    ),
                    BACKEND,
                    &[RELAY, PUSH],
                ),
                hosting(Echo, ECHO, &[]),
                hosting(Room, ROOM, &[ROOM]),
            ];
            let listeners = Rc::clone(&listeners);
            let mut host = Host::new(config, bus, listeners, Arc::clone(&registry), apps, now);
            host.hash_by(&RandomState::with_seeds(SEED, !SEED, 1, 2));
            host.start();
            host
        });
        Cores {
            hosts: hosts.collect(),
            clients: Vec::new(),
            now,
            bytes_out: 0,
            tap: None,
        }
    }

    /// The core that is a uid's home.
    pub fn home(&mut self, uid: &str) -> usize {
        self.hosts[0].bus().home(uid).index()
    }

    /// A client that will connect to this listener with the first that it sends.
    pub fn add_client(&mut self, listener: u16) -> usize {
        let input = match listener {
            BACKEND => Input::Messages(Decoder::new(
                Codec::Text,
                Config::default().message_bytes_max,
            )),
            _ => Input::Handshake(Box::default()),
        };
        self.clients.push(Client {
            listener,
            place: Place::Away,
            input,
        });
        self.clients.len() - 1
    }

    /// Messages that the shards have queued for clients, envelopes posted, and connections moved, so far.
    pub fn counts(&mut self) -> [u64; 3] {
        let mut sums = [0; 3];
        for host in &mut self.hosts {
            sums[1] += host.envelopes();
            let stats = &host.shard().stats;
            sums[0] += stats.messages_out;
            sums[2] += stats.moved_in;
        }
        sums
    }

    /// Plays it to its end, and on until nothing is under way.
    pub fn play(&mut self, script: &mut Script) {
        let Script {
            bytes,
            reads,
            steps,
        } = script;
        for step in steps {
            while self.turn(step.core, &reads[step.reads.clone()], bytes) {
                step.reads = 0..0;
            }
        }
        // A question, its answer and a move each cross once.
        for _ in 0..4 {
            for core in 0..self.hosts.len() {
                while self.turn(core, &[], bytes) {}
            }
        }
    }

    /// One turn of a core. Returns whether something is left for its next.
    fn turn(&mut self, core: usize, reads: &[Read], bytes: &mut [u8]) -> bool {
        self.now += TURN;
        let host = &mut self.hosts[core];
        host.bus().drain();
        host.bus().disarm();
        host.set_now(self.now);
        while let Some(envelope) = self.hosts[core].take() {
            match self.hosts[core].receive(envelope) {
                Handled::Done => {}
                Handled::Arrived(arrival) => self.adopt(core, arrival),
                Handled::Drain(_) | Handled::Upgrade(_) | Handled::Renew => {
                    unreachable!("nobody stops this server")
                }
            }
        }
        self.hosts[core].settle_credits();
        for read in reads {
            self.read(core, read.client, &mut bytes[read.bytes.clone()]);
        }
        self.hosts[core].expire();
        self.hosts[core].read_on();
        self.hosts[core].bus().want_credit(false);
        self.hosts[core].bus().ring_posted();
        let writes_left = self.flush(core);
        self.hosts[core].publish_taken();
        self.hosts[core].bus().ring_posted();
        writes_left || !self.hosts[core].bus().arm()
    }

    fn adopt(&mut self, core: usize, arrival: Arrival) {
        let Socket::Sent { number, .. } = arrival.socket else {
            unreachable!("a client has no descriptor");
        };
        self.clients[number as usize].place = Place::On(core, arrival.connection);
    }

    /// Only who has just been read can want to leave.
    fn depart(&mut self, core: usize, client: usize) {
        while let Some(departure) = self.hosts[core].next_departure() {
            let id = departure.connection;
            let place = std::mem::replace(&mut self.clients[client].place, Place::Moving);
            assert!(matches!(place, Place::On(on, is) if (on, is) == (core, id)));
            assert!(self.hosts[core].flow(id) == Flow::Leave);
            let progress = Progress::new(Reading::Ignored, Counted::Connection);
            let socket = Socket::Sent {
                from: CoreId(core as u16),
                number: client as u64,
            };
            let transport_part = TransportPart::new(progress, self.now);
            self.hosts[core].depart(departure, transport_part, socket);
        }
    }

    /// What a client has sent goes to the host, as `Transport::feed` does it.
    #[inline(never)]
    fn read(&mut self, core: usize, number: usize, input: &mut [u8]) {
        let id = match self.clients[number].place {
            Place::On(on, id) => {
                assert_eq!(on, core, "a client is read where it lives");
                id
            }
            Place::Away => self.accept(core, number),
            Place::Moving => panic!("a client waits for the answer to its login"),
        };
        let host = &mut self.hosts[core];
        host.shard().heard(id, input.len());
        let mut at = 0;
        let client = &mut self.clients[number];
        if let Input::Handshake(handshake) = &mut client.input {
            let accepted = handshake.advance(input).ok().flatten();
            let accepted = accepted.expect("a good request");
            at = accepted.consumed;
            let bytes_max = host
                .shard()
                .connections
                .listener(id)
                .map(|one| one.message_bytes_max);
            client.input = Input::Messages(Decoder::new(Codec::WebSocket, bytes_max.unwrap_or(0)));
            host.shard()
                .send_raw(id, |_, out| out.extend_from_slice(&accepted.response));
            host.open(id);
        }
        let Input::Messages(decoder) = &mut client.input else {
            unreachable!("the handshake is done");
        };
        feed(host, id, decoder, input, at);
        self.depart(core, number);
    }

    fn accept(&mut self, core: usize, client: usize) -> ConnId {
        let one = &mut self.clients[client];
        let host = &mut self.hosts[core];
        let id = host.connect(one.listener, SocketAddr::from(([127, 0, 0, 1], 1024)));
        one.place = Place::On(core, id);
        if matches!(one.input, Input::Messages(_)) {
            host.open(id);
        }
        id
    }

    /// Writes each dirty connection, as `Transport::flush` does, to a kernel that takes all.
    #[inline(never)]
    fn flush(&mut self, core: usize) -> bool {
        let shard = self.hosts[core].shard();
        for _ in 0..WRITES_PER_TURN {
            let Some(id) = shard.next_dirty(true) else {
                return false;
            };
            while !shard.connections.outbox_is_empty(id) {
                let mut written = 0;
                for piece in shard.connections.pieces(id).take(PIECES_MAX) {
                    written += piece.len();
                    if let Some(tap) = &mut self.tap {
                        tap.extend_from_slice(piece);
                    }
                }
                self.bytes_out += written as u64;
                shard.written(id, written);
            }
        }
        shard.has_dirty()
    }
}

/// What is in the input from there on goes to the host, message by message.
#[inline(never)]
fn feed(host: &mut Host, id: ConnId, decoder: &mut Decoder, input: &mut [u8], mut at: usize) {
    loop {
        if at == input.len() && decoder.bytes_held() == 0 {
            return;
        }
        let flow = host.flow(id);
        match decoder.next(input, &mut at) {
            Ok(None) => return,
            Ok(Some(Decoded::Message(message))) => {
                assert!(flow == Flow::Go, "no client here is too fast: {flow:?}");
                host.message(id, message);
            }
            other => panic!("no client here sends that: {other:?}"),
        }
    }
}
