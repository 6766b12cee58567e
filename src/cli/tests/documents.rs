//! The tables of docs/configuration.md held against the code, both ways.

use std::collections::BTreeSet;

use super::*;
use crate::cli::keys::KEYS;

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The rows of tables that begin with a key: the key, its default, and what it means.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let rows = PAGE.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        let (default, meaning) = rest.strip_suffix(" |")?.split_once(" | ")?;
        Some((name, default, meaning))
    });
    rows.collect()
}

#[test]
fn the_page_has_every_key_once_with_its_default() {
    let rows = rows();
    let names: BTreeSet<&str> = rows.iter().map(|(name, ..)| *name).collect();
    let keys: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(names, keys);
    assert_eq!(rows.len(), KEYS.len());
    let mut defaults = Settings::default();
    for (name, said, _) in rows {
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        let default = (key.slot)(&mut defaults).show();
        let expected = match default.as_deref().map(|text| text.trim_matches('"')) {
            None => "none".to_owned(),
            Some("") => "empty".to_owned(),
            Some(text) => format!("`{text}`"),
        };
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn the_page_says_what_takes_a_restart() {
    for (name, _, meaning) in rows() {
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        assert_eq!(meaning.ends_with("(restart)"), !key.live, "{name}");
    }
}
