//! Questions for whom other nodes have in a group, which wait until what these tell comes to this one: [`RosterQuestions`].
//! Bound: one for each such group that is here.

use ahash::AHashMap;

use crate::app::abroad::RosterOrder;
use crate::ident::CoreId;

/// By the channel that is to be in force.
#[derive(Default)]
pub struct RosterQuestions {
    pub waiting: AHashMap<String, Vec<(CoreId, RosterOrder)>>,
}
