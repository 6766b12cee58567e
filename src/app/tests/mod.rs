//! Tests of hosts without sockets: what callbacks may do and when, and what becomes of sessions.

mod authentication;
mod crossings;
mod following;
mod handover;
mod names;
mod namespaces;
mod panicking_streams;
mod queues;
mod rooms;
mod roster;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::host::{Flow, Handled, Host};
use super::hosted::Hosting;
use super::namespaces::Registry;
use super::*;
use crate::bus::{Route, connect_by};
use crate::close::CloseReason;
use crate::config::{Auth, Config};
use crate::ident::{ConnId, CoreId, NamespaceId, Reach, Reply, Ticket};
use crate::migration::{Counted, Input, Progress, Socket, TransportPart};
use crate::payload::Message;
use crate::protocol::Codec;
use crate::shard::{ListenerSpec, Phase};

/// What an app does on an event, which is named in words: `connect`, `message hi`, `bound Ok(())`,
/// `offline u`, `close Normal`, `answer Reached(1)`, `note 1`, `timer 1`.
type Script = fn(&mut Context<'_, Scripted>, &mut State, &str);

/// What has happened, over all cores, and what a script keeps.
#[derive(Default)]
struct State {
    log: Vec<String>,
    places: Vec<Reply>,
    connection: Option<ConnId>,
}

struct Scripted {
    script: Script,
    state: Rc<RefCell<State>>,
}

impl Scripted {
    fn on(&mut self, cx: &mut Context<'_, Self>, event: String) {
        let mut state = self.state.borrow_mut();
        state.log.push(event.clone());
        (self.script)(cx, &mut state, &event);
    }
}

/// Counts the sessions alive.
struct Session(Rc<()>);

// SAFETY: the tests run all cores on one thread.
unsafe impl Send for Session {}

thread_local! {
    static SESSIONS: Rc<()> = Rc::new(());
}

fn sessions() -> usize {
    SESSIONS.with(|sessions| Rc::strong_count(sessions) - 1)
}

impl App for Scripted {
    type Session = Session;
    type Note = u32;
    const NAMESPACE: &'static str = "test";

    fn on_connect(&mut self, cx: &mut Context<'_, Self>) -> Session {
        self.on(cx, "connect".into());
        Session(SESSIONS.with(Rc::clone))
    }

    fn pack(&self, _: &Session) -> Option<Vec<u8>> {
        Some(b"session".to_vec())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<Session> {
        (bytes == b"session").then(|| Session(SESSIONS.with(Rc::clone)))
    }

    fn pack_core(&self) -> Option<Vec<u8>> {
        Some(self.state.borrow().log.len().to_string().into_bytes())
    }

    fn unpack_core(&mut self, cx: &mut Context<'_, Self>, bytes: &[u8]) {
        self.on(cx, format!("core {}", String::from_utf8_lossy(bytes)));
    }

    fn on_resumed(&mut self, cx: &mut Context<'_, Self>, _: &mut Session) {
        self.on(cx, "resumed".into());
    }

    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut Session, message: Message<'_>) {
        self.on(cx, format!("message {}", message.text().unwrap_or("?")));
    }

    fn on_claimed(&mut self, cx: &mut Context<'_, Self>, _: &mut Session, uid: &str) {
        self.on(cx, format!("claimed {uid}"));
    }

    fn on_proved(&mut self, cx: &mut Context<'_, Self>, _: &mut Session, uid: &str) {
        self.on(cx, format!("proved {uid}"));
    }

    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut Session,
        result: Result<(), BindError>,
    ) {
        self.on(cx, format!("bound {result:?}"));
    }

    fn on_joined(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut Session,
        group: &str,
        result: Result<(), JoinError>,
    ) {
        self.on(cx, format!("joined {group} {result:?}"));
    }

    fn on_offline(&mut self, cx: &mut Context<'_, Self>, _: &mut Session, uid: &str) {
        self.on(cx, format!("offline {uid}"));
    }

    fn on_close(&mut self, cx: &mut Context<'_, Self>, session: Session, reason: CloseReason) {
        drop(session.0);
        self.on(cx, format!("close {reason:?}"));
    }

    fn on_answer(&mut self, cx: &mut Context<'_, Self>, _: Ticket, answer: Answer) {
        self.on(cx, format!("answer {answer:?}"));
    }

    fn on_note(&mut self, cx: &mut Context<'_, Self>, _: CoreId, note: u32) {
        self.on(cx, format!("note {note}"));
    }

    fn on_timer(&mut self, cx: &mut Context<'_, Self>, token: u64) {
        self.on(cx, format!("timer {token}"));
    }
}

