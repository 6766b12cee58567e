//! [`MachineTime`]: what the machine's CPUs have done, from /proc/stat: by it a run says what the
//! server's CPUs did beside the server's own threads, and whether others were at work meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::clock;
use super::meter;

/// What has been spent since the machine started.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct MachineTime {
    /// Seconds for each CPU, interrupts included.
    busy: BTreeMap<usize, f64>,
    /// Seconds that a hypervisor gave to somebody else.
    stolen: f64,
    /// Of this process.
    own: f64,
}

/// What was spent between two moments, in seconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct MachineSpent {
    pub busy: f64,
    pub stolen: f64,
    pub own: f64,
}

impl MachineTime {
    /// As it is now.
    pub fn now() -> MachineTime {
        let own = clock::seconds(clock::process_cpu());
        MachineTime {
            own,
            ..read(&fs::read_to_string("/proc/stat").unwrap_or_default())
        }
    }

    /// What all CPUs did since an earlier moment.
    pub fn since(&self, earlier: &MachineTime) -> MachineSpent {
        MachineSpent {
            busy: self.busy.values().sum::<f64>() - earlier.busy.values().sum::<f64>(),
            stolen: self.stolen - earlier.stolen,
            own: self.own - earlier.own,
        }
    }

    /// How long some of the CPUs were busy since an earlier moment.
    pub fn busy_since(&self, earlier: &MachineTime, cpus: &BTreeSet<usize>) -> f64 {
        let of = |time: &MachineTime| -> f64 {
            let one = |cpu: &usize| time.busy.get(cpu).copied().unwrap_or(0.0);
            cpus.iter().map(one).sum()
        };
        of(self) - of(earlier)
    }
}

/// Columns of a line: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)).
fn read(stat: &str) -> MachineTime {
    let mut time = MachineTime::default();
    let tick = 1.0 / meter::ticks_per_second();
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or("");
        let Some(cpu) = name.strip_prefix("cpu").and_then(|cpu| cpu.parse().ok()) else {
            continue;
        };
        let ticks: Vec<f64> = words.filter_map(|word| word.parse().ok()).collect();
        let of = |columns: &[usize]| -> f64 {
            let one = |column: &usize| ticks.get(*column).copied().unwrap_or(0.0);
            columns.iter().map(one).sum::<f64>() * tick
        };
        time.busy.insert(cpu, of(&[0, 1, 2, 5, 6]));
        time.stolen += of(&[7]);
    }
    time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_each_cpu() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\n\
                    cpu0 100 1 200 5000 7 3 4 50 0 0\n\
                    cpu1 10 0 20 9000 0 0 0 0 0 0\nintr 5\n";
        let tick = 1.0 / meter::ticks_per_second();
        let time = read(text);
        let zero = MachineTime::default();
        let near = |one: f64, two: f64| assert!((one - two).abs() < 1e-9, "{one} {two}");
        near(time.busy_since(&zero, &BTreeSet::from([0])), 308.0 * tick);
        near(time.busy_since(&zero, &BTreeSet::from([1, 7])), 30.0 * tick);
        near(time.since(&zero).busy, 338.0 * tick);
        near(time.since(&zero).stolen, 50.0 * tick);
    }

    #[test]
    fn this_process_uses_time() {
        let before = MachineTime::now();
        let start = std::time::Instant::now();
        // A busy machine gives us little of its time.
        let spent = || MachineTime::now().since(&before).own;
        while spent() <= 0.01 && start.elapsed().as_secs() < 20 {
            std::hint::black_box(0);
        }
        assert!(spent() > 0.01);
    }
}
