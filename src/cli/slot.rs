//! [`SettingSlot`]: the place of one setting, and how it is read from and written as text.
//!
//! File, variables and flags all end as text here, so that a value is understood, bounded and
//! complained about in one way wherever it came from.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use ringpost::auth::backend_tokens::BACKEND_TOKEN_BYTES_MIN;
use ringpost::config::{EventKinds, IpNet};

use super::choice::{Choice, one_of};
use super::values::{
    TOKEN_BYTES_MAX, is_token, parse_bytes, parse_networks, parse_origins, parse_switch,
    show_bytes, show_network,
};

/// Longest time that can be set: far beyond any use, and far from overflowing a clock.
pub const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);
/// Longest word, such as an audience's name.
const WORD_BYTES_MAX: usize = 4_096;

/// A setting's place in the settings, with the values it takes.
#[derive(PartialEq)]
pub enum SettingSlot<'a> {
    Switch(&'a mut bool),
    Count(&'a mut usize, RangeInclusive<usize>),
    /// A size in bytes.
    Bytes(&'a mut usize, RangeInclusive<usize>),
    /// A time of at least the given length.
    Time(&'a mut Duration, Duration),
    Choice(&'a mut dyn Choice),
    /// Origins of pages, separated by commas.
    Origins(&'a mut Vec<String>),
    /// Networks of addresses, separated by commas.
    Networks(&'a mut Vec<IpNet>),
    /// Events that a back end is told of, separated by commas.
    Events(&'a mut EventKinds),
    /// The path of a file.
    File(&'a mut Option<PathBuf>),
    /// A name that others have chosen; empty is none.
    Word(&'a mut Option<String>),
    /// A secret of at least so many characters: never shown, neither in an error nor by `check`.
    Secret(&'a mut Option<String>, usize),
}

impl SettingSlot<'_> {
    /// Takes the value that the text means; the error says what was expected instead.
    pub fn put(&mut self, text: &str) -> Result<(), String> {
        let text = text.trim();
        let taken = match self {
            SettingSlot::Switch(place) => parse_switch(text).map(|value| **place = value),
            SettingSlot::Count(place, range) => text
                .parse()
                .ok()
                .filter(|value| range.contains(value))
                .map(|value| **place = value),
            SettingSlot::Bytes(place, range) => parse_bytes(text)
                .filter(|value| range.contains(value))
                .map(|value| **place = value),
            SettingSlot::Time(place, shortest) => humantime::parse_duration(text)
                .ok()
                .filter(|value| (*shortest..=TIME_MAX).contains(value))
                .map(|value| **place = value),
            SettingSlot::Choice(place) => place.choose(text).then_some(()),
            SettingSlot::Origins(place) => parse_origins(text).map(|value| **place = value),
            SettingSlot::Networks(place) => parse_networks(text).map(|value| **place = value),
            SettingSlot::Events(place) => EventKinds::parse(text).map(|value| **place = value),
            SettingSlot::File(place) => (!text.contains(char::is_control)).then(|| {
                **place = (!text.is_empty()).then(|| PathBuf::from(text));
            }),
            SettingSlot::Word(place) => {
                let fits = text.len() <= WORD_BYTES_MAX && !text.contains(char::is_control);
                fits.then(|| **place = (!text.is_empty()).then(|| text.to_owned()))
            }
            SettingSlot::Secret(place, least) => {
                (text.len() >= *least && is_token(text)).then(|| **place = Some(text.to_owned()))
            }
        };
        taken.ok_or_else(|| self.expected())
    }

    /// Takes the value of the same setting elsewhere.
    pub fn take(&mut self, other: &mut SettingSlot<'_>) {
        match (self, other) {
            (SettingSlot::Switch(place), SettingSlot::Switch(other)) => **place = **other,
            (SettingSlot::Count(place, _), SettingSlot::Count(other, _))
            | (SettingSlot::Bytes(place, _), SettingSlot::Bytes(other, _)) => **place = **other,
            (SettingSlot::Time(place, _), SettingSlot::Time(other, _)) => **place = **other,
            (SettingSlot::Choice(place), SettingSlot::Choice(other)) => {
                place.choose(other.name());
            }
            (SettingSlot::Origins(place), SettingSlot::Origins(other)) => place.clone_from(other),
            (SettingSlot::Networks(place), SettingSlot::Networks(other)) => place.clone_from(other),
            (SettingSlot::Events(place), SettingSlot::Events(other)) => **place = **other,
            (SettingSlot::File(place), SettingSlot::File(other)) => place.clone_from(other),
            (SettingSlot::Word(place), SettingSlot::Word(other))
            | (SettingSlot::Secret(place, _), SettingSlot::Secret(other, _)) => {
                place.clone_from(other);
            }
            _ => debug_assert!(false, "one setting has one kind of value"),
        }
    }

    /// The values it takes, in words that follow "expected".
    pub fn expected(&self) -> String {
        match self {
            SettingSlot::Switch(_) => "true or false".to_owned(),
            SettingSlot::Count(_, range) => {
                format!("a whole number from {} to {}", range.start(), range.end())
            }
            SettingSlot::Bytes(_, range) => format!(
                "a size from {} to {}, as bytes or with a unit, such as 65536 or \"64 KiB\"",
                show_bytes(*range.start()),
                show_bytes(*range.end())
            ),
            SettingSlot::Time(_, shortest) if shortest.is_zero() => {
                "a time with its unit, such as \"55s\", \"100ms\" or \"1m30s\", or 0; at most \
                 365 days"
                    .to_owned()
            }
            SettingSlot::Time(_, shortest) => format!(
                "a time with its unit, such as \"55s\", \"100ms\" or \"1m30s\", from {} to 365 days",
                humantime::format_duration(*shortest)
            ),
            SettingSlot::Choice(place) => one_of(place.names()),
            SettingSlot::Origins(_) => {
                "origins separated by commas, such as \"https://shop.example, https://*.shop.example, null\", or \"*\""
                    .to_owned()
            }
            SettingSlot::Networks(_) => {
                "addresses or networks separated by commas, such as \"10.0.0.0/8, ::1\", or unix: for whoever comes \
                 by a Unix socket, unix:USER for a user there"
                    .to_owned()
            }
            SettingSlot::Events(_) => {
                "events separated by commas, such as \"connect, disconnect, kick\"".to_owned()
            }
            SettingSlot::File(_) => "the path of a file, without control characters".to_owned(),
            SettingSlot::Word(_) => {
                format!("at most {WORD_BYTES_MAX} bytes without control characters")
            }
            SettingSlot::Secret(_, least) => {
                let mut text = format!(
                    "{least} to {TOKEN_BYTES_MAX} printable ASCII characters without a space"
                );
                if *least == BACKEND_TOKEN_BYTES_MIN {
                    text.push_str("; `ringpost token --back-end` makes one");
                }
                text
            }
        }
    }

    /// Of a list, the first entry that is none; `None` of what is no list.
    pub fn misfit<'t>(&self, text: &'t str) -> Option<&'t str> {
        let fits: fn(&str) -> bool = match self {
            SettingSlot::Origins(_) => |one| parse_origins(one).is_some(),
            SettingSlot::Networks(_) => |one| parse_networks(one).is_some(),
            SettingSlot::Events(_) => |one| EventKinds::parse(one).is_some(),
            _ => return None,
        };
        text.split(',').map(str::trim).find(|one| !fits(one))
    }

    /// The present value as it stands in a TOML file; `None` if it has none.
    pub fn show(&self) -> Option<String> {
        match self {
            SettingSlot::Switch(place) => Some(place.to_string()),
            SettingSlot::Count(place, _) => Some(place.to_string()),
            SettingSlot::Bytes(place, _) => Some(format!("\"{}\"", show_bytes(**place))),
            SettingSlot::Time(place, _) => {
                Some(format!("\"{}\"", humantime::format_duration(**place)))
            }
            SettingSlot::Choice(place) => Some(format!("\"{}\"", place.name())),
            SettingSlot::Origins(place) => Some(format!("\"{}\"", place.join(", "))),
            SettingSlot::Networks(place) => {
                let networks: Vec<String> = place.iter().map(show_network).collect();
                Some(format!("\"{}\"", networks.join(", ")))
            }
            SettingSlot::Events(place) => Some(format!("\"{place}\"")),
            SettingSlot::File(place) => {
                place.as_ref().map(|path| format!("\"{}\"", path.display()))
            }
            SettingSlot::Word(place) => place.as_ref().map(|word| format!("\"{word}\"")),
            SettingSlot::Secret(place, _) => place.as_ref().map(|_| "(hidden)".to_owned()),
        }
    }

    /// What stands for the value in `--help`.
    pub fn value_name(&self) -> String {
        match self {
            SettingSlot::Switch(_) => "true|false".to_owned(),
            SettingSlot::Count(..) => "N".to_owned(),
            SettingSlot::Bytes(..) => "SIZE".to_owned(),
            SettingSlot::Time(..) => "TIME".to_owned(),
            SettingSlot::Choice(place) => place.names().join("|"),
            SettingSlot::Origins(_) => "ORIGINS".to_owned(),
            SettingSlot::Networks(_) => "NETWORKS".to_owned(),
            SettingSlot::Events(_) => "EVENTS".to_owned(),
            SettingSlot::File(_) => "FILE".to_owned(),
            SettingSlot::Word(_) => "NAME".to_owned(),
            SettingSlot::Secret(..) => "TOKEN".to_owned(),
        }
    }
}

/// A time for a flag that is no setting.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let mut time = Duration::ZERO;
    SettingSlot::Time(&mut time, Duration::from_millis(1))
        .put(text)
        .map_err(|expected| format!("expected {expected}"))?;
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_bounds() {
        let mut time = Duration::ZERO;
        let mut slot = SettingSlot::Time(&mut time, Duration::from_secs(1));
        assert!(slot.put("1m30s").is_ok());
        for text in ["0", "999ms", "55", "", "soon", "366 days", "-1s"] {
            assert!(slot.put(text).is_err(), "{text}");
        }
        assert_eq!(time, Duration::from_secs(90));
        assert!(
            SettingSlot::Time(&mut time, Duration::ZERO)
                .put("0")
                .is_ok()
        );
    }

    #[test]
    fn networks() {
        let mut networks = Vec::new();
        let mut slot = SettingSlot::Networks(&mut networks);
        for text in [
            "10.0.0.0/33",
            "10.0.0",
            "localhost",
            "10.0.0.1:80",
            "::1/129",
            "a,b",
            "unix",
            "unix:no-such-account",
        ] {
            assert!(slot.put(text).is_err(), "{text}");
        }
        assert!(
            slot.put("10.1.2.3/8, ::1,192.0.2.7, ::ffff:192.0.2.8")
                .is_ok()
        );
        let shown = slot.show();
        let expected = "\"10.0.0.0/8, ::1/128, 192.0.2.7/32, 192.0.2.8/32\"";
        assert_eq!(shown.as_deref(), Some(expected));
        assert!(slot.put("unix:, unix:root, ::1").is_ok());
        let expected = "\"unix:, unix:0, ::1/128\"";
        assert_eq!(slot.show().as_deref(), Some(expected));
        assert!(slot.put("").is_ok());
        assert_eq!(slot.show().as_deref(), Some("\"\""));
    }

    #[test]
    fn origins_as_browsers_write_them() {
        for text in [
            "",
            "*",
            "null",
            "https://shop.example, null",
            "http://127.0.0.1:8080,http://[::1]:8080 , http://[2001:db8::1]",
            "chrome-extension://abcdef",
            "https://xn--bcher-kva.example:443",
            "https://*.shop.example",
            "https://*.shop.example:8443, http://*.localhost",
            "file://",
            "capacitor://localhost, ionic://localhost, app://.",
        ] {
            assert!(parse_origins(text).is_some(), "{text}");
        }
        for text in [
            "shop.example",
            "https://",
            "://shop.example",
            "https://shop.example/",
            "https://shop.example:",
            "https://shop.example:port",
            "https://shop.example:65536",
            "https://me@shop.example",
            "https://shop.example?x",
            "https://*",
            "https://*.",
            "https://*shop.example",
            "https://a*.shop.example",
            "https://a.*.shop.example",
            "https://*.*.shop.example",
            "https://*.127.0.0.1",
            "https://*.[::1]",
            "*://*.shop.example",
            "*.shop.example",
            "https://*..shop.example",
            "file:///",
            "file://:80",
            "http://",
            "https://bücher.example",
            "http://::1",
            "http://[::1",
            "https://a.example https://b.example",
            "https://shop.example, nobody",
        ] {
            assert!(parse_origins(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_token_is_one_word() {
        let mut token = None;
        let mut slot = SettingSlot::Secret(&mut token, 7);
        for text in [
            "",
            "a token",
            "a token\nof two",
            "séééécret",
            "s3cret",
            &"x".repeat(257),
        ] {
            assert!(slot.put(text).is_err(), "{text:?}");
        }
        assert!(slot.put("s3cret!").is_ok());
        assert_eq!(slot.show().as_deref(), Some("(hidden)"));
        assert_eq!(token.as_deref(), Some("s3cret!"));
    }
}
