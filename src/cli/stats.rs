//! The server's counters as a table for people.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use ringpost::escape::Escaped;
use serde_json::Value;

/// Most cores that get a column each; with more, only the total is shown.
const COLUMNS_MAX: usize = 8;
/// The figures that we know, in the order in which people ask for them; others follow by name.
const FIGURES: [&str; 35] = [
    "connections",
    "opening",
    "bound",
    "binds",
    "uids",
    "groups",
    "sticky_members",
    "sticky_bytes",
    "messages_in",
    "messages_out",
    "messages_inflated",
    "messages_compressed",
    "bytes_in",
    "bytes_out",
    "envelopes_out",
    "joins_refused",
    "moved_in",
    "pushes_delivered",
    "pushes_kept",
    "pushes_offline",
    "pushes_unknown",
    "doorbells",
    "panics",
    "webhooks_sent",
    "webhook_messages",
    "webhook_messages_refused",
    "webhooks_failed",
    "webhooks_dropped",
    "outbox_bytes",
    "history_bytes",
    "history_streams",
    "history_messages",
    "history_appended",
    "history_undelivered",
    "history_gaps",
];

/// The answer to `stats` as a table with a row a figure and a column a core; `None` if the answer
/// does not hold a list of cores.
pub fn table(answer: &Value) -> Option<String> {
    let cores = answer.get("cores")?.as_array()?;
    let mut rows = Vec::new();
    for name in names(cores, Some) {
        rows.push((
            name.replace('_', " "),
            figures(cores, |core| core.get(&name)),
        ));
    }
    let mut closed = Vec::new();
    for reason in names(cores, |core| core.get("closed")) {
        let figures = figures(cores, |core| core.get("closed")?.get(&reason));
        closed.push((format!("  {reason}"), figures));
    }
    let columns = if (2..=COLUMNS_MAX).contains(&cores.len()) {
        cores.len()
    } else {
        0
    };
    let mut heads = vec!["total".to_owned()];
    heads.extend((0..columns).map(|core| format!("core {core}")));

    let all = || rows.iter().chain(&closed);
    let name_width = all()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(16);
    let width = all()
        .map(|(_, figures)| total(figures).to_string().len())
        .chain(heads.iter().map(String::len))
        .max()
        .unwrap_or(0);
    let mut text = about(answer);
    let _ = write!(text, "{:name_width$}", format!("{} cores", cores.len()));
    for head in &heads {
        let _ = write!(text, "  {head:>width$}");
    }
    text.push('\n');
    let mut write_rows = |rows: &[(String, Vec<u64>)]| {
        for (name, figures) in rows {
            let _ = write!(text, "{:name_width$}", Escaped(name).to_string());
            for figure in [total(figures)].iter().chain(&figures[..columns]) {
                let _ = write!(text, "  {figure:>width$}");
            }
            text.push('\n');
        }
    };
    write_rows(&rows);
    if !closed.is_empty() {
        write_rows(&[("closed".to_owned(), sums(&closed, cores.len()))]);
        write_rows(&closed);
    }
    Some(text)
}

/// What the server is, where it says so: its version, for how long it is up, and what it listens on.
fn about(answer: &Value) -> String {
    let mut text = String::new();
    if let (Some(version), Some(seconds)) = (
        answer.get("version").and_then(Value::as_str),
        answer.get("uptime_seconds").and_then(Value::as_u64),
    ) {
        let up = humantime::format_duration(Duration::from_secs(seconds));
        let _ = writeln!(text, "ringpost {}, up {up}", Escaped(version));
    }
    let listeners = answer.get("listeners").and_then(Value::as_array);
    for listener in listeners.into_iter().flatten() {
        let part = |name: &str| {
            let text = listener.get(name).and_then(Value::as_str);
            Escaped(text.unwrap_or_default()).to_string()
        };
        let _ = writeln!(text, "  {:12}  {}", part("app"), part("url"));
    }
    text
}

