//! [`Conductor`]: one run from the first connection to the last figure: starts the generators, leads
//! them through the phases, and reads the server's meter at the right moments.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::clock;
use super::generator::{self, Done, Start};
use super::machine::MachineTime;
use super::meter::{self, CpuTime, KernelMemory, Meter};
use super::plan::{Kind, Plan};
use super::progress::Progress;
use super::record::Record;
use super::shared::{Phase, Shared};
use super::turns::{Turns, TurnsMade};

/// How often the gauges are read.
const LOOK: Duration = Duration::from_millis(20);
/// How often a point of the course is kept.
const MOMENT_NANOS: u64 = 500_000_000;
/// Time without any progress after which the setup, or the draining, is given up.
const STALL_SETUP_NANOS: u64 = 30_000_000_000;
const STALL_DRAIN_NANOS: u64 = 5_000_000_000;
/// How long work is waited for that has an end.
const STALL_FINISH_NANOS: u64 = 10_000_000_000;
/// Time between the setup and the traffic.
const REST: Duration = Duration::from_millis(300);
/// Messages before a command that is run amid them, and after it.
const AROUND_COMMAND_NANOS: u64 = 2_000_000_000;
/// How long is waited before idle is measured: memory comes to rest.
const REST_IDLE: Duration = Duration::from_secs(1);

/// What a run is made with.
pub struct Conductor<'a> {
    pub plan: Arc<Plan>,
    pub meter: Option<&'a Meter>,
    /// Where the generators run, in turn; empty: anywhere.
    pub cpus: Vec<usize>,
    pub takes_tables: bool,
    pub progress: &'a mut Progress,
}

/// What was read at one moment.
#[derive(Clone)]
pub struct Reading {
    pub time: u64,
    pub delivered: u64,
    pub cpu: Option<CpuTime>,
    pub machine: MachineTime,
    pub resident_bytes: Option<u64>,
    pub kernel: KernelMemory,
}

/// What there is to reckon with after a run.
pub struct Readings {
    pub before: Reading,
    pub ready: Reading,
    /// When memory has come to rest.
    pub rested: Reading,
    pub from: Reading,
    pub to: Reading,
    pub course: Vec<Reading>,
    pub command_seconds: Option<f64>,
    /// The server's turns from the measured time on.
    pub turns: Option<TurnsMade>,
    pub done: Vec<Done>,
    pub record: Record,
}

/// The readings between the phases.
struct Moments {
    ready: Reading,
    rested: Reading,
    from: Reading,
    to: Reading,
    course: Vec<Reading>,
    command_seconds: Option<f64>,
    turns: Option<TurnsMade>,
}

