//! How connections leave for their home core, and how their sockets get there.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;

use tracing::{debug, warn};

use super::Transport;
use super::departures::PendingDeparture;
use crate::app::host::{Flow, Host};
use crate::escape::Escaped;
use crate::migration::{Socket, TransportPart};
use crate::net::handover::BATCH;

impl Transport {
    /// Sends every connection on its way that is to move.
    pub fn depart_all(&mut self, host: &mut Host) {
        while let Some(departure) = host.next_departure() {
            let id = departure.connection;
            if host.flow(id) != Flow::Leave {
                continue;
            }
            let Some(mut link) = self.links.take(id) else {
                continue;
            };
            self.release(&mut link);
            debug!(connection = %host.tell_name(id), home = %departure.home, uid = %Escaped(&departure.uid), "moves");
            let left_at = host.now();
            let spent = self.rates.as_mut().map(|rates| rates.leave(id, left_at));
            let departing = PendingDeparture {
                departure,
                link,
                spent,
                left_at,
            };
            if self.departures.handover.is_some() {
                self.departures.pending.push(departing);
            } else {
                depart(host, departing, Socket::Here);
            }
        }
        if self.departures.has_some() {
            self.hand_over(host);
        }
    }

    /// Sends the sockets of those that depart, many at a time, and each envelope after its socket.
    fn hand_over(&mut self, host: &mut Host) {
        let Some(mut handover) = self.departures.handover.take() else {
            return;
        };
        let mut departing = std::mem::take(&mut self.departures.pending);
        departing.sort_by_key(|one| one.departure.home.0);
        let mut departing = departing.into_iter().peekable();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(one) = departing.next() {
            let home = one.departure.home;
            let id = one.departure.connection;
            match host.flow(id) == Flow::Leave {
                true if host.may_go(id) => batch.push(one),
                true => self.departures.pending.push(one),
                false => self.stay(host, one),
            }
            let is_more = departing
                .peek()
                .is_some_and(|next| next.departure.home == home);
            if is_more && batch.len() < BATCH || batch.is_empty() {
                continue;
            }
            let sockets: Vec<_> = batch.iter().map(|one| one.link.stream.as_fd()).collect();
            match handover.send(home, &sockets) {
                Ok(first) => {
                    let from = host.core();
                    for (number, one) in (first..).zip(batch.drain(..)) {
                        // The socket is on its way; this closes our descriptor of it.
                        depart(host, one, |_| Socket::Sent { from, number });
                    }
                }
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        warn!(%error, core = %home, "connections cannot move there yet");
                    }
                    self.departures.pending.append(&mut batch);
                }
            }
        }
        self.departures.handover = Some(handover);
    }

    /// One that has been closed while it waited to leave ends here.
    fn stay(&mut self, host: &mut Host, departing: PendingDeparture) {
        let PendingDeparture {
            departure, link, ..
        } = departing;
        self.links.place(link);
        self.end(host, departure.connection);
    }
}

/// Posts the envelope of one that leaves.
fn depart(host: &mut Host, departing: PendingDeparture, socket: impl FnOnce(TcpStream) -> Socket) {
    let PendingDeparture {
        departure,
        link,
        spent,
        left_at,
    } = departing;
    let transport_part = TransportPart {
        spent,
        ..TransportPart::new(link.progress, left_at)
    };
    host.depart(departure, transport_part, socket(link.stream));
}
