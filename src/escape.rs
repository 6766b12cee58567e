//! [`Escaped`]: text from outside, made harmless for a log or a terminal.
//!
//! Uids, names and error texts come from peers. A line break in one would forge a log line, an
//! escape sequence would drive the reader's terminal, and a bidi override would show another text
//! than was sent. Allocates nothing; called wherever such text is logged or printed.

use std::fmt::{self, Write};

/// Displays a string with control, format and line-separating characters, and the backslash,
/// written as Rust would write them in a literal: `\n`, `\u{202e}`, `\\`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(needs_escape) {
            let (clean, from) = rest.split_at(at);
            f.write_str(clean)?;
            let mut chars = from.chars();
            if let Some(character) = chars.next() {
                for part in character.escape_default() {
                    f.write_char(part)?;
                }
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// Unicode categories Cc, Cf, Zl and Zp, and the backslash, without which an escape could be forged.
fn needs_escape(character: char) -> bool {
    // Almost all text is printable ASCII: one comparison and out.
    if matches!(character, ' '..='[' | ']'..='~') {
        return false;
    }
    character.is_control()
        || matches!(character,
            '\\'
            | '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        Escaped(text).to_string()
    }

    #[test]
    fn ordinary_text_of_any_script_stays() {
        for text in ["", "uid1", "a \"b\" <c> ~", "你好 мир é 😀"] {
            assert_eq!(escaped(text), text);
        }
    }

    #[test]
    fn a_line_break_cannot_forge_a_log_line() {
        assert_eq!(escaped("a\r\nWARN b\t"), r"a\r\nWARN b\t");
        assert_eq!(escaped("\u{2028}\u{85}"), r"\u{2028}\u{85}");
    }

    #[test]
    fn terminal_and_bidi_control_shows_as_itself() {
        assert_eq!(escaped("\x1b[2J\0\u{7f}"), r"\u{1b}[2J\u{0}\u{7f}");
        assert_eq!(escaped("x\u{202e}y\u{2066}z"), r"x\u{202e}y\u{2066}z");
        assert_eq!(
            escaped("\u{feff}\u{200b}\u{e0041}"),
            r"\u{feff}\u{200b}\u{e0041}"
        );
    }

    #[test]
    fn an_escape_cannot_be_forged() {
        assert_ne!(escaped("\n"), escaped(r"\n"));
        assert_eq!(escaped(r"\n"), r"\\n");
    }
}
