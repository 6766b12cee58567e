//! [`PushMessages`]: what becomes of what push's clients say, of all of them or of one listener's.

use super::choice::{Choice, choices};

/// What becomes of what push's clients say after their login.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PushMessages {
    /// Nothing; it is a heartbeat.
    #[default]
    Ignore,
    /// The back end is told of it by its webhook.
    Webhook,
}

choices! {
    PushMessages { "ignore" = Ignore, "webhook" = Webhook }
}
