//! [`Lane`]: how descriptors go between a core that has a table of its own and the server's thread, which starts upgrades.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::channel::{Channel, DESCRIPTORS_MAX};
use super::desk::Show;
use crate::ident::CoreId;

/// For a core and the server's thread, each of which waits for the other.
const LANE_TIME_MAX: Duration = Duration::from_secs(10);

/// A core's end.
pub struct Lane {
    channel: Channel,
    /// Its own of those to the cores of a successor.
    channels: Vec<Channel>,
}

impl Lane {
    pub fn new(end: UnixStream) -> Lane {
        Lane {
            channel: Channel::new(end, Instant::now()),
            channels: Vec::new(),
        }
    }

    /// Sends copies of the listening sockets to the server's table. Few are: one a listener.
    pub fn show(&mut self, core: CoreId, mut listeners: Vec<(u16, OwnedFd)>) -> Show {
        self.channel.set_until(Instant::now() + LANE_TIME_MAX);
        listeners.truncate(DESCRIPTORS_MAX);
        let numbers: Vec<u16> = listeners.iter().map(|(number, _)| *number).collect();
        let sockets: Vec<_> = listeners.iter().map(|(_, socket)| socket.as_fd()).collect();
        let sent = self.channel.say(&numbers, &sockets);
        Show::Sent(core, sent.map_err(|error| error.to_string()))
    }

    /// Gets its own copies of the channels to the cores of a successor.
    pub fn take_channels(&mut self, until: Instant) -> Result<(), String> {
        self.channel.set_until(Instant::now() + LANE_TIME_MAX);
        let heard = self.channel.hear::<usize>().and_then(|(count, _)| {
            let ends = self.channel.receive_all(count)?;
            let channels = ends.into_iter();
            Ok(channels.map(|end| Channel::new(UnixStream::from(end), until)))
        });
        let channels = heard.map_err(|error| format!("no channels have come: {error}"))?;
        self.channels = channels.collect();
        Ok(())
    }

    /// Those.
    pub fn channels(&mut self) -> &mut [Channel] {
        &mut self.channels
    }

    /// The one by which this core gets what a predecessor has had.
    pub fn take_channel(&mut self, until: Instant) -> Option<Channel> {
        self.take_channels(until).ok()?;
        self.channels.pop()
    }
}

/// The server's end of a core's lane, while an upgrade is under way.
pub struct ServerLane<'l>(&'l UnixStream);

impl<'l> ServerLane<'l> {
    pub fn new(end: &'l UnixStream) -> ServerLane<'l> {
        ServerLane(end)
    }

    fn channel(&self) -> std::io::Result<Channel> {
        let end = self.0.try_clone()?;
        Ok(Channel::new(end, Instant::now() + LANE_TIME_MAX))
    }

    /// The listening sockets that a core shows.
    pub fn take_shown(&self) -> std::io::Result<Vec<(u16, OwnedFd)>> {
        let (numbers, sockets): (Vec<u16>, _) = self.channel()?.hear()?;
        Ok(numbers.into_iter().zip(sockets).collect())
    }

    /// Gives the core its copies of channels.
    pub fn give(&self, channels: &[impl AsFd]) -> std::io::Result<()> {
        let mut channel = self.channel()?;
        channel.say(&channels.len(), &[])?;
        channel.send_all(channels)
    }
}
