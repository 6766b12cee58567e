//! What all connections of one core keep of what they have sent: half requests, half messages, input that waits.
//!
//! Each is bounded by itself, but many that send half a message and no more would take all memory together. The
//! account is kept by what a connection holds before and after it is read, so nothing is remembered of each. Called
//! by the transport, which closes the fullest past the limit.

use crate::ident::ConnId;

/// The account of one core.
pub struct InputBuffers {
    bytes: usize,
    bytes_max: usize,
    /// Being read, and not in the account meanwhile.
    reading: Option<ConnId>,
}

impl InputBuffers {
    pub fn new(bytes_max: usize) -> InputBuffers {
        InputBuffers {
            bytes: 0,
            bytes_max,
            reading: None,
        }
    }

    /// Goes on with another limit, which is looked at when the next is read.
    pub fn set_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// A connection that holds so much has come.
    pub fn enter(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// One that holds so much has gone.
    pub fn leave(&mut self, id: ConnId, bytes: usize) {
        if self.reading != Some(id) {
            self.bytes -= bytes;
        }
    }

    /// One that holds so much is going to be read.
    pub fn begin(&mut self, id: ConnId, bytes: usize) {
        self.bytes -= bytes;
        self.reading = Some(id);
    }

    /// It has been read and holds so much now. Whether all hold too much.
    pub fn end(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        self.reading = None;
        self.bytes > self.bytes_max
    }

    /// Whether the fullest have to go yet: down to seven eighths, so that the search is not repeated with
    /// every read.
    pub fn are_many(&self) -> bool {
        self.bytes > self.bytes_max / 8 * 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ConnId = ConnId {
        slot: 1,
        generation: 1,
    };

    #[test]
    fn up_to_the_limit_and_not_a_byte_more() {
        for (bytes, too_many) in [(999, false), (1_000, false), (1_001, true)] {
            let mut input_buffers = InputBuffers::new(1_000);
            input_buffers.enter(500);
            input_buffers.begin(ONE, 0);
            assert_eq!(input_buffers.end(bytes - 500), too_many, "{bytes}");
        }
    }

    #[test]
    fn what_goes_is_taken_off_whenever_it_goes() {
        let mut input_buffers = InputBuffers::new(1_000);
        input_buffers.enter(100);
        input_buffers.begin(ONE, 100);
        // While it is read it may come to hold anything, and go.
        input_buffers.leave(ONE, 900);
        assert!(!input_buffers.end(0));
        input_buffers.begin(ONE, 0);
        assert!(!input_buffers.end(300));
        input_buffers.leave(ONE, 300);
        assert_eq!(input_buffers.bytes, 0);
    }
}
