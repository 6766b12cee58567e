//! A store that is short of memory against the whole truth: nobody misses a message without a word, nobody is told of a
//! gap without a reason, and the oldest goes first.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const NAMES: usize = 12;
/// So few that a dozen streams are too many for the part that empty ones may take.
const BYTES_MAX: usize = 4 << 10;

/// A message that was sent.
#[derive(Clone)]
struct Sent {
    /// Of all streams together.
    number: u64,
    position: Position,
    text: String,
    due: Duration,
    /// It went by its time, its stream's size or a wish.
    gone: bool,
}

/// All that was ever sent to a name, in all its lives.
#[derive(Default)]
struct Log {
    sent: Vec<Sent>,
    /// When the life began that there is.
    born: Option<u64>,
}

/// Somebody who has had the first `had` messages of a name, and holds the position.
#[derive(Clone, Debug)]
struct Client {
    name: usize,
    had: usize,
    position: Position,
    /// In which second it was told that.
    told: u64,
}

struct World {
    start: Instant,
    now: Instant,
    store: Store,
    logs: Vec<Log>,
    clients: Vec<Client>,
    numbers: u64,
    /// In which seconds streams that were forgotten had been born, and when they were forgotten.
    forgotten: Vec<(u64, usize)>,
    /// The same id has the same answer.
    ids: BTreeMap<(Epoch, u8), (u64, u64)>,
}

fn name(number: usize) -> String {
    // Some are long.
    format!("{number:>width$}", width = 1 + number % 3 * 40)
}

impl World {
    fn new() -> World {
        let start = Instant::now();
        World {
            start,
            now: start,
            store: store(start, BYTES_MAX),
            logs: (0..NAMES).map(|_| Log::default()).collect(),
            clients: Vec::new(),
            numbers: 0,
            forgotten: Vec::new(),
            ids: BTreeMap::new(),
        }
    }

    fn second(&self) -> u64 {
        (self.now - self.start).as_secs()
    }

    fn is_there(&mut self, number: usize) -> BTreeSet<u64> {
        let name = name(number);
        let address = Address::uid(NAMESPACE, &name);
        let log = &self.logs[number];
        let piece = self.store.read_what_is_there(self.now, address, 0, ALL);
        let mut last = 0;
        let found = piece.map(|(position, payload)| {
            let sent = log.sent.iter().find(|sent| sent.position == position);
            let sent = sent.expect("nothing else was sent");
            assert_eq!(payload.message().text(), Some(&*sent.text));
            assert!(sent.number > last, "in order");
            assert!(!sent.gone, "{} went before", sent.number);
            last = sent.number;
            sent.number
        });
        found.collect()
    }

    fn all_there(&mut self) -> BTreeSet<u64> {
        (0..NAMES)
            .flat_map(|number| self.is_there(number))
            .collect()
    }

    /// What has gone of its own accord by now, and streams that are forgotten.
    fn settle(&mut self, evicts: bool) {
        let before = self.store.counters();
        while self.store.advance(self.now, 1_000) {}
        let now = Duration::from_secs(self.second());
        for number in 0..NAMES {
            let name = name(number);
            let log = &mut self.logs[number];
            for sent in &mut log.sent {
                sent.gone |= sent.due <= now;
            }
            let top = self.store.top(self.now, Address::uid(NAMESPACE, &name));
            if top.offset == 0
                && let Some(born) = log.born.take()
            {
                self.forgotten.push((born, number));
            }
        }
        let counters = self.store.counters();
        if !evicts {
            assert_eq!(counters.evicted_by_bytes, before.evicted_by_bytes);
            assert_eq!(counters.forgotten_by_bytes, before.forgotten_by_bytes);
        }
        assert!(counters.bytes <= BYTES_MAX as u64, "{counters:?}");
        assert_eq!(counters.messages, self.all_there().len() as u64);
        let streams = self.logs.iter().filter(|log| log.born.is_some()).count();
        assert_eq!(counters.streams, streams as u64);
    }

