//! A minimal HTTP/1.1 client: one request on one connection, written byte for byte.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    /// The head's lines after the first, in lower case.
    pub head: String,
    pub body: String,
}

impl Response {
    /// The value of a header, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key == name).then(|| value.trim())
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body of {self:?}"))
    }
}

/// A connection to the HTTP port.
pub struct Http {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Http {
    pub async fn dial(address: SocketAddr) -> Http {
        let socket = TcpStream::connect(address).await.expect("a connection");
        Http {
            socket,
            unread: Vec::new(),
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        // The server may answer and close before it has read all.
        let _ = timeout(PATIENCE, self.socket.write_all(bytes)).await;
    }

    /// The next answer; `None` if the connection ends without one.
    pub async fn response(&mut self) -> Option<Response> {
        let mut response = self.head_response().await?;
        let length = response
            .header("content-length")
            .map(|length| length.parse::<usize>().expect("a length"));
        let length = match length {
            Some(length) => {
                while self.unread.len() < length {
                    assert!(self.fill().await, "the body of {response:?} is cut short");
                }
                length
            }
            None => {
                while self.fill().await {}
                self.unread.len()
            }
        };
        let body = self.unread.drain(..length).collect();
        response.body = String::from_utf8(body).expect("a body of text");
        Some(response)
    }

    /// The next answer, for one that has no body, whatever its length: to HEAD, or an invitation to go on.
    pub async fn head_response(&mut self) -> Option<Response> {
        let end = loop {
            let found = self.unread.windows(4).position(|w| w == b"\r\n\r\n");
            if let Some(end) = found {
                break end;
            }
            if !self.fill().await {
                assert!(self.unread.is_empty(), "half an answer");
                return None;
            }
        };
        let head = String::from_utf8(self.unread[..end].to_vec()).expect("a head of text");
        self.unread.drain(..end + 4);
        let (first, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3))
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no status in {first:?}"));
        Some(Response {
            status,
            head: rest.to_ascii_lowercase(),
            body: String::new(),
        })
    }

    /// Reads on until this has come; what came before it is dropped.
    pub async fn expect_text(&mut self, text: &str) {
        loop {
            let found = self
                .unread
                .windows(text.len())
                .position(|w| w == text.as_bytes());
            if let Some(at) = found {
                self.unread.drain(..at + text.len());
                return;
            }
            assert!(self.fill().await, "the connection ended without {text:?}");
        }
    }

    /// Whether the server has ended the connection, now or within [`PATIENCE`].
    pub async fn ends(&mut self) -> bool {
        !self.fill().await
    }

    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.unread)).await;
        matches!(read.expect("nothing came in time"), Ok(count) if count > 0)
    }
}

/// Sends one request, written out, and takes the answer.
pub async fn exchange(address: SocketAddr, request: &str) -> Response {
    let mut http = Http::dial(address).await;
    http.write(request.as_bytes()).await;
    http.response().await.expect("an answer")
}

/// `GET` of a path.
pub async fn get(address: SocketAddr, path: &str) -> Response {
    exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await
}

/// `POST` of a body with further header lines, each ended by `\r\n`.
pub async fn post(address: SocketAddr, path: &str, lines: &str, body: &str) -> Response {
    let length = body.len();
    exchange(
        address,
        &format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{lines}\
             Content-Length: {length}\r\n\r\n{body}"
        ),
    )
    .await
}

/// The header line of a JSON body.
pub const JSON: &str = "Content-Type: application/json\r\n";
