//! [`Channel`]: one Unix stream between a server and its successor, by which messages and descriptors go.
//!
//! A message is a head of six bytes, with which its descriptors come (unix(7), SCM_RIGHTS), and its bytes. All waiting ends
//! at one time, which is `upgrade_timeout`'s. Bound: [`DESCRIPTORS_MAX`] descriptors and [`BYTES_MAX`] bytes a message.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Descriptors in one message, as the kernel takes them (unix(7)).
pub const DESCRIPTORS_MAX: usize = 253;
/// A longer message is none of ours.
const BYTES_MAX: usize = 256 << 20;
/// Its length, and how many descriptors come with it.
const HEAD_BYTES: usize = 4 + 2;
/// The shortest time that is waited.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// A message, and what has come with it.
pub type ChannelMessage = (Vec<u8>, Vec<OwnedFd>);

/// See the module.
pub struct Channel {
    socket: UnixStream,
    /// When nothing is waited for any longer.
    until: Instant,
    /// A message has been begun, there or here, and its end has not come.
    is_amid_message: bool,
}

impl Channel {
    /// Our end, and the other's.
    pub fn pair(until: Instant) -> io::Result<(Channel, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Channel::new(ours, until), theirs))
    }

    pub fn new(socket: UnixStream, until: Instant) -> Channel {
        Channel {
            socket,
            until,
            is_amid_message: false,
        }
    }

    /// By which it goes.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Whether it has broken off within a message: what comes next is none's beginning.
    pub fn is_amid_message(&self) -> bool {
        self.is_amid_message
    }

    /// When nothing is waited for any longer.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Goes on until another time.
    pub fn set_until(&mut self, until: Instant) {
        self.until = until;
    }

    /// Sends one, with these descriptors.
    pub fn send(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok();
        let length =
            length.filter(|_| bytes.len() <= BYTES_MAX && descriptors.len() <= DESCRIPTORS_MAX);
        let length = length.ok_or(io::ErrorKind::InvalidInput)?;
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4..].copy_from_slice(&(descriptors.len() as u16).to_le_bytes());
        let sent = self.send_head(&head, descriptors)?;
        self.is_amid_message = true;
        self.socket.write_all(&head[sent..]).map_err(late)?;
        self.socket.write_all(bytes).map_err(late)?;
        self.is_amid_message = false;
        Ok(())
    }

    /// The descriptors go with the first byte that is taken.
    fn send_head(&mut self, head: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let pushed = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(pushed, "there is space for all of them");
        }
        loop {
            self.socket.set_write_timeout(Some(self.left()?))?;
            match sendmsg(
                &self.socket,
                &[IoSlice::new(head)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Ok(sent) => return Ok(sent),
                Err(Errno::INTR) => {}
                // What other processes of this user have under way counts, too.
                Err(Errno::TOOMANYREFS | Errno::NOBUFS) => std::thread::sleep(WAIT_MIN),
                Err(error) => return Err(late(error.into())),
            }
        }
    }

    /// The next one. A message of which descriptors are missing is an error.
    pub fn receive(&mut self) -> io::Result<ChannelMessage> {
        let mut head = [0; HEAD_BYTES];
        let (mut filled, mut descriptors) = (0, Vec::new());
        while filled < HEAD_BYTES {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut head[filled..])];
            self.socket.set_read_timeout(Some(self.left()?))?;
            let got = match recvmsg(
                &self.socket,
                &mut parts,
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(late(error.into())),
            };
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(sockets) = message {
                    descriptors.extend(sockets);
                }
            }
            if got.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += got.bytes;
            self.is_amid_message = true;
        }
        let [a, b, c, d, count @ ..] = head;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if descriptors.len() != usize::from(u16::from_le_bytes(count)) {
            let text = "descriptors have been lost on their way: the table of the process that takes them is full \
                        (ulimit -n, LimitNOFILE=)";
            return Err(io::Error::other(text));
        }
        let bytes = self.receive_bytes(length)?;
        self.is_amid_message = false;
        Ok((bytes, descriptors))
    }

    fn receive_bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            self.socket.set_read_timeout(Some(self.left()?))?;
            let wanted = (length - bytes.len()) as u64;
            let before = bytes.len();
            let read = (&self.socket).take(wanted).read_to_end(&mut bytes);
            read.map_err(late)?;
            if bytes.len() == before {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(bytes)
    }

    /// Sends a value, with these descriptors.
    pub fn say(
        &mut self,
        value: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let bytes = postcard::to_allocvec(value).map_err(io::Error::other)?;
        self.send(&bytes, descriptors)
    }

    /// The next value, and what has come with it.
    pub fn hear<T: DeserializeOwned>(&mut self) -> io::Result<(T, Vec<OwnedFd>)> {
        let (bytes, descriptors) = self.receive()?;
        let value = postcard::from_bytes(&bytes).map_err(bad)?;
        Ok((value, descriptors))
    }

    /// The next value, and what stands behind it, and behind that, if there is anything: an earlier release says nothing
    /// there.
    pub fn hear_more<T, R, E>(&mut self) -> io::Result<(T, R, E)>
    where
        T: DeserializeOwned,
        R: DeserializeOwned + Default,
        E: DeserializeOwned + Default,
    {
        let (bytes, _) = self.receive()?;
        let (value, rest) = postcard::take_from_bytes(&bytes).map_err(bad)?;
        let (more, rest) = take_if_any(rest)?;
        let (end, _) = take_if_any(rest)?;
        Ok((value, more, end))
    }

    /// Sends any number of descriptors, many at a time, each time with its acknowledgement.
    pub fn send_all(&mut self, descriptors: &[impl AsFd]) -> io::Result<()> {
        for batch in descriptors.chunks(DESCRIPTORS_MAX) {
            let batch: Vec<_> = batch.iter().map(AsFd::as_fd).collect();
            self.send(&[], &batch)?;
            self.receive()?;
        }
        Ok(())
    }

    /// So many of them.
    pub fn receive_all(&mut self, count: usize) -> io::Result<Vec<OwnedFd>> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.receive()?.1);
            self.send(&[], &[])?;
        }
        Ok(all)
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left.max(WAIT_MIN)),
        }
    }
}

