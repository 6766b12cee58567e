//! Kept messages under chaos: every client's connection is reset every one to three seconds, in whatever it is reading, and
//! so are those of the back ends, which repeat what was not answered. What each client has had over all its connections
//! is, stream by stream, what was kept, in order and once; or it was told of a gap. Every other client speaks `ringpost.v1`
//! ([`chaos_v1`](crate::chaos_v1)), the others listen by events.
//!
//! 1,000 clients and 300,000 messages where `E2E_FULL` is set; else a tenth of the clients and a twentieth of the messages,
//! in a tenth of the time.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::read;
use crate::http;
use crate::seed;
use crate::server::Server;
use crate::speaking::PUBLIC;
use crate::tokens::File;

const BACK_ENDS: usize = 4;
/// Clients of one group.
const GROUP: usize = 20;
/// Messages of a batch, at most.
const BATCH: usize = 60;
/// Longest that all of it may take.
const PATIENCE: Duration = Duration::from_secs(900);

#[test]
fn everybody_has_everything_once() {
    crate::run_within(PATIENCE, async {
        let world = World::play(0, None, &[]).await;
        for report in &world.reports {
            assert!(
                report.gaps.iter().all(Vec::is_empty),
                "{}: {:?}",
                report.uid,
                report.gaps
            );
            for (stream, had) in report.streams().zip(&report.had) {
                assert_eq!(*had, world.kept(stream), "{} of {stream}", report.uid);
            }
        }
    });
}

/// So little memory that most of what is missed is gone.
#[test]
fn with_little_memory_all_that_is_lost_is_told() {
    crate::run_within(PATIENCE, async {
        let little = [("HISTORY_BYTES_CORE_MAX", "65536"), ("LOG", "info")];
        // Whoever misses a tenth of the messages misses several times what is kept.
        let world = World::play(400, Some(10), &little).await;
        let (mut gaps, mut lost) = (0, 0);
        for report in &world.reports {
            gaps += report.gaps.iter().map(Vec::len).sum::<usize>();
            for ((stream, had), told) in report.streams().zip(&report.had).zip(&report.gaps) {
                let Some(kept) = world.ledger.get(stream) else {
                    assert!(had.is_empty(), "{} of {stream}", report.uid);
                    continue;
                };
                assert!(
                    had.iter()
                        .all(|serial| kept.values().any(|it| it == serial))
                );
                let mut each = had.clone();
                each.sort_unstable();
                each.dedup();
                assert_eq!(
                    each.len(),
                    had.len(),
                    "{} had one twice of {stream}",
                    report.uid
                );
                for (position, serial) in kept {
                    let was_told = || told.iter().any(|gap| gap.covers(position));
                    let is_there = each.binary_search(serial).is_ok();
                    assert!(
                        is_there || was_told(),
                        "{} lost {serial} of {stream} at {position}: {told:?}",
                        report.uid
                    );
                    lost += usize::from(!is_there);
                }
            }
        }
        println!("{lost} messages were lost, and {gaps} gaps told");
        assert!(lost >= gaps);
        assert!(gaps > 0, "so little memory, and nothing was lost");
        assert!(
            world.gaps_counted >= gaps,
            "{gaps} of {}",
            world.gaps_counted
        );
        let reason = [
            "told of a gap",
            "some of it is gone",
            "history_bytes_core_max",
        ];
        let has_it = |line: &str| reason.iter().all(|word| line.contains(word));
        assert!(world.log.lines().any(has_it), "{}", world.log);
    });
}

/// What all share.
pub struct Plan {
    address: SocketAddr,
    /// Where websockets are opened.
    pub sockets: SocketAddr,
    clients: usize,
    messages: usize,
    /// What follows each text.
    padding: String,
    /// So many messages are kept while a client is away for once.
    absence: Option<usize>,
    /// A connection's time is from once to three times this.
    life: Duration,
    /// How many messages are kept by now.
    kept: AtomicUsize,
    pub ready: AtomicUsize,
    /// Where each stream ends, once all is pushed.
    tops: OnceLock<HashMap<String, String>>,
    ledger: Mutex<Ledger>,
}

