//! What a simulated client of `ringpost.v1` reads, as the blocks that one by events has: with each message that is kept and
//! of a stream it follows, all of its positions, which it keeps itself.

use serde_json::Value;

use super::client::{Seen, next};
use super::sse::Block;
use crate::ident::EVERYBODY;
use crate::protocol::Codec;

/// What stands where no position was told yet.
const NOWHERE: &str = "zzzzzzzzzz:18446744073709551615";

/// All frames that came whole, and how many bytes are left over, for one that follows its uid, these groups and everybody.
pub fn blocks(bytes: &[u8], groups: &[String]) -> (Vec<Block>, usize) {
    let mut reader = Reader {
        groups,
        positions: vec![NOWHERE.to_owned(); 1 + groups.len()],
        left: vec![false; 1 + groups.len()],
        blocks: Vec::new(),
    };
    let mut at = 0;
    while let Some((seen, length)) = next(Codec::WebSocket, &bytes[at..]) {
        at += length;
        match seen {
            Seen::Text(text) => {
                let frame = serde_json::from_str(&text).expect("a frame is JSON");
                reader.take(&frame, at);
            }
            Seen::Close(code) => {
                let data = format!("{{\"code\":{code}}}");
                reader.push("close", Some(data), false, at);
            }
            Seen::Ping => panic!("a ping that a page cannot see"),
        }
    }
    (reader.blocks, bytes.len() - at)
}

struct Reader<'a> {
    groups: &'a [String],
    /// Of its uid, its groups, and everybody's if that has one.
    positions: Vec<String>,
    /// Those that it was taken out of.
    left: Vec<bool>,
    blocks: Vec<Block>,
}

impl Reader<'_> {
    fn take(&mut self, frame: &Value, end: usize) {
        let text = |name: &str| frame[name].as_str().map(str::to_owned);
        match frame["type"].as_str() {
            Some("bound") => {
                let of_group = |group: &String| &frame["groups"][group];
                let own = std::iter::once(&frame["positions"]["uid"]);
                let each = own.chain(self.groups.iter().map(of_group));
                for (nth, position) in each.enumerate() {
                    let position = position.as_str().unwrap_or(NOWHERE);
                    // Of what it is in no more it hears nothing.
                    if !self.left[nth] {
                        self.positions[nth] = position.to_owned();
                    }
                }
                self.positions.truncate(1 + self.groups.len());
                self.positions
                    .extend(frame["positions"]["all"].as_str().map(str::to_owned));
                self.push("", None, true, end);
            }
            Some("message") => {
                let data = text("text").expect("a message of ours");
                let nth = self.nth(frame);
                match (nth, text("position")) {
                    (Some(nth), Some(position)) => {
                        self.come_back(nth, &position, end);
                        self.set(nth, position);
                        self.push("", Some(data), true, end);
                    }
                    (None, Some(_)) => {
                        // Of a group that others have put it into.
                        self.push("", Some(data), false, end);
                    }
                    (_, None) => self.push("", Some(data), false, end),
                }
            }
            Some("gap") => {
                let nth = self.nth(frame).expect("a stream of its");
                self.set(nth, text("top").expect("a top"));
                let name = match frame["stream"] == "all" {
                    true => EVERYBODY.to_owned(),
                    false => text("group").unwrap_or_default(),
                };
                self.push_gap(frame, &name, end);
            }
            Some("left") => {
                let group = text("group").expect("a group");
                let nth = self.groups.iter().position(|one| *one == group);
                if let Some(nth) = nth {
                    self.left[1 + nth] = true;
                }
            }
            Some("ping") => {}
            _ => panic!("no frame of ours: {frame}"),
        }
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

    /// It was taken out of a group, and hears of that again: it has missed what came meanwhile, as it knows itself.
    fn come_back(&mut self, nth: usize, position: &str, end: usize) {
        if !self.left.get(nth).copied().unwrap_or_default() {
            return;
        }
        self.left[nth] = false;
        let (epoch, offset) = position.split_once(':').expect("a position");
        let offset: u64 = offset.parse().expect("a number");
        let top = format!("{epoch}:{}", offset - 1);
        if self.positions[nth] == top {
            return;
        }
        let was = std::mem::replace(&mut self.positions[nth], top.clone());
        let asked = (was != NOWHERE).then_some(was);
        let gap =
            serde_json::json!({"stream": "group", "asked": asked, "first": position, "top": top});
        let group = self.groups[nth - 1].clone();
        self.push_gap(&gap, &group, end);
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
