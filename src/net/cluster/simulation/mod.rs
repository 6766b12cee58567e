//! What Redis keeps for the nodes of a cluster, against a model of it that delays, loses connections and messages, is started
//! anew and forgets: what is kept is kept once and comes in its order, no gap is untold, nothing comes twice, and a request
//! with an id is carried out once.
//!
//! Each seed is a run of its own. A node is a core as it is and the engine's party as it is ([`node`]); clients follow a uid,
//! groups and everybody by server-sent events and come back to any node, or have a queue ([`client`]).
//! `SIM_SEEDS` and `SIM_FIRST` say how many and from where.

mod client;
mod ids;
mod node;
mod redis;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::app::outcome::Delivered;
use crate::app::promise::Promise;
use crate::app::query::Query;
use crate::ident::{CoreId, NamespaceId, Reach};
use crate::payload::Message;
use crate::shard::Following;
use crate::streams::{Kind, Wish};
use client::SimClient;
use ids::SimIds;
use node::{EVENTS, LINES, SimNode};
use redis::{Loss, ModelRedis};

const NODES: usize = 3;
const STEPS: usize = 4_000;
/// Looks at all mirrors take that long, and a little.
const LAST_SECONDS: usize = 45;

/// A push whose answer is waited for.
struct AskedPush {
    at: usize,
    text: String,
    promise: Promise<Delivered>,
}

struct World {
    nodes: Vec<SimNode>,
    redis: ModelRedis,
    clients: Vec<SimClient>,
    random: fastrand::Rng,
    now: Instant,
    said: u64,
    pushes: Vec<AskedPush>,
    ids: SimIds,
    /// Answers: delivered or kept, and unknown.
    known: u64,
    unknown: u64,
}

fn reach() -> Reach {
    Reach::of(NamespaceId(0))
}

