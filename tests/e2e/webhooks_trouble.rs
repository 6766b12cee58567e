//! Webhooks where something is wrong: a receiver that is away, slow, stuck, refuses, or has a certificate of its own;
//! a server that stops. Nobody else notices.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::client::Client;
use crate::on_cores;
use crate::receiver::{Receiver, SECRET, brief, expect_sent};
use crate::resources::{free_port, kept_by_sanitizer};
use crate::run;
use crate::server::Server;
use crate::webhooks::{QUIET, telling};

on_cores! {
    a_receiver_that_was_away_gets_all_in_order,
    a_stuck_receiver_holds_up_nobody,
    what_waits_is_delivered_when_the_server_stops,
    a_stuck_receiver_does_not_hold_up_the_end,
}

async fn a_receiver_that_was_away_gets_all_in_order(cores: usize) {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/");
    let settings = [
        ("WEBHOOKS_URL", url.as_str()),
        ("WEBHOOKS_SECRET", SECRET),
        ("WEBHOOKS_BATCH_EVENTS_MAX", "4"),
        ("WEBHOOKS_RETRY_DELAY_MAX", "400ms"),
    ];
    let server = Server::with(cores, &settings).await;
    for _ in 0..5 {
        for uid in ["tom", "lisa"] {
            let client = server.relay("text", uid).await;
            drop(client);
            server.wait_offline(uid).await;
        }
    }
    server.wait_log(&["not delivered yet"]).await;
    let mut receiver = Receiver::at(port, &[]).await;
    let events = receiver.wait(20).await;
    for uid in ["tom", "lisa"] {
        let told: Vec<&str> = brief(&events, "first")
            .into_iter()
            .filter_map(|(event, of, _)| (of == uid).then_some(event))
            .collect();
        assert_eq!(told, ["connect", "disconnect"].repeat(5), "{uid}");
    }
    server.wait_log(&["takes them again"]).await;

    // Then it is overloaded, and says for how long.
    receiver.answer("status 503").await;
    let before = receiver.requests().len();
    let _tom = server.relay("text", "tom").await;
    receiver.wait_requests(before + 2).await;
    receiver.answer("status 429 2").await;
    let is_patient = |request: &Value| request["answer"] == "status 429 2";
    let start = Instant::now();
    while !receiver.requests().iter().any(is_patient) {
        assert!(start.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(5)).await;
    }
    receiver.answer("status 200").await;
    receiver.wait(21).await;
    let requests = &receiver.requests()[before..];
    for request in requests {
        assert_eq!(request["body"], requests[0]["body"], "its bytes stay");
    }
    let time = |request: &Value| request["time"].as_f64().expect("a time");
    let [.., patient, last] = requests else {
        panic!("several requests")
    };
    assert!(is_patient(patient));
    assert!(time(last) - time(patient) > 1.9);
    assert_eq!(receiver.dropped(), 0);
    expect_sent(&server, 21).await;
}

/// The server's memory in KiB.
fn memory(server: &Server) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id()));
    let status = status.expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure.and_then(|it| it.parse().ok()).expect("a figure")
}

async fn come_and_go(server: &Server, count: usize) {
    for number in 0..count {
        let client = server.relay("text", &format!("{:0>100}", number)).await;
        drop(client);
    }
}

