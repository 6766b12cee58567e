//! What a client of `ringpost.v1` asks: [`ClientRequest`], read from one frame.
//!
//! A frame is read twice: for what it is and its `id`, and then for what that has. Nothing of it is read by recursion, so it
//! may nest as deep as it is long. Bound: a frame's bytes, `message_bytes_max`.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::payload::Message;

/// Longest `id` and longest `client`, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The `id` of a request, as JSON: a string or a whole number.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RequestId(Box<str>);

impl RequestId {
    fn new(raw: &RawValue) -> Option<RequestId> {
        let text = raw.get();
        let is_id = match text.starts_with('"') {
            true => serde_json::from_str::<String>(text).is_ok_and(|id| id.len() <= NAME_BYTES_MAX),
            false => {
                serde_json::from_str::<i64>(text).is_ok()
                    || serde_json::from_str::<u64>(text).is_ok()
            }
        };
        is_id.then(|| RequestId(Box::from(text)))
    }

    /// It as JSON.
    pub fn json(&self) -> &str {
        &self.0
    }
}

/// What a client asks, and by which `id`.
#[derive(PartialEq, Eq, Debug)]
pub struct ClientRequest {
    pub id: Option<RequestId>,
    pub wanted: Wanted,
}

/// See the module.
#[derive(PartialEq, Eq, Debug)]
pub enum Wanted {
    Bind(Box<BindRequest>),
    Join {
        group: String,
        since: Option<String>,
    },
    Leave {
        group: String,
    },
    Ack {
        stream: SpokenStream,
        position: String,
    },
    Presence {
        group: String,
        limit: Option<u32>,
        cursor: Option<String>,
    },
    History {
        stream: SpokenStream,
        since: Option<String>,
        limit: Option<u32>,
        reverse: bool,
    },
    Send {
        said: Spoken,
    },
    Token {
        token: String,
    },
    Ping,
    Pong,
}

/// Who a client is, and what it wants from the start.
#[derive(PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BindRequest {
    pub uid: Option<String>,
    pub token: Option<String>,
    pub client: Option<String>,
    pub positions: OwnPositions,
    pub groups: JoinedSince,
    pub ack: bool,
}

/// Where it was in what is not a group's.
#[derive(PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct OwnPositions {
    pub uid: Option<String>,
    pub all: Option<String>,
}

/// Groups, and where it was in each.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct JoinedSince(pub Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for JoinedSince {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<JoinedSince, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = JoinedSince;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object: for each group a position or null")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<JoinedSince, M::Error> {
                let mut each = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    each.push(pair);
                }
                Ok(JoinedSince(each))
            }
        }
        from.deserialize_map(Each)
    }
}

/// What a client says to the back end.
#[derive(PartialEq, Eq, Debug)]
pub enum Spoken {
    Text(Box<str>),
    /// JSON.
    Data(Box<str>),
}

/// A stream, as a client names it.
#[derive(PartialEq, Eq, Debug)]
pub enum SpokenStream {
    Uid,
    All,
    Group(String),
}

/// Why a frame is no request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestError {
    pub id: Option<RequestId>,
    /// Its name.
    pub code: &'static str,
    /// In words.
    pub text: String,
}

#[derive(Deserialize)]
struct FrameHead<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct JoinFields {
    group: String,
    since: Option<String>,
}

#[derive(Deserialize)]
struct LeaveFields {
    group: String,
}

#[derive(Deserialize)]
struct AckFields {
    stream: String,
    group: Option<String>,
    position: String,
}

#[derive(Deserialize)]
struct PresenceFields {
    group: String,
    limit: Option<u32>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct HistoryFields {
    stream: String,
    group: Option<String>,
    since: Option<String>,
    limit: Option<u32>,
    #[serde(default)]
    reverse: bool,
}

#[derive(Deserialize)]
struct SendFields<'a> {
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    text: Option<String>,
}

/// What is there, be it null.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(from).map(Some)
}

#[derive(Deserialize)]
struct TokenFields {
    token: String,
}

impl ClientRequest {
    /// What a frame asks.
    pub fn read(frame: Message<'_>) -> Result<ClientRequest, RequestError> {
        let bad = |code, text: &str| RequestError {
            id: None,
            code,
            text: text.to_owned(),
        };
        let Message::Text(text) = frame else {
            let text = "a frame is a text message with one JSON object, and this is binary";
            return Err(bad("bad_json", text));
        };
        if !text.trim_ascii_start().starts_with('{') {
            return Err(bad("bad_json", "a frame is one JSON object"));
        }
        let head: FrameHead<'_> = serde_json::from_str(text).map_err(|error| {
            // A field that is twice there, or a `type` that is no string, is JSON.
            let code = match error.is_data() {
                true => "bad_request",
                false => "bad_json",
            };
            bad(code, &error.to_string())
        })?;
        let id = match head.id.map(RequestId::new) {
            None => None,
            Some(Some(id)) => Some(id),
            Some(None) => {
                let text = "id: expected a string of up to 64 bytes or a whole number";
                return Err(bad("bad_request", text));
            }
        };
        let Some(kind) = head.kind else {
            return Err(bad("bad_request", "type is missing").of(id));
        };
        match wanted(&kind, text) {
            Ok(wanted) => Ok(ClientRequest { id, wanted }),
            Err(error) => Err(error.of(id)),
        }
    }
}

