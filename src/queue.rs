//! A queue that gives back what a burst has taken: [`Queue`].
//!
//! After a burst a plain one would be as long as that for good. Bound: none here; what an empty one keeps is `KEPT`.

use std::collections::VecDeque;

/// Places that an emptied queue keeps.
pub const KEPT: usize = 256;

/// First in, first out.
#[derive(Debug)]
pub struct Queue<T, const PLACES: usize = KEPT> {
    items: VecDeque<T>,
}

impl<T, const PLACES: usize> Default for Queue<T, PLACES> {
    fn default() -> Queue<T, PLACES> {
        Queue {
            items: VecDeque::new(),
        }
    }
}

impl<T, const PLACES: usize> Queue<T, PLACES> {
    #[inline]
    pub fn push(&mut self, item: T) {
        self.items.push_back(item);
    }

    /// The first one. Where there is none, most of the memory is given back.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front();
        if item.is_none() && self.items.capacity() > PLACES {
            self.items.shrink_to(PLACES);
        }
        item
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.items.capacity()
    }
}

impl<T, const PLACES: usize> Extend<T> for Queue<T, PLACES> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        self.items.extend(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emptied_queue_keeps_few_places() {
        let mut queue: Queue<u32> = Queue::default();
        queue.extend(0..100_000);
        for number in 0..100_000 {
            assert_eq!(queue.pop(), Some(number));
        }
        assert_eq!((queue.is_empty(), queue.len()), (true, 0));
        assert_eq!(queue.pop(), None);
        assert!(queue.capacity() <= 2 * KEPT, "{}", queue.capacity());
        queue.push(7);
        assert_eq!(queue.pop(), Some(7));
    }
}
