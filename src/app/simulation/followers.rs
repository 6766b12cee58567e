//! Those who follow streams: how they come, are cut off, and come back with the last positions that they have read; and
//! what happens to the streams meanwhile.

use std::collections::BTreeMap;

use super::client::{Client, Place};
use super::model::{Sender, Target, Track};
use super::scene::Scene;
use super::speaking::Asking;
use super::world::{Task, World};
use crate::app::query::Query;
use crate::ident::{EVERYBODY, NamespaceId, Reach};
use crate::payload::{Message, Payload};
use crate::protocol::Codec;
use crate::shard::Following;
use crate::streams::{Kind, Position};

/// A stream by its namespace, kind and name.
pub type StreamName = (NamespaceId, Kind, String);

/// A message that was kept.
pub struct Kept {
    pub position: Position,
    /// Which message of the model.
    pub number: usize,
}

/// All that was ever kept in each stream.
pub type Logs = BTreeMap<StreamName, Vec<Kept>>;

/// A client over all its connections.
pub struct Follower {
    pub listener: u16,
    pub uid: String,
    pub groups: Vec<String>,
    /// It tells how far it has handled its streams.
    pub acknowledges: bool,
    /// By its streams, what the server was told of that, and has taken.
    pub acked: Vec<Vec<Position>>,
    pub lives: Vec<Life>,
}

/// One connection of a follower's.
pub struct Life {
    pub client: usize,
    pub uid: String,
    /// What it has said of where it was.
    pub since: Option<String>,
    /// That is not what it was told.
    pub errs: bool,
    /// It has said nothing of where it was, and begins where it has acknowledged.
    pub by_ack: bool,
    /// By its streams, how often it had acknowledged when it came.
    pub acked_before: Vec<usize>,
    pub asking: Asking,
    /// By its streams, how many messages had been kept when it came.
    pub kept_before: Vec<usize>,
    /// By its streams, how many had been kept when it had received so many bytes.
    pub kept_at: Vec<(usize, Vec<usize>)>,
}

impl Follower {
    /// What it follows in a life, in the order of its positions.
    pub fn streams(&self, namespace: NamespaceId, uid: &str) -> Vec<StreamName> {
        let groups = self.groups.iter();
        let groups = groups.map(|group| (namespace, Kind::Group, group.clone()));
        let mut streams = vec![(namespace, Kind::Uid, uid.to_owned())];
        streams.extend(groups);
        streams.push((namespace, Kind::All, EVERYBODY.to_owned()));
        streams
    }
}

impl World {
    /// Those who are to follow, none of whom has come yet.
    pub fn draw_followers(&mut self, listeners: std::ops::Range<u16>) {
        let count = self.scene.keeping.as_ref().map_or(0, |one| one.followers);
        for _ in 0..count {
            let mut groups: Vec<String> = (0..self.rng.usize(0..3))
                .map(|_| Scene::group(&mut self.rng))
                .collect();
            groups.sort_unstable();
            groups.dedup();
            let listener = self.rng.u16(listeners.clone());
            let speaks = self.listeners[usize::from(listener)].codec == Codec::V1;
            self.followers.push(Follower {
                listener,
                uid: format!("u{}", self.rng.usize(0..self.scene.uids)),
                acknowledges: speaks && self.rng.bool(),
                acked: vec![Vec::new(); 2 + groups.len()],
                groups,
                lives: Vec::new(),
            });
        }
    }

    /// Something that has to do with streams happens.
    pub fn step_of_streams(&mut self, core: usize) {
        match self.rng.u32(0..100) {
            0..20 => {
                let lives: usize = self.followers.iter().map(|one| one.lives.len()).sum();
                let most = self.scene.keeping.as_ref().map_or(0, |one| one.lives_max);
                let who = self.rng.usize(0..self.followers.len());
                if lives < most {
                    self.come(who, core);
                }
            }
            20..32 => self.cut(),
            32..60 => self.read_on(core),
            60..62 => self.reload(core),
            62..64 => self.discard(),
            64..78 => self.write(core),
            78..88 => {
                let who = self.rng.usize(0..self.followers.len());
                let last = self.followers[who].lives.last().map(|life| life.client);
                if let Some(client) = last.filter(|one| self.clients[*one].codec == Codec::V1) {
                    self.request(client);
                    self.read(client, 2);
                }
            }
            _ => self.push_as_task(core),
        }
    }

