//! `/metrics`: its figures move by exactly what happened, on whichever cores it did. That others can read it:
//! tests/metrics.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::client::Client;
use crate::http::{Http, JSON, Response, exchange, get, post};
use crate::on_cores;
use crate::server::Server;
use crate::tokens::File;

on_cores! {
    what_is_kept_is_counted_as_that,
    messages_bytes_and_binds_are_counted_where_they_happen,
    an_envelope_is_counted_for_each_hop,
    every_end_is_counted_by_its_reason,
    a_push_is_counted_by_its_verdict,
    connections_are_counted_by_listener,
    turns_are_counted_by_how_long_they_took,
    a_token_needs_the_right_to_read,
    methods_and_hosts_that_are_none,
}

/// All samples of one scrape, by name and labels as written.
pub struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn parse(response: &Response) -> Scrape {
        assert_eq!(response.status, 200, "{response:?}");
        let samples = response.body.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        };
        let samples = samples.map(|line| sample(line).unwrap_or_else(|| panic!("{line:?}")));
        Scrape(samples.collect())
    }

    pub async fn of(server: &Server) -> Scrape {
        Scrape::parse(&get(server.address("http", "page"), "/metrics").await)
    }

    /// The sum over all series with this name and this part of the labels.
    pub fn sum(&self, name: &str, labels: &str) -> f64 {
        let named = |series: &str| {
            let rest = series.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{')).then(|| rest.contains(labels))
        };
        let found = self
            .0
            .iter()
            .filter(|(series, _)| named(series) == Some(true));
        let values: Vec<f64> = found.map(|(_, value)| *value).collect();
        assert!(!values.is_empty(), "no {name} with {labels}: {:?}", self.0);
        values.iter().sum()
    }

    fn of_core(&self, name: &str, core: usize) -> f64 {
        self.sum(name, &format!("core=\"{core}\""))
    }
}

/// By how much a figure of a second scrape is more.
fn more(before: &Scrape, after: &Scrape, name: &str) -> f64 {
    after.sum(name, "") - before.sum(name, "")
}

/// What two scrapes post in between: the questions of the second, and the answers to the first.
fn scraping(cores: usize) -> f64 {
    2.0 * (cores as f64 - 1.0)
}

async fn clients(server: &Server, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..count {
        clients.push(server.relay("text", &format!("u{number:02}")).await);
    }
    clients
}

async fn messages_bytes_and_binds_are_counted_where_they_happen(cores: usize) {
    let server = Server::start(cores).await;
    let before = Scrape::of(&server).await;
    let mut clients = clients(&server, 20).await;
    clients[0].send("u01:a message").await;
    clients[1].expect("a message").await;
    clients[0].send("nobody:x").await;
    clients[0]
        .expect("error: uid \"nobody\" is not online")
        .await;
    let after = Scrape::of(&server).await;

    let input = 20 * "u00\n".len() + "u01:a message\nnobody:x\n".len();
    let output = 20 * "login success, your uid is u00\n".len()
        + "a message\nerror: uid \"nobody\" is not online\n".len();
    for (name, expected) in [
        ("ringpost_received_messages_total", 22),
        ("ringpost_sent_messages_total", 22),
        ("ringpost_received_bytes_total", input),
        ("ringpost_sent_bytes_total", output),
        ("ringpost_binds_total", 20),
        ("ringpost_bound_connections", 20),
        ("ringpost_uids", 20),
        ("ringpost_outbox_bytes", 0),
        ("ringpost_opening_connections", 0),
        ("ringpost_panics_total", 0),
        ("ringpost_log_lines_lost_total", 0),
        ("ringpost_refused_joins_total", 0),
    ] {
        assert_eq!(more(&before, &after, name), expected as f64, "{name}");
    }
    // A uid is bound at home, wherever its connection was accepted.
    for core in 0..cores {
        let bound = after.of_core("ringpost_bound_connections", core);
        assert_eq!(after.of_core("ringpost_binds_total", core), bound);
    }
    drop(clients);
    server.wait_closed("closed by peer", 20).await;
    let last = Scrape::of(&server).await;
    assert_eq!(more(&before, &last, "ringpost_bound_connections"), 0.0);
    assert_eq!(more(&before, &last, "ringpost_binds_total"), 20.0);
}

