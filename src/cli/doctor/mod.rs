//! `ringpost doctor`: whether this machine holds so many connections, what would break first, and what mends it.
//!
//! Reads only. The server says at its start what breaks, and leaves the rest to this.

mod certificates;
mod cluster;
mod finding;
mod machine;
mod memory;
mod network;
mod plan;
mod process;
mod report;
mod running;

use std::path::{Path, PathBuf};

use super::layers::Layer;
use super::output::{Status, complain, print};
use super::settings::Settings;
use super::sources::resolve;
use finding::{Finding, Verdict, grouped, worst};
use machine::Machine;
use plan::DoctorPlan;

/// The flags of `doctor`.
#[derive(clap::Args, Debug)]
pub struct DoctorArgs {
    /// How many; without it max_connections of the configuration, or as many as this machine holds
    #[arg(long, value_name = "N", value_parser = parse_count)]
    connections: Option<u64>,
    /// The configuration to be served, for its cores, listeners and limits
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGPOST_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    /// Look at the limits of this process, a running server, in place of our own
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// One line of JSON
    #[arg(long)]
    json: bool,
    /// Another directory that holds proc and sys, for tests
    #[arg(long, value_name = "DIRECTORY", hide = true, default_value = "/")]
    root: PathBuf,
}

/// Everything that is looked at, in the order in which connections meet it.
const CHECKS: &[fn(&Machine, &DoctorPlan) -> Option<Finding>] = &[
    process::descriptors,
    process::descriptors_ceiling,
    process::open_files,
    memory::memory,
    memory::stalled,
    memory::kept,
    memory::kept_now,
    memory::tcp_memory,
    network::tracked,
    network::queue,
    network::half_open,
    network::sockets_table,
    network::leftovers,
    network::ports,
    process::cpus,
    process::threads,
    process::rings,
    process::locked_memory,
    network::dropped,
    certificates::certificates,
    cluster::redis,
];

fn examine(machine: &Machine, plan: &DoctorPlan) -> Vec<Finding> {
    let findings = CHECKS.iter().filter_map(|check| check(machine, plan));
    findings.collect()
}

/// Looks, and says.
pub fn run(args: &DoctorArgs) -> Status {
    let settings = match resolve(args.config.as_deref(), Layer::default()) {
        Ok(settings) => settings,
        Err(problems) => {
            eprint!("{problems}");
            return Status::Trouble;
        }
    };
    let machine = Machine::new(&args.root, args.pid);
    if !machine.has_process() {
        let root = args.root.display();
        complain(&match args.pid {
            Some(pid) => format!("there is no process {pid}"),
            None => format!("{root} holds no proc/self; is /proc mounted?"),
        });
        return Status::Trouble;
    }
    let configured = settings.config.max_connections as u64;
    let asked = args.connections.unwrap_or(configured);
    let mut plan = DoctorPlan::new(&settings, asked, &machine);
    plan.certificate_doubts = super::certificates::doubts(&settings);
    // Rings are made by ourselves, on this machine: of another root or process that says nothing.
    if args.root == Path::new("/") && args.pid.is_none() {
        plan.rings = Some(ringpost::machine::try_rings());
        plan.kept_now = running::KeptNow::ask(&settings);
        // What cannot be tried is told by `check`.
        plan.cluster = ringpost::try_cluster(&settings.cluster).unwrap_or_default();
    }
    if asked == 0 {
        let bound = settle(&machine, &mut plan);
        let findings = examine(&machine, &plan);
        print(&match args.json {
            true => report::json(plan.connections, &findings),
            false => report::held(plan.connections, bound, args.pid, &findings),
        });
        // Nothing was asked for that could break, but for what has nothing to do with connections.
        return status(&findings);
    }
    let findings = examine(&machine, &plan);
    print(&match args.json {
        true => report::json(plan.connections, &findings),
        false => report::text(plan.connections, args.pid, &findings),
    });
    status(&findings)
}

fn status(findings: &[Finding]) -> Status {
    match worst(findings) {
        Verdict::Breaks => Status::Failed,
        Verdict::Note | Verdict::Ok => Status::Done,
    }
}

/// Has the plan be for as many connections as the machine holds, and says what bounds them.
fn settle(machine: &Machine, plan: &mut DoctorPlan) -> Option<&'static str> {
    let mut bound = None;
    plan.connections = super::keys::COUNT_MAX as u64;
    // What a limit holds may depend a little on how many are wanted.
    for _ in 0..8 {
        let findings = examine(machine, plan);
        let least = findings
            .iter()
            .filter_map(|finding| Some((finding.holds?, finding.name)))
            .min();
        match least.filter(|(holds, _)| *holds < plan.connections) {
            Some((holds, name)) => (plan.connections, bound) = (holds, Some(name)),
            None => break,
        }
    }
    bound
}

/// What the log says at the server's start: one line for each limit that `max_connections` does not fit. Nothing
/// where none is configured, for then the limits are what there is.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let connections = settings.config.max_connections as u64;
    if connections == 0 {
        return Vec::new();
    }
    let machine = Machine::new(Path::new("/"), None);
    let plan = DoctorPlan::new(settings, connections, &machine);
    lines(&plan, &examine(&machine, &plan))
}

fn lines(plan: &DoctorPlan, findings: &[Finding]) -> Vec<String> {
    let broken = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Breaks);
    broken
        .map(|finding| {
            format!(
                "max_connections = {}, but only {} fit by {}, {}: see `ringpost doctor --connections {}`",
                plan.connections,
                grouped(finding.holds.unwrap_or(0)),
                finding.name,
                finding.found,
                plan.connections,
            )
        })
        .collect()
}

/// `100000`, `100_000`, `100k` or `1M`.
fn parse_count(text: &str) -> Result<u64, String> {
    let (digits, scale) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 1_000),
        Some((at, 'm' | 'M')) => (&text[..at], 1_000_000),
        _ => (text, 1),
    };
    let number: Option<u64> = digits.replace(['_', ','], "").parse().ok();
    let count = number.and_then(|number| number.checked_mul(scale));
    // So that no sum with it can overflow.
    let count = count.filter(|count| (1..=super::keys::COUNT_MAX as u64).contains(count));
    count.ok_or_else(|| "expected a number of connections, as 100000, 100k or 1M".to_owned())
}

#[cfg(test)]
mod tests;
