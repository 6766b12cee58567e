//! The header that a proxy sends before a connection's own bytes (the PROXY protocol, versions 1 and 2): who
//! is at the far end of it.
//!
//! Bound: [`HEADER_BYTES_MAX`], kept only if it comes in pieces. Called by the transport on listeners that are
//! configured for it; there it must come first, so bytes that cannot be its beginning are refused at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Largest header taken. Its own parts need 232 bytes; the rest is what proxies add about TLS and the like.
pub const HEADER_BYTES_MAX: usize = 4 << 10;

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
/// What comes before the addresses in version 2: signature, command, family, length.
const HEAD_BYTES: usize = 16;

/// Who is at the far end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The client at this address.
    Client(SocketAddr),
    /// The proxy itself, as in a health check; or someone whose address it does not know.
    Proxy,
}

/// A header under way.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "WrittenProxyHeader")]
pub struct ProxyHeader {
    held: Vec<u8>,
}

/// What was written down of one, which may be anything.
#[derive(Deserialize)]
struct WrittenProxyHeader {
    held: Vec<u8>,
}

impl TryFrom<WrittenProxyHeader> for ProxyHeader {
    type Error = &'static str;

    fn try_from(written: WrittenProxyHeader) -> Result<ProxyHeader, &'static str> {
        let mut header = ProxyHeader::default();
        match header.advance(&written.held)? {
            None => Ok(header),
            Some(_) => Err("half a PROXY header that is a whole one"),
        }
    }
}

impl ProxyHeader {
    /// Takes what has come: who it is, and how many bytes of this input belonged to the header. `None` means
    /// that all of it was taken and more is needed. Not called again after an outcome.
    pub fn advance(&mut self, input: &[u8]) -> Result<Option<(Source, usize)>, &'static str> {
        let held = self.held.len();
        if held == 0 {
            let outcome = parse(input)?;
            if outcome.is_none() {
                self.held.extend_from_slice(input);
            }
            return Ok(outcome);
        }
        // A header that needs more is shorter than the bound.
        let room = HEADER_BYTES_MAX - held;
        self.held.extend_from_slice(&input[..input.len().min(room)]);
        let outcome = parse(&self.held)?;
        Ok(outcome.map(|(source, length)| (source, length - held)))
    }

    /// Heap bytes kept.
    pub fn bytes_held(&self) -> usize {
        self.held.capacity()
    }
}

/// The header at the start of `bytes` and its length; `None` if more bytes are needed.
fn parse(bytes: &[u8]) -> Result<Option<(Source, usize)>, &'static str> {
    let may_be = |signature: &[u8]| bytes.iter().zip(signature).all(|(one, other)| one == other);
    if may_be(SIGNATURE_2) {
        parse_2(bytes)
    } else if may_be(SIGNATURE_1) {
        parse_1(bytes)
    } else {
        Err("no PROXY protocol header")
    }
}

/// Version 1: a line of text.
fn parse_1(bytes: &[u8]) -> Result<Option<(Source, usize)>, &'static str> {
    const MALFORMED: &str = "a malformed PROXY line";
    let part = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = part.iter().position(|byte| *byte == b'\n') else {
        return match part.len() {
            LINE_BYTES_MAX => Err("a PROXY line without an end"),
            _ => Ok(None),
        };
    };
    let line = part[..end].strip_suffix(b"\r").ok_or(MALFORMED)?;
    let line = std::str::from_utf8(line).map_err(|_| MALFORMED)?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words[..] {
        // Whatever follows is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Source::Proxy,
        ["PROXY", "TCP4", source, destination, from, to] => {
            let addresses: [Option<Ipv4Addr>; 2] =
                [source, destination].map(|one| one.parse().ok());
            client(addresses.map(|one| one.map(IpAddr::V4)), from, to).ok_or(MALFORMED)?
        }
        ["PROXY", "TCP6", source, destination, from, to] => {
            let addresses: [Option<Ipv6Addr>; 2] =
                [source, destination].map(|one| one.parse().ok());
            client(addresses.map(|one| one.map(IpAddr::V6)), from, to).ok_or(MALFORMED)?
        }
        _ => return Err(MALFORMED),
    };
    Ok(Some((source, end + 1)))
}

