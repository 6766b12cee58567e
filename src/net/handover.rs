//! Sockets on their way to another core, where each core has a descriptor table of its own.
//!
//! There a number means nothing to the other core. So the sockets of a turn's moves travel as SCM_RIGHTS
//! (unix(7)), many in a message, and before the envelopes that tell whose they are. One pair of Unix sockets a core: all
//! others write into one end, it reads from the other. Each socket has a number among those of its sender, for a
//! connection must never get another's.
//!
//! Bound: what the kernel lets be under way, RLIMIT_NOFILE descriptors of a user and a send buffer of each pair.
//! Past it connections wait where they are.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::ident::CoreId;

/// Sockets in one message. The kernel takes 253 (unix(7), SCM_RIGHTS).
pub const BATCH: usize = 64;
/// The sender, how many, and the first one's number.
const HEAD_BYTES: usize = 2 + 2 + 8;

/// The pairs of all cores, as the thread that starts them opened them.
pub struct Pairs {
    /// Where a core reads, and where the others write.
    ends: Vec<(OwnedFd, OwnedFd)>,
}

impl Pairs {
    pub fn open(cores: usize) -> io::Result<Pairs> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let pair = |_| socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
        let ends = (0..cores).map(pair).collect::<Result<_, Errno>>()?;
        Ok(Pairs { ends })
    }

    /// Their numbers, for the cores' own copies of the table.
    pub fn numbers(&self) -> Numbers {
        let number = |(read, write): &(OwnedFd, OwnedFd)| (read.as_raw_fd(), write.as_raw_fd());
        Numbers(self.ends.iter().map(number).collect())
    }
}

/// The pairs in a copy of the table.
#[derive(Clone)]
pub struct Numbers(Arc<[(RawFd, RawFd)]>);

/// One core's side.
pub struct Handover {
    core: CoreId,
    inbound: OwnedFd,
    /// By core.
    outbound: Box<[OwnedFd]>,
    /// The number of the next socket that leaves for a core.
    next: Box<[u64]>,
    /// What has come from each core, by number, and not been asked for yet. `None`: there was no room in this
    /// core's table.
    arrived: Box<[VecDeque<Arrived>]>,
}

/// A socket's number, and the socket.
type Arrived = (u64, Option<OwnedFd>);

impl Handover {
    /// To be called once on a core's thread.
    ///
    /// # Safety
    ///
    /// The thread's table is a copy, made since [`Pairs::open`], that no other thread uses.
    pub unsafe fn adopt(numbers: &Numbers, core: CoreId) -> Handover {
        // SAFETY: the table is this thread's alone, and each number is made into an owner once.
        let own = |number: RawFd| unsafe { OwnedFd::from_raw_fd(number) };
        let mut inbound = None;
        let mut outbound = Vec::new();
        for (number, (read, write)) in numbers.0.iter().enumerate() {
            let read = own(*read);
            if number == core.index() {
                inbound = Some(read);
            }
            outbound.push(own(*write));
        }
        let cores = outbound.len();
        Handover {
            core,
            inbound: inbound.expect("a core has a pair"),
            outbound: outbound.into(),
            next: vec![0; cores].into(),
            arrived: (0..cores).map(|_| VecDeque::new()).collect(),
        }
    }

