//! [`Target`]: the server's listener that a run speaks to, from its URL.

use std::net::{SocketAddr, ToSocketAddrs};

use super::address::Address;
use super::codec::Codec;
use super::tls::Tickets;

/// A listener and how to speak to it.
#[derive(Clone, Debug)]
pub struct Target {
    /// As given, for people.
    pub url: String,
    pub codec: Codec,
    /// Whether it is spoken to by TLS, and with which tickets.
    pub tls: Option<Tickets>,
    pub address: Address,
    /// What the upgrade asks for, and of whom.
    pub host: String,
    pub path: String,
}

impl Target {
    /// Reads `ws://HOST:PORT/PATH`, `text://HOST:PORT`, `frame://HOST:PORT` or, for a server that
    /// sends back what it gets, `bare://HOST:PORT`, or one of `wss://`, `https://`, `tls+text://` and `tls+frame://`, and
    /// looks the host up. With `+unix` behind the scheme a path of this machine follows, or an abstract name behind `@`,
    /// and behind another colon the path that the upgrade asks for.
    pub fn parse(url: &str) -> Result<Target, String> {
        let expected = "expected ws://HOST:PORT, text://HOST:PORT, frame://HOST:PORT, or by TLS wss://, \
                        tls+text://, tls+frame://";
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(format!("--url \"{url}\" has no scheme: {expected}"));
        };
        let (scheme, is_unix) = match scheme.strip_suffix("+unix") {
            Some(scheme) => (scheme, true),
            None => (scheme, false),
        };
        let (codec, secure) = match scheme {
            "ws" | "websocket" => (Codec::Websocket, false),
            "text" => (Codec::Text, false),
            "frame" => (Codec::Frame, false),
            "bare" => (Codec::Bare, false),
            "http" => (Codec::Http, false),
            "wss" => (Codec::Websocket, true),
            "tls+text" => (Codec::Text, true),
            "tls+frame" => (Codec::Frame, true),
            "https" => (Codec::Http, true),
            _ => return Err(format!("--url \"{url}\": {expected}")),
        };
        let tls = secure.then_some(Tickets::Unused);
        if is_unix {
            let (socket, path) = rest.split_once(':').unwrap_or((rest, "/"));
            if !socket.starts_with(['/', '@']) || url.contains(char::is_control) {
                let url = url.escape_debug();
                return Err(format!(
                    "--url \"{url}\": expected {scheme}+unix:///PATH or {scheme}+unix://@NAME"
                ));
            }
            return Ok(Target {
                url: url.to_owned(),
                codec,
                tls,
                address: Address::Unix(socket.into()),
                host: "localhost".to_owned(),
                path: path.to_owned(),
            });
        }
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let odd = |c: char| c.is_control() || c == ' ';
        if host.is_empty() || url.contains(odd) {
            return Err(format!("--url \"{}\": {expected}", url.escape_debug()));
        }
        let host = match (host.contains("]") && !host.ends_with(']')) || has_port(host) {
            true => host.to_owned(),
            false if matches!(codec, Codec::Websocket | Codec::Http) => {
                format!("{host}:{}", if secure { 443 } else { 80 })
            }
            false => return Err(format!("--url \"{url}\" has no port: {expected}")),
        };
        Ok(Target {
            url: url.to_owned(),
            codec,
            tls,
            address: Address::Tcp(resolve(&host)?),
            host,
            path: path.to_owned(),
        })
    }

    /// A back end's port.
    pub fn backend(address: &str) -> Result<Target, String> {
        let url = match address.strip_prefix("unix://") {
            Some(socket) => format!("text+unix://{socket}"),
            None if address.contains("://") => address.to_owned(),
            None => format!("text://{address}"),
        };
        let target = Target::parse(&url);
        let target = target.and_then(|target| match target.codec {
            Codec::Text => Ok(target),
            _ => Err(format!(
                "--url \"{url}\": expected HOST:PORT, unix:///PATH, text://HOST:PORT or tls+text://HOST:PORT"
            )),
        });
        target.map_err(|error| error.replacen("--url", "--backend", 1))
    }
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// A wildcard is where a server listens and not where it is met: the loopback of its kind is.
fn resolve(host: &str) -> Result<SocketAddr, String> {
    let mut address = host
        .to_socket_addrs()
        .map_err(|error| format!("cannot look up \"{host}\": {error}"))?
        .next()
        .ok_or_else(|| format!("\"{host}\" has no address"))?;
    if address.ip().is_unspecified() {
        // A dual-stack listener takes IPv4, which has many loopback addresses to come from.
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_codec() {
        let target = Target::parse("ws://127.0.0.1:1234/chat?x=1").unwrap();
        assert_eq!(target.codec, Codec::Websocket);
        assert_eq!(target.address.tcp().unwrap().to_string(), "127.0.0.1:1234");
        assert_eq!(target.path, "/chat?x=1");
        assert_eq!(target.host, "127.0.0.1:1234");
        let address = |url| {
            let target = Target::parse(url).unwrap();
            target.address.tcp().unwrap().to_string()
        };
        assert_eq!(address("websocket://127.0.0.1"), "127.0.0.1:80");
        assert_eq!(address("frame://[::1]:7"), "[::1]:7");
        assert_eq!(address("wss://127.0.0.1/ws"), "127.0.0.1:443");
        let tls = |url| Target::parse(url).unwrap().tls.is_some();
        assert!(tls("wss://127.0.0.1:1") && tls("https://127.0.0.1:1") && !tls("ws://127.0.0.1:1"));
        assert!(
            Target::backend("tls+text://127.0.0.1:1")
                .unwrap()
                .tls
                .is_some()
        );
        assert!(Target::backend("ws://127.0.0.1:1").is_err());
        assert_eq!(address("text://[::]:7"), "127.0.0.1:7");
        assert_eq!(
            Target::backend("127.0.0.1:5678").unwrap().codec,
            Codec::Text
        );
    }

    #[test]
    fn sockets_of_this_machine() {
        for (url, socket, path) in [
            ("ws+unix:///run/web.sock:/ws", "/run/web.sock", "/ws"),
            ("wss+unix:///run/web.sock", "/run/web.sock", "/"),
            ("text+unix://@name", "@name", "/"),
        ] {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.address, Address::Unix(socket.into()), "{url}");
            assert_eq!(target.path, path, "{url}");
        }
        let backend = Target::backend("unix:///run/b.sock").unwrap();
        assert_eq!(backend.codec, Codec::Text);
        assert_eq!(backend.address, Address::Unix("/run/b.sock".into()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (url, words) in [
            ("127.0.0.1:1234", "no scheme"),
            ("gopher://127.0.0.1:1", "expected ws://"),
            ("text://127.0.0.1", "no port"),
            ("ws://", "expected ws://"),
            ("ws://a b:1", "expected ws://"),
            ("ws+unix://run/web.sock", "expected ws+unix:///PATH"),
        ] {
            let error = Target::parse(url).unwrap_err();
            assert!(error.contains(words), "{url}: {error}");
        }
    }
}
