//! Connections taken out of a core, whole, and put into one: on their way home to other cores, and elsewhere.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use tracing::{debug, warn};

use super::Transport;
use super::ending::LINGER_BYTES_MAX;
use crate::app::host::{Arrival, Departure, Flow, Host};
use crate::app::migration::ArriveError;
use crate::close::CloseReason;
use crate::escape::Escaped;
use crate::ident::{ConnId, ConnName};
use crate::migration::{Counted, Destination, Migration, Socket, Spent, TransportPart};
use crate::net::connection::{Input, Link};
use crate::net::handover::BATCH;
use crate::net::wire::Watch;
use crate::shard::{DepartError, Phase};

/// A connection that leaves for its home.
pub(super) struct PendingDeparture {
    departure: Departure,
    link: Link,
    spent: Option<Spent>,
    left_at: Instant,
}

impl Transport {
    /// A connection has come from another core, and goes on where that one stopped.
    pub fn adopt(&mut self, host: &mut Host, arrival: Arrival) {
        let Arrival {
            connection: id,
            transport_part,
            socket,
        } = arrival;
        let stream = match (socket, &mut self.handover) {
            (Socket::Here(stream), _) => Ok(stream),
            (Socket::Sent { from, number }, Some(handover)) => handover.take(from, number),
            (Socket::Sent { .. }, None) => Err(io::ErrorKind::Unsupported.into()),
        };
        let counted = transport_part.progress.counted;
        self.resume_lists(host, id, &transport_part);
        let codec = host.shard().listener(id).map(|spec| spec.codec);
        let installed = stream.and_then(|stream| {
            let codec = codec.ok_or(io::ErrorKind::NotFound)?;
            self.install(Link::new(id, stream, codec, transport_part.progress))
        });
        if let Err(error) = installed {
            warn!(%error, "a connection that moved cannot be served here and is dropped");
            self.end_client_permit(id);
            self.lingering.remove(&id);
            if let Some(rates) = &mut self.rates {
                rates.forget(id);
            }
            self.leave(host, id, counted);
            host.close(id, CloseReason::Internal);
            host.shard().remove(id);
            return;
        }
        // The limit may have changed while it was on its way.
        self.renew_message_bytes_max(host, id);
        self.read(host, id);
    }

