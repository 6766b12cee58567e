//! A client of the simulation, over all its connections ([`SimClient`]): of server-sent events, who holds positions, or of lines,
//! who has what waits for it in a queue. It checks what it is sent as that comes.

use std::collections::{BTreeMap, BTreeSet};

use super::redis::Kept;
use crate::ident::ConnId;
use crate::streams::{Position, Positions};

/// See the module.
pub struct SimClient {
    pub uid: String,
    pub groups: Vec<String>,
    /// By server-sent events.
    pub follows: bool,
    /// On which node, by which connection.
    pub place: Option<(usize, ConnId)>,
    /// The last id that it was told.
    pub last: Option<String>,
    /// By its streams, in their order; `None` where it has been told nothing yet.
    pub stood: Vec<Option<Position>>,
    bytes: Vec<u8>,
    has_head: bool,
    /// All that it has had.
    pub had: BTreeSet<String>,
    /// Of this connection, for one of lines.
    last_of_queue: Option<Position>,
    pub gaps: u64,
    /// What it was told last, for whoever reads why a seed fails.
    log: Vec<String>,
}

/// The stem of a stream's key in the model of Redis.
fn key(kind: char, name: &str) -> String {
    format!("p:{{{kind}:push:{name}}}:m")
}

impl SimClient {
    pub fn new(uid: String, groups: Vec<String>, follows: bool) -> SimClient {
        SimClient {
            stood: vec![None; groups.len() + 2],
            uid,
            groups,
            follows,
            place: None,
            last: None,
            bytes: Vec::new(),
            has_head: false,
            had: BTreeSet::new(),
            last_of_queue: None,
            gaps: 0,
            log: Vec::new(),
        }
    }

    /// What it follows, in the order of its positions.
    pub fn streams(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| key('g', group));
        let own = std::iter::once(key('u', &self.uid));
        own.chain(groups)
            .chain(std::iter::once(key('a', "all")))
            .collect()
    }

    pub fn comes(&mut self, place: (usize, ConnId)) {
        self.place = Some(place);
        self.bytes.clear();
        (self.has_head, self.last_of_queue) = (false, None);
        self.log
            .push(format!("comes to {} at {:?}", place.0, self.last));
    }

    /// It has been sent this.
    pub fn take(&mut self, bytes: &[u8], journal: &BTreeMap<String, Kept>) {
        self.bytes.extend_from_slice(bytes);
        let end: &[u8] = match (self.follows, self.has_head) {
            (false, _) => b"\n",
            (true, true) => b"\n\n",
            (true, false) => b"\r\n\r\n",
        };
        if let Some(at) = memchr::memmem::find(&self.bytes, end) {
            let block: Vec<u8> = self.bytes.drain(..at + end.len()).take(at).collect();
            let block = String::from_utf8(block).expect("text");
            match (self.follows, self.has_head) {
                (false, _) => self.line(block, journal),
                (true, true) => self.block(&block, journal),
                (true, false) => self.has_head = true,
            }
            self.take(b"", journal);
        }
    }

    fn line(&mut self, text: String, journal: &BTreeMap<String, Kept>) {
        let own = key('u', &self.uid);
        let kept = journal.get(&text).filter(|kept| kept.stream == own);
        let place = kept.map_or("no place".to_owned(), |kept| kept.position.to_string());
        self.log.push(format!("{text}, {place}"));
        if let Some(kept) = kept {
            // What another connection was sent and has not got comes once more, and all that follows it.
            let before = self.last_of_queue.replace(kept.position);
            // A node that has not heard of another run of Redis may begin with what was had on another one: what it leaves out
            // then was had, too.
            let is_next = before.is_none_or(|before| {
                let Position { epoch, offset } = kept.position;
                let is_between = |one: &Kept| {
                    let at = one.position;
                    one.stream == own
                        && at.epoch == epoch
                        && (before.offset + 1..offset).contains(&at.offset)
                };
                let between = journal.iter().filter(|(_, one)| is_between(one));
                before.epoch != epoch
                    || between
                        .map(|(text, _)| text)
                        .all(|text| self.had.contains(text))
            });
            assert!(is_next, "out of order: {}", self.story());
        }
        self.had.insert(text);
    }

    fn block(&mut self, block: &str, journal: &BTreeMap<String, Kept>) {
        let (mut id, mut kind, mut data) = (None, "", None);
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", value)) => id = Some(value),
                Some(("event", value)) => kind = value,
                Some(("data", value)) => data = Some(value),
                _ => {}
            }
        }
        self.log.push(block.replace('\n', " | "));
        let streams = self.streams();
        let mut may_move = None;
        match (kind, data) {
            ("gap", Some(data)) => {
                self.gaps += 1;
                let told: serde_json::Value = serde_json::from_str(data).expect("JSON");
                let text = |name: &str| told[name].as_str().expect("a text").to_owned();
                let kind = text("kind").chars().next().expect("a kind");
                let nth = streams
                    .iter()
                    .position(|one| *one == key(kind, &text("name")));
                let nth = nth.expect("it follows it");
                let top = text("top").parse().expect("a position");
                self.stood[nth] = Some(top);
                // It is told that it stands there now: what it had behind that comes again.
                self.had.retain(|text| {
                    let kept = journal.get(text).filter(|kept| kept.stream == streams[nth]);
                    kept.is_none_or(|kept| {
                        top.has(kept.position) || kept.position.epoch != top.epoch
                    })
                });
                may_move = Some((nth, top));
            }
            ("", Some(text)) => {
                assert!(
                    self.had.insert(text.to_owned()),
                    "twice: {text} {}",
                    self.story()
                );
                if let Some(kept) = journal.get(text) {
                    let nth = streams.iter().position(|one| *one == kept.stream);
                    may_move = Some((nth.expect("it follows it"), kept.position));
                }
            }
            _ => {}
        }
        if let Some(id) = id {
            self.stands_at(id, may_move);
        }
    }

    /// A position moves with a message that is the next of its stream, or with a gap that is told; and else it stays.
    fn stands_at(&mut self, id: &str, may_move: Option<(usize, Position)>) {
        // A message keeps its offset in the lives of its stream that follow.
        let has_moved = |nth, position: Position| {
            may_move.is_some_and(|(of, to)| of == nth && to.offset == position.offset)
        };
        let told: Positions = id.parse().expect("positions");
        let told = told.0.into_iter().map(|one| one.expect("a position"));
        for (nth, position) in told.enumerate() {
            let stood = self.stood[nth].replace(position);
            let Some(stood) = stood.filter(|stood| *stood != position) else {
                continue;
            };
            let is_next = stood.epoch == position.epoch && stood.offset + 1 == position.offset;
            assert!(
                is_next && has_moved(nth, position),
                "a gap of {} untold, from {stood} to {position}: {}",
                self.streams()[nth],
                self.story()
            );
        }
        self.last = Some(id.to_owned());
    }

    pub fn note(&mut self, what: String) {
        self.log.push(what);
    }

    /// What it was told of late.
    pub fn story(&self) -> String {
        let last = self.log.len().saturating_sub(40);
        format!("{} was told\n{}", self.uid, self.log[last..].join("\n"))
    }
}
