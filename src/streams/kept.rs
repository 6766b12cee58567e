//! [`Messages`]: all kept messages of a core, by their numbers, in the order of their age and by when their time is over.
//!
//! Each message is a place in one table and a link in two lists, so that any can go at once, whichever way it goes: as
//! the oldest of all, as the oldest of its stream, or in its time. Bound: its owner's, in bytes; the table shrinks as
//! messages go.

use std::collections::BTreeMap;

use super::list::{Linked, Links, List, NONE};
use crate::pages::Pages;
use crate::payload::Payload;

/// A second since the store was made.
pub type Second = u32;

/// So many places are looked at for another message of the same second, before the index is.
const HINTS: usize = 8;

/// A kept message. A place without a payload is free.
#[derive(Default)]
pub struct Kept {
    pub payload: Option<Payload>,
    pub offset: u64,
    /// The number of its stream.
    pub stream: u32,
    /// The second in which its time is over.
    pub due: Second,
    age: Links,
    same_due: Links,
}

const _: () = assert!(size_of::<Kept>() == KEPT_COST);
/// What a message takes here.
pub const KEPT_COST: usize = 56;

/// Pages are small, for limits may be.
type Table = Pages<Kept, 1>;

struct ByAge<'a>(&'a mut Table);
struct ByDue<'a>(&'a mut Table);

impl Linked for ByAge<'_> {
    #[inline]
    fn links(&mut self, number: u32) -> &mut Links {
        &mut self.0[number].age
    }
}

impl Linked for ByDue<'_> {
    #[inline]
    fn links(&mut self, number: u32) -> &mut Links {
        &mut self.0[number].same_due
    }
}

/// See the module.
pub struct Messages {
    table: Table,
    count: u32,
    ages: List,
    /// The messages of each second; in which order within it means nothing.
    dues: BTreeMap<Second, List>,
    /// Messages that came of late, by their second.
    hints: [u32; HINTS],
}

impl Default for Messages {
    fn default() -> Messages {
        Messages {
            table: Table::default(),
            count: 0,
            ages: List::default(),
            dues: BTreeMap::new(),
            hints: [NONE; HINTS],
        }
    }
}

impl Messages {
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The oldest of all.
    pub fn oldest(&self) -> Option<u32> {
        (self.ages.first != NONE).then_some(self.ages.first)
    }

    /// One whose time is over by now.
    pub fn due(&self, now: Second) -> Option<u32> {
        let (second, list) = self.dues.first_key_value()?;
        (*second <= now).then_some(list.first)
    }

    #[inline]
    pub fn get(&self, number: u32) -> Option<&Kept> {
        self.table.get(number)
    }

    /// Keeps one, the youngest.
    pub fn insert(&mut self, stream: u32, offset: u64, due: Second, payload: Payload) -> u32 {
        let number = self.table.take();
        let kept = &mut self.table[number];
        kept.payload = Some(payload);
        (kept.offset, kept.stream, kept.due) = (offset, stream, due);
        self.count += 1;
        self.ages.push(&mut ByAge(&mut self.table), number);
        self.insert_by_due(number, due);
        number
    }

    #[inline]
    fn insert_by_due(&mut self, number: u32, due: Second) {
        let hint = &mut self.hints[due as usize % HINTS];
        let neighbour = std::mem::replace(hint, number);
        if let Some(Kept { due: same, .. }) = self.table.get(neighbour)
            && *same == due
        {
            // Before it, so that the end of the list stays, unless it is the first.
            let before = self.table[neighbour].same_due.before;
            if before != NONE {
                self.table[before].same_due.after = number;
                self.table[neighbour].same_due.before = number;
                self.table[number].same_due = Links {
                    before,
                    after: neighbour,
                };
                return;
            }
        }
        let list = self.dues.entry(due).or_default();
        list.push(&mut ByDue(&mut self.table), number);
    }

    /// Keeps one no longer.
    pub fn remove(&mut self, number: u32) -> Option<Kept> {
        let kept = self.table.get_mut(number)?;
        kept.payload.as_ref()?;
        let due = kept.due;
        let hint = &mut self.hints[due as usize % HINTS];
        if *hint == number {
            *hint = NONE;
        }
        let Links { before, after } = kept.same_due;
        if before != NONE && after != NONE {
            self.table[before].same_due.after = after;
            self.table[after].same_due.before = before;
        } else if let Some(list) = self.dues.get_mut(&due) {
            list.remove(&mut ByDue(&mut self.table), number);
            if list.first == NONE {
                self.dues.remove(&due);
            }
        }
        self.ages.remove(&mut ByAge(&mut self.table), number);
        self.count -= 1;
        let kept = std::mem::take(&mut self.table[number]);
        self.table.free(number);
        Some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Message;

    /// Messages that come and go in any order, against plain lists.
    #[test]
    fn ages_and_dues_match_a_model() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut messages = Messages::default();
            let mut model: Vec<(u32, u64, Second)> = Vec::new();
            let mut grows = true;
            for step in 0..2_000 {
                grows = match model.len() {
                    0 => true,
                    300.. => false,
                    _ => grows,
                };
                let dues = [3, 30, 3_000][seed as usize % 3];
                if random.u8(..10) < if grows { 7 } else { 3 } {
                    let due = random.u32(0..dues);
                    let payload = Payload::new(Message::Text("x"));
                    let number = messages.insert(7, step, due, payload);
                    model.push((number, step, due));
                } else if !model.is_empty() {
                    let at = match random.u8(..3) {
                        0 => 0,
                        1 => {
                            let now = random.u32(0..dues);
                            let due = messages.due(now);
                            let first = model.iter().map(|it| it.2).min();
                            assert_eq!(due.is_some(), first <= Some(now), "seed {seed}");
                            let Some(due) = due else { continue };
                            let at = model.iter().position(|it| it.0 == due);
                            let at = at.expect("only one that is there is due");
                            assert_eq!(Some(model[at].2), first, "the first of all is due");
                            at
                        }
                        _ => random.usize(..model.len()),
                    };
                    let (number, offset, _) = model.remove(at);
                    let removed = messages.remove(number).expect("it is there");
                    assert_eq!((removed.offset, removed.stream), (offset, 7));
                    assert!(messages.remove(number).is_none(), "it goes once");
                }
                assert_eq!(messages.count() as usize, model.len());
                assert_eq!(messages.oldest(), model.first().map(|it| it.0));
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_those_that_went() {
        let mut messages = Messages::default();
        let payload = Payload::new(Message::Text("x"));
        let all: Vec<u32> = (0..10_000)
            .map(|nth| messages.insert(0, nth, nth as u32 % 100, payload.clone()))
            .collect();
        for number in all {
            assert!(messages.remove(number).is_some());
        }
        assert!(messages.table.is_empty() && messages.dues.is_empty());
        assert_eq!((messages.oldest(), messages.due(u32::MAX)), (None, None));
        assert_eq!(messages.hints, [NONE; HINTS]);
    }
}