    fn append(&mut self, number: usize, keep: Keep, id: Option<u8>, bytes: usize) {
        let before = self.all_there();
        let name = name(number);
        let to = Address::uid(NAMESPACE, &name);
        let payload = format!("{:>bytes$}", self.numbers);
        let second = self.second();
        let was = self.store.counters();
        let appended =
            self.store
                .append(self.now, to, keep, id.map(|id| [id; 16]), &text(&payload));
        let Appended { position, outcome } = appended;
        let known = id.and_then(|id| self.ids.get(&(position.epoch, id)).copied());
        let known = known.filter(|(_, since)| second < since + 120);
        if outcome == Outcome::Repeated {
            assert_eq!(known.map(|known| known.0), Some(position.offset));
            assert_eq!(self.all_there(), before);
            return;
        }
        let forgets_ids = self.store.counters().ids_forgotten > 0;
        assert!(known.is_none() || forgets_ids, "it came twice");
        if let Some(id) = id {
            self.ids
                .insert((position.epoch, id), (position.offset, second));
        }
        self.numbers += 1;
        let log = &mut self.logs[number];
        log.born.get_or_insert(second);
        let due = self.now - self.start + keep.ttl;
        log.sent.push(Sent {
            number: self.numbers,
            position,
            text: payload,
            due: Duration::from_secs(due.as_secs() + u64::from(due.subsec_nanos() > 0)),
            gone: outcome == Outcome::TooLarge,
        });
        // The newest of each stream are there, as far as its size lets it.
        let there = log.sent.iter_mut().rev();
        let epoch = position.epoch;
        let there =
            there.filter(|sent| before.contains(&sent.number) || sent.number == self.numbers);
        let there = there.filter(|sent| !sent.gone && sent.position.epoch == epoch);
        if outcome == Outcome::Kept {
            there
                .skip(keep.size as usize)
                .for_each(|sent| sent.gone = true);
        }
        self.settle(true);
        self.oldest_went_first(&before, outcome);
        let counters = self.store.counters();
        if counters.evicted_by_bytes + counters.forgotten_by_bytes + counters.ids_forgotten
            > was.evicted_by_bytes + was.forgotten_by_bytes + was.ids_forgotten
        {
            assert!(
                counters.bytes > BYTES_MAX as u64 / 2,
                "too much went: {counters:?}"
            );
        }
    }

    /// Of those that nothing else took away, a younger one is there only if all older ones are not gone.
    fn oldest_went_first(&mut self, before: &BTreeSet<u64>, outcome: Outcome) {
        let after = self.all_there();
        if outcome == Outcome::Kept {
            assert!(after.contains(&self.numbers), "the newest stays");
        }
        let sent = self.logs.iter().flat_map(|log| &log.sent);
        let live: BTreeSet<u64> = sent
            .filter(|sent| !sent.gone)
            .map(|sent| sent.number)
            .collect();
        let evicted = before
            .iter()
            .filter(|number| live.contains(number) && !after.contains(number));
        let Some(youngest) = evicted.max() else {
            return;
        };
        let first = after.first();
        assert!(first > Some(youngest), "{youngest} went before {first:?}");
    }

    fn come(&mut self, number: usize) {
        let name = name(number);
        let position = self.store.top(self.now, Address::uid(NAMESPACE, &name));
        self.clients.push(Client {
            name: number,
            had: self.logs[number].sent.len(),
            position,
            told: self.second(),
        });
    }

    fn come_back(&mut self, client: usize, piece: usize) {
        let Some(mut client) = self
            .clients
            .get(client % self.clients.len().max(1))
            .cloned()
        else {
            return;
        };
        let name = name(client.name);
        let of = Address::uid(NAMESPACE, &name);
        let limit = Limit {
            messages: piece,
            bytes: usize::MAX,
        };
        let log = &self.logs[client.name];
        match self.store.recover(self.now, of, Some(client.position)) {
            Recovery::Recovered { mut after, top } => {
                // All of it, in order, none twice.
                let mut missed = log.sent[client.had..].iter();
                while after != top {
                    let read = self.store.read(self.now, of, Some(after), limit);
                    for (position, payload) in read.expect("nothing goes meanwhile") {
                        let sent = missed.next().expect("none twice");
                        assert_eq!(position, sent.position);
                        assert_eq!(payload.message().text(), Some(&*sent.text));
                        after = position;
                    }
                }
                let lost = missed.next().map(|sent| sent.number);
                assert_eq!(lost, None, "{client:?} was not told");
            }
            Recovery::Gap(gap) => {
                assert_eq!(gap.asked, Some(client.position));
                self.had_reason(&client, gap);
            }
        }
        client.position = self.store.top(self.now, of);
        client.had = self.logs[client.name].sent.len();
        client.told = self.second();
        self.clients.push(client);
    }

