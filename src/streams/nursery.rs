//! The positions of streams that are not born yet: [`Nursery`].
//!
//! Any name may be asked for, so a stream without messages has no memory. Its position is offset 0 of the core's own
//! epoch, and whoever holds that may come back when the stream was born, or was born and wholly forgotten again. So the
//! core's epoch moves on, a *turn* at a time, and a stream remembers in which turn it was born.
//!
//! The rule: *a position of turn `t` is good unless a stream born in turn `t` or later has been forgotten.*
//!
//! Why it is right: who holds turn `t` was told it while the stream was unborn. Had it missed messages that nobody
//! remembers, a life of that stream began in `t` or later, for births are in the turn of the moment, and was forgotten,
//! which makes `t` no good. So if `t` is good and the stream lives, this is its first life since, and all its messages
//! follow: offset 0 of the stream's own epoch. If `t` is good and there is no stream, nothing was missed.
//!
//! Why it is seldom wrong the other way: a stream is forgotten long after its last message. So only those who have held
//! their position for that long are told of a gap that they may not have; and fewer, the shorter a turn is.
//!
//! Where the server was upgraded, streams have come from the cores of the process before, with other turns. Those of all its
//! cores lie before the first turn here, each core's by itself ([`PastTurns`]): a stream that was born there says nothing of
//! those that were at home on another core. So there the rule holds within each. Bound: [`PAST_MAX`] of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::position::{Epoch, Position};

/// A time in which streams are born under one epoch of the core: a second, or more.
pub type BirthTurn = u32;

/// Cores of earlier processes whose turns are known. Of more those of the earliest process go, which is a gap to who holds one.
const PAST_MAX: usize = 4_096;

/// See the module. The epochs of a core's turns are consecutive numbers from a random one on, so that none need be
/// remembered.
#[derive(Clone, Debug)]
pub struct Nursery {
    /// The epoch of the first turn here.
    base: u64,
    first: BirthTurn,
    current: BirthTurn,
    /// Positions of turns here that are before this one are no good.
    oldest: BirthTurn,
    /// A stream was born in the current turn.
    fertile: bool,
    /// Processes there have been before.
    generation: u32,
    /// In the order of their turns.
    past: Vec<PastCore>,
    /// Something is forgotten of turns that are known no more.
    has_forgotten: bool,
}

/// The turns of one core of an earlier process, as they are counted here.
#[derive(Clone, Copy, Debug)]
struct PastCore {
    first: BirthTurn,
    /// Positions before this one are no good.
    oldest: BirthTurn,
    turns: PastTurns,
}

/// The turns of one core of an earlier process that were good when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PastTurns {
    /// Of the first of them.
    pub epoch: Epoch,
    pub count: u32,
    /// How many processes there had been before.
    pub generation: u32,
    /// No stream that was born there has been forgotten.
    pub is_whole: bool,
}

impl PastCore {
    fn holds(&self, turn: BirthTurn) -> bool {
        (self.first..self.first + self.turns.count).contains(&turn)
    }

    fn is_whole(&self) -> bool {
        self.turns.is_whole && self.oldest == self.first
    }
}

/// How far an epoch lies behind another one.
fn distance(from: u64, to: Epoch) -> Option<BirthTurn> {
    let distance = (to.number() + Epoch::COUNT - from) % Epoch::COUNT;
    BirthTurn::try_from(distance).ok()
}

impl Nursery {
    pub fn new(random: u64) -> Nursery {
        Nursery {
            base: random % Epoch::COUNT,
            first: 0,
            current: 0,
            oldest: 0,
            fertile: false,
            generation: 0,
            past: Vec::new(),
            has_forgotten: false,
        }
    }

    /// The position of every stream that is not born.
    #[inline]
    pub fn position(&self) -> Position {
        Position {
            epoch: self.epoch_of(self.current),
            offset: 0,
        }
    }

    fn epoch_of(&self, turn: BirthTurn) -> Epoch {
        Epoch::of(self.base + u64::from(turn - self.first))
    }

