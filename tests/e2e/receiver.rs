//! A receiver of webhooks that is not ours: Python's HTTP server (`receiver.py`), and what it has been sent.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::client::PATIENCE;
use crate::server::Server;

/// A Python program that begins on a busy machine takes its time.
const START_MAX: Duration = Duration::from_secs(90);

/// What batches are signed with.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A running receiver. It ends with this.
pub struct Receiver {
    child: Child,
    stdin: ChildStdin,
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    /// One on any free port.
    pub async fn start() -> Receiver {
        Receiver::at(0, &[]).await
    }

    /// One on this port, and with TLS if given a certificate and its key.
    pub async fn at(port: u16, certificate: &[&str]) -> Receiver {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/receiver.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([&port.to_string(), SECRET])
            .args(certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is here");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = BufReader::new(child.stdout.take().expect("a pipe"));
        let collected = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                let mut lines = collected.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(line);
            }
        });
        let mut receiver = Receiver {
            stdin: child.stdin.take().expect("a pipe"),
            child,
            port,
            lines,
        };
        let line = receiver.wait_line("port ").await;
        receiver.port = line[5..].parse().expect("a port");
        receiver
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hooks?of=tests", self.port)
    }

    /// Has it answer so from now on.
    pub async fn answer(&mut self, how: &str) {
        writeln!(self.stdin, "{how}").expect("it reads");
        self.wait_line(&format!("told {how}")).await;
    }

    async fn wait_line(&self, begin: &str) -> String {
        let start = Instant::now();
        loop {
            let found = self.lines().into_iter().rfind(|it| it.starts_with(begin));
            if let Some(line) = found {
                return line;
            }
            assert!(start.elapsed() < START_MAX, "the receiver does not answer");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clone()
    }

    /// Every request it has got.
    pub fn requests(&self) -> Vec<Value> {
        let lines = self.lines().into_iter().filter(|it| it.starts_with('{'));
        let requests: Vec<Value> = lines
            .map(|line| serde_json::from_str(&line).expect("JSON"))
            .collect();
        for request in &requests {
            assert_eq!(request["genuine"], true, "{request}");
            assert_eq!(request["type"], "application/json");
        }
        requests
    }

    /// The bodies of those it has answered with 200.
    pub fn batches(&self) -> Vec<Value> {
        let requests = self.requests().into_iter();
        let taken = requests.filter(|request| {
            let answer = request["answer"].as_str().expect("text");
            answer.starts_with("status 200") || answer.starts_with("slow")
        });
        let bodies = taken.map(|request| {
            let body = request["body"].as_str().expect("text");
            serde_json::from_str(body).expect("JSON")
        });
        bodies.collect()
    }

    /// The events of them, each once.
    pub fn events(&self) -> Vec<Value> {
        let mut known = HashSet::new();
        let batches = self.batches();
        let events = batches
            .iter()
            .flat_map(|batch| batch["events"].as_array().expect("a list").clone());
        events
            .filter(|event| known.insert(event["id"].as_str().expect("an id").to_owned()))
            .collect()
    }

    /// How many it was told that nobody will get.
    pub fn dropped(&self) -> u64 {
        let batches = self.batches();
        let dropped = batches.iter().map(|batch| batch["dropped"].as_u64());
        dropped.map(|dropped| dropped.expect("a number")).sum()
    }

    /// The events, when there are so many.
    pub async fn wait(&self, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let events = self.events();
            if events.len() >= count {
                assert_eq!(events.len(), count, "{events:?}");
                return events;
            }
            assert!(
                start.elapsed() < 3 * PATIENCE,
                "{} events of {count}; the last: {:?}",
                events.len(),
                events.last()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The requests, when there are so many.
    pub async fn wait_requests(&self, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let requests = self.requests();
            if requests.len() >= count {
                return requests;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} requests of {count}",
                requests.len()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is kept of an event: its name, its uid, and one more.
pub fn brief<'a>(events: &'a [Value], more: &str) -> Vec<(&'a str, &'a str, &'a Value)> {
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    let brief = |event: &'a Value| (text(&event["event"]), text(&event["uid"]), &event[more]);
    events.iter().map(brief).collect()
}

/// So many events are counted as taken: soon after the receiver has sent its response.
pub async fn expect_sent(server: &Server, events: u64) {
    let mut sent = 0;
    for _ in 0..500 {
        sent = server.count("webhooks_sent").await;
        if sent == events {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sent, events);
}
