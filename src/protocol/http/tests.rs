//! The head and body checks against the requests that make two servers disagree, and against cuts.

use proptest::collection::vec;
use proptest::prelude::*;

use super::head::FIELDS_MAX;
use super::*;
use crate::config::REQUEST_HEAD_BYTES_DEFAULT;

fn check(bytes: &[u8]) -> Result<Option<Head<'_>>, HttpError> {
    check_head(&mut HeadScan::new(REQUEST_HEAD_BYTES_DEFAULT), bytes)
}

fn status(bytes: &[u8]) -> u16 {
    match check(bytes) {
        Ok(Some(_)) => 200,
        Ok(None) => 0,
        Err(error) => error.status,
    }
}

/// A request with a Host and these further lines.
fn with(lines: &str) -> Vec<u8> {
    format!("POST /a HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes()
}

#[test]
fn a_head_and_what_follows() {
    let bytes = b"POST /v1/push?a=b?c HTTP/1.1\r\nhost: x:80\r\nOrigin: http://x\r\n\
        Content-Type:  application/json \r\nContent-Length: 12\r\nExpect: 100-Continue\r\n\
        Connection: foo, Close\r\nX: \xff\r\n\r\nGET / HTTP/1.1";
    let head = check(bytes).expect("valid").expect("complete");
    assert_eq!(bytes[head.len..], *b"GET / HTTP/1.1");
    assert_eq!(
        (head.method, head.path, head.query),
        ("POST", "/v1/push", Some("a=b?c"))
    );
    assert_eq!((head.host, head.origin), ("x:80", Some("http://x")));
    assert_eq!(head.content_type, Some("application/json"));
    assert_eq!(head.framing, Framing::Length(12));
    assert!(!head.keep_alive && head.expect_continue);

    let request = decode_head(&bytes[..head.len]).expect("decodes");
    assert_eq!(request.method.as_str(), "POST");
    assert_eq!(request.uri.path(), "/v1/push");
    assert_eq!(request.headers.len(), 7);
    assert_eq!(request.headers["content-type"], "application/json");
}

#[test]
fn an_absolute_target_names_the_host() {
    let head = |target: &str| {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
        let head = check(&bytes).map(|head| head.expect("complete"));
        head.map(|head| (head.host.to_owned(), head.path.to_owned()))
    };
    let pair = |host: &str, path: &str| Ok((host.to_owned(), path.to_owned()));
    assert_eq!(head("http://y:1/z"), pair("y:1", "/z"));
    assert_eq!(head("HTTP://y"), pair("y", "/"));
    assert_eq!(head("http://y?q"), pair("y", "/"));
    assert_eq!(head("/http://y"), pair("x", "/http://y"));
    for bad in [
        "*",
        "y",
        "ftp://y/",
        "http://",
        "http://u@y/",
        "/#f",
        "/\u{e9}",
    ] {
        assert_eq!(head(bad).map_err(|error| error.status), Err(400), "{bad}");
    }
}

#[test]
fn bodies_are_delimited_in_one_way() {
    let framing = |lines: &str| {
        let bytes = with(lines);
        let head = check(&bytes).map(|head| head.expect("complete").framing);
        head.map_err(|error| error.status)
    };
    assert_eq!(framing(""), Ok(Framing::None));
    assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::Length(0)));
    assert_eq!(
        framing("Transfer-Encoding: Chunked\r\n"),
        Ok(Framing::Chunked)
    );
    assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), Err(501));
    for bad in [
        "Content-Length: +4\r\n",
        "Content-Length: -0\r\n",
        "Content-Length:\r\n",
        "Content-Length: 4, 4\r\n",
        "Content-Length: 4 4\r\n",
        "Content-Length: 0x4\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 4\r\nContent-Length: 4\r\n",
        "Content-Length: 4\r\ncontent-length: 5\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(framing(bad), Err(400), "{bad:?}");
    }
}

#[test]
fn heads_that_are_refused() {
    for bad in [
        "A : b\r\n",
        "A: b\r\n c\r\n",
        " A: b\r\n",
        "A: b\nB: c\r\n",
        "A: b\rc\r\n",
        "A: b\0\r\n",
        "A: b\x7f\r\n",
        "A\r\n",
        ": b\r\n",
        "A(: b\r\n",
        "Host: x\r\n",
        "Host: y\r\n",
    ] {
        assert_eq!(status(&with(bad)), 400, "{bad:?}");
    }
    assert_eq!(status(&with("Expect: tea\r\n")), 417);
    let request = |line: &str| status(format!("{line}\r\nHost: x\r\n\r\n").as_bytes());
    assert_eq!(request("GET / HTTP/1.1"), 200);
    assert_eq!(request("OPTIONS * HTTP/1.1"), 200);
    assert_eq!(request("GET / HTTP/1.0"), 200);
    assert_eq!(request("GET / HTTP/1.2"), 505);
    assert_eq!(request("GET / HTTP/2.0"), 505);
    for bad in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET / http/1.1",
        "GET / HTTP/1.10",
    ] {
        assert_eq!(request(bad), 400, "{bad}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), 400);
    assert_eq!(status(b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n"), 400);
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), 400);
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400);
}

