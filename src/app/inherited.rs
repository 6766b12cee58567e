//! What has come of earlier processes and is kept as it came: [`Inherited`]. Bound: what their cores have given out, each once.

use crate::handover::WrittenCounters;
use crate::ident::CoreId;
use crate::stats::CoreStats;

/// See the module.
#[derive(Default)]
pub struct Inherited {
    /// What their cores have counted.
    pub counters: Vec<WrittenCounters>,
    /// So many events were told of cores that are none here, or of this one where none are told now.
    pub events: Vec<(CoreId, u64)>,
    /// The last generation of connections, until those here begin behind it.
    pub generation: Option<u32>,
}

impl Inherited {
    /// Adds what was counted before.
    pub fn count(&self, stats: &mut CoreStats) {
        for counters in &self.counters {
            counters.add_to(stats);
        }
    }
}
