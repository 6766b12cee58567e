//! [`KEYS`]: the name of every setting, once.
//!
//! The file's keys, the `RINGPOST_*` variables, the flags, `--help`, what SIGHUP takes over (`live`) and the test
//! that holds ringpost.example.toml against the code all come from this table.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command};
use ringpost::auth::backend_tokens::BACKEND_TOKEN_BYTES_MIN;
use ringpost::config::{CORES_MAX, Cluster, HISTORY_BYTES_CORE_MIN, REQUEST_HEAD_BYTES_LIMIT};

use super::settings::Settings;
use super::slot::SettingSlot;

/// Largest message that can be allowed: its length must fit a frame's 32 bits with room to spare.
pub const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// Largest that the kernel is asked for, which doubles it and counts in 31 bits.
const SEND_BUFFER_MAX: usize = (1 << 30) - 1;
/// Largest attributes of a connection: they are told whole in lists and webhooks.
const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;
/// Largest of the other sizes.
pub const BYTES_MAX: usize = 1 << 40;
/// Most connections of a uid, users, groups and the like: they are counted in 32 bits.
pub const COUNT_MAX: usize = 1_000_000_000;
/// Most events that wait for webhooks' receiver: their places take some 100 bytes each from the start.
const QUEUE_EVENTS_MAX: usize = 10_000_000;
/// What every variable of ours begins with.
pub const VARIABLE_PREFIX: &str = "RINGPOST_";

/// One setting by name.
pub struct ConfigKey {
    /// Its name in the file, with the table before a dot.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Whether `-h` shows it, or only the longer `--help`.
    common: bool,
    /// Whether a running server takes it over at SIGHUP; else it takes a restart.
    pub live: bool,
    /// Its place in the settings.
    pub slot: fn(&mut Settings) -> SettingSlot<'_>,
}

impl ConfigKey {
    /// `relay.errors` → `RINGPOST_RELAY_ERRORS`.
    pub fn variable(&self) -> String {
        format!(
            "{VARIABLE_PREFIX}{}",
            self.name.replace('.', "_").to_uppercase()
        )
    }

    /// `relay.errors` → `relay-errors`.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// Whether it may be a flag: a secret may not, since every user of a machine sees its processes'
    /// command lines.
    fn is_flag(&self) -> bool {
        !matches!(
            (self.slot)(&mut Settings::default()),
            SettingSlot::Secret(..)
        )
    }
}

/// The key of that name.
pub fn find(name: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.name == name)
}

macro_rules! keys {
    ($($common:ident $($live:ident)? $name:literal => $slot:expr, $about:literal;)*) => {
        /// Every setting but the listeners.
        pub const KEYS: &[ConfigKey] = &[$(ConfigKey {
            name: $name,
            about: $about,
            common: stringify!($common).len() == "common".len(),
            live: !stringify!($($live)?).is_empty(),
            slot: $slot,
        },)*];
    };
}

const MILLISECOND: Duration = Duration::from_millis(1);

