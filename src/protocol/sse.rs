//! Server-Sent Events: what the server writes of a `text/event-stream` (WHATWG HTML, section 9.2).
//!
//! The answer's head goes out when the uid is bound; until then it waits, so that a client which is kept out gets a
//! status in its place. After it every message is an event, its lines in `data:` fields, and comments are the pings.
//! What the client sends is ignored, up to [`IGNORED_BYTES_MAX`]. Called through [`super::Codec`] and
//! [`super::Decoder`]; the head by the transport.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memchr2;
use serde::Serialize;

use super::http::response::{HttpError, response_head};
use crate::close::CloseReason;
use crate::payload::Message;

/// What a client may send that has nothing more to say; more is no client.
pub const IGNORED_BYTES_MAX: u32 = 16 << 10;
/// What begins an answer that lets a client in.
const ADMITTED: &[u8] = b"HTTP/1.1 200 ";
/// A browser comes back after so many milliseconds, and up to as many more: each connection after another time, so
/// that all of them do not come at once.
const RETRY_MS: u32 = 1_000;
const RETRY_SPREAD_MS: u32 = 4_000;
/// When somebody decided that it is to end. A browser comes back even so, unless its page closes the stream.
const RETRY_LATER_MS: u32 = 60_000;
const FIELD: &str = "data: ";

/// The head of the answer that begins the stream. `origin` is the page's that is let in, if it said one; `spread` is
/// another number for each connection.
pub fn head(origin: Option<&str>, spread: u32) -> Vec<u8> {
    let mut fields = vec![
        ("Content-Type", "text/event-stream"),
        ("Cache-Control", "no-store"),
        ("X-Accel-Buffering", "no"),
        ("X-Content-Type-Options", "nosniff"),
    ];
    if let Some(origin) = origin {
        fields.extend(readable_by(origin));
    }
    let mut out = response_head(200, &fields, None, false);
    // Fibonacci hashing: numbers that follow each other lie far apart.
    let spread = spread.wrapping_mul(0x9E37_79B9) >> 16;
    let retry = RETRY_MS + spread % RETRY_SPREAD_MS;
    // Writing into a Vec does not fail.
    // It goes with the first event: some clients take it for an event if an empty line follows, and a comment's, too.
    let _ = writeln!(out, "retry: {retry}");
    out
}

/// What lets a page of another origin read an answer (Fetch, "CORS protocol"), whether it sends the browser's cookies
/// along (`withCredentials`) or not: for these a wildcard would not do. There are none here that would mean anything.
pub fn readable_by(origin: &str) -> [(&'static str, &str); 3] {
    [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
    ]
}

/// Whether what waits first for a client is that head, none of which has left.
pub fn awaits_head(first: &[u8]) -> bool {
    first.starts_with(ADMITTED)
}

/// The answer in place of the head to one that ends before it has begun.
pub fn refusal(reason: CloseReason) -> Vec<u8> {
    let status = match reason {
        CloseReason::BadLogin => 400,
        CloseReason::Expired => 401,
        CloseReason::Kicked => 403,
        CloseReason::UidInUse | CloseReason::Replaced => 409,
        CloseReason::Internal => 500,
        _ => 503,
    };
    let error = HttpError::new(status, reason.text());
    match status {
        503 => error.response_with(&[("Retry-After", "5")]),
        _ => error.response(),
    }
}

/// Takes what the client sends.
pub(super) fn ignore(ignored: &mut u32, input: &[u8], at: &mut usize) -> Result<(), CloseReason> {
    let more = u32::try_from(input.len() - *at).unwrap_or(u32::MAX);
    *at = input.len();
    *ignored = ignored.saturating_add(more);
    match *ignored > IGNORED_BYTES_MAX {
        true => Err(CloseReason::Policy),
        false => Ok(()),
    }
}

/// The lines of a message; each of the three ends that a client would take for one is one (section 9.2.5).
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr2(b'\r', b'\n', text.as_bytes()) else {
            return rest.take();
        };
        let (line, after) = text.split_at(end);
        rest = Some(after.strip_prefix("\r\n").unwrap_or(&after[1..]));
        Some(line)
    })
}

/// The message's text, if it is text. Whose library chooses binary for it means text, too.
fn text_of(message: Message<'_>) -> Option<&str> {
    match message {
        Message::Text(text) => Some(text),
        Message::Binary(bytes) => simdutf8::basic::from_utf8(bytes).ok(),
    }
}

const BINARY: &str = "event: binary\n";

/// Appends the message as one event. Its lines' ends come out as `\n`. What is not UTF-8 becomes an event `binary` in
/// base64, since a stream of events is text.
pub(super) fn encode(message: Message<'_>, out: &mut Vec<u8>) {
    match text_of(message) {
        Some(text) => {
            for line in lines(text) {
                push_line(line, out);
            }
        }
        None => {
            out.extend_from_slice(BINARY.as_bytes());
            push_line(&STANDARD.encode(message.bytes()), out);
        }
    }
    out.push(b'\n');
}

