//! The house rules that a machine can check: layers, names, beginnings, lengths.
//!
//! The map of layers in ARCHITECTURE.md is [`layers::LAYERS`]: a new module must find its place there.
//! The checks are plain functions from a file's text to its violations, and tests plant violations to
//! see that they find them.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/route.rs"]
mod route;
#[path = "tidy/source.rs"]
mod source;

use std::path::PathBuf;

use source::Source;

/// Most lines that a file under `src` may have. Past some 400 one looks for the second noun; past
/// this one has to.
const LINES_MAX: usize = 600;

/// The documents that a reader begins with.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
];

/// The repository, as cargo and its like tell the test.
fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo"))
}

fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = source::read_all(&root());
    assert!(sources.len() > 5, "the sources were not found");
    let violations: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn imports_point_to_strictly_lower_layers() {
    check(layers::violations);
}

#[test]
fn names_use_none_of_the_forbidden_words() {
    check(names::violations);
}

#[test]
fn a_uid_becomes_a_core_in_one_file() {
    check(route::violations);
}

#[test]
fn every_file_begins_with_what_it_is() {
    check(beginning);
}

#[test]
fn no_file_is_too_long() {
    check(length);
}

#[test]
fn the_documents_are_there() {
    for document in DOCUMENTS {
        let path = root().join(document);
        let length = path.metadata().map(|file| file.len()).unwrap_or(0);
        assert!(length > 200, "{document} is missing or empty");
    }
}

fn beginning(source: &Source) -> Vec<String> {
    match source.text.starts_with("//! ") {
        true => Vec::new(),
        false => vec![format!("{}: does not begin with `//! `", source.path)],
    }
}

fn length(source: &Source) -> Vec<String> {
    match source.text.lines().count() {
        0..=LINES_MAX => Vec::new(),
        lines => vec![format!(
            "{}: {lines} lines, at most {LINES_MAX}",
            source.path
        )],
    }
}

#[test]
fn a_planted_beginning_and_length_are_found() {
    assert_eq!(
        beginning(&Source::new("src/ident.rs", "//! Names.\n")).len(),
        0
    );
    assert_eq!(
        beginning(&Source::new("src/ident.rs", "// Names.\n")).len(),
        1
    );
    assert_eq!(
        beginning(&Source::new("src/ident.rs", "use std::fmt;\n")).len(),
        1
    );
    assert_eq!(
        length(&Source::new("src/ident.rs", &"\n".repeat(600))).len(),
        0
    );
    assert_eq!(
        length(&Source::new("src/ident.rs", &"\n".repeat(601))).len(),
        1
    );
}
