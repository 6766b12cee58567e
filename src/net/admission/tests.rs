//! Who gets in by which limit, and what is given back.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn admission(config: Config, connection_counters: &Arc<ConnectionCounters>) -> Admission {
    let door = |pool, proxied, per_address_max, counted_with| EntryRules {
        pool,
        proxied,
        per_address_max,
        counted_with,
        on_loopback: false,
    };
    let max = config.connections_per_address_max;
    let doors = [
        door(Pool::Clients, false, max, 0),
        door(Pool::Clients, true, max, 0),
        door(Pool::BackEnds, false, 0, 0),
        door(Pool::Http, false, 2, 1),
        door(Pool::HttpClients, false, max, HTTP_TOGETHER),
        door(Pool::HttpClients, false, 1, 6),
    ];
    Admission::new(&config, Arc::clone(connection_counters), &doors)
}

/// Addresses that are counted.
fn addresses(connection_counters: &ConnectionCounters) -> usize {
    connection_counters.addresses()
}

fn peer(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 4660)
}

#[test]
fn an_ipv6_network_is_one_address() {
    let key = |ip: &str| key_of(ip.parse().unwrap());
    assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::"));
    assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
}

#[test]
fn of_one_address_so_many_on_any_core() {
    let connection_counters = Arc::new(ConnectionCounters::new(None));
    let config = || Config {
        connections_per_address_max: 2,
        ..Config::default()
    };
    let (mut one, mut other) = (
        admission(config(), &connection_counters),
        admission(config(), &connection_counters),
    );
    let here = peer("192.0.2.1");
    assert_eq!(one.enter(0, here), Ok(Counted::Address));
    assert_eq!(other.enter(0, here), Ok(Counted::Address));
    assert_eq!(one.enter(0, here), Err(CloseReason::AddressLimit));
    assert_eq!(one.enter(0, peer("192.0.2.2")), Ok(Counted::Address));
    // It ends on another core than it began.
    other.leave(0, Counted::Address, Some(here));
    other.leave(0, Counted::Address, Some(here));
    assert_eq!(other.enter(0, here), Ok(Counted::Address));
    one.leave(0, Counted::Address, Some(here));
    one.leave(0, Counted::Address, Some(peer("192.0.2.2")));
    assert_eq!(
        addresses(&connection_counters),
        0,
        "addresses without a connection are kept"
    );
}

#[test]
fn who_is_refused_for_its_address_is_no_connection() {
    let connection_counters = Arc::new(ConnectionCounters::new(None));
    let config = Config {
        max_connections: 2,
        connections_per_address_max: 1,
        ..Config::default()
    };
    let mut admission = admission(config, &connection_counters);
    assert!(admission.enter(0, peer("192.0.2.1")).is_ok());
    for _ in 0..5 {
        let again = admission.enter(0, peer("192.0.2.1"));
        assert_eq!(again, Err(CloseReason::AddressLimit));
    }
    assert!(admission.enter(0, peer("192.0.2.2")).is_ok());
    let third = admission.enter(0, peer("192.0.2.3"));
    assert_eq!(third, Err(CloseReason::ConnectionLimit));
}

#[test]
fn each_pool_has_its_own_limit() {
    let connection_counters = Arc::new(ConnectionCounters::new(None));
    let config = Config {
        max_connections: 1,
        backend_connections_max: 2,
        http_connections_max: 3,
        ..Config::default()
    };
    let mut admission = admission(config, &connection_counters);
    for (listener, max) in [(0, 1), (2, 2), (3, 3)] {
        for n in 0..max {
            let here = peer(&format!("192.0.2.{n}"));
            assert!(admission.enter(listener, here).is_ok(), "{listener}: {n}");
        }
        let more = admission.enter(listener, peer("192.0.2.9"));
        assert_eq!(more, Err(CloseReason::ConnectionLimit), "{listener}");
        admission.leave(listener, Counted::Connection, None);
        assert!(admission.enter(listener, peer("192.0.2.9")).is_ok());
    }
}

#[test]
fn where_descriptors_are_the_limit_back_ends_find_some_left() {
    let room = DescriptorRoom {
        clients: 3,
        with_http: 4,
    };
    let connection_counters = Arc::new(ConnectionCounters::new(Some(room)));
    let mut admission = admission(Config::default(), &connection_counters);
    for n in 0..3 {
        assert!(admission.enter(0, peer(&format!("192.0.2.{n}"))).is_ok());
    }
    let full = Err(CloseReason::ConnectionLimit);
    assert_eq!(admission.enter(0, peer("192.0.2.9")), full);
    assert!(admission.enter(3, peer("192.0.2.1")).is_ok());
    assert_eq!(admission.enter(3, peer("192.0.2.2")), full);
    for n in 0..9 {
        assert!(admission.enter(2, peer(&format!("192.0.2.{n}"))).is_ok());
    }
    // Who says how many clients there may be has done the sum himself.
    let config = Config {
        max_connections: 5,
        ..Config::default()
    };
    let doors = admission.doors.clone();
    admission.renew(&config, &doors);
    assert!(admission.enter(0, peer("192.0.2.9")).is_ok());
    assert!(admission.enter(3, peer("192.0.2.2")).is_ok());
}