impl Plan {
    /// Waits until that many more are kept, or all are.
    async fn miss_some(&self) {
        let Some(absence) = self.absence else {
            return;
        };
        let until = self.kept.load(Ordering::Relaxed) + absence;
        while self.kept.load(Ordering::Relaxed) < until && self.tops.get().is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// By stream and position, the serial number of the message that was kept there.
type Ledger = HashMap<String, HashMap<String, u32>>;

struct World {
    reports: Vec<Report>,
    ledger: Ledger,
    gaps_counted: usize,
    log: String,
}

impl World {
    /// With this behind each text, and clients that are away for this part of all messages, however long that takes.
    async fn play(padding: usize, part: Option<usize>, settings: &[(&str, &str)]) -> World {
        let rules = File::new(PUBLIC);
        let ids = [("IDEMPOTENCY_IDS_MAX", "400000"), ("CONFIG", rules.path())];
        let server = Server::with(4, &[&ids, settings].concat()).await;
        let full = std::env::var_os("E2E_FULL").is_some();
        let (clients, messages, life) = match full {
            true => (1_000, 300_000, Duration::from_secs(1)),
            false => (100, 15_000, Duration::from_millis(100)),
        };
        let plan = Arc::new(Plan {
            address: server.address("http", "page"),
            sockets: server.address("ws", "push"),
            clients,
            messages,
            padding: " ".repeat(padding),
            absence: part.map(|part| messages / part),
            life,
            kept: AtomicUsize::new(0),
            ready: AtomicUsize::new(0),
            tops: OnceLock::new(),
            ledger: Mutex::default(),
        });
        let mut rng = seed::rng();
        let mut listening = JoinSet::new();
        for nth in 0..clients {
            let client = Report::new(nth).listen(Arc::clone(&plan), rng.fork());
            listening.spawn(client);
        }
        let start = Instant::now();
        while plan.ready.load(Ordering::Relaxed) < clients {
            assert!(start.elapsed() < PATIENCE, "not all came");
            sleep(Duration::from_millis(20)).await;
        }
        let mut pushing = JoinSet::new();
        for nth in 0..BACK_ENDS {
            pushing.spawn(push_all(Arc::clone(&plan), nth, rng.fork()));
        }
        while let Some(pushed) = pushing.join_next().await {
            pushed.expect("a back end pushes all");
        }
        let tops = tops(&server, &plan).await;
        plan.tops.set(tops).expect("once");
        let mut reports = Vec::new();
        let all = async {
            while let Some(report) = listening.join_next().await {
                reports.push(report.expect("a client gets all"));
            }
        };
        timeout(PATIENCE, all).await.expect("all get everything");
        let resets: usize = reports.iter().map(|report| report.resets).sum();
        println!("{resets} connections were reset in {:?}", start.elapsed());
        let page = http::get(plan.address, "/metrics").await.body;
        let gaps = page
            .lines()
            .filter(|line| line.starts_with("ringpost_history_gaps_total"));
        let gaps = gaps.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        let ledger = std::mem::take(&mut *plan.ledger.lock().expect("nobody panicked"));
        World {
            reports,
            ledger,
            gaps_counted: gaps.sum(),
            log: server.log(),
        }
    }

    /// The serial numbers of what was kept in a stream, in order: at the offsets 1, 2, 3 … of one life.
    fn kept(&self, stream: &str) -> Vec<u32> {
        let kept = self.ledger.get(stream).into_iter().flatten();
        let mut kept: Vec<(&str, u64, u32)> = kept
            .map(|(position, serial)| {
                let (epoch, offset) = positions(position)[0];
                (epoch, offset, *serial)
            })
            .collect();
        kept.sort_unstable_by_key(|kept| kept.1);
        for (nth, (epoch, offset, _)) in kept.iter().enumerate() {
            assert_eq!((*epoch, *offset), (kept[0].0, nth as u64 + 1), "{stream}");
        }
        kept.into_iter().map(|kept| kept.2).collect()
    }
}

/// Where each stream ends.
async fn tops(server: &Server, plan: &Plan) -> HashMap<String, String> {
    let uids = (0..plan.clients).map(|client| (uid_of(client), "uid"));
    let groups = (0..plan.clients)
        .step_by(GROUP)
        .map(|client| (group_of(client), "group"));
    let mut tops = HashMap::new();
    for (stream, kind) in uids.chain(groups).chain([("all".to_owned(), "uid")]) {
        let page = read(server, &format!("/v1/history?{kind}={stream}&limit=1")).await;
        let top = page["top"].as_str().expect("a top").to_owned();
        tops.insert(stream, top);
    }
    tops
}

/// A back end: pushes its part, each message with an `id`.
async fn push_all(plan: Arc<Plan>, own: usize, mut rng: Rng) {
    let mut connection = None;
    let mut left = plan.messages / BACK_ENDS;
    let mut number = 0;
    while left > 0 {
        let count = match rng.u8(..10) {
            0..3 => 1,
            _ => rng.usize(1..=BATCH.min(left)),
        };
        left -= count;
        let entries: Vec<Entry> = (0..count)
            .map(|_| {
                number += 1;
                Entry::draw(&plan, &mut rng, (number * BACK_ENDS + own) as u32)
            })
            .collect();
        let (path, body) = match &entries[..] {
            [one] => (one.path(), one.body(&plan.padding)),
            several => {
                let each = several
                    .iter()
                    .map(|one| json!({one.command(): one.body(&plan.padding)}));
                ("/v1/batch", Value::Array(each.collect()))
            }
        };
        let request = post(plan.address, path, &body.to_string());
        // One in twenty is given up when it is written, and made again.
        let mut gives_up = rng.u8(..20) == 0;
        let answer = loop {
            let (mut socket, mut unread) = match connection.take() {
                Some(connection) => connection,
                None => (connect(plan.address).await, Vec::new()),
            };
            socket.write_all(request.as_bytes()).await.expect("sent");
            if std::mem::take(&mut gives_up) {
                sleep(Duration::from_micros(rng.u64(..2_000))).await;
                reset(socket);
                continue;
            }
            let answer = take_answer(&mut socket, &mut unread).await;
            connection = Some((socket, unread));
            break answer;
        };
        let answers = match answer["answers"].as_array() {
            Some(answers) => answers.clone(),
            None => vec![answer],
        };
        assert_eq!(answers.len(), entries.len());
        let mut ledger = plan.ledger.lock().expect("nobody panicked");
        plan.kept.fetch_add(entries.len(), Ordering::Relaxed);
        for (entry, answer) in entries.iter().zip(&answers) {
            let position = answer["positions"][&entry.stream].as_str();
            let position = position.unwrap_or_else(|| panic!("no position: {answer}"));
            let stream = ledger.entry(entry.stream.clone()).or_default();
            let before = stream.insert(position.to_owned(), entry.serial);
            assert_eq!(before, None, "two at {position} of {}", entry.stream);
        }
    }
}

/// A message of a back end.
struct Entry {
    stream: String,
    serial: u32,
}

impl Entry {
    fn draw(plan: &Plan, rng: &mut Rng, serial: u32) -> Entry {
        let client = rng.usize(..plan.clients);
        let stream = match rng.u16(..1_000) {
            0..2 => "all".to_owned(),
            2..200 => group_of(client),
            _ => uid_of(client),
        };
        Entry { stream, serial }
    }

    fn command(&self) -> &'static str {
        match &*self.stream {
            "all" => "broadcast",
            _ => "push",
        }
    }

    fn path(&self) -> &'static str {
        match &*self.stream {
            "all" => "/v1/broadcast",
            _ => "/v1/push",
        }
    }

