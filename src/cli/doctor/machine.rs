//! [`Machine`]: what the kernel says of itself and of one process, read from /proc and /sys.
//!
//! Below a root of the caller's, so that a test can lay out any machine. What cannot be read is `None`, and
//! nothing is made of it.

use std::fs;
use std::path::{Path, PathBuf};

/// See the module.
pub struct Machine {
    root: PathBuf,
    /// `self`, or a process' number.
    process: String,
}

/// A control group that holds the process, and what it allows; `None` is no limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlGroup {
    pub path: PathBuf,
    pub memory_max: Option<u64>,
    pub memory_used: u64,
    pub tasks_max: Option<u64>,
    pub tasks: u64,
    /// CPUs' worth of time, in hundredths.
    pub cpu_percent: Option<u64>,
}

impl Machine {
    /// The machine below that directory, usually `/`, as it is for a process or, without one, for us.
    pub fn new(root: &Path, process: Option<u32>) -> Machine {
        Machine {
            root: root.to_owned(),
            process: process.map_or("self".to_owned(), |pid| pid.to_string()),
        }
    }

    /// Whether there is such a process.
    pub fn has_process(&self) -> bool {
        self.root.join("proc").join(&self.process).exists()
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn of_process(&self, file: &str) -> Option<String> {
        self.read(Path::new("proc").join(&self.process).join(file))
    }

    /// The numbers of a setting, by its name as sysctl(8) has it.
    pub fn numbers(&self, name: &str) -> Option<Vec<u64>> {
        let text = self.read(Path::new("proc/sys").join(name.replace('.', "/")))?;
        // Some are negative where they are somebody else's: the hash table of another network namespace.
        let number = |word: &str| word.trim_start_matches('-').parse().ok();
        text.split_whitespace().map(number).collect()
    }

    /// The first of them.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers(name)?.first().copied()
    }

    /// The version of the kernel: 6.1 is (6, 1).
    pub fn kernel(&self) -> Option<(u32, u32)> {
        let text = self.read("proc/sys/kernel/osrelease")?;
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// A limit of the process, soft and hard, by its name in /proc/PID/limits. `u64::MAX` is none.
    pub fn limit(&self, name: &str) -> Option<(u64, u64)> {
        let text = self.of_process("limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_whitespace().map(|word| match word {
            "unlimited" => Some(u64::MAX),
            word => word.parse().ok(),
        });
        Some((words.next()??, words.next()??))
    }

    fn status(&self, name: &str) -> Option<String> {
        let text = self.of_process("status")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().to_owned())
    }

    /// Whether the process has a capability (capabilities(7)), by its number.
    pub fn is_capable(&self, number: u32) -> Option<bool> {
        let mask = u64::from_str_radix(&self.status("CapEff")?, 16).ok()?;
        Some(mask >> number & 1 == 1)
    }

    /// How many CPUs the process may run on.
    pub fn cpus(&self) -> Option<usize> {
        Some(ranges(&self.status("Cpus_allowed_list")?)?.len())
    }

    /// How many cores a server has here if nobody says: as the server counts them.
    pub fn cores(&self) -> usize {
        let groups = self.groups();
        let percent = groups.iter().filter_map(|group| group.cpu_percent).min();
        ringpost::machine::cores_for(self.cpus().unwrap_or(1), percent)
    }

    /// Bytes by a name in /proc/meminfo.
    pub fn memory(&self, name: &str) -> Option<u64> {
        let text = self.read("proc/meminfo")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes = line.trim_start_matches(':').split_whitespace().next()?;
        kibibytes.parse::<u64>().ok().map(|count| count << 10)
    }

    /// Descriptors that are open on the whole machine.
    pub fn open_files(&self) -> Option<u64> {
        self.number("fs.file-nr")
    }

    /// A counter of the network stack since boot, by its name in /proc/net/netstat.
    pub fn counted(&self, name: &str) -> Option<u64> {
        let text = self.of_process("net/netstat")?;
        let mut lines = text.lines();
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut both = names.split_whitespace().zip(values.split_whitespace());
            if let Some((_, value)) = both.find(|(known, _)| *known == name) {
                return value.parse().ok();
            }
        }
        None
    }

    /// Packets that were dropped since boot because a CPU's queue of them was full.
    pub fn packets_dropped(&self) -> Option<u64> {
        let text = self.of_process("net/softnet_stat")?;
        let dropped = text.lines().map(|line| {
            let word = line.split_whitespace().nth(1)?;
            u64::from_str_radix(word, 16).ok()
        });
        dropped.sum()
    }

    /// The control groups that hold the process, of both versions, from its own up to the root.
    pub fn groups(&self) -> Vec<ControlGroup> {
        let groups = ringpost::machine::control_groups(&self.root, &self.process);
        groups.iter().map(|path| self.group(path)).collect()
    }

    fn group(&self, path: &Path) -> ControlGroup {
        let number = |names: &[&str]| {
            let texts = names.iter().filter_map(|name| self.read(path.join(name)));
            texts
                .filter_map(|text| text.trim().parse::<u64>().ok())
                .next()
        };
        // Version 1 says "no limit" by a number that no machine has.
        let is_limit = |bytes: &u64| *bytes < 1 << 60;
        ControlGroup {
            path: Path::new("/").join(path),
            memory_max: number(&["memory.max", "memory.limit_in_bytes"]).filter(is_limit),
            memory_used: self.memory_used(path),
            tasks_max: number(&["pids.max"]),
            tasks: number(&["pids.current"]).unwrap_or(0),
            cpu_percent: ringpost::machine::cpu_percent(&self.root, path),
        }
    }

    /// Without the pages of files, which the kernel gives up for something better.
    fn memory_used(&self, path: &Path) -> u64 {
        let of = |name: &str| self.read(path.join(name));
        let used = of("memory.current").or_else(|| of("memory.usage_in_bytes"));
        let used: u64 = used.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let stat = of("memory.stat").unwrap_or_default();
        let pages = stat.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            ["file", "total_cache"].contains(&name).then_some(value)?;
            value.parse::<u64>().ok()
        });
        used.saturating_sub(pages.unwrap_or(0))
    }
}

/// `0-3,8` → 0, 1, 2, 3, 8.
fn ranges(list: &str) -> Option<Vec<usize>> {
    let mut all = Vec::new();
    for part in list.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        all.extend(first.trim().parse::<usize>().ok()?..=last.trim().parse().ok()?);
    }
    Some(all)
}
