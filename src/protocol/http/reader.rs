//! A request's head out of bytes that come in pieces: [`HeadReader`], for requests of HTTP and for opening handshakes.
//!
//! Bound: the head's bytes, given at its start, and kept only if they come in pieces.

use serde::{Deserialize, Serialize, Serializer};

use super::head::{Head, check_head};
use super::response::HttpError;
use super::scan::HeadScan;
use crate::config::REQUEST_HEAD_BYTES_LIMIT;

/// Reads one head.
#[derive(Debug, Deserialize)]
#[serde(try_from = "WrittenHead<Vec<u8>>")]
pub struct HeadReader {
    held: Vec<u8>,
    scan: HeadScan,
}

/// What is written down of one: what it has been fed, which another one is fed again. It may be anything.
#[derive(Serialize, Deserialize)]
struct WrittenHead<B> {
    held: B,
    bytes_max: usize,
}

impl Serialize for HeadReader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let held = WrittenHead {
            held: &self.held[..],
            bytes_max: self.scan.bytes_max(),
        };
        held.serialize(serializer)
    }
}

impl TryFrom<WrittenHead<Vec<u8>>> for HeadReader {
    type Error = &'static str;

    fn try_from(written: WrittenHead<Vec<u8>>) -> Result<HeadReader, &'static str> {
        if written.bytes_max > REQUEST_HEAD_BYTES_LIMIT {
            return Err("half a head with too high a limit");
        }
        let mut reader = HeadReader::new(written.bytes_max);
        if !written.held.is_empty() {
            match reader.advance(&written.held) {
                Ok(None) => {}
                Ok(Some(_)) => return Err("half a head that is a whole one"),
                Err(error) => return Err(error.text),
            }
        }
        Ok(reader)
    }
}

impl HeadReader {
    /// A reader of a head of at most `bytes_max`, of which nothing has come.
    pub fn new(bytes_max: usize) -> HeadReader {
        HeadReader {
            held: Vec::new(),
            scan: HeadScan::new(bytes_max),
        }
    }

    /// Takes what has come, and returns the head with how many of these bytes belong to it. `None` means that all of
    /// it was taken and more is needed. Not called again after an outcome.
    pub fn advance<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> Result<Option<(Head<'a>, usize)>, HttpError> {
        let held = self.held.len();
        if held == 0 {
            // Looked at where it lies; most heads come whole.
            return match check_head(&mut self.scan, input)? {
                Some(head) => Ok(Some((head, head.len))),
                None => {
                    self.held.extend_from_slice(input);
                    Ok(None)
                }
            };
        }
        // Past the bound the scan refuses, whatever more has come.
        let room = self.scan.bytes_max() - held;
        self.held.extend_from_slice(&input[..input.len().min(room)]);
        let head = check_head(&mut self.scan, &self.held)?;
        Ok(head.map(|head| (head, head.len - held)))
    }

    /// Heap bytes kept.
    pub fn bytes_held(&self) -> usize {
        self.held.capacity()
    }
}
