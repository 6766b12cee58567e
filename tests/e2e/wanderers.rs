//! Connections that are bound anew again and again, and so move between the cores in the middle of everything: whatever is
//! sent to all or to their groups reaches each once, and each sender's in order; replies come in the order asked for, and
//! every end has a name.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use ringpost::app::{App, BindError, Context, JoinError, Login};
use ringpost::close::CloseReason;
use ringpost::config::{DescriptorTables, Driver};
use ringpost::ident::Reply;
use ringpost::{Config, Listen, Message, Running, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Barrier, mpsc};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::codec_deflate::{deflate, inflate};
use crate::raw::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, TEXT, close_code, cut_frame, masked, request,
};
use crate::{on_cores, on_drivers, seed};

const WANDERERS: usize = 18;
const STEPS: usize = 60;
/// Long enough that some of it waits for a reader that is slow.
const PADDING: usize = 600;
const PATIENCE: Duration = Duration::from_secs(60);

on_cores! {
    nothing_is_lost_or_doubled,
    nothing_is_lost_where_each_core_has_a_table,
    a_drain_ends_all_by_name,
    a_drain_little_by_little_ends_all_by_name,
}

on_drivers! {
    nothing_is_lost_on_either_wire,
}

/// How the sessions of an app have ended.
type Ends = Arc<Mutex<BTreeMap<&'static str, usize>>>;

/// `bind UID`, `unbind`, `join GROUP`, `all text`, `group NAME text`, `uid UID text`; `later text` is answered 50 ms later,
/// in its turn. What is none of these comes back.
struct Wander {
    ends: Ends,
    replies: HashMap<u64, (Reply, String)>,
    tokens: u64,
}

impl App for Wander {
    type Session = ();
    type Note = ();
    const NAMESPACE: &'static str = "wander";
    const LOGIN: Login = Login::Optional;

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {
        *self
            .ends
            .lock()
            .expect("no panic")
            .entry("begun")
            .or_default() += 1;
    }

    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
        let text = message.text().unwrap_or_default();
        match text.splitn(3, ' ').collect::<Vec<_>>()[..] {
            ["bind", uid] => cx.bind_uid(uid),
            ["unbind"] => cx.unbind(),
            ["join", group] => cx.join(group),
            ["all", ..] => cx.broadcast(&text["all ".len()..]),
            ["group", group, text] => cx.send_to_group(group, text),
            ["uid", uid, text] => cx.send_to_uid(uid, text),
            ["later", text] => {
                self.tokens += 1;
                let reply = (cx.reserve(), text.to_owned());
                self.replies.insert(self.tokens, reply);
                cx.after(Duration::from_millis(50), self.tokens);
            }
            _ => cx.send(text),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_, Self>, token: u64) {
        let (reply, text) = self.replies.remove(&token).expect("it is set once");
        cx.fill(reply, format!("R {text}"));
    }

    fn on_bound(&mut self, cx: &mut Context<'_, Self>, _: &mut (), result: Result<(), BindError>) {
        match result {
            Ok(()) => cx.send(format!("B {}", cx.uid().unwrap_or("none"))),
            Err(error) => cx.send(format!("error: {error}")),
        }
    }

    fn on_joined(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut (),
        group: &str,
        result: Result<(), JoinError>,
    ) {
        assert_eq!(result, Ok(()));
        cx.send(format!("J {group}"));
    }

