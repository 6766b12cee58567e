//! [`ListenerSettings`]: a URL and the app behind it; the presets; and the rules that listeners are held to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ringpost::Roles;
use ringpost::config::{Auth, ListenerLimits, OUTBOX_MESSAGE_COST};

use super::hooks;
use super::keys::nearest;
use super::layers::ValueOrigin;
use super::settings::{AppName, Choice, Preset, Settings};
use super::slot::{one_of, show_bytes};

/// Most bytes that a codec adds to one message (a websocket header).
const FRAMING_BYTES_MAX: usize = 14;
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
fn default_roles(app: AppName) -> Roles {
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
fn default_limits(app: AppName) -> ListenerLimits {
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
    /// Port 0 is any free one.
    pub address: SocketAddr,
    /// Of a websocket:// listener that is a part of the http:// listener of its address.
    pub path: Option<String>,
    pub app: AppName,
    /// What of it is served, where it is http://; else none.
    pub roles: Roles,
    /// Its own limits, the app's defaults already filled in.
    pub limits: ListenerLimits,
    /// Whether its connections begin with a PROXY protocol header.
    pub proxy_protocol: bool,
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
    /// As it stands in a listener's URL.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Websocket => "websocket",
            Scheme::Text => "text",
            Scheme::Frame => "frame",
            Scheme::Http => "http",
        }
    }
}

