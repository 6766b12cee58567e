//! Bodies as back ends write them, and as nobody should.

use proptest::prelude::*;

use super::*;

fn parse(body: &str) -> Result<PushCommand<'_>, ApiError> {
    match serde_json::from_str::<PushBody<'_>>(body) {
        Ok(push) => match push.command()? {
            ApiCommand::Push(push) => Ok(push),
            _ => unreachable!("a push is a push"),
        },
        Err(error) => Err(ApiError::bad_request(error.to_string())),
    }
}

fn message_of(data: &str) -> String {
    let body = format!("{{\"uid\":\"u\",\"data\":{data}}}");
    let push = parse(&body).unwrap_or_else(|error| panic!("{data}: {error:?}"));
    push.message.into_owned()
}

#[test]
fn data_is_passed_on_as_it_is_written() {
    for (data, message) in [
        ("null", "null"),
        ("1e999", "1e999"),
        (
            "123456789012345678901234567890.10",
            "123456789012345678901234567890.10",
        ),
        (
            " { \"b\" : 1 , \"a\" : [ 1 , 2 ] } ",
            "{\"b\":1,\"a\":[1,2]}",
        ),
        ("\" a \\\" b \"", "\" a \\\" b \""),
        ("{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}"),
        ("[\n\t\r]", "[]"),
        ("\"\\u00e9\\n\"", "\"\\u00e9\\n\""),
        ("\"é\"", "\"é\""),
    ] {
        assert_eq!(message_of(data), message);
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(message_of(&nested(NESTING_MAX)), nested(NESTING_MAX));
    for depth in [NESTING_MAX + 1, 1_000_000] {
        let body = format!("{{\"uid\":\"u\",\"data\":{}}}", nested(depth));
        assert!(parse(&body).is_err());
    }
}

#[test]
fn exactly_one_target_and_one_message() {
    for good in [
        r#"{"uid":"u","text":""}"#,
        r#"{"uid":7,"text":"x"}"#,
        r#"{"uids":["a",1],"text":"x"}"#,
        r#"{"uids":[],"text":"x"}"#,
        r#"{"group":"g","data":null}"#,
        r#"{"uid":"u","text":"x","id":"all"}"#,
        r#"{"uid":"all","text":"x"}"#,
    ] {
        assert!(parse(good).is_ok(), "{good}");
    }
    for bad in [
        r#"{"text":"x"}"#,
        r#"{"uid":"u"}"#,
        r#"{"uid":"u","group":"g","text":"x"}"#,
        r#"{"uid":"u","uids":["a"],"text":"x"}"#,
        r#"{"uid":"u","text":"x","data":1}"#,
        r#"{"uid":"u","text":"x","data":null}"#,
        r#"{"uid":"u","text":null,"data":1}"#,
        r#"{"uid":null,"group":"g","text":"x"}"#,
        r#"{"uid":"u","text":1}"#,
        r#"{"uid":1.0,"text":"x"}"#,
        r#"{"uid":1e3,"text":"x"}"#,
        r#"{"uid":true,"text":"x"}"#,
        r#"{"uid":["u"],"text":"x"}"#,
        r#"{"uid":"","text":"x"}"#,
        r#"{"uid":"a\nb","text":"x"}"#,
        r#"{"uids":"u","text":"x"}"#,
        r#"{"uids":["a","all"],"text":"x"}"#,
        r#"{"uids":["a",""],"text":"x"}"#,
        r#"{"group":"all","text":"x"}"#,
        r#"{"group":7,"text":"x"}"#,
        r#"{"uid":"u","text":"x","id":""}"#,
        r#"{"uid":"u","text":"x","id":7}"#,
        r#"{"uid":"u","text":"x","id":"a\u0000"}"#,
        r#"{"uid":"u","text":"x","more":1}"#,
        r#"{"uid":"u","uid":"u","text":"x"}"#,
        r#"["u","x"]"#,
        r#""u""#,
    ] {
        let error = parse(bad).map(|_| ()).expect_err(bad);
        assert_eq!(error.status, 400, "{bad}");
        assert!(error.message.chars().count() <= 200, "{bad}");
    }
    let long = format!(
        "{{\"uid\":\"u\",\"text\":\"x\",\"id\":\"{}\"}}",
        "x".repeat(129)
    );
    assert_eq!(
        parse(&long).map(|_| ()).map_err(|error| error.code),
        Err("bad_id")
    );
}

#[test]
fn uids_are_bounded_and_each_comes_once() {
    let body = |count: usize| {
        let uids: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        format!("{{\"uids\":[{}],\"text\":\"x\"}}", uids.join(","))
    };
    for (count, fits) in [
        (UIDS_MAX - 1, true),
        (UIDS_MAX, true),
        (UIDS_MAX + 1, false),
    ] {
        assert_eq!(parse(&body(count)).is_ok(), fits, "{count}");
    }
    let twice = parse(r#"{"uids":["a",1,"a","1","b"],"text":"x"}"#).expect("good");
    let PushTarget::Uids(uids) = twice.target else {
        unreachable!("many");
    };
    assert_eq!(uids, ["a", "1", "b"]);
}

#[test]
fn entries_of_a_batch() {
    for (entry_text, good) in [
        (r#"{"push":{"uid":"u","text":"x"}}"#, true),
        (r#"{"broadcast":{"data":[1]}}"#, true),
        (r#"{"kick":{"uid":7}}"#, true),
        (r#"{"join":{"group":"g","uid":"u"}}"#, true),
        (r#"{"leave":{"uid":"u","group":"g"}}"#, true),
        (r#"{"push":{"uid":"u"}}"#, false),
        (
            r#"{"push":{"uid":"u","text":"x"},"kick":{"uid":"u"}}"#,
            false,
        ),
        (r#"{"kick":{"uid":"all"}}"#, false),
        (r#"{"join":{"uid":"u"}}"#, false),
        (r#"{"fly":{}}"#, false),
        ("{}", false),
        ("7", false),
    ] {
        match entry(entry_text) {
            Ok(command) => assert_eq!(command.is_ok(), good, "{entry_text}"),
            Err(error) => assert!(!good && !error.is_eof(), "{entry_text}: {error}"),
        }
    }
    for broken in ["", "{\"push\":", "{\"kick\":{\"uid\":\"u\"}} x", "nul"] {
        assert!(entry(broken).is_err(), "{broken}");
    }
}

proptest! {
    /// What is left out is white space alone: whoever reads it finds the same.
    #[test]
    fn compact_json_says_the_same(json in "[\\[\\]{}\",:\\\\ \\n\\ta1é]{0,40}") {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(&json) {
            let compacted = compact(json.trim_matches([' ', '\t', '\r', '\n'])).expect("shallow");
            let again: serde_json::Value = serde_json::from_str(&compacted).expect("still JSON");
            prop_assert_eq!(&again, &value);
            if !json.contains(":") {
                prop_assert_eq!(compacted, value.to_string());
            }
        }
    }
}
