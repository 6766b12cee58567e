//! How the clusters' threads of a process and of its successor speak with each other in an upgrade: [`Passage`], a Unix
//! stream of [`ToHeir`] one way and [`FromHeir`] the other.
//!
//! Bound: a message has [`MESSAGE_BYTES_MAX`]; the thread gives the next names when those before have gone.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

use super::turnover_state::PartyState;

/// Of what is said. Processes of different ones do not speak with each other, and each is a node.
pub const PASSAGE_VERSION: u32 = 1;

/// A longer one is none of ours.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
const READ_BYTES: usize = 64 << 10;
/// Its length.
const HEAD_BYTES: usize = 4;

/// What the process that goes tells the one that comes.
#[derive(Serialize, Deserialize, Debug)]
pub enum ToHeir {
    /// The number of the marker, and of each party the channel by which others see that its connection is there.
    Begin { marker: u64, links: Vec<String> },
    /// Channels that a party is subscribed to.
    Channels { party: u32, names: Vec<Box<str>> },
    /// To be answered when Redis has taken all channels of these parties.
    Ask { number: u64, parties: Vec<u32> },
    /// What a party has known when the marker came; `None` if there was none.
    State {
        party: u32,
        state: Option<PartyState>,
    },
}

/// And the other way.
#[derive(Serialize, Deserialize, Debug)]
pub enum FromHeir {
    /// It is a node of the same cluster, and goes on as this one.
    Here,
    /// Redis has taken them.
    Taken { number: u64 },
    /// A party has lost its Redis.
    Lost { party: u32 },
}

/// What has happened.
pub enum PassageEvent {
    /// This has come.
    Message(Vec<u8>),
    /// All has gone.
    Flushed,
    /// The other end is no more.
    Ended,
}

/// See the module.
pub struct Passage {
    stream: UnixStream,
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    is_over: bool,
}

impl Passage {
    /// Within the thread's runtime.
    pub fn new(stream: StdUnixStream) -> io::Result<Passage> {
        stream.set_nonblocking(true)?;
        Ok(Passage {
            stream: UnixStream::from_std(stream)?,
            output: Vec::new(),
            written: 0,
            input: Vec::new(),
            is_over: false,
        })
    }

    /// Whether all has gone.
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Whether the other end is no more.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    pub fn say(&mut self, message: &impl Serialize) {
        let bytes = postcard::to_allocvec(message).unwrap_or_default();
        let length = (bytes.len() as u32).to_le_bytes();
        self.output.extend(length);
        self.output.extend(bytes);
    }

    /// What happens next.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<PassageEvent> {
        if self.is_over {
            return Poll::Pending;
        }
        let polled = match self.poll_write(context) {
            Poll::Ready(Ok(())) => return Poll::Ready(PassageEvent::Flushed),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_read(context),
        };
        polled.map(|message| match message {
            Ok(bytes) => PassageEvent::Message(bytes),
            Err(_) => {
                self.is_over = true;
                self.output.clear();
                PassageEvent::Ended
            }
        })
    }

    /// Ready when there was something, and it has gone.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            ready!(self.stream.poll_write_ready(context))?;
            match self.stream.try_write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            if self.written == self.output.len() {
                (self.output, self.written) = (Vec::new(), 0);
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        loop {
            if let Some(message) = self.next_message()? {
                return Poll::Ready(Ok(message));
            }
            ready!(self.stream.poll_read_ready(context))?;
            let from = self.input.len();
            self.input.resize(from + READ_BYTES, 0);
            let read = self.stream.try_read(&mut self.input[from..]);
            self.input.truncate(from + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn next_message(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some((head, rest)) = self.input.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let message = rest.get(..length).map(<[u8]>::to_vec);
        if message.is_some() {
            self.input.drain(..HEAD_BYTES + length);
        }
        Ok(message)
    }
}

/// One that has come. `None` is the other end's mistake.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}
