//! [`Figures`]: what one run found, from bench's JSON; and [`Summary`]: the rounds of one server on one
//! workload, as medians and spreads.

use serde_json::Value;

use crate::workload::Workload;

/// A side that waited for a CPU for this part of the time was not alone on it. The kernel's own work there,
/// which is much where sends are batched, comes on top.
const WAITED_MAX: f64 = 0.05;
/// CPUs that others may have had: the kernel's own work is among it.
const OTHERS_MAX: f64 = 0.2;
const STOLEN_MAX: f64 = 0.02;

/// One run.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What it cost the server's process: CPU µs a delivery, or bytes of a connection.
    pub cost: f64,
    /// What it cost of all that its CPUs did, where nobody else was on them.
    pub cost_of_cpus: Option<f64>,
    pub per_second: f64,
    pub p50_us: Option<f64>,
    pub p99_us: Option<f64>,
    /// What quiet clients waited beside a flood, and in the calm before it.
    pub quiet_p99_us: Option<f64>,
    pub calm_p99_us: Option<f64>,
    /// The server's CPU µs for a connection set up.
    pub setup_us: Option<f64>,
    pub kernel_bytes: Option<f64>,
    pub is_client_limit: bool,
    /// Why the run was not alone on the machine.
    pub disturbed: Option<String>,
}

/// Nothing arrived in the measured time, which is short for a busy machine, or the server's process was not found.
pub const NOT_MEASURED: &str = "bench did not measure the server";

impl Figures {
    /// Reads a run; an error if the run had faults, or did not measure the server.
    pub fn read(workload: Workload, run: &Value) -> Result<Figures, String> {
        let faults = run["faults"].as_object().into_iter().flatten();
        let faults = faults.filter_map(|(_, count)| count.as_u64()).sum::<u64>();
        if let Some(problem) = run["problem"].as_str() {
            let whose = whose(run);
            return Err(format!(
                "faults: {}{whose}, the first: {problem}",
                run["faults"]
            ));
        }
        if faults > 0 {
            return Err(format!("faults: {}{}", run["faults"], whose(run)));
        }
        let cost = match workload {
            Workload::Idle => run["idle"]["user_bytes_per_connection"].as_f64(),
            _ => run["server"]["per_million"]["total"].as_f64(),
        };
        let micros = |name: &str| run["latency"][name].as_f64();
        let limit = run["clients"]["limit"].as_str().unwrap_or("");
        Ok(Figures {
            cost: cost.ok_or(NOT_MEASURED)?,
            cost_of_cpus: match workload {
                Workload::Idle => None,
                _ => run["server"]["cpus_per_million"].as_f64(),
            },
            per_second: run["deliveries_per_second"].as_f64().unwrap_or(0.0),
            p50_us: micros("p50_us"),
            p99_us: micros("p99_us"),
            quiet_p99_us: run["quiet"]["p99_us"].as_f64(),
            calm_p99_us: run["calm"]["p99_us"].as_f64(),
            setup_us: run["setup"]["cpu_us_per_connection"].as_f64(),
            kernel_bytes: run["idle"]["kernel_bytes_per_connection"].as_f64(),
            is_client_limit: limit == "client",
            disturbed: disturbed(run, limit == "shared_cpus"),
        })
    }
}

/// Who lost what, and who was closed, where a run tells it.
fn whose(run: &Value) -> String {
    let others = run["others"].as_object().into_iter().flatten();
    let whose = others.filter(|(name, count)| {
        (name.ends_with(" lost") || name.ends_with(" closed")) && count.as_u64() > Some(0)
    });
    whose
        .map(|(name, count)| format!(", {name} {count}"))
        .collect()
}

