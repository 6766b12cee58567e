//! The tables, in Markdown: every server's median cost on every workload, its spread and its ratio to
//! the floor; then rates and latencies; then what to know of the runs.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::contender::Contender;
use crate::figures::{Figures, Summary};
use crate::workload::Workload;

/// What was measured, by server (its place in the list) and workload.
pub type Results = BTreeMap<(usize, Workload), Summary>;

/// The cheaper of the floors on a workload.
pub fn floor(contenders: &[Contender], results: &Results, workload: Workload) -> Option<f64> {
    let workload = workload.floor()?;
    let floors = contenders
        .iter()
        .enumerate()
        .filter(|(_, one)| one.is_floor());
    floors
        .filter_map(|(at, _)| results.get(&(at, workload))?.cost())
        .reduce(f64::min)
}

/// What a server costs in multiples of the floor: the median of the rounds' own ratios, for what disturbs
/// a round disturbs both; that of the medians where a round has failed.
fn ratio(
    contenders: &[Contender],
    results: &Results,
    workload: Workload,
    own: &Summary,
) -> Option<f64> {
    let of_floor = workload.floor()?;
    let floors = contenders.iter().enumerate();
    let floors: Vec<&Summary> = floors
        .filter(|(_, one)| one.is_floor())
        .filter_map(|(at, _)| results.get(&(at, of_floor)))
        .collect();
    let is_whole = |one: &Summary| one.failed == 0 && one.runs.len() == own.runs.len();
    if !is_whole(own) || !floors.iter().all(|one| is_whole(one)) {
        return Some(own.cost()? / floor(contenders, results, workload)?);
    }
    let rounds = own.runs.iter().enumerate().filter_map(|(round, run)| {
        let floors = floors.iter().map(|one| one.runs[round].cost);
        Some(run.cost / floors.reduce(f64::min)?)
    });
    crate::figures::median(rounds.collect())
}

/// One row a server, one column a workload.
pub fn costs(contenders: &[Contender], workloads: &[Workload], results: &Results) -> String {
    let mut text = String::from("| |");
    for workload in workloads {
        let (title, unit) = workload.title();
        // Writing to a String does not fail.
        let _ = write!(text, " {title}, {unit} |");
    }
    text.push_str(" setup, CPU µs |\n|---|");
    text.push_str(&"---|".repeat(workloads.len() + 1));
    text.push('\n');
    for (at, contender) in contenders.iter().enumerate() {
        let _ = write!(text, "| {} |", contender.name());
        for workload in workloads {
            let summary = results.get(&(at, *workload));
            let ratio = summary.and_then(|own| ratio(contenders, results, *workload, own));
            let _ = write!(text, " {} |", cell(*workload, summary, ratio));
        }
        let setups = results.iter().filter(|((server, _), _)| *server == at);
        let setups = setups.flat_map(|(_, summary)| &summary.runs);
        let setup = crate::figures::median(setups.filter_map(|run| run.setup_us).collect());
        let _ = writeln!(
            text,
            " {} |",
            setup.map_or("–".into(), |us| format!("{us:.0}"))
        );
    }
    text
}

/// `5.13 ±4 % ×1.06`: the median, half of what lies between the extremes, the ratio to the floor.
fn cell(workload: Workload, summary: Option<&Summary>, ratio: Option<f64>) -> String {
    let Some(summary) = summary else {
        return "–".into();
    };
    let (Some(cost), Some(spread)) = (summary.cost(), summary.spread()) else {
        return "failed".into();
    };
    let mut text = number(cost);
    if workload != Workload::Idle {
        let _ = write!(text, " ±{:.0} %", spread * 50.0);
    }
    if let Some(ratio) = ratio.filter(|_| workload != Workload::Idle) {
        let _ = write!(text, " **×{ratio:.2}**");
    }
    if summary.is_disturbed() {
        text.push_str(" †");
    }
    if summary.failed > 0 {
        let _ = write!(text, " ({} failed)", summary.failed);
    }
    text
}

/// Three digits, as far as they say something.
pub fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        0.0 => "0".into(),
        _ => format!("{value:.3}"),
    }
}

