//! What a core and its connections may have on the way to other cores: [`TransitLimits`].

use crate::config::Config;

/// What a connection may always have on the way, however much others have.
const TRANSIT_BYTES_FREE: usize = 64 << 10;

/// See the module.
pub struct TransitLimits {
    /// Of one connection.
    share: usize,
    /// Of all of them.
    pub core: usize,
}

impl TransitLimits {
    pub fn new(config: &Config) -> TransitLimits {
        TransitLimits {
            share: config.transit_bytes_max,
            core: config.transit_bytes_core_max,
        }
    }

    /// Whether it is no question that a connection with this much on the way, and all together with that, may be read.
    #[inline]
    pub fn is_little(&self, transit: usize, all: usize) -> bool {
        transit + all <= self.core && transit <= self.share
    }

    /// Whether a connection with this much on the way may be read: it has its share, as long as that is there. Who
    /// has little on the way is not held up by those who have much, but past twice the core's sum nobody is read.
    pub fn has_credit(&self, transit: usize, all: usize) -> bool {
        let most = self.core;
        let free = TRANSIT_BYTES_FREE.min(most / 8);
        transit <= self.share
            && transit <= most.saturating_sub(all).max(free)
            && all <= most.saturating_mul(2)
    }
}
