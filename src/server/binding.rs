//! Listening sockets, bound once a core at the server's start, and what is told of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use serde_json::json;
use tracing::warn;

use super::layout::{Layout, Listeners, SiteListener};
use super::listen::{Listen, Listening, scheme};
use super::namespaces::NamespaceNumbers;
use super::passed::PassedSockets;
use super::start_error;
use super::upgrade::InheritedSockets;
use crate::config::Config;
use crate::net::admission::Pool;
use crate::net::handover::Handover;
use crate::net::http::{Facts, SITE};
use crate::net::listen_address::ListenAddress;
use crate::net::listener::{AcceptOptions, KeepaliveMode, Listener};
use crate::net::unix_socket::{self, ClaimedPath};
use crate::protocol::Codec;
use crate::tls::TlsListeners;

/// One core's listening sockets.
pub struct Bound {
    /// In the order of the specs: the apps', then the sites'. Of those of a process before there may be several.
    pub listeners: Vec<CoreListener>,
    /// How connections move, where each core has a descriptor table of its own.
    pub handover: Option<Handover>,
    /// How descriptors come from the server's table, and go there, where each core has one of its own.
    pub lane: Option<UnixStream>,
}

/// A listening socket of a core's.
pub struct CoreListener {
    /// Of what is listened on.
    pub number: u16,
    pub socket: Listener,
}

impl Bound {
    fn add(&mut self, number: u16, socket: Listener) {
        self.listeners.push(CoreListener { number, socket });
    }
}

/// What all cores have together.
pub struct Together {
    /// In the order of the specs: the apps', then the sites'.
    pub listening: Vec<Listening>,
    /// Files of Unix sockets, to be removed at the end.
    pub claimed: Vec<ClaimedPath>,
    /// Those of a process before, to be claimed when that has gone.
    pub to_claim: Vec<ListenAddress>,
}

/// Binds every listener, once a core where the kernel spreads connections by address. The first core's decides the port
/// where 0 was asked for.
pub fn bind_all(
    listeners: &Listeners,
    namespaces: &NamespaceNumbers,
    cores: usize,
    config: &Config,
    inherited: &mut InheritedSockets,
) -> io::Result<(Vec<Bound>, Together)> {
    let mut bound: Vec<Bound> = (0..cores)
        .map(|_| Bound {
            listeners: Vec::new(),
            handover: None,
            lane: None,
        })
        .collect();
    let mut together = Together {
        listening: Vec::new(),
        claimed: Vec::new(),
        to_claim: Vec::new(),
    };
    let mut passed = PassedSockets::take()?;
    let idles = !config.idle_timeout.is_zero();
    let apps = listeners
        .apps
        .iter()
        .map(|app| (&app.listen, Some(&app.spec)));
    let sites = listeners.sites.iter().map(|site| (&site.listen, None));
    for (number, (listen, spec)) in apps.chain(sites).enumerate() {
        let number = number as u16;
        let watch = match spec {
            Some(spec) if spec.pauses => KeepaliveMode::Silence,
            Some(spec) if spec.binds && idles => KeepaliveMode::Sent,
            _ => KeepaliveMode::SentAndSilence,
        };
        // A proxy, or a client of HTTP. To others the app may have something to say.
        let first = listen.proxy_protocol
            || listen.has_tls()
            || spec.is_none_or(|spec| matches!(spec.codec, Codec::WebSocket | Codec::Http));
        let options = AcceptOptions {
            send_buffer_bytes: config.send_buffer_bytes,
            watch,
            first,
        };
        let asked = address_of(listen)?;
        let sockets = inherited.take(listen, &asked);
        let address = if sockets.is_empty() {
            check_free(listen, &asked)?;
            match asked {
                ListenAddress::Ip(address) => {
                    on_each(&mut bound, number, listen, address, options)?
                }
                ListenAddress::Passed(name) => {
                    let listener = passed.listener(&name, cores, options);
                    let listener = listener.map_err(|error| of(listen, error))?;
                    share(&mut bound, number, listener)?
                }
                address => {
                    let (listener, claimed) = at_unix(listen, &address, cores, options)?;
                    together.claimed.extend(claimed);
                    share(&mut bound, number, listener)?
                }
            }
        } else {
            let address = inherit(&mut bound, number, &asked, sockets, options);
            let address = address.map_err(|error| of(listen, error))?;
            together.to_claim.push(address.clone());
            address
        };
        let namespace = spec.map_or(SITE, |spec| namespaces.name(spec.namespace));
        let codec = spec.map_or(Codec::Http, |spec| spec.codec);
        together.listening.push(Listening {
            namespace,
            url: address.url(scheme(codec, listen.has_tls()), None),
            address,
        });
    }
    passed.check_left()?;
    Ok((bound, together))
}