/// So many cores on one thread, with a listener of text and one of events.
struct Cores {
    hosts: Vec<Host>,
    state: Rc<RefCell<State>>,
    started: Instant,
    /// Where each client is now.
    clients: Vec<(usize, ConnId)>,
}

impl Cores {
    fn new(cores: usize, script: Script) -> Cores {
        Cores::with(cores, &Config::default(), true, script)
    }

    fn with(cores: usize, config: &Config, binds: bool, script: Script) -> Cores {
        let state = Rc::<RefCell<State>>::default();
        let started = Instant::now();
        let specs = [Codec::Text, Codec::Sse].map(|codec| ListenerSpec {
            binds,
            proves: config.auth != Auth::None,
            message_bytes_max: 1_000,
            outbox_bytes_max: 10_000,
            ..ListenerSpec::new(0, codec, NamespaceId(0))
        });
        let specs: Rc<[ListenerSpec]> = Rc::from(specs);
        let registry = Registry::new(1);
        let host = |bus| {
            let app = Scripted {
                script,
                state: Rc::clone(&state),
            };
            let hosting = Hosting::new(app, 0, Reach(1));
            let apps: Vec<Box<dyn hosted::Hosted>> = vec![Box::new(hosting)];
            Host::new(
                config,
                bus,
                Rc::clone(&specs),
                registry.clone(),
                apps,
                started,
            )
        };
        let ends = connect_by(Route::with_seed(cores, 1).unwrap()).unwrap();
        Cores {
            hosts: ends.into_iter().map(host).collect(),
            state,
            started,
            clients: Vec::new(),
        }
    }

    /// A uid that lives on this core.
    fn uid_of(&mut self, core: usize) -> String {
        (0..)
            .map(|number| format!("u{number}"))
            .find(|uid| self.hosts[core].bus().home(uid).index() == core)
            .unwrap()
    }

    fn open(&mut self, core: usize) -> usize {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let id = self.hosts[core].connect(0, peer);
        self.clients.push((core, id));
        self.hosts[core].open(id);
        self.run();
        self.clients.len() - 1
    }

    fn say(&mut self, client: usize, text: &str) {
        let (core, id) = self.clients[client];
        self.hosts[core].message(id, Message::Text(text));
        self.run();
    }

    /// Moves what is to move, and delivers until nothing is under way.
    fn run(&mut self) {
        loop {
            let mut idle = true;
            for core in 0..self.hosts.len() {
                let host = &mut self.hosts[core];
                while let Some(departure) = host.next_departure() {
                    idle = false;
                    let at = (core, departure.connection);
                    let client = self.clients.iter().position(|is| *is == at).unwrap();
                    if host.flow(departure.connection) == Flow::Leave {
                        let progress = Progress::new(Input::Ignored, Counted::Connection);
                        let socket = Socket::Sent {
                            from: CoreId(core as u16),
                            number: client as u64,
                        };
                        let transport_part = TransportPart::new(progress, host.now());
                        host.depart(departure, transport_part, socket);
                    }
                }
                while let Some(envelope) = host.take() {
                    idle = false;
                    if let Handled::Arrived(arrival) = host.receive(envelope) {
                        let Socket::Sent { number, .. } = arrival.socket else {
                            panic!("a client has no descriptor");
                        };
                        self.clients[number as usize] = (core, arrival.connection);
                    }
                }
                if host.has_readers() {
                    idle = false;
                    host.read_on();
                }
                host.publish_taken();
                host.settle_credits();
            }
            if idle {
                return;
            }
        }
    }

    fn tick(&mut self, core: usize, after: Duration) {
        let now = self.started + after;
        self.hosts[core].set_now(now);
        self.hosts[core].expire();
        self.run();
    }

    fn phase(&mut self, client: usize) -> Phase {
        let (core, id) = self.clients[client];
        self.hosts[core].shard().connections.phase(id)
    }

