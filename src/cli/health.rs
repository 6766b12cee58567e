//! `ringpost health`: whether a server lives (`/healthz`), or takes clients (`/readyz`), as an exit status. For where
//! no other program is, as in a container.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringpost::escape::Escaped;

use super::slot::parse_time;
use super::{Status, backend, complain, print};

/// Longest response that is read: the server's own has some hundred bytes.
const RESPONSE_BYTES_MAX: usize = 16 << 10;

/// Which server is asked what.
#[derive(clap::Args, Debug)]
pub struct HealthArgs {
    /// One of the server's http:// or websocket:// ports
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    to: String,
    /// Ask whether it takes clients (/readyz), which it does not while it stops
    #[arg(long)]
    ready: bool,
    /// How long to wait for the connection, and for the response
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s")]
    timeout: Duration,
}

/// Asks, and prints the word that is answered. Whatever is not a 200 is a no.
pub fn run(args: &HealthArgs) -> Status {
    let path = match args.ready {
        true => "/readyz",
        false => "/healthz",
    };
    match ask(args, path) {
        Ok((200, body)) => {
            print(&format!("{}\n", Escaped(body.trim_end())));
            Status::Done
        }
        Ok((status, body)) => {
            let (to, body) = (Escaped(&args.to), Escaped(body.trim_end()));
            complain(&format!("{to} answers {path} with {status}: {body}"));
            Status::Failed
        }
        Err(problem) => {
            complain(&problem);
            Status::Failed
        }
    }
}

/// The status and the body of the response.
fn ask(args: &HealthArgs, path: &str) -> Result<(u16, String), String> {
    let to = Escaped(&args.to);
    let deadline = Instant::now() + args.timeout;
    let mut stream = backend::connect(&args.to, args.timeout)?;
    let response = exchange(&mut stream, path, deadline).map_err(|error| match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!(
            "no response from {to} within {} (--timeout TIME)",
            humantime::format_duration(args.timeout)
        ),
        _ => format!("{to}: {error}"),
    })?;
    parse(&response).ok().flatten().ok_or_else(|| {
        format!("{to} does not answer as an http:// or websocket:// port does; --to names another")
    })
}

/// Sends the request, and receives to the end that the server puts to a response over HTTP/1.0, or to where it can be
/// none.
fn exchange(stream: &mut TcpStream, path: &str, deadline: Instant) -> io::Result<Vec<u8>> {
    let left = || match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    };
    stream.set_write_timeout(left()?)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let (mut response, mut chunk) = (Vec::new(), [0; 1024]);
    while response.len() < RESPONSE_BYTES_MAX && parse(&response).is_ok() {
        stream.set_read_timeout(left()?)?;
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => response.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(response)
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
