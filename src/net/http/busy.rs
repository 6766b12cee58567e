//! Requests that have come and whose answer is not known: [`Busy`], one for each.

use std::cell::Cell;

/// One request whose answer is not known.
pub struct Busy<'a>(&'a Cell<usize>);

impl<'a> Busy<'a> {
    pub fn new(count: &'a Cell<usize>) -> Busy<'a> {
        count.set(count.get() + 1);
        Busy(count)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
