//! From bytes to the host: reading one connection, its opening handshake, its messages.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;

use tracing::{debug, error};

use super::{Transport, link_of};
use crate::app::ending;
use crate::app::host::{Flow, Host};
use crate::app::round::UNITS_PER_HELPING;
use crate::auth::Credential;
use crate::close::CloseReason;
use crate::guard::guard;
use crate::ident::ConnId;
use crate::net::connection::Input;
use crate::net::origin::Visitor;
use crate::net::rates::{Rates, Unit};
use crate::protocol::http::HttpError;
use crate::protocol::stranger::Stranger;
use crate::protocol::websocket::deflate::Inflater;
use crate::protocol::websocket::handshake::{Accepted, Declined, Refused};
use crate::protocol::websocket::offers::Token;
use crate::protocol::{Codec, Decoder, Event};

impl Transport {
    /// Has a connection read in a later turn.
    pub(super) fn read_later(&mut self, id: ConnId) {
        if let Some(link) = self.link(id)
            && !link.queued
        {
            link.queued = true;
            self.again.push_back(id);
        }
    }

    /// Reads what there is for one connection, if it may be read now. A panic in there is a mistake of
    /// ours that this connection has met: it is closed, and no other one notices.
    pub(super) fn read(&mut self, host: &mut Host, id: ConnId) {
        let held = self.link(id).map_or(0, |link| link.progress.bytes_held());
        self.input_buffers.begin(id, held);
        let mut buffer = std::mem::take(&mut self.buffer);
        let done = guard(|| self.read_into(host, id, &mut buffer));
        self.buffer = buffer;
        if let Err(fault) = done {
            host.shard().stats.panics += 1;
            error!(connection = id.to_bits(), %fault, "a panic; its connection is closed");
            if let Some(link) = self.link(id) {
                link.progress.ignore();
            }
            host.close(id, CloseReason::Internal);
        }
        let held = self.link(id).map_or(0, |link| link.progress.bytes_held());
        if self.input_buffers.end(held) {
            self.shed_halves(host);
        }
        if let Some(rates) = &mut self.rates
            && let Some(link) = link_of(&mut self.links, id)
            && !link.progress.readable
            && link.progress.unread.is_empty()
            && host.flow(id) == Flow::Go
        {
            rates.catch_up(id);
        }
        self.depart_all(host);
        if matches!(host.flow(id), Flow::End) && host.shard().outbox_is_empty(id) {
            self.finish(host, id);
        }
    }

    pub(super) fn read_into(&mut self, host: &mut Host, id: ConnId, buffer: &mut [u8]) {
        let quiet = self.quiet;
        let Some(link) = self.link(id) else { return };
        match host.flow(id) {
            // Nothing that it still waits for can reach it.
            Flow::Go | Flow::Pause | Flow::End
                if link.progress.broken && (quiet || link.progress.at_end) =>
            {
                return self.break_off(host, id);
            }
            Flow::Go if quiet => return,
            Flow::Go | Flow::End => {}
            Flow::Pause if link.progress.broken => return self.break_off(host, id),
            Flow::Pause => return self.pause(host, id),
            // What it has asked for goes on even if it is gone, and so long it keeps its place: or who asks and goes would
            // have any number of requests under way.
            Flow::Leave | Flow::Wait | Flow::Gone => return,
        }
        if !link.progress.unread.is_empty() {
            let mut unread = std::mem::take(&mut link.progress.unread);
            let taken = self.feed(host, id, &mut unread);
            let Some(link) = self.link(id) else { return };
            if taken < unread.len() {
                unread.drain(..taken);
                link.progress.unread = unread;
                return;
            }
            match host.flow(id) {
                Flow::Go | Flow::End => {}
                // The wire has told of what is left in the socket, and does so once.
                Flow::Pause if link.progress.readable => return self.pause(host, id),
                _ => return,
            }
        }
        let Some(link) = self.link(id) else { return };
        if !link.progress.readable || link.progress.at_end {
            return;
        }
        match link.stream.read(buffer) {
            Ok(0) if link.progress.broken => self.break_off(host, id),
            Ok(0) => {
                link.progress.readable = false;
                link.progress.at_end = true;
                self.reached_end(host, id);
            }
            Ok(length) => {
                // A short read has emptied the socket, unless its end waits behind the bytes.
                let is_http = link.codec == Codec::Http;
                link.progress.readable =
                    length == buffer.len() || link.progress.ending || link.progress.broken;
                if link.progress.readable {
                    self.read_later(id);
                }
                if is_http {
                    self.count_lingering(host, id, length);
                } else {
                    host.shard().heard(id, length);
                }
                let input = &mut buffer[..length];
                let taken = self.feed(host, id, input);
                if taken < length
                    && let Some(link) = self.link(id)
                {
                    link.progress.unread = input[taken..].to_vec();
                }
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock if !link.progress.broken => link.progress.readable = false,
                ErrorKind::Interrupted => self.read_later(id),
                _ => self.break_off(host, id),
            },
        }
    }

