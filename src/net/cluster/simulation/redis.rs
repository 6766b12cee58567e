//! The Redis of the simulation: channels, and the scripts of `../lua` as they are meant, in Rust ([`ModelRedis`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::NODES;
use crate::net::cluster::party::{RedisAnswer, RedisCommand};
use crate::net::cluster::scripts::{Script, ScriptCall, ScriptValue};
use crate::protocol::kept_record::KeptRecord;
use crate::streams::Position;

/// What it keeps of a stream.
#[derive(Clone, Default)]
pub struct ModelStream {
    epoch: String,
    run: String,
    pub top: u64,
    floor: u64,
    delivered: u64,
    born: u64,
    entries: VecDeque<(u64, Vec<u8>)>,
}

impl ModelStream {
    /// Where it stands.
    pub fn position(&self) -> Position {
        let place = format!("{}:{}", self.epoch, self.top);
        place.parse().expect("a position")
    }

    /// The messages that it has, as text.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        let texts = self.entries.iter().map(|(_, message)| said(message));
        texts.map(|text| text.expect("a text"))
    }

    /// Whether that is a message of this life of it, and was not thrown away.
    pub fn has(&self, position: Position) -> bool {
        position.epoch == self.position().epoch && position.offset > self.floor
    }
}

/// What a Redis that is started anew has lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Nothing,
    /// What its replica did not have yet.
    TheLast,
    All,
}

/// A message that was kept: in which stream and where.
pub struct Kept {
    pub stream: String,
    pub position: Position,
}

/// See the module.
#[derive(Default)]
pub struct ModelRedis {
    run: u64,
    pub subscribed: BTreeMap<Box<str>, BTreeSet<usize>>,
    pub queues: [VecDeque<Vec<u8>>; NODES],
    /// What the nodes' life lines have.
    pub lives: [String; NODES],
    /// What it calls the nodes' connections.
    pub clients: [u64; NODES],
    pub last_number: u64,
    pub streams: BTreeMap<String, ModelStream>,
    replica: BTreeMap<String, ModelStream>,
    ids: BTreeMap<String, Vec<u8>>,
    /// All that was ever kept, by its text.
    pub journal: BTreeMap<String, Kept>,
    /// How often each script was run.
    pub ran: BTreeMap<&'static str, u64>,
}

/// An argument as text.
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn number(bytes: &[u8]) -> u64 {
    text(bytes).parse().expect("a number")
}

/// What a record says.
fn said(record: &[u8]) -> Option<String> {
    let record = KeptRecord::decode(record)?;
    record.payload.message().text().map(str::to_owned)
}

fn bytes_of(text: impl ToString) -> ScriptValue {
    ScriptValue::Bytes(text.to_string().into_bytes())
}

impl ModelRedis {
    /// What it calls this run of it.
    pub fn run_name(&self) -> String {
        format!("run{}", self.run)
    }

    /// Whether it was never started anew.
    pub fn is_first_run(&self) -> bool {
        self.run == 0
    }

    /// Its replica has by now what it has.
    pub fn copy(&mut self) {
        self.replica = self.streams.clone();
    }

    /// It is started anew, or its replica takes its place.
    pub fn start_anew(&mut self, loss: Loss) {
        self.run += 1;
        self.lives = Default::default();
        match loss {
            Loss::Nothing => return,
            Loss::TheLast => self.streams = self.replica.clone(),
            Loss::All => self.streams.clear(),
        }
        self.ids.clear();
        self.copy();
    }

    /// It has lost this node's connections.
    pub fn lose(&mut self, at: usize) {
        self.queues[at].clear();
        self.clients[at] = 0;
        for subscribed in self.subscribed.values_mut() {
            subscribed.remove(&at);
        }
    }

    fn publish(&mut self, channel: &str, bytes: &[u8], but: Option<usize>) -> u32 {
        let who = self.subscribed.get(channel);
        let who: Vec<usize> = who.into_iter().flatten().copied().collect();
        for node in who.iter().filter(|node| Some(**node) != but) {
            self.queues[*node].push_back(bytes.to_vec());
        }
        who.len() as u32
    }

    /// Does a command; nothing that it publishes comes to the node that is left out.
    pub fn does(&mut self, command: &RedisCommand, but: Option<usize>) -> RedisAnswer {
        match command {
            RedisCommand::Publish { channel, bytes, .. } => {
                RedisAnswer::Published(self.publish(channel, bytes, but))
            }
            RedisCommand::Look { channels, .. } => {
                let count = |channel: &String| {
                    let who = self.subscribed.get(&**channel);
                    let lives = self.lives.contains(channel);
                    who.map_or(0, BTreeSet::len) as u32 + u32::from(lives)
                };
                RedisAnswer::Looked(channels.iter().map(count).collect())
            }
            RedisCommand::Fence(_) => RedisAnswer::Fenced,
            RedisCommand::Run { call, .. } => RedisAnswer::Ran(self.runs(call, but)),
        }
    }

