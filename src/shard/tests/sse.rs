//! Connections that listen by Server-Sent Events: their head waits for the bind, their silence says nothing.

use super::*;
use crate::protocol::sse;

/// A websocket listener and one for events, in the same namespace.
fn both(config: &Config) -> Shard {
    let specs = [
        spec(Codec::WebSocket, 0, 10_000),
        spec(Codec::Sse, 0, 10_000),
    ];
    Shard::new(config, Rc::from(specs), 1)
}

/// One that has asked, and is to bind.
fn asked(shard: &mut Shard) -> ConnId {
    let id = shard.insert(1, peer());
    let head = sse::head(None, 0);
    shard.send_raw(id, |_, out| out.extend_from_slice(&head));
    assert!(shard.opened(id));
    assert!(shard.connections.set_session(id, 0));
    id
}

fn starts(shard: &Shard, id: ConnId, start: &str) -> bool {
    waiting(shard, id).starts_with(start.as_bytes())
}

#[test]
fn a_group_and_everybody_hold_them_beside_websockets() {
    let mut shard = both(&Config::default());
    let socket = bound(&mut shard, 0, "a");
    let one = asked(&mut shard);
    assert!(shard.bind(one, "b"));
    for id in [socket, one] {
        shard.join(id, "g", None);
        write_all(&mut shard, id);
    }
    let reach = Reach(1);
    assert_eq!(
        shard.send_to_group(reach, "g", Message::Text("x\ny"), false),
        2
    );
    assert_eq!(shard.send_to_everybody(reach, Message::Text("z")), 2);
    assert_eq!(shard.send_to_uid(reach, "b", Message::Text("")), 1);
    assert_eq!(
        waiting(&shard, one),
        b"data: x\ndata: y\n\ndata: z\n\ndata: \n\n"
    );
    assert_eq!(waiting(&shard, socket), b"\x81\x03x\ny\x81\x01z");
    check_accounts(&shard, "two codecs");
}

#[test]
fn a_status_takes_the_place_of_a_head_that_has_not_left() {
    let config = Config {
        uid_policy: UidPolicy::Reject,
        ..Config::default()
    };
    let mut shard = both(&config);
    let _first = bound(&mut shard, 0, "a");
    let one = asked(&mut shard);
    assert!(!shard.bind(one, "a"));
    shard.close(one, CloseReason::UidInUse);
    assert!(starts(&shard, one, "HTTP/1.1 409 "));
    check_accounts(&shard, "kept out");
    // One that has moved before it binds is no other.
    let one = asked(&mut shard);
    let mut shard_part = shard.depart(one, Some("a".into())).expect("it is there");
    let one = shard.arrive(&mut shard_part, 0);
    shard.close(one, CloseReason::UidInUse);
    assert!(starts(&shard, one, "HTTP/1.1 409 "));
    // One that is bound has been let in: it gets its head, and what was sent to it.
    let one = asked(&mut shard);
    assert!(shard.bind(one, "b"));
    assert_eq!(shard.send_to_uid(Reach(1), "b", Message::Text("x")), 1);
    shard.close(one, CloseReason::Kicked);
    assert!(starts(&shard, one, "HTTP/1.1 200 "));
    let all = String::from_utf8(waiting(&shard, one)).expect("text");
    assert!(
        all.contains("\ndata: x\n\nretry: 60000\nevent: close\n"),
        "{all}"
    );
    // But for one that is too slow what waits is dropped, and no end goes without a head.
    let one = asked(&mut shard);
    assert!(shard.bind(one, "c"));
    assert_eq!(shard.send_to_uid(Reach(1), "c", Message::Text("x")), 1);
    shard.close(one, CloseReason::SlowConsumer);
    assert!(starts(&shard, one, "HTTP/1.1 "));
    assert!(!starts(&shard, one, "HTTP/1.1 200 "));
    check_accounts(&shard, "each way");
}

#[test]
fn one_whose_head_has_left_is_told_by_an_event() {
    let mut shard = both(&Config::default());
    for left in [1, 40, usize::MAX] {
        let one = asked(&mut shard);
        assert!(shard.bind(one, "a"));
        let all = waiting(&shard, one).len();
        shard.written(one, left.min(all));
        assert_eq!(shard.send_to_uid(Reach(1), "a", Message::Text("x")), 1);
        shard.close(one, CloseReason::Kicked);
        let text = String::from_utf8(waiting(&shard, one)).expect("text");
        let end = "data: x\n\nretry: 60000\nevent: close\ndata: {\"code\":4007,\"reason\":\"kicked\"}\n\n";
        assert!(text.ends_with(end), "{text}");
        assert!(!text.starts_with("HTTP"), "{text}");
    }
    check_accounts(&shard, "told");
}

#[test]
fn their_silence_ends_nothing_and_they_are_pinged() {
    let config = Config {
        idle_timeout: Duration::from_secs(2),
        login_timeout: Duration::from_secs(2),
        ping_interval: Duration::from_secs(5),
        ..Config::default()
    };
    let mut shard = both(&config);
    let (unbound, one) = (asked(&mut shard), asked(&mut shard));
    assert!(shard.bind(one, "a"));
    write_all(&mut shard, one);
    let mut pings = 0;
    for second in 1..=32 {
        shard.clock.set_now(ticks(Duration::from_secs(second)));
        shard.expire();
        let pinged = waiting(&shard, one);
        assert!(pinged.is_empty() || pinged == b":\n", "{pinged:?}");
        pings += usize::from(!pinged.is_empty());
        write_all(&mut shard, one);
    }
    assert!((4..=7).contains(&pings), "{pings}");
    assert_eq!(shard.connections.phase(unbound), Phase::Open);
    assert_eq!(shard.connections.phase(one), Phase::Home);
}
