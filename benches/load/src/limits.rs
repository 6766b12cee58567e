//! What the machine lets a run have: descriptors and ports. Found too small before the run begins, and
//! said with the line that mends it.

use std::fs;
use std::path::PathBuf;
use std::thread;

use super::wire::Sources;

/// Descriptors that a generator needs beside its connections'.
const SPARE_DESCRIPTORS: u64 = 64;

/// What one descriptor table may hold, after the soft limit has been raised to the hard one.
pub fn raise_descriptors() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a pointer to a limit that lives through them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit {
            rlim_cur: limit.rlim_max,
            ..limit
        };
        match libc::setrlimit(libc::RLIMIT_NOFILE, &raised) {
            0 => limit.rlim_max,
            _ => limit.rlim_cur,
        }
    }
}

/// Gives the calling thread a descriptor table of its own, since the limit is one table's and not the
/// process'. `false` where a sandbox forbids it.
pub fn take_own_table() -> bool {
    // SAFETY: takes a flag. The thread keeps the descriptors it knows, as copies of its own.
    unsafe { libc::unshare(libc::CLONE_FILES) == 0 }
}

/// Whether threads can have tables of their own.
pub fn has_own_tables() -> bool {
    thread::spawn(take_own_table).join().unwrap_or(false)
}

/// How many generators there should be, or why it cannot be done. `asked` is what was asked for,
/// `otherwise` what there are when nothing was.
pub fn generators(
    connections: usize,
    asked: Option<usize>,
    otherwise: usize,
    descriptors: u64,
    own_tables: bool,
) -> Result<usize, String> {
    let room = descriptors.saturating_sub(SPARE_DESCRIPTORS).max(1) as usize;
    let hint = format!(
        "raise it with `ulimit -n {}` (as root, or in /etc/security/limits.conf, or LimitNOFILE= \
         in a unit)",
        connections as u64 + SPARE_DESCRIPTORS
    );
    if !own_tables && connections > room {
        return Err(format!(
            "{connections} connections need more than the {descriptors} descriptors that this process \
             may have, and threads cannot have tables of their own here: {hint}"
        ));
    }
    let needed = match own_tables {
        true => connections.div_ceil(room),
        false => 1,
    };
    match asked {
        Some(asked) if asked < needed => Err(format!(
            "{connections} connections need {needed} generators, for each may have {descriptors} \
             descriptors: take --generators {needed}, or {hint}"
        )),
        Some(asked) if asked > connections => Err(format!(
            "--generators {asked} is more than the {connections} connections"
        )),
        Some(asked) => Ok(asked),
        None => Ok(otherwise.clamp(needed, connections.max(needed))),
    }
}

/// Whether there are ports enough to connect from.
pub fn check_ports(connections: usize, sources: &Sources) -> Result<(), String> {
    let ports = ports_per_address();
    if !sources.has_ports() {
        return Ok(());
    }
    let room = ports * sources.len();
    match connections > room {
        true => Err(format!(
            "{connections} connections need more than the {ports} ports of {} source address{}: name \
             more addresses of this machine with --source, or widen the range with \
             `sysctl -w net.ipv4.ip_local_port_range='1024 65535'`",
            sources.len(),
            if sources.len() == 1 { "" } else { "es" }
        )),
        false => Ok(()),
    }
}

fn ports_per_address() -> usize {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text
        .split_whitespace()
        .filter_map(|word| word.parse::<usize>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) if last >= first => last - first + 1,
        _ => 28_232,
    }
}

/// What is wrong with the server's own limit, if it is known and too low.
pub fn server_warning(connections: usize, pid: u32) -> Option<String> {
    if has_several_tables(pid) {
        return None;
    }
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    let limit: usize = line.split_whitespace().nth(3)?.parse().ok()?;
    (limit < connections + 32).then(|| {
        format!(
            "the server (pid {pid}) may have {limit} descriptors, too few for {connections} \
             connections: start it after `ulimit -n {}`",
            connections + 256
        )
    })
}

/// Whether the process's threads have different descriptors, and so a limit each.
fn has_several_tables(pid: u32) -> bool {
    let open = |task: PathBuf| fs::read_dir(task.join("fd")).map_or(0, Iterator::count);
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok();
    let mut counts = tasks
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| open(task.path()));
    let first = counts.next();
    counts.any(|count| Some(count) != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_generators_as_the_descriptors_demand() {
        assert_eq!(generators(1_000, None, 1, 20_000, true), Ok(1));
        assert_eq!(generators(50_000, None, 1, 20_000, true), Ok(3));
        assert_eq!(generators(50_000, Some(4), 1, 20_000, true), Ok(4));
        assert_eq!(generators(2, None, 8, 20_000, true), Ok(2));
        assert_eq!(generators(10_000, None, 2, 20_000, false), Ok(2));
    }

    #[test]
    fn what_does_not_fit_is_said_with_what_mends_it() {
        let few = generators(50_000, Some(2), 1, 20_000, true).unwrap_err();
        assert!(few.contains("--generators 3"), "{few}");
        let low = generators(50_000, None, 1, 20_000, false).unwrap_err();
        assert!(low.contains("ulimit -n 50064"), "{low}");
        assert!(generators(3, Some(4), 1, 20_000, true).is_err());
        let target = crate::wire::address::Address::Tcp("[::1]:7".parse().unwrap());
        let ports = check_ports(1_000_000, &Sources::new(&[], &target, 0)).unwrap_err();
        assert!(ports.contains("--source"), "{ports}");
    }
}
