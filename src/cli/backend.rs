//! The client commands: one line to a server's back-end port, one line back.
//!
//! Everything is bounded: connecting and answering by `--timeout`, the answer by a size.

use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ringpost::ListenAddress;
use ringpost::escape::Escaped;
use ringpost::ident::{EVERYBODY, check_uid};

use super::api::ApiArgs;
use super::dial::Dialed;
use super::output::{Status, complain, print};
use super::slot::{SettingSlot, parse_time};
use super::stats;
use super::trust::TrustArgs;

/// Longest answer that is read: the counters of very many cores.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Which server, and how long to wait for it.
#[derive(clap::Args, Debug)]
pub struct ServerArgs {
    /// The server's back-end port (text://), tls://HOST:PORT, or unix:///PATH
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "RINGPOST_TO",
        default_value = "127.0.0.1:5678"
    )]
    to: String,
    /// The server's backend.token; the variable keeps it out of the process list
    #[arg(long, env = "RINGPOST_BACKEND_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// How long to wait for the connection and the answer
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "5s")]
    timeout: Duration,
    #[command(flatten)]
    trust: TrustArgs,
}

impl ServerArgs {
    /// The API of the same server, at another port.
    pub fn api(&self, to: &str) -> ApiArgs {
        ApiArgs {
            to: to.to_owned(),
            token: self.token.clone(),
            timeout: self.timeout,
            trust: self.trust.clone(),
        }
    }
}

/// Pushes a text to a uid or to everybody.
pub fn push(server: &ServerArgs, uid: &str, text: &str) -> Status {
    if uid != EVERYBODY && !is_uid(uid) {
        return Status::Trouble;
    }
    // Written by hand for the order of its keys; JSON escapes every line break.
    let (quoted_uid, quoted_text) = (serde_json::json!(uid), serde_json::json!(text));
    let line = format!("{{\"uid\":{quoted_uid},\"text\":{quoted_text}}}");
    yes_or_no(server, &line, uid)
}

/// Closes every connection of a uid.
pub fn kick(server: &ServerArgs, uid: &str) -> Status {
    if !is_uid(uid) {
        return Status::Trouble;
    }
    yes_or_no(server, &format!("kick {uid}"), uid)
}

/// Asks whether a uid has a connection.
pub fn online(server: &ServerArgs, uid: &str) -> Status {
    if !is_uid(uid) {
        return Status::Trouble;
    }
    yes_or_no(server, &format!("online {uid}"), uid)
}

/// Takes a terminal's cursor to its beginning, and clears what is below.
const FROM_THE_TOP: &str = "\x1b[H\x1b[J";

/// Shows the server's counters: once, or every so often until somebody ends it or the server does not answer.
pub fn stats(server: &ServerArgs, json: bool, watch: Option<Duration>) -> Status {
    let Some(interval) = watch else {
        return stats_once(server, json, "");
    };
    let before = match io::stdout().is_terminal() && !json {
        true => FROM_THE_TOP,
        false => "",
    };
    loop {
        match stats_once(server, json, before) {
            Status::Done => std::thread::sleep(interval),
            ended => return ended,
        }
    }
}

fn stats_once(server: &ServerArgs, json: bool, before: &str) -> Status {
    let answer = match ask(server, "stats") {
        Ok(answer) => answer,
        Err(trouble) => return trouble.report(),
    };
    let Ok(value) = serde_json::from_str::<serde_json::Value>(&answer) else {
        return Trouble::NotOurs(answer).report();
    };
    match stats::table(&value).filter(|_| !json) {
        Some(table) => print(&format!("{before}{table}")),
        // As the server wrote it: for programs, or of a shape that we do not know.
        None => print(&format!("{answer}\n")),
    }
    Status::Done
}

fn is_uid(uid: &str) -> bool {
    match check_uid(uid) {
        Ok(()) => true,
        Err(error) => {
            complain(&format!("\"{}\" is no uid: {error}", Escaped(uid)));
            false
        }
    }
}

fn yes_or_no(server: &ServerArgs, line: &str, uid: &str) -> Status {
    match ask(server, line) {
        Ok(answer) if answer == "ok" => {
            print("ok\n");
            Status::Done
        }
        Ok(answer) if answer == "fail" => {
            print("fail\n");
            match uid {
                EVERYBODY => complain("nobody is connected"),
                _ => complain(&format!(
                    "no connection of \"{}\" is there for it",
                    Escaped(uid)
                )),
            }
            Status::Failed
        }
        Ok(answer) => Trouble::NotOurs(answer).report(),
        Err(trouble) => trouble.report(),
    }
}

