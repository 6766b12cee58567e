//! A websocket client that writes each byte itself: for what no well-behaved library would send.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::client::{End, PATIENCE};

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
/// The bit that says that a frame is its message's last.
pub const FIN: u8 = 0x80;

/// A frame that the server sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// FIN and the opcode as they lay on the wire.
    pub first: u8,
    pub body: Vec<u8>,
}

/// A connection whose bytes we write ourselves.
pub struct Raw {
    pub socket: TcpStream,
    unread: Vec<u8>,
}

impl Raw {
    /// Connects, without a handshake.
    pub async fn dial(address: SocketAddr) -> Raw {
        Raw::over(
            timeout(PATIENCE, TcpStream::connect(address))
                .await
                .expect("connecting took too long")
                .expect("a connection"),
        )
    }

    /// Connects with the smallest receive buffer, so that little fits before the server must wait.
    pub async fn dial_narrow(address: SocketAddr) -> Raw {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }
        .expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        Raw::over(socket.connect(address).await.expect("a connection"))
    }

    /// Connects from another address of this machine, without a handshake.
    pub async fn dial_from(own: [u8; 4], address: SocketAddr) -> Raw {
        let socket = TcpSocket::new_v4().expect("a socket");
        let own = SocketAddr::from((own, 0));
        socket.bind(own).expect("an address of this machine");
        Raw::over(socket.connect(address).await.expect("a connection"))
    }

    /// The same over a socket that is already connected.
    pub fn over(socket: TcpStream) -> Raw {
        socket.set_nodelay(true).expect("no delay");
        Raw {
            socket,
            unread: Vec::new(),
        }
    }

    /// Connects and shakes hands.
    pub async fn open(address: SocketAddr) -> Raw {
        let mut raw = Raw::dial(address).await;
        raw.shake_hands().await;
        raw
    }

    /// Connects to relay and logs in, with the smallest receive buffer.
    pub async fn relay_narrow(address: SocketAddr, uid: &str) -> Raw {
        let mut raw = Raw::dial_narrow(address).await;
        raw.shake_hands().await;
        raw.frame(FIN | TEXT, uid.as_bytes()).await;
        let welcome = raw.next().await.expect("a login answer");
        assert!(welcome.body.starts_with(b"login success"), "{welcome:?}");
        raw
    }

    pub async fn shake_hands(&mut self) {
        self.shake_hands_with("").await;
    }

    /// Shakes hands with further header lines; returns the head of the answer.
    pub async fn shake_hands_with(&mut self, lines: &str) -> String {
        self.write(request(lines).as_bytes()).await;
        let head = self.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        head
    }

    /// Writes bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.socket.write_all(bytes))
            .await
            .expect("writing took too long")
            .expect("the bytes leave");
    }

    /// Writes bytes as they are; the server may have closed already.
    pub async fn write_if_open(&mut self, bytes: &[u8]) {
        let _ = timeout(PATIENCE, self.socket.write_all(bytes)).await;
    }

    /// Ends the connection by a reset, whatever is under way.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.socket);
        socket.set_linger(Some(Duration::ZERO)).expect("a reset");
    }

    /// Writes a masked frame.
    pub async fn frame(&mut self, first: u8, body: &[u8]) {
        self.write(&masked(first, body)).await;
    }

    /// The head of the server's HTTP answer, up to the empty line.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).expect("a head of text");
            }
            if let Some(end) = self.fill().await {
                panic!("the connection ended ({end:?}) before a whole head");
            }
        }
    }

    /// The status of the server's HTTP answer; `None` if the connection ends without one.
    pub async fn status(&mut self) -> Option<u16> {
        while find(&self.unread, b"\r\n\r\n").is_none() {
            if self.fill().await.is_some() {
                assert!(self.unread.is_empty(), "half an answer");
                return None;
            }
        }
        let head = self.head().await;
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        Some(
            status
                .and_then(|status| status.parse().ok())
                .expect("a status"),
        )
    }

    /// Takes the next bytes as they are.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.unread.len() < count {
            let end = self.fill().await;
            assert!(end.is_none(), "the connection ended: {end:?}");
        }
        self.unread.drain(..count).collect()
    }

    /// The server's next frame, or how the connection ended without one.
    pub async fn next(&mut self) -> Result<Frame, End> {
        loop {
            if let Some(frame) = self.cut() {
                return Ok(frame);
            }
            if let Some(end) = self.fill().await {
                return Err(end);
            }
        }
    }

    /// The server's next frame, if it comes in time.
    pub async fn next_within(&mut self, time: Duration) -> Option<Result<Frame, End>> {
        timeout(time, async {
            loop {
                if let Some(frame) = self.cut() {
                    return Ok(frame);
                }
                if let Some(end) = self.fill().await {
                    return Err(end);
                }
            }
        })
        .await
        .ok()
    }

    /// The next frame must be this one.
    pub async fn expect(&mut self, first: u8, body: &[u8]) {
        let frame = self.next().await.expect("a frame");
        assert!(
            frame.first == first && frame.body == body,
            "expected {first:#x} {}, got {:#x} {}",
            crate::client::short(&String::from_utf8_lossy(body)),
            frame.first,
            crate::client::short(&String::from_utf8_lossy(&frame.body)),
        );
    }

    /// The server must close with one of these codes next, and end the connection after our answer.
    pub async fn expect_close(&mut self, codes: &[u16]) {
        let frame = self.next().await.expect("a close frame");
        assert_eq!(frame.first, FIN | CLOSE, "{frame:?}");
        let code = close_code(&frame).expect("a code");
        assert!(codes.contains(&code), "closed with {code}, not {codes:?}");
        std::str::from_utf8(&frame.body[2..]).expect("a reason in UTF-8");
        self.write_if_open(&masked(FIN | CLOSE, &code.to_be_bytes()))
            .await;
        self.expect_end().await;
    }

    /// The connection must end now, by the end of the stream or a reset.
    pub async fn expect_end(&mut self) {
        match self.next().await {
            Err(_) => {}
            Ok(frame) => panic!("a frame after the close: {frame:?}"),
        }
    }

    /// Reads until the connection ends; returns the frames before.
    pub async fn drain(&mut self) -> (Vec<Frame>, End) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(frame) => frames.push(frame),
                Err(end) => return (frames, end),
            }
        }
    }

    /// Reads once; tells the end if it was one.
    async fn fill(&mut self) -> Option<End> {
        match timeout(PATIENCE, self.socket.read_buf(&mut self.unread))
            .await
            .expect("nothing came in time")
        {
            Ok(0) => Some(End::Bare),
            Ok(_) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(End::Reset),
            Err(error) => panic!("reading failed: {error}"),
        }
    }

    fn cut(&mut self) -> Option<Frame> {
        let (frame, used) = cut_frame(&self.unread)?;
        self.unread.drain(..used);
        Some(frame)
    }
}

/// The code of a close frame, if it has one.
pub fn close_code(frame: &Frame) -> Option<u16> {
    Some(u16::from_be_bytes(frame.body.get(..2)?.try_into().ok()?))
}

/// Cuts one frame of a server off the bytes: it, and how many they were.
pub fn cut_frame(bytes: &[u8]) -> Option<(Frame, usize)> {
    let second = *bytes.get(1)?;
    assert_eq!(second & 0x80, 0, "a server does not mask its frames");
    let (length, start) = match second {
        126 => (
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
            10,
        ),
        short => (usize::from(short), 2),
    };
    let body = bytes.get(start..start + length)?.to_vec();
    let first = bytes[0];
    Some((Frame { first, body }, start + length))
}

/// The frame's first bytes, up to its mask.
pub fn head_of(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes
}

/// A frame as a client writes it.
pub fn masked(first: u8, body: &[u8]) -> Vec<u8> {
    let mask = fastrand::u32(..).to_be_bytes();
    let mut bytes = head_of(first, body.len() as u64);
    bytes.extend_from_slice(&mask);
    bytes.extend(body.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

/// The opening request of RFC 6455, section 1.3, with further header lines.
pub fn request(lines: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
