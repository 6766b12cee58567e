//! How connections come in: taken or turned away, told about by a proxy, and their handshakes bounded.
//!
//! Of too many opening handshakes the oldest is reset, and not the newcomer refused: a place is held for as
//! long as `handshake_timeout` by who dawdles, but for a moment by who does not. So some hundred connections
//! a second could keep everybody out if newcomers were refused; to have the oldest dropped before it is done,
//! all of `handshakes_max` must come within that moment.

use std::net::{SocketAddr, TcpStream};

use tracing::debug;

use super::{Transport, link_of};
use crate::app::host::{Flow, Host};
use crate::close::CloseReason;
use crate::ident::{ConnId, ConnName};
use crate::net::connection::{Counted, Input, Link, Progress};
use crate::protocol::http::HttpError;
use crate::protocol::proxy::Source;
use crate::protocol::websocket::handshake::Handshake;
use crate::protocol::{Codec, Decoder};
use crate::shard::{HTTP_FULL, Phase};

pub(super) const FULL: HttpError = HttpError {
    status: 503,
    text: "this server has as many connections as it may have",
};
pub(super) const ADDRESS_FULL: HttpError = HttpError {
    status: 429,
    text: "this address has as many connections as it may have",
};

/// Entries of the list of handshakes that may be stale beside as many that are not.
const STALE_MAX: usize = 64;

impl Transport {
    /// A listener has accepted a connection.
    pub fn accept(&mut self, host: &mut Host, listener: u16, stream: TcpStream, peer: SocketAddr) {
        let is_http = self.listeners[usize::from(listener)].codec == Codec::Http;
        let mut entered = self.admission.enter(listener, peer);
        if is_http && entered == Err(CloseReason::ConnectionLimit) {
            entered = match self.make_room(host, false) {
                true => self.admission.enter(listener, peer),
                false => Ok(Counted::Provisional),
            };
        }
        let counted = match entered {
            Ok(counted) => counted,
            Err(reason) => return self.turn_away(host, listener, stream, peer, reason),
        };
        let input = if self.admission.is_proxied(listener) {
            Input::ProxyHeader(Box::default())
        } else {
            self.first_input(listener, peer)
        };
        let opens = matches!(input, Input::Messages(_));
        let Some(id) = self.begin(host, listener, stream, peer, input, counted) else {
            return;
        };
        debug!(connection = %ConnName(host.core(), id), %peer, "accepted");
        if opens {
            host.open(id);
            self.depart_all(host);
        } else if counted == Counted::Provisional {
            self.receive_provisional(host, id);
        } else if is_http {
            self.permits.add(host.shard(), id);
        } else {
            self.opening.push_back(id);
            self.bound_handshakes(host);
        }
    }

    /// Gives a connection its places: in the shard, in the table, among the rates. What a client has to say first has mostly
    /// come with it, so that is looked for in the round that follows, and the wire watches for what is next.
    pub(super) fn begin(
        &mut self,
        host: &mut Host,
        listener: u16,
        stream: TcpStream,
        peer: SocketAddr,
        input: Input,
        counted: Counted,
    ) -> Option<ConnId> {
        let codec = self.listeners[usize::from(listener)].codec;
        let id = host.connect(listener, peer);
        let asks_first = !matches!(input, Input::Messages(_));
        let mut link = Link::new(id, stream, codec, Progress::new(input, counted));
        if asks_first {
            link.progress.readable = true;
            link.queued = true;
            self.fresh.push_back(id);
        }
        self.place(link);
        if let Some(rates) = &mut self.rates {
            rates.enter(id, listener);
        }
        if !asks_first {
            self.watch_rest(host, id);
        }
        self.link(id).map(|link| link.id)
    }

    /// What a connection's first own bytes are.
    fn first_input(&self, listener: u16, peer: SocketAddr) -> Input {
        let spec = &self.listeners[usize::from(listener)];
        match spec.codec {
            Codec::WebSocket => {
                let handshake = Handshake::new()
                    .with_head_bytes_max(self.admission.request_head_bytes_max)
                    .behind_proxy(self.admission.proxies.trust(peer.ip()))
                    .with_compression(spec.compress)
                    .with_token(spec.proves);
                Input::Handshake(Box::new(handshake))
            }
            Codec::Http => Input::Requests(Default::default()),
            codec => {
                let decoder = Decoder::new(codec, spec.message_bytes_max);
                Input::Messages(match spec.tells {
                    true => decoder.telling(),
                    false => decoder,
                })
            }
        }
    }

