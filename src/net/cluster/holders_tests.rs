//! Nodes that hold a uid, against a model of its channel: whatever comes when, one has it, one is first, and one is last.

use std::collections::{BTreeMap, VecDeque};

use super::holders::*;
use crate::ident::{ConnId, CoreId, NamespaceId};
use crate::protocol::cluster::NodeId;
use crate::protocol::cluster_holds::{HoldHow, HoldOrder};

const NODES: usize = 3;
const UID: &str = "u";
const SPACE: NamespaceId = NamespaceId(0);

#[derive(Clone)]
enum Published {
    Hold(usize, u64, HoldOrder),
    Release(usize, u64, u64),
}

/// What a node waits to hear.
struct ModelAsked {
    of: usize,
    answers: usize,
    holds: bool,
    blocks: bool,
    /// The connection, if it is to be bound then; otherwise whether it has come, or gone.
    binds: Option<ConnId>,
    came: bool,
}

/// Nodes that have one uid, and a channel in which all hear the same in the same order, each when it likes.
struct World {
    policy: HoldHow,
    nodes: Vec<Holders>,
    queues: Vec<VecDeque<Published>>,
    bound: Vec<Vec<ConnId>>,
    asked: BTreeMap<u64, ModelAsked>,
    last: u64,
    firsts: i32,
    lasts: i32,
}

fn whose(connection: ConnId) -> (NamespaceId, CoreId, ConnId) {
    (SPACE, CoreId(0), connection)
}

impl World {
    fn new(policy: HoldHow) -> World {
        World {
            policy,
            nodes: (0..NODES).map(|_| Holders::default()).collect(),
            queues: vec![VecDeque::new(); NODES],
            bound: vec![Vec::new(); NODES],
            asked: BTreeMap::new(),
            last: 0,
            firsts: 0,
            lasts: 0,
        }
    }

    fn ask(&mut self, of: usize, binds: Option<ConnId>, came: bool) -> u64 {
        self.last += 1;
        let asked = ModelAsked {
            of,
            answers: 0,
            holds: false,
            blocks: false,
            binds,
            came,
        };
        self.asked.insert(self.last, asked);
        self.last
    }

    fn hold(&mut self, at: usize, connection: ConnId, number: u64) {
        let hold = OwnHold {
            core: CoreId(0),
            connection,
            namespace: SPACE,
            client: None,
            serial: 0,
            since: 0,
            how: self.policy,
            policy: self.policy,
            again: None,
            stage: HoldStage::Said,
            unsaid: true,
            number,
            release: 0,
            is_release_said: false,
            carries: false,
            is_gone: false,
        };
        self.nodes[at].add(UID, hold);
        self.say(at);
    }

    fn say(&mut self, at: usize) {
        for unsaid in self.nodes[at].take_unsaid(UID) {
            let said = match unsaid {
                Unsaid::Hold(hold) => Published::Hold(at, hold.number, hold.order(UID)),
                Unsaid::Release(hold) => Published::Release(at, hold.serial, hold.release),
            };
            for queue in &mut self.queues {
                queue.push_back(said.clone());
            }
        }
    }

    fn come(&mut self, at: usize) {
        self.last += 1;
        let connection = ConnId::from_bits(self.last);
        let is_first = self.bound[at].is_empty();
        if self.policy == HoldHow::Asks {
            if is_first {
                let number = self.ask(at, Some(connection), true);
                self.hold(at, connection, number);
            }
            return;
        }
        self.bound[at].push(connection);
        let number = match is_first {
            true => self.ask(at, None, true),
            false => 0,
        };
        match self.policy {
            HoldHow::Takes => {
                self.hold(at, connection, number);
                while self.bound[at].len() > 1 {
                    self.go(at, 0);
                }
            }
            _ if is_first => self.hold(at, ConnId::NOBODY, number),
            _ => {}
        }
    }

