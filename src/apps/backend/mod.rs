//! `push-backend`: the port on which a back end speaks, a line at a time (see [`line`]). It
//! reaches the clients of `relay` and `push`.
//!
//! Each line gets one answer, in the order of the lines, however far ahead a back end writes: an answer
//! takes its place ([`Context::reserve`]) when its line comes and is filled when it is known. A back
//! end that does not read its answers is not read either. Questions under way are bounded by what a
//! connection may have in transit, and each is answered once, so the table of them empties itself.

mod any_object;
pub mod line;
mod line_error;
mod object;
pub mod report;
mod strangers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ahash::AHashMap;
use ringpost::app::{Answer, App, Context, Login, Peers, WhenFlawed, WhenFull};
use ringpost::auth::backend_tokens::{BackendTokens, Rights};
use ringpost::close::{CloseReason, Flaw};
use ringpost::ident::{ConnId, Reply, Ticket};
use ringpost::payload::Message;

use self::line::Line;
use self::report::ServerFacts;
use self::strangers::{PAUSE, Strangers};
use super::text_of;

/// The app's value on one core.
pub struct Backend {
    /// What `stats` tells of the server.
    facts: ServerFacts,
    backend_tokens: BackendTokens,
    /// Strangers who say nothing would keep back ends out otherwise.
    token_timeout: TokenTimeout,
    /// The connections that have not shown one, or a wrong one.
    strangers: Strangers,
    /// The places that wait for an answer, each with its session's number.
    open: AHashMap<Ticket, (Reply, u64)>,
    /// How many sessions there have been.
    sessions: u64,
}

/// Time to show a token, which may change; clones share it.
#[derive(Clone)]
pub struct TokenTimeout(Arc<AtomicU64>);

impl TokenTimeout {
    /// So much.
    pub fn new(time: Duration) -> TokenTimeout {
        let timeout = TokenTimeout(Arc::default());
        timeout.set(time);
        timeout
    }