keys! {
    common "cores" => |s| SettingSlot::Count(&mut s.config.cores, 0..=CORES_MAX),
        "Cores to use, each a thread; 0: every CPU the process may use";
    common "pin" => |s| SettingSlot::Switch(&mut s.config.pin),
        "Pin each core's thread to a CPU";
    common "driver" => |s| SettingSlot::Choice(&mut s.config.driver),
        "How a core waits for its sockets; auto: io_uring, or epoll where that is forbidden";
    full "descriptor_tables" => |s| SettingSlot::Choice(&mut s.config.descriptor_tables),
        "Descriptors of all cores in one table, or one a core; auto: by max_connections";
    common "public" => |s| SettingSlot::Switch(&mut s.public),
        "Open the preset's client listeners (relay, push, chat) to other machines, on [::]";
    common "preset" => |s| SettingSlot::Choice(&mut s.preset),
        "The listeners to begin with; push: 1234 for browsers, 5678 for the back end";
    common live "log" => |s| SettingSlot::Choice(&mut s.log.level),
        "The least important level that is logged, to stderr";
    common "log_format" => |s| SettingSlot::Choice(&mut s.log.format),
        "Log lines for people, or one JSON object each";
    common live "uid_policy" => |s| SettingSlot::Choice(&mut s.config.uid_policy),
        "A second connection of a uid: both stay, the newest stays, or it is refused";
    common live "max_connections" => |s| SettingSlot::Count(&mut s.config.max_connections, 0..=COUNT_MAX),
        "Clients' connections; one more is refused; 0: as many as descriptors allow";
    full live "backend_connections_max" =>
        |s| SettingSlot::Count(&mut s.config.backend_connections_max, 0..=COUNT_MAX),
        "Back ends' connections, counted apart; one more is refused; 0: any number";
    full live "connections_per_address_max" =>
        |s| SettingSlot::Count(&mut s.config.connections_per_address_max, 0..=COUNT_MAX),
        "Clients' connections of one address, or one IPv6 /64; one more is refused; 0: any number";
    full live "handshakes_max" => |s| SettingSlot::Count(&mut s.config.handshakes_max, 1..=COUNT_MAX),
        "Opening handshakes under way on one core; one more, and the oldest is reset";
    full live "connections_per_uid_max" =>
        |s| SettingSlot::Count(&mut s.config.connections_per_uid_max, 1..=COUNT_MAX),
        "Connections that one uid may have; one more is closed with 4002";
    full live "attributes_bytes_max" =>
        |s| SettingSlot::Bytes(&mut s.config.attributes_bytes_max, 0..=ATTRIBUTES_BYTES_MAX),
        "Largest attributes of a connection, as JSON; 0: none";
    full live "groups_per_connection_max" =>
        |s| SettingSlot::Count(&mut s.config.groups_per_connection_max, 0..=COUNT_MAX),
        "Groups that one connection may be in; a further join is refused";
    full live "namespaces_max" => |s| SettingSlot::Count(&mut s.config.namespaces_max, 1..=COUNT_MAX),
        "Namespaces of uids and groups, the apps' own and those they make; one more is an error";
    full live "messages_per_second_max" =>
        |s| SettingSlot::Count(&mut s.config.messages_per_second_max, 0..=COUNT_MAX),
        "Messages a second from one client; more closes it with 1008; 0: any number";
    full live "bytes_per_second_max" =>
        |s| SettingSlot::Bytes(&mut s.config.bytes_per_second_max, 0..=BYTES_MAX),
        "Bytes a second from one client; more closes it with 1008; 0: any number";
    full live "rate_burst" => |s| SettingSlot::Time(&mut s.config.rate_burst, Duration::from_secs(1)),
        "How much of these rates a quiet client saves up, as the time to earn it";
    common live "message_bytes_max" =>
        |s| SettingSlot::Bytes(&mut s.config.message_bytes_max, 1..=MESSAGE_BYTES_MAX),
        "Largest message from a client; one byte more closes it with 1009";
    common live "compress" => |s| SettingSlot::Switch(&mut s.config.compress),
        "Compress websocket messages for clients that offer it (permessage-deflate)";
    full live "compress_bytes_min" =>
        |s| SettingSlot::Bytes(&mut s.config.compress_bytes_min, 1..=BYTES_MAX),
        "Smallest message that is compressed";
    common live "outbox_bytes_max" => |s| SettingSlot::Bytes(&mut s.config.outbox_bytes_max, 1..=BYTES_MAX),
        "Bytes that a connection may leave waiting; more closes it with 4005";
    full live "outbox_bytes_core_max" =>
        |s| SettingSlot::Bytes(&mut s.config.outbox_bytes_core_max, 1..=BYTES_MAX),
        "Bytes that may wait on one core; past it who takes none is closed with 4005";
    full live "inbox_bytes_core_max" =>
        |s| SettingSlot::Bytes(&mut s.config.inbox_bytes_core_max, 1..=BYTES_MAX),
        "Bytes of half messages on one core; past it the longest are closed with 1008";
    full live "history_bytes_core_max" =>
        |s| SettingSlot::Bytes(&mut s.config.history_bytes_core_max, HISTORY_BYTES_CORE_MIN..=BYTES_MAX),
        "Bytes of kept messages ([[history]]) on one core; past it the oldest goes";
    full live "sticky_bytes_core_max" =>
        |s| SettingSlot::Bytes(&mut s.config.sticky_bytes_core_max, 0..=BYTES_MAX),
        "Bytes of sticky memberships of groups on one core; one more is refused";
    full "send_buffer_bytes" =>
        |s| SettingSlot::Bytes(&mut s.config.send_buffer_bytes, 0..=SEND_BUFFER_MAX),
        "The kernel's send buffer of a connection (SO_SNDBUF); 0: as the kernel likes";
    full live "transit_bytes_max" => |s| SettingSlot::Bytes(&mut s.config.transit_bytes_max, 1..=BYTES_MAX),
        "Bytes of one connection on the way to other cores; past it it is not read";
    full live "transit_bytes_core_max" =>
        |s| SettingSlot::Bytes(&mut s.config.transit_bytes_core_max, 1..=BYTES_MAX),
        "The same for a whole core";
    common "auth" => |s| SettingSlot::Choice(&mut s.config.auth),
        "How clients prove their uid: not at all, by a JSON web token, or by a plain one";
    common live "auth_key_file" => |s| SettingSlot::File(&mut s.config.auth_key_file),
        "The keys that clients' tokens are checked by: public keys in PEM, or a secret a line";
    full live "auth_audience" => |s| SettingSlot::Word(&mut s.config.auth_audience),
        "The audience that a JSON web token must name";
    full live "auth_issuer" => |s| SettingSlot::Word(&mut s.config.auth_issuer),
        "The issuer that a JSON web token must name";
    full live "origins" => |s| SettingSlot::Origins(&mut s.config.origins),
        "Pages that may open a websocket, in place of those of the server's own host";
    full live "trusted_proxies" => |s| SettingSlot::Networks(&mut s.config.trusted_proxies),
        "Networks of the proxies that are believed when they tell a client's address";
    full live "request_head_bytes_max" =>
        |s| SettingSlot::Bytes(&mut s.config.request_head_bytes_max, 1_024..=REQUEST_HEAD_BYTES_LIMIT),
        "Largest head of a request, cookies included; a longer one gets 431";
    full live "http_connections_max" =>
        |s| SettingSlot::Count(&mut s.config.http_connections_max, 1..=COUNT_MAX),
        "HTTP connections of the process; one more is refused with status 503";
    full live "http_body_bytes_max" =>
        |s| SettingSlot::Bytes(&mut s.config.http_body_bytes_max, 1..=MESSAGE_BYTES_MAX),
        "Largest body of an HTTP request; one byte more gets 413";
    full live "idempotency_window" =>
        |s| SettingSlot::Time(&mut s.config.idempotency_window, MILLISECOND),
        "For how long a push over HTTP with the same id is not made again";
    full live "idempotency_ids_max" =>
        |s| SettingSlot::Count(&mut s.config.idempotency_ids_max, 0..=COUNT_MAX),
        "Such ids that one core keeps; one more gets status 503";
    common live "idle_timeout" => |s| SettingSlot::Time(&mut s.config.idle_timeout, Duration::ZERO),
        "A client silent for this long, and 2 s, is closed with 4003; 0: never";
    common live "ping_interval" => |s| SettingSlot::Time(&mut s.config.ping_interval, Duration::ZERO),
        "A websocket client quiet for this long gets a ping; 0: never";
    full live "handshake_timeout" => |s| SettingSlot::Time(&mut s.config.handshake_timeout, MILLISECOND),
        "Time to complete the opening handshake";
    full live "login_timeout" => |s| SettingSlot::Time(&mut s.config.login_timeout, MILLISECOND),
        "Time to send a uid, or a back end's token; then 4004";
    full live "close_timeout" => |s| SettingSlot::Time(&mut s.config.close_timeout, MILLISECOND),
        "Time to answer a close; then a reset";
    full live "drain_rate" => |s| SettingSlot::Count(&mut s.config.drain_rate, 0..=COUNT_MAX),
        "Clients closed a second when the server stops; 0: all at once";
    full live "drain_delay" => |s| SettingSlot::Time(&mut s.config.drain_delay, Duration::ZERO),
        "Time in which /readyz says that the server stops before anything else does";
    full live "upgrade_timeout" => |s| SettingSlot::Time(&mut s.config.upgrade_timeout, MILLISECOND),
        "Time for another process to take all over (ringpost upgrade); else this one goes on";
    full live "drain_timeout" => |s| SettingSlot::Time(&mut s.config.drain_timeout, Duration::ZERO),
        "Time to close all of them and deliver what is under way; then it leaves anyway";
    full live "relay.errors" => |s| SettingSlot::Switch(&mut s.relay.errors),
        "Answer bad input to the relay with \"error: …\"";
    full "push.messages" => |s| SettingSlot::Choice(&mut s.push.messages),
        "What push's clients say after their login: ignored, or told to the webhook";
    full "push.messages_full" => |s| SettingSlot::Choice(&mut s.push.messages_full),
        "When too much of it waits: pause those who say it, or refuse it and close them";
    full live "chat.users_max" => |s| SettingSlot::Count(&mut s.chat.users_max, 1..=COUNT_MAX),
        "Users in the chat room; one more is told that it is full";
    full live "chat.roster_interval" =>
        |s| SettingSlot::Time(&mut s.chat.roster_interval, Duration::from_millis(10)),
        "Least time between two rosters to a chat user";
    full live "backend.token" => |s| SettingSlot::Secret(&mut s.backend.token, BACKEND_TOKEN_BYTES_MIN),
        "What a back end must send as \"auth TOKEN\" first; it has all rights; 16 characters at least";
    full live "backend.tokens_file" => |s| SettingSlot::File(&mut s.backend.tokens_file),
        "Tokens of back ends, a line each: its rights (push,kick,read,bind), a blank and the token";
    full live "backend.users" => |s| SettingSlot::Word(&mut s.backend.users),
        "Users who need no token at Unix sockets: \"www-data=push,read; root=push,kick,read,bind\"";
    full live "backend.certificates" => |s| SettingSlot::Word(&mut s.backend.certificates),
        "Names in clients' certificates (TLS) that need no token: \"shop.example=push,read\"";
    common live "tls.certificate_file" => |s| SettingSlot::File(&mut s.tls.certificate_file),
        "The certificate (PEM, with its chain) of listeners that speak TLS";
    common live "tls.key_file" => |s| SettingSlot::File(&mut s.tls.key_file),
        "Its private key (PEM, without a passphrase)";
    full live "tls.folder" => |s| SettingSlot::File(&mut s.tls.folder),
        "More certificates, chosen by name: NAME.pem with NAME.key, or certbot's folders";
    full live "tls.client_ca_file" => |s| SettingSlot::File(&mut s.tls.client_ca_file),
        "Clients have to show a certificate that leads to one of these (PEM)";
    full live "tls.ticket_keys_file" => |s| SettingSlot::File(&mut s.tls.ticket_keys_file),
        "Keys of session tickets (Base64, one a line, the first seals) that several servers share";
    common "tls.self_signed" => |s| SettingSlot::Switch(&mut s.tls.self_signed),
        "Make a certificate at the start, for a try; its fingerprint is printed";
    common "cluster.redis" => |s| SettingSlot::Word(&mut s.cluster.redis),
        "The Redis by which several nodes are one, or several: redis://HOST:PORT, redis+sentinel:…";
    full "cluster.ca_file" => |s| SettingSlot::File(&mut s.cluster.ca_file),
        "Whose certificates are trusted as that Redis', by rediss:// (PEM); else the machine's";
    full "cluster.secret_file" => |s| SettingSlot::File(&mut s.cluster.secret_file),
        "The file with that Redis' password";
    full "cluster.sentinel_secret_file" => |s| SettingSlot::File(&mut s.cluster.sentinel_secret_file),
        "The file with the Sentinels' own password";
    full "cluster.prefix" => |s| SettingSlot::Word(&mut s.cluster.prefix),
        "What its channels and keys begin with, if not ringpost; a second cluster has another";
    full "cluster.node" => |s| SettingSlot::Word(&mut s.cluster.node),
        "What this node is called; by default the host's name and a random part";
    full "cluster.answer_timeout" =>
        |s| SettingSlot::Time(&mut s.cluster.answer_timeout, Cluster::ANSWER_TIMEOUT_MIN),
        "Time for other nodes to say what has come of something; then that is unknown";
    full "cluster.ready_alone" => |s| SettingSlot::Switch(&mut s.cluster.ready_alone),
        "Whether /readyz lets clients come while that Redis is away";
    full "webhooks.url" => |s| SettingSlot::Word(&mut s.webhooks.url),
        "Where a back end is told who connects, disconnects and is kicked: https:// or http://";
    full "webhooks.secret" => |s| SettingSlot::Secret(&mut s.webhooks.secret, 1),
        "What webhooks are signed with; at least 32 characters";
    full "webhooks.secret_file" => |s| SettingSlot::File(&mut s.webhooks.secret_file),
        "The file with the secret that webhooks are signed with";
    full "webhooks.ca_file" => |s| SettingSlot::File(&mut s.webhooks.ca_file),
        "Certificates (PEM) that the receiver's is checked by, in place of the system's";
    full "webhooks.events" => |s| SettingSlot::Events(&mut s.webhooks.events),
        "The events that are told";
    full "webhooks.batch_events_max" =>
        |s| SettingSlot::Count(&mut s.webhooks.batch_events_max, 1..=10_000),
        "Events in one request; so many leave at once";
    full "webhooks.batch_delay" => |s| SettingSlot::Time(&mut s.webhooks.batch_delay, Duration::ZERO),
        "How long fewer wait for more";
    full "webhooks.queue_events_max" =>
        |s| SettingSlot::Count(&mut s.webhooks.queue_events_max, 1..=QUEUE_EVENTS_MAX),
        "Events that wait for the receiver; one more is dropped, and counted";
    full "webhooks.queue_bytes_max" =>
        |s| SettingSlot::Bytes(&mut s.webhooks.queue_bytes_max, 1..=BYTES_MAX),
        "Bytes of clients' messages that wait; who says more waits, or is refused";
    full "webhooks.timeout" => |s| SettingSlot::Time(&mut s.webhooks.timeout, MILLISECOND),
        "Time for a request and its response; then it is made again";
    full "webhooks.retry_delay_max" =>
        |s| SettingSlot::Time(&mut s.webhooks.retry_delay_max, MILLISECOND),
        "The longest pause before a request is made again";
    full "webhooks.retry_timeout" =>
        |s| SettingSlot::Time(&mut s.webhooks.retry_timeout, Duration::ZERO),
        "For how long a request is made again and again before its events are dropped";
}

