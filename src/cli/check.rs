//! `ringpost check`: whether a file is right, and what a server would make of it here and now,
//! with the variables that are set.

use std::fmt::Write;
use std::path::Path;

use ringpost::escape::Escaped;

use super::banner::banner;
use super::keys::KEYS;
use super::layers::Layer;
use super::settings::Settings;
use super::{Status, listeners, print, serve};

/// Checks a file.
pub fn run(config: &Path) -> Status {
    match serve::resolve(Some(config), Layer::default()) {
        Ok(settings) => {
            let name = config.display().to_string();
            print(&format!(
                "{}: right\n{}",
                Escaped(&name),
                describe(settings)
            ));
            Status::Done
        }
        Err(problems) => {
            super::list(&problems);
            Status::Trouble
        }
    }
}

/// The listeners, then the keys that differ from their defaults.
fn describe(mut settings: Settings) -> String {
    let configured = settings.listeners.iter().map(|it| (it.clone(), it.address));
    let mut text = format!("would serve\n{}", banner(&configured.collect::<Vec<_>>()));
    for warning in listeners::warnings(&settings) {
        let _ = writeln!(text, "warning: {warning}");
    }
    let mut defaults = Settings::default();
    let mut changed = String::new();
    for key in KEYS {
        let value = (key.slot)(&mut settings).show();
        let default = (key.slot)(&mut defaults).show();
        if let (Some(value), true) = (&value, value != default) {
            let default = default.map_or(String::new(), |default| format!("  (default {default})"));
            let _ = writeln!(changed, "  {} = {value}{default}", key.name);
        }
    }
    match changed.is_empty() {
        true => text.push_str("with every key at its default\n"),
        false => {
            let _ = write!(text, "with\n{changed}");
        }
    }
    text
}
