//! Connections that speak TLS: their handshakes, and what arrives, opened before it goes the way of all bytes. What leaves is
//! sealed in `sealing.rs`.
//!
//! A handshake costs some 0.2 ms, so a round goes on with [`HANDSHAKES_PER_ROUND`] of them, the others wait in a queue of
//! their own, and deliveries do not wait for them.

use std::io::{ErrorKind, Read, Write};

use tracing::{debug, warn};

use super::Transport;
use crate::app::host::{Flow, Host};
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::connection::{Input, Link};
use crate::protocol::Codec;
use crate::stats::TLS_FAILURES;
use crate::tls::{
    End, FAILURE_KINDS, Handshaken, PEER_ALERT, RECORD, TlsAcceptor, TlsConnection, TlsRefusal,
    failure_index,
};

const _: () = assert!(FAILURE_KINDS.len() == TLS_FAILURES);

/// Steps of handshakes in one round, two for each.
const HANDSHAKES_PER_ROUND: usize = 4;
/// What is kept of the memory for a handshake's output.
const OUTPUT_KEPT: usize = 16 << 10;

/// Whether TLS is under the bytes of one that are to be read now.
pub fn reads_sealed(host: &mut Host, link: &mut Link) -> bool {
    let Some(tls) = &link.progress.tls else {
        return false;
    };
    // Of one that is to end nothing matters any more, unless it is to be told something first.
    let is_over = match tls.is_shaking_hands() {
        true => {
            let is_told = !host.shard().connections.outbox_is_empty(link.id);
            tls.has_said_last() || host.flow(link.id) == Flow::End && !is_told
        }
        false => matches!(link.progress.input, Input::Ignored),
    };
    if is_over {
        link.progress.ignore();
    }
    !is_over
}

impl Transport {
    /// Has listeners speak TLS.
    pub fn speak_tls(&mut self, acceptor: TlsAcceptor) {
        self.tls.acceptor = Some(acceptor);
        self.tls.is_on = true;
    }

    /// Whether a listener speaks it.
    pub(super) fn speaks_tls(&self, listener: u16) -> bool {
        let acceptor = self.tls.acceptor.as_ref();
        acceptor.is_some_and(|acceptor| acceptor.has(listener))
    }

    /// The TLS of a connection that begins with it, if its listener speaks it.
    pub(super) fn begin_tls(
        &mut self,
        host: &mut Host,
        listener: u16,
    ) -> Result<Option<Box<TlsConnection>>, CloseReason> {
        let Some(acceptor) = &mut self.tls.acceptor else {
            return Ok(None);
        };
        let codec = self.listeners[usize::from(listener)].codec;
        let is_http = matches!(codec, Codec::WebSocket | Codec::Http);
        match acceptor.begin(listener, is_http) {
            None => Ok(None),
            Some(Ok(tls)) => Ok(Some(Box::new(tls))),
            Some(Err(refusal)) => {
                warn!(listener, "TLS: {}", refusal.text);
                host.shard().stats.tls_failures[failure_index(refusal.kind)] += 1;
                Err(CloseReason::Internal)
            }
        }
    }

    /// Goes on with as many handshakes as a round may.
    pub(super) fn read_handshakes(&mut self, host: &mut Host) {
        if !self.queues.has_hellos() {
            return;
        }
        self.tls.steps_left = HANDSHAKES_PER_ROUND;
        while self.tls.steps_left > 0
            && let Some(id) = self.queues.next_hello()
        {
            self.read_queued(host, id);
        }
        self.tls.steps_left = 0;
    }

