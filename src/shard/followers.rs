//! Which streams the connections of a core follow, and how far each has come: [`Followers`], beside the slots.
//!
//! Bound: an entry for each connection that is behind, or follows a group that it is not in any more; a small one for each
//! that follows groups and has everything ([`Resting`]).

use std::collections::VecDeque;

use ahash::{AHashMap, AHashSet};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::client_part::ClientPart;
use super::limits::LIST_KEPT;
use super::resting::Resting;
use crate::ident::{ConnId, NamespaceId};
use crate::payload::Payload;
use crate::streams::{Gap, Kind, Position, Positions};

/// Where a message stands in the stream of those that it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Its own position, or that of the last kept message before it.
    pub position: Position,
    /// Which of these.
    pub kept: bool,
    /// It waits for its uid's login, or is delivered by now.
    pub queued: bool,
}

/// What a message for many is in, as far as positions go.
#[derive(Clone, Copy, Debug)]
pub struct Marked<'a> {
    pub kind: Kind,
    pub name: &'a str,
    /// `None`: nothing of the stream is kept.
    pub mark: Option<Mark>,
    pub payload: &'a Payload,
}

/// What a client says of where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Since {
    /// Nothing: it begins now.
    Now,
    /// There, if that can be read.
    At(Option<Position>),
    /// It has had nothing of it.
    Beginning,
}

/// How a connection stands in one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Standing {
    /// The home has not said yet.
    Asked(Since),
    /// It may not have got all that there is.
    Behind,
    /// It has.
    Abreast,
}

/// One stream that a connection follows.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Followed {
    pub kind: Kind,
    /// The group; of a uid and of everybody it is empty.
    pub name: Box<str>,
    /// Up to where it has everything; while it is asked, up to where at most.
    pub position: Option<Position>,
    pub standing: Standing,
    /// What it is to be told of, when it begins.
    pub(super) gap: Option<Box<Gap>>,
    /// What came while it was behind, and is kept nowhere: each behind this offset, or at last.
    pub(super) held: HeldMessages,
    /// It is in the group no more: it gets nothing of it, until it is in it again.
    pub(super) lost: bool,
    /// What is missing is being read.
    #[serde(skip)]
    pub(super) reading: bool,
    /// By which answers for it are known: the connection's streams before it had others.
    pub(super) serial: u32,
}

const _: () = assert!(size_of::<Followed>() <= 80);

/// Messages that are held, each behind an offset or at last. Of none it is nothing.
#[derive(PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[expect(
    clippy::box_collection,
    reason = "hardly any holds one, and so it takes a word"
)]
pub struct HeldMessages(Option<Box<VecDeque<Held>>>);

type Held = (Option<u64>, Payload);

impl HeldMessages {
    pub fn push(&mut self, behind: Option<u64>, payload: Payload) {
        let list = self.0.get_or_insert_default();
        list.push_back((behind, payload));
    }

    /// Behind what the first is held.
    pub fn first_is_behind(&self) -> Option<Option<u64>> {
        let (behind, _) = self.0.as_ref()?.front()?;
        Some(*behind)
    }

    pub fn pop(&mut self) -> Option<Payload> {
        let list = self.0.as_mut()?;
        let first = list.pop_front();
        if list.is_empty() {
            self.0 = None;
        }
        first.map(|(_, payload)| payload)
    }
}

impl Followed {
    /// One that is to be asked for.
    pub fn new(kind: Kind, name: &str, since: Since) -> Followed {
        Followed {
            kind,
            name: Box::from(name),
            position: None,
            standing: Standing::Asked(since),
            gap: None,
            held: HeldMessages::default(),
            lost: false,
            reading: false,
            serial: 0,
        }
    }

    /// Everybody's, of which it has all up to there.
    pub(super) fn of_all(position: Option<Position>, standing: Standing) -> Followed {
        Followed {
            position,
            standing,
            ..Followed::new(Kind::All, "", Since::Now)
        }
    }

    /// What is to be asked of its home, if that is.
    pub fn asked(&self) -> Option<Since> {
        match self.standing {
            Standing::Asked(since) => Some(since),
            _ => None,
        }
    }

    /// By which answers for it are known.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Has it be asked for from elsewhere.
    pub fn ask_since(&mut self, since: Since) {
        self.standing = Standing::Asked(since);
    }

    /// It is a uid's, and stands where that does.
    pub(super) fn stands_with_its_uid(&self) -> bool {
        self.kind == Kind::Uid && self.position.is_none() && self.is_abreast()
    }

