//! A drain: `/readyz` tells first, clients are closed at `drain_rate`, and whoever is left is served until it is
//! his turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use libc::SIGTERM;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use crate::client::{Client, End, Got};
use crate::http::{JSON, get, post};
use crate::on_cores;
use crate::server::Server;

/// Far above what any drain here takes.
const SOON: Duration = Duration::from_secs(20);
const SCHEMES: [&str; 3] = ["ws", "text", "frame"];

on_cores! {
    closes_are_spread_and_readyz_tells_first,
    who_is_left_is_served_and_fail_means_gone,
    who_logs_in_while_it_drains_is_closed_by_name,
    who_is_left_at_drain_timeout_is_closed_by_name,
    a_rate_of_0_closes_all_at_once,
    all_goes_on_for_drain_delay,
}

fn pages(server: &Server) -> std::net::SocketAddr {
    server.address("http", "page")
}

/// Reads a client to its end, which says that the server stops: the lines, and when that was.
fn watch(mut client: Client) -> JoinHandle<(Vec<String>, Instant)> {
    tokio::spawn(async move {
        let mut lines = Vec::new();
        loop {
            // Longer than a test may take.
            match client.next_within(Duration::from_secs(60)).await {
                Some(Got::Text(line)) => lines.push(line),
                Some(Got::End(end)) => {
                    let stopped = match client.is_websocket() {
                        true => End::Code(Some(1001)),
                        false => End::Bare,
                    };
                    assert_eq!(end, stopped);
                    return (lines, Instant::now());
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    })
}

/// Clients of relay over every codec, whose uids are `u0`, `u1`, ….
async fn clients(server: &Server, count: usize) -> Vec<JoinHandle<(Vec<String>, Instant)>> {
    let mut clients = Vec::new();
    for n in 0..count {
        let scheme = SCHEMES[n % SCHEMES.len()];
        clients.push(watch(server.relay(scheme, &format!("u{n}")).await));
    }
    clients
}

pub async fn closes_are_spread_and_readyz_tells_first(cores: usize) {
    let settings = [("DRAIN_RATE", "500"), ("DRAIN_TIMEOUT", "30s")];
    let mut server = Server::with(cores, &settings).await;
    let pages = pages(&server);
    let ready = get(pages, "/readyz").await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));
    let clients = clients(&server, 1_000).await;
    let signalled = Instant::now();
    server.signal(SIGTERM);
    let observer = tokio::spawn(async move {
        loop {
            let answer = get(pages, "/readyz").await;
            if answer.status == 503 {
                assert_eq!(answer.body, "draining\n");
                return Instant::now();
            }
        }
    });
    // How long nothing went on here: what ends meanwhile is seen at once.
    let longest = Arc::new(AtomicU64::new(0));
    let stood_still = Arc::clone(&longest);
    let ticker = tokio::spawn(async move {
        let mut last = Instant::now();
        loop {
            sleep(Duration::from_millis(5)).await;
            let gap = last.elapsed().as_millis() as u64;
            stood_still.fetch_max(gap, Ordering::Relaxed);
            last = Instant::now();
        }
    });
    let mut ends = Vec::new();
    for client in clients {
        let (_, at) = client.await.expect("no panic");
        ends.push(at - signalled);
    }
    ticker.abort();
    ends.sort();
    // A thousand at 500 a second: two seconds.
    let last = ends[999];
    assert!(last > Duration::from_millis(1_700), "all within {last:?}");
    assert!(last < Duration::from_secs(10), "the last after {last:?}");
    let mut histogram = [0_u64; 20];
    for at in &ends {
        histogram[(at.as_millis() / 500) as usize] += 1;
    }
    println!("closed in each half second: {histogram:?}");
    // 250 in each, and what a busy machine brings together.
    let stood_still = longest.load(Ordering::Relaxed);
    let most = 375 + stood_still / 2;
    assert!(
        histogram.iter().all(|count| *count <= most),
        "{histogram:?}, though nothing stood still for more than {stood_still} ms"
    );
    // And nobody before his time.
    for (n, at) in ends.iter().enumerate() {
        let due = Duration::from_millis(2 * n as u64);
        let early = due.saturating_sub(*at);
        assert!(
            early < Duration::from_millis(250),
            "{n} after {at:?}, {histogram:?}"
        );
    }
    let told = observer.await.expect("no panic") - signalled;
    // The first is closed at once, and asking takes some time; nearly all come after it.
    assert!(
        told < ends[250],
        "told after {told:?}, by then: {histogram:?}"
    );
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
    server.wait_log(&["draining", "left="]).await;
}

async fn who_is_left_is_served_and_fail_means_gone(cores: usize) {
    let settings = [("DRAIN_RATE", "15"), ("DRAIN_TIMEOUT", "30s")];
    let mut server = Server::with(cores, &settings).await;
    let clients = clients(&server, 100).await;
    let mut backend = server.backend().await;
    let pages = pages(&server);
    server.signal(SIGTERM);
    while get(pages, "/readyz").await.status != 503 {
        sleep(Duration::from_millis(10)).await;
    }
    let mut expected: Vec<Vec<String>> = vec![Vec::new(); clients.len()];
    let (mut delivered, mut failed) = (0, 0);
    // Over long before the last one is closed, for then the server ends.
    for round in 0.. {
        // A back end of its own each time: they still come in.
        let mut newcomer = server.backend().await;
        for (n, expected) in expected.iter_mut().enumerate() {
            let line = format!("{{\"uid\":\"u{n}\",\"round\":{round}}}");
            let reached = match n % 3 {
                0 => backend.ask(&line).await == "ok",
                1 => newcomer.ask(&line).await == "ok",
                _ => {
                    let body = format!("{{\"uid\":\"u{n}\",\"text\":\"round {round}\"}}");
                    let answer = post(pages, "/v1/push", JSON, &body).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    answer.json()["connections"] != 0
                }
            };
            if reached {
                delivered += 1;
                expected.push(match n % 3 {
                    2 => format!("round {round}"),
                    _ => line,
                });
            } else {
                failed += 1;
            }
        }
        assert_eq!(get(pages, "/readyz").await.status, 503);
        assert_eq!(get(pages, "/healthz").await.status, 200);
        if delivered > 50 && failed > 50 {
            break;
        }
        sleep(Duration::from_millis(200)).await;
    }
    for (client, expected) in clients.into_iter().zip(expected) {
        let (lines, _) = client.await.expect("no panic");
        // What was answered ok has come, and nothing that was answered fail.
        assert_eq!(lines, expected);
    }
    drop(backend);
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
}

async fn who_logs_in_while_it_drains_is_closed_by_name(cores: usize) {
    let settings = [("DRAIN_RATE", "60"), ("DRAIN_TIMEOUT", "30s")];
    let mut server = Server::with(cores, &settings).await;
    let mut strangers = Vec::new();
    for n in 0..90 {
        let scheme = SCHEMES[n % SCHEMES.len()];
        strangers.push(server.connect(scheme, "relay").await);
    }
    server.signal(SIGTERM);
    sleep(Duration::from_millis(100)).await;
    let mut logged_in = 0;
    // They move to their home cores meanwhile.
    for (n, client) in strangers.iter_mut().enumerate() {
        let _ = client.try_send(&format!("late{n}")).await;
        sleep(Duration::from_millis(5)).await;
    }
    for client in strangers {
        let (lines, _) = watch(client).await.expect("no panic");
        logged_in += lines.len();
    }
    assert!(logged_in > 10, "only {logged_in} have logged in");
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
    assert!(
        !server.log().contains("still under way"),
        "{}",
        server.log()
    );
}

async fn who_is_left_at_drain_timeout_is_closed_by_name(cores: usize) {
    let settings = [("DRAIN_RATE", "10"), ("DRAIN_TIMEOUT", "2s")];
    let mut server = Server::with(cores, &settings).await;
    let clients = clients(&server, 100).await;
    let signalled = Instant::now();
    server.signal(SIGTERM);
    let mut early = 0;
    for client in clients {
        let (_, at) = client.await.expect("no panic");
        early += usize::from(at - signalled < Duration::from_millis(900));
    }
    assert!(
        (1..40).contains(&early),
        "{early} were closed before its end"
    );
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(6));
    server
        .wait_log(&["WARN", "drain_timeout is too short"])
        .await;
}

