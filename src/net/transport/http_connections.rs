//! The connections of a core that ask by HTTP, and what their listeners share: [`HttpConnections`].

use std::rc::Rc;

use super::lingering::Lingering;
use super::permits::HttpPermits;
use crate::net::http::{PendingRequests, Port};

/// See the module.
#[derive(Default)]
pub struct HttpConnections {
    /// By listener; `None` of those that speak no HTTP.
    pub(super) ports: Vec<Option<Rc<Port>>>,
    pub(super) pending_requests: Rc<PendingRequests>,
    pub(super) body_bytes_max: usize,
    /// Who of them could go for a newcomer, and whose clients are counted.
    pub(super) permits: HttpPermits,
    /// Those that have had their last answer.
    pub(super) lingering: Lingering,
}
