//! A first conversation with the server, before a run: whether anybody is there, and whether it is
//! what the workload wants to speak to. All waiting is bounded by [`TIMEOUT`].

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::plan::{Kind, Plan};
use super::wire::codec::Piece;
use super::wire::target::Target;
use super::wire::{TlsClient, read_upgrade, upgrade_request};

/// For the whole conversation.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Speaks to the listeners of a plan; the error says what is wrong and what would mend it.
pub fn check(plan: &Plan) -> Result<(), String> {
    let mut front = ProbeTalk::open(&plan.target, "--url")?;
    let url = &plan.target.url;
    let uid = format!("{:08x}-probe", plan.run);
    match plan.kind {
        Kind::Push => {
            let back = plan.backend.as_ref().expect("push has a back end");
            return check_backend(back, plan.token.as_deref(), &uid);
        }
        Kind::Reconnect => {
            let host = &plan.target.host;
            let request = format!("GET /v1/events?uid={uid} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = front.ask(&request)?;
            if !answer.starts_with("HTTP/1.1 200 ") {
                return Err(format!(
                    "{url} answers who listens for events with \"{}\": reconnect wants a page or events listener that \
                     lets everybody listen (--url)",
                    shown(answer.lines().next().unwrap_or_default())
                ));
            }
        }
        Kind::Chat => {
            let answer = front.ask(&format!("login:b{:08x}_probe", plan.run))?;
            if answer != "notice:success" {
                return Err(format!(
                    "{url} answers a chat login with \"{}\": chat wants a chat listener (--url)",
                    shown(&answer)
                ));
            }
        }
        _ => {
            let answer = front.ask(&uid).map_err(|error| {
                format!("{error}; is it a relay listener? (a push listener answers no login)")
            })?;
            let is_login = match plan.target.codec.has_addresses() {
                true => answer.strip_prefix("login success, your uid is ") == Some(&uid),
                false => answer == uid,
            };
            if !is_login {
                return Err(format!(
                    "{url} answers a login with \"{}\": {} wants a relay listener (--url)",
                    shown(&answer),
                    plan.kind
                ));
            }
        }
    }
    Ok(())
}

fn check_backend(target: &Target, token: Option<&str>, uid: &str) -> Result<(), String> {
    let mut back = ProbeTalk::open(target, "--backend")?;
    if let Some(token) = token {
        let answer = back.ask(&format!("auth {token}"))?;
        if answer != "ok" {
            return Err(format!(
                "{} does not take the token: \"{}\"",
                target.url,
                shown(&answer)
            ));
        }
    }
    let answer = back.ask(&format!("{{\"uid\":\"{uid}\",\"stamp\":\"\"}}"))?;
    match answer.as_str() {
        "fail" | "ok" => Ok(()),
        _ => Err(format!(
            "{} answers a push with \"{}\": push wants a push-backend port (--backend) and its token \
             (--token), if it has one",
            target.url,
            shown(&answer)
        )),
    }
}

/// One blocking connection.
struct ProbeTalk<'a> {
    target: &'a Target,
    stream: Socket,
    tls: Option<TlsClient>,
    received: Vec<u8>,
    deadline: Instant,
}

impl<'a> ProbeTalk<'a> {
    fn open(target: &'a Target, flag: &str) -> Result<ProbeTalk<'a>, String> {
        let url = &target.url;
        let stream =
            target
                .address
                .connect_within(TIMEOUT)
                .map_err(|error| match error.kind() {
                    ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                        format!("nothing listens on {url}; is the server running? ({flag})")
                    }
                    ErrorKind::TimedOut => format!("no connection to {url} within 5 s ({flag})"),
                    _ => format!("no connection to {url}: {error} ({flag})"),
                })?;
        let mut talk = ProbeTalk {
            target,
            stream,
            tls: None,
            received: Vec::new(),
            deadline: Instant::now() + TIMEOUT,
        };
        if let Some(tickets) = target.tls {
            talk.tls = Some(TlsClient::new(&target.host, tickets)?);
            talk.shake_hands()?;
        }
        if target.codec.has_handshake() {
            talk.upgrade()?;
        }
        Ok(talk)
    }

    fn shake_hands(&mut self) -> Result<(), String> {
        self.write(&[])?;
        while self.tls.as_ref().is_some_and(|tls| !tls.is_ready()) {
            self.read().map_err(|error| {
                format!("{error}; does it speak TLS? (ws://, text://, frame:// do not)")
            })?;
            self.write(&[])?;
        }
        Ok(())
    }

    fn upgrade(&mut self) -> Result<(), String> {
        let request = upgrade_request(&self.target.host, &self.target.path);
        self.write(request.as_bytes())?;
        loop {
            match read_upgrade(&self.received) {
                Ok(Some(taken)) => {
                    self.received.drain(..taken);
                    return Ok(());
                }
                Ok(None) => self.read().map_err(|error| {
                    format!("{error}; is it a websocket listener? (text://, frame:// are others)")
                })?,
                Err(problem) => {
                    return Err(format!(
                        "{}: {problem}; is it a websocket listener?",
                        self.target.url
                    ));
                }
            }
        }
    }

    /// Sends a message, and takes the next one.
    fn ask(&mut self, message: &str) -> Result<String, String> {
        let mut out = Vec::new();
        let mask = std::process::id();
        self.target.codec.write(message.as_bytes(), mask, &mut out);
        self.write(&out)?;
        loop {
            let (piece, taken) = self.target.codec.read(&self.received);
            let message = match piece {
                Piece::Message(range) => {
                    Some(String::from_utf8_lossy(&self.received[range]).into_owned())
                }
                Piece::Close(code) => {
                    return Err(format!("{} closes with {code}", self.target.url));
                }
                Piece::Wrong(problem) => {
                    return Err(format!("{} sends {problem}", self.target.url));
                }
                Piece::Incomplete => {
                    self.read()?;
                    continue;
                }
                Piece::Ping(_) | Piece::Pong => None,
            };
            self.received.drain(..taken);
            if let Some(message) = message {
                return Ok(message);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = match &mut self.tls {
            Some(tls) => tls.write(bytes, &mut self.stream).map(|_| ()),
            None => self.stream.write_all(bytes),
        };
        written.map_err(|error| format!("{}: {error}", self.target.url))
    }

    fn read(&mut self) -> Result<(), String> {
        let url = &self.target.url;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let silent = || format!("{url} does not answer within 5 s");
        if left.is_zero() {
            return Err(silent());
        }
        let mut chunk = [0; 4096];
        let count = self
            .stream
            .set_read_timeout(Some(left))
            .and_then(|()| self.stream.read(&mut chunk));
        match count {
            Ok(0) => Err(format!("{url} closes without an answer")),
            Ok(count) => {
                let chunk = &chunk[..count];
                match &mut self.tls {
                    Some(tls) => {
                        let opened = tls.open(chunk, &mut self.received);
                        opened
                            .map(|_| ())
                            .map_err(|error| format!("{url}: {error}"))
                    }
                    None => {
                        self.received.extend_from_slice(chunk);
                        Ok(())
                    }
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(silent())
            }
            Err(error) => Err(format!("{url}: {error}")),
        }
    }
}

fn shown(text: &str) -> String {
    let start: String = text.chars().take(80).collect();
    crate::escape::escaped(&start)
}
