//! Panics on purpose, for tests: [`Faults`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// By what is done and the stream's name, how often it panics from now on. A copy counts with it.
#[derive(Clone, Default)]
pub struct Faults(Rc<RefCell<HashMap<(&'static str, String), u32>>>);

impl Faults {
    /// So many times.
    pub fn set(&self, what: &'static str, name: &str, times: u32) {
        self.0.borrow_mut().insert((what, name.to_owned()), times);
    }

    pub fn left(&self, what: &'static str, name: &str) -> u32 {
        let key = (what, name.to_owned());
        self.0.borrow().get(&key).copied().unwrap_or(0)
    }

    /// Does, if it is to.
    pub fn trip(&self, what: &'static str, name: &str) {
        let mut left = self.0.borrow_mut();
        if left.is_empty() {
            return;
        }
        let Some(times) = left.get_mut(&(what, name.to_owned())) else {
            return;
        };
        if *times > 0 {
            *times -= 1;
            drop(left);
            panic!("{what} of {name}, on purpose");
        }
    }
}
