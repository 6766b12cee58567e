//! Why a line of a back end is none: [`LineError`], in the words that follow `fail: `.

use std::fmt;

use ringpost::ident::UidError;

/// Why a line is none; what follows `fail: `.
#[derive(Debug)]
pub enum LineError {
    /// Neither an object nor a command.
    Unknown,
    /// It begins like an object but is not JSON.
    Json(serde_json::Error),
    /// An object in an object in an object …
    Nested,
    /// An object without `uid`.
    NoUid,
    /// A `uid` that is neither a string nor an integer.
    UidKind,
    /// A uid that nobody can have.
    Uid(UidError),
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::Unknown => f.write_str(
                "expected a JSON object with a uid, \"kick UID\", \"online UID\" or \"stats\"",
            ),
            // The error of a syntax alone: it names a place, and never quotes the line.
            LineError::Json(error) => write!(f, "not JSON: {error}"),
            LineError::Nested => f.write_str("nested too deeply"),
            LineError::NoUid => f.write_str("the object has no uid"),
            LineError::UidKind => f.write_str("uid must be a string or an integer"),
            LineError::Uid(error) => error.fmt(f),
        }
    }
}
