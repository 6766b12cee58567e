//! Ten thousand connections that talk to each other: nothing lost, nothing twice, order kept, and
//! the same while a tenth of them are killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::raw::{CLOSE, FIN, PING, TEXT, cut_frame, masked, request};
use crate::run_alone;
use crate::seed;
use crate::server::Server;

const CLIENTS: usize = 10_000;
const MESSAGES_EACH: usize = 20;
const SENDERS_EACH: usize = 4;
/// All must have arrived within this; the whole test has a minute.
const TIME_MAX: Duration = Duration::from_secs(45);

/// What one client does: whom it sends to, in order, and how many it gets from those that live.
#[derive(Default)]
struct Part {
    to: Vec<u32>,
    expected: usize,
    killed: bool,
}

/// What all clients share.
struct Plan {
    parts: Vec<Part>,
    prefix: String,
    address: std::net::SocketAddr,
    /// Connecting is done by so many at once.
    connecting: Semaphore,
    logged_in: AtomicUsize,
    complete: AtomicUsize,
    living: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connect,
    Send,
    /// Everything is there; whatever still comes is one too many.
    Check,
}

#[test]
fn ten_thousand_lose_nothing_with_2_cores() {
    run_alone(ten_thousand(2, 0));
}

#[test]
fn ten_thousand_lose_nothing_with_4_cores() {
    run_alone(ten_thousand(4, 0));
}

#[test]
fn the_living_lose_nothing_while_a_tenth_is_killed_with_2_cores() {
    run_alone(ten_thousand(2, CLIENTS / 10));
}

#[test]
fn the_living_lose_nothing_while_a_tenth_is_killed_with_4_cores() {
    run_alone(ten_thousand(4, CLIENTS / 10));
}

async fn ten_thousand(cores: usize, killed: usize) {
    raise_descriptor_limit();
    let server = Server::with(
        cores,
        &[("LOGIN_TIMEOUT", "60s"), ("HANDSHAKE_TIMEOUT", "60s")],
    )
    .await;
    let mut rng = seed::rng();
    let plan = Arc::new(Plan {
        parts: parts(&mut rng, killed),
        prefix: seed::uid(&mut rng),
        address: server.address("ws", "relay"),
        connecting: Semaphore::new(200),
        logged_in: AtomicUsize::new(0),
        complete: AtomicUsize::new(0),
        living: CLIENTS - killed,
    });
    let (phase, phases) = watch::channel(Phase::Connect);
    let mut clients = JoinSet::new();
    for me in 0..CLIENTS {
        clients.spawn(client(Arc::clone(&plan), me, phases.clone(), rng.u64(..)));
    }
    let start = Instant::now();
    wait(&mut clients, &plan.logged_in, CLIENTS, "logged in").await;
    println!("{CLIENTS} logged in after {:?}", start.elapsed());
    assert_eq!(server.count("bound").await, CLIENTS as u64);
    let start = Instant::now();
    phase.send_replace(Phase::Send);
    wait(&mut clients, &plan.complete, plan.living, "complete").await;
    println!("all messages after {:?}", start.elapsed());
    // Time in which a message that comes twice would come.
    sleep(Duration::from_millis(500)).await;
    phase.send_replace(Phase::Check);
    while let Some(result) = clients.join_next().await {
        result.expect("a client without complaint");
    }
}

/// Waits until the counter is there; a client that ends before with a complaint ends the test.
async fn wait(clients: &mut JoinSet<()>, counter: &AtomicUsize, count: usize, what: &str) {
    let start = Instant::now();
    while counter.load(Ordering::Acquire) < count {
        while let Some(result) = clients.try_join_next() {
            result.expect("a client without complaint");
        }
        let now = counter.load(Ordering::Acquire);
        assert!(
            start.elapsed() < TIME_MAX,
            "only {now} of {count} clients are {what}"
        );
        sleep(Duration::from_millis(5)).await;
    }
}

/// Who is killed, and who sends to whom: each client gets 20 messages, 5 from each of 4 others.
fn parts(rng: &mut Rng, killed: usize) -> Vec<Part> {
    let mut parts: Vec<Part> = (0..CLIENTS).map(|_| Part::default()).collect();
    for part in rng.choose_multiple(parts.iter_mut(), killed) {
        part.killed = true;
    }
    for receiver in 0..CLIENTS {
        for _ in 0..SENDERS_EACH {
            let sender = loop {
                let sender = rng.usize(..CLIENTS);
                if sender != receiver {
                    break sender;
                }
            };
            for _ in 0..MESSAGES_EACH / SENDERS_EACH {
                parts[sender].to.push(receiver as u32);
            }
            if !parts[sender].killed {
                parts[receiver].expected += MESSAGES_EACH / SENDERS_EACH;
            }
        }
    }
    for part in &mut parts {
        rng.shuffle(&mut part.to);
    }
    parts
}

