//! One request over HTTP/1.0 to a server and its response, whole or line by line, for the commands that no line of the
//! back-end port does.
//!
//! Bounds: the time and the bytes of the response, or of a line of it, that the caller allows.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use ringpost::escape::Escaped;

use super::dial::{Dialed, host_of};
use super::trust::TrustArgs;

/// What is asked, of whom.
pub struct HttpRequest<'r> {
    /// The server's host and port, or `unix:///PATH`.
    pub to: &'r str,
    pub method: &'r str,
    pub target: &'r str,
    /// JSON, if it has a body.
    pub body: Option<&'r str>,
    /// A back end's, if the server has such.
    pub token: Option<&'r str>,
    /// How long to wait for the connection, and again for the response.
    pub timeout: Duration,
    /// By TLS.
    pub trust: &'r TrustArgs,
    /// Longest response that is read.
    pub bytes_max: usize,
}

impl HttpRequest<'_> {
    /// The status and the body of the response; or in words why there is none.
    pub fn send(&self) -> Result<(u16, String), String> {
        let to = Escaped(self.to);
        let mut stream = Dialed::dial(self.to, self.timeout, self.trust)?;
        let deadline = Instant::now() + self.timeout;
        let response = self
            .exchange(&mut stream, deadline)
            .map_err(|error| self.no_response(&error, self.timeout))?;
        parse(&response).ok().flatten().ok_or_else(|| {
            format!(
                "{to} does not answer as an http:// or websocket:// port does; --to names another"
            )
        })
    }

    /// Sends it, and has each line of the response's body as it comes, until no more is wanted or the response ends; or
    /// its status and body, if it is an error's. Nothing for so long is an end, too.
    pub fn follow(
        &self,
        silence: Duration,
        mut take: impl FnMut(&str) -> bool,
    ) -> Result<Option<(u16, String)>, String> {
        let mut stream = Dialed::dial(self.to, self.timeout, self.trust)?;
        let told = |error: &io::Error| self.no_response(error, silence);
        self.ask(&mut stream, Instant::now() + self.timeout)
            .map_err(|error| told(&error))?;
        let (mut unread, mut chunk, mut has_head) = (Vec::new(), [0; 16 << 10], false);
        loop {
            stream
                .set_read_timeout(silence)
                .map_err(|error| told(&error))?;
            let count = match stream.read(&mut chunk) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(told(&error)),
            };
            unread.extend_from_slice(&chunk[..count]);
            if !has_head {
                match parse(&unread) {
                    Ok(Some((200, _))) => {
                        has_head = true;
                        let end = unread.windows(4).position(|four| four == b"\r\n\r\n");
                        unread.drain(..end.map_or(0, |at| at + 4));
                    }
                    Ok(Some(refused)) if count == 0 => return Ok(Some(refused)),
                    Ok(_) if count > 0 && unread.len() < self.bytes_max => continue,
                    _ => {
                        let to = Escaped(self.to);
                        return Err(format!("{to} does not answer as an http:// port does"));
                    }
                }
            }
            while let Some(at) = unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = unread.drain(..=at).collect();
                if !take(String::from_utf8_lossy(&line[..at]).trim_end_matches('\r')) {
                    return Ok(None);
                }
            }
            if count == 0 || unread.len() > self.bytes_max {
                return Ok(None);
            }
        }
    }

    fn no_response(&self, error: &io::Error, time: Duration) -> String {
        let to = Escaped(self.to);
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => format!(
                "no response from {to} within {} (--timeout TIME)",
                humantime::format_duration(time)
            ),
            _ => format!("{to}: {error}"),
        }
    }

    /// Sends it.
    fn ask(&self, stream: &mut Dialed, deadline: Instant) -> io::Result<()> {
        stream.set_write_timeout(left(deadline)?)?;
        let (method, target, host) = (self.method, self.target, host_of(self.to));
        let token = self
            .token
            .map(|token| format!("Authorization: Bearer {token}\r\n"));
        let token = token.unwrap_or_default();
        let body = self.body.unwrap_or_default();
        let about = match self.body {
            Some(body) => format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ),
            None => String::new(),
        };
        let request =
            format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\n{token}{about}\r\n{body}");
        stream.write_all(request.as_bytes())?;
        stream.flush()
    }

    /// Sends it, and receives to the end that the server puts to a response over HTTP/1.0, or to where it can be none.
    fn exchange(&self, stream: &mut Dialed, deadline: Instant) -> io::Result<Vec<u8>> {
        self.ask(stream, deadline)?;
        let (mut response, mut chunk) = (Vec::new(), [0; 16 << 10]);
        let mut has_head = false;
        while response.len() < self.bytes_max {
            stream.set_read_timeout(left(deadline)?)?;
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => response.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !has_head {
                match parse(&response) {
                    Ok(found) => has_head = found.is_some(),
                    Err(_) => break,
                }
            }
        }
        Ok(response)
    }
}

/// The time until then; an error if there is none.
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
        left => Ok(left),
    }
}

/// Status and body so far, once the head is whole.
fn parse(response: &[u8]) -> Result<Option<(u16, String)>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(response)? else {
        return Ok(None);
    };
    let body = String::from_utf8_lossy(&response[length..]).into_owned();
    Ok(head.code.map(|code| (code, body)))
}

/// All but what RFC 3986 leaves unreserved (section 2.3).
pub fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}
