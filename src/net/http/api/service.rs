//! What the API has on one core, for one listener: [`Api`]. The files beside this one carry its requests out.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::claims::UnsettledIds;
use crate::app::host::Host;
use crate::ident::Reach;
use crate::net::http::{Access, Facts, PendingRequests};

/// See the module.
pub struct Api {
    pub(in crate::net::http) host: Rc<RefCell<Host>>,
    pub(in crate::net::http) pending_requests: Rc<PendingRequests>,
    /// Whose uids and groups it is about.
    pub(super) reach: Reach,
    /// Who may use it.
    pub(in crate::net::http) access: Access,
    /// Names of the listeners that connections came by.
    pub(in crate::net::http) facts: Arc<Facts>,
    pub(super) unsettled: UnsettledIds,
}

impl Api {
    /// Of this core, for the uids and groups that `reach` says.
    pub fn new(
        host: Rc<RefCell<Host>>,
        pending_requests: Rc<PendingRequests>,
        reach: Reach,
        access: Access,
        facts: Arc<Facts>,
    ) -> Api {
        Api {
            host,
            pending_requests,
            reach,
            access,
            facts,
            unsettled: UnsettledIds::default(),
        }
    }

    /// Gives up the ids of requests that a panic has ended.
    pub fn settle_left(&self) {
        self.unsettled.give_up(&self.host);
    }
}
