//! Records in writing: an earlier release's are read, and what is damaged is refused.

use std::time::{Duration, Instant};

use ahash::RandomState;

use super::*;
use crate::config::Config;
use crate::events::{ClientMessage, Origin, Said, UidEvent, UidEventKind};
use crate::ident::{ConnName, CoreId, NamespaceId};
use crate::payload::{Message, Payload};
use crate::stats::CoreStats;
use crate::streams::{Address, Epoch, Keep, Limit, Position, Store};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(|pair| byte(pair).expect("a byte")).collect()
}

fn position(offset: u64) -> Position {
    let epoch = Epoch::of(5);
    Position { epoch, offset }
}

/// A store with a message that waits, one that is gone and an id.
fn stored(now: Instant) -> Vec<CoreRecord> {
    let mut store = Store::new(&Config::default(), now, RandomState::with_seeds(1, 2, 3, 4));
    let tom = Address::uid(NamespaceId(2), "tom");
    for (nth, text) in ["one", "two", "three"].into_iter().enumerate() {
        let keep = Keep {
            size: 9,
            ttl: Duration::from_secs([60, 1, 60][nth]),
            queue: true,
        };
        let id = (nth == 0).then_some([9; 16]);
        store.append(now, tom, keep, id, &Payload::new(Message::Text(text)));
    }
    let later = now + Duration::from_secs(2);
    while store.advance(later, 10) {}
    let mut records = Vec::new();
    store.pack(later, &mut |record| {
        records.push(CoreRecord::Stream(record))
    });
    records
}

/// One of each kind.
fn records() -> Vec<CoreRecord> {
    let counters = WrittenCounters::of(CoreStats {
        binds: 7,
        round_units_max: 3,
        ..CoreStats::default()
    });
    let mut records = stored(Instant::now());
    records.extend([
        CoreRecord::Answer(WrittenAnswer {
            id: "000102030405060708090a0b0c0d0e0f".into(),
            wanted: [3; 16],
            ago: Duration::from_millis(1_500),
            answer: "{}".into(),
        }),
        CoreRecord::Handled(WrittenHandled {
            namespace: NamespaceId(1),
            uid: "tom".into(),
            client: "tab 1".into(),
            own: Some(position(4)),
            all: None,
            groups: vec![("news".into(), position(5))],
            ago: Duration::from_secs(3),
        }),
        CoreRecord::Sticky(WrittenSticky {
            namespace: NamespaceId(0),
            uid: "ann".into(),
            groups: vec!["a".into(), "b".into()],
        }),
        CoreRecord::Presence(WrittenPresence {
            namespace: NamespaceId(0),
            group: "room".into(),
            members: vec![
                WrittenMember {
                    name: "tom".into(),
                    left: None,
                },
                WrittenMember {
                    name: "ann".into(),
                    left: Some(Duration::from_millis(200)),
                },
            ],
        }),
        CoreRecord::Everybody(NamespaceId(0), position(9)),
        CoreRecord::Generation(70_000),
        CoreRecord::Counters(CoreId(1), counters),
        CoreRecord::Events(CoreId(1), 12),
        CoreRecord::App(
            CoreId(0),
            WrittenApp {
                app: "chat".into(),
                nth: 1,
                bytes: b"due".to_vec(),
            },
        ),
    ]);
    records
}

fn process_records() -> Vec<ProcessRecord> {
    let message = ClientMessage {
        of: Origin {
            connection: ConnName::from((3, 1 << 32 | 2)),
            peer: ([192, 0, 2, 7], 4_711).into(),
            listener: 1,
            attributes: Some("{\"n\":1}".into()),
        },
        request: Some("\"a-1\"".into()),
        said: Said::Text("hello".into()),
    };
    vec![
        ProcessRecord::Webhooks(WrittenWebhooks {
            server: "5e".into(),
            batches: 8,
            begun: Some(WrittenBatch {
                events: 1,
                dropped: 2,
                ago: Duration::from_millis(70),
            }),
            untold: 2,
            listeners: vec![("push".into(), "ws://127.0.0.1/".into())],
        }),
        ProcessRecord::Event(Box::new(UidEvent {
            core: CoreId(3),
            number: 7,
            at: 1_700_000_000_250,
            uid: "tom".into(),
            what: UidEventKind::Message(Box::new(message)),
        })),
        ProcessRecord::Tickets(WrittenTickets {
            files: "a.pem".into(),
            keys: vec![(1_700_000_000, vec![1; 48])],
        }),
        ProcessRecord::LogLost(4),
    ]
}

/// One of each kind as version 1 has written it. While that is read at all, it is read like this; a change that breaks this test
/// makes another version.
const VERSION_1: &[&str] = &[
    "01000090f19bd1c289fa040200010000",
    "010001020003746f6d8babae9ceea7d2040190f19bd1c289fa040200010000030101036f6e6590c5030300010105746872656590c50301",
    "010002020003746f6d01090909090909090909090909090909098babae9ceea7d2040102",
    "010003020003746f6d01",
    "0101203030303130323033303430353036303730383039306130623063306430653066030303030303030303030303030303030180cab5ee01027b7d",
    "01020103746f6d0574616220310106040001046e65777306050300",
    "01030003616e6e0201610162",
    "01040004726f6f6d0203746f6d0003616e6e01008084af5f",
    "0105000609",
    "0106f0a204",
    "010701010562696e6473070003",
    "0108010c",
    "01090004636861740103647565",
];
const PROCESS_VERSION_1: &[&str] = &[
    "0100023565080101020080bbb021020104707573680f77733a2f2f3132372e302e302e312f",
    "01010307fad195ffbc3103746f6d0403828080801000c0000207e7240101077b226e223a317d010522612d3122000568656c6c6f",
    "010205612e70656d0180e2cfaa0630010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101010101",
    "010304",
];

