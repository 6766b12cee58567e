//! What connections, outboxes, kept messages and TCP's buffers take of the machine's memory.

use super::{Fake, Verdict, is, named};

#[test]
fn memory_of_the_machine() {
    let fake = Fake::new();
    fake.put("proc/meminfo", "MemAvailable:  2097152 kB\n");
    let findings = fake.examine(500_000);
    is(&findings, "memory", Verdict::Breaks, "MemoryMax=5G");
    // 2 GiB and 4.7 KB each.
    let holds = named(&findings, "memory").holds.unwrap();
    assert!((440_000..470_000).contains(&holds), "{holds}");
    is(&fake.examine(400_000), "memory", Verdict::Ok, "");
}

#[test]
fn outboxes_that_would_not_fit() {
    let fake = Fake::new();
    fake.put("proc/meminfo", "MemAvailable:  2097152 kB\n");
    is(
        &fake.examine(10_000),
        "outboxes",
        Verdict::Note,
        "outbox_bytes_core_max = \"500 MiB\"",
    );
    fake.put("proc/meminfo", "MemAvailable:  4194304 kB\n");
    is(&fake.examine(10_000), "outboxes", Verdict::Ok, "");
}

#[test]
fn kept_messages_that_would_not_fit() {
    let fake = Fake::new();
    fake.put("proc/meminfo", "MemAvailable:  131072 kB\n");
    is(
        &fake.examine(10_000),
        "history",
        Verdict::Note,
        "history_bytes_core_max = \"20 MiB\"",
    );
    fake.put("proc/meminfo", "MemAvailable:  4194304 kB\n");
    let findings = fake.examine(10_000);
    is(&findings, "history", Verdict::Ok, "");
    let found = &named(&findings, "history").found;
    assert!(found.ends_with("forgotten by a restart"), "{found}");
}

#[test]
fn buffers_of_tcp() {
    let fake = Fake::new();
    is(
        &fake.examine(400_000),
        "TCP's memory",
        Verdict::Note,
        "net.ipv4.tcp_mem='393216 524288 786432'",
    );
    is(&fake.examine(300_000), "TCP's memory", Verdict::Ok, "");
}