impl RequestError {
    fn of(self, id: Option<RequestId>) -> RequestError {
        RequestError { id, ..self }
    }

    fn request(text: impl Into<String>) -> RequestError {
        RequestError {
            id: None,
            code: "bad_request",
            text: text.into(),
        }
    }
}

impl From<serde_json::Error> for RequestError {
    fn from(error: serde_json::Error) -> RequestError {
        RequestError::request(error.to_string())
    }
}

fn wanted(kind: &str, text: &str) -> Result<Wanted, RequestError> {
    Ok(match kind {
        "ping" => Wanted::Ping,
        "pong" => Wanted::Pong,
        "bind" => {
            let bind: BindRequest = serde_json::from_str(text)?;
            let is_client = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
            if bind.client.as_ref().is_some_and(|name| !is_client(name)) {
                return Err(RequestError::request("client: expected 1 to 64 bytes"));
            }
            if bind.ack && bind.client.is_none() {
                let text = "ack: a client that acknowledges has to have a client name";
                return Err(RequestError::request(text));
            }
            Wanted::Bind(Box::new(bind))
        }
        "join" => {
            let JoinFields { group, since } = serde_json::from_str(text)?;
            Wanted::Join { group, since }
        }
        "leave" => {
            let LeaveFields { group } = serde_json::from_str(text)?;
            Wanted::Leave { group }
        }
        "ack" => {
            let fields: AckFields = serde_json::from_str(text)?;
            Wanted::Ack {
                stream: spoken(&fields.stream, fields.group)?,
                position: fields.position,
            }
        }
        "presence" => {
            let fields: PresenceFields = serde_json::from_str(text)?;
            Wanted::Presence {
                group: fields.group,
                limit: fields.limit,
                cursor: fields.cursor,
            }
        }
        "history" => {
            let fields: HistoryFields = serde_json::from_str(text)?;
            Wanted::History {
                stream: spoken(&fields.stream, fields.group)?,
                since: fields.since,
                limit: fields.limit,
                reverse: fields.reverse,
            }
        }
        "send" => {
            let SendFields { data, text } = serde_json::from_str(text)?;
            let said = match (data, text) {
                (Some(data), None) => Spoken::Data(Box::from(data.get())),
                (None, Some(text)) => Spoken::Text(text.into()),
                _ => return Err(RequestError::request("send: expected data or text")),
            };
            Wanted::Send { said }
        }
        "token" => {
            let TokenFields { token } = serde_json::from_str(text)?;
            Wanted::Token { token }
        }
        _ => {
            return Err(RequestError {
                code: "unknown_type",
                ..RequestError::request("there is no request of this type")
            });
        }
    })
}

