//! The checks of a head in their plainest form: byte by byte, and every field looked up by reading all
//! the lines again. [`super::head`] and [`super::fields`] must come to the same in every case.

use proptest::collection::vec;
use proptest::prelude::*;

use super::fields::Field;
use super::framing::Framing;
use super::head::{Head, check_head, is_authority, split_target};
use super::response::{HttpError, bad};
use super::scan::{
    EMPTY_LINES_MAX, HeadScan, METHOD_BYTES_MAX, NOT_HTTP, TLS, check_request_line, is_token,
};

/// [`HeadScan`], byte by byte.
struct PlainScan {
    bytes_max: usize,
    at: usize,
    line_start: usize,
    first: usize,
}

impl PlainScan {
    fn new(bytes_max: usize) -> PlainScan {
        PlainScan {
            bytes_max,
            at: 0,
            line_start: 0,
            first: 0,
        }
    }

    fn advance(&mut self, bytes: &[u8]) -> Result<Option<usize>, HttpError> {
        let end = bytes.len().min(self.bytes_max);
        while self.at < end {
            let at = self.at;
            let byte = bytes[at];
            let after_cr = at > self.line_start && bytes[at - 1] == b'\r';
            self.at += 1;
            match byte {
                b'\n' if after_cr && at - 1 == self.first => {
                    // Two bytes each.
                    if self.at > 2 * usize::from(EMPTY_LINES_MAX) {
                        return Err(NOT_HTTP);
                    }
                    self.first = self.at;
                    self.line_start = self.at;
                }
                b'\n' if after_cr => {
                    if at - 1 == self.line_start {
                        return Ok(Some(self.at));
                    }
                    if self.line_start == self.first {
                        check_request_line(&bytes[self.first..at - 1])?;
                    }
                    self.line_start = self.at;
                }
                _ if after_cr => return Err(bad("a bare carriage return in the head")),
                b'\n' => return Err(bad("a bare line feed in the head")),
                _ if self.line_start == self.first && at - self.first <= METHOD_BYTES_MAX => {
                    check_method_byte(&bytes[self.first..=at])?;
                }
                b'\t' | b'\r' | b' '..=b'~' | 0x80.. => {}
                _ => return Err(bad("a control character in the head")),
            }
        }
        if bytes.len() >= self.bytes_max {
            return Err(match self.line_start == self.first {
                true => HttpError::new(
                    414,
                    "the request's target is longer than request_head_bytes_max",
                ),
                false => HttpError::new(
                    431,
                    "the request's head is larger than request_head_bytes_max",
                ),
            });
        }
        Ok(None)
    }
}

fn check_method_byte(bytes: &[u8]) -> Result<(), HttpError> {
    let [before @ .., byte] = bytes else {
        return Ok(());
    };
    let in_method = !before.contains(&b' ');
    let fits = match byte {
        0x16 if before.is_empty() => return Err(TLS),
        b'\r' if before.is_empty() => true,
        b' ' => !before.is_empty(),
        _ if in_method => is_token(*byte) && bytes.len() <= METHOD_BYTES_MAX,
        b'\r' => true,
        _ => byte.is_ascii_graphic(),
    };
    if fits { Ok(()) } else { Err(NOT_HTTP) }
}

/// What [`Head`] says, each field looked up by a pass of its own over the lines.
struct HeadLines<'a>(&'a [u8]);

