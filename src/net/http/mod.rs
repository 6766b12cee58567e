//! The HTTP port of one core: a monoio task a connection, requests in order, keep-alive.
//!
//! Bounds: `http_connections_max` connections of the process ([`Gate`]), one head (`request_head_bytes_max`) and one body
//! (`http_body_bytes_max`) each; a request has `handshake_timeout` to arrive, or gets 408, and a connection that
//! asks nothing, or does not take its answer, is closed after a minute. A request is answered before the next
//! is read, so nothing piles up.

mod api;
mod events;
mod gate;
mod metrics;
mod places;
mod roles;
mod routes;
mod site;
mod standing;

pub use events::Door;
pub use gate::Gate;
pub use metrics::Facts;
pub use roles::Roles;
pub use site::{Asset, Site};
pub use standing::Standing;

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use slab::Slab;
use tracing::{debug, error, warn};

use crate::app::host::Host;
use crate::auth::bearer::Bearers;
use crate::config::Config;
use crate::guard::guard;
use crate::ident::Reach;
use crate::net::admission;
use crate::net::origin::Origins;
use crate::net::rates::{Rate, Unit};
use crate::net::readiness::Pass;
use crate::net::transport::Subscriber;
use crate::protocol::events as stream;
use crate::protocol::http::fields::Field;
use crate::protocol::http::head::Head;
use crate::protocol::http::{
    Body, HeadScan, Health, HttpError, Part, check_head, decode_head, response,
};
use crate::protocol::websocket::offers::bearer;
use events::{Admitted, Ask, Declined};
use gate::{Guest, Visit};

/// A connection that asks nothing, or does not take its answer, for this long is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// A sweep that comes so late tells that the core stood still.
const STALL: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 8 << 10;
/// What is read of a peer that still sends after its last answer.
const LINGER_BYTES_MAX: usize = 16 << 20;

/// Largest body of who may not use the API.
const STRANGERS_BODY_BYTES_MAX: usize = 64 << 10;

const LARGE_AND_UNKNOWN: HttpError = HttpError {
    status: 401,
    text: "expected Authorization: Bearer TOKEN, with a token that is known here",
};

const TOO_SLOW: HttpError = HttpError {
    status: 408,
    text: "the request took too long to arrive",
};

/// One connection's operation, and when it is to be ended. One in flight is never cancelled: its socket is
/// shut down, and it completes.
pub struct Deadline {
    at: Instant,
    socket: RawFd,
    /// A request is arriving: at the deadline it is read no more, and gets its answer.
    arriving: bool,
    /// Since when it asks nothing, if so: it may be ended for a newcomer.
    idle_since: Option<Instant>,
    /// It was, and has not got it yet.
    missed: bool,
}

/// What the HTTP connections of one core share.
pub struct Port {
    pub host: Rc<RefCell<Host>>,
    /// Ends a turn: what was queued is written or posted.
    pub turn: Rc<dyn Fn()>,
    /// Its number among all that is listened on.
    pub number: u16,
    pub site: Site,
    /// Which parts it serves.
    pub roles: Roles,
    pub reach: Reach,
    /// Who may push; everybody if there are none.
    pub bearers: Bearers,
    /// What `/listeners.json` answers.
    pub listeners: Rc<str>,
    /// What `/metrics` says beside what the cores count.
    pub facts: Arc<Facts>,
    /// Who may come in.
    pub gate: Gate,
    /// Where clients go that listen, if they may.
    pub events: Option<Door>,
    /// The pages that may have them.
    pub origins: RefCell<Origins>,
    /// Takes such a client over, for a listener.
    pub subscribe: Rc<dyn Fn(u16, Subscriber)>,
    pub body_bytes_max: Cell<usize>,
    pub request_timeout: Cell<Duration>,
    /// Time to take an answer when the server stops.
    pub close_timeout: Cell<Duration>,
    /// One a connection.
    pub deadlines: RefCell<Slab<Deadline>>,
    /// What `/readyz` answers.
    pub standing: Arc<Standing>,
    /// Requests that have come and whose answer is not known.
    pub busy: Cell<usize>,
    pub stopping: Cell<bool>,
    /// Where the connections' tasks give way.
    pub pass: Pass,
    /// Ids of requests that a panic has ended, and that are still to be given up.
    pub unsettled: RefCell<Vec<api::Key>>,
}

/// One request whose answer is not known.
struct Busy<'a>(&'a Cell<usize>);

