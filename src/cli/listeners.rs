//! All listeners together: the presets, and the rules that they are held to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ringpost::config::{Auth, OUTBOX_MESSAGE_COST, SocketFile, TlsFiles, UNIT_HEAD_BYTES};
use ringpost::{ListenAddress, Roles};

use super::certificates;
use super::cluster;
use super::hooks;
use super::listener::{
    AppName, ListenerSettings, Scheme, WITHOUT_PATHS, default_limits, default_roles,
};
use super::settings::{Preset, Settings};
use super::value_origin::ValueOrigin;
use super::values::show_bytes;

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
                is_tls: false,
                certificates: TlsFiles::default(),
                address: SocketAddr::new(host, port).into(),
                socket_file: SocketFile::default(),
                path: None,
                app,
                roles: default_roles(app),
                limits,
                proxy_protocol: false,
                messages: None,
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
            certificates::check_listener(&settings.tls, listener),
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
    let needed = message.saturating_add(OUTBOX_MESSAGE_COST + UNIT_HEAD_BYTES);
    if outbox < needed {
        return Err(format!(
            "outbox_bytes_max = {} cannot hold one largest message: message_bytes_max = {} and {} \
             bytes of framing; expected outbox_bytes_max of at least {needed}",
            show_bytes(outbox),
            show_bytes(message),
            OUTBOX_MESSAGE_COST + UNIT_HEAD_BYTES
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
            if !listener.is_local() {
                return Err(
                    "a back end can push to anybody, so this app is kept to loopback \
                            (127.0.0.1 or [::1]) or a Unix socket unless backend.token (RINGPOST_BACKEND_TOKEN) or \
                            backend.tokens_file is set"
                    .to_owned(),
                );
            }
            // The text codec closes on what looks like a browser; a websocket is what one speaks.
            if listener.scheme == Scheme::Websocket && !listener.address.is_unix() {
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
            if !listener.is_local()
                && !listener.roles.are_for_clients()
                && !settings.backend.asks_for_token() =>
        {
            Err(
                "what the page's port offers (pushes, counters) would be anybody's without a token, so it is kept to loopback (127.0.0.1 or [::1]) or a Unix socket \
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
        (Some(site), _) if site.is_tls != listener.is_tls => Err(format!(
            "{site} has its address: write wss:// where that is https://, and websocket:// where it is http://"
        )),
        (Some(site), _) if site.roles.has(Roles::WEBSOCKET) => Ok(()),
        (Some(site), _) => Err(format!(
            "the listener {site} serves {} alone; add websocket to its roles",
            site.roles
        )),
        (None, _) => Err(format!(
            "a listener with a path is served by the http:// listener of its address, and there is none: add \
             {}=page:websocket, or leave the path away",
            listener
                .address
                .url(Scheme::Http.name(listener.is_tls), None)
        )),
    }
}

/// Has HTTP listeners serve the websockets that are at paths of theirs, unless their roles were chosen.
pub fn join_paths(listeners: &mut [ListenerSettings]) {
    let parts = listeners.iter().filter(|one| one.path.is_some());
    let addresses: Vec<ListenAddress> = parts.map(|one| one.address.clone()).collect();
    for site in listeners {
        if site.roles == WITHOUT_PATHS && addresses.contains(&site.address) {
            site.roles = site.roles.with(Roles::WEBSOCKET);
        }
    }
}

/// SO_REUSEPORT would let two listeners share a port, and the kernel would deal the connections out
/// between them; so we look ourselves.
fn check_address(listener: &ListenerSettings, earlier: &[ListenerSettings]) -> Result<(), String> {
    let taken = earlier.iter().find(|other| {
        // Of one address there are one listener and its paths.
        listener.path == other.path && is_one_place(&listener.address, &other.address)
    });
    match taken {
        Some(other) => Err(format!("its address is taken by {other} ({})", other.app)),
        None => Ok(()),
    }
}

fn is_one_place(one: &ListenAddress, other: &ListenAddress) -> bool {
    let (ListenAddress::Ip(own), ListenAddress::Ip(theirs)) = (one, other) else {
        return one == other;
    };
    let (ip, other_ip) = (own.ip().to_canonical(), theirs.ip().to_canonical());
    let same = ip == other_ip || ip.is_unspecified() && other_ip.is_unspecified();
    own.port() != 0 && own.port() == theirs.port() && same
}

/// What to say once at start, though nothing is wrong.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let open = |is: fn(&ListenerSettings) -> bool| {
        let open = settings.listeners.iter().filter(|one| !one.is_local());
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
    warnings.extend(cluster::warning(&settings.cluster));
    warnings
}
