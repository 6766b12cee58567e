//! What a core has for the engine about whose a uid is on this node: [`HeldOrder`], and what it hears of it.

use crate::ident::{ConnId, NamespaceId};
use crate::protocol::cluster_holds::HoldHow;

/// See the module.
pub enum HeldOrder {
    /// A connection has the uid, or asks for it.
    Hold(NewHold),
    /// One has it no more.
    Release {
        namespace: NamespaceId,
        uid: Box<str>,
        connection: ConnId,
        /// Whom to tell whether another node has it.
        call: Option<u64>,
    },
}

/// A connection that has the uid, or asks for it.
pub struct NewHold {
    pub namespace: NamespaceId,
    pub uid: Box<str>,
    pub connection: ConnId,
    /// What its client is called.
    pub client: Option<Box<str>>,
    /// What others become; `None` if that was settled before it came here.
    pub how: Option<HoldHow>,
    /// And where it is said anew.
    pub policy: HoldHow,
    /// When it was bound, in microseconds since 1970.
    pub since: u64,
    /// Whom to tell what has come of it.
    pub call: Option<u64>,
}
