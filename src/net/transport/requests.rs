//! Connections that ask by HTTP, and their requests, read one after the other.
//!
//! A connection is not read on while it waits for an answer, so what is under way is one request a connection, and what
//! a request does comes after all that the one before it has done. Where a proxy that is
//! believed tells whose request it is, that counts as a connection of its address until it is answered.

use std::net::SocketAddr;
use std::rc::Rc;

use super::Transport;
use super::accepting::ADDRESS_FULL;
use crate::app::host::{Flow, Host};
use crate::app::round::UNITS_PER_HELPING;
use crate::close::CloseReason;
use crate::ident::{ConnId, PeerProof};
use crate::net::connection::Input;
use crate::net::http::{PendingRequests, Port, RequestKind};
use crate::net::rates::Unit;
use crate::protocol::http::head::Head;
use crate::protocol::http::{BodyReader, HttpError, Request, RequestDecoder};
use crate::protocol::websocket::accepting::opens;
use crate::shard::{Exchange, HTTP_FULL};
use crate::unix_peer::UnixPeer;

const TOO_FAST: HttpError = HttpError::new(
    429,
    "this connection has sent more than it may in this time",
);
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Transport {
    /// Has it serve these at their listeners.
    pub fn serve(
        &mut self,
        ports: Vec<Option<Rc<Port>>>,
        pending_requests: Rc<PendingRequests>,
        body_bytes_max: usize,
    ) {
        self.http.ports = ports;
        self.http.pending_requests = pending_requests;
        self.http.body_bytes_max = body_bytes_max;
    }

    /// Requests whose answers are not known.
    pub fn pending_requests(&self) -> Rc<PendingRequests> {
        Rc::clone(&self.http.pending_requests)
    }

    /// What of requests a panic has left undone.
    pub fn settle_left(&self) {
        for port in self.http.ports.iter().flatten() {
            port.settle_left();
        }
    }

    pub(super) fn port(&self, host: &mut Host, id: ConnId) -> Option<(u16, Rc<Port>)> {
        let listener = host.shard().connections.listener_number(id)?;
        let port = self.http.ports.get(usize::from(listener))?.clone()?;
        Some((listener, port))
    }

    /// Makes requests of bytes, as many as are a helping. Returns how many bytes it has taken; the
    /// others wait for an answer or a later turn, or are another codec's.
    pub(super) fn feed_requests(&mut self, host: &mut Host, id: ConnId, input: &[u8]) -> usize {
        let mut at = 0;
        let helping = host.work() + UNITS_PER_HELPING;
        loop {
            match host.flow(id) {
                Flow::Go => {}
                Flow::Wait | Flow::Leave => return at,
                Flow::Pause => {
                    self.pause(host, id);
                    return at;
                }
                Flow::End | Flow::Gone => return input.len(),
            }
            if at > 0 && at < input.len() && (host.work() >= helping || !host.goes_on()) {
                self.read_later(id);
                return at;
            }
            let Some(link) = self.links.get_mut(id) else {
                return input.len();
            };
            let Input::Requests(decoder) = &mut link.progress.input else {
                return at;
            };
            let mut decoder = std::mem::take(decoder);
            let goes_on = self.take_request(host, id, &mut decoder, input, &mut at);
            if let Some(link) = self.links.get_mut(id)
                && let Input::Requests(place) = &mut link.progress.input
            {
                *place = decoder;
            }
            if !goes_on {
                return at;
            }
        }
    }

    /// Takes what there is of one request. Whether more may be taken.
    fn take_request(
        &mut self,
        host: &mut Host,
        id: ConnId,
        decoder: &mut RequestDecoder,
        input: &[u8],
        at: &mut usize,
    ) -> bool {
        let before = *at;
        if !decoder.is_in_body() {
            let bytes_max = self.admission.request_head_bytes_max;
            let found = decoder.head(input, at, bytes_max);
            let unit = match found {
                Ok(Some(_)) => Unit::Message,
                _ => Unit::Nothing,
            };
            if !self.may_send(host, id, *at - before, unit) {
                return false;
            }
            match found {
                Ok(Some(head)) => {
                    self.begin_request(host, id);
                    let is_all = *at == input.len();
                    match self.take_head(host, id, &head, is_all) {
                        Some((request, body)) => decoder.expect_body(request, body),
                        None => return false,
                    }
                }
                Ok(None) => {
                    if decoder.has_begun() {
                        self.begin_request(host, id);
                    }
                    return false;
                }
                Err(error) => {
                    self.refuse_request(host, id, error, CloseReason::Protocol);
                    return false;
                }
            }
        }
        let before = *at;
        let found = decoder.body(input, at);
        host.shard().work.copied(*at - before);
        if !self.may_send(host, id, *at - before, Unit::Nothing) {
            return false;
        }
        match found {
            Ok(Some(request)) => {
                host.shard().work.called();
                self.take_whole(host, id, request);
                true
            }
            Ok(None) => false,
            Err(error) => {
                let asked = decoder.request().zip(self.port(host, id));
                let instead = asked.and_then(|(request, (_, port))| {
                    port.body_bounds(request, self.http.body_bytes_max).1
                });
                let error = match error.status {
                    413 => instead.unwrap_or(error),
                    _ => error,
                };
                self.refuse_request(host, id, error, CloseReason::Protocol);
                false
            }
        }
    }

    /// Whether what has come is within the rate. It is told if not.
    fn may_send(&mut self, host: &mut Host, id: ConnId, bytes: usize, unit: Unit) -> bool {
        let Some(rates) = &mut self.rates else {
            return true;
        };
        let may = rates.spend(id, bytes, unit, host.now());
        if !may {
            self.refuse_request(host, id, TOO_FAST, CloseReason::RateLimit);
        }
        may
    }

    /// A request has begun to arrive: so much time it has.
    fn begin_request(&mut self, host: &mut Host, id: ConnId) {
        // A provisional one has no more than its moment.
        let exchange = host.shard().connections.exchange(id);
        if !matches!(exchange, Some(Exchange::Arriving | Exchange::Provisional)) {
            host.shard().set_exchange(id, Exchange::Arriving);
        }
    }

    /// Looks at a request's head. What goes on with its body, unless it is refused or opens a websocket.
    fn take_head(
        &mut self,
        host: &mut Host,
        id: ConnId,
        head: &Head<'_>,
        is_all: bool,
    ) -> Option<(Request, BodyReader)> {
        let (listener, port) = self.port(host, id)?;
        if opens(head)
            && let Some(listener) = port.websocket_at(head.path)
        {
            self.open_websocket(host, id, listener, head);
            return None;
        }
        let peer = host.shard().connections.peer(id)?;
        let refused = |error| (error, CloseReason::Protocol);
        let taken = self
            .read_head(host, id, head, (listener, &port, peer))
            .and_then(|request| {
                let bounds = port.body_bounds(&request, self.http.body_bytes_max);
                match request.body_reader(bounds.0) {
                    Ok(body) => Ok((request, body)),
                    Err(error) => Err(refused(bounds.1.unwrap_or(error))),
                }
            });
        match taken {
            Ok((request, body)) => {
                if request.expects_continue && is_all {
                    host.shard()
                        .send_raw(id, |_, out| out.extend_from_slice(CONTINUE));
                }
                Some((request, body))
            }
            Err((error, reason)) => {
                self.refuse_request(host, id, error, reason);
                None
            }
        }
    }

    /// A request's head has come: what it is, and what its connection counts towards from now on.
    fn read_head(
        &mut self,
        host: &mut Host,
        id: ConnId,
        head: &Head<'_>,
        (listener, port, peer): (u16, &Port, SocketAddr),
    ) -> Result<Request, (HttpError, CloseReason)> {
        let mut request = Request::new(head).map_err(|error| (error, CloseReason::Protocol))?;
        // Whoever a proxy brings is not on this machine.
        request.is_forwarded |= self.admission.is_proxied(listener);
        // What is forwarded is another's.
        if !request.is_forwarded {
            request.proof = PeerProof {
                user: UnixPeer::of(peer.ip()).map(|peer| peer.uid),
                certificate_names: self.client_names(id),
            };
        }
        let kind = port.kind(&request);
        self.begin_visit(id, listener, peer, head, kind)?;
        self.take_permit(host, id, listener, kind)
            .map_err(|reason| (HTTP_FULL, reason))?;
        if host.shard().connections.exchange(id) == Some(Exchange::Provisional)
            && kind == RequestKind::BackEnd
        {
            host.shard().set_exchange(id, Exchange::Arriving);
        }
        Ok(request)
    }

    /// It is one more of its client's, if a proxy that is believed tells of one.
    fn begin_visit(
        &mut self,
        id: ConnId,
        listener: u16,
        peer: SocketAddr,
        head: &Head<'_>,
        kind: RequestKind,
    ) -> Result<(), (HttpError, CloseReason)> {
        if !self.admission.proxies.trust(peer.ip()) {
            return Ok(());
        }
        let Some(forwarded) = head.forwarded() else {
            return Ok(());
        };
        let ip = self.admission.proxies.client(&forwarded);
        let ip = ip.map_err(|error| (error, CloseReason::Protocol))?;
        // Of back ends there may be any number, unless the listener says how many.
        if kind == RequestKind::BackEnd && !self.admission.has_own_limit(listener) {
            return Ok(());
        }
        let client = SocketAddr::new(ip, peer.port());
        let counted = self.admission.enter_client(listener, client);
        if counted.map_err(|reason| (ADDRESS_FULL, reason))? {
            self.http.permits.add_client(id, listener, client);
        }
        Ok(())
    }
}