    /// The lines that wait for a client, taken.
    fn lines(&mut self, client: usize) -> Vec<String> {
        let (core, id) = self.clients[client];
        let shard = self.hosts[core].shard();
        let bytes: Vec<u8> = shard.connections.pieces(id).flatten().copied().collect();
        if !bytes.is_empty() {
            shard.written(id, bytes.len());
        }
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn log(&self) -> Vec<String> {
        self.state.borrow().log.clone()
    }

    /// Ends every connection, and sees that no session is left.
    fn end(mut self) {
        for client in 0..self.clients.len() {
            let (core, id) = self.clients[client];
            self.hosts[core].close(id, CloseReason::ByPeer);
            self.run();
            self.hosts[core].shard().remove(id);
        }
        assert_eq!(sessions(), 0, "sessions left");
        let log = self.log();
        let count = |what: &str| log.iter().filter(|event| event.starts_with(what)).count();
        assert_eq!(count("connect"), count("close"), "{log:?}");
    }
}

#[test]
fn an_app_may_send_and_join_and_bind_in_on_connect() {
    for cores in [1, 3] {
        let mut cores = Cores::new(cores, |cx, _, event| match event {
            "connect" => {
                cx.send("hello");
                cx.join("g");
                cx.bind_uid("u0");
            }
            "bound Ok(())" => cx.send("bound"),
            "message all" => cx.send_to_group("g", "group"),
            _ => {}
        });
        let client = cores.open(0);
        cores.say(client, "all");
        assert_eq!(cores.lines(client), ["hello", "bound", "group"]);
        cores.end();
    }
}

#[test]
fn an_app_may_close_in_on_connect() {
    for binds in [true, false] {
        let mut cores = Cores::with(1, &Config::default(), binds, |cx, _, event| {
            if event == "connect" {
                cx.send("go away");
                cx.close(CloseReason::Policy);
            }
        });
        let client = cores.open(0);
        assert_eq!(cores.phase(client), Phase::Closing);
        assert_eq!(cores.lines(client), ["go away"]);
        assert_eq!(cores.log(), ["connect", "close Policy"]);
        cores.end();
    }
}

#[test]
fn an_app_that_panics_in_on_connect_leaves_no_session() {
    let mut cores = Cores::new(1, |_, _, event| {
        if event == "connect" {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    });
    let client = cores.open(0);
    assert_eq!(cores.phase(client), Phase::Closing);
    // There was no session whose end could be told.
    assert_eq!(cores.log(), ["connect"]);
    assert_eq!(sessions(), 0);
}

#[test]
fn a_panic_ends_its_connection_alone() {
    let mut cores = Cores::new(1, |cx, _, event| match event {
        "message panic" => std::panic::resume_unwind(Box::new("on purpose")),
        "message hi" => cx.send("hi"),
        _ => {}
    });
    let (first, second) = (cores.open(0), cores.open(0));
    cores.say(first, "panic");
    cores.say(second, "hi");
    assert_eq!(cores.phase(first), Phase::Closing);
    assert_eq!(cores.lines(second), ["hi"]);
    assert!(cores.log().contains(&"close Internal".to_owned()));
    cores.end();
}

/// A note to the core's own value is heard after the callback; what is sent waits for nothing.
#[test]
fn what_a_callback_sends_arrives_in_its_order_whichever_way() {
    for count in [1, 3] {
        let mut cores = Cores::new(count, |cx, state, event| match event {
            "message go" => {
                let own = cx.core();
                cx.send("1");
                cx.tell(To::Core(own), 7);
                cx.send_to_uid("u0", "2");
                cx.send("3");
                cx.send_to_group("g", "4");
                cx.leave("g");
                cx.send_to_group("g", "not for us");
                cx.join("g");
                cx.broadcast("5");
                cx.push("u0", "6");
                cx.close(CloseReason::Normal);
                cx.send("too late");
            }
            "note 7" => {
                let connection = state.connection.unwrap();
                cx.send_to(connection, "note");
            }
            "bound Ok(())" => {
                cx.join("g");
                state.connection = cx.connection();
            }
            _ if event.starts_with("message u") => cx.bind_uid("u0"),
            _ => {}
        });
        let client = cores.open(0);
        cores.say(client, "u0");
        cores.say(client, "go");
        assert_eq!(cores.phase(client), Phase::Closing);
        let sent = ["1", "2", "3", "4", "5", "6"];
        assert_eq!(cores.lines(client), sent);
        cores.end();
    }
}

#[test]
fn binding_twice_changes_nothing() {
    for core in 0..2 {
        let mut cores = Cores::new(2, |cx, _, event| {
            if let Some(uid) = event.strip_prefix("message ") {
                cx.bind_uid(uid);
                cx.bind_uid("other");
            }
        });
        let uid = cores.uid_of(core);
        let client = cores.open(0);
        cores.say(client, &uid);
        assert!(cores.log().contains(&"bound Ok(())".to_owned()));
        assert!(cores.log().contains(&"bound Err(Twice)".to_owned()));
        assert_eq!(cores.phase(client), Phase::Home);
        let (at, id) = cores.clients[client];
        assert_eq!(at, core);
        assert_eq!(cores.hosts[at].shard().connections.uid(id), Some(&*uid));
        cores.end();
    }
}

#[test]
fn bound_and_closed_in_one_callback_is_closed() {
    for core in 0..2 {
        let mut cores = Cores::new(2, |cx, _, event| {
            if let Some(uid) = event.strip_prefix("message ") {
                cx.bind_uid(uid);
                cx.send("bye");
                cx.close(CloseReason::Normal);
            }
        });
        let uid = cores.uid_of(core);
        let client = cores.open(0);
        cores.say(client, &uid);
        assert_eq!(cores.lines(client), ["bye"]);
        let said = format!("message {uid}");
        assert_eq!(cores.log(), ["connect", &said, "close Normal"]);
        cores.end();
    }
}

#[test]
fn credit_is_back_whatever_became_of_the_payer() {
    let mut cores = Cores::new(2, |cx, _, event| match event {
        "message push" => {
            for number in 0..20 {
                cx.push(&format!("u{number}"), "x");
                cx.send_to_uid(&format!("u{number}"), "x");
            }
            cx.broadcast("x");
            cx.push("all", "x");
        }
        "message end" => {
            cx.broadcast("x");
            cx.push("all", "x");
            cx.close(CloseReason::Normal);
        }
        _ => {
            if let Some(uid) = event.strip_prefix("message ") {
                // What it causes before it moves is charged where it was.
                cx.broadcast("x");
                cx.push("all", "x");
                cx.bind_uid(uid);
            }
        }
    });
    let away = cores.uid_of(1);
    let moved = cores.open(0);
    cores.say(moved, &away);
    assert_eq!(cores.clients[moved].0, 1);
    cores.say(moved, "push");
    let ended = cores.open(0);
    cores.say(ended, "end");
    for host in &mut cores.hosts {
        assert_eq!(host.bus().in_transit_bytes(), 0);
        assert!(!host.has_pending_calls());
    }
    let (core, id) = cores.clients[moved];
    assert_eq!(cores.hosts[core].shard().connections.transit(id), 0);
    assert!(cores.hosts[core].flow(id) == Flow::Go);
    cores.end();
}

#[test]
fn a_timer_set_by_a_timer_waits_for_another_turn() {
    let mut cores = Cores::with(1, &Config::default(), false, |cx, _, event| match event {
        "connect" => {
            cx.after(Duration::ZERO, 1);
            cx.after(Duration::MAX, 2);
        }
        "timer 1" => cx.after(Duration::ZERO, 1),
        _ => {}
    });
    cores.open(0);
    for millisecond in 1..=3 {
        cores.tick(0, Duration::from_millis(millisecond));
    }
    assert_eq!(cores.log(), ["connect", "timer 1", "timer 1", "timer 1"]);
    cores.end();
}

#[test]
fn time_in_which_the_core_stood_still_is_nobodys_silence() {
    let mut cores = Cores::new(1, |cx, _, event| {
        if let Some(uid) = event.strip_prefix("message ") {
            cx.bind_uid(uid);
        }
    });
    let silent = cores.open(0);
    cores.say(silent, "silent");
    let late = cores.open(0);
    for second in 0..9 {
        cores.tick(0, Duration::from_secs(second));
    }
    // The machine sleeps for an hour. What the client has sent is still to be read.
    let awake = Duration::from_secs(3_609);
    cores.tick(0, awake);
    assert_eq!(cores.phase(late), Phase::Open);
    cores.say(late, "late");
    for second in 1..=60 {
        cores.tick(0, awake + Duration::from_secs(second));
        let phase = cores.phase(silent);
        assert!(second > 46 || phase == Phase::Home, "after {second} s");
    }
    assert_eq!(cores.phase(silent), Phase::Closing);
    assert_eq!(cores.phase(late), Phase::Closing);
    assert!(
        cores
            .log()
            .iter()
            .all(|event| event != "close LoginTimeout")
    );
    cores.end();
}

#[test]
fn a_message_that_overflows_the_only_connection_has_not_reached_it() {
    for core in 0..2 {
        let mut cores = Cores::new(2, |cx, _, event| match event {
            "message push" => {
                let long = "x".repeat(9_960);
                cx.push("u", &long);
                cx.push("u", "one more");
                cx.push("u", "nobody is there");
            }
            "message u" => cx.bind_uid("u"),
            _ => {}
        });
        let receiver = cores.open(core);
        cores.say(receiver, "u");
        cores.run();
        let (home, id) = cores.clients[receiver];
        cores.hosts[home].shard().set_blocked(id, true);
        let sender = cores.open(core);
        cores.say(sender, "push");
        let answers: Vec<String> = cores
            .log()
            .into_iter()
            .filter(|event| event.starts_with("answer"))
            .collect();
        let [ok, fail] = ["answer Reached(1)", "answer Reached(0)"];
        assert_eq!(answers, [ok, fail, fail]);
        assert!(cores.log().contains(&"close SlowConsumer".to_owned()));
        cores.end();
    }
}