    /// Reads the socket of one that speaks TLS, if it has something, and feeds what that holds.
    pub(super) fn read_sealed(&mut self, host: &mut Host, id: ConnId, buffer: &mut [u8]) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let Some(tls) = &mut link.progress.tls else {
            return;
        };
        if tls.is_shaking_hands() {
            if self.tls.steps_left == 0 {
                return self.queues.push_hello(link);
            }
            self.tls.steps_left -= 1;
            let behind_proxy = tls.record_bytes();
            if behind_proxy > 0 {
                tls.take_record(buffer);
                self.feed_sealed(host, id, &mut buffer[..behind_proxy]);
            }
        } else if let Some(end) = tls.take_end() {
            return self.end_tls(host, id, end);
        }
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !link.progress.readable || link.progress.at_end {
            return;
        }
        let Some(tls) = &mut link.progress.tls else {
            return;
        };
        let held = tls.record_bytes();
        match link.stream.read(&mut buffer[held..]) {
            Ok(0) => self.stream_ended(host, id),
            Ok(length) => {
                tls.take_record(buffer);
                let all = held + length;
                self.note_read(host, id, length, all == buffer.len());
                self.feed_sealed(host, id, &mut buffer[..all]);
            }
            Err(error) => self.read_failed(host, id, error.kind()),
        }
    }

    /// The stream ends without a word, which TLS does not tell from a cut: what came last is not taken for whole.
    fn stream_ended(&mut self, host: &mut Host, id: ConnId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.progress.broken {
            return self.break_off(host, id);
        }
        link.progress.readable = false;
        link.progress.at_end = true;
        if let Some(tls) = &mut link.progress.tls {
            tls.ignore();
        }
        if host.flow(id) == Flow::Go
            && let Some(link) = self.links.get_mut(id)
            && matches!(link.progress.input, Input::Messages(_))
        {
            link.progress.input = Input::Ignored;
        }
        self.reached_end(host, id);
    }

    /// So much was read; the socket may have more if that was as much as there was room for.
    fn note_read(&mut self, host: &mut Host, id: ConnId, length: usize, is_full: bool) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        // A short read has emptied the socket, unless its end waits behind the bytes.
        let is_http = link.codec == Codec::Http;
        link.progress.readable = is_full || link.progress.ending || link.progress.broken;
        if link.progress.readable {
            self.read_later(id);
        }
        if is_http {
            self.count_lingering(host, id, length);
        } else {
            host.shard().heard(id, length);
        }
    }

    pub(super) fn read_failed(&mut self, host: &mut Host, id: ConnId, error: ErrorKind) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        match error {
            ErrorKind::WouldBlock if !link.progress.broken => link.progress.readable = false,
            ErrorKind::Interrupted => self.read_later(id),
            _ => self.break_off(host, id),
        }
    }

    /// Bytes under which TLS begins have come behind a proxy's header: they wait until it is their turn.
    pub(super) fn hold_hello(&mut self, id: ConnId, bytes: &[u8]) {
        if let Some(link) = self.links.get_mut(id)
            && let Some(tls) = &mut link.progress.tls
        {
            tls.hold(bytes);
            self.queues.push_hello(link);
        }
    }

    /// Goes on with the handshake, or opens records and feeds what they hold.
    fn feed_sealed(&mut self, host: &mut Host, id: ConnId, input: &mut [u8]) {
        let mut at = 0;
        while self.is_shaking_hands(id) {
            match self.step_handshake(host, id, &input[at..]) {
                Some(taken) => at += taken,
                None => return,
            }
        }
        let Some(tls) = self.tls_of(id) else {
            return;
        };
        let input = &mut input[at..];
        let opened = tls.open(input);
        let (plain, rest) = input.split_at_mut(opened.plain.min(opened.taken));
        tls.hold(&rest[opened.taken - plain.len()..]);
        let around = opened.taken - plain.len();
        host.shard().work.opened(plain.len(), around);
        let taken = match plain.is_empty() {
            true => 0,
            false => self.feed(host, id, plain),
        };
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let is_left = taken < plain.len();
        if is_left {
            link.progress.unread = plain[taken..].to_vec();
        }
        let Some(end) = opened.end else { return };
        // As an end is only read of one that may be read.
        if !is_left && matches!(host.flow(id), Flow::Go | Flow::End) {
            return self.end_tls(host, id, end);
        }
        if let Some(tls) = &mut link.progress.tls {
            tls.keep_end(end);
            link.progress.readable = true;
            self.read_later(id);
        }
    }

    fn is_shaking_hands(&mut self, id: ConnId) -> bool {
        self.tls_of(id).is_some_and(|tls| tls.is_shaking_hands())
    }

    /// What the client of a connection is called, if it has shown a certificate.
    pub(super) fn client_names(&self, id: ConnId) -> Vec<Box<str>> {
        let tls = self
            .links
            .get(id)
            .and_then(|link| link.progress.tls.as_ref());
        tls.map_or_else(Vec::new, |tls| tls.client_names().to_vec())
    }

    fn tls_of(&mut self, id: ConnId) -> Option<&mut TlsConnection> {
        self.links.get_mut(id)?.progress.tls.as_deref_mut()
    }

    /// Goes on with a handshake. How many bytes belonged to it, once it is done.
    fn step_handshake(&mut self, host: &mut Host, id: ConnId, input: &[u8]) -> Option<usize> {
        let mut output = std::mem::take(&mut self.tls.output);
        let (taken, step) = self.tls_of(id)?.shake_hands(input, &mut output);
        self.send_now(host, id, &output);
        output.clear();
        output.shrink_to(OUTPUT_KEPT);
        self.tls.output = output;
        match step {
            Ok(None) => None,
            Ok(Some(handshaken)) => {
                self.shook_hands(host, id, &handshaken);
                Some(taken)
            }
            Err(refusal) => {
                self.refuse_tls(host, id, &refusal);
                None
            }
        }
    }

    fn shook_hands(&mut self, host: &mut Host, id: ConnId, handshaken: &Handshaken) {
        let Handshaken {
            is_resumed,
            is_old,
            client_names,
            ..
        } = handshaken;
        debug!(connection = %host.tell_name(id), is_resumed, is_old, ?client_names, "speaks TLS");
        let kind = 2 * usize::from(*is_old) + usize::from(*is_resumed);
        host.shard().stats.tls_handshakes[kind] += 1;
        // What waited for this.
        host.shard().set_blocked(id, false);
        // What follows are messages, if no other handshake comes first.
        let opens = |link: &Link| matches!(link.progress.input, Input::Messages(_));
        if self.links.get(id).is_some_and(opens) {
            host.open_named(id, client_names.clone(), None);
        }
    }

    fn refuse_tls(&mut self, host: &mut Host, id: ConnId, refusal: &TlsRefusal) {
        let text = format!("TLS: {}", refusal.text);
        self.fail_tls(host, id, CloseReason::TlsHandshake, refusal.kind, &text);
    }

    /// Ends one whose TLS has failed.
    fn fail_tls(
        &mut self,
        host: &mut Host,
        id: ConnId,
        reason: CloseReason,
        kind: &str,
        text: &str,
    ) {
        host.shard().stats.tls_failures[failure_index(kind)] += 1;
        let connections = &host.shard().connections;
        if let Some((listener, peer)) = connections.listener_number(id).zip(connections.peer(id)) {
            self.admission.complain(listener, reason, peer, text);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.progress.ignore();
        }
        host.close(id, reason);
    }

    /// The peer's TLS has ended, this way or that.
    fn end_tls(&mut self, host: &mut Host, id: ConnId, end: End) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let Some(tls) = &mut link.progress.tls else {
            return;
        };
        match end {
            End::Closed => {
                link.progress.readable = false;
                link.progress.at_end = true;
                self.reached_end(host, id);
            }
            End::Alert(alert) => {
                tls.say_nothing_more();
                let name = crate::tls::failure::alert_name(alert);
                let text = format!("TLS: the peer gave up: {name} ({alert})");
                self.fail_tls(host, id, CloseReason::TlsAlert, PEER_ALERT, &text);
            }
            End::Failed(failure) => {
                tls.end_by(failure.alert());
                self.fail_tls(host, id, CloseReason::TlsRecord, RECORD, failure.text());
            }
        }
    }

    /// Sends what does not wait for the round's writing. What the kernel does not take leaves before anything else.
    fn send_now(&mut self, host: &mut Host, id: ConnId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        let Some(tls) = &mut link.progress.tls else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        let sent = match tls.unsent_bytes() {
            // An error is met by the read, too.
            0 => (&link.stream).write(bytes).unwrap_or_default(),
            _ => 0,
        };
        if sent < bytes.len() {
            tls.keep_unsent(&bytes[sent..], false);
            host.shard().write_later(id);
        }
    }

    /// Tells the peer that no more comes, where that has not been said behind the last message.
    pub(super) fn say_last(&mut self, id: ConnId) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if let Some(tls) = &mut link.progress.tls
            && tls.unsent_bytes() == 0
        {
            let mut alert = Vec::new();
            tls.seal_last(&mut alert);
            if !alert.is_empty() {
                // Who takes none is told by the end of the stream.
                let _ = (&link.stream).write(&alert);
            }
        }
    }

    /// What of the handshake has not been sent is, now that there is room.
    pub(super) fn send_rest(&mut self, host: &mut Host, id: ConnId) {
        if self.has_unsent(id) {
            host.shard().write_later(id);
        }
    }

    /// Whether something waits to be sent that the outbox does not have.
    pub(super) fn has_unsent(&self, id: ConnId) -> bool {
        let link = self.links.get(id);
        let tls = link.and_then(|link| link.progress.tls.as_ref());
        tls.is_some_and(|tls| tls.unsent_bytes() > 0)
    }
}
