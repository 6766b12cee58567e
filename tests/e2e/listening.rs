//! A client that listens by Server-Sent Events, each byte of its request its own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Duration, timeout};

use crate::client::PATIENCE;
use crate::server::Server;

/// What comes of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Came {
    /// Its kind, empty for a message, and its data.
    Event(String, String),
    Comment,
    /// The stream has ended, orderly or not.
    End,
}

/// The answer to a request for events, and what follows it.
pub struct Listening {
    pub socket: TcpStream,
    unread: Vec<u8>,
    /// Of the event under way.
    kind: String,
    data: Vec<String>,
    /// What a browser would come back with.
    pub id: String,
    pub status: u16,
    /// The answer's head in lower case.
    pub head: String,
}

impl Listening {
    /// Listens as a uid, and is let in.
    pub async fn open(address: SocketAddr, uid: &str) -> Listening {
        let one = Listening::ask(address, &format!("uid={uid}"), "").await;
        assert_eq!(one.status, 200, "{}", one.head);
        one
    }

    /// Asks, with a query and further header lines, each ended by `\r\n`.
    pub async fn ask(address: SocketAddr, query: &str, lines: &str) -> Listening {
        let socket = TcpStream::connect(address).await.expect("a connection");
        Listening::over(socket, &get(address, query, lines)).await
    }

    /// Listens with the smallest receive buffer.
    pub async fn open_narrow(address: SocketAddr, uid: &str) -> Listening {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let socket = socket.connect(address).await.expect("a connection");
        Listening::over(socket, &get(address, &format!("uid={uid}"), "")).await
    }

    /// Sends a request, written out, and takes the answer's head.
    pub async fn over(mut socket: TcpStream, request: &str) -> Listening {
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut one = Listening {
            socket,
            unread: Vec::new(),
            kind: String::new(),
            data: Vec::new(),
            id: String::new(),
            status: 0,
            head: String::new(),
        };
        let head = loop {
            if let Some(head) = one.take_until(b"\r\n\r\n") {
                break head;
            }
            assert!(one.fill().await, "no answer");
        };
        one.status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("no status in {head:?}"));
        one.head = head.to_ascii_lowercase();
        one
    }

    /// Whether the head has this line.
    pub fn has(&self, line: &str) -> bool {
        self.head
            .lines()
            .any(|own| own == line.to_ascii_lowercase())
    }

    fn take_until(&mut self, mark: &[u8]) -> Option<String> {
        let at = self.unread.windows(mark.len()).position(|at| at == mark)?;
        let taken: Vec<u8> = self.unread.drain(..at + mark.len()).collect();
        Some(String::from_utf8(taken).expect("text"))
    }

    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.unread)).await;
        matches!(read.expect("nothing came in time"), Ok(count) if count > 0)
    }

    /// What comes next, pings included.
    pub async fn next(&mut self) -> Came {
        loop {
            let Some(line) = self.take_until(b"\n") else {
                match self.fill().await {
                    true => continue,
                    false => return Came::End,
                }
            };
            let line = &line[..line.len() - 1];
            match line.split_once(": ") {
                // A block without data is no event.
                _ if line.is_empty() && self.data.is_empty() => self.kind.clear(),
                _ if line.is_empty() => {
                    let data = std::mem::take(&mut self.data).join("\n");
                    return Came::Event(std::mem::take(&mut self.kind), data);
                }
                Some(("data", text)) => self.data.push(text.to_owned()),
                Some(("id", id)) => self.id = id.to_owned(),
                Some(("event", name)) => self.kind = name.to_owned(),
                Some(("retry", time)) => assert!(time.parse::<u32>().is_ok(), "{time}"),
                _ if line == ":" => return Came::Comment,
                _ => panic!("no line of ours: {line:?}"),
            }
        }
    }

    /// The next event is this message.
    pub async fn expect(&mut self, text: &str) {
        loop {
            match self.next().await {
                Came::Comment => {}
                came => {
                    return assert_eq!(came, Came::Event(String::new(), text.to_owned()));
                }
            }
        }
    }

    /// The stream ends, having told why, which is returned.
    pub async fn expect_close(&mut self, code: u16) -> serde_json::Value {
        loop {
            match self.next().await {
                Came::Comment => {}
                Came::Event(kind, data) => {
                    let told = data.starts_with(&format!("{{\"code\":{code},"));
                    assert!(kind == "close" && told, "{kind}: {data}");
                    assert_eq!(self.next().await, Came::End);
                    return serde_json::from_str(&data).expect("JSON");
                }
                Came::End => panic!("it ended without a word"),
            }
        }
    }

    /// Nothing comes for a while.
    pub async fn expect_silence(&mut self) {
        let came = timeout(Duration::from_millis(150), self.next()).await;
        assert!(came.is_err(), "{came:?}");
    }
}

fn get(address: SocketAddr, query: &str, lines: &str) -> String {
    format!("GET /v1/events?{query} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n")
}

impl Server {
    /// Listens as a uid by the page's listener.
    pub async fn listen(&self, uid: &str) -> Listening {
        Listening::open(self.address("http", "page"), uid).await
    }
}
