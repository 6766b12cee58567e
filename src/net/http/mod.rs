//! What is served over HTTP: the page, health, `/metrics`, the API, and clients that listen.
//!
//! The transport reads requests and writes answers, as it does for every codec; here is decided what the answer is. Each
//! core has a [`Port`] for each HTTP listener. What is not known at once is a pending request of the core ([`PendingRequests`]). Bounds: a
//! body's bytes ([`Port::body_bounds`]), and what each of these files names.

mod access;
mod answer;
mod api;
mod events;
mod metrics;
mod pausing;
mod pending;
mod readiness;
mod roles;
mod routes;
mod served_site;
mod site;

pub use access::Access;
pub use answer::{HttpAnswer, Manner};
pub use events::{Admitted, ClientIdentity};
pub use metrics::{Facts, SITE};
pub use pausing::Pausing;
pub use pending::{FinishedRequest, PendingRequests};
pub use readiness::Readiness;
pub use roles::Roles;
pub use routes::{Desk, Routed};
pub use served_site::{EventsListener, ServedSite};
pub use site::{Asset, Site};

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use crate::app::host::Host;
use crate::ident::Reach;
use crate::protocol::http::{HttpError, Request};

/// Largest body of who may not use the API.
const STRANGERS_BODY_BYTES_MAX: usize = 64 << 10;

const LARGE_AND_UNKNOWN: HttpError = HttpError::new(
    401,
    "expected Authorization: Bearer TOKEN, with a token that is known here",
);

/// Whose a request is, which decides what its connection counts towards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestKind {
    /// A back end's, or a scraper's, that may do what it asks for.
    BackEnd,
    /// A load balancer's or monitor's.
    Health,
    /// A client's that wants to listen.
    Stream,
    /// A page's, or anybody's.
    Other,
}

/// What one HTTP listener serves on one core.
pub struct Port {
    pub host: Rc<RefCell<Host>>,
    pub pending_requests: Rc<PendingRequests>,
    pub served: ServedSite,
    pub reach: Reach,
    /// Who may use the API and the metrics.
    pub access: Access,
    /// What `/listeners.json` answers.
    pub listeners: Rc<str>,
    /// What `/metrics` says beside what the cores count.
    pub facts: Arc<Facts>,
    /// Who waits since his token was wrong.
    pub pausing: Pausing,
    /// What `/readyz` answers.
    pub readiness: Arc<Readiness>,
    /// Ids of requests that a panic has ended, and that are still to be given up.
    pub unsettled: RefCell<Vec<api::IdKey>>,
}

impl Port {
    /// Whose it is, by what its head says.
    pub fn kind(&self, request: &Request) -> RequestKind {
        let role = Roles::of_path(request.path());
        match role {
            Roles::NONE if request.health.is_some() => RequestKind::Health,
            role if !self.served.has(role) => RequestKind::Other,
            Roles::EVENTS => RequestKind::Stream,
            Roles::API | Roles::METRICS if self.access.may_act(request) => RequestKind::BackEnd,
            _ => RequestKind::Other,
        }
    }

    /// How large a body may be, where the configuration lets it have `bytes_max`, and what is said of a larger one, if not
    /// just that. It is kept whole until the request is answered, so there is little room for who may not use the API.
    pub fn body_bounds(&self, request: &Request, bytes_max: usize) -> (usize, Option<HttpError>) {
        let is_for_api =
            self.served.has(Roles::API) && Roles::of_path(request.path()) == Roles::API;
        if is_for_api && self.access.may_act(request) {
            return (bytes_max, None);
        }
        let asks = self.access.asks_for_token();
        let unknown = (is_for_api && asks).then_some(LARGE_AND_UNKNOWN);
        (bytes_max.min(STRANGERS_BODY_BYTES_MAX), unknown)
    }
}
