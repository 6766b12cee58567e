//! How an app's connections are treated: whether they bind a uid, who they are, and what happens to one that is full or
//! flawed.

use std::hash::Hash;

use crate::protocol::Codec;

/// Whether an app's connections bind a uid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Login {
    /// They do: one that has not within `login_timeout` is closed with 4004, one from which nothing
    /// comes for `idle_timeout` with 4003. Groups and broadcasts hold a connection once it is bound.
    Required,
    /// They may, at any time: no login timeout, and groups and broadcasts hold a connection from its start. Idleness and
    /// pings are as where it is required.
    Optional,
    /// They never do: no login timeout, no idle timeout, no pings (TCP keepalive ends the dead
    /// ones), and groups and broadcasts hold a connection from its start.
    Never,
}

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Protocol {
    /// Websocket (RFC 6455).
    WebSocket,
    /// Lines of text.
    Text,
    /// Messages behind their length.
    Frame,
    /// Server-Sent Events: it listens, and says nothing after its request.
    Sse,
}

impl Protocol {
    pub(super) fn of(codec: Codec) -> Option<Protocol> {
        match codec {
            Codec::WebSocket | Codec::V1 => Some(Protocol::WebSocket),
            Codec::Text => Some(Protocol::Text),
            Codec::Frame => Some(Protocol::Frame),
            Codec::Sse => Some(Protocol::Sse),
            // It has no app.
            Codec::Http => None,
        }
    }
}

/// Who connects to an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Peers {
    /// Clients, who may be anybody and many: `max_connections` counts them.
    Clients,
    /// Back ends, which are to get in however many clients there are: `backend_connections_max` counts them.
    BackEnds,
}

/// What happens to a connection whose outbox is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WhenFull {
    /// It is closed with 4005, for a client cannot see a gap but can reconnect.
    Close,
    /// It is not read until half of its outbox has left. Only for apps in which nobody but the
    /// connection itself causes what is sent to it, as with a back end and its answers.
    Pause,
}

/// What happens to a connection that sends what is no message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum WhenFlawed {
    /// It is closed, with the code that fits.
    Close,
    /// The app is told ([`App::on_flawed`](crate::app::App::on_flawed)), and the connection goes on behind it. Of text
    /// lines alone: of what is wrong with other codecs nobody knows where it ends.
    Tell,
}
