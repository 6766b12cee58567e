//! A connection is taken out at any byte of what it says, in any phase, and goes on elsewhere: as the value itself or
//! from its written form, once or again and again. What it is answered is what one is that has never moved.

#[cfg(feature = "tls")]
mod records;
mod script;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::Shutdown;

use script::{CODECS, FRAME, HTTP, PROXIED, PROXIED_TEXT, WEBSOCKET, said};

use super::*;
use crate::app::migration::ArriveError;
use crate::app::namespaces::Registry;
use crate::auth::backend_tokens::BackendTokens;
use crate::config::UidPolicy;
use crate::ident::Reply;
use crate::migration::{Destination, Migration, SessionPart};
use crate::net::http::{Access, Api, Asset, Facts, Port, Roles, ServedSite, Site};
use crate::shard::{DepartError, Exchange, Phase, SavedPhase};

/// `bind UID`, `join GROUP`, `group GROUP WORDS`, `to UID WORDS`, `ask` for a place, and `fill` what is open, the last
/// first; anything else is said again. It counts what was said.
struct Talker {
    writes: bool,
}

struct Talk {
    count: u32,
    places: Vec<u32>,
}

impl App for Talker {
    type Session = Talk;
    type Note = ();
    const NAMESPACE: &'static str = "talk";

