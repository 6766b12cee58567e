//! The documents held against the repository: links, sizes, lines, and the names of files and functions that they say.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::layers::LAYERS;
use crate::source::Source;

/// Characters of a line of prose. Tables and code cannot be broken.
const LINE_MAX: usize = 110;
/// What a stranger reads first, and who wants to change it: lines, bytes.
const SIZES: &[(&str, usize, usize)] = &[
    ("README.md", 200, 12 << 10),
    ("ARCHITECTURE.md", usize::MAX, 16 << 10),
];
/// Those whose names of files and functions are held against the code.
const NAMING: &[&str] = &["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/internals.md"];

/// A document, and where it is from the root of the repository.
pub struct Document {
    pub path: String,
    pub text: String,
}

impl Document {
    #[cfg(test)]
    fn new(path: &str, text: &str) -> Document {
        Document {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Its lines of prose and tables, with their numbers: what is in fences is left out.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut in_fence = false;
        let lines = self.text.lines().zip(1..).map(move |(line, number)| {
            let is_fence = line.trim_start().starts_with("```");
            in_fence ^= is_fence;
            (number, line, in_fence || is_fence)
        });
        lines
            .filter(|(_, _, is_code)| !is_code)
            .map(|(number, line, _)| (number, line))
    }

    /// What links point to, with the line.
    fn links(&self) -> Vec<(usize, &str)> {
        let mut links = Vec::new();
        for (number, line) in self.lines() {
            for (at, _) in line.match_indices("](") {
                let rest = &line[at + 2..];
                if let Some(end) = rest.find(')')
                    && !is_in_code(line, at)
                    && !rest.contains("://")
                {
                    links.push((number, &rest[..end]));
                }
            }
        }
        links
    }

    /// Its headings, as links name them.
    fn anchors(&self) -> BTreeSet<String> {
        let mut anchors = BTreeSet::new();
        for (_, line) in self.lines().filter(|(_, line)| line.starts_with('#')) {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let anchor: String = title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect();
            anchors.insert(anchor);
        }
        anchors
    }

    /// The words in backquotes, each with its line and what follows it, where lines are no end.
    fn words(&self) -> Vec<(usize, String, String)> {
        let (mut text, mut starts) = (String::new(), Vec::new());
        for (number, line) in self.lines() {
            starts.push((text.len(), number));
            text.push_str(line.trim());
            text.push(' ');
        }
        let mut words = Vec::new();
        let pieces: Vec<&str> = text.split('`').collect();
        let mut at = 0;
        for (index, piece) in pieces.iter().enumerate() {
            if index % 2 == 1 {
                let (_, number) = starts.iter().rfind(|(start, _)| *start <= at).unwrap();
                // As ` (` and the next word, if that is how it goes on.
                let mut next = pieces.get(index + 1).copied().unwrap_or("").to_owned();
                next.push_str(pieces.get(index + 2).copied().unwrap_or(""));
                words.push((*number, (*piece).to_owned(), next));
            }
            at += piece.len() + 1;
        }
        words
    }

    fn violation(&self, line: usize, text: &str) -> String {
        format!("{}:{line}: {text}", self.path)
    }
}

fn is_in_code(line: &str, at: usize) -> bool {
    line[..at].matches('`').count() % 2 == 1
}

/// Every document there is.
pub fn read_all(root: &Path) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut folders = vec![
        root.join("docs"),
        root.join("tuning"),
        root.join("examples"),
    ];
    let top = fs::read_dir(root).expect("the root");
    let mut paths: Vec<PathBuf> = top.map(|entry| entry.expect("an entry").path()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false => paths.push(path),
            }
        }
    }
    paths.sort();
    for path in paths {
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).expect("a document in UTF-8");
            let path = path.strip_prefix(root).expect("a path below the root");
            let path = path.to_string_lossy().into_owned();
            documents.push(Document { path, text });
        }
    }
    documents
}

/// Where a link leads to, from the root: the file and the heading.
fn target(document: &Document, link: &str) -> (String, Option<String>) {
    let (file, anchor) = match link.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor.to_owned())),
        None => (link, None),
    };
    if file.is_empty() {
        return (document.path.clone(), anchor);
    }
    let folder = Path::new(&document.path).parent().expect("a folder");
    let mut path = PathBuf::new();
    for component in folder.join(file).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            component => path.push(component),
        }
    }
    (path.to_string_lossy().into_owned(), anchor)
}