/// Appends the positions of a client that has got nothing yet: a block without data, which sets the id that it comes back
/// with (section 9.2.6) and is no event.
pub fn encode_position(positions: &str, out: &mut Vec<u8>) {
    push_id(positions, out);
    out.push(b'\n');
}

/// Appends the message as one event, with the positions that its client has with it.
pub fn encode_positioned(positions: &str, message: Message<'_>, out: &mut Vec<u8>) {
    push_id(positions, out);
    encode(message, out);
}

/// How long that is.
pub fn positioned_len(positions: &str, message: Message<'_>) -> usize {
    ID.len() + positions.len() + 1 + encoded_len(message)
}

/// Appends the event `gap`: not all can be had that a client has missed.
pub fn encode_gap(positions: &str, told: &ToldGap<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: gap\n");
    push_id(positions, out);
    // Of strings alone; it does not fail.
    let json = serde_json::to_string(told).unwrap_or_default();
    push_line(&json, out);
    out.push(b'\n');
}

/// Appends the event `presence`: who has joined a group, and left it. It has no id, for it has no place in a stream.
pub(super) fn encode_presence(told: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: presence\n");
    push_line(told, out);
    out.push(b'\n');
}

/// What the event `gap` says, as its JSON.
#[derive(Serialize)]
pub struct ToldGap<'a> {
    /// `uid`, `group` or `all`.
    pub kind: &'a str,
    /// Which.
    pub name: &'a str,
    /// The position that was asked for, if it could be read.
    pub asked: Option<String>,
    /// Where what is there begins.
    pub first: Option<String>,
    /// Where it ends: the client goes on from here.
    pub top: String,
}

const ID: &str = "id: ";

fn push_id(positions: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(ID.as_bytes());
    out.extend_from_slice(positions.as_bytes());
    out.push(b'\n');
}

fn push_line(line: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(FIELD.as_bytes());
    out.extend_from_slice(line.as_bytes());
    out.push(b'\n');
}

pub(super) fn encoded_len(message: Message<'_>) -> usize {
    let of_line = |length: usize| FIELD.len() + length + 1;
    let fields = match text_of(message) {
        Some(text) => lines(text).map(|line| of_line(line.len())).sum(),
        None => BINARY.len() + of_line(message.len().div_ceil(3) * 4),
    };
    fields + 1
}

/// Appends the last event, which tells why there are no more. Who is not wanted at once is told when to come back.
pub(super) fn encode_close(code: u16, reason: CloseReason, text: &str, out: &mut Vec<u8>) {
    let later = matches!(
        reason,
        CloseReason::Kicked
            | CloseReason::Replaced
            | CloseReason::Expired
            | CloseReason::Policy
            | CloseReason::RateLimit
    );
    if later {
        let _ = writeln!(out, "retry: {RETRY_LATER_MS}");
    }
    let text = serde_json::Value::from(text);
    let _ = write!(
        out,
        "event: close\ndata: {{\"code\":{code},\"reason\":{text}}}\n\n"
    );
}