/// The longest that a broadcast took, of a hundred.
async fn longest_broadcast(backend: &mut Client, listener: &mut Client) -> Duration {
    let mut longest = Duration::ZERO;
    for number in 0..100 {
        let line = format!(r#"{{"uid":"all","n":{number}}}"#);
        let start = Instant::now();
        backend.send(&line).await;
        listener.expect(&line).await;
        longest = longest.max(start.elapsed());
        backend.expect("ok").await;
    }
    longest
}

async fn a_stuck_receiver_holds_up_nobody(cores: usize) {
    let mut receiver = Receiver::start().await;
    let more = [
        ("WEBHOOKS_QUEUE_EVENTS_MAX", "100"),
        ("WEBHOOKS_BATCH_EVENTS_MAX", "50"),
        ("WEBHOOKS_TIMEOUT", "1500ms"),
        ("WEBHOOKS_RETRY_DELAY_MAX", "100ms"),
    ];
    let server = telling(cores, &receiver, &more).await;
    let (mut backend, mut listener) = (server.backend().await, server.push("ws", "ear").await);
    receiver.wait(1).await;
    let usual = longest_broadcast(&mut backend, &mut listener).await;
    receiver.answer("hang").await;
    come_and_go(&server, 200).await;
    server.wait_log(&["queue_events_max", "dropped"]).await;
    let before = memory(&server);
    // A hundred broadcasts take less than one request's timeout, unless one of them waits for it.
    let (busy, ()) = tokio::join!(
        longest_broadcast(&mut backend, &mut listener),
        come_and_go(&server, 500)
    );
    assert!(
        busy < Duration::from_secs(1),
        "{busy:?} while the receiver is stuck, {usual:?} before"
    );
    let grown = memory(&server) - before;
    let kept = kept_by_sanitizer() as i64 / 1_024;
    assert!(grown < 4_096 + kept, "{grown} KiB more");
    // Then all is told: either an event, or that it was dropped.
    let start = Instant::now();
    while server.count("bound").await > 1 {
        assert!(start.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(20)).await;
    }
    receiver.answer("status 200").await;
    let start = Instant::now();
    loop {
        let dropped = server.count("webhooks_dropped").await;
        let sent = server.count("webhooks_sent").await;
        if sent + dropped == 1 + 2 * 700 && receiver.dropped() == dropped {
            assert!(dropped >= 1_000, "{dropped}");
            assert_eq!(receiver.events().len() as u64, sent);
            break;
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{sent} sent, {dropped} dropped, told of {}",
            receiver.dropped()
        );
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.count("webhooks_failed").await, 0);
    let more = server.log().matches("queue_events_max events wait").count();
    assert!((1..=15).contains(&more), "{more} lines of that");
}

/// A refusal is for good, and a redirect is one.
#[test]
fn what_is_refused_is_dropped_and_counted() {
    run(refused());
}

async fn refused() {
    let mut receiver = Receiver::start().await;
    let mut other = Receiver::start().await;
    other.answer("status 200").await;
    let server = telling(2, &receiver, &[]).await;
    receiver.answer("status 404").await;
    let tom = server.relay("text", "tom").await;
    server.wait_log(&["refused", "status 404"]).await;
    receiver
        .answer(&format!("status 307 {}", other.url()))
        .await;
    let lisa = server.relay("text", "lisa").await;
    server
        .wait_log(&["refused", "redirects are not followed"])
        .await;
    receiver.answer("status 200").await;
    drop(tom);
    let events = receiver.wait(1).await;
    assert_eq!(events[0]["event"], "disconnect");
    assert_eq!(receiver.dropped(), 2);
    sleep(QUIET).await;
    assert_eq!(receiver.requests().len(), 3);
    assert!(other.requests().is_empty());
    assert_eq!(server.count("webhooks_failed").await, 2);
    drop(lisa);
}

async fn what_waits_is_delivered_when_the_server_stops(cores: usize) {
    const CLIENTS: usize = 40;
    let receiver = Receiver::start().await;
    // Nothing would leave by itself while the test runs.
    let mut server = telling(cores, &receiver, &[("WEBHOOKS_BATCH_DELAY", "60s")]).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(server.relay("ws", &format!("u{number}")).await);
    }
    sleep(QUIET).await;
    assert!(receiver.requests().is_empty());
    server.signal(libc::SIGTERM);
    for client in &mut clients {
        client.expect_end(1001).await;
    }
    drop(clients);
    let status = server.wait_exit(Duration::from_secs(8)).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    let events = receiver.wait(2 * CLIENTS).await;
    let ends = events
        .iter()
        .filter(|event| event["reason"] == "server stopping");
    assert_eq!(ends.count(), CLIENTS);
}

