//! The header that a proxy sends first, in its two versions.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use ringpost::protocol::proxy::{HEADER_BYTES_MAX, ProxyHeader, Source};
use ringpost_fuzz::Input;

fuzz_target!(|bytes: &[u8]| {
    let Some(input) = Input::new(bytes) else {
        return;
    };
    let whole = run(std::iter::once((0, input.stream)));
    assert_eq!(run(input.pieces()), whole, "cuts change nothing");
    assert_eq!(
        run(input.stream.chunks(1).enumerate()),
        whole,
        "bytes one by one change nothing"
    );
    match whole {
        Ok(Some((source, taken))) => {
            assert!(taken <= HEADER_BYTES_MAX);
            // Nothing less is a header, and what follows it does not matter.
            assert_eq!(
                run(std::iter::once((0, &input.stream[..taken - 1]))),
                Ok(None)
            );
            assert_eq!(run(std::iter::once((0, &input.stream[..taken]))), whole);
            if let Source::Client(address) = source {
                for header in [line(address), binary(address)] {
                    let again = run(std::iter::once((0, &header[..])));
                    assert_eq!(
                        again,
                        Ok(Some((source, header.len()))),
                        "a header made of it"
                    );
                }
            }
        }
        Ok(None) => assert!(
            input.stream.len() < HEADER_BYTES_MAX,
            "a header without an end"
        ),
        Err(_) => {}
    }
});

/// The outcome, with the bytes taken of all the stream.
fn run<'a>(
    pieces: impl Iterator<Item = (usize, &'a [u8])>,
) -> Result<Option<(Source, usize)>, &'static str> {
    let mut header = ProxyHeader::default();
    // Each piece in memory of its own, so that the sanitizer sees its end.
    for (before, piece) in pieces {
        let piece = piece.to_vec();
        if let Some((source, taken)) = header.advance(&piece)? {
            assert!(taken <= piece.len());
            return Ok(Some((source, before + taken)));
        }
    }
    Ok(None)
}

/// A header of version 1 for a client at this address.
fn line(address: SocketAddr) -> Vec<u8> {
    let (kind, ip) = (
        if address.is_ipv4() { "TCP4" } else { "TCP6" },
        address.ip(),
    );
    format!("PROXY {kind} {ip} {ip} {} 1\r\n", address.port()).into_bytes()
}

/// A header of version 2 for a client at this address.
fn binary(address: SocketAddr) -> Vec<u8> {
    let (family, ip) = match address.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [address.port().to_be_bytes(), [0, 1]].concat();
    let length = (2 * ip.len() + 4) as u8;
    let head = [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family, 0, length]].concat();
    [head, ip.clone(), ip, ports].concat()
}
