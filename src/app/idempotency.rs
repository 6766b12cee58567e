//! Which requests with an id of their own have been carried out of late, at the home core of each id: [`IdempotencyTable`].
//!
//! A back end that has got no answer asks again with the same id, of any core, and this is where both requests
//! meet: the first is carried out, the second gets its answer, while the first is still under way, too. Bounds:
//! `idempotency_ids_max` ids, each forgotten `idempotency_window` after it came, and [`ANSWER_BYTES_MAX`] of answers;
//! what would pass them is refused, for an id forgotten early is a message twice.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use crate::handover::WrittenAnswer;
use crate::ident::CoreId;

/// What answers are kept of all ids of a core.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Of an id, or of what a request asks for: so long that no two are alike.
pub type Digest = [u8; 16];

/// Who waits: a core and its call.
type Waiter = (CoreId, u64);

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It is to be carried out, and settled then.
    Fresh,
    /// It was, with this answer.
    Done(Arc<str>),
    /// As fresh, on this node alone: nobody knows of others.
    FreshHere,
    /// It is being carried out.
    UnderWay,
    /// By another node.
    Elsewhere,
    /// It was by another one, which has ended before it was done.
    Lost,
    /// The id is that of a request for something else.
    Conflict,
    /// No more ids can be kept.
    Full,
}

enum IdState {
    UnderWay(Vec<Waiter>),
    Done(Arc<str>),
}

struct IdEntry {
    wanted: Digest,
    since: Instant,
    state: IdState,
}

/// See the module.
pub struct IdempotencyTable {
    window: Duration,
    ids_max: usize,
    entries: AHashMap<Digest, IdEntry>,
    /// In the order in which they came.
    order: VecDeque<(Instant, Digest)>,
    answer_bytes: usize,
}

impl IdempotencyTable {
    pub fn new(window: Duration, ids_max: usize) -> IdempotencyTable {
        IdempotencyTable {
            window,
            ids_max,
            entries: AHashMap::new(),
            order: VecDeque::new(),
            answer_bytes: 0,
        }
    }

    /// Goes on with other bounds; those that are kept beyond them go as their time is over.
    pub fn renew(&mut self, window: Duration, ids_max: usize) {
        self.window = window;
        self.ids_max = ids_max;
    }

    /// For how long an id is known.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// What a request with this id asks for, if it is being carried out.
    pub fn wanted(&self, id: Digest) -> Option<Digest> {
        let entry = self.entries.get(&id)?;
        matches!(entry.state, IdState::UnderWay(_)).then_some(entry.wanted)
    }

    /// A request with this id has come.
    pub fn claim(&mut self, now: Instant, id: Digest, wanted: Digest) -> Claim {
        self.forget(now);
        if let Some(entry) = self.entries.get(&id) {
            return match &entry.state {
                _ if entry.wanted != wanted => Claim::Conflict,
                IdState::UnderWay(_) => Claim::UnderWay,
                IdState::Done(answer) => Claim::Done(Arc::clone(answer)),
            };
        }
        if self.order.len() >= self.ids_max || self.answer_bytes >= ANSWER_BYTES_MAX {
            return Claim::Full;
        }
        let state = IdState::UnderWay(Vec::new());
        let since = now;
        let entry = IdEntry {
            wanted,
            since,
            state,
        };
        self.entries.insert(id, entry);
        self.order.push_back((now, id));
        Claim::Fresh
    }

    /// Claims an id, but where one is under way, its outcome is waited for: `None`, and [`IdempotencyTable::settle`] tells.
    pub fn wait(
        &mut self,
        now: Instant,
        id: Digest,
        wanted: Digest,
        waiter: Waiter,
    ) -> Option<Claim> {
        let claim = self.claim(now, id, wanted);
        if claim == Claim::UnderWay
            && let Some(IdEntry {
                state: IdState::UnderWay(waiters),
                ..
            }) = self.entries.get_mut(&id)
        {
            waiters.push(waiter);
            return None;
        }
        Some(claim)
    }

    /// A request is done, or was given up: then the first that waits is to carry it out. Returns who is to be told
    /// what.
    pub fn settle(&mut self, id: Digest, answer: Option<Box<str>>) -> Vec<(Waiter, Claim)> {
        let Some(entry) = self.entries.get_mut(&id) else {
            return Vec::new();
        };
        let IdState::UnderWay(waiters) = &mut entry.state else {
            return Vec::new();
        };
        match answer {
            Some(answer) => {
                let answer: Arc<str> = Arc::from(answer);
                let told = std::mem::take(waiters).into_iter();
                let told = told.map(|waiter| (waiter, Claim::Done(Arc::clone(&answer))));
                let told = told.collect();
                self.answer_bytes += answer.len();
                entry.state = IdState::Done(answer);
                told
            }
            None if waiters.is_empty() => {
                // Its place in the order stays until its time is over.
                self.entries.remove(&id);
                Vec::new()
            }
            None => vec![(waiters.remove(0), Claim::Fresh)],
        }
    }