    /// Sends at most [`BATCH`] sockets, all or none. Returns the number of the first; the others follow. Too
    /// much under way is [`io::ErrorKind::WouldBlock`].
    pub fn send(&mut self, to: CoreId, sockets: &[BorrowedFd<'_>]) -> io::Result<u64> {
        let first = self.next[to.index()];
        let mut head = [0; HEAD_BYTES];
        head[..2].copy_from_slice(&self.core.0.to_le_bytes());
        head[2..4].copy_from_slice(&(sockets.len() as u16).to_le_bytes());
        head[4..].copy_from_slice(&first.to_le_bytes());
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if sockets.len() > BATCH || !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let outbound = &self.outbound[to.index()];
        match sendmsg(outbound, &[IoSlice::new(&head)], &mut control, flags) {
            Ok(_) => {
                self.next[to.index()] += sockets.len() as u64;
                Ok(first)
            }
            Err(Errno::TOOMANYREFS | Errno::NOBUFS) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// The socket of this number from that core. Those before it, which nobody has asked for, are closed.
    pub fn take(&mut self, from: CoreId, number: u64) -> io::Result<TcpStream> {
        loop {
            let arrived = &mut self.arrived[from.index()];
            while let Some((first, _)) = arrived.front() {
                if *first > number {
                    return Err(io::Error::other("it did not come"));
                }
                if let Some((found, socket)) = arrived.pop_front()
                    && found == number
                {
                    return socket.map(TcpStream::from).ok_or_else(|| {
                        io::Error::other("this core's descriptor table is full (ulimit -n)")
                    });
                }
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut head = [0; HEAD_BYTES];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut head)];
        let bytes = recvmsg(&self.inbound, &mut parts, &mut control, flags)?.bytes;
        let mut sockets = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        let mut sockets = sockets.next().into_iter().flatten();
        if bytes != HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let [from0, from1, count0, count1, first @ ..] = head;
        let from = usize::from(u16::from_le_bytes([from0, from1]));
        let count = u64::from(u16::from_le_bytes([count0, count1]));
        let first = u64::from_le_bytes(first);
        let arrived = self
            .arrived
            .get_mut(from)
            .ok_or(io::ErrorKind::InvalidData)?;
        // The kernel gives as many as the table has room for, from the first on, and closes the others.
        arrived.extend((first..first + count).map(|number| (number, sockets.next())));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// The sides of two cores that share a table here, so each has copies of the pairs.
    fn sides(pairs: &Pairs) -> [Handover; 2] {
        [0, 1].map(|core| {
            let copy = |fd: &OwnedFd| {
                let copy = fd.try_clone().unwrap();
                std::os::fd::IntoRawFd::into_raw_fd(copy)
            };
            let copies = pairs
                .ends
                .iter()
                .map(|(read, write)| (copy(read), copy(write)));
            // SAFETY: they are this side's own copies.
            unsafe { Handover::adopt(&Numbers(copies.collect()), CoreId(core)) }
        })
    }

    #[test]
    fn each_gets_its_own() {
        let pairs = Pairs::open(2).unwrap();
        let [mut zero, mut one] = sides(&pairs);
        let (mut clients, mut servers): (Vec<_>, Vec<_>) = (0..10).map(|_| connected()).unzip();
        let to_one: Vec<_> = servers[..7].iter().map(AsFd::as_fd).collect();
        assert_eq!(zero.send(CoreId(1), &to_one[..4]).unwrap(), 0);
        assert_eq!(zero.send(CoreId(1), &to_one[4..]).unwrap(), 4);
        let to_itself: Vec<_> = servers[7..].iter().map(AsFd::as_fd).collect();
        assert_eq!(one.send(CoreId(1), &to_itself).unwrap(), 0);
        servers.clear();
        // What nobody asks for is closed, which its client sees.
        for (from, number, client) in [(1, 1, 8), (0, 0, 0), (0, 3, 3), (0, 6, 6)] {
            let mut stream = one.take(CoreId(from), number).unwrap();
            stream.write_all(b"x").unwrap();
            let mut byte = [0];
            clients[client].read_exact(&mut byte).unwrap();
        }
        for client in [7, 1, 2, 4, 5] {
            assert_eq!(clients[client].read(&mut [0]).unwrap(), 0, "{client}");
        }
        let error = one.take(CoreId(0), 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let error = zero.take(CoreId(0), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn one_that_did_not_come_is_not_replaced_by_the_next() {
        let pairs = Pairs::open(2).unwrap();
        let [mut zero, mut one] = sides(&pairs);
        let (_client, server) = connected();
        zero.next[1] = 5;
        assert_eq!(zero.send(CoreId(1), &[server.as_fd()]).unwrap(), 5);
        assert!(one.take(CoreId(0), 4).is_err());
        assert!(one.take(CoreId(0), 5).is_ok());
    }

    #[test]
    fn too_much_under_way_waits() {
        let pairs = Pairs::open(2).unwrap();
        let [mut zero, mut one] = sides(&pairs);
        let (_client, server) = connected();
        let many = [server.as_fd(); BATCH];
        let mut sent = 0;
        let error = loop {
            match zero.send(CoreId(1), &many) {
                Ok(first) => {
                    assert_eq!(first, sent);
                    sent += BATCH as u64;
                }
                Err(error) => break error,
            }
            assert!(sent < 1 << 20, "there is no bound");
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert!(one.take(CoreId(0), sent - 1).is_ok());
        assert_eq!(zero.send(CoreId(1), &many).unwrap(), sent);
        assert!(zero.send(CoreId(1), &[server.as_fd(); BATCH + 1]).is_err());
    }
}
