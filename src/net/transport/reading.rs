//! From bytes to the host: reading one connection, its opening handshake, its messages.

use std::io::{ErrorKind, Read};

use tracing::{debug, error};

use super::Transport;
use crate::app::host::{Flow, Host};
use crate::close::CloseReason;
use crate::guard::guard;
use crate::ident::ConnId;
use crate::net::connection::Input;
use crate::protocol::http::HttpError;
use crate::protocol::{Codec, Decoder, Event};

const FOREIGN_ORIGIN: HttpError = HttpError {
    status: 403,
    text: "pages of this origin are not let in here",
};

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
        let mut buffer = std::mem::take(&mut self.buffer);
        let done = guard(|| self.read_into(host, id, &mut buffer));
        self.buffer = buffer;
        if let Err(fault) = done {
            host.shard().stats.panics += 1;
            error!(connection = id.to_bits(), %fault, "a panic; its connection is closed");
            if let Some(link) = self.link(id) {
                link.input = Input::Ignored;
                link.unread = Vec::new();
            }
            host.close(id, CloseReason::Internal);
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
            Flow::Go | Flow::Pause | Flow::End if link.broken && (quiet || link.at_end) => {
                return self.break_off(host, id);
            }
            Flow::Go if quiet => return,
            Flow::Go | Flow::End => {}
            Flow::Pause if link.broken => return self.break_off(host, id),
            Flow::Pause => return self.pause(host, id),
            Flow::Leave | Flow::Gone => return,
        }
        if !link.unread.is_empty() {
            let mut unread = std::mem::take(&mut link.unread);
            self.feed(host, id, &mut unread);
            let Some(link) = self.link(id) else { return };
            if !link.unread.is_empty() || !matches!(host.flow(id), Flow::Go | Flow::End) {
                return;
            }
        }
        let Some(link) = self.link(id) else { return };
        if !link.readable || link.at_end {
            return;
        }
        match link.stream.read(buffer) {
            Ok(0) if link.broken => self.break_off(host, id),
            Ok(0) => {
                link.readable = false;
                link.at_end = true;
                self.reached_end(host, id);
            }
            Ok(length) => {
                // A short read has emptied the socket, unless its end waits behind the bytes.
                link.readable = length == buffer.len() || link.ending || link.broken;
                if link.readable {
                    self.read_later(id);
                }
                host.shard().heard(id, length);
                self.feed(host, id, &mut buffer[..length]);
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock if !link.broken => link.readable = false,
                ErrorKind::Interrupted => self.read_later(id),
                _ => self.break_off(host, id),
            },
        }
    }

    pub(super) fn pause(&mut self, host: &mut Host, id: ConnId) {
        if host.shard().set_paused(id, true) {
            self.paused.push(id);
        }
    }

    /// Makes messages of bytes. What it does not take, because the connection is paused or leaves, it keeps.
    pub(super) fn feed(&mut self, host: &mut Host, id: ConnId, input: &mut [u8]) {
        let mut at = 0;
        if !self.shake_hands(host, id, input, &mut at) {
            return;
        }
        loop {
            let flow = host.flow(id);
            let Some(link) = self.link(id) else { return };
            match flow {
                Flow::Go | Flow::End => {}
                Flow::Pause => {
                    link.unread = input[at..].to_vec();
                    return self.pause(host, id);
                }
                Flow::Leave => {
                    link.unread = input[at..].to_vec();
                    return;
                }
                Flow::Gone => return,
            }
            let decoder = match &mut link.input {
                Input::Messages(decoder) => decoder,
                #[cfg(test)]
                Input::Panics => panic!("a codec's mistake"),
                Input::Handshake(_) | Input::Ignored => return,
            };
            match decoder.next(input, &mut at) {
                Ok(None) => return,
                Ok(Some(Event::Message(message))) => {
                    if flow == Flow::Go {
                        host.message(id, message);
                    }
                }
                Ok(Some(Event::Ping(payload))) => {
                    if flow == Flow::Go {
                        host.shard()
                            .send_raw(id, |codec, out| codec.encode_pong(payload, out));
                    }
                }
                Ok(Some(Event::Pong)) => {}
                Ok(Some(Event::Close { code })) => {
                    link.peer_closed = true;
                    link.input = Input::Ignored;
                    if flow == Flow::Go {
                        host.shard()
                            .send_raw(id, |codec, out| codec.encode_close_echo(code, out));
                        host.close(id, CloseReason::ByPeer);
                    }
                    return;
                }
                Err(reason) => {
                    link.input = Input::Ignored;
                    host.close(id, reason);
                    return;
                }
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
        let Some(link) = self.link(id) else {
            return false;
        };
        let Input::Handshake(handshake) = &mut link.input else {
            return true;
        };
        if host.flow(id) == Flow::End {
            return false;
        }
        match handshake.advance(input) {
            Ok(None) => false,
            Ok(Some(accepted)) => {
                if !self
                    .origins
                    .admits(accepted.origin.as_deref(), &accepted.host)
                {
                    let origin = accepted.origin.unwrap_or_default();
                    self.origins.log_refusal(&origin, host.shard().peer(id));
                    self.refuse(host, id, &FOREIGN_ORIGIN.response());
                    return false;
                }
                *at = accepted.consumed;
                let bytes_max = host
                    .shard()
                    .listener(id)
                    .map_or(0, |spec| spec.message_bytes_max);
                if let Some(link) = self.link(id) {
                    link.input = Input::Messages(Decoder::new(Codec::WebSocket, bytes_max));
                }
                host.shard()
                    .send_raw(id, |_, out| out.extend_from_slice(&accepted.response));
                host.open(id);
                true
            }
            Err(refused) => {
                debug!(
                    connection = id.to_bits(),
                    status = refused.status,
                    "{}",
                    refused.text
                );
                self.refuse(host, id, &refused.response);
                false
            }
        }
    }

    pub(super) fn refuse(&mut self, host: &mut Host, id: ConnId, response: &[u8]) {
        if let Some(link) = self.link(id) {
            link.input = Input::Ignored;
        }
        host.shard()
            .send_raw(id, |_, out| out.extend_from_slice(response));
        host.close(id, CloseReason::BadHandshake);
    }
}
