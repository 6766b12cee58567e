//! Whether this kernel's rings do what the wire counts on: tried out once at start, on sockets of our own.

use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};

use super::batch::{Batch, BatchMemory, Written};
use super::ready::Ready;
use super::uring::Uring;
use crate::ident::ConnId;

/// The send buffer of the socket tried (the kernel doubles it), and much more than that.
const BUFFER: usize = 64 << 10;
const TOO_MUCH: usize = 4 << 20;
/// Sends until one finds no room: the kernel moves a little on to the peer meanwhile.
const SENDS_MAX: usize = 100;

const ID: ConnId = ConnId {
    slot: 7,
    generation: 7,
};

fn differs(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what)
}

/// Makes a ring as a core does. A connection is armed and reported; a send that does not fit says how much
/// it sent, before the call returns; one that finds no room says so; a cancelled poll has its last completion.
pub fn probe() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
    let mut peer = TcpStream::connect(listener.local_addr()?)?;
    let (stream, _) = listener.accept()?;
    socket2::SockRef::from(&stream).set_send_buffer_size(BUFFER)?;
    let mut wire = Uring::new()?;
    wire.watch(ID, &stream);
    let bytes = vec![0; TOO_MUCH];
    let mut sent = 0;
    for sends in 1.. {
        match write(&mut wire, &stream, &bytes) {
            Written::Bytes(TOO_MUCH) => return Err(differs("a short send is not reported")),
            Written::Bytes(part) if sends < SENDS_MAX => sent += part,
            Written::Blocked if sent > 0 => break,
            _ => return Err(differs("a send without room is not refused")),
        }
    }
    peer.set_nonblocking(true)?;
    let mut arrived = 0;
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = peer.read(&mut buffer) {
        arrived += count;
    }
    if arrived > sent {
        return Err(differs("a short send says less than it sent"));
    }
    let mut ready = Vec::new();
    wire.take(&mut ready);
    if !ready
        .iter()
        .any(|ready| ready.connection() == ID && ready.writable)
    {
        return Err(differs("a poll reports nothing"));
    }
    wire.forget(ID);
    wire.settle();
    let mut ended: Vec<Ready> = Vec::new();
    wire.take(&mut ended);
    match wire.in_flight() {
        0 => Ok(()),
        _ => Err(differs("a cancelled poll does not end")),
    }
}

fn write(wire: &mut Uring, stream: &TcpStream, bytes: &[u8]) -> Written {
    let mut batch = Batch::new(BatchMemory::default());
    // In two pieces, as they go another way than one.
    let (one, other) = bytes.split_at(bytes.len() / 2);
    batch.push(ID, stream, [one, other].into_iter());
    wire.write(&mut batch);
    let mut done = Vec::new();
    batch.finish(&mut done);
    done[0].1
}