    /// In which turn a position was told, if it is one of an unborn stream, and still good.
    pub fn turn_of(&self, asked: Position) -> Option<BirthTurn> {
        if asked.offset != 0 {
            return None;
        }
        let (turn, oldest) = self.turn_of_epoch(asked.epoch)?;
        (turn >= oldest).then_some(turn)
    }

    /// The turn of an epoch, and the first good one where that is.
    fn turn_of_epoch(&self, epoch: Epoch) -> Option<(BirthTurn, BirthTurn)> {
        if let Some(since) = distance(self.base, epoch)
            && since <= self.current - self.first
        {
            return Some((self.first + since, self.oldest));
        }
        self.past.iter().find_map(|past| {
            let since = distance(past.turns.epoch.number(), epoch)?;
            (since < past.turns.count).then_some((past.first + since, past.oldest))
        })
    }

    /// Whether a stream that was born in that turn was not there yet in this one, for all that is known.
    pub fn precedes(&self, turn: BirthTurn, born: BirthTurn) -> bool {
        let place = |turn| match turn >= self.first {
            true => Some((self.generation, self.past.len())),
            false => {
                let at = self.past.iter().position(|past| past.holds(turn))?;
                Some((self.past[at].turns.generation, at))
            }
        };
        match (place(turn), place(born)) {
            (Some((_, of_turn)), Some((_, of_birth))) if of_turn == of_birth => turn <= born,
            (Some((of_turn, _)), Some((of_birth, _))) => of_turn < of_birth,
            _ => false,
        }
    }

    /// Whether nothing was forgotten that somebody can have missed who has had nothing since the first process began: of a
    /// stream that was born in this turn, or of one that is not born.
    pub fn has_all(&self, born: Option<BirthTurn>) -> bool {
        let here = self.past.len();
        let place = match born.filter(|born| *born < self.first) {
            None => here,
            Some(born) => match self.past.iter().position(|past| past.holds(born)) {
                Some(at) => at,
                None => return false,
            },
        };
        if self.has_forgotten || place == here && self.oldest > self.first {
            return false;
        }
        let generation = match self.past.get(place) {
            Some(past) if !past.is_whole() => return false,
            Some(past) => past.turns.generation,
            None => self.generation,
        };
        let mut earlier = self.past.iter();
        earlier.all(|past| past.turns.generation >= generation || past.is_whole())
    }

    /// A stream is born: in this turn.
    pub fn birth(&mut self) -> BirthTurn {
        self.fertile = true;
        self.current
    }

    /// A stream is forgotten, of which nothing is remembered from now on.
    pub fn forget(&mut self, born: BirthTurn) {
        let generation = if born >= self.first {
            self.oldest = self.oldest.max(born + 1);
            if self.current < self.oldest {
                self.current = self.oldest;
                self.fertile = false;
            }
            self.generation
        } else if let Some(past) = self.past.iter_mut().find(|past| past.holds(born)) {
            past.oldest = past.oldest.max(born + 1);
            past.turns.generation
        } else {
            // It was born before all turns that are good.
            return;
        };
        if !self.past.is_empty() {
            self.forget_past(|past| past.turns.generation >= generation);
        }
    }

    fn forget_past(&mut self, stays: impl Fn(&PastCore) -> bool) {
        let before = self.past.len();
        self.past.retain(stays);
        self.has_forgotten |= self.past.len() < before;
    }

    /// A stream may be forgotten, of which it is not known when it was born.
    pub fn forget_unborn(&mut self) {
        self.forget(self.current);
    }

    /// Some time has passed: streams born from now on do no harm to positions told until now.
    pub fn go_on(&mut self) {
        if std::mem::take(&mut self.fertile) {
            self.current += 1;
        }
    }
}

/// What a core knows of turns: its own, and those of the cores of earlier processes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KnownTurns {
    pub own: PastTurns,
    pub past: Vec<PastTurns>,
    /// Something is forgotten of others, which are known no more.
    pub has_forgotten: bool,
}

