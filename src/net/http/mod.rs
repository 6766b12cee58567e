//! The HTTP port of one core: a monoio task a connection, requests in order, keep-alive.
//!
//! Bounds: `http_connections_max` connections a core, one head (16 KiB) and one body
//! (`http_body_bytes_max`) each; a request has `handshake_timeout` to arrive, and a connection that asks nothing is
//! closed after a minute. A request is answered before the next is read, so nothing piles up.

mod routes;
mod site;

pub use site::{Asset, Site};

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream as StdTcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use slab::Slab;
use tracing::debug;

use crate::app::host::Host;
use crate::ident::Reach;
use crate::protocol::http::head::HTTP_HEAD_BYTES_MAX;
use crate::protocol::http::{Body, HeadScan, HttpError, Part, check_head, decode_head, response};

/// A connection that asks nothing for this long is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const READ_BYTES: usize = 8 << 10;

/// What the HTTP connections of one core share.
pub struct Port {
    pub host: Rc<RefCell<Host>>,
    /// Ends a turn: what was queued is written or posted.
    pub turn: Rc<dyn Fn()>,
    pub site: Site,
    pub reach: Reach,
    /// What `/listeners.json` answers.
    pub listeners: Rc<str>,
    pub connections_max: usize,
    pub body_bytes_max: usize,
    pub request_timeout: Duration,
    /// Sockets whose reads are to be ended at a time. A read in flight is never cancelled: its socket
    /// is shut down, and it completes.
    pub deadlines: RefCell<Slab<(Instant, RawFd)>>,
    /// Requests that have come and are not answered.
    pub busy: Cell<usize>,
    pub stopping: Cell<bool>,
}

impl Port {
    /// Ends the reads whose time is over. Called about once a second.
    pub fn sweep(&self, now: Instant) {
        for (_, (deadline, socket)) in &*self.deadlines.borrow() {
            if *deadline <= now {
                shut_down_reading(*socket);
            }
        }
    }

    /// The server stops: connections that ask nothing end now, the others after their answer.
    pub fn stop(&self) {
        self.stopping.set(true);
        for (_, (_, socket)) in &*self.deadlines.borrow() {
            shut_down_reading(*socket);
        }
    }

    /// Serves one connection to its end.
    pub async fn serve(self: Rc<Self>, stream: StdTcpStream) {
        if self.deadlines.borrow().len() >= self.connections_max || self.stopping.get() {
            return;
        }
        let socket = stream.as_raw_fd();
        let key = self
            .deadlines
            .borrow_mut()
            .insert((Instant::now() + self.request_timeout, socket));
        if let Err(error) = self.converse(stream, key).await {
            debug!(%error, "an HTTP connection ended");
        }
        self.deadlines.borrow_mut().remove(key);
    }

    fn set_deadline(&self, key: usize, after: Duration) {
        if let Some(entry) = self.deadlines.borrow_mut().get_mut(key) {
            entry.0 = Instant::now() + after;
        }
    }

    async fn converse(&self, stream: StdTcpStream, key: usize) -> io::Result<()> {
        // io_uring waits for us; a socket that does not block would make it answer at once instead.
        stream.set_nonblocking(monoio::utils::is_legacy())?;
        let mut stream = TcpStream::from_std(stream)?;
        let mut input = Vec::new();
        loop {
            let request = match self.read_request(&mut stream, &mut input, key).await? {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(refused) => {
                    let (written, _) = stream.write_all(refused.response()).await;
                    written?;
                    return linger(&mut stream).await;
                }
            };
            self.busy.set(self.busy.get() + 1);
            let keep_alive = request.keep_alive && !self.stopping.get();
            let answer = self.route(&request).await;
            let body: &[u8] = if request.method == "HEAD" {
                b""
            } else {
                &answer.body
            };
            let mut bytes = response::response_head(
                answer.status,
                &answer.fields,
                Some(answer.body.len()),
                keep_alive,
            );
            bytes.extend_from_slice(body);
            let (written, _) = stream.write_all(bytes).await;
            self.busy.set(self.busy.get() - 1);
            written?;
            if !keep_alive {
                return linger(&mut stream).await;
            }
            self.set_deadline(key, KEEP_ALIVE);
        }
    }

    /// Reads the next request whole. `None` at the end of the stream.
    async fn read_request(
        &self,
        stream: &mut TcpStream,
        input: &mut Vec<u8>,
        key: usize,
    ) -> io::Result<Result<Option<Request>, HttpError>> {
        let mut scan = HeadScan::new(HTTP_HEAD_BYTES_MAX);
        let mut begun = false;
        let (mut request, framing, length, invites) = loop {
            if !input.is_empty() && !begun {
                begun = true;
                self.set_deadline(key, self.request_timeout);
            }
            match check_head(&mut scan, input) {
                Err(refused) => return Ok(Err(refused)),
                Ok(None) => {
                    if !read_more(stream, input).await? {
                        return Ok(Ok(None));
                    }
                }
                Ok(Some(head)) => {
                    let parsed = match decode_head(&input[..head.len]) {
                        Ok(parsed) => parsed,
                        Err(refused) => return Ok(Err(refused)),
                    };
                    let request = Request {
                        method: parsed.method.as_str().to_owned(),
                        path: parsed.uri.path().to_owned(),
                        host: head.host.to_owned(),
                        origin: head.origin.map(str::to_owned),
                        content_type: head.content_type.map(str::to_owned),
                        keep_alive: head.keep_alive,
                        body: Vec::new(),
                    };
                    break (request, head.framing, head.len, head.expect_continue);
                }
            }
        };
        let mut reader = match Body::new(framing, self.body_bytes_max) {
            Ok(reader) => reader,
            Err(refused) => return Ok(Err(refused)),
        };
        input.drain(..length);
        if invites && input.is_empty() {
            let (written, _) = stream
                .write_all(&b"HTTP/1.1 100 Continue\r\n\r\n"[..])
                .await;
            written?;
        }
        let mut at = 0;
        loop {
            match reader.next(input, &mut at) {
                Err(refused) => return Ok(Err(refused)),
                Ok(Some(Part::Bytes(bytes))) => request.body.extend_from_slice(bytes),
                Ok(Some(Part::End)) => {
                    input.drain(..at);
                    return Ok(Ok(Some(request)));
                }
                Ok(None) => {
                    input.clear();
                    at = 0;
                    if !read_more(stream, input).await? {
                        return Ok(Ok(None));
                    }
                }
            }
        }
    }
}

/// A request whose head has passed the check and whose body is complete.
pub struct Request {
    pub method: String,
    pub path: String,
    pub host: String,
    pub origin: Option<String>,
    pub content_type: Option<String>,
    pub keep_alive: bool,
    pub body: Vec<u8>,
}

/// Appends what arrives next; false at the end of the stream.
async fn read_more(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<bool> {
    let (read, buffer) = stream.read(Vec::with_capacity(READ_BYTES)).await;
    let length = read?;
    input.extend_from_slice(&buffer[..length]);
    Ok(length > 0)
}

/// Ends our side and reads the rest, bounded by the deadline, so that the answer is not lost to a reset
/// that unread bytes would cause.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    for _ in 0..64 {
        let (read, _) = stream.read(Vec::with_capacity(READ_BYTES)).await;
        if read? == 0 {
            break;
        }
    }
    Ok(())
}

fn shut_down_reading(socket: RawFd) {
    // SAFETY: the descriptor is in the table of deadlines, from which its task takes it out before
    // the socket is closed. An error means that the peer is gone already.
    unsafe { libc::shutdown(socket, libc::SHUT_RD) };
}