/// The listener's URL, as `Server::listen` takes it.
impl fmt::Display for ListenerSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address)?;
        f.write_str(self.path.as_deref().unwrap_or_default())
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
        let (scheme, address, path) = parse_url(url)?;
        if path.is_some() && scheme != Scheme::Websocket {
            return Err(format!(
                "{}:// has a host and a port and nothing else; only websocket:// can have a path, of the http:// listener \
                 of its address",
                scheme.name()
            ));
        }
        match (name, scheme) {
            (AppName::Page, Scheme::Http) => {}
            (AppName::Page, _) => {
                return Err(format!(
                    "page is served by http:// only, not by {}://",
                    scheme.name()
                ));
            }
            (_, Scheme::Http) => {
                return Err(format!(
                    "http:// serves page only; {name} takes websocket://, text:// or frame://"
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
            address,
            path,
            app: name,
            roles: default_roles(name),
            limits,
            proxy_protocol: false,
        })
    }

    /// The same that serves these roles alone.
    pub fn with_roles(self, roles: Roles) -> Result<ListenerSettings, String> {
        if self.app != AppName::Page {
            return Err(format!(
                "roles are what of http:// is served; {} has none",
                self.app
            ));
        }
        Ok(ListenerSettings { roles, ..self })
    }

    /// Whether its connections are users, who claim a uid or a name.
    pub fn is_for_clients(&self) -> bool {
        self.app.is_for_clients() || self.roles.has(Roles::EVENTS)
    }

    /// The same whose connections begin with a PROXY protocol header, or not.
    pub fn with_proxy_protocol(self, proxy_protocol: bool) -> Result<ListenerSettings, String> {
        if proxy_protocol && self.path.is_some() {
            return Err("proxy_protocol is that of the http:// listener of its address".to_owned());
        }
        Ok(ListenerSettings {
            proxy_protocol,
            ..self
        })
    }

    /// The same address' listener for websockets at a path.
    pub fn at_path(&self, path: &str, app: &str) -> Result<ListenerSettings, String> {
        if self.scheme != Scheme::Http {
            return Err(format!("paths are those of http://, and this is {self}"));
        }
        if !path.starts_with('/') {
            return Err(format!("the path {path:?} does not begin with a slash"));
        }
        if path == "/" {
            return Err("the path / is the page's; have another, such as /ws".to_owned());
        }
        let url = format!("websocket://{}{path}", self.address);
        let limits = ListenerLimits {
            connections_per_address_max: self.limits.connections_per_address_max,
            ..ListenerLimits::default()
        };
        ListenerSettings::parse(&url, app, limits)
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

    /// Whether only this machine can connect.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

fn parse_url(url: &str) -> Result<(Scheme, SocketAddr, Option<String>), String> {
    let example = "such as websocket://127.0.0.1:1234";
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err(format!("expected SCHEME://HOST:PORT, {example}"));
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "websocket" | "ws" => Scheme::Websocket,
        "text" => Scheme::Text,
        "frame" => Scheme::Frame,
        "http" => Scheme::Http,
        "wss" | "https" => {
            return Err(format!(
                "{scheme}:// is not served here: put a TLS proxy (nginx, HAProxy, Caddy) in front \
                 and let it forward to a {}:// listener on loopback",
                if scheme.eq_ignore_ascii_case("wss") {
                    "websocket"
                } else {
                    "http"
                }
            ));
        }
        _ => {
            return Err(format!(
                "unknown scheme {scheme:?}; expected websocket://, text://, frame:// or http://"
            ));
        }
    };
    let (rest, path) = match rest.find('/') {
        Some(at) if &rest[at..] == "/" => (&rest[..at], None),
        Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
        None => (rest, None),
    };
    let is_escaped = |byte: u8| byte.is_ascii_graphic() && !b"?#\\\"".contains(&byte);
    if rest.contains(['?', '#', '@']) || path.iter().any(|path| !path.bytes().all(is_escaped)) {
        return Err(format!(
            "a listener has a host, a port and at most a path, and nothing else, {example}"
        ));
    }
    if let Some(path) = &path
        && (TAKEN_PATHS.contains(&path.as_str()) || path.starts_with("/v1/"))
    {
        return Err(format!(
            "the path {path} is taken by what http:// serves there"
        ));
    }
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
    Ok((scheme, SocketAddr::new(parse_host(host)?, port), path))
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

/// The listeners of a preset.
pub fn of_preset(preset: Preset, public: bool) -> Vec<ListenerSettings> {
    use AppName::*;
    use Scheme::*;
    let ports: &[(Scheme, u16, AppName)] = match preset {
        Preset::Default => &[
            (Websocket, 1234, Relay),
            (Websocket, 1235, Push),
            (Text, 5678, PushBackend),
            (Websocket, 9090, Chat),
            (Http, 8080, Page),
        ],
        Preset::Push => &[(Websocket, 1234, Push), (Text, 5678, PushBackend)],
    };
    ports
        .iter()
        .map(|&(scheme, port, app)| {
            let host = match public && app.is_for_clients() {
                true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                false => IpAddr::V4(Ipv4Addr::LOCALHOST),
            };
            let limits = default_limits(app);
            ListenerSettings {
                scheme,
                address: SocketAddr::new(host, port),
                path: None,
                app,
                roles: default_roles(app),
                limits,
                proxy_protocol: false,
            }
        })
        .collect()
}

/// What is wrong with the listeners, given the rest of the settings and where each came from.
pub fn check(settings: &Settings, origins: &[ValueOrigin]) -> Vec<String> {
    let mut problems = Vec::new();
    for (index, listener) in settings.listeners.iter().enumerate() {
        let earlier = &settings.listeners[..index];
        let origin = &origins[index];
        let found = [
            check_limits(settings, listener),
            check_exposure(settings, listener),
            check_address(listener, earlier),
            check_paths(&settings.listeners, listener),
        ];
        let found = found.into_iter().filter_map(Result::err);
        problems.extend(found.map(|problem| {
            format!(
                "{origin}: listener {listener} ({}): {problem}",
                listener.app
            )
        }));
    }
    problems
}

fn check_limits(settings: &Settings, listener: &ListenerSettings) -> Result<(), String> {
    if listener.app == AppName::Page {
        return Ok(());
    }
    let config = &settings.config;
    let message = listener
        .limits
        .message_bytes_max
        .unwrap_or(config.message_bytes_max);
    let outbox = listener
        .limits
        .outbox_bytes_max
        .unwrap_or(config.outbox_bytes_max);
    let needed = message.saturating_add(OUTBOX_MESSAGE_COST + FRAMING_BYTES_MAX);
    if outbox < needed {
        return Err(format!(
            "outbox_bytes_max = {} cannot hold one largest message: message_bytes_max = {} and {} \
             bytes of framing; expected outbox_bytes_max of at least {needed}",
            show_bytes(outbox),
            show_bytes(message),
            OUTBOX_MESSAGE_COST + FRAMING_BYTES_MAX
        ));
    }
    // An outbox may be larger than the core's sum, which is what holds then; a message may not.
    if needed > config.outbox_bytes_core_max && listener.app != AppName::Echo {
        return Err(format!(
            "message_bytes_max = {} does not fit outbox_bytes_core_max = {}, the sum for a core",
            show_bytes(message),
            show_bytes(config.outbox_bytes_core_max)
        ));
    }
    if message > config.inbox_bytes_core_max && listener.app != AppName::Echo {
        return Err(format!(
            "message_bytes_max = {} does not fit inbox_bytes_core_max = {}, the sum for a core",
            show_bytes(message),
            show_bytes(config.inbox_bytes_core_max)
        ));
    }
    Ok(())
}

fn check_exposure(settings: &Settings, listener: &ListenerSettings) -> Result<(), String> {
    match listener.app {
        AppName::PushBackend if !settings.backend.asks_for_token() => {
            if !listener.is_loopback() {
                return Err(
                    "a back end can push to anybody, so this app is kept to loopback \
                            (127.0.0.1 or [::1]) unless backend.token (RINGPOST_BACKEND_TOKEN) or \
                            backend.tokens_file is set"
                    .to_owned(),
                );
            }
            // The text codec closes on what looks like a browser; a websocket is what one speaks.
            if listener.scheme == Scheme::Websocket {
                return Err(
                    "any web page opened on this machine could connect to it and push to \
                            anybody; use text:// or frame://, or set backend.token \
                            (RINGPOST_BACKEND_TOKEN)"
                        .to_owned(),
                );
            }
            if listener.proxy_protocol {
                return Err(
                    "a proxy brings others than this machine's, and a back end can push to anybody; \
                            take proxy_protocol away, or set backend.token (RINGPOST_BACKEND_TOKEN) or \
                            backend.tokens_file"
                        .to_owned(),
                );
            }
            Ok(())
        }
        AppName::Page
            if listener.proxy_protocol
                && !listener.roles.are_for_clients()
                && !settings.backend.asks_for_token() =>
        {
            Err(
                "a proxy brings others than this machine's, and without a token they could push to anybody; take \
                 proxy_protocol away, or set backend.token (RINGPOST_BACKEND_TOKEN) or backend.tokens_file"
                    .to_owned(),
            )
        }
        AppName::Page
            if !listener.is_loopback()
                && !listener.roles.are_for_clients()
                && !settings.backend.asks_for_token() =>
        {
            Err(
                "what the page's port offers (pushes, counters) would be anybody's without a token, so it is kept to loopback (127.0.0.1 or [::1]) \
                 unless backend.token (RINGPOST_BACKEND_TOKEN) or backend.tokens_file is set; or reach it through \
                 an SSH tunnel; clients that listen by /v1/events, or open websockets, get a listener of their own, with \
                 events and websocket as its only roles"
                    .to_owned(),
            )
        }
        _ => Ok(()),
    }
}

/// A listener with a path is a part of another one.
fn check_paths(all: &[ListenerSettings], listener: &ListenerSettings) -> Result<(), String> {
    let is_site =
        |one: &&ListenerSettings| one.scheme == Scheme::Http && one.address == listener.address;
    let has_websockets = listener.roles.has(Roles::WEBSOCKET);
    if listener.scheme == Scheme::Http && has_websockets {
        let mut parts = all.iter().filter(|one| one.path.is_some());
        return match parts.any(|one| one.address == listener.address) {
            true => Ok(()),
            false => Err(
                "the role websocket needs paths, such as paths = { \"/ws\" = \"push\" }, or a listener \
                 websocket://ADDRESS/ws=push"
                    .to_owned(),
            ),
        };
    }
    if listener.path.is_none() {
        return Ok(());
    }
    let mut sites = all.iter().filter(is_site);
    match (sites.next(), sites.next()) {
        // Any free port may be asked for twice.
        (_, Some(_)) => Err("more than one http:// listener has its address".to_owned()),
        (Some(site), _) if site.roles.has(Roles::WEBSOCKET) => Ok(()),
        (Some(site), _) => Err(format!(
            "the listener {site} serves {} alone; add websocket to its roles",
            site.roles
        )),
        (None, _) => Err(format!(
            "a listener with a path is served by the http:// listener of its address, and there is none: add \
             http://{}=page:websocket, or leave the path away",
            listener.address
        )),
    }
}

/// Has HTTP listeners serve the websockets that are at paths of theirs, unless their roles were chosen.
pub fn join_paths(listeners: &mut [ListenerSettings]) {
    let parts = listeners.iter().filter(|one| one.path.is_some());
    let addresses: Vec<SocketAddr> = parts.map(|one| one.address).collect();
    for site in listeners {
        if site.roles == WITHOUT_PATHS && addresses.contains(&site.address) {
            site.roles = site.roles.with(Roles::WEBSOCKET);
        }
    }
}

/// SO_REUSEPORT would let two listeners share a port, and the kernel would deal the connections out
/// between them; so we look ourselves.
fn check_address(listener: &ListenerSettings, earlier: &[ListenerSettings]) -> Result<(), String> {
    let (ip, port) = (
        listener.address.ip().to_canonical(),
        listener.address.port(),
    );
    let taken = earlier.iter().find(|other| {
        let other_ip = other.address.ip().to_canonical();
        let same = ip == other_ip || ip.is_unspecified() && other_ip.is_unspecified();
        // Of one address there are one listener and its paths.
        port != 0 && port == other.address.port() && same && listener.path == other.path
    });
    match taken {
        Some(other) => Err(format!("its address is taken by {other} ({})", other.app)),
        None => Ok(()),
    }
}

/// What to say once at start, though nothing is wrong.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let open = |is: fn(&ListenerSettings) -> bool| {
        let open = settings.listeners.iter().filter(|one| !one.is_loopback());
        let shown: Vec<String> = open
            .filter(|one| is(one))
            .map(|one| format!("{} ({one})", one.app))
            .collect();
        (!shown.is_empty()).then(|| shown.join(", "))
    };
    let mut warnings = Vec::new();
    if settings.config.auth == Auth::None
        && let Some(listeners) = open(ListenerSettings::is_for_clients)
    {
        warnings.push(format!(
            "open to other machines: {listeners}. A uid or name sent as the first message is only a \
             claim: whoever can connect can read what is sent to any uid. Set auth and auth_key_file to have \
             clients prove it"
        ));
    }
    if settings.config.trusted_proxies.is_empty()
        && let Some(listeners) = open(|one| one.proxy_protocol)
    {
        warnings.push(format!(
            "with proxy_protocol and open to other machines: {listeners}. Whoever can connect can claim \
             any address; list the proxies under trusted_proxies"
        ));
    }
    warnings.extend(hooks::warning(&settings.webhooks));
    warnings
}
