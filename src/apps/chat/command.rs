//! What a chat user sends, read: [`read`] gives the [`Command`] it is, or the error to tell.
//! Pure, and without allocation.

use std::net::SocketAddr;

/// Fewest characters of a name.
pub const NAME_CHARS_MIN: usize = 3;
/// Most characters of a name.
pub const NAME_CHARS_MAX: usize = 20;

/// What a user asks for.
#[derive(PartialEq, Eq, Debug)]
pub enum Command<'a> {
    /// `login:NAME`, the name checked.
    Login(&'a str),
    /// `msg:nihao`, which is answered.
    Nihao,
    /// `msg:other`, which is not.
    Silence,
    /// `chat:<ip:port>:TEXT`
    Say {
        /// The address as written; see [`is_address`].
        to: &'a str,
        /// The rest, whatever it holds.
        text: &'a str,
    },
}

/// What a user did wrong; the text after `notice:error `.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Not 3–20 letters, digits or `_`.
    BadName,
    /// A login after a login.
    SecondLogin,
    /// A name that is not the uid which the connection has proved.
    OtherName,
    /// Anything else before one.
    NotLoggedIn,
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
                "notice:error bad name: it takes 3 to 20 letters, digits or underscores"
            }
            CommandError::SecondLogin => "notice:error second login: you have a name already",
            CommandError::OtherName => "notice:error your token is for another name",
            CommandError::NotLoggedIn => "notice:error not logged in",
            CommandError::NoSuchUser => "notice:error no such user",
            CommandError::RoomFull => "notice:error room is full",
            CommandError::Unknown => "notice:error unknown command",
        }
    }
}

/// Reads one message.
pub fn read(message: &str) -> Result<Command<'_>, CommandError> {
    if let Some(name) = login(message) {
        return check_name(name).map(Command::Login);
    }
    if let Some(text) = message.strip_prefix("msg:") {
        return Ok(match text {
            "nihao" => Command::Nihao,
            _ => Command::Silence,
        });
    }
    let rest = message.strip_prefix("chat:").ok_or(CommandError::Unknown)?;
    let (to, text) = split_address(rest).ok_or(CommandError::Unknown)?;
    Ok(Command::Say { to, text })
}

/// The string, if it is a name.
pub fn check_name(name: &str) -> Result<&str, CommandError> {
    match is_name(name) {
        true => Ok(name),
        false => Err(CommandError::BadName),
    }
}

/// Whether a string is an address, of anybody or nobody.
pub fn is_address(to: &str) -> bool {
    to.parse::<SocketAddr>().is_ok()
}

/// What follows `login:`, written in any case.
fn login(message: &str) -> Option<&str> {
    let (command, name) = message.split_at_checked("login:".len())?;
    command.eq_ignore_ascii_case("login:").then_some(name)
}

/// Whether a string is a name: of any script, counted in characters. Nothing in it needs an escape
/// in JSON.
fn is_name(name: &str) -> bool {
    // No more is counted than it takes, however long the message is.
    let chars = name.chars().take(NAME_CHARS_MAX + 1).count();
    (NAME_CHARS_MIN..=NAME_CHARS_MAX).contains(&chars)
        && name.chars().all(|c| c == '_' || c.is_alphanumeric())
}

/// Splits `ip:port:TEXT` or `[ip]:port:TEXT`. An IPv6 address has colons of its own, and
/// brackets for that reason; the text may hold any number.
fn split_address(rest: &str) -> Option<(&str, &str)> {
    let ip_end = match rest.starts_with('[') {
        true => rest.find("]:")? + 1,
        false => rest.find(':')?,
    };
    let port_end = ip_end + 1 + rest[ip_end + 1..].find(':')?;
    Some((&rest[..port_end], &rest[port_end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins() {
        assert_eq!(read("login:Tom"), Ok(Command::Login("Tom")));
        assert_eq!(read("LoGiN:李小龙_1"), Ok(Command::Login("李小龙_1")));
        assert_eq!(read("login:عمر٣"), Ok(Command::Login("عمر٣")));
        let longest = "é".repeat(20);
        assert_eq!(
            read(&format!("login:{longest}")),
            Ok(Command::Login(&longest))
        );
        for bad in [
            "",
            "ab",
            "李雷",
            "a b",
            " abc",
            "abc ",
            "a-b-c",
            "a:bc",
            "<b>",
            "abc\n",
            "a\"b",
            "a\u{200b}bc",
            "ab\u{202e}c",
            "\u{0}abc",
            "abcdefghijklmnopqrstu",
        ] {
            assert_eq!(
                read(&format!("login:{bad}")),
                Err(CommandError::BadName),
                "{bad:?}"
            );
        }
        assert_eq!(
            read(&format!("login:{}", "é".repeat(21))),
            Err(CommandError::BadName)
        );
    }

    #[test]
    fn nihao_and_other() {
        assert_eq!(read("msg:nihao"), Ok(Command::Nihao));
        assert_eq!(read("msg:nihao "), Ok(Command::Silence));
        assert_eq!(read("msg:"), Ok(Command::Silence));
    }

    #[test]
    fn addresses_split_at_their_own_end() {
        let say = |to, text| Ok(Command::Say { to, text });
        assert_eq!(read("chat:127.0.0.1:80:hi"), say("127.0.0.1:80", "hi"));
        assert_eq!(
            read("chat:127.0.0.1:80:a:b::c"),
            say("127.0.0.1:80", "a:b::c")
        );
        assert_eq!(read("chat:127.0.0.1:80:"), say("127.0.0.1:80", ""));
        assert_eq!(read("chat:[::1]:80:]:1:x"), say("[::1]:80", "]:1:x"));
        assert_eq!(
            read("chat:[2001:db8::7]:65535:你好:"),
            say("[2001:db8::7]:65535", "你好:")
        );
    }

    #[test]
    fn what_is_an_address() {
        for address in ["127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80"] {
            assert!(is_address(address), "{address}");
        }
        for message in [
            "chat:all:1:x",
            "chat:uid:1:x",
            "chat:1.2.3.4:99999:x",
            "chat:1.2.3.4::x",
            "chat:::x",
            "chat:[all]:1:x",
            "chat:::1:80:x",
            "chat:[::1] :80:x]:1:y",
            "chat:é:é:é",
        ] {
            match read(message) {
                Ok(Command::Say { to, .. }) => assert!(!is_address(to), "{message}"),
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
            "chat:",
            "chat:127.0.0.1:80",
            "chat:[::1]:80",
            "chat:[::1",
            "Chat:1.2.3.4:5:x",
            "MSG:nihao",
            "é",
            "ééé",
            ":",
        ] {
            assert_eq!(read(unknown), Err(CommandError::Unknown), "{unknown}");
        }
    }
}