    fn on_close(&mut self, _: &mut Context<'_, Self>, _: (), reason: CloseReason) {
        *self
            .ends
            .lock()
            .expect("no panic")
            .entry(reason.text())
            .or_default() += 1;
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Codec {
    WebSocket,
    Compressed,
    Text,
    Frame,
}

impl Codec {
    fn of(nth: usize) -> Codec {
        [
            Codec::WebSocket,
            Codec::Text,
            Codec::Compressed,
            Codec::Frame,
        ][nth % 4]
    }

    /// Which of the listeners.
    fn listener(self) -> usize {
        match self {
            Codec::WebSocket | Codec::Compressed => 0,
            Codec::Text => 1,
            Codec::Frame => 2,
        }
    }

    /// A message as a client writes it, a websocket's now in one frame and now in two.
    fn encode(self, rng: &mut Rng, text: &str, out: &mut Vec<u8>) {
        match self {
            Codec::Text => out.extend_from_slice(format!("{text}\n").as_bytes()),
            Codec::Frame => out.extend_from_slice(&crate::client::frame(text.as_bytes())),
            Codec::WebSocket | Codec::Compressed => {
                let (bit, body) = match self == Codec::Compressed && rng.bool() {
                    true => (0x40, deflate(text.as_bytes())),
                    false => (0, text.as_bytes().to_vec()),
                };
                if rng.bool() {
                    return out.extend_from_slice(&masked(FIN | TEXT | bit, &body));
                }
                let (first, second) = body.split_at(rng.usize(..=body.len()));
                out.extend_from_slice(&masked(TEXT | bit, first));
                out.extend_from_slice(&masked(FIN | CONTINUATION, second));
            }
        }
    }

    /// The next message of a server, the end by a close frame being one, too.
    fn decode(self, bytes: &mut Vec<u8>) -> Option<String> {
        let (body, used) = match self {
            Codec::Text => {
                let end = bytes.iter().position(|byte| *byte == b'\n')?;
                (bytes[..end].to_vec(), end + 1)
            }
            Codec::Frame => {
                let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
                (bytes.get(4..length)?.to_vec(), length)
            }
            Codec::WebSocket | Codec::Compressed => {
                let (frame, used) = cut_frame(bytes)?;
                if frame.first == FIN | PING {
                    bytes.drain(..used);
                    return self.decode(bytes);
                }
                let body = match frame.first {
                    first if first == FIN | CLOSE => {
                        format!("closed {:?}", close_code(&frame)).into_bytes()
                    }
                    first if first & 0x40 != 0 => inflate(&frame.body),
                    first => {
                        assert!(first == FIN | TEXT || first == FIN | BINARY, "{first:x}");
                        frame.body
                    }
                };
                (body, used)
            }
        };
        bytes.drain(..used);
        Some(String::from_utf8(body).expect("UTF-8"))
    }
}

/// A connection's two ways.
struct Wanderer {
    nth: usize,
    codec: Codec,
    write: OwnedWriteHalf,
    got: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Wanderer {
    async fn connect(addresses: &[SocketAddr; 3], nth: usize, is_slow: bool) -> Wanderer {
        let codec = Codec::of(nth);
        let socket = TcpSocket::new_v4().expect("a socket");
        if is_slow {
            // Not the smallest: then the kernel may ask but five times a second whether there is room.
            socket
                .set_recv_buffer_size(64 << 10)
                .expect("a small buffer");
        }
        let address = addresses[codec.listener()];
        let socket = socket.connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("no delay");
        let (mut read, mut write) = socket.into_split();
        if codec.listener() == 0 {
            let offer = match codec {
                Codec::Compressed => "Sec-WebSocket-Extensions: permessage-deflate\r\n",
                _ => "",
            };
            let request = request(offer);
            write
                .write_all(request.as_bytes())
                .await
                .expect("it leaves");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(read.read_u8().await.expect("a head"));
            }
            assert!(head.starts_with(b"HTTP/1.1 101"));
        }
        let (told, got) = mpsc::unbounded_channel();
        tokio::spawn(hear(codec, read, told, is_slow));
        Wanderer {
            nth,
            codec,
            write,
            got,
            seen: Vec::new(),
        }
    }

    /// Sends some bytes; false when the other side is gone.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        let writing = timeout(PATIENCE, self.write.write_all(bytes));
        writing.await.expect("it is read in time").is_ok()
    }

    async fn say(&mut self, text: &str) {
        let mut bytes = Vec::new();
        self.codec.encode(&mut Rng::new(), text, &mut bytes);
        assert!(self.write(&bytes).await, "{text}");
    }

    /// Reads until this has come. False if it has ended before.
    async fn wait(&mut self, text: &str) -> bool {
        loop {
            let got = timeout(PATIENCE, self.got.recv()).await;
            match got.unwrap_or_else(|_| panic!("{}: {text:?} has not come", self.nth)) {
                Some(got) => self.seen.push(got),
                None => return false,
            }
            match self.seen.last() {
                Some(last) if last == text => return true,
                Some(last) if last.starts_with("closed ") => return false,
                _ => {}
            }
        }
    }
}

/// Reads all that comes, a slow one by little pieces.
async fn hear(
    codec: Codec,
    mut read: OwnedReadHalf,
    told: mpsc::UnboundedSender<String>,
    is_slow: bool,
) {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = read.read(&mut piece).await {
        bytes.extend_from_slice(&piece[..count]);
        while let Some(text) = codec.decode(&mut bytes) {
            let _ = told.send(text);
        }
        if is_slow {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Whether it sends to both groups. Then one to a group may overtake what has followed one to the other.
fn sends_to_both(nth: usize) -> bool {
    nth.is_multiple_of(3)
}

/// What one sends in a step; the last thing is answered.
fn step(nth: usize, number: usize, rng: &mut Rng) -> (Vec<String>, String) {
    let length = if rng.u8(..4) == 0 { PADDING } else { 1 };
    let padding = seed::text(rng, length);
    let group = match sends_to_both(nth) {
        true => ["east", "west"][rng.usize(..2)],
        false => ["east", "west"][nth % 2],
    };
    let (uid, other) = (rng.u8(..40), rng.usize(..WANDERERS));
    let mut lines = vec![
        format!("later {nth}.{number}"),
        format!("group {group} G{group} {nth} {number} {padding}"),
        format!("uid u{other} U {nth} {number}"),
        format!("all A {nth} {number} {padding}"),
    ];
    rng.shuffle(&mut lines[1..]);
    let answer = match rng.u8(..6) {
        0 => {
            lines.insert(rng.usize(..=lines.len()), "unbind".to_owned());
            lines.push(format!("echo {number}"));
            format!("echo {number}")
        }
        1 => {
            lines.push(format!("echo {number}"));
            format!("echo {number}")
        }
        _ => {
            // Half of them in the middle of what it sends.
            let at = rng.usize(1..=lines.len());
            lines.insert(at, format!("bind w{nth}.{uid}"));
            format!("B w{nth}.{uid}")
        }
    };
    (lines, answer)
}

/// Goes its steps, each written in two pieces cut anywhere. What it has sent, in order; fewer if the server ends before.
async fn wander(one: &mut Wanderer, mut rng: Rng) -> Vec<String> {
    let mut sent = Vec::new();
    for number in 0..STEPS {
        let (lines, answer) = step(one.nth, number, &mut rng);
        let mut bytes = Vec::new();
        for line in &lines {
            one.codec.encode(&mut rng, line, &mut bytes);
        }
        let cut = rng.usize(..=bytes.len());
        if !one.write(&bytes[..cut]).await {
            break;
        }
        match rng.u8(..3) {
            0 => sleep(Duration::from_millis(2)).await,
            _ => tokio::task::yield_now().await,
        }
        if !one.write(&bytes[cut..]).await {
            break;
        }
        sent.extend(lines.into_iter().filter_map(|line| {
            line.strip_prefix("all ").map(str::to_owned).or_else(|| {
                let line = line.strip_prefix("group ")?;
                Some(line.split_once(' ')?.1.to_owned())
            })
        }));
        if !one.wait(&answer).await {
            break;
        }
    }
    sent
}

/// Comes, joins, binds twice and goes at any moment, by a reset or not.
async fn come_and_go(addresses: [SocketAddr; 3], nth: usize, mut rng: Rng, over: Arc<AtomicBool>) {
    while !over.load(Ordering::Relaxed) {
        let mut one = Wanderer::connect(&addresses, nth + rng.usize(..4), rng.bool()).await;
        let mut bytes = Vec::new();
        for line in [
            "join east",
            "bind x1",
            "later 1",
            "join west",
            "bind x2",
            "bind x3",
            "unbind",
        ] {
            let line = match line.strip_prefix("bind x") {
                Some(_) => format!("bind x{}", rng.u8(..)),
                None => line.to_owned(),
            };
            one.codec.encode(&mut rng, &line, &mut bytes);
        }
        let cut = rng.usize(..=bytes.len());
        let _ = one.write.write_all(&bytes[..cut]).await;
        sleep(Duration::from_millis(rng.u64(..4))).await;
        if rng.bool() {
            let _ = one.write.write_all(&bytes[cut..]).await;
            let _ = one.write.shutdown().await;
            sleep(Duration::from_millis(rng.u64(..4))).await;
        }
    }
}

fn config(cores: usize) -> Config {
    Config {
        cores,
        pin: false,
        compress: true,
        compress_bytes_min: 200,
        outbox_bytes_max: 32 << 20,
        outbox_bytes_core_max: 256 << 20,
        drain_rate: 0,
        // The machine may be busy, and some read slowly.
        close_timeout: Duration::from_secs(40),
        drain_timeout: Duration::from_secs(80),
        ..Config::default()
    }
}

async fn start(config: Config) -> (Running, [SocketAddr; 3], Ends) {
    let ends = Ends::default();
    let listens = [
        "websocket://127.0.0.1:0",
        "text://127.0.0.1:0",
        "frame://127.0.0.1:0",
    ];
    let of_app = Arc::clone(&ends);
    let listens = listens.map(Listen::new);
    crate::fragile::quiet_cores();
    let server = Server::new(config).listen(listens, move || Wander {
        ends: Arc::clone(&of_app),
        replies: HashMap::new(),
        tokens: 0,
    });
    let running = spawn_blocking(|| server.start()).await.expect("no panic");
    let running = running.expect("it starts");
    let addresses = [0, 1, 2].map(|at| running.listening()[at].address.ip().expect("of IP"));
    (running, addresses, ends)
}

async fn stop(running: Running) {
    spawn_blocking(|| running.stop().expect("it stops"))
        .await
        .expect("no panic");
}

/// Everybody in both groups.
async fn gather(addresses: &[SocketAddr; 3]) -> Vec<Wanderer> {
    let mut all = Vec::new();
    for nth in 0..WANDERERS {
        let mut one = Wanderer::connect(addresses, nth, nth % 5 == 0).await;
        for group in ["east", "west"] {
            one.say(&format!("join {group}")).await;
            assert!(one.wait(&format!("J {group}")).await);
        }
        one.seen.clear();
        all.push(one);
    }
    all
}

/// What one has seen of each sender's, of one group and all, since between groups there is no order.
fn of_sender(seen: &[String], from: usize, group: &str) -> Vec<String> {
    let starts = [format!("A {from} "), format!("G{group} {from} ")];
    let is_of = |text: &&String| starts.iter().any(|start| text.starts_with(start.as_str()));
    seen.iter().filter(is_of).cloned().collect()
}

/// Whether it has as many of all as have been sent.
fn is_complete(seen: &[String], sent: usize) -> bool {
    let of_many = seen.iter().filter(|text| text.starts_with(['A', 'G']));
    of_many.count() >= sent
}

async fn wander_about(config: Config) {
    let (running, addresses, ends) = start(config).await;
    let mut rng = seed::rng();
    let all = gather(&addresses).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();
    for nth in 0..3 {
        others.spawn(come_and_go(addresses, nth, rng.fork(), Arc::clone(&over)));
    }
    let mut tasks = JoinSet::new();
    let done = Arc::new(Barrier::new(WANDERERS));
    for mut one in all {
        let (rng, done) = (rng.fork(), Arc::clone(&done));
        tasks.spawn(async move {
            let sent = wander(&mut one, rng).await;
            let last = &one.seen[one.seen.len().saturating_sub(3)..];
            assert_eq!(sent.len(), 2 * STEPS, "{} ends early: {last:?}", one.nth);
            done.wait().await;
            // All that is for it is on its way at the latest.
            while !is_complete(&one.seen, 2 * STEPS * WANDERERS) {
                let got = timeout(PATIENCE, one.got.recv()).await;
                let of_many = one.seen.iter().filter(|text| text.starts_with(['A', 'G']));
                let count = of_many.count();
                let got = got.unwrap_or_else(|_| panic!("{} got {count} only", one.nth));
                one.seen.push(got.expect("it goes on"));
            }
            let last = format!("R {}.{}", one.nth, STEPS - 1);
            assert!(one.seen.contains(&last) || one.wait(&last).await);
            one.say("last").await;
            assert!(one.wait("last").await);
            (one, sent)
        });
    }
    let mut all = tasks.join_all().await;
    over.store(true, Ordering::Relaxed);
    others.join_all().await;
    all.sort_by_key(|(one, _)| one.nth);
    for (one, _) in &all {
        for (from, (_, sent)) in all.iter().enumerate() {
            for group in ["east", "west"] {
                let (seen, sent) = (
                    of_sender(&one.seen, from, group),
                    of_sender(sent, from, group),
                );
                let (mut seen, mut sent) = (seen, sent);
                if sends_to_both(from) {
                    for list in [&mut seen, &mut sent] {
                        list.sort_by_key(|text| text.starts_with('G'));
                    }
                }
                let head = |text: &String| text.chars().take(20).collect::<String>();
                let differs = seen.iter().zip(&sent).position(|(a, b)| a != b);
                let differs = differs.map(|at| (head(&seen[at]), head(&sent[at])));
                assert!(
                    seen == sent,
                    "{} of {from}, {group}: {} of {}, {differs:?}",
                    one.nth,
                    seen.len(),
                    sent.len()
                );
            }
        }
        let mut to_uid: Vec<&String> = one.seen.iter().filter(|t| t.starts_with('U')).collect();
        let count = to_uid.len();
        to_uid.sort();
        to_uid.dedup();
        assert_eq!(to_uid.len(), count, "{}", one.nth);
        let replies: Vec<&String> = one.seen.iter().filter(|t| t.starts_with("R ")).collect();
        let expected: Vec<String> = (0..STEPS).map(|n| format!("R {}.{n}", one.nth)).collect();
        assert_eq!(replies, expected.iter().collect::<Vec<_>>(), "{}", one.nth);
        let error = one.seen.iter().find(|text| text.starts_with("error"));
        assert_eq!(error, None, "{}", one.nth);
    }
    drop(all);
    stop(running).await;
    all_have_ended(
        &ends,
        &["closed by peer", "reset by peer", "server stopping"],
    );
}

fn all_have_ended(ends: &Ends, reasons: &[&str]) {
    let ends = ends.lock().expect("no panic").clone();
    let begun = ends["begun"];
    let ended: usize = ends.values().sum::<usize>() - begun;
    assert_eq!(begun, ended, "{ends:?}");
    for reason in ends.keys().filter(|reason| **reason != "begun") {
        assert!(reasons.contains(reason), "{ends:?}");
    }
}

async fn nothing_is_lost_or_doubled(cores: usize) {
    wander_about(config(cores)).await;
}

async fn nothing_is_lost_where_each_core_has_a_table(cores: usize) {
    wander_about(Config {
        descriptor_tables: DescriptorTables::PerCore,
        ..config(cores)
    })
    .await;
}

async fn nothing_is_lost_on_either_wire(driver: &'static str) {
    let driver = match driver {
        "epoll" => Driver::Epoll,
        _ => Driver::Auto,
    };
    for descriptor_tables in [DescriptorTables::Shared, DescriptorTables::PerCore] {
        wander_about(Config {
            driver,
            descriptor_tables,
            ..config(2)
        })
        .await;
    }
}

/// Each goes its steps until the server, stopped in the middle, ends it.
async fn wander_to_the_end(config: Config) -> (Vec<Wanderer>, Ends) {
    let (running, addresses, ends) = start(config).await;
    let mut rng = seed::rng();
    let mut tasks = JoinSet::new();
    for mut one in gather(&addresses).await {
        let rng = rng.fork();
        tasks.spawn(async move {
            wander(&mut one, rng).await;
            let is_end = |last: &String| last.starts_with("closed ");
            // Its close is answered by ours.
            while !one.seen.last().is_some_and(is_end)
                && let Some(got) = timeout(PATIENCE, one.got.recv()).await.expect("it ends")
            {
                one.seen.push(got);
            }
            let _ = one.write.shutdown().await;
            one
        });
    }
    sleep(Duration::from_millis(rng.u64(50..300))).await;
    stop(running).await;
    (tasks.join_all().await, ends)
}

fn expect_told(all: &[Wanderer]) {
    for one in all.iter().filter(|one| one.codec.listener() == 0) {
        let last = one.seen.last().expect("a close");
        assert_eq!(last, "closed Some(1001)", "{}", one.nth);
    }
}

/// What the server has taken is delivered to all, and each is told why it ends.
async fn a_drain_ends_all_by_name(cores: usize) {
    let (all, ends) = wander_to_the_end(config(cores)).await;
    let first = &all[0];
    for one in &all {
        for from in 0..WANDERERS {
            for group in ["east", "west"] {
                assert_eq!(
                    of_sender(&one.seen, from, group).len(),
                    of_sender(&first.seen, from, group).len(),
                    "{} and {} of {from}: {:?}",
                    one.nth,
                    first.nth,
                    ends.lock()
                );
            }
        }
    }
    expect_told(&all);
    all_have_ended(&ends, &["server stopping"]);
}

/// Those that are still there go on moving meanwhile.
async fn a_drain_little_by_little_ends_all_by_name(cores: usize) {
    let (all, ends) = wander_to_the_end(Config {
        drain_rate: 40,
        ..config(cores)
    })
    .await;
    expect_told(&all);
    all_have_ended(&ends, &["server stopping"]);
}
