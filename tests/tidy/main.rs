//! The house rules that a machine can check: layers, names, beginnings, lengths, and what the documents say.
//!
//! The map of layers in ARCHITECTURE.md is [`layers::LAYERS`]: a new module must find its place there.
//! The checks are plain functions from a file's text to its violations, and tests plant violations to
//! see that they find them.

mod circles;
mod documents;
mod functions;
mod layers;
mod names;
mod route;
mod source;
mod types;

use std::path::PathBuf;

use documents::Document;
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
fn no_folder_has_a_circle() {
    let found = circles::folders(&source::read_all(&root()));
    let lines: Vec<String> = found.into_values().flatten().collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn types_are_known_between_layers() {
    check(types::untyped);
}

#[test]
fn names_use_none_of_the_forbidden_words() {
    check(names::violations);
}

#[test]
fn comments_say_what_they_are_about() {
    check(names::references);
}

#[test]
fn a_types_name_stands_for_one_thing() {
    let violations = types::violations(&source::read_all(&root()));
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
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
fn no_function_is_too_long() {
    check(functions::violations);
}

#[test]
fn a_module_with_files_of_its_own_is_their_folders_mod_rs() {
    let violations = beside_their_folder(&source::read_all(&root()));
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn the_documents_are_there() {
    let documents = documents::read_all(&root());
    for path in DOCUMENTS {
        let document = documents.iter().find(|document| document.path == *path);
        let length = document.map_or(0, |document| document.text.len());
        assert!(length > 200, "{path} is missing or empty");
    }
    let pages = documents
        .iter()
        .filter(|document| document.path.starts_with("docs/"));
    assert!(pages.count() > 10, "the pages of docs/ were not found");
}

fn check_documents(rule: impl Fn(&Document) -> Vec<String>) {
    let violations: Vec<String> = documents::read_all(&root()).iter().flat_map(rule).collect();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn every_link_leads_somewhere() {
    let dead = documents::dead_links(&root(), &documents::read_all(&root()));
    assert!(dead.is_empty(), "\n{}\n", dead.join("\n"));
}

#[test]
fn every_document_is_reached_from_the_readme() {
    let lost = documents::unreached(&documents::read_all(&root()));
    assert!(lost.is_empty(), "\n{}\n", lost.join("\n"));
}

#[test]
fn the_documents_are_short_enough_to_be_read() {
    check_documents(documents::sizes);
    check_documents(documents::long_lines);
}

#[test]
fn the_documents_name_what_there_is() {
    let sources = source::read_all(&root());
    check_documents(|document| documents::unknown_names(&root(), document, &sources));
    check_documents(|document| documents::false_map(&root(), document));
}

#[test]
fn the_steps_of_a_turn_are_in_their_order() {
    check_documents(|document| {
        if document.path != "ARCHITECTURE.md" {
            return Vec::new();
        }
        let steps = documents::steps(document, "## A turn");
        assert!(steps.len() > 10, "only {steps:?}");
        let sources = source::read_all(&root());
        let turn = sources
            .iter()
            .find(|source| source.path == "src/server/turn.rs");
        documents::out_of_order(turn.expect("the turn"), "round", &steps)
    });
}

#[test]
fn every_lock_is_told_of() {
    let documents = documents::read_all(&root());
    let architecture = documents
        .iter()
        .find(|document| document.path == "ARCHITECTURE.md");
    let (_, told) = architecture
        .expect("it")
        .text
        .split_once("**No lock")
        .expect("the locks");
    let (told, _) = told.split_once("\n- ").expect("their end");
    let sources = source::read_all(&root());
    let locked = documents::locked(&sources);
    for file in &locked {
        assert!(told.contains(&format!("`{file}`")), "{file} has a lock");
    }
    assert_eq!(
        told.matches(".rs`").count(),
        locked.len(),
        "{locked:?}: {told}"
    );
}

fn beginning(source: &Source) -> Vec<String> {
    match source.text.starts_with("//! ") {
        true => Vec::new(),
        false => vec![format!("{}: does not begin with `//! `", source.path)],
    }
}

/// One style of modules: `net/wire/mod.rs`, not `net/wire.rs` beside the folder.
fn beside_their_folder(sources: &[Source]) -> Vec<String> {
    let is_beside = |source: &&Source| {
        let folder = source.path.replace(".rs", "/");
        sources.iter().any(|other| other.path.starts_with(&folder))
    };
    let beside = sources.iter().filter(is_beside);
    beside
        .map(|source| format!("{}: stands beside its folder", source.path))
        .collect()
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

#[test]
fn a_planted_module_beside_its_folder_is_found() {
    let found = |paths: &[&str]| {
        let sources: Vec<Source> = paths.iter().map(|path| Source::new(path, "")).collect();
        beside_their_folder(&sources).len()
    };
    assert_eq!(found(&["src/net.rs", "src/net/wire.rs"]), 1);
    assert_eq!(
        found(&["src/net/mod.rs", "src/net/wire.rs", "src/network.rs"]),
        0
    );
}
