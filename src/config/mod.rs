//! Every limit and timeout by name, with its unit and what happens when it is reached.
//!
//! Plain data: the program's configuration file, variables and flags end here, and so does a
//! library user's `Config { cores: 2, ..Config::default() }`.

mod cluster;
mod groups;
mod history;
mod socket_file;
mod tls;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

pub use cluster::Cluster;
pub use groups::{GROUP_RULES_MAX, GroupRule, PRESENCE_GRACE_DEFAULT, PRESENCE_GRACE_MAX};
pub use history::{HISTORY_BYTES_CORE_MIN, HISTORY_RULES_MAX, HistoryRule, KEEP_MAX, StreamKind};
pub use ipnet::IpNet;
use serde::{Deserialize, Serialize};
pub use socket_file::SocketFile;
pub use tls::TlsFiles;
pub use webhooks::{EventKinds, MessagesFull, Webhooks};

/// How a core waits for its sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// io_uring, or epoll with one warning where io_uring is forbidden, for the runtime or for the
    /// connections alone.
    #[default]
    Auto,
    /// io_uring, or an error at start.
    Uring,
    /// epoll.
    Epoll,
}

/// Whether the cores' descriptors are in one table, which RLIMIT_NOFILE bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorTables {
    /// One table, unless `max_connections` and the server's own pass RLIMIT_NOFILE and there are several cores;
    /// then one a core.
    #[default]
    Auto,
    /// One table for the process.
    Shared,
    /// A table for each core (unshare(2), CLONE_FILES), so that RLIMIT_NOFILE holds for each core. Connections that
    /// move to another core cost a little more.
    PerCore,
}

/// What becomes of a second connection that claims a uid in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UidPolicy {
    /// Both stay and each gets every message, up to `connections_per_uid_max`.
    #[default]
    Multi,
    /// The newest stays; the others are closed with 4001.
    Replace,
    /// The newcomer is closed with 4002.
    Reject,
}

/// How clients of apps that bind a uid prove who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Not at all: a uid is a claim, fit for networks where everybody is trusted.
    #[default]
    None,
    /// By a JSON web token, signed with HS256, RS256, ES256, ES384 or EdDSA, whichever the key is for.
    Jwt,
    /// By a plain token: uid, expiry, and their HMAC-SHA-256.
    Hmac,
}