    /// A follower that has no connection, as far as it knows, comes to a core.
    pub fn come(&mut self, who: usize, core: usize) {
        let mut since = None;
        let follower = &self.followers[who];
        let (listener, mut uid) = (follower.listener, follower.uid.clone());
        if let Some(life) = follower.lives.last() {
            let last = &mut self.clients[life.client];
            if last.place != Place::Gone && !last.dead && !last.hung_up {
                return;
            }
            last.deaf = true;
            let (blocks, _) = last.blocks(&follower.groups);
            let told = blocks.into_iter().rev().find_map(|block| block.id);
            since = told.or_else(|| life.since.clone());
            let mut model = self.model.lock().expect("no callback has panicked");
            let track = &mut model.clients[life.client];
            track.lossy = true;
            uid = track.uids.last().map_or(uid, |tenure| tenure.uid.clone());
        }
        self.wake(core);
        let errs = self.scene.keeping.as_ref().is_some_and(|one| one.errs);
        let errs = errs && self.rng.u8(..) < 40;
        if errs {
            since = Some(self.no_position(since));
        }
        let follower = &self.followers[who];
        let by_ack = follower.acknowledges && since.is_some() && !errs && self.rng.bool();
        let acked_before = follower.acked.iter().map(Vec::len).collect();
        let client = self.clients.len();
        let peer = ([127, 0, 0, 1], client as u16).into();
        let id = self.hosts[core].connect(listener, peer);
        let codec = self.listeners[usize::from(listener)].codec;
        let mut one = Client::new(codec, Place::Opening(core, id));
        one.life = Some((who, self.followers[who].lives.len()));
        self.clients.push(one);
        let mut track = Track::new(
            self.listeners[usize::from(listener)].namespace,
            codec,
            self.now,
        );
        track.follows.clone_from(&self.followers[who].groups);
        let namespace = track.namespace;
        self.model().clients.push(track);
        self.links[core].insert(id, client);
        let kept_before = self.count_kept(who, namespace, &uid);
        self.followers[who].lives.push(Life {
            client,
            uid,
            since,
            errs,
            by_ack,
            acked_before,
            asking: Asking::default(),
            kept_before,
            kept_at: Vec::new(),
        });
        *self.tally.entry("lives").or_default() += 1;
        if self.rng.bool() {
            self.read(client, 1);
        }
    }

    /// What no stream has told, in place of what one has.
    fn no_position(&mut self, told: Option<String>) -> String {
        match (self.rng.u8(0..3), told) {
            (0, Some(told)) if !told.contains(',') => format!("{told}0000000"),
            (1, Some(told)) => format!("{told},{told}"),
            _ => "nonsense".to_owned(),
        }
    }

    /// The connection's request is there: it is let in.
    pub fn begin_life(&mut self, client: usize, (who, nth): (usize, usize)) {
        let Some((core, id)) = self.clients[client].core() else {
            return;
        };
        let follower = &self.followers[who];
        let life = &follower.lives[nth];
        if self.clients[client].codec == Codec::V1 {
            self.hosts[core].open(id);
            let bind = self.bind_frame((who, nth));
            return self.feed(core, id, client, &bind);
        }
        let following = Following::of_client(&follower.groups, life.since.as_deref());
        let host = &mut self.hosts[core];
        if self.clients[client].codec == Codec::Sse {
            let head = crate::protocol::sse::head(None, client as u32);
            host.shard()
                .send_raw(id, |_, out| out.extend_from_slice(&head));
        }
        host.shard().follow(id, following);
        host.open(id);
        host.claim(id, &life.uid);
    }

    /// Somebody's connection is lost to him, whether the server knows or not.
    fn cut(&mut self) {
        let who = self.rng.usize(0..self.followers.len());
        if let Some(life) = self.followers[who].lives.last() {
            let one = &mut self.clients[life.client];
            match self.rng.u8(0..4) {
                0 => one.hung_up = true,
                _ => one.dead = true,
            }
        }
    }

    pub fn read_on(&mut self, core: usize) {
        self.wake(core);
        self.hosts[core].read_on();
    }

