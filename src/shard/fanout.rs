//! A message on its way to many: its encodings, made when a receiver first needs one ([`Fanout`]). Bound: one encoding a
//! codec and one compressed, for as long as it is sent or waits in some outbox.

use std::rc::Rc;

use super::place::MessagePlace;
use super::work::Work;
use crate::payload::Message;
use crate::protocol::websocket::deflate::Compressor;
use crate::protocol::websocket::extension::Window;
use crate::protocol::{CODECS, Codec};

/// See the module.
pub struct Fanout<'m> {
    message: Message<'m>,
    /// It tells who joins and leaves.
    presence: bool,
    place: MessagePlace<'m>,
    /// As those have it who are told its place.
    enveloped: Option<Box<str>>,
    /// Of which group it is a refresh, if it is one.
    pub refresh: Option<u64>,
    encoded: [Option<Rc<[u8]>>; CODECS],
    /// For those who have agreed on compression, and among these, second, for those who are told its place; an inner `None`
    /// if it is not worth while.
    compressed: [Option<Option<Rc<[u8]>>>; 2],
    /// Which of these and of the encodings are there, a bit each, so that nothing looks through all of them.
    there: u8,
    /// Encodings made, and whether it was compressed, that have not been counted as work.
    made: usize,
    pressed: bool,
    /// What has been queued where it is for us to write, and what that has replaced; not counted yet.
    pub queued: usize,
    pub replaced: usize,
}

const _: () = assert!(CODECS + 2 <= u8::BITS as usize);

impl<'m> Fanout<'m> {
    /// Not encoded yet.
    pub fn new(place: MessagePlace<'m>, message: Message<'m>) -> Fanout<'m> {
        Fanout {
            message,
            presence: false,
            place,
            enveloped: None,
            refresh: None,
            encoded: [const { None }; CODECS],
            compressed: [None, None],
            there: 0,
            made: 0,
            pressed: false,
            queued: 0,
            replaced: 0,
        }
    }

    /// What is told of who joins and leaves a group, in those codecs that have a word for it.
    pub fn of_presence(told: &'m str) -> Fanout<'m> {
        Fanout {
            presence: true,
            ..Fanout::new(MessagePlace::ALL, Message::Text(told))
        }
    }

    /// As one codec has it.
    pub fn encoded(&mut self, codec: Codec) -> Rc<[u8]> {
        if let Some(encoded) = &self.encoded[codec as usize] {
            return Rc::clone(encoded);
        }
        self.made += 1;
        let presence = self.presence;
        let message = self.as_told(codec);
        let mut bytes = Vec::with_capacity(codec.encoded_len(message));
        match (presence, message) {
            (true, Message::Text(told)) => codec.encode_presence(told, &mut bytes),
            _ => codec.encode(message, &mut bytes),
        }
        let encoded: Rc<[u8]> = Rc::from(bytes);
        self.encoded[codec as usize] = Some(Rc::clone(&encoded));
        self.there |= 1 << codec as u8;
        encoded
    }

    /// The message as it is told in this codec.
    fn as_told(&mut self, codec: Codec) -> Message<'_> {
        match codec {
            // What is told of presence is a frame already.
            Codec::V1 if !self.presence => {
                let (place, message) = (self.place, self.message);
                let text = self
                    .enveloped
                    .get_or_insert_with(|| place.envelope(message).into());
                Message::Text(text)
            }
            _ => self.message,
        }
    }

    /// For one of this codec who has agreed on compression with this window.
    pub fn compressed(
        &mut self,
        codec: Codec,
        window: Window,
        compressor: &mut Compressor,
    ) -> Option<Rc<[u8]>> {
        let message = self.as_told(codec);
        if !window.holds(message.len()) {
            return None;
        }
        let nth = usize::from(codec == Codec::V1);
        if self.compressed[nth].is_none() {
            let message = self.as_told(codec);
            let mut bytes = Vec::new();
            let done = compressor.encode(message, window, &mut bytes);
            self.pressed = true;
            self.compressed[nth] = Some(done.then(|| Rc::from(bytes)));
            self.there |= 1 << (CODECS + nth);
        }
        self.compressed[nth].clone().flatten()
    }

    /// What it has taken to make them, since this was last asked.
    pub fn count_work(&mut self, work: &mut Work) {
        work.copied(std::mem::take(&mut self.made) * self.message.len());
        if std::mem::take(&mut self.pressed) {
            work.compressed(self.message.len());
        }
    }

    /// The bytes of the encodings that wait in some outbox.
    #[inline]
    pub fn bytes_held(&self) -> usize {
        let (mut held, mut left) = (0, self.there);
        while left != 0 {
            let nth = left.trailing_zeros() as usize;
            let bytes = match nth.checked_sub(CODECS) {
                None => &self.encoded[nth],
                Some(nth) => self.compressed[nth].as_ref().unwrap_or(&None),
            };
            if let Some(bytes) = bytes.as_ref().filter(|bytes| Rc::strong_count(bytes) > 1) {
                held += bytes.len();
            }
            left &= left - 1;
        }
        held
    }
}
