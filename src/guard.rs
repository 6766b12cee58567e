//! A guard around an app's callback, or around the work for one connection: a panic in it is caught, and
//! told with its place.
//!
//! The place is known to the panic hook alone, so [`watch_panics`] puts one in front of the program's own,
//! which goes on to print what it prints.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::escape::Escaped;

thread_local! {
    /// Where the thread's last panic was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What panicked, and where.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fault {
    /// The panic's message. It may quote a peer.
    cause: String,
    /// File, line and column; empty without [`watch_panics`].
    place: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", Escaped(&self.cause), self.place)
    }
}

/// Has the place of every later panic noted, in its own thread. Further calls do nothing.
pub fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string);
            // A panic of a thread that is ending has no place to be noted in.
            let _ = PLACE.try_with(|last| last.replace(place.unwrap_or_default()));
            before(panic);
        }));
    });
}

/// Does some work. What it has changed halfway stays so: the caller ends the connection it was for.
pub fn guard<R>(work: impl FnOnce() -> R) -> Result<R, Fault> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| fault(&*payload))
}

#[cold]
fn fault(payload: &(dyn Any + Send)) -> Fault {
    let literal = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let cause = literal.or_else(|| payload.downcast_ref::<String>().cloned());
    Fault {
        cause: cause.unwrap_or_default(),
        place: PLACE.take(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place() {
        watch_panics();
        assert_eq!(guard(|| 1), Ok(1));
        let fault = guard(|| -> () { panic!("number {}", 7) }).unwrap_err();
        assert_eq!(fault.cause, "number 7");
        assert!(fault.place.contains("guard.rs:"), "{fault}");
    }

    #[test]
    fn what_a_peer_has_sent_forges_no_line() {
        let fault = guard(|| -> () { panic!("bad name {}", "a\nERROR b") }).unwrap_err();
        assert!(fault.to_string().starts_with(r"bad name a\nERROR b at "));
    }
}
