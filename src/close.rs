//! Every ending has a name: [`CloseReason`], with its wire code and its name in the metrics. And so has a [`Flaw`], which
//! need not be one.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident, $code:expr, $text:literal;)*) => {
        /// Why a connection ended.
        ///
        /// The codes from 4001 are ours (RFC 6455, section 7.4.2, leaves 4000–4999 to applications).
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum CloseReason { $($(#[$doc])* $variant,)* }

        impl CloseReason {
            /// Every reason, in the order in which they are counted.
            pub const ALL: &[CloseReason] = &[$(CloseReason::$variant,)*];

            /// The close code that a websocket peer gets; `None` where nothing can be sent any more.
            pub fn code(self) -> Option<u16> {
                match self { $(CloseReason::$variant => $code,)* }
            }

            /// The reason in words, as sent in the close frame and counted in the metrics.
            pub fn text(self) -> &'static str {
                match self { $(CloseReason::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// The app closed it with nothing to complain about.
    Normal, Some(1000), "normal";
    /// The server stops.
    Stopping, Some(1001), "server stopping";
    /// The peer broke the codec's rules.
    Protocol, Some(1002), "protocol error";
    /// A text message or close reason that is not UTF-8.
    NotUtf8, Some(1007), "not UTF-8";
    /// A limit or rule of ours.
    Policy, Some(1008), "policy";
    /// More messages or bytes in a time than its listener takes from one connection.
    RateLimit, Some(1008), "rate limit";
    /// A message above `message_bytes_max`.
    TooBig, Some(1009), "message too big";
    /// A panic or another mistake of ours.
    Internal, Some(1011), "internal error";
    /// An app has queued more than its core had room for, and this outbox was among the fullest. No peer's doing.
    Overloaded, Some(1013), "overloaded";
    /// A newer connection of the same uid took its place (`uid_policy = "replace"`).
    Replaced, Some(4001), "replaced";
    /// The uid is taken (`uid_policy = "reject"`, or `connections_per_uid_max`).
    UidInUse, Some(4002), "uid in use";
    /// Nothing arrived for `idle_timeout`.
    Idle, Some(4003), "idle";
    /// No login within `login_timeout`.
    LoginTimeout, Some(4004), "login timeout";
    /// Its kernel took no more, and more waited for it than its outbox may hold.
    SlowConsumer, Some(4005), "slow consumer";
    /// A login that the app refused.
    BadLogin, Some(4006), "bad login";
    /// The back end kicked its uid.
    Kicked, Some(4007), "kicked";
    /// Its authorization ran out.
    Expired, Some(4008), "authorization expired";
    /// The peer closed: a close frame, or the end of its stream.
    ByPeer, None, "closed by peer";
    /// The connection broke: a reset, or another error of the socket.
    Reset, None, "reset by peer";
    /// The opening handshake was refused (it got an HTTP status).
    BadHandshake, None, "bad handshake";
    /// The opening handshake took longer than `handshake_timeout`.
    HandshakeTimeout, None, "handshake timeout";
    /// The oldest of more than `handshakes_max` opening handshakes.
    HandshakeLimit, None, "handshake limit";
    /// A newcomer beyond `max_connections`.
    ConnectionLimit, None, "connection limit";
    /// A newcomer beyond `connections_per_address_max`.
    AddressLimit, None, "address limit";
    /// A connection to a listener with the PROXY protocol that did not begin with its header, or did not
    /// come from a trusted proxy.
    BadProxy, None, "bad proxy header";
    /// The TLS handshake failed, or what came to a listener that speaks TLS was none.
    TlsHandshake, None, "TLS handshake";
    /// The peer ended an established TLS connection by an alert.
    TlsAlert, None, "TLS alert";
    /// What came broke the rules of TLS: a record that was changed on its way, say.
    TlsRecord, None, "TLS record";
}

impl CloseReason {
    /// The place in [`CloseReason::ALL`], for tables of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();
}

/// Most bytes of what the text in a close frame may say: 125 that any control frame has, less those of the code.
pub const CLOSE_TEXT_BYTES_MAX: usize = 123;

/// Why bytes that have come are no message, where their sender is told and goes on
/// ([`crate::app::WhenFlawed::Tell`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Flaw {
    /// A text line longer than `message_bytes_max`.
    TooBig,
    /// A text line that is not UTF-8.
    NotUtf8,
    /// A text line whose end has not come when the stream's has.
    Unended,
}

impl Flaw {
    /// What a connection is closed with that is not told.
    pub fn reason(self) -> CloseReason {
        match self {
            Flaw::TooBig => CloseReason::TooBig,
            Flaw::NotUtf8 => CloseReason::NotUtf8,
            Flaw::Unended => CloseReason::ByPeer,
        }
    }
}

/// Its words, whatever its place among others.
impl Serialize for CloseReason {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.text().serialize(out)
    }
}

impl<'de> Deserialize<'de> for CloseReason {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<CloseReason, D::Error> {
        let text = <&str>::deserialize(from)?;
        let mut all = CloseReason::ALL.iter().copied();
        let reason = all.find(|reason| reason.text() == text);
        reason.ok_or_else(|| D::Error::custom("a reason that is none"))
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_at_its_own_index() {
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
    }
}
