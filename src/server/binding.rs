//! Listening sockets, bound once a core at the server's start, and what is told of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use serde_json::json;
use tracing::warn;

use super::layout::{Layout, Listeners, SiteListener};
use super::listen::{Listen, Listening, scheme};
use super::namespaces::NamespaceNumbers;
use super::start_error;
use crate::config::Config;
use crate::net::admission::Pool;
use crate::net::handover::Handover;
use crate::net::http::{Facts, SITE};
use crate::net::listener::{KeepaliveMode, Listener};
use crate::protocol::Codec;
use crate::tls::TlsListeners;

/// One core's listening sockets.
pub struct Bound {
    /// In the order of the specs: the apps', then the sites'.
    pub listeners: Vec<Listener>,
    /// How connections move, where each core has a descriptor table of its own.
    pub handover: Option<Handover>,
}

/// Binds every listener once a core. The first core's decides the port where 0 was asked for.
pub fn bind_all(
    listeners: &Listeners,
    namespaces: &NamespaceNumbers,
    cores: usize,
    config: &Config,
) -> io::Result<(Vec<Bound>, Vec<Listening>)> {
    let mut bound: Vec<Bound> = (0..cores)
        .map(|_| Bound {
            listeners: Vec::new(),
            handover: None,
        })
        .collect();
    let mut listening = Vec::new();
    let idles = !config.idle_timeout.is_zero();
    let apps = listeners
        .apps
        .iter()
        .map(|app| (&app.listen, Some(&app.spec)));
    let sites = listeners.sites.iter().map(|site| (&site.listen, None));
    for (listen, spec) in apps.chain(sites) {
        let mut address = address_of(listen)?;
        let watch = match spec {
            Some(spec) if spec.pauses => KeepaliveMode::Silence,
            Some(spec) if spec.binds && idles => KeepaliveMode::Sent,
            _ => KeepaliveMode::SentAndSilence,
        };
        // A proxy, or a client of HTTP. To others the app may have something to say.
        let first = listen.proxy_protocol
            || listen.has_tls()
            || spec.is_none_or(|spec| matches!(spec.codec, Codec::WebSocket | Codec::Http));
        for of_core in &mut bound {
            let listener = Listener::bind(address, config.send_buffer_bytes, watch, first)
                .map_err(|error| refused(&listen.url, &error))?;
            address = listener.address()?;
            of_core.listeners.push(listener);
        }
        let namespace = spec.map_or(SITE, |spec| namespaces.name(spec.namespace));
        let codec = spec.map_or(Codec::Http, |spec| spec.codec);
        let scheme = scheme(codec, listen.has_tls());
        listening.push(Listening {
            namespace,
            url: format!("{scheme}://{address}"),
            address,
        });
    }
    Ok((bound, listening))
}

/// Where to bind it: not in IPv6 where the machine has none, and not where another listens.
fn address_of(listen: &Listen) -> io::Result<SocketAddr> {
    let mut address = listen.address()?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !Listener::has_ipv6() {
        address.set_ip(Ipv4Addr::UNSPECIFIED.into());
        warn!(
            "this machine has no IPv6: {} listens on {address} instead, every IPv4 address",
            listen.url
        );
    }
    if address.port() != 0 {
        Listener::check_free(address).map_err(|error| refused(&listen.url, &error))?;
    }
    Ok(address)
}

/// Without tokens whoever reaches a site can push to anybody, unless it is for clients alone. `listening` are the
/// sites' own.
pub fn keep_sites_to_loopback(listening: &[Listening], sites: &[SiteListener]) -> io::Result<()> {
    let is_open = |one: &Listening| !one.address.ip().to_canonical().is_loopback();
    let open = listening
        .iter()
        .zip(sites)
        .find(|(one, asked)| is_open(one) && !asked.site.roles.are_for_clients());
    open.map_or(Ok(()), |(one, _)| {
        let text = format!(
            "{}: whoever reaches it could push to anybody; keep it to loopback, or give the server tokens of \
             back ends",
            one.url
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    })
}

fn refused(url: &str, error: &io::Error) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there (see: ss -ltnp)",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need a privilege (CAP_NET_BIND_SERVICE)"
        }
        io::ErrorKind::AddrNotAvailable => "; this machine does not have that address",
        _ if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
            "; this machine has no IPv6: write 127.0.0.1 for [::1]"
        }
        _ => return start_error::named(&format!("cannot listen on {url}"), error),
    };
    io::Error::new(
        error.kind(),
        format!("cannot listen on {url}: {error}{hint}"),
    )
}

/// The apps' listeners, for the page: each with its app, its address, and whether it asks for a token, a client's or, if
/// back ends have `tokens`, theirs.
pub fn to_json(listening: &[Listening], layout: &Layout, tokens: bool) -> String {
    let apps: Vec<_> = listening
        .iter()
        .zip(&layout.specs)
        .zip(&layout.doors)
        .filter(|((one, _), _)| one.namespace != SITE)
        .map(|((one, spec), door)| {
            let token = spec.proves || tokens && door.pool == Pool::BackEnds;
            json!({"app": one.namespace, "url": one.url, "token": token})
        })
        .collect();
    format!("{}\n", serde_json::Value::from(apps))
}

/// The listeners by number, and when the server started, for its metrics.
pub fn facts(listening: &[Listening], tls: Option<Arc<TlsListeners>>) -> Arc<Facts> {
    let listeners = listening.iter().map(|one| (one.namespace, one.url.clone()));
    Arc::new(Facts::new(listeners.collect(), tls))
}
