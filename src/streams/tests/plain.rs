//! A plain engine, which has no bound and forgets no stream, and a store held against it, operation by operation.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// One stream: all its messages, whether they are there or not.
#[derive(Default)]
struct Log {
    messages: Vec<Entry>,
    ids: Vec<(Id, u64, Duration)>,
}

struct Entry {
    payload: Payload,
    ends: Duration,
    gone: bool,
}

/// See the file. Epochs are the numbers of names.
pub struct Plain {
    start: Instant,
    window: Duration,
    logs: BTreeMap<String, Log>,
}

impl Plain {
    pub fn new(start: Instant) -> Plain {
        let window = Config::default().idempotency_window;
        let logs = BTreeMap::new();
        Plain {
            start,
            window,
            logs,
        }
    }

    /// A name's log at a time, in whole seconds: a message ends with the second that begins then or later.
    fn log(&mut self, now: Instant, of: Address<'_>) -> &mut Log {
        let now = now - self.start;
        let log = self.logs.entry(format!("{of:?}")).or_default();
        for entry in &mut log.messages {
            entry.gone |= Duration::from_secs(now.as_secs()) >= entry.ends;
        }
        let window = self.window;
        log.ids
            .retain(|(_, _, since)| now.as_secs() < (*since + window).as_secs());
        log
    }
}

fn at(of: Address<'_>, offset: usize) -> Position {
    let number = of
        .name
        .bytes()
        .fold(0, |number, byte| number * 256 + u64::from(byte));
    Position {
        epoch: Epoch::of(number),
        offset: offset as u64,
    }
}

impl Engine for Plain {
    fn append(
        &mut self,
        now: Instant,
        to: Address<'_>,
        keep: Keep,
        id: Option<Id>,
        payload: &Payload,
    ) -> Appended {
        let since = now - self.start;
        let log = self.log(now, to);
        let known = log.ids.iter().find(|known| Some(known.0) == id);
        if let Some((_, offset, _)) = known {
            return Appended {
                position: at(to, *offset as usize),
                outcome: Outcome::Repeated,
            };
        }
        let ends = since + keep.ttl;
        let ends = ends.as_secs() + u64::from(ends.subsec_nanos() > 0);
        log.messages.push(Entry {
            payload: payload.clone(),
            ends: Duration::from_secs(ends),
            gone: false,
        });
        let there = log.messages.iter_mut().rev().filter(|entry| !entry.gone);
        there
            .skip(keep.size as usize)
            .for_each(|entry| entry.gone = true);
        let top = log.messages.len();
        if let Some(id) = id {
            log.ids
                .push((id, top as u64, Duration::from_secs(since.as_secs())));
        }
        Appended {
            position: at(to, top),
            outcome: Outcome::Kept,
        }
    }

    fn read(
        &mut self,
        now: Instant,
        of: Address<'_>,
        after: Option<Position>,
        limit: Limit,
    ) -> Result<Page, Gap> {
        let log = self.log(now, of);
        let top = log.messages.len();
        let floor = log
            .messages
            .iter()
            .rposition(|entry| entry.gone)
            .map_or(0, |last| last + 1);
        let from = after.filter(|after| after.epoch == at(of, 0).epoch);
        let from = from.map(|after| after.offset as usize);
        let Some(from) = from.filter(|from| (floor..=top).contains(from)) else {
            return Err(Gap {
                asked: after,
                first: (floor < top).then(|| at(of, floor + 1)),
                top: at(of, top),
            });
        };
        let mut left = limit.bytes;
        let messages = log.messages[from..].iter().enumerate().take(limit.messages);
        let messages = messages.take_while(|(nth, entry)| {
            let length = entry.payload.message().len();
            let fits = *nth == 0 || length <= left;
            left = left.saturating_sub(length);
            fits
        });
        let messages = messages.map(|(nth, entry)| (at(of, from + nth + 1), entry.payload.clone()));
        Ok(Page {
            messages: messages.collect(),
            top: at(of, top),
        })
    }

    fn top(&mut self, now: Instant, of: Address<'_>) -> Position {
        at(of, self.log(now, of).messages.len())
    }

