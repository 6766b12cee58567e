//! The record: `counts.json`, which holds what was counted last, on which machine, and how far off a count
//! may be. Written by `check --record` alone.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// A count may be off by this much, unless the record says otherwise.
const TOLERANCE_PERCENT: f64 = 5.0;

#[derive(Serialize, Deserialize)]
pub struct Record {
    pub tolerance_percent: f64,
    pub machine: Machine,
    pub workloads: BTreeMap<String, Counted>,
}

/// What one workload was.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Counted {
    pub instructions: u64,
    /// By which the instructions are divided: messages, deliveries, or logins.
    pub messages: u64,
    /// What was written to clients.
    pub bytes: u64,
    pub instructions_per_message: f64,
}

impl Counted {
    pub fn new(instructions: u64, messages: u64, bytes: u64) -> Counted {
        let each = instructions as f64 / messages as f64;
        Counted {
            instructions,
            messages,
            bytes,
            instructions_per_message: (each * 10.0).round() / 10.0,
        }
    }
}

/// From the root of the repository, where the script runs the program.
const PATH: &str = "benches/instructions/counts.json";

impl Record {
    pub fn new(machine: Machine, workloads: BTreeMap<String, Counted>) -> Record {
        let tolerance_percent =
            Record::read().map_or(TOLERANCE_PERCENT, |old| old.tolerance_percent);
        Record {
            tolerance_percent,
            machine,
            workloads,
        }
    }

    pub fn read() -> Result<Record, String> {
        let text = fs::read_to_string(PATH).map_err(|error| format!("{PATH}: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("{PATH}: {error}"))
    }

    pub fn write(&self) -> Result<&'static str, String> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        text.push('\n');
        fs::write(PATH, text).map_err(|error| format!("{PATH}: {error}"))?;
        Ok(PATH)
    }
}
