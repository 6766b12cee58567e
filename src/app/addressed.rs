//! A message for one uid on its way to its home: [`Addressed`].

use std::time::Duration;

use crate::payload::Message;
use crate::streams::Wish;

/// A uid and a message for it in one allocation, and how it is to be kept.
pub struct Addressed {
    bytes: Box<[u8]>,
    keep: ShortWish,
    uid_bytes: u8,
    text: bool,
}

/// A [`Wish`] in four bytes, so that an envelope stays small: 0 as ruled, the largest never, else milliseconds; the longest
/// that a message is kept is fewer.
#[derive(Clone, Copy)]
struct ShortWish(u32);

impl ShortWish {
    const NEVER: u32 = u32::MAX;

    fn new(wish: Wish) -> ShortWish {
        ShortWish(match wish {
            Wish::AsRuled => 0,
            Wish::Never => ShortWish::NEVER,
            Wish::For(time) => {
                let millis = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
                millis.clamp(1, ShortWish::NEVER - 1)
            }
        })
    }

    fn wish(self) -> Wish {
        match self.0 {
            0 => Wish::AsRuled,
            ShortWish::NEVER => Wish::Never,
            millis => Wish::For(Duration::from_millis(millis.into())),
        }
    }
}

impl Addressed {
    /// The uid has passed `check_uid`, so its length fits.
    pub fn new(uid: &str, message: Message<'_>, wish: Wish) -> Addressed {
        assert!(uid.len() <= crate::ident::UID_BYTES_MAX);
        let mut bytes = Vec::with_capacity(uid.len() + message.len());
        bytes.extend_from_slice(uid.as_bytes());
        bytes.extend_from_slice(message.bytes());
        Addressed {
            bytes: bytes.into_boxed_slice(),
            keep: ShortWish::new(wish),
            uid_bytes: uid.len() as u8,
            text: matches!(message, Message::Text(_)),
        }
    }

    pub fn uid(&self) -> &str {
        let uid = &self.bytes[..usize::from(self.uid_bytes)];
        // SAFETY: the first `uid_bytes` bytes were copied from a `str` in `new`.
        unsafe { std::str::from_utf8_unchecked(uid) }
    }

    pub fn wish(&self) -> Wish {
        self.keep.wish()
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
    use crate::config::KEEP_MAX;

    #[test]
    fn addressed_gives_back_what_it_got() {
        let both = Addressed::new("李", Message::Text("hé"), Wish::AsRuled);
        assert_eq!(both.uid(), "李");
        assert_eq!(both.message(), Message::Text("hé"));
        let bytes = Addressed::new("u", Message::Binary(&[0xff]), Wish::Never);
        assert_eq!(bytes.message(), Message::Binary(&[0xff]));
    }

    #[test]
    fn a_wish_is_given_back() {
        let times = [
            Duration::from_millis(1),
            Duration::from_millis(1_500),
            KEEP_MAX,
        ];
        let wishes = [Wish::AsRuled, Wish::Never].into_iter();
        for wish in wishes.chain(times.map(Wish::For)) {
            assert_eq!(Addressed::new("u", Message::Text(""), wish).wish(), wish);
        }
        // Longer than any is kept, it is as long as can be said.
        let long = Addressed::new("u", Message::Text(""), Wish::For(Duration::MAX)).wish();
        assert!(matches!(long, Wish::For(time) if time > KEEP_MAX));
    }
}
