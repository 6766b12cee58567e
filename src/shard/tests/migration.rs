//! Connections that move, in every phase, through their written form or without: beside one that stays.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::ident::{ConnName, CoreId, Reply};
use crate::shard::slot::Marks;

fn again<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let bytes = postcard::to_allocvec(value).expect("it is written");
    postcard::from_bytes(&bytes).expect("it is read back")
}

/// A websocket listener, a text one, one for clients that listen, one for HTTP.
fn shard_with_proofs() -> Shard {
    let config = Config {
        idle_timeout: Duration::from_secs(40),
        ..Config::default()
    };
    let codecs = [Codec::WebSocket, Codec::Text, Codec::Sse, Codec::Http];
    let specs = codecs.map(|codec| ListenerSpec {
        proves: codec != Codec::Http,
        ..spec(codec, 0, 1 << 20)
    });
    Shard::new(&config, Rc::from(specs), 2)
}

/// A connection and the shard that it is in now, whose time began at this tick.
struct Side {
    shard: Shard,
    id: ConnId,
    clock: Tick,
    /// What it was told to be called.
    name: Option<ConnName>,
}

/// Everybody's clock begins elsewhere, on a whole second.
const CLOCKS: [Tick; 3] = [1_000, 70_000, 4_000_000];

impl Side {
    fn new(listener: u16) -> Side {
        let mut shard = shard_with_proofs();
        shard.clock.set_now(CLOCKS[0]);
        let id = match listener {
            3 => shard.insert_http(listener, peer()),
            _ => shard.insert(listener, peer()),
        };
        Side {
            shard,
            id,
            clock: CLOCKS[0],
            name: None,
        }
    }

    /// Somebody is told its name, which is the one that the last was told.
    fn tell_name(&mut self) {
        let name = self.shard.connections.tell_name(self.id);
        assert_eq!(*self.name.get_or_insert(name), name);
    }

    /// So many ticks have passed.
    fn pass(&mut self, passed: Tick) {
        self.shard.clock.set_now(self.clock + passed);
        self.shard.credentials.set_wall(u64::from(passed) * 100);
        self.shard.expire();
        for id in self.shard.endings.take_overdue() {
            self.shard.remove(id);
        }
    }

    fn go(&mut self, passed: Tick, written: bool, clock: Tick) {
        let accepted = self.shard.connections.accepted(self.id);
        let shard_part = self.shard.depart(self.id, None);
        let mut shard_part = shard_part.expect("it may leave");
        self.shard.check();
        assert_eq!(self.shard.leftovers(), 0);
        if written {
            let read: ShardPart = again(&shard_part);
            assert_eq!(read, shard_part);
            assert_eq!(read.check(), Ok(()));
            shard_part = read;
        }
        self.shard = shard_with_proofs();
        // Ids are alike in each of them.
        self.shard.connections.set_core(CoreId((clock % 97) as u16));
        self.clock = clock;
        self.pass(passed);
        self.id = self.shard.arrive(&mut shard_part, 7);
        assert_eq!(self.shard.connections.accepted(self.id), accepted);
    }

    /// All that can be seen of it.
    fn shown(&self) -> String {
        let Side {
            shard, id, clock, ..
        } = self;
        let due = shard.due(*id);
        let due = due.tick().map(|tick| tick - clock);
        let of = shard
            .connections
            .get(*id)
            .and_then(|slot| slot.groups.as_ref());
        let of = of.iter().flat_map(|of| {
            let joined = of.joined.iter().map(|one| shard.groups.wish(*one, *id));
            joined.chain(of.asked.iter().cloned().map(Some))
        });
        let mut groups: Vec<String> = of.map(|one| format!("{one:?}")).collect();
        groups.sort();
        if shard.connections.phase(*id) == Phase::Closing {
            groups.clear();
        }
        let slot = shard.connections.get(*id);
        let attributes = shard.attributes(*id);
        let attributes = attributes.map(|it| it.text().to_owned());
        let slot = slot.map(|slot| {
            let is_told = slot.marks.has(Marks::TOLD);
            let slot = (is_told, slot.paused, slot.window, slot.replies_bytes());
            (slot, self.name.is_some())
        });
        let phase = (
            shard.connections.phase(*id),
            shard.connections.reason(*id),
            shard.connections.exchange(*id),
        );
        // Nobody asks a closing one who it was.
        let names = match shard.connections.phase(*id) {
            Phase::Closing => (None, None),
            _ => (shard.connections.uid(*id), shard.proved(*id)),
        };
        let waiting = waiting(shard, *id);
        format!(
            "{phase:?} {due:?} {slot:?} {names:?} {groups:?} {:?} {}",
            (
                shard.connections.peer(*id),
                shard.connections.entered(*id),
                attributes
            ),
            waiting.escape_ascii()
        )
    }
}

