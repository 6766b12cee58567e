//! What a process may have: descriptors, rings, threads, CPUs.

use ringpost::config::{CORES_MAX, DescriptorTables, Driver};
use ringpost::machine::{DescriptorNeed, RingTrial};

use super::finding::{Finding, MendPlace, grouped, sized};
use super::machine::Machine;
use super::plan::DoctorPlan;

/// Locked memory of a core's two rings.
const RING_BYTES: u64 = 700 << 10;
/// Threads beside the cores': signals, the watch over the cores, the watchdog, the log, and whoever starts them.
const THREADS: u64 = 5;
/// Of the capabilities: may lock any memory; may pass the limits of the whole machine.
const CAP_IPC_LOCK: u32 = 14;
const CAP_SYS_ADMIN: u32 = 21;

fn need(plan: &DoctorPlan) -> DescriptorNeed {
    DescriptorNeed {
        max_connections: plan.max_connections as usize,
        cores: plan.cores as usize,
        listeners: plan.listeners as usize,
    }
}

/// Descriptors that are no clients'.
fn own_descriptors(plan: &DoctorPlan) -> u64 {
    need(plan).own() as u64
}

/// What is kept for back ends and HTTP where nothing says how many clients there may be.
fn kept_descriptors(plan: &DoctorPlan, limit: u64) -> u64 {
    let kept = |most: u64| need(plan).kept(most as usize, limit as usize) as u64;
    match plan.max_connections {
        0 => kept(plan.backend_connections) + kept(plan.http_connections_max),
        _ => 0,
    }
}

/// What a limit should be, with room for the HTTP port's connections, to whole thousands.
fn wanted_descriptors(plan: &DoctorPlan) -> u64 {
    (plan.connections + own_descriptors(plan) + plan.http_connections).next_multiple_of(1_000)
}

/// Whether each core has a descriptor table, and so the limit, of its own.
fn has_own_tables(plan: &DoctorPlan, limit: u64) -> bool {
    need(plan).has_own_tables(plan.tables, limit as usize)
}

/// What so many cores hold together, each with a table of its own.
fn held_by_tables(plan: &DoctorPlan, cores: u64, limit: u64) -> u64 {
    need(plan).held_by_tables(cores as usize, limit as usize) as u64
}

/// RLIMIT_NOFILE; the server raises the soft limit to the hard one itself.
pub fn descriptors(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let (_, hard) = machine.limit("Max open files")?;
    let own = own_descriptors(plan);
    let wanted = wanted_descriptors(plan);
    let mut mend = vec![
        MendPlace::Unit.line(format!("LimitNOFILE={wanted}")),
        MendPlace::StartingShell.line(format!("ulimit -n {wanted}")),
    ];
    let enough = |cores: &u64| held_by_tables(plan, *cores, hard) >= plan.connections;
    let cores = (plan.cores..=CORES_MAX as u64).find(enough);
    let has_own = has_own_tables(plan, hard);
    let mut because = format!(
        "Each connection takes a descriptor, and the server some {own} for itself. Beyond \
         that nobody is let in, and the log says so. Without max_connections some are kept \
         for back ends and HTTP."
    );
    if let Some(cores) = cores {
        because.push_str(
            " Where the limit cannot be raised, each core can have it for itself (descriptor_tables), more \
             cores than CPUs included.",
        );
        if !has_own {
            let most = plan.connections;
            mend.push(MendPlace::Configuration.line(format!("max_connections = {most}")));
        }
        if !has_own && plan.tables == DescriptorTables::Shared {
            mend.push(MendPlace::Configuration.line("descriptor_tables = \"auto\""));
        }
        if cores > plan.cores {
            mend.push(MendPlace::Configuration.line(format!("cores = {cores}")));
        }
    }
    let (holds, found) = if has_own {
        let (limit, cores) = (grouped(hard), plan.cores);
        let found = format!("{limit} open files (RLIMIT_NOFILE, hard) for each of {cores} cores");
        (held_by_tables(plan, cores, hard), found)
    } else {
        let found = format!("{} open files (RLIMIT_NOFILE, hard)", grouped(hard));
        let kept = kept_descriptors(plan, hard);
        (hard.saturating_sub(own + kept), found)
    };
    let finding = Finding::ok("descriptors", found);
    let finding = finding.holding(holds, plan.connections);
    Some(finding.because(because, &mend))
}