async fn a_rate_of_0_closes_all_at_once(cores: usize) {
    let mut server = Server::with(cores, &[("DRAIN_RATE", "0")]).await;
    let clients = clients(&server, 200).await;
    let signalled = Instant::now();
    server.signal(SIGTERM);
    for client in clients {
        client.await.expect("no panic");
    }
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(5));
}

async fn all_goes_on_for_drain_delay(cores: usize) {
    let mut server = Server::with(cores, &[("DRAIN_DELAY", "2s")]).await;
    let pages = pages(&server);
    let old = server.relay("ws", "old").await;
    let signalled = tokio::time::Instant::now();
    server.signal(SIGTERM);
    while get(pages, "/readyz").await.status == 200 {
        assert!(signalled.elapsed() < Duration::from_secs(1), "it is ready");
    }
    // Whoever has not heard of it yet still comes in.
    let mut fresh = server.relay("ws", "fresh").await;
    fresh.send("old:hello").await;
    sleep_until(signalled + Duration::from_millis(1_200)).await;
    let (old, fresh) = (watch(old), watch(fresh));
    let (lines, at) = old.await.expect("no panic");
    assert_eq!(lines, ["hello"]);
    assert!(at - signalled.into_std() > Duration::from_millis(1_900));
    fresh.await.expect("no panic");
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
}
