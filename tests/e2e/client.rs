//! A client of any app over any codec, with one face: websockets by tokio-tungstenite, text and
//! frame by plain sockets.

use std::fmt::Debug;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};

/// How long anything expected may take; generous, for the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// How long nothing has to come before we believe that nothing comes.
pub const SILENCE: Duration = Duration::from_millis(250);

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    /// A text message, a line, or a frame body that is UTF-8.
    Text(String),
    /// A binary message, or bytes that are not UTF-8.
    Binary(Vec<u8>),
    /// The end.
    End(End),
}

/// How a connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// By a close frame with this code; `None` if it had none.
    Code(Option<u16>),
    /// By the end of the stream, without a close frame.
    Bare,
    /// By a reset.
    Reset,
}

/// A connection.
pub struct Client {
    line: Line,
    local: SocketAddr,
}

enum Line {
    WebSocket(Box<WebSocketStream<TcpStream>>),
    Text(Bytes),
    Frame(Bytes),
}

/// Cuts one message off the bytes: how many of them it takes, and its body.
type Cut = fn(&[u8]) -> Option<(usize, Vec<u8>)>;

/// A plain socket, and what it has read beyond the last message.
struct Bytes {
    socket: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects over the codec that the scheme names.
    pub async fn connect(scheme: &str, address: SocketAddr) -> Client {
        let socket = timeout(PATIENCE, TcpStream::connect(address))
            .await
            .expect("connecting took too long")
            .expect("a connection");
        Client::over(scheme, socket).await
    }

    /// The same over a socket that is already connected.
    pub async fn over(scheme: &str, socket: TcpStream) -> Client {
        socket.set_nodelay(true).expect("no delay");
        let local = socket.local_addr().expect("an address of our own");
        let address = socket.peer_addr().expect("a peer");
        let bytes = |socket| Bytes {
            socket,
            unread: Vec::new(),
        };
        let line = match scheme {
            "ws" => Line::WebSocket(Box::new(upgrade(socket, address).await)),
            "text" => Line::Text(bytes(socket)),
            "frame" => Line::Frame(bytes(socket)),
            other => panic!("no codec {other:?}"),
        };
        Client { line, local }
    }

    /// Opens a websocket at a target with header fields of the caller's; the status if it is refused.
    pub async fn shake(
        address: SocketAddr,
        target: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        let socket = TcpStream::connect(address).await.expect("a connection");
        Client::shake_over(socket, target, fields).await
    }

    /// The same over a socket that is already connected.
    pub async fn shake_over(
        socket: TcpStream,
        target: &str,
        fields: &[(&'static str, &str)],
    ) -> Result<Client, u16> {
        socket.set_nodelay(true).expect("no delay");
        let address = socket.peer_addr().expect("a peer");
        let local = socket.local_addr().expect("an address of our own");
        let mut request = format!("ws://{address}{target}")
            .into_client_request()
            .expect("a request");
        for (name, value) in fields {
            let value = value.parse().expect("a field's value");
            request.headers_mut().insert(*name, value);
        }
        let upgrade = tokio_tungstenite::client_async(request, socket);
        let upgraded = timeout(PATIENCE, upgrade).await;
        match upgraded.expect("the handshake took too long") {
            Ok((socket, _)) => Ok(Client {
                line: Line::WebSocket(Box::new(socket)),
                local,
            }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }

    /// Our own address, which is the one the server sees.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether it speaks websocket, and so gets close codes.
    pub fn is_websocket(&self) -> bool {
        matches!(self.line, Line::WebSocket(_))
    }

    /// Sends a text message.
    pub async fn send(&mut self, text: &str) {
        self.try_send(text).await.expect("a text message leaves");
    }

    /// Sends a text message, or tells why not.
    pub async fn try_send(&mut self, text: &str) -> Result<(), String> {
        let sending = async {
            match &mut self.line {
                Line::WebSocket(socket) => socket
                    .send(Message::text(text))
                    .await
                    .map_err(|error| error.to_string()),
                Line::Text(bytes) => bytes.write(format!("{text}\n").as_bytes()).await,
                Line::Frame(bytes) => bytes.write(&frame(text.as_bytes())).await,
            }
        };
        timeout(PATIENCE, sending)
            .await
            .expect("sending took too long")
    }

    /// Sends a binary message; over frame, the bytes as they are.
    pub async fn send_binary(&mut self, body: &[u8]) {
        match &mut self.line {
            Line::WebSocket(socket) => socket
                .send(Message::binary(body.to_vec()))
                .await
                .expect("a binary message leaves"),
            Line::Text(_) => panic!("the text codec has no binary messages"),
            Line::Frame(bytes) => bytes.write(&frame(body)).await.expect("a frame leaves"),
        }
    }

    /// Sends bytes as they are, past the codec. Not for websockets; see `raw`.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        match &mut self.line {
            Line::WebSocket(_) => panic!("websocket frames are written by raw::Raw"),
            Line::Text(socket) | Line::Frame(socket) => timeout(PATIENCE, socket.write(bytes))
                .await
                .expect("sending took too long")
                .expect("the bytes leave"),
        }
    }

    /// The next message or the end, within [`PATIENCE`].
    pub async fn next(&mut self) -> Got {
        self.next_within(PATIENCE)
            .await
            .expect("nothing came in time")
    }

    /// The next message or the end, if it comes in time.
    pub async fn next_within(&mut self, time: Duration) -> Option<Got> {
        let next = async {
            match &mut self.line {
                Line::WebSocket(socket) => next_of_websocket(socket).await,
                Line::Text(bytes) => bytes.next(cut_line).await,
                Line::Frame(bytes) => bytes.next(cut_frame).await,
            }
        };
        timeout(time, next).await.ok()
    }

    /// The next message, which must be text.
    pub async fn text(&mut self) -> String {
        match self.next().await {
            Got::Text(text) => text,
            other => panic!("expected text, got {}", short(&other)),
        }
    }

    /// The next message must be this text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let got = self.next().await;
            assert!(
                got == Got::Text(text.to_owned()),
                "expected {}, got {} (at {caller})",
                short(&text),
                short(&got)
            );
        }
    }