    fn reload(&mut self, core: usize) {
        if !self.scene.keeping.as_ref().is_some_and(|one| one.reloads) {
            return;
        }
        self.wake(core);
        let reloaded = !self.model().reloaded[core];
        self.model().reloaded[core] = reloaded;
        let listeners = std::rc::Rc::clone(&self.listeners);
        self.hosts[core].set_limits(&self.scene.config(reloaded), listeners);
        *self.tally.entry("reloads").or_default() += 1;
    }

    fn discard(&mut self) {
        if !self.scene.keeping.as_ref().is_some_and(|one| one.discards) {
            return;
        }
        let (kind, name) = match self.rng.u8(0..3) {
            0 => (Kind::Uid, self.scene.uid(&mut self.rng)),
            1 => (Kind::Group, Scene::group(&mut self.rng)),
            _ => (Kind::All, EVERYBODY.to_owned()),
        };
        let home = usize::from(self.model().route.home(&name).0);
        self.wake(home);
        let reach = Reach(0b11);
        let gone = self.hosts[home].local.forget_history(reach, kind, &name);
        *self.tally.entry("discarded").or_default() += gone as usize;
    }

    /// A push of a request's, with what it wishes; no connection pays for it.
    fn push_as_task(&mut self, core: usize) {
        let Some(keeping) = self.scene.keeping.clone() else {
            return;
        };
        self.wake(core);
        let wish = keeping.wish(&mut self.rng);
        let target = match self.rng.u8(0..5) {
            0 => Target::Everybody,
            1 | 2 => Target::Group(Scene::group(&mut self.rng)),
            _ => Target::Uid(format!("u{}", self.rng.usize(0..self.scene.uids))),
        };
        let reach = Reach([0b01, 0b11][self.rng.usize(0..2)]);
        let who = (Sender::Task(core as u16), core as u16);
        let bytes = [20, 20, 300][self.rng.usize(0..3)];
        let (path, by_mail) = self.hosts[core].tasks().path();
        let mut model = self.model();
        let text = model.send(who, target.clone(), reach, (&path, by_mail), bytes, wish);
        let number = model.last_sent().0;
        drop(model);
        let message = Message::Text(&text);
        let host = &mut self.hosts[core];
        let task = match &target {
            Target::Group(group) => {
                Task::Push(
                    host.tasks()
                        .push_to_group(reach, group, message, (wish, None)),
                )
            }
            Target::Uid(uid) => {
                let home = host.tasks().home(uid);
                let what = Query::PushToUids {
                    reach,
                    uids: vec![Box::from(&**uid)],
                    payload: Payload::new(message),
                    wish,
                };
                Task::Query(host.tasks().query(home, what))
            }
            _ => Task::Push(host.tasks().broadcast(reach, message, (wish, None))),
        };
        self.tasks.push((number, task));
    }

    /// Notes what the cores have kept since the last time.
    pub fn collect_kept(&mut self) {
        for host in &mut self.hosts {
            for (namespace, kind, name, position, payload) in host.local.streams.journal.drain(..) {
                let text = payload.message().text().expect("text");
                let number = text[1..]
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse().ok());
                let number = number.expect("a message of ours");
                let log = self.logs.entry((namespace, kind, name)).or_default();
                log.push(Kept { position, number });
            }
        }
    }

    fn count_kept(&mut self, who: usize, namespace: NamespaceId, uid: &str) -> Vec<usize> {
        self.collect_kept();
        let streams = self.followers[who].streams(namespace, uid);
        let count = |name| self.logs.get(name).map_or(0, Vec::len);
        streams.iter().map(count).collect()
    }

    /// A client has received something: how much was kept until then.
    pub fn note_received(&mut self, client: usize) {
        let Some((who, nth)) = self.clients[client].life else {
            return;
        };
        let namespace = self.model().clients[client].namespace;
        let uid = self.followers[who].lives[nth].uid.clone();
        let kept = self.count_kept(who, namespace, &uid);
        let received = self.clients[client].received.len();
        self.followers[who].lives[nth]
            .kept_at
            .push((received, kept));
        self.note_answers(client, (who, nth));
    }

    /// All come for the last time, to see that they have everything in the end.
    pub fn all_come(&mut self) {
        for who in 0..self.followers.len() {
            let core = self.rng.usize(0..self.scene.cores);
            self.come(who, core);
        }
    }
}
