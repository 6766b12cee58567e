//! The program's log: lines on stderr, never on stdout, which belongs to answers and the banner. A line that
//! cannot be written is lost, and nothing else is.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

use super::settings::{LogFormat, LogLevel, LogSettings};

/// The level, which can change while the program runs.
pub struct Level(Handle<LevelFilter, Registry>);

impl Level {
    /// Goes on with another.
    pub fn set(&self, level: LogLevel) {
        // An error means that there is no log any more.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Starts the log. Called once, before the server.
pub fn init(settings: &LogSettings) -> Level {
    let (level, handle) = reload::Layer::new(filter(settings.level));
    let log = tracing_subscriber::registry().with(level);
    // Colours for a person at a terminal; https://no-color.org otherwise.
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let ansi = io::stderr().is_terminal() && !no_color;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(ansi)
        // A line that cannot be written, since the disk is full or the reader gone, is lost. It would be told
        // of on stderr, which is where it could not be written, and that would panic.
        .log_internal_errors(false);
    match settings.format {
        LogFormat::Text => log.with(lines).init(),
        LogFormat::Json => log.with(lines.json().flatten_event(true)).init(),
    }
    Level(handle)
}
