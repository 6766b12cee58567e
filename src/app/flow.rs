//! Whether the transport reads a connection on: [`Flow`].

/// What the transport may do with a connection next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Read on.
    Go,
    /// Leave the input where it is until [`Host::flow`](super::host::Host::flow) says otherwise.
    Pause,
    /// It has asked, and is read on when it is answered.
    Wait,
    /// It moves: stop at once, and hand it over by [`Host::depart`](super::host::Host::depart).
    Leave,
    /// It is closing: what arrives is looked at for the peer's close only.
    End,
    /// It is gone.
    Gone,
}
