//! From bytes to the host: reading one connection, its messages.

use std::io::Read;

use tracing::error;

use super::Transport;
use super::tls::reads_sealed;
use crate::app::host::{Flow, Host};
use crate::app::round::UNITS_PER_HELPING;
use crate::close::CloseReason;
use crate::guard::guard;
use crate::ident::ConnId;
use crate::net::connection::Input;
use crate::net::rates::Unit;
use crate::protocol::stranger::Stranger;
use crate::protocol::{Codec, Decoded};

impl Transport {
    /// Has a connection read in a later turn.
    pub(super) fn read_later(&mut self, id: ConnId) {
        if let Some(link) = self.links.get_mut(id) {
            self.queues.push_again(link);
        }
    }

    /// Reads what there is for one connection, if it may be read now. A panic in there is a mistake of
    /// ours that this connection has met: it is closed, and no other one notices.
    pub(super) fn read(&mut self, host: &mut Host, id: ConnId) {
        self.links.begin_read(id);
        let mut buffer = std::mem::take(&mut self.read_memory.buffer);
        let done = guard(|| self.read_into(host, id, &mut buffer));
        self.read_memory.buffer = buffer;
        if let Err(fault) = done {
            host.shard().stats.panics += 1;
            error!(connection = %host.tell_name(id), %fault, "a panic; its connection is closed");
            if let Some(link) = self.links.get_mut(id) {
                link.progress.ignore();
            }
            host.close(id, CloseReason::Internal);
        }
        if self.links.end_read(id) {
            self.shed_input(host);
        }
        if let Some(rates) = &mut self.rates
            && let Some(link) = self.links.get_mut(id)
            && !link.progress.readable
            && link.progress.unread.is_empty()
            && host.flow(id) == Flow::Go
        {
            rates.catch_up(id);
        }
        self.depart_all(host);
        if matches!(host.flow(id), Flow::End) && self.has_sent_all(host, id) {
            self.finish(host, id);
        }
    }

    pub(super) fn read_into(&mut self, host: &mut Host, id: ConnId, buffer: &mut [u8]) {
        if self.may_read(host, id) && self.feed_unread(host, id) {
            self.read_stream(host, id, buffer);
        }
    }

    /// Whether one may be read now. One that may not is paused, or broken off, or waits.
    fn may_read(&mut self, host: &mut Host, id: ConnId) -> bool {
        let quiet = self.stage.is_quiet;
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        match host.flow(id) {
            // Nothing that it still waits for can reach it.
            Flow::Go | Flow::Pause | Flow::End
                if link.progress.broken && (quiet || link.progress.at_end) =>
            {
                self.break_off(host, id);
                false
            }
            Flow::Go => !quiet,
            Flow::End => true,
            Flow::Pause => {
                match link.progress.broken {
                    true => self.break_off(host, id),
                    false => self.pause(host, id),
                }
                false
            }
            // An answer without end is nobody's any more.
            Flow::Wait if link.progress.broken && host.is_telling(id) => {
                self.break_off(host, id);
                false
            }
            // What it has asked for goes on even if it is gone, and so long it keeps its place: or who asks and goes would
            // have any number of requests under way.
            Flow::Leave | Flow::Wait | Flow::Gone => false,
        }
    }

    /// Feeds what was read before and not taken. Whether the socket may be read then.
    fn feed_unread(&mut self, host: &mut Host, id: ConnId) -> bool {
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        if link.progress.unread.is_empty() {
            return true;
        }
        let mut unread = std::mem::take(&mut link.progress.unread);
        let taken = self.feed(host, id, &mut unread);
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        if taken < unread.len() {
            unread.drain(..taken);
            link.progress.unread = unread;
            return false;
        }
        match host.flow(id) {
            Flow::Go | Flow::End => true,
            // The wire has told of what is left in the socket, and does so once.
            Flow::Pause if link.progress.readable => {
                self.pause(host, id);
                false
            }
            _ => false,
        }
    }

