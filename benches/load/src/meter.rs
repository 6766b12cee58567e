//! [`Meter`]: what the server costs, read from /proc: CPU time, memory, where it runs.

use std::collections::BTreeSet;
use std::{fs, io};

use serde::Serialize;

use super::wire::address::Address;

/// Most processes of one server.
const PROCESSES_MAX: usize = 1_024;

/// A server's processes.
#[derive(Clone, Debug)]
pub struct Meter {
    pids: Vec<u32>,
}

/// CPU time that a server has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CpuTime {
    /// Of all threads that live, to the nanosecond.
    run_nanos: u64,
    /// Time in which they could have run, and other threads had the CPUs.
    wait_nanos: u64,
    /// In clock ticks, the ended threads' too; how the whole divides.
    user_ticks: u64,
    system_ticks: u64,
}

/// CPU seconds spent between two moments.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize)]
pub struct CpuSpent {
    pub total: f64,
    pub user: f64,
    pub system: f64,
    /// Not CPU time: seconds in which threads of the server waited for a CPU.
    pub waited: f64,
}

/// The machine's own memory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct KernelMemory {
    pub slab_bytes: u64,
    pub available_bytes: u64,
}

impl CpuSpent {
    /// What it comes to for each of so many.
    pub fn per(&self, count: f64) -> CpuSpent {
        CpuSpent {
            total: self.total / count,
            user: self.user / count,
            system: self.system / count,
            waited: self.waited / count,
        }
    }
}

impl CpuTime {
    /// What was spent since an earlier moment.
    pub fn since(&self, earlier: &CpuTime) -> CpuSpent {
        let ticks = |now: u64, then: u64| now.saturating_sub(then) as f64 / ticks_per_second();
        let user = ticks(self.user_ticks, earlier.user_ticks);
        let system = ticks(self.system_ticks, earlier.system_ticks);
        let exact = self.run_nanos.saturating_sub(earlier.run_nanos) as f64 / 1e9;
        // Ticks are coarse; they tell how the exact time divides. Without schedstat they are all there is.
        let total = if exact > 0.0 { exact } else { user + system };
        let part = match user + system > 0.0 {
            true => user / (user + system),
            false => 0.0,
        };
        CpuSpent {
            total,
            user: total * part,
            system: total * (1.0 - part),
            waited: self.wait_nanos.saturating_sub(earlier.wait_nanos) as f64 / 1e9,
        }
    }
}

impl Meter {
    /// The processes named, or those that listen on the address, if it is this machine's; their
    /// children too. `None` if there are none to be seen.
    pub fn find(named: &[u32], address: &Address) -> Result<Option<Meter>, String> {
        let mut pids: BTreeSet<u32> = named.iter().copied().collect();
        for pid in named {
            fs::metadata(format!("/proc/{pid}"))
                .map_err(|_| format!("--server-pid {pid}: there is no such process"))?;
        }
        if pids.is_empty() {
            pids = match address {
                Address::Tcp(address) if address.ip().is_loopback() => listening_on(address.port()),
                Address::Tcp(_) => pids,
                Address::Unix(_) => address.listening_pid().into_iter().collect(),
            };
        }
        let mut unseen: Vec<u32> = pids.iter().copied().collect();
        while let Some(pid) = unseen.pop() {
            let children = children(pid).into_iter();
            unseen
                .extend(children.filter(|child| pids.len() < PROCESSES_MAX && pids.insert(*child)));
        }
        let pids: Vec<u32> = pids.into_iter().collect();
        Ok(Some(Meter { pids }).filter(|meter| !meter.pids.is_empty()))
    }

    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// CPU time so far.
    pub fn cpu_time(&self) -> Result<CpuTime, String> {
        let mut sum = CpuTime::default();
        for pid in &self.pids {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_err(|_| format!("the server (pid {pid}) has ended"))?;
            let (user, system) = ticks(&stat).unwrap_or_default();
            sum.user_ticks += user;
            sum.system_ticks += system;
            for task in tasks(*pid).unwrap_or_default() {
                let path = format!("/proc/{pid}/task/{task}/schedstat");
                let text = fs::read_to_string(path).unwrap_or_default();
                let words = text.split_whitespace();
                let mut times = words.filter_map(|word| word.parse::<u64>().ok());
                sum.run_nanos += times.next().unwrap_or(0);
                sum.wait_nanos += times.next().unwrap_or(0);
            }
        }
        Ok(sum)
    }

    /// Resident bytes.
    pub fn resident_bytes(&self) -> u64 {
        let pages = self.pids.iter().filter_map(|pid| {
            let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            text.split_whitespace().nth(1)?.parse::<u64>().ok()
        });
        pages.sum::<u64>() * page_bytes()
    }