    /// So much for those who come from now on.
    pub fn set(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// One back end's connection.
pub struct Session {
    /// What it may do: with what it has shown, or all if no token is configured.
    rights: Option<Rights>,
    /// Whether it has shown a token.
    has_shown: bool,
    /// No other session of this core has had it.
    number: u64,
}

impl Backend {
    /// With tokens, the first line of each connection must be `auth TOKEN` with one of them, and come within
    /// this time.
    pub fn new(
        backend_tokens: BackendTokens,
        token_timeout: TokenTimeout,
        facts: ServerFacts,
    ) -> Backend {
        Backend {
            facts,
            backend_tokens,
            token_timeout,
            strangers: Strangers::default(),
            open: AHashMap::new(),
            sessions: 0,
        }
    }

    fn session(&mut self, rights: Option<Rights>) -> Session {
        self.sessions += 1;
        Session {
            rights,
            has_shown: false,
            number: self.sessions,
        }
    }

    fn ask(&mut self, cx: &mut Context<'_, Self>, asker: (u64, Rights), line: &str) {
        let (number, rights) = asker;
        let read = line::read(line);
        if let Ok(read) = &read
            && !rights.has(right_for(read))
        {
            let refusal = format!("fail: this token has no right to {}", right_for(read));
            return answer(cx, &refusal);
        }
        let ticket = match read {
            Ok(Line::Push(uid)) => cx.push_for_verdict(&uid, line),
            Ok(Line::Kick(uid)) => cx.kick(uid),
            Ok(Line::Online(uid)) => cx.online(uid),
            Ok(Line::Stats) => cx.stats(),
            // Not `ok`: whoever sends a token believes this port to be guarded.
            Ok(Line::Auth(_)) if self.backend_tokens.is_empty() => {
                return answer(cx, "fail: no token is configured");
            }
            Ok(Line::Auth(_)) => return answer(cx, "fail: authorized already"),
            Err(error) => return answer(cx, &format!("fail: {error}")),
        };
        let place = cx.reserve();
        self.open.insert(ticket, (place, number));
    }

    /// Who has rights without a token may show one all the same, which adds to them.
    fn adds_rights(&self, session: &mut Session, token: &str) -> bool {
        let (Some(own), Some(shown)) = (session.rights, self.backend_tokens.rights(token)) else {
            return false;
        };
        let is_first = !session.has_shown;
        session.has_shown = true;
        session.rights = Some(own.and(shown));
        is_first
    }

    /// The first line where a token is configured: the token, or the end, after a pause.
    fn authorize(&mut self, cx: &mut Context<'_, Self>, session: &mut Session, line: &str) {
        let Some(connection) = cx.connection() else {
            return;
        };
        if !self.strangers.speaks(connection) {
            return;
        }
        // Nothing else of the line is read: whoever is not authorized gets no work out of us.
        let Some(given) = line.strip_prefix("auth ") else {
            answer(cx, "fail: the first line must be \"auth TOKEN\"");
            return cx.close(CloseReason::Policy);
        };
        session.rights = self.backend_tokens.rights(given);
        session.has_shown = session.rights.is_some();
        if session.rights.is_some() {
            return answer(cx, "ok");
        }
        let place = cx.reserve();
        let Some(peer) = cx.peer() else {
            return;
        };
        self.strangers.tell(peer);
        match self.strangers.pause(connection, peer, place) {
            Ok(()) => cx.after(PAUSE, connection.to_bits()),
            Err(place) => {
                cx.fill(place, WRONG_TOKEN);
                cx.close(CloseReason::Policy);
            }
        }
    }
}

const WRONG_TOKEN: &str = "fail: wrong token";

impl App for Backend {
    type Session = Session;
    type Note = ();

    const NAMESPACE: &'static str = "push-backend";
    const REACH: &'static [&'static str] = &["relay", "push"];
    const PEERS: Peers = Peers::BackEnds;
    const LOGIN: Login = Login::Never;
    const WHEN_FULL: WhenFull = WhenFull::Pause;
    const WHEN_FLAWED: WhenFlawed = WhenFlawed::Tell;

    /// Its rights by their names. One that has shown none yet stays, for its time to do so runs here; so does one whose
    /// questions are open, since their answers come here.
    fn pack(&self, session: &Session) -> Option<Vec<u8>> {
        let rights = session.rights?;
        let mut askers = self.open.values().map(|(_, number)| *number);
        let asks = askers.any(|number| number == session.number);
        (!asks).then(|| rights.to_string().into_bytes())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<Session> {
        let rights = match bytes {
            b"" => Rights::NONE,
            names => Rights::parse(std::str::from_utf8(names).ok()?)?,
        };
        Some(self.session(Some(rights)))
    }

    fn on_connect(&mut self, cx: &mut Context<'_, Self>) -> Session {
        if self.backend_tokens.is_empty() {
            return self.session(Some(Rights::ALL));
        }
        let rights = self.backend_tokens.rights_of(&cx.peer_proof());
        if rights.is_none()
            && let Some(connection) = cx.connection()
        {
            self.strangers.enter(connection);
            cx.after(self.token_timeout.get(), connection.to_bits());
        }
        self.session(rights)
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Session,
        message: Message<'_>,
    ) {
        match (text_of(message).map(plain), session.rights) {
            (Some(line), _) if line::is_http(line.as_bytes()) => cx.close(CloseReason::Protocol),
            (Some(line), Some(rights)) => match line.strip_prefix("auth ") {
                Some(token) if self.adds_rights(session, token) => answer(cx, "ok"),
                _ => self.ask(cx, (session.number, rights), line),
            },
            (Some(line), None) => self.authorize(cx, session, line),
            (None, Some(_)) => answer(cx, "fail: not UTF-8"),
            (None, None) => self.authorize(cx, session, ""),
        }
    }

    /// One bad line among good ones is answered, and the others are served.
    fn on_flawed(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Session,
        flaw: Flaw,
        line: &[u8],
    ) {
        let text = std::str::from_utf8(line).ok();
        match (flaw, session.rights) {
            _ if line::is_http(line) => cx.close(CloseReason::Protocol),
            (Flaw::TooBig, Some(_)) => {
                answer(cx, "fail: the line is longer than message_bytes_max");
            }
            (Flaw::NotUtf8, Some(_)) => answer(cx, "fail: not UTF-8"),
            (Flaw::Unended, Some(rights)) => match text {
                // An object says where it ends; half a name would be another's.
                Some(text) if plain(text).trim_ascii_start().starts_with('{') => {
                    self.ask(cx, (session.number, rights), plain(text));
                }
                Some(_) => answer(cx, "fail: the last line has no end (\\n)"),
                None => answer(cx, "fail: not UTF-8"),
            },
            (_, None) => self.authorize(cx, session, ""),
            (_, Some(_)) => cx.close(flaw.reason()),
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_, Self>, token: u64) {
        let connection = ConnId::from_bits(token);
        if let Some(place) = self.strangers.end_pause(connection) {
            cx.fill(place, WRONG_TOKEN);
            cx.close_connection(connection, CloseReason::Policy);
        } else if self.strangers.speaks(connection) {
            cx.close_connection(connection, CloseReason::LoginTimeout);
        }
    }

    fn on_close(&mut self, cx: &mut Context<'_, Self>, _: Session, _: CloseReason) {
        if let Some(connection) = cx.connection() {
            self.strangers.leave(connection);
        }
    }

    /// A connection that has ended meanwhile has no place any more, and the answer goes nowhere.
    fn on_answer(&mut self, cx: &mut Context<'_, Self>, ticket: Ticket, answer: Answer) {
        let Some((place, _)) = self.open.remove(&ticket) else {
            return;
        };
        match &answer {
            Answer::Stats(stats) => cx.fill(place, report::line(&self.facts, stats)),
            Answer::Unknown(unknown) => cx.fill(place, format!("fail: unknown, {unknown}")),
            reached if reached.is_ok() => cx.fill(place, "ok"),
            _ => cx.fill(place, "fail"),
        }
    }
}

/// A line without the byte-order mark that some libraries put before each text.
fn plain(line: &str) -> &str {
    line.strip_prefix('\u{feff}').unwrap_or(line)
}

/// Answers a line at once, but behind the answers to earlier lines.
fn answer(cx: &mut Context<'_, Backend>, text: &str) {
    let place = cx.reserve();
    cx.fill(place, text);
}

/// What a line takes.
fn right_for(line: &Line<'_>) -> Rights {
    match line {
        Line::Push(_) => Rights::PUSH,
        Line::Kick(_) => Rights::KICK,
        Line::Online(_) | Line::Stats => Rights::READ,
        Line::Auth(_) => Rights::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_written_by_their_names() {
        let timeout = TokenTimeout::new(Duration::from_secs(1));
        let mut backend = Backend::new(BackendTokens::default(), timeout, ServerFacts::new());
        for rights in [Rights::ALL, Rights::PUSH, Rights::NONE] {
            let session = backend.session(Some(rights));
            let bytes = backend.pack(&session).expect("nothing is open");
            let again = backend.unpack(&bytes).expect("a session");
            assert_eq!(again.rights, Some(rights));
            assert_ne!(again.number, session.number);
        }
        let stranger = backend.session(None);
        assert_eq!(backend.pack(&stranger), None);
        assert!(backend.unpack(b"push,fly").is_none());
        assert!(backend.unpack(b"\xff").is_none());
    }
}
