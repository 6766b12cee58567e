//! Proofs: they end by the clock on the wall, go along with their connection, and with nobody else.

use super::*;

const START: u64 = 1_800_000_000_000;

fn proving() -> Shard {
    let spec = ListenerSpec {
        proves: true,
        ..spec(Codec::WebSocket, 0, 10_000)
    };
    let config = Config {
        idle_timeout: Duration::ZERO,
        ping_interval: Duration::ZERO,
        ..Config::default()
    };
    let mut shard = Shard::new(&config, Rc::from([spec]), 1);
    shard.credentials.set_wall(START);
    shard
}

/// A connection that is bound to what it has proved, for so many milliseconds from the start.
fn proved(shard: &mut Shard, uid: &str, time: u64) -> ConnId {
    let id = open(shard, 0);
    shard.prove(id, uid.into(), START + time);
    assert!(shard.bind(id, uid));
    id
}

/// So many ticks after the start, with the clock on the wall so many milliseconds after it.
fn pass(shard: &mut Shard, ticks: Tick, wall: u64) {
    shard.clock.set_now(ticks);
    shard.credentials.set_wall(START + wall);
    shard.expire();
}

#[test]
fn a_proof_ends_with_its_last_millisecond() {
    let mut shard = proving();
    let id = proved(&mut shard, "tom", 5_050);
    pass(&mut shard, 50, 5_000);
    assert_eq!(shard.connections.reason(id), None);
    assert_eq!(shard.clock.next_due(), Some(51));
    pass(&mut shard, 51, 5_100);
    assert_eq!(shard.connections.reason(id), Some(CloseReason::Expired));
}

#[test]
fn before_it_is_bound_it_ends_too_and_whether_it_is_read_or_not() {
    let mut shard = proving();
    let id = open(&mut shard, 0);
    shard.prove(id, "tom".into(), START + 1_000);
    let paused = proved(&mut shard, "ann", 1_000);
    assert!(shard.set_paused(paused, true));
    pass(&mut shard, 10, 1_000);
    assert_eq!(shard.connections.reason(id), Some(CloseReason::Expired));
    assert_eq!(shard.connections.reason(paused), Some(CloseReason::Expired));
}

#[test]
fn a_clock_that_is_set_is_followed_soon() {
    let two_days = 2 * 24 * 3_600_000;
    let mut shard = proving();
    let id = proved(&mut shard, "tom", two_days);
    pass(&mut shard, 100, 10_000);
    // Forward: whenever the wheel looks next.
    let mut tick = 100;
    while shard.connections.reason(id).is_none() {
        tick += 100;
        assert!(tick < 1_300, "the wheel has not looked");
        pass(&mut shard, tick, two_days + 10_000);
    }
    // Backward: it lasts as long as its clock says.
    let mut shard = proving();
    let id = proved(&mut shard, "tom", 2_000);
    pass(&mut shard, 10, 0);
    pass(&mut shard, 20, 1_000);
    assert_eq!(shard.connections.reason(id), None);
    pass(&mut shard, 30, 2_000);
    assert_eq!(shard.connections.reason(id), Some(CloseReason::Expired));
}

#[test]
fn the_longest_proof_overflows_nothing() {
    let mut shard = proving();
    let id = open(&mut shard, 0);
    shard.prove(id, "tom".into(), u64::MAX);
    assert!(shard.bind(id, "tom"));
    for tick in 1..30 {
        pass(&mut shard, 1_000 * tick, 100_000 * u64::from(tick));
    }
    assert_eq!(shard.connections.reason(id), None);
}

#[test]
fn a_later_end_is_taken_and_an_earlier_one_is_not() {
    let mut shard = proving();
    let id = proved(&mut shard, "tom", 2_000);
    shard.refresh(id, START + 9_000);
    shard.refresh(id, START + 1_000);
    pass(&mut shard, 80, 8_000);
    assert_eq!(shard.connections.reason(id), None);
    pass(&mut shard, 90, 9_000);
    assert_eq!(shard.connections.reason(id), Some(CloseReason::Expired));
}

#[test]
fn a_slots_next_connection_has_proved_nothing() {
    let mut shard = proving();
    let id = proved(&mut shard, "tom", 5_000);
    assert_eq!(shard.proved(id), Some("tom"));
    shard.close(id, CloseReason::ByPeer);
    shard.remove(id);
    assert_eq!(shard.proved(id), None);
    let next = open(&mut shard, 0);
    assert_eq!(next.slot, id.slot);
    assert_eq!(shard.proved(next), None);
    assert_eq!(shard.proved(id), None);
    shard.prove(id, "tom".into(), START + 9_000);
    shard.refresh(id, START + 9_000);
    assert_eq!(shard.proved(next), None);
    assert_eq!(shard.credentials.len(), 0);
}

#[test]
fn a_proof_moves_with_its_connection() {
    let (mut from, mut to) = (proving(), proving());
    let id = open(&mut from, 0);
    from.prove(id, "tom".into(), START + 3_000);
    let mut shard_part = from.depart(id, Some("tom".into())).expect("it is there");
    assert_eq!(from.credentials.len(), 0);
    let id = to.arrive(&mut shard_part, 0);
    assert_eq!(to.proved(id), Some("tom"));
    assert!(to.bind(id, "tom"));
    assert_eq!(to.proved(id), Some("tom"));
    pass(&mut to, 30, 3_000);
    assert_eq!(to.connections.reason(id), Some(CloseReason::Expired));
}

#[test]
fn what_was_proved_is_not_always_what_is_bound() {
    let mut shard = proving();
    let id = open(&mut shard, 0);
    shard.prove(id, "tom".into(), START + 3_000);
    assert!(shard.bind(id, "127.0.0.1:1"));
    assert_eq!(shard.proved(id), Some("tom"));
    assert_eq!(shard.connections.uid(id), Some("127.0.0.1:1"));
}

#[test]
fn four_at_once_and_then_one_a_second() {
    let mut shard = proving();
    let id = proved(&mut shard, "tom", 1 << 40);
    shard.clock.set_now(100);
    let taken = |shard: &mut Shard| (0..10).filter(|_| shard.may_refresh(id)).count();
    assert_eq!(taken(&mut shard), 4);
    let other = proved(&mut shard, "ann", 1 << 40);
    for second in 1..5 {
        shard.clock.set_now(100 + 10 * second);
        assert!(shard.may_refresh(other), "{second}");
    }
    let nobody = open(&mut shard, 0);
    assert!(!shard.may_refresh(nobody));
}
