//! [`GroupClaim`]: which groups a token lets its client put itself into.

use serde::{Deserialize, Serialize};

/// Names and patterns that one token may have.
const PATTERNS_MAX: usize = 64;

/// What a token says of groups (the claim `groups`): names, and patterns with `*`. Issuers put other things of that name
/// into their tokens, so it is kept as it is written, and read when a client asks for a group.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct GroupClaim(Option<Box<str>>);

impl GroupClaim {
    /// As it is written, in JSON; none is `None`.
    pub fn new(json: Option<&str>) -> GroupClaim {
        GroupClaim(json.filter(|json| *json != "null").map(Box::from))
    }

    /// The names and patterns; an error says what is wrong with them.
    pub fn patterns(&self) -> Result<Vec<String>, &'static str> {
        let json = self.0.as_deref().ok_or("the token has no groups")?;
        let patterns: Vec<String> = serde_json::from_str(json)
            .map_err(|_| "the token's groups are no list of strings in JSON")?;
        match patterns.len() {
            ..=PATTERNS_MAX => Ok(patterns),
            _ => Err("the token has more than 64 groups"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_strings_and_nothing_else() {
        let many = |count: usize| format!("[{}]", vec!["\"a\""; count].join(","));
        for (json, patterns) in [
            (r#"["news","room.*"]"#.to_owned(), Some(2)),
            ("[]".to_owned(), Some(0)),
            (many(PATTERNS_MAX), Some(PATTERNS_MAX)),
            (many(PATTERNS_MAX + 1), None),
            ("null".to_owned(), None),
            (r#""news""#.to_owned(), None),
            (r#"["news",7]"#.to_owned(), None),
            (r#"{"news":true}"#.to_owned(), None),
        ] {
            let found = GroupClaim::new(Some(&json)).patterns();
            assert_eq!(found.ok().map(|found| found.len()), patterns, "{json}");
        }
        assert!(GroupClaim::default().patterns().is_err());
    }
}