    fn pack(&self, session: &Talk) -> Option<Vec<u8>> {
        let Talk { count, places } = session;
        self.writes
            .then(|| postcard::to_allocvec(&(count, places)).unwrap())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<Talk> {
        let (count, places) = postcard::from_bytes(bytes).ok()?;
        Some(Talk { count, places })
    }

    fn on_connect(&mut self, _: &mut Context<'_, Talker>) -> Talk {
        Talk {
            count: 0,
            places: Vec::new(),
        }
    }

    fn on_message(&mut self, cx: &mut Context<'_, Talker>, talk: &mut Talk, said: Message<'_>) {
        talk.count += 1;
        let text = said.text().unwrap_or("bytes");
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        match words[..] {
            ["bind", uid] => cx.bind_uid(uid),
            ["join", group] => cx.join(group),
            ["group", group, words] => cx.send_to_group(group, words),
            ["to", uid, words] => cx.send_to_uid(uid, words),
            ["ask"] => talk.places.push(cx.reserve().number),
            ["fill"] => {
                let connection = cx.connection().unwrap();
                for (nth, number) in talk.places.drain(..).enumerate().rev() {
                    let place = Reply { connection, number };
                    cx.fill(place, format!("{}, place {nth}", talk.count));
                }
            }
            _ => cx.send(format!("{}: {text}", talk.count)),
        }
    }

    fn on_flawed(
        &mut self,
        cx: &mut Context<'_, Talker>,
        talk: &mut Talk,
        flaw: crate::close::Flaw,
        line: &[u8],
    ) {
        talk.count += 1;
        cx.send(format!("{}: {flaw:?} of {}", talk.count, line.len()));
    }
}

fn spec(number: usize) -> ListenerSpec {
    ListenerSpec {
        app: 0,
        codec: CODECS[number],
        namespace: NamespaceId(0),
        binds: true,
        optional: false,
        proves: false,
        pauses: CODECS[number] == Codec::Text || CODECS[number] == Codec::Http,
        tells: CODECS[number] == Codec::Text,
        message_bytes_max: 3_000,
        outbox_bytes_max: match CODECS[number] {
            // Open places alone, which it has itself to fill, are less than half.
            Codec::Text => 1_500,
            _ => 1 << 20,
        },
        compress: true,
        shown: number as u16,
        url: "".into(),
        v1: None,
        headers: &[],
    }
}

fn port() -> Rc<Port> {
    const ASSETS: &[Asset] = &[Asset {
        path: "/",
        content_type: "text/html",
        bytes: b"a page",
    }];
    let other = Core::new(WireKind::Epoll).host;
    let api = Api::new(
        Rc::new(RefCell::new(other)),
        Rc::default(),
        Reach::default(),
        Access::new(BackendTokens::default()),
        Arc::new(Facts::new(Vec::new(), None)),
    );
    let served = ServedSite {
        websockets: vec![("/ws".to_owned(), WEBSOCKET)],
        ..ServedSite::new(Site {
            assets: ASSETS,
            reach: &[],
            roles: Roles::ALL,
        })
    };
    Rc::new(Port::new(served, api, Rc::from("[]"), Arc::default()))
}

/// A core with all listeners.
fn core(kind: WireKind, writes: bool) -> Core {
    let config = Config {
        uid_policy: UidPolicy::Reject,
        ..Config::default()
    };
    let specs: Rc<[ListenerSpec]> = (0..CODECS.len()).map(spec).collect();
    let doors: Vec<EntryRules> = (0..CODECS.len() as u16)
        .map(|number| EntryRules {
            pool: match number {
                HTTP => Pool::HttpClients,
                _ => Pool::Clients,
            },
            proxied: number == PROXIED || number == PROXIED_TEXT,
            per_address_max: 1_000,
            counted_with: number,
            on_loopback: true,
        })
        .collect();
    let rate = Rate {
        messages_per_second: 100_000,
        bytes_per_second: 0,
        message_bytes_max: 3_000,
    };
    let second = Duration::from_secs(1);
    let rates = Rates::new(&[rate; CODECS.len()], second, Instant::now());
    let app: Box<dyn Hosted> = Box::new(Hosting::new(Talker { writes }, 0, Reach(1)));
    let bus = bus::connect(1).unwrap().pop().unwrap();
    let host = Host::new(
        &config,
        bus,
        Rc::clone(&specs),
        Registry::new(1),
        vec![app],
        Instant::now(),
    );
    let mut transport = Transport::new(
        Wire::new(kind).unwrap(),
        specs,
        Origins::default(),
        Admission::new(&config, Arc::new(ConnectionCounters::new(None)), &doors),
        rates,
        InputBuffers::new(config.inbox_bytes_core_max),
        None,
    );
    let ports = (0..CODECS.len() as u16).map(|number| (number == HTTP).then(port));
    transport.serve(ports.collect(), Rc::default(), 1_000);
    Core {
        host,
        transport,
        listener: TcpListener::bind("127.0.0.1:0").unwrap(),
    }
}

/// The world of one client.
struct Scene {
    cores: Vec<Core>,
    on: usize,
    client: TcpStream,
    heard: Vec<u8>,
    is_over: bool,
}

impl Scene {
    fn new(kind: WireKind, listener: u16, cores: usize) -> Scene {
        let mut cores: Vec<Core> = (0..cores).map(|_| core(kind, true)).collect();
        let first = &mut cores[0];
        let client = TcpStream::connect(first.listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let (stream, _) = first.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let peer = ([127, 0, 0, 1], 4_000).into();
        first
            .transport
            .accept(&mut first.host, listener, stream, peer);
        Scene {
            cores,
            on: 0,
            client,
            heard: Vec::new(),
            is_over: false,
        }
    }

    fn turn(&mut self) {
        self.cores[self.on].turn();
        let mut bytes = [0; 4_096];
        loop {
            match self.client.read(&mut bytes) {
                Ok(0) => self.is_over = true,
                Ok(length) => {
                    self.heard.extend_from_slice(&bytes[..length]);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Its kernel was told of bytes that nobody read.
                Err(_) => self.is_over = true,
            }
            return;
        }
    }

    /// Reads without writing, so that what is answered is left.
    fn half_turn(&mut self) {
        let core = &mut self.cores[self.on];
        core.transport.settle();
        core.host.begin_round_at_once();
        core.transport.take_ready(&mut core.host);
    }

    /// It goes to the next core. What there was of it on its way, if it is still there.
    fn go(&mut self, destination: Destination) -> Vec<&'static str> {
        let here = &mut self.cores[self.on];
        let Some(id) = here.host.shard().connections.ids().first().copied() else {
            return Vec::new();
        };
        let taken = here.transport.take_out(&mut here.host, id, destination);
        let (mut migration, stream) = taken.unwrap();
        here.transport.settle();
        here.host.shard().check();
        assert_eq!(here.host.shard().leftovers(), 0);
        assert!(here.transport.links.get(id).is_none());
        self.on = 1 - self.on;
        let there = &mut self.cores[self.on];
        if destination == Destination::Process {
            let bytes = migration.write().unwrap();
            migration = Migration::read(&bytes, there.host.now()).unwrap();
            assert_eq!(migration.write().unwrap(), bytes);
        }
        let mut seen = seen(&migration);
        let put = there.transport.take_in(&mut there.host, migration, stream);
        let id = put.unwrap();
        there.host.shard().check();
        seen.push(match there.host.shard().connections.phase(id) {
            Phase::Free => "gone",
            _ => "there",
        });
        seen
    }

    fn end(mut self) -> Vec<u8> {
        let _ = self.client.shutdown(Shutdown::Write);
        let until = Instant::now() + Duration::from_secs(20);
        while !self.is_over {
            self.turn();
            if Instant::now() > until {
                let core = &mut self.cores[self.on];
                let id = core.host.shard().connections.ids().first().copied();
                let phase = id.map(|id| core.host.shard().connections.phase(id));
                let flow = id.map(|id| core.host.flow(id));
                panic!("it does not end: {phase:?} {flow:?}");
            }
        }
        self.heard
    }
}

/// All that is to have been on its way.
const SEEN: [&str; 16] = [
    "opening",
    "asking",
    "open",
    "home",
    "closing",
    "paused",
    "unsent",
    "places",
    "groups",
    "window",
    "unread",
    "end",
    "half a message",
    "half a request",
    "half a handshake",
    "half a proxy's header",
];

/// What of that there is of this one.
fn seen(migration: &Migration) -> Vec<&'static str> {
    let (shard_part, progress) = (&migration.shard_part, &migration.transport_part.progress);
    let half = match &progress.input {
        _ if progress.bytes_held() == progress.unread.capacity() => "nothing half",
        Input::Messages(_) => "half a message",
        Input::Requests(_) => "half a request",
        Input::Handshake(_) => "half a handshake",
        Input::ProxyHeader(_) => "half a proxy's header",
        _ => "nothing half",
    };
    let stage = match &shard_part.stage {
        SavedPhase::Opening => "opening",
        SavedPhase::Http(_) => "asking",
        SavedPhase::Open { .. } => "open",
        SavedPhase::Home { .. } => "home",
        SavedPhase::Closing { .. } => "closing",
    };
    let mut seen = vec![half, stage];
    let tls = progress.tls.as_ref();
    for (name, is_there) in [
        ("half a record", tls.is_some_and(|tls| tls.bytes_held() > 0)),
        ("paused", shard_part.paused),
        ("unsent", !shard_part.unsent.bytes.is_empty()),
        ("places", shard_part.replies.is_some()),
        ("groups", !shard_part.groups.is_empty()),
        ("window", shard_part.window.is_some()),
        ("unread", !progress.unread.is_empty()),
        ("end", progress.at_end),
    ] {
        if is_there {
            seen.push(name);
        }
    }
    seen
}

/// What is answered to one that stays.
fn answered(kind: WireKind, listener: u16, said: &[u8]) -> Vec<u8> {
    let mut scene = Scene::new(kind, listener, 1);
    scene.client.set_nonblocking(false).unwrap();
    scene.client.write_all(said).unwrap();
    scene.client.set_nonblocking(true).unwrap();
    scene.turn();
    scene.end()
}

#[test]
fn who_moves_is_answered_as_who_stays() {
    on_both(|kind| {
        let (mut seen, mut all) = (HashMap::new(), 0);
        for seed in 0..400 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (listener, said) = said(&mut rng);
            let expected = answered(kind, listener, &said);
            all += expected.len();
            let mut scene = Scene::new(kind, listener, 2);
            let mut at = 0;
            while at < said.len() && !scene.is_over {
                let most = if rng.bool() { 20 } else { 700 };
                let next = (at + rng.usize(0..most)).min(said.len());
                // What comes after its end is refused by its kernel.
                let _ = scene.client.write_all(&said[at..next]);
                at = next;
                match rng.u8(0..3) {
                    0 => scene.turn(),
                    1 => scene.half_turn(),
                    _ => {}
                }
                let crossing = match rng.bool() {
                    true => Destination::Core,
                    false => Destination::Process,
                };
                if rng.bool() {
                    for one in scene.go(crossing) {
                        *seen.entry(one).or_insert(0) += 1;
                    }
                }
            }
            if rng.bool() {
                // Its end is found where it has gone.
                let _ = scene.client.shutdown(Shutdown::Write);
                scene.half_turn();
                for one in scene.go(Destination::Process) {
                    *seen.entry(one).or_insert(0) += 1;
                }
            }
            let heard = scene.end();
            assert_eq!(
                heard.escape_ascii().to_string(),
                expected.escape_ascii().to_string(),
                "seed {seed}: {}",
                said.escape_ascii()
            );
        }
        assert!(all > 100_000, "{all} bytes were answered");
        for one in SEEN {
            assert!(seen.contains_key(one), "{one}: {seen:?}");
        }
    });
}

