//! What the shard compresses, for whom, and how often.

use super::*;
use crate::protocol::websocket::deflate::Inflater;
use crate::protocol::websocket::extension::Offer;

/// A connection that has agreed on compression with a window of so many bits.
pub fn open(shard: &mut Shard, bits: u8) -> ConnId {
    let id = super::open(shard, 0);
    let line = format!("permessage-deflate; server_max_window_bits={bits}");
    let offer = Offer::first(line.as_bytes()).unwrap();
    shard.connections.agree(id, offer.window());
    id
}

fn bound(shard: &mut Shard, bits: u8, uid: &str) -> ConnId {
    let id = open(shard, bits);
    assert!(shard.bind(id, uid));
    id
}

/// Takes what waits for a connection, which must be one frame: its first byte, and the text in it.
fn take(shard: &mut Shard, id: ConnId) -> (u8, String) {
    let frame = waiting(shard, id);
    write_all(shard, id);
    let (head, length) = match frame[1] {
        126 => (4, usize::from(frame[2]) << 8 | usize::from(frame[3])),
        length => (2, usize::from(length)),
    };
    let payload = &frame[head..];
    assert_eq!(payload.len(), length, "one frame");
    let text = match frame[0] {
        0xc1 => {
            let mut inflater = Inflater::default();
            let message = inflater.inflate(payload, true, 100_000).unwrap();
            message.text().unwrap().to_owned()
        }
        _ => String::from_utf8(payload.to_vec()).unwrap(),
    };
    (frame[0], text)
}

fn compressed(shard: &Shard) -> u64 {
    shard.snapshot().messages_compressed
}

#[test]
fn a_broadcast_is_compressed_once_for_all_who_want_it() {
    let mut shard = shard(&Config::default());
    let plain = super::bound(&mut shard, 0, "plain");
    let line = super::bound(&mut shard, 1, "line");
    let small = bound(&mut shard, 9, "small");
    let many: Vec<ConnId> = (0..300)
        .map(|n: u32| bound(&mut shard, [11, 15][n as usize % 2], &n.to_string()))
        .collect();
    let news = text(1_500);
    assert_eq!(shard.send_to_everybody(REACH, Message::Text(&news)), 303);
    check_accounts(&shard, "after the broadcast");
    assert_eq!(compressed(&shard), 1);
    for id in many {
        assert_eq!(take(&mut shard, id), (0xc1, news.clone()));
    }
    // Its window is smaller than the message.
    assert_eq!(take(&mut shard, small), (0x81, news.clone()));
    assert_eq!(take(&mut shard, plain), (0x81, news.clone()));
    assert_eq!(waiting(&shard, line), [news.as_bytes(), b"\n"].concat());
    write_all(&mut shard, line);
    assert_eq!(shard.outboxes.bytes(), 0);
    // The same for the connections of a uid, and for a group.
    for (n, bits) in [12, 15].into_iter().enumerate() {
        let id = bound(&mut shard, bits, "twice");
        shard.join(id, "group", None);
        let reached = shard.send_to_uid(REACH, "twice", Message::Text(&news));
        assert_eq!(reached as usize, n + 1);
    }
    assert_eq!(compressed(&shard), 3);
    shard.send_to_group(REACH, "group", Message::Text(&news), true);
    assert_eq!(compressed(&shard), 4);
}

#[test]
fn what_nobody_wants_compressed_is_not() {
    let mut shard = shard(&Config::default());
    let id = super::bound(&mut shard, 0, "u");
    shard.send_to_everybody(REACH, Message::Text(&text(5_000)));
    shard.send(id, Message::Text(&text(2_000)));
    assert_eq!(compressed(&shard), 0);
}

#[test]
fn what_is_small_or_does_not_get_smaller_is_left_alone() {
    let config = Config {
        compress_bytes_min: 100,
        ..Config::default()
    };
    let mut shard = shard(&config);
    let id = bound(&mut shard, 15, "u");
    let mut random = fastrand::Rng::with_seed(1);
    let noise: String = (0..100).map(|_| random.char('!'..'\u{800}')).collect();
    for (message, first) in [(text(99), 0x81), (text(100), 0xc1), (noise, 0x81)] {
        let sends: [fn(&mut Shard, ConnId, Message<'_>) -> bool; 3] = [
            |shard, id, message| shard.send(id, message),
            |shard, _, message| shard.send_to_uid(REACH, "u", message) == 1,
            |shard, _, message| shard.send_to_everybody(REACH, message) == 1,
        ];
        for send in sends {
            assert!(send(&mut shard, id, Message::Text(&message)));
            assert_eq!(take(&mut shard, id), (first, message.clone()));
            assert_eq!(shard.outboxes.bytes(), 0);
        }
    }
}

#[test]
fn what_it_has_agreed_on_moves_along() {
    let mut shard = shard(&Config::default());
    let message = text(2_000);
    for (bits, first) in [(15, 0xc1), (10, 0x81)] {
        let id = open(&mut shard, bits);
        let mut shard_part = shard.depart(id, Some("u".into())).unwrap();
        let id = shard.arrive(&mut shard_part, 0);
        shard.send(id, Message::Text(&message));
        assert_eq!(take(&mut shard, id), (first, message.clone()));
        shard.close(id, CloseReason::Normal);
        shard.remove(id);
    }
    // Nor does its place keep it for who comes next.
    let id = super::open(&mut shard, 0);
    shard.send(id, Message::Text(&message));
    assert_eq!(take(&mut shard, id), (0x81, message));
}

#[test]
fn an_outbox_counts_what_is_sent() {
    let mut shard = shard(&Config::default());
    let (wants, does_not) = (bound(&mut shard, 15, "a"), super::bound(&mut shard, 0, "b"));
    // Larger than an outbox may hold here, and much smaller compressed. The kernels of both take nothing.
    let large = text(90_000);
    for id in [wants, does_not] {
        shard.send(id, Message::Text("x"));
        shard.set_blocked(id, true);
    }
    assert!(shard.send(wants, Message::Text(&large)));
    check_accounts(&shard, "sent one by one");
    assert_eq!(shard.send_to_everybody(REACH, Message::Text(&large)), 1);
    check_accounts(&shard, "sent to everybody");
    assert_eq!(
        shard.connections.reason(does_not),
        Some(CloseReason::SlowConsumer)
    );
}
