//! Rules of groups: read, refused with their place and what to do, shown, and taken over by a reload.

use std::time::Duration;

use ringpost::config::GroupRule;

use super::*;
use crate::cli::group_rules::show;
use crate::cli::reload::merge;

const RULE: &str = "[[groups]]\nname = 'room.*'\npublic = true\n";

fn rules(text: &str) -> Vec<GroupRule> {
    from_file(text).expect("it is right").config.groups
}

#[test]
fn rules_are_read_in_their_order() {
    assert!(rules("").is_empty());
    let text = format!("{RULE}[[groups]]\nname='team.*'\npresence=true\npresence_grace='10s'");
    let expected = [
        GroupRule {
            name: "room.*".to_owned(),
            public: true,
            presence: false,
            presence_grace: Duration::from_secs(3),
        },
        GroupRule {
            name: "team.*".to_owned(),
            public: false,
            presence: true,
            presence_grace: Duration::from_secs(10),
        },
    ];
    assert_eq!(rules(&text), expected);
    assert_eq!(
        expected.each_ref().map(show),
        [
            "\"room.*\": public",
            "\"team.*\": presence, who is gone for 10s has left",
        ]
    );
    assert_eq!(
        rules("[[groups]]\nname='x'").iter().map(show).next(),
        Some("\"x\": nothing".to_owned())
    );
}

#[test]
fn a_wrong_rule_names_its_line_and_what_to_do() {
    for (text, said) in [
        (
            "name=''",
            "f.toml:2: groups.name = \"\": expected a name in which each * stands for any characters",
        ),
        (
            "public='perhaps'",
            "f.toml:2: groups.public = \"perhaps\": expected true or false",
        ),
        (
            "presence=[1]",
            "f.toml:2: groups.presence: expected one value, not an array",
        ),
        (
            "presence_grace='11m'",
            "f.toml:2: groups.presence_grace = \"11m\": expected a time from \"0s\" to \"10m\", such as \"3s\"",
        ),
        (
            "name='x'\npresence_grace='3s'",
            "f.toml:3: groups.presence_grace: nobody is told who leaves without presence = true",
        ),
        (
            "pubic=true",
            "f.toml:2: [[groups]]: unknown key \"pubic\"; did you mean \"public\"?",
        ),
        (
            "name='x'\nlog='debug'",
            "f.toml:3: [[groups]]: \"log\" is a key of the whole server",
        ),
        (
            "public=true",
            "f.toml:1: [[groups]] needs a key \"name\": a name in which each *",
        ),
    ] {
        says(from_file(&format!("[[groups]]\n{text}\n")), &[said]);
    }
    says(
        from_file("groups = 1"),
        &[
            "f.toml:1: groups: expected tables [[groups]] with name, and public or presence, not a single value",
        ],
    );
    says(
        from_file(&RULE.repeat(257)),
        &["f.toml:769: groups: at most 256 rules"],
    );
}

#[test]
fn the_rules_of_the_example_work_alone() {
    let example = include_str!("../../../ringpost.example.toml");
    let (_, block) = example
        .split_once("\n# ---- Groups ")
        .expect("they are in it");
    let (block, _) = block.split_once("\n# ---- ").expect("another part follows");
    let lines = block.lines().filter_map(|line| line.strip_prefix('#'));
    let lines = lines.filter(|line| !line.starts_with(' '));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    let shown: Vec<String> = rules(&text).iter().map(show).collect();
    assert_eq!(
        shown,
        [
            "\"news\": public",
            "\"room.*\": public, presence, who is gone for 3s has left",
        ]
    );
}

#[test]
fn a_reload_takes_rules_over_and_says_so() {
    let (none, one) = (from_file("").unwrap(), from_file(RULE).unwrap());
    let merged = merge(&none, one.clone());
    assert_eq!(merged.settings, one);
    assert_eq!(merged.changed, ["groups: nothing -> \"room.*\": public"]);
    assert!(merged.fixed.is_empty());
    assert!(merge(&one, one.clone()).changed.is_empty());
}
