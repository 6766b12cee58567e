//! What a store holds and gives back, as far as its own tables tell; `tests/memory.rs` counts it block by block.

use super::*;

#[test]
fn an_emptied_store_counts_nothing() {
    let start = Instant::now();
    let mut store = store(start, 64 << 20);
    let empty = store.counters();
    for number in 0..10_000 {
        let name = format!("uid {number}");
        let to = Address::uid(SPACE, &name);
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
