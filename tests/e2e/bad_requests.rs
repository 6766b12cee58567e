//! Requests to the HTTP port in which two servers could find different ends, and the status that each gets.

use std::net::SocketAddr;

/// What is odd about a request, the request, and the status that it gets.
pub type Case = (String, String, u16);

/// Requests in which two servers could find different ends. What they hide follows them, or is their body.
pub fn cases(address: SocketAddr, hidden: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let length = hidden.len();
    let request = |lines: &str, body: &str| {
        format!("POST /healthz HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n{body}{hidden}")
    };
    for (lines, status) in [
        ("Content-Length: 0\r\nContent-Length: 0\r\n".to_owned(), 400),
        (
            format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
            400,
        ),
        (
            format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
            400,
        ),
        (
            format!("content-length: {length}\r\nCONTENT-LENGTH: 0\r\n"),
            400,
        ),
        ("Content-Length: 0, 0\r\n".into(), 400),
        (format!("Content-Length: 0, {length}\r\n"), 400),
        ("Content-Length: +4\r\n".into(), 400),
        ("Content-Length: +0\r\n".into(), 400),
        ("Content-Length: -0\r\n".into(), 400),
        ("Content-Length: -1\r\n".into(), 400),
        ("Content-Length: 0x0\r\n".into(), 400),
        ("Content-Length: 0_0\r\n".into(), 400),
        ("Content-Length: 0 0\r\n".into(), 400),
        ("Content-Length: 0.0\r\n".into(), 400),
        ("Content-Length: 0e0\r\n".into(), 400),
        ("Content-Length:\r\n".into(), 400),
        ("Content-Length: none\r\n".into(), 400),
        ("Content-Length: \u{661}\r\n".into(), 400),
        ("Content-Length: 0;x\r\n".into(), 400),
        ("Content-Length: \"0\"\r\n".into(), 400),
        ("Content-Length: 18446744073709551616\r\n".into(), 400),
        ("Content-Length: 18446744073709551620\r\n".into(), 400),
        (format!("Content-Length: {}\r\n", "9".repeat(100)), 400),
        ("Content-Length: 18446744073709551615\r\n".into(), 413),
        ("Content-Length: 9223372036854775808\r\n".into(), 413),
        ("Content-Length : 0\r\n".into(), 400),
        ("Content-Length\t: 0\r\n".into(), 400),
        (" Content-Length: 0\r\n".into(), 400),
        ("X: y\r\n Content-Length: 0\r\n".into(), 400),
        ("X: y\r\n\tContent-Length: 0\r\n".into(), 400),
        ("Content-Length:\r\n 0\r\n".into(), 400),
        ("Content-Length: \0\r\n".into(), 400),
        ("Content-Length: 0\nX: y\r\n".into(), 400),
        ("X: y\rContent-Length: 0\r\n".into(), 400),
        ("X: y\nContent-Length: 0\r\n".into(), 400),
        ("X: y\0Content-Length: 0\r\n".into(), 400),
        (
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".into(),
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n".into(),
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".into(),
            400,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".into(),
            400,
        ),
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n".into(),
            400,
        ),
        ("Transfer-Encoding: chunked, chunked\r\n".into(), 501),
        ("Transfer-Encoding: chunked, identity\r\n".into(), 501),
        ("Transfer-Encoding: identity\r\n".into(), 501),
        ("Transfer-Encoding: identity, chunked\r\n".into(), 501),
        ("Transfer-Encoding: gzip, chunked\r\n".into(), 501),
        ("Transfer-Encoding: xchunked\r\n".into(), 501),
        ("Transfer-Encoding: chunkedx\r\n".into(), 501),
        ("Transfer-Encoding: \"chunked\"\r\n".into(), 501),
        ("Transfer-Encoding: chunked;q=1\r\n".into(), 501),
        ("Transfer-Encoding: ,chunked\r\n".into(), 501),
        ("Transfer-Encoding:\r\n".into(), 501),
        ("Transfer-Encoding: chun\u{212a}ed\r\n".into(), 501),
        ("Transfer-Encoding : chunked\r\n".into(), 400),
        ("Transfer-Encoding\t: chunked\r\n".into(), 400),
        ("Transfer\u{2010}Encoding: chunked\r\n".into(), 400),
        ("Transfer-Encoding: chunked\x0b\r\n".into(), 400),
        ("Transfer-Encoding: \x0cchunked\r\n".into(), 400),
        ("Transfer-Encoding: chunked\0\r\n".into(), 400),
        ("Transfer-Encoding: x\r\n chunked\r\n".into(), 400),
        ("Transfer-Encoding:\r\n chunked\r\n".into(), 400),
        ("X: y\rTransfer-Encoding: chunked\r\n".into(), 400),
        ("X: y\nTransfer-Encoding: chunked\r\n".into(), 400),
        (format!("Host: {address}\r\n"), 400),
        ("Host: evil.example\r\n".into(), 400),
        ("Expect: 100-continue, x\r\n".into(), 417),
        ("\0\r\n".into(), 400),
        ("no colon\r\n".into(), 400),
        (": no name\r\n".into(), 400),
    ] {
        // As if the body were none, and as if it were in chunks.
        for body in ["", "0\r\n\r\n"] {
            let name = format!("{lines:?} before {body:?}");
            cases.push((name, request(&lines, body), status));
        }
    }
    for (chunks, status) in [
        ("\r\n", 400),
        ("\n", 400),
        ("0\n\n", 400),
        ("0\r\r\n", 400),
        ("0\r\n\n", 400),
        ("0\r\n\r\r\n", 400),
        ("0\n\r\n", 400),
        ("-0\r\n\r\n", 400),
        ("+0\r\n\r\n", 400),
        ("0x0\r\n\r\n", 400),
        (" 0\r\n\r\n", 400),
        ("0 \r\n\r\n", 400),
        ("0 0\r\n\r\n", 400),
        ("0\t\r\n\r\n", 400),
        ("0\0\r\n\r\n", 400),
        ("0;\0\r\n\r\n", 400),
        ("0;a\n\r\n", 400),
        ("0;a\rb\r\n\r\n", 400),
        ("0,\r\n\r\n", 400),
        ("\u{661}\r\n\r\n", 400),
        ("0_0\r\n\r\n", 400),
        ("g\r\n\r\n", 400),
        (";\r\n\r\n", 400),
        ("3\r\nabc0\r\n\r\n", 400),
        ("3\r\nabcd\r\n0\r\n\r\n", 400),
        ("3\r\nabc\n0\r\n\r\n", 400),
        ("3\r\nabc\r0\r\n\r\n", 400),
        ("3\r\nabc\r\n\r\n0\r\n\r\n", 400),
        ("00000000000000000\r\n\r\n", 400),
        ("10000000000000000\r\n\r\n", 400),
        ("100000000000000000\r\nx", 400),
        ("ffffffffffffffff\r\n\r\n", 413),
        ("8000000000000000\r\n\r\n", 413),
        ("400001\r\n", 413),
        ("0\r\nX\r\n\r\n", 400),
        ("0\r\n X: y\r\n\r\n", 400),
        ("0\r\nX : y\r\n\r\n", 400),
        ("0\r\nX: y\n\r\n", 400),
        ("0\r\nX: \0\r\n\r\n", 400),
        ("0\r\n: y\r\n\r\n", 400),
    ] {
        let name = format!("chunks {chunks:?}");
        cases.push((
            name,
            request("Transfer-Encoding: chunked\r\n", chunks),
            status,
        ));
    }
    for (first, status) in [
        ("GET  /healthz HTTP/1.1", 400),
        ("GET /healthz HTTP/1.1 ", 400),
        ("GET /healthz\tHTTP/1.1", 400),
        ("GET /healthz HTTP/1.1\r", 400),
        ("GET /healthz HTTP/1.1\0", 400),
        ("GET /healthz http/1.1", 400),
        ("GET /healthz HTTP/1,1", 400),
        ("GET /healthz HTTP/01.1", 400),
        ("GET /healthz", 400),
        ("GET /healthz HTTP/0.9", 505),
        ("GET /healthz HTTP/3.0", 505),
        ("GET healthz HTTP/1.1", 400),
        ("GET /a b HTTP/1.1", 400),
        ("GET /#x HTTP/1.1", 400),
        ("GET http:///healthz HTTP/1.1", 400),
        ("GET ftp://127.0.0.1/healthz HTTP/1.1", 400),
        ("GET http://me@127.0.0.1/ HTTP/1.1", 400),
        ("CONNECT 127.0.0.1:80 HTTP/1.1", 400),
        ("G\u{e9}T / HTTP/1.1", 400),
        ("G(T / HTTP/1.1", 400),
        (" GET / HTTP/1.1", 400),
        ("\nGET / HTTP/1.1", 400),
        ("\r\n\nGET / HTTP/1.1", 400),
        ("\rGET / HTTP/1.1", 400),
        ("POST /healthz HTTP/1.0", 411),
        ("PUT /healthz HTTP/1.0", 411),
        ("POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked", 400),
    ] {
        let bytes = format!("{first}\r\nHost: {address}\r\n\r\n{hidden}");
        cases.push((format!("{first:?}"), bytes, status));
    }
    for host in [
        "",
        "a/b",
        "a b",
        "a,b\u{e9}",
        "me@127.0.0.1",
        "127.0.0.1\\x",
        "<x>",
    ] {
        let bytes = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n{hidden}");
        cases.push((format!("a host {host:?}"), bytes, 400));
    }
    let none = format!("GET /v1/stats HTTP/1.1\r\n\r\n{hidden}");
    cases.push(("no host".into(), none, 400));
    cases
}