/// Links to files or headings that are not there.
pub fn dead_links(root: &Path, documents: &[Document]) -> Vec<String> {
    let anchors: HashMap<&str, BTreeSet<String>> = documents
        .iter()
        .map(|document| (&*document.path, document.anchors()))
        .collect();
    let mut violations = Vec::new();
    for document in documents {
        for (line, link) in document.links() {
            let (path, anchor) = target(document, link);
            let is_there = match (anchors.get(&*path), anchor) {
                (Some(anchors), Some(anchor)) => anchors.contains(&anchor),
                (Some(_), None) => true,
                (None, anchor) => anchor.is_none() && root.join(&path).exists(),
            };
            if !is_there {
                violations.push(document.violation(line, &format!("{link} is not there")));
            }
        }
    }
    violations
}

/// Pages of `docs/` that no way of links leads to from the README.
pub fn unreached(documents: &[Document]) -> Vec<String> {
    let mut reached = BTreeSet::from(["README.md".to_owned()]);
    let mut open: Vec<String> = reached.iter().cloned().collect();
    while let Some(path) = open.pop() {
        let Some(document) = documents.iter().find(|document| document.path == path) else {
            continue;
        };
        for (_, link) in document.links() {
            let (path, _) = target(document, link);
            if reached.insert(path.clone()) {
                open.push(path);
            }
        }
    }
    documents
        .iter()
        .filter(|document| !reached.contains(&document.path))
        .map(|document| document.violation(1, "no links lead here from README.md"))
        .collect()
}

/// Lines of prose that are too long, in what is written for readers.
pub fn long_lines(document: &Document) -> Vec<String> {
    let is_page = document.path.starts_with("docs/");
    if !is_page && !SIZES.iter().any(|(path, ..)| *path == document.path) {
        return Vec::new();
    }
    document
        .lines()
        .filter(|(_, line)| line.chars().count() > LINE_MAX && !line.starts_with(['|', '!']))
        .map(|(number, _)| document.violation(number, &format!("more than {LINE_MAX} characters")))
        .collect()
}

/// Documents that are longer than who reads them first has patience for.
pub fn sizes(document: &Document) -> Vec<String> {
    let Some((_, lines, bytes)) = SIZES.iter().find(|(path, ..)| *path == document.path) else {
        return Vec::new();
    };
    let is_short = document.text.lines().count() <= *lines && document.text.len() <= *bytes;
    match is_short {
        true => Vec::new(),
        false => vec![document.violation(1, "too long; docs/ has room")],
    }
}