/// Every key as a flag, as given on the command line.
#[derive(Clone, Debug, Default)]
pub struct KeyFlags(pub Vec<(String, String)>);

impl clap::Args for KeyFlags {
    fn augment_args(mut command: Command) -> Command {
        let mut defaults = Settings::default();
        for key in KEYS.iter().filter(|key| key.is_flag()) {
            let slot = (key.slot)(&mut defaults);
            let default = slot.show().unwrap_or_default();
            let mut arg = Arg::new(key.name)
                .long(key.flag())
                .value_name(slot.value_name())
                .help(format!(
                    "{}\n[default: {}]{}",
                    key.about,
                    default.trim_matches('"'),
                    if key.live { "" } else { " (restart)" }
                ))
                .hide_short_help(!key.common)
                .help_heading(if key.common {
                    "Server"
                } else {
                    "Limits, timeouts, apps"
                });
            if matches!(slot, SettingSlot::Switch(_)) {
                arg = arg.num_args(0..=1).default_missing_value("true");
            }
            if key.name == "preset" {
                arg = arg.conflicts_with("listen");
            }
            command = command.arg(arg);
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = KEYS.iter().filter(|key| key.is_flag()).filter_map(|key| {
            let text = matches.get_one::<String>(key.name)?;
            Some((key.name.to_owned(), text.clone()))
        });
        Ok(KeyFlags(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::choice::{Choice, nearest};
    use ringpost::config::{Config, EventKinds, IpNet};
    use std::collections::HashSet;
    use std::path::PathBuf;

    macro_rules! fields {
        ($type:ident { $($field:ident),* $(,)? }) => {{
            // Without `..`: a new field does not compile until it is named here, and then the test
            // asks for its key.
            let $type { $($field: _),* } = $type::default();
            [$(stringify!($field)),*]
        }};
    }

    #[test]
    fn every_limit_of_the_library_has_a_key() {
        let fields = fields!(Config {
            cores,
            pin,
            driver,
            descriptor_tables,
            uid_policy,
            connections_per_uid_max,
            max_connections,
            backend_connections_max,
            connections_per_address_max,
            handshakes_max,
            groups,
            groups_per_connection_max,
            sticky_bytes_core_max,
            attributes_bytes_max,
            namespaces_max,
            messages_per_second_max,
            bytes_per_second_max,
            rate_burst,
            trusted_proxies,
            message_bytes_max,
            compress,
            compress_bytes_min,
            outbox_bytes_max,
            outbox_bytes_core_max,
            inbox_bytes_core_max,
            history,
            history_bytes_core_max,
            send_buffer_bytes,
            transit_bytes_max,
            transit_bytes_core_max,
            request_head_bytes_max,
            http_connections_max,
            http_body_bytes_max,
            idempotency_window,
            idempotency_ids_max,
            idle_timeout,
            ping_interval,
            handshake_timeout,
            login_timeout,
            close_timeout,
            drain_rate,
            drain_delay,
            drain_timeout,
            upgrade_timeout,
            auth,
            auth_key_file,
            auth_audience,
            auth_issuer,
            origins,
        });
        // Tables of the file, as the listeners are.
        let fields = fields
            .into_iter()
            .filter(|field| !["history", "groups"].contains(field));
        for field in fields {
            assert!(find(field).is_some(), "no key for Config::{field}");
        }
    }

    #[test]
    fn each_key_has_a_place_of_its_own() {
        let mut places = HashSet::new();
        let mut settings = Settings::default();
        for key in KEYS {
            let place = match (key.slot)(&mut settings) {
                SettingSlot::Switch(place) => place as *const bool as usize,
                SettingSlot::Count(place, _) | SettingSlot::Bytes(place, _) => {
                    place as *const usize as usize
                }
                SettingSlot::Time(place, _) => place as *const Duration as usize,
                SettingSlot::Choice(place) => place as *const dyn Choice as *const u8 as usize,
                SettingSlot::Origins(place) => place as *const Vec<String> as usize,
                SettingSlot::Networks(place) => place as *const Vec<IpNet> as usize,
                SettingSlot::Secret(place, _) | SettingSlot::Word(place) => {
                    place as *const Option<String> as usize
                }
                SettingSlot::File(place) => place as *const Option<PathBuf> as usize,
                SettingSlot::Events(place) => place as *const EventKinds as usize,
            };
            assert!(places.insert(place), "{} shares its place", key.name);
        }
    }

    #[test]
    fn every_default_is_among_the_values_taken() {
        let mut settings = Settings::default();
        for key in KEYS {
            let mut slot = (key.slot)(&mut settings);
            if let Some(shown) = slot.show() {
                slot.put(shown.trim_matches('"'))
                    .unwrap_or_else(|expected| {
                        panic!(
                            "{}: the default {shown} is refused: expected {expected}",
                            key.name
                        )
                    });
            }
        }
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn a_typo_finds_its_key() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("idle_timout", names()), Some("idle_timeout"));
        assert_eq!(nearest("core", names()), Some("cores"));
        assert_eq!(nearest("errors", names()), Some("relay.errors"));
        assert_eq!(nearest("chat.user_max", names()), Some("chat.users_max"));
        assert_eq!(nearest("xyzzy", names()), None);
    }
}