    /// The CPUs that it works on: those that its threads are pinned to, or, if none is, all that
    /// they may use.
    pub fn cpus(&self) -> BTreeSet<usize> {
        let mut pinned = BTreeSet::new();
        let mut allowed = BTreeSet::new();
        for pid in &self.pids {
            for task in tasks(*pid).unwrap_or_default() {
                let path = format!("/proc/{pid}/task/{task}/status");
                let cpus = allowed_cpus(&fs::read_to_string(path).unwrap_or_default());
                if cpus.len() == 1 {
                    pinned.extend(&cpus);
                }
                allowed.extend(cpus);
            }
        }
        if pinned.is_empty() { allowed } else { pinned }
    }
}

/// The kernel's memory as it is now.
pub fn kernel_memory() -> KernelMemory {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or(0) << 10
    };
    KernelMemory {
        slab_bytes: bytes("Slab:"),
        available_bytes: bytes("MemAvailable:"),
    }
}

/// The CPUs that this process may use.
pub fn own_cpus() -> BTreeSet<usize> {
    allowed_cpus(&fs::read_to_string("/proc/thread-self/status").unwrap_or_default())
}

/// Reads lists such as `0-3,8`.
pub fn parse_cpus(list: &str) -> Option<BTreeSet<usize>> {
    let mut cpus = BTreeSet::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse::<usize>().ok()?);
        if last >= 4_096 || first > last {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

fn allowed_cpus(status: &str) -> BTreeSet<usize> {
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(parse_cpus)
        .unwrap_or_default()
}

fn tasks(pid: u32) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect())
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = tasks(pid).unwrap_or_default().into_iter();
    let of_task = |task: String| {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/children"));
        let words = text.unwrap_or_default();
        let pids: Vec<u32> = words
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        pids
    };
    tasks.flat_map(of_task).collect()
}

/// User and system time from a `stat` line. The command's name, in parentheses, may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let mut words = stat[stat.rfind(')')? + 1..].split_whitespace();
    let user = words.nth(11)?.parse().ok()?;
    let system = words.next()?.parse().ok()?;
    Some((user, system))
}

/// The processes of ours that hold a listening socket of a port.
fn listening_on(port: u16) -> BTreeSet<u32> {
    let mut sockets = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        sockets.extend(text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (_, local_port) = words.get(1)?.rsplit_once(':')?;
            let is_ours = u16::from_str_radix(local_port, 16) == Ok(port);
            let is_listening = *words.get(3)? == "0A";
            (is_ours && is_listening).then(|| format!("socket:[{}]", words.get(9).unwrap_or(&"")))
        }));
    }
    let mut pids = BTreeSet::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return pids;
    };
    let numbered =
        processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    for pid in numbered.filter(|pid| *pid != std::process::id()) {
        // Its threads may have descriptor tables of their own.
        let tables = tasks(pid).unwrap_or_default().into_iter();
        let mut links = tables
            .filter_map(|task| fs::read_dir(format!("/proc/{pid}/task/{task}/fd")).ok())
            .flatten()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        if links.any(|link| link.to_str().is_some_and(|link| sockets.contains(link))) {
            pids.insert(pid);
        }
    }
    pids
}

pub fn ticks_per_second() -> f64 {
    // SAFETY: takes a name and yields a number.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

fn page_bytes() -> u64 {
    // SAFETY: as above.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        let cpus = |list| parse_cpus(list).map(Vec::from_iter);
        assert_eq!(cpus("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpus("7\n"), Some(vec![7]));
        assert_eq!(cpus("3-1"), None);
        assert_eq!(cpus("x"), None);
        assert!(!own_cpus().is_empty());
    }

    #[test]
    fn times_from_a_stat_line_with_an_odd_name() {
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 111 222 13";
        assert_eq!(ticks(stat), Some((111, 222)));
    }

    /// A process of one thread, so that none ends and takes its time along.
    #[test]
    fn a_process_is_found_by_its_pid() {
        let address = Address::Tcp("127.0.0.1:1".parse().unwrap());
        let mut busy = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        let meter = Meter::find(&[busy.id()], &address).unwrap().unwrap();
        let before = meter.cpu_time().unwrap();
        // A busy machine gives it little of its time.
        let spent = (0..600).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let spent = meter.cpu_time().unwrap().since(&before).total;
            (spent > 0.005).then_some(spent)
        });
        let resident = meter.resident_bytes();
        busy.kill().unwrap();
        busy.wait().unwrap();
        assert!(meter.pids().contains(&busy.id()));
        assert!(spent.is_some());
        assert!(resident > 0);
        assert!(Meter::find(&[u32::MAX], &address).is_err());
    }

    #[test]
    fn spent_time_is_divided_as_the_ticks_are() {
        let then = CpuTime::default();
        let now = CpuTime {
            run_nanos: 2_000_000_000,
            wait_nanos: 4_000_000_000,
            user_ticks: 50,
            system_ticks: 150,
        };
        let spent = now.since(&then);
        assert_eq!((spent.total, spent.user, spent.system), (2.0, 0.5, 1.5));
        assert_eq!(spent.per(2.0).system, 0.75);
        assert_eq!(spent.waited, 4.0);
    }
}