/// Names of files and functions that the code does not have, or has elsewhere.
pub fn unknown_names(root: &Path, document: &Document, sources: &[Source]) -> Vec<String> {
    if !NAMING.contains(&&*document.path) {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (line, word, next) in document.words() {
        if is_file(&word) {
            if !is_there(root, sources, &word) {
                violations.push(document.violation(line, &format!("there is no {word}")));
            }
        } else if let Some((owner, name)) = member(&word) {
            let file = next.strip_prefix(" (").filter(|file| is_file(file));
            let found = sources.iter().any(|source| {
                file.is_none_or(|file| is_at(&source.path, file)) && has(source, owner, name)
            });
            if !found {
                let place = file.map_or(String::new(), |file| format!(" in {file}"));
                violations.push(document.violation(line, &format!("there is no {word}{place}")));
            }
        }
    }
    violations
}

fn is_file(word: &str) -> bool {
    word.ends_with(".rs")
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_/.".contains(c))
}

fn is_there(root: &Path, sources: &[Source], file: &str) -> bool {
    let places = ["examples/", "tests/", "benches/"];
    match places.iter().any(|place| file.starts_with(place)) {
        true => root.join(file).exists(),
        false => sources.iter().any(|source| is_at(&source.path, file)),
    }
}

/// `src/net/wire/batch.rs` is at `net/wire/batch.rs`, and at `wire/batch.rs`.
fn is_at(path: &str, file: &str) -> bool {
    path == file || path.ends_with(file) && path[..path.len() - file.len()].ends_with('/')
}

/// `Transport::accept` → its type and its name.
fn member(word: &str) -> Option<(&str, &str)> {
    let (owner, name) = word.split_once("::")?;
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let is_type = owner.starts_with(|c: char| c.is_uppercase());
    (is_type && is_name(owner) && is_name(name)).then_some((owner, name))
}

/// Whether a file has this function, variant or field of this type.
fn has(source: &Source, owner: &str, name: &str) -> bool {
    let words: Vec<&str> = source.tokens.iter().map(|token| &*token.text).collect();
    words.iter().enumerate().any(|(at, word)| {
        let is_item = at == 0 || !["(", ",", ":", "<", "&", ">", "="].contains(&words[at - 1]);
        let head = words[at..]
            .iter()
            .take_while(|word| !["{", ";"].contains(word))
            .count();
        let body = &words[(at + head).min(words.len())..];
        let body = &body[..end_of_braces(body)];
        let of_owner = is_item && words[at + 1..at + head.max(1)].contains(&owner);
        match *word {
            "impl" | "trait" if of_owner => body.windows(2).any(|pair| pair == ["fn", name]),
            "enum" | "struct" if of_owner => body.contains(&name),
            _ => false,
        }
    })
}

/// Where the braces close that the words begin with.
fn end_of_braces(words: &[&str]) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate() {
        match *word {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    words.len()
}

/// What the map says of layers, and what the tables say there is, that is not so.
pub fn false_map(root: &Path, document: &Document) -> Vec<String> {
    if !NAMING.contains(&&*document.path) {
        return Vec::new();
    }
    let (mut violations, mut layer, mut said) = (Vec::new(), None, BTreeSet::new());
    for (number, line) in document.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let with_layer = cells.len() == 3;
        if !line.starts_with('|') || cells.len() < 2 || line.starts_with("|--") {
            continue;
        }
        if with_layer && !cells[0].is_empty() {
            layer = cells[0].parse::<usize>().ok();
        }
        let (mut folder, mut within) = (String::new(), String::new());
        for module in quoted(cells[usize::from(with_layer)]) {
            let path = match module.rsplit_once('/') {
                Some((above, _)) => {
                    folder = format!("{above}/");
                    module.to_owned()
                }
                None => format!("{folder}{module}"),
            };
            let there = [
                root.join("src").join(&path),
                root.join(format!("src/{path}.rs")),
            ];
            if !there.iter().any(|path| path.exists()) {
                violations.push(document.violation(number, &format!("there is no module {path}")));
            }
            if with_layer {
                said.insert((layer.unwrap_or(usize::MAX), module.to_owned()));
            }
            within = path;
        }
        let parts = quoted(cells[1]).filter(|_| !with_layer);
        for part in parts.filter(|part| part.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
            if !is_part(root, &within, part) {
                let text = format!("there is no {part} in {within} or beside it");
                violations.push(document.violation(number, &text));
            }
        }
    }
    if document.path == "ARCHITECTURE.md" {
        let known: BTreeSet<(usize, String)> = (LAYERS.iter().zip(0..))
            .flat_map(|(modules, layer)| {
                modules
                    .iter()
                    .map(move |module| (layer, (*module).to_owned()))
            })
            .collect();
        for (layer, module) in known.symmetric_difference(&said) {
            let text = format!("`{module}` of layer {layer}: in the map or in LAYERS alone");
            violations.push(document.violation(1, &text));
        }
    }
    violations
}

/// What stands in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Whether a module has this part, below it or beside it.
fn is_part(root: &Path, module: &str, part: &str) -> bool {
    let beside = module.rsplit_once('/').map_or("", |(above, _)| above);
    [module, beside].iter().any(|folder| {
        let path = root.join("src").join(folder);
        path.join(part).exists() || path.join(format!("{part}.rs")).exists()
    })
}

/// The first word in backquotes of each step of the section.
pub fn steps<'d>(document: &'d Document, section: &str) -> Vec<&'d str> {
    let lines = document.lines().map(|(_, line)| line);
    let lines = lines.skip_while(|line| *line != section).skip(1);
    lines
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(|line| line.split('`').nth(1))
        .collect()
}

/// Steps that a function does not have, or has before the one before them.
pub fn out_of_order(source: &Source, function: &str, steps: &[&str]) -> Vec<String> {
    let words: Vec<&str> = source.tokens.iter().map(|token| &*token.text).collect();
    let begin = words.windows(2).position(|pair| pair == ["fn", function]);
    let Some(begin) = begin else {
        return vec![format!("{}: there is no {function}", source.path)];
    };
    let body = &words[begin + 2..];
    let end = body
        .iter()
        .position(|word| *word == "fn")
        .unwrap_or(body.len());
    let (mut at, mut violations) = (0, Vec::new());
    for step in steps {
        match body[at..end].iter().position(|word| word == step) {
            Some(further) => at += further + 1,
            None => violations.push(format!("{}: no {step} so late", source.path)),
        }
    }
    violations
}

