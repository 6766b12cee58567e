//! What the kernel's network stack holds: queues, tracked connections, ports, tables; and what it has dropped.

use super::finding::{Finding, MendPlace, grouped};
use super::machine::Machine;
use super::plan::DoctorPlan;

/// What a listener asks for; the kernel gives no more than `net.core.somaxconn`.
const BACKLOG: u64 = 4_096;

/// A range of ports above those that services and our own listeners have.
const WIDE: (u64, u64) = (10_240, 65_535);
/// Packets that may wait for a CPU: enough for any broadcast of a turn, several times.
const PACKETS: u64 = 8_192;

/// The queue of each listener on each core.
pub fn queue(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let most = machine.number("net.core.somaxconn")?;
    let found = format!("{} a core (net.core.somaxconn)", grouped(most.min(BACKLOG)));
    let because = format!(
        "So many connections may wait to be accepted, where the server asks for {}. When \
         all clients come back at once, the rest is dropped and tries again after 1, 3, 7 \
         s. A server that runs has to be started anew.",
        grouped(BACKLOG)
    );
    let mend = [MendPlace::RootShell.line(format!("sysctl -w net.core.somaxconn={BACKLOG}"))];
    let finding = Finding::ok("accept queue", found).noted(most < BACKLOG.min(plan.connections));
    Some(finding.because(because, &mend))
}

/// Half-open connections, which the kernel bounds by its own number where it sends no cookies.
pub fn half_open(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let most = machine.number("net.ipv4.tcp_max_syn_backlog")?;
    let cookies = machine.number("net.ipv4.tcp_syncookies")?;
    let found = match cookies {
        0 => format!("{} (net.ipv4.tcp_max_syn_backlog)", grouped(most)),
        _ => "any number, by cookies (net.ipv4.tcp_syncookies)".to_owned(),
    };
    let finding = Finding::ok("half-open", found).noted(cookies == 0);
    let because = format!(
        "A flood of {} half-open connections keeps everybody else out.",
        grouped(most.min(plan.connections))
    );
    let mend = [MendPlace::RootShell.line("sysctl -w net.ipv4.tcp_syncookies=1")];
    Some(finding.because(because, &mend))
}

/// Connection tracking, if the kernel does it.
pub fn tracked(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let most = machine.number("net.netfilter.nf_conntrack_max")?;
    let there = machine
        .number("net.netfilter.nf_conntrack_count")
        .unwrap_or(0);
    let found = format!(
        "{} at most, {} there (nf_conntrack_max)",
        grouped(most),
        grouped(there)
    );
    let finding = Finding::ok("tracked connections", found);
    // A firewall that tracks has found something by now, if only whoever is logged in.
    let finding = match there {
        0 => finding.noted(most < plan.connections),
        _ => finding.holding(most.saturating_sub(there), plan.connections),
    };
    let because = "Where the firewall tracks connections it remembers each, and when its table is full the \
                   kernel drops packets of new ones (\"nf_conntrack: table full\"). Or have it forget them: \
                   `notrack` rules for the listeners' ports, in both directions.";
    let wanted = (2 * plan.connections).next_power_of_two();
    let mend =
        [MendPlace::RootShell.line(format!("sysctl -w net.netfilter.nf_conntrack_max={wanted}"))];
    Some(finding.because(because, &mend))
}