    /// Gives out the requests that were carried out, at this time. Of those under way nobody knows the answer yet.
    pub fn pack(&self, now: Instant, out: &mut dyn FnMut(WrittenAnswer)) {
        for (id, entry) in &self.entries {
            if let IdState::Done(answer) = &entry.state {
                out(WrittenAnswer {
                    id: home_text(id).into(),
                    wanted: entry.wanted,
                    ago: now.saturating_duration_since(entry.since),
                    answer: Box::from(&**answer),
                });
            }
        }
    }

    /// Whether one is being carried out.
    pub fn is_under_way(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| matches!(entry.state, IdState::UnderWay(_)))
    }

    /// Takes in one that another process has carried out, packed at that time; however many there are.
    pub fn unpack(&mut self, packed: Instant, one: WrittenAnswer) {
        let (id, since) = (one.digest(), packed.checked_sub(one.ago).unwrap_or(packed));
        self.answer_bytes += one.answer.len();
        let entry = IdEntry {
            wanted: one.wanted,
            since,
            state: IdState::Done(Arc::from(one.answer)),
        };
        if let Some(IdEntry {
            state: IdState::Done(answer),
            ..
        }) = self.entries.insert(id, entry)
        {
            self.answer_bytes -= answer.len();
        }
        self.order.push_back((since, id));
    }

    /// All of them have come.
    pub fn unpacked(&mut self) {
        self.order.make_contiguous().sort();
    }

    /// Forgets those whose time is over. One that is still under way is kept for as long again.
    fn forget(&mut self, now: Instant) {
        while let Some((since, id)) = self.order.front().copied() {
            if now.saturating_duration_since(since) < self.window {
                return;
            }
            self.order.pop_front();
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            if entry.since != since {
                continue;
            }
            match &entry.state {
                IdState::UnderWay(_) => {
                    entry.since = now;
                    self.order.push_back((now, id));
                }
                IdState::Done(answer) => {
                    self.answer_bytes -= answer.len();
                    self.entries.remove(&id);
                }
            }
        }
        if self.order.is_empty() {
            self.order = VecDeque::new();
            self.entries = AHashMap::new();
        }
    }
}

