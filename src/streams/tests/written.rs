//! Stores that are packed and made anew, of any number of cores, against all that was ever sent; and their written form.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const NAMES: usize = 14;

/// Somebody who has had the first `had` messages of a name, and holds the position.
#[derive(Clone, Debug)]
struct Holder {
    name: usize,
    had: usize,
    position: Position,
    /// It was told in this process.
    process: u32,
}

/// The stores of all cores of a process, and what those before have had.
struct Process {
    stores: Vec<Store>,
    route: u64,
    number: u32,
    bytes_max: usize,
    now: Instant,
    sent: Vec<Vec<String>>,
    holders: Vec<Holder>,
}

fn name(number: usize) -> String {
    format!("{number:>width$}", width = 1 + number % 3 * 40)
}

fn empty_store(now: Instant, bytes_max: usize, seed: u64) -> Store {
    let config = Config {
        history_bytes_core_max: bytes_max,
        ..Config::default()
    };
    Store::new(&config, now, RandomState::with_seeds(seed, 2, 3, 4))
}

/// What all cores give out, as it is read on the other side.
fn packed(stores: &[Store], now: Instant) -> Vec<StreamRecord> {
    let mut records = Vec::new();
    for store in stores {
        store.pack(now, &mut |record| {
            let bytes = postcard::to_allocvec(&record).expect("it is written");
            assert!(bytes.len() < 300 << 10, "{} bytes", bytes.len());
            records.push(postcard::from_bytes(&bytes).expect("it is read"));
        });
    }
    records
}

impl Process {
    fn new(cores: usize, bytes_max: usize) -> Process {
        let now = Instant::now();
        Process {
            stores: (0..cores)
                .map(|core| empty_store(now, bytes_max, core as u64))
                .collect(),
            route: 9,
            number: 0,
            bytes_max,
            now,
            sent: vec![Vec::new(); NAMES],
            holders: Vec::new(),
        }
    }