/// Appends a comment.
pub(super) fn encode_ping(out: &mut Vec<u8>) {
    out.extend_from_slice(b":\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{Codec, Decoder};

    /// What a client gets to see: the steps of section 9.2.6, over lines cut as in 9.2.5.
    #[derive(Default, Debug, PartialEq, Eq)]
    struct Client {
        /// Kind and data of each event.
        events: Vec<(String, String)>,
        retry: Option<u32>,
        comments: usize,
        kind: String,
        data: String,
        rest: Vec<u8>,
    }

    impl Client {
        fn take(&mut self, piece: &[u8]) {
            self.rest.extend_from_slice(piece);
            loop {
                let end = self.rest.iter().position(|byte| b"\r\n".contains(byte));
                let Some(end) = end else { return };
                let length = match self.rest[end..] {
                    // The line feed may be still to come.
                    [b'\r'] => return,
                    [b'\r', b'\n', ..] => end + 2,
                    _ => end + 1,
                };
                let line = String::from_utf8(self.rest[..end].to_vec()).expect("UTF-8");
                self.rest.drain(..length);
                self.line(&line);
            }
        }

        fn line(&mut self, line: &str) {
            if line.is_empty() {
                let (kind, data) = (
                    std::mem::take(&mut self.kind),
                    std::mem::take(&mut self.data),
                );
                if let Some(data) = data.strip_suffix('\n') {
                    self.events.push((kind, data.to_owned()));
                }
                return;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments += 1,
                "event" => self.kind = value.to_owned(),
                "data" => {
                    self.data.push_str(value);
                    self.data.push('\n');
                }
                "retry" => self.retry = value.parse().ok(),
                other => panic!("no field of ours: {other:?}"),
            }
        }
    }

    fn unified(text: &str) -> String {
        text.replace("\r\n", "\n").replace('\r', "\n")
    }

    fn encoded(message: Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        Codec::Sse.encode(message, &mut out);
        assert_eq!(out.len(), Codec::Sse.encoded_len(message), "{message:?}");
        out
    }

    #[test]
    fn the_bytes_of_some() {
        for (text, bytes) in [
            ("", "data: \n\n"),
            (" a", "data:  a\n\n"),
            ("a\nb", "data: a\ndata: b\n\n"),
            ("a\r\nb\rc\n", "data: a\ndata: b\ndata: c\ndata: \n\n"),
            ("\n\r", "data: \ndata: \ndata: \n\n"),
            (
                "event: close\n\nid: 7",
                "data: event: close\ndata: \ndata: id: 7\n\n",
            ),
        ] {
            assert_eq!(encoded(Message::Text(text)), bytes.as_bytes(), "{text:?}");
            assert_eq!(encoded(Message::Binary(text.as_bytes())), bytes.as_bytes());
        }
        let binary = encoded(Message::Binary(&[0xff, 0, 1, 2]));
        assert_eq!(binary, b"event: binary\ndata: /wABAg==\n\n");
    }

    #[test]
    fn a_close_is_an_event_of_its_own() {
        for reason in CloseReason::ALL {
            let mut out = Vec::new();
            Codec::Sse.encode_close(*reason, &mut out);
            let mut client = Client::default();
            client.take(&out);
            let Some(code) = reason.code() else {
                assert_eq!(out, b"");
                continue;
            };
            let (kind, data) = client.events.remove(0);
            let data: serde_json::Value = serde_json::from_str(&data).expect("JSON");
            assert_eq!(kind, "close");
            assert_eq!(data["code"], code);
            assert_eq!(data["reason"], reason.text());
            let later = *reason == CloseReason::Kicked;
            assert!(!later || client.retry == Some(RETRY_LATER_MS));
        }
    }

    #[test]
    fn the_head_begins_a_stream_that_comes_back_at_another_time() {
        let mut retries = std::collections::BTreeSet::new();
        for number in 0..1_000 {
            let head = head(Some("https://shop.example"), number);
            assert!(awaits_head(&head));
            let head = String::from_utf8(head).expect("text");
            assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"));
            assert!(head.contains("\r\nAccess-Control-Allow-Origin: https://shop.example\r\n"));
            assert!(head.contains("\r\nAccess-Control-Allow-Credentials: true\r\n"));
            let (_, body) = head.split_once("\r\n\r\n").expect("a head");
            let mut client = Client::default();
            client.take(body.as_bytes());
            assert!(client.events.is_empty());
            retries.insert(client.retry.expect("a time"));
        }
        assert!(retries.len() > 700, "{}", retries.len());
        assert!(retries.iter().all(|retry| (1_000..5_000).contains(retry)));
        let plain = head(None, 0);
        assert!(!String::from_utf8_lossy(&plain).contains("Access-Control"));
    }

    #[test]
    fn who_is_kept_out_gets_a_status() {
        for (reason, status) in [
            (CloseReason::UidInUse, "409"),
            (CloseReason::Expired, "401"),
            (CloseReason::Stopping, "503"),
        ] {
            let answer = refusal(reason);
            assert!(!awaits_head(&answer));
            let answer = String::from_utf8(answer).expect("text");
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{answer}"
            );
            assert_eq!(answer.contains("\r\nRetry-After: "), status == "503");
        }
    }

    #[test]
    fn what_a_client_sends_is_ignored_so_far() {
        let mut decoder = Decoder::new(Codec::Sse, 10);
        let mut piece = [b'x'; 1 << 10];
        for _ in 0..16 {
            let mut at = 0;
            assert_eq!(decoder.next(&mut piece, &mut at), Ok(None));
            assert_eq!((at, decoder.bytes_held()), (piece.len(), 0));
        }
        let more = decoder.next(&mut piece[..1], &mut 0);
        assert_eq!(more, Err(CloseReason::Policy));
    }

    proptest! {
        #[test]
        fn a_client_gets_what_was_sent(
            messages in prop::collection::vec(
                prop_oneof!["[a\r\n :]{0,12}", "\\PC{0,8}", any::<String>()], 0..6),
            cuts in prop::collection::vec(1..9usize, 1..5),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend(encoded(Message::Text(message)));
                Codec::Sse.encode_ping(&mut stream);
            }
            let mut client = Client::default();
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*cuts.next().unwrap_or(&1)));
                client.take(piece);
                rest = after;
            }
            let expected: Vec<_> =
                messages.iter().map(|text| (String::new(), unified(text))).collect();
            prop_assert_eq!(client.events, expected);
            prop_assert_eq!(client.comments, messages.len());
        }

        #[test]
        fn binary_is_told_apart(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let out = encoded(Message::Binary(&bytes));
            let mut client = Client::default();
            client.take(&out);
            let (kind, got) = client.events.remove(0);
            match String::from_utf8(bytes.clone()) {
                Ok(text) => prop_assert_eq!((kind, got), (String::new(), unified(&text))),
                Err(_) => prop_assert_eq!(
                    (kind.as_str(), STANDARD.decode(got)), ("binary", Ok(bytes))),
            }
        }
    }
}
