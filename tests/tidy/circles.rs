//! No circle inside a folder: its files and folders import each other one way only, so that each can be read by itself.
//!
//! A folder's `mod.rs` counts as any file of it. What that hands on (`pub use`) is of the file that has it. Left out are
//! tests, and what plays kernels and cores for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Source, Token};

/// Tests, and what stands in for something.
const LEFT_OUT: &[&str] = &["/tests/", "/tests.rs", "/simulation/", "/uring/model/"];
/// Crates by the folder of their sources.
const CRATES: &[&str] = &["src/", "benches/load/src/"];

type Module = Vec<String>;
/// Who imports from whom in a folder.
type Arrows<'s> = BTreeMap<&'s str, BTreeSet<&'s str>>;

/// The folders with circles, each with the arrows that are part of them or lead from one to another.
pub fn folders(sources: &[Source]) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for root in CRATES {
        let own = sources.iter().filter(|source| {
            source.path.starts_with(root) && !LEFT_OUT.iter().any(|part| source.path.contains(part))
        });
        let own: Vec<&Source> = own.collect();
        let tree = Tree::new(root, &own);
        let imports = tree.imports();
        let folders: BTreeSet<&str> = own
            .iter()
            .flat_map(|source| {
                let ends = source.path.match_indices('/');
                ends.map(|(end, _)| &source.path[..end])
            })
            .filter(|folder| folder.len() + 1 >= root.len())
            .collect();
        for folder in folders {
            let arrows = within(folder, &imports);
            let tied = circles(arrows);
            if !tied.is_empty() {
                let lines = tied.into_iter().map(|(from, to)| {
                    let to: Vec<&str> = to.into_iter().collect();
                    format!("{folder}: {from} imports from {}", to.join(", "))
                });
                found.insert(folder.to_owned(), lines.collect());
            }
        }
    }
    found
}

/// The arrows between what is directly in a folder.
fn within<'s>(folder: &str, imports: &[(&'s str, &'s str)]) -> Arrows<'s> {
    let place = |path: &'s str| {
        let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
        rest.split('/').next()
    };
    let mut arrows = Arrows::new();
    for (from, to) in imports {
        if let (Some(from), Some(to)) = (place(from), place(to))
            && from != to
        {
            arrows.entry(from).or_default().insert(to);
        }
    }
    arrows
}

/// What is left when all are gone from which no arrow leads on, or to which none leads.
fn circles(mut arrows: Arrows<'_>) -> Arrows<'_> {
    loop {
        let from: BTreeSet<&str> = arrows.keys().copied().collect();
        for to in arrows.values_mut() {
            to.retain(|to| from.contains(to));
        }
        let reached: BTreeSet<&str> = arrows.values().flatten().copied().collect();
        let before = arrows.len();
        arrows.retain(|from, to| !to.is_empty() && reached.contains(from));
        if arrows.len() == before {
            return arrows;
        }
    }
}

/// The modules of a crate.
struct Tree<'s> {
    files: BTreeMap<Module, &'s Source>,
    uses: BTreeMap<Module, Vec<Import>>,
}

impl<'s> Tree<'s> {
    fn new(root: &str, sources: &[&'s Source]) -> Tree<'s> {
        let mut tree = Tree {
            files: BTreeMap::new(),
            uses: BTreeMap::new(),
        };
        for source in sources {
            let module = Source::new(&source.path.replacen(root, "src/", 1), "").module();
            // The program's root is not what `crate` means to the library.
            if source.path.ends_with("/main.rs") && tree.files.contains_key(&module) {
                continue;
            }
            tree.uses.insert(module.clone(), imports(source));
            tree.files.insert(module, source);
        }
        tree
    }

    /// Every pair of files of which the first imports from the second.
    fn imports(&self) -> Vec<(&'s str, &'s str)> {
        let mut pairs = Vec::new();
        for (module, uses) in &self.uses {
            let from = self.files[module];
            for import in uses.iter().filter(|import| !import.hands_on) {
                if let Some(to) = self.find(module, &import.path, 0)
                    && to.path != from.path
                {
                    pairs.push((&*from.path, &*to.path));
                }
            }
        }
        pairs
    }

    /// The file that has what this path names.
    fn find(&self, module: &[String], path: &[String], depth: usize) -> Option<&'s Source> {
        let path = self.absolute(module, path)?;
        let length = (0..=path.len()).rfind(|length| self.files.contains_key(&path[..*length]))?;
        let (at, rest) = path.split_at(length);
        if let Some(name) = rest.first()
            && depth < 8
        {
            let handed = self.uses[at].iter().filter(|import| import.is_public);
            for import in handed.filter(|import| import.path.last() == Some(name)) {
                if let Some(found) = self.find(at, &import.path, depth + 1) {
                    return Some(found);
                }
            }
        }
        self.files.get(at).copied()
    }

    /// A path from the crate's root; `None` if it leads out of it.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Module> {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let (base, rest) = match &*path[0] {
            "crate" => (&[][..], &path[1..]),
            "self" => (module, &path[1..]),
            "super" => (&module[..module.len().checked_sub(ups)?], &path[ups..]),
            _ => {
                let child = [module, &path[..1]].concat();
                return self
                    .files
                    .contains_key(&child)
                    .then(|| [module, path].concat());
            }
        };
        Some([base, rest].concat())
    }
}

