//! What a simulated client of `ringpost.v1` reads, as the blocks that one by events has: with each message that is kept and
//! of a stream it follows, all of its positions, which it keeps itself.

use std::collections::HashSet;

use serde_json::Value;

use super::client::{Seen, next};
use super::sse::Block;
use crate::ident::EVERYBODY;
use crate::protocol::Codec;
use crate::streams::Position;

/// What stands where no position was told yet.
pub const NOWHERE: &str = "zzzzzzzzzz:18446744073709551615";

/// What the frames have told that came whole.
pub struct ReadFrames {
    pub blocks: Vec<Block>,
    /// Bytes behind them.
    pub left_over: usize,
    pub is_bound: bool,
    /// Of its uid, its groups, and everybody's if that has one.
    pub positions: Vec<String>,
    /// Those that it has left, alike.
    pub left: Vec<bool>,
    /// The ids of the requests that were answered.
    pub answered: HashSet<u32>,
}

/// All frames that came whole, for one that follows its uid, these groups and everybody.
pub fn read(bytes: &[u8], groups: &[String]) -> ReadFrames {
    let mut reader = Reader {
        groups,
        positions: vec![NOWHERE.to_owned(); 1 + groups.len()],
        left: vec![false; 1 + groups.len()],
        blocks: Vec::new(),
        answered: HashSet::new(),
        is_bound: false,
    };
    let mut at = 0;
    while let Some((seen, length)) = next(Codec::WebSocket, &bytes[at..]) {
        at += length;
        match seen {
            Seen::Text(text) => reader.take(&frame(&text), at),
            Seen::Close(code) => {
                let data = format!("{{\"code\":{code}}}");
                reader.push("close", Some(data), false, at);
            }
            Seen::Ping => panic!("a ping that a page cannot see"),
        }
    }
    ReadFrames {
        blocks: reader.blocks,
        left_over: bytes.len() - at,
        is_bound: reader.is_bound,
        positions: reader.positions,
        left: reader.left,
        answered: reader.answered,
    }
}

/// The ids and types of the answers among these bytes, and how many of them came whole.
pub fn answers(bytes: &[u8]) -> (Vec<(u32, String)>, usize) {
    let (mut at, mut found) = (0, Vec::new());
    while let Some((seen, length)) = next(Codec::WebSocket, &bytes[at..]) {
        at += length;
        let Seen::Text(text) = seen else { continue };
        let frame = frame(&text);
        if let (Some(id), Some(kind)) = (frame["id"].as_u64(), frame["type"].as_str()) {
            found.push((id as u32, kind.to_owned()));
        }
    }
    (found, at)
}

fn frame(text: &str) -> Value {
    serde_json::from_str(text).expect("a frame is JSON")
}

struct Reader<'a> {
    groups: &'a [String],
    /// Of its uid, its groups, and everybody's if that has one.
    positions: Vec<String>,
    /// Those that it has left.
    left: Vec<bool>,
    blocks: Vec<Block>,
    answered: HashSet<u32>,
    is_bound: bool,
}

impl Reader<'_> {
    fn take(&mut self, frame: &Value, end: usize) {
        let text = |name: &str| frame[name].as_str().map(str::to_owned);
        if let Some(id) = frame["id"].as_u64() {
            self.answered.insert(id as u32);
        }
        match frame["type"].as_str() {
            Some("bound") => self.take_bound(frame, end),
            Some("message") => {
                let data = text("text").expect("a message of ours");
                let nth = self.nth(frame);
                match (nth, text("position")) {
                    (Some(nth), Some(position)) => {
                        assert!(
                            !self.left.get(nth).copied().unwrap_or_default(),
                            "a message of a group that it has left: {frame}"
                        );
                        self.set(nth, position);
                        self.push("", Some(data), true, end);
                    }
                    _ => self.push("", Some(data), false, end),
                }
            }
            Some("gap") => {
                if let Some(nth) = self.nth(frame) {
                    self.set(nth, text("top").expect("a top"));
                }
                let name = match frame["stream"] == "all" {
                    true => EVERYBODY.to_owned(),
                    false => text("group").unwrap_or_default(),
                };
                self.push_gap(frame, &name, end);
            }
            Some(kind @ ("left" | "joined")) => {
                let group = text("group").expect("a group");
                let nth = self.groups.iter().position(|one| *one == group);
                let Some(nth) = nth else { return };
                self.left[1 + nth] = kind == "left";
                if let Some(position) = text("position") {
                    self.set(1 + nth, position);
                    self.push("", None, true, end);
                }
            }
            Some("history") => check_page(frame),
            Some("presence") => self.push("presence", Some(frame.to_string()), false, end),
            Some("error") if frame["error"]["code"] == "not_available" => {}
            Some("error") if frame["error"]["code"] == "not_in_group" => {}
            Some("ping" | "pong" | "members") => {}
            _ => panic!("no frame of ours: {frame}"),
        }
    }

    fn take_bound(&mut self, frame: &Value, end: usize) {
        self.is_bound = true;
        let of_group = |group: &String| &frame["groups"][group];
        let own = std::iter::once(&frame["positions"]["uid"]);
        let each = own.chain(self.groups.iter().map(of_group));
        let positions = each.map(|position| position.as_str().unwrap_or(NOWHERE).to_owned());
        self.positions = positions.collect();
        self.positions
            .extend(frame["positions"]["all"].as_str().map(str::to_owned));
        self.push("", None, true, end);
    }

    /// Which of its streams a frame is of.
    fn nth(&self, frame: &Value) -> Option<usize> {
        match frame["stream"].as_str() {
            Some("uid") => Some(0),
            Some("all") => Some(1 + self.groups.len()),
            Some("group") => {
                let mut groups = self.groups.iter();
                Some(1 + groups.position(|one| frame["group"] == **one)?)
            }
            _ => None,
        }
    }

    fn set(&mut self, nth: usize, position: String) {
        match self.positions.get_mut(nth) {
            Some(at) => *at = position,
            None => self.positions.push(position),
        }
    }

    fn push_gap(&mut self, frame: &Value, name: &str, end: usize) {
        let told = serde_json::json!({
            "kind": frame["stream"],
            "name": name,
            "asked": frame["asked"],
            "first": frame["first"],
            "top": frame["top"],
        });
        self.push("gap", Some(told.to_string()), true, end);
    }

    fn push(&mut self, kind: &str, data: Option<String>, tells: bool, end: usize) {
        self.blocks.push(Block {
            id: tells.then(|| self.positions.join(",")),
            kind: kind.to_owned(),
            data,
            end,
        });
    }
}

/// A page of what is kept: each position is the next.
fn check_page(frame: &Value) {
    let messages = frame["messages"].as_array().expect("a list");
    let positions = messages.iter().map(|one| one["position"].as_str());
    let positions = positions.map(|text| text.and_then(|text| text.parse().ok()));
    let positions: Vec<Position> = positions.map(|one| one.expect("a position")).collect();
    for pair in positions.windows(2) {
        assert_eq!(
            (pair[1].epoch, pair[1].offset),
            (pair[0].epoch, pair[0].offset + 1),
            "a page without a hole: {frame}"
        );
    }
}
