//! Connections taken out of a core, whole, and put into one: on their way home to other cores, and elsewhere.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Instant;

use tracing::{debug, warn};

use super::Transport;
use super::ending::LINGER_BYTES_MAX;
use crate::app::host::{Arrival, Flow, Host, Leaving};
use crate::app::migrating::Refused;
use crate::close::CloseReason;
use crate::escape::Escaped;
use crate::ident::{ConnId, ConnName};
use crate::migration::{Carriage, Counted, Crossing, Migrant, Socket, Spent};
use crate::net::connection::{Input, Link};
use crate::net::handover::BATCH;
use crate::net::wire::Watch;
use crate::shard::{Phase, Stays};

/// A connection that leaves for its home.
pub(super) struct Boarding {
    leaving: Leaving,
    link: Link,
    spent: Option<Spent>,
    left_at: Instant,
}

impl Transport {
    /// A connection has come from another core, and goes on where that one stopped.
    pub fn adopt(&mut self, host: &mut Host, arrival: Arrival) {
        let Arrival {
            connection: id,
            carriage,
            socket,
        } = arrival;
        let stream = match (socket, &mut self.handover) {
            (Socket::Here(stream), _) => Ok(stream),
            (Socket::Sent { from, number }, Some(handover)) => handover.take(from, number),
            (Socket::Sent { .. }, None) => Err(io::ErrorKind::Unsupported.into()),
        };
        let counted = carriage.progress.counted;
        self.resume_lists(host, id, &carriage);
        let codec = host.shard().listener(id).map(|spec| spec.codec);
        let installed = stream.and_then(|stream| {
            let codec = codec.ok_or(io::ErrorKind::NotFound)?;
            self.install(Link::new(id, stream, codec, carriage.progress))
        });
        if let Err(error) = installed {
            warn!(%error, "a connection that moved cannot be served here and is dropped");
            self.end_visit(id);
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
        crossing: Crossing,
    ) -> Result<(Migrant, TcpStream), Stays> {
        host.shard().may_depart(id)?;
        // Of a message that has gone out, which is not kept any longer.
        self.spend_fragments(host, id);
        if self.link(id).is_none() {
            return Err(Stays::Gone);
        }
        let session = host.take_session(id, crossing)?;
        let mut link = self.take_link(id).ok_or(Stays::Gone)?;
        self.release(&mut link);
        match &mut link.progress.input {
            Input::Messages(decoder) => decoder.release(),
            // It may be what ends it, and none of it is looked at.
            input if host.flow(id) == Flow::End => *input = Input::Ignored,
            _ => {}
        }
        let now = host.now();
        let visit = self.visits.remove(&id);
        let lingered = self.lingering.remove(&id).unwrap_or_default();
        let counted = link.progress.counted;
        if counted == Counted::Nothing {
            self.admission.leave(0, counted, None);
        }
        let carriage = Carriage {
            spent: self.rates.as_mut().map(|rates| rates.leave(id, now)),
            visitor: visit.map(|(_, client)| client),
            lingered: lingered as u64,
            ..Carriage::new(link.progress, now)
        };
        let migrant = host.take_out(id, None, session, carriage)?;
        Ok((migrant, link.stream))
    }

    /// Takes in a connection that another process has had, and counts it: nobody is kept out who is in.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "no other process has had one so far")
    )]
    pub fn take_in(
        &mut self,
        host: &mut Host,
        mut migrant: Migrant,
        stream: TcpStream,
    ) -> Result<ConnId, Refused> {
        let id = host.take_in(&mut migrant)?;
        if let Some((listener, peer)) = host.shard().listener_number(id).zip(host.shard().peer(id))
        {
            let Carriage {
                progress, visitor, ..
            } = &migrant.carriage;
            self.admission
                .readmit(listener, progress.counted, peer, *visitor);
        }
        let arrival = Arrival {
            connection: id,
            carriage: migrant.carriage,
            socket: Socket::Here(stream),
        };
        self.adopt(host, arrival);
        Ok(id)
    }

    /// Enters one that has come where its like are remembered.
    fn resume_lists(&mut self, host: &mut Host, id: ConnId, carriage: &Carriage) {
        let listener = host.shard().listener_number(id).unwrap_or_default();
        let now = host.now();
        match (&mut self.rates, &carriage.spent) {
            (Some(rates), Some(spent)) => rates.put(id, listener, spent, carriage.way(now), now),
            // Where it comes from there was no rate yet.
            (Some(rates), None) => rates.enter(id, listener),
            (None, _) => {}
        }
        if carriage.progress.counted == Counted::Nothing {
            self.admission.count_told();
        }
        if let Some(visitor) = carriage.visitor {
            self.visits.insert(id, (listener, visitor));
        }
        if carriage.lingered > 0 {
            let lingered = carriage.lingered.min(LINGER_BYTES_MAX as u64);
            self.lingering.insert(id, lingered as usize);
        }
        match host.shard().phase(id) {
            Phase::Opening => self.opening.push_back(id),
            Phase::Asking => self.places.come_back(host.shard(), id),
            Phase::Closing => return,
            _ => {}
        }
        if host.shard().is_paused(id) {
            self.stay_paused(host, id);
        }
        if carriage.progress.at_end {
            self.half_closed.push(id);
        }
    }

    /// Sends every connection on its way that is to move.
    pub fn depart_all(&mut self, host: &mut Host) {
        while let Some(leaving) = host.next_leaving() {
            let id = leaving.connection;
            if host.flow(id) != Flow::Leave {
                continue;
            }
            let Some(mut link) = self.take_link(id) else {
                continue;
            };
            self.release(&mut link);
            debug!(connection = %ConnName(host.core(), id), home = %leaving.home, uid = %Escaped(&leaving.uid), "moves");
            let left_at = host.now();
            let spent = self.rates.as_mut().map(|rates| rates.leave(id, left_at));
            let boarding = Boarding {
                leaving,
                link,
                spent,
                left_at,
            };
            if self.handover.is_some() {
                self.boarding.push(boarding);
            } else {
                depart(host, boarding, Socket::Here);
            }
        }
        if !self.boarding.is_empty() {
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
            let id = one.leaving.connection;
            match host.flow(id) == Flow::Leave {
                true if host.may_go(id) => batch.push(one),
                true => self.boarding.push(one),
                false => self.stay(host, one),
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
                        depart(host, one, |_| Socket::Sent { from, number });
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
        self.place(link);
        self.end(host, leaving.connection);
    }
}

/// Posts the envelope of one that leaves.
fn depart(host: &mut Host, boarding: Boarding, socket: impl FnOnce(TcpStream) -> Socket) {
    let Boarding {
        leaving,
        link,
        spent,
        left_at,
    } = boarding;
    let carriage = Carriage {
        spent,
        ..Carriage::new(link.progress, left_at)
    };
    host.depart(leaving, carriage, socket(link.stream));
}
