//! A source file as the checks see it: its tokens without comments, strings and white space.

use std::fs;
use std::path::Path;

/// A file under `src`.
pub struct Source {
    /// From the root of the repository, with `/`.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
}

/// An identifier or number, or one punctuation character.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
            tokens: tokens(text),
        }
    }

    /// The module that the file is, from the crate's root: `src/net/wire/mod.rs` is `net`, `wire`.
    pub fn module(&self) -> Vec<String> {
        let path = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        if matches!(
            module.last().map(String::as_str),
            Some("mod" | "lib" | "main")
        ) {
            module.pop();
        }
        module
    }

    pub fn violation(&self, line: usize, text: &str) -> String {
        format!("{}:{line}: {text}", self.path)
    }
}

/// Every Rust file under `src`, and of the load generator.
pub fn read_all(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root.join("src"), root.join("benches/load/src")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source in UTF-8");
                let path = path.strip_prefix(root).expect("a path below the root");
                sources.push(Source::new(&path.to_string_lossy(), &text));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// Cuts Rust into tokens, near enough: comments, strings and characters are dropped.
pub fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < chars.len() {
        let start = at;
        let here = chars[at];
        if here == '/' && chars.get(at + 1) == Some(&'/') {
            at = find(&chars, at, "\n");
        } else if here == '/' && chars.get(at + 1) == Some(&'*') {
            at = comment_end(&chars, at);
        } else if let Some(end) = raw_string_end(&chars, at) {
            at = end;
        } else if here == '"' {
            at = quoted_end(&chars, at, '"');
        } else if here == '\'' && is_character(&chars, at) {
            at = quoted_end(&chars, at, '\'');
        } else if here.is_alphanumeric() || here == '_' {
            while at < chars.len() && (chars[at].is_alphanumeric() || chars[at] == '_') {
                at += 1;
            }
            let text = chars[start..at].iter().collect();
            tokens.push(Token { text, line });
        } else {
            at += 1;
            if !here.is_whitespace() {
                let text = here.to_string();
                tokens.push(Token { text, line });
            }
        }
        line += chars[start..at].iter().filter(|c| **c == '\n').count();
    }
    tokens
}

fn find(chars: &[char], from: usize, needle: &str) -> usize {
    let needle: Vec<char> = needle.chars().collect();
    let found = chars[from..]
        .windows(needle.len())
        .position(|w| w == needle);
    found.map_or(chars.len(), |offset| from + offset)
}

/// The end of a block comment, which may hold others.
fn comment_end(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The end of a raw string that begins here, if one does: `r"…"`, `br#"…"#`.
fn raw_string_end(chars: &[char], start: usize) -> Option<usize> {
    let begins_word =
        start == 0 || !(chars[start - 1].is_alphanumeric() || chars[start - 1] == '_');
    let mut at = start + usize::from(matches!(chars[start], 'b' | 'c'));
    if !begins_word || chars.get(at) != Some(&'r') {
        return None;
    }
    at += 1;
    let hashes = chars[at..].iter().take_while(|c| **c == '#').count();
    if chars.get(at + hashes) != Some(&'"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    Some((find(chars, at + hashes + 1, &end) + end.len()).min(chars.len()))
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Whether this quote begins a character and not a lifetime.
fn is_character(chars: &[char], at: usize) -> bool {
    chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'')
}

#[test]
fn comments_and_strings_are_no_tokens() {
    let text = r###"
        // crate::a "quoted
        /* crate::b /* crate::c */ ' */
        let x = "crate::d \" crate::e"; let c = '"'; let q = '\''; let l: &'static str = r#"crate::f " "#;
        br"crate::g" b"crate::h" crate::i
    "###;
    let tokens = tokens(text);
    let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(words.iter().filter(|word| **word == "crate").count(), 1);
    assert!(words.ends_with(&["crate", ":", ":", "i"]), "{words:?}");
    assert!(words.contains(&"static"), "{words:?}");
    assert_eq!(tokens.last().map(|token| token.line), Some(5));
}

#[test]
fn a_file_is_a_module() {
    let module = |path: &str| Source::new(path, "").module().join("::");
    assert_eq!(module("src/lib.rs"), "");
    assert_eq!(module("src/ident.rs"), "ident");
    assert_eq!(module("src/net/mod.rs"), "net");
    assert_eq!(module("src/net/wire/uring.rs"), "net::wire::uring");
}