impl<'a> Busy<'a> {
    fn new(count: &'a Cell<usize>) -> Busy<'a> {
        count.set(count.get() + 1);
        Busy(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Port {
    /// Goes on with other limits.
    pub fn renew(&self, config: &Config, doors: &[admission::Door], rate: Rate) {
        self.gate.renew(config, doors, rate);
        *self.origins.borrow_mut() = Origins::new(&config.origins);
        self.body_bytes_max.set(config.http_body_bytes_max);
        self.request_timeout.set(config.handshake_timeout);
        self.close_timeout.set(config.close_timeout);
    }

    /// Connections that are not at their end.
    pub fn connections(&self) -> usize {
        self.deadlines.borrow().len()
    }

    /// Ends the operations whose time is over. Called about once a second; if it comes so much `late`, the core
    /// stood still, which was nobody's dawdling.
    pub fn sweep(&self, now: Instant, late: Duration) {
        self.settle_left();
        let forgiven = match late > STALL {
            true => late,
            false => Duration::ZERO,
        };
        for (_, deadline) in &mut *self.deadlines.borrow_mut() {
            deadline.at += forgiven;
            if deadline.at > now {
                continue;
            }
            if deadline.arriving && !deadline.missed {
                deadline.missed = true;
                shut_down(deadline.socket, libc::SHUT_RD);
            } else {
                shut_down(deadline.socket, libc::SHUT_RDWR);
            }
        }
    }

    /// The server stops: connections that ask nothing end now, the others after their answer.
    pub fn stop(&self) {
        self.stopping.set(true);
        for (_, deadline) in &*self.deadlines.borrow() {
            shut_down(deadline.socket, libc::SHUT_RD);
        }
    }

    /// Every answer is known: who does not take his in time gets no more of it.
    pub fn finish(&self) {
        let latest = Instant::now() + self.close_timeout.get();
        for (_, deadline) in &mut *self.deadlines.borrow_mut() {
            deadline.at = latest.min(deadline.at);
        }
    }

    /// Serves one connection to its end, or tells it why it is turned away.
    pub async fn serve(self: Rc<Self>, stream: StdTcpStream, peer: SocketAddr) {
        if self.stopping.get() {
            return;
        }
        let (guest, refusal) = match self.enter(peer).await {
            Ok(guest) => (guest, None),
            Err(refusal) => {
                let answer = self.refuse(&refusal);
                let Some(guest) = self.gate.refused(peer) else {
                    return;
                };
                (guest, Some(answer))
            }
        };
        let socket = stream.as_raw_fd();
        // io_uring waits for us; a socket that does not block would make it answer at once instead.
        let stream = stream
            .set_nonblocking(monoio::utils::is_legacy())
            .and_then(|()| TcpStream::from_std(stream));
        let mut stream = match stream {
            Ok(stream) => stream,
            Err(error) => return warn!(%error, "an HTTP connection could not be served"),
        };
        let deadline = Deadline {
            at: Instant::now() + self.request_timeout.get(),
            socket,
            arriving: false,
            idle_since: Some(Instant::now()),
            missed: false,
        };
        let key = self.deadlines.borrow_mut().insert(deadline);
        self.count_connection(|count| *count += 1);
        let ended = {
            let mut conversation = std::pin::pin!(async {
                match refusal {
                    Some(answer) => self
                        .turn_away(&mut stream, key, answer)
                        .await
                        .map(|()| None),
                    None => self.converse(&mut stream, key, guest, peer).await,
                }
            });
            poll_fn(|task| match guard(|| conversation.as_mut().poll(task)) {
                Ok(polled) => polled.map(Ok),
                Err(fault) => Poll::Ready(Err(fault)),
            })
            .await
        };
        // Before the socket is closed, for its number may be another's then.
        self.deadlines.borrow_mut().remove(key);
        self.count_connection(|count| *count -= 1);
        match ended {
            Ok(Ok(Some(admitted))) => {
                if let Err(fault) = guard(|| self.hand_over(stream, admitted)) {
                    error!(%fault, "a panic; a client that was to listen is dropped");
                }
                return;
            }
            Ok(Ok(None)) => {}
            Ok(Err(error)) => debug!(%error, "an HTTP connection ended"),
            Err(fault) => {
                self.host.borrow_mut().shard().stats.panics += 1;
                error!(%fault, "a panic; its HTTP connection is closed");
            }
        }
        drop(stream);
        self.tell_if_stopping();
    }

    /// Those of this port are told apart in the metrics.
    fn count_connection(&self, count: impl FnOnce(&mut u64)) {
        count(
            self.host
                .borrow_mut()
                .shard()
                .stats
                .at_listener(self.number),
        );
    }

    /// While the server stops, a turn looks at how far it is.
    fn tell_if_stopping(&self) {
        if self.stopping.get() {
            (self.turn)();
        }
    }

    fn set_deadline(&self, key: usize, after: Duration) {
        if let Some(deadline) = self.deadlines.borrow_mut().get_mut(key) {
            deadline.at = Instant::now() + after;
            deadline.arriving = false;
            deadline.idle_since = None;
            deadline.missed = false;
        }
    }

    /// A request has begun to arrive: so much time it has.
    fn begin_request(&self, key: usize) {
        self.set_deadline(key, self.request_timeout.get());
        if let Some(deadline) = self.deadlines.borrow_mut().get_mut(key) {
            deadline.arriving = true;
        }
    }

    /// The stream has ended within a request, or before one: by us, if its time was over.
    fn ended<T>(&self, key: usize) -> Result<Option<T>, HttpError> {
        let missed = |deadline: &Deadline| deadline.missed;
        match self.deadlines.borrow().get(key).is_some_and(missed) {
            true => Err(TOO_SLOW),
            false => Ok(None),
        }
    }

    /// Says why there is no more, and ends.
    async fn turn_away(
        &self,
        stream: &mut TcpStream,
        key: usize,
        answer: HttpError,
    ) -> io::Result<()> {
        let (written, _) = stream.write_all(api::refusal(answer)).await;
        written?;
        self.linger(stream, key).await
    }

    async fn converse(
        &self,
        stream: &mut TcpStream,
        key: usize,
        mut guest: Guest<'_>,
        peer: SocketAddr,
    ) -> io::Result<Option<Admitted>> {
        let mut input = Vec::new();
        loop {
            let read = self.read_request(stream, &mut input, key, &mut guest);
            let (request, visit) = match read.await? {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(None),
                Err(refused) => {
                    // The limits on connections and rates have told the log of themselves.
                    if !matches!(refused.status, 429 | 503) {
                        self.gate.explain(peer, refused);
                    }
                    self.turn_away(stream, key, refused).await?;
                    return Ok(None);
                }
            };
            self.set_deadline(key, KEEP_ALIVE);
            let busy = Busy::new(&self.busy);
            let Declined {
                answer,
                readable_by,
            } = match self.admit(&request, peer) {
                Some(Ok(admitted)) => return Ok(Some(admitted)),
                Some(Err(declined)) => declined,
                None => self.route(&request).await.into(),
            };
            drop(busy);
            let keep_alive = request.keep_alive && !self.stopping.get();
            self.tell_if_stopping();
            let mut fields: Vec<(&str, &str)> = answer.fields;
            if keep_alive && request.is_old {
                fields.push(("Connection", "keep-alive"));
            }
            if let Some(origin) = &readable_by {
                fields.extend(stream::readable_by(origin));
            }
            let mut bytes = response::response_head(
                answer.status,
                &fields,
                Some(answer.body.len()),
                keep_alive,
            );
            if request.method != "HEAD" {
                bytes.extend_from_slice(&answer.body);
            }
            let (written, _) = stream.write_all(bytes).await;
            written?;
            drop(visit);
            if !keep_alive {
                self.linger(stream, key).await?;
                return Ok(None);
            }
            self.be_idle(key);
            self.give_way().await?;
        }
    }

    /// Lets the rest of the core go on. io_uring does at each operation, but the epoll driver reads and
    /// writes at once where it can: one that asks without end would keep the core to itself.
    async fn give_way(&self) -> io::Result<()> {
        if monoio::utils::is_legacy() {
            self.pass.give_way().await?;
        }
        Ok(())
    }

    /// Ends our side and reads the rest, so that the answer is not lost to a reset that unread bytes would
    /// cause.
    async fn linger(&self, stream: &mut TcpStream, key: usize) -> io::Result<()> {
        self.set_deadline(key, self.request_timeout.get());
        stream.shutdown().await?;
        let mut buffer = Vec::with_capacity(READ_BYTES);
        let mut bytes = 0;
        while bytes < LINGER_BYTES_MAX {
            let (read, returned) = stream.read(buffer).await;
            match read? {
                0 => break,
                length => bytes += length,
            }
            buffer = returned;
            buffer.clear();
            self.give_way().await?;
        }
        Ok(())
    }

    /// How large a body may be, and what is said of a larger one, if not just that. It is kept whole until the request is
    /// answered, so there is little room for who may not use the API.
    fn body_bounds(&self, request: &Request) -> (usize, Option<HttpError>) {
        let bytes_max = self.body_bytes_max.get();
        let is_for_api = self.roles.has(Roles::API) && Roles::of_path(&request.path) == Roles::API;
        let token = request.authorization.as_deref().and_then(bearer);
        let rights = token.and_then(|token| self.bearers.rights(token));
        let is_open = self.bearers.is_empty();
        if is_for_api && (is_open && !request.is_forwarded || rights.is_some()) {
            return (bytes_max, None);
        }
        let unknown = (is_for_api && !is_open).then_some(LARGE_AND_UNKNOWN);
        (bytes_max.min(STRANGERS_BODY_BYTES_MAX), unknown)
    }

    /// Reads the next request whole. `None` at the end of the stream.
    async fn read_request<'a>(
        &self,
        stream: &mut TcpStream,
        input: &mut Vec<u8>,
        key: usize,
        guest: &mut Guest<'a>,
    ) -> io::Result<Result<Option<(Request, Option<Visit<'a>>)>, HttpError>> {
        let mut scan = HeadScan::new(self.gate.request_head_bytes_max());
        let mut begun = false;
        let (mut request, visit, framing, length, invites) = loop {
            if !begun {
                skip_empty_lines(input);
            }
            if !matches!(input.as_slice(), b"" | b"\r") && !begun {
                begun = true;
                self.begin_request(key);
            }
            let found = match begun {
                true => check_head(&mut scan, input),
                false => Ok(None),
            };
            match found {
                Err(refused) => return Ok(Err(refused)),
                Ok(None) => {
                    let length = read_more(stream, input).await?;
                    if length == 0 {
                        return Ok(self.ended(key));
                    }
                    if let Err(refusal) = guest.spend(length, Unit::Nothing) {
                        return Ok(Err(self.refuse(&refusal)));
                    }
                }
                Ok(Some(head)) => {
                    let visit = match guest.ask(&head) {
                        Ok(visit) => visit,
                        Err(refusal) => return Ok(Err(self.refuse(&refusal))),
                    };
                    let request = match Request::new(&head, &input[..head.len], guest.peer()) {
                        Ok(request) => request,
                        Err(refused) => return Ok(Err(refused)),
                    };
                    break (request, visit, head.framing, head.len, head.expect_continue);
                }
            }
        };
        let (bytes_max, too_large) = self.body_bounds(&request);
        let refusal = |refused: HttpError| match refused.status {
            413 => too_large.unwrap_or(refused),
            _ => refused,
        };
        let mut reader = match Body::new(framing, bytes_max) {
            Ok(reader) => reader,
            Err(refused) => return Ok(Err(refusal(refused))),
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
                Err(refused) => return Ok(Err(refusal(refused))),
                Ok(Some(Part::Bytes(bytes))) => request.body.extend_from_slice(bytes),
                Ok(Some(Part::End)) => {
                    input.drain(..at);
                    return Ok(Ok(Some((request, visit))));
                }
                Ok(None) => {
                    input.clear();
                    at = 0;
                    let length = read_more(stream, input).await?;
                    if length == 0 {
                        return Ok(self.ended(key));
                    }
                    if let Err(refusal) = guest.spend(length, Unit::Nothing) {
                        return Ok(Err(self.refuse(&refusal)));
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
    pub query: String,
    pub host: String,
    pub origin: Option<String>,
    pub content_type: Option<String>,
    pub authorization: Option<String>,
    /// What one says that asks to listen.
    pub events: Option<Ask>,
    /// What one asks that asks after health.
    pub health: Option<Health>,
    /// Whether it is of HTTP/1.0.
    pub is_old: bool,
    /// Whether a proxy says that it forwards it.
    pub is_forwarded: bool,
    /// Where its connection comes from.
    pub peer: SocketAddr,
    pub keep_alive: bool,
    pub body: Vec<u8>,
}

impl Request {
    /// Of a head that has passed the check, and its bytes; the body is still to come.
    fn new(head: &Head<'_>, bytes: &[u8], peer: SocketAddr) -> Result<Request, HttpError> {
        let parsed = decode_head(bytes)?;
        let authorization = head.single(Field::Authorization)?;
        Ok(Request {
            method: parsed.method.as_str().to_owned(),
            path: parsed.uri.path().to_owned(),
            query: parsed.uri.query().unwrap_or_default().to_owned(),
            host: head.host.to_owned(),
            origin: head.origin.map(str::to_owned),
            content_type: head.content_type.map(str::to_owned),
            authorization: authorization.map(str::to_owned),
            events: Ask::of(head),
            health: Health::of(head),
            is_old: head.is_old,
            is_forwarded: head.is_forwarded(),
            peer,
            keep_alive: head.keep_alive,
            body: Vec::new(),
        })
    }
}

/// Drops the empty lines before a request: a client that ends a body with one too many (RFC 9112, section 2.2) has not
/// begun another request by it.
fn skip_empty_lines(input: &mut Vec<u8>) {
    let mut length = 0;
    while input[length..].starts_with(b"\r\n") {
        length += 2;
    }
    input.drain(..length);
}

/// Appends what arrives next, and says how much that is: nothing at the end of the stream.
async fn read_more(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<usize> {
    let (read, buffer) = stream.read(Vec::with_capacity(READ_BYTES)).await;
    let length = read?;
    input.extend_from_slice(&buffer[..length]);
    Ok(length)
}

fn shut_down(socket: RawFd, how: libc::c_int) {
    // SAFETY: no pointers. The descriptor is in the table of deadlines, from which its task takes it
    // before the socket is closed. An error means that the peer is gone already.
    unsafe { libc::shutdown(socket, how) };
}