/// Each core's own socket for an address.
fn on_each(
    bound: &mut [Bound],
    number: u16,
    listen: &Listen,
    mut address: SocketAddr,
    options: AcceptOptions,
) -> io::Result<ListenAddress> {
    let refused = |error: io::Error| refused(&listen.url, &error);
    for of_core in bound {
        let listener = Listener::bind(address, options).map_err(refused)?;
        if let Some(actual) = listener.address()?.ip() {
            address = actual;
        }
        of_core.add(number, listener);
    }
    Ok(ListenAddress::Ip(address))
}

/// Each core's copy of a socket.
fn share(bound: &mut [Bound], number: u16, listener: Listener) -> io::Result<ListenAddress> {
    let address = listener.address()?;
    let (last, others) = bound.split_last_mut().ok_or(io::ErrorKind::InvalidInput)?;
    for of_core in others {
        of_core.add(number, listener.share()?);
    }
    last.add(number, listener);
    Ok(address)
}

/// What a process before has listened at. No socket is given up, or what waits in its queue would be: where there are
/// more than cores, a core has several; where there are fewer, cores have the same.
fn inherit(
    bound: &mut [Bound],
    number: u16,
    asked: &ListenAddress,
    mut sockets: Vec<OwnedFd>,
    options: AcceptOptions,
) -> io::Result<ListenAddress> {
    let cores = bound.len();
    if asked.ip().is_none() {
        let is_passed = matches!(asked, ListenAddress::Passed(_));
        let listener = Listener::inherited_by_all(sockets.remove(0), cores, is_passed, options)?;
        return share(bound, number, listener);
    }
    let listeners: Vec<Listener> = sockets.into_iter().map(Listener::inherited).collect();
    let address = listeners[0].address()?;
    for core in listeners.len()..cores {
        let copy = listeners[core % listeners.len()].share()?;
        bound[core].add(number, copy);
    }
    for (core, listener) in (0..cores).cycle().zip(listeners) {
        bound[core].add(number, listener);
    }
    Ok(address)
}

fn at_unix(
    listen: &Listen,
    address: &ListenAddress,
    cores: usize,
    options: AcceptOptions,
) -> io::Result<(Listener, Option<ClaimedPath>)> {
    let bound = unix_socket::bind(address, &listen.socket_file);
    let (socket, claimed) = bound.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => {
                "; its directory has to be there (RuntimeDirectory=ringpost in a service makes /run/ringpost)"
            }
            io::ErrorKind::PermissionDenied => "; it takes the right to write into its directory",
            io::ErrorKind::AddrInUse => "; another process has that name (see: ss -xlp)",
            _ => "",
        };
        of(listen, io::Error::new(error.kind(), format!("{error}{hint}")))
    })?;
    Ok((Listener::at_unix(socket, cores, options)?, claimed))
}

fn of(listen: &Listen, error: io::Error) -> io::Error {
    let text = format!("cannot listen on {}: {error}", listen.url);
    io::Error::new(error.kind(), text)
}

/// Where to bind it: not in IPv6 where the machine has none.
fn address_of(listen: &Listen) -> io::Result<ListenAddress> {
    let mut address = match listen.address()? {
        ListenAddress::Ip(address) => address,
        other => return Ok(other),
    };
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !Listener::has_ipv6() {
        address.set_ip(Ipv4Addr::UNSPECIFIED.into());
        warn!(
            "this machine has no IPv6: {} listens on {address} instead, every IPv4 address",
            listen.url
        );
    }
    Ok(ListenAddress::Ip(address))
}

/// An error if another process listens there.
fn check_free(listen: &Listen, address: &ListenAddress) -> io::Result<()> {
    match address.ip() {
        Some(address) if address.port() != 0 => {
            Listener::check_free(address).map_err(|error| refused(&listen.url, &error))
        }
        _ => Ok(()),
    }
}

/// Without tokens whoever reaches a site can push to anybody, unless it is for clients alone. `listening` are the
/// sites' own.
pub fn keep_sites_to_loopback(listening: &[Listening], sites: &[SiteListener]) -> io::Result<()> {
    let is_open = |one: &Listening| !one.address.is_local();
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

/// The apps' listeners that browsers may reach, for the page: each with its app, its address, and whether it asks for a token, a client's or, if
/// back ends have `tokens`, theirs.
pub fn to_json(listening: &[Listening], layout: &Layout, tokens: bool) -> String {
    let apps: Vec<_> = listening
        .iter()
        .zip(&layout.specs)
        .zip(&layout.doors)
        // No browser reaches a Unix socket.
        .filter(|((one, _), _)| one.namespace != SITE && one.address.ip().is_some())
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
