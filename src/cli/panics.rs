//! What the program says of a panic: one line on stderr, in which nothing is as a peer wrote it.
//!
//! A panic's message may quote a peer (a slice of a string that is cut amid a character quotes the whole of
//! it), and the standard library prints it as it is: lines of it would pass for lines of the log, and what
//! drives a terminal would drive it. Set once, before the server starts, which notes the place of each panic
//! before it comes here. It goes the way of the log, so that a core that has panicked waits for nobody either.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::Display;
use std::panic::PanicHookInfo;

use ringpost::escape::Escaped;

use super::log;

/// Has every panic of the process told so.
pub fn tell_escaped() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let mut text = line(thread.name().unwrap_or("?"), cause(panic), panic.location());
        // If RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            text.push_str(&format!("{backtrace}\n"));
        }
        log::say(&text);
    }));
}

fn cause<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    let payload = panic.payload();
    let literal = payload.downcast_ref::<&str>().copied();
    literal
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("of a kind of its own")
}

fn line(thread: &str, cause: &str, place: Option<&impl Display>) -> String {
    let place = place.map(ToString::to_string).unwrap_or_default();
    format!(
        "thread '{}' panicked at {place}: {}\n",
        Escaped(thread),
        Escaped(cause)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_has_sent_forges_no_line_and_drives_no_terminal() {
        let cause = "byte index 2 is not a char boundary of `\nWARN forged\x1b[2J\u{202e}`";
        let line = line("core-0", cause, Some(&"src/apps/chat/command.rs:1:2"));
        assert_eq!(
            line,
            "thread 'core-0' panicked at src/apps/chat/command.rs:1:2: byte index 2 is not a char boundary of \
             `\\nWARN forged\\u{1b}[2J\\u{202e}`\n"
        );
    }
}
