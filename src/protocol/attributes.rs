//! What a back end keeps of a connection: [`Attributes`], a small object of JSON.
//!
//! It is kept as it is written, without the white space around its parts, so no number loses a digit. Bound: the bytes that
//! the caller allows (`attributes_bytes_max`).

use std::borrow::Cow;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::json::{NESTING_MAX, compact};

/// An object of JSON that has something in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attributes(Box<str>);

/// Why something cannot be the attributes of a connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AttributesError {
    /// There is no such connection, or it is closing.
    NoConnection,
    /// It is no object of JSON, or one that nests too deeply.
    NoObject(String),
    /// It has more bytes than `attributes_bytes_max`, which is this many.
    TooLarge(usize),
}

impl fmt::Display for AttributesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttributesError::NoConnection => f.write_str("there is no such connection"),
            AttributesError::NoObject(why) => {
                write!(f, "attributes are one object of JSON: {why}")
            }
            AttributesError::TooLarge(most) => write!(
                f,
                "attributes have at most {most} bytes together (attributes_bytes_max)"
            ),
        }
    }
}

impl std::error::Error for AttributesError {}

/// The fields of an object, each once, in the order in which they first come.
struct ObjectFields<'t>(Vec<(Cow<'t, str>, &'t RawValue)>);

impl<'t> ObjectFields<'t> {
    fn read(text: &'t str) -> Result<ObjectFields<'t>, AttributesError> {
        serde_json::from_str(text).map_err(|error| AttributesError::NoObject(error.to_string()))
    }

    /// Puts a field in its place, or at the end.
    fn set(&mut self, name: Cow<'t, str>, value: &'t RawValue) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, place)) => *place = value,
            None => self.0.push((name, value)),
        }
    }

    /// As an object of at most so many bytes; `None` if it is empty.
    fn written(&self, bytes_max: usize) -> Result<Option<Attributes>, AttributesError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let mut text = String::from("{");
        for (nth, (name, value)) in self.0.iter().enumerate() {
            if nth > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(&**name).to_string());
            text.push(':');
            let value = compact(value.get()).ok_or_else(too_deep)?;
            text.push_str(&value);
        }
        text.push('}');
        match text.len() > bytes_max {
            true => Err(AttributesError::TooLarge(bytes_max)),
            false => Ok(Some(Attributes(text.into()))),
        }
    }
}

fn too_deep() -> AttributesError {
    AttributesError::NoObject(format!("it nests more than {NESTING_MAX} levels deep"))
}

impl<'de> Deserialize<'de> for ObjectFields<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = ObjectFields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<ObjectFields<'de>, A::Error> {
                let mut fields = ObjectFields(Vec::new());
                while let Some(name) = map.next_key::<AttributeName<'de>>()? {
                    fields.set(name.0, map.next_value()?);
                }
                Ok(fields)
            }
        }

        from.deserialize_map(FieldsVisitor)
    }
}

/// Borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct AttributeName<'t>(#[serde(borrow)] Cow<'t, str>);

impl Attributes {
    /// These, of at most so many bytes; `None` for an empty object.
    pub fn read(text: &str, bytes_max: usize) -> Result<Option<Attributes>, AttributesError> {
        // A text that is far too long is not looked into; white space may be as long again.
        if text.len() / 2 > bytes_max.saturating_add(64) {
            return Err(AttributesError::TooLarge(bytes_max));
        }
        ObjectFields::read(text)?.written(bytes_max)
    }

    /// What is there with the fields of an object in it: each takes the place of its like, and `null` takes that away.
    pub fn merged(
        present: Option<&Attributes>,
        patch: &str,
        bytes_max: usize,
    ) -> Result<Option<Attributes>, AttributesError> {
        if patch.len() / 2 > bytes_max.saturating_add(64) {
            return Err(AttributesError::TooLarge(bytes_max));
        }
        let mut fields = ObjectFields::read(present.map_or("{}", Attributes::text))?;
        let patch = ObjectFields::read(patch)?;
        for (name, value) in patch.0 {
            match value.get() {
                "null" => fields.0.retain(|(known, _)| *known != name),
                _ => fields.set(name, value),
            }
        }
        fields.written(bytes_max)
    }