    /// Makes messages of bytes, as many as are a helping. Returns how many bytes it has taken; the others are to be
    /// kept, because the connection is paused, leaves, or has had its helping.
    fn feed(&mut self, host: &mut Host, id: ConnId, input: &mut [u8]) -> usize {
        let all = input.len();
        let mut at = 0;
        let Some(link) = self.link(id) else {
            return all;
        };
        if link.progress.input.comes_before_messages() {
            if !self.take_proxy_header(host, id, input, &mut at)
                || !self.shake_hands(host, id, input, &mut at)
            {
                return all;
            }
            if let Some(Input::Requests(_)) = self.link(id).map(|link| &link.progress.input) {
                at += self.feed_requests(host, id, &input[at..]);
                match self.link(id).map(|link| &link.progress.input) {
                    Some(Input::Messages(_)) => {}
                    Some(Input::Requests(_)) => return at,
                    _ => return all,
                }
            }
        }
        let helping = host.work() + UNITS_PER_HELPING;
        loop {
            // Of a message that has gone out; the next event frees what knows of them.
            if self.rates.is_some() {
                self.spend_fragments(host, id);
            }
            let Some(link) = link_of(&mut self.links, id) else {
                return all;
            };
            if at == input.len()
                && let Input::Messages(decoder) = &link.progress.input
                && decoder.bytes_held() == 0
            {
                // Most reads are one whole message, and then there is nothing to ask for.
                return all;
            }
            let flow = host.flow(id);
            match flow {
                Flow::Go | Flow::End => {}
                Flow::Pause => {
                    self.pause(host, id);
                    return at;
                }
                Flow::Leave | Flow::Wait => return at,
                Flow::Gone => return all,
            }
            if at > 0 && at < all && (host.work() >= helping || !host.goes_on()) {
                self.read_later(id);
                return at;
            }
            let decoder = match &mut link.progress.input {
                Input::Messages(decoder) => decoder,
                #[cfg(test)]
                Input::Panics => panic!("a codec's mistake"),
                Input::ProxyHeader(_)
                | Input::Handshake(_)
                | Input::Requests(_)
                | Input::Ignored => return all,
            };
            let before = at;
            let event = decoder.next(input, &mut at);
            if let Some(rates) = &mut self.rates
                && flow == Flow::Go
                && !rates.spend(id, at - before, unit_of(&event), host.now())
            {
                self.reject(host, id, CloseReason::RateLimit);
                return all;
            }
            match event {
                Ok(None) => {
                    host.shard().work.copied(at - before);
                    self.spend_fragments(host, id);
                    return all;
                }
                Ok(Some(Event::Message(message))) => {
                    if flow == Flow::Go {
                        host.message(id, message);
                    }
                }
                Ok(Some(
                    event @ (Event::CompressedText(bytes) | Event::CompressedBinary(bytes)),
                )) => {
                    if flow != Flow::Go {
                        continue;
                    }
                    let text = matches!(event, Event::CompressedText(_));
                    let (inflater, rates) = (&mut self.inflater, self.rates.as_mut());
                    if let Err(reason) = take_compressed(inflater, rates, host, id, bytes, text) {
                        self.reject(host, id, reason);
                        return all;
                    }
                }
                Ok(Some(Event::Ping(payload))) => {
                    host.shard().work.called();
                    if flow == Flow::Go {
                        host.shard()
                            .send_raw(id, |codec, out| codec.encode_pong(payload, out));
                    }
                }
                Ok(Some(event @ (Event::TooLong(_) | Event::NotUtf8(_) | Event::Unended(_)))) => {
                    if flow == Flow::Go
                        && let Some((flaw, line)) = event.flawed()
                    {
                        host.flawed(id, flaw, line);
                    }
                }
                Ok(Some(Event::Pong)) => host.shard().work.called(),
                Ok(Some(Event::Close { code })) => {
                    link.progress.peer_closed = true;
                    link.progress.input = Input::Ignored;
                    if flow == Flow::Go {
                        host.shard()
                            .send_raw(id, |codec, out| codec.encode_close_echo(code, out));
                        host.close(id, CloseReason::ByPeer);
                    }
                    return all;
                }
                Err(reason) => {
                    if let Some(stranger) = decoder.stranger() {
                        self.log_stranger(host, id, stranger);
                    }
                    self.reject(host, id, reason);
                    return all;
                }
            }
        }
    }

    /// Tells the log of a connection that began with another protocol.
    fn log_stranger(&mut self, host: &mut Host, id: ConnId, stranger: Stranger) {
        let shard = host.shard();
        if let Some((listener, peer)) = shard.listener_number(id).zip(shard.peer(id)) {
            self.admission
                .complain(listener, CloseReason::Protocol, peer, stranger.text());
        }
    }

    /// Has fragments count that were no event, where there is a rate.
    pub(super) fn spend_fragments(&mut self, host: &mut Host, id: ConnId) {
        let Some(rates) = &mut self.rates else { return };
        let Some(link) = link_of(&mut self.links, id) else {
            return;
        };
        let Input::Messages(decoder) = &mut link.progress.input else {
            return;
        };
        // One that leaves takes them along.
        if host.flow(id) != Flow::Go {
            return;
        }
        let fragments = decoder.take_fragments();
        if fragments > 0 && !rates.spend(id, 0, Unit::Fragments(fragments), host.now()) {
            self.reject(host, id, CloseReason::RateLimit);
        }
    }