#[test]
fn what_an_earlier_release_has_written_is_read() {
    let written: Vec<String> = records()
        .iter()
        .map(|record| hex(&record.write().expect("it is written")))
        .collect();
    assert_eq!(VERSION_1.len(), written.len(), "{written:#?}");
    for (nth, (known, record)) in VERSION_1.iter().zip(records()).enumerate() {
        let read = CoreRecord::read(&bytes_of(known)).expect("a record");
        assert_eq!(hex(&read.write().expect("it is written")), *known);
        // Of streams, positions are drawn.
        if !matches!(record, CoreRecord::Stream(_)) {
            assert_eq!(read, record, "{nth}");
        }
    }
    let (now, mut store) = empty_store();
    for known in VERSION_1 {
        if let Ok(CoreRecord::Stream(record)) = CoreRecord::read(&bytes_of(known)) {
            store.unpack(now, record).expect("sound");
        }
    }
    store.unpacked();
    let tom = Address::uid(NamespaceId(2), "tom");
    let all = Limit {
        messages: 9,
        bytes: 99,
    };
    let piece = store.read_what_is_there(now, tom, 0, all);
    let texts: Vec<(u64, &str)> = piece
        .map(|(position, payload)| (position.offset, payload.message().text().expect("a text")))
        .collect();
    assert_eq!(texts, [(1, "one"), (3, "three")]);
}

#[test]
fn what_an_earlier_process_has_written_is_read() {
    let written: Vec<String> = process_records()
        .iter()
        .map(|record| hex(&record.write().expect("it is written")))
        .collect();
    assert_eq!(PROCESS_VERSION_1, written, "{written:#?}");
    for (known, record) in PROCESS_VERSION_1.iter().zip(process_records()) {
        assert_eq!(ProcessRecord::read(&bytes_of(known)), Ok(record));
    }
}

fn empty_store() -> (Instant, Store) {
    let now = Instant::now();
    let store = Store::new(&Config::default(), now, RandomState::with_seeds(5, 6, 7, 8));
    (now, store)
}

#[test]
fn another_version_is_named() {
    let mut written = records()[0].write().expect("it is written");
    written[0] = 7;
    assert_eq!(CoreRecord::read(&written), Err(BadRecord::Version(7)));
    assert_eq!(ProcessRecord::read(&written), Err(BadRecord::Version(7)));
    let text = BadRecord::Version(7).to_string();
    assert!(
        text.contains("version 7") && text.contains("version 1"),
        "{text}"
    );
}

#[test]
fn what_is_cut_off_or_damaged_is_refused_or_sound() {
    let (now, mut store) = empty_store();
    let mut refused = 0;
    for record in records() {
        let written = record.write().expect("it is written");
        for length in 0..written.len() {
            assert!(CoreRecord::read(&written[..length]).is_err(), "{record:?}");
        }
        assert!(CoreRecord::read(&[&written[..], b"x"].concat()).is_err());
        for at in 0..written.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = written.clone();
                damaged[at] = byte;
                match CoreRecord::read(&damaged) {
                    // What it says now can be written again, and taken or not.
                    Ok(read) => {
                        assert!(read.write().is_ok());
                        if let CoreRecord::Stream(stream) = read {
                            let _ = store.unpack(now, stream);
                        }
                    }
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 1_000, "{refused}");
    store.unpacked();
    for hours in [0, 1, 30, 60] {
        let later = now + Duration::from_secs(3_600 * hours);
        while store.advance(later, 1_000) {}
        let top = store.top(later, Address::uid(NamespaceId(2), "tom"));
        assert!(top.offset < 1 << 20, "{top}");
    }
    for record in process_records() {
        let written = record.write().expect("it is written");
        for length in 0..written.len() {
            assert!(
                ProcessRecord::read(&written[..length]).is_err(),
                "{record:?}"
            );
        }
        for at in 0..written.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = written.to_vec();
                damaged[at] = byte;
                if let Ok(read) = ProcessRecord::read(&damaged) {
                    assert!(read.write().is_ok());
                }
            }
        }
    }
}

#[test]
fn what_is_not_here_is_dropped_and_all_else_goes_by_the_numbers_here() {
    let numbers = Renumbering {
        namespace: &|namespace| (namespace.0 > 0).then_some(NamespaceId(namespace.0 + 10)),
        listener: &|listener| (listener > 0).then_some(listener + 10),
    };
    let mut dropped = Vec::new();
    for mut record in records() {
        match record.renumber(&numbers) {
            true => {
                if let CoreRecord::Handled(one) = &record {
                    assert_eq!(one.namespace, NamespaceId(11));
                }
                if let CoreRecord::Stream(stream) = &record
                    && let Some(of) = stream.of()
                {
                    assert_eq!(of.namespace, NamespaceId(12));
                }
            }
            false => dropped.push(record.what()),
        }
    }
    assert_eq!(
        dropped,
        [
            "a sticky member",
            "members of a group",
            "everybody's position"
        ]
    );
    let mut counters = WrittenCounters::default();
    counters.paused = vec![(0, "memory".into(), 1), (1, "memory".into(), 2)];
    let mut record = CoreRecord::Counters(CoreId(0), counters.clone());
    assert!(record.renumber(&numbers));
    counters.paused = vec![(11, "memory".into(), 2)];
    assert_eq!(record, CoreRecord::Counters(CoreId(0), counters));
}
