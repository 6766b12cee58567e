//! A batch of events as its receiver gets it: one JSON object.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::events::{KickedBy, Origin, Said, UidEvent, UidEventKind};
use crate::unix_peer::ShownPeer;

/// A listener as it is named to those outside.
pub struct ListenerName {
    pub app: Box<str>,
    pub url: String,
}

/// What is the same in every batch.
pub struct BatchSender {
    /// This start of the server, by a random name.
    pub server: String,
    /// What the node is called, where it is one of a cluster.
    pub node: Option<String>,
    /// By number.
    pub listeners: Vec<ListenerName>,
}

#[derive(Serialize)]
struct BatchBody<'a> {
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    /// Counted from 1; one that is sent again has the same number.
    batch: u64,
    /// Events that nobody will get, since the last batch that was delivered.
    dropped: u64,
    events: Vec<BatchEntry<'a>>,
}

#[derive(Serialize)]
struct BatchEntry<'a> {
    id: String,
    event: &'static str,
    /// In seconds since 1970.
    time: f64,
    uid: &'a str,
    #[serde(flatten)]
    place: Option<BatchPlace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<bool>,
    /// Of a cluster, that have not said whether the uid is theirs, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes_unknown: Option<u32>,
    #[serde(flatten)]
    end: Option<BatchEnd>,
    #[serde(flatten)]
    kick: Option<BatchKick<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a RawValue>,
    #[serde(flatten)]
    content: Option<MessageContent<'a>>,
}

