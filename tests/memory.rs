//! What the server itself allocates, counted block by block: for an idle connection, for one that had to prove
//! who it is, for a namespace made while it runs, for a stream and what it keeps, for readers that have stalled, and that all of it is given back, by connections that are reset at
//! any moment, too. The kernel's share is not in it.
//!
//! The server runs in this process and everything allocated here counts, so the clients hold nothing but
//! descriptors, in a descriptor table of their own: the limit is one for each table.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

#[cfg(feature = "internals")]
use ahash::RandomState;
use ringpost::app::{App, BindError, Context, To};
use ringpost::auth::{Keyring, ends_after};
use ringpost::close::CloseReason;
use ringpost::config::Auth;
use ringpost::ident::CoreId;
#[cfg(feature = "internals")]
use ringpost::ident::NamespaceId;
use ringpost::payload::Message;
#[cfg(feature = "internals")]
use ringpost::payload::Payload;
#[cfg(feature = "internals")]
use ringpost::protocol::Codec;
#[cfg(feature = "internals")]
use ringpost::shard::{Following, Joining, ListenerSpec, Shard};
#[cfg(feature = "internals")]
use ringpost::streams::{Address, Epoch, Keep, Position, Recovery, Store};
use ringpost::{Config, Listen, Roles, Running, Server, Site};
use socket2::{Domain, Socket, Type};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize, sign: isize) {
    LIVE.fetch_add(sign * bytes as isize, Ordering::Relaxed);
}

