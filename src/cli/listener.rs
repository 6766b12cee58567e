//! [`ListenerSettings`]: one listener, its URL and the app behind it, as they are read and written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ringpost::config::{ListenerLimits, SocketFile, TlsFiles};
use ringpost::{ListenAddress, Roles};

use super::choice::{Choice, choices, nearest, one_of};
use super::push_messages::PushMessages;

/// The apps that a listener can have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppName {
    Relay,
    Push,
    PushBackend,
    Chat,
    Echo,
    Page,
}

impl AppName {
    /// Whether its connections are users, who claim a uid or a name.
    pub fn is_for_clients(self) -> bool {
        matches!(self, AppName::Relay | AppName::Push | AppName::Chat)
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

choices! {
    AppName {
        "relay" = Relay, "push" = Push, "push-backend" = PushBackend, "chat" = Chat, "echo" = Echo,
        "page" = Page,
    }
}

/// What `echo` takes unless told otherwise: conformance suites send messages of 16 MiB, and compressed ones.
const ECHO_LIMITS: ListenerLimits = ListenerLimits {
    message_bytes_max: Some(16 << 20),
    outbox_bytes_max: Some(32 << 20),
    connections_per_address_max: None,
    messages_per_second_max: None,
    bytes_per_second_max: None,
    compress: Some(true),
};
/// A chat user's outbox unless told otherwise: it has to hold the roster of a full room, 1.3 MB with long
/// names, and a newer one beside one on its way.
pub const CHAT_OUTBOX_BYTES: usize = 4 << 20;
const CHAT_LIMITS: ListenerLimits = ListenerLimits {
    message_bytes_max: None,
    outbox_bytes_max: Some(CHAT_OUTBOX_BYTES),
    connections_per_address_max: None,
    messages_per_second_max: None,
    bytes_per_second_max: None,
    compress: None,
};

/// What an app's listeners serve unless told otherwise.
pub fn default_roles(app: AppName) -> Roles {
    match app {
        AppName::Page => WITHOUT_PATHS,
        _ => Roles::NONE,
    }
}

/// All roles but that of websockets, which have paths.
pub const WITHOUT_PATHS: Roles = Roles::PAGE
    .with(Roles::API)
    .with(Roles::METRICS)
    .with(Roles::EVENTS);
/// Where an HTTP listener has something else than websockets.
const TAKEN_PATHS: [&str; 7] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/listeners.json",
    "/openapi.json",
    "/v1",
    "/v1/",
];

/// Reads the names of roles, at least one.
pub fn parse_roles<'a>(names: impl Iterator<Item = &'a str>) -> Result<Roles, String> {
    let known = || Roles::names();
    let mut roles = Roles::NONE;
    for name in names.map(str::trim) {
        let Some(role) = Roles::named(name) else {
            return Err(match nearest(name, known()) {
                Some(near) => format!("no role is called {name:?}; did you mean {near:?}?"),
                None => format!(
                    "no role is called {name:?}; expected {}",
                    one_of(&known().collect::<Vec<_>>())
                ),
            });
        };
        roles = roles.with(role);
    }
    match roles {
        Roles::NONE => Err("no role at all: leave the listener out".to_owned()),
        roles => Ok(roles),
    }
}

/// What an app's listeners take unless told otherwise.
pub fn default_limits(app: AppName) -> ListenerLimits {
    match app {
        AppName::Echo => ECHO_LIMITS,
        AppName::Chat => CHAT_LIMITS,
        _ => ListenerLimits::default(),
    }
}

/// One listener: where, how messages are cut, and what they mean.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    pub scheme: Scheme,
    /// Whether it speaks TLS.
    pub is_tls: bool,
    /// Then its own certificate, in place of the server's, and what it asks of clients.
    pub certificates: TlsFiles,
    /// Port 0 is any free one.
    pub address: ListenAddress,
    /// At a Unix socket: whose its file is.
    pub socket_file: SocketFile,
    /// Of a websocket:// listener that is a part of the http:// listener of its address.
    pub path: Option<String>,
    pub app: AppName,
    /// What of it is served, where it is http://; else none.
    pub roles: Roles,
    /// Its own limits, the app's defaults already filled in.
    pub limits: ListenerLimits,
    /// Whether its connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// What becomes of what its clients say, in place of `push.messages`.
    pub messages: Option<PushMessages>,
}

/// How messages are cut out of a listener's byte stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Websocket,
    Text,
    Frame,
    Http,
}

impl Scheme {
    /// As it stands in a listener's URL, with TLS or without.
    pub fn name(self, is_tls: bool) -> &'static str {
        match (self, is_tls) {
            (Scheme::Websocket, false) => "websocket",
            (Scheme::Websocket, true) => "wss",
            (Scheme::Text, false) => "text",
            (Scheme::Text, true) => "tls+text",
            (Scheme::Frame, false) => "frame",
            (Scheme::Frame, true) => "tls+frame",
            (Scheme::Http, false) => "http",
            (Scheme::Http, true) => "https",
        }
    }
}

/// The listener's URL, as `Server::listen` takes it.
impl fmt::Display for ListenerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme.name(self.is_tls);
        f.write_str(&self.address.url(scheme, self.path.as_deref()))
    }
}