/// The server's configuration. Sizes are bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// Cores, each a thread with its own runtime and shard; 0 means the CPUs the process may use.
    /// More cores than CPUs is allowed. At most 1,024.
    pub cores: usize,
    /// Pin each core's thread to a CPU.
    pub pin: bool,
    /// How a core waits for its sockets.
    pub driver: Driver,
    /// Whether the cores' descriptors are in one table.
    pub descriptor_tables: DescriptorTables,
    /// What becomes of a second connection of a uid.
    pub uid_policy: UidPolicy,
    /// Clients' connections that the process may have; one more is refused (a websocket with status 503).
    /// Zero: as many as descriptors hold, with some kept for back ends and HTTP.
    pub max_connections: usize,
    /// Back ends' connections that the process may have, which count by themselves, so that no number of
    /// clients keeps a back end out; one more is refused. Zero: as many as it may have descriptors.
    pub backend_connections_max: usize,
    /// Connections that one address may have to the clients' listeners, an IPv6 network of 64 bits counting
    /// as one address; one more is refused (a websocket with status 429). HTTP connections of an address, but back ends',
    /// count apart. Others have it where their listener says so, for that alone: back ends are many at one address. Zero
    /// turns it off.
    pub connections_per_address_max: usize,
    /// Opening handshakes that one core has under way; one more, and the oldest is reset.
    pub handshakes_max: usize,
    /// Connections that one uid may have under [`UidPolicy::Multi`]; one more is closed with 4002.
    pub connections_per_uid_max: usize,
    /// Groups that one connection may be in; a further join is refused.
    pub groups_per_connection_max: usize,
    /// Bytes that the attributes of one connection may have, as JSON; more is refused. Zero: it has none.
    pub attributes_bytes_max: usize,
    /// What holds for groups by their names; of several rules that fit the first holds. At most [`GROUP_RULES_MAX`].
    pub groups: Vec<GroupRule>,
    /// What uids may take on one core that are in groups with a connection or without (`"sticky": true` by HTTP), some 200
    /// bytes each; one more is refused.
    pub sticky_bytes_core_max: usize,
    /// Namespaces that the server may have, the apps' own and those made while it runs
    /// ([`Context::namespace`](crate::app::Context::namespace)); one more is an error to the app that asks for it. None is
    /// ever taken away.
    pub namespaces_max: usize,
    /// Messages that one client may send a second, however many frames they come in; more closes it with 1008.
    /// As many pings and pongs it may send beside them, sixteen fragments counting as one. It holds for apps
    /// whose connections bind a uid; others have it where their listener says so. Zero turns it off.
    pub messages_per_second_max: usize,
    /// As many bytes a client may send in a second, after its handshake: as they lie on the wire, but of a compressed
    /// message as many as it comes to.
    pub bytes_per_second_max: usize,
    /// How much of its rates a client may save up while it sends less, as the time to earn it; in bytes
    /// one largest message at least. At least a second, for the network and a busy server bring together
    /// what was sent apart.
    pub rate_burst: Duration,
    /// Largest message taken from a client; one byte more closes it with 1009.
    pub message_bytes_max: usize,
    /// Whether websockets are compressed if their client offers to (permessage-deflate, RFC 7692).
    pub compress: bool,
    /// A smaller message is sent as it is, for it is one packet either way.
    pub compress_bytes_min: usize,
    /// Bytes that may wait for one connection whose kernel takes no more, each message counting 32 more; what does
    /// not fit closes it with 4005. With messages to many, which a core holds once, eight times that, for one whose
    /// kernel has taken something within 10 s. What waits because the server has not come to write it does not count: it is
    /// bounded by not reading those who cause it.
    pub outbox_bytes_max: usize,
    /// The sum of all that waits on one core; past it those whose kernels take no more are closed with 4005, the
    /// fullest first, and then, where an app has sent past its room, others with 1013. From half of it on nobody is
    /// read while much waits to be written.
    pub outbox_bytes_core_max: usize,
    /// The sum of all that is kept on one core of what has come: half requests, half messages, input that waits.
    /// Past it those that keep the most are closed with 1008.
    pub inbox_bytes_core_max: usize,
    /// The kernel's send buffer of a connection (socket(7), SO_SNDBUF; it takes twice that, its own overhead
    /// included), or 0 to let the kernel grow it to `net.ipv4.tcp_wmem`, some 4 MiB.
    pub send_buffer_bytes: usize,
    /// Bytes that one connection may have on the way to other cores; past it it is not read until
    /// they are taken.
    pub transit_bytes_max: usize,
    /// The sum of that on one core, an envelope counting 512 more, and each receiver of what is for many 64. A
    /// connection may have as much as is left of it, and always 64 KiB; past twice the sum no connection of the core
    /// is read.
    pub transit_bytes_core_max: usize,
    /// Which messages are kept for those who are not there; of several rules that fit the first holds. At most
    /// [`HISTORY_RULES_MAX`].
    pub history: Vec<HistoryRule>,
    /// The sum of all that one core keeps so; past it the oldest message goes, and whoever misses it is told. At least
    /// [`HISTORY_BYTES_CORE_MIN`].
    pub history_bytes_core_max: usize,
    /// How clients prove who they are, in every app whose connections bind a uid.
    pub auth: Auth,
    /// The file with the keys that their proofs are checked with: public keys in PEM, or a secret a line.
    pub auth_key_file: Option<PathBuf>,
    /// The audience that a JSON web token must name. Without one a token that names any is refused.
    pub auth_audience: Option<String>,
    /// The issuer that a JSON web token must name.
    pub auth_issuer: Option<String>,
    /// Origins of the pages that may open a websocket or listen to events, as `https://shop.example`,
    /// `https://*.shop.example` (every host below), `file://`, `null`, or `*`. Empty means the server's own host on any
    /// port; on a loopback listener these are the loopback names alone. No origin is let in while [`Auth::None`] holds;
    /// else it must be listed as `none`, unless the proof comes in an `Authorization` field, which no page can send.
    pub origins: Vec<String>,
    /// Networks of the proxies in front, which are believed when they tell a client's address: in
    /// `X-Forwarded-For`, and on listeners with the PROXY protocol (which, if this is empty, believe anybody).
    /// They count towards no limit by address themselves.
    pub trusted_proxies: Vec<IpNet>,
    /// Largest head of a request, to HTTP and to open a websocket: the request line and the header fields, cookies
    /// included. A longer one gets 431, or 414 if its first line alone is longer. At most [`REQUEST_HEAD_BYTES_LIMIT`].
    pub request_head_bytes_max: usize,
    /// HTTP connections of back ends that the process serves, once a request has shown that it may use the API or the
    /// metrics, and as many more of all others. For one more, one that has asked nothing for 5 s is closed; if there is
    /// none, it is refused with 503, unless it asks for health, events, a websocket, or what back ends may.
    pub http_connections_max: usize,
    /// Largest body of an HTTP request; one byte more gets 413.
    pub http_body_bytes_max: usize,
    /// For how long a push that comes again with the same `id` over HTTP is not made again, but answered as the first
    /// one was.
    pub idempotency_window: Duration,
    /// Such ids that one core keeps; a request with one more gets status 503.
    pub idempotency_ids_max: usize,
    /// A connection from which nothing has arrived for this long, and 2 s of grace, is closed with
    /// 4003. Zero turns it off.
    pub idle_timeout: Duration,
    /// A websocket connection quiet for this long gets a ping. Zero turns it off.
    pub ping_interval: Duration,
    /// Time to complete the opening handshake, from its first byte on, or from a second after connecting.
    pub handshake_timeout: Duration,
    /// Time to bind a uid, or for a back end to show its token; then 4004.
    pub login_timeout: Duration,
    /// Time for a peer to answer a close; then a reset.
    pub close_timeout: Duration,
    /// Clients that are closed a second when the server stops, so that they do not all come back at once. Zero
    /// closes all at once.
    pub drain_rate: usize,
    /// Time in which `/readyz` says that the server stops, and all else goes on, before the first is closed.
    pub drain_delay: Duration,
    /// Time to drain after that; who is left near its end is closed at once, and then the process leaves anyway.
    pub drain_timeout: Duration,
    /// Time for another process to take over all that this one has (`ringpost upgrade`); else this one goes on.
    pub upgrade_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            cores: 0,
            pin: true,
            driver: Driver::Auto,
            descriptor_tables: DescriptorTables::Auto,
            uid_policy: UidPolicy::Multi,
            max_connections: 0,
            backend_connections_max: 1_024,
            connections_per_address_max: 0,
            handshakes_max: 4_096,
            connections_per_uid_max: 256,
            groups_per_connection_max: 64,
            attributes_bytes_max: 1 << 10,
            groups: Vec::new(),
            sticky_bytes_core_max: 64 << 20,
            namespaces_max: 65_536,
            messages_per_second_max: 0,
            bytes_per_second_max: 0,
            rate_burst: Duration::from_secs(1),
            message_bytes_max: 64 << 10,
            compress: false,
            compress_bytes_min: 1 << 10,
            outbox_bytes_max: 1 << 20,
            outbox_bytes_core_max: 1 << 30,
            inbox_bytes_core_max: 1 << 30,
            send_buffer_bytes: 64 << 10,
            transit_bytes_max: 1 << 20,
            transit_bytes_core_max: 4 << 20,
            history: Vec::new(),
            history_bytes_core_max: 64 << 20,
            auth: Auth::None,
            auth_key_file: None,
            auth_audience: None,
            auth_issuer: None,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            request_head_bytes_max: REQUEST_HEAD_BYTES_DEFAULT,
            http_connections_max: 1_024,
            http_body_bytes_max: 4 << 20,
            idempotency_window: Duration::from_secs(120),
            idempotency_ids_max: 65_536,
            idle_timeout: Duration::from_secs(55),
            ping_interval: Duration::from_secs(25),
            handshake_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(1),
            drain_rate: 5_000,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            upgrade_timeout: Duration::from_secs(10),
        }
    }
}

