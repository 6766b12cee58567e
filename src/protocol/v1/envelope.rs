//! A message on its way to a client of `ringpost.v1`: [`envelope`], alike for all its receivers.

use std::fmt::{Display, Write};

use super::content::Content;
use crate::payload::Message;

/// Whose a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ToldStream<'a> {
    /// Of a connection alone.
    Connection,
    Uid,
    Group(&'a str),
    All,
}

const HEAD: &str = r#"{"type":"message","stream":""#;
/// Of what is around a message, but for a long group's name.
const FRAME_BYTES: usize = 160;

/// The text of the frame that has this message. `position` is where it stands in its stream, if it is kept.
pub fn envelope(
    stream: ToldStream<'_>,
    position: Option<&dyn Display>,
    message: Message<'_>,
) -> String {
    let mut out = String::with_capacity(message.len() + FRAME_BYTES);
    out.push_str(HEAD);
    match stream {
        ToldStream::Connection => out.push_str("connection\""),
        ToldStream::Uid => out.push_str("uid\""),
        ToldStream::All => out.push_str("all\""),
        ToldStream::Group(group) => {
            out.push_str("group\",\"group\":");
            push_string(group, &mut out);
        }
    }
    if let Some(position) = position {
        // Writing into a String does not fail.
        let _ = write!(out, ",\"position\":\"{position}\"");
    }
    match Content::of(message.bytes()) {
        Content::Data(data) => {
            out.push_str(",\"data\":");
            out.push_str(data.get());
        }
        Content::Text(text) => {
            out.push_str(",\"text\":");
            push_string(text, &mut out);
        }
        Content::Base64(text) => {
            out.push_str(",\"base64\":\"");
            out.push_str(&text);
            out.push('"');
        }
    }
    out.push('}');
    out
}

/// Appends a string of JSON.
fn push_string(text: &str, out: &mut String) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
        return;
    }
    // A string has no key that could be no string; it does not fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_bytes_of_some() {
        let text = Message::Text("hello \"you\"\n");
        for (stream, position, told) in [
            (
                ToldStream::Uid,
                None,
                r#"{"type":"message","stream":"uid","text":"hello \"you\"\n"}"#,
            ),
            (
                ToldStream::All,
                Some("k3v09xq2mh:7"),
                r#"{"type":"message","stream":"all","position":"k3v09xq2mh:7","text":"hello \"you\"\n"}"#,
            ),
            (
                ToldStream::Group("a\"b"),
                None,
                r#"{"type":"message","stream":"group","group":"a\"b","text":"hello \"you\"\n"}"#,
            ),
        ] {
            let position = position.as_ref().map(|one| one as &dyn Display);
            assert_eq!(envelope(stream, position, text), told);
        }
        let data = Message::Binary(br#"{"a":1}"#);
        let told = r#"{"type":"message","stream":"connection","data":{"a":1}}"#;
        assert_eq!(envelope(ToldStream::Connection, None, data), told);
        let bytes = Message::Binary(b"\xff");
        let told = r#"{"type":"message","stream":"uid","base64":"/w=="}"#;
        assert_eq!(envelope(ToldStream::Uid, None, bytes), told);
    }

    proptest! {
        #[test]
        fn what_is_told_is_what_was_sent(
            bytes in prop_oneof![
                any::<Vec<u8>>(),
                any::<String>().prop_map(String::into_bytes),
                any::<Vec<u16>>().prop_map(|list| format!("{list:?}").into_bytes()),
            ],
            group in any::<String>(),
        ) {
            let message = Message::Binary(&bytes);
            let told = envelope(ToldStream::Group(&group), None, message);
            let told: Value = serde_json::from_str(&told).expect("it is JSON");
            prop_assert_eq!(told["group"].as_str(), Some(&*group));
            match std::str::from_utf8(&bytes) {
                Ok(text) if told["text"].is_string() => prop_assert_eq!(told["text"].as_str(), Some(text)),
                Ok(text) => prop_assert_eq!(&told["data"], &serde_json::from_str::<Value>(text).expect("JSON")),
                Err(_) => prop_assert!(told["base64"].is_string()),
            }
        }
    }
}