impl ListenerSettings {
    /// Reads a URL and an app's name, of `page` with roles after a colon if not all are served; `own` are limits
    /// given for this listener alone.
    pub fn parse(url: &str, app: &str, own: ListenerLimits) -> Result<ListenerSettings, String> {
        if let Some((app, roles)) = app.split_once(':') {
            let roles = parse_roles(roles.split('+'))?;
            return ListenerSettings::parse(url, app, own)?.with_roles(roles);
        }
        let mut name = AppName::Echo;
        if !name.choose(app) {
            let known = name.names();
            return Err(match nearest(app, known.iter().copied()) {
                Some(near) => format!("no app is called {app:?}; did you mean {near:?}?"),
                None => format!("no app is called {app:?}; expected {}", one_of(known)),
            });
        }
        let ((scheme, is_tls), address, path) = parse_url(url)?;
        if path.is_some() && scheme != Scheme::Websocket {
            return Err(format!(
                "{}:// has a host and a port and nothing else; only websocket:// can have a path, of the http:// listener \
                 of its address, or wss:// of the https:// listener",
                scheme.name(is_tls)
            ));
        }
        match (name, scheme) {
            (AppName::Page, Scheme::Http) => {}
            (AppName::Page, _) => {
                return Err(format!(
                    "page is served by http:// or https:// only, not by {}://",
                    scheme.name(is_tls)
                ));
            }
            (_, Scheme::Http) => {
                return Err(format!(
                    "{}:// serves page only; {name} takes websocket://, text:// or frame://, or wss://, tls+text:// or \
                     tls+frame://",
                    scheme.name(is_tls)
                ));
            }
            _ => {}
        }
        let foreign = own.message_bytes_max.is_some() || own.outbox_bytes_max.is_some();
        if scheme == Scheme::Http && (foreign || own.compress.is_some()) {
            return Err(
                "the sizes of messages and outboxes do not apply to page, nor does compress; its limits are \
                        http_body_bytes_max and http_connections_max"
                    .to_owned(),
            );
        }
        let default = default_limits(name);
        let limits = ListenerLimits {
            message_bytes_max: own.message_bytes_max.or(default.message_bytes_max),
            outbox_bytes_max: own.outbox_bytes_max.or(default.outbox_bytes_max),
            compress: own.compress.or(default.compress),
            ..own
        };
        Ok(ListenerSettings {
            scheme,
            is_tls,
            certificates: TlsFiles::default(),
            address,
            socket_file: SocketFile::default(),
            path,
            app: name,
            roles: default_roles(name),
            limits,
            proxy_protocol: false,
            messages: None,
        })
    }

    /// This listener, which serves these roles alone.
    pub fn with_roles(self, roles: Roles) -> Result<ListenerSettings, String> {
        if self.app != AppName::Page {
            return Err(format!(
                "roles are what of http:// is served; {} has none",
                self.app
            ));
        }
        Ok(ListenerSettings { roles, ..self })
    }

    /// This listener with these certificates, if it speaks TLS.
    pub fn with_certificates(self, certificates: TlsFiles) -> Result<ListenerSettings, String> {
        if !self.is_tls && certificates != TlsFiles::default() {
            return Err(
                "it has certificates, and speaks no TLS; write wss://, https://, tls+text:// or tls+frame://"
                    .to_owned(),
            );
        }
        Ok(ListenerSettings {
            certificates,
            ..self
        })
    }

    /// Whether its connections are users, who claim a uid or a name.
    pub fn is_for_clients(&self) -> bool {
        self.app.is_for_clients() || self.roles.has(Roles::EVENTS)
    }

    /// This listener, whose connections begin with a PROXY protocol header, or not.
    pub fn with_proxy_protocol(self, proxy_protocol: bool) -> Result<ListenerSettings, String> {
        if proxy_protocol && self.path.is_some() {
            return Err("proxy_protocol is that of the http:// listener of its address".to_owned());
        }
        Ok(ListenerSettings {
            proxy_protocol,
            ..self
        })
    }

    /// This listener, of whose clients' messages something else becomes than of others'; of an HTTP listener those at
    /// its paths.
    pub fn with_messages(self, messages: Option<PushMessages>) -> Result<ListenerSettings, String> {
        let may_have = self.app == AppName::Push || self.scheme == Scheme::Http;
        if messages.is_some() && !may_have {
            return Err(format!(
                "messages says what becomes of what push's clients say; {} does with them what it does",
                self.app
            ));
        }
        Ok(ListenerSettings { messages, ..self })
    }

    /// The listener of this one's address for websockets at a path.
    pub fn at_path(&self, path: &str, app: &str) -> Result<ListenerSettings, String> {
        if self.scheme != Scheme::Http {
            return Err(format!(
                "paths are those of http:// and https://, and this is {self}"
            ));
        }
        if !path.starts_with('/') {
            return Err(format!("the path {path:?} does not begin with a slash"));
        }
        if path == "/" {
            return Err("the path / is the page's; have another, such as /ws".to_owned());
        }
        let scheme = Scheme::Websocket.name(self.is_tls);
        let url = self.address.url(scheme, Some(path));
        let limits = ListenerLimits {
            connections_per_address_max: self.limits.connections_per_address_max,
            ..ListenerLimits::default()
        };
        let listener = ListenerSettings::parse(&url, app, limits)?;
        let messages = self.messages.filter(|_| listener.app == AppName::Push);
        listener.with_messages(messages)
    }