/// What is no HTTP is refused by the bytes that show it; nothing waits for a timeout.
#[test]
fn other_protocols_are_refused_early() {
    for bad in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"\x00",
        b"\r\n\r\n\0\r\nQUIT\n",
        b"\r\n\r\n\r\n\r\n\r\n",
        b"\n",
        b"\rG",
        b" GET",
        b"uid1\n",
        b"{\"uid\":",
        b"hello\r\n",
        b"EHLO there\r\n",
        b"a b c\r\n",
        b"GET / HTTP/1.1\n",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    ] {
        assert_eq!(status(bad), 400, "{bad:?}");
    }
    assert_eq!(status(b"PRI * HTTP/2.0\r\n"), 505);
    assert_eq!(status(b"ABCDEFGHIJKLMNOPQRSTUVWX / "), 0);
}

#[test]
fn tls_is_told_by_its_first_byte() {
    for hello in [&b"\x16"[..], b"\r\n\x16\x03\x01"] {
        assert_eq!(check(hello).expect_err("no request"), super::scan::TLS);
    }
    assert_eq!(status(b"GET /\x16 HTTP/1.1\r\n"), 400);
}

/// A client that ends a body with an empty line too many (RFC 9112, section 2.2).
#[test]
fn empty_lines_before_a_request_are_skipped() {
    for (lines, taken) in [(1, 200), (4, 200), (5, 400)] {
        let bytes = ["\r\n".repeat(lines).as_bytes(), &with("A: b\r\n")].concat();
        assert_eq!(status(&bytes), taken, "{lines}");
        let mut scan = HeadScan::new(REQUEST_HEAD_BYTES_DEFAULT);
        for have in 0..bytes.len() {
            match check_head(&mut scan, &bytes[..have]) {
                Ok(head) => assert!(head.is_none()),
                Err(error) => return assert_eq!(error.status, taken),
            }
        }
        let head = check_head(&mut scan, &bytes)
            .expect("valid")
            .expect("complete");
        assert_eq!((head.len, head.method), (bytes.len(), "POST"));
        let request = decode_head(&bytes[..head.len]).expect("decodes");
        assert_eq!(
            (request.method.as_str(), request.headers.len()),
            ("POST", 2)
        );
    }
}

#[test]
fn requests_of_http_1_0() {
    let old = |first: &str, lines: &str| {
        let bytes = format!("{first} HTTP/1.0\r\n{lines}\r\n").into_bytes();
        let head = check(&bytes).map(|head| head.expect("complete"));
        let told = head.map(|head| {
            assert!(head.is_old && !head.expect_continue);
            assert!(decode_head(&bytes).is_ok());
            (head.host.to_owned(), head.keep_alive, head.framing)
        });
        told.map_err(|error| error.status)
    };
    let none = Framing::None;
    assert_eq!(old("GET /", ""), Ok(("".into(), false, none)));
    assert_eq!(
        old("OPTIONS /", "Host: x\r\n"),
        Ok(("x".into(), false, none))
    );
    let keeps = "Connection: Keep-Alive\r\nExpect: 100-continue\r\n";
    assert_eq!(old("HEAD /", keeps), Ok(("".into(), true, none)));
    let both = "Connection: keep-alive, close\r\n";
    assert_eq!(old("HEAD /", both), Ok(("".into(), false, none)));
    assert_eq!(old("POST /", ""), Err(411));
    assert_eq!(old("PUT /", "Host: x\r\n"), Err(411));
    let length = Framing::Length(3);
    let sized = "Content-Length: 3\r\n";
    assert_eq!(old("POST /", sized), Ok(("".into(), false, length)));
    for faulty in ["", sized] {
        let lines = format!("{faulty}Transfer-Encoding: chunked\r\n");
        assert_eq!(old("POST /", &lines), Err(400), "{lines}");
    }
}