/// A path that a file names.
struct Import {
    path: Module,
    is_public: bool,
    /// A `mod.rs` has it for others alone.
    hands_on: bool,
}

/// All paths of a file, but for those of modules within it.
fn imports(source: &Source) -> Vec<Import> {
    let tokens = &source.tokens;
    let word = |at: usize| tokens.get(at).map_or("", |token| &*token.text);
    let joined = |at: usize| word(at) == ":" && word(at + 1) == ":";
    let (mut imports, mut plain) = (Vec::new(), BTreeSet::new());
    let mut at = 0;
    while at < tokens.len() {
        match word(at) {
            "mod" if word(at + 2) == "{" => at = end_of_braces(tokens, at + 2),
            "use" => {
                let is_public = at > 0 && matches!(word(at - 1), "pub" | ")");
                let end = (at..tokens.len()).find(|end| word(*end) == ";");
                let end = end.unwrap_or(tokens.len());
                for path in used(&tokens[at + 1..end]) {
                    imports.push(Import {
                        path,
                        is_public,
                        hands_on: is_public && source.path.ends_with("mod.rs"),
                    });
                }
                at = end;
            }
            first if joined(at + 1) && !(at >= 1 && word(at - 1) == ":") => {
                let mut path = vec![first.to_owned()];
                while joined(at + 1) && is_name(word(at + 3)) {
                    path.push(word(at + 3).to_owned());
                    at += 3;
                }
                plain.insert(path[0].clone());
                imports.push(Import {
                    path,
                    is_public: false,
                    hands_on: false,
                });
            }
            other => drop(plain.insert(other.to_owned())),
        }
        at += 1;
    }
    // What is handed on and named here, too, is imported.
    for import in &mut imports {
        import.hands_on &= import.path.last().is_none_or(|name| !plain.contains(name));
    }
    imports
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn end_of_braces(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match &*token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len()
}

/// The paths of one `use`: `a::{b, c::d as e}` has `a::b` and `a::c::d`.
fn used(tokens: &[Token]) -> Vec<Module> {
    let (mut paths, mut open): (Vec<Module>, Vec<Module>) = (Vec::new(), Vec::new());
    let mut path = Module::new();
    let mut is_renamed = false;
    for token in tokens {
        match &*token.text {
            ":" => {}
            "{" => open.push(path.clone()),
            "," | "}" => {
                if open.last() != Some(&path) {
                    paths.push(std::mem::take(&mut path));
                }
                is_renamed = false;
                if token.text == "}" {
                    open.pop();
                    // What follows is no path until the next comma.
                    path = Module::new();
                    continue;
                }
                path = open.last().cloned().unwrap_or_default();
            }
            "as" => is_renamed = true,
            _ if is_renamed => {}
            "self" if !open.is_empty() => paths.push(path.clone()),
            name => path.push(name.to_owned()),
        }
    }
    paths.push(path);
    paths.retain(|path| !path.is_empty());
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect();
        folders(&sources).into_keys().collect()
    }

    #[test]
    fn one_way_is_no_circle() {
        for files in [
            &[
                ("src/a/mod.rs", "mod b; mod c; pub use b::B; use c::C;"),
                ("src/a/b.rs", "use super::c::{self, C as D}; use std::b;"),
                (
                    "src/a/c.rs",
                    "pub struct C; mod tests { use super::super::b::B; }",
                ),
            ][..],
            // What a `mod.rs` hands on is not its own.
            &[
                ("src/a/mod.rs", "mod b; mod c; pub use c::C;"),
                ("src/a/b.rs", "use super::C;"),
                ("src/a/c.rs", "// use super::b::B;"),
            ],
            &[
                ("src/a/b.rs", "use crate::d::e::E;"),
                ("src/d/e.rs", "use super::f::F;"),
                ("src/d/f.rs", "use std::d::e;"),
            ],
        ] {
            assert_eq!(found(files), [""; 0], "{files:?}");
        }
    }

    #[test]
    fn planted_circles_are_found() {
        for (files, folder) in [
            (
                &[
                    ("src/a/b.rs", "use super::c::C;"),
                    ("src/a/c.rs", "fn f() { crate::a::b::g() }"),
                ][..],
                "src/a",
            ),
            // By what a `mod.rs` owns, and what it hands on.
            (
                &[
                    ("src/a/mod.rs", "mod b; use b::B; pub struct A;"),
                    ("src/a/b.rs", "use super::A;"),
                ],
                "src/a",
            ),
            (
                &[
                    ("src/a/mod.rs", "mod b; pub use b::B; pub struct A(B);"),
                    ("src/a/b.rs", "use super::A;"),
                ],
                "src/a",
            ),
            (
                &[
                    ("src/a/mod.rs", "pub use c::{C, D};"),
                    ("src/a/b.rs", "use super::{C, e};"),
                    ("src/a/c.rs", "use super::b::B;"),
                ],
                "src/a",
            ),
            // By what is in a folder of its own.
            (
                &[
                    ("src/a/b.rs", "use super::c::d::D;"),
                    ("src/a/c/d.rs", "use super::super::b;"),
                ],
                "src/a",
            ),
            (
                &[
                    ("src/a/b.rs", "use crate::c::C;"),
                    ("src/c/mod.rs", "use crate::a::{b::B};"),
                ],
                "src",
            ),
        ] {
            assert_eq!(found(files), [folder], "{files:?}");
        }
    }
}
