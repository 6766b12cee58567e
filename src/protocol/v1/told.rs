//! What a client of `ringpost.v1` is told besides messages: [`ToldFrame`], one frame's text put together field by field.

use std::fmt::{Display, Write};

use super::request::RequestId;

/// A frame's text under way.
pub struct ToldFrame(String);

impl ToldFrame {
    /// One of this type.
    pub fn new(kind: &'static str) -> ToldFrame {
        ToldFrame(format!("{{\"type\":\"{kind}\""))
    }

    /// The answer to a request that may have an `id`.
    pub fn answer(kind: &'static str, id: Option<&RequestId>) -> ToldFrame {
        match id {
            Some(id) => ToldFrame::new(kind).json("id", id.json()),
            None => ToldFrame::new(kind),
        }
    }

    /// An error in a request.
    pub fn error(id: Option<&RequestId>, code: &'static str, text: &str) -> ToldFrame {
        let error = FramePart::new()
            .string("code", code)
            .string("message", text);
        ToldFrame::answer("error", id).json("error", error.end())
    }

    /// A field that is a string.
    pub fn string(mut self, name: &'static str, value: &str) -> ToldFrame {
        push_name(name, &mut self.0);
        push_string(value, &mut self.0);
        self
    }

    /// A field that is a string of what needs no escapes, such as a position; null if there is none.
    pub fn quoted(mut self, name: &'static str, value: Option<impl Display>) -> ToldFrame {
        push_name(name, &mut self.0);
        // Writing into a String does not fail, here and below.
        let _ = match value {
            Some(value) => write!(self.0, "\"{value}\""),
            None => write!(self.0, "null"),
        };
        self
    }

    /// A field that is a number, or JSON already.
    pub fn json(mut self, name: &'static str, value: impl Display) -> ToldFrame {
        push_name(name, &mut self.0);
        let _ = write!(self.0, "{value}");
        self
    }

    /// This, and what that adds.
    pub fn with(self, more: impl FnOnce(ToldFrame) -> ToldFrame) -> ToldFrame {
        more(self)
    }

    /// The whole text.
    pub fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// An object within a frame under way.
#[derive(Default)]
pub struct FramePart(String);

impl FramePart {
    pub fn new() -> FramePart {
        FramePart::default()
    }

    /// A member that is a string.
    pub fn string(mut self, name: &str, value: &str) -> FramePart {
        self.name(name);
        push_string(value, &mut self.0);
        self
    }

    /// A member that is a string of what needs no escapes; null if there is none.
    pub fn quoted(mut self, name: &str, value: Option<impl Display>) -> FramePart {
        self.name(name);
        let _ = match value {
            Some(value) => write!(self.0, "\"{value}\""),
            None => write!(self.0, "null"),
        };
        self
    }

    /// A member that is a number, or JSON already.
    pub fn json(mut self, name: &str, value: impl Display) -> FramePart {
        self.name(name);
        let _ = write!(self.0, "{value}");
        self
    }

    fn name(&mut self, name: &str) {
        self.0.push(match self.0.is_empty() {
            true => '{',
            false => ',',
        });
        push_string(name, &mut self.0);
        self.0.push(':');
    }

    /// The whole object.
    pub fn end(mut self) -> String {
        if self.0.is_empty() {
            self.0.push('{');
        }
        self.0.push('}');
        self.0
    }
}

fn push_name(name: &'static str, out: &mut String) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn push_string(text: &str, out: &mut String) {
    // A string has no key that could be no string; it does not fail.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Message;
    use crate::protocol::v1::ClientRequest;

    #[test]
    fn frames_are_json() {
        let request = ClientRequest::read(Message::Text(r#"{"type":"ping","id":"a\"b"}"#));
        let id = request.expect("a request").id;
        let told =
            ToldFrame::error(id.as_ref(), "bad_group", "a \"group\"").string("group", "x\ny");
        assert_eq!(
            told.end(),
            r#"{"type":"error","id":"a\"b","error":{"code":"bad_group","message":"a \"group\""},"group":"x\ny"}"#
        );
        let none = None::<u8>;
        let told = ToldFrame::new("gap")
            .quoted("asked", none)
            .quoted("top", Some(7));
        let told = told.json("n", 1).json("of", FramePart::new().end());
        assert_eq!(
            told.end(),
            r#"{"type":"gap","asked":null,"top":"7","n":1,"of":{}}"#
        );
    }
}