    /// What came is against the codec's rules, or too much.
    fn reject(&mut self, host: &mut Host, id: ConnId, reason: CloseReason) {
        if let Some(link) = self.link(id) {
            link.progress.input = Input::Ignored;
        }
        host.close(id, reason);
    }

    /// Takes the opening handshake, if that is what the bytes are. True if messages may follow at `at`.
    pub(super) fn shake_hands(
        &mut self,
        host: &mut Host,
        id: ConnId,
        input: &[u8],
        at: &mut usize,
    ) -> bool {
        let Some(link) = self.link(id) else {
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
                debug!(connection = id.to_bits(), status, "{text}");
                self.explain(host, id, HttpError { status, text });
                self.refuse(host, id, &refused.response, CloseReason::BadHandshake);
                false
            }
        }
    }

    /// Opens a websocket whose handshake is right, if its client may come in. Whether it did.
    pub(super) fn let_in(&mut self, host: &mut Host, id: ConnId, accepted: &Accepted) -> bool {
        if let Some(forwarded) = &accepted.forwarded
            && let Some(peer) = host.shard().peer(id)
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
        let bytes_max = message_bytes_max(host, id);
        let decoder = match accepted.window {
            Some(window) => {
                host.shard().agree(id, window);
                Decoder::deflate(bytes_max)
            }
            None => Decoder::new(Codec::WebSocket, bytes_max),
        };
        if let Some(link) = self.link(id) {
            link.progress.input = Input::Messages(decoder);
        }
        host.shard()
            .send_raw(id, |_, out| out.extend_from_slice(&accepted.response));
        host.open_by(id, Some(&accepted.request));
        if let Some(credential) = credential {
            host.prove(id, credential);
        }
        true
    }

    /// Tells the log why a request is refused.
    pub(super) fn explain(&mut self, host: &mut Host, id: ConnId, error: HttpError) {
        if let Some(peer) = host.shard().peer(id) {
            self.admission.explain(peer, error);
        }
    }

    /// Whether the page that opens the websocket is let in, or the client that is no page.
    fn admits(&mut self, host: &mut Host, id: ConnId, accepted: &Accepted) -> bool {
        let listener = host.shard().listener(id);
        // What a token in a field of its own comes from is no page; else a missing origin says nothing.
        let by_field = accepted.token.as_ref().is_some_and(|it| it.authorization);
        let strict = !by_field && listener.is_some_and(|spec| spec.proves);
        let number = host.shard().listener_number(id);
        let visitor = Visitor {
            origin: accepted.origin.as_deref(),
            host: &accepted.host,
            strict,
            on_loopback: number.is_some_and(|number| self.admission.is_on_loopback(number)),
        };
        let Err(foreign) = self.origins.admit(visitor) else {
            return true;
        };
        let peer = host.shard().peer(id);
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
                let listener = host.shard().listener_number(id);
                if let Some((listener, peer)) = listener.zip(host.shard().peer(id)) {
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
        if let Some(link) = self.link(id) {
            link.progress.input = Input::Ignored;
        }
        host.shard()
            .send_raw(id, |_, out| out.extend_from_slice(response));
        host.close(id, reason);
    }
}

/// What an event counts as. Closing is never too much.
fn unit_of(event: &Result<Option<Event<'_>>, CloseReason>) -> Unit {
    match event {
        Ok(None | Some(Event::Close { .. })) | Err(_) => Unit::Nothing,
        Ok(Some(Event::Ping(_) | Event::Pong)) => Unit::Control,
        Ok(Some(
            Event::Message(_)
            | Event::TooLong(_)
            | Event::NotUtf8(_)
            | Event::Unended(_)
            | Event::CompressedText(_)
            | Event::CompressedBinary(_),
        )) => Unit::Message,
    }
}

/// Has the app take a message that has come compressed.
fn take_compressed(
    inflater: &mut Inflater,
    rates: Option<&mut Rates>,
    host: &mut Host,
    id: ConnId,
    bytes: &[u8],
    text: bool,
) -> Result<(), CloseReason> {
    let bytes_max = message_bytes_max(host, id);
    let inflated = inflater.inflate(bytes, text, bytes_max);
    if let Ok(message) = &inflated {
        host.shard().work.inflated(message.len());
    }
    let taken = inflated.and_then(|message| {
        host.shard().stats.messages_inflated += 1;
        // It is worth what it comes to: to the app, and to those whom it is sent on to.
        let more = message.len().saturating_sub(bytes.len());
        if let Some(rates) = rates
            && !rates.spend(id, more, Unit::Nothing, host.now())
        {
            return Err(CloseReason::RateLimit);
        }
        host.message(id, message);
        Ok(())
    });
    inflater.trim();
    taken
}

fn message_bytes_max(host: &mut Host, id: ConnId) -> usize {
    let listener = host.shard().listener(id);
    listener.map_or(0, |spec| spec.message_bytes_max)
}
