//! What one round writes: for each connection the pieces that wait for it, and how far the kernel took them.
//!
//! The pieces are borrowed from the outboxes for as long as the batch lives, so the compiler sees to it that
//! nothing frees or changes them before every write of the batch has its result.
//!
//! Small pieces of one write are joined, so that it is one plain send: the kernel looks at each piece of a
//! list for longer than it takes to copy one here. What a broadcast has left waiting is the same pieces for
//! everybody, and joined once.

use std::io::{self, IoSlice};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use crate::ident::ConnId;

/// Pieces of one write; what is beyond follows in the next.
pub const PIECES_MAX: usize = 64;
/// Bytes of one write: more than a send buffer takes, and no more than what a round should spend on one connection.
pub const WRITE_BYTES_MAX: usize = 256 << 10;
/// Pieces that make no more than this are joined. Copying more costs as much as it saves.
const JOINED_BYTES_MAX: usize = 16 << 10;
/// Memory for joined pieces that is kept from batch to batch; a batch has at most 4 MiB of it.
const JOINED_KEPT: usize = 256 << 10;

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
    place: WritePlace,
    /// The sum of its pieces.
    bytes: usize,
    /// The stream ends behind it.
    pub is_last: bool,
    pub written: Written,
}

/// Where the bytes of a write are.
#[derive(Clone, Copy)]
enum WritePlace {
    /// As they are: a part of the list of pieces.
    Pieces { first: u32, count: u32 },
    /// Joined, from here on.
    Joined { from: u32 },
}

pub struct Batch<'a> {
    pieces: Vec<IoSlice<'a>>,
    joined: Vec<u8>,
    /// Which pieces were joined last, and where they are.
    latest: Option<Latest>,
    pub writes: Vec<Write<'a>>,
}

#[derive(Clone, Copy)]
struct Latest {
    first: usize,
    count: usize,
    from: u32,
}

/// A batch's memory between batches.
#[derive(Default)]
pub struct BatchMemory {
    pieces: Vec<IoSlice<'static>>,
    joined: Vec<u8>,
    writes: Vec<Write<'static>>,
}

impl<'a> Batch<'a> {
    pub fn new(memory: BatchMemory) -> Batch<'a> {
        Batch {
            pieces: reused(memory.pieces),
            joined: memory.joined,
            latest: None,
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
        self.joined.clear();
        self.joined.shrink_to(JOINED_KEPT);
        BatchMemory {
            pieces: reused(self.pieces),
            joined: self.joined,
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
            let piece = &piece[..piece.len().min(WRITE_BYTES_MAX - bytes)];
            bytes += piece.len();
            if !piece.is_empty() {
                self.pieces.push(IoSlice::new(piece));
            }
        }
        let place = match self.pieces.len() - first {
            count @ 2.. if bytes <= JOINED_BYTES_MAX => WritePlace::Joined {
                from: self.join(first, count),
            },
            count => WritePlace::Pieces {
                first: first as u32,
                count: count as u32,
            },
        };
        self.writes.push(Write {
            connection,
            stream: stream.as_fd(),
            place,
            bytes,
            is_last: false,
            written: Written::Bytes(0),
        });
    }

    /// The stream ends right behind what was pushed last: the kernel may wait with it for the end, and then sends both
    /// in one packet. Whoever says so ends the stream, or goes on writing, as soon as the batch is written.
    pub fn ends_stream(&mut self) {
        if let Some(write) = self.writes.last_mut() {
            write.is_last = true;
        }
    }

    /// Joins the last pieces of the list. Returns where they are then.
    fn join(&mut self, first: usize, count: usize) -> u32 {
        let (before, own) = self.pieces.split_at(first);
        if let Some(latest) = self.latest
            && same(&before[latest.first..][..latest.count], own)
        {
            self.pieces.truncate(first);
            return latest.from;
        }
        let from = self.joined.len() as u32;
        for piece in own {
            self.joined.extend_from_slice(piece);
        }
        self.latest = Some(Latest { first, count, from });
        from
    }

    /// What one write consists of. Stays where it is until something is pushed.
    pub fn content(&self, write: usize) -> WriteContent<'_, 'a> {
        let Write { place, bytes, .. } = self.writes[write];
        match place {
            WritePlace::Joined { from } => {
                WriteContent::Bytes(&self.joined[from as usize..][..bytes])
            }
            WritePlace::Pieces { first, count } => {
                match &self.pieces[first as usize..][..count as usize] {
                    [] => WriteContent::Nothing,
                    [piece] => WriteContent::Bytes(piece),
                    pieces => WriteContent::Pieces(pieces),
                }
            }
        }
    }
}

/// One write's bytes.
pub enum WriteContent<'b, 'a> {
    Nothing,
    Bytes(&'b [u8]),
    /// At least two.
    Pieces(&'b [IoSlice<'a>]),
}

/// Whether they are the same memory, and so the same bytes.
fn same(one: &[IoSlice<'_>], other: &[IoSlice<'_>]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| one.as_ptr() == other.as_ptr() && one.len() == other.len())
}

/// An empty list with the memory of another whose entries are of the same size.
fn reused<T, U>(mut list: Vec<T>) -> Vec<U> {
    list.clear();
    // Collecting in place keeps the memory; there is nothing to convert.
    list.into_iter().map(|_| unreachable!("cleared")).collect()
}

/// The sockets do not block anyway, and a send takes what there is room for; a broken pipe is an error and no signal.
const SEND_FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// What is sent with it waits for more: for the end of the stream, of which it is told at once (send(2), MSG_MORE).
const LAST_FLAGS: libc::c_int = SEND_FLAGS | libc::MSG_MORE;

/// How one write is sent, which is its connection's last or not.
pub fn send_flags(is_last: bool) -> libc::c_int {
    match is_last {
        true => LAST_FLAGS,
        false => SEND_FLAGS,
    }
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

    fn contents(batch: &Batch<'_>, write: usize) -> Vec<u8> {
        match batch.content(write) {
            WriteContent::Nothing => Vec::new(),
            WriteContent::Bytes(bytes) => bytes.to_vec(),
            WriteContent::Pieces(pieces) => {
                pieces.iter().flat_map(|piece| piece.to_vec()).collect()
            }
        }
    }

    #[test]
    fn small_pieces_are_joined_once_for_all_who_have_the_same() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (one, two, large) = (vec![1; 100], vec![2; 50], vec![3; JOINED_BYTES_MAX]);
        let mut batch = Batch::new(BatchMemory::default());
        let lists: [&[&[u8]]; 8] = [
            &[&one, &two],
            &[&one, &two],
            &[&one],
            &[],
            &[&one, &two],
            &[&two, &one],
            &[&one, &large],
            &[&one[1..], &two],
        ];
        for (number, list) in lists.iter().enumerate() {
            let id = ConnId::from_bits(number as u64);
            batch.push(id, &stream, list.iter().copied());
        }
        for (number, list) in lists.iter().enumerate() {
            assert_eq!(contents(&batch, number), list.concat(), "{number}");
            assert_eq!(batch.writes[number].bytes, list.concat().len());
        }
        // 0, 1 and 4 are one; 5 and 7 have their own; 6 is too large, and 2 has but one piece.
        assert_eq!(batch.joined.len(), 150 + 150 + 149);
        assert!(matches!(batch.content(6), WriteContent::Pieces(_)));
        assert!(matches!(batch.content(3), WriteContent::Nothing));
    }
}