/// `fs.nr_open`: what that limit can be raised to. Told where it stands in the way of raising it.
pub fn descriptors_ceiling(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let ceiling = machine.number("fs.nr_open")?;
    let (_, hard) = machine.limit("Max open files")?;
    if has_own_tables(plan, hard) && held_by_tables(plan, plan.cores, hard) >= plan.connections {
        return None;
    }
    let wanted = wanted_descriptors(plan);
    let because = "No limit of open files can be set above it, not even by root: the unit starts \
                   with less, `ulimit` fails.";
    let mend = [MendPlace::RootShell.line(format!(
        "sysctl -w fs.nr_open={}",
        wanted.next_power_of_two()
    ))];
    let found = format!("{} (fs.nr_open)", grouped(ceiling));
    let finding = Finding::ok("descriptors' ceiling", found);
    let finding = finding.holding(
        ceiling.saturating_sub(own_descriptors(plan)),
        plan.connections,
    );
    Some(finding.because(because, &mend))
}

/// `fs.file-max`: what the whole machine may have open.
pub fn open_files(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let most = machine.number("fs.file-max")?;
    let open = machine.open_files().unwrap_or(0);
    let found = match most >> 62 {
        0 => format!("{} on the machine (fs.file-max)", grouped(most)),
        _ => "any number on the machine (fs.file-max)".to_owned(),
    };
    let finding = Finding::ok("open files", found);
    if machine.is_capable(CAP_SYS_ADMIN) == Some(true) {
        // It does not hold for root.
        return Some(finding);
    }
    let room = most.saturating_sub(open);
    let finding = finding.holding(room.saturating_sub(own_descriptors(plan)), plan.connections);
    let because = format!(
        "{} are open already, and other programs need theirs.",
        grouped(open)
    );
    let wanted = (open + 2 * wanted_descriptors(plan)).next_power_of_two();
    let mend = [MendPlace::RootShell.line(format!("sysctl -w fs.file-max={wanted}"))];
    Some(finding.because(because, &mend))
}

/// Which rings the kernel gives us, by what happened when some were made.
pub fn rings(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let trials = plan.rings.as_ref()?;
    let works = |what: &str| {
        let mut of_kind = trials.iter().filter(|trial| trial.what == what);
        of_kind.find(|trial| trial.refusal.is_none())
    };
    let wanted = plan.driver != Driver::Epoll;
    let all = ["runtime", "connections"];
    let found = match all.map(|what| works(what).map(|trial| trial.flags)) {
        [Some(runtime), Some(connections)] => {
            format!("both work; runtime {runtime}, connections {connections}")
        }
        [Some(_), None] => "for the runtime, not for connections".to_owned(),
        _ => "refused".to_owned(),
    };
    let finding = Finding::ok("io_uring", found);
    let whole = all.iter().all(|what| works(what).is_some());
    let refusals = trials.iter().filter_map(|trial: &RingTrial| {
        let refusal = trial.refusal.as_ref()?;
        Some(format!("{} ({}): {refusal}", trial.what, trial.flags))
    });
    let refusals: Vec<String> = refusals.collect();
    let mut mend = Vec::new();
    if machine.number("kernel.io_uring_disabled").unwrap_or(0) > 0 {
        mend.push(MendPlace::RootShell.line("sysctl -w kernel.io_uring_disabled=0"));
    }
    let old = machine.kernel().filter(|version| *version < (6, 1));
    let old = old.map(|(major, minor)| format!(" This kernel is {major}.{minor}; it takes 6.1."));
    let because = format!(
        "{}. The server uses epoll instead where it may (driver = \"auto\"), which costs some \
         more CPU and holds as many connections. Containers often forbid io_uring by seccomp.{}",
        refusals.join("; "),
        old.unwrap_or_default()
    );
    let broken = !whole && plan.driver == Driver::Uring;
    let finding = match broken {
        true => finding.holding(0, plan.connections.max(1)),
        false => finding.noted(!whole && wanted),
    };
    Some(finding.because(because, &mend))
}

