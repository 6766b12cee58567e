//! `[[history]]`: the rules of what is kept for those who are not there, read from the file's tables and shown to people.

use std::fmt::Write;
use std::time::Duration;

use humantime::format_duration;
use ringpost::config::{HISTORY_RULES_MAX, HistoryRule, KEEP_MAX, StreamKind};
use ringpost::escape::Escaped;
use toml::de::{DeTable, DeValue};

use super::file::File;
use super::keys::COUNT_MAX;
use super::rule_tables::{PATTERN_EXPECTED, RuleTables, changed_rules, is_pattern, rule_value};
use super::value_origin::ValueOrigin;

/// The keys of a `[[history]]` table.
const HISTORY_KEYS: [&str; 5] = ["kind", "name", "size", "ttl", "offline"];

impl File<'_> {
    /// All tables of that name.
    pub(super) fn read_history(
        &self,
        value: &DeValue<'_>,
        origin: &ValueOrigin,
        rules: &mut Vec<HistoryRule>,
        problems: &mut Vec<String>,
    ) {
        let tables = RuleTables {
            name: "history",
            needs: "kind, size and ttl",
            most: HISTORY_RULES_MAX,
        };
        let read = |table: &DeTable<'_>, origin: &ValueOrigin| self.read_rule(table, origin);
        self.read_rules(&tables, value, origin, read, rules, problems);
    }

    fn read_rule(&self, table: &DeTable<'_>, origin: &ValueOrigin) -> Result<HistoryRule, String> {
        let mut of = None;
        let (mut name, mut size, mut ttl) = ("*".to_owned(), None, None);
        let mut queue = None;
        let mut name_from = origin.clone();
        for (key, value) in table.iter() {
            let origin = self.origin(key.span());
            let key = &**key.get_ref();
            let text = rule_value("history", &HISTORY_KEYS, key, value.get_ref())
                .map_err(|problem| format!("{origin}: {problem}"))?;
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
        "name" => PATTERN_EXPECTED.to_owned(),
        "offline" => "\"queue\", or \"off\" as without it".to_owned(),
        "size" => format!("a whole number of messages from 1 to {COUNT_MAX}"),
        _ => "a time from \"1s\" to \"30days\", such as \"10m\"".to_owned(),
    }
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
    changed_rules("history", old, new, show)
}