/// What has come of it, if that is known.
fn poll<T>(promise: &mut Promise<T>) -> Option<T> {
    match pin!(promise).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

impl World {
    fn new(seed: u64) -> World {
        // What the nodes draw is the same in each run, too.
        fastrand::seed(seed);
        let now = Instant::now();
        let group = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let clients = vec![
            SimClient::new("u0".into(), group(&["g0"]), true),
            SimClient::new("u0".into(), group(&["g0", "g1"]), true),
            SimClient::new("u1".into(), group(&[]), true),
            SimClient::new("q0".into(), group(&[]), false),
        ];
        World {
            nodes: (0..NODES).map(|name| SimNode::new(name, now)).collect(),
            redis: ModelRedis::default(),
            clients,
            random: fastrand::Rng::with_seed(seed),
            now,
            said: 0,
            pushes: Vec::new(),
            ids: SimIds::default(),
            known: 0,
            unknown: 0,
        }
    }

    fn step(&mut self) {
        let at = self.random.usize(..NODES);
        match self.random.u32(..1_000) {
            0..20 => self.come_or_go(),
            20..80 => self.push(at),
            80..84 => self.forget(at),
            84..110 => self.ids.step(&mut self.nodes, &mut self.random),
            110..400 => self.nodes[at].run_engine(&mut self.redis, self.now),
            400..500 => self.nodes[at].subscribe(at, &mut self.redis, self.now),
            500..700 => self.deliver(at),
            700..860 => self.run_core(at),
            860..950 => self.write(at),
            950..978 => {
                let was = self.nodes[at].is_up;
                self.nodes[at].join(at, &mut self.redis, self.now);
                if !was {
                    for client in &mut self.clients {
                        client.note(format!("join {at}"));
                    }
                }
            }
            978 => self.trouble(at),
            979 => self.notice(at),
            980 => self.redis.copy(),
            _ => {
                let time = Duration::from_millis(self.random.u64(..300));
                self.pass(time);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for node in &mut self.nodes {
            node.pass(self.now);
        }
    }

    fn lose(&mut self, at: usize) {
        let is_done = self.random.bool();
        self.nodes[at].lose(at, &mut self.redis, is_done, self.now);
    }

    fn trouble(&mut self, at: usize) {
        let what = self.random.u32(..8);
        for client in &mut self.clients {
            client.note(format!("trouble {what} of node {at}"));
        }
        match what {
            0..4 => self.lose(at),
            // Redis is started anew.
            4 | 5 => {
                (0..NODES).for_each(|at| self.lose(at));
                let loss = [Loss::Nothing, Loss::TheLast, Loss::All][self.random.usize(..3)];
                self.redis.start_anew(loss);
                if loss != Loss::Nothing {
                    self.ids.forget_all();
                }
            }
            // What was published of a stream is lost on its way.
            6 => {
                let queue = &mut self.redis.queues[at];
                queue.retain(|bytes| !bytes.first().is_some_and(u8::is_ascii_alphanumeric));
            }
            _ => self.kill(at),
        }
    }

    /// A node ends without a word, and another one starts.
    fn kill(&mut self, at: usize) {
        self.lose(at);
        self.redis.lives[at].clear();
        self.nodes[at] = SimNode::new(at, self.now);
        self.pushes.retain(|one| one.at != at);
        self.ids.lose(at);
        for client in &mut self.clients {
            client.place = client.place.filter(|(node, _)| *node != at);
        }
    }

    fn come_or_go(&mut self) {
        let nth = self.random.usize(..self.clients.len());
        match self.clients[nth].place {
            None => self.come(nth),
            Some((at, id)) => {
                self.clients[nth].place = None;
                // One that follows knows where it stood.
                if !self.clients[nth].follows && self.random.bool() {
                    self.clients[nth].note(format!("is cut off from {at}"));
                    self.nodes[at].broken.push((id, 0));
                } else {
                    self.clients[nth].note(format!("goes from {at}"));
                    self.nodes[at].close(id);
                }
            }
        }
    }

    /// A node notices that connections have broken.
    fn notice(&mut self, at: usize) {
        let broken = self.nodes[at].broken.clone();
        broken.iter().for_each(|(id, _)| self.nodes[at].close(*id));
    }

    /// A client comes to some node.
    fn come(&mut self, nth: usize) {
        let at = self.random.usize(..NODES);
        let (host, client) = (&mut self.nodes[at].host, &mut self.clients[nth]);
        let listener = if client.follows { EVENTS } else { LINES };
        let id = host.connect(listener, ([127, 0, 0, 1], nth as u16).into());
        client.comes((at, id));
        if client.follows {
            let head = crate::protocol::sse::head(None, 0);
            host.shard()
                .send_raw(id, |_, out| out.extend_from_slice(&head));
            let following = Following::of_client(&client.groups, client.last.as_deref());
            host.shard().follow(id, following);
        }
        host.open(id);
        match client.follows {
            true => host.claim(id, &client.uid),
            false => host.message(id, Message::Text(&client.uid)),
        }
    }

    fn push(&mut self, at: usize) {
        self.said += 1;
        let text = format!("m{}", self.said);
        let message = Message::Text(&text);
        let kind = self.random.u32(..10);
        let uid = ["u0", "u1", "u2", "q0", "q0"][self.random.usize(..5)];
        let group = ["g0", "g1"][self.random.usize(..2)];
        let mut tasks = self.nodes[at].host.tasks();
        let wish = (Wish::AsRuled, None);
        let promise = match kind {
            0..6 => tasks.push(reach(), uid, message, Wish::AsRuled),
            6..9 => tasks.push_to_group(reach(), group, message, wish),
            _ => tasks.broadcast(reach(), message, wish),
        };
        drop(tasks);
        self.pushes.push(AskedPush { at, text, promise });
    }

    fn forget(&mut self, at: usize) {
        let what = Query::ForgetHistory {
            reach: reach(),
            kind: Kind::Uid,
            name: ["u0", "u1"][self.random.usize(..2)].into(),
        };
        drop(self.nodes[at].host.tasks().query(CoreId(0), what));
    }

    fn deliver(&mut self, at: usize) {
        if let Some(bytes) = self.redis.queues[at].pop_front() {
            self.nodes[at].arrived(&bytes);
        }
    }

    fn run_core(&mut self, at: usize) {
        let most = self.random.usize(1..16);
        self.nodes[at].run_core(self.now, most);
    }

    /// Clients have what was written to them.
    fn write(&mut self, at: usize) {
        while let Some(id) = self.nodes[at].host.shard().next_dirty(true) {
            let shard = self.nodes[at].host.shard();
            let mut bytes = Vec::new();
            while !shard.connections.outbox_is_empty(id) {
                let from = bytes.len();
                bytes.extend(shard.connections.pieces(id).flatten().copied());
                let written = bytes.len() - from;
                shard.written(id, written);
            }
            let mut broken = self.nodes[at].broken.iter_mut();
            if let Some((_, outstanding)) = broken.find(|(one, _)| *one == id) {
                *outstanding += bytes.len();
                continue;
            }
            let client = self.clients.iter_mut();
            if let Some(client) = client.into_iter().find(|one| one.place == Some((at, id))) {
                client.take(&bytes, &self.redis.journal);
            }
        }
    }

    /// All that is under way comes to its end, and all clients are there.
    fn settle(&mut self) {
        for second in 0..LAST_SECONDS {
            // Or it would wait behind those, as long as its client stays on their node.
            if second == 10 {
                (0..NODES).for_each(|at| self.notice(at));
            }
            for nth in 0..self.clients.len() {
                if self.clients[nth].place.is_none() {
                    self.come(nth);
                }
            }
            for _ in 0..if second < 3 { 60 } else { 6 } {
                for at in 0..NODES {
                    self.nodes[at].join(at, &mut self.redis, self.now);
                    self.nodes[at].run_engine(&mut self.redis, self.now);
                    self.nodes[at].subscribe(at, &mut self.redis, self.now);
                    while !self.redis.queues[at].is_empty() {
                        self.deliver(at);
                    }
                    self.nodes[at].run_core(self.now, usize::MAX);
                    self.write(at);
                }
                self.ids.step(&mut self.nodes, &mut self.random);
            }
            self.pass(Duration::from_secs(1));
        }
    }

    /// Each push has an answer, which is true.
    fn check_pushes(&mut self) {
        for AskedPush { text, promise, .. } in &mut self.pushes {
            let answer = poll(promise).unwrap_or_else(|| panic!("no answer to {text}"));
            let kept = self.redis.journal.get(text);
            match answer.unknown.is_some() {
                true => self.unknown += 1,
                false => {
                    self.known += 1;
                    assert!(answer.position.is_some(), "{text}: not kept, {answer:?}");
                }
            }
            if let Some(position) = answer.position {
                let kept = kept.unwrap_or_else(|| panic!("{text}: told and not kept"));
                assert_eq!(kept.position, position, "{text}");
            }
        }
    }

    /// Whoever follows a stream is at its top; and what has waited for a uid has come.
    fn check_clients(&self) {
        for client in &self.clients {
            let streams = client.streams();
            for (nth, name) in streams.iter().enumerate().filter(|_| client.follows) {
                let Some(stream) = self.redis.streams.get(name) else {
                    continue;
                };
                let stood = client.stood[nth];
                let top = stream.position();
                assert_eq!(stood, Some(top), "{name}: {}", client.story());
            }
            let Some(stream) = self.redis.streams.get(&streams[0]) else {
                continue;
            };
            if client.follows {
                continue;
            }
            for text in stream.texts() {
                let came = client.had.contains(&text);
                assert!(came, "{text} waits for ever: {}", client.story());
            }
            if self.redis.is_first_run() {
                for (text, kept) in &self.redis.journal {
                    let is_in = kept.stream == streams[0] && stream.has(kept.position);
                    let came = !is_in || client.had.contains(text);
                    let place = kept.position;
                    assert!(came, "{text}, {place}, waits for ever: {}", client.story());
                }
            }
        }
    }
}

#[test]
fn what_is_kept_comes_once_and_in_order_whatever_redis_does() {
    let number = |name: &str, default| {
        let text = std::env::var(name).ok();
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let first = number("SIM_FIRST", 0);
    let (mut known, mut unknown, mut gaps, mut had) = (0, 0, 0, 0);
    let mut ran: BTreeMap<&str, u64> = BTreeMap::new();
    let mut done = 0;
    for seed in first..first + number("SIM_SEEDS", 60) {
        // Shown where the test fails.
        println!("seed {seed}");
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        world.check_pushes();
        world.check_clients();
        done += world.ids.check();
        known += world.known;
        unknown += world.unknown;
        gaps += world.clients.iter().map(|one| one.gaps).sum::<u64>();
        had += world.clients.iter().map(|one| one.had.len()).sum::<usize>();
        for (script, times) in world.redis.ran {
            *ran.entry(script).or_default() += times;
        }
    }
    println!(
        "{known} known, {unknown} unknown, {gaps} gaps, {had} had, {done} ids, scripts {ran:?}"
    );
    // Or nothing would have been tried.
    let tried: [u64; 5] = [known, unknown, gaps, had as u64, done];
    assert!(tried.iter().all(|count| *count > 100), "{tried:?}");
    assert_eq!(ran.len(), 7, "{ran:?}");
}
