//! A message that Redis keeps for the nodes of a cluster, as it stands there ([`KeptRecord`]) and as it is published, with its
//! place before it ([`placed`]).

use serde::{Deserialize, Serialize};

use crate::payload::{Message, Payload};

/// What stands before a message that Redis has given its place.
const PLACE_BYTES_MAX: usize = 40;

/// A message as Redis keeps it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KeptRecord {
    /// For so many milliseconds from its coming on.
    pub millis: u64,
    /// Whether it waits for its uid's login.
    pub queue: bool,
    pub payload: Payload,
}

impl KeptRecord {
    /// Of one whose time is over.
    pub fn nothing() -> KeptRecord {
        KeptRecord {
            millis: 0,
            queue: false,
            payload: Payload::new(Message::Text("")),
        }
    }

    /// The record in writing.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, Vec::new()).unwrap_or_default()
    }

    /// The record again. What is read may be anything.
    pub fn decode(bytes: &[u8]) -> Option<KeptRecord> {
        postcard::from_bytes(bytes).ok()
    }
}

/// The position, as text, that Redis has written before a message, and the message's bytes. `None` of one without.
pub fn placed(bytes: &[u8]) -> Option<(&str, &[u8])> {
    // A message without one begins with its version, which is no character of a position.
    if !bytes.first().is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    let most = bytes.len().min(PLACE_BYTES_MAX);
    let end = bytes[..most].iter().position(|byte| *byte == b' ')?;
    let position = str::from_utf8(&bytes[..end]).ok()?;
    Some((position, &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = KeptRecord {
            millis: 86_400_000,
            queue: true,
            payload: Payload::new(Message::Text("kept")),
        };
        let bytes = record.encode();
        assert_eq!(KeptRecord::decode(&bytes), Some(record));
        for end in 0..bytes.len() {
            assert_eq!(KeptRecord::decode(&bytes[..end]), None);
        }
    }

    #[test]
    fn a_place_stands_before_a_message() {
        let found = placed(b"k3v09xq2mh:17 \x01rest of it");
        assert_eq!(found, Some(("k3v09xq2mh:17", &b"\x01rest of it"[..])));
        let long = [b"k".repeat(PLACE_BYTES_MAX), b" ".to_vec()].concat();
        for none in [
            &b""[..],
            b"\x01x y",
            b"k3v09xq2mh:17",
            b"k\xff ",
            b"\xff\xfe ",
            &long,
        ] {
            assert_eq!(placed(none), None);
        }
    }
}
