//! Who is in a group on the nodes of a cluster, at the group's home on each node with members: [`GroupRoster`]. The seats are in
//! the group's [`Presence`], those of other nodes, too; here is how far each has told, and what they are to be told.
//!
//! Each node tells of its own members, by numbers that follow each other, and of each as many connections as it has then.
//! Who sees that a number is missing asks for the whole list; so does who begins, and whoever may have missed something.
//! What has come twice, or late, is known by its number. Told no network and no time. Bound: an entry for each node that
//! has members, and what comes while its list is read ([`EARLY_MAX`]).

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use ahash::AHashMap;

use super::presence::{MembersAsked, NodesWake, Presence, PresenceWake, SeatPlace};
use crate::ident::CoreId;
use crate::protocol::cluster::NodeId;
use crate::protocol::cluster_roster::{RosterState, RosterWords};

/// What one message may have.
const WORDS_BYTES_MAX: usize = 32 << 10;
/// What is told while a list is read, and held until it is. With more it is read once more.
const EARLY_MAX: usize = 256;
/// What a node had in a life before has come again within this time, or is gone: its process was replaced by another.
const COMES_WITHIN: Duration = Duration::from_secs(10);
/// Nodes of one group, and lives before.
const PLACES_MAX: usize = 1 << 15;
/// Others are told how far it has been told after this time, and then ever more seldom while nothing changes.
const COMPARED_AFTER: Duration = Duration::from_secs(20);
/// Nodes that have not told what they have are asked again after this time.
const ASKED_AGAIN: Duration = Duration::from_secs(2);
const COMPARED_AFTER_MAX: Duration = Duration::from_secs(320);

/// Members with how many connections each has.
pub type CountedMembers = Vec<(Box<str>, u32)>;

/// When something is to be looked at, and what.
pub type Wakes = Vec<(Instant, PresenceWake)>;

/// The seats, while something is done about them.
pub struct Seating<'s> {
    pub presence: &'s mut Presence,
    pub now: Instant,
    pub grace: Duration,
    pub wakes: &'s mut Wakes,
    /// Somebody is on other nodes who was not, or is not any more.
    pub has_moved: bool,
}

impl Seating<'_> {
    fn seat(&mut self, place: SeatPlace, name: &str, connections: u32) {
        let was_elsewhere = self.presence.is_elsewhere(name);
        let wake = self
            .presence
            .attend(place, name, connections, self.now, self.grace);
        self.wakes.extend(wake);
        self.has_moved |= was_elsewhere != self.presence.is_elsewhere(name);
    }

    fn clear(&mut self, place: SeatPlace) {
        for name in self.presence.names_at(place) {
            self.seat(place, &name, 0);
        }
    }
}

/// A list that has come in part.
#[derive(Default)]
struct PartialList {
    state: RosterState,
    members: CountedMembers,
}

/// Another node with members.
struct NodeView {
    node: NodeId,
    state: RosterState,
    /// In which round of asking it was heard last.
    round: u64,
    /// What it has told while its list is waited for; `None` if none is.
    early: Option<VecDeque<(RosterState, CountedMembers)>>,
    missed: bool,
    list: Option<PartialList>,
}

/// What has a place.
enum PlaceUse {
    Node(Box<NodeView>),
    /// What a node had in a life before.
    Stale(NodeId),
}

/// What is asked of all nodes.
struct AskedAll {
    call: u64,
    round: u64,
}

/// See the module.
pub struct GroupRoster {
    /// What this node has told, and what it has besides.
    own: RosterState,
    changed: BTreeSet<Box<str>>,
    told: Option<Instant>,
    places: Vec<Option<PlaceUse>>,
    asked: Option<AskedAll>,
    round: u64,
    /// Nobody is told anything yet, nor has a list: who asks waits.
    opening: bool,
    waiting: Vec<WaitingMembers>,
    whole: bool,
    /// The latest [`NodesWake::Compare`], when it is due, and what follows it.
    compare: u32,
    compared_at: Option<Instant>,
    compared_after: Duration,
    /// An app that watches the group is to be told who is on other nodes, and when it was last.
    others_due: bool,
    others_told: Option<Instant>,
}

/// A core's call that waits for members.
pub type WaitingMembers = (CoreId, u64, Box<MembersAsked>);