impl<'a> HeadLines<'a> {
    fn all(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let lines = self.0.split(|&byte| byte == b'\n');
        let lines = lines.skip_while(|line| *line == b"\r").skip(1);
        lines.map_while(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = std::str::from_utf8(&line[..colon]).ok()?;
            Some((name, line[colon + 1..].trim_ascii()))
        })
    }

    fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let named = self
            .all()
            .filter(|(each, _)| each.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value).collect()
    }

    fn single(&self, name: &str) -> Result<Option<&'a str>, HttpError> {
        match self.values(name)[..] {
            [] => Ok(None),
            [value] => match std::str::from_utf8(value) {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(bad("a header field is not UTF-8")),
            },
            _ => Err(bad("a header field that must be single is there twice")),
        }
    }

    fn lists(&self, name: &str, token: &str) -> bool {
        let values = self.values(name).into_iter();
        values
            .flat_map(|value| value.split(|&byte| byte == b','))
            .any(|each| each.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    fn framing(&self) -> Result<Framing, HttpError> {
        let length = self.single("content-length")?;
        let coding = self.single("transfer-encoding")?;
        match (length, coding) {
            (None, None) => Ok(Framing::None),
            (Some(_), Some(_)) => Err(bad("both Content-Length and Transfer-Encoding")),
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
            (None, Some(_)) => Err(HttpError::new(501, "no transfer coding but chunked")),
            (Some(length), None) => {
                let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
                match length.parse() {
                    Ok(length) if digits => Ok(Framing::Length(length)),
                    _ => Err(bad("a malformed Content-Length")),
                }
            }
        }
    }

    fn old_framing(&self, method: &str) -> Result<Framing, HttpError> {
        if self.single("transfer-encoding")?.is_some() {
            return Err(bad("HTTP/1.0 has no Transfer-Encoding"));
        }
        let framing = self.framing()?;
        let is_endless = framing == Framing::None && ["POST", "PUT", "PATCH"].contains(&method);
        match is_endless {
            true => Err(HttpError::new(
                411,
                "a body needs a Content-Length in HTTP/1.0",
            )),
            false => Ok(framing),
        }
    }

    fn asks_after_health(&self, method: &str, path: &str) -> bool {
        let is_root = path == "/" || path == "*";
        let is_named = path == "/healthz" || path == "/readyz";
        method == "OPTIONS" && (is_root || is_named)
            || ["GET", "HEAD"].contains(&method) && is_named
    }

    fn tells_of_proxy(&self) -> bool {
        self.all().any(|(name, _)| {
            let name = name.to_ascii_lowercase();
            name.starts_with("x-forwarded-")
                || ["via", "forwarded", "x-real-ip"].contains(&name.as_str())
        })
    }

    /// The checks of the fields in their order, as one line of text.
    fn check(&self, method: &str, target: &str, is_old: bool) -> Result<String, HttpError> {
        let (authority, resource) = split_target(method, target)?;
        let (path, query) = match resource.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (resource, None),
        };
        let path = if path.is_empty() { "/" } else { path };
        let fits =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte);
        let host = match self.single("host")? {
            None if is_old || self.asks_after_health(method, path) => "",
            None => return Err(bad("the Host field is missing")),
            Some(host) if host.is_empty() || !host.bytes().all(fits) => {
                return Err(bad("the Host field is malformed"));
            }
            Some(host) => host,
        };
        let host = authority.unwrap_or(host);
        let origin = self.single("origin")?;
        let content_type = self.single("content-type")?;
        let framing = if is_old {
            self.old_framing(method)
        } else {
            self.framing()
        }?;
        let keep_alive = !self.lists("connection", "close")
            && (!is_old || self.lists("connection", "keep-alive"));
        let expects = match self.single("expect")? {
            _ if is_old => false,
            None => false,
            Some(value) if value.eq_ignore_ascii_case("100-continue") => true,
            Some(_) => return Err(HttpError::new(417, "only 100-continue can be expected")),
        };
        Ok(format!(
            "{} {method} {path} {query:?} {host} {origin:?} {content_type:?} {framing:?} {keep_alive} \
             {expects} {is_old} {} {} {} {:?} {:?}",
            self.0.len(),
            self.tells_of_proxy(),
            self.lists("connection", "upgrade"),
            self.lists("upgrade", "websocket"),
            self.single("sec-websocket-key"),
            self.single("sec-websocket-version"),
        ))
    }
}

fn check(scan: &mut PlainScan, bytes: &[u8]) -> Result<Option<String>, HttpError> {
    let Some(len) = scan.advance(bytes)? else {
        return Ok(None);
    };
    let bytes = &bytes[..len];
    let mut all = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut all);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(parsed)) if parsed == len => {}
        Ok(_) => return Err(NOT_HTTP),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HttpError::new(431, "too many header fields"));
        }
        Err(httparse::Error::HeaderName) => {
            return Err(bad("a header line that is folded, or has a bad name"));
        }
        Err(_) => return Err(bad("a malformed head")),
    }
    let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
    let is_old = request.version == Some(0);
    HeadLines(bytes).check(method, target, is_old).map(Some)
}

fn text(head: &Head<'_>) -> String {
    let Head {
        len,
        method,
        path,
        query,
        is_old,
        host,
        origin,
        content_type,
        framing,
        keep_alive,
        expect_continue,
        ..
    } = head;
    format!(
        "{len} {method} {path} {query:?} {host} {origin:?} {content_type:?} {framing:?} {keep_alive} \
         {expect_continue} {is_old} {} {} {} {:?} {:?}",
        head.is_forwarded(),
        head.upgrades(),
        head.to_websocket(),
        head.single(Field::WebSocketKey),
        head.single(Field::WebSocketVersion),
    )
}