/// Over an upgrade.
impl Nursery {
    /// The turns that are good.
    pub fn turns(&self) -> KnownTurns {
        let own = PastTurns {
            epoch: self.epoch_of(self.oldest),
            count: self.current - self.oldest + 1,
            generation: self.generation,
            is_whole: self.oldest == self.first,
        };
        let good = self.past.iter().filter_map(|past| {
            let passed = past.oldest - past.first;
            let count = past.turns.count.checked_sub(passed)?;
            (count > 0).then(|| PastTurns {
                epoch: Epoch::of(past.turns.epoch.number() + u64::from(passed)),
                count,
                is_whole: past.is_whole(),
                ..past.turns
            })
        });
        let past: Vec<PastTurns> = good.collect();
        KnownTurns {
            own,
            has_forgotten: self.has_forgotten || past.len() < self.past.len(),
            past,
        }
    }

    /// The position that was told of a stream before it was born, where that is good.
    pub fn epoch_of_birth(&self, born: BirthTurn) -> Option<Epoch> {
        if born >= self.first {
            return (born >= self.oldest).then(|| self.epoch_of(born));
        }
        let past = self.past.iter().find(|past| past.holds(born))?;
        let since = u64::from(born - past.first);
        (born >= past.oldest).then(|| Epoch::of(past.turns.epoch.number() + since))
    }

    /// The turn of a birth by that; one before all that are good, if it is not known.
    pub fn birth_by(&self, epoch: Option<Epoch>) -> BirthTurn {
        let turn = epoch.and_then(|epoch| self.turn_of_epoch(epoch));
        turn.map_or(0, |(turn, _)| turn)
    }

    /// Begins anew behind the turns of the process before, by what each of its cores has known. Nothing was told here yet.
    /// What one of them has found to be no good is no good.
    pub fn follow_on(&mut self, cores: &[KnownTurns]) {
        let mut known: Vec<PastTurns> = Vec::new();
        // Those of earlier processes were known to all, and each has gone on with them by itself.
        let mut shared: BTreeMap<(u32, u64), (PastTurns, usize)> = BTreeMap::new();
        for core in cores {
            self.has_forgotten |= core.has_forgotten;
            for turns in &core.past {
                // Turns go from their beginning.
                let end = (turns.epoch.number() + u64::from(turns.count)) % Epoch::COUNT;
                let entry = shared.entry((turns.generation, end));
                let (common, knowing) = entry.or_insert((*turns, 0));
                let is_whole = common.is_whole && turns.is_whole;
                if turns.count < common.count {
                    *common = *turns;
                }
                common.is_whole = is_whole;
                *knowing += 1;
            }
        }
        for (turns, knowing) in shared.into_values() {
            match knowing == cores.len() {
                true => known.push(turns),
                false => self.has_forgotten = true,
            }
        }
        known.extend(cores.iter().map(|core| core.own));
        known.sort_by_key(|turns| turns.generation);
        if let Some(more) = known.len().checked_sub(PAST_MAX).filter(|more| *more > 0) {
            known.drain(..more);
            self.has_forgotten = true;
        }
        let last = known.last().map(|turns| turns.generation);
        self.generation = last.map_or(0, |last| last.saturating_add(1));
        self.count_behind(&known);
    }

    /// Counts these turns from 1 on, and its own behind them: 0 is before all that are good.
    fn count_behind(&mut self, known: &[PastTurns]) {
        let all: u64 = known.iter().map(|turns| u64::from(turns.count)).sum();
        self.past.clear();
        let mut next: BirthTurn = 1;
        // Most numbers are for turns to come. Who holds one of so many is told of a gap.
        if all > u64::from(BirthTurn::MAX / 4) {
            self.has_forgotten = true;
        } else {
            for turns in known {
                self.past.push(PastCore {
                    first: next,
                    oldest: next,
                    turns: *turns,
                });
                next += turns.count;
            }
        }
        (self.first, self.current, self.oldest) = (next, next, next);
        self.fertile = false;
    }
}