fn disturbed(run: &Value, shares_cpus: bool) -> Option<String> {
    let figure = |value: &Value| value.as_f64().unwrap_or(0.0);
    let others = figure(&run["machine"]["others_busy"]);
    let stolen = figure(&run["machine"]["stolen"]);
    let waited = figure(&run["clients"]["waited_max"]);
    match () {
        () if stolen > STOLEN_MAX => Some(format!("{stolen:.2} CPUs given away by the hypervisor")),
        () if others > OTHERS_MAX => Some(format!("{others:.2} CPUs busy with something else")),
        // Where client and server share CPUs they wait for each other.
        () if waited > WAITED_MAX + others && !shares_cpus => {
            Some(format!("{:.0} % of the time a side waited", waited * 100.0))
        }
        () => None,
    }
}

/// Rounds.
#[derive(Clone, Default, Debug)]
pub struct Summary {
    pub runs: Vec<Figures>,
    pub failed: usize,
}

impl Summary {
    /// The median over the rounds of what a run has.
    pub fn median(&self, of: impl Fn(&Figures) -> Option<f64>) -> Option<f64> {
        median(self.runs.iter().filter_map(of).collect())
    }

    pub fn cost(&self) -> Option<f64> {
        self.median(|run| Some(run.cost))
    }

    /// How far the rounds lie apart, as a part of their median.
    pub fn spread(&self) -> Option<f64> {
        let costs = || self.runs.iter().map(|run| run.cost);
        let most = costs().reduce(f64::max)?;
        let least = costs().reduce(f64::min)?;
        Some((most - least) / self.cost()?)
    }

    pub fn is_disturbed(&self) -> bool {
        self.runs.iter().any(|run| run.disturbed.is_some())
    }
}

/// The middle one; of an even number the mean of the two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        let run = |cost: f64| {
            let run = json!({"server": {"per_million": {"total": cost}}, "faults": {"lost": 0}});
            Figures::read(Workload::Echo, &run).unwrap()
        };
        let summary = Summary {
            runs: vec![run(5.0), run(4.0), run(4.5)],
            failed: 0,
        };
        assert_eq!(summary.cost(), Some(4.5));
        assert!((summary.spread().unwrap() - 1.0 / 4.5).abs() < 1e-9);
    }

    #[test]
    fn a_run_with_faults_has_no_figures() {
        let run = json!({"server": {"per_million": {"total": 1.0}}, "faults": {"lost": 1}});
        assert!(Figures::read(Workload::Echo, &run).is_err());
        let run = json!({"faults": {"lost": 0}});
        assert!(Figures::read(Workload::Echo, &run).is_err());
    }

    #[test]
    fn a_flood_tells_who_lost_what_and_what_the_quiet_waited() {
        let mut run = json!({"server": {"per_million": {"total": 1.0}}, "faults": {"lost": 0},
                             "quiet": {"p99_us": 9.0}, "calm": {"p99_us": 2.0}});
        let figures = Figures::read(Workload::FloodLarge, &run).unwrap();
        let waited = (figures.quiet_p99_us, figures.calm_p99_us);
        assert_eq!(waited, (Some(9.0), Some(2.0)));
        run["faults"] = json!({"lost": 3, "closed": 1});
        run["others"] = json!({"readers lost": 3, "quiet lost": 0, "readers closed": 1});
        let problem = Figures::read(Workload::FloodLarge, &run).unwrap_err();
        let words = ", readers closed 1, readers lost 3";
        assert!(problem.ends_with(words), "{problem}");
    }

    #[test]
    fn who_was_not_alone_is_said() {
        let run = json!({"server": {"per_million": {"total": 1.0}}, "faults": {},
                         "machine": {"others_busy": 0.5, "stolen": 0.0},
                         "clients": {"waited_max": 0.4, "limit": "shared_cpus"}});
        let figures = Figures::read(Workload::Echo, &run).unwrap();
        assert!(figures.disturbed.unwrap().contains("0.50 CPUs"));
        let waited = |part: f64| {
            let run = json!({"server": {"per_million": {"total": 1.0}}, "faults": {},
                             "machine": {"others_busy": 0.08, "stolen": 0.0},
                             "clients": {"waited_max": part, "limit": "server"}});
            Figures::read(Workload::Echo, &run).unwrap().disturbed
        };
        assert_eq!(waited(0.1), None);
        assert!(waited(0.2).unwrap().contains("20 % of the time"));
    }
}
