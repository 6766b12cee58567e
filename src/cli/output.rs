//! What a command says, on stdout and stderr, and the status that it ends with.

use std::io::{self, Write};
use std::process::ExitCode;

use super::layers::Problems;

/// What happened, as the process' exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Done, or the server answered ok.
    Done = 0,
    /// The server answered fail, or failed.
    Failed = 1,
    /// A bad command line or configuration, or nobody answers.
    Trouble = 2,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> ExitCode {
        ExitCode::from(status as u8)
    }
}

/// Prints to stdout. A reader that has gone (`ringpost stats | head -1`) is no error of ours, and
/// `println!` would panic.
pub fn print(text: &str) {
    try_print(text);
}

/// As [`print()`]; whether somebody may read more.
pub fn try_print(text: &str) -> bool {
    let mut stdout = io::stdout().lock();
    let printed = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    printed.is_ok()
}

/// Says on stderr what keeps us from doing it.
pub fn complain(problem: &str) {
    let _ = writeln!(io::stderr(), "ringpost: {problem}");
}

/// Says on stderr what is wrong with the settings: whole lines, which name their places.
pub fn list(problems: &Problems) {
    let _ = write!(io::stderr(), "{problems}");
}
