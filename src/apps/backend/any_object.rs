//! The uid of any JSON object, by serde: [`uid_of`], for the few lines that [`object`](super::object) leaves, and to say what
//! is wrong with what is none.
//!
//! It never recurses into the JSON, whose nesting ends at [`NESTING_MAX`].

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::line_error::LineError;

/// Deepest nesting of arrays and objects in a pushed line, the line's own object included.
/// The receivers' parsers are others' code, and some recurse.
pub const NESTING_MAX: usize = 128;

/// Reads any JSON, and says what is wrong if it is none.
pub fn uid_of(line: &str) -> Result<Cow<'_, str>, LineError> {
    if nests_too_deeply(line) {
        return Err(LineError::Nested);
    }
    let object: Object<'_> = serde_json::from_str(line).map_err(LineError::Json)?;
    let raw = object.uid.ok_or(LineError::NoUid)?.get();
    match raw.as_bytes() {
        [b'"', .., b'"'] if !raw.contains('\\') => Ok(Cow::Borrowed(&raw[1..raw.len() - 1])),
        [b'"', ..] => serde_json::from_str(raw)
            .map(Cow::Owned)
            .map_err(LineError::Json),
        [b'-' | b'0'..=b'9', digits @ ..] if digits.iter().all(u8::is_ascii_digit) => {
            Ok(Cow::Borrowed(raw))
        }
        _ => Err(LineError::UidKind),
    }
}

/// Whether arrays and objects lie deeper than [`NESTING_MAX`]. Passing over values we do not keep,
/// serde_json neither recurses nor counts, so we count.
pub fn nests_too_deeply(json: &str) -> bool {
    // Nearly every line ends here: it has fewer brackets than it would need, if not fewer bytes.
    let mut opening = memchr::memchr2_iter(b'{', b'[', json.as_bytes());
    if json.len() <= NESTING_MAX || opening.nth(NESTING_MAX).is_none() {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > NESTING_MAX {
            return true;
        }
    }
    false
}

/// A JSON object of which only the `uid` is kept, as it is written.
struct Object<'a> {
    uid: Option<&'a RawValue>,
}

impl<'a> Deserialize<'a> for Object<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'a> Visitor<'a> for ObjectVisitor {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<Object<'a>, M::Error> {
                let mut uid = None;
                while let Some(key) = map.next_key()? {
                    match key {
                        FieldName::Uid => uid = Some(map.next_value()?),
                        FieldName::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(Object { uid })
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

/// A key, its escapes decoded: `"\u0075id"` is `uid` too.
enum FieldName {
    Uid,
    Other,
}

impl<'a> Deserialize<'a> for FieldName {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = FieldName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<FieldName, E> {
                Ok(if name == "uid" {
                    FieldName::Uid
                } else {
                    FieldName::Other
                })
            }
        }

        deserializer.deserialize_str(Name)
    }
}
