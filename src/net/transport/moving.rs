//! Connections on their way to and from other cores.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use tracing::{debug, warn};

use super::Transport;
use crate::app::host::{Arrival, Flow, Host, Leaving};
use crate::close::CloseReason;
use crate::escape::Escaped;
use crate::ident::{ConnName, CoreId};
use crate::net::connection::Link;
use crate::net::handover::BATCH;
use crate::net::rates::Bucket;

/// The transport's part of a connection between two cores.
struct Passenger {
    link: Link<()>,
    socket: Passing,
    bucket: Option<Bucket>,
    /// The time on the core that it has left.
    left_at: Instant,
}

/// How a socket comes along.
enum Passing {
    /// As it is: all cores have one descriptor table.
    Here(TcpStream),
    /// By the handover, as this one's number so much.
    Sent { from: CoreId, number: u64 },
}

/// A connection that leaves.
pub(super) struct Boarding {
    leaving: Leaving,
    link: Link,
    bucket: Option<Bucket>,
}

impl Transport {
    /// A connection has come from another core, and goes on where that one stopped.
    pub fn adopt(&mut self, host: &mut Host, arrival: Arrival) {
        let Ok(passenger) = arrival.link.downcast::<Passenger>() else {
            debug_assert!(false, "a passenger is what departs");
            return;
        };
        let Passenger {
            mut link,
            socket,
            bucket,
            left_at,
        } = *passenger;
        let id = arrival.connection;
        link.id = id;
        let counted = link.counted;
        let socket = match (socket, &mut self.handover) {
            (Passing::Here(stream), _) => Ok(stream),
            (Passing::Sent { from, number }, Some(handover)) => handover.take(from, number),
            (Passing::Sent { .. }, None) => Err(io::ErrorKind::Unsupported.into()),
        };
        let installed = socket.and_then(|stream| self.install(link.exchange(stream).0));
        if let Err(error) = installed {
            warn!(%error, "a connection that moved cannot be served here and is dropped");
            self.leave(host, id, counted);
            host.close(id, CloseReason::Internal);
            host.shard().remove(id);
            return;
        }
        match (&mut self.rates, bucket) {
            (Some(rates), Some(bucket)) => {
                rates.put(id, bucket, left_at.saturating_duration_since(host.now()));
            }
            // Where it comes from there was no rate yet.
            (Some(rates), None) => {
                rates.enter(id, host.shard().listener_number(id).unwrap_or_default());
            }
            (None, _) => {}
        }
        // The limit may have changed while it was on its way.
        self.renew_message_bytes_max(host, id);
        self.read(host, id);
    }

    /// Sends every connection on its way that is to move.
    pub fn depart_all(&mut self, host: &mut Host) {
        while let Some(leaving) = host.next_leaving() {
            let id = leaving.connection;
            if host.flow(id) != Flow::Leave {
                continue;
            }
            let Some(link) = self.take_link(id) else {
                continue;
            };
            if link.watched
                && let Err(error) = self.wire.release(id, &link.stream)
            {
                warn!(%error, "a connection could not be taken off the wire");
            }
            debug!(connection = %ConnName(host.core(), id), home = %leaving.home, uid = %Escaped(&leaving.uid), "moves");
            let bucket = self.rates.as_mut().map(|rates| rates.take(id));
            let boarding = Boarding {
                leaving,
                link,
                bucket,
            };
            if self.handover.is_some() {
                self.boarding.push(boarding);
            } else {
                depart(host, boarding, Passing::Here);
            }
        }
        if !self.boarding.is_empty() {
            self.hand_over(host);
        }
    }

    /// Sends the sockets of those that board, many at a time, and each envelope after its socket.
    fn hand_over(&mut self, host: &mut Host) {
        let Some(mut handover) = self.handover.take() else {
            return;
        };
        let mut boarding = std::mem::take(&mut self.boarding);
        boarding.sort_by_key(|one| one.leaving.home.0);
        let mut boarding = boarding.into_iter().peekable();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(one) = boarding.next() {
            let home = one.leaving.home;
            if host.flow(one.leaving.connection) == Flow::Leave {
                batch.push(one);
            } else {
                self.stay(host, one);
            }
            let is_more = boarding
                .peek()
                .is_some_and(|next| next.leaving.home == home);
            if is_more && batch.len() < BATCH || batch.is_empty() {
                continue;
            }
            let sockets: Vec<_> = batch.iter().map(|one| one.link.stream.as_fd()).collect();
            match handover.send(home, &sockets) {
                Ok(first) => {
                    let from = host.core();
                    for (number, one) in (first..).zip(batch.drain(..)) {
                        // The socket is on its way; this closes our descriptor of it.
                        depart(host, one, |_| Passing::Sent { from, number });
                    }
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        warn!(%error, core = %home, "connections cannot move there yet");
                    }
                    self.boarding.append(&mut batch);
                }
            }
        }
        self.handover = Some(handover);
    }

    /// One that has been closed while it waited to leave ends here.
    fn stay(&mut self, host: &mut Host, boarding: Boarding) {
        let Boarding { leaving, link, .. } = boarding;
        let id = leaving.connection;
        let counted = link.counted;
        match self.install(link) {
            Ok(()) => self.end(host, id),
            Err(_) => {
                self.leave(host, id, counted);
                host.shard().remove(id);
            }
        }
    }
}

/// Posts the envelope of one that leaves.
fn depart(host: &mut Host, boarding: Boarding, passing: impl FnOnce(TcpStream) -> Passing) {
    let Boarding {
        leaving,
        link,
        bucket,
    } = boarding;
    let (link, stream) = link.exchange(());
    let passenger = Passenger {
        link,
        socket: passing(stream),
        bucket,
        left_at: host.now(),
    };
    host.depart(leaving, Box::new(passenger));
}
