//! An answer that a task of a core (an HTTP request) waits for: [`Promise`], fulfilled once by the core's turn.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The answer that a task of this core waits for.
pub struct Promise<T> {
    state: Rc<RefCell<(Option<T>, Option<Waker>)>>,
}

// By hand, for what is waited for need be neither.
impl<T> Clone for Promise<T> {
    fn clone(&self) -> Promise<T> {
        Promise {
            state: Rc::clone(&self.state),
        }
    }
}

impl<T> Default for Promise<T> {
    fn default() -> Promise<T> {
        Promise {
            state: Rc::new(RefCell::new((None, None))),
        }
    }
}

impl<T> Promise<T> {
    pub fn fulfil(&self, answer: T) {
        let mut state = self.state.borrow_mut();
        state.0 = Some(answer);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Promise<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<T> {
        let mut state = self.state.borrow_mut();
        match state.0.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.1 = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}
