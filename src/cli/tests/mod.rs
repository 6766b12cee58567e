//! The configuration as a whole, from any source to settings; single values are tested beside `SettingSlot`.

mod command_line;
mod documents;
mod errors;
mod example;
mod group_rules;
mod history_rules;
mod layers;
mod listeners;
mod reload;

use std::ffi::OsString;

use super::choice::Choice;
use super::file;
use super::layers::{Layer, resolve};
use super::settings::Settings;

fn variables(pairs: &[(&str, &str)]) -> Layer {
    let owned = |text: &&str| OsString::from(*text);
    Layer::from_variables(
        pairs
            .iter()
            .map(|(name, value)| (owned(name), owned(value))),
    )
}

fn flags(values: &[(&str, &str)], listen: &[&str]) -> Layer {
    let values: Vec<_> = values
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_string()))
        .collect();
    let listen: Vec<_> = listen.iter().map(|pair| pair.to_string()).collect();
    Layer::from_flags(&values, &listen)
}

fn from_file(text: &str) -> Result<Settings, String> {
    resolve([file::read("f.toml", text)]).map_err(|problems| problems.0.join("\n"))
}

fn from_flags(values: &[(&str, &str)], listen: &[&str]) -> Result<Settings, String> {
    resolve([flags(values, listen)]).map_err(|problems| problems.0.join("\n"))
}

fn from_variables(pairs: &[(&str, &str)]) -> Result<Settings, String> {
    resolve([variables(pairs)]).map_err(|problems| problems.0.join("\n"))
}

fn served(settings: &Settings) -> Vec<(String, &'static str)> {
    settings
        .listeners
        .iter()
        .map(|it| (it.to_string(), it.app.name()))
        .collect()
}

#[track_caller]
fn says(result: Result<Settings, String>, words: &[&str]) {
    let error = result.expect_err("an error");
    for word in words {
        assert!(error.contains(word), "expected {word:?} in: {error}");
    }
}
