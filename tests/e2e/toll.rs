//! What a server's process takes of the machine, as /proc tells it: memory, descriptors, processor time.

use std::fs;
use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::server::Server;

/// What a server holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holdings {
    connections: u64,
    uids: u64,
    outbox_bytes: u64,
    descriptors: usize,
}

impl Server {
    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.id());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> usize {
        let statm = self.proc("statm");
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        pages.map(|pages: usize| pages * 4096).expect("its pages")
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.id());
        fs::read_dir(path).expect("its descriptors").count()
    }

    /// Processor time of all its threads. Time in which another process had the CPU does not count.
    pub fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/task", self.id());
        let threads = fs::read_dir(path).expect("its threads");
        let nanoseconds = threads.flatten().filter_map(|thread| {
            let figures = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            figures.split(' ').next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// What it holds now, the connection that asks included.
    pub async fn holdings(&self) -> Holdings {
        let mut backend = self.backend().await;
        let line = backend.ask("stats").await;
        let stats: Value = serde_json::from_str(&line).expect("stats in JSON");
        let sum = |figure: &str| stats[figure].as_u64().expect("a figure");
        Holdings {
            connections: sum("connections"),
            uids: sum("uids"),
            outbox_bytes: sum("outbox_bytes"),
            descriptors: self.descriptors(),
        }
    }

    /// Waits until it holds again what it held before.
    pub async fn wait_holdings(&self, before: Holdings) {
        let start = Instant::now();
        loop {
            let now = self.holdings().await;
            if now == before {
                return;
            }
            let late = start.elapsed() > Duration::from_secs(10);
            assert!(!late, "it holds {now:?}, and {before:?} before");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Does something hostile while others are served: each answer that they ask for must come soon.
    pub async fn served_meanwhile<T>(&self, hostile: impl Future<Output = T>) -> T {
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(self.connect("ws", "echo").await);
        }
        let mut hostile = pin!(hostile);
        loop {
            let round = async {
                for other in &mut others {
                    let start = Instant::now();
                    assert_eq!(other.ask("hello").await, "hello");
                    let took = start.elapsed();
                    assert!(took < Duration::from_secs(3), "others waited for {took:?}");
                    sleep(Duration::from_millis(2)).await;
                }
            };
            tokio::select! {
                result = &mut hostile => return result,
                () = round => {}
            }
        }
    }

    /// The memory it takes more than before must not exceed this.
    #[track_caller]
    pub fn expect_memory(&self, before: usize, more_max: usize) {
        let more = self.memory().saturating_sub(before);
        assert!(
            more <= more_max,
            "{more} bytes more than before, not {more_max}"
        );
    }
}
