//! The cases of coming back, each told to every engine there is; and those that a store alone has.

use super::plain::Plain;
use super::*;

/// All engines, empty.
fn engines(now: Instant) -> [Box<dyn Engine>; 2] {
    [Box::new(store(now, 1 << 20)), Box::new(Plain::new(now))]
}

fn group() -> Address<'static> {
    Address::group(NAMESPACE, "g")
}

/// Appends so many, numbered from what is there.
fn append(engine: &mut dyn Engine, now: Instant, count: u64, keep: Keep) -> Position {
    for _ in 0..count {
        let number = engine.top(now, group()).offset + 1;
        let payload = text(&number.to_string());
        let appended = engine.append(now, group(), keep, None, &payload);
        assert_eq!(appended.position.offset, number);
    }
    engine.top(now, group())
}

/// What somebody at this position gets: the numbers, or a gap.
fn read(engine: &mut dyn Engine, now: Instant, after: Option<Position>) -> Result<Vec<u64>, Gap> {
    let page = engine.read(now, group(), after, ALL)?;
    let each = page.messages.iter().map(|(position, payload)| {
        assert_eq!(position.epoch, page.top.epoch);
        let text = payload.message().text().expect("it was text");
        assert_eq!(text, position.offset.to_string());
        position.offset
    });
    Ok(each.collect())
}

fn at(top: Position, offset: u64) -> Option<Position> {
    Some(Position { offset, ..top })
}

#[test]
fn at_the_top_and_around_it() {
    let now = Instant::now();
    for mut engine in engines(now) {
        let engine = engine.as_mut();
        let top = append(engine, now, 5, keep(100, 60));
        assert_eq!(read(engine, now, Some(top)), Ok(vec![]));
        assert_eq!(read(engine, now, at(top, 4)), Ok(vec![5]));
        assert_eq!(read(engine, now, at(top, 0)), Ok(vec![1, 2, 3, 4, 5]));
        let gap = |asked| Gap {
            asked,
            first: at(top, 1),
            top,
        };
        for asked in [at(top, 6), at(top, u64::MAX), None] {
            assert_eq!(read(engine, now, asked), Err(gap(asked)));
        }
        let other = Position {
            epoch: Epoch::of(36_u64.pow(10) / 3),
            ..top
        };
        for offset in [0, 4, 5] {
            let asked = at(other, offset);
            assert_eq!(read(engine, now, asked), Err(gap(asked)));
        }
    }
}

#[test]
fn the_window_was_just_left() {
    let now = Instant::now();
    for mut engine in engines(now) {
        let engine = engine.as_mut();
        let top = append(engine, now, 10, keep(3, 60));
        assert_eq!(read(engine, now, at(top, 7)), Ok(vec![8, 9, 10]));
        let gap = read(engine, now, at(top, 6)).expect_err("7 is gone");
        assert_eq!((gap.first, gap.top), (at(top, 8), top));
    }
}

#[test]
fn the_time_ran_out_and_the_position_is_remembered() {
    let start = Instant::now();
    for mut engine in engines(start) {
        let engine = engine.as_mut();
        let top = append(engine, start, 3, keep(100, 60));
        // To the second: they are there for all of their time, and gone 2 s after it at the latest.
        let nearly = start + 59 * SECOND;
        assert_eq!(read(engine, nearly, at(top, 0)), Ok(vec![1, 2, 3]));
        let over = start + 62 * SECOND;
        assert_eq!(read(engine, over, Some(top)), Ok(vec![]));
        let gap = read(engine, over, at(top, 2)).expect_err("3 is gone");
        assert_eq!((gap.first, gap.top), (None, top));
        // It goes on with the next offset.
        assert_eq!(append(engine, over, 1, keep(100, 60)).offset, 4);
        assert_eq!(read(engine, over, Some(top)), Ok(vec![4]));
    }
}

#[test]
fn one_whose_time_is_shorter_leaves_a_gap_for_those_before_it_alone() {
    let start = Instant::now();
    for mut engine in engines(start) {
        let engine = engine.as_mut();
        append(engine, start, 2, keep(100, 600));
        append(engine, start, 1, keep(100, 5));
        let top = append(engine, start, 2, keep(100, 600));
        let later = start + 10 * SECOND;
        let gap = read(engine, later, at(top, 1)).expect_err("3 is gone");
        assert_eq!(gap.first, at(top, 4));
        assert_eq!(read(engine, later, at(top, 3)), Ok(vec![4, 5]));
    }
}

