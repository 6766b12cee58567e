//! What SIGHUP takes over: each key of the table, held against its column.

use super::*;
use crate::cli::keys::{ConfigKey, KEYS};
use crate::cli::reload::merge;
use crate::cli::slot::SettingSlot;

/// Another value that the key takes.
fn other(key: &ConfigKey) -> String {
    let mut settings = Settings::default();
    match (key.slot)(&mut settings) {
        SettingSlot::Switch(place) => (!*place).to_string(),
        SettingSlot::Count(place, _) => (*place + 7).to_string(),
        SettingSlot::Bytes(place, range) => match *place * 2 {
            0 => "4 KiB".to_owned(),
            twice => twice.min(*range.end()).to_string(),
        },
        SettingSlot::Time(place, _) => format!("{}ms", place.as_millis() + 1_500),
        SettingSlot::Choice(place) => {
            let others = place.names().iter().filter(|name| **name != place.name());
            others.last().expect("two names").to_string()
        }
        SettingSlot::Origins(_) => "https://shop.example".to_owned(),
        SettingSlot::Networks(_) => "10.0.0.0/8".to_owned(),
        SettingSlot::File(_) => "/nowhere".to_owned(),
        SettingSlot::Events(_) => "connect".to_owned(),
        SettingSlot::Word(_) | SettingSlot::Secret(..) => "other-secret-of-ours".to_owned(),
    }
}

/// Settings in which this key alone is another.
fn with(key: &ConfigKey, text: &str) -> Settings {
    let mut settings = from_file("").expect("the defaults");
    settings.backend.token = Some("first-secret-of-ours".to_owned());
    (key.slot)(&mut settings).put(text).expect("a value");
    settings
}

#[test]
fn each_key_is_carried_over_or_named_as_its_column_says() {
    for key in KEYS {
        let mut running = from_file("").expect("the defaults");
        running.backend.token = Some("first-secret-of-ours".to_owned());
        let text = other(key);
        let read = with(key, &text);
        assert_ne!(running, read, "{} = {text}", key.name);
        let merged = merge(&running, read.clone());
        if key.live {
            assert_eq!(merged.settings, read, "{}", key.name);
            assert_eq!(
                merged.changed.len(),
                1,
                "{}: {:?}",
                key.name,
                merged.changed
            );
            let line = &merged.changed[0];
            assert!(line.starts_with(&format!("{}: ", key.name)), "{line}");
            assert!(merged.fixed.is_empty(), "{}", key.name);
        } else {
            assert_eq!(merged.settings, running, "{}", key.name);
            assert!(merged.changed.is_empty(), "{}", key.name);
            assert_eq!(merged.fixed, [key.name]);
        }
    }
}

#[test]
fn a_secret_is_not_shown() {
    let key = crate::cli::keys::find("backend.token").expect("a key");
    let merged = merge(
        &with(key, "the-old-secret-of-ours"),
        with(key, "the-new-secret-of-ours"),
    );
    assert_eq!(merged.changed, ["backend.token: changed (it is not shown)"]);
}

#[test]
fn whether_tokens_are_asked_for_takes_a_restart() {
    let open = from_file("").expect("the defaults");
    let key = crate::cli::keys::find("backend.token").expect("a key");
    let guarded = with(key, "a-secret-of-ours");
    let merged = merge(&open, guarded.clone());
    assert_eq!(merged.settings, open);
    assert_eq!(merged.fixed, ["backend.token"]);
    let merged = merge(&guarded, open);
    assert_eq!(merged.settings, guarded);
}

#[test]
fn of_listeners_their_limits_change_and_nothing_else() {
    let file = |lines: &str| {
        let text =
            format!("[[listen]]\nurl = \"websocket://127.0.0.1:1\"\napp = \"echo\"\n{lines}");
        from_file(&text).expect("right")
    };
    let running = file("messages_per_second_max = 5");
    let merged = merge(&running, file("messages_per_second_max = 6"));
    assert_eq!(
        merged.changed,
        ["listen websocket://127.0.0.1:1 (echo): messages_per_second_max: 5 -> 6"]
    );
    assert_eq!(
        merged.settings.listeners[0].limits.messages_per_second_max,
        Some(6)
    );
    let merged = merge(&running, file("proxy_protocol = true"));
    assert_eq!(
        (merged.settings, merged.fixed),
        (running.clone(), vec!["listen".to_owned()])
    );
    let merged = merge(&running, from_file("").expect("the defaults"));
    assert_eq!(
        (merged.settings, merged.fixed),
        (running.clone(), vec!["listen".to_owned()])
    );
    let counted = "messages_per_second_max = 5\nconnections_per_address_max = 3";
    let merged = merge(&running, file(counted));
    assert_eq!(merged.settings, running);
    assert_eq!(merged.fixed.len(), 1);
}
