//! What one round writes: for each connection the pieces that wait for it, and how far the kernel took them.
//!
//! The pieces are borrowed from the outboxes for as long as the batch lives, so the compiler sees to it that
//! nothing frees or changes them before every write of the batch has its result.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use crate::ident::ConnId;

/// Pieces of one write; what is beyond follows in the next.
pub const PIECES_MAX: usize = 64;
/// Bytes of one write. The kernel cuts one of 2 GiB and more, and would call the piece a whole.
const BYTES_MAX: usize = 1 << 30;

/// What became of one write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// The kernel has taken this much, maybe less than was offered.
    Bytes(usize),
    /// It takes nothing now. That it does again will be reported.
    Blocked,
    /// It takes nothing any more.
    Broken,
}

impl Written {
    pub fn from_errno(errno: i32) -> Written {
        match errno {
            libc::EAGAIN => Written::Blocked,
            libc::EINTR => Written::Bytes(0),
            _ => Written::Broken,
        }
    }

    pub fn from_error(error: &io::Error) -> Written {
        Written::from_errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// One connection's part of a batch. One without pieces has nothing to write, and zero bytes of that.
pub struct Write<'a> {
    pub connection: ConnId,
    pub stream: BorrowedFd<'a>,
    first: u32,
    count: u32,
    pub written: Written,
}

pub struct Batch<'a> {
    pieces: Vec<IoSlice<'a>>,
    pub writes: Vec<Write<'a>>,
}

/// A batch's memory between batches.
#[derive(Default)]
pub struct BatchMemory {
    pieces: Vec<IoSlice<'static>>,
    writes: Vec<Write<'static>>,
}

impl<'a> Batch<'a> {
    pub fn new(memory: BatchMemory) -> Batch<'a> {
        Batch {
            pieces: reused(memory.pieces),
            writes: reused(memory.writes),
        }
    }

    /// Ends the borrows; the results go into `done`, in the order of the pushes.
    pub fn finish(mut self, done: &mut Vec<(ConnId, Written)>) -> BatchMemory {
        done.extend(
            self.writes
                .drain(..)
                .map(|write| (write.connection, write.written)),
        );
        BatchMemory {
            pieces: reused(self.pieces),
            writes: reused(self.writes),
        }
    }

    /// Adds what waits for a connection, as much as goes into one write. Each connection comes once: were its
    /// first write short, its second would not follow it.
    pub fn push(
        &mut self,
        connection: ConnId,
        stream: &'a TcpStream,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) {
        let first = self.pieces.len();
        let mut bytes = 0;
        for piece in pieces.take(PIECES_MAX) {
            let piece = &piece[..piece.len().min(BYTES_MAX - bytes)];
            bytes += piece.len();
            if !piece.is_empty() {
                self.pieces.push(IoSlice::new(piece));
            }
        }
        self.writes.push(Write {
            connection,
            stream: stream.as_fd(),
            first: first as u32,
            count: (self.pieces.len() - first) as u32,
            written: Written::Bytes(0),
        });
    }

    /// The pieces of one write.
    pub fn pieces(&self, write: usize) -> &[IoSlice<'a>] {
        let write = &self.writes[write];
        &self.pieces[write.first as usize..][..write.count as usize]
    }
}

/// An empty list with the memory of another whose entries are of the same size.
fn reused<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    // Collecting in place keeps the memory; there is nothing to convert.
    list.into_iter().map(|_| unreachable!("cleared")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_from_batch_to_batch() {
        let list: Vec<IoSlice<'static>> = Vec::with_capacity(1000);
        let place = list.as_ptr() as usize;
        let bytes = [1, 2, 3];
        let mut again: Vec<IoSlice<'_>> = reused(list);
        again.push(IoSlice::new(&bytes));
        assert_eq!((again.as_ptr() as usize, again.capacity()), (place, 1000));
    }
}
