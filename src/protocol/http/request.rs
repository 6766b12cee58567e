//! A request as it is handed on, whole: [`Request`].

use monoio_http::common::request::RequestHead;
use serde::{Deserialize, Serialize, Serializer};

use super::body::BodyReader;
use super::fields::Field;
use super::framing::Framing;
use super::head::{Head, check_head, decode_head};
use super::health::Health;
use super::opening::OpeningRequest;
use super::response::HttpError;
use super::scan::HeadScan;
use super::token::{Token, token};
use crate::ident::PeerProof;

/// Where a client asks for Server-Sent Events: the one path that takes a client's token.
pub const EVENTS_PATH: &str = "/v1/events";

/// A request whose head has passed the check. Its body is complete when the decoder yields it.
#[derive(Debug, Deserialize)]
#[serde(try_from = "WrittenRequest")]
pub struct Request {
    /// Method, target and fields, in the types of the `http` crate.
    head: RequestHead,
    /// The host and port that the client meant; empty if it named none.
    pub host: String,
    /// The Authorization field.
    pub authorization: Option<String>,
    /// The token that one brings that asks to listen.
    pub token: Result<Option<Token>, HttpError>,
    /// What one asks that asks after health.
    pub health: Option<Health>,
    /// Whether it is of HTTP/1.0.
    pub is_old: bool,
    /// Whether a proxy says that it forwards it.
    pub is_forwarded: bool,
    /// What the machine itself knows of who asks.
    pub proof: PeerProof,
    /// Whether the client would send another one on the connection.
    pub keep_alive: bool,
    /// How its body is delimited.
    pub framing: Framing,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Its body.
    pub body: Vec<u8>,
}

/// What is written down of a request: its head again, as its fields say, and what has come of its body.
#[derive(Serialize, Deserialize)]
struct WrittenRequest {
    head: Vec<u8>,
    is_forwarded: bool,
    proof: PeerProof,
    body: Vec<u8>,
}

impl Serialize for Request {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = WrittenRequest {
            head: self.head_again(),
            is_forwarded: self.is_forwarded,
            proof: self.proof.clone(),
            body: self.body.clone(),
        };
        written.serialize(serializer)
    }
}

/// It may be anything, and is checked as what comes from outside.
impl TryFrom<WrittenRequest> for Request {
    type Error = &'static str;

    fn try_from(written: WrittenRequest) -> Result<Request, &'static str> {
        let mut scan = HeadScan::new(written.head.len() + 1);
        let head = match check_head(&mut scan, &written.head) {
            Ok(Some(head)) if head.len == written.head.len() => head,
            Ok(_) => return Err("the head of a request that is none"),
            Err(error) => return Err(error.text),
        };
        let request = Request::new(&head).map_err(|error| error.text)?;
        Ok(Request {
            is_forwarded: written.is_forwarded,
            proof: written.proof,
            body: written.body,
            ..request
        })
    }
}

impl Request {
    /// Its head in bytes, which say the same as those that it came in.
    fn head_again(&self) -> Vec<u8> {
        let version = match self.is_old {
            true => "HTTP/1.0",
            false => "HTTP/1.1",
        };
        let line = format!("{} {} {version}\r\n", self.head.method, self.head.uri);
        let mut bytes = line.into_bytes();
        for (name, value) in &self.head.headers {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }

    /// Of a head that has passed the check; the body is still to come.
    pub fn new(head: &Head<'_>) -> Result<Request, HttpError> {
        let token = match head.path {
            EVENTS_PATH => token(head),
            _ => Ok(None),
        };
        Ok(Request {
            head: decode_head(head.bytes())?,
            host: head.host.to_owned(),
            authorization: head.single(Field::Authorization)?.map(str::to_owned),
            token,
            health: Health::of(head),
            is_old: head.is_old,
            is_forwarded: head.is_forwarded(),
            proof: PeerProof::default(),
            keep_alive: head.keep_alive,
            framing: head.framing,
            expects_continue: head.expect_continue,
            body: Vec::new(),
        })
    }

    /// Its method, as sent.
    pub fn method(&self) -> &str {
        self.head.method.as_str()
    }

    /// Its target's path, beginning with `/` (or `*` alone).
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// What follows the target's first `?`; empty if nothing does.
    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// Whether it only asks to be told something.
    pub fn reads(&self) -> bool {
        matches!(self.method(), "GET" | "HEAD")
    }

    /// The first value of a field, if that is text.
    pub fn field(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.head.headers.get(name)?.as_bytes()).ok()
    }

    /// What an app that wants these header fields is shown of it.
    pub fn opening(&self, headers: &[&'static str]) -> OpeningRequest {
        let fields = self.head.headers.iter();
        let fields = fields.map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        OpeningRequest::new(self.path(), self.head.uri.query(), fields, headers)
    }

    /// What the X-Forwarded-For fields say, in their order, for each proxy may have added its own.
    pub fn forwarded(&self) -> Option<String> {
        let fields = self.head.headers.get_all("x-forwarded-for").iter();
        let fields: Vec<_> = fields
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (!fields.is_empty()).then(|| fields.join(","))
    }

    /// A reader of its body, of at most so many bytes.
    pub fn body_reader(&self, bytes_max: usize) -> Result<BodyReader, HttpError> {
        BodyReader::new(self.framing, bytes_max)
    }
}