    fn home(&self, name: &str) -> usize {
        let mixed = name.bytes().fold(self.route, |mixed, byte| {
            (mixed ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        (mixed >> 32) as usize % self.stores.len()
    }

    fn store(&mut self, name: &str) -> &mut Store {
        let home = self.home(name);
        &mut self.stores[home]
    }

    fn append(&mut self, number: usize, keep: Keep, bytes: usize) {
        let (name, now) = (name(number), self.now);
        let message = format!("{number} {} {}", self.sent[number].len(), "x".repeat(bytes));
        let of = Address::uid(NAMESPACE, &name);
        self.store(&name)
            .append(now, of, keep, None, &text(&message));
        self.sent[number].push(message);
    }

    fn hold(&mut self, number: usize) {
        let (name, now) = (name(number), self.now);
        let position = self.store(&name).top(now, Address::uid(NAMESPACE, &name));
        self.holders.push(Holder {
            name: number,
            had: self.sent[number].len(),
            position,
            process: self.number,
        });
    }

    fn recover(&mut self, holder: &Holder) -> Recovery {
        let (name, now) = (name(holder.name), self.now);
        let of = Address::uid(NAMESPACE, &name);
        self.store(&name).recover(now, of, Some(holder.position))
    }

    /// Whoever comes back has all that he has missed, or is told.
    fn check(&mut self) -> usize {
        let mut gaps = 0;
        for holder in self.holders.clone() {
            let Recovery::Recovered { after, .. } = self.recover(&holder) else {
                gaps += 1;
                continue;
            };
            let (name, now) = (name(holder.name), self.now);
            let of = Address::uid(NAMESPACE, &name);
            let piece = self.store(&name).read(now, of, Some(after), ALL);
            let found: Vec<String> = piece
                .expect("it was said to be there")
                .map(|(_, payload)| payload.message().text().expect("a text").to_owned())
                .collect();
            assert_eq!(found, self.sent[holder.name][holder.had..], "{holder:?}");
        }
        gaps
    }

    /// All that can be asked, by name.
    fn seen(&mut self) -> BTreeMap<usize, String> {
        let now = self.now;
        let each = (0..NAMES).map(|number| {
            let name = name(number);
            let of = Address::uid(NAMESPACE, &name);
            let store = self.store(&name);
            let top = store.top(now, of);
            if top.offset == 0 {
                return (number, String::new());
            }
            let recoveries = (0..=top.offset)
                .map(|offset| store.recover(now, of, Some(Position { offset, ..top })))
                .map(|it| format!("{it:?}"))
                .collect::<Vec<_>>();
            let there: Vec<String> = store
                .read_what_is_there(now, of, 0, ALL)
                .map(|(position, payload)| format!("{position} {:?}", payload.message()))
                .collect();
            let all = format!("{top} {} {recoveries:?} {there:?}", store.delivered(of));
            (number, all)
        });
        each.collect()
    }

    /// Another process goes on, with so many cores.
    fn upgrade(&mut self, cores: usize, seed: u64) {
        for store in &mut self.stores {
            while store.advance(self.now, 1_000) {}
        }
        let seen = self.seen();
        let holders = self.holders.clone();
        let recoveries: Vec<Recovery> = holders.iter().map(|one| self.recover(one)).collect();
        let messages = |stores: &[Store]| -> u64 {
            let each = stores.iter().map(|store| store.counters().messages);
            each.sum()
        };
        let (before, records) = (messages(&self.stores), packed(&self.stores, self.now));
        let packed = self.now;
        self.number += 1;
        self.now += Duration::from_millis(300);
        self.route = seed;
        let fresh = (0..cores).map(|core| {
            let seed = 1_000 * u64::from(self.number) + core as u64;
            empty_store(self.now - SECOND, self.bytes_max, seed)
        });
        self.stores = fresh.collect();
        for record in records {
            match record.of().map(|of| self.home(&of.name)) {
                Some(home) => self.stores[home].unpack(packed, record).expect("sound"),
                None => {
                    for store in &mut self.stores {
                        store.unpack(packed, record.clone()).expect("sound");
                    }
                }
            }
        }
        self.stores.iter_mut().for_each(Store::unpacked);
        assert_eq!(messages(&self.stores), before);
        self.now = packed;
        if self.bytes_max < 64 << 10 {
            // Several cores may have had more than one may have.
            return;
        }
        assert_eq!(self.seen(), seen);
        for (holder, before) in holders.iter().zip(recoveries) {
            let after = self.recover(holder);
            match (before, after) {
                // What is said of one that is not born is another position.
                (
                    Recovery::Recovered { after: one, .. },
                    Recovery::Recovered { after: other, .. },
                ) => {
                    assert!(one == other || one.offset == 0 && other.offset == 0);
                }
                (Recovery::Recovered { .. }, Recovery::Gap(_)) => {
                    assert!(self.number > holder.process + 1, "{holder:?}");
                }
                (Recovery::Gap(_), Recovery::Gap(_)) => {}
                (Recovery::Gap(_), Recovery::Recovered { .. }) => panic!("{holder:?}"),
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize, u32, u64, usize),
    Hold(usize),
    Discard(usize),
    Pass(Duration),
    Upgrade(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let times = prop_oneof![
        4 => (0_u64..5_000).prop_map(Duration::from_millis),
        1 => (0_u64..30).prop_map(|hours| Duration::from_secs(3_600 * hours)),
    ];
    prop_oneof![
        8 => (0..NAMES, 1_u32..8, 1_u64..100_000, 0_usize..300)
            .prop_map(|(name, size, ttl, bytes)| Step::Append(name, size, ttl, bytes)),
        4 => (0..NAMES).prop_map(Step::Hold),
        1 => (0..NAMES).prop_map(Step::Discard),
        2 => times.prop_map(Step::Pass),
        1 => (1_usize..5, any::<u64>()).prop_map(|(cores, seed)| Step::Upgrade(cores, seed)),
    ]
}

proptest! {
    #![proptest_config(runs())]

    #[test]
    fn whoever_comes_back_after_upgrades_misses_nothing_without_a_word(
        cores in 1_usize..5,
        bytes_max in prop_oneof![Just(2_usize << 10), Just(1 << 20)],
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut process = Process::new(cores, bytes_max);
        for step in steps {
            match step {
                Step::Append(number, size, ttl, bytes) => {
                    process.append(number, keep(size, ttl), bytes);
                }
                Step::Hold(number) => process.hold(number),
                Step::Discard(number) => {
                    let (name, now) = (name(number), process.now);
                    process.store(&name).discard(now, Address::uid(NAMESPACE, &name));
                }
                Step::Pass(time) => process.now += time,
                Step::Upgrade(cores, seed) => process.upgrade(cores, seed),
            }
            process.check();
        }
    }
}

#[test]
fn where_all_is_kept_nobody_is_told_of_a_gap_after_any_upgrade() {
    for seed in 0..30 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut process = Process::new(random.usize(1..5), 16 << 20);
        for number in 0..NAMES {
            process.hold(number);
        }
        for round in 0..5 {
            for _ in 0..100 {
                let number = random.usize(..NAMES);
                match random.u8(..8) {
                    0 => process.hold(number),
                    1 => process.now += Duration::from_millis(random.u64(..3_000)),
                    // Some are born late, or never.
                    _ if number > 2 * round => {}
                    _ => process.append(number, keep(10_000, 80_000), 10),
                }
            }
            process.upgrade(random.usize(1..5), random.u64(..));
            assert_eq!(process.check(), 0, "seed {seed}");
            for number in 0..NAMES {
                let (name, now) = (name(number), process.now);
                let of = Address::uid(NAMESPACE, &name);
                let recovery = process.store(&name).recover_all(now, of);
                assert!(
                    matches!(recovery, Recovery::Recovered { .. }),
                    "seed {seed}: {recovery:?}"
                );
            }
        }
    }
}

#[test]
fn the_oldest_of_all_goes_first_after_an_upgrade() {
    let start = Instant::now();
    let mut store = empty_store(start, 16 << 20, 1);
    let mut random = fastrand::Rng::with_seed(5);
    for number in 0..1_000 {
        let name = name(random.usize(..NAMES));
        let of = Address::uid(NAMESPACE, &name);
        store.append(
            start,
            of,
            keep(1_000, 1_000),
            None,
            &text(&number.to_string()),
        );
    }
    let mut fresh = empty_store(start, 16 << 20, 2);
    for record in packed(&[store], start) {
        fresh.unpack(start, record).expect("sound");
    }
    fresh.unpacked();
    let mut left = 1_000;
    for bytes_max in [70 << 10, 50 << 10, 30 << 10] {
        fresh.renew(&Config {
            history_bytes_core_max: bytes_max,
            ..Config::default()
        });
        while fresh.advance(start, 10) {}
        let mut there = Vec::new();
        for number in 0..NAMES {
            let name = name(number);
            let piece = fresh.read_what_is_there(start, Address::uid(NAMESPACE, &name), 0, ALL);
            let texts = piece.map(|(_, payload)| payload.message().text().expect("a text"));
            there.extend(texts.map(|text| text.parse::<usize>().expect("a number")));
        }
        there.sort_unstable();
        assert!(there.len() < left, "{bytes_max}");
        left = there.len();
        assert_eq!(there, Vec::from_iter(1_000 - left..1_000));
    }
}

/// Ids, holes, what is too large, what waits for a login and what went before one.
fn eventful(start: Instant) -> Store {
    let mut store = empty_store(start, 4 << 10, 1);
    let of = |name| Address::uid(NAMESPACE, name);
    let queue = Keep {
        queue: true,
        ..keep(2, 100)
    };
    store.append(
        start,
        of("tom"),
        keep(9, 100),
        Some([7; 16]),
        &text("first"),
    );
    store.append(start, of("tom"), keep(9, 5), None, &text("short"));
    store.append(
        start,
        of("tom"),
        keep(9, 100),
        Some([8; 16]),
        &text("third"),
    );
    store.append(
        start,
        of("tom"),
        keep(9, 100),
        None,
        &text(&"x".repeat(5_000)),
    );
    for number in 0..4 {
        store.append(start, of("ann"), queue, None, &text(&number.to_string()));
    }
    store.set_delivered(of("ann"), 3);
    store.append(start, of("gone"), keep(1, 1), None, &text("gone"));
    let later = start + 6 * SECOND;
    while store.advance(later, 100) {}
    store
}

#[test]
fn all_that_a_store_knows_goes_along() {
    let start = Instant::now();
    let (store, later) = (eventful(start), start + 6 * SECOND);
    let mut fresh = empty_store(start + 5 * SECOND, 4 << 10, 2);
    for record in packed(&[store], later) {
        fresh.unpack(later, record).expect("sound");
    }
    fresh.unpacked();
    let of = |name| Address::uid(NAMESPACE, name);
    let again = fresh.append(
        later,
        of("tom"),
        keep(9, 100),
        Some([7; 16]),
        &text("first"),
    );
    assert_eq!(
        (again.outcome, again.position.offset),
        (Outcome::Repeated, 1)
    );
    assert_eq!(again.position.epoch, fresh.top(later, of("tom")).epoch);
    let there = |fresh: &mut Store, name, now| -> Vec<u64> {
        let piece = fresh.read_what_is_there(now, of(name), 0, ALL);
        piece.map(|(position, _)| position.offset).collect()
    };
    assert_eq!(there(&mut fresh, "tom", later), [1, 3]);
    assert_eq!(fresh.top(later, of("tom")).offset, 4);
    assert_eq!(there(&mut fresh, "ann", later), [3, 4]);
    assert_eq!(fresh.delivered(of("ann")), 3);
    // Messages 1 and 2 of the queue went before the login.
    let undelivered = fresh.take_undelivered();
    assert_eq!((&*undelivered[0].uid, undelivered[0].messages), ("ann", 2));
    assert_eq!(fresh.top(later, of("gone")).offset, 1);
    // Times go on: within a second of what was left.
    let end = start + 100 * SECOND;
    while fresh.advance(end - SECOND, 100) {}
    assert_eq!(there(&mut fresh, "tom", end - SECOND), [1, 3]);
    while fresh.advance(end + SECOND, 100) {}
    assert!(there(&mut fresh, "tom", end + SECOND).is_empty());
    // One that was empty since its sixth second is forgotten a day after that.
    while fresh.advance(start + META_TIME, 100) {}
    assert_eq!(fresh.top(start + META_TIME, of("gone")).offset, 1);
    while fresh.advance(start + META_TIME + 8 * SECOND, 100) {}
    assert_eq!(
        fresh.top(start + META_TIME + 8 * SECOND, of("gone")).offset,
        0
    );
}

#[test]
fn pieces_that_do_not_follow_are_refused() {
    let start = Instant::now();
    let mut store = empty_store(start, 16 << 20, 1);
    let long = "x".repeat(50_000);
    for _ in 0..9 {
        store.append(
            start,
            Address::uid(NAMESPACE, "tom"),
            keep(99, 100),
            None,
            &text(&long),
        );
    }
    let mut pieces = packed(&[store], start);
    pieces.retain(|record| record.of().is_some());
    assert!(pieces.len() > 2, "{}", pieces.len());
    let mut fresh = empty_store(start, 16 << 20, 2);
    fresh.unpack(start, pieces[0].clone()).expect("the first");
    assert!(fresh.unpack(start, pieces[0].clone()).is_err());
    assert!(fresh.unpack(start, pieces[2].clone()).is_err());
    for piece in pieces.drain(1..) {
        fresh.unpack(start, piece).expect("the next");
    }
    fresh.unpacked();
    assert_eq!(fresh.counters().messages, 9);
}
