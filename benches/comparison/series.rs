//! [`Series`]: all runs of a comparison, in turns: starts a server, lets bench load it, ends it, and
//! keeps the figures. A run that fails is told and counted, and the others go on.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::Args;
use crate::contender::{Contender, Places};
use crate::figures::{Figures, NOT_MEASURED, Summary};
use crate::workload::Workload;

/// A server (its place in the list), a workload, and how many connections.
pub type Point = (usize, Contender, Workload, usize);
pub type Results = BTreeMap<(usize, Workload, usize), Summary>;

/// Where and how runs are made.
pub struct Series {
    places: Places,
    report: PathBuf,
    seconds: f64,
    warmup: f64,
    rounds: u8,
    cpus: Vec<usize>,
    failed: usize,
}

impl Series {
    pub fn new(args: &Args, places: Places, report: PathBuf) -> Result<Series, String> {
        raise_descriptor_limit();
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        let cpus: Vec<usize> = cpus.into_iter().map(|core| core.id).collect();
        if cpus.is_empty() {
            return Err("cannot see which CPUs there are".into());
        }
        Ok(Series {
            places,
            report,
            seconds: args.seconds,
            warmup: args.warmup,
            rounds: args.rounds,
            cpus,
            failed: 0,
        })
    }

    /// What this was measured on, in a line.
    pub fn machine(&self) -> String {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("an unnamed CPU", |(_, model)| model);
        let kernel = read("/proc/sys/kernel/osrelease");
        let memory = read("/proc/meminfo");
        let kilobytes = memory.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        });
        let gigabytes = kilobytes.unwrap_or(0.0) / f64::from(1 << 20);
        format!(
            "{} CPUs ({model}), {gigabytes:.0} GiB, Linux {}; {} rounds of {} s each, medians\n",
            self.cpus.len(),
            kernel.trim(),
            self.rounds,
            self.seconds
        )
    }

    /// Makes all runs, round by round.
    pub fn measure(&mut self, points: Vec<Point>) -> Results {
        let mut results = Results::new();
        let (all, start) = (points.len() * usize::from(self.rounds), Instant::now());
        let mut made = 0;
        for round in 1..=self.rounds {
            for (at, contender, workload, connections) in &points {
                self.show_progress(made, all, start, round, contender, *workload, *connections);
                made += 1;
                let summary = results.entry((*at, *workload, *connections)).or_default();
                match self.run_until_measured(contender, *workload, *connections) {
                    Ok(figures) => summary.runs.push(figures),
                    Err(problem) => {
                        summary.failed += 1;
                        self.failed += 1;
                        clear_line();
                        let (title, name) = (workload.title().0, contender.name());
                        eprintln!("compare: {title}, {name}, round {round} failed: {problem}");
                    }
                }
            }
        }
        clear_line();
        results
    }

    /// Says where all of it is; how many runs failed.
    pub fn conclude(&self) -> usize {
        println!(
            "Every run, with a page of plots, and the servers' logs: {}",
            self.report.display()
        );
        self.failed
    }

    pub fn report(&self) -> &std::path::Path {
        &self.report
    }

    /// A run, and again with twice the time where that was too short for anything to arrive in it.
    fn run_until_measured(
        &self,
        contender: &Contender,
        workload: Workload,
        connections: usize,
    ) -> Result<Figures, String> {
        let mut seconds = self.seconds;
        loop {
            match self.run(contender, workload, connections, seconds) {
                Err(problem)
                    if problem.starts_with(NOT_MEASURED) && seconds < 30.0 * self.seconds =>
                {
                    seconds *= 2.0;
                }
                result => return result,
            }
        }
    }

    fn run(
        &self,
        contender: &Contender,
        workload: Workload,
        connections: usize,
        seconds: f64,
    ) -> Result<Figures, String> {
        let server = contender.start(workload, &self.cpus, &self.places)?;
        let output = Command::new(self.places.built.join("ringpost"))
            .arg("bench")
            .args(workload.arguments(connections))
            .args(["--url", &contender.url(workload)])
            .args(["--backend", &Contender::backend()])
            .args(["--seconds", &seconds.to_string()])
            .args(["--warmup", &self.warmup.to_string()])
            .args(["--server-pid", &server.pid().to_string()])
            .args(["--name", &contender.name(), "--json", "--report"])
            .arg(&self.report)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot start bench: {error}"))?;
        let run: Value = match serde_json::from_slice(&output.stdout) {
            Ok(run) => run,
            Err(_) => {
                let words = String::from_utf8_lossy(&output.stderr);
                let last = words.lines().last().unwrap_or("bench said nothing");
                return Err(format!("{last}\n{}", server.last_words()));
            }
        };
        Figures::read(workload, &run).map_err(|problem| problem + "\n" + &server.last_words())
    }

    #[allow(clippy::too_many_arguments)]
    fn show_progress(
        &self,
        made: usize,
        all: usize,
        start: Instant,
        round: u8,
        contender: &Contender,
        workload: Workload,
        connections: usize,
    ) {
        let left = match made {
            0 => String::new(),
            made => {
                let each = start.elapsed().as_secs_f64() / made as f64;
                format!(
                    ", {:.0} min left",
                    (each * (all - made) as f64 / 60.0).ceil()
                )
            }
        };
        let text = format!(
            "compare: {} of {all}: round {round}, {}, {} connections, {}{left}",
            made + 1,
            workload.title().0,
            connections,
            contender.name()
        );
        let mut error = std::io::stderr().lock();
        // Nothing to be done about a terminal that has gone.
        let _ = match error.is_terminal() {
            true => write!(error, "\r\x1b[2K{text}").and_then(|()| error.flush()),
            false => writeln!(error, "{text}"),
        };
    }
}

fn clear_line() {
    let mut error = std::io::stderr().lock();
    if error.is_terminal() {
        let _ = write!(error, "\r\x1b[2K");
    }
}

/// Servers inherit it: not all raise it by themselves.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives through both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

/// The most descriptors that a process may have.
pub fn descriptors_max() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives through the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    usize::try_from(limit.rlim_max).unwrap_or(usize::MAX)
}