// SAFETY: the system's allocator does it; what it is asked for is only counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, 1);
        count(layout.size(), -1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// Readers that were too slow.
static CUT_OFF: AtomicUsize = AtomicUsize::new(0);

/// Namespaces that cores have found.
static FOUND: AtomicUsize = AtomicUsize::new(0);

/// As long as an identifier of a tenant usually is.
fn namespace_name(number: usize) -> String {
    format!("tenant-{number:013}")
}

/// The first message is the uid, or `in NAME uid`; each later one is `uid bytes`, and sends as many bytes to that uid, or
/// `make number`, and every core finds so many namespaces.
struct Filler;

impl App for Filler {
    type Session = ();
    type Note = usize;
    const NAMESPACE: &'static str = "filler";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
        let text = message.text().expect("these clients write text");
        if cx.uid().is_none() {
            let Some((name, uid)) = text
                .strip_prefix("in ")
                .and_then(|rest| rest.split_once(' '))
            else {
                return cx.bind_uid(text);
            };
            let namespace = cx.namespace(name).expect("there is room");
            cx.enter(namespace).expect("it is not too late");
            return cx.bind_uid(uid);
        }
        let (uid, bytes) = text.split_once(' ').expect("uid and bytes");
        match uid {
            "make" => cx.tell(To::All, bytes.parse().expect("a number")),
            "all" => cx.broadcast("x".repeat(bytes.parse().expect("a number"))),
            uid => cx.send_to_uid(uid, "x".repeat(bytes.parse().expect("a number"))),
        }
    }

    fn on_note(&mut self, cx: &mut Context<'_, Self>, _: CoreId, count: usize) {
        for number in 0..count {
            cx.namespace(&namespace_name(number))
                .expect("there is room");
        }
        FOUND.fetch_add(count, Ordering::Relaxed);
    }

    fn on_close(&mut self, _: &mut Context<'_, Self>, _: (), reason: CloseReason) {
        if reason == CloseReason::SlowConsumer {
            CUT_OFF.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn on_bound(&mut self, cx: &mut Context<'_, Self>, _: &mut (), _: Result<(), BindError>) {
        cx.send("bound");
    }
}

/// Buffers that a core has used stay with it, but none of them grows with the connections.
const KEPT_BY_CORE: isize = 384 << 10;
const CORES: usize = 2;

fn start(config: Config) -> (Running, SocketAddr) {
    start_as_it_is(Config {
        // Whoever is connected first must not be closed before the last one is, wherever that takes long.
        idle_timeout: Duration::from_secs(600),
        ping_interval: Duration::from_secs(600),
        ..config
    })
}

fn start_as_it_is(config: Config) -> (Running, SocketAddr) {
    let config = Config {
        cores: CORES,
        pin: false,
        ..config
    };
    let listen = Listen {
        v1: true,
        ..Listen::new("websocket://127.0.0.1:0")
    };
    let server = Server::new(config).listen(listen, || Filler);
    let running = server.start().expect("it starts");
    let address = running.listening()[0].address.ip().expect("of IP");
    (running, address)
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// One from an address of its group of ten thousand, since an address has so many ports. With a `window`, it
/// takes no more than about that much before it is read.
fn connect(server: SocketAddr, number: usize, window: Option<usize>) -> TcpStream {
    connect_by(server, number, window, &format!("u{number}"))
}

/// One as [`connect`] makes it, with this for a first message.
fn connect_by(server: SocketAddr, number: usize, window: Option<usize>, first: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let own = SocketAddr::from(([127, 0, 1, (number / 10_000) as u8], 0));
    if let Some(bytes) = window {
        socket.set_recv_buffer_size(bytes).expect("a window");
    }
    socket.bind(&own.into()).expect("an address");
    socket.connect(&server.into()).expect("connects");
    let mut stream = TcpStream::from(socket);
    shake_hands(&mut stream, "");
    say(&mut stream, format_args!("{first}"));
    is_bound(&mut stream);
    stream
}

/// One as [`connect`] makes it, which proves its uid by a header field.
fn connect_with_proof(server: SocketAddr, number: usize, keyring: &Keyring) -> TcpStream {
    let expires = ends_after(Duration::from_secs(600));
    let token = keyring.mint(&format!("u{number}"), expires);
    let mut stream = TcpStream::connect(server).expect("connects");
    let token = token.expect("a secret signs");
    shake_hands(&mut stream, &format!("Authorization: Bearer {token}\r\n"));
    is_bound(&mut stream);
    stream
}

fn shake_hands(stream: &mut (impl Read + Write), field: &str) {
    let (head, end) = REQUEST.split_at(REQUEST.len() - 2);
    let request = format!("{head}{field}{end}");
    stream.write_all(request.as_bytes()).expect("writes");
    let mut response = [0; 1024];
    let mut length = 0;
    while !response[..length].ends_with(b"\r\n\r\n") {
        // A byte at a time: what comes after it is a message.
        length += stream.read(&mut response[length..=length]).expect("reads");
    }
}

fn is_bound(stream: &mut impl Read) {
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect("reads");
    assert_eq!(&answer, b"\x81\x05bound");
}

/// Writes one short masked text frame.
fn say(stream: &mut impl Write, text: std::fmt::Arguments<'_>) {
    let mut frame = [0; 64];
    let mut rest = &mut frame[6..];
    rest.write_fmt(text).expect("it is short");
    let length = 58 - rest.len();
    (frame[0], frame[1]) = (0x81, 0x80 | length as u8);
    stream.write_all(&frame[..6 + length]).expect("writes");
}

/// What is allocated once nothing more happens.
fn settled() -> isize {
    let mut last = (live(), Instant::now());
    while last.1.elapsed() < Duration::from_millis(500) {
        thread::sleep(Duration::from_millis(10));
        if live() != last.0 {
            last = (live(), Instant::now());
        }
    }
    last.0
}

/// Waits until no more than this is allocated.
fn comes_down_to(most: isize) {
    let until = Instant::now() + Duration::from_secs(20);
    while live() > most {
        assert!(
            Instant::now() < until,
            "{} bytes are held, {most} at most were expected",
            live()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the clients on a thread with a descriptor table of its own.
fn with_clients<R: Send + 'static>(clients: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = mpsc::channel();
    let thread = thread::spawn(move || {
        // SAFETY: it touches this thread's descriptors only.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_FILES) }, 0);
        done.send(clients()).expect("somebody waits");
    });
    let result = result.recv().expect("the clients are through");
    thread.join().expect("the clients are through");
    result
}

/// One test, since all share the count.
#[test]
fn memory_is_bounded_and_given_back() {
    idle_connections_are_small();
    #[cfg(feature = "tls")]
    idle_connections_by_tls_are_small();
    idle_connections_of_v1_are_small();
    idle_connections_of_http_are_small();
    proved_connections_are_hardly_larger();
    namespaces_are_small();
    #[cfg(feature = "internals")]
    streams_are_small();
    #[cfg(feature = "internals")]
    positions_are_small();
    stalled_readers_cost_their_outboxes();
    resets_leave_nothing();
}

fn idle_connections_are_small() {
    const COUNT: usize = 15_000;
    let (running, server) = start(Config::default());
    let (base, held) = with_clients(move || {
        // What comes with the first of them, and stays.
        drop(connect(server, 0, None));
        thread::sleep(Duration::from_millis(300));
        let mut clients = Vec::with_capacity(COUNT);
        let base = live();
        clients.extend((0..COUNT).map(|number| connect(server, number, None)));
        thread::sleep(Duration::from_millis(300));
        let held = live() - base;
        // A message to everybody must leave nothing behind.
        say(&mut clients[0], format_args!("all 100"));
        for client in &mut clients {
            let mut message = [0; 102];
            client.read_exact(&mut message).expect("it comes");
        }
        thread::sleep(Duration::from_millis(100));
        let after = live() - base;
        assert!(
            after <= held + CORES as isize * KEPT_BY_CORE,
            "a broadcast has left {} bytes",
            after - held
        );
        (base, held)
    });
    let each = held as f64 / COUNT as f64;
    println!("{each:.0} bytes for an idle, bound connection");
    assert!(each <= 330.0, "{each} bytes");
    let left = CORES as isize * KEPT_BY_CORE;
    comes_down_to(base + left);
    println!("{} bytes are left of {COUNT} connections", live() - base);
    running.stop().expect("it stops");
}

/// A client of rustls', of whom the socket is left when it is bound.
#[cfg(feature = "tls")]
fn connect_by_tls(
    server: SocketAddr,
    number: usize,
    config: &std::sync::Arc<rustls::ClientConfig>,
) -> TcpStream {
    let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
    let client = rustls::ClientConnection::new(config.clone(), name).expect("a client");
    let socket = TcpStream::connect(server).expect("connects");
    let mut stream = rustls::StreamOwned::new(client, socket);
    shake_hands(&mut stream, "");
    say(&mut stream, format_args!("u{number}"));
    is_bound(&mut stream);
    stream.sock
}

#[cfg(feature = "tls")]
fn idle_connections_by_tls_are_small() {
    use ringpost::config::TlsFiles;
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    const COUNT: usize = 2_000;
    let file = |name: &str| format!("{}/tests/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
    let config = Config {
        cores: CORES,
        pin: false,
        idle_timeout: Duration::from_secs(600),
        ping_interval: Duration::from_secs(600),
        ..Config::default()
    };
    let running = Server::new(config)
        .tls(TlsFiles::new(file("p256.pem"), file("p256.key")))
        .listen("wss://127.0.0.1:0", || Filler)
        .start()
        .expect("it starts");
    let server = running.listening()[0].address.ip().expect("of IP");
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(file("ca.pem")).expect("a certificate");
    roots.add(ca).expect("a root");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let client = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let mut client = client.with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    let client = std::sync::Arc::new(client);
    let held = with_clients(move || {
        drop(connect_by_tls(server, 0, &client));
        thread::sleep(Duration::from_millis(300));
        let mut clients = Vec::with_capacity(COUNT);
        let base = live();
        clients.extend((0..COUNT).map(|number| connect_by_tls(server, number, &client)));
        thread::sleep(Duration::from_millis(500));
        live() - base
    });
    let each = held as f64 / COUNT as f64;
    println!("{each:.0} bytes for an idle, bound connection by TLS");
    assert!(each <= 600.0, "{each} bytes");
    running.stop().expect("it stops");
}

/// One that has asked the cores for something, and is kept for the next request.
fn ask_by_http(server: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(server).expect("connects");
    let request = b"GET /v1/uids/nobody HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).expect("writes");
    let mut response = Vec::new();
    while !response.ends_with(b"}\n") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).expect("reads");
        assert!(length > 0, "an answer is not cut short");
        response.extend_from_slice(&piece[..length]);
    }
    assert!(response.starts_with(b"HTTP/1.1 200 "));
    stream
}

/// Reads one frame of text.
fn read_frame(stream: &mut impl Read) -> String {
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("reads");
    let mut length = usize::from(head[1]);
    if length == 126 {
        stream.read_exact(&mut head).expect("reads");
        length = usize::from(u16::from_be_bytes(head));
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text).expect("reads");
    String::from_utf8(text).expect("text")
}

/// One that speaks `ringpost.v1` and has said this in its bind, besides its uid.
fn connect_v1(server: SocketAddr, number: usize, more: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server).expect("connects");
    shake_hands(&mut stream, "Sec-WebSocket-Protocol: ringpost.v1\r\n");
    let bind = format!(r#"{{"type":"bind","uid":"u{number}"{more}}}"#);
    let mut frame = vec![0x81, 0x80 | bind.len() as u8, 0, 0, 0, 0];
    frame.extend(bind.as_bytes());
    stream.write_all(&frame).expect("writes");
    while !read_frame(&mut stream).contains(r#""type":"bound""#) {}
    stream
}

/// One that has all of its streams takes what a plain one does; who says what device it is has that remembered.
fn idle_connections_of_v1_are_small() {
    const COUNT: usize = 5_000;
    for (more, most) in [("", 335.0), (r#","client":"0123456789abcdef""#, 640.0)] {
        let (running, server) = start(Config::default());
        let (base, held) = with_clients(move || {
            drop(connect_v1(server, 0, more));
            thread::sleep(Duration::from_millis(300));
            let mut clients = Vec::with_capacity(COUNT);
            let base = live();
            clients.extend((0..COUNT).map(|number| connect_v1(server, number, more)));
            thread::sleep(Duration::from_millis(300));
            (base, live() - base)
        });
        let each = held as f64 / COUNT as f64;
        println!("{each:.0} bytes for an idle connection of ringpost.v1{more}");
        assert!(each <= most, "{each} bytes{more}");
        comes_down_to(base + CORES as isize * KEPT_BY_CORE);
        running.stop().expect("it stops");
    }
}

fn idle_connections_of_http_are_small() {
    const COUNT: usize = 4_000;
    let config = Config {
        cores: CORES,
        pin: false,
        http_connections_max: COUNT + 10,
        ..Config::default()
    };
    let site = Site {
        assets: &[],
        reach: &["filler"],
        roles: Roles::API,
    };
    let server = Server::new(config).site("http://127.0.0.1:0", site);
    let running = server.start().expect("it starts");
    let address = running.listening()[0].address.ip().expect("of IP");
    let (base, held) = with_clients(move || {
        drop(ask_by_http(address));
        thread::sleep(Duration::from_millis(300));
        let mut clients = Vec::with_capacity(COUNT);
        let base = live();
        clients.extend((0..COUNT).map(|_| ask_by_http(address)));
        (base, settled() - base)
    });
    let each = held as f64 / COUNT as f64;
    println!("{each:.0} bytes for an idle connection of HTTP");
    assert!(each <= 500.0, "{each} bytes");
    comes_down_to(base + CORES as isize * KEPT_BY_CORE);
    running.stop().expect("it stops");
}

fn proved_connections_are_hardly_larger() {
    const COUNT: usize = 7_000;
    let file = std::env::temp_dir().join(format!("ringpost-memory-{}", std::process::id()));
    std::fs::write(&file, "a secret that has 32 characters!").expect("a file is written");
    let config = Config {
        auth: Auth::Hmac,
        auth_key_file: Some(file.clone()),
        ..Config::default()
    };
    let (running, server) = start(config);
    let _ = std::fs::remove_file(file);
    let keyring = running.keyring().expect("clients prove their uid");
    let (base, held) = with_clients(move || {
        drop(connect_with_proof(server, 0, &keyring));
        thread::sleep(Duration::from_millis(300));
        let mut clients = Vec::with_capacity(COUNT);
        let base = live();
        clients.extend((0..COUNT).map(|number| connect_with_proof(server, number, &keyring)));
        thread::sleep(Duration::from_millis(300));
        (base, live() - base)
    });
    let each = held as f64 / COUNT as f64;
    println!("{each:.0} bytes for an idle connection that has proved its uid");
    assert!(each <= 330.0 + 80.0, "{each} bytes");
    comes_down_to(base + CORES as isize * KEPT_BY_CORE);
    running.stop().expect("it stops");
}

/// A namespace that every core knows, with nobody in it, and then with one connection, beside what one costs anyway.
fn namespaces_are_small() {
    // One more than a table of hashes holds before it doubles: it is as empty as it ever is.
    const COUNT: usize = 14_337;
    const CONNECTED: usize = 3_585;
    let (running, server) = start(Config::default());
    let (alone, plain, within) = with_clients(move || {
        let mut clients = Vec::with_capacity(2 * CONNECTED + 1);
        clients.push(connect(server, 0, None));
        thread::sleep(Duration::from_millis(300));
        let base = live();
        say(&mut clients[0], format_args!("make {COUNT}"));
        let until = Instant::now() + Duration::from_secs(20);
        while FOUND.load(Ordering::Relaxed) < CORES * COUNT {
            assert!(Instant::now() < until, "namespaces are not made");
            thread::sleep(Duration::from_millis(10));
        }
        let alone = settled() - base;
        let base = live();
        clients.extend((1..=CONNECTED).map(|number| connect(server, number, None)));
        let plain = settled() - base;
        let base = live();
        clients.extend((1..=CONNECTED).map(|number| {
            let first = format!("in {} u{number}", namespace_name(number));
            connect_by(server, CONNECTED + number, None, &first)
        }));
        (alone, plain, settled() - base)
    });
    let alone = alone as f64 / COUNT as f64;
    let more = (within - plain) as f64 / CONNECTED as f64;
    println!(
        "{alone:.0} bytes for a namespace that {CORES} cores know; {more:.0} more with one connection in it"
    );
    assert!(alone <= 200.0, "{alone} bytes");
    assert!(alone + more <= 1024.0, "{alone} and {more} bytes");
    running.stop().expect("it stops");
}

/// A stream of which nothing is kept but where it ends, and then each message, beside their own bytes.
#[cfg(feature = "internals")]
fn streams_are_small() {
    // One more than a table of hashes holds before it doubles: it is as empty as it ever is.
    const COUNT: usize = 14_337;
    let now = Instant::now();
    let config = Config {
        history_bytes_core_max: 1 << 30,
        ..Config::default()
    };
    let before = live();
    let mut store = Store::new(&config, now, RandomState::new());
    let keep = Keep {
        size: 100,
        ttl: Duration::from_secs(60),
        queue: false,
    };
    let text = "a message of some bytes";
    let append = |store: &mut Store, number: usize| {
        let name = namespace_name(number);
        let to = Address::uid(NamespaceId(0), &name);
        store.append(now, to, keep, None, &Payload::new(Message::Text(text)));
        name.len()
    };
    let names: usize = (0..COUNT).map(|number| append(&mut store, number)).sum();
    let one = live() - before;
    (0..COUNT).for_each(|number| _ = append(&mut store, number));
    let two = live() - before;
    let counted = store.counters().bytes as isize;
    for number in 0..COUNT {
        let name = namespace_name(number);
        store.discard(now, Address::uid(NamespaceId(0), &name));
    }
    let none = live() - before - names as isize;
    let each = |bytes: isize| bytes as f64 / COUNT as f64;
    let message = each(two - one) - text.len() as f64;
    println!(
        "{:.0} bytes for a stream, {message:.0} for each message in it",
        each(none)
    );
    assert!(each(none) <= 128.0, "{} bytes", each(none));
    assert!(message <= 80.0, "{message} bytes");
    assert!(
        two <= counted,
        "{two} bytes, of which {counted} are counted"
    );
    // Nothing of it is left when its time is over.
    for seconds in [120, 100_000] {
        while store.advance(now + Duration::from_secs(seconds), 1_000) {}
    }
    assert_eq!(store.counters().streams, 0);
    let left = live() - before;
    assert!(left <= 4 << 10, "{left} bytes are left");
}

/// Where clients by events stand in their groups' streams, who have everything.
#[cfg(feature = "internals")]
fn positions_are_small() {
    // As above.
    const COUNT: usize = 14_337;
    let [alone, with_one, with_two] = [0, 1, 2].map(|groups| members_by_events(COUNT, groups));
    for (groups, held) in [(1, with_one), (2, with_two)] {
        let each = (held - alone) as f64 / COUNT as f64;
        println!(
            "{each:.0} bytes for the positions in {groups} groups' streams of a client by events"
        );
        assert!(each <= 48.0, "{each} bytes");
    }
}

/// What a core holds for clients by events that are in two groups each, and follow so many of them.
#[cfg(feature = "internals")]
fn members_by_events(count: usize, followed: usize) -> isize {
    let before = live();
    let config = Config {
        outbox_bytes_core_max: 1 << 30,
        ..Config::default()
    };
    let spec = ListenerSpec {
        binds: true,
        message_bytes_max: 1_000,
        outbox_bytes_max: 10_000,
        ..ListenerSpec::new(0, Codec::Sse, NamespaceId(0))
    };
    let mut shard = Shard::new(&config, [spec].into(), 1);
    let top = Position {
        epoch: Epoch::of(7),
        offset: 3,
    };
    let answer = Recovery::Recovered { after: top, top };
    let mut tops = |_, _: &str| top;
    for number in 0..count {
        let id = shard.insert(0, ([127, 0, 0, 1], 1).into());
        assert!(shard.opened(id) && shard.connections.set_session(id, 0));
        // One that others are in, too, and one of its own.
        let names = ["news".to_owned(), namespace_name(number)];
        let groups = &names[2 - followed..];
        if followed > 0 {
            shard.follow(id, Following::of_client(groups, None));
        }
        assert!(shard.bind(id, &namespace_name(number)));
        for name in &names {
            assert!(matches!(shard.join(id, name, None), Joining::In { .. }));
        }
        if followed > 0 {
            for nth in 0..=followed {
                shard.answer_follower(id, nth, &answer);
            }
            shard.begin_to_follow(id, &mut tops);
            for nth in 0..=followed {
                shard.catch_up(id, nth, &[], true, &mut tops);
            }
            assert!(shard.following(id).is_none());
        }
        while !shard.connections.outbox_is_empty(id) {
            let bytes = shard.connections.pieces(id).map(<[u8]>::len).sum();
            shard.written(id, bytes);
        }
        while shard.groups.next_interest().is_some() {}
    }
    let held = live() - before;
    drop(shard);
    held
}

fn stalled_readers_cost_their_outboxes() {
    const COUNT: usize = 1_000;
    const OUTBOX: usize = 128 << 10;
    const MESSAGE: usize = 4_000;
    let config = Config {
        outbox_bytes_max: OUTBOX,
        ..Config::default()
    };
    let (running, server) = start(config);
    let (base, held) = with_clients(move || {
        let mut boss = connect(server, COUNT, None);
        let mut clients = Vec::with_capacity(COUNT);
        // How many messages are one too many for a reader that has stalled.
        let stalled = connect(server, 0, Some(4096));
        let mut fits = 0;
        let cut_off = CUT_OFF.load(Ordering::Relaxed);
        while CUT_OFF.load(Ordering::Relaxed) == cut_off {
            say(&mut boss, format_args!("u0 {MESSAGE}"));
            thread::sleep(Duration::from_millis(5));
            fits += 1;
        }
        drop(stalled);
        thread::sleep(Duration::from_millis(300));
        let base = live();
        clients.extend((0..COUNT).map(|number| connect(server, number, Some(4096))));
        for _ in 0..fits - 4 {
            for number in 0..COUNT {
                say(&mut boss, format_args!("u{number} {MESSAGE}"));
            }
        }
        let held = settled() - base;
        let cut_off = CUT_OFF.load(Ordering::Relaxed) - cut_off - 1;
        assert_eq!(cut_off, 0, "cut off with fewer messages than {fits}");
        (base, held)
    });
    let each = held as f64 / COUNT as f64;
    println!("{each:.0} bytes for a stalled reader of at most {OUTBOX}");
    assert!(each <= OUTBOX as f64 * 1.01 + 330.0, "{each} bytes");
    assert!(each >= 0.85 * OUTBOX as f64, "only {each} bytes waited");
    comes_down_to(base + CORES as isize * KEPT_BY_CORE);
    running.stop().expect("it stops");
}

/// A leak shows in every round; that a list has grown because the server came later than ever, in one.
fn resets_leave_nothing() {
    const COUNT: usize = 2_500;
    const ROUNDS: usize = 6;
    // Less than a dozen bytes for each of them.
    const MOST: isize = COUNT as isize * 12;
    let soon = Duration::from_secs(1);
    // What was noted of a deadline stays until it is due.
    let (running, server) = start_as_it_is(Config {
        handshake_timeout: soon,
        login_timeout: soon,
        idle_timeout: soon,
        ..Config::default()
    });
    let mut random = fastrand::Rng::with_seed(7);
    let mut left: Vec<isize> = Vec::new();
    let mut base = settled();
    // The first is to use what stays.
    while left.len() <= ROUNDS && left.iter().skip(1).all(|left| left.abs() > MOST) {
        random = with_clients(move || {
            for number in 0..COUNT {
                reset_somewhere(server, number, &mut random);
            }
            random
        });
        thread::sleep(4 * soon);
        let after = settled();
        left.push(after - base);
        base = after;
    }
    println!("{left:?} bytes are left of rounds of {COUNT} resets");
    // One in which something else was given back could hide a leak, and does not count.
    assert!(left.iter().skip(1).any(|left| left.abs() <= MOST));
    running.stop().expect("it stops");
}

/// Connects, and is reset between any two bytes of the handshake, of the login, of a message to itself and of half
/// a message; sometimes when it has been answered.
fn reset_somewhere(server: SocketAddr, number: usize, random: &mut fastrand::Rng) {
    let mut bytes = REQUEST.as_bytes().to_vec();
    say(&mut bytes, format_args!("u{number}"));
    say(
        &mut bytes,
        format_args!("u{number} {}", random.usize(..20_000)),
    );
    bytes.extend(b"\x81\xfe\x10\x00 the rest of it does not come");
    let cut = match random.u32(..3) {
        0 => REQUEST.len(),
        1 => bytes.len(),
        _ => random.usize(..=bytes.len()),
    };
    let mut stream = TcpStream::connect(server).expect("connects");
    stream.write_all(&bytes[..cut]).expect("writes");
    if cut >= REQUEST.len() && random.bool() {
        let _ = stream.read(&mut [0; 1]).expect("an answer");
    }
    if random.bool() {
        thread::sleep(Duration::from_micros(random.u64(..400)));
    }
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).expect("a reset");
}