    fn discard(&mut self, now: Instant, of: Address<'_>) -> u32 {
        let log = self.log(now, of);
        let there = log.messages.iter_mut().filter(|entry| !entry.gone);
        there.fold(0, |count, entry| {
            entry.gone = true;
            count + 1
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Append {
        name: usize,
        size: u32,
        seconds: u64,
        id: Option<u8>,
        bytes: usize,
    },
    Read {
        name: usize,
        back: u64,
        of_other: bool,
        messages: usize,
        bytes: usize,
    },
    Top(usize),
    Discard(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES;
    prop_oneof![
        3 => prop_oneof![0..2_500_u64, Just(30_000)].prop_map(Step::Wait),
        10 => (
            name.clone(),
            prop_oneof![Just(u32::MAX), Just(u32::MAX), 1..5_u32],
            prop_oneof![1..4_u64, 5..30_u64, Just(90_000)],
            prop::option::of(0..20_u8),
            0..40_usize,
        )
            .prop_map(|(name, size, seconds, id, bytes)| Step::Append { name, size, seconds, id, bytes }),
        8 => (
            name.clone(),
            prop_oneof![0..4_u64, 0..40_u64],
            prop::bool::weighted(0.03),
            prop_oneof![Just(usize::MAX), 1..4_usize],
            prop_oneof![Just(usize::MAX), 0..60_usize],
        )
            .prop_map(|(name, back, of_other, messages, bytes)| Step::Read {
                name, back, of_other, messages, bytes,
            }),
        1 => name.clone().prop_map(Step::Top),
        1 => name.prop_map(Step::Discard),
    ]
}

const NAMES: usize = 4;

fn address(name: usize) -> Address<'static> {
    [
        Address::uid(NAMESPACE, "a"),
        Address::group(NAMESPACE, "a"),
        Address::all(NAMESPACE),
        Address::uid(NamespaceId(1), "a"),
    ][name]
}

fn of(number: u8) -> Id {
    [number; 16]
}

/// A position or gap without its epoch, which each engine names in its own way.
fn offsets(gap: Gap) -> (Option<u64>, Option<u64>, u64) {
    let offset = |position: Option<Position>| position.map(|it| it.offset);
    (offset(gap.asked), offset(gap.first), gap.top.offset)
}

proptest! {
    #![proptest_config(runs())]
    #[test]
    fn a_store_with_room_does_as_a_plain_engine(steps in prop::collection::vec(step(), 1..300)) {
        let mut now = Instant::now();
        let (mut store, mut plain) = (store(now, 1 << 30), Plain::new(now));
        for (nth, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(milliseconds) => now += Duration::from_millis(milliseconds),
                Step::Append { name, size, seconds, id, bytes } => {
                    let (to, id) = (address(name), id.map(of));
                    let payload = text(&format!("{nth:>bytes$}"));
                    let [one, two] = [&mut store as &mut dyn Engine, &mut plain]
                        .map(|engine| engine.append(now, to, keep(size, seconds), id, &payload));
                    prop_assert_eq!(one.position.offset, two.position.offset);
                    prop_assert_eq!(one.outcome, two.outcome);
                }
                Step::Read { name, back, of_other, messages, bytes } => {
                    let of = address(name);
                    let other = address((name + usize::from(of_other)) % NAMES);
                    let limit = Limit { messages, bytes };
                    let [one, two] = [&mut store as &mut dyn Engine, &mut plain].map(|engine| {
                        let mut after = engine.top(now, other);
                        after.offset = after.offset.wrapping_sub(back).wrapping_add(1);
                        engine.read(now, of, Some(after), limit)
                    });
                    // What is not born has one epoch, whichever it is.
                    if !of_other {
                        same_pages(one, two)?;
                    }
                }
                Step::Top(name) => {
                    let [one, two] = [&mut store as &mut dyn Engine, &mut plain]
                        .map(|engine| engine.top(now, address(name)).offset);
                    prop_assert_eq!(one, two);
                }
                Step::Discard(name) => {
                    let [one, two] = [&mut store as &mut dyn Engine, &mut plain]
                        .map(|engine| engine.discard(now, address(name)));
                    prop_assert_eq!(one, two);
                }
            }
        }
        // Every name has one epoch, and no two the same.
        let epochs = (0..NAMES).map(|name| store.top(now, address(name)));
        let epochs = epochs.filter(|top| top.offset > 0).map(|top| top.epoch);
        let epochs: Vec<Epoch> = epochs.collect();
        prop_assert_eq!(epochs.iter().collect::<BTreeSet<_>>().len(), epochs.len());
    }
}

fn same_pages(one: Result<Page, Gap>, two: Result<Page, Gap>) -> Result<(), TestCaseError> {
    match (one, two) {
        (Ok(one), Ok(two)) => {
            let all = |page: &Page| {
                let each = page.messages.iter();
                each.map(|(position, payload)| {
                    (position.offset, payload.message().bytes().to_vec())
                })
                .collect::<Vec<_>>()
            };
            prop_assert_eq!(all(&one), all(&two));
            prop_assert_eq!(one.top.offset, two.top.offset);
        }
        (Err(one), Err(two)) => prop_assert_eq!(offsets(one), offsets(two)),
        (one, two) => prop_assert!(false, "{one:?} and {two:?}"),
    }
    Ok(())
}
