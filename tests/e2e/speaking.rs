//! A client of `ringpost.v1`: [`Speaking`], which keeps its positions as any client does.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::{Client, Got, PATIENCE, SILENCE};
use crate::server::Server;

/// The field that asks for the subprotocol.
pub const FIELD: (&str, &str) = ("Sec-WebSocket-Protocol", "ringpost.v1");

/// Anybody may join any group.
pub const PUBLIC: &str = "[[groups]]\nname = \"*\"\npublic = true\n";

/// A connection, and what its client knows.
pub struct Speaking {
    pub client: Client,
    /// By `uid`, `all`, or `group/` and the group's name.
    pub positions: BTreeMap<String, String>,
}

/// The key of the stream that a frame is about.
pub fn stream_of(frame: &Value) -> String {
    match frame["stream"].as_str() {
        Some("group") => format!("group/{}", frame["group"].as_str().expect("a group")),
        Some(stream) => stream.to_owned(),
        None => panic!("no stream in {frame}"),
    }
}

/// A server whose clients may join any group, with these settings.
pub async fn server(cores: usize, settings: &str) -> Server {
    Server::keeping(cores, "websocket", settings, PUBLIC).await
}

impl Speaking {
    /// Connects, and says nothing yet.
    pub async fn connect(address: SocketAddr) -> Speaking {
        let shaken = Client::shake(address, "/", &[FIELD]).await;
        Speaking::over(shaken.expect("it speaks ringpost.v1"))
    }

    pub fn over(client: Client) -> Speaking {
        Speaking {
            client,
            positions: BTreeMap::new(),
        }
    }

    /// Connects and binds; with what it was told.
    pub async fn bind(server: &Server, bind: Value) -> (Speaking, Value) {
        let mut one = Speaking::connect(server.address("ws", "push")).await;
        let bound = one.bind_as(bind).await;
        (one, bound)
    }

    /// The same as this uid, in these groups.
    pub async fn of(server: &Server, uid: &str, groups: &[&str]) -> Speaking {
        let groups: BTreeMap<&str, Option<&str>> = groups.iter().map(|one| (*one, None)).collect();
        let (one, _) = Speaking::bind(server, json!({"uid": uid, "groups": groups})).await;
        one
    }

    /// Comes back to where this client was.
    pub async fn back(server: &Server, uid: &str, was: &Speaking) -> (Speaking, Value) {
        Speaking::bind(server, was.coming_back(uid)).await
    }

    /// A bind that names its positions.
    pub fn coming_back(&self, uid: &str) -> Value {
        let (mut own, mut groups) = (json!({}), json!({}));
        for (stream, position) in &self.positions {
            match stream.strip_prefix("group/") {
                Some(group) => groups[group] = json!(position),
                None => own[stream] = json!(position),
            }
        }
        json!({"uid": uid, "positions": own, "groups": groups})
    }

    pub async fn bind_as(&mut self, mut bind: Value) -> Value {
        bind["type"] = json!("bind");
        self.ask(&bind).await;
        let bound = self.frame().await;
        assert_eq!(bound["type"], "bound", "{bound}");
        for (stream, position) in bound["positions"].as_object().expect("positions") {
            self.note(stream.clone(), position);
        }
        for (group, position) in bound["groups"].as_object().expect("groups") {
            self.note(format!("group/{group}"), position);
        }
        bound
    }

    fn note(&mut self, stream: String, position: &Value) {
        if let Some(position) = position.as_str() {
            self.positions.insert(stream, position.to_owned());
        }
    }

    /// Sends a frame.
    pub async fn ask(&mut self, frame: &Value) {
        self.client.send(&frame.to_string()).await;
    }

    /// The next frame that is no ping. Its positions are noted.
    pub async fn frame(&mut self) -> Value {
        loop {
            match self.client.next_within(PATIENCE).await {
                Some(Got::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).expect("a frame is JSON");
                    match frame["type"].as_str().expect("a type") {
                        "ping" => continue,
                        "message" => self.note(stream_of(&frame), &frame["position"]),
                        "gap" => self.note(stream_of(&frame), &frame["top"]),
                        "joined" => {
                            let group = frame["group"].as_str().expect("a group");
                            self.note(format!("group/{group}"), &frame["position"]);
                        }
                        _ => {}
                    }
                    return frame;
                }
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    /// Asks, and takes the answer, which comes next.
    pub async fn answer(&mut self, frame: Value) -> Value {
        self.ask(&frame).await;
        self.frame().await
    }

    /// The next frame is a message with this text, of this stream; its position.
    pub async fn expect(&mut self, stream: &str, text: &str) -> Option<String> {
        let frame = self.frame().await;
        assert_eq!(frame["type"], "message", "expected {text:?}, got {frame}");
        assert_eq!(frame["text"], text, "{frame}");
        assert_eq!(stream_of(&frame), stream, "{frame}");
        frame["position"].as_str().map(str::to_owned)
    }

    /// The next frame is this error.
    pub async fn expect_error(&mut self, code: &str) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["type"], "error", "expected {code}, got {frame}");
        assert_eq!(frame["error"]["code"], code, "{frame}");
        assert!(frame["error"]["message"].is_string(), "{frame}");
        frame
    }

    /// Nothing comes for a while.
    pub async fn expect_silence(&mut self) {
        if let Some(got) = self.client.next_within(SILENCE).await {
            panic!("expected nothing, got {got:?}");
        }
    }
}