    /// A gap was told: something is gone, or the stream was forgotten, or, to one who holds a position of a stream that
    /// was not born, any that was born since.
    fn had_reason(&mut self, client: &Client, gap: Gap) {
        let there = self.is_there(client.name);
        let log = &self.logs[client.name];
        let lost = log.sent[client.had..]
            .iter()
            .any(|sent| !there.contains(&sent.number));
        let own_life_is_over = client.position.offset > 0 && gap.top.epoch != client.position.epoch;
        let any = |forgotten: &(u64, usize)| forgotten.0 >= client.told;
        let unborn = client.position.offset == 0 && self.forgotten.iter().any(any);
        assert!(lost || own_life_is_over || unborn, "{client:?}: {gap:?}");
        // It is told where to go on: from `first` on all are there.
        let from = gap.first.map_or(gap.top.offset + 1, |first| first.offset);
        let of_life = log
            .sent
            .iter()
            .filter(|sent| sent.position.epoch == gap.top.epoch);
        let later = of_life.filter(|sent| sent.position.offset >= from);
        assert!(
            later
                .map(|sent| sent.number)
                .all(|number| there.contains(&number))
        );
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
    Come(usize),
    ComeBack {
        client: usize,
        piece: usize,
    },
    Discard(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![
            8 => 0..1_500_u64,
            1 => Just(20_000),
            1 => Just(META_TIME.as_millis() as u64),
        ]
        .prop_map(Step::Wait),
        12 => (
            0..NAMES,
            prop_oneof![Just(u32::MAX), 1..4_u32],
            prop_oneof![1..4_u64, 10..60_u64, Just(200_000)],
            prop::option::weighted(0.2, 0..10_u8),
            prop_oneof![20 => 0..60_usize, 2 => 500..1_000_usize, 1 => Just(BYTES_MAX - 200), 1 => Just(BYTES_MAX)],
        )
            .prop_map(|(name, size, seconds, id, bytes)| Step::Append { name, size, seconds, id, bytes }),
        3 => (0..NAMES).prop_map(Step::Come),
        8 => (any::<usize>(), 1..5_usize).prop_map(|(client, piece)| Step::ComeBack { client, piece }),
        2 => (0..NAMES).prop_map(Step::Discard),
    ]
}

fn run(steps: Vec<Step>) -> World {
    let mut world = World::new();
    for step in steps {
        match step {
            Step::Wait(milliseconds) => {
                world.now += Duration::from_millis(milliseconds);
                world.settle(false);
            }
            Step::Append {
                name,
                size,
                seconds,
                id,
                bytes,
            } => {
                world.append(name, keep(size, seconds), id, bytes);
            }
            Step::Come(name) => world.come(name),
            Step::ComeBack { client, piece } => world.come_back(client, piece),
            Step::Discard(number) => {
                let there = world.is_there(number).len();
                let name = name(number);
                let gone = world
                    .store
                    .discard(world.now, Address::uid(NAMESPACE, &name));
                assert_eq!(gone as usize, there);
                world.logs[number]
                    .sent
                    .iter_mut()
                    .for_each(|sent| sent.gone = true);
                world.settle(false);
            }
        }
    }
    world
}

proptest! {
    #![proptest_config(runs())]
    #[test]
    fn all_or_told(steps in prop::collection::vec(step(), 1..400)) {
        run(steps);
    }
}

/// The property would hold of a store that tells everybody of a gap: as long as no stream is forgotten and nothing goes,
/// nobody is.
#[test]
fn no_gap_where_nothing_went() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut world = World::new();
    for _ in 0..50 {
        for number in 0..NAMES {
            world.come(number);
        }
        let roomy = Config {
            history_bytes_core_max: 1 << 30,
            ..Config::default()
        };
        world.store.renew(&roomy);
        world.now += Duration::from_millis(random.u64(0..2_000));
        let name = name(random.usize(..NAMES));
        let to = Address::uid(NAMESPACE, &name);
        world
            .store
            .append(world.now, to, keep(1_000, 100_000), None, &text("x"));
    }
    for client in &world.clients {
        let name = name(client.name);
        let of = Address::uid(NAMESPACE, &name);
        let recovery = world.store.recover(world.now, of, Some(client.position));
        assert!(matches!(recovery, Recovery::Recovered { .. }), "{client:?}");
    }
    assert_eq!(world.store.counters().gaps, 0);
}
