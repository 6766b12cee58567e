//! [`Lane`]: how descriptors go between a core that has a table of its own and the server's thread, which starts upgrades.
//!
//! A lane outlives an upgrade that fails, and what the other end has sent late may lie in it still. So each message has the
//! number of its upgrade, and those of another are thrown away, with their descriptors. One that has broken off within a
//! message carries nothing any more.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::channel::{Channel, DESCRIPTORS_MAX};
use super::desk::Show;
use crate::ident::CoreId;

/// For a core and the server's thread, each of which waits for the other.
const LANE_TIME_MAX: Duration = Duration::from_secs(10);

/// One message.
#[derive(Serialize, Deserialize)]
struct LaneMessage<T> {
    upgrade: u64,
    value: T,
}

/// Either end.
struct LaneEnd(Channel);

impl LaneEnd {
    fn new(end: UnixStream) -> LaneEnd {
        LaneEnd(Channel::new(end, Instant::now()))
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.0.is_amid_message() {
            let text = "the way to it broke off within a message before; restart the server";
            return Err(io::Error::other(text));
        }
        self.0.set_until(Instant::now() + LANE_TIME_MAX);
        Ok(())
    }

    fn say<T: Serialize>(
        &mut self,
        upgrade: u64,
        value: T,
        descriptors: &[impl AsFd],
    ) -> io::Result<()> {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        self.0.say(&LaneMessage { upgrade, value }, &descriptors)
    }

    /// The next one of this upgrade.
    fn hear<T: DeserializeOwned>(&mut self, upgrade: u64) -> io::Result<(T, Vec<OwnedFd>)> {
        loop {
            let (bytes, descriptors) = self.0.receive()?;
            // What stands behind the number may be of another kind, if it is another's.
            let read = postcard::take_from_bytes::<u64>(&bytes);
            let (of, rest) = read.map_err(bad)?;
            if of == upgrade {
                return Ok((postcard::from_bytes(rest).map_err(bad)?, descriptors));
            }
        }
    }
}

fn bad(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A core's end.
pub struct Lane {
    end: LaneEnd,
    /// Its own of those to the cores of a successor.
    channels: Vec<Channel>,
}

impl Lane {
    pub fn new(end: UnixStream) -> Lane {
        Lane {
            end: LaneEnd::new(end),
            channels: Vec::new(),
        }
    }

    /// Sends copies of the listening sockets to the server's table. Few are: one a listener.
    pub fn show(&mut self, upgrade: u64, core: CoreId, mut listeners: Vec<(u16, OwnedFd)>) -> Show {
        listeners.truncate(DESCRIPTORS_MAX);
        let (numbers, sockets): (Vec<u16>, Vec<OwnedFd>) = listeners.into_iter().unzip();
        let sent = self.end.begin();
        let sent = sent.and_then(|()| self.end.say(upgrade, numbers, &sockets));
        Show::Sent(core, sent.map_err(|error| error.to_string()))
    }

    /// Gets its own copies of the channels to the cores of a successor.
    pub fn take_channels(&mut self, upgrade: u64, until: Instant) -> Result<(), String> {
        self.channels.clear();
        let taken = self.hear_channels(upgrade);
        let ends = taken.map_err(|error| format!("no channels have come: {error}"))?;
        let ends = ends.into_iter();
        let channels = ends.map(|end| Channel::new(UnixStream::from(end), until));
        self.channels = channels.collect();
        Ok(())
    }

    fn hear_channels(&mut self, upgrade: u64) -> io::Result<Vec<OwnedFd>> {
        self.end.begin()?;
        let mut ends = Vec::new();
        loop {
            let (left, more): (usize, _) = self.end.hear(upgrade)?;
            ends.extend(more);
            if left == 0 {
                return Ok(ends);
            }
        }
    }

    /// Those.
    pub fn channels(&mut self) -> &mut [Channel] {
        &mut self.channels
    }

    /// The one by which this core gets what a predecessor has had.
    pub fn take_channel(&mut self, until: Instant) -> Option<Channel> {
        self.take_channels(TAKEOVER, until).ok()?;
        self.channels.pop()
    }
}

/// What a successor's own lanes carry first. Its own upgrades are numbered from 1 on.
pub const TAKEOVER: u64 = 0;

/// The server's end of a core's lane.
pub struct ServerLane(Mutex<LaneEnd>);

impl ServerLane {
    pub fn new(end: UnixStream) -> ServerLane {
        ServerLane(Mutex::new(LaneEnd::new(end)))
    }

    fn with<R>(&self, act: impl FnOnce(&mut LaneEnd) -> io::Result<R>) -> io::Result<R> {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        end.begin()?;
        act(&mut end)
    }

    /// The listening sockets that a core shows.
    pub fn take_shown(&self, upgrade: u64) -> io::Result<Vec<(u16, OwnedFd)>> {
        let shown = self.with(|end| end.hear::<Vec<u16>>(upgrade));
        shown.map(|(numbers, sockets)| numbers.into_iter().zip(sockets).collect())
    }

    /// Gives the core its copies of channels.
    pub fn give(&self, upgrade: u64, channels: &[impl AsFd]) -> io::Result<()> {
        self.with(|end| {
            let mut left = channels.len();
            for batch in channels.chunks(DESCRIPTORS_MAX) {
                left -= batch.len();
                end.say(upgrade, left, batch)?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn lane() -> (Lane, ServerLane) {
        let (core, server) = UnixStream::pair().expect("a pair");
        (Lane::new(core), ServerLane::new(server))
    }

    fn files(count: usize) -> Vec<OwnedFd> {
        let file = || File::open("/dev/null").expect("opens").into();
        (0..count).map(|_| file()).collect()
    }

    fn shown(count: u16) -> Vec<(u16, OwnedFd)> {
        (0..count).zip(files(usize::from(count))).collect()
    }

    #[test]
    fn what_an_upgrade_that_failed_has_left_is_not_the_next_ones() {
        let (mut core, server) = lane();
        core.show(1, CoreId(0), shown(2));
        core.show(2, CoreId(0), shown(3));
        let taken = server.take_shown(2).expect("they are shown");
        assert_eq!(taken.len(), 3);
        // Nobody has taken them, and the next upgrade's are other ones.
        server.give(2, &files(1)).expect("it is given");
        server.give(3, &files(300)).expect("they are given");
        let until = Instant::now() + LANE_TIME_MAX;
        core.take_channels(3, until).expect("they come");
        assert_eq!(core.channels().len(), 300);
    }

    #[test]
    fn one_that_has_broken_off_within_a_message_carries_nothing_any_more() {
        let (core, mut server) = UnixStream::pair().expect("a pair");
        let mut core = LaneEnd::new(core);
        server
            .write_all(&[9, 0, 0, 0, 0, 0, 1])
            .expect("is written");
        core.0.set_until(Instant::now() + Duration::from_millis(20));
        let error = core.hear::<usize>(1).expect_err("the rest does not come");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = core.begin().expect_err("it is broken");
        assert!(error.to_string().contains("restart"), "{error}");
    }
}