async fn a_stuck_receiver_does_not_hold_up_the_end(cores: usize) {
    let mut receiver = Receiver::start().await;
    receiver.answer("hang").await;
    let more = [("DRAIN_TIMEOUT", "2s"), ("WEBHOOKS_TIMEOUT", "60s")];
    let mut server = telling(cores, &receiver, &more).await;
    let mut tom = server.relay("ws", "tom").await;
    receiver.wait_requests(1).await;
    let start = Instant::now();
    server.signal(libc::SIGTERM);
    tom.expect_end(1001).await;
    drop(tom);
    let status = server.wait_exit(Duration::from_secs(8)).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    assert!(start.elapsed() < Duration::from_secs(5));
    server.wait_log(&["not delivered", "lost", "2"]).await;
}

/// A directory that is there as long as this is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let name = format!("ringpost-ca-{}-{}", std::process::id(), fastrand::u64(..));
        let folder = Folder(std::env::temp_dir().join(name));
        std::fs::create_dir(&folder.0).expect("a directory");
        folder
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().expect("UTF-8").to_owned()
    }

    fn openssl(&self, arguments: &str) {
        let done = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .output()
            .expect("openssl is here");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "{arguments}: {said}");
    }

    /// An authority, and a certificate of it for this host.
    fn make_certificates(&self, host: &str) {
        const KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        std::fs::write(self.path("ext"), format!("subjectAltName={host}\n")).expect("a file");
        self.openssl(&format!(
            "req -x509 {KEY} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca"
        ));
        self.openssl(&format!(
            "req {KEY} -keyout key.pem -out request.pem -subj /CN=receiver"
        ));
        self.openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile ext",
        );
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_certificate_is_checked_by_an_authority_of_ones_own() {
    run(certified());
}

async fn certified() {
    let folder = Folder::new();
    folder.make_certificates("IP:127.0.0.1");
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let receiver = Receiver::at(0, &[&cert, &key]).await;
    let authority = folder.path("ca.pem");
    let url = format!("https://127.0.0.1:{}/", receiver.port());
    let ours = [("WEBHOOKS_URL", &*url), ("WEBHOOKS_CA_FILE", &*authority)];
    let server = telling(2, &receiver, &ours).await;
    let _tom = server.relay("ws", "tom").await;
    receiver.wait(1).await;

    // The system knows nothing of that authority; and its certificate is for nobody else.
    let by_name = format!("https://localhost:{}/", receiver.port());
    let elsewhere = [
        ("WEBHOOKS_URL", &*by_name),
        ("WEBHOOKS_CA_FILE", &*authority),
    ];
    for settings in [&ours[..1], &elsewhere[..]] {
        let server = telling(2, &receiver, settings).await;
        let _lisa = server.relay("ws", "lisa").await;
        server.wait_log(&["not delivered yet", "certificate"]).await;
    }
    assert_eq!(receiver.requests().len(), 1);
}

/// What is wrong is said at the start, and the secret never.
#[test]
fn a_mistake_ends_the_start() {
    for (settings, words) in [
        (vec![("WEBHOOKS_URL", "https://h/")], "webhooks.secret"),
        (
            vec![("WEBHOOKS_URL", "h"), ("WEBHOOKS_SECRET", SECRET)],
            "webhooks.url",
        ),
        (
            vec![("WEBHOOKS_URL", "https://h/"), ("WEBHOOKS_SECRET", "short")],
            "at least 32",
        ),
        (
            vec![("WEBHOOKS_EVENTS", "login")],
            "connect, disconnect, kick",
        ),
    ] {
        let mut command = crate::server::command(1, &settings, &[]);
        let output = command.output().expect("the binary starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(!said.contains(SECRET) && !said.contains("short"), "{said}");
    }
}
