//! Who wants to know what happens to a shard's uids: [`ReportTargets`], which is there while somebody does.

use super::taps::Taps;
use crate::events::Reporter;

/// See the module.
#[derive(Default)]
pub struct ReportTargets {
    /// A back end, by webhooks.
    pub reporter: Option<Reporter>,
    /// Those who look.
    pub taps: Taps,
}
