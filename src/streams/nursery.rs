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

use super::position::{Epoch, Position};

/// A time in which streams are born under one epoch of the core: a second, or more.
pub type BirthTurn = u32;

/// See the module. The epochs of a core's turns are consecutive numbers from a random one on, so that none need be
/// remembered.
#[derive(Clone, Copy, Debug)]
pub struct Nursery {
    base: u64,
    current: BirthTurn,
    /// Positions of turns before this one are no good.
    oldest: BirthTurn,
    /// A stream was born in the current turn.
    fertile: bool,
}

impl Nursery {
    pub fn new(random: u64) -> Nursery {
        Nursery {
            base: random % Epoch::COUNT,
            current: 0,
            oldest: 0,
            fertile: false,
        }
    }

    /// The position of every stream that is not born.
    #[inline]
    pub fn position(&self) -> Position {
        Position {
            epoch: Epoch::of(self.base + u64::from(self.current)),
            offset: 0,
        }
    }

    /// The position of whoever has had nothing since the core began.
    pub fn first_position(&self) -> Position {
        Position {
            epoch: Epoch::of(self.base),
            offset: 0,
        }
    }

    /// In which turn a position was told, if it is one of an unborn stream, and still good.
    pub fn turn_of(&self, asked: Position) -> Option<BirthTurn> {
        let since_base = (asked.epoch.number() + Epoch::COUNT - self.base) % Epoch::COUNT;
        let turn = BirthTurn::try_from(since_base).ok()?;
        let good = asked.offset == 0 && (self.oldest..=self.current).contains(&turn);
        good.then_some(turn)
    }

    /// A stream is born: in this turn.
    pub fn birth(&mut self) -> BirthTurn {
        self.fertile = true;
        self.current
    }

    /// A stream is forgotten, of which nothing is remembered from now on.
    pub fn forget(&mut self, born: BirthTurn) {
        self.oldest = self.oldest.max(born + 1);
        if self.current < self.oldest {
            self.current = self.oldest;
            self.fertile = false;
        }
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
