//! [`Content`]: a message as JSON has it best.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

/// A message as it is best read.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Content<'p> {
    /// An object or an array of JSON.
    Data(&'p RawValue),
    Text(&'p str),
    /// What is not UTF-8.
    Base64(String),
}

impl<'p> Content<'p> {
    /// A message's bytes.
    pub fn of(bytes: &'p [u8]) -> Content<'p> {
        let Ok(text) = simdutf8::basic::from_utf8(bytes) else {
            return Content::Base64(STANDARD.encode(bytes));
        };
        if !text.trim_ascii_start().starts_with(['{', '[']) {
            return Content::Text(text);
        }
        match serde_json::from_str::<&RawValue>(text) {
            Ok(data) => Content::Data(data),
            Err(_) => Content::Text(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_as_it_reads_best() {
        for (bytes, json) in [
            (&b"hello"[..], r#"{"text":"hello"}"#),
            (b"", r#"{"text":""}"#),
            (br#" {"a" : 1.50} "#, r#"{"data":{"a" : 1.50}}"#),
            (b"[]", r#"{"data":[]}"#),
            (b"7", r#"{"text":"7"}"#),
            (b"{", r#"{"text":"{"}"#),
            (b"[1] [2]", r#"{"text":"[1] [2]"}"#),
            (b"\"quoted\"", r#"{"text":"\"quoted\""}"#),
            (b"\xff\x00", r#"{"base64":"/wA="}"#),
        ] {
            let told = serde_json::to_string(&Content::of(bytes));
            assert_eq!(told.expect("it is JSON"), json);
        }
    }
}
