//! A type's name stands for one thing in the whole crate: no two types share one.
//!
//! Left out are types within `impl` blocks (the names are a trait's), those of tests, and a feature's
//! stand-in (`absent.rs`), which has the names of what it stands for.

use std::collections::BTreeMap;

use crate::source::Source;

/// Tests, and what plays kernels and cores for them: their names are seen by no other file.
const TESTS: &[&str] = &["/tests/", "/tests.rs", "/simulation/", "/uring/model/"];
/// What is in place of a module that is left out.
const STAND_IN: &str = "/absent.rs";
/// Crates by the folder of their sources.
const CRATES: &[&str] = &["src/", "benches/load/src/"];

/// Where a value may be without a type: a panic's payload, and what the several apps of a server have by types of their
/// own, sessions and notes.
const UNTYPED: &[&str] = &["src/guard.rs", "src/migration/mod.rs", "src/app/note.rs"];

/// Values whose type is found out where they arrive (`dyn Any`): a type parameter says it, or another type.
pub fn untyped(source: &Source) -> Vec<String> {
    if UNTYPED.contains(&&*source.path) {
        return Vec::new();
    }
    let words = source.tokens.windows(2);
    let found = words.filter(|words| words[0].text == "dyn" && words[1].text == "Any");
    found
        .map(|words| source.violation(words[0].line, "a value without a type"))
        .collect()
}

/// Types that a name was given to before, each with where that was.
pub fn violations(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for folder in CRATES {
        let mut known: BTreeMap<&str, &Source> = BTreeMap::new();
        let of_crate = sources.iter().filter(|source| {
            source.path.starts_with(folder)
                && !source.path.ends_with(STAND_IN)
                && !TESTS.iter().any(|place| source.path.contains(place))
        });
        for source in of_crate {
            for (name, line) in declared(source) {
                match known.get(name) {
                    Some(earlier) => {
                        let text = format!("another `{name}` is in {}", earlier.path);
                        violations.push(source.violation(line, &text));
                    }
                    None => drop(known.insert(name, source)),
                }
            }
        }
    }
    violations
}

/// The types that a file declares, and where.
fn declared(source: &Source) -> Vec<(&str, usize)> {
    let tokens = &source.tokens;
    let mut found = Vec::new();
    // What each open brace belongs to: whether names within it are to be left out.
    let mut open: Vec<bool> = Vec::new();
    let mut is_apart = false;
    for (at, token) in tokens.iter().enumerate() {
        let begins =
            at == 0 || ["}", "{", ";", "]", ")", "pub", "unsafe"].contains(&&*tokens[at - 1].text);
        match &*token.text {
            "impl" | "trait" if begins => {
                if &*token.text == "trait" && !open.contains(&true) {
                    found.push((&*tokens[at + 1].text, token.line));
                }
                is_apart = true;
            }
            "mod" if begins => is_apart = tokens[at + 1].text == "tests",
            "struct" | "enum" | "union" | "type" if begins && !open.contains(&true) => {
                found.push((&*tokens[at + 1].text, token.line));
            }
            "{" => {
                open.push(is_apart);
                is_apart = false;
            }
            "}" => drop(open.pop()),
            ";" => is_apart = false,
            _ => {}
        }
    }
    found
}

#[test]
fn planted_twins_are_found() {
    let one = "pub struct Place(u32); impl Place { type Error = (); } enum Phase { Place }";
    let sources = |path: &str, text: &str| {
        let sources = [Source::new("src/one.rs", one), Source::new(path, text)];
        violations(&sources).len()
    };
    for twin in [
        "struct Place { at: u32 }",
        "pub(crate) enum Phase { Open }",
        "trait Place { fn at(&self); }",
        "fn f() {} type Place = u32;",
        "impl Other { fn f() {} } #[derive(Debug)] struct Place;",
        "mod inner { pub struct Place; }",
        "fn f() { struct Place; }",
    ] {
        assert_eq!(sources("src/two.rs", twin), 1, "{twin}");
        assert_eq!(sources("src/net/absent.rs", twin), 0, "{twin}");
        assert_eq!(sources("src/net/tests.rs", twin), 0, "{twin}");
        assert_eq!(sources("benches/load/src/two.rs", twin), 0, "{twin}");
    }
    for other in [
        "struct Places; enum Phases { Place, Phase }",
        "impl Iterator for X { type Place = u32; fn f() { match x { Place => {} } } }",
        "trait X { type Place; } fn f() -> Place { Place { at: 0 } }",
        "mod tests { struct Place; }",
    ] {
        assert_eq!(sources("src/two.rs", other), 0, "{other}");
    }
}

#[test]
fn a_planted_value_without_a_type_is_found() {
    let found = |path: &str, text: &str| untyped(&Source::new(path, text)).len();
    let text = "fn f(value: &(dyn Any + Send)) {}";
    assert_eq!(found("src/app/host.rs", text), 1);
    assert_eq!(found("src/guard.rs", text), 0);
    assert_eq!(found("src/app/host.rs", "// dyn Any\nfn f<T: Any>() {}"), 0);
}