    fn body(&self, padding: &str) -> Value {
        let Entry { stream, serial } = self;
        let mut body = json!({
            "text": format!("{stream} {serial}{padding}"),
            "id": format!("message-{serial}"),
            "keep": "10m",
        });
        match stream.as_bytes()[0] {
            b'u' => body["uid"] = json!(stream),
            b'g' => body["group"] = json!(stream),
            _ => {}
        }
        body
    }
}

fn uid_of(client: usize) -> String {
    format!("u{client}")
}

fn group_of(client: usize) -> String {
    format!("g{}", client / GROUP)
}

/// A gap that a client was told of: where it stood, and where it went on.
#[derive(Debug)]
struct ToldGap {
    from: (String, u64),
    to: (String, u64),
}

impl ToldGap {
    /// Whether a message at this position may be lost by it.
    fn covers(&self, position: &str) -> bool {
        let (epoch, offset) = positions(position)[0];
        let ToldGap { from, to } = self;
        if epoch == from.0 {
            return offset > from.1 && (epoch != to.0 || offset <= to.1);
        }
        // Of the life that it went on in all up to there, and of one in between all.
        let is_its_life = |at: &(String, u64)| epoch == at.0;
        match is_its_life(to) {
            true => offset <= to.1,
            false => from.0 != to.0,
        }
    }
}

