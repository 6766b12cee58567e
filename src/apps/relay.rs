//! `relay`: a uid server whose clients talk to each other. The first message of a connection is its
//! uid, each later one `to:body`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringpost::app::{App, BindError, Context};
use ringpost::close::CloseReason;
use ringpost::ident::{EVERYBODY, UID_BYTES_MAX};
use ringpost::payload::Message;

use super::text_of;

/// Before the uid, to whom has logged in.
const WELCOME: &str = "login success, your uid is ";

/// The app. Its only state is whether it answers errors, which may change.
pub struct Relay {
    errors: Arc<AtomicBool>,
}

impl Relay {
    /// `errors`: whether bad input is answered by `error: …` (`relay.errors`), or by nothing for
    /// clients that cannot bear answers.
    pub fn new(errors: Arc<AtomicBool>) -> Relay {
        Relay { errors }
    }

    fn answers_errors(&self) -> bool {
        self.errors.load(Ordering::Relaxed)
    }

    fn log_in(&self, cx: &mut Context<'_, Self>, message: Message<'_>) {
        match login(message) {
            Ok(uid) => cx.bind_uid(uid),
            Err(reason) => {
                if self.answers_errors() {
                    cx.send(format!("error: {reason}"));
                }
                cx.close(CloseReason::BadLogin);
            }
        }
    }
}

impl App for Relay {
    type Session = ();
    type Note = ();

    const NAMESPACE: &'static str = "relay";

    /// Nothing is kept of a connection.
    fn pack(&self, _: &()) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
        if cx.uid().is_none() {
            return self.log_in(cx, message);
        }
        match addressed(message) {
            Some((EVERYBODY, body)) => cx.broadcast(body),
            Some((to, body)) if self.answers_errors() => cx.send_to_uid_or_tell(to, body),
            Some((to, body)) => cx.send_to_uid(to, body),
            None if self.answers_errors() => {
                cx.send("error: expected \"uid:message\" or \"all:message\"")
            }
            None => {}
        }
    }

    fn on_proved(&mut self, cx: &mut Context<'_, Self>, _: &mut (), uid: &str) {
        self.log_in(cx, Message::Text(uid));
    }

    /// After an error the library closes: 4006 for a string that is no uid, 4002 for one in use.
    fn on_bound(&mut self, cx: &mut Context<'_, Self>, _: &mut (), result: Result<(), BindError>) {
        match result {
            Ok(()) => {
                let uid = cx.uid().unwrap_or("");
                let mut answer = String::with_capacity(WELCOME.len() + uid.len());
                answer.push_str(WELCOME);
                answer.push_str(uid);
                cx.send(&answer);
            }
            Err(error) if self.answers_errors() => cx.send(format!("error: {error}")),
            Err(_) => {}
        }
    }

    fn on_offline(&mut self, cx: &mut Context<'_, Self>, _: &mut (), uid: &str) {
        cx.send(offline(uid));
    }
}

/// The uid in a first message. The library checks the rest of what makes a uid.
fn login(message: Message<'_>) -> Result<&str, &'static str> {
    let uid = text_of(message).ok_or("a uid is UTF-8")?;
    if uid.contains(':') {
        return Err("a uid has no colon here, since nobody could address it");
    }
    Ok(uid)
}

/// Splits `to:body` at the first colon. A binary message whose part before the colon is UTF-8 has a
/// binary body. `None` if there is no colon, or nothing or more than a uid before it.
fn addressed(message: Message<'_>) -> Option<(&str, Message<'_>)> {
    // A uid is short, so a megabyte without a colon costs no more than a line without one.
    let bytes = message.bytes();
    let head = &bytes[..bytes.len().min(UID_BYTES_MAX + 1)];
    let colon = head.iter().position(|&byte| byte == b':')?;
    if colon == 0 {
        return None;
    }
    match message {
        Message::Text(text) => Some((&text[..colon], Message::Text(&text[colon + 1..]))),
        Message::Binary(bytes) => {
            let to = std::str::from_utf8(&bytes[..colon]).ok()?;
            Some((to, Message::Binary(&bytes[colon + 1..])))
        }
    }
}

/// The answer to a message for somebody who is not there. The uid comes back escaped as Rust would
/// write it, so that quotes end where they seem to and control characters stay harmless.
fn offline(uid: &str) -> String {
    format!("error: uid {uid:?} is not online")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_colon_only() {
        let text = |text| addressed(Message::Text(text));
        assert_eq!(text("a:b:c"), Some(("a", Message::Text("b:c"))));
        assert_eq!(text("all:x"), Some(("all", Message::Text("x"))));
        assert_eq!(text("a:"), Some(("a", Message::Text(""))));
        assert_eq!(text("李雷:你好"), Some(("李雷", Message::Text("你好"))));
        assert_eq!(text(":x"), None);
        assert_eq!(text("hello"), None);
        assert_eq!(text(""), None);
    }

    #[test]
    fn an_address_is_as_long_as_a_uid_at_most() {
        let longest = format!("{}:x", "u".repeat(UID_BYTES_MAX));
        assert_eq!(
            addressed(Message::Text(&longest)),
            Some((&longest[..UID_BYTES_MAX], Message::Text("x")))
        );
        assert_eq!(addressed(Message::Text(&format!("u{longest}"))), None);
        // The cut at 129 bytes falls inside a character and must not matter.
        assert_eq!(addressed(Message::Text(&"é".repeat(200))), None);
    }

    #[test]
    fn binary_stays_binary_behind_a_utf8_address() {
        let binary = |bytes| addressed(Message::Binary(bytes));
        assert_eq!(
            binary(b"a:\xff:\x00"),
            Some(("a", Message::Binary(b"\xff:\x00")))
        );
        assert_eq!(binary(b"\xff:a"), None);
        assert_eq!(binary(b"\xff\xfe"), None);
    }

    #[test]
    fn logins() {
        assert_eq!(login(Message::Text("uid1")), Ok("uid1"));
        assert_eq!(login(Message::Binary(b"uid1")), Ok("uid1"));
        assert!(login(Message::Text("a:b")).is_err());
        assert!(login(Message::Binary(b"\xff")).is_err());
    }

    #[test]
    fn an_echoed_uid_is_harmless() {
        assert_eq!(offline("x"), "error: uid \"x\" is not online");
        assert_eq!(offline("李雷"), "error: uid \"李雷\" is not online");
        assert_eq!(offline("a\"b\\"), r#"error: uid "a\"b\\" is not online"#);
        let hostile = offline("\n\r\0\u{1b}[2J\u{85}\u{202e}\u{2028}");
        assert!(!hostile.contains(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{2028}'));
    }
}
