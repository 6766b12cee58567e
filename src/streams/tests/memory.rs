//! What a store holds and gives back, as far as its own tables tell; `tests/memory.rs` counts it block by block.

use super::*;

#[test]
fn an_emptied_store_counts_nothing() {
    let start = Instant::now();
    let mut store = store(start, 64 << 20);
    let empty = store.counters();
    for number in 0..10_000 {
        let name = format!("uid {number}");
        let to = Address::uid(NAMESPACE, &name);
        let id = (number as u128).to_le_bytes();
        store.append(start, to, keep(10, 60), Some(id), &text("x"));
    }
    let full = store.counters();
    assert_eq!((full.streams, full.messages), (10_000, 10_000));
    while store.advance(start + 120 * SECOND, 1_000) {}
    assert_eq!(store.counters().streams, 10_000, "they are remembered");
    while store.advance(start + META_TIME + 120 * SECOND, 1_000) {}
    let counters = store.counters();
    let now = |it: Counters| (it.bytes, it.streams, it.messages);
    assert_eq!(now(counters), now(empty));
    assert_eq!(counters.evicted_by_time, 10_000);
    assert_eq!(store.tables(), (0, 0, 0));
}

/// What is over in a stream whose messages are in no order of their times goes in helpings, and the rest stays.
#[test]
fn messages_of_mixed_times_go_in_helpings() {
    let start = Instant::now();
    let mut store = store(start, 64 << 20);
    let to = Address::uid(NAMESPACE, "mixed");
    for number in 0..10_000 {
        let seconds = [600, 5][number % 2];
        store.append(start, to, keep(u32::MAX, seconds), None, &text("x"));
    }
    let mut helpings = 0;
    loop {
        let before = store.counters().messages;
        let more = store.advance(start + 10 * SECOND, 100);
        let gone = before - store.counters().messages;
        assert!(gone <= 100, "{gone} in one helping");
        helpings += 1;
        if !more {
            break;
        }
    }
    assert!((50..120).contains(&helpings), "{helpings}");
    assert_eq!(store.counters().messages, 5_000);
    while store.advance(start + 601 * SECOND, 100) {}
    assert_eq!(store.counters().messages, 0);
    assert_eq!(store.counters().evicted_by_time, 10_000);
}
