//! A message for one uid on its way to its home: [`Addressed`].

use crate::payload::Message;

/// A uid and a message for it in one allocation.
pub struct Addressed {
    bytes: Box<[u8]>,
    uid_bytes: u8,
    text: bool,
}

impl Addressed {
    /// The uid has passed `check_uid`, so its length fits.
    pub fn new(uid: &str, message: Message<'_>) -> Addressed {
        assert!(uid.len() <= crate::ident::UID_BYTES_MAX);
        let mut bytes = Vec::with_capacity(uid.len() + message.len());
        bytes.extend_from_slice(uid.as_bytes());
        bytes.extend_from_slice(message.bytes());
        Addressed {
            bytes: bytes.into_boxed_slice(),
            uid_bytes: uid.len() as u8,
            text: matches!(message, Message::Text(_)),
        }
    }

    pub fn uid(&self) -> &str {
        let uid = &self.bytes[..usize::from(self.uid_bytes)];
        // SAFETY: the first `uid_bytes` bytes were copied from a `str` in `new`.
        unsafe { std::str::from_utf8_unchecked(uid) }
    }

    pub fn message(&self) -> Message<'_> {
        let bytes = &self.bytes[usize::from(self.uid_bytes)..];
        if self.text {
            // SAFETY: `text` is set only where these bytes were copied from a `str` in `new`.
            Message::Text(unsafe { std::str::from_utf8_unchecked(bytes) })
        } else {
            Message::Binary(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addressed_gives_back_what_it_got() {
        let both = Addressed::new("李", Message::Text("hé"));
        assert_eq!(both.uid(), "李");
        assert_eq!(both.message(), Message::Text("hé"));
        let bytes = Addressed::new("u", Message::Binary(&[0xff]));
        assert_eq!(bytes.message(), Message::Binary(&[0xff]));
    }
}
