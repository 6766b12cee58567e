//! Names in a request's target: a uid or a group in its path, a query's fields.

use super::errors::ApiError;
use crate::ident::{BadConnName, ConnName, check_uid};
use crate::protocol::http::query::{decode, unescape};

/// A uid in a path.
pub fn uid(part: &str) -> Result<String, ApiError> {
    name(part, "bad_uid")
}

/// A group in a path.
pub fn group(part: &str) -> Result<String, ApiError> {
    name(part, "bad_group")
}

/// A connection's id, in a body or a path.
pub fn connection(text: &str) -> Result<ConnName, ApiError> {
    text.parse()
        .map_err(|error: BadConnName| ApiError::new(400, "bad_connection", error.to_string()))
}

/// A uid in a query.
pub fn uid_in_query(value: &str) -> Result<String, ApiError> {
    checked(unescape(value), "bad_uid")
}

/// A group in a query.
pub fn group_in_query(value: &str) -> Result<String, ApiError> {
    checked(unescape(value), "bad_group")
}

fn name(part: &str, code: &'static str) -> Result<String, ApiError> {
    checked(decode(part), code)
}

fn checked(name: Option<String>, code: &'static str) -> Result<String, ApiError> {
    let name = name.ok_or_else(|| ApiError::new(400, code, "expected UTF-8, percent-encoded"))?;
    check_uid(&name).map_err(|error| ApiError::new(400, code, error.to_string()))?;
    Ok(name)
}

/// The values of a query's fields, of which these may be there, each once at most.
pub fn fields<'q, const N: usize>(
    query: &'q str,
    names: [&str; N],
) -> Result<[Option<&'q str>; N], ApiError> {
    let mut values = [None; N];
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = names.iter().position(|known| *known == name);
        match known.map(|at| &mut values[at]) {
            Some(place @ None) => *place = Some(value),
            _ => {
                let words = format!("expected {}, each once at most", names.join(", "));
                return Err(ApiError::new(400, "bad_query", words));
            }
        }
    }
    Ok(values)
}

/// A number from 1 to `most` in a query.
pub fn limit(value: Option<&str>, default: usize, most: usize) -> Result<usize, ApiError> {
    let Some(value) = value else {
        return Ok(default);
    };
    let number = value
        .parse()
        .ok()
        .filter(|limit| (1..=most).contains(limit));
    number.ok_or_else(|| ApiError::new(400, "bad_limit", format!("limit: expected 1 to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding() {
        for (part, name) in [
            ("uid1", "uid1"),
            ("a%2Fb", "a/b"),
            ("a+b", "a+b"),
            ("%e6%9d%8e", "李"),
            ("%25", "%"),
            ("%252f", "%2f"),
        ] {
            assert_eq!(uid(part).as_deref(), Ok(name));
        }
        for bad in [
            "", "%", "%2", "%zz", "%+1", "%ff", "a%00", "%0a", "all", "%61ll",
        ] {
            assert_eq!(
                uid(bad).map_err(|error| error.code),
                Err("bad_uid"),
                "{bad}"
            );
        }
        assert!(uid(&"x".repeat(128)).is_ok());
        assert!(uid(&"%78".repeat(128)).is_ok());
        assert!(uid(&"x".repeat(129)).is_err());
    }

    #[test]
    fn queries() {
        let read = |query| fields(query, ["cursor", "limit"]).map_err(|error| error.code);
        assert_eq!(read(""), Ok([None, None]));
        assert_eq!(read("limit=3&cursor=a"), Ok([Some("a"), Some("3")]));
        assert_eq!(read("cursor"), Ok([Some(""), None]));
        assert_eq!(read("limit=1&limit=2"), Err("bad_query"));
        assert_eq!(read("Limit=1"), Err("bad_query"));
        for (value, number) in [(None, Ok(5)), (Some("1"), Ok(1)), (Some("9"), Ok(9))] {
            assert_eq!(limit(value, 5, 9), number);
        }
        for value in ["0", "10", "-1", "", "x", "99999999999999999999999"] {
            assert!(limit(Some(value), 5, 9).is_err(), "{value}");
        }
    }
}