#[test]
fn the_same_id_is_the_same_message() {
    let start = Instant::now();
    for mut engine in engines(start) {
        let (one, two) = ([1; 16], [2; 16]);
        let mut append = |now, id| {
            let payload = text("x");
            let appended = engine.append(now, group(), keep(100, 600), Some(id), &payload);
            (appended.position.offset, appended.outcome)
        };
        assert_eq!(append(start, one), (1, Outcome::Kept));
        assert_eq!(append(start, one), (1, Outcome::Repeated));
        assert_eq!(append(start, two), (2, Outcome::Kept));
        let nearly = start + 119 * SECOND;
        assert_eq!(append(nearly, one), (1, Outcome::Repeated));
        assert_eq!(append(start + 121 * SECOND, one), (3, Outcome::Kept));
        // An id is its stream's own.
        let other = Address::group(NAMESPACE, "h");
        let appended = engine.append(start, other, keep(1, 1), Some(two), &text("x"));
        assert_eq!(appended.outcome, Outcome::Kept);
    }
}

#[test]
fn a_limit_is_met_and_read_on_from() {
    let now = Instant::now();
    for mut engine in engines(now) {
        let engine = engine.as_mut();
        let top = append(engine, now, 301, keep(1_000, 600));
        let limit = Limit {
            messages: 300,
            bytes: usize::MAX,
        };
        let page = engine.read(now, group(), at(top, 0), limit).expect("all");
        assert_eq!(page.messages.len(), 300);
        assert_eq!(page.top, top);
        let after = page.messages.last().map(|(position, _)| *position);
        let page = engine.read(now, group(), after, limit).expect("the rest");
        assert_eq!(page.messages.len(), 1);
        // By bytes: one is read however large it is.
        let limit = Limit {
            messages: 300,
            bytes: 0,
        };
        let page = engine.read(now, group(), at(top, 0), limit).expect("one");
        assert_eq!(page.messages.len(), 1);
    }
}

#[test]
fn whoever_came_before_the_stream_was_born_gets_all_of_it() {
    let start = Instant::now();
    for mut engine in engines(start) {
        let engine = engine.as_mut();
        let unborn = engine.top(start, group());
        assert_eq!(unborn.offset, 0);
        assert_eq!(read(engine, start, Some(unborn)), Ok(vec![]));
        let later = start + 100 * SECOND;
        append(engine, later, 3, keep(100, 60));
        assert_eq!(read(engine, later, Some(unborn)), Ok(vec![1, 2, 3]));
        // Its first is gone: whoever had none of it has missed one.
        append(engine, later, 1, keep(3, 60));
        let gap = read(engine, later, Some(unborn)).expect_err("1 is gone");
        assert_eq!(gap.first.map(|first| first.offset), Some(2));
    }
}

#[test]
fn what_was_thrown_away_is_a_gap_and_the_top_stays() {
    let now = Instant::now();
    for mut engine in engines(now) {
        let engine = engine.as_mut();
        assert_eq!(engine.discard(now, group()), 0);
        let top = append(engine, now, 3, keep(100, 60));
        assert_eq!(engine.discard(now, group()), 3);
        assert_eq!(engine.top(now, group()), top);
        assert_eq!(read(engine, now, Some(top)), Ok(vec![]));
        assert!(read(engine, now, at(top, 2)).is_err());
        append(engine, now, 1, keep(100, 60));
        assert_eq!(read(engine, now, Some(top)), Ok(vec![4]));
    }
}

