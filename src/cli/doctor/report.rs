//! The findings as people read them, in 80 columns, and as one line of JSON.

use std::fmt::Write;

use serde_json::json;

use super::finding::{Finding, MendPlace, Verdict, grouped, worst};

/// Widest line of prose. What is to be copied is not broken.
const COLUMNS: usize = 80;
const INDENT: usize = 8;

/// For people: what is wrong first. `pid` is the process whose limits they are, if it is not our own.
pub fn text(connections: u64, pid: Option<u32>, findings: &[Finding]) -> String {
    let mut text = format!(
        "{} connections: {}\n",
        grouped(connections),
        summary(findings)
    );
    put_all(&mut text, pid, findings);
    text
}

/// Whose limits they are, and the findings, what is wrong first.
fn put_all(text: &mut String, pid: Option<u32>, findings: &[Finding]) {
    text.push_str(&match pid {
        Some(pid) => format!("(the limits of process {pid})\n\n"),
        None => "(the limits of this shell; a service has its own: ringpost doctor --pid PID)\n\n"
            .to_owned(),
    });
    for wanted in [Verdict::Breaks, Verdict::Note, Verdict::Ok] {
        for finding in findings.iter().filter(|one| one.verdict == wanted) {
            put(text, finding);
        }
    }
}

/// The report where nobody has said how many there are to be: what the machine holds, and by what.
pub fn held(
    connections: u64,
    bound: Option<&str>,
    pid: Option<u32>,
    findings: &[Finding],
) -> String {
    let by = bound.map_or(String::new(), |name| format!(", bounded by {name}"));
    let mut text = format!(
        "This machine holds {} connections as it is{by}.\nFor another number: ringpost doctor --connections N\n",
        grouped(connections)
    );
    put_all(&mut text, pid, findings);
    text
}

/// For programs.
pub fn json(connections: u64, findings: &[Finding]) -> String {
    let answer = json!({
        "connections": connections,
        "holds": holds(findings),
        "verdict": worst(findings),
        "findings": findings,
    });
    format!("{answer}\n")
}

/// How many connections all of it holds.
fn holds(findings: &[Finding]) -> Option<u64> {
    findings.iter().filter_map(|finding| finding.holds).min()
}

fn summary(findings: &[Finding]) -> String {
    match (worst(findings), holds(findings)) {
        (Verdict::Breaks, _) if findings.iter().all(|one| one.fits()) => {
            "they fit; something else is wrong".to_owned()
        }
        (Verdict::Breaks, Some(0)) => "the server does not start as configured".to_owned(),
        (Verdict::Breaks, Some(holds)) => format!("only {} fit", grouped(holds)),
        (Verdict::Note, _) => "they fit; something is worth knowing".to_owned(),
        _ => "they fit".to_owned(),
    }
}

/// One finding: a line, and if there is something to do, why and what.
fn put(text: &mut String, finding: &Finding) {
    let verdict = match finding.verdict {
        Verdict::Ok => "ok",
        Verdict::Note => "note",
        Verdict::Breaks => "BREAKS",
    };
    let mut line = format!("{}: {}", finding.name, finding.found);
    if let Some(holds) = finding
        .holds
        .filter(|holds| (1..u64::MAX / 8).contains(holds))
    {
        let _ = write!(line, ", holds {}", grouped(holds));
    }
    wrap(text, &format!("{verdict:INDENT$}"), &line);
    if finding.verdict == Verdict::Ok {
        return;
    }
    wrap(text, &" ".repeat(INDENT), &finding.because);
    let mut last = None;
    for mend in &finding.mend {
        if last.replace(mend.place) != Some(mend.place) {
            let _ = writeln!(text, "{:INDENT$}{}:", "", place(mend.place));
        }
        let _ = writeln!(text, "{:INDENT$}    {}", "", mend.line);
    }
    text.push('\n');
}

fn place(place: MendPlace) -> &'static str {
    match place {
        MendPlace::RootShell => "As root",
        MendPlace::StartingShell => "As root, in the shell that starts the server",
        MendPlace::Unit => "In the unit, under [Service]",
        MendPlace::Configuration => "In the configuration",
        MendPlace::Boot => "On the kernel's command line",
        MendPlace::Redis => "By redis-cli, and in its configuration",
    }
}

/// Appends words in lines of at most `COLUMNS`, the first after `start`, the others indented.
fn wrap(text: &mut String, start: &str, words: &str) {
    let mut line = start.to_owned();
    let mut empty = true;
    for word in words.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(text, "{line}");
            line = " ".repeat(INDENT);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(text, "{line}");
}
