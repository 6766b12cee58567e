//! [`GuardedStore`]: whatever is asked of the streams of a core, with a guard around it. A panic there ends one stream, and
//! nothing else.
//!
//! The store is built anew without the stream that was asked for, and asked once more. So whoever comes back to that stream
//! is told of a gap; every other one goes on. If it panics again there is no answer, and the caller says what that means.

use std::time::Instant;

use tracing::error;

use crate::escape::Escaped;
use crate::guard::{Fault, guard};
use crate::streams::{Address, Counters, Epoch, Gap, Position, Recovery, Store};

/// See the module.
pub struct GuardedStore {
    store: Store,
    /// How often it has panicked.
    pub panics: u64,
}

impl GuardedStore {
    pub fn new(store: Store) -> GuardedStore {
        GuardedStore { store, panics: 0 }
    }

    /// Without a guard: for what looks into no stream.
    #[inline]
    pub fn unguarded(&mut self) -> &mut Store {
        &mut self.store
    }

    /// As it is, to be packed.
    pub fn look(&self) -> &Store {
        &self.store
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    pub fn counters(&self) -> Counters {
        self.store.counters()
    }

    /// Asks the store about a stream. `None` if that panics, twice.
    #[inline]
    pub fn ask<R>(&mut self, of: Address<'_>, mut ask: impl FnMut(&mut Store) -> R) -> Option<R> {
        match guard(|| ask(&mut self.store)) {
            Ok(answer) => Some(answer),
            Err(fault) => {
                self.mend(Some(of), &fault);
                let again = guard(|| ask(&mut self.store));
                again.map_err(|fault| self.mend(Some(of), &fault)).ok()
            }
        }
    }

    /// Where a stream ends.
    #[inline]
    pub fn top(&mut self, now: Instant, of: Address<'_>) -> Position {
        let top = self.ask(of, |store| store.top(now, of));
        top.unwrap_or_else(nowhere)
    }

    /// Whether somebody can have all that followed a position.
    pub fn recover(&mut self, now: Instant, of: Address<'_>, asked: Option<Position>) -> Recovery {
        let answer = self.ask(of, |store| store.recover(now, of, asked));
        answer.unwrap_or_else(|| Recovery::Gap(unknown(asked)))
    }

    /// Whether somebody can have all of it, who has had nothing of it.
    pub fn recover_all(&mut self, now: Instant, of: Address<'_>) -> Recovery {
        let answer = self.ask(of, |store| store.recover_all(now, of));
        answer.unwrap_or_else(|| Recovery::Gap(unknown(None)))
    }

    /// Up to which offset a uid's messages were delivered.
    pub fn delivered(&mut self, of: Address<'_>) -> u64 {
        self.ask(of, |store| store.delivered(of)).unwrap_or(0)
    }

    /// Lets go of what is over by now, so much at most.
    pub fn let_go(&mut self, now: Instant, most: usize) {
        if let Err(fault) = guard(|| self.store.advance(now, most)) {
            self.mend(None, &fault);
            // Whose fault it is cannot be said, so that none could be left out.
            if let Err(fault) = guard(|| self.store.advance(now, most)) {
                self.begin_anew(&fault);
            }
        }
    }

    #[cold]
    fn mend(&mut self, of: Option<Address<'_>>, fault: &Fault) {
        self.panics += 1;
        match of {
            Some(of) => {
                error!(kind = %of.kind, name = %Escaped(of.name), %fault, "a stream panicked, and is forgotten: who comes back to it is told of a gap");
            }
            None => error!(%fault, "the streams of a core panicked; their messages are kept"),
        }
        match guard(|| self.store.salvaged(of)) {
            Ok(store) => self.store = store,
            Err(fault) => self.begin_anew(&fault),
        }
    }

    #[cold]
    fn begin_anew(&mut self, fault: &Fault) {
        self.panics += 1;
        error!(%fault, "the streams of a core panicked, and are forgotten: who comes back is told of a gap");
        self.store = self.store.begun_anew();
    }
}

/// The top of a stream that cannot be asked for: of a life that none has.
fn nowhere() -> Position {
    Position {
        epoch: Epoch::of(fastrand::u64(..)),
        offset: 0,
    }
}

/// What is said of a stream that cannot be asked for it.
pub fn unknown(asked: Option<Position>) -> Gap {
    Gap {
        asked,
        first: None,
        top: nowhere(),
    }
}
