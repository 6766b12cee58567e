//! JSON that is passed on as it is written, and looked at no closer than that takes: [`compact`], [`string_end`].

use std::borrow::Cow;

/// Most levels of arrays and objects.
pub const NESTING_MAX: usize = 128;

/// Valid JSON without the white space around its parts; `None` if it nests too deeply.
pub fn compact(json: &str) -> Option<Cow<'_, str>> {
    let mut compacted = String::new();
    // What has been copied, and whether anything was left out.
    let mut copied = 0;
    let (mut depth, mut at) = (0_usize, 0);
    let bytes = json.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b' ' | b'\t' | b'\r' | b'\n' => {
                compacted.push_str(&json[copied..at]);
                copied = at + 1;
            }
            _ => {}
        }
        if depth > NESTING_MAX {
            return None;
        }
        at += 1;
    }
    if copied == 0 {
        return Some(Cow::Borrowed(json));
    }
    compacted.push_str(&json[copied..]);
    Some(Cow::Owned(compacted))
}

/// Where the string that begins at `start` has its closing quote, or the text its end.
pub fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(next) = memchr::memchr2(b'"', b'\\', bytes.get(at..).unwrap_or_default()) {
        match bytes[at + next] {
            b'"' => return at + next,
            _ => at += next + 2,
        }
    }
    bytes.len()
}