impl GroupRoster {
    /// One that begins, and waits for what the others have.
    pub fn new(life: u64) -> GroupRoster {
        GroupRoster {
            own: RosterState {
                life,
                ..RosterState::default()
            },
            changed: BTreeSet::new(),
            told: None,
            places: Vec::new(),
            asked: None,
            round: 0,
            opening: true,
            waiting: Vec::new(),
            whole: false,
            compare: 0,
            compared_at: None,
            compared_after: COMPARED_AFTER,
            others_due: false,
            others_told: None,
        }
    }

    /// Those on other nodes are not who they were: when an app that watches the group is to be told, if that is new.
    pub fn tell_others_at(
        &mut self,
        now: Instant,
        every: Duration,
    ) -> Option<(Instant, PresenceWake)> {
        if self.others_due {
            return None;
        }
        self.others_due = true;
        let at = self.others_told.map_or(now, |told| now.max(told + every));
        Some((at, PresenceWake::Nodes(NodesWake::Others)))
    }

    /// It is told now.
    pub fn others_told(&mut self, now: Instant) {
        (self.others_due, self.others_told) = (false, Some(now));
    }

    /// A member has another number of connections on this node. When the others are to be told, if that is new.
    pub fn change(
        &mut self,
        name: &str,
        (before, now): (u32, u32),
        (at, every): (Instant, Duration),
    ) -> Option<Instant> {
        if before == now {
            return None;
        }
        self.own.count(name, before, now);
        let is_first = self.changed.is_empty();
        if !self.changed.contains(name) {
            self.changed.insert(Box::from(name));
        }
        is_first.then(|| self.told.map_or(at, |told| at.max(told + every)))
    }