/// Grace beyond `idle_timeout`, so that a client which beats exactly that often lives.
pub(crate) const IDLE_GRACE: Duration = Duration::from_secs(2);
/// What a message in an outbox counts beyond its bytes.
pub const OUTBOX_MESSAGE_COST: usize = 32;
/// Largest head of a unit that the server sends, around a message, in any codec (RFC 6455, section 5.2: 10 bytes
/// unmasked).
pub const UNIT_HEAD_BYTES: usize = 10;
/// [`Config::request_head_bytes_max`], unless configured.
pub const REQUEST_HEAD_BYTES_DEFAULT: usize = 16 << 10;
/// The most that [`Config::request_head_bytes_max`] may be.
pub const REQUEST_HEAD_BYTES_LIMIT: usize = 60 << 10;
/// Most cores a server may have.
pub const CORES_MAX: usize = 1_024;

/// A listener's own limits, where it has any; `None` takes the server's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ListenerLimits {
    /// In place of [`Config::message_bytes_max`].
    pub message_bytes_max: Option<usize>,
    /// In place of [`Config::outbox_bytes_max`].
    pub outbox_bytes_max: Option<usize>,
    /// In place of [`Config::connections_per_address_max`], in any app, counting this listener's connections
    /// alone; zero is no limit.
    pub connections_per_address_max: Option<usize>,
    /// In place of [`Config::messages_per_second_max`], in any app; of HTTP its requests, one more of which
    /// gets status 429. Zero is no limit.
    pub messages_per_second_max: Option<usize>,
    /// In place of [`Config::bytes_per_second_max`], in any app; zero is no limit.
    pub bytes_per_second_max: Option<usize>,
    /// In place of [`Config::compress`].
    pub compress: Option<bool>,
}
