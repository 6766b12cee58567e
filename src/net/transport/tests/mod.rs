//! The transport over real sockets, its turns made by hand.

mod connecting;
mod migration;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::read_memory::READ_BYTES;
use super::*;
use crate::app::host::{Flow, Host};
use crate::app::hosted::{Hosted, Hosting};
use crate::app::namespaces::Registry;
use crate::app::{App, Context, Login};
use crate::bus;
use crate::close::CloseReason;
use crate::config::Config;
use crate::guard::watch_panics;
use crate::ident::{ConnId, NamespaceId, Reach};
use crate::net::admission::{ConnectionCounters, EntryRules, Pool};
use crate::net::connection::Input;
use crate::net::rates::Rate;
use crate::net::wire::WireKind;
use crate::payload::Message;
use crate::protocol::{Codec, Decoder};

struct Echo;

impl App for Echo {
    type Session = ();
    type Note = ();
    const NAMESPACE: &'static str = "echo";
    const LOGIN: Login = Login::Never;

    fn on_connect(&mut self, _: &mut Context<'_, Echo>) {}

    fn on_message(&mut self, cx: &mut Context<'_, Echo>, _: &mut (), message: Message<'_>) {
        cx.send(message);
    }
}

/// One core without its thread.
struct Core {
    host: Host,
    transport: Transport,
    listener: TcpListener,
}

impl Core {
    fn new(kind: WireKind) -> Core {
        Core::with(kind, false, None)
    }

    /// One whose connections have deadlines or not, and may send so fast.
    fn with(kind: WireKind, binds: bool, rates: Option<Rates>) -> Core {
        Core::over(Wire::new(kind).unwrap(), binds, rates)
    }

    fn over(wire: Wire, binds: bool, rates: Option<Rates>) -> Core {
        Core::at_listener(wire, binds, rates, |_| {})
    }

