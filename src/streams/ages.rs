//! [`Ages`]: which stream has the oldest of all messages.
//!
//! Each message has an entry in a queue. One that goes otherwise than as the oldest leaves its entry behind, for it costs
//! more to look for it than to meet it: entries of what is gone are dropped when they come to the front, and by a pass
//! that goes through the queue a few entries with each message, once they are as many as the others. Bound: twice the
//! messages and holes there are, and one part more.

use std::collections::VecDeque;

/// The number of a message among all of a core, in the order in which they came.
pub type Age = u64;

/// Entries of a part, which is looked through in one go.
const PART: usize = 512;
/// Entries that are looked at again for each message, while more than half are of what is gone.
const LOOKED_AT: usize = 4;

/// What a message takes here: its entry and that of one that is gone.
pub const AGE_COST: usize = 2 * size_of::<AgeEntry>();

/// The number of the stream, and the age in two halves, so that it takes twelve bytes.
type AgeEntry = [u32; 3];

/// See the module.
#[derive(Default)]
pub struct Ages {
    parts: VecDeque<Vec<AgeEntry>>,
    /// Entries of the first part that were dropped.
    dropped: usize,
    entries: usize,
    next: Age,
    /// The part that is looked through next, and for how many entries it has been waited.
    pass: usize,
    waited: usize,
}

fn entry(stream: u32, age: Age) -> AgeEntry {
    [stream, age as u32, (age >> 32) as u32]
}

fn age_of([_, low, high]: AgeEntry) -> Age {
    Age::from(high) << 32 | Age::from(low)
}

impl Ages {
    /// A message of this stream comes. There are so many with it, and `oldest` says the age of a stream's oldest.
    #[inline]
    pub fn push(&mut self, stream: u32, messages: u32, oldest: impl Fn(u32) -> Option<Age>) -> Age {
        let age = self.next;
        self.next += 1;
        match self.parts.back_mut() {
            Some(part) if part.len() < PART => part.push(entry(stream, age)),
            _ => self.begin_part(entry(stream, age)),
        }
        self.entries += 1;
        if self.entries > 2 * messages as usize + PART {
            self.waited += LOOKED_AT;
            if self.waited >= PART {
                self.look_through(oldest);
            }
        }
        age
    }

    /// So many have come since a message of this age.
    pub fn since(&self, age: Age) -> u64 {
        self.next.saturating_sub(age)
    }

    /// The age of the next message.
    pub fn next(&self) -> Age {
        self.next
    }

    /// A message of this stream comes, where all that are there are put in order anew.
    pub fn push_last(&mut self, stream: u32) -> Age {
        self.push(stream, u32::MAX, |_| None)
    }

    #[inline(never)]
    fn begin_part(&mut self, first: AgeEntry) {
        // One that was pruned is joined by what follows, if there is little left of it.
        let mut part = Vec::with_capacity(PART.min(4 * (self.entries + 1)));
        part.push(first);
        self.parts.push_back(part);
    }

    /// The stream of the oldest message. `oldest` says the age of a stream's oldest.
    pub fn oldest(&mut self, oldest: impl Fn(u32) -> Option<Age>) -> Option<u32> {
        loop {
            let part = self.parts.front()?;
            while let Some(one) = part.get(self.dropped) {
                // All that is older is gone, so it is the oldest of its stream, or gone, too.
                if oldest(one[0]) == Some(age_of(*one)) {
                    return Some(one[0]);
                }
                self.dropped += 1;
                self.entries -= 1;
            }
            self.parts.pop_front();
            self.dropped = 0;
            self.pass = self.pass.saturating_sub(1);
        }
    }

    /// Nothing is there.
    pub fn clear(&mut self) {
        let next = self.next;
        *self = Ages {
            next,
            ..Ages::default()
        };
    }

    /// Drops entries of what is gone from one part. Those behind an older message of their stream may be there.
    #[cold]
    #[inline(never)]
    fn look_through(&mut self, oldest: impl Fn(u32) -> Option<Age>) {
        self.waited = 0;
        // The first one drops its own, and the last is being written.
        self.pass = match self.pass + 1 < self.parts.len() {
            true => self.pass.max(1),
            false => 1,
        };
        let Some(part) = self.parts.get_mut(self.pass) else {
            return;
        };
        let before = part.len();
        part.retain(|one| oldest(one[0]).is_some_and(|first| first <= age_of(*one)));
        self.entries -= before - part.len();
        let (length, earlier) = (part.len(), self.pass - 1);
        // Two that fit into one are one.
        if earlier > 0 && self.parts[earlier].len() + length <= PART {
            if let Some(part) = self.parts.remove(self.pass) {
                self.parts[earlier].extend(part);
            }
        } else {
            self.parts[self.pass].shrink_to_fit();
            self.pass += 1;
        }
    }

    #[cfg(test)]
    pub fn entries(&self) -> usize {
        let there: usize = self.parts.iter().map(Vec::len).sum();
        assert_eq!(there - self.dropped, self.entries);
        self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of some streams that go in any order, against a plain list.
    #[test]
    fn the_oldest_is_the_oldest_and_entries_are_bounded() {
        for seed in 0..20 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut ages = Ages::default();
            let mut streams: Vec<VecDeque<Age>> = vec![VecDeque::new(); 50];
            let (mut messages, mut most) = (0_usize, 0);
            for _ in 0..60_000 {
                let stream = random.usize(..streams.len());
                if random.u8(..10) < 6 || messages == 0 {
                    // As a store does: the entry is made before the message is there.
                    let age = ages.push(stream as u32, messages as u32 + 1, |stream| {
                        streams[stream as usize].front().copied()
                    });
                    streams[stream].push_back(age);
                    messages += 1;
                    let size = [3, 40, 1_000][seed as usize % 3];
                    if streams[stream].len() > size {
                        streams[stream].pop_front();
                        messages -= 1;
                    }
                } else if random.u8(..10) < 8 {
                    let found = ages.oldest(|stream| streams[stream as usize].front().copied());
                    let all = streams.iter().enumerate();
                    let oldest = all.filter_map(|(nth, ages)| Some((*ages.front()?, nth as u32)));
                    assert_eq!(found, oldest.min().map(|oldest| oldest.1), "seed {seed}");
                    streams[found.expect("one is there") as usize].pop_front();
                    messages -= 1;
                } else if let Some(middle) = streams[stream].len().checked_sub(2) {
                    // Of these the entries stay until all older ones are gone.
                    streams[stream].remove(1 + middle / 2);
                    messages -= 1;
                }
                most = most.max(messages);
                let entries = ages.entries();
                assert!(
                    entries <= 3 * most + 4 * PART,
                    "seed {seed}: {entries} for {most}"
                );
            }
        }
    }

    #[test]
    fn one_that_is_never_asked_for_the_oldest_stays_small() {
        let mut ages = Ages::default();
        let mut streams = [0; 100];
        for nth in 0..1_000_000 {
            let stream = nth % streams.len();
            let age = ages.push(stream as u32, 100, |stream| Some(streams[stream as usize]));
            streams[stream] = age;
        }
        assert!(ages.entries() <= 200 + 4 * PART, "{}", ages.entries());
        let oldest = ages.oldest(|stream| Some(streams[stream as usize]));
        assert_eq!(oldest, Some(0));
    }
}
