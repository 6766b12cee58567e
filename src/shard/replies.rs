//! The order of one connection's replies: places are reserved in the order of the questions, and leave in
//! that order whenever their contents become known.
//!
//! Bound: with what its outbox holds, `outbox_bytes_max`. Past it a connection is not read, or is closed,
//! as its listener's app has it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize, Serializer};

use crate::config::OUTBOX_MESSAGE_COST;

/// Places for which an idle connection that has asked keeps the memory.
const PLACES_KEPT: usize = 8;

#[derive(PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(from = "SavedReplies<VecDeque<Option<Vec<u8>>>>")]
pub struct Replies {
    /// The number of the first place still here.
    first: u32,
    places: VecDeque<Option<Vec<u8>>>,
    /// Encoded bytes held in filled places.
    bytes: usize,
}

/// What is written down of them.
#[derive(Serialize, Deserialize)]
struct SavedReplies<P> {
    first: u32,
    places: P,
}

impl Serialize for Replies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = SavedReplies {
            first: self.first,
            places: &self.places,
        };
        written.serialize(serializer)
    }
}

impl From<SavedReplies<VecDeque<Option<Vec<u8>>>>> for Replies {
    fn from(written: SavedReplies<VecDeque<Option<Vec<u8>>>>) -> Replies {
        let SavedReplies { first, places } = written;
        let bytes = places.iter().flatten().map(Vec::len).sum();
        Replies {
            first,
            places,
            bytes,
        }
    }
}

impl Replies {
    /// Takes the next place.
    pub fn reserve(&mut self) -> u32 {
        let number = self.first.wrapping_add(self.places.len() as u32);
        self.places.push_back(None);
        number
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many places wait to be filled.
    pub fn open(&self) -> usize {
        self.places.iter().filter(|place| place.is_none()).count()
    }

    /// Bytes held back, each reserved place counting as a message.
    pub fn bytes(&self) -> usize {
        self.bytes + self.places.len() * OUTBOX_MESSAGE_COST
    }

    /// Takes the first place away if it is this one and open: what fills it may leave at once.
    pub fn pass(&mut self, number: u32) -> bool {
        let is_first = number == self.first && matches!(self.places.front(), Some(None));
        if is_first {
            self.drop_first();
        }
        is_first
    }

    /// Keeps what fills a place until those before it have left. A place that is not open (filled
    /// before) is ignored.
    pub fn keep(&mut self, number: u32, encoded: Vec<u8>) {
        let at = number.wrapping_sub(self.first) as usize;
        if let Some(place @ None) = self.places.get_mut(at) {
            self.bytes += encoded.len();
            *place = Some(encoded);
        }
    }

    /// Whether something was kept that may leave now.
    pub fn has_filled(&self) -> bool {
        matches!(self.places.front(), Some(Some(_)))
    }

    /// What was kept and may leave now.
    pub fn next_filled(&mut self) -> Option<Vec<u8>> {
        let encoded = self.places.front_mut()?.take()?;
        self.bytes -= encoded.len();
        self.drop_first();
        Some(encoded)
    }

    fn drop_first(&mut self) {
        self.places.pop_front();
        self.first = self.first.wrapping_add(1);
        // What a burst has taken is not kept; what one question at a time needs is.
        if self.places.is_empty() && self.places.capacity() > PLACES_KEPT {
            self.places = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a place, and says what leaves then.
    fn fill(replies: &mut Replies, number: u32, byte: u8) -> Vec<u8> {
        let mut left = Vec::new();
        if replies.pass(number) {
            left.push(byte);
            left.extend(std::iter::from_fn(|| replies.next_filled()).flatten());
        } else {
            replies.keep(number, vec![byte]);
        }
        left
    }

    #[test]
    fn leaves_in_the_order_reserved() {
        let mut replies = Replies::default();
        let numbers: Vec<u32> = (0..4).map(|_| replies.reserve()).collect();
        let mut left = Vec::new();
        for at in [2, 0, 3, 1] {
            left.extend(fill(&mut replies, numbers[at], at as u8));
        }
        assert_eq!(left, [0, 1, 2, 3]);
        assert!(replies.is_empty());
        assert_eq!(replies.bytes(), 0);
    }

    #[test]
    fn a_place_is_filled_once() {
        let mut replies = Replies::default();
        let first = replies.reserve();
        let second = replies.reserve();
        let mut left = fill(&mut replies, second, 1);
        left.extend(fill(&mut replies, second, 2));
        left.extend(fill(&mut replies, first, 0));
        left.extend(fill(&mut replies, first, 9));
        assert_eq!(left, [0, 1]);
    }
}