/// A text connection that has said this on a core whose app writes sessions down, or does not.
fn speaker(writes: bool, said: &[u8]) -> (Core, TcpStream, ConnId) {
    let mut core = core(WireKind::Epoll, writes);
    let client = TcpStream::connect(core.listener.local_addr().unwrap()).unwrap();
    let (stream, peer) = core.listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    core.transport.accept(&mut core.host, 1, stream, peer);
    (&client).write_all(said).unwrap();
    core.turn();
    let id = core.host.shard().connections.ids()[0];
    (core, client, id)
}

#[test]
fn whose_session_is_not_written_stays_in_the_process_and_is_served() {
    let (mut core, mut client, id) = speaker(false, b"one\n");
    let refused = core
        .transport
        .take_out(&mut core.host, id, Destination::Process);
    assert_eq!(refused.err(), Some(DepartError::Unwritten));
    client.write_all(b"two\n").unwrap();
    core.turn();
    assert_eq!(read(&mut client, 14), b"1: one\n2: two\n");
    // To another core it can go.
    let taken = core
        .transport
        .take_out(&mut core.host, id, Destination::Core);
    assert!(taken.is_ok());
    let again = core
        .transport
        .take_out(&mut core.host, id, Destination::Core);
    assert_eq!(again.err(), Some(DepartError::Gone));
}