    pub fn is_abreast(&self) -> bool {
        self.standing == Standing::Abreast
    }
}

/// What a connection follows, in the order of its positions.
#[derive(PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Following {
    pub streams: SmallVec<[Followed; 1]>,
    /// Its first block is queued.
    pub(super) begun: bool,
    pub(super) held_bytes: usize,
    /// How many streams it has had.
    serials: u32,
    /// What is known of a client of `ringpost.v1` besides.
    pub client: Option<Box<ClientPart>>,
}

impl Following {
    /// One on a plain wire, which is sent what follows this position of its uid's queue.
    pub fn of_queue(after: Position) -> Following {
        let mut own = Followed::new(Kind::Uid, "", Since::Now);
        own.position = Some(after);
        own.standing = Standing::Behind;
        let mut following = Following::of([own]);
        following.begun = true;
        following
    }

    /// These streams, of which nothing is known yet.
    pub fn of(streams: impl IntoIterator<Item = Followed>) -> Following {
        let mut following = Following::default();
        streams.into_iter().for_each(|one| following.add(one));
        following
    }

    /// These, of one that has been told where it stands.
    pub(super) fn begun_with(streams: impl IntoIterator<Item = Followed>) -> Following {
        let mut following = Following::of(streams);
        following.begun = true;
        following
    }

    /// Adds a stream, the last of them.
    pub fn add(&mut self, one: Followed) {
        let serial = self.next_serial();
        self.streams.push(Followed { serial, ..one });
    }

    /// Puts a stream in the place of one that it has had until now.
    pub(super) fn replace(&mut self, nth: usize, one: Followed) {
        let serial = self.next_serial();
        if let Some(had) = self.streams.get_mut(nth) {
            *had = Followed { serial, ..one };
        }
    }

    fn next_serial(&mut self) -> u32 {
        self.serials = self.serials.wrapping_add(1);
        self.serials
    }

    /// What a client follows that is in these groups, since the positions that it names: one for its uid, one for each
    /// group, and one for everybody's stream if it had that.
    pub fn of_client(groups: &[String], since: Option<&str>) -> Following {
        let asked: Option<Vec<Option<Position>>> = since.map(|text| {
            let list: Result<Positions, _> = text.parse();
            list.map(|list| list.0).unwrap_or_default()
        });
        let own = 1 + groups.len();
        // More or fewer than there are streams are none of them.
        let asked = asked.map(|list| match list.len() {
            length if length == own || length == own + 1 => list,
            _ => vec![None; own + 1],
        });
        let since = |nth: usize| match &asked {
            None => Since::Now,
            Some(list) => match list.get(nth) {
                Some(position) => Since::At(*position),
                None => Since::Beginning,
            },
        };
        let mut following = Following::of([Followed::new(Kind::Uid, "", since(0))]);
        for (nth, group) in groups.iter().enumerate() {
            following.add(Followed::new(Kind::Group, group, since(1 + nth)));
        }
        if asked.is_some() {
            following.add(Followed::new(Kind::All, "", since(own)));
        }
        following
    }
}

/// Who follows what.
#[derive(Default)]
pub struct Followers {
    of: AHashMap<u32, Box<Following>>,
    /// Those that follow groups and have everything.
    pub(super) resting: Resting,
    /// Those that are not abreast everywhere.
    behind: AHashSet<u32>,
    /// The last kept message for everybody, by namespace: all that are abreast have got it.
    all: AHashMap<NamespaceId, Position>,
    /// Those to be read on for when their outboxes are empty.
    waiting: AHashSet<u32>,
    /// Whose are.
    drained: Vec<ConnId>,
    /// Who was put into which group by others, and is to be told.
    newcomers: Vec<(ConnId, Box<str>)>,
}

/// What is known of the streams of uids.
pub type Tops<'a> = &'a mut dyn FnMut(NamespaceId, &str) -> Position;

impl Followed {
    pub fn is_of(&self, marked: Marked<'_>) -> bool {
        self.kind == marked.kind && (self.kind != Kind::Group || *self.name == *marked.name)
    }
}