#[test]
fn an_address_counts_by_itself_where_a_listener_has_its_own_limit() {
    let connection_counters = Arc::new(ConnectionCounters::new(None));
    let config = Config {
        connections_per_address_max: 1,
        ..Config::default()
    };
    let mut admission = admission(config, &connection_counters);
    let here = peer("192.0.2.1");
    assert_eq!(admission.enter(0, here), Ok(Counted::Address));
    assert_eq!(admission.enter(0, here), Err(CloseReason::AddressLimit));
    // Back ends come from one address, and many of them.
    for _ in 0..5 {
        assert_eq!(admission.enter(2, here), Ok(Counted::Connection));
    }
    assert_eq!(admission.enter(3, here), Ok(Counted::Address));
    assert_eq!(admission.enter(3, here), Ok(Counted::Address));
    assert_eq!(admission.enter(3, here), Err(CloseReason::AddressLimit));
    admission.leave(3, Counted::Address, Some(here));
    assert_eq!(admission.enter(3, here), Ok(Counted::Address));
    assert_eq!(admission.enter(0, here), Err(CloseReason::AddressLimit));
}

#[test]
fn a_back_end_gives_back_what_it_had_before_it_was_known() {
    let connection_counters = Arc::new(ConnectionCounters::new(None));
    let config = Config {
        http_connections_max: 2,
        connections_per_address_max: 1,
        ..Config::default()
    };
    let mut admission = admission(config, &connection_counters);
    let here = peer("192.0.2.1");
    let mut known = Vec::new();
    // One after the other of one address: each makes room for the next.
    for _ in 0..2 {
        let mut counted = admission.enter(4, here).expect("a place");
        assert_eq!(admission.enter(4, here), Err(CloseReason::AddressLimit));
        assert_eq!(admission.promote(4, &mut counted, here), Ok(()));
        assert_eq!(counted, Counted::BackEnd);
        // Once is enough.
        assert_eq!(admission.promote(4, &mut counted, here), Ok(()));
        known.push((4, counted));
    }
    // There are as many as may be; who has another place keeps it, and a provisional one has none.
    let mut third = admission.enter(4, here).expect("a place");
    let mut provisional = Counted::Provisional;
    for counted in [&mut third, &mut provisional] {
        let had = *counted;
        assert_eq!(
            admission.promote(4, counted, here),
            Err(CloseReason::ConnectionLimit)
        );
        assert_eq!(*counted, had);
    }
    known.push((4, third));
    let (door, counted) = known.remove(0);
    admission.leave(door, counted, Some(here));
    // Where a listener has a number of its own, that holds for a back end's address, too, however it came in.
    let mut own = admission.enter(5, here).expect("a place");
    assert_eq!(admission.promote(5, &mut own, here), Ok(()));
    assert_eq!(own, Counted::BackEndOfAddress);
    assert_eq!(admission.enter(5, here), Err(CloseReason::AddressLimit));
    known.push((5, own));
    let (door, counted) = known.remove(0);
    admission.leave(door, counted, Some(here));
    let mut provisional = Counted::Provisional;
    assert_eq!(
        admission.promote(5, &mut provisional, here),
        Err(CloseReason::AddressLimit)
    );
    assert_eq!(
        admission.promote(5, &mut provisional, peer("192.0.2.2")),
        Ok(())
    );
    admission.leave(5, provisional, Some(peer("192.0.2.2")));
    for (door, counted) in known {
        admission.leave(door, counted, Some(here));
    }
    for pool in POOLS_ALL {
        assert_eq!(connection_counters.count(pool), 0, "{pool:?}");
    }
    assert_eq!(addresses(&connection_counters), 0);
}

#[test]
fn proxies_have_no_limit_of_their_own() {
    let connection_counters = Arc::new(ConnectionCounters::new(None));
    let config = Config {
        connections_per_address_max: 1,
        trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
        ..Config::default()
    };
    let mut admission = admission(config, &connection_counters);
    for _ in 0..3 {
        assert_eq!(
            admission.enter(0, peer("10.0.0.1")),
            Ok(Counted::Connection)
        );
        assert_eq!(
            admission.enter(1, peer("10.0.0.1")),
            Ok(Counted::Connection)
        );
    }
    let stranger = admission.enter(1, peer("192.0.2.1"));
    assert_eq!(stranger, Err(CloseReason::BadProxy));
}

#[test]
fn cores_that_count_at_once_never_pass_the_limit() {
    let connection_counters = ConnectionCounters::new(None);
    let most = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if connection_counters.enter(Pool::Clients, 3) {
                        most.fetch_max(connection_counters.count(Pool::Clients), Ordering::Relaxed);
                        connection_counters.leave(Pool::Clients);
                    }
                }
            });
        }
    });
    assert_eq!(connection_counters.count(Pool::Clients), 0);
    assert!((1..=3).contains(&most.into_inner()));
}
