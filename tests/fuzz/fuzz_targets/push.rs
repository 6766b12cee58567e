//! A back end's line: JSON of which only the uid is looked at, against serde_json reading all of it; commands.
#![no_main]

#[allow(dead_code)]
#[path = "../../../src/apps/backend/any_object.rs"]
mod any_object;
#[allow(dead_code)]
#[path = "../../../src/apps/backend/line.rs"]
mod line;
#[path = "../../../src/apps/backend/line_error.rs"]
mod line_error;
#[path = "../../../src/apps/backend/object.rs"]
mod object;

use libfuzzer_sys::fuzz_target;
use line::Line;
use line_error::LineError;
use ringpost::ident::{EVERYBODY, check_uid};
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let outcome = line::read(text);
    let is_json = text.trim_ascii_start().starts_with('{');
    match &outcome {
        Ok(Line::Push(uid)) => {
            assert!(is_json);
            assert!(
                *uid == EVERYBODY || check_uid(uid).is_ok(),
                "{uid:?} is no uid"
            );
        }
        Ok(Line::Kick(uid) | Line::Online(uid)) => {
            assert!(!is_json && check_uid(uid).is_ok() && *uid != EVERYBODY);
        }
        Ok(Line::Stats | Line::Auth(_)) => assert!(!is_json),
        // It becomes a line of an answer.
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
    }
    if is_json {
        check_json(text, &outcome);
    }
    // Whoever sends a request is cut off, and no push looks like one.
    if line::is_http(text.as_bytes()) {
        assert!(!matches!(outcome, Ok(Line::Push(_) | Line::Stats)));
    }
});

/// serde_json builds the whole value: it refuses more (numbers out of range, half of a pair of surrogates), but
/// what it takes means the same.
fn check_json(text: &str, outcome: &Result<Line<'_>, LineError>) {
    // A key that means something to serde_json alone.
    if text.contains("$serde_json") {
        return;
    }
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        Ok(_) => unreachable!("it begins with a brace"),
        Err(error) => {
            let error = error.to_string();
            let stricter = [
                "number out of range",
                "lone leading surrogate",
                "unexpected end of hex escape",
                "recursion limit exceeded",
            ];
            assert!(
                outcome.is_err() || stricter.iter().any(|one| error.starts_with(one)),
                "taken, but {error}"
            );
            return;
        }
    };
    let expected = match object.get("uid") {
        None => {
            assert!(matches!(outcome, Err(LineError::NoUid)), "{outcome:?}");
            return;
        }
        Some(Value::String(uid)) => uid.clone(),
        Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
        Some(Value::Number(_)) => match outcome {
            // An integer with more digits than a number can have here.
            Ok(Line::Push(uid)) => {
                let digits = uid.strip_prefix('-').unwrap_or(uid);
                assert!(digits.bytes().all(|byte| byte.is_ascii_digit()), "{uid}");
                return;
            }
            Err(LineError::UidKind | LineError::Uid(_)) => return,
            other => panic!("{other:?}"),
        },
        Some(_) => {
            assert!(matches!(outcome, Err(LineError::UidKind)), "{outcome:?}");
            return;
        }
    };
    match outcome {
        Ok(Line::Push(uid)) => assert_eq!(*uid, expected),
        Err(LineError::Uid(_)) => assert!(check_uid(&expected).is_err(), "{expected:?}"),
        other => panic!("{other:?} for {expected:?}"),
    }
}
