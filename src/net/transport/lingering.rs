//! What is read of clients of HTTP that still send after their last answer: [`Lingering`].
//!
//! Bound: an entry for each such connection, and [`LINGER_BYTES_MAX`] of input each, which is not kept.

use std::collections::HashMap;

use crate::ident::ConnId;

/// What is read of a peer that still sends after its last answer.
pub const LINGER_BYTES_MAX: usize = 16 << 20;

/// See the module.
#[derive(Default)]
pub struct Lingering(HashMap<ConnId, usize>);

impl Lingering {
    /// So much more was read of one. Whether that is too much.
    pub fn read(&mut self, id: ConnId, bytes: usize) -> bool {
        let read = self.0.entry(id).or_default();
        *read += bytes;
        *read > LINGER_BYTES_MAX
    }

    /// One leaves, and takes along what was read of it.
    pub fn take(&mut self, id: ConnId) -> usize {
        self.0.remove(&id).unwrap_or_default()
    }

    /// One has come of which so much was read elsewhere.
    pub fn put(&mut self, id: ConnId, read: u64) {
        if read > 0 {
            let read = read.min(LINGER_BYTES_MAX as u64);
            self.0.insert(id, read as usize);
        }
    }
}