    fn go(&mut self, at: usize, nth: usize) {
        let connection = match self.policy {
            HoldHow::Shares => ConnId::NOBODY,
            _ => self.bound[at][nth],
        };
        self.bound[at].remove(nth);
        if self.bound[at].is_empty() {
            let number = self.ask(at, None, false);
            assert!(self.nodes[at].release(UID, whose(connection), number));
            self.say(at);
        } else if connection != ConnId::NOBODY {
            assert_eq!(self.nodes[at].remove(UID, whose(connection)), None);
        }
    }

    fn hear(&mut self, at: usize) {
        let Some(said) = self.queues[at].pop_front() else {
            return;
        };
        let (number, holds, blocks) = match said {
            Published::Hold(of, number, order) if of == at => {
                (number, false, self.nodes[at].placed(UID, order.serial))
            }
            Published::Hold(of, number, order) => {
                let ids = (NodeId(of as u64), NodeId(at as u64));
                let verdict = self.nodes[at].judge(SPACE, ids, &order);
                for evicted in verdict.evicted {
                    let nth = self.bound[at]
                        .iter()
                        .position(|it| *it == evicted.connection);
                    if let Some(nth) = nth {
                        self.go(at, nth);
                    }
                }
                (number, verdict.holds, verdict.blocks)
            }
            Published::Release(of, serial, number) => {
                let own = Some(serial).filter(|_| of == at);
                (number, self.nodes[at].released(SPACE, UID, own), false)
            }
        };
        let Some(asked) = self.asked.get_mut(&number) else {
            return;
        };
        asked.answers += 1;
        asked.holds |= holds;
        asked.blocks |= blocks;
        if asked.answers == NODES {
            self.answered(number);
        }
    }

    fn answered(&mut self, number: u64) {
        let Some(asked) = self.asked.remove(&number) else {
            return;
        };
        let unsaid = self.nodes[asked.of].settled(number, asked.blocks, false);
        assert_eq!(unsaid, None);
        if let Some(connection) = asked.binds {
            if asked.blocks {
                return;
            }
            self.bound[asked.of].push(connection);
        }
        if !asked.holds {
            match asked.came {
                true => self.firsts += 1,
                false => self.lasts += 1,
            }
        }
    }

    fn online(&self) -> usize {
        self.bound.iter().map(Vec::len).sum()
    }

    fn settle(&mut self) {
        while self.queues.iter().any(|queue| !queue.is_empty()) {
            (0..NODES).for_each(|at| self.hear(at));
        }
    }
}

/// Whatever comes when: one is first and one is last, and under a policy one has it.
#[test]
fn one_has_it_and_one_is_first_and_last() {
    for seed in 0..600 {
        let policy = [HoldHow::Shares, HoldHow::Asks, HoldHow::Takes][seed as usize % 3];
        let mut random = fastrand::Rng::with_seed(seed);
        let mut world = World::new(policy);
        for _ in 0..300 {
            let at = random.usize(..NODES);
            match random.u32(..8) {
                0 => world.come(at),
                1 if !world.bound[at].is_empty() => {
                    let nth = random.usize(..world.bound[at].len());
                    world.go(at, nth);
                }
                _ => world.hear(at),
            }
            if policy == HoldHow::Asks {
                assert!(world.online() <= 1, "seed {seed}");
            }
            if random.u32(..40) == 0 {
                world.settle();
                let online = world.online();
                assert!(online <= 1 || policy == HoldHow::Shares, "seed {seed}");
                let told = world.firsts - world.lasts;
                assert_eq!(told, i32::from(online > 0), "seed {seed}");
                assert!(world.asked.is_empty(), "seed {seed}");
            }
        }
        // Who asks still may have it then.
        world.settle();
        while world.online() > 0 {
            for at in 0..NODES {
                while !world.bound[at].is_empty() {
                    world.go(at, 0);
                }
            }
            world.settle();
        }
        assert_eq!(world.firsts, world.lasts, "seed {seed}");
        assert!(world.nodes.iter().all(Holders::is_empty), "seed {seed}");
    }
}