/// The rates and latencies behind the costs, and what the server's CPUs did in all.
pub fn details(contenders: &[Contender], workloads: &[Workload], results: &Results) -> String {
    let mut text = String::from(
        "| workload | server | CPU µs | of its CPUs' whole time | a second | p50 | p99 | quiet p99 | calm p99 | kernel bytes |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in workloads {
        for (at, contender) in contenders.iter().enumerate() {
            let Some(summary) = results.get(&(at, *workload)) else {
                continue;
            };
            let figure = |of: &dyn Fn(&Figures) -> Option<f64>, show: &dyn Fn(f64) -> String| {
                summary.median(of).map_or("–".into(), show)
            };
            let is_idle = *workload == Workload::Idle;
            let cost = |run: &Figures| (!is_idle).then_some(run.cost);
            let rate = |run: &Figures| (!is_idle).then_some(run.per_second);
            let client = match summary.runs.iter().any(|run| run.is_client_limit) {
                true => " (client)",
                false => "",
            };
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {}{client} | {} | {} | {} | {} | {} |",
                workload.title().0,
                contender.name(),
                figure(&cost, &number),
                figure(&|run| run.cost_of_cpus, &number),
                figure(&rate, &thousands),
                figure(&|run| run.p50_us, &time),
                figure(&|run| run.p99_us, &time),
                figure(&|run| run.quiet_p99_us, &time),
                figure(&|run| run.calm_p99_us, &time),
                figure(&|run| run.kernel_bytes, &number),
            );
        }
    }
    text
}

fn thousands(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value => format!("{:.0} k", value / 1e3),
    }
}

fn time(micros: f64) -> String {
    match micros {
        micros if micros >= 1e3 => format!("{:.1} ms", micros / 1e3),
        micros => format!("{micros:.0} µs"),
    }
}

/// Which runs were disturbed, and by what.
pub fn disturbances(contenders: &[Contender], results: &Results) -> String {
    let mut text = String::new();
    for ((at, workload), summary) in results {
        for (round, run) in summary.runs.iter().enumerate() {
            if let Some(why) = &run.disturbed {
                let (title, name) = (workload.title().0, contenders[*at].name());
                let _ = writeln!(text, "† {title}, {name}, round {}: {why}", round + 1);
            }
        }
    }
    match text.is_empty() {
        true => "No run was disturbed.\n".into(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summary(costs: &[f64]) -> Summary {
        let run = |cost: &f64| {
            let run = json!({"server": {"per_million": {"total": cost}}, "faults": {}});
            Figures::read(Workload::Echo, &run).unwrap()
        };
        Summary {
            runs: costs.iter().map(run).collect(),
            failed: 0,
        }
    }

    #[test]
    fn ratios_are_to_the_cheaper_floor() {
        let contenders = [
            Contender::Floor { ring: false },
            Contender::Floor { ring: true },
            Contender::Ringpost { cores: 1 },
        ];
        let mut results = Results::new();
        results.insert((0, Workload::Echo), summary(&[5.0]));
        results.insert((1, Workload::Echo), summary(&[4.0]));
        results.insert((2, Workload::Echo), summary(&[6.0, 5.0, 7.0]));
        results.insert((2, Workload::Relay), summary(&[8.0]));
        let text = costs(&contenders, &[Workload::Echo, Workload::Relay], &results);
        assert!(
            text.contains("| floor | 5.00 ±0 % **×1.25** | – |"),
            "{text}"
        );
        let own = "| ringpost, 1 core | 6.00 ±17 % **×1.50** | 8.00 ±0 % **×2.00** |";
        assert!(text.contains(own), "{text}");
    }

    /// What slows a round down slows all of it down.
    #[test]
    fn ratios_are_taken_round_by_round() {
        let contenders = [
            Contender::Floor { ring: false },
            Contender::Floor { ring: true },
            Contender::Ringpost { cores: 1 },
        ];
        let mut results = Results::new();
        results.insert((0, Workload::Echo), summary(&[4.0, 9.0, 6.0]));
        results.insert((1, Workload::Echo), summary(&[5.0, 8.0, 5.0]));
        results.insert((2, Workload::Echo), summary(&[5.0, 10.0, 5.0]));
        let ratio = |results: &Results| {
            let own = &results[&(2, Workload::Echo)];
            ratio(&contenders, results, Workload::Echo, own)
        };
        // 5/4, 10/8 and 5/5; the medians are 5 and 5.
        assert_eq!(ratio(&results), Some(1.25));
        results.get_mut(&(0, Workload::Echo)).unwrap().failed = 1;
        assert_eq!(ratio(&results), Some(1.0));
    }

    #[test]
    fn a_server_that_failed_says_so() {
        let mut results = Results::new();
        results.entry((0, Workload::Echo)).or_default().failed = 3;
        let text = costs(&[Contender::SingleProcess], &[Workload::Echo], &results);
        assert!(text.contains("| failed |"), "{text}");
    }
}
