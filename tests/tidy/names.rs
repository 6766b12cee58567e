//! Words that say nothing: no file, module or type is named by them, and no comment begins with what only the lines before
//! it explain.

use crate::source::Source;

const FORBIDDEN: &[&str] = &[
    "manager", "handler", "util", "helper", "data", "worker", "hub",
];

/// Each file, module or type with a forbidden word in its name.
pub fn violations(source: &Source) -> Vec<String> {
    let mut violations = Vec::new();
    let path = source.path.trim_end_matches(".rs");
    for part in path.split('/') {
        if let Some(word) = forbidden_word(part) {
            violations.push(source.violation(1, &format!("a file named by `{word}`")));
        }
    }
    for pair in source.tokens.windows(2) {
        let declares =
            ["mod", "struct", "enum", "union", "trait", "type"].contains(&&*pair[0].text);
        if let (true, Some(word)) = (declares, forbidden_word(&pair[1].text)) {
            let text = format!("{} `{}` is named by `{word}`", pair[0].text, pair[1].text);
            violations.push(source.violation(pair[1].line, &text));
        }
    }
    violations
}

/// Each comment on an item that begins "The same", and does not say what.
pub fn references(source: &Source) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let begins = lines.filter(|(number, line)| {
        let before = number
            .checked_sub(1)
            .and_then(|at| source.text.lines().nth(at));
        let goes_on = before.is_some_and(|before| before.trim_start().starts_with("//"));
        let said = line.trim_start().strip_prefix("///").map(str::trim_start);
        let rest = said.and_then(|said| said.strip_prefix("The same"));
        !goes_on && rest.is_some_and(says_nothing)
    });
    begins
        .map(|(at, _)| source.violation(at + 1, "`The same` of what?"))
        .collect()
}

/// Whether what follows "The same" is no noun.
fn says_nothing(rest: &str) -> bool {
    let end = rest
        .trim_start()
        .find(|letter: char| !letter.is_alphabetic());
    let word = &rest.trim_start()[..end.unwrap_or(0)];
    let others = [
        "", "of", "for", "as", "by", "where", "when", "with", "and", "but", "how", "if", "in",
    ];
    others.contains(&word)
}

/// The forbidden word that is one of the name's words, in its singular.
fn forbidden_word(name: &str) -> Option<&'static str> {
    let mut spaced = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() || letter == '_' {
            spaced.push(' ');
        }
        spaced.extend(letter.to_lowercase());
    }
    let words: Vec<&str> = spaced
        .split([' ', '_'])
        .map(|word| word.trim_end_matches('s'))
        .collect();
    FORBIDDEN
        .iter()
        .copied()
        .find(|forbidden| words.contains(forbidden))
}

#[test]
fn planted_names_are_found() {
    for (path, text) in [
        ("src/net/utils.rs", ""),
        ("src/workers/mod.rs", ""),
        ("src/net/mod.rs", "pub struct ConnectionManager;"),
        ("src/net/mod.rs", "trait Handler {}"),
        ("src/net/mod.rs", "enum HubState {}"),
        ("src/net/mod.rs", "mod data_path {}"),
        ("src/net/mod.rs", "type SessionData = ();"),
    ] {
        let found = violations(&Source::new(path, text));
        assert_eq!(found.len(), 1, "{path} {text}: {found:?}");
    }
    for text in [
        "struct Metadata; struct Database; enum Utility {}",
        "// struct Manager",
        "fn data() { let handler = 1; }",
    ] {
        assert!(
            violations(&Source::new("src/net/mod.rs", text)).is_empty(),
            "{text}"
        );
    }
}

#[test]
fn planted_references_are_found() {
    let found = |text: &str| references(&Source::new("src/net/mod.rs", text)).len();
    for text in [
        "/// The same.",
        "fn f() {}\n    /// The same, but later.",
        "/// The same of a group.",
    ] {
        assert_eq!(found(text), 1, "{text}");
    }
    for text in [
        "/// The same context, but within this namespace.",
        "/// A uid.\n/// The same of a group.",
        "// The same of a group.",
        "/// Those of the same of them.",
    ] {
        assert_eq!(found(text), 0, "{text}");
    }
}
