//! What connections that speak TLS share on one core: [`TlsPart`].

use crate::tls::TlsAcceptor;

/// See the module.
#[derive(Default)]
pub struct TlsPart {
    /// `None` where no listener speaks it.
    pub(super) acceptor: Option<TlsAcceptor>,
    /// Whether some connection may have it.
    pub(super) is_on: bool,
    /// Steps of handshakes that may still be done now: none but amid the part of a round that is theirs.
    pub(super) steps_left: usize,
    /// What a step has to send. Empty between two.
    pub(super) output: Vec<u8>,
}