    /// The object.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// What was written down may be anything.
    pub fn is_sound(&self) -> bool {
        let read = ObjectFields::read(&self.0).and_then(|fields| fields.written(usize::MAX));
        read.is_ok_and(|read| read.as_ref() == Some(self))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, AttributesError> {
        let read = Attributes::read(text, 40)?;
        Ok(read.map_or(String::new(), |it| it.text().to_owned()))
    }

    #[test]
    fn an_object_is_kept_as_it_is_written() {
        for (text, kept) in [
            ("{}", ""),
            (" { } ", ""),
            (r#"{"a":1.50}"#, r#"{"a":1.50}"#),
            (
                r#" { "b" : [ 1, "x y" ] , "a" : null } "#,
                r#"{"b":[1,"x y"],"a":null}"#,
            ),
            (
                r#"{"n":12345678901234567890123}"#,
                r#"{"n":12345678901234567890123}"#,
            ),
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"\u0061":1}"#, r#"{"a":1}"#),
        ] {
            assert_eq!(read(text).as_deref(), Ok(kept), "{text}");
        }
        for bad in [
            "",
            "[]",
            "1",
            "null",
            "{",
            r#"{"a"}"#,
            r#"{"a":1}x"#,
            r#"{"a":01}"#,
        ] {
            assert!(
                matches!(read(bad), Err(AttributesError::NoObject(_))),
                "{bad}"
            );
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(129), "]".repeat(129));
        assert!(Attributes::read(&deep, 1_000).is_err());
    }

    #[test]
    fn it_has_so_many_bytes_at_most() {
        let of = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
        assert!(read(&of(40)).is_ok());
        assert_eq!(read(&of(41)), Err(AttributesError::TooLarge(40)));
        assert_eq!(read(&of(4_000_000)), Err(AttributesError::TooLarge(40)));
        let full = Attributes::read(&of(40), 40).expect("it fits");
        let merged = Attributes::merged(full.as_ref(), r#"{"b":1}"#, 40);
        assert_eq!(merged, Err(AttributesError::TooLarge(40)));
        assert_eq!(
            Attributes::merged(full.as_ref(), r#"{"a":null}"#, 40),
            Ok(None)
        );
    }

    #[test]
    fn fields_take_the_place_of_their_like() {
        let merge = |present: &str, patch: &str| {
            let present = Attributes::read(present, 100).expect("it fits");
            let merged = Attributes::merged(present.as_ref(), patch, 100).expect("it fits");
            merged.map_or(String::new(), |it| it.text().to_owned())
        };
        assert_eq!(merge("{}", r#"{"a":1}"#), r#"{"a":1}"#);
        assert_eq!(
            merge(r#"{"a":1,"b":2}"#, r#"{"c":[null],"a":{"x":null}}"#),
            r#"{"a":{"x":null},"b":2,"c":[null]}"#
        );
        assert_eq!(
            merge(r#"{"a":1,"b":2}"#, r#"{"a":null,"z":null}"#),
            r#"{"b":2}"#
        );
        assert_eq!(merge(r#"{"a":1}"#, "{}"), r#"{"a":1}"#);
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_sound(text in r#"\{("[a-c]{1,2}":( ?[0-9]{1,3}|"x"|\[\]|null),?){0,4}\}"#) {
            if let Ok(Some(read)) = Attributes::read(&text, 1_000) {
                prop_assert!(read.is_sound(), "{read:?}");
                let again = Attributes::read(read.text(), 1_000);
                prop_assert_eq!(again, Ok(Some(read)));
            }
        }
    }
}
