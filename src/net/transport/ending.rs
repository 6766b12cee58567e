//! How connections end: broken, closed by the peer or by us, each seen through to its last byte or cut off.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use tracing::debug;

use super::Transport;
use crate::app::host::{Flow, Host};
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::connection::{Counted, Input, Link};
use crate::protocol::Decoded;
use crate::shard::Phase;

/// What the kernel may have to send yet of a connection that is let go of: a close frame, and no more of what a peer may
/// never take.
const LEFT_BYTES_MAX: usize = 256;

/// Bytes that the kernel has taken and not sent once (tcp(7), SIOCOUTQ, but for what is on its way).
fn bytes_unsent(stream: &TcpStream) -> usize {
    // linux/sockios.h
    const SIOCOUTQNSD: libc::Ioctl = 0x894B;
    bytes_by(stream, SIOCOUTQNSD)
}

/// Bytes that have left the outbox and that the peer has not acknowledged: the kernel's (tcp(7), SIOCOUTQ), and what it has
/// not taken of a record. Sealed ones, so that it may be more than it was in the outbox.
fn bytes_outstanding(link: &Link) -> usize {
    let of_kernel = bytes_by(&link.stream, libc::TIOCOUTQ as libc::Ioctl);
    let tls = link.progress.tls.as_ref();
    of_kernel.saturating_add(tls.map_or(0, |tls| tls.unsent_bytes()))
}

/// As many as there can be if that is not known.
fn bytes_by(stream: &TcpStream, request: libc::Ioctl) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: both requests write one int, which outlives the call.
    match unsafe { libc::ioctl(stream.as_raw_fd(), request, &raw mut bytes) } {
        0 => bytes as usize,
        _ => usize::MAX,
    }
}

impl Transport {
    /// The socket is of no use any more.
    pub(super) fn break_off(&mut self, host: &mut Host, id: ConnId) {
        host.close(id, CloseReason::Reset);
        self.end(host, id);
    }

    /// The peer sends no more. It may still read: what it has asked for is answered first.
    pub(super) fn reached_end(&mut self, host: &mut Host, id: ConnId) {
        self.take_last(host, id);
        if host.shard().connections.has_open_replies(id) {
            self.paused.half_closed.push(id);
        } else {
            host.close(id, CloseReason::ByPeer);
        }
    }

    /// What came last may be a line without its end.
    fn take_last(&mut self, host: &mut Host, id: ConnId) {
        if host.flow(id) != Flow::Go {
            return;
        }
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if let Input::Messages(decoder) = &mut link.progress.input
            && let Some((flaw, line)) = decoder.finish().and_then(Decoded::flawed)
        {
            let line = line.to_vec();
            host.flawed(id, flaw, &line);
        }
    }

    /// A closing connection has sent its last byte: waits for the peer's close where one is due, then
    /// ends the stream, then waits for the peer's end. Where both have said that it ends, the kernel does the latter.
    pub(super) fn finish(&mut self, host: &mut Host, id: ConnId) {
        let broken = host.shard().connections.reason(id) == Some(CloseReason::Reset);
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.progress.at_end || broken {
            if !broken {
                self.say_last(id);
            }
            self.end(host, id);
            return;
        }
        // Those who are told that there is no place are bounded, and others end at once.
        if link.progress.counted == Counted::Provisional && !self.give_up_permit(host, id) {
            return self.end(host, id);
        }
        if self.links.get(id).is_some_and(|link| !link.awaits_close()) {
            self.say_last(id);
        }
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if link.is_agreed_end()
            && !link.progress.readable
            && bytes_unsent(&link.stream) <= LEFT_BYTES_MAX
        {
            return self.end(host, id);
        }
        if !link.awaits_close() && !link.progress.shut {
            link.progress.shut = true;
            // An error means that the peer is gone, which the wire reports.
            let _ = link.stream.shutdown(Shutdown::Write);
        }
    }

    /// Closes those that keep the most of what they have sent, while all together keep too much.
    pub(super) fn shed_input(&mut self, host: &mut Host) {
        for id in self.links.shed(host.shard().connections.ids()) {
            host.close(id, CloseReason::Policy);
        }
    }

    /// It counts no more towards the limits on connections.
    pub(super) fn leave(&mut self, host: &mut Host, id: ConnId, counted: Counted) {
        if let Some(listener) = host.shard().connections.listener_number(id) {
            let peer = host.shard().connections.peer(id);
            self.admission.leave(listener, counted, peer);
        }
    }

    /// Lets go of a connection whose close has been seen through, or that broke.
    pub(super) fn end(&mut self, host: &mut Host, id: ConnId) {
        self.end_client_permit(id);
        self.http.lingering.take(id);
        if let Some(link) = self.links.take(id) {
            self.leave(host, id, link.progress.counted);
            if let Some(rates) = &mut self.rates {
                rates.forget(id);
            }
            debug!(connection = %host.tell_name(id), reason = %host.shard().connections.reason(id).map_or("none", CloseReason::text), "ended");
            host.acknowledged(id, || bytes_outstanding(&link));
            let watched = link.watch.is_on();
            // This closes the socket's descriptor; the socket itself goes when the wire has let go of it.
            drop(link);
            if watched {
                self.wire.forget(id);
            }
            host.shard().remove(id);
        }
    }

    /// So much was read of one that asks by HTTP. One that goes on sending for long after its last answer is cut off.
    pub(super) fn count_lingering(&mut self, host: &mut Host, id: ConnId, bytes: usize) {
        if host.shard().connections.phase(id) == Phase::Closing
            && self.http.lingering.read(id, bytes)
        {
            self.cut_off(host, id);
        }
    }

    /// Finds out what has arrived of messages that wait for their uid's login if it has not.
    pub fn ask_for_acknowledged(&mut self, host: &mut Host) {
        host.tell_acknowledged(|id| self.links.get(id).map(bytes_outstanding));
        if !host.shard().in_flight.has_to_ask() {
            return;
        }
        for id in host.shard().in_flight.take_long() {
            if let Some(link) = self.links.get(id) {
                let outstanding = bytes_outstanding(link);
                host.shard().acknowledge(id, outstanding);
            }
        }
        while let Some((id, in_flight)) = host.shard().in_flight.next_left() {
            let link = self.links.get(id);
            // One that has moved on took its socket along.
            let outstanding = link.map_or(usize::MAX, bytes_outstanding);
            host.put_back(*in_flight, outstanding);
        }
    }

    /// Cuts off what did not answer its close in time.
    pub fn cut_off_overdue(&mut self, host: &mut Host) {
        for id in host.shard().endings.take_overdue() {
            self.cut_off(host, id);
        }
    }

    /// Ends a connection by a reset, which frees both sides' buffers.
    pub(super) fn cut_off(&mut self, host: &mut Host, id: ConnId) {
        if let Some(link) = self.links.get_mut(id) {
            let socket = socket2::SockRef::from(&link.stream);
            // An error leaves an orderly close in its place, which the kernel ends by itself.
            let _ = socket.set_linger(Some(Duration::ZERO));
            self.end(host, id);
        }
    }
}
