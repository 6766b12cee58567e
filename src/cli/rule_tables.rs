//! Tables of the file that are rules with a pattern of names, `[[history]]` and `[[groups]]`: what they have in common.

use ringpost::escape::Escaped;
use toml::de::{DeTable, DeValue};

use super::file::{File, as_text, kind, misplaced};
use super::keys;
use super::layers::unknown_key;
use super::value_origin::ValueOrigin;

/// Longest pattern: twice what a name may have.
const PATTERN_BYTES_MAX: usize = 256;
/// What a pattern is, in words that follow "expected".
pub const PATTERN_EXPECTED: &str =
    "a name in which each * stands for any characters, at most 256 bytes";
/// Rules that are shown one by one where something has changed.
const SHOWN_MAX: usize = 4;

/// What errors say of one kind of table.
pub struct RuleTables {
    pub name: &'static str,
    /// The keys that each needs.
    pub needs: &'static str,
    /// Most of them.
    pub most: usize,
}

impl File<'_> {
    /// All tables of a name, each read by `read`.
    pub(super) fn read_rules<R>(
        &self,
        tables: &RuleTables,
        value: &DeValue<'_>,
        origin: &ValueOrigin,
        read: impl Fn(&DeTable<'_>, &ValueOrigin) -> Result<R, String>,
        rules: &mut Vec<R>,
        problems: &mut Vec<String>,
    ) {
        let RuleTables { name, needs, most } = tables;
        let wrong = |what: &DeValue<'_>| {
            let kind = kind(what);
            format!("{origin}: {name}: expected tables [[{name}]] with {needs}, not {kind}")
        };
        let DeValue::Array(items) = value else {
            problems.push(wrong(value));
            return;
        };
        for item in items.iter() {
            let rule = match item.get_ref() {
                DeValue::Table(table) => read(table, &self.origin(item.span())),
                other => Err(wrong(other)),
            };
            match rule {
                Ok(_) if rules.len() == *most => {
                    let place = self.origin(item.span());
                    problems.push(format!(
                        "{place}: {name}: at most {most} rules; a `*` in a name stands for many"
                    ));
                    return;
                }
                Ok(rule) => rules.push(rule),
                Err(problem) => problems.push(problem),
            }
        }
    }
}

/// The text of a key's value, if tables of this name have such a key. The error follows its place.
pub fn rule_value(
    table: &str,
    known: &[&str],
    key: &str,
    value: &DeValue<'_>,
) -> Result<String, String> {
    if !known.contains(&key) {
        let problem = match keys::find(key) {
            Some(_) => misplaced(key, &format!("[[{table}]]")),
            None => unknown_key(key, known.iter().copied()),
        };
        return Err(format!("[[{table}]]: {problem}"));
    }
    as_text(value).ok_or_else(|| format!("{table}.{key}: expected one value, not {}", kind(value)))
}

/// Whether a text can be the pattern of a rule.
pub fn is_pattern(text: &str) -> bool {
    (1..=PATTERN_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control)
}

/// What a reload says of rules that have changed.
pub fn changed_rules<R: PartialEq>(
    name: &str,
    old: &[R],
    new: &[R],
    show: impl Fn(&R) -> String,
) -> Option<String> {
    let shown = |rules: &[R]| match rules.len() {
        0 => "nothing".to_owned(),
        1..=SHOWN_MAX => rules.iter().map(&show).collect::<Vec<_>>().join("; "),
        count => format!("{count} rules"),
    };
    (old != new).then(|| format!("{name}: {} -> {}", shown(old), shown(new)))
}

/// A value as an error shows it.
pub fn quoted(text: &str) -> String {
    format!("{:?}", Escaped(text).to_string())
}