fn client(addresses: [Option<IpAddr>; 2], from: &str, to: &str) -> Option<Source> {
    let port = |text: &str| {
        let number: u16 = text.parse().ok()?;
        // No sign, no zeros before it.
        (number.to_string() == text).then_some(number)
    };
    let ([Some(source), Some(_)], Some(from), Some(_)) = (addresses, port(from), port(to)) else {
        return None;
    };
    Some(Source::Client(SocketAddr::new(source, from)))
}

/// Version 2: binary, with a length.
fn parse_2(bytes: &[u8]) -> Result<Option<(Source, usize)>, &'static str> {
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let [command, family] = [head[12], head[13]];
    if !matches!(command, 0x20 | 0x21) {
        return Err("a PROXY header of an unknown version or command");
    }
    let length = HEAD_BYTES + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if length > HEADER_BYTES_MAX {
        return Err("a PROXY header that is too long");
    }
    let Some(rest) = bytes.get(HEAD_BYTES..length) else {
        return Ok(None);
    };
    if command == 0x20 {
        // LOCAL: the rest is to be ignored, whatever it is.
        return Ok(Some((Source::Proxy, length)));
    }
    const SHORT: &str = "a PROXY header too short for its addresses";
    let (source, additions) = match family {
        // TCP over IPv4: both addresses, then both ports.
        0x11 => {
            let (all, additions) = rest.split_first_chunk::<12>().ok_or(SHORT)?;
            let ip = Ipv4Addr::new(all[0], all[1], all[2], all[3]);
            let port = u16::from_be_bytes([all[8], all[9]]);
            (Source::Client(SocketAddr::from((ip, port))), additions)
        }
        // TCP over IPv6.
        0x21 => {
            let (all, additions) = rest.split_first_chunk::<36>().ok_or(SHORT)?;
            let mut ip = [0; 16];
            ip.copy_from_slice(&all[..16]);
            let port = u16::from_be_bytes([all[32], all[33]]);
            (Source::Client(SocketAddr::from((ip, port))), additions)
        }
        // A stream over a Unix socket, which has no address of use here.
        0x31 => (Source::Proxy, rest.get(216..).ok_or(SHORT)?),
        // Unspecified: the rest is to be ignored.
        0x00 => (Source::Proxy, &[][..]),
        _ => return Err("a PROXY header for something that is not TCP"),
    };
    check_additions(additions)?;
    Ok(Some((source, length)))
}