/// Ports to connect from: a limit of clients and proxies, not of a server.
pub fn ports(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let range = machine.numbers("net.ipv4.ip_local_port_range")?;
    let &[first, last] = range.as_slice() else {
        return None;
    };
    let count = (last + 1).saturating_sub(first);
    let within = |port: &&u16| (first..=last).contains(&u64::from(**port));
    let taken: Vec<String> = plan
        .ports
        .iter()
        .filter(within)
        .map(u16::to_string)
        .collect();
    let found = format!("{first} to {last} (net.ipv4.ip_local_port_range)");
    let finding = Finding::ok("ports", found).noted(count < plan.connections || !taken.is_empty());
    let mut because = Vec::new();
    let mut mend = Vec::new();
    if count < plan.connections {
        because.push(format!(
            "Connections that come in need none. But a proxy on this machine has at most {} to one \
             listener from one address, and so has a load generator: give them more addresses.",
            grouped(count)
        ));
        if first > WIDE.0 || last < WIDE.1 {
            let [first, last] = [first.min(WIDE.0), last.max(WIDE.1)];
            mend.push(MendPlace::RootShell.line(format!(
                "sysctl -w net.ipv4.ip_local_port_range='{first} {last}'"
            )));
        }
    }
    if !taken.is_empty() {
        let taken = taken.join(",");
        because.push(format!(
            "Port {taken} of a listener is among them: another program's connection may \
             have it when the server starts."
        ));
        mend.push(MendPlace::RootShell.line(format!(
            "sysctl -w net.ipv4.ip_local_reserved_ports={taken}"
        )));
    }
    Some(finding.because(because.join(" "), &mend))
}

/// The table in which the kernel finds the socket of each packet. Its size is fixed at boot.
pub fn sockets_table(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let buckets = machine.number("net.ipv4.tcp_ehash_entries")?;
    let found = format!("{} chains (net.ipv4.tcp_ehash_entries)", grouped(buckets));
    let finding = Finding::ok("table of sockets", found).noted(plan.connections > buckets);
    let because = format!(
        "With {} connections each packet's socket is looked for among {} on average. It \
         works, and takes longer. The table is made at boot.",
        grouped(plan.connections),
        plan.connections.div_ceil(buckets.max(1))
    );
    let mend = [MendPlace::Boot.line(format!(
        "thash_entries={}",
        plan.connections.next_power_of_two()
    ))];
    Some(finding.because(because, &mend))
}

/// Sockets that are closed and not gone: a mass close makes many at once.
pub fn leftovers(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let orphans = machine.number("net.ipv4.tcp_max_orphans")?;
    let found = format!("{} at most (net.ipv4.tcp_max_orphans)", grouped(orphans));
    let finding = Finding::ok("orphans", found).noted(orphans < plan.connections);
    let because = "Sockets closed with bytes still to be sent; the kernel resets those above that number. \
                   It matters where a network fails and all its connections end at once.";
    let mend = [MendPlace::RootShell.line(format!(
        "sysctl -w net.ipv4.tcp_max_orphans={}",
        plan.connections.next_power_of_two()
    ))];
    Some(finding.because(because, &mend))
}

/// What has been dropped since boot, whatever the settings say.
pub fn dropped(machine: &Machine, _: &DoctorPlan) -> Option<Finding> {
    let counters = [
        ("ListenOverflows", "an accept queue was full"),
        ("TCPReqQFullDrop", "too many were half-open"),
        (
            "TCPAbortOnMemory",
            "TCP's memory or its orphans were too many",
        ),
    ];
    let counted = counters.map(|(name, why)| (machine.counted(name), name, why));
    let packets = machine.packets_dropped();
    counted[0].0?;
    let mut parts: Vec<String> = counted
        .iter()
        .filter_map(|(count, name, why)| {
            let count = count.filter(|count| *count > 0)?;
            Some(format!("{} times {why} ({name})", grouped(count)))
        })
        .collect();
    let mut mend = Vec::new();
    if let Some(packets) = packets.filter(|count| *count > 0) {
        parts.push(format!(
            "{} packets found a CPU's queue full (net.core.netdev_max_backlog)",
            grouped(packets)
        ));
        let now = machine.number("net.core.netdev_max_backlog");
        if now.is_some_and(|now| now < PACKETS) {
            mend.push(
                MendPlace::RootShell
                    .line(format!("sysctl -w net.core.netdev_max_backlog={PACKETS}")),
            );
        }
    }
    let found = match parts.len() {
        0 => "nothing since boot".to_owned(),
        _ => "something, since boot".to_owned(),
    };
    let finding = Finding::ok("dropped", found).noted(!parts.is_empty());
    let because = format!("{}. `nstat` says whether it goes on.", parts.join("; "));
    Some(finding.because(because, &mend))
}
