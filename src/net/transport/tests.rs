//! The transport over real sockets, its turns made by hand.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::*;
use crate::app::hosted::{Hosted, Hosting};
use crate::app::{App, Context, Login};
use crate::bus;
use crate::config::Config;
use crate::guard::watch_panics;
use crate::ident::{Reach, Space};
use crate::net::wire::Kind;
use crate::payload::Message;

struct Echo;

impl App for Echo {
    type Session = ();
    type Note = ();
    const SPACE: &'static str = "echo";
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
    fn new(kind: Kind) -> Core {
        let config = Config::default();
        let specs: Rc<[ListenerSpec]> = Rc::from([ListenerSpec {
            app: 0,
            codec: Codec::WebSocket,
            space: Space(0),
            binds: false,
            pauses: false,
            message_bytes_max: 1 << 20,
            outbox_bytes_max: 2 << 20,
        }]);
        let bus = bus::connect(1).unwrap().pop().unwrap();
        let app: Box<dyn Hosted> = Box::new(Hosting::new(Echo, 0, Reach::default()));
        Core {
            host: Host::new(
                &config,
                bus,
                Rc::clone(&specs),
                1,
                vec![app],
                Instant::now(),
            ),
            transport: Transport::new(Wire::new(kind).unwrap(), specs, Origins::default()),
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
        let id = *self.host.shard().ids().last().unwrap();
        let link = self.transport.link(id).unwrap();
        link.input = Input::Messages(Decoder::new(Codec::WebSocket, 1 << 20));
        self.host.open(id);
        (client, id)
    }

    fn turn(&mut self) {
        // As the round in which they were accepted would have.
        self.transport.settle();
        self.transport.take_events(&mut self.host);
        self.transport.resume(&mut self.host);
        self.transport.flush(&mut self.host);
        self.transport.settle();
    }
}

/// Runs a test on each backend that works here.
fn on_both(test: fn(Kind)) {
    test(Kind::Epoll);
    if Wire::probe(Kind::Uring).is_ok() {
        test(Kind::Uring);
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

fn a_panic_closes_its_connection_alone_and_the_core_goes_on_on(kind: Kind) {
    watch_panics();
    let mut core = Core::new(kind);
    let (mut broken, id) = core.connect();
    let (mut sound, _) = core.connect();
    core.transport.link(id).unwrap().input = Input::Panics;
    broken.write_all(HI).unwrap();
    sound.write_all(HI).unwrap();
    core.turn();
    assert_eq!(read(&mut broken, 4)[2..], 1011u16.to_be_bytes());
    assert_eq!(read(&mut sound, 4), HI_ANSWER);
    assert_eq!(
        core.host.shard().reason(id),
        Some(CloseReason::Internal),
        "it is not closed for what it was"
    );
    assert_eq!(core.host.shard().stats.panics, 1);
    drop(broken);
    for _ in 0..2 {
        core.turn();
    }
    assert_eq!(core.host.shard().ids().len(), 1, "its slot is kept");
    sound.write_all(HI).unwrap();
    core.turn();
    assert_eq!(read(&mut sound, 4), HI_ANSWER);
}

#[test]
fn one_that_sends_without_end_waits_its_turn() {
    on_both(one_that_sends_without_end_waits_its_turn_on);
}

fn one_that_sends_without_end_waits_its_turn_on(kind: Kind) {
    let mut core = Core::new(kind);
    let (mut client, id) = core.connect();
    client.set_nonblocking(true).unwrap();
    // The head of one large message, so that nothing has to be answered.
    client
        .write_all(b"\x82\xff\0\0\0\0\0\x0f\xff\xff\0\0\0\0")
        .unwrap();
    for _ in 0..7 {
        // New bytes make a new event, each time while earlier ones still wait.
        let _ = client.write(&[0; 256 << 10]);
        let before = core.host.shard().stats.bytes_in;
        core.turn();
        let read = core.host.shard().stats.bytes_in - before;
        // Once because it waited, and once because more has come.
        assert!(read <= 2 * READ_BYTES as u64, "{read} bytes in one turn");
        assert!(core.transport.again.len() <= 1, "it is queued twice");
        assert_eq!(core.host.flow(id), Flow::Go);
    }
}

#[test]
fn what_came_before_a_reset_is_read() {
    on_both(what_came_before_a_reset_is_read_on);
}

fn what_came_before_a_reset_is_read_on(kind: Kind) {
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
