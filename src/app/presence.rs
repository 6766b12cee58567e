//! Who is in a group whose members are told of each other, at the group's home: [`Presence`].
//!
//! A member is a name: a uid, or what a connection is called there. Cores tell how many connections it has there
//! whenever that changes, so whatever order they end in, what is known here is what they have. Who has none any more has
//! left when the group's grace is over. What there is to tell waits for [`TOLD_EVERY`] after the last word, so that a
//! burst is one. Bound: a seat for each member.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use serde::Serialize;
use smallvec::SmallVec;

use crate::handover::WrittenMember;
use crate::ident::{CoreId, NamespaceId};

/// Within this the connections of members come that another process has had: then they have all come, or are gone.
const COMES_WITHIN: Duration = Duration::from_secs(10);
/// Members are told at most so often.
pub const TOLD_EVERY: Duration = Duration::from_millis(100);
/// What one word may have: names as they are written, and the commas between them.
const TOLD_BYTES_MAX: usize = 32 << 10;

/// Where connections of members are: a core, or another node of the cluster by a number that the group has for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeatPlace(u32);

impl SeatPlace {
    const NODES: u32 = 1 << 16;

    pub const fn core(core: CoreId) -> SeatPlace {
        SeatPlace(core.0 as u32)
    }

    pub const fn node(number: u16) -> SeatPlace {
        SeatPlace(SeatPlace::NODES | number as u32)
    }

    fn is_here(self) -> bool {
        self.0 < SeatPlace::NODES
    }
}

/// A member.
#[derive(Default)]
struct MemberSeat {
    /// How many connections it has where.
    at: SmallVec<[(SeatPlace, u32); 1]>,
    /// Since when it has none.
    left: Option<Instant>,
    /// The others know that it is in.
    is_told: bool,
    /// They are to be told of it.
    is_news: bool,
    /// Somebody looks when it has been gone for long enough.
    is_watched: bool,
}

impl MemberSeat {
    fn connections(&self) -> u32 {
        // Other nodes may say anything.
        let counts = self.at.iter().map(|(_, count)| *count);
        counts.fold(0, u32::saturating_add)
    }

    fn connections_here(&self) -> u32 {
        let here = self.at.iter().filter(|(place, _)| place.is_here());
        here.map(|(_, count)| count).sum()
    }

    fn is_elsewhere(&self) -> bool {
        self.at.iter().any(|(place, _)| !place.is_here())
    }

    /// It is in, or may come back without a word.
    fn is_in(&self, now: Instant, grace: Duration) -> bool {
        !self.at.is_empty() || self.left.is_some_and(|left| now < left + grace)
    }
}

/// What is to be looked at later.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PresenceWake {
    /// There is something to tell.
    Tell,
    /// This member has been gone for long enough.
    Gone(Box<str>),
    /// Something about other nodes of a cluster.
    Nodes(NodesWake),
}

/// What is to be looked at later about the other nodes of a cluster that have members.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum NodesWake {
    /// There is something to tell them.
    Tell,
    /// They are to be told how far it has been told, if this number is the latest.
    Compare(u32),
    /// Nobody waits any longer for what they have.
    Open,
    /// What a node had there in a life before has come again, or is gone.
    Stale(u16),
    /// An app is to be told who is there.
    Others,
}

/// What members are told, or a part of it.
#[derive(PartialEq, Eq, Debug, Default, Serialize)]
pub struct PresenceNews {
    pub joined: Vec<Box<str>>,
    pub left: Vec<Box<str>>,
}

/// A question for some members of a group.
pub struct MembersAsked {
    pub namespace: NamespaceId,
    pub group: Box<str>,
    /// Those behind this name; all names are behind the empty one.
    pub after: Box<str>,
    pub most: usize,
}

/// Some members of a group with how many connections each has, in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct MemberPage {
    /// One without any has left: that is told soon, or it is back before the group's grace is over.
    pub members: Vec<(Box<str>, u32)>,
    /// How many members there are on all pages together.
    pub total: usize,
    /// There are more, behind the last of these.
    pub is_more: bool,
    /// Other nodes of a cluster have not told whom they have, or may have told more than has come.
    pub is_partial: bool,
}

