//! The layers: a module imports from strictly lower layers or from itself, and the program's own
//! parts use the library's public API alone.

use crate::source::{Source, Token};

/// The map in ARCHITECTURE.md. A module that is not in it is an error, so that nobody adds one without a place.
pub const LAYERS: &[&[&str]] = &[
    &[
        "ident",
        "payload",
        "close",
        "config",
        "escape",
        "log_limiter",
        "log",
        "pages",
        "queue",
        "accounts",
        "unix_peer",
    ],
    // `stats` and `events` name reasons of `close`, `guard` escapes what it quotes, and `auth` checks uids and reads
    // its part of `config`, so they are above them. `tls` needs nothing of the crate.
    &[
        "protocol", "stats", "guard", "auth", "events", "streams", "tls",
    ],
    &["shard", "bus"],
    &["handover", "migration"],
    &["app"],
    &["net"],
    &["server"],
    &["testing"],
];

/// Parts of the binary, and which of the others each may use. They see the library by its name.
const PROGRAM: &[(&str, &[&str])] = &[("allocator", &[]), ("apps", &[]), ("cli", &["apps"])];

/// Every path in the file that points where it may not.
pub fn violations(source: &Source) -> Vec<String> {
    let module = source.module();
    // The load generator is a crate of its own, which does not know the library: the compiler sees to it.
    if source.path.starts_with("benches/") {
        return Vec::new();
    }
    if source.path == "src/lib.rs" {
        return unknown_modules(source);
    }
    if source.path == "src/main.rs" {
        return Vec::new();
    }
    let Some(from) = module.first() else {
        return vec![source.violation(1, "a second root")];
    };
    let mut violations = Vec::new();
    let may = match (layer(from), program(from)) {
        (Some(_), _) | (_, Some(_)) => |from: &str, to: &str| from == to || is_below(to, from),
        _ => {
            let text =
                format!("module `{from}` is in no layer; see LAYERS in tests/tidy/layers.rs");
            return vec![source.violation(1, &text)];
        }
    };
    for (to, line) in targets(&source.tokens, module.len()) {
        if to == "ringpost" && layer(from).is_some() {
            violations.push(source.violation(line, "the library names itself"));
        } else if to != "ringpost" && !may(from, &to) {
            let text = format!("`{from}` imports from `{to}`, which is not below it");
            violations.push(source.violation(line, &text));
        }
    }
    violations
}

/// The root declares every module: each must have its layer.
fn unknown_modules(source: &Source) -> Vec<String> {
    let words: Vec<&str> = source
        .tokens
        .iter()
        .map(|token| token.text.as_str())
        .collect();
    let declared = words
        .windows(3)
        .enumerate()
        .filter(|(_, words)| words[0] == "mod" && words[2] == ";");
    declared
        .filter(|(_, words)| layer(words[1]).is_none())
        .map(|(at, words)| {
            let text = format!("module `{}` is in no layer", words[1]);
            source.violation(source.tokens[at].line, &text)
        })
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn program(module: &str) -> Option<&'static [&'static str]> {
    PROGRAM
        .iter()
        .find(|(part, _)| *part == module)
        .map(|(_, uses)| *uses)
}

fn is_below(to: &str, from: &str) -> bool {
    match program(from) {
        Some(uses) => uses.contains(&to),
        None => matches!((layer(to), layer(from)), (Some(to), Some(from)) if to < from),
    }
}

/// The first name below the crate's root of every path that goes through it, by `crate::`, by
/// enough `super::`, or by the library's name.
fn targets(tokens: &[Token], depth: usize) -> Vec<(String, usize)> {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let joined = |at: usize| word(at) == ":" && word(at + 1) == ":";
    let mut targets = Vec::new();
    // The braces that are open, and which of them are modules within the file.
    let mut braces: Vec<bool> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match word(at) {
            "{" => braces.push(at >= 2 && word(at - 2) == "mod"),
            "}" => {
                braces.pop();
            }
            "ringpost" if joined(at + 1) => targets.push(("ringpost".to_owned(), tokens[at].line)),
            "crate" if joined(at + 1) => first_names(tokens, at + 3, &mut targets),
            "super" if joined(at + 1) && !(at >= 3 && word(at - 3) == "super") => {
                let mut ups = 1;
                while word(at + 3) == "super" && joined(at + 4) {
                    (ups, at) = (ups + 1, at + 3);
                }
                let inner = braces.iter().filter(|is_module| **is_module).count();
                if ups >= depth + inner {
                    first_names(tokens, at + 3, &mut targets);
                }
            }
            _ => {}
        }
        at += 1;
    }
    targets
}

