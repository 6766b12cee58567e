//! `ringpost health`: whether a server lives (`/healthz`), or takes clients (`/readyz`), as an exit status. For where
//! no other program is, as in a container.

use std::time::Duration;

use ringpost::escape::Escaped;

use super::http::HttpRequest;
use super::output::{Status, complain, print};
use super::slot::parse_time;
use super::trust::TrustArgs;

/// Longest response that is read: the server's own has some hundred bytes.
const RESPONSE_BYTES_MAX: usize = 16 << 10;

/// Which server is asked what.
#[derive(clap::Args, Debug)]
pub struct HealthArgs {
    /// One of the server's http:// or websocket:// ports, https://HOST:PORT, or unix:///PATH
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    to: String,
    /// Ask whether it takes clients (/readyz), which it does not while it stops
    #[arg(long)]
    ready: bool,
    /// How long to wait for the connection, and for the response
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Asks, and prints the word that is answered. Whatever is not a 200 is a no.
pub fn run(args: &HealthArgs) -> Status {
    let path = match args.ready {
        true => "/readyz",
        false => "/healthz",
    };
    let request = HttpRequest {
        to: &args.to,
        method: "GET",
        body: None,
        target: path,
        token: None,
        timeout: args.timeout,
        trust: &args.trust,
        bytes_max: RESPONSE_BYTES_MAX,
    };
    match request.send() {
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