impl Conductor<'_> {
    /// Makes the run. An error is one that leaves no figures.
    pub fn run(&mut self) -> Result<Readings, String> {
        let shared = Shared::new(self.plan.generators, self.plan.senders)
            .map_err(|error| format!("cannot start: {error}"))?;
        let shared = Arc::new(shared);
        let before = self.read(&shared)?;
        let threads = self.start(&shared);
        let phases = self.phases(&shared);
        shared.enter(Phase::End, clock::now());
        let (mut done, mut record) = (Vec::new(), Record::default());
        for thread in threads {
            let one: Done = thread
                .join()
                .map_err(|_| "a generator panicked".to_owned())?;
            record.merge(&one.record);
            done.push(one);
        }
        if let Some(fatal) = record.fatal {
            return Err(fatal);
        }
        let Moments {
            ready,
            rested,
            from,
            to,
            course,
            command_seconds,
            turns,
        } = phases?;
        Ok(Readings {
            before,
            ready,
            rested,
            from,
            to,
            course,
            command_seconds,
            turns,
            done,
            record,
        })
    }

    fn start(&self, shared: &Arc<Shared>) -> Vec<JoinHandle<Done>> {
        let start = |number: usize| {
            let start = Start {
                plan: Arc::clone(&self.plan),
                share: self.plan.share(number),
                shared: Arc::clone(shared),
                cpu: match self.cpus.len() {
                    0 => None,
                    cpus => Some(self.cpus[number % cpus]),
                },
                takes_table: self.takes_tables,
            };
            thread::spawn(move || generator::run(&start))
        };
        (0..self.plan.generators).map(start).collect()
    }

    fn phases(&mut self, shared: &Shared) -> Result<Moments, String> {
        self.set_up(shared)?;
        let ready = self.read(shared)?;
        shared.enter(Phase::Rest, clock::now());
        thread::sleep(match self.plan.kind {
            Kind::Idle | Kind::Prove => REST_IDLE,
            _ => REST,
        });
        let rested = self.read(shared)?;
        shared.enter(Phase::Warmup, clock::now());
        let step = match self.plan.kind {
            Kind::Prove => {
                let (connections, seconds) = (self.plan.connections, self.plan.warmup);
                self.progress.note(&format!(
                    "all {connections} are logged in and rest for {seconds} s now, on purpose (--warmup): what they \
                     cost while they only answer pings is measured; the broadcasts follow"
                ));
                "rests"
            }
            Kind::Flood | Kind::Reconnect => "calm",
            _ => "warm-up",
        };
        self.wait(shared, step, self.plan.warmup, &mut Vec::new())?;
        let turns = self.scrape()?;
        let from = self.read(shared)?;
        shared.enter(Phase::Measured, from.time);
        let mut course = vec![from.clone()];
        let command_seconds = self.command(shared)?;
        match self.plan.kind {
            Kind::Prove => self.finish(shared)?,
            _ => self.wait(shared, "measures", self.plan.seconds, &mut course)?,
        }
        let to = self.read(shared)?;
        shared.enter(Phase::Drain, to.time);
        course.push(to.clone());
        self.drain(shared);
        let turns = match turns {
            Some(before) => self.scrape()?.map(|after| after.since(&before)),
            None => None,
        };
        Ok(Moments {
            ready,
            rested,
            from,
            to,
            course,
            command_seconds,
            turns,
        })
    }

    /// Runs the plan's command amid messages, if it has one. How long that took, in seconds.
    fn command(&mut self, shared: &Shared) -> Result<Option<f64>, String> {
        let Some(line) = self.plan.during.clone() else {
            return Ok(None);
        };
        self.pass(shared, "messages", AROUND_COMMAND_NANOS)?;
        let failed = |error: io::Error| format!("--during \"{line}\" cannot be run: {error}");
        // Standard output is the run's own.
        let output = io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
        let from = clock::now();
        shared.begin_command(from);
        let mut child = Command::new("/bin/sh")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(output)
            .spawn()
            .map_err(failed)?;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            self.pass(shared, "command", LOOK.as_nanos() as u64)?;
        };
        let to = clock::now();
        shared.end_command(to);
        if !status.success() {
            return Err(format!("--during \"{line}\" failed: {status}"));
        }
        // Perhaps the server is another process from now on.
        self.meter = None;
        self.pass(shared, "messages", AROUND_COMMAND_NANOS)?;
        shared.leave_command();
        Ok(Some(clock::seconds(to - from)))
    }

    /// Lets so much time pass.
    fn pass(&mut self, shared: &Shared, step: &'static str, nanos: u64) -> Result<(), String> {
        let end = clock::now() + nanos;
        while clock::now() < end {
            self.check(shared)?;
            let (up, delivered) = (
                shared.sum(|gauge| &gauge.up),
                shared.sum(|gauge| &gauge.delivered),
            );
            let text = format!("{up} connections, {delivered} messages have arrived");
            self.progress.show(step, 0.5, &text);
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn scrape(&self) -> Result<Option<Turns>, String> {
        let address = self.plan.metrics.as_deref();
        let scrape = |address| Turns::scrape(address, self.plan.token.as_deref());
        address.map(scrape).transpose()
    }

    /// Waits until all is done, as long as there is progress.
    fn finish(&mut self, shared: &Shared) -> Result<(), String> {
        let (mut last, mut since) = (0, clock::now());
        while !shared.all(|gauge| &gauge.is_done) {
            self.check(shared)?;
            let delivered = shared.sum(|gauge| &gauge.delivered);
            if delivered != last {
                (last, since) = (delivered, clock::now());
            } else if clock::now() - since > STALL_FINISH_NANOS {
                return Ok(());
            }
            let text = format!("{delivered} messages have arrived");
            self.progress.show("proves", 0.5, &text);
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn set_up(&mut self, shared: &Shared) -> Result<(), String> {
        let all = self.plan.connections as u64;
        let (mut last, mut since) = (0, clock::now());
        while !shared.all(|gauge| &gauge.is_ready) {
            self.check(shared)?;
            let up = shared.sum(|gauge| &gauge.up);
            if up != last {
                (last, since) = (up, clock::now());
            } else if clock::now() - since > STALL_SETUP_NANOS {
                return Err(format!(
                    "{up} of {all} connections are logged in, and no more since 30 s"
                ));
            }
            let text = format!("{up} of {all} connections");
            self.progress
                .show("connects", up as f64 / all as f64, &text);
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Lets so many seconds pass.
    fn wait(
        &mut self,
        shared: &Shared,
        step: &'static str,
        seconds: f64,
        course: &mut Vec<Reading>,
    ) -> Result<(), String> {
        let start = clock::now();
        let end = start + clock::nanos(seconds);
        let mut shown = (start, shared.sum(|gauge| &gauge.delivered));
        let mut kept = start;
        loop {
            let now = clock::now();
            if now >= end {
                return Ok(());
            }
            self.check(shared)?;
            if now - kept >= MOMENT_NANOS {
                kept = now;
                course.push(self.read(shared)?);
                let delivered = shared.sum(|gauge| &gauge.delivered);
                let rate = (delivered - shown.1) as f64 / clock::seconds(now - shown.0);
                shown = (now, delivered);
                let left = clock::seconds(end - now).ceil();
                let faults = match shared.sum(|gauge| &gauge.faults) {
                    0 => String::new(),
                    faults => format!(", {faults} faults"),
                };
                let text = match self.plan.kind {
                    // Nothing is to be delivered yet.
                    Kind::Prove => {
                        let up = shared.sum(|gauge| &gauge.up);
                        format!(
                            "{up} connections answer pings{faults}, {left} s until the broadcasts"
                        )
                    }
                    kind => {
                        let unit = kind.deliveries();
                        format!("{rate:.0} {unit}/s{faults}, {left} s left")
                    }
                };
                let part = (now - start) as f64 / (end - start) as f64;
                self.progress.show(step, part, &text);
            }
            thread::sleep(LOOK.min(Duration::from_nanos(end - now)));
        }
    }

    /// Waits for what is on its way, as long as something still arrives.
    fn drain(&mut self, shared: &Shared) {
        let (mut last, mut since) = (u64::MAX, clock::now());
        let is_quiet = || {
            let broadcasts = shared.broadcasts.load(std::sync::atomic::Ordering::Acquire);
            let all_have = !matches!(self.plan.kind, Kind::Broadcast | Kind::Prove | Kind::Flood)
                || shared.broadcasts_complete() == broadcasts;
            all_have && shared.all(|gauge| &gauge.is_quiet)
        };
        while !is_quiet() && !shared.gauges.iter().any(|gauge| gauge.is_over()) {
            let delivered = shared.sum(|gauge| &gauge.delivered);
            if delivered != last {
                (last, since) = (delivered, clock::now());
            } else if clock::now() - since > STALL_DRAIN_NANOS {
                return;
            }
            self.progress
                .show("drains", 1.0, "what is on its way arrives");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the generators go on; why not, their records say.
    fn check(&self, shared: &Shared) -> Result<(), String> {
        match shared.gauges.iter().any(|gauge| gauge.is_over()) {
            true => Err("a generator has ended early".to_owned()),
            false => Ok(()),
        }
    }

    fn read(&self, shared: &Shared) -> Result<Reading, String> {
        let cpu = self.meter.map(Meter::cpu_time).transpose()?;
        Ok(Reading {
            time: clock::now(),
            delivered: shared.sum(|gauge| &gauge.delivered),
            cpu,
            machine: MachineTime::now(),
            resident_bytes: self.meter.map(Meter::resident_bytes),
            kernel: meter::kernel_memory(),
        })
    }
}

/// The CPUs for the generators: those given, or those that the server leaves; `None` if it leaves
/// none, and then nothing is pinned.
pub fn free_cpus(given: Option<&BTreeSet<usize>>, meter: Option<&Meter>) -> Vec<usize> {
    if let Some(given) = given {
        return given.iter().copied().collect();
    }
    let Some(meter) = meter else {
        return Vec::new();
    };
    meter::own_cpus()
        .difference(&meter.cpus())
        .copied()
        .collect()
}
