//! The program's log: lines on stderr, never on stdout, which belongs to answers and the banner. A line that
//! cannot be written is lost, and nothing else is; nobody waits for one ([`ringpost::log`]).

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

use super::settings::{LogFormat, LogLevel, LogSettings};

/// How long a reader of stderr, or of stdout, is waited for at the start and at the end.
const READER_TIME_MAX: Duration = Duration::from_secs(1);

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
        .with_writer(ringpost::log::stderr)
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

/// Waits for what is said to be written before the process ends, and not for a reader that does not read.
pub struct Flushed;

impl Drop for Flushed {
    fn drop(&mut self) {
        ringpost::log::flush(READER_TIME_MAX);
    }
}

/// Says a line that is for people and is said whatever the level, once there is a log.
pub fn say(text: &str) {
    // Nobody can be told that this could not be said.
    let _ = ringpost::log::stderr().write_all(text.as_bytes());
}

/// Prints to stdout, after what the log has said so far; if nobody reads it, somebody else's thread waits.
pub fn print_aside(text: String) {
    ringpost::log::flush(READER_TIME_MAX);
    let (done, is_done) = mpsc::channel::<()>();
    let print = move || {
        super::output::print(&text);
        drop(done);
    };
    match thread::Builder::new().name("banner".into()).spawn(print) {
        // An error says that it is done.
        Ok(_) => drop(is_done.recv_timeout(READER_TIME_MAX)),
        Err(error) => tracing::warn!(%error, "the listeners cannot be printed"),
    }
}