#[test]
fn who_is_of_no_listener_here_or_has_no_session_is_refused() {
    let (mut core, _client, id) = speaker(true, b"one\n");
    let taken = core
        .transport
        .take_out(&mut core.host, id, Destination::Process);
    let (migration, stream) = taken.unwrap();
    let bytes = migration.write().unwrap();
    type Change = fn(&mut Migration);
    let cases: [(Change, ArriveError); 4] = [
        (|it| it.shard_part.listener = 6, ArriveError::Listener),
        (|it| it.shard_part.listener = FRAME, ArriveError::Listener),
        (|it| it.shard_part.listener = HTTP, ArriveError::Listener),
        (
            |it| it.session = SessionPart::None,
            ArriveError::SessionPart,
        ),
    ];
    for (change, expected) in cases {
        let mut migration = Migration::read(&bytes, core.host.now()).unwrap();
        change(&mut migration);
        let stream = stream.try_clone().unwrap();
        let refused = core.transport.take_in(&mut core.host, migration, stream);
        assert_eq!(refused, Err(expected));
        core.host.shard().check();
        assert_eq!(core.host.shard().leftovers(), 0);
    }
    // As it was it comes back.
    let migration = Migration::read(&bytes, core.host.now()).unwrap();
    let back = core.transport.take_in(&mut core.host, migration, stream);
    assert!(back.is_ok());
}

#[test]
fn a_request_that_is_being_answered_stays_until_it_is() {
    let mut scene = Scene::new(WireKind::Epoll, HTTP, 2);
    scene.turn();
    let here = &mut scene.cores[0];
    let id = here.host.shard().connections.ids()[0];
    here.host.shard().set_exchange(id, Exchange::Answering);
    let refused = here
        .transport
        .take_out(&mut here.host, id, Destination::Core);
    assert_eq!(refused.err(), Some(DepartError::Answering));
    here.host.shard().set_exchange(id, Exchange::Idle);
    assert!(scene.go(Destination::Process).contains(&"asking"));
}

/// What an address has is counted where its connections are: of two processes only one has this.
#[test]
fn its_place_is_counted_once_and_given_back() {
    let mut scene = Scene::new(WireKind::Epoll, FRAME, 2);
    scene.go(Destination::Process);
    let there = &mut scene.cores[1];
    let peer = ([127, 0, 0, 1], 4_000).into();
    // With as many as an address may have, it is one of them.
    let mut entered = 0;
    while there.transport.admission.enter(FRAME, peer).is_ok() {
        entered += 1;
    }
    assert_eq!(entered, 999);
    drop(scene.client);
    let until = Instant::now() + Duration::from_secs(20);
    while !there.host.shard().connections.ids().is_empty() {
        there.turn();
        assert!(Instant::now() < until, "it does not end");
    }
    assert!(there.transport.admission.enter(FRAME, peer).is_ok());
    assert!(there.transport.admission.enter(FRAME, peer).is_err());
}

/// The time that it has had goes with it, into a process that has just begun.
#[test]
fn a_deadline_is_where_it_was() {
    let mut scene = Scene::new(WireKind::Epoll, WEBSOCKET, 2);
    let begun = scene.cores[0].host.now();
    let timeout = Config::default().handshake_timeout.as_secs() as u32;
    scene.cores[0].pass(begun, 0..timeout - 2);
    assert!(scene.go(Destination::Process).contains(&"opening"));
    let there = &mut scene.cores[1];
    let begun = there.host.now();
    let id = there.host.shard().connections.ids()[0];
    there.pass(begun, 0..1);
    assert_eq!(there.host.shard().connections.reason(id), None);
    there.pass(begun, 1..3);
    let reason = there.host.shard().connections.reason(id);
    assert_eq!(reason, Some(CloseReason::HandshakeTimeout));
}
