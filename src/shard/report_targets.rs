//! Who wants to know what happens to a shard's uids: [`ReportTargets`], which is there while somebody does.

use super::taps::Taps;
use crate::events::Reporter;
use crate::queue::Queue;

/// See the module.
#[derive(Default)]
pub struct ReportTargets {
    /// A back end, by webhooks.
    pub reporter: Option<Reporter>,
    /// Those who look.
    pub taps: Taps,
    /// The other nodes of a cluster: which uids have come and gone.
    pub uid_interests: Option<Queue<UidInterest>>,
}

/// A uid that has connections in one more namespace of this core, or in one less.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UidInterest {
    pub uid: Box<str>,
    pub here: bool,
}

impl ReportTargets {
    /// Whether nobody but those who look wants to know anything.
    pub fn is_for_nobody(&self) -> bool {
        self.reporter.is_none() && self.uid_interests.is_none()
    }
}
