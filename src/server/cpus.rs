//! How many cores fit the CPUs that the process has: those it may run on, and no more than its control groups give it
//! time for.
//!
//! Read from /proc and /sys/fs/cgroup, of both versions, below a root of the caller's, so that `ringpost doctor` looks
//! with the same eyes. What cannot be read limits nothing.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// The directories of the control groups that hold a process (`self`, or its number), from its own up to the root, below
/// a root directory. Of both versions.
pub fn control_groups(root: &Path, process: &str) -> Vec<PathBuf> {
    let file = root.join("proc").join(process).join("cgroup");
    let mut groups = Vec::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        for mount in mounts(root, controllers) {
            // Of a path that leaves our own view, as `/../x` does, only the root is seen.
            let is_plain = |part: &Component| matches!(part, Component::Normal(_));
            let mut own = Path::new(path).components().skip(1);
            let path: PathBuf = match own.all(|part| is_plain(&part)) {
                true => Path::new(path).components().skip(1).collect(),
                false => PathBuf::new(),
            };
            groups.extend(path.ancestors().map(|part| mount.join(part)));
        }
    }
    groups
}

/// Where a hierarchy is mounted: version 2 has no controllers' names, version 1 has them all, or one, for its name.
fn mounts(root: &Path, controllers: &str) -> Vec<PathBuf> {
    let base = Path::new("sys/fs/cgroup");
    match controllers {
        "" => vec![base.to_owned(), base.join("unified")],
        name if name.starts_with("name=") => Vec::new(),
        name if root.join(base).join(name).exists() => vec![base.join(name)],
        names => names.split(',').map(|name| base.join(name)).collect(),
    }
}

/// CPUs' worth of time that a control group, by its directory, gives: in hundredths. `None` is no limit.
pub fn cpu_percent(root: &Path, group: &Path) -> Option<u64> {
    let of = |name: &str| fs::read_to_string(root.join(group).join(name)).ok();
    let both = of("cpu.max").or_else(|| {
        let (quota, period) = (of("cpu.cfs_quota_us")?, of("cpu.cfs_period_us")?);
        Some(format!("{} {}", quota.trim(), period.trim()))
    })?;
    let mut words = both.split_whitespace();
    // `max`, or -1, is no limit.
    let quota: u64 = words.next()?.parse().ok()?;
    let period: u64 = words.next()?.parse().ok()?;
    quota.saturating_mul(100).checked_div(period)
}

/// Cores for so many CPUs where the time of so many hundredths of one may be used: as many as that makes, rounded up.
pub fn cores_for(cpus: usize, percent: Option<u64>) -> usize {
    let of_time = percent.map_or(usize::MAX, |percent| percent.div_ceil(100) as usize);
    cpus.min(of_time).max(1)
}

/// The least that any control group gives this process; `None` is no limit.
pub fn own_percent() -> Option<u64> {
    let root = Path::new("/");
    let groups = control_groups(root, "self");
    groups
        .iter()
        .filter_map(|group| cpu_percent(root, group))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_cores_as_the_quota_rounded_up() {
        for (cpus, percent, cores) in [
            (8, None, 8),
            (8, Some(50), 1),
            (8, Some(100), 1),
            (8, Some(101), 2),
            (8, Some(250), 3),
            (8, Some(9_999), 8),
            (2, Some(0), 1),
            (0, None, 1),
        ] {
            assert_eq!(cores_for(cpus, percent), cores, "{cpus} {percent:?}");
        }
    }

    #[test]
    fn quotas_of_both_versions() {
        let name = format!("ringpost-cpus-{}-{}", std::process::id(), fastrand::u64(..));
        let root = std::env::temp_dir().join(name);
        let lay = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(path, text).expect("a file is written");
        };
        let least = || {
            let groups = control_groups(&root, "self");
            let percents = groups.iter().filter_map(|group| cpu_percent(&root, group));
            percents.min()
        };
        assert_eq!(least(), None);
        lay(
            "proc/self/cgroup",
            "4:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n0::/a/b\n",
        );
        lay("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        assert_eq!(least(), None);
        lay("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
        assert_eq!(least(), Some(150));
        // Mounted under the one name alone, and as a container sees it: its own group is the root.
        lay("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
        lay("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(least(), Some(50));
        lay(
            "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us",
            "-1\n",
        );
        lay(
            "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us",
            "100000\n",
        );
        assert_eq!(least(), Some(150));
        let _ = fs::remove_dir_all(root);
    }
}