/// What follows the addresses, each a type and a length before it, fills the header exactly.
fn check_additions(mut bytes: &[u8]) -> Result<(), &'static str> {
    while !bytes.is_empty() {
        let after = bytes.split_first_chunk::<3>().and_then(|(head, rest)| {
            rest.get(usize::from(u16::from_be_bytes([head[1], head[2]]))..)
        });
        bytes = after.ok_or("a PROXY header with a part that does not fit it")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn header_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE_2.to_vec();
        bytes.extend([command, family]);
        bytes.extend((rest.len() as u16).to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn of(address: &str) -> Source {
        Source::Client(address.parse().unwrap())
    }

    const V4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn v6() -> Vec<u8> {
        let mut all = Ipv6Addr::from(0x2001_0db8_u128 << 96 | 9).octets().to_vec();
        all.extend(Ipv6Addr::LOCALHOST.octets());
        all.extend([0x12, 0x34, 0, 80]);
        all
    }

    #[test]
    fn headers_as_proxies_send_them() {
        let noop = [&V4[..], &[4, 0, 2, 9, 9, 1, 0, 0]].concat();
        let unix = [0; 216];
        for (bytes, source) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(),
                of("192.0.2.7:4660"),
            ),
            (
                b"PROXY TCP6 2001:db8::9 ::1 4660 80\r\n".to_vec(),
                of("[2001:db8::9]:4660"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Proxy),
            (
                b"PROXY UNKNOWN ffff:: some words 0 0\r\n".to_vec(),
                Source::Proxy,
            ),
            (header_2(0x21, 0x11, &V4), of("192.0.2.7:4660")),
            (header_2(0x21, 0x21, &v6()), of("[2001:db8::9]:4660")),
            (header_2(0x21, 0x11, &noop), of("192.0.2.7:4660")),
            (header_2(0x21, 0x31, &unix), Source::Proxy),
            (header_2(0x21, 0x00, &[]), Source::Proxy),
            (header_2(0x21, 0x00, b"ignored"), Source::Proxy),
            (header_2(0x20, 0x00, &[]), Source::Proxy),
            // Whatever a LOCAL header says beside that.
            (header_2(0x20, 0x11, &[]), Source::Proxy),
            (header_2(0x20, 0x77, b"ignored"), Source::Proxy),
        ] {
            let outcome = Ok(Some((source, bytes.len())));
            let followed = [&bytes[..], b"GET / HTTP/1.1"].concat();
            assert_eq!(
                ProxyHeader::default().advance(&followed),
                outcome,
                "{bytes:?}"
            );
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let overhanging = [&V4[..], &[4, 0, 2, 9]].concat();
        let cut = [&V4[..], &[4, 0]].concat();
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXX".to_vec(),
            b"\r\n\r\n\0\r\nQUIX".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80 \r\n".to_vec(),
            b"PROXY TCP4  192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 04660 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 +4660 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 65536\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.256 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 name 4660 80\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::9 ::1 4660 80\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec(),
            b"PROXY UNKNOWNS\r\n".to_vec(),
            b"PROXY \xff\r\n".to_vec(),
            [b"PROXY UNKNOWN ", &[b'x'; LINE_BYTES_MAX][..]].concat(),
            header_2(0x11, 0x11, &V4),
            header_2(0x22, 0x11, &V4),
            header_2(0x21, 0x11, &V4[..11]),
            header_2(0x21, 0x21, &v6()[..35]),
            header_2(0x21, 0x31, &[0; 215]),
            header_2(0x21, 0x12, &V4),
            header_2(0x21, 0x13, &V4),
            header_2(0x21, 0x41, &V4),
            header_2(0x21, 0x11, &overhanging),
            header_2(0x21, 0x11, &cut),
        ] {
            let outcome = ProxyHeader::default().advance(&bytes);
            assert!(outcome.is_err(), "{outcome:?} for {bytes:?}");
        }
    }

    #[test]
    fn its_length_is_bounded() {
        let longest = HEADER_BYTES_MAX - HEAD_BYTES;
        for (length, is_taken) in [(longest - 1, true), (longest, true), (longest + 1, false)] {
            let bytes = header_2(0x20, 0, &vec![0; length]);
            let outcome = ProxyHeader::default().advance(&bytes);
            assert_eq!(outcome.is_ok(), is_taken, "{length}");
            // It is refused by its length, before its bytes have come.
            assert_eq!(
                ProxyHeader::default().advance(&bytes[..HEAD_BYTES]).is_ok(),
                is_taken
            );
        }
        let line = |spaces: usize| format!("PROXY UNKNOWN{}\r\n", " ".repeat(spaces));
        for (length, is_taken) in [(106, true), (107, true), (108, false)] {
            let outcome = ProxyHeader::default().advance(line(length - 15).as_bytes());
            assert_eq!(outcome.is_ok(), is_taken, "{length}");
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            start in prop_oneof![
                Just(SIGNATURE_1.to_vec()),
                Just(b"PROXY TCP4 192.0.2.7 10.0.0.1 4660 80\r\n".to_vec()),
                Just(header_2(0x21, 0x11, &V4)),
                Just(header_2(0x21, 0x21, &[&v6()[..], &[4, 0, 1, 7]].concat())),
                Just(header_2(0x20, 0, &[0; 300])),
                Just(header_2(0x21, 0x11, &V4)[..14].to_vec()),
                Just(Vec::new()),
            ],
            more in vec(any::<u8>(), 0..200),
            noise in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
            cuts in vec(1..60usize, 1..6),
        ) {
            let mut stream = [start, more].concat();
            if let Some((at, byte)) = noise && !stream.is_empty() {
                let at = at.index(stream.len());
                stream[at] = byte;
            }
            let whole = ProxyHeader::default().advance(&stream);
            let mut header = ProxyHeader::default();
            let mut rest = &stream[..];
            let mut cuts = cuts.iter().cycle();
            let pieces = loop {
                let length = cuts.next().copied().unwrap_or(1).min(rest.len());
                match header.advance(&rest[..length]) {
                    Ok(None) if length < rest.len() => rest = &rest[length..],
                    Ok(Some((source, taken))) => {
                        break Ok(Some((source, stream.len() - rest.len() + taken)));
                    }
                    outcome => break outcome,
                }
            };
            prop_assert_eq!(pieces, whole);
        }
    }
}
