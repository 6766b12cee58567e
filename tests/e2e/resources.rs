//! What a server's process takes of the machine, as /proc tells it: memory, descriptors, processor time.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::server::{Server, is_machine_busy};

/// The allocator gives each core some pages of two megabytes.
const ALLOCATOR_STEPS: usize = 4 << 20;

/// The address sanitizer keeps so much of what was freed (its option quarantine_size_mb), to notice who still uses it; an
/// eighth more for its own marks, and what its threads keep besides.
const QUARANTINE: usize = (256 + 32 + 32) << 20;

/// How much of what a server has freed may still be counted.
pub fn kept_by_sanitizer() -> usize {
    match std::env::var_os("ASAN_OPTIONS") {
        Some(_) => QUARANTINE,
        None => 0,
    }
}

/// A port that stays free until it is used, and used again: not of those that whoever asks for any is given.
pub fn free_port() -> u16 {
    static HANDED_OUT: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let given = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("a range");
    let first = given
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok());
    let others = 10_000..first.unwrap_or(0).max(20_000);
    let mut handed_out = HANDED_OUT.lock().expect("no panic");
    loop {
        let port: u16 = fastrand::u16(others.clone());
        if !handed_out.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            handed_out.insert(port);
            return port;
        }
    }
}

/// When something began, by the clock, and by a server's processor time.
pub struct Began {
    time: Instant,
    worked: Duration,
}

/// What a server holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Holdings {
    connections: u64,
    opening: u64,
    bound: u64,
    uids: u64,
    groups: u64,
    outbox_bytes: u64,
    descriptors: usize,
}

impl Holdings {
    /// Connections that it has now and had not before.
    pub fn connections_beyond(&self, before: &Holdings) -> u64 {
        self.connections.saturating_sub(before.connections)
    }

    /// Whether nothing of it is more than it was.
    fn is_within(&self, before: &Holdings) -> bool {
        self.connections <= before.connections
            && self.opening <= before.opening
            && self.bound <= before.bound
            && self.uids <= before.uids
            && self.groups <= before.groups
            && self.outbox_bytes <= before.outbox_bytes
            && self.descriptors <= before.descriptors
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

    /// Open descriptors, in one table for all its threads or in several. A table counts once, whatever the number of
    /// threads that share it: some of them begin only after the first connection has been served.
    pub fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/task", self.id());
        let threads = fs::read_dir(path).expect("its threads").flatten();
        let tables: BTreeSet<Vec<(OsString, PathBuf)>> = threads
            .filter_map(|thread| {
                let entries = fs::read_dir(thread.path().join("fd")).ok()?.flatten();
                // Sockets have numbers of their own, so that no two tables look alike.
                let mut table: Vec<_> = entries
                    .filter_map(|entry| {
                        Some((entry.file_name(), fs::read_link(entry.path()).ok()?))
                    })
                    .collect();
                table.sort();
                Some(table)
            })
            .collect();
        tables.iter().map(Vec::len).sum()
    }

    /// What its descriptors are.
    pub fn descriptor_targets(&self) -> Vec<String> {
        let path = format!("/proc/{}/fd", self.id());
        let entries = fs::read_dir(path).expect("its descriptors").flatten();
        entries
            .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string()))
            .collect()
    }

    /// From now on it may have so many descriptors more than it has, and opens the lowest numbers first;
    /// `None` takes that back.
    pub fn limit_descriptors(&self, more: Option<usize>) {
        let pid = libc::pid_t::try_from(self.id()).expect("a pid");
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        let none = std::ptr::null();
        // SAFETY: a limit of ours to write to, and none to read.
        let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, none, &mut limit) };
        assert_eq!(done, 0);
        limit.rlim_cur = match more {
            Some(more) => self.number_with_free_below(more) as libc::rlim_t,
            None => limit.rlim_max,
        };
        let none = std::ptr::null_mut();
        // SAFETY: a limit of ours to read, and none to write to.
        let done = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limit, none) };
        assert_eq!(done, 0);
    }

    /// The descriptor's number below which so many are free, or more where threads have tables of their own and
    /// one has more in it than another.
    fn number_with_free_below(&self, count: usize) -> usize {
        let path = format!("/proc/{}/task", self.id());
        let threads = fs::read_dir(path).expect("its threads").flatten();
        let numbers = threads.filter_map(|thread| {
            let entries = fs::read_dir(thread.path().join("fd")).ok()?.flatten();
            let taken: std::collections::HashSet<usize> = entries
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .collect();
            (0..).filter(|number| !taken.contains(number)).nth(count)
        });
        numbers.max().expect("numbers do not end")
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

    /// Something begins.
    pub fn begin(&self) -> Began {
        Began {
            time: Instant::now(),
            worked: self.cpu_time(),
        }
    }

    /// How long ago that was; on a busy machine, where time passes without it, no longer than each of so many cores has worked
    /// since.
    pub fn time_since(&self, began: &Began, cores: usize) -> Duration {
        let elapsed = began.time.elapsed();
        match is_machine_busy() {
            false => elapsed,
            true => elapsed.min(self.cpu_time().saturating_sub(began.worked) / cores as u32),
        }
    }

    /// Stops it, and waits until each of its threads has: the signal reaches one after the other.
    pub async fn stop_still(&mut self) {
        self.signal(libc::SIGSTOP);
        let start = Instant::now();
        let stopped = |status: &String| status.lines().any(|line| line.starts_with("State:\tT"));
        while !self.threads("status").iter().all(stopped) {
            assert!(start.elapsed() < Duration::from_secs(10), "it goes on");
            sleep(Duration::from_millis(1)).await;
        }
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
        let mut before = self.holds_now().await;
        // One that has just started may still open, or close, what it opened to look.
        for _ in 0..100 {
            sleep(Duration::from_millis(20)).await;
            let now = self.holds_now().await;
            if now == before {
                break;
            }
            before = now;
        }
        before
    }

    async fn holds_now(&self) -> Holdings {
        let mut backend = self.backend().await;
        let line = backend.ask("stats").await;
        let stats: Value = serde_json::from_str(&line).expect("stats in JSON");
        let sum = |figure: &str| stats[figure].as_u64().expect("a figure");
        let cores = stats["cores"].as_array().expect("a list of cores");
        let opening = cores.iter().map(|core| core["opening"].as_u64());
        Holdings {
            connections: sum("connections"),
            opening: opening.map(|count| count.expect("a figure")).sum(),
            bound: sum("bound"),
            uids: sum("uids"),
            groups: sum("groups"),
            outbox_bytes: sum("outbox_bytes"),
            descriptors: self.descriptors(),
        }
    }

    /// Waits until it holds no more than it held before.
    pub async fn wait_holdings(&self, before: Holdings) {
        let start = Instant::now();
        loop {
            let now = self.holds_now().await;
            // Before, the test's own last question may just have been going.
            if now.is_within(&before) {
                return;
            }
            let late = start.elapsed() > Duration::from_secs(60);
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
                    let began = self.begin();
                    assert_eq!(other.ask("hello").await, "hello");
                    let took = self.time_since(&began, 1);
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
        let steps = cores.count() * ALLOCATOR_STEPS + kept_by_sanitizer();
        let more = (self.status("VmHWM:") << 10).saturating_sub(before);
        assert!(
            more <= more_max + steps,
            "{more} bytes more than before, not {more_max} and {steps}"
        );
    }
}
