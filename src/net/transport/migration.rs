//! Connections taken out of a core, whole, and put into one: on their way home to other cores, and elsewhere.

use std::io;
use std::net::TcpStream;

use tracing::warn;

use super::Transport;
use crate::app::host::{Arrival, Flow, Host};
use crate::app::migration::ArriveError;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::migration::{Counted, Destination, Migration, Socket, TransportPart};
use crate::net::connection::{Input, Link};
use crate::net::wire::Watch;
use crate::shard::{DepartError, Phase};

impl Transport {
    /// A connection has come from another core, and goes on where that one stopped.
    pub fn adopt(&mut self, host: &mut Host, arrival: Arrival) {
        let Arrival {
            connection: id,
            transport_part,
            socket,
        } = arrival;
        let stream = match (socket, self.departures.handover()) {
            (Socket::Here(stream), _) => Ok(stream),
            (Socket::Sent { from, number }, Some(handover)) => handover.take(from, number),
            (Socket::Sent { .. }, None) => Err(io::ErrorKind::Unsupported.into()),
        };
        let counted = transport_part.progress.counted;
        self.resume_lists(host, id, &transport_part);
        let codec = host.shard().connections.listener(id).map(|spec| spec.codec);
        let installed = stream.and_then(|stream| {
            let codec = codec.ok_or(io::ErrorKind::NotFound)?;
            self.install(Link::new(id, stream, codec, transport_part.progress))
        });
        if let Err(error) = installed {
            warn!(%error, "a connection that moved cannot be served here and is dropped");
            self.end_client_permit(id);
            self.http.lingering.take(id);
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
        if self.tls.is_on {
            self.send_rest(host, id);
        }
        if !self.stage.is_quiet || !self.waits_for_wire(host, id) {
            self.read(host, id);
        }
    }

    /// Takes a connection out, in whatever phase it is, unless it has to stay.
    pub fn take_out(
        &mut self,
        host: &mut Host,
        id: ConnId,
        destination: Destination,
    ) -> Result<(Migration, TcpStream), DepartError> {
        host.shard().may_depart(id)?;
        let tls = self
            .links
            .get(id)
            .and_then(|link| link.progress.tls.as_ref());
        if tls.is_some_and(|tls| tls.is_shaking_hands()) {
            return Err(DepartError::Handshake);
        }
        // Of a message that has gone out, which is not kept any longer.
        self.spend_fragments(host, id);
        if self.links.get_mut(id).is_none() {
            return Err(DepartError::Gone);
        }
        let session = host.take_session(id, destination)?;
        let mut link = self.links.take(id).ok_or(DepartError::Gone)?;
        self.release(&mut link);
        match &mut link.progress.input {
            Input::Messages(decoder) => decoder.release(),
            // It may be what ends it, and none of it is looked at.
            input if host.flow(id) == Flow::End => *input = Input::Ignored,
            _ => {}
        }
        let now = host.now();
        let client_permit = self.http.permits.take_client(id);
        let lingered = self.http.lingering.take(id);
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

    /// Takes back a connection that was taken out here, and has counted all the while.
    pub fn take_back(
        &mut self,
        host: &mut Host,
        mut migration: Migration,
        stream: TcpStream,
    ) -> Result<ConnId, ArriveError> {
        let id = host.take_in(&mut migration)?;
        let arrival = Arrival {
            connection: id,
            transport_part: migration.transport_part,
            socket: Socket::Here(stream),
        };
        self.adopt(host, arrival);
        Ok(id)
    }

    /// Goes on with a connection that another process has had, and counts it: nobody is kept out who is in. It is in the
    /// shard ([`Host::take_in`]).
    pub fn adopt_foreign(&mut self, host: &mut Host, arrival: Arrival) {
        let id = arrival.connection;
        let connections = &host.shard().connections;
        let listener = connections.listener_number(id);
        if let Some((listener, peer)) = listener.zip(connections.peer(id)) {
            let TransportPart {
                progress,
                proxied_client,
                ..
            } = &arrival.transport_part;
            self.admission
                .readmit(listener, progress.counted, peer, *proxied_client);
        }
        self.adopt(host, arrival);
    }

    /// Takes in one that another process has had.
    #[cfg(test)]
    pub fn take_in(
        &mut self,
        host: &mut Host,
        mut migration: Migration,
        stream: TcpStream,
    ) -> Result<ConnId, ArriveError> {
        let connection = host.take_in(&mut migration)?;
        let arrival = Arrival {
            connection,
            transport_part: migration.transport_part,
            socket: Socket::Here(stream),
        };
        self.adopt_foreign(host, arrival);
        Ok(connection)
    }

    /// Enters one that has come where its like are remembered.
    fn resume_lists(&mut self, host: &mut Host, id: ConnId, transport_part: &TransportPart) {
        let listener = host
            .shard()
            .connections
            .listener_number(id)
            .unwrap_or_default();
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
            self.http.permits.add_client(id, listener, proxied_client);
        }
        self.http.lingering.put(id, transport_part.lingered);
        match host.shard().connections.phase(id) {
            Phase::Opening => self.handshakes.push(id),
            Phase::Http => self.http.permits.come_back(host.shard(), id),
            Phase::Closing => return,
            _ => {}
        }
        if host.shard().connections.is_paused(id) {
            self.stay_paused(host, id);
        }
        if transport_part.progress.at_end {
            self.paused.half_closed.push(id);
        }
    }

    /// Has the wire let go of one that goes on elsewhere.
    pub(super) fn release(&mut self, link: &mut Link) {
        let watch = std::mem::replace(&mut link.watch, Watch::Not);
        if watch.is_on()
            && let Err(error) = self.wire.release(link.id, &link.stream)
        {
            warn!(%error, "a connection could not be taken off the wire");
        }
    }
}
