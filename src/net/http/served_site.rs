//! [`ServedSite`]: what one HTTP listener serves, and where connections go that become another listener's.

use super::{Roles, Site};
use crate::protocol::http::request::EVENTS_PATH;

/// Where the clients of a port go that listen.
#[derive(Clone, Copy)]
pub struct SseListener {
    /// The listener that they are connections of.
    pub listener: u16,
    /// Whether they must prove who they are.
    pub proves: bool,
    /// The header fields that their app wants to see.
    pub headers: &'static [&'static str],
}

/// See the module.
#[derive(Clone)]
pub struct ServedSite {
    pub site: Site,
    /// Where clients go that listen, if they may.
    pub sse: Option<SseListener>,
    /// Where websockets go, by path.
    pub websockets: Vec<(String, u16)>,
}

impl ServedSite {
    /// A site alone.
    pub fn new(site: Site) -> ServedSite {
        ServedSite {
            site,
            sse: None,
            websockets: Vec::new(),
        }
    }

    /// Whether what belongs to these roles is served.
    pub fn has(&self, roles: Roles) -> bool {
        self.site.roles.has(roles)
    }

    /// The listener whose websockets are at this path.
    pub fn websocket_at(&self, path: &str) -> Option<u16> {
        let mut websockets = self.websockets.iter();
        let found = websockets.find(|(own, _)| own == path);
        found.map(|(_, listener)| *listener)
    }

    /// The listener of clients that listen at this path.
    pub fn sse_at(&self, path: &str) -> Option<SseListener> {
        self.sse.filter(|_| path == EVENTS_PATH)
    }
}
