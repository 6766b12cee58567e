//! [`Settings`]: everything the program can be told, resolved: what `serve` starts a server from.
//!
//! Plain values. `keys` names each of them, `layers` fills them in, `listeners` holds them against
//! each other.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ringpost::config::{Cluster, Config, MessagesFull, TlsFiles, Webhooks};

use super::choice::{Choice, choices};
use super::listener::ListenerSettings;
use super::push_messages::PushMessages;

/// The whole configuration after file, variables and flags.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settings {
    /// The library's part: limits, timeouts, cores.
    pub config: Config,
    /// Where the listeners come from if none are given one by one.
    pub preset: Preset,
    /// Whether the preset's client listeners are open to other machines.
    pub public: bool,
    /// What is served, already checked.
    pub listeners: Vec<ListenerSettings>,
    /// The relay app.
    pub relay: RelaySettings,
    /// The push app.
    pub push: PushSettings,
    /// The chat app.
    pub chat: ChatSettings,
    /// The back-end app.
    pub backend: BackendSettings,
    /// Who is told of users' coming and going.
    pub webhooks: Webhooks,
    /// With which other nodes it is one.
    pub cluster: Cluster,
    /// What listeners show that speak TLS.
    pub tls: TlsFiles,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// The relay app's settings.
#[derive(Clone, PartialEq, Debug)]
pub struct RelaySettings {
    /// Whether bad input is answered with `error: …`.
    pub errors: bool,
}

impl Default for RelaySettings {
    fn default() -> Self {
        RelaySettings { errors: true }
    }
}

/// The push app's settings.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PushSettings {
    /// What becomes of what clients say after their login.
    pub messages: PushMessages,
    /// What becomes of it when too much waits.
    pub messages_full: MessagesFull,
}

/// The chat app's settings.
#[derive(Clone, PartialEq, Debug)]
pub struct ChatSettings {
    /// Users in the room; one more gets `notice:error room is full`.
    pub users_max: usize,
    /// The least time between two rosters to one user.
    pub roster_interval: Duration,
}

impl Default for ChatSettings {
    fn default() -> Self {
        ChatSettings {
            users_max: 10_000,
            roster_interval: Duration::from_millis(100),
        }
    }
}

/// The back-end app's settings.
#[derive(Clone, PartialEq, Default)]
pub struct BackendSettings {
    /// What `auth TOKEN` must say as the first line; without one no line is needed.
    pub token: Option<String>,
    /// More tokens, with their rights.
    pub tokens_file: Option<PathBuf>,
    /// Users of this machine who need no token at Unix sockets, with their rights.
    pub users: Option<String>,
    /// Names in certificates whose bearers need no token by TLS, with their rights.
    pub certificates: Option<String>,
}

impl BackendSettings {
    /// Whether a back end has to show any.
    pub fn asks_for_token(&self) -> bool {
        self.token.is_some()
            || self.tokens_file.is_some()
            || self.users.is_some()
            || self.certificates.is_some()
    }
}

// By hand, so that no log or panic message ever shows the token.
impl fmt::Debug for BackendSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "(hidden)");
        f.debug_struct("BackendSettings")
            .field("token", &token)
            .field("tokens_file", &self.tokens_file)
            .field("users", &self.users)
            .field("certificates", &self.certificates)
            .finish()
    }
}

/// The log's settings.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LogSettings {
    /// The least important level still written.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// A set of listeners to begin with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preset {
    /// Relay, push with its back end, chat, and the page.
    #[default]
    Default,
    /// The ports of the push pattern: 1234 for browsers, 5678 for the back end.
    Push,
}

/// How much is logged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

choices! {
    Preset { "default" = Default, "push" = Push }
    LogLevel {
        "off" = Off, "error" = Error, "warn" = Warn, "info" = Info, "debug" = Debug, "trace" = Trace,
    }
    LogFormat { "text" = Text, "json" = Json }
}
