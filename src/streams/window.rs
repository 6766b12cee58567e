//! [`StreamWindow`]: the kept messages of one stream, in the order of their offsets.
//!
//! It ends with the newest message and begins with the oldest that is there. A message that went before an older one
//! leaves a hole. Bound: its owner's; it counts what it has taken, and gives back what it does not need.

use std::collections::VecDeque;
use std::collections::vec_deque::Iter;

use super::ages::Age;
use crate::payload::Payload;

/// A second since the store was made.
pub type Second = u32;

/// A kept message.
pub struct Kept {
    /// `None` of one that went.
    pub payload: Option<Payload>,
    pub age: Age,
    /// The second in which its time is over; of a hole, any that is no later than that of the next.
    pub due: Second,
}

/// What a message takes here.
pub const KEPT_COST: usize = size_of::<Kept>();
const _: () = assert!(KEPT_COST == 40);

/// See the module.
#[derive(Default)]
pub struct StreamWindow {
    each: VecDeque<Kept>,
    /// Of those that are there.
    messages: u32,
    /// Some message's time is over before that of an older one.
    mixed: bool,
}

impl StreamWindow {
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// Places, holes among them.
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// What it has taken.
    pub fn bytes(&self) -> usize {
        self.each.capacity() * KEPT_COST
    }

    /// Whether the time of each message is over no earlier than that of an older one.
    pub fn is_in_order_of_time(&self) -> bool {
        !self.mixed
    }

    #[inline]
    pub fn oldest(&self) -> Option<&Kept> {
        self.each.front()
    }

    pub fn get(&self, place: usize) -> Option<&Kept> {
        self.each.get(place)
    }

    pub fn from(&self, place: usize) -> Iter<'_, Kept> {
        self.each.range(place.min(self.each.len())..)
    }

    /// Gives the message at this place another age.
    pub fn set_age(&mut self, place: usize, age: Age) {
        if let Some(kept) = self.each.get_mut(place) {
            kept.age = age;
        }
    }

    /// Takes in the newest.
    #[inline]
    pub fn push(&mut self, payload: Payload, age: Age, due: Second) {
        if let Some(last) = self.each.back() {
            self.mixed |= due < last.due;
        }
        self.messages += 1;
        self.put(Kept {
            payload: Some(payload),
            age,
            due,
        });
    }

    /// The newest is not kept.
    pub fn push_hole(&mut self) {
        if let Some(&Kept { age, due, .. }) = self.each.back() {
            self.put(Kept {
                payload: None,
                age,
                due,
            });
        }
    }

    #[inline]
    fn put(&mut self, kept: Kept) {
        let length = self.each.len();
        if length == self.each.capacity() {
            self.each.reserve_exact((length / 2).max(1));
        }
        self.each.push_back(kept);
    }

    /// The message at this place goes; with the last one all goes.
    pub fn remove(&mut self, place: usize) -> Option<Payload> {
        let payload = self.each.get_mut(place)?.payload.take()?;
        self.messages -= 1;
        if self.messages == 0 {
            *self = StreamWindow::default();
            return Some(payload);
        }
        while let Some(Kept { payload: None, .. }) = self.each.front() {
            self.each.pop_front();
        }
        let length = self.each.len();
        if length < self.each.capacity() / 2 {
            self.each.shrink_to(length + length / 4);
        }
        Some(payload)
    }
}
