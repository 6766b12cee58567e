//! `ringpost bench`: load on a server, measured and checked.
//!
//! One run: the options become a `Plan`; a `probe` asks whether the server is there and is
//! what the workload wants; the `conductor` starts `generator`s, threads with an epoll loop each, and
//! leads them from setup over warm-up and the measured time to the draining; the `workload`s send
//! stamped messages and keep a ledger of what is on its way; `reckon` makes figures of it, and
//! `show` and `report` display them.
//!
//! It uses the server's protocol only and none of its code, so that it can also measure others. A crate of its own, built
//! beside the server.

mod clock;
mod conductor;
mod escape;
mod generator;
mod ledger;
mod limits;
mod machine;
mod meter;
mod options;
mod outcome;
mod pace;
mod plan;
mod probe;
mod progress;
mod random;
mod reckon;
mod record;
mod report;
mod shared;
mod show;
mod stamp;
mod turns;
mod wire;
mod workload;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use self::conductor::{Conductor, Reading, free_cpus};
use self::meter::Meter;
pub use self::options::BenchArgs;
use self::options::Options;
use self::outcome::Outcome;
use self::plan::Plan;
use self::progress::Progress;
use self::turns::Turns;

/// How all runs went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every message arrived.
    Clean,
    /// Some did not, or not as they should.
    Faulty,
}

/// Makes the runs that the command line asks for, and gives each one's figures to `print`. An error
/// says what kept a run from being made.
pub fn run(args: &BenchArgs, print: impl Fn(&str)) -> Result<Verdict, String> {
    let options = args.check()?;
    let mut progress = Progress::new();
    let mut verdict = Verdict::Clean;
    let mut first = None;
    for plan in &options.plans {
        let outcome = run_one(plan.clone(), &options, &mut first, &mut progress)?;
        progress.clear();
        if outcome.faults.total() > 0 {
            verdict = Verdict::Faulty;
        }
        if let Some(folder) = &options.report {
            report::add(folder, &outcome)?;
        }
        print(&match options.json {
            true => serde_json::to_string(&outcome).map_err(|error| error.to_string())? + "\n",
            false => show::text(&outcome),
        });
    }
    Ok(verdict)
}

fn run_one(
    mut plan: Plan,
    options: &Options,
    first: &mut Option<Reading>,
    progress: &mut Progress,
) -> Result<Outcome, String> {
    plan.run = RandomState::new().build_hasher().finish() as u32;
    probe::check(&plan)?;
    // Found wrong now, not after all have connected.
    if let Some(address) = &plan.metrics {
        Turns::scrape(address, plan.token.as_deref())?;
    }
    let meter = Meter::find(&options.server_pids, &plan.target.address)?;
    let cpus = free_cpus(options.cpus.as_ref(), meter.as_ref());
    let takes_tables = options::settle_generators(&mut plan, options.generators, cpus.len())?;
    if let Some(meter) = &meter {
        let warnings = meter.pids().iter();
        let warnings = warnings.filter_map(|pid| limits::server_warning(plan.connections, *pid));
        warnings.for_each(|warning| progress.note(&warning));
    }
    let mut conductor = Conductor {
        plan: Arc::new(plan),
        meter: meter.as_ref(),
        cpus,
        takes_tables,
        progress,
    };
    let readings = conductor.run()?;
    let scene = reckon::Scene {
        name: &options.name,
        plan: &conductor.plan,
        meter: meter.as_ref(),
        cpus: &conductor.cpus,
        first: first.get_or_insert_with(|| readings.before.clone()),
    };
    Ok(reckon::outcome(&scene, readings))
}