/// What a client has said, as it is best read.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum MessageContent<'a> {
    /// An object or an array of JSON.
    Data(&'a RawValue),
    Text(&'a str),
    /// What is not UTF-8.
    Base64(String),
}

impl<'a> MessageContent<'a> {
    fn of(said: &'a Said) -> Option<MessageContent<'a>> {
        match said {
            Said::Text(text) => Some(MessageContent::Text(text)),
            // It was JSON when it came.
            Said::Data(json) => serde_json::from_str(json).ok().map(MessageContent::Data),
            Said::Plain(bytes) => Some(MessageContent::of_plain(bytes)),
        }
    }

    fn of_plain(bytes: &'a [u8]) -> MessageContent<'a> {
        let Ok(text) = simdutf8::basic::from_utf8(bytes) else {
            return MessageContent::Base64(STANDARD.encode(bytes));
        };
        match serde_json::from_str::<&RawValue>(text) {
            Ok(data) if data.get().starts_with(['{', '[']) => MessageContent::Data(data),
            _ => MessageContent::Text(text),
        }
    }
}

#[derive(Serialize)]
struct BatchPlace<'a> {
    connection: String,
    address: ShownPeer,
    app: &'a str,
    listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct BatchEnd {
    reason: &'static str,
    code: Option<u16>,
    last: bool,
}

#[derive(Serialize)]
struct BatchKick<'a> {
    connections: u32,
    by: &'a str,
}

impl BatchSender {
    /// The numbers that listeners of another process have here; one that is not here is named on.
    pub fn numbers_of(&mut self, listeners: Vec<(Box<str>, Box<str>)>) -> Vec<u16> {
        let numbers = listeners.into_iter().map(|(app, url)| {
            let mut own = self.listeners.iter();
            let found = own.position(|one| one.app == app && *one.url == *url);
            let number = found.unwrap_or_else(|| {
                let url = url.into();
                self.listeners.push(ListenerName { app, url });
                self.listeners.len() - 1
            });
            u16::try_from(number).unwrap_or(u16::MAX)
        });
        numbers.collect()
    }

    /// The body of a request.
    pub fn encode(&self, batch: u64, dropped: u64, events: &[UidEvent]) -> Vec<u8> {
        let body = BatchBody {
            server: &self.server,
            node: self.node.as_deref(),
            batch,
            dropped,
            events: events.iter().map(|event| self.entry(event)).collect(),
        };
        // It has no map whose keys could be refused, and a vector takes all that is written.
        serde_json::to_vec(&body).unwrap_or_default()
    }

    fn entry<'a>(&'a self, event: &'a UidEvent) -> BatchEntry<'a> {
        let mut entry = BatchEntry {
            id: format!("{}-{}-{}", self.server, event.core, event.number),
            event: "",
            time: event.at as f64 / 1_000.0,
            uid: &event.uid,
            place: None,
            first: None,
            nodes_unknown: None,
            end: None,
            kick: None,
            messages: None,
            request: None,
            content: None,
        };
        match &event.what {
            UidEventKind::Connect { of, first, unknown } => {
                entry.event = "connect";
                entry.place = Some(self.place(of));
                entry.first = Some(*first);
                entry.nodes_unknown = Some(*unknown).filter(|nodes| *nodes > 0);
            }
            UidEventKind::Disconnect {
                of,
                reason,
                last,
                unknown,
            } => {
                entry.event = "disconnect";
                entry.place = Some(self.place(of));
                entry.end = Some(BatchEnd {
                    reason: reason.text(),
                    code: reason.code(),
                    last: *last,
                });
                entry.nodes_unknown = Some(*unknown).filter(|nodes| *nodes > 0);
            }
            UidEventKind::Kick { connections, by } => {
                let by = self.kicked_by(*by);
                entry.event = "kick";
                entry.kick = Some(BatchKick {
                    connections: *connections,
                    by,
                });
            }
            UidEventKind::Expired { messages } => {
                entry.event = "expired";
                entry.messages = Some(*messages);
            }
            UidEventKind::Message(message) => {
                entry.event = "message";
                entry.place = Some(self.place(&message.of));
                let request = message.request.as_deref();
                // It was JSON when it came.
                entry.request = request.and_then(|json| serde_json::from_str(json).ok());
                entry.content = MessageContent::of(&message.said);
            }
        }
        entry
    }

    fn place<'a>(&'a self, of: &'a Origin) -> BatchPlace<'a> {
        let attributes = of.attributes.as_deref();
        let named = self.listeners.get(usize::from(of.listener));
        BatchPlace {
            connection: of.connection.to_string(),
            address: ShownPeer(of.peer),
            app: named.map_or("", |named| &named.app),
            listener: named.map_or("", |named| &named.url),
            attributes: attributes.and_then(|text| serde_json::from_str(text).ok()),
        }
    }

    fn kicked_by(&self, by: KickedBy) -> &str {
        match by {
            KickedBy::Listener(number) => self
                .listeners
                .get(usize::from(number))
                .map_or("", |named| &named.url),
            KickedBy::App => "app",
            KickedBy::Http => "http",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseReason;
    use crate::events::ClientMessage;
    use crate::ident::{ConnName, CoreId};

    #[test]
    fn each_event_in_full() {
        let of = Origin {
            connection: ConnName::from((3, 0x1_0000_0002)),
            peer: "192.0.2.7:4711".parse().unwrap(),
            listener: 1,
            attributes: None,
        };
        let with_attributes = Origin {
            attributes: Some(Box::from("{\"n\":1.50}")),
            ..of.clone()
        };
        let event = |number, what| UidEvent {
            core: CoreId(3),
            number,
            at: 1_700_000_000_250,
            uid: Box::from("t\"m"),
            what,
        };
        let sender = BatchSender {
            server: "5e".to_owned(),
            node: Some("n1".to_owned()),
            listeners: ["relay", "push"]
                .map(|app| ListenerName {
                    app: app.into(),
                    url: format!("ws://127.0.0.1/{app}"),
                })
                .into(),
        };
        let disconnect = |reason| UidEventKind::Disconnect {
            of: of.clone(),
            reason,
            last: true,
            unknown: 2,
        };
        let kick = |by| UidEventKind::Kick { connections: 2, by };
        let said = |said, request: Option<&str>| {
            let request = request.map(Box::from);
            let of = of.clone();
            UidEventKind::Message(Box::new(ClientMessage { of, request, said }))
        };
        let body = sender.encode(
            7,
            1,
            &[
                event(
                    1,
                    UidEventKind::Connect {
                        of: with_attributes,
                        first: true,
                        unknown: 0,
                    },
                ),
                event(2, disconnect(CloseReason::Kicked)),
                event(3, disconnect(CloseReason::ByPeer)),
                event(4, kick(KickedBy::Listener(0))),
                event(5, kick(KickedBy::Http)),
                event(6, said(Said::Text("a\"b".into()), None)),
                event(7, said(Said::Data("{\"n\": 1.50}".into()), None)),
                event(8, said(Said::Data("null".into()), Some("\"a-1\""))),
            ],
        );
        let expected = concat!(
            r#"{"server":"5e","node":"n1","batch":7,"dropped":1,"events":["#,
            r#"{"id":"5e-3-1","event":"connect","time":1700000000.25,"uid":"t\"m","connection":"3-100000002","#,
            r#""address":"192.0.2.7:4711","app":"push","listener":"ws://127.0.0.1/push","attributes":{"n":1.50},"first":true},"#,
            r#"{"id":"5e-3-2","event":"disconnect","time":1700000000.25,"uid":"t\"m","connection":"3-100000002","#,
            r#""address":"192.0.2.7:4711","app":"push","listener":"ws://127.0.0.1/push","nodes_unknown":2,"reason":"kicked","#,
            r#""code":4007,"last":true},"#,
            r#"{"id":"5e-3-3","event":"disconnect","time":1700000000.25,"uid":"t\"m","connection":"3-100000002","#,
            r#""address":"192.0.2.7:4711","app":"push","listener":"ws://127.0.0.1/push","nodes_unknown":2,"reason":"closed by peer","#,
            r#""code":null,"last":true},"#,
            r#"{"id":"5e-3-4","event":"kick","time":1700000000.25,"uid":"t\"m","connections":2,"#,
            r#""by":"ws://127.0.0.1/relay"},"#,
            r#"{"id":"5e-3-5","event":"kick","time":1700000000.25,"uid":"t\"m","connections":2,"by":"http"},"#,
            r#"{"id":"5e-3-6","event":"message","time":1700000000.25,"uid":"t\"m","connection":"3-100000002","#,
            r#""address":"192.0.2.7:4711","app":"push","listener":"ws://127.0.0.1/push","text":"a\"b"},"#,
            r#"{"id":"5e-3-7","event":"message","time":1700000000.25,"uid":"t\"m","connection":"3-100000002","#,
            r#""address":"192.0.2.7:4711","app":"push","listener":"ws://127.0.0.1/push","data":{"n": 1.50}},"#,
            r#"{"id":"5e-3-8","event":"message","time":1700000000.25,"uid":"t\"m","connection":"3-100000002","#,
            r#""address":"192.0.2.7:4711","app":"push","listener":"ws://127.0.0.1/push","request":"a-1","data":null}]}"#,
        );
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
}