/// See the module.
#[derive(Default)]
pub struct Presence {
    seats: BTreeMap<Box<str>, MemberSeat>,
    /// How many of them the others know of.
    told_members: usize,
    news: Vec<Box<str>>,
    /// When they were told last.
    told: Option<Instant>,
}

impl Presence {
    /// A member has so many connections there now. What is to be looked at when, if that is new.
    pub fn attend(
        &mut self,
        place: SeatPlace,
        name: &str,
        connections: u32,
        now: Instant,
        grace: Duration,
    ) -> Option<(Instant, PresenceWake)> {
        if connections == 0 && !self.seats.contains_key(name) {
            return None;
        }
        let seat = match self.seats.get_mut(name) {
            Some(seat) => seat,
            None => self.seats.entry(Box::from(name)).or_default(),
        };
        seat.at.retain(|(at, _)| *at != place);
        if connections > 0 {
            seat.at.push((place, connections));
            seat.left = None;
            return match seat.is_told || seat.is_news {
                true => None,
                false => self.be_news(name, now),
            };
        }
        if seat.at.is_empty() {
            seat.left = Some(now);
            if !seat.is_watched {
                seat.is_watched = true;
                return Some((now + grace, PresenceWake::Gone(Box::from(name))));
            }
        }
        None
    }

    /// Looks whether a member has been gone for long enough.
    pub fn look(
        &mut self,
        name: &str,
        now: Instant,
        grace: Duration,
    ) -> Option<(Instant, PresenceWake)> {
        let seat = self.seats.get_mut(name)?;
        seat.is_watched = false;
        match seat.left {
            // It is back.
            None => None,
            // It was, and has left again.
            Some(left) if now < left + grace => {
                seat.is_watched = true;
                Some((left + grace, PresenceWake::Gone(Box::from(name))))
            }
            Some(_) if seat.is_news => None,
            Some(_) => self.be_news(name, now),
        }
    }

    fn be_news(&mut self, name: &str, now: Instant) -> Option<(Instant, PresenceWake)> {
        if let Some(seat) = self.seats.get_mut(name) {
            seat.is_news = true;
        }
        self.news.push(Box::from(name));
        // Who was news before it has somebody look already.
        let is_first = self.news.len() == 1;
        let due = self.told.map_or(now, |told| now.max(told + TOLD_EVERY));
        is_first.then_some((due, PresenceWake::Tell))
    }

    /// What there is to tell, in pieces. Who has come and gone meanwhile is not in it.
    pub fn tell(&mut self, now: Instant, grace: Duration) -> Vec<PresenceNews> {
        let mut pieces = Vec::new();
        let (mut piece, mut bytes) = (PresenceNews::default(), 0);
        for name in std::mem::take(&mut self.news) {
            let Some(seat) = self.seats.get_mut(&name) else {
                continue;
            };
            seat.is_news = false;
            let (is_in, was_told) = (seat.is_in(now, grace), seat.is_told);
            seat.is_told = is_in;
            self.told_members += usize::from(is_in);
            self.told_members -= usize::from(was_told);
            if !is_in && !seat.is_watched {
                self.seats.remove(&name);
            }
            if is_in == was_told {
                continue;
            }
            // Quotes and a comma, and what escapes make of it at most.
            let cost = 3 + 2 * name.len();
            if bytes + cost > TOLD_BYTES_MAX {
                pieces.push(std::mem::take(&mut piece));
                bytes = 0;
            }
            bytes += cost;
            match is_in {
                true => piece.joined.push(name),
                false => piece.left.push(name),
            }
        }
        if bytes > 0 {
            pieces.push(piece);
            self.told = Some(now);
        }
        pieces
    }

    /// Members behind this name, up to so many. They are those whom the others know of: what is told later is about this
    /// list. Who has come just now is not in it yet, and who has gone just now is still.
    pub fn page(&self, after: &str, most: usize) -> MemberPage {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let behind = self.seats.range::<str, _>(behind);
        let mut found = behind.filter(|(_, seat)| seat.is_told);
        let members = found.by_ref().take(most);
        let members = members.map(|(name, seat)| (name.clone(), seat.connections()));
        MemberPage {
            members: members.collect(),
            is_more: found.next().is_some(),
            total: self.told_members,
            is_partial: false,
        }
    }

