//! What a chat user sends, read: [`read`] gives the [`Command`] it is, or the error to tell.
//! Pure, and without allocation.

use std::net::SocketAddr;

use super::name;

/// What a user asks for.
#[derive(PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// `login:NAME`: the name, and not what follows it.
    Login(&'a str),
    /// `msg:nihao`, which is answered.
    Nihao,
    /// `msg:other`, which is not.
    Silence,
    /// `chat:<ip:port>:TEXT`, the angle brackets being part of it.
    Say {
        /// The address as written between them; see [`is_address`].
        to: &'a str,
        /// The rest, whatever it holds.
        text: &'a str,
    },
}

/// What a user did wrong; the text after `notice:error `.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Does not begin with 3 characters of a name; see [`name`].
    BadName,
    /// A login after a login.
    SecondLogin,
    /// A name that is not the uid which the connection has proved.
    OtherName,
    /// Anything else before one.
    NotLoggedIn,
    /// The address does not stand in angle brackets.
    NoBrackets,
    /// The address is nobody's, or none at all.
    NoSuchUser,
    /// No seat is left.
    RoomFull,
    /// Not a command.
    Unknown,
}

impl CommandError {
    /// The whole message to the user.
    pub fn notice(self) -> &'static str {
        match self {
            CommandError::BadName => {
                "notice:error bad name: it begins with 3 to 20 letters, digits or underscores"
            }
            CommandError::SecondLogin => "notice:error second login: you have a name already",
            CommandError::OtherName => "notice:error your token is for another name",
            CommandError::NotLoggedIn => "notice:error not logged in",
            CommandError::NoBrackets => {
                "notice:error expected \"chat:<ip:port>:text\", the address in angle brackets"
            }
            CommandError::NoSuchUser => "notice:error no such user",
            CommandError::RoomFull => "notice:error room is full",
            CommandError::Unknown => "notice:error unknown command",
        }
    }
}

/// Reads one message. The three commands may be in any case.
pub fn read(message: &str) -> Result<Command<'_>, CommandError> {
    if let Some(rest) = after("login:", message) {
        return name::beginning(rest)
            .map(Command::Login)
            .ok_or(CommandError::BadName);
    }
    if let Some(text) = after("msg:", message) {
        return Ok(match text {
            "nihao" => Command::Nihao,
            _ => Command::Silence,
        });
    }
    let rest = after("chat:", message).ok_or(CommandError::Unknown)?;
    let bracketed = rest.strip_prefix('<').ok_or(CommandError::NoBrackets)?;
    // No address has a `>`, so the first ends it, whatever the text holds.
    let (to, text) = bracketed.split_once(">:").ok_or(CommandError::NoBrackets)?;
    Ok(Command::Say { to, text })
}

/// Whether a string is an address, of anybody or nobody.
pub fn is_address(to: &str) -> bool {
    to.parse::<SocketAddr>().is_ok()
}

/// What follows a command, written in any case.
fn after<'a>(command: &str, message: &'a str) -> Option<&'a str> {
    let (written, rest) = message.split_at_checked(command.len())?;
    written.eq_ignore_ascii_case(command).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_in_any_case() {
        assert_eq!(read("LoGiN:Tom"), Ok(Command::Login("Tom")));
        assert_eq!(read("MSG:nihao"), Ok(Command::Nihao));
        let say = Command::Say {
            to: "1.2.3.4:5",
            text: "x",
        };
        assert_eq!(read("Chat:<1.2.3.4:5>:x"), Ok(say));
        // What is said is as it was typed.
        assert_eq!(read("msg:NIHAO"), Ok(Command::Silence));
    }

    #[test]
    fn logins() {
        assert_eq!(read("login:Tom Smith"), Ok(Command::Login("Tom")));
        assert_eq!(read("login:李小龙_1"), Ok(Command::Login("李小龙_1")));
        for bad in ["", "ab", " abc", "<b>abc"] {
            let message = format!("login:{bad}");
            assert_eq!(read(&message), Err(CommandError::BadName), "{bad:?}");
        }
    }

    #[test]
    fn nihao_and_other() {
        assert_eq!(read("msg:nihao"), Ok(Command::Nihao));
        assert_eq!(read("msg:nihao "), Ok(Command::Silence));
        assert_eq!(read("msg:"), Ok(Command::Silence));
    }

    #[test]
    fn the_brackets_end_an_address() {
        let say = |to, text| Ok(Command::Say { to, text });
        for (message, to, text) in [
            ("chat:<127.0.0.1:50543>:hi", "127.0.0.1:50543", "hi"),
            (
                "chat:<127.0.0.1:50543>:hi: there",
                "127.0.0.1:50543",
                "hi: there",
            ),
            ("chat:<127.0.0.1:80>:a>:b::c", "127.0.0.1:80", "a>:b::c"),
            ("chat:<127.0.0.1:80>:", "127.0.0.1:80", ""),
            ("chat:<127.0.0.1:80>:a\r\nb\n", "127.0.0.1:80", "a\r\nb\n"),
            ("chat:<[::1]:5000>:hi", "[::1]:5000", "hi"),
            (
                "chat:<[2001:db8::7]:65535>:你好:",
                "[2001:db8::7]:65535",
                "你好:",
            ),
        ] {
            assert_eq!(read(message), say(to, text), "{message}");
        }
    }

    #[test]
    fn an_address_without_brackets_is_refused() {
        for message in [
            "chat:",
            "chat:127.0.0.1:80:hi",
            "chat:[::1]:80:hi",
            "chat:<127.0.0.1:80",
            "chat:<127.0.0.1:80>",
            "chat:<127.0.0.1:80>hi",
            "chat:<127.0.0.1:80:hi",
            "chat: <127.0.0.1:80>:hi",
            "chat:127.0.0.1:80>:hi",
        ] {
            assert_eq!(read(message), Err(CommandError::NoBrackets), "{message}");
        }
    }

    #[test]
    fn what_is_an_address() {
        for address in ["127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80"] {
            assert!(is_address(address), "{address}");
        }
        for message in [
            "chat:<all>:x",
            "chat:<>:x",
            "chat:<uid>:x",
            "chat:<127.0.0.1>:x",
            "chat:<1.2.3.4:99999>:x",
            "chat:<1.2.3.4:>:x",
            "chat:<[all]:1>:x",
            "chat:<::1:80>:x",
            "chat:<[::1] :80>:x",
            "chat:<<127.0.0.1:80>>:x",
            "chat:<<127.0.0.1:80>:x",
            "chat:< 127.0.0.1:80 >:x",
            "chat:<é:é>:é",
        ] {
            match read(message) {
                Ok(Command::Say { to, .. }) => assert!(!is_address(to), "{message}"),
                Err(CommandError::NoBrackets) => {}
                other => panic!("{message}: {other:?}"),
            }
        }
    }

    #[test]
    fn unknown() {
        for unknown in [
            "",
            "login",
            "logi:é",
            "logié:abc",
            "hello",
            "chat",
            "chatty:x",
            "é",
            "ééé",
            ":",
        ] {
            assert_eq!(read(unknown), Err(CommandError::Unknown), "{unknown}");
        }
    }
}
