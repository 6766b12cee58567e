//! How long functions are.

use crate::source::{Source, Token};

/// Most lines of a function, from its `fn` to its brace. Past some 70 one looks for its steps; past this one has to.
pub const FUNCTION_LINES_MAX: usize = 100;

/// Functions that are too long, each with its name and its lines.
pub fn violations(source: &Source) -> Vec<String> {
    let tokens = &source.tokens;
    let functions = tokens.windows(2).enumerate().filter(|(_, pair)| {
        // Not the type `fn(u8)`.
        pair[0].text == "fn" && pair[1].text != "("
    });
    functions
        .filter_map(|(at, pair)| {
            let lines = last_line(&tokens[at..])? + 1 - pair[0].line;
            (lines > FUNCTION_LINES_MAX).then(|| {
                let text = format!(
                    "`{}` has {lines} lines, at most {FUNCTION_LINES_MAX}",
                    pair[1].text
                );
                source.violation(pair[0].line, &text)
            })
        })
        .collect()
}

/// The line of the brace that ends a function; `None` of one without a body.
fn last_line(tokens: &[Token]) -> Option<usize> {
    let (mut depth, mut within) = (0, 0);
    for token in tokens {
        match &*token.text {
            "(" | "[" => within += 1,
            ")" | "]" => within -= 1,
            ";" if depth == 0 && within == 0 => return None,
            "{" => depth += 1,
            "}" if depth == 1 => return Some(token.line),
            "}" => depth -= 1,
            _ => {}
        }
    }
    None
}

#[test]
fn planted_long_functions_are_found() {
    let of = |head: &str, lines: usize| {
        let text = format!("{head} {{{}}}\nstruct X;\n", "\n".repeat(lines - 1));
        violations(&Source::new("src/x.rs", &text))
    };
    for head in [
        "fn f()",
        "pub(super) async fn f<T: Into<[u8; 4]>>(self, by: fn(u8) -> [u8; 2]) -> [u8; 3]",
        "impl X { fn g(&self); } fn f()",
        "impl X { fn g() {} } const F: fn() = g; fn f()",
        "// fn g() {\nfn f()",
    ] {
        assert_eq!(of(head, 100).len(), 0, "{head}");
        let found = of(head, 101);
        assert_eq!(found.len(), 1, "{head}");
        assert!(found[0].contains("`f` has 101 lines"), "{found:?}");
    }
    // Braces within it are not its end.
    let nested = format!("fn f() {{ fn g() {{}} if x {{ y() }}{}}}", "\n".repeat(100));
    assert_eq!(violations(&Source::new("src/x.rs", &nested)).len(), 1);
    assert_eq!(of("trait X { fn g(&self); } mod m", 200).len(), 0);
    assert_eq!(of("impl X", 200).len(), 0);
}
