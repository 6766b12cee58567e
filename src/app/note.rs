//! Notes between an app's values on different cores.

use std::any::Any;

use crate::ident::CoreId;

/// The cores a note goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum To {
    /// One core, possibly this one.
    Core(CoreId),
    /// Every core, this one included.
    All,
}

/// A note on its way, its type known to the app alone.
pub(crate) type AnyNote = Box<dyn Any + Send>;
