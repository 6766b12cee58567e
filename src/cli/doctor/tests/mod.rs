//! Each finding on a machine laid out for it: where it breaks, where it does not, and what mends it.

mod groups;
mod memory;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringpost::config::{DescriptorTables, Driver};
use ringpost::machine::RingTrial;

use super::*;

/// A directory that looks like a machine on which 100,000 connections fit.
pub struct Fake {
    root: PathBuf,
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max processes             96365                96365                processes
Max open files            1024                 1048576              files
Max locked memory         8388608              8388608              bytes
";

impl Fake {
    pub fn new() -> Fake {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringpost-doctor-{}-{number}", std::process::id());
        let fake = Fake {
            root: std::env::temp_dir().join(name),
        };
        for (path, text) in [
            ("proc/self/limits", LIMITS),
            (
                "proc/self/status",
                "CapEff:\t0000000000000000\nCpus_allowed_list:\t0-1\n",
            ),
            ("proc/self/cgroup", "0::/system.slice/ringpost.service\n"),
            (
                "proc/meminfo",
                "MemTotal: 9 kB\nMemAvailable: 16777216 kB\n",
            ),
            ("proc/sys/kernel/osrelease", "6.1.0-30-amd64\n"),
            ("proc/sys/fs/nr_open", "1048576\n"),
            ("proc/sys/fs/file-max", "9223372036854775807\n"),
            ("proc/sys/fs/file-nr", "1131\t0\t9223372036854775807\n"),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
            ("proc/sys/net/ipv4/tcp_syncookies", "1\n"),
            ("proc/sys/net/ipv4/tcp_mem", "287901\t383869\t575802\n"),
            ("proc/sys/net/ipv4/tcp_max_orphans", "131072\n"),
            ("proc/sys/net/ipv4/tcp_ehash_entries", "262144\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "10240\t65535\n"),
            (
                "proc/self/net/netstat",
                "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 5 0 0\n",
            ),
        ] {
            fake.put(path, text);
        }
        fake
    }

    pub fn put(&self, path: &str, text: &str) -> &Fake {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn remove(&self, path: &str) -> &Fake {
        fs::remove_file(self.root.join(path)).unwrap();
        self
    }

    pub fn machine(&self) -> Machine {
        Machine::new(&self.root, None)
    }

    /// The findings of the default configuration.
    pub fn examine(&self, connections: u64) -> Vec<Finding> {
        self.examine_by(connections, |_| {})
    }

    fn examine_by(&self, connections: u64, change: impl FnOnce(&mut DoctorPlan)) -> Vec<Finding> {
        let settings = resolve(None, Layer::default()).unwrap();
        let machine = self.machine();
        let mut plan = DoctorPlan::new(&settings, connections, &machine);
        change(&mut plan);
        examine(&machine, &plan)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// The finding of a name.
#[track_caller]
pub fn named<'a>(findings: &'a [Finding], name: &str) -> &'a Finding {
    let mut of_name = findings.iter().filter(|finding| finding.name == name);
    of_name.next().expect("a finding of that name")
}

/// Asserts its verdict, and that what mends it holds these words.
#[track_caller]
fn is(findings: &[Finding], name: &str, verdict: Verdict, mend: &str) {
    let finding = named(findings, name);
    assert_eq!(finding.verdict, verdict, "{finding:?}");
    let lines: Vec<&str> = finding.mend.iter().map(|one| one.line.as_str()).collect();
    assert!(lines.join("\n").contains(mend), "{finding:?}");
    assert_eq!(
        finding.because.is_empty(),
        verdict == Verdict::Ok,
        "{finding:?}"
    );
}

#[test]
fn a_machine_that_holds_them_is_well() {
    let fake = Fake::new();
    let findings = fake.examine(50_000);
    for finding in &findings {
        assert_eq!(finding.verdict, Verdict::Ok, "{finding:?}");
    }
    // Rings are not made for a machine that is not this one, and no server is asked there, nor a Redis; this one tracks nothing,
    // and no listener speaks TLS.
    assert_eq!(findings.len(), CHECKS.len() - 5);
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let fake = Fake::new();
    for path in [
        "proc/self/limits",
        "proc/sys/net/ipv4/tcp_mem",
        "proc/sys/net/ipv4/tcp_ehash_entries",
    ] {
        fake.remove(path);
    }
    fake.put("proc/sys/net/core/somaxconn", "many\n");
    let names: Vec<_> = fake.examine(1_000).iter().map(|one| one.name).collect();
    for name in [
        "descriptors",
        "TCP's memory",
        "table of sockets",
        "accept queue",
    ] {
        assert!(!names.contains(&name), "{names:?}");
    }
    assert!(names.contains(&"memory"), "{names:?}");
}

#[test]
fn descriptors() {
    let fake = Fake::new();
    fake.put(
        "proc/self/limits",
        "Max open files            1024    20000    files\n",
    );
    let findings = fake.examine(100_000);
    is(
        &findings,
        "descriptors",
        Verdict::Breaks,
        "LimitNOFILE=103000",
    );
    // It says how many fit, and so many do.
    let holds = named(&findings, "descriptors").holds.unwrap();
    assert!((19_300..19_400).contains(&holds), "{holds}");
    is(&fake.examine(holds), "descriptors", Verdict::Ok, "");
    is(
        &fake.examine(holds + 1),
        "descriptors",
        Verdict::Breaks,
        "ulimit -n ",
    );
    fake.put(
        "proc/self/limits",
        "Max open files            1024    unlimited    files\n",
    );
    is(&fake.examine(1_000_000_000), "descriptors", Verdict::Ok, "");
}

#[test]
fn descriptors_of_each_core() {
    let fake = Fake::new();
    fake.put(
        "proc/self/limits",
        "Max open files            1024    20000    files\n",
    );
    let findings = fake.examine(1_000_000);
    let mend = "max_connections = 1000000\ncores = 53";
    is(&findings, "descriptors", Verdict::Breaks, mend);
    let followed = |plan: &mut DoctorPlan, cores| {
        plan.max_connections = 1_000_000;
        plan.cores = cores;
    };
    let findings = fake.examine_by(1_000_000, |plan| followed(plan, 53));
    is(&findings, "descriptors", Verdict::Ok, "");
    assert!(
        named(&findings, "descriptors")
            .found
            .ends_with("for each of 53 cores")
    );
    let findings = fake.examine_by(1_000_000, |plan| followed(plan, 52));
    is(&findings, "descriptors", Verdict::Breaks, "\ncores = 53");
    // No core may have more than there are.
    let findings = fake.examine_by(1_000_000, |plan| {
        followed(plan, 53);
        plan.tables = DescriptorTables::Shared;
    });
    is(
        &findings,
        "descriptors",
        Verdict::Breaks,
        "descriptor_tables = \"auto\"",
    );
}

#[test]
fn what_descriptors_can_be_raised_to() {
    let fake = Fake::new();
    is(
        &fake.examine(2_000_000),
        "descriptors' ceiling",
        Verdict::Breaks,
        "sysctl -w fs.nr_open=2097152",
    );
    is(
        &fake.examine(1_000_000),
        "descriptors' ceiling",
        Verdict::Ok,
        "",
    );
}

#[test]
fn files_of_the_whole_machine() {
    let fake = Fake::new();
    fake.put("proc/sys/fs/file-max", "90000\n")
        .put("proc/sys/fs/file-nr", "50000\t0\t90000\n");
    is(
        &fake.examine(50_000),
        "open files",
        Verdict::Breaks,
        "sysctl -w fs.file-max=262144",
    );
    is(&fake.examine(30_000), "open files", Verdict::Ok, "");
    // Root may pass it.
    fake.put("proc/self/status", "CapEff:\t000001ffffffffff\n");
    is(&fake.examine(50_000), "open files", Verdict::Ok, "");
}

#[test]
fn tracked_connections() {
    let fake = Fake::new();
    fake.put("proc/sys/net/netfilter/nf_conntrack_max", "65536\n")
        .put("proc/sys/net/netfilter/nf_conntrack_count", "536\n");
    let findings = fake.examine(100_000);
    is(
        &findings,
        "tracked connections",
        Verdict::Breaks,
        "sysctl -w net.netfilter.nf_conntrack_max=262144",
    );
    assert_eq!(named(&findings, "tracked connections").holds, Some(65_000));
    is(
        &fake.examine(65_000),
        "tracked connections",
        Verdict::Ok,
        "",
    );
    // It could, and does not.
    fake.put("proc/sys/net/netfilter/nf_conntrack_count", "0\n");
    let findings = fake.examine(100_000);
    is(&findings, "tracked connections", Verdict::Note, "sysctl");
}

#[test]
fn queues_of_the_listeners() {
    let fake = Fake::new();
    fake.put("proc/sys/net/core/somaxconn", "128\n")
        .put("proc/sys/net/ipv4/tcp_syncookies", "0\n");
    let findings = fake.examine(100_000);
    is(
        &findings,
        "accept queue",
        Verdict::Note,
        "sysctl -w net.core.somaxconn=4096",
    );
    is(
        &findings,
        "half-open",
        Verdict::Note,
        "sysctl -w net.ipv4.tcp_syncookies=1",
    );
    is(&fake.examine(100), "accept queue", Verdict::Ok, "");
}

#[test]
fn the_table_of_sockets_and_what_is_closing() {
    let fake = Fake::new();
    let findings = fake.examine(300_000);
    is(
        &findings,
        "table of sockets",
        Verdict::Note,
        "thash_entries=524288",
    );
    is(
        &findings,
        "orphans",
        Verdict::Note,
        "sysctl -w net.ipv4.tcp_max_orphans=524288",
    );
    // Of a network namespace without a table of its own the kernel says the size of the common one, below zero.
    fake.put("proc/sys/net/ipv4/tcp_ehash_entries", "-262144\n");
    is(&fake.examine(262_144), "table of sockets", Verdict::Ok, "");
    is(
        &fake.examine(262_145),
        "table of sockets",
        Verdict::Note,
        "",
    );
}

#[test]
fn ports_of_a_proxy_and_of_listeners() {
    let fake = Fake::new();
    fake.put("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n");
    let findings = fake.examine(30_000);
    is(
        &findings,
        "ports",
        Verdict::Note,
        "net.ipv4.ip_local_port_range=",
    );
    assert!(
        named(&findings, "ports")
            .because
            .contains("at most 28,232 ")
    );
    is(&fake.examine(20_000), "ports", Verdict::Ok, "");
    fake.put("proc/sys/net/ipv4/ip_local_port_range", "1024\t65535\n");
    is(
        &fake.examine(20_000),
        "ports",
        Verdict::Note,
        "sysctl -w net.ipv4.ip_local_reserved_ports=1234,1235,5678,9090,8080",
    );
}

#[test]
fn rings() {
    let fake = Fake::new();
    let trial = |what, flags, refusal: Option<&str>| RingTrial {
        what,
        flags,
        refusal: refusal.map(str::to_owned),
    };
    let examine = |driver, refusals: [Option<&str>; 3]| {
        fake.examine_by(1_000, |plan| {
            plan.driver = driver;
            plan.rings = Some(vec![
                trial("runtime", "DEFER_TASKRUN", refusals[0]),
                trial("runtime", "without flags", refusals[1]),
                trial("connections", "COOP_TASKRUN", refusals[2]),
            ]);
        })
    };
    let auto = Driver::Auto;
    is(&examine(auto, [None; 3]), "io_uring", Verdict::Ok, "");
    // One ring for the runtime is enough.
    let old = [Some("EINVAL"), None, None];
    is(&examine(auto, old), "io_uring", Verdict::Ok, "");
    let forbidden = [Some("EPERM"); 3];
    fake.put("proc/sys/kernel/io_uring_disabled", "2\n");
    is(
        &examine(auto, forbidden),
        "io_uring",
        Verdict::Note,
        "sysctl -w kernel.io_uring_disabled=0",
    );
    is(
        &examine(Driver::Uring, forbidden),
        "io_uring",
        Verdict::Breaks,
        "io_uring_disabled=0",
    );
    is(
        &examine(Driver::Epoll, forbidden),
        "io_uring",
        Verdict::Ok,
        "",
    );
    fake.put("proc/sys/kernel/osrelease", "5.15.0-1051-aws\n");
    is(
        &examine(auto, [None, None, Some("EINVAL")]),
        "io_uring",
        Verdict::Note,
        "",
    );
    let old = examine(auto, [None, None, Some("EINVAL")]);
    let because = &named(&old, "io_uring").because;
    assert!(because.contains("This kernel is 5.15"), "{because}");
}

#[test]
fn locked_memory_and_threads() {
    let fake = Fake::new();
    let limits = "Max processes  20  20  processes\nMax locked memory  65536  65536  bytes\n";
    fake.put("proc/self/limits", limits);
    let by =
        |cores, driver| fake.examine_by(1_000, |plan| (plan.cores, plan.driver) = (cores, driver));
    is(
        &by(2, Driver::Auto),
        "locked memory",
        Verdict::Note,
        "LimitMEMLOCK=8M",
    );
    is(
        &by(64, Driver::Uring),
        "locked memory",
        Verdict::Breaks,
        "ulimit -l 65536",
    );
    is(&by(64, Driver::Epoll), "locked memory", Verdict::Ok, "");
    is(
        &by(64, Driver::Auto),
        "threads",
        Verdict::Breaks,
        "ulimit -u 138",
    );
    is(&by(15, Driver::Auto), "threads", Verdict::Ok, "");
    // CAP_IPC_LOCK.
    fake.put("proc/self/status", "CapEff:\t0000000000004000\n");
    is(&by(2, Driver::Auto), "locked memory", Verdict::Ok, "");
}

#[test]
fn cores_without_cpus() {
    let fake = Fake::new();
    let by = |cores| fake.examine_by(1_000, |plan| plan.cores = cores);
    is(&by(4), "CPUs", Verdict::Note, "cores = 2");
    is(&by(2), "CPUs", Verdict::Ok, "");
}

#[test]
fn what_was_dropped() {
    let fake = Fake::new();
    fake.put(
        "proc/self/net/netstat",
        "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 5 77\nIpExt: A B\nIpExt: 1 2\n",
    )
    .put(
        "proc/self/net/softnet_stat",
        "0001 00000010 0000\n0002 00000001 0000\n",
    )
    .put("proc/sys/net/core/netdev_max_backlog", "1000\n");
    let findings = fake.examine(1_000);
    is(
        &findings,
        "dropped",
        Verdict::Note,
        "sysctl -w net.core.netdev_max_backlog=8192",
    );
    let because = &named(&findings, "dropped").because;
    assert!(because.contains("77 times an accept queue"), "{because}");
    assert!(because.contains("17 packets"), "{because}");
}

#[test]
fn a_warning_of_the_server_is_a_line() {
    let fake = Fake::new();
    fake.put("proc/self/limits", "Max open files  1024  20000  files\n");
    let mut settings = resolve(None, Layer::default()).unwrap();
    settings.config.max_connections = 20_000;
    settings.config.descriptor_tables = DescriptorTables::Shared;
    let machine = fake.machine();
    let plan = DoctorPlan::new(&settings, 20_000, &machine);
    let lines = lines(&plan, &examine(&machine, &plan));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with(
            "max_connections = 20000, but only 19,942 fit by descriptors, 20,000 open"
        ),
        "{lines:?}"
    );
    assert!(
        lines[0].ends_with("`ringpost doctor --connections 20000`"),
        "{lines:?}"
    );
    settings.config.max_connections = 0;
    assert!(warnings(&settings).is_empty());
}

#[test]
fn eighty_columns() {
    let fake = Fake::new();
    fake.put("proc/self/limits", "Max open files  1024  20000  files\n")
        .put("proc/sys/net/netfilter/nf_conntrack_max", "65536\n");
    let findings = fake.examine(2_000_000);
    let text = report::text(2_000_000, None, &findings);
    assert!(
        text.starts_with("2,000,000 connections: only 19,"),
        "{text}"
    );
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    // What is wrong comes first.
    let at = |word: &str| text.find(word).unwrap();
    assert!(at("\nBREAKS") < at("\nnote") && at("\nnote") < at("\nok"));
    let json: serde_json::Value = serde_json::from_str(&report::json(9, &findings)).unwrap();
    assert_eq!(json["verdict"], "breaks");
    assert_eq!(json["findings"][0]["name"], "descriptors");
    assert_eq!(json["findings"][0]["verdict"], "breaks");
    assert!(json["holds"].as_u64().is_some_and(|holds| holds < 20_000));
}

#[test]
fn counts() {
    for (text, count) in [
        ("1", 1),
        ("100000", 100_000),
        ("100_000", 100_000),
        ("250k", 250_000),
        ("1M", 1_000_000),
    ] {
        assert_eq!(parse_count(text), Ok(count), "{text}");
    }
    for text in ["", "k", "0", "-1", "1.5M", "9999999999999999999M", "2G"] {
        assert!(parse_count(text).is_err(), "{text}");
    }
}

#[test]
fn figures_for_people() {
    assert_eq!(grouped(0), "0");
    assert_eq!(grouped(999), "999");
    assert_eq!(grouped(1_234_567), "1,234,567");
    assert_eq!(finding::sized(1_023), "1.00 KiB");
    assert_eq!(finding::sized(100), "100 bytes");
    assert_eq!(finding::sized(1 << 30), "1.00 GiB");
    assert_eq!(finding::sized(15 << 20), "15.0 MiB");
}

#[test]
fn certificates() {
    let fake = Fake::new();
    let examine = |certificates: &[Result<i64, String>], doubts: &[&str]| {
        fake.examine_by(1_000, |plan| {
            plan.certificates = certificates.to_vec();
            plan.certificate_doubts = doubts.iter().map(|doubt| doubt.to_string()).collect();
        })
    };
    assert!(
        !examine(&[], &[])
            .iter()
            .any(|one| one.name == "certificates")
    );
    is(
        &examine(&[Ok(90), Ok(15)], &[]),
        "certificates",
        Verdict::Ok,
        "",
    );
    is(
        &examine(&[Ok(90), Ok(13)], &[]),
        "certificates",
        Verdict::Note,
        "",
    );
    let doubted = examine(&[Ok(90)], &["origins has https://shop.example"]);
    is(&doubted, "certificates", Verdict::Note, "");
    let because = doubted.iter().map(|one| &one.because);
    assert!(
        because
            .into_iter()
            .any(|because| because.contains("https://shop.example."))
    );
    let wrong = Err("a.pem: it is damaged".to_owned());
    is(
        &examine(&[Ok(90), wrong], &[]),
        "certificates",
        Verdict::Note,
        "tls.certificate_file",
    );
}
