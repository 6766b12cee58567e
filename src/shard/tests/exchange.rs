//! Connections that ask by HTTP: what is due for them and when, that their answers leave, that they are counted apart, and
//! how one becomes another kind.

use super::*;

/// A listener for HTTP, one for websockets at a path of it, and one for events by it.
fn site() -> Shard {
    let http = ListenerSpec {
        pauses: true,
        binds: false,
        ..spec(Codec::Http, 0, 1_000)
    };
    let socket = ListenerSpec {
        shown: 1,
        ..spec(Codec::WebSocket, 0, 10_000)
    };
    let specs = [http, socket, spec(Codec::Sse, 0, 10_000)];
    Shard::new(&Config::default(), Rc::from(specs), 1)
}

/// Lets so much time pass.
fn pass(shard: &mut Shard, time: Duration) {
    shard.clock.set_now(shard.clock.now() + ticks(time));
    shard.expire();
}

fn says(shard: &Shard, id: ConnId, start: &str) {
    let waits = waiting(shard, id);
    let text = String::from_utf8_lossy(&waits);
    assert!(
        text.starts_with(start) && (start.is_empty() == waits.is_empty()),
        "{text:?}"
    );
}

#[test]
fn each_state_has_its_time_and_its_last_word() {
    let handshake = Config::default().handshake_timeout;
    let minute = Duration::from_secs(60);
    for (exchange, time, reason, word) in [
        (Exchange::New, handshake, CloseReason::HandshakeTimeout, ""),
        (
            Exchange::Provisional,
            Duration::from_secs(1),
            CloseReason::ConnectionLimit,
            "HTTP/1.1 503 ",
        ),
        (
            Exchange::Arriving,
            handshake,
            CloseReason::HandshakeTimeout,
            "HTTP/1.1 408 ",
        ),
        (Exchange::Answering, minute, CloseReason::Idle, ""),
        (Exchange::Telling, minute, CloseReason::Idle, ""),
        (Exchange::Idle, minute, CloseReason::Idle, ""),
    ] {
        let mut shard = site();
        let id = shard.insert_http(0, peer());
        // Each begins anew.
        pass(&mut shard, handshake / 2);
        shard.set_exchange(id, exchange);
        pass(&mut shard, time - TICK);
        assert_eq!(shard.connections.exchange(id), Some(exchange));
        pass(&mut shard, 2 * TICK);
        assert_eq!(shard.connections.reason(id), Some(reason), "{exchange:?}");
        says(&shard, id, word);
        // Its end is not an app's to know.
        assert!(shard.endings.next_ended().is_none());
        write_all(&mut shard, id);
        shard.remove(id);
        assert_eq!(
            (
                shard.connections.http_connections(),
                shard.stats.by_listener[0]
            ),
            (0, 0)
        );
        assert_eq!(shard.stats.http_closed[reason.index()], 1);
        let counted = u64::from(exchange == Exchange::Provisional);
        assert_eq!(shard.stats.closed.iter().sum::<u64>(), counted);
    }
}

#[test]
fn one_that_has_had_its_last_answer_may_go_on_sending_for_a_while() {
    let config = Config::default();
    assert!(config.close_timeout * 5 < config.handshake_timeout);
    let mut shard = site();
    let id = shard.insert_http(0, peer());
    shard.close(id, CloseReason::Normal);
    pass(&mut shard, config.handshake_timeout - TICK);
    assert!(shard.endings.take_overdue().is_empty());
    pass(&mut shard, 2 * TICK);
    assert_eq!(shard.endings.take_overdue(), [id]);
    // Unless the server stops.
    let other = shard.insert_http(0, peer());
    shard.close(other, CloseReason::Normal);
    shard.hasten(other);
    pass(&mut shard, config.close_timeout + TICK);
    assert_eq!(shard.endings.take_overdue(), [other]);
}

#[test]
fn answers_leave_whatever_their_size_and_are_counted_nowhere() {
    let mut shard = site();
    let id = shard.insert_http(0, peer());
    for size in [10, 5_000] {
        shard.set_exchange(id, Exchange::Answering);
        let reply = shard.reserve(id);
        assert!(shard.connections.has_open_replies(id));
        let answer = text(size);
        shard.fill(reply, Message::Binary(answer.as_bytes()));
        shard.set_exchange(id, Exchange::Idle);
        assert_eq!(waiting(&shard, id), answer.as_bytes());
        // Further requests wait while much does.
        assert_eq!(
            shard.connections.reading(id).expect("it is there").full,
            size > 1_000
        );
        write_all(&mut shard, id);
    }
    let CoreStats {
        connections,
        opening,
        messages_out,
        bytes_out,
        ..
    } = shard.stats;
    assert_eq!(
        (connections, opening, messages_out, bytes_out),
        (0, 0, 0, 0)
    );
    assert_eq!(
        (
            shard.connections.http_connections(),
            shard.stats.by_listener[0]
        ),
        (1, 1)
    );
    // What comes for one that is gone goes nowhere.
    shard.set_exchange(id, Exchange::Answering);
    let reply = shard.reserve(id);
    shard.close(id, CloseReason::Reset);
    shard.fill(reply, Message::Binary(b"late"));
    assert!(shard.connections.outbox_is_empty(id));
    shard.remove(id);
    assert_eq!(shard.connections.http_connections(), 0);
}

#[test]
fn one_becomes_another_kind_in_place() {
    for (listener, shown) in [(1, [0, 1]), (2, [1, 0])] {
        let mut shard = site();
        let id = shard.insert_http(0, peer());
        shard.set_exchange(id, Exchange::Answering);
        shard.turn_into(id, listener);
        assert_eq!(shard.connections.phase(id), Phase::Opening);
        assert_eq!(
            (
                shard.connections.http_connections(),
                shard.stats.connections
            ),
            (0, 1)
        );
        assert_eq!(shard.stats.by_listener[..2], shown);
        assert!(shard.opened(id) && shard.connections.set_session(id, 0));
        assert!(shard.bind(id, "tom"));
        assert_eq!(
            shard.send_to_uid(Reach(1), "tom", Message::Text("hello")),
            1
        );
        check_accounts(&shard, "another kind");
        shard.close(id, CloseReason::Kicked);
        assert!(shard.endings.next_ended().is_some());
        write_all(&mut shard, id);
        shard.remove(id);
        check_accounts(&shard, "gone");
        assert_eq!(shard.stats.by_listener[..2], [0, 0]);
    }
}