/// One step, which both sides take. The random numbers are alike.
fn step(side: &mut Side, rng: &mut fastrand::Rng, places: &mut Vec<u32>, passed: Tick) {
    let id = side.id;
    let asks_name = passed.is_multiple_of(19) || side.name.is_some();
    if asks_name && side.shard.connections.is_here(id) {
        side.tell_name();
    }
    let shard = &mut side.shard;
    let words = format!("{} said", rng.u16(..));
    let message = Message::Text(&words);
    match rng.u8(..24) {
        0 | 1 => drop(shard.opened(id)),
        2 => shard.prove(id, "u1".into(), u64::from(passed) * 100 + rng.u64(..90_000)),
        3 if shard.connections.phase(id) == Phase::Open => {
            shard.bind(id, "u1");
            for JoinRequest { group, called } in shard.connections.take_wishes(id) {
                shard.join(id, &group, called.as_deref());
            }
        }
        4 => drop(shard.join(id, "g", None)),
        5 => drop(shard.join(id, "h", Some("him"))),
        6 if rng.bool() => drop(shard.enter(id, NamespaceId(1))),
        6 => drop(shard.leave(id, "g")),
        7 => drop(shard.send(id, message)),
        8 => drop(shard.send_to_uid(REACH, "u1", message)),
        9 => drop(shard.send_to_group(REACH, "g", message, false)),
        10 => drop(shard.send_to_group(REACH, "h", message, false)),
        11 => drop(shard.send_to_everybody(REACH, message)),
        12 | 13 if shard.connections.phase(id) != Phase::Closing => {
            places.push(shard.reserve(id).number)
        }
        14 | 15 if !places.is_empty() => {
            let number = places.swap_remove(rng.usize(..places.len()));
            let place = Reply {
                connection: id,
                number,
            };
            shard.fill(place, message);
        }
        16 | 17 => {
            let bytes = waiting(shard, id).len();
            shard.written(id, rng.usize(..=bytes));
        }
        18 => drop(shard.set_paused(id, rng.bool())),
        19 => shard.heard(id, 1),
        20 if passed.is_multiple_of(2) => {
            let patches = [r#"{"a":1}"#, r#"{"a":null}"#, r#"{"b":[2]}"#, "{}"];
            let patch = patches[passed as usize / 2 % patches.len()];
            drop(shard.set_attributes(id, patch, passed.is_multiple_of(3)));
        }
        20 => drop(shard.may_refresh(id)),
        21 if rng.u8(..4) == 0 => {
            let all = [CloseReason::Normal, CloseReason::Kicked, CloseReason::Idle];
            shard.close(id, all[rng.usize(..3)]);
        }
        22 => shard
            .connections
            .agree(id, postcard::from_bytes(&[9]).expect("a window")),
        23 => {
            let at = [Exchange::Arriving, Exchange::Idle, Exchange::Provisional];
            let at = at[rng.usize(..3)];
            shard.set_exchange(id, at);
            // All is answered then: what was reserved is no place any more, and its number may be another's.
            if at == Exchange::Idle && shard.connections.phase(id) == Phase::Http {
                places.clear();
            }
        }
        _ => {}
    }
}

#[test]
fn who_moves_is_as_who_stays() {
    let mut seen = std::collections::HashSet::new();
    let seeds = std::env::var("MIGRATION_SEEDS");
    let seeds = seeds.map_or(1_200, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        let mut rng = fastrand::Rng::with_seed(seed);
        let listener = rng.u16(..4);
        let (mut stays, mut moves) = (Side::new(listener), Side::new(listener));
        let (mut places, mut also, mut passed) = (Vec::new(), Vec::new(), 0);
        for at in 0..120 {
            passed += if rng.bool() { rng.u32(..60) } else { 0 };
            let clock = CLOCKS[rng.usize(..CLOCKS.len())];
            let (moved, written) = (rng.u8(..3) == 0, rng.bool());
            let same = rng.u64(..);
            for (side, places) in [(&mut stays, &mut places), (&mut moves, &mut also)] {
                side.pass(passed);
                let mut rng = fastrand::Rng::with_seed(same);
                step(side, &mut rng, places, passed);
            }
            if stays.shard.connections.phase(stays.id) == Phase::Free {
                break;
            }
            if moved {
                moves.go(passed, written, clock);
            }
            moves.shard.check();
            let context = format!("seed {seed} step {at}");
            assert_eq!(moves.shown(), stays.shown(), "{context}");
            seen.insert(format!("{:?}", moves.shard.connections.phase(moves.id)));
        }
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
}