/// A client, and all that it has had. Its streams are its uid's, its group's and everybody's, in this order.
pub struct Report {
    pub uid: String,
    pub group: String,
    /// What it comes back with.
    pub id: Option<String>,
    speaks_v1: bool,
    /// Where it stands in each stream.
    at: [(String, u64); 3],
    /// Serial numbers by the order in which they came.
    had: [Vec<u32>; 3],
    gaps: [Vec<ToldGap>; 3],
    resets: usize,
    was_away: bool,
}

impl Report {
    fn new(nth: usize) -> Report {
        Report {
            uid: uid_of(nth),
            group: group_of(nth),
            id: None,
            speaks_v1: nth % 2 == 1,
            at: Default::default(),
            had: Default::default(),
            gaps: Default::default(),
            resets: 0,
            was_away: false,
        }
    }

    fn streams(&self) -> impl Iterator<Item = &str> {
        [&*self.uid, &*self.group, "all"].into_iter()
    }

    async fn listen(mut self, plan: Arc<Plan>, mut rng: Rng) -> Report {
        loop {
            let (address, request) = match self.speaks_v1 {
                true => (plan.sockets, self.opening_v1(plan.sockets)),
                false => (plan.address, self.request(plan.address).into_bytes()),
            };
            let mut socket = connect(address).await;
            socket.write_all(&request).await.expect("sent");
            let ends = Instant::now() + plan.life.mul_f64(1.0 + 2.0 * rng.f64());
            let mut unread = Vec::new();
            let mut is_answered = false;
            while let Ok(Ok(count)) = timeout_at(ends, socket.read_buf(&mut unread)).await {
                if count == 0 {
                    break;
                }
                if !is_answered && let Some(end) = find(&unread, b"\r\n\r\n") {
                    let head = String::from_utf8_lossy(&unread[..end]);
                    let status = ["200", "101"][usize::from(self.speaks_v1)];
                    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
                    unread.drain(..end + 4);
                    is_answered = true;
                }
                match is_answered {
                    true if self.speaks_v1 => self.take_frames(&mut unread, &plan),
                    true => self.take_blocks(&mut unread, &plan),
                    false => {}
                }
                if self.has_all(&plan) {
                    return self;
                }
            }
            if self.has_all(&plan) {
                return self;
            }
            // In the middle of whatever has been sent.
            reset(socket);
            self.resets += 1;
            // Once it has had something, so that what it misses is behind that.
            let has_had = self.had.iter().any(|had| !had.is_empty());
            if has_had && !std::mem::replace(&mut self.was_away, true) {
                plan.miss_some().await;
            }
            if rng.bool() {
                sleep(plan.life.mul_f64(rng.f64())).await;
            }
        }
    }

    fn request(&self, address: SocketAddr) -> String {
        let Report { uid, group, id, .. } = self;
        let since = id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n"));
        let since = since.unwrap_or_default();
        format!("GET /v1/events?uid={uid}&group={group} HTTP/1.1\r\nHost: {address}\r\n{since}\r\n")
    }

    /// Takes whole blocks.
    fn take_blocks(&mut self, unread: &mut Vec<u8>, plan: &Plan) {
        let mut taken = 0;
        while let Some(end) = find(&unread[taken..], b"\n\n") {
            let block = std::str::from_utf8(&unread[taken..taken + end]).expect("text");
            self.take_block(block, plan);
            taken += end + 2;
        }
        unread.drain(..taken);
    }

    fn take_block(&mut self, block: &str, plan: &Plan) {
        let field = |name| block.lines().find_map(|line| line.strip_prefix(name));
        let (id, data, kind) = (field("id: "), field("data: "), field("event: "));
        match (kind, data) {
            (None, None) => {
                if id.is_some() && self.id.is_none() {
                    plan.ready.fetch_add(1, Ordering::Relaxed);
                }
            }
            (None, Some(data)) => self.take_message(id.expect("a kept one has an id"), data),
            (Some("gap"), Some(data)) => self.take_gap(id.expect("a gap has an id"), data),
            (Some("close"), _) => {}
            _ => panic!("no block of ours: {block}"),
        }
        if let Some(id) = id {
            self.id = Some(id.to_owned());
        }
    }

