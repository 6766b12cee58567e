//! What connections cost in memory: ours, the kernel's, and what TCP may take for its buffers.

use super::finding::{Finding, MendPlace, grouped, sized};
use super::machine::Machine;
use super::plan::DoctorPlan;

/// Resident bytes of an idle, bound websocket connection, measured with 10,000 and 19,000 of them.
const USER_BYTES: u64 = 285;
/// The kernel's: its socket, descriptor and what watches it; measured with a million of them, on one machine.
const KERNEL_BYTES: u64 = 4_400;
/// Resident bytes of a server without connections.
const SERVER_BYTES: u64 = 11 << 20;
/// TCP's buffers are counted in pages, and a socket that holds a single byte holds a page.
const PAGE_BYTES: u64 = 4_096;

/// What the process may still take, and who says so.
fn available(machine: &Machine) -> Option<(u64, String)> {
    let of_machine = machine
        .memory("MemAvailable")
        .map(|bytes| (bytes, "MemAvailable".to_owned()));
    let groups = machine.groups();
    let of_groups = groups.into_iter().filter_map(|group| {
        let left = group.memory_max?.saturating_sub(group.memory_used);
        Some((left, format!("the limit of {}", group.path.display())))
    });
    of_groups.chain(of_machine).min()
}

/// Idle connections.
pub fn memory(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let (available, by) = available(machine)?;
    let each = USER_BYTES + KERNEL_BYTES;
    let found = format!("{} free ({by})", sized(available));
    let finding = Finding::ok("memory", found).holding(
        available.saturating_sub(SERVER_BYTES) / each,
        plan.connections,
    );
    let needed = plan.connections * each + SERVER_BYTES;
    let because = format!(
        "An idle connection takes some {USER_BYTES} bytes of the server's memory and {} of \
         the kernel's: {} in all. Beyond that the kernel kills the server. If the limit is not the \
         unit's, the machine needs more memory.",
        grouped(KERNEL_BYTES),
        sized(needed)
    );
    let gibibytes = (needed * 2).div_ceil(1 << 30);
    let mend = [MendPlace::Unit.line(format!("MemoryMax={gibibytes}G"))];
    Some(finding.because(because, &mend))
}

/// What clients that do not read can make it.
pub fn stalled(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let (available, _) = available(machine)?;
    let outboxes = plan.cores * plan.outbox_bytes_core;
    let idle = plan.connections * (USER_BYTES + KERNEL_BYTES);
    let room = available.saturating_sub(idle);
    let found = format!(
        "{} at most ({} cores)",
        sized(outboxes),
        grouped(plan.cores)
    );
    let because = format!(
        "What waits for slow readers may grow to that (outbox_bytes_core_max), and the \
         connections leave {}. Besides, the kernel holds up to {} for each that has \
         stalled.",
        sized(room),
        sized(2 * plan.send_buffer_bytes)
    );
    let each = ((room / 2 / plan.cores.max(1)) >> 20).max(1);
    let mend = [MendPlace::Configuration.line(format!("outbox_bytes_core_max = \"{each} MiB\""))];
    Some(
        Finding::ok("outboxes", found)
            .noted(outboxes > room)
            .because(because, &mend),
    )
}

/// What is kept for those who are not there.
pub fn kept(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let (available, _) = available(machine)?;
    let most = plan.cores * plan.history_bytes_core;
    let idle = plan.connections * (USER_BYTES + KERNEL_BYTES);
    let room = available.saturating_sub(idle);
    let found = format!(
        "{} at most ({} cores), forgotten by a restart",
        sized(most),
        grouped(plan.cores)
    );
    let because = format!(
        "Kept messages may grow to that (history_bytes_core_max), and the connections leave {}. Beyond that the kernel \
         kills the server.",
        sized(room)
    );
    let each = ((room / 2 / plan.cores.max(1)) >> 20).max(1);
    let mend = [MendPlace::Configuration.line(format!("history_bytes_core_max = \"{each} MiB\""))];
    Some(
        Finding::ok("history", found)
            .noted(most > room)
            .because(because, &mend),
    )
}

/// What a server that runs keeps, and what has gone of that.
pub fn kept_now(_: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let found = match plan.kept_now.as_ref()? {
        Ok(kept) => format!(
            "{} in {} streams; {} messages evicted or over, {} gaps told",
            sized(kept.bytes),
            grouped(kept.streams),
            grouped(kept.gone),
            grouped(kept.gaps)
        ),
        Err(problem) => format!("no server answers: {problem}"),
    };
    Some(Finding::ok("history now", found))
}

/// `net.ipv4.tcp_mem`.
pub fn tcp_memory(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let pages = machine.numbers("net.ipv4.tcp_mem")?;
    let &[_, pressure, most] = pages.as_slice() else {
        return None;
    };
    let found = format!(
        "{} of buffers, pressed from {} (net.ipv4.tcp_mem)",
        sized(most.saturating_mul(PAGE_BYTES)),
        sized(pressure.saturating_mul(PAGE_BYTES))
    );
    // A broadcast that nobody has acknowledged yet.
    let finding = Finding::ok("TCP's memory", found).noted(pressure < plan.connections);
    let because = format!(
        "Idle connections hold none of it; one with a message on its way holds a page at \
         least. So a broadcast to more than {} that is on its way to all at once makes the \
         kernel shrink buffers, and beyond {} drop packets.",
        grouped(pressure),
        grouped(most)
    );
    let wanted = plan.connections.next_power_of_two();
    let mend = [MendPlace::RootShell.line(format!(
        "sysctl -w net.ipv4.tcp_mem='{} {wanted} {}'",
        wanted / 4 * 3,
        wanted / 2 * 3
    ))];
    Some(finding.because(because, &mend))
}
