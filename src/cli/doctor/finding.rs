//! [`Finding`]: one thing that was looked at, what it means for so many connections, and what mends it.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing to do.
    Ok,
    /// It holds, and something is worth knowing.
    Note,
    /// So many connections do not fit.
    Breaks,
}

/// Where a line belongs that mends something.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MendPlace {
    /// A command for root; what it sets is gone with the next boot.
    RootShell,
    /// The shell that starts the server, of root.
    StartingShell,
    /// The systemd unit.
    Unit,
    /// The server's configuration.
    Configuration,
    /// The kernel's command line.
    Boot,
    /// The command line of the cluster's Redis.
    Redis,
}

/// A line to copy, as it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Mend {
    pub place: MendPlace,
    pub line: String,
}

impl MendPlace {
    /// A line that belongs there.
    pub fn line(self, line: impl Into<String>) -> Mend {
        Mend {
            place: self,
            line: line.into(),
        }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Finding {
    /// One or two words, the same in every version.
    pub name: &'static str,
    pub verdict: Verdict,
    /// What there is, in a few words.
    pub found: String,
    /// How many connections it holds, where that can be said.
    pub holds: Option<u64>,
    /// What happens then.
    pub because: String,
    /// Lines to copy, one of which is enough where they say the same for several places.
    pub mend: Vec<Mend>,
}

impl Finding {
    /// Nothing to do, or not yet.
    pub fn ok(name: &'static str, found: String) -> Finding {
        Finding {
            name,
            verdict: Verdict::Ok,
            found,
            holds: None,
            because: String::new(),
            mend: Vec::new(),
        }
    }

    /// Judges by how many connections it holds, of which so many are wanted.
    pub fn holding(self, holds: u64, wanted: u64) -> Finding {
        let verdict = match holds < wanted {
            true => Verdict::Breaks,
            false => self.verdict,
        };
        Finding {
            verdict,
            holds: Some(holds),
            ..self
        }
    }

    /// Whether it is not what keeps connections out.
    pub fn fits(&self) -> bool {
        self.verdict != Verdict::Breaks || self.holds.is_none()
    }

    /// Not in the way of the connections, but to be told.
    pub fn noted(self, is_so: bool) -> Finding {
        let verdict = match is_so {
            true => Verdict::Note,
            false => self.verdict,
        };
        Finding { verdict, ..self }
    }

    /// Says why and what to do, if there is anything to do.
    pub fn because(mut self, because: impl Into<String>, mend: &[Mend]) -> Finding {
        if self.verdict != Verdict::Ok {
            self.because = because.into();
            self.mend = mend.to_vec();
        }
        self
    }
}

/// 1234567 → 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes to three digits.
pub fn sized(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        let scale = (1u64 << shift) as f64;
        let value = bytes as f64 / scale;
        if value >= 0.995 {
            let digits = match value {
                100.0.. => 0,
                10.0.. => 1,
                _ => 2,
            };
            return format!("{value:.digits$} {unit}");
        }
    }
    format!("{bytes} bytes")
}

/// The worst of them.
pub fn worst(findings: &[Finding]) -> Verdict {
    let verdicts = findings.iter().map(|finding| finding.verdict);
    verdicts.max().unwrap_or(Verdict::Ok)
}
