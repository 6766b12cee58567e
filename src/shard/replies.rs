//! The order of one connection's replies: places are reserved in the order of the questions, and leave in
//! that order whenever their contents become known.
//!
//! Bound: a connection is not read while its outbox and its open replies pass `outbox_bytes_max`.

use std::collections::VecDeque;

#[derive(Default)]
pub struct Replies {
    /// The number of the first place still here.
    first: u32,
    places: VecDeque<Option<Vec<u8>>>,
    /// Encoded bytes held in filled places.
    bytes: usize,
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

    /// Bytes held back, each reserved place counting `cost`.
    pub fn bytes(&self, cost: usize) -> usize {
        self.bytes + self.places.len() * cost
    }

    /// Fills a place; what can leave now is handed to `leave` in order. A place that is not open (filled
    /// before) is ignored.
    pub fn fill(&mut self, number: u32, encoded: Vec<u8>, mut leave: impl FnMut(Vec<u8>)) {
        let at = number.wrapping_sub(self.first) as usize;
        match self.places.get_mut(at) {
            Some(place @ None) => {
                self.bytes += encoded.len();
                *place = Some(encoded);
            }
            _ => return,
        }
        while let Some(Some(_)) = self.places.front() {
            if let Some(Some(encoded)) = self.places.pop_front() {
                self.first = self.first.wrapping_add(1);
                self.bytes -= encoded.len();
                leave(encoded);
            }
        }
        if self.places.is_empty() {
            self.places = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_in_the_order_reserved() {
        let mut replies = Replies::default();
        let numbers: Vec<u32> = (0..4).map(|_| replies.reserve()).collect();
        let mut left = Vec::new();
        for at in [2, 0, 3, 1] {
            replies.fill(numbers[at], vec![at as u8], |bytes| left.push(bytes[0]));
        }
        assert_eq!(left, [0, 1, 2, 3]);
        assert!(replies.is_empty());
        assert_eq!(replies.bytes(32), 0);
    }

    #[test]
    fn a_place_is_filled_once() {
        let mut replies = Replies::default();
        let first = replies.reserve();
        let second = replies.reserve();
        let mut left = Vec::new();
        replies.fill(second, vec![1], |bytes| left.push(bytes));
        replies.fill(second, vec![2], |bytes| left.push(bytes));
        replies.fill(first, vec![0], |bytes| left.push(bytes));
        replies.fill(first, vec![9], |bytes| left.push(bytes));
        assert_eq!(left, [vec![0], vec![1]]);
    }
}
