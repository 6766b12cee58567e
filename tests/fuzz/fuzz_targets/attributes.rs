//! The attributes of a connection: what is read, and what is made of it with another object, against serde_json.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringpost::ident::ConnName;
use ringpost::protocol::attributes::Attributes;
use serde_json::Value;

const BYTES_MAX: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(name) = text.parse::<ConnName>() {
        assert_eq!(name.to_string(), text);
    }
    // The first line is what is there, the second what comes.
    let (present, patch) = text.split_once('\n').unwrap_or(("{}", text));
    let Ok(present) = Attributes::read(present, BYTES_MAX) else {
        return;
    };
    let Ok(merged) = Attributes::merged(present.as_ref(), patch, BYTES_MAX) else {
        return;
    };
    // A number that no double holds is kept as it is written; serde_json makes none of it.
    let Ok(patch) = serde_json::from_str::<Value>(patch) else {
        return;
    };
    let (Some(Value::Object(mut expected)), Value::Object(patch)) =
        (value(present.as_ref()), patch)
    else {
        return;
    };
    for (name, value) in patch {
        match value {
            Value::Null => drop(expected.remove(&name)),
            value => drop(expected.insert(name, value)),
        }
    }
    assert_eq!(value(merged.as_ref()), Some(Value::Object(expected)));
    if let Some(merged) = merged {
        assert!(merged.text().len() <= BYTES_MAX && merged.is_sound());
    }
});

/// As serde_json reads it, if it does.
fn value(attributes: Option<&Attributes>) -> Option<Value> {
    let text = attributes.map_or("{}", Attributes::text);
    serde_json::from_str(text).ok()
}