/// Files with locks, but for what only tests see.
pub fn locked(sources: &[Source]) -> BTreeSet<&str> {
    let has_lock = |source: &Source| {
        let is_lock = |name: &str| name == "Mutex" || name == "RwLock";
        source.tokens.iter().any(|token| is_lock(&token.text))
    };
    let files = sources
        .iter()
        .filter(|source| source.path.starts_with("src/"));
    files
        .filter(|source| !source.path.contains("/simulation/") && !source.path.contains("/tests"))
        .filter(|source| has_lock(source))
        .map(|source| source.path.trim_start_matches("src/"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planted_links_are_found() {
        let root = crate::root();
        let page = "# One `two` (3)\n[a](../README.md) [b](b.md#one-two-3) `[c](c.md)`\n```text\n[d](d.md)\n```\n";
        let documents = |link: &str| {
            vec![
                Document::new("README.md", &format!("[it]({link})\n")),
                Document::new("docs/b.md", page),
            ]
        };
        assert_eq!(
            dead_links(&root, &documents("docs/b.md#one-two-3")),
            [""; 0]
        );
        assert_eq!(unreached(&documents("docs/b.md")), [""; 0]);
        for link in ["docs/c.md", "docs/b.md#one-two", "docs/b.md#", "#there"] {
            assert_eq!(dead_links(&root, &documents(link)).len(), 1, "{link}");
        }
        assert_eq!(unreached(&documents("Cargo.toml")).len(), 1);
    }

    #[test]
    fn planted_lengths_are_found() {
        let long = "x".repeat(LINE_MAX + 1);
        let page = |text: &str| long_lines(&Document::new("docs/b.md", text)).len();
        assert_eq!(page(&"ä".repeat(LINE_MAX)), 0);
        assert_eq!(page(&format!("| {long} |\n```text\n{long}\n```\n")), 0);
        assert_eq!(page(&format!("{long}\n")), 1);
        let readme = |text: &str| sizes(&Document::new("README.md", text)).len();
        assert_eq!(
            (readme(&"\n".repeat(200)), readme(&"\n".repeat(201))),
            (0, 1)
        );
        assert_eq!(readme(&"x".repeat((12 << 10) + 1)), 1);
    }

    #[test]
    fn planted_names_are_found() {
        let sources = [
            Source::new(
                "src/net/one.rs",
                "impl<T> Wire<T> { fn watch(&self) {} } impl Ring { fn arm(&self) {} }",
            ),
            Source::new("src/two.rs", "enum Stage { Shut, Close { count: u8 } }"),
        ];
        let names = |text: &str| {
            unknown_names(
                &crate::root(),
                &Document::new("ARCHITECTURE.md", text),
                &sources,
            )
            .len()
        };
        for good in [
            "`Wire::watch`, `Wire::watch` (`net/one.rs`)",
            "`Wire::watch`\n(`one.rs`) and `Stage::Shut`, `Stage::Close` (`two.rs`)",
            "`tests/tidy/main.rs` and `std::fs`",
        ] {
            assert_eq!(names(good), 0, "{good}");
        }
        for bad in [
            "`Wire::unwatch`",
            "`Wire::arm`",
            "`Wire::watch` (`two.rs`)",
            "`Wire::watch`\n(`two.rs`)",
            "`Stage::Open`",
            "`three.rs`",
            "`tests/untidy.rs`",
        ] {
            assert_eq!(names(bad), 1, "{bad}");
        }
    }

    #[test]
    fn planted_steps_and_modules_are_found() {
        let source = Source::new(
            "src/turn.rs",
            "fn round() { a(); b(); c(); } fn other() { d(); }",
        );
        let page = Document::new(
            "ARCHITECTURE.md",
            "## A turn\n1. `a`: `x`\n2. `c`\n## B\n3. `d`\n",
        );
        assert_eq!(steps(&page, "## A turn"), ["a", "c"]);
        assert_eq!(out_of_order(&source, "round", &["a", "c"]).len(), 0);
        for bad in [["c", "a"], ["a", "d"]] {
            assert_eq!(out_of_order(&source, "round", &bad).len(), 1, "{bad:?}");
        }
        assert_eq!(out_of_order(&source, "turn", &["a"]).len(), 1);
        let map = |text| false_map(&crate::root(), &Document::new("docs/internals.md", text)).len();
        assert_eq!(map("| `shard/slot`, `uids` | it |\n"), 0);
        assert_eq!(map("| `shard/slot`, `uid` | it |\n"), 1);
        assert_eq!(map("| `net/wire` | `uring`, `epoll`; `batch` |\n"), 0);
        assert_eq!(map("| `net/wire` | `uring`, `batches` |\n"), 1);
        assert!(false_map(&crate::root(), &Document::new("ARCHITECTURE.md", "")).len() > 10);
    }
}
