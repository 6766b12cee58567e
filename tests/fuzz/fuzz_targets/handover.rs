//! What a core leaves to another process, in writing: whatever is read can be written again and says the same then, and a
//! store takes in what it holds of streams, or refuses it.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use ringpost::Config;
use ringpost::handover::{BadRecord, CoreRecord, ProcessRecord, RecordPlace, Renumbering, VERSION};
use ringpost::ident::NamespaceId;
use ringpost::streams::{Address, Limit, Store};

fuzz_target!(|bytes: &[u8]| {
    let now = Instant::now();
    let mut store = Store::new(
        &Config::default(),
        now,
        ahash::RandomState::with_seeds(1, 2, 3, 4),
    );
    // Records one behind the other, each behind its length.
    let mut rest = bytes;
    while let Some((length, more)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(more.len());
        let (written, after) = more.split_at(length);
        rest = after;
        check_of_process(written);
        let record = match CoreRecord::read(written) {
            Ok(record) => record,
            Err(BadRecord::Version(version)) => {
                assert_ne!(version, VERSION);
                continue;
            }
            Err(BadRecord::Damaged(_)) => continue,
        };
        let once = record.write().expect("what was read is written");
        let mut again = CoreRecord::read(&once).expect("what was written is read");
        assert_eq!(again, record, "it says something else");
        assert_eq!(again.write().as_ref(), Ok(&once));
        if let RecordPlace::Home(name) = record.place() {
            assert!(!name.is_empty());
        }
        let numbers = Renumbering {
            namespace: &|namespace| (namespace.0 < 1_000).then_some(namespace),
            listener: &|listener| (listener < 1_000).then_some(listener),
        };
        let _ = again.renumber(&numbers);
        if let CoreRecord::Stream(stream) = record {
            let _ = store.unpack(now, stream);
        }
    }
    store.unpacked();
    let all = Limit {
        messages: usize::MAX,
        bytes: usize::MAX,
    };
    let mut later = now;
    for _ in 0..3 {
        for name in ["tom", "all", "g"] {
            for of in [
                Address::uid(NamespaceId(0), name),
                Address::all(NamespaceId(0)),
            ] {
                let top = store.top(later, of);
                let there = store.read_what_is_there(later, of, 0, all).count();
                assert!(there as u64 <= top.offset);
                let _ = store.recover(later, of, Some(top));
                let _ = store.recover_all(later, of);
            }
        }
        later += Duration::from_secs(100_000);
        while store.advance(later, 1_000) {}
    }
});

fn check_of_process(written: &[u8]) {
    if let Ok(record) = ProcessRecord::read(written) {
        let once = record.write().expect("what was read is written");
        assert_eq!(ProcessRecord::read(&once).as_ref(), Ok(&record));
    }
}