    pub fn take_message(&mut self, id: &str, data: &str) {
        let now = positions(id);
        let stands = |nth: usize| (&*self.at[nth].0, self.at[nth].1);
        // Where a gap is still to be told the position is one that no stream has.
        let moved: Vec<usize> = (0..now.len())
            .filter(|nth| now[*nth].1 < u64::MAX && now[*nth].1 > 0)
            .filter(|nth| now[*nth] != stands(*nth))
            .collect();
        let [nth] = moved[..] else {
            panic!("{}: from {:?} to {id} by {data}", self.uid, self.at);
        };
        let (epoch, offset) = now[nth];
        let (own_epoch, own_offset) = stands(nth);
        assert!(
            // Who is there when a new life of its stream begins has missed nothing of the old one.
            offset == own_offset + 1 && (own_offset == 0 || epoch == own_epoch) || offset == 1,
            "{}: from {:?} to {id} by {data}",
            self.uid,
            self.at
        );
        let (stream, serial) = data.trim_end().split_once(' ').expect("two words");
        assert_eq!(Some(stream), self.streams().nth(nth), "{}: {id}", self.uid);
        self.at[nth] = (epoch.to_owned(), offset);
        self.had[nth].push(serial.parse().expect("a number"));
    }

    pub fn take_gap(&mut self, id: &str, data: &str) {
        let gap: Value = serde_json::from_str(data).expect("JSON");
        let nth = match gap["kind"].as_str() {
            Some("uid") => 0,
            Some("group") => 1,
            Some("all") => 2,
            _ => panic!("{gap}"),
        };
        let now = positions(id)[nth];
        assert_eq!(gap["top"], json!(format!("{}:{}", now.0, now.1)), "{gap}");
        // Something was lost: a gap that is told without one would be no less a fault.
        let (epoch, offset) = &self.at[nth];
        assert!(
            now.1 > *offset || now.0 != epoch,
            "{}: {:?}, but {gap}",
            self.uid,
            self.at
        );
        let to = (now.0.to_owned(), now.1);
        let from = std::mem::replace(&mut self.at[nth], to.clone());
        self.gaps[nth].push(ToldGap { from, to });
    }

    /// Whether it stands at the top of each of its streams, and no more will come.
    fn has_all(&self, plan: &Plan) -> bool {
        let Some(tops) = plan.tops.get() else {
            return false;
        };
        self.streams().zip(&self.at).all(|(stream, at)| {
            let top = positions(&tops[stream])[0];
            // One that was never born, or is forgotten, has nothing for anybody.
            top.1 == 0 || (&*at.0, at.1) == top
        })
    }
}

/// The positions of an id.
fn positions(id: &str) -> Vec<(&str, u64)> {
    let each = id
        .split(',')
        .map(|one| one.split_once(':').expect("a position"));
    each.map(|(epoch, offset)| (epoch, offset.parse().expect("a number")))
        .collect()
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("a connection")
}

/// Ends a connection by a reset.
fn reset(socket: TcpStream) {
    let socket = SockRef::from(&socket);
    socket.set_linger(Some(Duration::ZERO)).expect("a reset");
}

fn post(address: SocketAddr, path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// Takes one answer, which must be well.
async fn take_answer(socket: &mut TcpStream, unread: &mut Vec<u8>) -> Value {
    loop {
        if let Some(end) = find(unread, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            if unread.len() >= end + 4 + length {
                let body = &unread[end + 4..end + 4 + length];
                assert!(
                    head.starts_with("http/1.1 200 "),
                    "{head}: {}",
                    String::from_utf8_lossy(body)
                );
                let answer = serde_json::from_slice(body).expect("JSON");
                unread.drain(..end + 4 + length);
                return answer;
            }
        }
        let read = timeout(PATIENCE, socket.read_buf(unread)).await;
        let count = read.expect("an answer in time").expect("an answer");
        assert!(count > 0, "the server has closed");
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|at| at == mark)
}
