//! How connections open: a proxy's header, the websocket handshake, and who is let in by it.

use std::net::SocketAddr;

use tracing::debug;

use super::Transport;
use super::accepting::ADDRESS_FULL;
use super::read_memory::message_bytes_max;
use crate::app::ending;
use crate::app::host::{Flow, Host};
use crate::auth::Credential;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::connection::{Counted, Input};
use crate::net::origin::Visitor;
use crate::protocol::http::HttpError;
use crate::protocol::http::token::Token;
use crate::protocol::proxy::Source;
use crate::protocol::websocket::accepting::Accepted;
use crate::protocol::websocket::handshake::{Declined, Refused};
use crate::protocol::{Codec, Decoder};
use crate::unix_peer::{ShownPeer, UnixPeer};

/// What stands for a user of this machine would be taken for one.
const OF_UNIX: &str = "it tells an address that stands for a Unix socket's peer";

impl Transport {
    /// Takes a proxy's header, if that is what the bytes are. True if more may follow at `at`.
    pub(super) fn take_proxy_header(
        &mut self,
        host: &mut Host,
        id: ConnId,
        input: &[u8],
        at: &mut usize,
    ) -> bool {
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        let Input::ProxyHeader(header) = &mut link.progress.input else {
            return true;
        };
        if host.flow(id) == Flow::End {
            return false;
        }
        let (Some(listener), Some(peer)) = (
            host.shard().connections.listener_number(id),
            host.shard().connections.peer(id),
        ) else {
            return false;
        };
        match header.advance(&input[*at..]) {
            Ok(None) => false,
            Ok(Some((Source::Client(client), _))) if UnixPeer::of(client.ip()).is_some() => {
                self.end_by_proxy(host, id, (listener, peer), OF_UNIX)
            }
            Ok(Some((source, length))) => {
                *at += length;
                if let Source::Client(client) = source
                    && !self.introduce(host, id, client)
                {
                    return false;
                }
                self.leave_proxy_behind(host, id)
            }
            Err(cause) => self.end_by_proxy(host, id, (listener, peer), cause),
        }
    }

    /// Closes a connection for what its proxy's header is or says. Nothing follows.
    fn end_by_proxy(
        &mut self,
        host: &mut Host,
        id: ConnId,
        (listener, peer): (u16, SocketAddr),
        cause: &str,
    ) -> bool {
        if let Some(link) = self.links.get_mut(id) {
            link.progress.input = Input::Ignored;
        }
        let reason = CloseReason::BadProxy;
        self.admission.complain(listener, reason, peer, cause);
        host.close(id, reason);
        false
    }

    /// The proxy's header has been read: what follows is the connection's own.
    fn leave_proxy_behind(&mut self, host: &mut Host, id: ConnId) -> bool {
        let (Some(listener), Some(peer)) = (
            host.shard().connections.listener_number(id),
            host.shard().connections.peer(id),
        ) else {
            return false;
        };
        let input = self.first_input(listener, peer);
        let tls = match self.begin_tls(host, listener) {
            Ok(tls) => tls,
            Err(reason) => {
                host.close(id, reason);
                return false;
            }
        };
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        link.progress.input = input;
        link.progress.tls = tls;
        if !link.progress.asks_first() {
            host.open(id);
        }
        true
    }

    /// A proxy that is believed tells whose connection it is. False if that address has too many.
    pub(super) fn introduce(&mut self, host: &mut Host, id: ConnId, client: SocketAddr) -> bool {
        debug!(connection = %host.tell_name(id), peer = %ShownPeer(client), "comes by a proxy");
        let Some(listener) = host.shard().connections.listener_number(id) else {
            return false;
        };
        if self
            .links
            .get_mut(id)
            .is_some_and(|link| link.progress.counted == Counted::Provisional)
        {
            // What it counts towards, its request shows.
            host.shard().connections.set_peer(id, client);
            return true;
        }
        let counted = self.admission.enter_address(listener, client);
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        match counted {
            Ok(counted) => {
                link.progress.counted = counted;
                host.shard().connections.set_peer(id, client);
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
                let codec = link.codec;
                let has_tls = link.progress.tls.is_some();
                let is_open = has_tls || !self.speaks_tls(listener);
                let answer = match codec {
                    // Its TLS has not begun, and it would not understand it.
                    _ if !is_open => Vec::new(),
                    Codec::WebSocket => ADDRESS_FULL.response(),
                    Codec::Http => ADDRESS_FULL.refusal(),
                    _ => Vec::new(),
                };
                self.refuse(host, id, &answer, reason);
                false
            }
        }
    }