fn spoken(stream: &str, group: Option<String>) -> Result<SpokenStream, RequestError> {
    match (stream, group) {
        ("uid", None) => Ok(SpokenStream::Uid),
        ("all", None) => Ok(SpokenStream::All),
        ("group", Some(group)) => Ok(SpokenStream::Group(group)),
        _ => Err(RequestError::request(
            "stream: expected uid or all, or group and a group's name",
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<ClientRequest, RequestError> {
        ClientRequest::read(Message::Text(text))
    }

    fn wanted_by(text: &str) -> Wanted {
        read(text).expect("a request").wanted
    }

    fn code(text: &str) -> &'static str {
        read(text).expect_err("no request").code
    }

    #[test]
    fn each_request() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(wanted_by(r#"{"type":"ping"}"#), Wanted::Ping);
        assert_eq!(wanted_by(r#"{"type":"pong","later":[{}]}"#), Wanted::Pong);
        let bind = wanted_by(
            r#"{"client":"a","type":"bind","uid":"tom","ack":true,"positions":{"uid":"x:1","more":2},
               "groups":{"news":"y:2","chat":null}}"#,
        );
        let expected = BindRequest {
            uid: some("tom"),
            token: None,
            client: some("a"),
            positions: OwnPositions {
                uid: some("x:1"),
                all: None,
            },
            groups: JoinedSince(vec![
                ("news".to_owned(), some("y:2")),
                ("chat".to_owned(), None),
            ]),
            ack: true,
        };
        assert_eq!(bind, Wanted::Bind(Box::new(expected)));
        let group = "news".to_owned();
        assert_eq!(
            wanted_by(r#"{"type":"join","group":"news","since":"y:2"}"#),
            Wanted::Join {
                group: group.clone(),
                since: some("y:2")
            }
        );
        assert_eq!(
            wanted_by(r#"{"type":"ack","stream":"group","group":"news","position":"y:3"}"#),
            Wanted::Ack {
                stream: SpokenStream::Group(group),
                position: "y:3".to_owned()
            }
        );
        assert_eq!(
            wanted_by(r#"{"type":"history","stream":"uid","limit":7,"reverse":true}"#),
            Wanted::History {
                stream: SpokenStream::Uid,
                since: None,
                limit: Some(7),
                reverse: true
            }
        );
        for (field, said) in [
            (r#""data":{"a" :1}"#, Spoken::Data(r#"{"a" :1}"#.into())),
            (r#""data":"a""#, Spoken::Data(r#""a""#.into())),
            (r#""data":null"#, Spoken::Data("null".into())),
            (r#""text":"\u00e9""#, Spoken::Text("é".into())),
        ] {
            let frame = format!(r#"{{"type":"send",{field}}}"#);
            assert_eq!(wanted_by(&frame), Wanted::Send { said });
        }
    }

    #[test]
    fn an_id_is_kept_as_it_is_written() {
        let id = |id: &str| read(&format!(r#"{{"type":"ping","id":{id}}}"#)).map(|one| one.id);
        for one in ["7", "-1", "18446744073709551615", r#""a\u00e9""#, r#""""#] {
            let kept = id(one).expect("an id").expect("an id");
            assert_eq!(kept.json(), one);
        }
        assert_eq!(id("null"), Ok(None));
        let long = format!("\"{}\"", "a".repeat(NAME_BYTES_MAX + 1));
        for one in ["1.5", "[]", "true", "1e3", &long] {
            let error = id(one).expect_err("no id");
            assert_eq!((error.code, error.id), ("bad_request", None), "{one}");
        }
        // It is told with the error, too.
        let error = read(r#"{"type":"join","id":7}"#).expect_err("no group");
        assert_eq!(error.id.as_ref().map(RequestId::json), Some("7"));
        assert!(error.text.contains("group"), "{}", error.text);
    }

    #[test]
    fn what_is_no_request_is_named() {
        for (text, expected) in [
            ("", "bad_json"),
            ("tom", "bad_json"),
            ("[]", "bad_json"),
            (r#""ping""#, "bad_json"),
            (r#"{"type":"ping""#, "bad_json"),
            (r#"{"type":"ping"} {}"#, "bad_json"),
            ("{}", "bad_request"),
            (r#"{"type":7}"#, "bad_request"),
            (r#"{"type":"ping","type":"ping"}"#, "bad_request"),
            (r#"{"type":"join"}"#, "bad_request"),
            (r#"{"type":"join","group":7}"#, "bad_request"),
            (r#"{"type":"bind","groups":["news"]}"#, "bad_request"),
            (r#"{"type":"bind","client":""}"#, "bad_request"),
            (r#"{"type":"bind","ack":true}"#, "bad_request"),
            (
                r#"{"type":"ack","stream":"group","position":"x:1"}"#,
                "bad_request",
            ),
            (
                r#"{"type":"history","stream":"uid","group":"g"}"#,
                "bad_request",
            ),
            (r#"{"type":"send"}"#, "bad_request"),
            (r#"{"type":"send","text":"a","data":1}"#, "bad_request"),
            (r#"{"type":"subscribe"}"#, "unknown_type"),
        ] {
            assert_eq!(code(text), expected, "{text}");
        }
        let error = ClientRequest::read(Message::Binary(br#"{"type":"ping"}"#));
        assert_eq!(error.expect_err("binary").code, "bad_json");
    }

    #[test]
    fn what_nests_deep_is_passed_over() {
        let deep = "[".repeat(20_000) + &"]".repeat(20_000);
        let frame = format!(r#"{{"type":"ping","more":{deep}}}"#);
        assert_eq!(wanted_by(&frame), Wanted::Ping);
        let frame = format!(r#"{{"type":"send","data":{deep}}}"#);
        let said = Spoken::Data(deep.into());
        assert_eq!(wanted_by(&frame), Wanted::Send { said });
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>, kind in "[a-z]{0,8}", rest in ".{0,40}") {
            let _ = ClientRequest::read(Message::Binary(&bytes));
            let _ = read(&String::from_utf8_lossy(&bytes));
            let _ = read(&format!(r#"{{"type":"{kind}",{rest}}}"#));
        }
    }
}
