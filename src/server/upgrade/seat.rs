//! [`Seat`]: where one core of a successor gets its connections, before it makes its first turn.
//!
//! They come by the channel that is this core's, each is looked at where it is at home here, and goes there. Nothing is
//! done with a socket before all is said.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc;

use crossbeam_channel::{Receiver, Sender};

use super::channel::Channel;
use super::fault;
use super::messages::Batch;
use crate::app::host::{Arrival, Host};
use crate::ident::{CoreId, NamespaceId};
use crate::migration::{Migration, Socket};
use crate::shard::SavedPhase;

/// What the predecessor's numbers are here.
pub struct NumberMap {
    pub listeners: Vec<Option<u16>>,
    pub namespaces: Vec<Option<NamespaceId>>,
}

/// A connection for a core; `None` is one core's last.
type Delivered = Option<(Migration, TcpStream)>;

/// See the module.
pub struct Seat {
    channel: Channel,
    numbers: Arc<NumberMap>,
    /// To each core.
    cores: Vec<Sender<Delivered>>,
    inbox: Receiver<Delivered>,
    report: mpsc::Sender<Result<u64, String>>,
    /// The predecessor has said its last word.
    begin: mpsc::Receiver<()>,
}

/// Seats of all cores.
pub struct Seats {
    pub seats: Vec<Seat>,
    /// How many connections each core has, or why it cannot.
    pub reports: mpsc::Receiver<Result<u64, String>>,
    /// To each core.
    pub begin: Vec<mpsc::Sender<()>>,
}

impl Seats {
    /// One for each channel.
    pub fn new(channels: Vec<Channel>, numbers: NumberMap) -> Seats {
        let numbers = Arc::new(numbers);
        let (report, reports) = mpsc::channel();
        let inboxes = channels.iter().map(|_| crossbeam_channel::unbounded());
        let (cores, inboxes): (Vec<_>, Vec<_>) = inboxes.unzip();
        let (mut seats, mut all_begin) = (Vec::new(), Vec::new());
        for (channel, inbox) in channels.into_iter().zip(inboxes) {
            let (begin, begins) = mpsc::channel();
            all_begin.push(begin);
            seats.push(Seat {
                channel,
                numbers: Arc::clone(&numbers),
                cores: cores.clone(),
                inbox,
                report: report.clone(),
                begin: begins,
            });
        }
        Seats {
            seats,
            reports,
            begin: all_begin,
        }
    }
}

impl Seat {
    /// Waits for all that is this core's, puts it into the shard, and waits for the last word. `None` if that does not
    /// come.
    pub fn take(mut self, host: &mut Host) -> Option<Vec<Arrival>> {
        let taken = self.take_all(host);
        let report = match &taken {
            Ok(arrivals) => Ok(arrivals.len() as u64),
            Err(text) => Err(text.clone()),
        };
        self.report.send(report).ok()?;
        let arrivals = taken.ok()?;
        self.begin.recv().ok()?;
        Some(arrivals)
    }

    fn take_all(&mut self, host: &mut Host) -> Result<Vec<Arrival>, String> {
        let sorted = self.sort(host);
        // Whatever has happened here, nobody is to wait for this core.
        for core in &self.cores {
            let _ = core.send(None);
        }
        sorted?;
        let (mut arrivals, mut left) = (Vec::new(), self.cores.len());
        while left > 0 {
            let delivered = self.inbox.recv();
            match delivered.map_err(|_| "a core of the new process is gone")? {
                None => left -= 1,
                Some((migration, stream)) => arrivals.push(put_in(host, migration, stream)?),
            }
        }
        Ok(arrivals)
    }

    /// Sends each connection of this core's channel to its home.
    fn sort(&mut self, host: &mut Host) -> Result<(), String> {
        loop {
            let (batch, sockets) = self
                .channel
                .hear::<Batch>()
                .map_err(|error| error.to_string())?;
            if batch.connections.is_empty() {
                return fault::meet("last");
            }
            fault::meet("connections")?;
            if batch.connections.len() != sockets.len() {
                return Err("not every connection has its socket".to_owned());
            }
            for (bytes, socket) in batch.connections.iter().zip(sockets) {
                let migration = Migration::read(bytes, host.now());
                let mut migration = migration.map_err(|error| error.to_string())?;
                self.numbers.put(&mut migration)?;
                let home = home(host, &migration).unwrap_or(host.core());
                let delivered = Some((migration, TcpStream::from(socket)));
                let core = self.cores.get(home.index()).ok_or("no such core")?;
                // If it is gone, it says so itself.
                let _ = core.send(delivered);
            }
            self.channel
                .send(&[], &[])
                .map_err(|error| error.to_string())?;
        }
    }
}

impl NumberMap {
    /// Gives a connection the numbers that are right here.
    fn put(&self, migration: &mut Migration) -> Result<(), String> {
        let part = &mut migration.shard_part;
        let listener = self.listeners.get(usize::from(part.listener)).copied();
        part.listener = listener
            .flatten()
            .ok_or("a connection of a listener that is not here")?;
        if let Some(entered) = part.entered {
            let namespace = self.namespaces.get(entered.0 as usize).copied();
            part.entered = Some(
                namespace
                    .flatten()
                    .ok_or("a connection of a namespace that is not here")?,
            );
        }
        Ok(())
    }
}

/// Where it lives, if its uid says so.
fn home(host: &mut Host, migration: &Migration) -> Option<CoreId> {
    match &migration.shard_part.stage {
        SavedPhase::Home { uid: Some(uid), .. } => Some(host.bus().home(uid)),
        _ => None,
    }
}

fn put_in(host: &mut Host, mut migration: Migration, stream: TcpStream) -> Result<Arrival, String> {
    let connection = host.take_in(&mut migration);
    let connection =
        connection.map_err(|refused| format!("a connection cannot be taken over: {refused}"))?;
    Ok(Arrival {
        connection,
        transport_part: migration.transport_part,
        socket: Socket::Here(stream),
    })
}
