//! The configuration file, from its text to the settings, or to what is wrong with it.
#![no_main]

/// Those parts of the program that read it.
#[allow(dead_code)]
#[path = "../../../src/cli"]
mod cli {
    pub mod certificates;
    pub mod choice;
    pub mod cluster;
    pub mod file;
    pub mod group_rules;
    pub mod history_rules;
    pub mod hooks;
    pub mod keys;
    pub mod layers;
    pub mod listener;
    pub mod listeners;
    pub mod push_messages;
    pub mod rule_tables;
    pub mod settings;
    pub mod slot;
    pub mod tokens;
    pub mod value_origin;
    pub mod values;
}

use cli::keys::KEYS;
use cli::settings::Settings;
use cli::slot::SettingSlot;
use cli::{file, layers, listeners};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let resolve = || layers::resolve([file::read("ringpost.toml", text)]);
    let outcome = resolve();
    assert_eq!(resolve(), outcome, "the same file says the same");
    match outcome {
        Ok(settings) => check_settings(settings),
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in &problems.0 {
                assert_one_line(problem);
            }
        }
    }
});

/// What is shown of a value can be put in its place, and means the same.
fn check_settings(mut settings: Settings) {
    for warning in listeners::warnings(&settings) {
        assert_one_line(&warning);
    }
    assert!(
        !settings.listeners.is_empty(),
        "settings by which nothing is served"
    );
    let mut again = Settings::default();
    for key in KEYS {
        let slot = (key.slot)(&mut settings);
        let is_secret = matches!(slot, SettingSlot::Secret(..));
        let Some(shown) = slot.show() else {
            continue;
        };
        assert_one_line(&shown);
        if is_secret {
            assert_eq!(shown, "(hidden)");
            continue;
        }
        let is_empty = shown == "\"\"";
        let value = shown.trim_matches('"');
        let taken = (key.slot)(&mut again).put(value);
        assert!(
            taken.is_ok() || is_empty,
            "{} = {shown}: {taken:?}",
            key.name
        );
    }
    again.backend = settings.backend.clone();
    again.listeners = settings.listeners.clone();
    assert_eq!(again, settings);
}

/// What a file says cannot look like another line of ours, nor reach a terminal as anything but text.
fn assert_one_line(text: &str) {
    assert!(!text.contains(char::is_control), "{text:?}");
}