    /// How many connections a member has on this node.
    pub fn count_here(&self, name: &str) -> u32 {
        let seat = self.seats.get(name);
        seat.map_or(0, MemberSeat::connections_here)
    }

    /// How many it has there.
    pub fn count_at(&self, place: SeatPlace, name: &str) -> u32 {
        let seat = self.seats.get(name);
        let found = seat.and_then(|seat| seat.at.iter().find(|(at, _)| *at == place));
        found.map_or(0, |(_, count)| *count)
    }

    /// Members with connections on this node.
    pub fn here(&self) -> impl Iterator<Item = (&str, u32)> {
        let here = self
            .seats
            .iter()
            .map(|(name, seat)| (&**name, seat.connections_here()));
        here.filter(|(_, count)| *count > 0)
    }

    /// Members with connections on other nodes.
    pub fn elsewhere(&self) -> impl Iterator<Item = &str> {
        let seats = self.seats.iter();
        let there = seats.filter(|(_, seat)| seat.is_elsewhere());
        there.map(|(name, _)| &**name)
    }

    /// Whether it has some there.
    pub fn is_elsewhere(&self, name: &str) -> bool {
        let seat = self.seats.get(name);
        seat.is_some_and(MemberSeat::is_elsewhere)
    }

    /// Who has connections there.
    pub fn names_at(&self, place: SeatPlace) -> Vec<Box<str>> {
        let seats = self.seats.iter();
        let there = seats.filter(|(_, seat)| seat.at.iter().any(|(at, _)| *at == place));
        there.map(|(name, _)| name.clone()).collect()
    }

    /// Whoever is on other nodes alone was there before anybody who is to be told: that is no news.
    pub fn know_of_others(&mut self) {
        for seat in self.seats.values_mut() {
            if !seat.is_told && !seat.at.is_empty() && seat.connections_here() == 0 {
                seat.is_told = true;
                self.told_members += 1;
            }
        }
    }

