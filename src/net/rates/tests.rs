//! What buckets hold, earn and refuse, moment by moment.

use super::*;

const ID: ConnId = ConnId {
    slot: 3,
    generation: 1,
};

fn rates(messages: usize, bytes: usize, burst: u64) -> (Rates, Instant) {
    let epoch = Instant::now();
    let rate = Rate {
        messages_per_second: messages,
        bytes_per_second: bytes,
        message_bytes_max: 100,
    };
    let burst = Duration::from_secs(burst);
    let mut rates = Rates::new(&[Rate::default(), rate], burst, epoch).unwrap();
    rates.enter(ID, 1);
    (rates, epoch)
}

/// How many messages it takes at this time.
fn takes(rates: &mut Rates, now: Instant) -> usize {
    let before = rates.buckets[3];
    let count = (0..)
        .take_while(|_| rates.spend(ID, 1, Unit::Message, now))
        .count();
    rates.buckets[3] = before;
    count
}

#[test]
fn without_a_rate_there_is_nothing() {
    let none = [Rate::default(), Rate::default()];
    assert!(Rates::new(&none, Duration::from_secs(1), Instant::now()).is_none());
}

#[test]
fn a_listener_without_a_rate_takes_all() {
    let (mut rates, now) = rates(1, 1, 1);
    rates.enter(ID, 0);
    assert!((0..10_000).all(|_| rates.spend(ID, 1 << 20, Unit::Message, now)));
}

#[test]
fn what_is_saved_up_goes_at_once_and_no_more() {
    for (messages, burst, saved) in [
        (1, 1, 1),
        (10, 1, 10),
        (7, 3, 21),
        (3, 1, 3),
        (9_999, 1, 9_999),
    ] {
        let (mut rates, now) = rates(messages, 0, burst);
        assert_eq!(
            takes(&mut rates, now),
            saved,
            "{messages} a second, {burst} s"
        );
        // However long it was quiet.
        let later = now + Duration::from_secs(1_000);
        assert_eq!(takes(&mut rates, later), saved);
    }
}

#[test]
fn spent_messages_are_earned_again() {
    let (mut rates, now) = rates(10, 0, 1);
    for _ in 0..10 {
        assert!(rates.spend(ID, 0, Unit::Message, now));
    }
    assert_eq!(takes(&mut rates, now + Duration::from_millis(99)), 0);
    assert_eq!(takes(&mut rates, now + Duration::from_millis(100)), 1);
    assert_eq!(takes(&mut rates, now + Duration::from_millis(350)), 3);
    // For ever at the rate.
    for n in 1..1_000 {
        assert!(rates.spend(ID, 0, Unit::Message, now + n * Duration::from_millis(100)));
    }
}

#[test]
fn bytes_have_a_bucket_of_their_own() {
    let (mut fresh, now) = rates(0, 1_000, 1);
    assert!(fresh.spend(ID, 999, Unit::Nothing, now));
    assert!(fresh.spend(ID, 1, Unit::Nothing, now));
    assert!(!fresh.spend(ID, 1, Unit::Nothing, now));
    // One largest message always fits, with its head.
    let (mut slow, now) = rates(0, 10, 1);
    assert!(slow.spend(ID, 114, Unit::Message, now));
    assert!(!slow.spend(ID, 1, Unit::Nothing, now));
}

#[test]
fn frames_that_are_no_message_have_a_bucket_of_their_own() {
    for (controls, fragments, within) in [
        (9, 0, true),
        (10, 0, true),
        (11, 0, false),
        (0, 159, true),
        (0, 160, true),
        (0, 161, false),
        (9, 16, true),
        (9, 17, false),
    ] {
        let (mut rates, now) = rates(10, 0, 1);
        // Messages are not in their way, nor are they in that of messages.
        assert!((0..10).all(|_| rates.spend(ID, 0, Unit::Message, now)));
        let mut passes = true;
        for _ in 0..controls {
            passes &= rates.spend(ID, 0, Unit::Control, now);
        }
        passes &= rates.spend(ID, 0, Unit::Fragments(fragments), now);
        assert_eq!(passes, within, "{controls} and {fragments}");
        let later = now + Duration::from_millis(1_200);
        assert!(rates.spend(ID, 0, Unit::Message, later));
    }
}

#[test]
fn what_was_read_late_is_not_held_against_it() {
    let second = Duration::from_secs(1);
    let (mut rates, now) = rates(10, 0, 1);
    rates.fall_behind(ID, now);
    let late = now + 5 * second;
    // It did not matter that it was said again.
    rates.fall_behind(ID, now + second);
    assert_eq!(takes(&mut rates, late), 60);
    // Elsewhere it goes on, and its way there is counted.
    let spent = rates.leave(ID, late - second);
    rates.enter(ID, 1);
    rates.put(ID, 1, &spent, second, late);
    assert_eq!(takes(&mut rates, late), 60);
    rates.catch_up(ID);
    assert_eq!(takes(&mut rates, late), 10);
}

#[test]
fn time_in_which_the_core_stood_still_is_not_held_against_it() {
    let second = Duration::from_secs(1);
    let (mut rates, now) = rates(10, 0, 1);
    let late = now + 5 * second;
    rates.stood_still(4 * second, late);
    assert_eq!(takes(&mut rates, late), 50);
    // As long again to read it all.
    assert_eq!(takes(&mut rates, late + 4 * second), 10);
}

#[test]
fn what_is_spent_travels_along() {
    let (mut rates, now) = rates(10, 0, 1);
    for _ in 0..9 {
        assert!(rates.spend(ID, 0, Unit::Message, now));
    }
    let spent = rates.leave(ID, now);
    rates.enter(ID, 1);
    rates.put(ID, 1, &spent, Duration::ZERO, now);
    assert_eq!(takes(&mut rates, now), 1);
    // As much as it earns on its way it may send more, there as here.
    let (way, later) = (Duration::from_millis(300), Duration::from_millis(500));
    let spent = rates.leave(ID, now + later);
    rates.put(ID, 1, &spent, way, now + later + way);
    let here = rates.buckets[3];
    assert_eq!(here.messages_until, 900_000_001);
    assert_eq!(takes(&mut rates, now + later + way), 9);
}

#[test]
fn a_core_whose_time_is_earlier_asks_for_no_more() {
    let ahead = Duration::from_millis(3);
    let (mut rates, now) = rates(10, 0, 1);
    assert!(rates.spend(ID, 0, Unit::Message, now + ahead));
    let spent = rates.leave(ID, now + ahead);
    // It has not been on its way at all, as time is there.
    rates.put(ID, 1, &spent, Duration::ZERO, now);
    assert_eq!(takes(&mut rates, now), 9);
}
