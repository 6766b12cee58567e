//! Rules of what is kept: read, refused with their place and what to do, shown, and taken over by a reload.

use std::time::Duration;

use ringpost::config::{HistoryRule, StreamKind};

use super::*;
use crate::cli::history_rules::show;
use crate::cli::reload::merge;

const RULE: &str = "[[history]]\nkind = 'group'\nname = 'order.*'\nsize = 1000\nttl = '1h'\n";

fn rules(text: &str) -> Vec<HistoryRule> {
    from_file(text).expect("it is right").config.history
}

#[test]
fn rules_are_read_in_their_order() {
    assert!(rules("").is_empty());
    let text = format!("{RULE}[[history]]\nkind='uid'\nsize=1\nttl='30days'");
    let hour = Duration::from_secs(3_600);
    let expected = [
        HistoryRule {
            kind: StreamKind::Group,
            name: "order.*".to_owned(),
            size: 1_000,
            ttl: hour,
            queue: false,
        },
        HistoryRule {
            kind: StreamKind::Uid,
            name: "*".to_owned(),
            size: 1,
            ttl: 30 * 24 * hour,
            queue: false,
        },
    ];
    assert_eq!(rules(&text), expected);
    assert_eq!(
        expected.each_ref().map(show),
        [
            "group \"order.*\": 1000 messages, 1h",
            "uid \"*\": 1 messages, 30days",
        ]
    );
}

#[test]
fn a_wrong_rule_names_its_line_and_what_to_do() {
    for (text, said) in [
        (
            "kind='user'",
            "f.toml:2: history.kind = \"user\": expected \"uid\", \"group\" or \"all\"",
        ),
        (
            "kind='uid'\nname=''",
            "f.toml:3: history.name = \"\": expected a name in which each * stands for any characters",
        ),
        (
            "size=0",
            "f.toml:2: history.size = \"0\": expected a whole number of messages from 1 to ",
        ),
        (
            "size=[1]",
            "f.toml:2: history.size: expected one value, not an array",
        ),
        (
            "ttl='31days'",
            "f.toml:2: history.ttl = \"31days\": expected a time from \"1s\" to \"30days\", such as \"10m\"",
        ),
        ("ttl=10", "f.toml:2: history.ttl = \"10\": expected a time"),
        (
            "ttl='900ms'",
            "f.toml:2: history.ttl = \"900ms\": expected a time",
        ),
        (
            "offline='keep'",
            "f.toml:2: history.offline = \"keep\": expected \"queue\", or \"off\"",
        ),
        (
            "kind='group'\nsize=1\nttl='1m'\noffline='queue'",
            "f.toml:5: history.offline: only what is for a uid waits for its login",
        ),
        (
            "kinds='uid'",
            "f.toml:2: [[history]]: unknown key \"kinds\"; did you mean \"kind\"?",
        ),
        (
            "kind='uid'\nlog='debug'",
            "f.toml:3: [[history]]: \"log\" is a key of the whole server",
        ),
        (
            "size=1\nttl='1m'",
            "f.toml:1: [[history]] needs a key \"kind\": \"uid\", \"group\" or \"all\"",
        ),
        (
            "kind='uid'\nttl='1m'",
            "f.toml:1: [[history]] needs a key \"size\": a whole number",
        ),
        (
            "kind='uid'\nsize=1",
            "f.toml:1: [[history]] needs a key \"ttl\": a time",
        ),
        (
            "kind='all'\nsize=1\nttl='1m'\nname='x*'",
            "f.toml:5: history.name = \"x*\": there is one stream of kind \"all\"; leave the name out",
        ),
    ] {
        says(from_file(&format!("[[history]]\n{text}\n")), &[said]);
    }
}

#[test]
fn what_is_no_table_of_rules_is_said() {
    for (text, not) in [
        ("[history]\nkind='uid'", "a table"),
        ("history = 1", "a single value"),
    ] {
        let said = format!(
            "f.toml:1: history: expected tables [[history]] with kind, size and ttl, not {not}"
        );
        says(from_file(text), &[&said]);
    }
    let many = RULE.repeat(257);
    says(
        from_file(&many),
        &["f.toml:1281: history: at most 256 rules"],
    );
    assert_eq!(rules(&RULE.repeat(256)).len(), 256);
    let least = "history_bytes_core_max = '65535 B'";
    says(
        from_file(least),
        &["f.toml:1: history_bytes_core_max", "from 64 KiB to"],
    );
}

#[test]
fn the_rules_of_the_example_work_alone() {
    let example = include_str!("../../../ringpost.example.toml");
    let (_, block) = example
        .split_once("\n# ---- What is kept ")
        .expect("they are in it");
    let (block, _) = block.split_once("\n# ---- ").expect("another part follows");
    let lines = block.lines().filter_map(|line| line.strip_prefix('#'));
    let lines = lines.filter(|line| !line.starts_with(' '));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let shown: Vec<String> = rules(&text).iter().map(show).collect();
    assert_eq!(
        shown,
        [
            "uid \"courier.*\": 100 messages, 1day, waiting for the uid's login",
            "uid \"*\": 100 messages, 10m",
            "group \"order.*\": 1000 messages, 1h",
            "all: 10 messages, 1m",
        ]
    );
}

#[test]
fn a_reload_takes_rules_over_and_says_so() {
    let (none, one) = (from_file("").unwrap(), from_file(RULE).unwrap());
    let merged = merge(&none, one.clone());
    assert_eq!(merged.settings, one);
    let line = "history: nothing -> group \"order.*\": 1000 messages, 1h";
    assert_eq!(merged.changed, [line]);
    assert!(merged.fixed.is_empty());
    let many = from_file(&RULE.repeat(5)).unwrap();
    let merged = merge(&many, none.clone());
    assert_eq!(merged.settings, none);
    assert_eq!(merged.changed, ["history: 5 rules -> nothing"]);
    assert!(merge(&one, one.clone()).changed.is_empty());
}