/// By which name the home of an id is found: all that is kept of the id is its digest, for a process with another route, too.
pub fn home_text(id: &Digest) -> String {
    let digits = id.iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(120);
    const WANTED: Digest = [7; 16];

    fn id(number: u64) -> Digest {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        id
    }

    fn done(answer: &str) -> Claim {
        Claim::Done(Arc::from(answer))
    }

    #[test]
    fn the_second_gets_the_firsts_answer_until_the_window_is_over() {
        let mut table = IdempotencyTable::new(WINDOW, 10);
        let start = Instant::now();
        assert_eq!(table.claim(start, id(1), WANTED), Claim::Fresh);
        assert_eq!(table.claim(start, id(1), WANTED), Claim::UnderWay);
        assert_eq!(table.claim(start, id(1), [8; 16]), Claim::Conflict);
        assert!(table.settle(id(1), Some("x".into())).is_empty());
        let nearly = start + WINDOW - Duration::from_nanos(1);
        assert_eq!(table.claim(nearly, id(1), WANTED), done("x"));
        assert_eq!(table.claim(nearly, id(1), [8; 16]), Claim::Conflict);
        assert_eq!(table.claim(start + WINDOW, id(1), [8; 16]), Claim::Fresh);
        // A second end of the same changes nothing.
        table.settle(id(1), Some("y".into()));
        assert!(table.settle(id(1), Some("z".into())).is_empty());
        assert_eq!(table.claim(start + WINDOW, id(1), [8; 16]), done("y"));
        table.claim(start + 3 * WINDOW, id(2), WANTED);
        assert_eq!((table.answer_bytes, table.entries.len()), (0, 1));
    }

    #[test]
    fn whoever_waits_is_told_once() {
        let mut table = IdempotencyTable::new(WINDOW, 10);
        let now = Instant::now();
        let (one, two) = ((CoreId(0), 1), (CoreId(1), 1));
        assert_eq!(table.wait(now, id(1), WANTED, one), Some(Claim::Fresh));
        assert_eq!(table.wait(now, id(1), WANTED, one), None);
        assert_eq!(table.wait(now, id(1), WANTED, two), None);
        assert_eq!(table.wait(now, id(1), [8; 16], two), Some(Claim::Conflict));
        // The first gives up: one of them takes its place, the other goes on waiting.
        assert_eq!(table.settle(id(1), None), [(one, Claim::Fresh)]);
        assert_eq!(table.claim(now, id(1), WANTED), Claim::UnderWay);
        assert_eq!(table.settle(id(1), Some("x".into())), [(two, done("x"))]);
        assert_eq!(table.wait(now, id(1), WANTED, one), Some(done("x")));
        // Nobody is left to take its place.
        assert_eq!(table.claim(now, id(2), WANTED), Claim::Fresh);
        assert!(table.settle(id(2), None).is_empty());
        assert_eq!(table.claim(now, id(2), WANTED), Claim::Fresh);
    }

    #[test]
    fn one_id_too_many_is_refused_and_the_others_stay() {
        const MOST: u64 = 5;
        let mut table = IdempotencyTable::new(WINDOW, MOST as usize);
        let start = Instant::now();
        let at = |number: u64| start + Duration::from_secs(number);
        for number in 0..MOST {
            assert_eq!(table.claim(at(number), id(number), WANTED), Claim::Fresh);
            table.settle(id(number), Some("x".into()));
        }
        assert_eq!(table.claim(at(MOST), id(MOST), WANTED), Claim::Full);
        for number in 0..MOST {
            assert_eq!(table.claim(at(MOST), id(number), WANTED), done("x"));
        }
        // The first one's time is over: there is room for one.
        let later = start + WINDOW;
        assert_eq!(table.claim(later, id(MOST), WANTED), Claim::Fresh);
        assert_eq!(table.claim(later, id(0), WANTED), Claim::Full);
        assert_eq!(table.entries.len(), MOST as usize);
    }

    #[test]
    fn answers_are_bounded_together() {
        let mut table = IdempotencyTable::new(WINDOW, 100);
        let now = Instant::now();
        let half: Box<str> = "x".repeat(ANSWER_BYTES_MAX / 2).into();
        for number in 0..2 {
            assert_eq!(table.claim(now, id(number), WANTED), Claim::Fresh);
            table.settle(id(number), Some(half.clone()));
        }
        assert_eq!(table.claim(now, id(2), WANTED), Claim::Full);
        assert_eq!(table.claim(now + WINDOW, id(2), WANTED), Claim::Fresh);
        assert_eq!(table.answer_bytes, 0);
    }

    /// What several tables have, in another one.
    #[test]
    fn first_answers_go_along_with_their_ages() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut tables = [0, 1].map(|_| IdempotencyTable::new(WINDOW, 10));
        for number in 0..10 {
            let table = &mut tables[number as usize % 2];
            assert_eq!(table.claim(at(number), id(number), WANTED), Claim::Fresh);
            // The last is under way.
            if number < 9 {
                table.settle(id(number), Some(number.to_string().into()));
            }
        }
        assert!(!tables[0].is_under_way() && tables[1].is_under_way());
        let packed = at(20);
        let mut fresh = IdempotencyTable::new(WINDOW, 4);
        for table in &tables {
            table.pack(packed, &mut |one| fresh.unpack(packed, one));
        }
        fresh.unpacked();
        for number in 0..9 {
            assert_eq!(fresh.claim(packed, id(number), [8; 16]), Claim::Conflict);
            assert_eq!(
                fresh.claim(packed, id(number), WANTED),
                done(&number.to_string())
            );
        }
        assert_eq!(fresh.claim(packed, id(9), WANTED), Claim::Full);
        // Each is forgotten in its time.
        for number in 0..9 {
            let nearly = at(number) + WINDOW - Duration::from_nanos(1);
            assert_eq!(
                fresh.claim(nearly, id(number), WANTED),
                done(&number.to_string())
            );
            fresh.claim(at(number) + WINDOW, id(90), WANTED);
            assert!(!fresh.entries.contains_key(&id(number)), "{number}");
        }
        assert_eq!(fresh.answer_bytes, 0);
    }

    #[test]
    fn one_under_way_outlives_the_window() {
        let mut table = IdempotencyTable::new(WINDOW, 100);
        let now = Instant::now();
        assert_eq!(table.claim(now, id(1), WANTED), Claim::Fresh);
        assert_eq!(
            table.claim(now + 2 * WINDOW, id(1), WANTED),
            Claim::UnderWay
        );
        table.settle(id(1), Some("x".into()));
        assert_eq!(table.claim(now + 2 * WINDOW, id(1), WANTED), done("x"));
        assert_eq!(table.claim(now + 3 * WINDOW, id(1), WANTED), Claim::Fresh);
    }
}