    /// Reads the socket, if it has something, and feeds that.
    fn read_stream(&mut self, host: &mut Host, id: ConnId, buffer: &mut [u8]) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.progress.tls.is_some() && reads_sealed(host, link) {
            return self.read_sealed(host, id, buffer);
        }
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
                    && let Some(link) = self.links.get_mut(id)
                {
                    match link.progress.tls {
                        None => link.progress.unread = input[taken..].to_vec(),
                        Some(_) => self.hold_hello(id, &input[taken..]),
                    }
                }
            }
            Err(error) => self.read_failed(host, id, error.kind()),
        }
    }

    /// Makes messages of bytes, as many as are a helping. Returns how many bytes it has taken; the others are to be
    /// kept, because the connection is paused, leaves, or has had its helping.
    pub(super) fn feed(&mut self, host: &mut Host, id: ConnId, input: &mut [u8]) -> usize {
        let all = input.len();
        let mut at = 0;
        match self.links.get_mut(id) {
            Some(link) if link.progress.input.comes_before_messages() => {
                if let Some(taken) = self.feed_opening(host, id, input, &mut at) {
                    return taken;
                }
            }
            Some(_) => {}
            None => return all,
        }
        let helping = host.work() + UNITS_PER_HELPING;
        loop {
            // Of a message that has gone out; the next call of the decoder frees what knows of them.
            if self.rates.is_some() {
                self.spend_fragments(host, id);
            }
            let Some(link) = self.links.get_mut(id) else {
                return all;
            };
            if at == input.len() && link.progress.input.is_between_messages() {
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
            let Some(decoder) = link.progress.input.decoder() else {
                return all;
            };
            let before = at;
            let decoded = decoder.next(input, &mut at);
            if let Some(rates) = &mut self.rates
                && flow == Flow::Go
                && !rates.spend(id, at - before, unit_of(&decoded), host.now())
            {
                self.reject(host, id, CloseReason::RateLimit);
                return all;
            }
            let taken = match decoded {
                Ok(None) => {
                    host.shard().work.copied(at - before);
                    self.spend_fragments(host, id);
                    return all;
                }
                Ok(Some(Decoded::Close { code })) => {
                    self.take_close(host, id, flow, code);
                    return all;
                }
                Ok(Some(decoded)) => {
                    let (memory, rates) = (&mut self.read_memory, self.rates.as_mut());
                    memory.take(host, id, flow, decoded, rates)
                }
                Err(reason) => {
                    if let Some(stranger) = decoder.stranger() {
                        self.log_stranger(host, id, stranger);
                    }
                    Err(reason)
                }
            };
            if let Err(reason) = taken {
                self.reject(host, id, reason);
                return all;
            }
        }
    }

    /// Takes what comes before messages: a proxy's header, the handshake, requests. Returns how many bytes are taken,
    /// unless messages may follow at `at`.
    fn feed_opening(
        &mut self,
        host: &mut Host,
        id: ConnId,
        input: &[u8],
        at: &mut usize,
    ) -> Option<usize> {
        let all = input.len();
        if !self.take_proxy_header(host, id, input, at) {
            return Some(all);
        }
        if *at > 0
            && self
                .links
                .get(id)
                .is_some_and(|link| link.progress.tls.is_some())
        {
            // What follows the header is its.
            return Some(*at);
        }
        if !self.shake_hands(host, id, input, at) {
            return Some(all);
        }
        if let Some(Input::Requests(_)) = self.links.get(id).map(|link| &link.progress.input) {
            *at += self.feed_requests(host, id, &input[*at..]);
            return match self.links.get(id).map(|link| &link.progress.input) {
                Some(Input::Messages(_)) => None,
                Some(Input::Requests(_)) => Some(*at),
                _ => Some(all),
            };
        }
        None
    }

    /// The peer's close frame has come: nothing comes after it.
    fn take_close(&mut self, host: &mut Host, id: ConnId, flow: Flow, code: Option<u16>) {
        if let Some(link) = self.links.get_mut(id) {
            link.progress.peer_closed = true;
            link.progress.input = Input::Ignored;
        }
        if flow == Flow::Go {
            host.shard()
                .send_raw(id, |codec, out| codec.encode_close_echo(code, out));
            host.close(id, CloseReason::ByPeer);
        }
    }

    /// Tells the log of a connection that began with another protocol.
    fn log_stranger(&mut self, host: &mut Host, id: ConnId, stranger: Stranger) {
        let shard = host.shard();
        if let Some((listener, peer)) = shard
            .connections
            .listener_number(id)
            .zip(shard.connections.peer(id))
        {
            self.admission
                .complain(listener, CloseReason::Protocol, peer, stranger.text());
        }
    }

    /// Has fragments count that were no whole message, where there is a rate.
    pub(super) fn spend_fragments(&mut self, host: &mut Host, id: ConnId) {
        let Some(rates) = &mut self.rates else { return };
        let Some(link) = self.links.get_mut(id) else {
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
        if let Some(link) = self.links.get_mut(id) {
            link.progress.input = Input::Ignored;
        }
        host.close(id, reason);
    }
}

/// What something decoded counts as. Closing is never too much.
fn unit_of(decoded: &Result<Option<Decoded<'_>>, CloseReason>) -> Unit {
    match decoded {
        Ok(None | Some(Decoded::Close { .. })) | Err(_) => Unit::Nothing,
        Ok(Some(Decoded::Ping(_) | Decoded::Pong)) => Unit::Control,
        Ok(Some(
            Decoded::Message(_)
            | Decoded::TooLong(_)
            | Decoded::NotUtf8(_)
            | Decoded::Unended(_)
            | Decoded::CompressedText(_)
            | Decoded::CompressedBinary(_),
        )) => Unit::Message,
    }
}
