//! [`HistoryRule`]: which messages are kept for those who are not there, how many and for how long.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whose messages a stream has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StreamKind {
    /// A uid's.
    Uid,
    /// A group's.
    Group,
    /// Everybody's.
    All,
}

impl StreamKind {
    const NAMES: [(&str, StreamKind); 3] = [
        ("uid", StreamKind::Uid),
        ("group", StreamKind::Group),
        ("all", StreamKind::All),
    ];

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<StreamKind> {
        let named = Self::NAMES.iter().find(|(known, _)| *known == name)?;
        Some(named.1)
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StreamKind::Uid => "uid",
            StreamKind::Group => "group",
            StreamKind::All => "all",
        })
    }
}

/// What is kept of the streams whose name it fits. Of several that fit the first holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryRule {
    /// Which kind of stream it is for.
    pub kind: StreamKind,
    /// Which names: each `*` in it stands for any characters, or none. Of [`StreamKind::All`] it is `*`.
    pub name: String,
    /// Messages that are kept of a stream, at least one; one more, and the oldest goes.
    pub size: u32,
    /// For how long a message is kept, at least a second and at most [`KEEP_MAX`].
    pub ttl: Duration,
    /// Whether what comes for a uid without a connection is delivered at its next login, also where clients hold no
    /// position.
    pub queue: bool,
}

/// The longest that a message is kept.
pub const KEEP_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Most rules: each push for which none fits looks at all of them.
pub const HISTORY_RULES_MAX: usize = 256;
/// Least that [`Config::history_bytes_core_max`](super::Config::history_bytes_core_max) may be.
pub const HISTORY_BYTES_CORE_MIN: usize = 64 << 10;