/// The name at the root, or in braces each of them: `crate::{ident::Uid, close}`.
fn first_names(tokens: &[Token], at: usize, targets: &mut Vec<(String, usize)>) {
    let Some(first) = tokens.get(at) else { return };
    if first.text != "{" {
        targets.push((first.text.clone(), first.line));
        return;
    }
    let (mut depth, mut begins) = (0, false);
    for token in &tokens[at..] {
        match token.text.as_str() {
            "{" => (depth, begins) = (depth + 1, depth == 0),
            "}" => depth -= 1,
            "," => begins = depth == 1,
            _ if begins => {
                targets.push((token.text.clone(), token.line));
                begins = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        violations(&Source::new(path, text)).len()
    }

    #[test]
    fn lower_layers_and_oneself_may_be_used() {
        for (path, text) in [
            (
                "src/shard/outbox.rs",
                "use crate::ident::ConnId; use super::slot::Slot;",
            ),
            (
                "src/shard/outbox.rs",
                "use crate::shard::slot::Slot; use std::crate_name;",
            ),
            (
                "src/net/wire/uring.rs",
                "use super::super::Connection; use crate::{bus, close::CloseReason};",
            ),
            ("src/server.rs", "use crate::{app::{self, App}, net};"),
            ("src/ident.rs", "mod tests { use super::*; }"),
            (
                "src/ident.rs",
                "fn f() { } mod tests { mod inner { use super::super::Uid; } }",
            ),
            (
                "src/bus/route.rs",
                "// crate::server\nlet s = \"crate::server\";",
            ),
            (
                "src/apps/relay.rs",
                "use ringpost::app::App; use super::text_of; use crate::apps::echo;",
            ),
            (
                "src/cli/serve.rs",
                "use crate::apps::relay::Relay; use ringpost::Server;",
            ),
            ("src/lib.rs", "pub mod ident; mod bus; pub use app::App;"),
            (
                "src/main.rs",
                "mod apps; mod cli; fn main() { crate::cli::run() }",
            ),
        ] {
            assert_eq!(found(path, text), 0, "{path}: {text}");
        }
    }

    #[test]
    fn planted_violations_are_found() {
        for (path, text) in [
            ("src/shard/mod.rs", "use crate::app::App;"),
            ("src/shard/mod.rs", "use crate::bus::Bus;"),
            ("src/bus/mod.rs", "use crate::shard::Shard;"),
            ("src/ident.rs", "use crate::close::CloseReason;"),
            ("src/ident.rs", "use super::protocol::text;"),
            ("src/bus/route.rs", "use super::super::server;"),
            ("src/ident.rs", "mod tests { use super::super::net; }"),
            ("src/protocol/text.rs", "fn f() { crate::net::send() }"),
            ("src/app/mod.rs", "use crate::{ident::{Uid, Core}, net};"),
            ("src/app/mod.rs", "use crate::App;"),
            ("src/net/mod.rs", "use crate::unheard_of::Thing;"),
            ("src/net/mod.rs", "use ringpost::ident::Uid;"),
            ("src/unheard_of/mod.rs", ""),
            ("src/apps/relay.rs", "use crate::cli::Settings;"),
            ("src/apps/relay.rs", "use crate::shard::Shard;"),
            ("src/apps/echo.rs", "use crate::allocator::Mimalloc;"),
            ("src/cli/serve.rs", "use crate::server::Server;"),
            ("src/lib.rs", "pub mod unheard_of;"),
        ] {
            assert_eq!(found(path, text), 1, "{path}: {text}");
        }
    }
}