    /// What the others are to be told now.
    pub fn tell(&mut self, presence: &Presence, now: Instant) -> Vec<RosterWords> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Vec::new();
        }
        self.told = Some(now);
        let members = changed.into_iter().map(|name| {
            let count = presence.count_here(&name);
            (name, count)
        });
        let own = &mut self.own;
        let pieces = pieces(members).into_iter().map(|members| {
            own.serial += 1;
            RosterWords::Told {
                life: own.life,
                serial: own.serial,
                members,
            }
        });
        pieces.collect()
    }

    /// How far this node has told, where all was told.
    pub fn state(&self) -> RosterState {
        self.own
    }

    /// All that this node has, where all was told.
    pub fn list(&self, presence: &Presence) -> Vec<RosterWords> {
        let members = presence
            .here()
            .map(|(name, count)| (Box::from(name), count));
        let mut pieces = pieces(members);
        if pieces.is_empty() {
            pieces.push(Vec::new());
        }
        let last = pieces.len() - 1;
        let pieces = pieces.into_iter().enumerate();
        let (life, serial) = (self.own.life, self.own.serial);
        let lists = pieces.map(|(nth, members)| RosterWords::List {
            life,
            serial,
            first: nth == 0,
            last: nth == last,
            members,
        });
        lists.collect()
    }

    /// All nodes are asked by this call.
    pub fn ask(&mut self, call: u64) {
        self.round += 1;
        let round = self.round;
        self.asked = Some(AskedAll { call, round });
    }

    /// That call has come to an end; whether all have answered. Whether it was the last.
    pub fn asked(&mut self, call: u64, by_all: bool, seating: &mut Seating<'_>) -> bool {
        let Some(asked) = self.asked.take_if(|asked| asked.call == call) else {
            return false;
        };
        self.whole = by_all;
        for place in self.places.iter_mut().flatten() {
            if let PlaceUse::Node(view) = place
                && view.round < asked.round
            {
                (view.early, view.list) = (None, None);
            }
        }
        if by_all {
            let silent = self.views().filter(|view| view.round < asked.round);
            let silent: Vec<NodeId> = silent.map(|view| view.node).collect();
            for node in silent {
                self.forget(node, seating);
            }
        }
        true
    }

    /// Redis is there, and what was told meanwhile has not come; or it is away.
    pub fn be_partial(&mut self) {
        self.whole = false;
        self.asked = None;
        for place in self.places.iter_mut().flatten() {
            if let PlaceUse::Node(view) = place {
                (view.early, view.list, view.missed) = (None, None, false);
            }
        }
    }

    /// Whether all have told what they have, as far as is known.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    pub fn is_opening(&self) -> bool {
        self.opening
    }

    /// Who asks for members waits until it opens.
    pub fn wait(&mut self, waiting: WaitingMembers) {
        self.waiting.push(waiting);
    }

    /// Whoever is here is told from now on, and who waits.
    pub fn open(&mut self) -> Vec<WaitingMembers> {
        self.opening = false;
        std::mem::take(&mut self.waiting)
    }

    /// When the others are to be told next how far this node has told, if that is new; after a change it is soon.
    pub fn compare_after(&mut self, is_new: bool, now: Instant) -> Option<(Instant, PresenceWake)> {
        if is_new {
            self.compared_after = COMPARED_AFTER;
        }
        let at = now + self.compared_after;
        if self.compared_at.is_some_and(|before| before <= at) {
            return None;
        }
        self.compared_at = Some(at);
        self.compare += 1;
        Some((at, PresenceWake::Nodes(NodesWake::Compare(self.compare))))
    }

    /// The others are told now, if this is the latest look; then when it is told next.
    pub fn compared(&mut self, number: u32, now: Instant) -> Option<(Instant, PresenceWake)> {
        if number != self.compare {
            return None;
        }
        self.compared_at = None;
        let next = self.compare_after(false, now);
        self.compared_after = (2 * self.compared_after).min(COMPARED_AFTER_MAX);
        next
    }

    /// All nodes are asked again soon.
    pub fn ask_again(&mut self, now: Instant) -> (Instant, PresenceWake) {
        let at = now + ASKED_AGAIN;
        self.compared_at = Some(at);
        self.compare += 1;
        (at, PresenceWake::Nodes(NodesWake::Compare(self.compare)))
    }

    fn views(&self) -> impl Iterator<Item = &NodeView> {
        let places = self.places.iter().flatten();
        places.filter_map(|place| match place {
            PlaceUse::Node(view) => Some(&**view),
            PlaceUse::Stale(_) => None,
        })
    }

    fn place_of(&self, node: NodeId) -> Option<usize> {
        self.places
            .iter()
            .position(|place| matches!(place, Some(PlaceUse::Node(view)) if view.node == node))
    }

    fn view(&mut self, node: NodeId) -> Option<(SeatPlace, &mut NodeView)> {
        let at = self.place_of(node)?;
        match self.places[at].as_mut()? {
            PlaceUse::Node(view) => Some((SeatPlace::node(at as u16), view)),
            PlaceUse::Stale(_) => None,
        }
    }

    /// A node that begins, in this life. What it had in another stays for a while: it may come again.
    fn begin(&mut self, node: NodeId, life: u64, seating: &mut Seating<'_>) {
        if let Some(at) = self.place_of(node) {
            self.places[at] = Some(PlaceUse::Stale(node));
            let due = seating.now + COMES_WITHIN;
            seating
                .wakes
                .push((due, PresenceWake::Nodes(NodesWake::Stale(at as u16))));
        }
        let free = self.places.iter().position(Option::is_none);
        let at = match free {
            Some(at) => at,
            None if self.places.len() < PLACES_MAX => {
                self.places.push(None);
                self.places.len() - 1
            }
            None => return,
        };
        self.places[at] = Some(PlaceUse::Node(Box::new(NodeView {
            node,
            state: RosterState {
                life,
                ..RosterState::default()
            },
            round: self.round,
            early: None,
            missed: false,
            list: None,
        })));
    }

    /// What a node had in a life before has come again, or is gone.
    pub fn clear_stale(&mut self, number: u16, seating: &mut Seating<'_>) {
        if let Some(place) = self.places.get_mut(usize::from(number))
            && matches!(place, Some(PlaceUse::Stale(_)))
        {
            *place = None;
            seating.clear(SeatPlace::node(number));
        }
    }

    /// A node has nobody there any more, or is gone.
    pub fn forget(&mut self, node: NodeId, seating: &mut Seating<'_>) {
        for (at, place) in self.places.iter_mut().enumerate() {
            let is_its = match place {
                Some(PlaceUse::Node(view)) => view.node == node,
                Some(PlaceUse::Stale(of)) => *of == node,
                None => false,
            };
            if is_its {
                *place = None;
                seating.clear(SeatPlace::node(at as u16));
            }
        }
    }

    fn seat(
        &mut self,
        node: NodeId,
        members: impl IntoIterator<Item = (Box<str>, u32)>,
        seating: &mut Seating<'_>,
    ) {
        let stale = self.places.iter().enumerate();
        let stale = stale.filter(|(_, it)| matches!(it, Some(PlaceUse::Stale(of)) if *of == node));
        let stale: Vec<SeatPlace> = stale.map(|(at, _)| SeatPlace::node(at as u16)).collect();
        let Some((place, view)) = self.view(node) else {
            return;
        };
        for (name, count) in members {
            let before = seating.presence.count_at(place, &name);
            view.state.count(&name, before, count);
            seating.seat(place, &name, count);
            for stale in &stale {
                seating.seat(*stale, &name, 0);
            }
        }
    }

    /// A node has told something. Whether its list is to be asked for.
    pub fn take_told(
        &mut self,
        node: NodeId,
        (life, serial): (u64, u64),
        members: CountedMembers,
        seating: &mut Seating<'_>,
    ) -> bool {
        let known = self.view(node).map(|(_, view)| view.state.life);
        if known != Some(life) {
            self.begin(node, life, seating);
        }
        let round = self.round;
        let Some((_, view)) = self.view(node) else {
            return false;
        };
        let state = RosterState {
            life,
            serial,
            ..RosterState::default()
        };
        if let Some(early) = &mut view.early {
            match early.len() < EARLY_MAX {
                true => early.push_back((state, members)),
                false => view.missed = true,
            }
            return false;
        }
        if serial <= view.state.serial {
            return false;
        }
        if serial == view.state.serial + 1 {
            view.state.serial = serial;
            // One that begins has told all that it has.
            view.round = round.max(view.round);
            self.seat(node, members, seating);
            return false;
        }
        view.early = Some(VecDeque::from([(state, members)]));
        // Its list comes, if all are asked.
        self.asked.is_none()
    }

    /// A piece of a node's list has come. Whether the list is to be asked for once more.
    pub fn take_list(
        &mut self,
        node: NodeId,
        state: RosterState,
        (first, last): (bool, bool),
        members: CountedMembers,
        seating: &mut Seating<'_>,
    ) -> bool {
        let known = self.view(node).map(|(_, view)| view.state.life);
        if known != Some(state.life) {
            self.begin(node, state.life, seating);
        }
        let round = self.round;
        let Some((place, view)) = self.view(node) else {
            return false;
        };
        if first {
            let members = CountedMembers::new();
            view.list = Some(PartialList { state, members });
        }
        let is_it =
            |list: &PartialList| (list.state.life, list.state.serial) == (state.life, state.serial);
        let Some(list) = view.list.as_mut().filter(|list| is_it(list)) else {
            return false;
        };
        list.members.extend(members);
        if !last {
            return false;
        }
        let listed = view.list.take().unwrap_or_default().members;
        view.round = round;
        let early = view.early.take().unwrap_or_default();
        let missed = std::mem::take(&mut view.missed);
        // Older than what is known.
        if state.serial < view.state.serial {
            return missed;
        }
        view.state.serial = state.serial;
        let there = seating.presence.names_at(place);
        let listed: AHashMap<Box<str>, u32> = listed.into_iter().collect();
        let gone = there.into_iter().filter(|name| !listed.contains_key(name));
        let gone: Vec<(Box<str>, u32)> = gone.map(|name| (name, 0)).collect();
        self.seat(node, gone.into_iter().chain(listed), seating);
        let mut is_missing = missed;
        for (state, members) in early {
            let own = (state.life, state.serial);
            is_missing |= self.take_told(node, own, members, seating);
        }
        is_missing
    }

    /// Whether what is known of a node is what it says; else its list is to be asked for, and is waited for.
    pub fn compare(
        &mut self,
        node: NodeId,
        state: &RosterState,
        seating: &mut Seating<'_>,
    ) -> bool {
        let is_known = self.view(node).is_some();
        if !is_known && state.members == 0 {
            return true;
        }
        if !is_known {
            self.begin(node, state.life, seating);
        }
        let Some((_, view)) = self.view(node) else {
            return true;
        };
        // It is asked already.
        if view.early.is_some() || view.state == *state {
            return true;
        }
        view.early = Some(VecDeque::new());
        self.asked.is_some()
    }

    /// A node's list was asked for, and does not come.
    pub fn list_failed(&mut self, node: NodeId) {
        if let Some((_, view)) = self.view(node)
            && view.early.take().is_some()
        {
            view.list = None;
            self.whole = false;
        }
    }
}

/// Members in pieces that are one message each.
fn pieces(members: impl Iterator<Item = (Box<str>, u32)>) -> Vec<CountedMembers> {
    let (mut pieces, mut piece, mut bytes) = (Vec::new(), CountedMembers::new(), 0);
    for member in members {
        let cost = member.0.len() + 8;
        if bytes + cost > WORDS_BYTES_MAX && !piece.is_empty() {
            pieces.push(std::mem::take(&mut piece));
            bytes = 0;
        }
        bytes += cost;
        piece.push(member);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}
