//! What the program says of its listeners on stdout: one line each, with what to do with it.

use std::fmt::Write;
use std::net::SocketAddr;

use ringpost::{ListenAddress, Roles};

use super::listener::{AppName, ListenerSettings, Scheme, WITHOUT_PATHS};

/// Where the pages of Workerman's uid server and of its push pattern connect, both.
const PATTERN_PORT: u16 = 1234;

/// One line for each listener and the address it is really bound to: `  <app>  <url>  <hint>`.
///
/// The form is relied on: two blanks, then words of no blank, so that the second word is the URL.
pub fn banner(listeners: &[(ListenerSettings, ListenAddress)]) -> String {
    let urls: Vec<String> = listeners
        .iter()
        .map(|(listener, address)| url(listener, address))
        .collect();
    let app_width = listeners
        .iter()
        .map(|(listener, _)| listener.app.to_string().len())
        .max();
    let url_width = urls.iter().map(String::len).max();
    let (app_width, url_width) = (app_width.unwrap_or(0), url_width.unwrap_or(0));
    let mut text = String::new();
    for ((listener, address), url) in listeners.iter().zip(&urls) {
        let (app, hint) = (listener.app, hint(listener, address));
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {app:app_width$}  {url:url_width$}  {hint}");
    }
    text
}

/// The address as a client would write it: browsers say `ws://`.
pub fn url(listener: &ListenerSettings, address: &ListenAddress) -> String {
    let path = listener.path.as_deref();
    match (listener.scheme, listener.is_tls) {
        (Scheme::Websocket, false) => address.url("ws", path),
        (Scheme::Http, is_tls) if address.ip().is_some() => {
            address.url(Scheme::Http.name(is_tls), Some("/"))
        }
        (scheme, is_tls) => address.url(scheme.name(is_tls), path),
    }
}

fn hint(listener: &ListenerSettings, address: &ListenAddress) -> String {
    let hint = match listener.app {
        AppName::Relay => {
            let hint = "first message is your uid, then \"uid:message\" or \"all:message\"";
            // Where the push pattern's page connects, too: here it would see a login it does not expect.
            let port = address.ip().map(|address| address.port());
            match listener.scheme == Scheme::Websocket && port == Some(PATTERN_PORT) {
                true => format!("{hint}; a page of the push pattern wants --preset push"),
                false => hint.to_owned(),
            }
        }
        AppName::Push => "browsers: first message is the uid, then listen".to_owned(),
        AppName::PushBackend if listener.scheme == Scheme::Text && !listener.is_tls => {
            format!(
                "back ends: {}, or JSON lines {{\"uid\":…}}",
                push_command(address)
            )
        }
        AppName::PushBackend => {
            "back ends: JSON messages {\"uid\":…}, kick, online, stats".to_owned()
        }
        AppName::Chat => {
            "\"login:Tom\", then \"chat:<127.0.0.1:50543>:hello\", a key of the roster".to_owned()
        }
        AppName::Echo => "every message comes back".to_owned(),
        AppName::Page if listener.roles.has(WITHOUT_PATHS) => {
            "open it in a browser: relay, push and chat to try".to_owned()
        }
        AppName::Page if listener.roles == Roles::EVENTS => {
            "events only: clients listen by GET /v1/events?uid=UID".to_owned()
        }
        AppName::Page => format!("serves {} only", listener.roles),
    };
    match address.is_local() {
        true => hint,
        false => format!("{hint} (open to other machines)"),
    }
}

/// The command that pushes through a back-end port, with `--to` only where it is needed.
fn push_command(address: &ListenAddress) -> String {
    match address {
        ListenAddress::Ip(address) if *address == SocketAddr::from(([127, 0, 0, 1], 5678)) => {
            "ringpost push UID TEXT".to_owned()
        }
        ListenAddress::Ip(address) => format!("ringpost push --to {address} UID TEXT"),
        unix => format!("ringpost push --to unix://{unix} UID TEXT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::listeners::of_preset;
    use crate::cli::settings::Preset;

    fn column(text: &str, word: &str) -> Option<usize> {
        text.lines().find_map(|line| line.find(word))
    }

    #[test]
    fn the_second_word_of_each_line_is_the_url_really_bound() {
        let mut listeners = of_preset(Preset::Default, true);
        listeners[2].address = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        let bound = |listener: &ListenerSettings| match listener.address.ip() {
            Some(address) if address.port() == 0 => SocketAddr::new(address.ip(), 40_001).into(),
            _ => listener.address.clone(),
        };
        let listeners: Vec<_> = listeners.iter().map(|it| (it.clone(), bound(it))).collect();
        let text = banner(&listeners);
        let words: Vec<(&str, &str)> = text
            .lines()
            .map(|line| {
                assert!(line.starts_with("  "), "{line:?}");
                let mut words = line.split_whitespace();
                (words.next().unwrap(), words.next().unwrap())
            })
            .collect();
        assert_eq!(
            words,
            [
                ("relay", "ws://[::]:1234"),
                ("push", "ws://[::]:1235"),
                ("push-backend", "text://127.0.0.1:40001"),
                ("chat", "ws://[::]:9090"),
                ("page", "http://127.0.0.1:8080/"),
            ]
        );
        assert!(
            text.contains("ringpost push --to 127.0.0.1:40001 UID TEXT"),
            "{text}"
        );
        assert_eq!(text.matches("(open to other machines)").count(), 3);
        let of_push = "a page of the push pattern wants --preset push";
        assert!(text.lines().next().unwrap().contains(of_push), "{text}");
        let columns: Vec<_> = words.iter().map(|(_, url)| column(&text, url)).collect();
        assert_eq!(columns, [columns[0]; 5], "{text}");
    }

    #[test]
    fn of_a_unix_socket_clients_are_told_its_name() {
        for (pair, url, words) in [
            (
                "text+unix:///run/a.sock=push-backend",
                "text+unix:///run/a.sock",
                "--to unix:///run/a.sock UID",
            ),
            (
                "text+unix://@a=push-backend",
                "text+unix://@a",
                "--to unix://@a UID",
            ),
            (
                "ws+unix:///run/a.sock:/ws=push",
                "ws+unix:///run/a.sock:/ws",
                "browsers",
            ),
            (
                "http+unix:///run/a.sock=page",
                "http+unix:///run/a.sock",
                "open it",
            ),
        ] {
            let listener = ListenerSettings::parse_pair(pair).expect("a listener");
            let text = banner(&[(listener.clone(), listener.address.clone())]);
            assert_eq!(text.split_whitespace().nth(1), Some(url));
            assert!(
                text.contains(words) && !text.contains("other machines"),
                "{text}"
            );
        }
    }

    #[test]
    fn the_push_patterns_page_is_sent_elsewhere_from_the_port_it_knows_alone() {
        let mut listeners = of_preset(Preset::Default, false);
        listeners[0].address = SocketAddr::from(([127, 0, 0, 1], 4_321)).into();
        listeners.extend(of_preset(Preset::Push, false));
        let listeners: Vec<_> = listeners
            .iter()
            .map(|it| (it.clone(), it.address.clone()))
            .collect();
        let text = banner(&listeners);
        assert!(!text.contains("--preset push"), "{text}");
    }
}