fn request_line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "GET / HTTP/1.1",
        "GET / HTTP/1.1",
        "GET /v1/push?a=b HTTP/1.1",
        "POST /a/path/that/is/longer/than/any/method?x HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /healthz?a HTTP/1.1",
        "POST /healthz HTTP/1.1",
        "GET http://y:1/z HTTP/1.1",
        "GET /#f HTTP/1.1",
        "GET / HTTP/1.0",
        "POST / HTTP/1.0",
        "GET / HTTP/1.2",
        "\r\nGET / HTTP/1.1",
        "\r\n\r\n\r\n\r\nGET / HTTP/1.0",
        "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1",
        "\x16\x03\x01",
        "GET  / HTTP/1.1",
        "ABCDEFGHIJKLMNOPQRSTUVWX / HTTP/1.1",
        "ABCDEFGHIJKLMNOPQRSTUVWXY / HTTP/1.1",
        "",
    ])
}

fn field_line() -> impl Strategy<Value = &'static [u8]> {
    prop::sample::select(vec![
        &b"Host: x:80"[..],
        b"Host: x:80",
        b"hOST:x",
        b"Host: a/b",
        b"Host:",
        b"Origin: http://x",
        b"ORIGIN:\t http://y\t ",
        b"Origin: \xff",
        b"Content-Type: text/plain",
        b"Content-Length: 3",
        b"Content-Length: +3",
        b"content-length: 0",
        b"Transfer-Encoding: Chunked",
        b"Transfer-Encoding: gzip",
        b"Expect: 100-Continue",
        b"Expect: tea",
        b"Connection: Upgrade",
        b"Connection: keep-alive , uPGRADE\t,",
        b"Connection: close",
        b"Connection: Keep-Alive",
        b"Via: 1.1 x",
        b"x-forwarded-proto: https",
        b"X-Real-IP: 192.0.2.1",
        b"Forwarded: for=192.0.2.1",
        b"X-Forwarded: x",
        b"Connection: closed,upgraded, ,",
        b"Upgrade: websocket",
        b"Upgrade: h2c,\tWebSocket ",
        b"Upgrade: websockets",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        b"Sec-WebSocket-Version: 13",
        b"sec-websocket-version: 8",
        b"Sec-WebSocket-Keys: a",
        b"X: \xe9\x80",
        b"X:",
        b"A : b",
        b" folded",
        b"no colon",
    ])
}

/// A request in pieces that make sense, of which often a byte is another.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let host = prop_oneof![4 => Just(&b"Host: x\r\n"[..]), 1 => Just(&b""[..])];
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")];
    let lines = vec((field_line(), end), 0..9);
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b"\r\n\t\0\x7f :,".to_vec())
    ];
    let noise = vec((any::<prop::sample::Index>(), byte), 0..3);
    (request_line(), host, lines, noise).prop_map(|(first, host, lines, noise)| {
        let mut bytes = [first.as_bytes(), b"\r\n", host].concat();
        for (line, end) in lines {
            bytes.extend([line, end.as_bytes()].concat());
        }
        bytes.extend(b"\r\n\x81\x80body");
        for (at, byte) in noise {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_check_is_the_plain_one(
        bytes in request(),
        cuts in vec(1..120usize, 1..5),
        bytes_max in prop_oneof![30..250usize, Just(8 << 10)],
    ) {
        let (mut scan, mut plain) = (HeadScan::new(bytes_max), PlainScan::new(bytes_max));
        let mut have = 0;
        for cut in cuts.iter().cycle() {
            have = (have + cut).min(bytes.len());
            let head = check_head(&mut scan, &bytes[..have]);
            let head = head.map(|head| head.as_ref().map(text));
            prop_assert_eq!(&head, &check(&mut plain, &bytes[..have]));
            if head != Ok(None) || have == bytes.len() {
                break;
            }
        }
    }

    #[test]
    fn noise_is_refused_alike(bytes in vec(any::<u8>(), 0..80), cut in 1..80usize) {
        let (mut scan, mut plain) = (HeadScan::new(60), PlainScan::new(60));
        for have in [cut.min(bytes.len()), bytes.len()] {
            let end = scan.advance(&bytes[..have]);
            prop_assert_eq!(end, plain.advance(&bytes[..have]));
            if end != Ok(None) {
                break;
            }
        }
    }
}

#[test]
fn a_host_has_the_characters_of_the_plain_check() {
    for byte in 0..128_u8 {
        let fits = byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte);
        assert_eq!(
            is_authority(char::from(byte).encode_utf8(&mut [0])),
            fits,
            "{byte:x}"
        );
    }
}