    /// Those whom the others know of, and for how long each has had no connection.
    pub fn pack(&self, now: Instant) -> impl Iterator<Item = WrittenMember> + '_ {
        let told = self.seats.iter().filter(|(_, seat)| seat.is_told);
        told.map(move |(name, seat)| WrittenMember {
            name: name.clone(),
            left: seat.left.map(|left| now.saturating_duration_since(left)),
        })
    }

    /// The others know of this member from another process, packed at that time. It has no connection here yet: those that it
    /// has are on their way, and if none comes it has left. What is to be looked at when.
    pub fn unpack(
        &mut self,
        packed: Instant,
        member: &WrittenMember,
        grace: Duration,
    ) -> Option<(Instant, PresenceWake)> {
        let left = match member.left {
            Some(ago) => packed.checked_sub(ago).unwrap_or(packed),
            None => packed + COMES_WITHIN,
        };
        let seat = self.seats.entry(member.name.clone()).or_default();
        if seat.is_told {
            return None;
        }
        (seat.left, seat.is_told, seat.is_watched) = (Some(left), true, true);
        self.told_members += 1;
        Some((left + grace, PresenceWake::Gone(member.name.clone())))
    }

    /// Whether nobody has a seat.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GRACE: Duration = Duration::from_secs(3);

    fn told(presence: &mut Presence, now: Instant) -> (Vec<String>, Vec<String>) {
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for piece in presence.tell(now, GRACE) {
            joined.extend(piece.joined.into_iter().map(String::from));
            left.extend(piece.left.into_iter().map(String::from));
        }
        (joined, left)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn who_is_back_in_time_has_not_left() {
        let (mut presence, begin) = (Presence::default(), Instant::now());
        let core = SeatPlace::core(CoreId(0));
        let wake = presence.attend(core, "tom", 1, begin, GRACE);
        assert_eq!(wake, Some((begin, PresenceWake::Tell)));
        assert_eq!(told(&mut presence, begin), (names(&["tom"]), names(&[])));
        let gone = presence.attend(core, "tom", 0, begin, GRACE);
        let watch = PresenceWake::Gone(Box::from("tom"));
        assert_eq!(gone, Some((begin + GRACE, watch.clone())));
        let back = begin + Duration::from_secs(2);
        assert_eq!(
            presence.attend(SeatPlace::core(CoreId(1)), "tom", 2, back, GRACE),
            None
        );
        assert_eq!(presence.look("tom", begin + GRACE, GRACE), None);
        // It leaves for good, after it was back for a moment before the look.
        assert!(
            presence
                .attend(SeatPlace::core(CoreId(1)), "tom", 0, back, GRACE)
                .is_some()
        );
        assert_eq!(presence.attend(core, "tom", 1, back, GRACE), None);
        let later = back + Duration::from_secs(1);
        assert_eq!(presence.attend(core, "tom", 0, later, GRACE), None);
        let again = presence.look("tom", back + GRACE, GRACE);
        assert_eq!(again, Some((later + GRACE, watch)));
        let wake = presence.look("tom", later + GRACE, GRACE);
        assert_eq!(wake, Some((later + GRACE, PresenceWake::Tell)));
        assert_eq!(
            told(&mut presence, later + GRACE),
            (names(&[]), names(&["tom"]))
        );
        assert!(presence.is_empty());
    }

    /// Over an upgrade: nobody is told of who is there still, and all of who is not.
    #[test]
    fn whoever_is_known_is_told_of_no_more_and_no_less_by_another_process() {
        let (mut presence, begin, core) = (
            Presence::default(),
            Instant::now(),
            SeatPlace::core(CoreId(0)),
        );
        for name in ["stays", "leaves", "lost", "returns"] {
            presence.attend(core, name, 1, begin, GRACE);
        }
        assert_eq!(told(&mut presence, begin).0.len(), 4);
        presence.attend(core, "untold", 1, begin, GRACE);
        let left = begin + Duration::from_secs(1);
        presence.attend(core, "leaves", 0, left, GRACE);
        presence.attend(core, "returns", 0, left, GRACE);
        let packed = begin + Duration::from_secs(2);
        let mut fresh = Presence::default();
        let mut wakes: Vec<(Instant, PresenceWake)> = presence
            .pack(packed)
            .filter_map(|member| fresh.unpack(packed, &member, GRACE))
            .collect();
        let page = fresh.page("", 9);
        assert_eq!((page.total, page.members.len(), wakes.len()), (4, 4, 4));
        // Those that have a connection come with it, on whichever core.
        let other = SeatPlace::core(CoreId(3));
        assert_eq!(fresh.attend(other, "stays", 1, packed, GRACE), None);
        assert_eq!(fresh.attend(other, "returns", 1, packed, GRACE), None);
        wakes.extend(fresh.attend(other, "untold", 1, packed, GRACE));
        let (mut joined, mut gone) = (Vec::new(), Vec::new());
        wakes.sort();
        while !wakes.is_empty() {
            let (now, wake) = wakes.remove(0);
            match wake {
                PresenceWake::Gone(name) => wakes.extend(fresh.look(&name, now, GRACE)),
                PresenceWake::Nodes(_) => panic!("there are none"),
                PresenceWake::Tell => {
                    let news = told(&mut fresh, now);
                    joined.extend(news.0.into_iter().map(|name| (name, now)));
                    gone.extend(news.1.into_iter().map(|name| (name, now)));
                }
            }
            wakes.sort();
        }
        assert_eq!(joined, [("untold".to_owned(), packed)]);
        let lost = packed + COMES_WITHIN + GRACE;
        assert_eq!(
            gone,
            [
                ("leaves".to_owned(), left + GRACE),
                ("lost".to_owned(), lost)
            ]
        );
        assert_eq!(fresh.page("", 9).total, 3);
    }

    #[test]
    fn a_burst_is_told_together_and_in_pieces() {
        let (mut presence, begin) = (Presence::default(), Instant::now());
        let mut wakes = 0;
        for number in 0..10_000 {
            let name = format!("member {number:05}");
            let wake = presence.attend(SeatPlace::core(CoreId(0)), &name, 1, begin, GRACE);
            wakes += usize::from(wake.is_some());
        }
        assert_eq!(wakes, 1);
        let pieces = presence.tell(begin, GRACE);
        assert_eq!(
            pieces.iter().map(|piece| piece.joined.len()).sum::<usize>(),
            10_000
        );
        for piece in &pieces {
            let bytes = serde_json::to_string(piece).expect("JSON").len();
            assert!(bytes < 64 << 10, "{bytes}");
        }
        assert!(pieces.len() < 15, "{}", pieces.len());
        let next = presence.attend(SeatPlace::core(CoreId(0)), "one more", 1, begin, GRACE);
        assert_eq!(next, Some((begin + TOLD_EVERY, PresenceWake::Tell)));
        presence.tell(begin + TOLD_EVERY, GRACE);
        assert_eq!(presence.page("", 1).total, 10_001);
        // Page by page, while others come and go.
        let (mut seen, mut after) = (BTreeSet::new(), String::new());
        loop {
            let page = presence.page(&after, 999);
            for (name, connections) in &page.members {
                assert_eq!(*connections, 1);
                assert!(seen.insert(name.to_string()), "{name} twice");
            }
            if !page.is_more {
                break;
            }
            after = page.members.last().expect("some").0.to_string();
            presence.attend(
                SeatPlace::core(CoreId(0)),
                &format!("{after}!"),
                1,
                begin,
                GRACE,
            );
        }
        assert!(seen.len() >= 10_001);
    }

    /// Whoever takes a list and all words behind it knows in the end who is there, and is told nothing twice.
    #[test]
    fn a_list_and_the_words_behind_it_are_one_view() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let grace = Duration::from_millis([0, 150][random.usize(..2)]);
            let (mut presence, mut now) = (Presence::default(), Instant::now());
            let (mut there, mut wakes) = (BTreeSet::new(), Vec::new());
            let mut views: Vec<BTreeSet<String>> = Vec::new();
            for step in 0..120 {
                match random.u8(..4) {
                    _ if step > 100 => now += Duration::from_millis(100),
                    0 | 1 => {
                        let name = format!("m{}", random.u8(..4));
                        let comes = !there.remove(&name) && there.insert(name.clone());
                        let count = u32::from(comes);
                        wakes.extend(presence.attend(
                            SeatPlace::core(CoreId(0)),
                            &name,
                            count,
                            now,
                            grace,
                        ));
                    }
                    2 => {
                        let page = presence.page("", usize::MAX);
                        let names = page.members.iter().map(|(name, _)| name.to_string());
                        views.push(names.collect());
                        assert_eq!(page.total, page.members.len());
                    }
                    _ => now += Duration::from_millis(random.u64(..80)),
                }
                while let Some(at) = wakes.iter().position(|(due, _)| *due <= now) {
                    match wakes.swap_remove(at).1 {
                        PresenceWake::Gone(name) => wakes.extend(presence.look(&name, now, grace)),
                        PresenceWake::Nodes(_) => panic!("there are none"),
                        PresenceWake::Tell => {
                            for piece in presence.tell(now, grace) {
                                for view in &mut views {
                                    let mut left = piece.left.iter();
                                    assert!(left.all(|name| view.remove(&**name)));
                                    let mut joined = piece.joined.iter();
                                    assert!(joined.all(|name| view.insert(name.to_string())));
                                }
                            }
                        }
                    }
                }
            }
            assert!(
                !views.is_empty() && views.iter().all(|view| *view == there),
                "{seed}"
            );
        }
    }

    #[test]
    fn who_comes_and_goes_between_two_words_is_not_told() {
        let (mut presence, begin) = (Presence::default(), Instant::now());
        let none = Duration::ZERO;
        presence.attend(SeatPlace::core(CoreId(0)), "tom", 1, begin, none);
        presence.attend(SeatPlace::core(CoreId(0)), "tom", 0, begin, none);
        assert_eq!(presence.tell(begin, none), []);
        assert_eq!(
            presence.look("tom", begin, none),
            Some((begin, PresenceWake::Tell))
        );
        assert_eq!(presence.tell(begin, none), []);
        assert!(presence.is_empty());
    }
}
