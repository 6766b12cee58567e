//! Who wants to know what happens to a shard's uids: [`ReportTargets`], which is there while somebody does.

use super::taps::Taps;
use super::uid_news::{Elsewhere, UidNews};
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
    pub uid_news: Option<Queue<UidNews>>,
    /// What they have said of the uid that is bound next.
    pub elsewhere: Option<Elsewhere>,
}

impl ReportTargets {
    /// Whether nobody but those who look wants to know anything.
    pub fn is_for_nobody(&self) -> bool {
        self.reporter.is_none() && self.uid_news.is_none()
    }
}
