//! [`ValueOrigin`]: where a value came from, for errors to name it.

use std::fmt;
use std::rc::Rc;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ValueOrigin {
    File {
        name: Rc<str>,
        line: usize,
    },
    Variable(String),
    Flag(String),
    Preset,
    /// What the server runs with.
    Running,
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ValueOrigin::File { name, line } => write!(f, "{name}:{line}"),
            ValueOrigin::Variable(name) => write!(f, "variable {name}"),
            ValueOrigin::Flag(name) => write!(f, "flag --{name}"),
            ValueOrigin::Preset => f.write_str("preset"),
            ValueOrigin::Running => f.write_str("without a restart"),
        }
    }
}