    fn runs(&mut self, call: &ScriptCall, but: Option<usize>) -> ScriptValue {
        let ScriptCall { script, keys, args } = call;
        let (name, value) = match script {
            Script::Append => ("append", self.append(&keys[0], args, but)),
            Script::Read => ("read", self.read(&keys[0], args)),
            Script::Forget => ("forget", self.forget(&keys[0], args, but)),
            Script::Delivered => ("delivered", self.delivered(&keys[0], args)),
            Script::Claim => ("claim", self.claim(&keys[0], args)),
            Script::Settle => ("settle", self.settle(&keys[0], args)),
            // No client here acknowledges anything.
            Script::Handled => ("handled", ScriptValue::Number(0)),
            Script::HandledOf => ("handled of", ScriptValue::List(Vec::new())),
            // Nor is anybody in a group without a connection.
            Script::Stick | Script::Unstick | Script::List | Script::Listed => {
                ("stick", ScriptValue::Number(0))
            }
            Script::Stuck | Script::Groups => ("stuck", ScriptValue::List(Vec::new())),
            Script::Marked => ("marked", ScriptValue::Number(0)),
        };
        *self.ran.entry(name).or_default() += 1;
        value
    }

    /// A stream of this run: one of another run has another life from now on, with all that is there.
    fn stream_of(&mut self, key: &str, run: &[u8], epoch: &[u8]) -> &mut ModelStream {
        let stream = self.streams.entry(key.to_owned()).or_default();
        let run = text(run);
        if stream.epoch.is_empty() || stream.run != run {
            (stream.epoch, stream.run) = (text(epoch), run);
            stream.born = stream.top;
        }
        stream
    }

    fn append(&mut self, key: &str, args: &[Vec<u8>], but: Option<usize>) -> ScriptValue {
        let [run, epoch, most, _, _, channel, head, message] = args else {
            panic!("arguments of another script");
        };
        let stream = self.stream_of(key, run, epoch);
        stream.top += 1;
        stream.entries.push_back((stream.top, message.clone()));
        while stream.entries.len() as u64 > number(most) {
            stream.entries.pop_front();
        }
        let place = format!("{}:{}", stream.epoch, stream.top);
        let said = said(message).expect("a text");
        let kept = Kept {
            stream: key.to_owned(),
            position: place.parse().expect("a position"),
        };
        let before = self.journal.insert(said, kept);
        assert!(before.is_none(), "kept twice");
        let published = [place.as_bytes(), b" ", head, message].concat();
        let nodes = self.publish(&text(channel), &published, but);
        ScriptValue::List(vec![bytes_of(place), ScriptValue::Number(nodes.into())])
    }

    fn read(&mut self, key: &str, args: &[Vec<u8>]) -> ScriptValue {
        let [run, epoch, _, after, most, room, of] = args else {
            panic!("arguments of another script");
        };
        let of = text(of);
        let stream = self.stream_of(key, run, epoch);
        let mut found = Vec::new();
        let after = if of == stream.epoch { number(after) } else { 0 };
        let mut left = number(room) as i64;
        let most = number(most) as usize;
        let behind = stream
            .entries
            .iter()
            .filter(|(offset, _)| *offset > after)
            .take(most);
        for (offset, message) in behind {
            if !found.is_empty() && message.len() as i64 > left {
                break;
            }
            left -= message.len() as i64;
            found.extend([
                bytes_of(offset),
                bytes_of(1_000_000),
                ScriptValue::Bytes(message.clone()),
            ]);
        }
        let ModelStream {
            epoch,
            top,
            floor,
            delivered,
            born,
            ..
        } = &*stream;
        ScriptValue::List(vec![
            bytes_of(epoch),
            bytes_of(top),
            bytes_of(floor),
            bytes_of(delivered),
            bytes_of(born),
            ScriptValue::List(found),
        ])
    }

    fn forget(&mut self, key: &str, args: &[Vec<u8>], but: Option<usize>) -> ScriptValue {
        let [channel, told] = args else {
            panic!("arguments of another script");
        };
        let Some(stream) = self.streams.get_mut(key) else {
            return ScriptValue::Number(0);
        };
        let count = stream.entries.len();
        stream.entries.clear();
        stream.floor = stream.top;
        let place = format!("{}:{} ", stream.epoch, stream.top);
        let published = [place.as_bytes(), told].concat();
        self.publish(&text(channel), &published, but);
        ScriptValue::Number(count as i64)
    }

    fn delivered(&mut self, key: &str, args: &[Vec<u8>]) -> ScriptValue {
        let [epoch, offset] = args else {
            panic!("arguments of another script");
        };
        let stream = self.streams.get_mut(key);
        if let Some(stream) = stream.filter(|one| one.epoch.as_bytes() == epoch) {
            stream.delivered = stream.delivered.max(number(offset).min(stream.top));
        }
        ScriptValue::Number(0)
    }

    fn claim(&mut self, key: &str, args: &[Vec<u8>]) -> ScriptValue {
        match self.ids.get(key) {
            Some(known) if *known != args[2] => ScriptValue::Bytes(known.clone()),
            _ => {
                self.ids.insert(key.to_owned(), args[0].clone());
                ScriptValue::Nothing
            }
        }
    }

    fn settle(&mut self, key: &str, args: &[Vec<u8>]) -> ScriptValue {
        let known = self.ids.get(key);
        if known.is_some_and(|known| *known != args[0]) {
            return ScriptValue::Number(0);
        }
        match args[1].is_empty() {
            true => drop(self.ids.remove(key)),
            false => drop(self.ids.insert(key.to_owned(), args[1].clone())),
        }
        ScriptValue::Number(1)
    }
}
