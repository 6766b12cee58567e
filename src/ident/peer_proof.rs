//! [`PeerProof`]: what the machine itself knows of who is at the other end of a connection.

use serde::{Deserialize, Serialize};

/// What a peer has proved without a word: by a Unix socket, or by the certificate that it has shown.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PeerProof {
    /// The user of this machine.
    pub user: Option<u32>,
    /// What a trusted authority calls it.
    pub certificate_names: Vec<Box<str>>,
}