/// Positions of a stream that was forgotten wholly, and of those that were never born, from before and after.
#[test]
fn a_forgotten_stream_is_a_gap_to_all_that_may_have_missed_it() {
    let start = Instant::now();
    let mut store = store(start, 1 << 20);
    let other = Address::uid(NAMESPACE, "never");
    let before = store.top(start, group());
    let born = start + 10 * SECOND;
    let top = append(&mut store, born, 2, keep(100, 60));
    let between = store.top(born + 5 * SECOND, other);
    assert_ne!(before, between, "the core's epoch has moved on");
    // Nobody was told that of a stream: no message of one that is not born, and none that was not born then.
    let above = at(before, 1);
    assert!(store.read(born, other, above, ALL).is_err());
    assert!(read(&mut store, born, above).is_err());
    assert!(read(&mut store, born + 5 * SECOND, Some(between)).is_err());
    // An empty stream is remembered for its time.
    let emptied = born + 61 * SECOND;
    assert!(!store.advance(emptied, 100));
    let nearly = emptied + META_TIME - SECOND;
    assert_eq!(read(&mut store, nearly, Some(top)), Ok(vec![]));
    assert_eq!(
        read(&mut store, nearly, at(top, 0)).map_err(|gap| gap.first),
        Err(None)
    );
    let recovered = |store: &mut Store, now, of, asked| {
        let recovery = store.recover(now, of, Some(asked));
        matches!(recovery, Recovery::Recovered { .. })
    };
    assert!(recovered(&mut store, nearly, other, before));

    let forgotten = emptied + META_TIME + SECOND;
    for asked in [
        before,
        top,
        at(top, 1).expect("one"),
        at(top, 0).expect("one"),
    ] {
        let gap = read(&mut store, forgotten, Some(asked)).expect_err("its stream is forgotten");
        assert_eq!((gap.first, gap.top.offset), (None, 0));
        assert_ne!(gap.top.epoch, before.epoch);
    }
    // Whose stream was not born cannot be told apart from it, if it came before that was born; but after it can.
    assert!(!recovered(&mut store, forgotten, other, before));
    assert!(recovered(&mut store, forgotten, other, between));
    assert!(recovered(&mut store, forgotten, group(), between));
    // The next life has another epoch, and who has waited since the last one gets all of it.
    let next = append(&mut store, forgotten, 2, keep(100, 60));
    assert_ne!(next.epoch, top.epoch);
    assert_eq!(read(&mut store, forgotten, Some(between)), Ok(vec![1, 2]));
    for asked in [
        before,
        top,
        at(top, 1).expect("one"),
        at(top, 0).expect("one"),
    ] {
        assert!(read(&mut store, forgotten, Some(asked)).is_err());
    }
    assert_eq!(store.counters().gaps, 3 + 1 + 4 + 1 + 4);
}

/// A stream that is born and forgotten within one turn.
#[test]
fn a_position_is_no_good_after_a_life_that_left_nothing() {
    let now = Instant::now();
    let mut store = store(now, 64 << 10);
    let unborn = store.top(now, group());
    append(&mut store, now, 1, keep(100, 60));
    store.discard(now, group());
    // So many others that its position is forgotten.
    let mut number = 0;
    while store.top(now, group()).offset > 0 {
        number += 1;
        let name = format!("other {number}");
        let to = Address::uid(NAMESPACE, &name);
        store.append(now, to, keep(1, 60), None, &text("x"));
        store.discard(now, to);
    }
    assert!(store.counters().forgotten_by_bytes > 0);
    assert_ne!(store.top(now, group()), unborn);
    assert!(store.read(now, group(), Some(unborn), ALL).is_err());
    append(&mut store, now, 1, keep(100, 60));
    assert!(store.read(now, group(), Some(unborn), ALL).is_err());
}

/// What goes while a replay is under way is a gap to its next piece.
#[test]
fn eviction_amid_a_replay_is_seen() {
    let now = Instant::now();
    let mut store = store(now, 64 << 10);
    let top = append(&mut store, now, 100, keep(1_000, 600));
    let limit = Limit {
        messages: 10,
        bytes: usize::MAX,
    };
    let piece = store.read(now, group(), at(top, 0), limit).expect("all");
    let after = piece.last().map(|(position, _)| position);
    assert_eq!(after, at(top, 10));
    let large = text(&"x".repeat(1_000));
    let other = Address::uid(NAMESPACE, "other");
    let mut pieces = 0;
    // The oldest of all go first: this replay's.
    while let Ok(piece) = store.read(now, group(), after, limit) {
        pieces += usize::from(piece.count() == 10);
        store.append(now, other, keep(1_000, 600), None, &large);
    }
    assert!(pieces > 10, "{pieces}");
    let counters = store.counters();
    assert!(
        (11..30).contains(&counters.evicted_by_bytes),
        "{counters:?}"
    );
    assert!(counters.bytes <= 64 << 10);
    assert_eq!(counters.gaps, 1);
}

