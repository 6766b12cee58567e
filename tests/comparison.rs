//! `benches/compare` on servers that are built here: short runs, whose figures nobody reads.
//!
//! So the floor, the single-process baseline and ringpost itself are held to the same messages: a run
//! in which one is lost fails.

// The comparison's own tests run with these: an example's would not.
#![allow(dead_code)]

#[path = "../benches/comparison/contender.rs"]
mod contender;
#[path = "../benches/comparison/figures.rs"]
mod figures;
#[path = "../benches/comparison/front.rs"]
mod front;
#[path = "../benches/comparison/table.rs"]
mod table;
#[path = "../benches/comparison/workload.rs"]
mod workload;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};

/// One at a time: they have the same ports.
static PORTS: Mutex<()> = Mutex::new(());

/// What the script does once it has built.
fn compare(arguments: &[&str]) -> Output {
    let _alone = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let built = Path::new(env!("CARGO_BIN_EXE_ringpost"))
        .parent()
        .expect("a folder");
    let report = Path::new(env!("CARGO_TARGET_TMPDIR")).join("comparison");
    Command::new(built.join("examples/compare"))
        .arg("--built")
        .arg(built)
        .arg("--baselines")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/baseline"))
        .arg("--report")
        .arg(report)
        .args([
            "--rounds",
            "1",
            "--seconds",
            "0.2",
            "--warmup",
            "0.1",
            "--connections",
            "300",
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the examples are built: cargo build --examples, or a whole cargo test")
}

#[test]
fn every_server_carries_every_workload() {
    let own = format!(
        "{} serve --cores 1 --log warn",
        env!("CARGO_BIN_EXE_ringpost")
    );
    let peer =
        format!("peer={own} --listen websocket://127.0.0.1:21390=relay,ws://127.0.0.1:21390");
    let output = compare(&["--peer", &peer]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for server in [
        "floor",
        "floor, ring",
        "ringpost, 1 core",
        "ringpost, 2 cores",
        "single process",
        "peer",
    ] {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("| {server} |")));
        let row = row.unwrap_or_else(|| panic!("no row for {server} in {text}"));
        let is_floor = server.starts_with("floor");
        // The floor reads nothing, so it cannot relay, push or carry a flood; only ringpost has a text port here.
        let blanks = match server {
            "floor" => 5,
            "floor, ring" => 6,
            "single process" | "peer" => 1,
            _ => 0,
        };
        assert_eq!(row.matches("| – ").count(), blanks, "{row}");
        assert!(!row.contains("failed"), "{row}");
        assert!(is_floor || row.contains("**×"), "{row}");
    }
}

/// TLS beside none, and what stands in front where it is installed. By one workload each of what there is.
#[cfg(feature = "tls")]
#[test]
fn tls_is_compared() {
    let workloads = ["--workloads", "echo,connect,connect-resumed"];
    let output = compare(&[&["--tls"], &workloads[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let row = |server: &str| {
        let mut lines = text.lines();
        lines.find(|line| line.starts_with(&format!("| {server} |")))
    };
    let own = row("ringpost, TLS").unwrap_or_else(|| panic!("no row in {text}"));
    assert_eq!(own.matches("| – ").count(), 0, "{own}");
    let plain = row("ringpost, 1 core").unwrap_or_else(|| panic!("no row in {text}"));
    assert_eq!(plain.matches("| – ").count(), 1, "{plain}");
}

/// A server that answers no login: the run fails and is told, and the others go on.
#[test]
fn a_peer_that_does_not_answer_is_told() {
    let peer = "mute=exec python3 -m http.server --bind 127.0.0.1 21391,ws://127.0.0.1:21391";
    let output = compare(&[
        "--peer",
        peer,
        "--only",
        "mute,1 core",
        "--workloads",
        "echo",
    ]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}{errors}");
    assert!(errors.contains("echo, mute, round 1 failed: "), "{errors}");
    assert!(text.contains("| mute | failed |"), "{text}");
    assert!(!text.contains("| ringpost, 1 core | failed"), "{text}");
}

#[test]
fn what_is_wrong_with_the_arguments_is_said() {
    for (arguments, words) in [
        (&["--peer", "nonsense"][..], "expected NAME=CMD,URL"),
        (&["--only", "nobody"], "--only leaves no server"),
        (&["--workloads", "juggling"], "possible values: broadcast"),
    ] {
        let output = compare(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(errors.contains(words), "{arguments:?}: {errors}");
    }
}