    /// The next message must be text that begins so.
    pub async fn expect_start(&mut self, start: &str) -> String {
        let text = self.text().await;
        assert!(
            text.starts_with(start),
            "expected {start:?}…, got {}",
            short(&text)
        );
        text
    }

    /// Sends a line and takes the answer.
    pub async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.text().await
    }

    /// Nothing must come for a while.
    pub async fn expect_silence(&mut self) {
        if let Some(got) = self.next_within(SILENCE).await {
            panic!("expected nothing, got {}", short(&got));
        }
    }

    /// The connection must end next: a websocket with this code, another one barely.
    pub async fn expect_end(&mut self, code: u16) {
        match self.next().await {
            Got::End(end) => self.check_end(&end, code),
            other => panic!("expected the end with {code}, got {}", short(&other)),
        }
    }

    /// The next thing must be the end, by a close frame that says this.
    pub async fn expect_end_saying(&mut self, code: u16, text: &str) {
        let Line::WebSocket(socket) = &mut self.line else {
            panic!("it has no close frames");
        };
        let frame = match timeout(PATIENCE, socket.next()).await {
            Ok(Some(Ok(Message::Close(Some(frame))))) => frame,
            other => panic!("expected a close frame, got {other:?}"),
        };
        assert_eq!((u16::from(frame.code), frame.reason.as_str()), (code, text));
        let _ = timeout(PATIENCE, socket.next()).await;
    }

    /// The connection must end so, whatever text comes before. Returns that text.
    pub async fn drain_to_end(&mut self, code: u16) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            match self.next().await {
                Got::End(end) => {
                    self.check_end(&end, code);
                    return before;
                }
                Got::Text(text) => before.push(text),
                Got::Binary(body) => panic!("unexpected binary message {}", short(&body)),
            }
        }
    }

    fn check_end(&self, end: &End, code: u16) {
        if self.is_websocket() {
            assert_eq!(*end, End::Code(Some(code)));
        } else {
            assert!(!matches!(end, End::Code(_)), "expected a bare close");
        }
    }

    /// Closes it as its codec does, and waits for the server's side.
    pub async fn close(mut self) {
        match &mut self.line {
            Line::WebSocket(socket) => {
                WebSocketStream::close(socket, None)
                    .await
                    .expect("a close frame leaves");
            }
            Line::Text(bytes) | Line::Frame(bytes) => {
                bytes
                    .socket
                    .shutdown()
                    .await
                    .expect("an end of stream leaves");
            }
        }
        while !matches!(self.next().await, Got::End(_)) {}
    }
}

impl Bytes {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.socket
            .write_all(bytes)
            .await
            .map_err(|error| error.to_string())
    }

    async fn next(&mut self, cut: Cut) -> Got {
        loop {
            if let Some((used, body)) = cut(&self.unread) {
                self.unread.drain(..used);
                return match String::from_utf8(body) {
                    Ok(text) => Got::Text(text),
                    Err(error) => Got::Binary(error.into_bytes()),
                };
            }
            match self.socket.read_buf(&mut self.unread).await {
                Ok(0) => return Got::End(End::Bare),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Got::End(End::Reset);
                }
                Err(error) => panic!("reading failed: {error}"),
            }
        }
    }
}

async fn upgrade(socket: TcpStream, address: SocketAddr) -> WebSocketStream<TcpStream> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(64 << 20))
        .max_frame_size(Some(64 << 20));
    let upgrade = tokio_tungstenite::client_async_with_config(
        format!("ws://{address}/"),
        socket,
        Some(config),
    );
    let (socket, _) = timeout(PATIENCE, upgrade)
        .await
        .expect("the handshake took too long")
        .expect("a handshake");
    socket
}

async fn next_of_websocket(socket: &mut WebSocketStream<TcpStream>) -> Got {
    loop {
        return match socket.next().await {
            Some(Ok(Message::Text(text))) => Got::Text(text.as_str().to_owned()),
            Some(Ok(Message::Binary(body))) => Got::Binary(body.to_vec()),
            Some(Ok(Message::Close(frame))) => {
                let code = frame.map(|frame| u16::from(frame.code));
                // Lets tungstenite send its answer, so that the server need not wait for it.
                let _ = timeout(PATIENCE, socket.next()).await;
                Got::End(End::Code(code))
            }
            Some(Ok(_)) => continue,
            Some(Err(Error::Io(error))) if error.kind() == ErrorKind::ConnectionReset => {
                Got::End(End::Reset)
            }
            Some(Err(_)) | None => Got::End(End::Bare),
        };
    }
}

/// A body as the frame codec sends it: four bytes of length that count themselves first.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a length that fits");
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn cut_line(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((end + 1, bytes[..end].to_vec()))
}

fn cut_frame(bytes: &[u8]) -> Option<(usize, Vec<u8>)> {
    let length = u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    assert!(length >= 4, "the server sent a frame of length {length}");
    Some((length, bytes.get(4..length)?.to_vec()))
}

/// The beginning of something in debug form: a failure must not print megabytes.
pub fn short(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    if text.chars().count() <= 300 {
        return text;
    }
    let start: String = text.chars().take(300).collect();
    format!("{start}… ({} bytes)", text.len())
}
