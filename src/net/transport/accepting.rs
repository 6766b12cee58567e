//! How connections come in: taken or turned away, told about by a proxy, and their handshakes bounded.

use std::net::{SocketAddr, TcpStream};

use tracing::debug;

use super::Transport;
use crate::app::host::Host;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::connection::{Counted, Input, Link, Progress};
use crate::protocol::http::HttpError;
use crate::protocol::websocket::handshake::Handshake;
use crate::protocol::{Codec, Decoder};
use crate::shard::HTTP_FULL;
use crate::unix_peer::ShownPeer;

pub(super) const FULL: HttpError = HttpError {
    status: 503,
    text: "this server has as many connections as it may have",
};
pub(super) const ADDRESS_FULL: HttpError = HttpError {
    status: 429,
    text: "this address has as many connections as it may have",
};

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
        let mut progress = Progress::new(input, counted);
        if !self.admission.is_proxied(listener) {
            progress.tls = match self.begin_tls(host, listener) {
                Ok(tls) => tls,
                Err(reason) => {
                    self.admission.leave(listener, counted, Some(peer));
                    return host.shard().count_refused(reason);
                }
            };
        }
        let opens = !progress.asks_first();
        let Some(id) = self.begin(host, listener, stream, peer, progress) else {
            return;
        };
        debug!(connection = %host.tell_name(id), peer = %ShownPeer(peer), "accepted");
        if opens {
            host.open(id);
            self.depart_all(host);
        } else if counted == Counted::Provisional {
            self.receive_provisional(host, id);
        } else if is_http {
            self.http.permits.add(host.shard(), id);
        } else {
            self.handshakes.push(id);
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
        progress: Progress,
    ) -> Option<ConnId> {
        let codec = self.listeners[usize::from(listener)].codec;
        let id = host.connect(listener, peer);
        let asks_first = progress.asks_first();
        let mut link = Link::new(id, stream, codec, progress);
        if asks_first {
            link.progress.readable = true;
            self.queues.push_fresh(&mut link);
        }
        self.links.place(link);
        if let Some(rates) = &mut self.rates {
            rates.enter(id, listener);
        }
        if !asks_first {
            self.watch_rest(host, id);
        }
        self.links.get_mut(id).map(|link| link.id)
    }

    /// What a connection's first own bytes are.
    pub(super) fn first_input(&self, listener: u16, peer: SocketAddr) -> Input {
        let spec = &self.listeners[usize::from(listener)];
        match spec.codec {
            Codec::WebSocket => {
                let handshake = Handshake::new()
                    .with_head_bytes_max(self.admission.request_head_bytes_max)
                    .behind_proxy(self.admission.proxies.trust(peer.ip()))
                    .with_compression(spec.compress)
                    .with_token(spec.proves)
                    .with_v1(spec.v1.is_some());
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
            && let Ok(tls) = self.begin_tls(host, listener)
        {
            let progress = Progress {
                tls,
                ..Progress::new(Input::Ignored, Counted::Nothing)
            };
            if let Some(id) = self.begin(host, listener, stream, peer, progress) {
                self.refuse(host, id, &answer, reason);
            }
        } else {
            host.shard().count_refused(reason);
        }
    }

    /// Resets the oldest handshakes while there are too many.
    fn bound_handshakes(&mut self, host: &mut Host) {
        let most = self.admission.handshakes_max;
        while let Some(oldest) = self.handshakes.next_surplus(host.shard(), most) {
            let reason = CloseReason::HandshakeLimit;
            if let Some(peer) = host.shard().connections.peer(oldest) {
                let listener = host
                    .shard()
                    .connections
                    .listener_number(oldest)
                    .unwrap_or_default();
                self.admission.complain(listener, reason, peer, "");
            }
            host.close(oldest, reason);
            self.cut_off(host, oldest);
        }
        self.handshakes.trim(host.shard());
    }
}
