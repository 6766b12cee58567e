//! What is served over HTTP: the page, health, `/metrics`, the API, and clients that listen.
//!
//! The transport reads requests and writes answers, as it does for every codec; here is decided what the answer is. Each
//! core has a [`Port`] for each HTTP listener. What is not known at once is a pending request of the core ([`PendingRequests`]). Bounds:
//! what each of these files names.

mod access;
mod answer;
mod api;
mod desk;
mod metrics;
mod pausing;
mod pending;
mod port;
mod readiness;
mod roles;
mod served_site;
mod shown_connections;
mod site;
mod sse;

pub use access::Access;
pub use answer::{HttpAnswer, Manner};
pub use api::Api;
pub use desk::Desk;
pub use metrics::{ClusterFigures, Facts, RedisFigures, SITE, UpgradeFigures};
pub use pausing::Pausing;
pub use pending::{FinishedRequest, PendingRequests};
pub use port::{Port, RequestKind, Routed};
pub use readiness::Readiness;
pub use roles::Roles;
pub use served_site::{ServedSite, SseListener};
pub use site::{Asset, Site};
pub use sse::{Admitted, ClientIdentity};