async fn an_envelope_is_counted_for_each_hop(cores: usize) {
    let server = Server::start(cores).await;
    let before = Scrape::of(&server).await;
    let mut clients = clients(&server, 24).await;
    let mut last = Scrape::of(&server).await;
    let moved = more(&before, &last, "ringpost_moved_connections_total");
    assert_eq!(moved > 0.0, cores > 1, "{moved} moved");
    let posted = more(&before, &last, "ringpost_posted_envelopes_total");
    assert_eq!(posted, moved + scraping(cores));

    let mut hops = 0;
    for to in 1..12 {
        clients[0].send(&format!("u{to:02}:x")).await;
        clients[to].expect("x").await;
        let now = Scrape::of(&server).await;
        let core_of = |name: &str| {
            let moved = |core: &usize| now.of_core(name, *core) > last.of_core(name, *core);
            (0..cores).find(moved).expect("it is counted on some core")
        };
        let sender = core_of("ringpost_received_messages_total");
        let receiver = core_of("ringpost_sent_messages_total");
        let hop = u32::from(sender != receiver);
        hops += hop;
        let posted = more(&last, &now, "ringpost_posted_envelopes_total");
        assert_eq!(posted, f64::from(hop) + scraping(cores), "to u{to:02}");
        last = now;
    }
    assert_eq!(hops > 0, cores > 1);
    let rang = more(&before, &last, "ringpost_doorbells_total");
    assert!(cores == 1 || rang > 0.0, "a core that sleeps is woken");
    assert_eq!(last.sum("ringpost_mailbox_envelopes", ""), 0.0);
    assert_eq!(last.sum("ringpost_cores", ""), cores as f64);
}