    /// Refuses a newcomer: a websocket's client is told why, if not too many are being told already. Others
    /// have nothing to be told by.
    fn turn_away(
        &mut self,
        host: &mut Host,
        listener: u16,
        stream: TcpStream,
        peer: SocketAddr,
        reason: CloseReason,
    ) {
        let answer = match (self.listeners[usize::from(listener)].codec, reason) {
            (Codec::WebSocket, CloseReason::ConnectionLimit) => Some(FULL.response()),
            (Codec::WebSocket, CloseReason::AddressLimit) => Some(ADDRESS_FULL.response()),
            (Codec::Http, CloseReason::ConnectionLimit) => Some(HTTP_FULL.refusal()),
            (Codec::Http, CloseReason::AddressLimit) => Some(ADDRESS_FULL.refusal()),
            _ => None,
        };
        if let Some(answer) = answer
            && self.admission.may_tell()
        {
            let (input, counted) = (Input::Ignored, Counted::Nothing);
            if let Some(id) = self.begin(host, listener, stream, peer, input, counted) {
                self.refuse(host, id, &answer, reason);
            }
        } else {
            host.shard().count_refused(reason);
        }
    }

    /// Resets the oldest handshakes while there are too many.
    fn bound_handshakes(&mut self, host: &mut Host) {
        let under_way = |host: &mut Host, id| host.shard().phase(id) == Phase::Opening;
        while host.shard().stats.opening as usize > self.admission.handshakes_max
            && let Some(oldest) = self.opening.pop_front()
        {
            if under_way(host, oldest) {
                if let Some(peer) = host.shard().peer(oldest) {
                    let listener = host.shard().listener_number(oldest).unwrap_or_default();
                    let reason = CloseReason::HandshakeLimit;
                    self.admission.complain(listener, reason, peer, "");
                }
                host.close(oldest, CloseReason::HandshakeLimit);
                self.cut_off(host, oldest);
            }
        }
        // Those that are done: from the front, and from everywhere once they are the most.
        while let Some(front) = self.opening.front()
            && !under_way(host, *front)
        {
            self.opening.pop_front();
        }
        if self.opening.len() > 2 * host.shard().stats.opening as usize + STALE_MAX {
            self.opening.retain(|id| under_way(host, *id));
            self.opening.shrink_to(STALE_MAX);
        }
    }

    /// Takes a proxy's header, if that is what the bytes are. True if more may follow at `at`.
    pub(super) fn take_proxy_header(
        &mut self,
        host: &mut Host,
        id: ConnId,
        input: &[u8],
        at: &mut usize,
    ) -> bool {
        let Some(link) = link_of(&mut self.links, id) else {
            return false;
        };
        let Input::ProxyHeader(header) = &mut link.progress.input else {
            return true;
        };
        if host.flow(id) == Flow::End {
            return false;
        }
        let (Some(listener), Some(peer)) =
            (host.shard().listener_number(id), host.shard().peer(id))
        else {
            return false;
        };
        match header.advance(&input[*at..]) {
            Ok(None) => false,
            Ok(Some((source, length))) => {
                *at += length;
                if let Source::Client(client) = source
                    && !self.introduce(host, id, client)
                {
                    return false;
                }
                self.leave_proxy_behind(host, id)
            }
            Err(cause) => {
                link.progress.input = Input::Ignored;
                let reason = CloseReason::BadProxy;
                self.admission.complain(listener, reason, peer, cause);
                host.close(id, CloseReason::BadProxy);
                false
            }
        }
    }

    /// The proxy's header has been read: what follows is the connection's own.
    fn leave_proxy_behind(&mut self, host: &mut Host, id: ConnId) -> bool {
        let (Some(listener), Some(peer)) =
            (host.shard().listener_number(id), host.shard().peer(id))
        else {
            return false;
        };
        let input = self.first_input(listener, peer);
        let opens = matches!(input, Input::Messages(_));
        if let Some(link) = self.link(id) {
            link.progress.input = input;
        }
        if opens {
            host.open(id);
        }
        true
    }

    /// A proxy that is believed tells whose connection it is. False if that address has too many.
    pub(super) fn introduce(&mut self, host: &mut Host, id: ConnId, client: SocketAddr) -> bool {
        debug!(connection = %ConnName(host.core(), id), peer = %client, "comes by a proxy");
        let Some(listener) = host.shard().listener_number(id) else {
            return false;
        };
        if self
            .link(id)
            .is_some_and(|link| link.progress.counted == Counted::Provisional)
        {
            // What it counts towards, its request shows.
            host.shard().set_peer(id, client);
            return true;
        }
        let counted = self.admission.enter_address(listener, client);
        let Some(link) = link_of(&mut self.links, id) else {
            return false;
        };
        match counted {
            Ok(counted) => {
                link.progress.counted = counted;
                host.shard().set_peer(id, client);
                true
            }
            Err(reason) if !self.admission.may_tell() => {
                host.close(id, reason);
                self.cut_off(host, id);
                false
            }
            Err(reason) => {
                // It is no connection of the pool any more.
                self.admission.leave(listener, link.progress.counted, None);
                link.progress.counted = Counted::Nothing;
                let answer = match link.codec {
                    Codec::WebSocket => ADDRESS_FULL.response(),
                    Codec::Http => ADDRESS_FULL.refusal(),
                    _ => Vec::new(),
                };
                self.refuse(host, id, &answer, reason);
                false
            }
        }
    }
}
