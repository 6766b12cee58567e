//! Who may use an HTTP port, and how fast: its connections are counted, and so are those that a trusted proxy
//! opens, by the clients whose requests they carry.
//!
//! A proxy sends the requests of many clients over one connection, so there it counts for a client only while
//! it carries that one's request, from its head to the end of its answer. Bound: what [`Admission`] keeps, and
//! for each connection one [`Meter`] if the listener has a rate. Called by the port for each connection and
//! each request.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::close::CloseReason;
use crate::config::Config;
use crate::net::admission::{Admission, Counted, Door};
use crate::net::rates::{Meter, Rate, Unit};
use crate::protocol::http::HttpError;
use crate::protocol::http::head::Head;

const FULL: HttpError = HttpError {
    status: 503,
    text: "this server has as many HTTP connections as it may have",
};
const ADDRESS_FULL: HttpError = HttpError {
    status: 429,
    text: "this address has as many connections as it may have",
};
const TOO_FAST: HttpError = HttpError {
    status: 429,
    text: "this connection has sent more than it may in this time",
};

/// One core's gate to one HTTP port.
pub struct Gate {
    admission: RefCell<Admission>,
    /// The port's number among all listeners.
    door: u16,
    rate: Cell<Rate>,
    burst: Cell<Duration>,
}

/// Why a connection or a request is turned away.
pub struct Refusal {
    /// What it counts as, if it is one of the limits.
    pub reason: Option<CloseReason>,
    pub answer: HttpError,
}

impl Gate {
    pub fn new(admission: Admission, door: u16, rate: Rate, burst: Duration) -> Gate {
        Gate {
            admission: RefCell::new(admission),
            door,
            rate: Cell::new(rate),
            burst: Cell::new(burst),
        }
    }

    /// Goes on with other limits; a connection that is there keeps its rate.
    pub fn renew(&self, config: &Config, doors: &[Door], rate: Rate) {
        self.admission.borrow_mut().renew(config, doors);
        self.rate.set(rate);
        self.burst.set(config.rate_burst);
    }

    /// Counts a newcomer, or says why it is turned away.
    pub fn enter(&self, peer: SocketAddr) -> Result<Guest<'_>, Refusal> {
        let counted = self.admission.borrow_mut().enter(self.door, peer);
        counted
            .map(|counted| self.guest(peer, counted))
            .map_err(|reason| Refusal {
                reason: Some(reason),
                answer: match reason {
                    CloseReason::AddressLimit => ADDRESS_FULL,
                    _ => FULL,
                },
            })
    }

    /// Whether there is a place left.
    pub fn has_room(&self) -> bool {
        self.admission.borrow().has_room(self.door)
    }

    /// One that was turned away, and may be told so; `None` if too many are being told already.
    pub fn refused(&self, peer: SocketAddr) -> Option<Guest<'_>> {
        let may = self.admission.borrow_mut().may_tell();
        may.then(|| self.guest(peer, Counted::Nothing))
    }

    /// A client's own address: what trusted proxies say, if it comes by one. An error if they say none.
    pub fn client(
        &self,
        peer: SocketAddr,
        forwarded: Option<&str>,
    ) -> Result<SocketAddr, HttpError> {
        let admission = self.admission.borrow();
        match forwarded {
            Some(forwarded) if admission.proxies.trust(peer.ip()) => {
                let ip = admission.proxies.client(forwarded)?;
                Ok(SocketAddr::new(ip, peer.port()))
            }
            _ => Ok(peer),
        }
    }

    /// The largest head of a request.
    pub fn request_head_bytes_max(&self) -> usize {
        self.admission.borrow().request_head_bytes_max
    }

    /// Whether this machine alone reaches the port.
    pub fn is_on_loopback(&self) -> bool {
        self.admission.borrow().is_on_loopback(self.door)
    }

    /// Tells the log why a request is refused.
    pub fn explain(&self, peer: SocketAddr, error: HttpError) {
        self.admission.borrow_mut().explain(peer, error);
    }

    fn guest(&self, peer: SocketAddr, counted: Counted) -> Guest<'_> {
        Guest {
            gate: self,
            peer,
            counted,
            meter: Meter::new(&self.rate.get(), self.burst.get(), Instant::now()),
        }
    }
}

/// One connection, for as long as it counts.
pub struct Guest<'a> {
    gate: &'a Gate,
    peer: SocketAddr,
    counted: Counted,
    meter: Option<Meter>,
}

impl<'a> Guest<'a> {
    /// Where it comes from.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether what was read is within the rate.
    pub fn spend(&mut self, bytes: usize, unit: Unit) -> Result<(), Refusal> {
        let Some(meter) = &mut self.meter else {
            return Ok(());
        };
        match meter.spend(bytes, unit, Instant::now()) {
            true => Ok(()),
            false => Err(Refusal {
                reason: Some(CloseReason::RateLimit),
                answer: TOO_FAST,
            }),
        }
    }

    /// A request's head has come: it is one more of its client's, if a trusted proxy tells of one.
    pub fn ask(&mut self, head: &Head<'_>) -> Result<Option<Visit<'a>>, Refusal> {
        self.spend(0, Unit::Message)?;
        let gate = self.gate;
        let mut admission = gate.admission.borrow_mut();
        if !admission.proxies.trust(self.peer.ip()) {
            return Ok(None);
        }
        let Some(forwarded) = head.forwarded() else {
            return Ok(None);
        };
        let ip = admission.proxies.client(&forwarded);
        let ip = ip.map_err(|answer| Refusal {
            reason: None,
            answer,
        })?;
        let client = SocketAddr::new(ip, self.peer.port());
        match admission.enter_address(gate.door, client) {
            Ok(Counted::Address) => Ok(Some(Visit { gate, client })),
            Ok(Counted::Connection | Counted::Nothing) => Ok(None),
            Err(reason) => Err(Refusal {
                reason: Some(reason),
                answer: ADDRESS_FULL,
            }),
        }
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        let mut admission = self.gate.admission.borrow_mut();
        admission.leave(self.gate.door, self.counted, Some(self.peer));
    }
}

/// One request of a client behind a trusted proxy, until it is answered.
pub struct Visit<'a> {
    gate: &'a Gate,
    client: SocketAddr,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let admission = self.gate.admission.borrow();
        admission.leave_address(self.gate.door, self.client);
    }
}
