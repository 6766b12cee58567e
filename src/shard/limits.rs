//! The configured limits in the shard's own units: [`ShardLimits`].

use super::wheel::{Tick, ticks};
use crate::config::{Config, UidPolicy};

/// Places that an emptied list of connections keeps: after a broadcast it would be as long as everybody's for good.
pub const LIST_KEPT: usize = 1 << 10;

/// The configured limits in the shard's own units.
#[derive(PartialEq)]
pub struct ShardLimits {
    pub uid_policy: UidPolicy,
    pub connections_per_uid: usize,
    pub groups_per_connection: usize,
    pub attributes_bytes: usize,
    pub handshake: Tick,
    pub login: Tick,
    pub idle: Tick,
    pub ping: Tick,
    pub close: Tick,
}

impl ShardLimits {
    pub fn new(config: &Config) -> ShardLimits {
        let off_if_zero = |duration: std::time::Duration, grace| {
            if duration.is_zero() {
                0
            } else {
                ticks(duration.saturating_add(grace))
            }
        };
        ShardLimits {
            uid_policy: config.uid_policy,
            connections_per_uid: config.connections_per_uid_max,
            groups_per_connection: config.groups_per_connection_max,
            attributes_bytes: config.attributes_bytes_max,
            handshake: ticks(config.handshake_timeout),
            login: ticks(config.login_timeout),
            idle: off_if_zero(config.idle_timeout, crate::config::IDLE_GRACE),
            ping: off_if_zero(config.ping_interval, std::time::Duration::ZERO),
            close: ticks(config.close_timeout),
        }
    }
}