/// RLIMIT_MEMLOCK, which rings count against unless the process is privileged.
pub fn locked_memory(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let (_, hard) = machine.limit("Max locked memory")?;
    // One more while they are tried out at start, and while the kernel takes its time to give that back.
    let needed = (plan.cores + 1) * RING_BYTES;
    let free = machine.is_capable(CAP_IPC_LOCK) == Some(true) || hard == u64::MAX;
    let found = match free {
        true => "unlimited".to_owned(),
        false => format!("{} (RLIMIT_MEMLOCK)", sized(hard)),
    };
    let short = !free && hard < needed && plan.driver != Driver::Epoll;
    let finding = Finding::ok("locked memory", found);
    let finding = match short && plan.driver == Driver::Uring {
        true => finding.holding(0, plan.connections.max(1)),
        false => finding.noted(short),
    };
    let because = format!(
        "The rings of {} cores take {}; it is one sum for all processes of a user. Cores \
         that get no ring use epoll.",
        plan.cores,
        sized(needed)
    );
    let mebibytes = needed.div_ceil(1 << 20).next_power_of_two().max(8);
    let mend = [
        MendPlace::Unit.line(format!("LimitMEMLOCK={mebibytes}M")),
        MendPlace::StartingShell.line(format!("ulimit -l {}", mebibytes << 10)),
    ];
    Some(finding.because(because, &mend))
}

/// How many threads there may be.
pub fn threads(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let needed = plan.cores + THREADS;
    let of_user = machine.limit("Max processes").map(|(_, hard)| hard);
    let groups = machine.groups();
    let of_group = groups
        .iter()
        .filter_map(|group| Some(group.tasks_max?.saturating_sub(group.tasks)));
    let room = of_group.chain(of_user).min()?;
    let found = match room {
        u64::MAX => "any number".to_owned(),
        room => format!("room for {}", grouped(room)),
    };
    let finding = Finding::ok("threads", found);
    let finding = match room < needed {
        true => finding.holding(0, plan.connections.max(1)),
        false => finding,
    };
    let because = format!("The server has {needed}, and does not start without them.");
    let mend = [
        MendPlace::Unit.line(format!("TasksMax={}", needed * 2)),
        MendPlace::StartingShell.line(format!("ulimit -u {}", needed * 2)),
    ];
    Some(finding.because(because, &mend))
}

/// CPUs for the cores, and a quota on their time.
pub fn cpus(machine: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let cpus = machine.cpus()? as u64;
    let groups = machine.groups();
    let quota = groups.iter().filter_map(|group| group.cpu_percent).min();
    let more_cores = plan.cores > cpus;
    let less_time = quota.is_some_and(|percent| percent < plan.cores.min(cpus) * 100);
    let found = match quota {
        None => format!("{cpus} for {} cores", plan.cores),
        Some(percent) => format!(
            "{cpus} for {} cores, {}.{:02} CPUs' time",
            plan.cores,
            percent / 100,
            percent % 100
        ),
    };
    let mut because = Vec::new();
    let mut mend = Vec::new();
    if more_cores {
        because.push("Cores share CPUs, which costs a switch for each hop.");
        // Unless they are for their descriptor tables.
        let limit = machine.limit("Max open files").map(|(_, hard)| hard);
        let is_enough = |limit| held_by_tables(plan, cpus, limit) >= plan.connections;
        if limit.is_none_or(|limit| !has_own_tables(plan, limit) || is_enough(limit)) {
            mend.push(MendPlace::Configuration.line(format!("cores = {cpus}")));
        }
    }
    if less_time {
        because.push(
            "A group that has used up its time stands still to the end of the period, \
             with all its connections.",
        );
        mend.push(MendPlace::Unit.line("CPUQuota="));
    }
    let finding = Finding::ok("CPUs", found).noted(more_cores || less_time);
    Some(finding.because(because.join(" "), &mend))
}