impl Following {
    /// A message has come for one that is to begin: its client gets nothing before the block that says where it stands. So
    /// what is kept is read for it later, from behind what it has; and what is not is held.
    pub(super) fn await_beginning(&mut self, marked: Marked<'_>, all: Option<Position>) {
        let kept = marked.mark.filter(|mark| mark.kept);
        let before = kept.map(|Mark { position, .. }| Position {
            offset: position.offset - 1,
            ..position
        });
        let streams = &mut self.streams;
        match streams.iter_mut().find(|one| one.is_of(marked)) {
            Some(one) if one.standing == Standing::Abreast => {
                one.standing = Standing::Behind;
                one.position = one.position.or(before);
            }
            // A join may have been answered before the home is asked where it stands, so that this is for it already.
            Some(one) if one.standing == Standing::Asked(Since::Now) => {
                one.position = one.position.or(before);
            }
            Some(one) if one.standing == Standing::Behind && one.gap.is_none() => {
                one.position = one.position.or(before);
            }
            // It follows everybody's without having asked for it.
            None if marked.kind == Kind::All => {
                let all = before.or(all);
                self.add(Followed::of_all(all, Standing::Behind));
            }
            _ => {}
        }
    }

    /// As it comes along with a connection that moves: what is being read is read anew.
    pub fn taken(mut self: Box<Self>) -> Box<Self> {
        self.streams.iter_mut().for_each(|one| one.reading = false);
        self
    }
}

impl Followers {
    /// Whether nobody here has an entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty() && self.resting.is_empty()
    }

    /// Whether somebody is behind, so that messages may have to be held.
    #[inline]
    pub fn any_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Whether the connection in this slot is.
    #[inline]
    pub fn is_behind(&self, slot: u32) -> bool {
        self.any_behind() && self.behind.contains(&slot)
    }

    /// What the connection of a slot follows.
    pub fn get(&self, slot: u32) -> Option<&Following> {
        self.of.get(&slot).map(|one| &**one)
    }

    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Following> {
        self.of.get_mut(&slot).map(|one| &mut **one)
    }

    /// It follows this, here or on from elsewhere.
    pub fn follow(&mut self, slot: u32, following: Box<Following>) {
        if !following.begun || !following.streams.iter().all(Followed::is_abreast) {
            self.behind.insert(slot);
        }
        self.of.insert(slot, following);
    }

    /// It leaves, or ends.
    pub fn unfollow(&mut self, slot: u32) -> Option<Box<Following>> {
        if !self.resting.is_empty() {
            self.resting.remove(slot);
        }
        if self.of.is_empty() {
            return None;
        }
        self.be_abreast(slot);
        let following = self.of.remove(&slot);
        if self.of.is_empty() {
            self.of.shrink_to(LIST_KEPT);
            self.behind.shrink_to(LIST_KEPT);
            self.waiting.shrink_to(LIST_KEPT);
        }
        following
    }

    /// It may not have got all that there is.
    pub fn be_behind(&mut self, slot: u32) {
        self.behind.insert(slot);
    }

    /// It has.
    pub fn be_abreast(&mut self, slot: u32) {
        self.behind.remove(&slot);
        self.waiting.remove(&slot);
    }

    /// The position of everybody's stream that all here have reached, if anything of it was ever kept.
    pub fn all_seen(&self, namespace: NamespaceId) -> Option<Position> {
        self.all.get(&namespace).copied()
    }

    /// The positions of everybody's streams, likewise.
    pub fn seen_by_all(&self) -> impl Iterator<Item = (NamespaceId, Position)> + '_ {
        self.all
            .iter()
            .map(|(namespace, position)| (*namespace, *position))
    }

    /// Everybody's stream has come this far here.
    pub fn see_all(&mut self, namespace: NamespaceId, position: Position) {
        self.all.insert(namespace, position);
    }

    /// Everybody's stream stands there, as may be known already.
    pub fn see_all_at(&mut self, namespace: NamespaceId, position: Position) {
        if !self
            .all_seen(namespace)
            .is_some_and(|seen| seen.has(position))
        {
            self.see_all(namespace, position);
        }
    }

    /// Has it be told when its outbox is empty.
    pub fn await_drained(&mut self, slot: u32) {
        self.waiting.insert(slot);
    }

    /// Its outbox is empty.
    #[inline]
    pub fn note_drained(&mut self, id: ConnId) {
        if !self.waiting.is_empty() && self.waiting.remove(&id.slot) {
            self.drained.push(id);
        }
    }

    /// Those whose outboxes have become empty.
    pub fn take_drained(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.drained)
    }

    /// Notes one that was put into a group by others.
    pub(super) fn note_newcomer(&mut self, id: ConnId, group: &str) {
        self.newcomers.push((id, Box::from(group)));
    }

    /// Those that were.
    pub fn take_newcomers(&mut self) -> Vec<(ConnId, Box<str>)> {
        std::mem::take(&mut self.newcomers)
    }

    pub fn has_drained(&self) -> bool {
        !self.drained.is_empty()
    }
}