/// The names of the numbers within each core's object, the known ones first.
fn names<'a>(cores: &'a [Value], object: impl Fn(&'a Value) -> Option<&'a Value>) -> Vec<String> {
    let mut names = BTreeSet::new();
    for figures in cores.iter().filter_map(|core| object(core)?.as_object()) {
        let numbers = figures.iter().filter(|(_, figure)| figure.is_u64());
        names.extend(numbers.map(|(name, _)| name.clone()));
    }
    names.remove("core");
    let known: Vec<String> = FIGURES
        .iter()
        .filter(|name| names.remove(**name))
        .map(|name| (*name).to_owned())
        .collect();
    known.into_iter().chain(names).collect()
}

fn figures<'a>(cores: &'a [Value], figure: impl Fn(&'a Value) -> Option<&'a Value>) -> Vec<u64> {
    cores
        .iter()
        .map(|core| figure(core).and_then(Value::as_u64).unwrap_or(0))
        .collect()
}

fn total(figures: &[u64]) -> u64 {
    figures
        .iter()
        .fold(0, |sum, figure| sum.saturating_add(*figure))
}

fn sums(rows: &[(String, Vec<u64>)], cores: usize) -> Vec<u64> {
    (0..cores)
        .map(|core| total(&rows.iter().map(|(_, row)| row[core]).collect::<Vec<_>>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringpost::close::CloseReason;
    use ringpost::stats::{CoreStats, Stats};

    fn stats(cores: usize) -> Value {
        let core = |core: usize| {
            let mut stats = CoreStats::default();
            stats.core = core as u16;
            stats.connections = 1_000 + core as u64;
            stats.closed = vec![1; CloseReason::COUNT];
            stats
        };
        let mut stats = Stats::default();
        stats.cores = (0..cores).map(core).collect();
        serde_json::to_value(stats).unwrap()
    }

    #[test]
    fn every_figure_of_the_library_has_its_place() {
        let Value::Object(core) = stats(1)["cores"][0].clone() else {
            panic!()
        };
        let mut named: Vec<&str> = FIGURES.to_vec();
        named.extend(["core", "closed"]);
        for name in core.keys() {
            assert!(
                named.contains(&name.as_str()),
                "{name} is in no place of its own"
            );
        }
        assert_eq!(named.len(), core.len());
    }

    #[test]
    fn a_column_for_each_of_a_few_cores() {
        let table = table(&stats(2)).unwrap();
        let words = |row: &str| {
            let line = table.lines().find(|line| line.starts_with(row));
            line.unwrap_or_else(|| panic!("{row}: {table}"))
                .split_whitespace()
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words("2 cores"),
            ["2", "cores", "total", "core", "0", "core", "1"]
        );
        assert_eq!(
            words("connections"),
            ["connections", "2001", "1000", "1001"]
        );
        assert_eq!(
            words("  slow consumer"),
            ["slow", "consumer", "2", "1", "1"]
        );
        assert_eq!(words("closed")[1], (2 * CloseReason::COUNT).to_string());
    }

    #[test]
    fn what_the_server_is_comes_first() {
        let mut answer = stats(1);
        answer["version"] = "0.1.0\u{1b}".into();
        answer["uptime_seconds"] = 3_661.into();
        answer["listeners"] = serde_json::json!([{"app": "relay", "url": "ws://127.0.0.1:1"}]);
        let table = table(&answer).unwrap();
        let lines: Vec<&str> = table.lines().take(2).collect();
        assert_eq!(
            lines,
            [
                r"ringpost 0.1.0\u{1b}, up 1h 1m 1s",
                "  relay         ws://127.0.0.1:1"
            ]
        );
    }

    #[test]
    fn of_many_cores_only_the_total() {
        let table = table(&stats(9)).unwrap();
        assert!(
            table
                .lines()
                .all(|line| line.split_whitespace().count() <= 5),
            "{table}"
        );
        assert!(table.contains("9036"), "{table}");
    }

    #[test]
    fn another_shape_is_no_table() {
        assert_eq!(table(&serde_json::json!({"uptime": 1})), None);
        assert_eq!(table(&serde_json::json!([1])), None);
        assert!(table(&serde_json::json!({"cores": []})).is_some());
    }
}
