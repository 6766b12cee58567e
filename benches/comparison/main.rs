//! Measures ringpost and others on the same work in one go: `benches/compare` builds and runs this.
//!
//! Every server is started freshly for every run, on CPUs of its own where there are enough, and loaded
//! by `ringpost bench`. The servers take turns, A B C A B C, so that what the machine does besides
//! meets all of them alike. The [`contender`]s do the [`workload`]s; [`figures`] are taken from each run;
//! a [`table`] shows them, or, over numbers of connections and cores, [`growth`] does.

mod contender;
mod figures;
mod front;
mod growth;
#[allow(dead_code)]
#[path = "../load/src/report/plot.rs"]
mod plot;
mod series;
mod table;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use contender::{Contender, Places};
use front::FRONTS;
use series::Series;
use workload::Workload;

const EXAMPLES: &str = "\
Examples:
  benches/compare                                        some 10 minutes
  benches/compare --rounds 1 --workloads broadcast,echo
  benches/compare --workerman ~/workerman --peer other='./other 7000,ws://127.0.0.1:7000'
  benches/compare --tls --peer other='./other 7000,wss://127.0.0.1:7000'
  benches/compare --growth

A figure is the CPU time of the server's process, user and system, for one delivery: the median of the
rounds, half of what lies between the extremes, and the ratio to the floor, which is what the kernel
alone costs, taken round by round. Rates and latencies are below. A peer is any server that speaks the relay's protocol: the
first message is the uid, answered by \"login success, your uid is UID\"; then \"UID:message\" and
\"all:message\". It is started by sh on one CPU, and ended by SIGTERM.

Exit status: 0 all runs were made; 1 some failed; 2 nothing could be measured.";

/// Measure ringpost beside the floor, the single-process baseline and others, in turns
#[derive(Parser)]
#[command(
    name = "benches/compare",
    override_usage = "benches/compare [OPTIONS]",
    after_help = EXAMPLES
)]
pub struct Args {
    /// What to measure; all by default
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    workloads: Vec<Workload>,
    /// Only servers whose name contains one of these, such as "floor,2 cores"
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    only: Vec<String>,
    /// Another relay to be measured; repeatable
    #[arg(long, value_name = "NAME=CMD,URL", value_parser = Contender::peer)]
    peer: Vec<Contender>,
    /// An installation of Workerman 5, to measure the manual's server
    #[arg(long, value_name = "DIR")]
    workerman: Option<PathBuf>,
    /// The command for PHP, with options if it needs some
    #[arg(long, default_value = "php", value_name = "CMD")]
    php: String,
    /// Clients
    #[arg(short, long, default_value_t = 10_000, value_name = "N")]
    connections: usize,
    /// Measured seconds of a run
    #[arg(short, long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of traffic before the measured ones
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// How often each server has its turn
    #[arg(short, long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// Measure TLS instead: ringpost with it and without, behind nginx and HAProxy where they are installed, and peers
    #[arg(long, conflicts_with = "growth")]
    tls: bool,
    /// Measure cost by connections and cores instead, and plot it
    #[arg(long)]
    growth: bool,
    /// Where pages, all runs' figures and the servers' logs go; by default beside what was built
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    #[arg(long, hide = true)]
    built: PathBuf,
    #[arg(long, hide = true)]
    baselines: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("compare: {failed} runs failed, see above");
            ExitCode::from(1)
        }
        Err(problem) => {
            eprintln!("compare: {problem}");
            ExitCode::from(2)
        }
    }
}

/// How many runs failed.
fn run(args: &Args) -> Result<usize, String> {
    let report = args.report.clone();
    let report = report.unwrap_or_else(|| args.built.join("compare"));
    let places = Places {
        built: args.built.clone(),
        baselines: args.baselines.clone(),
        logs: report.join("logs"),
    };
    std::fs::create_dir_all(&places.logs)
        .map_err(|error| format!("--report {}: {error}", report.display()))?;
    let mut series = Series::new(args, places, report)?;
    println!("{}", series.machine());
    if args.growth {
        return growth::run(args, &mut series);
    }
    let all = match args.tls {
        true => contenders_by_tls(args),
        false => every_contender(args),
    };
    let contenders = chosen(args, all)?;
    let workloads = match (args.workloads.is_empty(), args.tls) {
        (true, true) => workload::BY_TLS.to_vec(),
        (true, false) => workload::ALL.to_vec(),
        (false, _) => args.workloads.clone(),
    };
    let points = workloads.iter().flat_map(|workload| {
        let able = contenders.iter().enumerate();
        let able = able.filter(|(_, contender)| contender.can(*workload));
        able.map(|(at, contender)| (at, contender.clone(), *workload, args.connections))
    });
    let results = series.measure(points.collect());
    let results = results
        .into_iter()
        .map(|((at, workload, _), summary)| ((at, workload), summary));
    let results = results.collect();
    println!("{}", table::costs(&contenders, &workloads, &results));
    println!("{}", table::details(&contenders, &workloads, &results));
    println!("{}", table::disturbances(&contenders, &results));
    Ok(series.conclude())
}

/// What TLS costs by ways that there are.
fn contenders_by_tls(args: &Args) -> Vec<Contender> {
    let mut contenders = vec![
        Contender::Floor { ring: true },
        Contender::Ringpost { cores: 1 },
        Contender::RingpostTls,
    ];
    let there = FRONTS.into_iter().filter(|front| front.is_there());
    contenders.extend(there.map(Contender::Fronted));
    contenders.extend(args.peer.iter().cloned());
    contenders
}

fn every_contender(args: &Args) -> Vec<Contender> {
    let mut contenders = vec![
        Contender::Floor { ring: false },
        Contender::Floor { ring: true },
        Contender::Ringpost { cores: 1 },
        Contender::Ringpost { cores: 2 },
    ];
    contenders.extend(args.peer.iter().cloned());
    contenders.push(Contender::SingleProcess);
    if let Some(folder) = &args.workerman {
        contenders.push(Contender::Workerman {
            php: args.php.clone(),
            folder: folder.clone(),
        });
    }
    contenders
}

/// Those that `--only` leaves.
fn chosen(args: &Args, mut contenders: Vec<Contender>) -> Result<Vec<Contender>, String> {
    if !args.only.is_empty() {
        contenders.retain(|one| args.only.iter().any(|part| one.name().contains(part)));
    }
    match contenders.is_empty() {
        true => Err("--only leaves no server to measure".into()),
        false => Ok(contenders),
    }
}
