//! `[[history]]`: the rules of what is kept for those who are not there, read from the file's tables and shown to people.

use std::fmt::Write;
use std::time::Duration;

use humantime::format_duration;
use ringpost::config::{HISTORY_RULES_MAX, HistoryRule, KEEP_MAX, StreamKind};
use ringpost::escape::Escaped;
use toml::de::{DeTable, DeValue};

use super::file::{File, as_text, kind, misplaced};
use super::keys::{self, COUNT_MAX};
use super::layers::unknown_key;
use super::value_origin::ValueOrigin;

/// The keys of a `[[history]]` table.
const HISTORY_KEYS: [&str; 5] = ["kind", "name", "size", "ttl", "offline"];
/// Longest pattern: twice what a name may have.
const PATTERN_BYTES_MAX: usize = 256;
/// Rules that are shown one by one where something has changed.
const SHOWN_MAX: usize = 4;

impl File<'_> {
    /// All tables of that name.
    pub(super) fn read_history(
        &self,
        value: &DeValue<'_>,
        origin: &ValueOrigin,
        rules: &mut Vec<HistoryRule>,
        problems: &mut Vec<String>,
    ) {
        let wrong = |what: &DeValue<'_>| {
            format!(
                "{origin}: history: expected tables [[history]] with kind, size and ttl, not {}",
                kind(what)
            )
        };
        let DeValue::Array(tables) = value else {
            problems.push(wrong(value));
            return;
        };
        for item in tables.iter() {
            let rule = match item.get_ref() {
                DeValue::Table(table) => self.read_rule(table, &self.origin(item.span())),
                other => Err(wrong(other)),
            };
            match rule {
                Ok(_) if rules.len() == HISTORY_RULES_MAX => {
                    let place = self.origin(item.span());
                    problems.push(format!(
                        "{place}: history: at most {HISTORY_RULES_MAX} rules; a `*` in a name stands for many"
                    ));
                    return;
                }
                Ok(rule) => rules.push(rule),
                Err(problem) => problems.push(problem),
            }
        }
    }

    fn read_rule(&self, table: &DeTable<'_>, origin: &ValueOrigin) -> Result<HistoryRule, String> {
        let mut of = None;
        let (mut name, mut size, mut ttl) = ("*".to_owned(), None, None);
        let mut queue = None;
        let mut name_from = origin.clone();
        for (key, value) in table.iter() {
            let origin = self.origin(key.span());
            let key = &**key.get_ref();
            if !HISTORY_KEYS.contains(&key) {
                let problem = match keys::find(key) {
                    Some(_) => misplaced(key, "[[history]]"),
                    None => unknown_key(key, HISTORY_KEYS),
                };
                return Err(format!("{origin}: [[history]]: {problem}"));
            }
            let text = as_text(value.get_ref()).ok_or_else(|| {
                let kind = kind(value.get_ref());
                format!("{origin}: history.{key}: expected one value, not {kind}")
            })?;
            let taken = match key {
                "kind" => StreamKind::parse(&text).map(|kind| of = Some(kind)),
                "name" => {
                    name_from = origin.clone();
                    is_pattern(&text).then(|| name.clone_from(&text))
                }
                "size" => parse_size(&text).map(|count| size = Some(count)),
                "offline" => parse_offline(&text).map(|on| queue = on.then(|| origin.clone())),
                _ => parse_ttl(&text).map(|time| ttl = Some(time)),
            };
            if taken.is_none() {
                let shown = Escaped(&text).to_string();
                let expected = expected(key);
                return Err(format!(
                    "{origin}: history.{key} = {shown:?}: expected {expected}"
                ));
            }
        }
        let missing = |key| {
            format!(
                "{origin}: [[history]] needs a key \"{key}\": {}",
                expected(key)
            )
        };
        let rule = HistoryRule {
            kind: of.ok_or_else(|| missing("kind"))?,
            name,
            size: size.ok_or_else(|| missing("size"))?,
            ttl: ttl.ok_or_else(|| missing("ttl"))?,
            queue: queue.is_some(),
        };
        match rule.kind {
            StreamKind::All if rule.name != "*" => Err(format!(
                "{name_from}: history.name = {:?}: there is one stream of kind \"all\"; leave the name out",
                Escaped(&rule.name).to_string()
            )),
            StreamKind::Group | StreamKind::All if queue.is_some() => {
                let origin = queue.unwrap_or(name_from);
                Err(format!(
                    "{origin}: history.offline: only what is for a uid waits for its login; leave it out of kind \"{}\"",
                    rule.kind
                ))
            }
            _ => Ok(rule),
        }
    }
}

/// What a key takes, in words that follow "expected".
fn expected(key: &str) -> String {
    match key {
        "kind" => "\"uid\", \"group\" or \"all\"".to_owned(),
        "name" => format!(
            "a name in which each * stands for any characters, at most {PATTERN_BYTES_MAX} bytes"
        ),
        "offline" => "\"queue\", or \"off\" as without it".to_owned(),
        "size" => format!("a whole number of messages from 1 to {COUNT_MAX}"),
        _ => "a time from \"1s\" to \"30days\", such as \"10m\"".to_owned(),
    }
}

fn is_pattern(text: &str) -> bool {
    (1..=PATTERN_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

fn parse_size(text: &str) -> Option<u32> {
    let size = text.parse().ok()?;
    (1..=COUNT_MAX as u32).contains(&size).then_some(size)
}

/// Whether there is a queue.
fn parse_offline(text: &str) -> Option<bool> {
    match text {
        "queue" => Some(true),
        "off" => Some(false),
        _ => None,
    }
}

fn parse_ttl(text: &str) -> Option<Duration> {
    let ttl = humantime::parse_duration(text.trim()).ok()?;
    (Duration::from_secs(1)..=KEEP_MAX)
        .contains(&ttl)
        .then_some(ttl)
}

/// A rule for people: `uid "order.*": 100 messages, 10m`.
pub fn show(rule: &HistoryRule) -> String {
    let mut text = rule.kind.to_string();
    if rule.kind != StreamKind::All {
        let _ = write!(text, " {:?}", Escaped(&rule.name).to_string());
    }
    let _ = write!(
        text,
        ": {} messages, {}",
        rule.size,
        format_duration(rule.ttl)
    );
    if rule.queue {
        text.push_str(", waiting for the uid's login");
    }
    text
}

/// What a reload says of rules that have changed.
pub fn changed(old: &[HistoryRule], new: &[HistoryRule]) -> Option<String> {
    let shown = |rules: &[HistoryRule]| match rules.len() {
        0 => "nothing".to_owned(),
        1..=SHOWN_MAX => rules.iter().map(show).collect::<Vec<_>>().join("; "),
        count => format!("{count} rules"),
    };
    (old != new).then(|| format!("history: {} -> {}", shown(old), shown(new)))
}