async fn client(plan: Arc<Plan>, me: usize, mut phases: watch::Receiver<Phase>, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut inbox = Inbox::login(&plan, me).await;
    plan.logged_in.fetch_add(1, Ordering::AcqRel);
    phases
        .wait_for(|phase| *phase != Phase::Connect)
        .await
        .expect("the test goes on");
    let part = &plan.parts[me];
    let mut numbers: Vec<(u32, u32)> = Vec::new();
    // Sent in a few pieces with time between, so that all talk at once.
    let limit = if part.killed {
        part.to.len() / 2
    } else {
        part.to.len()
    };
    for piece in part.to[..limit].chunks(5) {
        sleep(Duration::from_millis(rng.u64(..300))).await;
        let mut bytes = Vec::new();
        for to in piece {
            let number = next_number(&mut numbers, *to);
            bytes.extend(masked(
                FIN | TEXT,
                format!("{}-{to}:{me} {number}", plan.prefix).as_bytes(),
            ));
        }
        inbox
            .socket
            .write_all(&bytes)
            .await
            .expect("the connection lives");
        inbox.read_what_is_there(&plan);
    }
    if part.killed {
        if rng.bool() {
            socket2::SockRef::from(&inbox.socket)
                .set_linger(Some(Duration::ZERO))
                .expect("a reset at the end");
        }
        return;
    }
    while inbox.from_living < part.expected {
        inbox.read(&plan).await;
    }
    plan.complete.fetch_add(1, Ordering::AcqRel);
    phases
        .wait_for(|phase| *phase == Phase::Check)
        .await
        .expect("the test goes on");
    inbox.read_what_is_there(&plan);
    assert_eq!(
        inbox.from_living, part.expected,
        "client {me} got a message twice"
    );
}

/// The next number from one sender to one receiver, counted up.
fn next_number(numbers: &mut Vec<(u32, u32)>, of: u32) -> u32 {
    match numbers.iter_mut().find(|(other, _)| *other == of) {
        Some((_, next)) => {
            *next += 1;
            *next - 1
        }
        None => {
            numbers.push((of, 1));
            0
        }
    }
}

/// One client's connection, and what has come over it.
struct Inbox {
    socket: TcpStream,
    unread: Vec<u8>,
    me: usize,
    from_living: usize,
    numbers: Vec<(u32, u32)>,
}

impl Inbox {
    async fn login(plan: &Plan, me: usize) -> Inbox {
        let _turn = plan.connecting.acquire().await.expect("an open semaphore");
        let mut socket = TcpStream::connect(plan.address)
            .await
            .expect("a connection");
        let uid = format!("{}-{me}", plan.prefix);
        let mut bytes = request("").into_bytes();
        bytes.extend(masked(FIN | TEXT, uid.as_bytes()));
        socket
            .write_all(&bytes)
            .await
            .expect("the connection lives");
        let mut unread = Vec::with_capacity(512);
        let welcome = format!("login success, your uid is {uid}");
        loop {
            let count = timeout(TIME_MAX, socket.read_buf(&mut unread))
                .await
                .expect("a login in time")
                .expect("the connection lives");
            assert!(count > 0, "client {me} was closed before it was logged in");
            let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            assert!(
                unread.starts_with(b"HTTP/1.1 101 "),
                "client {me} was not upgraded"
            );
            if let Some((frame, used)) = cut_frame(&unread[end + 4..]) {
                assert_eq!(frame.body, welcome.as_bytes());
                unread.drain(..end + 4 + used);
                break;
            }
        }
        Inbox {
            socket,
            unread,
            me,
            from_living: 0,
            numbers: Vec::new(),
        }
    }

    async fn read(&mut self, plan: &Plan) {
        let count = self
            .socket
            .read_buf(&mut self.unread)
            .await
            .expect("the connection lives");
        assert!(count > 0, "client {} was closed", self.me);
        self.take(plan);
    }

    fn read_what_is_there(&mut self, plan: &Plan) {
        let mut buffer = [0; 4096];
        while let Ok(count) = self.socket.try_read(&mut buffer) {
            assert!(count > 0, "client {} was closed", self.me);
            self.unread.extend_from_slice(&buffer[..count]);
        }
        self.take(plan);
    }

    fn take(&mut self, plan: &Plan) {
        while let Some((frame, used)) = cut_frame(&self.unread) {
            self.unread.drain(..used);
            match frame.first & 0xf {
                PING => continue,
                CLOSE => panic!("client {} was closed: {frame:?}", self.me),
                _ => {}
            }
            let text = String::from_utf8(frame.body).expect("text");
            if let Some(error) = text.strip_prefix("error: uid \"") {
                // Only those who were killed may be missed.
                let missed = error
                    .strip_suffix("\" is not online")
                    .and_then(|uid| uid.rsplit_once('-'));
                let missed: usize = missed
                    .and_then(|(_, n)| n.parse().ok())
                    .expect("a uid of ours");
                assert!(
                    plan.parts[missed].killed,
                    "client {missed} lives but is not online"
                );
                continue;
            }
            let (sender, number) = text
                .split_once(' ')
                .unwrap_or_else(|| panic!("unexpected {text:?}"));
            let sender: u32 = sender.parse().expect("a sender");
            let number: u32 = number.parse().expect("a number");
            let expected = next_number(&mut self.numbers, sender);
            assert_eq!(number, expected, "from {sender} to {}", self.me);
            self.from_living += usize::from(!plan.parts[sender as usize].killed);
        }
    }
}

/// Ten thousand sockets want as many descriptors.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a valid pointer to a `rlimit` of ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    assert!(
        limit.rlim_cur >= CLIENTS as libc::rlim_t + 1_000,
        "this test wants {CLIENTS} descriptors, the limit is {}",
        limit.rlim_cur
    );
}
