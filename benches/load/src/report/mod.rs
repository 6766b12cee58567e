//! `--report DIR`: a page of the runs that the folder has seen, in one file with its plots inside.
//!
//! `runs.jsonl` keeps each run's figures, a line each; `index.html` is drawn anew from all of them, so
//! that runs with other numbers of connections, or against other servers (`--name`), come together in
//! one plot. Bounded by [`RUNS_MAX`], the newest.

mod page;
mod plot;

use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::outcome::Outcome;

/// Most runs that a page shows.
const RUNS_MAX: usize = 500;

/// Adds a run to the folder, and draws the page anew.
pub fn add(folder: &Path, outcome: &Outcome) -> Result<(), String> {
    let cannot = |what: &str, error: std::io::Error| {
        format!("--report {}: cannot {what}: {error}", folder.display())
    };
    fs::create_dir_all(folder).map_err(|error| cannot("make the folder", error))?;
    let path = folder.join("runs.jsonl");
    let line = serde_json::to_string(outcome).map_err(|error| error.to_string())?;
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .map_err(|error| cannot("write runs.jsonl", error))?;
    let text = fs::read_to_string(&path).map_err(|error| cannot("read runs.jsonl", error))?;
    let runs = read(&text);
    fs::write(folder.join("index.html"), page::html(&runs))
        .map_err(|error| cannot("write index.html", error))
}

/// The runs of a file, the newest [`RUNS_MAX`]; a line that is none is left out.
fn read(text: &str) -> Vec<Value> {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(RUNS_MAX)..]
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|run: &Value| run["workload"].is_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(name: &str, connections: u64, cpu: f64) -> Value {
        json!({
            "name": name, "workload": "echo", "connections": connections, "senders": 1,
            "in_flight": 1, "size": 128, "seconds": 1.0, "deliveries": 1000, "unit": "deliveries",
            "deliveries_per_second": 1000.0, "faults": {"lost": 0},
            "latency": {"p50_us": 10.0, "p99_us": 20.0, "p99_9_us": 30.0, "max_us": 40.0,
                        "curve": [[0.0, 5.0], [50.0, 10.0], [90.0, 15.0], [99.0, 20.0]]},
            "server": {"per_million": {"total": cpu, "user": 1.0, "system": cpu - 1.0}},
            "clients": {"verdict": "1 generator", "limit": "load"},
        })
    }

    #[test]
    fn a_page_holds_itself_and_escapes_names() {
        let runs = [
            run("<script>alert(1)</script>", 1_000, 7.0),
            run("other", 1_000, 9.0),
            run("other", 5_000, 8.0),
        ];
        let html = page::html(&runs);
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("&lt;script&gt;"));
        assert!(!html.contains("src=") && !html.contains("href=") && !html.contains("url("));
        assert!(html.matches("<svg").count() >= 2, "{html}");
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn nothing_and_nonsense_are_a_page_too() {
        assert!(page::html(&[]).contains("</html>"));
        let odd = read("{\"workload\":\"echo\"}\nnonsense\n{\"workload\":3}\n");
        assert_eq!(odd.len(), 1);
        assert!(page::html(&odd).contains("</html>"));
    }
}