#[test]
fn what_a_proxy_forwards() {
    for (line, is_forwarded) in [
        ("X-Forwarded-For: 192.0.2.1", true),
        ("x-forwarded-anything: y", true),
        ("FORWARDED: for=192.0.2.1", true),
        ("Via: 1.1 proxy", true),
        ("x-real-ip: 192.0.2.1", true),
        ("X-Forwarded: y", false),
        ("X-Forwarder-For: y", false),
        ("Viaduct: y", false),
    ] {
        let bytes = with(&format!("{line}\r\n"));
        let head = check(&bytes).expect("valid").expect("complete");
        assert_eq!(head.is_forwarded(), is_forwarded, "{line}");
    }
}

#[test]
fn heads_have_a_size() {
    let sized = |len: usize| {
        let rest = with("A: \r\n").len();
        with(&format!("A: {}\r\n", "b".repeat(len - rest)))
    };
    assert_eq!(status(&sized(REQUEST_HEAD_BYTES_DEFAULT)), 200);
    assert_eq!(status(&sized(REQUEST_HEAD_BYTES_DEFAULT + 1)), 431);
    assert_eq!(
        status(&sized(REQUEST_HEAD_BYTES_DEFAULT + 1)[..REQUEST_HEAD_BYTES_DEFAULT]),
        431
    );
    assert_eq!(
        status(&sized(REQUEST_HEAD_BYTES_DEFAULT)[..REQUEST_HEAD_BYTES_DEFAULT - 1]),
        0
    );
    let target =
        |len: usize| format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(len)).into_bytes();
    assert_eq!(status(&target(REQUEST_HEAD_BYTES_DEFAULT)), 414);
    assert_eq!(status(&target(REQUEST_HEAD_BYTES_DEFAULT - 20)), 431);
    assert_eq!(status(&with(&"A: b\r\n".repeat(FIELDS_MAX - 1))), 200);
    assert_eq!(status(&with(&"A: b\r\n".repeat(FIELDS_MAX))), 431);
}

/// A million bytes in pieces of sixteen: if each piece had all before it looked at again, it would be
/// seconds.
#[test]
fn a_head_in_pieces_is_looked_at_once() {
    let bytes = with(&format!("A: {}\r\n", "b".repeat(1 << 20)));
    let mut scan = HeadScan::new(2 << 20);
    let start = std::time::Instant::now();
    for have in (0..bytes.len()).step_by(16) {
        assert_eq!(scan.advance(&bytes[..have]), Ok(None));
        let took = start.elapsed();
        assert!(took < std::time::Duration::from_millis(500), "{took:?}");
    }
    assert_eq!(scan.advance(&bytes), Ok(Some(bytes.len())));
}

/// Whatever passes the check must not panic the decoder behind it.
#[test]
fn every_byte_in_every_place() {
    for byte in 0..=255 {
        for (before, after) in [
            (&b"G"[..], &b" / HTTP/1.1\r\nHost: x\r\n\r\n"[..]),
            (b"GET /", b" HTTP/1.1\r\nHost: x\r\n\r\n"),
            (b"GET / HTTP/1.1\r\nHost: x", b"\r\n\r\n"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nA", b": b\r\n\r\n"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nA: b", b"c\r\n\r\n"),
        ] {
            let bytes = [before, &[byte], after].concat();
            if let Ok(Some(head)) = check(&bytes) {
                // It may still refuse a target that only looks like one.
                if let Ok(request) = decode_head(&bytes[..head.len]) {
                    let lines = bytes[..head.len].split(|&byte| byte == b'\n').count();
                    // Beside the fields: the request line, the empty one, and nothing after its end.
                    assert_eq!(request.headers.len(), lines - 3, "{byte:x}");
                }
            }
        }
    }
}

/// Reads a body in pieces; returns it and what was left after it, or the status of the error.
fn read(framing: Framing, bytes_max: usize, stream: &[u8], cuts: &[usize]) -> Result<Vec<u8>, u16> {
    let mut body = BodyReader::new(framing, bytes_max).map_err(|error| error.status)?;
    let mut cuts = cuts.iter().copied().cycle();
    let mut out = Vec::new();
    let mut rest = stream;
    loop {
        let len = cuts.next().unwrap_or(usize::MAX).min(rest.len());
        let (piece, tail) = rest.split_at(len);
        let mut at = 0;
        loop {
            match body.next(piece, &mut at).map_err(|error| error.status)? {
                Some(Part::Bytes(bytes)) => out.extend_from_slice(bytes),
                Some(Part::End) => {
                    let left = piece.len() - at + tail.len();
                    out.extend(format!("|{left}").as_bytes());
                    return Ok(out);
                }
                None => break,
            }
        }
        if tail.is_empty() {
            return Ok(out);
        }
        rest = tail;
    }
}