/// The clock that is asked here cannot go back; whoever hands an older time than before changes nothing.
#[test]
fn an_older_time_changes_nothing() {
    let start = Instant::now();
    let mut store = store(start, 1 << 20);
    let top = append(&mut store, start + 100 * SECOND, 2, keep(100, 10));
    assert_eq!(read(&mut store, start, at(top, 0)), Ok(vec![1, 2]));
    let top = append(&mut store, start, 1, keep(100, 10));
    assert_eq!(top.offset, 3);
    assert!(
        read(&mut store, start + 100 * SECOND, at(top, 2)).is_err(),
        "it is over"
    );
    // Years have passed at once.
    store.advance(start + Duration::from_secs(1 << 40), 100);
    assert_eq!(store.counters().streams, 0);
}

#[test]
fn one_that_is_larger_than_all_is_a_gap_and_nothing_else_goes() {
    let now = Instant::now();
    let mut store = store(now, 64 << 10);
    let other = Address::uid(NAMESPACE, "other");
    store.append(now, other, keep(10, 60), None, &text("stays"));
    let top = append(&mut store, now, 2, keep(10, 60));
    let large = text(&"x".repeat(64 << 10));
    let appended = store.append(now, group(), keep(10, 60), None, &large);
    assert_eq!(
        (appended.position.offset, appended.outcome),
        (3, Outcome::TooLarge)
    );
    assert!(read(&mut store, now, Some(top)).is_err());
    assert_eq!(read(&mut store, now, at(top, 3)), Ok(vec![]));
    append(&mut store, now, 1, keep(10, 60));
    assert_eq!(read(&mut store, now, at(top, 3)), Ok(vec![4]));
    // What was kept before it is there, though nobody can have all that followed.
    let numbers = |piece: Piece<'_>| piece.map(|(it, _)| it.offset).collect::<Vec<_>>();
    let there = store.read_what_is_there(now, group(), 0, ALL);
    assert_eq!(numbers(there), [1, 2, 4]);
    let there = store.read_what_is_there(now, group(), 1, ALL).backwards();
    assert_eq!(numbers(there), [4, 2]);
    assert_eq!(store.counters().messages, 4);
}

/// A queue: what was not delivered and goes is told of.
#[test]
fn what_goes_undelivered_is_told() {
    let start = Instant::now();
    let mut store = store(start, 1 << 20);
    let uid = Address::uid(NAMESPACE, "u");
    let queue = Keep {
        queue: true,
        ..keep(5, 60)
    };
    for number in 0..5 {
        store.append(start, uid, queue, None, &text(&number.to_string()));
    }
    assert_eq!(store.delivered(uid), 0);
    store.set_delivered(uid, 3);
    // One too many: the first, which was delivered.
    store.append(start, uid, queue, None, &text("5"));
    assert!(store.take_undelivered().is_empty());
    let waiting = store.read_what_is_there(start, uid, store.delivered(uid), ALL);
    let waiting: Vec<u64> = waiting.map(|(it, _)| it.offset).collect();
    assert_eq!(waiting, [4, 5, 6]);
    // Put back, for its acknowledgement did not come.
    store.put_back(uid, 2);
    store.advance(start + 61 * SECOND, 100);
    let told = Undelivered {
        namespace: NAMESPACE,
        uid: "u".into(),
        messages: 4,
    };
    assert_eq!(store.take_undelivered(), [told]);
    assert!(store.take_undelivered().is_empty());
    assert_eq!(store.counters().undelivered, 4);
    store.set_delivered(uid, 100);
    assert_eq!(store.delivered(uid), 6, "no further than the top");
}

#[test]
fn what_is_due_at_once_goes_in_helpings() {
    let start = Instant::now();
    let mut store = store(start, 1 << 30);
    append(&mut store, start, 1_000, keep(10_000, 10));
    let later = start + 11 * SECOND;
    let mut helpings = 1;
    while store.advance(later, 100) {
        helpings += 1;
    }
    assert_eq!(helpings, 10);
    assert_eq!(store.counters().evicted_by_time, 1_000);
    // So does what is beyond a lower bound, and meanwhile there is no more than there was.
    append(&mut store, later, 5_000, keep(10_000, 600));
    let before = store.counters().bytes;
    store.renew(&Config {
        history_bytes_core_max: 64 << 10,
        ..Config::default()
    });
    append(&mut store, later, 10, keep(10_000, 600));
    let after = store.counters().bytes;
    assert!(after <= before && after > before / 2, "{after} of {before}");
    while store.advance(later, 100) {}
    assert!(store.counters().bytes <= 64 << 10);
    assert_eq!(
        read(&mut store, later, None).map_err(|gap| gap.top.offset),
        Err(6_010)
    );
}