    fn at_listener(
        wire: Wire,
        binds: bool,
        rates: Option<Rates>,
        change: impl FnOnce(&mut ListenerSpec),
    ) -> Core {
        let config = Config::default();
        let mut spec = ListenerSpec {
            binds,
            message_bytes_max: 1 << 20,
            outbox_bytes_max: 2 << 20,
            ..ListenerSpec::new(0, Codec::WebSocket, NamespaceId(0))
        };
        change(&mut spec);
        let specs: Rc<[ListenerSpec]> = Rc::from([spec]);
        let door = EntryRules {
            pool: Pool::Clients,
            proxied: false,
            per_address_max: 0,
            counted_with: 0,
            on_loopback: true,
        };
        let bus = bus::connect(1).unwrap().pop().unwrap();
        let app: Box<dyn Hosted> = Box::new(Hosting::new(Echo, 0, Reach::default()));
        Core {
            host: Host::new(
                &config,
                bus,
                Rc::clone(&specs),
                Registry::new(1),
                vec![app],
                Instant::now(),
            ),
            transport: Transport::new(
                wire,
                specs,
                Origins::default(),
                Admission::new(&config, Arc::new(ConnectionCounters::new(None)), &[door]),
                rates,
                InputBuffers::new(config.inbox_bytes_core_max),
                None,
            ),
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    /// A connection whose handshake is done: the client's end, and its id.
    fn connect(&mut self) -> (TcpStream, ConnId) {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let (stream, peer) = self.listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        self.transport.accept(&mut self.host, 0, stream, peer);
        let id = *self.host.shard().connections.ids().last().unwrap();
        let link = self.transport.links.get_mut(id).unwrap();
        link.progress.input = Input::Messages(Decoder::new(Codec::WebSocket, 1 << 20));
        self.host.open(id);
        (client, id)
    }

    /// What the next turn would be told.
    fn take_ready(&mut self) -> Vec<Ready> {
        let mut ready = Vec::new();
        self.transport.settle();
        self.transport.wire.take(&mut ready).unwrap();
        ready
    }

    /// Lets these seconds go by, looking at the time often enough.
    fn pass(&mut self, start: Instant, seconds: Range<u32>) {
        for half in 2 * seconds.start..=2 * seconds.end {
            self.host.set_now(start + half * Duration::from_millis(500));
            self.host.expire();
        }
    }

    fn turn(&mut self) {
        // As the round in which they were accepted would have.
        self.transport.settle();
        self.host.begin_round_at_once();
        self.transport.take_ready(&mut self.host);
        self.transport.resume(&mut self.host);
        self.transport.flush(&mut self.host);
        self.transport.settle();
    }
}

/// Runs a test on each backend that works here.
fn on_both(test: impl Fn(WireKind)) {
    test(WireKind::Epoll);
    if Wire::probe(WireKind::Uring).is_ok() {
        test(WireKind::Uring);
    }
}

fn read(client: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).unwrap();
    bytes
}

/// A masked "hi", and the answer to it.
const HI: &[u8] = b"\x81\x82\0\0\0\0hi";
const HI_ANSWER: &[u8] = b"\x81\x02hi";

#[test]
fn a_panic_closes_its_connection_alone_and_the_core_goes_on() {
    on_both(a_panic_closes_its_connection_alone_and_the_core_goes_on_on);
}

fn a_panic_closes_its_connection_alone_and_the_core_goes_on_on(kind: WireKind) {
    watch_panics();
    let mut core = Core::new(kind);
    let (mut broken, id) = core.connect();
    let (mut sound, _) = core.connect();
    core.transport.links.get_mut(id).unwrap().progress.input = Input::Panics;
    broken.write_all(HI).unwrap();
    sound.write_all(HI).unwrap();
    core.turn();
    assert_eq!(read(&mut broken, 4)[2..], 1011u16.to_be_bytes());
    assert_eq!(read(&mut sound, 4), HI_ANSWER);
    assert_eq!(
        core.host.shard().connections.reason(id),
        Some(CloseReason::Internal),
        "it is not closed for what it was"
    );
    assert_eq!(core.host.shard().stats.panics, 1);
    drop(broken);
    for _ in 0..2 {
        core.turn();
    }
    assert_eq!(
        core.host.shard().connections.ids().len(),
        1,
        "its slot is kept"
    );
    sound.write_all(HI).unwrap();
    core.turn();
    assert_eq!(read(&mut sound, 4), HI_ANSWER);
}

#[test]
fn one_that_pauses_with_its_last_kept_byte_is_read_on_afterwards() {
    on_both(one_that_pauses_with_its_last_kept_byte_is_read_on_afterwards_on);
}

fn one_that_pauses_with_its_last_kept_byte_is_read_on_afterwards_on(kind: WireKind) {
    let mut core = Core::at_listener(Wire::new(kind).unwrap(), false, None, |spec| {
        spec.pauses = true;
        spec.outbox_bytes_max = 8;
    });
    let (mut client, id) = core.connect();
    // A helping has left this, whose answer fills the outbox; and the wire has told of what is in the socket.
    let link = core.transport.links.get_mut(id).unwrap();
    let held = link.progress.bytes_held();
    link.progress.unread = HI.to_vec();
    let more = link.progress.bytes_held() - held;
    core.transport.links.hold_more(more);
    client.write_all(HI).unwrap();
    core.turn();
    assert_eq!(read(&mut client, 4), HI_ANSWER);
    assert!(core.host.shard().connections.is_paused(id));
    for _ in 0..2 {
        core.turn();
    }
    assert!(!core.host.shard().connections.is_paused(id));
    assert_eq!(read(&mut client, 4), HI_ANSWER);
}

#[test]
fn one_that_sends_without_end_waits_its_turn() {
    on_both(one_that_sends_without_end_waits_its_turn_on);
}

fn one_that_sends_without_end_waits_its_turn_on(kind: WireKind) {
    let mut core = Core::new(kind);
    let (mut client, id) = core.connect();
    client.set_nonblocking(true).unwrap();
    // The head of one large message, so that nothing has to be answered.
    client
        .write_all(b"\x82\xff\0\0\0\0\0\x0f\xff\xff\0\0\0\0")
        .unwrap();
    for _ in 0..7 {
        // New bytes are told of anew, each time while earlier ones still wait.
        let _ = client.write(&[0; 256 << 10]);
        let before = core.host.shard().stats.bytes_in;
        core.turn();
        let read = core.host.shard().stats.bytes_in - before;
        // Once because it waited, and once because more has come.
        assert!(read <= 2 * READ_BYTES as u64, "{read} bytes in one turn");
        assert!(
            core.transport.queues.again_count() <= 1,
            "it is queued twice"
        );
        assert_eq!(core.host.flow(id), Flow::Go);
    }
}

/// What a client that compresses sends for so many zeros.
fn folded(zeros: usize) -> Vec<u8> {
    let mut deflate = zlib_rs::Deflate::new(6, false, 15);
    let mut payload = vec![0; 10_000];
    let zeros = vec![0; zeros];
    let flush = zlib_rs::DeflateFlush::SyncFlush;
    deflate.compress(&zeros, &mut payload, flush).unwrap();
    payload.truncate(deflate.total_out() as usize - 4);
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let head = match payload.len() {
        0..126 => vec![0xc2, 0x80 | low, 0, 0, 0, 0],
        _ => vec![0xc2, 0xfe, high, low, 0, 0, 0, 0],
    };
    [head, payload].concat()
}

/// A connection that has agreed on compression.
fn connect_compressed(core: &mut Core) -> (TcpStream, ConnId) {
    let (client, id) = core.connect();
    core.transport.links.get_mut(id).unwrap().progress.input =
        Input::Messages(Decoder::deflate(1 << 20));
    (client, id)
}

#[test]
fn one_that_folds_much_into_little_waits_its_turn() {
    on_both(one_that_folds_much_into_little_waits_its_turn_on);
}

fn one_that_folds_much_into_little_waits_its_turn_on(kind: WireKind) {
    const MESSAGES: u64 = 12;
    let mut core = Core::new(kind);
    let (mut client, id) = connect_compressed(&mut core);
    let stream = folded(100_000).repeat(MESSAGES as usize);
    assert!(stream.len() < READ_BYTES, "it comes in one read");
    client.write_all(&stream).unwrap();
    let (mut before, mut turns) = (0, 0);
    while before < MESSAGES {
        core.turn();
        let inflated = core.host.shard().stats.messages_inflated;
        assert!(
            (before + 1..=before + 3).contains(&inflated),
            "{inflated} after {before}"
        );
        (before, turns) = (inflated, turns + 1);
        assert_eq!(core.host.flow(id), Flow::Go);
    }
    assert!(turns >= 4);
    assert!(!core.transport.has_input_left());
    assert_eq!(read(&mut client, 10)[..2], *b"\x82\x7f");
}

/// Whether it is taken or refused.
#[test]
fn what_is_inflated_leaves_nothing_behind() {
    for (zeros, reason) in [
        (1 << 20, None),
        ((1 << 20) + 1, Some(CloseReason::TooBig)),
        (8 << 20, Some(CloseReason::TooBig)),
    ] {
        let mut core = Core::new(WireKind::Epoll);
        let (mut client, id) = connect_compressed(&mut core);
        client.write_all(&folded(zeros)).unwrap();
        core.turn();
        assert_eq!(core.host.shard().connections.reason(id), reason, "{zeros}");
        let held = core.transport.read_memory.inflater.buffer_bytes();
        assert!(held <= 128 << 10, "{held} bytes after {zeros}");
        let taken = core.host.shard().stats.messages_in;
        assert_eq!(taken, u64::from(reason.is_none()));
    }
}

#[test]
fn what_is_inflated_counts_as_bytes_that_were_sent() {
    // Two messages with heads of six bytes are 200,012. So little comes with time that none of it counts.
    let burst = Duration::from_secs(1_000);
    for (bytes_per_second, stays) in [(180, false), (201, true)] {
        let rate = Rate {
            bytes_per_second,
            ..Rate::default()
        };
        let rates = Rates::new(&[rate], burst, Instant::now());
        let mut core = Core::with(WireKind::Epoll, false, rates);
        let (mut client, id) = connect_compressed(&mut core);
        client.write_all(&folded(100_000).repeat(2)).unwrap();
        // A round that has taken long leaves the second one to the next.
        let mut turns = 0;
        while core.host.shard().stats.messages_in < 2
            && core.host.shard().connections.reason(id).is_none()
            && turns < 1_000
        {
            core.turn();
            turns += 1;
        }
        let reason = core.host.shard().connections.reason(id);
        let expected = (!stays).then_some(CloseReason::RateLimit);
        assert_eq!(reason, expected, "{bytes_per_second}");
        // What is too much does not reach the app.
        let taken = core.host.shard().stats.messages_in;
        assert_eq!(taken, 1 + u64::from(stays));
    }
}

#[test]
fn what_came_before_a_reset_is_read() {
    on_both(what_came_before_a_reset_is_read_on);
}

fn what_came_before_a_reset_is_read_on(kind: WireKind) {
    let mut core = Core::new(kind);
    let (mut client, id) = core.connect();
    client.write_all(HI).unwrap();
    core.turn();
    // The answer stays unread, so that closing resets.
    client.peek(&mut [0; 4]).unwrap();
    client.write_all(HI).unwrap();
    drop(client);
    core.turn();
    core.turn();
    assert_eq!(core.host.shard().stats.messages_in, 2);
    assert_eq!(core.host.flow(id), Flow::Gone);
    let closed = &core.host.shard().stats.closed;
    assert_eq!(closed[CloseReason::Reset.index()], 1);
}

/// A ring of eight completions, and more connections than have room in it.
fn many_on_a_small_ring() -> Option<(Core, Vec<TcpStream>)> {
    let mut core = Core::over(Wire::small_ring(4, 8)?, false, None);
    let mut clients: Vec<TcpStream> = (0..60).map(|_| core.connect().0).collect();
    // They are watched for good once they have said something.
    for client in &mut clients {
        client.write_all(HI).unwrap();
        core.turn();
        assert_eq!(read(client, 4), HI_ANSWER);
    }
    Some((core, clients))
}

fn watched(core: &Core) -> usize {
    match &core.transport.wire {
        Wire::Uring(uring) => uring.in_flight(),
        Wire::Epoll(_) => unreachable!("a ring was asked for"),
    }
}

#[test]
fn one_whose_watch_ended_by_itself_is_watched_again() {
    let Some((mut core, mut clients)) = many_on_a_small_ring() else {
        return;
    };
    let mut ended = 0;
    for _ in 0..5 {
        for client in &mut clients {
            client.write_all(HI).unwrap();
        }
        for one in core.take_ready() {
            ended += usize::from(one.unwatched);
            core.transport.be_ready(&mut core.host, one);
        }
        core.turn();
        for client in &mut clients {
            assert_eq!(read(client, 4), HI_ANSWER);
        }
        assert_eq!(watched(&core), clients.len());
    }
    assert!(ended > 0, "the ring never overflowed, so nothing is tested");
}

#[test]
fn one_that_cannot_be_watched_again_is_closed_on_the_ring() {
    let Some((mut core, mut clients)) = many_on_a_small_ring() else {
        return;
    };
    for client in &mut clients {
        client.write_all(HI).unwrap();
    }
    let ready = core.take_ready();
    let ended = ready.iter().find(|one| one.unwatched);
    let id = ended.expect("the ring overflowed").connection();
    // What can neither be polled nor read stands in the socket's place.
    let unfit = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open("/")
        .unwrap();
    let socket = core.transport.links.get_mut(id).unwrap().stream.as_raw_fd();
    // SAFETY: two open descriptors, each of which stays its owner's.
    assert_eq!(unsafe { libc::dup2(unfit.as_raw_fd(), socket) }, socket);
    // Or else reading would find out before the ring does.
    core.transport.be_quiet(&mut core.host);
    for one in ready {
        core.transport.be_ready(&mut core.host, one);
    }
    assert_eq!(core.host.flow(id), Flow::Go);
    for _ in 0..2 {
        core.turn();
    }
    assert_eq!(core.host.flow(id), Flow::Gone);
    let closed = &core.host.shard().stats.closed;
    assert_eq!(closed[CloseReason::Reset.index()], 1);
    assert_eq!(core.host.shard().connections.ids().len(), clients.len() - 1);
    assert_eq!(watched(&core), clients.len() - 1, "the others are not");
}

#[test]
fn one_that_cannot_be_watched_again_is_closed_at_once() {
    let mut core = Core::new(WireKind::Epoll);
    let (mut client, id) = core.connect();
    let (mut sound, _) = core.connect();
    core.turn();
    client.write_all(HI).unwrap();
    // The set refuses it, for it has it still.
    let mut one = core.take_ready().pop().unwrap();
    one.unwatched = true;
    core.transport.be_ready(&mut core.host, one);
    assert_eq!(core.host.flow(id), Flow::Gone);
    let closed = &core.host.shard().stats.closed;
    assert_eq!(closed[CloseReason::Reset.index()], 1);
    assert!(matches!(client.read(&mut [0; 10]), Ok(0) | Err(_)));
    sound.write_all(HI).unwrap();
    core.turn();
    assert_eq!(read(&mut sound, 4), HI_ANSWER);
}

/// Five messages, and one more each second.
fn five(epoch: Instant) -> Option<Rates> {
    let rate = Rate {
        messages_per_second: 1,
        ..Rate::default()
    };
    Rates::new(&[rate], Duration::from_secs(5), epoch)
}

/// How many answers there are before the end, which must be for the rate if there is one.
fn answers(core: &mut Core, client: &mut TcpStream, id: ConnId, messages: usize) -> usize {
    let before = core.host.shard().stats.messages_in;
    client.write_all(&HI.repeat(messages)).unwrap();
    core.turn();
    let reason = core.host.shard().connections.reason(id);
    assert!(
        matches!(reason, None | Some(CloseReason::RateLimit)),
        "{reason:?}"
    );
    let answers = (core.host.shard().stats.messages_in - before) as usize;
    assert_eq!(answers < messages, reason.is_some());
    for _ in 0..answers {
        assert_eq!(read(client, 4), HI_ANSWER);
    }
    answers
}

#[test]
fn what_is_sent_faster_than_it_may_closes() {
    on_both(|kind| {
        for (messages, taken) in [(4, 4), (5, 5), (6, 5)] {
            let start = Instant::now();
            let mut core = Core::with(kind, false, five(start));
            core.host.set_now(start);
            let (mut client, id) = core.connect();
            assert_eq!(answers(&mut core, &mut client, id, messages), taken);
            if taken < messages {
                assert_eq!(read(&mut client, 14)[2..], *b"\x03\xf0rate limit");
            }
        }
    });
}

#[test]
fn what_a_pause_has_gathered_is_not_too_fast() {
    on_both(|kind| {
        let start = Instant::now();
        let mut core = Core::with(kind, false, five(start));
        core.host.set_now(start);
        let (mut client, id) = core.connect();
        core.transport.pause(&mut core.host, id);
        core.pass(start, 0..20);
        assert_eq!(answers(&mut core, &mut client, id, 20), 20);
        // That is over once it is read: later on it has what it saved up, and no more.
        core.pass(start, 20..120);
        assert_eq!(answers(&mut core, &mut client, id, 6), 5);
    });
}

#[test]
fn what_a_standstill_has_gathered_is_not_too_fast() {
    // Whether a login was due meanwhile, or nothing at all: nobody looked.
    for binds in [true, false] {
        on_both(|kind| {
            let start = Instant::now();
            let mut core = Core::with(kind, binds, five(start));
            core.host.set_now(start);
            let (mut client, id) = core.connect();
            core.host.set_now(start + Duration::from_secs(60));
            let taken = answers(&mut core, &mut client, id, 80);
            assert!((59..=65).contains(&taken), "{binds}: {taken}");
        });
    }
}
