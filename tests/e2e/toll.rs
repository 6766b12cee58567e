//! What a server's process takes of the machine, as /proc tells it: memory, descriptors, processor time.

use std::fs;
use std::pin::pin;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::server::Server;

/// The allocator gives each core some pages of two megabytes.
const ALLOCATOR_STEPS: usize = 4 << 20;

/// What a server holds.
#[derive(Clone, Copy, Debug)]
pub struct Holdings {
    connections: u64,
    uids: u64,
    outbox_bytes: u64,
    descriptors: usize,
}

impl Holdings {
    /// Connections that it has now and had not before.
    pub fn connections_beyond(&self, before: &Holdings) -> u64 {
        self.connections.saturating_sub(before.connections)
    }
}

impl Server {
    fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.id());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> usize {
        self.status("VmRSS:") << 10
    }

    /// A figure of the process's status.
    fn status(&self, name: &str) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        figure.unwrap_or_else(|| panic!("no {name} in {status}"))
    }

    /// Open descriptors as each of its threads has them: in one table for all, or in several.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/task", self.id());
        let threads = fs::read_dir(path).expect("its threads").flatten();
        threads
            .filter_map(|thread| Some(fs::read_dir(thread.path().join("fd")).ok()?.count()))
            .sum()
    }

    /// Processor time of all its threads. Time in which another process had the CPU does not count.
    pub fn cpu_time(&self) -> Duration {
        let figures = self.threads("schedstat");
        let nanoseconds = figures.iter().map(|figures| {
            let first = figures
                .split(' ')
                .next()
                .and_then(|first| first.parse().ok());
            first.unwrap_or(0_u64)
        });
        Duration::from_nanos(nanoseconds.sum())
    }

    /// A file that /proc has for each of its threads.
    fn threads(&self, file: &str) -> Vec<String> {
        let path = format!("/proc/{}/task", self.id());
        let threads = fs::read_dir(path).expect("its threads").flatten();
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join(file)).ok())
            .collect()
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

    /// Waits until it holds no more than it held before.
    pub async fn wait_holdings(&self, before: Holdings) {
        let start = Instant::now();
        loop {
            let now = self.holdings().await;
            // Before, the test's own last question may just have been going.
            if now.connections <= before.connections
                && now.uids <= before.uids
                && now.outbox_bytes <= before.outbox_bytes
                && now.descriptors <= before.descriptors
            {
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

    /// The most memory that it has ever taken must not exceed what it took before by more than this, the
    /// allocator's own steps aside.
    #[track_caller]
    pub fn expect_memory(&self, before: usize, more_max: usize) {
        let cores = self.threads("comm");
        let cores = cores.iter().filter(|name| name.starts_with("core-"));
        let steps = cores.count() * ALLOCATOR_STEPS;
        let more = (self.status("VmHWM:") << 10).saturating_sub(before);
        assert!(
            more <= more_max + steps,
            "{more} bytes more than before, not {more_max} and {steps}"
        );
    }
}
