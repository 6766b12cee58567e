//! What the homes of a group on the nodes of a cluster know of each other, of whose words some are lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::app::presence::{NodesWake, Presence, PresenceWake, SeatPlace};
use crate::app::roster::{GroupRoster, Seating, Wakes};
use crate::ident::CoreId;
use crate::protocol::cluster::NodeId;
use crate::protocol::cluster_roster::{RosterState, RosterWords};

const NODES: usize = 3;
const EVERY: Duration = Duration::from_millis(100);

struct Home {
    presence: Presence,
    roster: GroupRoster,
    inbox: VecDeque<(usize, RosterWords)>,
    here: BTreeMap<String, u32>,
}

/// Homes of one group, and what is under way between them, of which some is lost.
struct World {
    homes: Vec<Home>,
    now: Instant,
    random: fastrand::Rng,
    lossy: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let homes = (0..NODES).map(|_| World::home(&BTreeMap::new(), Instant::now()));
        World {
            homes: homes.collect(),
            now: Instant::now(),
            random: fastrand::Rng::with_seed(seed),
            lossy: true,
        }
    }

    fn home(here: &BTreeMap<String, u32>, now: Instant) -> Home {
        let mut presence = Presence::default();
        let mut roster = GroupRoster::new(fastrand::u64(1..));
        for (name, count) in here {
            presence.attend(
                SeatPlace::core(CoreId(0)),
                name,
                *count,
                now,
                Duration::ZERO,
            );
            roster.change(name, (0, *count), (now, EVERY));
        }
        Home {
            presence,
            roster,
            inbox: VecDeque::new(),
            here: here.clone(),
        }
    }

    fn say(&mut self, from: usize, to: Option<usize>, words: RosterWords) {
        for at in (0..NODES).filter(|at| *at != from && to.is_none_or(|to| to == *at)) {
            if !self.lossy || self.random.u8(..8) > 0 {
                self.homes[at].inbox.push_back((from, words.clone()));
            }
        }
    }

    fn tell(&mut self, at: usize) -> RosterState {
        let home = &mut self.homes[at];
        let words = home.roster.tell(&home.presence, self.now);
        let state = home.roster.state();
        for words in words {
            self.say(at, None, words);
        }
        state
    }

    fn ask(&mut self, at: usize, node: Option<usize>) {
        let state = self.tell(at);
        if node.is_none() {
            self.homes[at].roster.ask(1);
        }
        self.say(at, node, RosterWords::Ask(state));
    }

    fn deliver(&mut self, at: usize) {
        let Some((from, words)) = self.homes[at].inbox.pop_front() else {
            return;
        };
        if let RosterWords::Ask(_) = words {
            self.tell(at);
            let list = self.homes[at].roster.list(&self.homes[at].presence);
            for words in list {
                self.say(at, Some(from), words);
            }
        }
        let Home {
            presence, roster, ..
        } = &mut self.homes[at];
        let mut wakes = Vec::new();
        let mut seating = Seating {
            presence,
            now: self.now,
            grace: Duration::ZERO,
            wakes: &mut wakes,
            has_moved: false,
        };
        let node = NodeId(from as u64);
        let is_missing = match words {
            RosterWords::Ask(state) | RosterWords::Check(state) => {
                !roster.compare(node, &state, &mut seating)
            }
            RosterWords::Told {
                life,
                serial,
                members,
            } => roster.take_told(node, (life, serial), members, &mut seating),
            RosterWords::List {
                life,
                serial,
                first,
                last,
                members,
            } => {
                let state = RosterState {
                    life,
                    serial,
                    ..RosterState::default()
                };
                roster.take_list(node, state, (first, last), members, &mut seating)
            }
            RosterWords::Ended => {
                roster.forget(node, &mut seating);
                false
            }
        };
        self.look_at(at, wakes);
        if is_missing {
            self.ask(at, Some(from));
        }
    }

    /// What is stale is cleared at once, or late.
    fn look_at(&mut self, at: usize, wakes: Wakes) {
        let later = self.now + Duration::from_secs(10);
        for (_, wake) in wakes {
            let home = &mut self.homes[at];
            match wake {
                PresenceWake::Nodes(NodesWake::Stale(number)) => {
                    let mut more = Vec::new();
                    let mut seating = Seating {
                        presence: &mut home.presence,
                        now: later,
                        grace: Duration::ZERO,
                        wakes: &mut more,
                        has_moved: false,
                    };
                    home.roster.clear_stale(number, &mut seating);
                }
                PresenceWake::Gone(name) => {
                    home.presence.look(&name, later, Duration::ZERO);
                }
                _ => {}
            }
        }
    }

    fn step(&mut self) {
        let at = self.random.usize(..NODES);
        self.now += Duration::from_millis(self.random.u64(..50));
        match self.random.u8(..20) {
            0..8 => {
                let name = format!("m{}", self.random.u8(..9));
                let count = self.random.u32(..3);
                let home = &mut self.homes[at];
                let before = home.presence.count_here(&name);
                let place = SeatPlace::core(CoreId(0));
                home.presence
                    .attend(place, &name, count, self.now, Duration::ZERO);
                home.here.insert(name.clone(), count);
                home.here.retain(|_, count| *count > 0);
                home.roster
                    .change(&name, (before, count), (self.now, EVERY));
            }
            8..12 => drop(self.tell(at)),
            // Its process is replaced by another.
            12 if self.random.bool() => {
                let here = self.homes[at].here.clone();
                self.homes[at] = World::home(&here, self.now);
                self.ask(at, None);
            }
            13 => self.ask(at, None),
            14 => {
                let silent = NodeId(self.random.u64(..NODES as u64));
                self.homes[at].roster.list_failed(silent);
            }
            _ => self.deliver(at),
        }
    }

    fn settle(&mut self) {
        self.lossy = false;
        for _ in 0..3 {
            for at in 0..NODES {
                self.homes[at].roster.be_partial();
                let state = self.tell(at);
                self.say(at, None, RosterWords::Check(state));
            }
            while (0..NODES).any(|at| !self.homes[at].inbox.is_empty()) {
                (0..NODES).for_each(|at| self.deliver(at));
            }
        }
    }
}

