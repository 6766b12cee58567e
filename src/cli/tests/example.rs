//! ringpost.example.toml held against the code, both ways.

use std::collections::BTreeSet;

use super::*;
use crate::cli::keys::KEYS;

const EXAMPLE: &str = include_str!("../../../ringpost.example.toml");

#[test]
fn the_example_is_exactly_the_defaults() {
    let settings = from_file(EXAMPLE).unwrap();
    assert_eq!(settings, from_file("").unwrap());
    let listed: BTreeSet<String> = file::read("example", EXAMPLE)
        .values
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    let mut defaults = Settings::default();
    for key in KEYS {
        match (key.slot)(&mut defaults).show() {
            Some(default) => {
                assert!(
                    listed.contains(key.name),
                    "{} is not in the example",
                    key.name
                );
                let last = key.name.rsplit('.').next().unwrap();
                let line = format!("\n{last} = {default}\n");
                assert!(EXAMPLE.contains(&line), "the example does not say {line:?}");
            }
            // No default: it stands there as a comment.
            None => {
                let last = key.name.rsplit('.').next().unwrap();
                let line = format!("\n#{last} = ");
                assert!(
                    EXAMPLE.contains(&line),
                    "{} is not in the example",
                    key.name
                );
            }
        }
    }
    assert!(listed.len() <= KEYS.len());
}

#[test]
fn the_example_says_what_takes_a_restart() {
    for key in KEYS {
        let last = key.name.rsplit('.').next().unwrap();
        let at = EXAMPLE
            .find(&format!("\n{last} = "))
            .or_else(|| EXAMPLE.find(&format!("\n#{last} = ")));
        let before = &EXAMPLE[..at.expect("it is in the example")];
        let comment = before.rfind("\n\n").map_or(before, |from| &before[from..]);
        assert_eq!(!comment.contains("(restart)"), key.live, "{}", key.name);
    }
}

#[test]
fn the_examples_commented_listeners_are_the_default_preset() {
    let (mut head, mut listeners, mut own) = (String::new(), String::new(), String::new());
    // Webhooks have a `url`, too.
    let (before, _) = EXAMPLE.split_once("\n[webhooks]\n").unwrap();
    for line in before.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        let listens = [
            "[[listen]]",
            "url =",
            "app =",
            "roles =",
            "paths =",
            "message_bytes_max =",
            "outbox_bytes_max =",
            "messages_per_second_max =",
            "bytes_per_second_max =",
            "proxy_protocol =",
        ];
        let part = match listens.iter().any(|start| bare.starts_with(start)) {
            true if line.starts_with("# ") => &mut own,
            true if line.starts_with('#') => &mut listeners,
            _ => &mut head,
        };
        part.push_str(bare);
        part.push('\n');
    }
    assert!(head.contains("[relay]"));
    assert_eq!(from_file(&listeners).unwrap(), from_file("").unwrap());
    let own = from_file(&own).unwrap();
    assert_eq!(
        served(&own),
        [
            ("websocket://127.0.0.1:9001", "echo"),
            ("text+unix:///run/ringpost/back-end.sock", "push-backend"),
            ("http://[::]:8081", "page"),
            ("websocket://[::]:8081/relay", "relay"),
            ("websocket://[::]:8081/ws", "push"),
        ]
        .map(|(url, app)| (url.to_owned(), app))
    );
    assert_eq!(own.listeners[0].limits.outbox_bytes_max, Some(4 << 20));
    assert_eq!(own.listeners[0].limits.messages_per_second_max, Some(100));
    assert_eq!(own.listeners[0].limits.bytes_per_second_max, Some(2 << 20));
    assert!(own.listeners[0].proxy_protocol);
}
