//! A [`Store`] after a panic in it: built anew of what is there of every stream, but for the one that it was about.
//!
//! A panic may have left any table or list changed halfway, so none of them is gone on with. Each stream keeps its epoch,
//! its offsets, and its messages with their ages and times. The one that is left out is forgotten: whoever comes back to it
//! is told of a gap, as is who holds a position of it from before it was born.

use ahash::AHashMap;

use super::address::Address;
use super::ages::Age;
use super::counters::Undelivered;
use super::store::Store;
use super::stream::Stream;
use super::window::Kept;

impl Store {
    /// What is there without this stream, as another store. May panic, too.
    pub fn salvaged(&self, but: Option<Address<'_>>) -> Store {
        let mut fresh = self.emptied();
        let mut numbers: Vec<u32> = self.names.numbers().collect();
        numbers.sort_by_key(|number| self.streams[*number].second);
        let mut taken_over: AHashMap<u32, u32> = AHashMap::new();
        let mut is_found = but.is_none();
        for old in numbers {
            let stream = &self.streams[old];
            if but == Some(stream.address()) {
                fresh.nursery.forget(stream.born);
                fresh.give_up(stream);
                is_found = true;
            } else {
                taken_over.insert(old, fresh.take_over(stream));
            }
        }
        if !is_found {
            // It may have been about to be born.
            fresh.nursery.forget_unborn();
        }
        for (_, old, place) in self.by_age() {
            let stream = &self.streams[old];
            let kept = stream
                .window
                .get(place)
                .filter(|_| taken_over.contains_key(&old));
            if let Some(Kept {
                payload: Some(payload),
                due,
                ..
            }) = kept
            {
                let new = taken_over[&old];
                fresh.reach(new, stream.first() + place as u64 - 1);
                fresh.streams[new].top += 1;
                fresh.hold(new, payload.clone(), *due);
            }
        }
        for (old, new) in taken_over {
            fresh.reach(new, self.streams[old].top);
            let stream = &mut fresh.streams[new];
            // The panic may have been while one of its messages went.
            stream.floor = stream.floor.max(self.streams[old].last_gone());
        }
        fresh
    }

    /// Another store with the same bounds, in which every stream is forgotten.
    pub fn begun_anew(&self) -> Store {
        let mut fresh = self.emptied();
        fresh.nursery.forget_unborn();
        fresh
    }

    fn take_over(&mut self, stream: &Stream) -> u32 {
        let number = self.streams.take();
        self.streams[number] = stream.without_messages();
        self.enter(number);
        self.streams[number].second = stream.second;
        number
    }

    /// A stream ends with this offset, and what it has not before that is gone.
    fn reach(&mut self, number: u32, top: u64) {
        let stream = &mut self.streams[number];
        let places = stream.window.bytes();
        while stream.top < top && stream.window.messages() > 0 {
            stream.top += 1;
            stream.window.push_hole();
        }
        self.bytes += stream.window.bytes() - places;
        if stream.top < top {
            stream.top = top;
        }
    }

    /// Messages by their ages, each with its stream and its place in that.
    fn by_age(&self) -> Vec<(Age, u32, usize)> {
        let mut each = Vec::new();
        for number in self.names.numbers() {
            let window = self.streams[number].window.from(0).enumerate();
            each.extend(window.map(|(place, kept)| (kept.age, number, place)));
        }
        each.sort_unstable();
        each
    }

    /// Of messages that waited for their uid's login it is told.
    fn give_up(&mut self, stream: &Stream) {
        let after = stream.window.from(stream.place_after(stream.delivered));
        let messages = after.filter(|kept| kept.payload.is_some()).count() as u32;
        if stream.queues && messages > 0 {
            self.counters.undelivered += u64::from(messages);
            let Address {
                namespace, name, ..
            } = stream.address();
            self.undelivered.push(Undelivered {
                namespace,
                uid: Box::from(name),
                messages,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::tests::*;
    use super::super::*;
    use super::*;

    /// All that can be asked of a store.
    fn seen(store: &mut Store, now: Instant, names: &[String]) -> Vec<String> {
        let each = names.iter().map(|name| {
            let of = Address::uid(NAMESPACE, name);
            let top = store.top(now, of);
            let recoveries = (0..=top.offset)
                .map(|offset| store.recover(now, of, Some(Position { offset, ..top })))
                .map(|it| format!("{it:?}"))
                .collect::<Vec<_>>();
            let there: Vec<String> = store
                .read_what_is_there(now, of, 0, ALL)
                .map(|(position, payload)| format!("{position} {:?}", payload.message()))
                .collect();
            format!("{top} {} {recoveries:?} {there:?}", store.delivered(of))
        });
        each.collect()
    }

    /// What both have; of bytes, a window that has grown has room for more.
    fn counted(store: &Store) -> Counters {
        Counters {
            bytes: 0,
            ..store.counters()
        }
    }

    /// Whatever has happened to a store, it is the same one after, and goes on as the other would.
    #[test]
    fn a_salvaged_store_is_the_same_but_for_one_stream() {
        for seed in 0..60 {
            let mut random = fastrand::Rng::with_seed(seed);
            let start = Instant::now();
            // Where there is little room the two need not let the same go: their windows grow otherwise.
            let mut store = store(start, 64 << 20);
            let names: Vec<String> = (0..20).map(|number| format!("u{number}")).collect();
            let act = |store: &mut Store, now: Instant, random: &mut fastrand::Rng| {
                let now = now + Duration::from_millis(random.u64(0..2_000));
                let name = &names[random.usize(..names.len())];
                let of = Address::uid(NAMESPACE, name);
                let queue = name.ends_with('3');
                let rule = Keep {
                    queue,
                    ..keep(random.u32(1..30), random.u64(1..200))
                };
                match random.u8(..20) {
                    0 => drop(store.discard(now, of)),
                    1 => store.set_delivered(of, random.u64(..20)),
                    _ => {
                        let long = "x".repeat(random.usize(..3_000));
                        store.append(now, of, rule, None, &text(&long));
                    }
                }
                now
            };
            let steps = random.usize(..600);
            let mut now = start;
            for _ in 0..steps {
                now = act(&mut store, now, &mut random);
            }
            let mut fresh = store.salvaged(None);
            assert_eq!(counted(&fresh), counted(&store), "seed {seed}");
            assert!(
                seen(&mut fresh, now, &names) == seen(&mut store, now, &names),
                "seed {seed}"
            );
            // Both go on alike.
            for _ in 0..100 {
                let mut twin = random.clone();
                let before = now;
                now = act(&mut store, before, &mut random);
                act(&mut fresh, before, &mut twin);
            }
            while fresh.advance(now, 1_000) | store.advance(now, 1_000) {}
            assert_eq!(counted(&fresh), counted(&store), "seed {seed}");
            assert!(
                seen(&mut fresh, now, &names) == seen(&mut store, now, &names),
                "seed {seed}"
            );
            let but = Address::uid(NAMESPACE, &names[0]);
            let (top, mut less) = (store.top(now, but), store.salvaged(Some(but)));
            let same = seen(&mut less, now, &names[1..]) == seen(&mut store, now, &names[1..]);
            assert!(same, "seed {seed}");
            let recovery = less.recover(now, but, Some(top));
            assert!(
                matches!(recovery, Recovery::Gap(_)),
                "seed {seed}: {recovery:?}"
            );
            for later in [300 * SECOND, META_TIME + 301 * SECOND] {
                while less.advance(now + later, 1_000) {}
            }
            assert_eq!(
                (less.counters().bytes, less.counters().streams),
                (0, 0),
                "seed {seed}"
            );
        }
    }
}