#[test]
fn in_the_end_each_knows_what_the_others_have_whatever_was_lost() {
    for seed in 0..500 {
        let mut world = World::new(seed);
        for _ in 0..200 {
            world.step();
        }
        world.settle();
        let mut wanted: BTreeMap<String, u32> = BTreeMap::new();
        for home in &world.homes {
            for (name, count) in &home.here {
                *wanted.entry(name.clone()).or_default() += count;
            }
        }
        for (at, home) in world.homes.iter_mut().enumerate() {
            let news = home.presence.tell(world.now, Duration::ZERO);
            drop(news);
            let page = home.presence.page("", usize::MAX);
            let found = page.members.into_iter().filter(|(_, count)| *count > 0);
            let found: BTreeMap<String, u32> =
                found.map(|(name, count)| (name.into(), count)).collect();
            assert_eq!(found, wanted, "seed {seed}, node {at}");
        }
    }
}

#[test]
fn a_long_list_comes_in_pieces_and_who_says_nothing_is_not_there() {
    let now = Instant::now();
    let here = (0..5_000).map(|number| (format!("member {number:05}"), 1));
    let mut one = World::home(&here.collect(), now);
    let mut other = World::home(&BTreeMap::new(), now);
    let told = one.roster.tell(&one.presence, now);
    assert!(told.len() > 1 && one.roster.state().serial == told.len() as u64);
    let list = one.roster.list(&one.presence);
    assert!(list.len() > 1 && list.iter().all(|words| words.bytes() <= 32 << 10));
    other.roster.ask(7);
    let mut wakes = Vec::new();
    let mut seating = Seating {
        presence: &mut other.presence,
        now,
        grace: Duration::ZERO,
        wakes: &mut wakes,
        has_moved: false,
    };
    for words in list {
        let RosterWords::List {
            life,
            serial,
            first,
            last,
            members,
        } = words
        else {
            panic!("{words:?}");
        };
        let state = RosterState {
            life,
            serial,
            ..RosterState::default()
        };
        let node = NodeId(1);
        other
            .roster
            .take_list(node, state, (first, last), members, &mut seating);
    }
    assert!(other.roster.asked(7, true, &mut seating) && other.roster.is_whole());
    assert!(
        other
            .roster
            .compare(NodeId(1), &one.roster.state(), &mut seating)
    );
    assert_eq!(seating.presence.names_at(SeatPlace::node(0)).len(), 5_000);
    // Asked again it does not answer, and all that are there have.
    other.roster.ask(8);
    assert!(!other.roster.asked(7, true, &mut seating));
    assert!(other.roster.asked(8, true, &mut seating));
    assert!(seating.presence.names_at(SeatPlace::node(0)).is_empty());
}
