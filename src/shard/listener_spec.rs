//! What all connections of one listener share: [`ListenerSpec`].

use std::sync::Arc;

use crate::config::Config;
use crate::ident::NamespaceId;
use crate::protocol::Codec;

/// What all connections of one listener share.
#[derive(Clone, Debug)]
pub struct ListenerSpec {
    /// The app's number on every core.
    pub app: u8,
    pub codec: Codec,
    pub namespace: NamespaceId,
    /// Whether its connections bind a uid; if not they have no login, idle or ping deadline.
    pub binds: bool,
    /// Whether they may live without one, at home from their start.
    pub optional: bool,
    /// Whether who they are must be proved before they bind.
    pub proves: bool,
    /// Whether a full outbox pauses the reading, in place of closing.
    pub pauses: bool,
    /// Whether a line that is no message is told to the app, in place of closing.
    pub tells: bool,
    pub message_bytes_max: usize,
    pub outbox_bytes_max: usize,
    /// Whether compression may be agreed on.
    pub compress: bool,
    /// The listener that its connections are told and counted as.
    pub shown: u16,
    /// Its URL, as it was asked for.
    pub url: Arc<str>,
    /// The listener whose connections speak `ringpost.v1`, which those of this one may turn to.
    pub v1: Option<u16>,
    /// The header fields that its app wants to see of the requests that open connections.
    pub headers: &'static [&'static str],
}

impl ListenerSpec {
    /// An app's, in its namespace: whose connections bind nothing, with the limits of a configuration that says nothing.
    pub fn new(app: u8, codec: Codec, namespace: NamespaceId) -> ListenerSpec {
        let config = Config::default();
        ListenerSpec {
            app,
            codec,
            namespace,
            binds: false,
            optional: false,
            proves: false,
            pauses: false,
            tells: false,
            message_bytes_max: config.message_bytes_max,
            outbox_bytes_max: config.outbox_bytes_max,
            compress: false,
            shown: 0,
            url: "".into(),
            v1: None,
            headers: &[],
        }
    }
}