    /// Takes a connection out, in whatever phase it is, unless it has to stay.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "connections go home alone so far")
    )]
    pub fn take_out(
        &mut self,
        host: &mut Host,
        id: ConnId,
        destination: Destination,
    ) -> Result<(Migration, TcpStream), DepartError> {
        host.shard().may_depart(id)?;
        // Of a message that has gone out, which is not kept any longer.
        self.spend_fragments(host, id);
        if self.link(id).is_none() {
            return Err(DepartError::Gone);
        }
        let session = host.take_session(id, destination)?;
        let mut link = self.take_link(id).ok_or(DepartError::Gone)?;
        self.release(&mut link);
        match &mut link.progress.input {
            Input::Messages(decoder) => decoder.release(),
            // It may be what ends it, and none of it is looked at.
            input if host.flow(id) == Flow::End => *input = Input::Ignored,
            _ => {}
        }
        let now = host.now();
        let client_permit = self.client_permits.remove(&id);
        let lingered = self.lingering.remove(&id).unwrap_or_default();
        let counted = link.progress.counted;
        if counted == Counted::Nothing {
            self.admission.leave(0, counted, None);
        }
        let transport_part = TransportPart {
            spent: self.rates.as_mut().map(|rates| rates.leave(id, now)),
            proxied_client: client_permit.map(|(_, client)| client),
            lingered: lingered as u64,
            ..TransportPart::new(link.progress, now)
        };
        let migration = host.take_out(id, None, session, transport_part)?;
        Ok((migration, link.stream))
    }

    /// Takes in a connection that another process has had, and counts it: nobody is kept out who is in.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "no other process has had one so far")
    )]
    pub fn take_in(
        &mut self,
        host: &mut Host,
        mut migration: Migration,
        stream: TcpStream,
    ) -> Result<ConnId, ArriveError> {
        let id = host.take_in(&mut migration)?;
        if let Some((listener, peer)) = host.shard().listener_number(id).zip(host.shard().peer(id))
        {
            let TransportPart {
                progress,
                proxied_client,
                ..
            } = &migration.transport_part;
            self.admission
                .readmit(listener, progress.counted, peer, *proxied_client);
        }
        let arrival = Arrival {
            connection: id,
            transport_part: migration.transport_part,
            socket: Socket::Here(stream),
        };
        self.adopt(host, arrival);
        Ok(id)
    }

    /// Enters one that has come where its like are remembered.
    fn resume_lists(&mut self, host: &mut Host, id: ConnId, transport_part: &TransportPart) {
        let listener = host.shard().listener_number(id).unwrap_or_default();
        let now = host.now();
        match (&mut self.rates, &transport_part.spent) {
            (Some(rates), Some(spent)) => {
                rates.put(id, listener, spent, transport_part.way(now), now)
            }
            // Where it comes from there was no rate yet.
            (Some(rates), None) => rates.enter(id, listener),
            (None, _) => {}
        }
        if transport_part.progress.counted == Counted::Nothing {
            self.admission.count_told();
        }
        if let Some(proxied_client) = transport_part.proxied_client {
            self.client_permits.insert(id, (listener, proxied_client));
        }
        if transport_part.lingered > 0 {
            let lingered = transport_part.lingered.min(LINGER_BYTES_MAX as u64);
            self.lingering.insert(id, lingered as usize);
        }
        match host.shard().phase(id) {
            Phase::Opening => self.opening.push_back(id),
            Phase::Http => self.permits.come_back(host.shard(), id),
            Phase::Closing => return,
            _ => {}
        }
        if host.shard().is_paused(id) {
            self.stay_paused(host, id);
        }
        if transport_part.progress.at_end {
            self.half_closed.push(id);
        }
    }

    /// Sends every connection on its way that is to move.
    pub fn depart_all(&mut self, host: &mut Host) {
        while let Some(departure) = host.next_departure() {
            let id = departure.connection;
            if host.flow(id) != Flow::Leave {
                continue;
            }
            let Some(mut link) = self.take_link(id) else {
                continue;
            };
            self.release(&mut link);
            debug!(connection = %ConnName(host.core(), id), home = %departure.home, uid = %Escaped(&departure.uid), "moves");
            let left_at = host.now();
            let spent = self.rates.as_mut().map(|rates| rates.leave(id, left_at));
            let departing = PendingDeparture {
                departure,
                link,
                spent,
                left_at,
            };
            if self.handover.is_some() {
                self.departing.push(departing);
            } else {
                depart(host, departing, Socket::Here);
            }
        }
        if !self.departing.is_empty() {
            self.hand_over(host);
        }
    }

    /// Has the wire let go of one that goes on elsewhere.
    fn release(&mut self, link: &mut Link) {
        let watch = std::mem::replace(&mut link.watch, Watch::Not);
        if watch.is_on()
            && let Err(error) = self.wire.release(link.id, &link.stream)
        {
            warn!(%error, "a connection could not be taken off the wire");
        }
    }

    /// Sends the sockets of those that depart, many at a time, and each envelope after its socket.
    fn hand_over(&mut self, host: &mut Host) {
        let Some(mut handover) = self.handover.take() else {
            return;
        };
        let mut departing = std::mem::take(&mut self.departing);
        departing.sort_by_key(|one| one.departure.home.0);
        let mut departing = departing.into_iter().peekable();
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(one) = departing.next() {
            let home = one.departure.home;
            let id = one.departure.connection;
            match host.flow(id) == Flow::Leave {
                true if host.may_go(id) => batch.push(one),
                true => self.departing.push(one),
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
                    self.departing.append(&mut batch);
                }
            }
        }
        self.handover = Some(handover);
    }

    /// One that has been closed while it waited to leave ends here.
    fn stay(&mut self, host: &mut Host, departing: PendingDeparture) {
        let PendingDeparture {
            departure, link, ..
        } = departing;
        self.place(link);
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
