//! What waits for its time or its turn: timers whatever else is busy, and queues after a burst.

use super::*;
use crate::queue;

/// Where the wire is busy nobody's silence is judged, since what was sent may still be unread; but timers run out.
#[test]
fn timers_fire_while_deadlines_wait_for_the_wire() {
    let mut cores = Cores::new(1, |cx, _, event| {
        if event == "connect" {
            cx.after(Duration::from_secs(5), 1);
        }
    });
    let client = cores.open(0);
    // Second by second, so that the core does not stand still. The time to log in is long over.
    for second in 0..60 {
        let now = cores.started + Duration::from_secs(second);
        cores.hosts[0].set_now(now);
        cores.hosts[0].run_timers();
        cores.run();
        let fired = cores.log().contains(&"timer 1".to_owned());
        assert_eq!(fired, second >= 5, "after {second} s");
        assert_eq!(cores.phase(client), Phase::Open, "after {second} s");
    }
    cores.tick(0, Duration::from_secs(60));
    assert_eq!(cores.phase(client), Phase::Closing);
    cores.end();
}

/// Ten thousand timers, notes to the own core and calls at once: when they are done, the queues they have
/// filled are not as long as that for good.
#[test]
fn queues_are_short_again_after_a_burst() {
    const BURST: usize = 10_000;
    let mut cores = Cores::with(2, &Config::default(), false, |cx, _, event| {
        if event == "message burst" {
            for _ in 0..BURST {
                cx.after(Duration::ZERO, 1);
                cx.tell(To::Core(cx.core()), 1);
                cx.stats();
            }
        }
    });
    let client = cores.open(0);
    let (core, id) = cores.clients[client];
    cores.hosts[core].message(id, Message::Text("burst"));
    assert!(cores.hosts[core].local.timers.capacity() >= BURST);
    assert!(cores.hosts[core].local.pending.capacity() >= BURST);
    cores.run();
    for second in 1..=BURST as u64 {
        cores.tick(core, Duration::from_millis(second));
        if cores.hosts[core].local.timers.next().is_none() {
            break;
        }
    }
    let log = cores.log();
    let count = |what: &str| log.iter().filter(|event| event.starts_with(what)).count();
    for what in ["timer 1", "note 1", "answer"] {
        assert_eq!(count(what), BURST, "{what}");
    }
    let local = &cores.hosts[core].local;
    for (what, capacity) in [
        ("timers", local.timers.capacity()),
        ("effects", local.effects.capacity()),
        ("questions", local.pending.capacity()),
    ] {
        // Tables have some places more than asked for.
        assert!(capacity <= 8 * queue::KEPT, "{what}: {capacity}");
    }
    cores.end();
}
