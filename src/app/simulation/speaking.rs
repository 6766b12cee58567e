//! What simulated clients of `ringpost.v1` ask: they bind with the positions that they have read or have acknowledged, leave
//! their groups and come into them again where they were, acknowledge, and look at members and pages.

use serde_json::{Value, json};

use super::client::Place;
use super::spoken::{self, NOWHERE};
use super::world::World;
use crate::protocol::Codec;
use crate::streams::Position;

/// What such a client has asked in one life.
#[derive(Default)]
pub struct Asking {
    /// The id of its next request.
    next: u32,
    /// By its groups, the last request about each: its id, and whether that was to leave.
    of_groups: Vec<Option<(u32, bool)>>,
    /// How many bytes it has looked through for answers.
    looked: usize,
}

/// What a client does with one of its groups next.
enum Wanted {
    Leave,
    Join,
    /// It waits for the answer to what it asked last.
    Nothing,
}

impl World {
    /// The first frame of a life.
    pub fn bind_frame(&self, (who, nth): (usize, usize)) -> String {
        let follower = &self.followers[who];
        let life = &follower.lives[nth];
        let streams = 2 + follower.groups.len();
        let named = life.since.as_deref().filter(|_| !life.by_ack);
        let list: Vec<&str> = named.map_or_else(Vec::new, |text| text.split(',').collect());
        let position = |nth: usize| match list.len() {
            0 => None,
            // What is no list of its streams is none of their positions.
            count if count != streams && count + 1 != streams => Some("nonsense"),
            // It was told of a break and not where that ends.
            _ => list.get(nth).map(|text| match *text {
                NOWHERE => "nonsense",
                position => position,
            }),
        };
        let mut positions = serde_json::Map::new();
        for (name, nth) in [("uid", 0), ("all", streams - 1)] {
            if let Some(position) = position(nth) {
                positions.insert(name.to_owned(), json!(position));
            }
        }
        let each = follower.groups.iter().enumerate();
        let groups: serde_json::Map<String, Value> = each
            .map(|(nth, group)| (group.clone(), json!(position(1 + nth))))
            .collect();
        let client = follower.acknowledges.then(|| format!("device {who}"));
        json!({
            "type": "bind", "uid": life.uid, "client": client, "ack": client.is_some(),
            "positions": positions, "groups": groups,
        })
        .to_string()
    }

    /// A client of `ringpost.v1` says something, if it knows by now that it is bound.
    pub fn request(&mut self, client: usize) {
        let Some((who, nth)) = self.clients[client].life else {
            return;
        };
        let one = &self.clients[client];
        if one.place == Place::Gone || one.dead || one.hung_up || one.unread.len() > 8 {
            return;
        }
        let follower = &self.followers[who];
        let read = spoken::read(&self.clients[client].received, &follower.groups);
        let groups = follower.groups.len();
        if !read.is_bound {
            return;
        }
        let group = (groups > 0).then(|| self.rng.usize(0..groups));
        let frame = match (self.rng.u8(0..10), group) {
            (0..4, Some(group)) => self.ask_of_group((who, nth), group, &read),
            (4, Some(group)) => {
                let name = &self.followers[who].groups[group];
                Some(json!({"type": "presence", "group": name, "limit": 2}))
            }
            (5, Some(group)) => {
                let name = &self.followers[who].groups[group];
                let history = json!({"type": "history", "stream": "group", "group": name});
                self.is_in(who, nth, group, &read).then_some(history)
            }
            (5..7, _) => {
                let kind = ["ping", "pong"][self.rng.usize(0..2)];
                Some(json!({ "type": kind }))
            }
            _ => self.ask_to_note((who, nth), &read),
        };
        if let Some(frame) = frame {
            let one = &mut self.clients[client];
            one.said += 1;
            one.unread.push_back(frame.to_string());
        }
    }

    fn wanted(&self, who: usize, nth: usize, group: usize, read: &spoken::ReadFrames) -> Wanted {
        let asking = &self.followers[who].lives[nth].asking;
        match asking.of_groups.get(group).copied().flatten() {
            None => Wanted::Leave,
            Some((id, _)) if !read.answered.contains(&id) => Wanted::Nothing,
            Some((_, true)) => Wanted::Join,
            Some((_, false)) => Wanted::Leave,
        }
    }