    /// Reads `URL=APP`.
    pub fn parse_pair(text: &str) -> Result<ListenerSettings, String> {
        match text.trim().rsplit_once('=') {
            Some((url, app)) => {
                ListenerSettings::parse(url.trim(), app.trim(), ListenerLimits::default())
            }
            None => Err("expected URL=APP, such as websocket://127.0.0.1:9001=echo".to_owned()),
        }
    }

    /// This listener, the file of whose socket is somebody's.
    pub fn with_socket_file(self, socket_file: SocketFile) -> Result<ListenerSettings, String> {
        let has_file = matches!(self.address, ListenAddress::Path(_));
        if socket_file != SocketFile::default() && !has_file {
            return Err(
                "mode, owner and group are those of a Unix socket's file, as of text+unix:///run/ringpost/back-end.sock"
                    .to_owned(),
            );
        }
        Ok(ListenerSettings {
            socket_file,
            ..self
        })
    }

    /// Whether only this machine can connect. Of a socket that is passed that is not known before.
    pub fn is_local(&self) -> bool {
        self.address.is_local()
    }
}

/// A codec, by TLS or not; an address; and a path.
type ParsedUrl = ((Scheme, bool), ListenAddress, Option<String>);

fn parse_url(url: &str) -> Result<ParsedUrl, String> {
    let example = "such as websocket://127.0.0.1:1234";
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("expected SCHEME://HOST:PORT, {example}"));
    };
    let lower = scheme.to_ascii_lowercase();
    let (plain, placed) = match ListenAddress::parse(&lower, rest) {
        Some((plain, placed)) => (plain, Some(placed)),
        None => (&*lower, None),
    };
    let scheme = match plain {
        "websocket" | "ws" => (Scheme::Websocket, false),
        "wss" => (Scheme::Websocket, true),
        "text" => (Scheme::Text, false),
        "tls+text" => (Scheme::Text, true),
        "frame" => (Scheme::Frame, false),
        "tls+frame" => (Scheme::Frame, true),
        "http" => (Scheme::Http, false),
        "https" => (Scheme::Http, true),
        _ => {
            return Err(format!(
                "unknown scheme {scheme:?}; expected websocket://, text://, frame:// or http://, or with TLS wss://, \
                 tls+text://, tls+frame:// or https://; each with +unix (text+unix:///run/ringpost/back-end.sock) or \
                 +fd (text+fd://NAME, of a socket that systemd passes), too"
            ));
        }
    };
    if let Some(placed) = placed {
        let (address, path) = placed?;
        let path = path.filter(|path| *path != "/").map(str::to_owned);
        return Ok((scheme, address, path.map(check_path).transpose()?));
    }
    let (rest, path) = match rest.find('/') {
        Some(at) if &rest[at..] == "/" => (&rest[..at], None),
        Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
        None => (rest, None),
    };
    if rest.contains(['?', '#', '@']) {
        return Err(format!(
            "a listener has a host, a port and at most a path, and nothing else, {example}"
        ));
    }
    let path = path.map(check_path).transpose()?;
    let Some((host, port)) = rest
        .rsplit_once(':')
        .filter(|(_, port)| !port.contains(']'))
    else {
        return Err(format!(
            "the port is missing; expected SCHEME://HOST:PORT, {example}"
        ));
    };
    if !host.starts_with('[') && host.contains(':') {
        return Err("an IPv6 address stands in brackets, such as [::1]:1234".to_owned());
    }
    let port: u16 = port
        .parse()
        .map_err(|_| format!("the port {port:?} is not a number from 0 to 65535"))?;
    let address = SocketAddr::new(parse_host(host)?, port);
    Ok((scheme, address.into(), path))
}

/// The path of a websocket's listener, if it may be one.
fn check_path(path: String) -> Result<String, String> {
    let is_escaped = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"".contains(&byte);
    if !path.bytes().all(is_escaped) {
        return Err(
            "a listener has a host, a port and at most a path, and nothing else, such as \
             websocket://127.0.0.1:1234"
                .to_owned(),
        );
    }
    if TAKEN_PATHS.contains(&path.as_str()) || path.starts_with("/v1/") {
        return Err(format!(
            "the path {path} is taken by what http:// serves there"
        ));
    }
    Ok(path)
}

fn parse_host(host: &str) -> Result<IpAddr, String> {
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let parsed = match bare {
        Some(host) => host.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        None => host.parse::<Ipv4Addr>().map(IpAddr::V4).ok(),
    };
    parsed.ok_or_else(|| {
        format!(
            "the host {host:?} is not an address of this machine; expected an IP address, such as \
             127.0.0.1 (this machine only), 0.0.0.0 (every IPv4 address) or [::] (every address)"
        )
    })
}
