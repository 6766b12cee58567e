//! [`Progress`]: what is shown on stderr while a run goes on: one line that changes on a terminal,
//! a plain line now and then elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a terminal's line changes, and how often a plain one is written.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);
/// Width of the bar.
const BAR: usize = 24;

/// The line at the bottom.
pub struct Progress {
    is_terminal: bool,
    step: &'static str,
    shown: Option<Instant>,
}

impl Progress {
    pub fn new() -> Progress {
        Progress {
            is_terminal: io::stderr().is_terminal(),
            step: "",
            shown: None,
        }
    }

    /// How far a step is, from 0 to 1, and what there is to say of it.
    pub fn show(&mut self, step: &'static str, part: f64, text: &str) {
        let interval = match self.is_terminal {
            true => TERMINAL_INTERVAL,
            false => PLAIN_INTERVAL,
        };
        let is_new = self.step != step;
        if !is_new && self.shown.is_some_and(|shown| shown.elapsed() < interval) {
            return;
        }
        self.step = step;
        self.shown = Some(Instant::now());
        let part = part.clamp(0.0, 1.0);
        let mut stderr = io::stderr().lock();
        let _ = match self.is_terminal {
            true => {
                let full = (part * BAR as f64).round() as usize;
                let (done, left) = ("━".repeat(full), "─".repeat(BAR - full));
                write!(stderr, "\r\x1b[K{step:9} {done}{left} {text}").and_then(|()| stderr.flush())
            }
            false => writeln!(stderr, "ringpost bench: {step}: {text}"),
        };
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        if self.is_terminal {
            let mut stderr = io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K").and_then(|()| stderr.flush());
        }
        self.shown = None;
        self.step = "";
    }

    /// Something to know, above the line.
    pub fn note(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(io::stderr(), "ringpost bench: {text}");
    }
}
