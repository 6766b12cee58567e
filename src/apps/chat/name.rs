//! What makes a chat user's name: [`beginning`] cuts it out of what follows `login:`, [`is_whole`] says whether a
//! string is one. Pure, and without allocation.
//!
//! A *character* of a name is a letter, a digit or `_`, of any script, together with the marks on it: vowel signs,
//! accents, a virama. A Hangul syllable written in its parts (jamo) is one, too. So a name has as many characters
//! whichever way its writer's keyboard composes it, and nothing is rewritten: others see the bytes that came.
//!
//! Bound: [`CHARS_MAX`] characters of 1 + [`MARKS_MAX`] code points, 400 bytes.

use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

/// Fewest characters of a name.
pub const CHARS_MIN: usize = 3;
/// Most characters of a name; more are left out.
pub const CHARS_MAX: usize = 20;
/// Most marks on one character, twice what an orthography in use asks for. The name ends before one more, since
/// marks without an end would be a name without one.
const MARKS_MAX: usize = 4;

/// The name that a string begins with: its longest run of a name's characters, of which the first
/// [`CHARS_MAX`] count. `None` if there are fewer than [`CHARS_MIN`].
///
/// Nothing in it needs an escape in JSON.
pub fn beginning(text: &str) -> Option<&str> {
    let (mut chars, mut marks, mut end) = (0, 0, 0);
    for (at, c) in text.char_indices() {
        match NamePart::of(c) {
            Some(NamePart::Character) if chars < CHARS_MAX => {
                chars += 1;
                marks = 0;
            }
            Some(NamePart::Mark) if chars > 0 && marks < MARKS_MAX => marks += 1,
            _ => break,
        }
        end = at + c.len_utf8();
    }
    (chars >= CHARS_MIN).then(|| &text[..end])
}

/// Whether all of a string is a name.
pub fn is_whole(text: &str) -> bool {
    beginning(text) == Some(text)
}

/// What a code point is in a name.
enum NamePart {
    /// The first of a character.
    Character,
    /// One more of the character before it.
    Mark,
}

impl NamePart {
    fn of(c: char) -> Option<NamePart> {
        match c {
            '_' | '0'..='9' | 'A'..='Z' | 'a'..='z' => return Some(NamePart::Character),
            // Vowels and final consonants of a syllable's parts (The Unicode Standard, 3.12).
            '\u{1160}'..='\u{11FF}' | '\u{D7B0}'..='\u{D7FB}' => return Some(NamePart::Mark),
            _ => {}
        }
        match c.general_category_group() {
            GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number => {
                Some(NamePart::Character)
            }
            GeneralCategoryGroup::Mark => Some(NamePart::Mark),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_many_scripts_are_whole() {
        for name in [
            "Tom",
            "___",
            "x_9",
            "李小龙_1",
            "عمر٣",
            "Зоя",
            "Ünal_42",
            "प्रिया",
            "நமஸ்தே",
            "မြန်မာ",
            "ខ្មែរ",
            "สมหญิง",
            "น้ำหวาน",
            "Jose\u{301}",
            "מֹשֶׁה",
            "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}\u{110b}\u{1175}", // 한글이, in its parts
        ] {
            assert_eq!(beginning(name), Some(name), "{name}");
            assert!(is_whole(name), "{name}");
        }
    }

    #[test]
    fn what_follows_is_ignored() {
        for (text, name) in [
            ("Tom Smith", "Tom"),
            ("Tom:x", "Tom"),
            ("Tom\n", "Tom"),
            ("Tom-Ann", "Tom"),
            ("Tom<img src=x>", "Tom"),
            ("Tom\u{202e}moT", "Tom"),
            ("Tom\u{200b}my", "Tom"),
            ("Jose\u{301} Luis", "Jose\u{301}"),
            ("प्रिया शर्मा", "प्रिया"),
            ("abcdefghijklmnopqrstu", "abcdefghijklmnopqrst"),
        ] {
            assert_eq!(beginning(text), Some(name), "{text:?}");
            assert!(!is_whole(text), "{text:?}");
        }
    }

    #[test]
    fn too_few_characters_are_no_name() {
        for text in [
            "",
            "ab",
            "李雷",
            "a b c",
            " abc",
            "-abc",
            "<b>",
            "a\"bc",
            "\u{0}abc",
            "ab\u{7f}c",
            "a\u{200b}bc",
            "🌍🌍🌍",
            // Two letters and a mark, and a mark on nothing.
            "Jo\u{301}",
            "\u{301}abc",
            "\u{1112}\u{1161}\u{11ab}\u{1100}\u{1173}\u{11af}", // 한글
        ] {
            assert_eq!(beginning(text), None, "{text:?}");
            assert!(!is_whole(text), "{text:?}");
        }
    }

    #[test]
    fn marks_count_with_their_letter_and_have_a_limit() {
        // 20 letters and their marks, whether composed or not.
        let composed = "é".repeat(25);
        assert_eq!(beginning(&composed), Some(&*"é".repeat(20)));
        let parts = "e\u{301}".repeat(25);
        assert_eq!(beginning(&parts), Some(&*"e\u{301}".repeat(20)));
        // A pile of marks is cut, and the name with it.
        let pile = "\u{301}".repeat(10_000);
        let abc = format!("abc{pile}def");
        assert_eq!(beginning(&abc), Some("abc\u{301}\u{301}\u{301}\u{301}"));
        assert_eq!(beginning(&format!("ab{pile}c")), None);
        let widest = "𞤀\u{1e947}\u{1e947}\u{1e947}\u{1e947}".repeat(30);
        assert_eq!(beginning(&widest).map(str::len), Some(400));
    }
}
