//! The check: runs each workload under callgrind and holds its count against the record.
//!
//! A count that is off by more than the tolerance fails, whichever way: one that is dearer is a slow-down,
//! and one that is cheaper would leave room for the next.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::machine::{self, Machine};
use crate::record::{Counted, Record};
use crate::workloads::{WORKLOADS, Workload};

const RECORD_ANEW: &str = "benches/instructions/check --record";

/// In the process that is counted: runs a workload and says what came out.
pub fn print_run(workload: &Workload) -> ExitCode {
    let outcome = workload.run();
    println!("messages {}", outcome.messages);
    println!("bytes {}", outcome.bytes);
    println!("finds {}", machine::found());
    ExitCode::SUCCESS
}

/// Writes the record anew.
pub fn record() -> ExitCode {
    report(|| {
        let (machine, workloads) = count_all()?;
        for workload in WORKLOADS {
            let now = &workloads[workload.name];
            println!("{}  {}", columns(workload.name, now), workload.what);
        }
        let path = Record::new(machine, workloads).write()?;
        println!("recorded in {path}");
        Ok(true)
    })
}

/// Compares with the record.
pub fn compare() -> ExitCode {
    report(|| {
        let record = Record::read()?;
        let (machine, workloads) = count_all()?;
        println!(
            "{:14}{:>14}{:>14}{:>12}{:>9}  verdict",
            "workload", "recorded", "now", "a message", "change"
        );
        let mut failed = Vec::new();
        for workload in WORKLOADS {
            let now = &workloads[workload.name];
            let before = record.workloads.get(workload.name);
            let verdict = Verdict::of(before, now, record.tolerance_percent);
            println!("{}", row(workload.name, before, now, verdict));
            if verdict != Verdict::Good {
                failed.push(workload.name);
            }
        }
        for name in record.workloads.keys() {
            if Workload::find(name).is_none() {
                println!("{name}: recorded, but there is no such workload");
                failed.push(name);
            }
        }
        let differences = record.machine.differences(&machine);
        for (part, recorded, here) in &differences {
            println!("{part}: recorded with \"{recorded}\", here is \"{here}\"");
        }
        if failed.is_empty() {
            return Ok(true);
        }
        println!(
            "off by more than {} %: {}",
            record.tolerance_percent,
            failed.join(", ")
        );
        if !differences.is_empty() {
            println!(
                "The toolchain or the machine is not the recorded one, which may be the cause."
            );
        }
        println!("If this is meant, record anew and say why in the commit: {RECORD_ANEW}");
        Ok(false)
    })
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Good,
    Dearer,
    Cheaper,
    /// It is not in the record, or was another.
    Changed,
}

impl Verdict {
    fn of(before: Option<&Counted>, now: &Counted, tolerance_percent: f64) -> Verdict {
        let Some(before) = before else {
            return Verdict::Changed;
        };
        if (before.messages, before.bytes) != (now.messages, now.bytes) {
            return Verdict::Changed;
        }
        match change_percent(before, now) {
            change if change > tolerance_percent => Verdict::Dearer,
            change if change < -tolerance_percent => Verdict::Cheaper,
            _ => Verdict::Good,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Verdict::Good => "good",
            Verdict::Dearer => "DEARER: a slow-down, or meant: then record anew",
            Verdict::Cheaper => "CHEAPER: record anew, so that it stays so",
            Verdict::Changed => "CHANGED: not the workload that was recorded; record anew",
        }
    }
}

fn change_percent(before: &Counted, now: &Counted) -> f64 {
    (now.instructions as f64 / before.instructions as f64 - 1.0) * 100.0
}

fn row(name: &str, before: Option<&Counted>, now: &Counted, verdict: Verdict) -> String {
    let (recorded, change) = match before {
        Some(before) => (
            before.instructions.to_string(),
            format!("{:+.2} %", change_percent(before, now)),
        ),
        None => ("-".to_owned(), "-".to_owned()),
    };
    format!(
        "{name:14}{recorded:>14}{:>14}{:>12.1}{change:>9}  {}",
        now.instructions,
        now.instructions_per_message,
        verdict.text()
    )
}

fn columns(name: &str, now: &Counted) -> String {
    format!(
        "{name:14}{:>14}{:>12.1}",
        now.instructions, now.instructions_per_message
    )
}

fn report(run: impl FnOnce() -> Result<bool, String>) -> ExitCode {
    let started = Instant::now();
    let result = run();
    println!("took {:.0} s", started.elapsed().as_secs_f64());
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error}");
            ExitCode::FAILURE
        }
    }
}

fn count_all() -> Result<(Machine, BTreeMap<String, Counted>), String> {
    if let Err(error) = Command::new("valgrind").arg("--version").output() {
        return Err(format!(
            "valgrind cannot be run ({error}): apt-get install valgrind"
        ));
    }
    let mut finds = String::new();
    let mut workloads = BTreeMap::new();
    for workload in WORKLOADS {
        let run = Run::of(workload.name)?;
        workloads.insert(workload.name.to_owned(), run.counted);
        finds = run.finds;
    }
    Ok((Machine::here(&finds)?, workloads))
}

/// One workload in a process of its own, under callgrind.
struct Run {
    counted: Counted,
    finds: String,
}

/// Removed when it is read, whatever was in it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It may never have been written.
        let _ = fs::remove_file(&self.0);
    }
}

impl Run {
    fn of(name: &str) -> Result<Run, String> {
        let wrong = |what: &str| format!("{name}: {what}");
        let own = std::env::current_exe().map_err(|error| wrong(&error.to_string()))?;
        let file = format!("ringpost-callgrind-{}-{name}", std::process::id());
        let scratch = Scratch(std::env::temp_dir().join(file));
        let mut out = OsStr::new("--callgrind-out-file=").to_owned();
        out.push(&scratch.0);
        // Nothing of this process's environment, on which the allocator and the log could depend.
        let path = std::env::var_os("PATH").unwrap_or_default();
        let output = Command::new("valgrind")
            .env_clear()
            .env("PATH", path)
            .args(["--tool=callgrind", "--toggle-collect=instructions_counted"])
            .arg(out)
            .arg(own)
            .args(["run", name])
            .output()
            .map_err(|error| wrong(&error.to_string()))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(wrong(&format!("{}\n{errors}", output.status)));
        }
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let profile = fs::read_to_string(&scratch.0).map_err(|error| wrong(&error.to_string()))?;
        let number = |text: &str, key: &str| -> Result<u64, String> {
            let value = value(text, key).and_then(|value| value.parse().ok());
            value.ok_or_else(|| wrong(&format!("said no \"{key}\"")))
        };
        let instructions = number(&profile, "totals:")?;
        let messages = number(&said, "messages")?;
        if instructions < messages {
            return Err(wrong("nothing was counted"));
        }
        Ok(Run {
            counted: Counted::new(instructions, messages, number(&said, "bytes")?),
            finds: value(&said, "finds").unwrap_or_default().to_owned(),
        })
    }
}

/// What stands behind this word at the beginning of a line.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}