    /// Takes the opening handshake, if that is what the bytes are. True if messages may follow at `at`.
    pub(super) fn shake_hands(
        &mut self,
        host: &mut Host,
        id: ConnId,
        input: &[u8],
        at: &mut usize,
    ) -> bool {
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        let Input::Handshake(handshake) = &mut link.progress.input else {
            return true;
        };
        if host.flow(id) == Flow::End {
            return false;
        }
        let headers = host
            .shard()
            .connections
            .listener(id)
            .map_or(&[][..], |spec| spec.headers);
        match handshake.advance_for(&input[*at..], headers) {
            Ok(None) => false,
            Ok(Some(accepted)) => {
                *at += accepted.consumed;
                self.let_in(host, id, &accepted)
            }
            Err(Declined::Health(health)) => {
                let answer = health.response(self.readiness.answer());
                self.refuse(host, id, &answer, CloseReason::Normal);
                false
            }
            Err(Declined::Refused(refused)) => {
                let Refused { status, text, .. } = refused;
                debug!(connection = %host.tell_name(id), status, "{text}");
                self.explain(host, id, HttpError { status, text });
                self.refuse(host, id, &refused.response, CloseReason::BadHandshake);
                false
            }
        }
    }

    /// Opens a websocket whose handshake is right, if its client may come in. Whether it did.
    pub(super) fn let_in(&mut self, host: &mut Host, id: ConnId, accepted: &Accepted) -> bool {
        if let Some(forwarded) = &accepted.forwarded
            && let Some(peer) = host.shard().connections.peer(id)
        {
            let client = match self.admission.proxies.client(forwarded) {
                // The proxy's port keeps apart the clients of one address.
                Ok(ip) => SocketAddr::new(ip, peer.port()),
                Err(error) => {
                    self.explain(host, id, error);
                    self.refuse(host, id, &error.response(), CloseReason::BadHandshake);
                    return false;
                }
            };
            if !self.introduce(host, id, client) {
                return false;
            }
        }
        if !self.admits(host, id, accepted) {
            return false;
        }
        let Some(credential) = self.take_token(host, id, accepted.token.as_ref()) else {
            return false;
        };
        if accepted.v1 {
            self.speak_v1(host, id);
        }
        let bytes_max = message_bytes_max(host, id);
        let decoder = match accepted.window {
            Some(window) => {
                host.shard().connections.agree(id, window);
                Decoder::deflate(bytes_max)
            }
            None => Decoder::new(Codec::WebSocket, bytes_max),
        };
        if let Some(link) = self.links.get_mut(id) {
            link.progress.input = Input::Messages(decoder);
        }
        host.shard()
            .send_raw(id, |_, out| out.extend_from_slice(&accepted.response));
        host.open_named(id, self.client_names(id), Some(&accepted.request));
        match credential {
            // It is bound when it asks for that.
            Some(credential) if accepted.v1 => host.hold_proof(id, credential),
            Some(credential) => host.prove(id, credential),
            None => {}
        }
        true
    }

    /// Tells the log why a request is refused.
    pub(super) fn explain(&mut self, host: &mut Host, id: ConnId, error: HttpError) {
        if let Some(peer) = host.shard().connections.peer(id) {
            self.admission.explain(peer, error);
        }
    }

    /// Whether the page that opens the websocket is let in, or the client that is no page.
    fn admits(&mut self, host: &mut Host, id: ConnId, accepted: &Accepted) -> bool {
        let listener = host.shard().connections.listener(id);
        // What a token in a field of its own comes from is no page; else a missing origin says nothing.
        let by_field = accepted.token.as_ref().is_some_and(|it| it.authorization);
        let strict = !by_field && listener.is_some_and(|spec| spec.proves);
        let number = host.shard().connections.listener_number(id);
        let visitor = Visitor {
            origin: accepted.origin.as_deref(),
            host: &accepted.host,
            strict,
            on_loopback: number.is_some_and(|number| self.admission.is_on_loopback(number)),
        };
        let Err(foreign) = self.origins.admit(visitor) else {
            return true;
        };
        let peer = host.shard().connections.peer(id);
        self.origins
            .log_refusal(foreign, visitor.origin, visitor.host, peer);
        let answer = foreign.answer().response();
        self.refuse(host, id, &answer, CloseReason::BadHandshake);
        false
    }

    /// Checks the token that a handshake has brought, if any. `None` if it was refused for that.
    fn take_token(
        &mut self,
        host: &mut Host,
        id: ConnId,
        token: Option<&Token>,
    ) -> Option<Option<Credential>> {
        let Some(token) = token else {
            return Some(None);
        };
        match host.check_credential(&token.text) {
            Ok(credential) => Some(Some(credential)),
            Err(error) => {
                let refused = Refused::from(HttpError {
                    status: 401,
                    text: error.text(),
                });
                let listener = host.shard().connections.listener_number(id);
                if let Some((listener, peer)) = listener.zip(host.shard().connections.peer(id)) {
                    self.admission
                        .complain(listener, CloseReason::BadLogin, peer, error.text());
                }
                self.refuse(host, id, &refused.response, ending(error));
                None
            }
        }
    }

    pub(super) fn refuse(
        &mut self,
        host: &mut Host,
        id: ConnId,
        response: &[u8],
        reason: CloseReason,
    ) {
        if let Some(link) = self.links.get_mut(id) {
            link.progress.input = Input::Ignored;
        }
        host.shard()
            .send_raw(id, |_, out| out.extend_from_slice(response));
        host.close(id, reason);
    }
}