fn take_if_any<T: DeserializeOwned + Default>(bytes: &[u8]) -> io::Result<(T, &[u8])> {
    match bytes {
        [] => Ok((T::default(), bytes)),
        bytes => postcard::take_from_bytes(bytes).map_err(bad),
    }
}

fn bad(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// What a time-out of a socket is called, which is `WouldBlock`.
fn late(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;

    use super::*;

    fn ends(time: Duration) -> (Channel, Channel) {
        let until = Instant::now() + time;
        let (ours, theirs) = Channel::pair(until).expect("a pair");
        (ours, Channel::new(theirs, until))
    }

    #[test]
    fn values_and_descriptors_go_together() {
        let (mut ours, mut theirs) = ends(Duration::from_secs(20));
        let long = vec![7; 3 << 20];
        let other = {
            let long = long.clone();
            thread::spawn(move || {
                let file = File::open("/dev/null").expect("opens");
                ours.say(&("hello", 3_u32), &[]).expect("is sent");
                ours.send(&long, &vec![file.as_fd(); DESCRIPTORS_MAX])
                    .expect("is sent");
                let files: Vec<File> = (0..600)
                    .map(|_| file.try_clone().expect("a copy"))
                    .collect();
                ours.send_all(&files).expect("are sent");
            })
        };
        let (value, none): ((String, u32), _) = theirs.hear().expect("a value");
        assert_eq!((value, none.len()), (("hello".to_owned(), 3), 0));
        let (bytes, descriptors) = theirs.receive().expect("a message");
        assert!(bytes == long && descriptors.len() == DESCRIPTORS_MAX);
        drop(descriptors);
        assert_eq!(theirs.receive_all(600).expect("all").len(), 600);
        other.join().expect("it has sent all");
        let error = theirs.receive().expect_err("the other is gone");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn nothing_is_waited_for_past_the_time() {
        let (mut ours, _theirs) = ends(Duration::from_millis(20));
        let error = ours.receive().expect_err("nothing comes");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = ours.send(b"x", &[]).expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
