//! One connection as the API tells it: [`ConnectionTold`].

use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::protocol::attributes::Attributes;
use crate::protocol::connection_facts::ConnectionFacts;
use crate::unix_peer::ShownPeer;

/// One connection as it is told.
#[derive(Serialize)]
pub(super) struct ConnectionTold<'l> {
    connection: String,
    uid: Option<&'l str>,
    since: String,
    address: String,
    listener: Option<&'l str>,
    app: Option<&'l str>,
    bytes_waiting: u64,
    paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<&'l RawValue>,
}

/// As it is told, with its attributes if they are asked for.
pub(super) fn connection_told(info: &ConnectionFacts, with_attributes: bool) -> ConnectionTold<'_> {
    let listener = info.listener.as_ref();
    let since = UNIX_EPOCH + Duration::from_secs(u64::from(info.since));
    ConnectionTold {
        connection: info.name.to_string(),
        uid: info.uid.as_deref(),
        since: humantime::format_rfc3339_seconds(since).to_string(),
        address: ShownPeer(info.address).to_string(),
        listener: listener.map(|(_, url)| &**url),
        app: listener.map(|(app, _)| &**app),
        bytes_waiting: info.bytes_waiting,
        paused: info.paused,
        attributes: with_attributes.then(|| object(info.attributes.as_ref())),
    }
}

/// Attributes as an object, which is empty if there are none.
pub(super) fn object(attributes: Option<&Attributes>) -> &RawValue {
    let text = attributes.map_or("{}", Attributes::text);
    serde_json::from_str(text).unwrap_or(RawValue::NULL)
}