    /// Whether it has been told that it is in a group, and has not asked to leave it.
    fn is_in(&self, who: usize, nth: usize, group: usize, read: &spoken::ReadFrames) -> bool {
        matches!(self.wanted(who, nth, group, read), Wanted::Leave)
    }

    /// It leaves a group, or comes into it again where it was.
    fn ask_of_group(
        &mut self,
        (who, nth): (usize, usize),
        group: usize,
        read: &spoken::ReadFrames,
    ) -> Option<Value> {
        let wanted = self.wanted(who, nth, group, read);
        let follower = &mut self.followers[who];
        let (name, asking) = (&follower.groups[group], &mut follower.lives[nth].asking);
        let id = asking.next;
        let (frame, is_leave) = match wanted {
            Wanted::Nothing => return None,
            Wanted::Leave => (json!({"type": "leave", "id": id, "group": name}), true),
            Wanted::Join => {
                let since = match &*read.positions[1 + group] {
                    NOWHERE => "nonsense",
                    position => position,
                };
                let frame = json!({"type": "join", "id": id, "group": name, "since": since});
                (frame, false)
            }
        };
        asking.next += 1;
        asking.of_groups.resize(follower.groups.len(), None);
        asking.of_groups[group] = Some((id, is_leave));
        Some(frame)
    }

    /// It says how far it has handled a stream: as far as it has read.
    fn ask_to_note(
        &mut self,
        (who, nth): (usize, usize),
        read: &spoken::ReadFrames,
    ) -> Option<Value> {
        let stream = self.rng.usize(0..read.positions.len());
        let follower = &self.followers[who];
        let position = &read.positions[stream];
        if !follower.acknowledges || position == NOWHERE {
            return None;
        }
        let mut frame = json!({"type": "ack", "position": position});
        frame["stream"] = match stream {
            0 => json!("uid"),
            _ if stream > follower.groups.len() => json!("all"),
            _ if !self.is_in(who, nth, stream - 1, read) => return None,
            _ => {
                frame["group"] = json!(follower.groups[stream - 1]);
                json!("group")
            }
        };
        Some(frame)
    }

    /// The server takes a frame: the model hears of it.
    pub fn note_request(&mut self, client: usize, text: &str) {
        let frame: Value = serde_json::from_str(text).expect("we say JSON");
        let group = frame["group"].as_str().unwrap_or_default();
        let (who, _) = self.clients[client].life.expect("it follows streams");
        match frame["type"].as_str().expect("a type") {
            "leave" => self.model().leave(client, group),
            "join" => self.model().join(client, group),
            "ack" => {
                let position = frame["position"].as_str().expect("a position");
                let position: Position = position.parse().expect("what it was told");
                let follower = &mut self.followers[who];
                let nth = match frame["stream"].as_str() {
                    Some("uid") => 0,
                    Some("all") => 1 + follower.groups.len(),
                    _ => {
                        let mut groups = follower.groups.iter();
                        1 + groups.position(|one| one == group).expect("a group of its")
                    }
                };
                let noted = &mut follower.acked[nth];
                let last = noted.last().copied();
                let is_older =
                    |at: &Position| at.epoch == position.epoch && at.offset > position.offset;
                noted.push(last.filter(is_older).unwrap_or(position));
                *self.tally.entry("acknowledged").or_default() += 1;
            }
            _ => {}
        }
    }

    /// Looks for answers among what a client has received: what is sent to a group behind `joined` reaches it.
    pub fn note_answers(&mut self, client: usize, (who, nth): (usize, usize)) {
        let one = &self.clients[client];
        if one.codec != Codec::V1 {
            return;
        }
        let follower = &mut self.followers[who];
        let asking = &mut follower.lives[nth].asking;
        let (answers, looked) = spoken::answers(&one.received[asking.looked..]);
        asking.looked += looked;
        for (id, kind) in answers {
            let each = asking.of_groups.iter().enumerate();
            let mut each = each.filter_map(|(group, last)| Some((group, (*last)?)));
            let Some((group, (_, is_leave))) = each.find(|(_, (last, _))| *last == id) else {
                continue;
            };
            assert_eq!(kind == "left", is_leave, "what {id} was answered");
            let joined = if is_leave {
                "left by itself"
            } else {
                "joined anew"
            };
            *self.tally.entry(joined).or_default() += 1;
            if !is_leave {
                let group = follower.groups[group].clone();
                let mut model = self.model.lock().expect("no callback has panicked");
                model.joined(client, &group);
            }
        }
    }
}
