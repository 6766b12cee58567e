//! One line of a back end, read: [`read`] gives the [`Line`] it is, or why it is none.
//!
//! Pure, without allocation for what back ends usually write, and bounded by the line's length.

use std::borrow::Cow;

use ringpost::ident::{EVERYBODY, check_uid};

use super::line_error::LineError;
use super::{any_object, object};

/// What a back end asks for.
#[derive(PartialEq, Debug)]
pub enum Line<'a> {
    /// A JSON object: the whole line goes to this uid, or to everybody if it is `all`.
    Push(Cow<'a, str>),
    /// Close every connection of the uid.
    Kick(&'a str),
    /// Does the uid have a connection?
    Online(&'a str),
    /// The counters.
    Stats,
    /// The token of a port that wants one.
    Auth(&'a str),
}

/// Reads one line.
pub fn read(line: &str) -> Result<Line<'_>, LineError> {
    if line.trim_ascii_start().starts_with('{') {
        return pushed_uid(line).map(Line::Push);
    }
    if line == "stats" {
        return Ok(Line::Stats);
    }
    let (command, rest) = line.split_once(' ').ok_or(LineError::Unknown)?;
    match command {
        "kick" => named(rest).map(Line::Kick),
        "online" => named(rest).map(Line::Online),
        "auth" => Ok(Line::Auth(rest)),
        _ => Err(LineError::Unknown),
    }
}

/// What a request line begins with: the registered methods a client may be made to use, and HTTP/2's
/// preface.
const METHODS: [&str; 10] = [
    "GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "CONNECT ", "OPTIONS ", "TRACE ", "PATCH ", "PRI ",
];

/// Whether a line begins like an HTTP request, or ends like one (a page may make up a method). A browser
/// can be made to send one to any port, with what an attacker likes in its body, so such a
/// connection must end before the body is read as lines.
pub fn is_http(line: &[u8]) -> bool {
    METHODS
        .iter()
        .any(|method| line.starts_with(method.as_bytes()))
        || line.ends_with(b" HTTP/1.1")
        || line.ends_with(b" HTTP/1.0")
}

/// The uid of a `kick` or `online`, which are not for everybody.
fn named(uid: &str) -> Result<&str, LineError> {
    check_uid(uid).map_err(LineError::Uid)?;
    Ok(uid)
}

/// The uid in a JSON object: of two keys the last, escapes decoded, an integer's digits as written
/// (so its size is bounded like any uid's, and nothing is rounded).
fn pushed_uid(line: &str) -> Result<Cow<'_, str>, LineError> {
    let uid = match object::find(line) {
        Some(uid) => Cow::Borrowed(uid),
        None => any_object::uid_of(line)?,
    };
    if uid != EVERYBODY {
        check_uid(&uid).map_err(LineError::Uid)?;
    }
    Ok(uid)
}

#[cfg(test)]
mod tests {
    use super::super::any_object::{NESTING_MAX, nests_too_deeply};
    use super::*;

    fn uid(line: &str) -> String {
        match read(line) {
            Ok(Line::Push(uid)) => uid.into_owned(),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn reason(line: &str) -> String {
        read(line).expect_err(line).to_string()
    }

    #[test]
    fn uids_as_back_ends_write_them() {
        assert_eq!(uid(r#"{"uid":"uid1","percent":"88%"}"#), "uid1");
        assert_eq!(uid(r#" { "a" : [1,{"uid":"no"}] , "uid" : "b" } "#), "b");
        assert_eq!(uid(r#"{"uid":"all"}"#), "all");
        assert_eq!(uid(r#"{"uid":"李雷"}"#), "李雷");
        assert!(matches!(
            read(r#"{"uid":"plain"}"#),
            Ok(Line::Push(Cow::Borrowed("plain")))
        ));
    }

    #[test]
    fn escapes_are_decoded_in_key_and_value() {
        assert_eq!(uid(r#"{"uid":"\u0075\u0069d1"}"#), "uid1");
        assert_eq!(uid(r#"{"uid":"a\"b\\c\/"}"#), r#"a"b\c/"#);
        assert_eq!(uid(r#"{"uid":"\ud83d\ude00"}"#), "😀");
        assert_eq!(uid(r#"{"\u0075id":"x"}"#), "x");
        // Escaped or not, `all` is everybody, and a control character no part of a uid.
        assert_eq!(uid(r#"{"uid":"\u0061ll"}"#), "all");
        assert_eq!(
            reason(r#"{"uid":"a\nb"}"#),
            "a uid has no control characters"
        );
        assert_eq!(
            reason(r#"{"uid":"\u0000"}"#),
            "a uid has no control characters"
        );
        assert!(reason(r#"{"uid":"\ud800"}"#).starts_with("not JSON: "));
    }

    #[test]
    fn the_last_uid_counts() {
        assert_eq!(uid(r#"{"uid":"a","uid":"b"}"#), "b");
        assert_eq!(uid(r#"{"uid":{"uid":1},"uid":"b"}"#), "b");
        assert_eq!(
            reason(r#"{"uid":"a","\u0075id":null}"#),
            "uid must be a string or an integer"
        );
    }

    #[test]
    fn integers_are_their_digits() {
        assert_eq!(uid(r#"{"uid":42}"#), "42");
        assert_eq!(uid(r#"{"uid":-7}"#), "-7");
        assert_eq!(uid(r#"{"uid":0}"#), "0");
        assert_eq!(
            uid(r#"{"uid":18446744073709551616}"#),
            "18446744073709551616"
        );
        assert_eq!(
            uid(&format!("{{\"uid\":{}}}", "9".repeat(128))),
            "9".repeat(128)
        );
        assert_eq!(
            reason(&format!("{{\"uid\":{}}}", "9".repeat(129))),
            "a uid has at most 128 bytes"
        );
        for other in ["1.0", "1e3", "-0.5", "1E400", "true", "null", "[1]", "{}"] {
            let line = format!("{{\"uid\":{other}}}");
            assert_eq!(
                reason(&line),
                "uid must be a string or an integer",
                "{line}"
            );
        }
        for broken in ["01", "-", "+1", "0x1", "1.", "NaN", "--1"] {
            let line = format!("{{\"uid\":{broken}}}");
            assert!(reason(&line).starts_with("not JSON: "), "{line}");
        }
    }

    #[test]
    fn what_is_no_object_with_a_uid() {
        assert_eq!(reason("{}"), "the object has no uid");
        assert_eq!(reason(r#"{"UID":"a"}"#), "the object has no uid");
        assert_eq!(
            reason(r#"{"uid":""}"#),
            "a uid needs at least one character"
        );
        for broken in [
            "{",
            "{]",
            r#"{"uid":"a""#,
            r#"{"uid":"a"} x"#,
            r#"{"uid":"a"}{"uid":"b"}"#,
            r#"{"uid":"a",}"#,
            r#"{'uid':'a'}"#,
            r#"{uid:"a"}"#,
            r#"{"uid":"a"#,
            r#"{"uid":"\"#,
            "{\"uid\":\"a\tb\"}",
            "{\"uid\":\"a\",\"x\":\"\u{1}\"}",
        ] {
            assert!(reason(broken).starts_with("not JSON: "), "{broken}");
        }
        for unknown in [
            "", "[]", "\"uid\"", "ping", "Kick a", "stats ", "kick", "{\u{a0}",
        ] {
            if unknown.starts_with('{') {
                assert!(reason(unknown).starts_with("not JSON: "));
            } else {
                assert!(reason(unknown).starts_with("expected "), "{unknown}");
            }
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| {
            // The line's own object is the first level.
            let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
            format!("{{\"uid\":\"a\",\"x\":{open}1{close}}}")
        };
        assert_eq!(uid(&nested(NESTING_MAX)), "a");
        assert_eq!(reason(&nested(NESTING_MAX + 1)), "nested too deeply");
        assert_eq!(reason(&nested(200_000)), "nested too deeply");
        assert_eq!(reason(&"{\"a\":".repeat(200_000)), "nested too deeply");
        assert_eq!(reason(&"{[".repeat(200_000)), "nested too deeply");
        // Many brackets side by side, or in a string, are not deep.
        let wide = format!("{{\"uid\":\"a\",\"x\":[{}[]]}}", "[],".repeat(1_000));
        assert_eq!(uid(&wide), "a");
        let quoted = format!("{{\"uid\":\"a\",\"x\":\"{}\"}}", "\\\"[".repeat(1_000));
        assert_eq!(uid(&quoted), "a");
    }

    /// How deep a text nests, without a shortcut.
    fn depth(json: &str) -> usize {
        let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
        for character in json.chars() {
            match character {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                _ if in_string => {}
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
        deepest
    }

    #[test]
    fn the_shortcut_tells_no_other_depth() {
        assert!(!nests_too_deeply(&"[".repeat(NESTING_MAX)));
        assert!(nests_too_deeply(&"[".repeat(NESTING_MAX + 1)));
        let mut outcomes = [0; 2];
        for seed in 0..3_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            // Around the length and the count where the shortcuts end, mostly opening.
            let (pieces, opening) = (random.usize(100..300), random.usize(6..12));
            let json: String = (0..pieces)
                .map(|_| match (random.usize(0..100), random.usize(0..12)) {
                    (0, _) => "\"",
                    (1, _) => "\\\"",
                    (2, _) => "\\",
                    (3, _) => "é",
                    (_, nth) if nth < opening => ["{", "["][nth % 2],
                    (_, nth) => ["}", "]", "a"][nth % 3],
                })
                .collect();
            let deep = depth(&json) > NESTING_MAX;
            assert_eq!(nests_too_deeply(&json), deep, "seed {seed}");
            outcomes[usize::from(deep)] += 1;
        }
        assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
    }

    #[test]
    fn commands() {
        assert_eq!(read("stats").unwrap(), Line::Stats);
        assert_eq!(read("kick uid1").unwrap(), Line::Kick("uid1"));
        assert_eq!(read("online a b").unwrap(), Line::Online("a b"));
        assert_eq!(read("auth x y ").unwrap(), Line::Auth("x y "));
        assert_eq!(reason("kick "), "a uid needs at least one character");
        assert_eq!(
            reason("kick all"),
            "\"all\" is reserved: it addresses everybody"
        );
        assert_eq!(reason("online all"), reason("kick all"));
        assert_eq!(
            reason(&format!("online {}", "x".repeat(129))),
            "a uid has at most 128 bytes"
        );
    }

    #[test]
    fn http_is_recognized() {
        for line in [
            "GET / HTTP/1.1",
            "POST /v1/push HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "PRI * HTTP/2.0",
            "CONNECT host:1 HTTP/1.1",
            "GET ",
            "PURGE /x HTTP/1.1",
            "kick / HTTP/1.1",
            "patch /x HTTP/1.0",
        ] {
            assert!(is_http(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "GET",
            "stats",
            "kick GET ",
            "KICK x",
            "Get / now",
            r#"{"uid":"GET / HTTP/1.1"}"#,
        ] {
            assert!(!is_http(line.as_bytes()), "{line}");
        }
    }
}
