//! Text from a server, made harmless for a terminal.

/// The text with what does not print, and the backslash, as Rust would write it in
/// a literal. Quotation marks stay.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\'' | '"' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}
