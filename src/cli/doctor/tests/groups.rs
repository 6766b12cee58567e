//! Control groups of both versions, and limits of any of those that hold the process.

use super::{Fake, Verdict, named};

const OWN: &str = "sys/fs/cgroup/system.slice/ringpost.service";

#[test]
fn memory_of_a_group_and_of_those_above_it() {
    let fake = Fake::new();
    fake.put(&format!("{OWN}/memory.max"), "max\n")
        .put("sys/fs/cgroup/system.slice/memory.max", "536870912\n")
        .put("sys/fs/cgroup/system.slice/memory.current", "268435456\n");
    let findings = fake.examine(100_000);
    let memory = named(&findings, "memory");
    assert_eq!(memory.verdict, Verdict::Breaks);
    assert!(
        memory
            .found
            .ends_with("(the limit of /sys/fs/cgroup/system.slice)"),
        "{memory:?}"
    );
    // 256 MiB are left.
    assert!(
        (50_000..60_000).contains(&memory.holds.unwrap()),
        "{memory:?}"
    );
    // Pages of files are given up.
    fake.put(
        "sys/fs/cgroup/system.slice/memory.stat",
        "anon 1\nfile 260000000\n",
    );
    let findings = fake.examine(100_000);
    assert_eq!(named(&findings, "memory").verdict, Verdict::Ok);
}

#[test]
fn version_1() {
    let fake = Fake::new();
    fake.put(
        "proc/self/cgroup",
        "9:name=systemd:/\n8:pids:/box\n4:memory:/box\n1:cpu,cpuacct:/box\n0::/\n",
    )
    .put(
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes",
        "268435456\n",
    )
    .put(
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes",
        "134217728\n",
    )
    .put(
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "9223372036854771712\n",
    )
    .put("sys/fs/cgroup/pids/box/pids.max", "10\n")
    .put("sys/fs/cgroup/pids/box/pids.current", "7\n")
    .put("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "150000\n")
    .put(
        "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us",
        "100000\n",
    );
    let findings = fake.examine(50_000);
    let memory = named(&findings, "memory");
    assert!(
        (24_000..29_000).contains(&memory.holds.unwrap()),
        "{memory:?}"
    );
    assert_eq!(named(&findings, "threads").verdict, Verdict::Breaks);
    let cpus = named(&findings, "CPUs");
    assert_eq!(cpus.verdict, Verdict::Note);
    assert!(cpus.found.ends_with("1.50 CPUs' time"), "{cpus:?}");
}

#[test]
fn threads_and_time_of_a_group() {
    let fake = Fake::new();
    fake.put(&format!("{OWN}/pids.max"), "4\n")
        .put(&format!("{OWN}/pids.current"), "1\n")
        .put(&format!("{OWN}/cpu.max"), "max 100000\n");
    let findings = fake.examine(1_000);
    let threads = named(&findings, "threads");
    assert_eq!(threads.verdict, Verdict::Breaks);
    assert!(threads.mend[0].line == "TasksMax=14", "{threads:?}");
    assert_eq!(named(&findings, "CPUs").verdict, Verdict::Ok);
    fake.put(&format!("{OWN}/cpu.max"), "50000 100000\n");
    assert_eq!(named(&fake.examine(1_000), "CPUs").verdict, Verdict::Note);
}

#[test]
fn a_path_out_of_our_sight_is_the_root() {
    let fake = Fake::new();
    fake.put("proc/self/cgroup", "0::/../../other\n")
        .put("sys/fs/cgroup/memory.max", "268435456\n");
    let findings = fake.examine(1_000);
    assert!(named(&findings, "memory").holds.unwrap() < 60_000);
}
