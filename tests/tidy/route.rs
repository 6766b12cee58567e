//! uid → core is decided in one file: nobody else takes a hash, or anything, modulo the cores.

use crate::source::Source;

const ROUTE: &str = "src/bus/route.rs";
/// Tests that deal out their own messages, which have no uid.
const DEALERS: &[&str] = &["src/bus/stress.rs"];

/// A core's own tables of uids and of groups, whose hashes lead nowhere else, and what is known again by its hash.
const TABLES: &[&str] = &[
    "src/app/homes.rs",
    "src/net/transport/copies.rs",
    "src/shard/members.rs",
    "src/shard/stickies.rs",
    "src/shard/uids.rs",
    "src/streams/names.rs",
];

/// Each expression elsewhere that looks like that decision.
pub fn violations(source: &Source) -> Vec<String> {
    if source.path == ROUTE || DEALERS.contains(&&*source.path) {
        return Vec::new();
    }
    let mut violations = Vec::new();
    let tokens = &source.tokens;
    for (at, token) in tokens.iter().enumerate() {
        if token.text == "hash_one" && !TABLES.contains(&&*source.path) {
            violations.push(source.violation(token.line, "a hash of its own; ask bus::route"));
        }
        // `% cores`, `% self.cores()`, `.rem_euclid(n_cores)`, up to the end of the expression.
        if token.text == "%" || token.text.starts_with("rem") && token.text.contains("euclid") {
            let ends = [";", "{", "}", ",", "="];
            let rest = tokens[at + 1..]
                .iter()
                .take(8)
                .take_while(|token| !ends.contains(&&*token.text));
            let modulo_cores = rest.map(|token| token.text.to_lowercase()).any(|word| {
                word.split('_')
                    .any(|part| part == "cores" || part == "ncores")
            });
            if modulo_cores {
                violations.push(source.violation(token.line, "modulo the cores; ask bus::route"));
            }
        }
    }
    violations
}

#[test]
fn planted_routes_are_found() {
    for text in [
        "let core = hash % cores;",
        "let core = hash(uid) % self.cores() as u64;",
        "fn f() -> usize { x % config.cores }",
        "let core = hash.rem_euclid(cores);",
        "let core = state.hash_one(uid);",
    ] {
        let found = violations(&Source::new("src/server.rs", text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(violations(&Source::new(ROUTE, text)).is_empty());
    }
    for text in [
        "let odd = n % 2; let cores = 3;",
        "// hash % cores",
        "let x = a % b; cores.len()",
    ] {
        assert!(
            violations(&Source::new("src/server.rs", text)).is_empty(),
            "{text}"
        );
    }
}
