//! [`Outcome`]: one run's figures, as `--json` prints them and the report keeps them.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::generator::Effort;
use super::ledger::Faults;
use super::meter::CpuSpent;
use super::plan::Kind;
use super::turns::TurnsMade;

/// What one run found out. Times are in seconds unless the name says otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub name: String,
    pub workload: Kind,
    pub url: String,
    pub connections: usize,
    pub senders: usize,
    pub in_flight: usize,
    /// Messages a second, where that was given.
    pub rate: Option<f64>,
    pub size: usize,
    /// Measured seconds.
    pub seconds: f64,
    /// Deliveries in them, and what they are.
    pub deliveries: u64,
    pub unit: &'static str,
    pub deliveries_per_second: f64,
    /// All that arrived, warm-up included.
    pub deliveries_checked: u64,
    pub faults: Faults,
    pub problem: Option<String>,
    pub latency: Option<Latency>,
    /// From connecting to being logged in, where clients come and go during the run.
    pub joining: Option<Latency>,
    /// The quiet clients' messages to themselves, beside the flood and in the calm before it; from when one was due.
    pub quiet: Option<Latency>,
    pub calm: Option<Latency>,
    /// Messages that met the command of `--during`, and how long that ran.
    pub during: Option<Latency>,
    pub command_seconds: Option<f64>,
    pub server: Option<Server>,
    /// From the measured time to the end of the draining, with `--metrics`.
    pub turns: Option<TurnsMade>,
    pub setup: Option<Setup>,
    pub idle: Option<IdleCost>,
    pub clients: Clients,
    pub machine: Machine,
    /// What else the workload counted.
    pub others: std::collections::BTreeMap<&'static str, u64>,
    /// Twice a second or so.
    pub course: Vec<Moment>,
}

/// Latencies in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub samples: u64,
    /// Whether they count from when a message was due.
    pub from_due: bool,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p99_9_us: f64,
    pub max_us: f64,
    /// Percentiles and their latencies, for a curve.
    pub curve: Vec<(f64, f64)>,
}

impl Latency {
    /// `None` of nothing.
    pub fn of(histogram: &Histogram<u64>, from_due: bool) -> Option<Latency> {
        if histogram.is_empty() {
            return None;
        }
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let at = |percentile: f64| micros(histogram.value_at_percentile(percentile));
        // Evenly over the nines: 0, …, 90, …, 99, …, as far as there are samples.
        let mut curve = Vec::new();
        for step in 0..=60 {
            let above = 10f64.powf(-f64::from(step) / 10.0);
            if above * (histogram.len() as f64) < 1.0 {
                break;
            }
            let percentile = 100.0 * (1.0 - above);
            curve.push((percentile, at(percentile)));
        }
        Some(Latency {
            samples: histogram.len(),
            from_due,
            mean_us: histogram.mean() / 1e3,
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            max_us: micros(histogram.max()),
            curve,
        })
    }
}

/// What the run cost the server.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    pub pids: Vec<u32>,
    /// CPU seconds in the measured time.
    pub cpu: CpuSpent,
    /// CPU seconds for a million deliveries: the headline.
    pub per_million: Option<CpuSpent>,
    /// Seconds of all that its CPUs did, the kernel's work charged to nobody included. Not known where
    /// clients or others may have run there too.
    pub cpus_per_million: Option<f64>,
    /// CPUs that it kept busy, of those it has.
    pub busy: f64,
    pub cpus: Vec<usize>,
    pub resident_bytes: u64,
}

/// Connecting and logging in before the run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Setup {
    pub seconds: f64,
    /// The server's CPU microseconds for each connection.
    pub cpu_us_per_connection: Option<f64>,
}

/// Fewer connections than these drown in what the server and the machine do besides.
pub const IDLE_CONNECTIONS_SOUND: usize = 5_000;

/// What connections cost that do nothing. Resident memory grows in a freshly started server only: one
/// that has had as many before keeps what it took.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleCost {
    /// The server's resident bytes, with the connections less without.
    pub user_bytes_per_connection: Option<f64>,
    /// The kernel's slabs, and all memory that is no longer available: of the server's ends, and of the
    /// clients' too where they are on one machine.
    pub kernel_bytes_per_connection: f64,
    pub memory_bytes_per_connection: f64,
    pub is_both_ends: bool,
    /// The server's CPU milliseconds a second.
    pub cpu_ms_per_second: Option<f64>,
}

/// How the clients fared.
#[derive(Clone, Debug, Serialize)]
pub struct Clients {
    pub generators: Vec<Effort>,
    /// How busy the busiest was, waiting for a CPU included, of one CPU.
    pub busy_max: f64,
    /// The part of the time in which a side, the server's or ours, waited for a CPU.
    pub waited_max: f64,
    /// Where they ran; empty if they were not pinned.
    pub cpus: Vec<usize>,
    pub limit: Limit,
    /// The verdict in words.
    pub verdict: String,
}

/// Who else was there in the measured time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Machine {
    /// CPUs that neither the server nor the clients had, yet were busy: other programs, and the kernel's
    /// work charged to nobody.
    pub others_busy: f64,
    /// CPUs that a hypervisor gave away.
    pub stolen: f64,
}

/// What kept the rate from being higher.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The figures are of the clients, not of the server.
    Client,
    Server,
    /// Both wanted the same CPUs.
    SharedCpus,
    /// Other programs had the CPUs.
    Others,
    /// The rate or the window that was asked for.
    Load,
}

/// One point of the course of a run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    pub second: f64,
    pub deliveries: u64,
    pub server_cpu_seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_known_samples() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000_000, 3).unwrap();
        for micros in 1..=1_000u64 {
            histogram.record(micros * 1_000).unwrap();
        }
        let latency = Latency::of(&histogram, false).unwrap();
        let near = |figure: f64, expected: f64| (figure - expected).abs() < expected / 500.0;
        assert!(near(latency.p50_us, 500.0), "{}", latency.p50_us);
        assert!(near(latency.p99_us, 990.0), "{}", latency.p99_us);
        assert!(near(latency.max_us, 1_000.0), "{}", latency.max_us);
        assert!(latency.curve.windows(2).all(|two| two[0].1 <= two[1].1));
        // A thousand samples know nothing beyond 99.9 %.
        assert!(latency.curve.last().unwrap().0 <= 99.91);
        histogram.reset();
        assert!(Latency::of(&histogram, false).is_none());
    }
}