/// Why there is no answer.
enum Trouble {
    /// The server said `fail: …`.
    Refused(String),
    /// It said something that a back-end port does not say.
    NotOurs(String),
    /// The connection did not come about, or did not last.
    Connection(String),
}

impl Trouble {
    fn report(self) -> Status {
        match self {
            Trouble::Refused(reason) => {
                print("fail\n");
                let hint = match reason.contains("auth TOKEN") || reason == "wrong token" {
                    true => " (--token TOKEN, or RINGPOST_BACKEND_TOKEN)",
                    false => "",
                };
                complain(&format!("the server says: {}{hint}", Escaped(&reason)));
                Status::Failed
            }
            Trouble::NotOurs(answer) => {
                let start: String = answer.chars().take(80).collect();
                complain(&format!(
                    "\"{}\" is not the answer of a push-backend port; --to HOST:PORT names another",
                    Escaped(&start)
                ));
                Status::Trouble
            }
            Trouble::Connection(problem) => {
                complain(&problem);
                Status::Trouble
            }
        }
    }
}

/// The answer to `stats` of a server that runs here, within a second.
pub fn ask_for_stats(address: &ListenAddress, token: Option<String>) -> Result<String, String> {
    let here = match address {
        ListenAddress::Ip(address) if address.ip().is_unspecified() => {
            let ip = match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            };
            SocketAddr::new(ip, address.port()).to_string()
        }
        ListenAddress::Ip(address) => address.to_string(),
        unix => format!("unix://{unix}"),
    };
    let server = ServerArgs {
        to: here.clone(),
        token,
        timeout: Duration::from_secs(1),
        trust: TrustArgs::default(),
    };
    ask(&server, "stats").map_err(|trouble| match trouble {
        Trouble::Refused(reason) => format!("{here} says: {}", Escaped(&reason)),
        Trouble::NotOurs(_) => format!("{here} is no push-backend port"),
        Trouble::Connection(_) => format!("nothing at {here}"),
    })
}

/// Sends one line, after the token if there is one, and reads the line that answers it.
fn ask(server: &ServerArgs, line: &str) -> Result<String, Trouble> {
    if let Some(token) = &server.token {
        let mut checked = None;
        SettingSlot::Secret(&mut checked, 1)
            .put(token)
            .map_err(|expected| {
                Trouble::Connection(format!(
                    "--token or RINGPOST_BACKEND_TOKEN: expected {expected}"
                ))
            })?;
    }
    let mut conversation = Conversation::open(server)?;
    if let Some(token) = &server.token {
        let answer = conversation.exchange(&format!("auth {token}"))?;
        if answer != "ok" {
            return Err(Trouble::NotOurs(answer));
        }
    }
    conversation.exchange(line)
}

/// One connection to a back-end port, with one deadline for all of it.
struct Conversation<'a> {
    stream: Dialed,
    /// Received and not yet taken.
    received: Vec<u8>,
    deadline: Instant,
    server: &'a ServerArgs,
}

impl<'a> Conversation<'a> {
    fn open(server: &'a ServerArgs) -> Result<Conversation<'a>, Trouble> {
        let deadline = Instant::now() + server.timeout;
        let stream =
            Dialed::dial(&server.to, server.timeout, &server.trust).map_err(Trouble::Connection)?;
        Ok(Conversation {
            stream,
            received: Vec::new(),
            deadline,
            server,
        })
    }

    /// Sends a line and reads one; `fail: …` is an error that every caller passes on.
    fn exchange(&mut self, line: &str) -> Result<String, Trouble> {
        let answer = self
            .send(line)
            .and_then(|()| self.receive())
            .map_err(|error| Trouble::Connection(self.describe(&error)))?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        match answer.strip_prefix("fail: ") {
            Some(reason) => Err(Trouble::Refused(reason.to_owned())),
            None => Ok(answer),
        }
    }

    fn send(&mut self, line: &str) -> io::Result<()> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write_all(format!("{line}\n").as_bytes())?;
        self.stream.flush()
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = [0; 16 << 10];
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let rest = self.received.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.received, rest);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            if self.received.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::other("the answer does not end"));
            }
            self.stream.set_read_timeout(self.left()?)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }

    fn describe(&self, error: &io::Error) -> String {
        let to = Escaped(&self.server.to);
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => format!(
                "no answer from {to} within {} (--timeout TIME)",
                humantime::format_duration(self.server.timeout)
            ),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                format!(
                    "{to} closed the connection without an answer; is it a push-backend port, is \
                     the token right, and is the message within the server's message_bytes_max?"
                )
            }
            _ => format!("{to}: {error}"),
        }
    }
}