#[test]
fn bodies() {
    let chunks = |stream: &str| {
        let whole = read(Framing::Chunked, 40, stream.as_bytes(), &[usize::MAX]);
        assert_eq!(read(Framing::Chunked, 40, stream.as_bytes(), &[1]), whole);
        whole.map(|bytes| String::from_utf8(bytes).expect("text"))
    };
    let ok = |text: &str| Ok(text.to_owned());
    assert_eq!(
        chunks("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nnext"),
        ok("abcde|4")
    );
    assert_eq!(
        chunks("03;a=b \t;c\r\nabc\r\n0 ;x\r\nT: u\r\nV:\r\n\r\n"),
        ok("abc|0")
    );
    assert_eq!(chunks("3\r\nabc\r\n0\r\n"), ok("abc"));
    assert_eq!(chunks("28\r\n"), ok(""));
    assert_eq!(chunks("29\r\n"), Err(413));
    assert_eq!(chunks(&"1\r\na\r\n".repeat(41)), Err(413));
    assert_eq!(chunks("ffffffffffffffff\r\n"), Err(413));
    for bad in [
        "\r\n",
        ";a\r\n",
        "g\r\n",
        "+3\r\n",
        "0x3\r\n",
        "3\n",
        "3\rabc",
        "3 \r\n",
        "3 4\r\n",
        " 3\r\n",
        "3\r\nabcd\r\n",
        "3\r\nabc\n",
        "3;\0\r\n",
        "00000000000000003\r\n",
        "0\r\nT\r\n",
        "0\r\nT : u\r\n",
        "0\r\n u\r\n",
        "0\r\n: u\r\n",
        "0\r\n\n",
        "0\r\nT: u\n",
    ] {
        assert_eq!(chunks(bad), Err(400), "{bad:?}");
    }
    assert_eq!(chunks(&format!("1;{}", "a".repeat(9_000))), Err(400));
    assert_eq!(
        chunks(&"1;aaaaaaaa\r\nb\r\n".repeat(39)).map(|text| text.len()),
        Ok(39)
    );

    assert_eq!(
        read(Framing::Length(3), 3, b"abcd", &[1]),
        Ok(b"abc|1".to_vec())
    );
    assert_eq!(read(Framing::Length(4), 3, b"", &[1]), Err(413));
    assert_eq!(read(Framing::None, 0, b"abcd", &[1]), Ok(b"|4".to_vec()));
}

#[test]
fn responses() {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    assert_eq!(
        text(response(200, &[("A", "b")], b"hi", true)),
        "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 2\r\n\r\nhi"
    );
    assert_eq!(
        text(response(204, &[], b"", false)),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    );
    let refused = text(HttpError::new(431, "too much").response());
    let (head, body) = refused.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"));
    assert!(head.contains("\r\nConnection: close") && body.ends_with("too much\n"));
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "Host: x\r\n",
        "A: b\r\n",
        "Content-Length: 3\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "A : b\r\n",
        "bare\n",
        "A: \r\r\n",
    ]);
    let noise = prop_oneof![5 => Just(None), 1 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(Some)];
    (vec(line, 0..4), noise).prop_map(|(lines, noise)| {
        let mut bytes = with(&lines.concat());
        bytes.extend(b"body");
        if let Some((at, byte)) = noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "1\r\na\r\n",
        "A\r\n0123456789\r\n",
        "2;x=y\r\nab\r\n",
        "0\r\n",
        "\r\n",
        "T: u\r\n",
        "3",
        "x",
    ]);
    vec(piece, 0..8).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn cuts_do_not_change_a_head(bytes in request(), cuts in vec(1..50usize, 1..5)) {
        let outcome = |head: Result<Option<Head<'_>>, HttpError>| {
            head.map(|head| head.map(|head| format!("{head:?}")))
        };
        let mut scan = HeadScan::new(80);
        let whole = outcome(check_head(&mut HeadScan::new(80), &bytes));
        let mut have = 0;
        let mut cuts = cuts.iter().cycle();
        let pieces = loop {
            have = (have + cuts.next().copied().unwrap_or(1)).min(bytes.len());
            let head = outcome(check_head(&mut scan, &bytes[..have]));
            if head != Ok(None) || have == bytes.len() {
                break head;
            }
        };
        prop_assert_eq!(pieces, whole);
    }

    #[test]
    fn cuts_do_not_change_a_body(stream in chunked(), cuts in vec(1..9usize, 1..5)) {
        let whole = read(Framing::Chunked, 15, &stream, &[usize::MAX]);
        prop_assert_eq!(read(Framing::Chunked, 15, &stream, &cuts), whole);
    }
}