async fn every_end_is_counted_by_its_reason(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    let mut clients = clients(&server, 5).await;
    let before = Scrape::of(&server).await;
    for uid in ["u00", "u01", "u02"] {
        assert_eq!(backend.ask(&format!("kick {uid}")).await, "ok");
    }
    for client in &mut clients[..3] {
        client.expect_end(4007).await;
    }
    clients.truncate(4);
    let mut refused = server.connect("ws", "relay").await;
    refused.send("all").await;
    refused.drain_to_end(4006).await;
    let start = Instant::now();
    let reasons = [
        ("kicked", 3.0),
        ("closed by peer", 1.0),
        ("bad login", 1.0),
        ("idle", 0.0),
    ];
    loop {
        let after = Scrape::of(&server).await;
        let label = |reason: &str| format!("reason=\"{reason}\"");
        let count = |scrape: &Scrape, reason| scrape.sum("ringpost_closes_total", &label(reason));
        let counts =
            reasons.map(|(reason, _)| (reason, count(&after, reason) - count(&before, reason)));
        if counts == reasons {
            let all = more(&before, &after, "ringpost_closes_total");
            assert_eq!(all, 5.0, "no other reason has moved");
            // Nor are those of HTTP among them, which have a counter of their own.
            let http = more(&before, &after, "ringpost_http_closes_total");
            return assert!(http >= 1.0, "the first scrape has ended");
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{counts:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn a_push_is_counted_by_its_verdict(cores: usize) {
    let server = Server::start(cores).await;
    let mut backend = server.backend().await;
    let clients = clients(&server, 8).await;
    let before = Scrape::of(&server).await;
    for number in 0..8 {
        let line = format!("{{\"uid\":\"u{number:02}\"}}");
        assert_eq!(backend.ask(&line).await, "ok");
        let line = format!("{{\"uid\":\"nobody{number}\"}}");
        assert_eq!(backend.ask(&line).await, "fail");
        // Questions, and no pushes.
        assert_eq!(backend.ask(&format!("online u{number:02}")).await, "ok");
        assert_eq!(backend.ask("kick nobody").await, "fail");
    }
    assert_eq!(backend.ask("{\"uid\":\"all\"}").await, "ok");
    let address = server.address("http", "page");
    for number in 0..8 {
        let body = format!("{{\"uid\":\"u{number:02}\",\"text\":\"x\"}}");
        assert_eq!(post(address, "/v1/push", JSON, &body).await.status, 200);
    }
    let body = "{\"uid\":\"nobody\",\"text\":\"x\"}";
    assert_eq!(post(address, "/v1/push", JSON, body).await.status, 200);
    assert_eq!(post(address, "/v1/push", JSON, "{}").await.status, 400);
    let after = Scrape::of(&server).await;
    for (verdict, expected) in [("delivered", 8.0 + 1.0 + 8.0), ("offline", 8.0 + 1.0)] {
        let label = format!("verdict=\"{verdict}\"");
        let count = |scrape: &Scrape| scrape.sum("ringpost_pushes_total", &label);
        assert_eq!(count(&after) - count(&before), expected, "{verdict}");
    }
    drop(clients);
}

/// What reached nobody and is kept is neither, by either port.
async fn what_is_kept_is_counted_as_that(cores: usize) {
    let rules = r#"
[[history]]
kind = "uid"
name = "q*"
size = 100
ttl = "10m"
offline = "queue"
"#;
    let server = Server::keeping(cores, "text", "", rules).await;
    let mut backend = server.backend().await;
    let address = server.address("http", "page");
    let before = Scrape::of(&server).await;
    for number in 0..8 {
        let line = format!("{{\"uid\":\"q{number}\"}}");
        assert_eq!(backend.ask(&line).await, "ok");
        let line = format!("{{\"uid\":\"nobody{number}\"}}");
        assert_eq!(backend.ask(&line).await, "fail");
        for body in [
            format!("{{\"uid\":\"q{number}\",\"text\":\"x\"}}"),
            format!("{{\"uid\":\"u{number}\",\"text\":\"x\",\"keep\":\"1m\"}}"),
            format!("{{\"group\":\"g{number}\",\"text\":\"x\",\"keep\":\"1m\"}}"),
        ] {
            let answer = post(address, "/v1/push", JSON, &body).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    let after = Scrape::of(&server).await;
    for (verdict, expected) in [("delivered", 0.0), ("kept", 4.0 * 8.0), ("offline", 8.0)] {
        let label = format!("verdict=\"{verdict}\"");
        let count = |scrape: &Scrape| scrape.sum("ringpost_pushes_total", &label);
        assert_eq!(count(&after) - count(&before), expected, "{verdict}");
    }
}

async fn connections_are_counted_by_listener(cores: usize) {
    let server = Server::start(cores).await;
    let relay = clients(&server, 6).await;
    let _push = server.connect("ws", "push").await;
    let mut visitor = Http::dial(server.address("http", "page")).await;
    let expected = [
        ("text", server.address("text", "relay"), 6.0),
        ("ws", server.address("ws", "relay"), 0.0),
        ("ws", server.address("ws", "push"), 1.0),
        // The one that asks.
        ("http", server.address("http", "page"), 1.0),
    ];
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", expected[3].1);
    let start = Instant::now();
    loop {
        visitor.write(request.as_bytes()).await;
        let scrape = Scrape::parse(&visitor.response().await.expect("an answer"));
        let counts = expected.map(|(scheme, address, _)| {
            let label = format!("listener=\"{scheme}://{address}\"");
            (scheme, address, scrape.sum("ringpost_connections", &label))
        });
        if counts == expected {
            assert_eq!(scrape.sum("ringpost_connections", ""), 8.0);
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{counts:?}");
        sleep(Duration::from_millis(20)).await;
    }
    drop(relay);
    server.wait_closed("closed by peer", 6).await;
    let after = Scrape::of(&server).await;
    let label = format!("listener=\"text://{}\"", server.address("text", "relay"));
    assert_eq!(after.sum("ringpost_connections", &label), 0.0);
}

async fn turns_are_counted_by_how_long_they_took(cores: usize) {
    let server = Server::with(cores, &[("DRIVER", "epoll")]).await;
    let before = Scrape::of(&server).await;
    let _clients = clients(&server, 10).await;
    let after = Scrape::of(&server).await;
    let name = "ringpost_turn_duration_seconds";
    for core in 0..cores {
        let count = after.of_core(&format!("{name}_count"), core);
        let bucket = |bound: &str| {
            let labels = format!("core=\"{core}\",le=\"{bound}\"");
            after.sum(&format!("{name}_bucket"), &labels)
        };
        assert_eq!(bucket("+Inf"), count);
        assert!(bucket("0.000005") <= bucket("0.001") && bucket("0.001") <= bucket("1"));
        let busy = after.of_core(&format!("{name}_sum"), core);
        assert!(busy > 0.0 && busy < after.sum("ringpost_uptime_seconds", ""));
    }
    // Each login is a turn at least: they come one after another.
    assert!(more(&before, &after, &format!("{name}_count")) >= 10.0);
    let driver = "runtime=\"epoll\",connections=\"epoll\"";
    assert_eq!(after.sum("ringpost_driver_info", driver), cores as f64);
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(after.sum("ringpost_build_info", &version), 1.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let started = after.sum("ringpost_start_time_seconds", "");
    let uptime = after.sum("ringpost_uptime_seconds", "");
    let now = now.expect("after 1970").as_secs_f64();
    assert!((started + uptime - now).abs() < 5.0, "{started} + {uptime}");
}

async fn scrape_with(address: SocketAddr, host: &str, field: &str) -> Response {
    let request =
        format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{field}\r\n");
    exchange(address, &request).await
}

async fn a_token_needs_the_right_to_read(cores: usize) {
    let file = File::new("push,kick pusher-token-0001\nread reader-token-0001\n");
    let server = Server::with(cores, &[("BACKEND_TOKENS_FILE", file.path())]).await;
    let address = server.address("http", "page");
    for (field, status) in [
        ("", 401),
        ("Authorization: Bearer wrong\r\n", 401),
        ("Authorization: Bearer pusher-token-0001\r\n", 403),
        ("Authorization: Bearer reader-token-0001\r\n", 200),
    ] {
        // Where a token is asked for, any name will do.
        let answer = scrape_with(address, "metrics.example", field).await;
        assert_eq!(answer.status, status, "{field}");
        assert_eq!(answer.body.contains("ringpost_uids"), status == 200);
    }
}

async fn methods_and_hosts_that_are_none(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    assert_eq!(post(address, "/metrics", JSON, "{}").await.status, 405);
    let foreign = scrape_with(address, "metrics.example", "").await;
    assert_eq!(foreign.status, 421);
    assert!(!foreign.body.contains("ringpost_"));
    let good = scrape_with(address, "localhost", "").await;
    let kind = good.header("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4"));
    let mut http = Http::dial(address).await;
    let head = format!("HEAD /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    http.write(head.as_bytes()).await;
    let answer = http.head_response().await.expect("an answer");
    assert_eq!(answer.status, 200);
}
