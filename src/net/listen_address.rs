//! [`ListenAddress`]: where a listener is to be, or turned out to be, and how that stands in its URL.

use std::fmt;
use std::net::SocketAddr;

/// Longest name of a Unix socket (unix(7), `sun_path`, with the byte that ends it or begins it).
const NAME_BYTES_MAX: usize = 107;

/// Where a listener is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ListenAddress {
    /// An IP address and a port; port 0 takes a free one.
    Ip(SocketAddr),
    /// A Unix socket at a path, which begins with a slash.
    Path(String),
    /// A Unix socket by a name that no file has (unix(7), abstract), in the network namespace.
    Abstract(String),
    /// A socket that whoever starts the process passes to it, by its name (sd_listen_fds(3)).
    Passed(String),
}

/// An address, and the path behind it, if there is one.
pub type AddressAndPath<'u> = (ListenAddress, Option<&'u str>);

impl ListenAddress {
    /// Its IP address and port, if it has any.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            ListenAddress::Ip(address) => Some(*address),
            _ => None,
        }
    }

    /// Whether it is known to be a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, ListenAddress::Path(_) | ListenAddress::Abstract(_))
    }

    /// Whether only this machine can connect. Of a socket that is passed that is not known before.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Ip(address) => address.ip().to_canonical().is_loopback(),
            ListenAddress::Passed(_) => false,
            ListenAddress::Path(_) | ListenAddress::Abstract(_) => true,
        }
    }

    /// What its URL's scheme ends with.
    pub fn suffix(&self) -> &'static str {
        match self {
            ListenAddress::Ip(_) => "",
            ListenAddress::Passed(_) => "+fd",
            ListenAddress::Path(_) | ListenAddress::Abstract(_) => "+unix",
        }
    }

    /// Its URL, by a scheme that speaks of neither; the path, if there is one, begins with a slash.
    pub fn url(&self, scheme: &str, path: Option<&str>) -> String {
        let between = match self {
            ListenAddress::Ip(_) => "",
            _ => ":",
        };
        let (between, path) = path.map_or(("", ""), |path| (between, path));
        format!("{scheme}{}://{self}{between}{path}", self.suffix())
    }

    /// What the scheme of a URL says of its place: `text+unix` is `text`, at a Unix socket. The rest of the URL, behind
    /// `://`, is that place and a path. `None` where host and port follow.
    pub fn parse<'u>(
        scheme: &'u str,
        rest: &'u str,
    ) -> Option<(&'u str, Result<AddressAndPath<'u>, String>)> {
        if let Some(scheme) = scheme.strip_suffix("+unix") {
            return Some((scheme, unix(rest)));
        }
        let scheme = scheme.strip_suffix("+fd")?;
        Some((scheme, passed(rest)))
    }
}

/// Without a scheme: `127.0.0.1:1234`, `/run/name.sock`, `@name`, or the name of what is passed.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Ip(address) => address.fmt(f),
            ListenAddress::Path(name) | ListenAddress::Passed(name) => f.write_str(name),
            ListenAddress::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> ListenAddress {
        ListenAddress::Ip(address)
    }
}

fn unix(rest: &str) -> Result<AddressAndPath<'_>, String> {
    let (name, path) = split(rest);
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "the name of a Unix socket has at most {NAME_BYTES_MAX} bytes, and this one {}",
            name.len()
        ));
    }
    if !is_written(name) {
        return Err("a Unix socket's name has no blank and no control character here".to_owned());
    }
    match name.strip_prefix('@') {
        Some("") => Err("the name of the abstract socket is missing behind the @".to_owned()),
        Some(name) => Ok((ListenAddress::Abstract(name.to_owned()), path)),
        None if name.len() > 1 && name.starts_with('/') && !name.ends_with('/') => {
            Ok((ListenAddress::Path(name.to_owned()), path))
        }
        None => Err(
            "expected the whole path of a Unix socket, such as text+unix:///run/ringpost/back-end.sock (three \
             slashes), or @NAME for an abstract one"
                .to_owned(),
        ),
    }
}

fn passed(rest: &str) -> Result<AddressAndPath<'_>, String> {
    let (name, path) = split(rest);
    // As systemd has it: FileDescriptorName=, sd_listen_fds(3).
    if name.is_empty() || name.len() > 255 || !is_written(name) || name.contains(['/', ':']) {
        return Err(
            "expected the name of a passed socket (FileDescriptorName= of its .socket unit), such as \
             text+fd://back-end"
                .to_owned(),
        );
    }
    Ok((ListenAddress::Passed(name.to_owned()), path))
}

/// A name, and the path behind it, as nginx and others write that: `/run/name.sock:/ws`.
fn split(rest: &str) -> (&str, Option<&str>) {
    match rest.find(":/") {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    }
}

fn is_written(name: &str) -> bool {
    !name
        .chars()
        .any(|one| one.is_control() || one.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Option<(String, Result<AddressAndPath<'_>, String>)> {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (scheme, read) = ListenAddress::parse(scheme, rest)?;
        Some((scheme.to_owned(), read))
    }

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for (url, address, path) in [
            (
                "text+unix:///run/a.sock",
                ListenAddress::Path("/run/a.sock".into()),
                None,
            ),
            (
                "text+unix://@a.b",
                ListenAddress::Abstract("a.b".into()),
                None,
            ),
            ("wss+fd://web", ListenAddress::Passed("web".into()), None),
            (
                "ws+unix:///run/a.sock:/ws",
                ListenAddress::Path("/run/a.sock".into()),
                Some("/ws"),
            ),
            (
                "ws+unix://@a:/ws",
                ListenAddress::Abstract("a".into()),
                Some("/ws"),
            ),
            (
                "ws+fd://ringpost.socket:/ws",
                ListenAddress::Passed("ringpost.socket".into()),
                Some("/ws"),
            ),
        ] {
            let (scheme, read) = read(url).expect("a place");
            assert_eq!(read, Ok((address.clone(), path)), "{url}");
            assert_eq!(address.url(&scheme, path), url);
        }
        assert!(read("text://127.0.0.1:5678").is_none());
        let ip = ListenAddress::Ip(([127, 0, 0, 1], 80).into());
        assert_eq!(ip.url("ws", Some("/ws")), "ws://127.0.0.1:80/ws");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("text+unix:///{}", "x".repeat(NAME_BYTES_MAX));
        for url in [
            "text+unix://",
            "text+unix:///",
            "text+unix:///run/",
            "text+unix://run/a.sock",
            "text+unix://@",
            "text+unix:///run/a b",
            "text+unix:///run/a\n",
            "text+fd://",
            "text+fd://127.0.0.1:80",
            "text+fd:///run/a.sock",
            &long,
        ] {
            let (_, read) = read(url).expect("a place");
            assert!(read.is_err(), "{url:?}");
        }
    }
}
