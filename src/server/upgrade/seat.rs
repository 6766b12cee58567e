//! [`CoreSeat`]: where one core of a successor gets its connections, before it makes its first turn.
//!
//! They come by the channel that is this core's; the predecessor has asked where each is at home. Nothing is done with a
//! socket before all is said.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use tracing::warn;

use super::channel::Channel;
use super::fault;
use super::lane::Lane;
use super::messages::Parcel;
use super::moment::moment_of;
use crate::app::host::{Arrival, Host};
use crate::handover::{CoreRecord, RecordPlace, Renumbering};
use crate::ident::NamespaceId;
use crate::migration::{Migration, Socket};

/// What the predecessor's numbers are here.
pub struct NumberMap {
    pub listeners: Vec<Option<u16>>,
    pub namespaces: Vec<Option<NamespaceId>>,
}

/// What one core has sorted out for another.
enum SeatDelivery {
    /// A record, and what its times count from.
    Record(Box<CoreRecord>, Instant),
    /// That was all.
    End,
}

/// See the module.
pub struct CoreSeat {
    /// Where each core has a descriptor table of its own, it comes by the core's lane.
    channel: Option<Channel>,
    channel_in: mpsc::Receiver<Channel>,
    until: Instant,
    numbers: Arc<NumberMap>,
    /// To each core.
    cores: Vec<Sender<SeatDelivery>>,
    inbox: Receiver<SeatDelivery>,
    report: mpsc::Sender<Result<u64, String>>,
    /// The predecessor has said its last word.
    begin: mpsc::Receiver<()>,
}

/// CoreSeats of all cores.
pub struct CoreSeats {
    pub seats: Vec<CoreSeat>,
    /// To each core that has the server's table: its channel.
    pub channels: Vec<mpsc::Sender<Channel>>,
    /// How many connections each core has, or why it cannot.
    pub reports: mpsc::Receiver<Result<u64, String>>,
    /// To each core.
    pub begin: Vec<mpsc::Sender<()>>,
}

impl CoreSeats {
    /// One for each of so many cores.
    pub fn new(count: usize, numbers: NumberMap, until: Instant) -> CoreSeats {
        let numbers = Arc::new(numbers);
        let (report, reports) = mpsc::channel();
        let inboxes = (0..count).map(|_| crossbeam_channel::unbounded());
        let (cores, inboxes): (Vec<_>, Vec<_>) = inboxes.unzip();
        let (mut seats, mut all_begin, mut channels) = (Vec::new(), Vec::new(), Vec::new());
        for inbox in inboxes {
            let (channel, channel_in) = mpsc::channel();
            channels.push(channel);
            let (begin, begins) = mpsc::channel();
            all_begin.push(begin);
            seats.push(CoreSeat {
                channel: None,
                channel_in,
                until,
                numbers: Arc::clone(&numbers),
                cores: cores.clone(),
                inbox,
                report: report.clone(),
                begin: begins,
            });
        }
        CoreSeats {
            seats,
            channels,
            reports,
            begin: all_begin,
        }
    }
}

impl CoreSeat {
    /// Waits for all that is this core's, puts it into the shard, and waits for the last word. `None` if that does not
    /// come.
    pub fn take(mut self, host: &mut Host, lane: Option<&mut Lane>) -> Option<Vec<Arrival>> {
        self.channel = match lane {
            Some(lane) => lane.take_channel(self.until),
            None => self.channel_in.recv().ok(),
        };
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

    fn channel(&mut self) -> Result<&mut Channel, String> {
        let channel = self.channel.as_mut();
        channel.ok_or_else(|| "a core has no channel".to_owned())
    }

    fn take_all(&mut self, host: &mut Host) -> Result<Vec<Arrival>, String> {
        let mut connections = Vec::new();
        let sorted = self.sort(host, &mut connections);
        // Whatever has happened here, nobody is to wait for this core.
        for core in &self.cores {
            let _ = core.send(SeatDelivery::End);
        }
        sorted?;
        let (mut records, mut left) = (Vec::new(), self.cores.len());
        while left > 0 {
            let delivered = self.inbox.recv();
            match delivered.map_err(|_| "a core of the new process is gone")? {
                SeatDelivery::End => left -= 1,
                SeatDelivery::Record(record, moment) => records.push((record, moment)),
            }
        }
        for (record, moment) in records {
            unpack(host, *record, moment)?;
        }
        host.unpacked();
        let arrivals = connections.into_iter();
        let arrivals = arrivals.map(|(migration, stream)| put_in(host, migration, stream));
        arrivals.collect()
    }

    /// Takes all that comes by this core's channel: connections, which are at home here, and records, which it sends to
    /// their home.
    fn sort(
        &mut self,
        host: &mut Host,
        taken: &mut Vec<(Migration, TcpStream)>,
    ) -> Result<(), String> {
        loop {
            let (parcel, sockets) = self
                .channel()?
                .hear::<Parcel>()
                .map_err(|error| error.to_string())?;
            match parcel {
                Parcel::Records { moment, records } => {
                    fault::meet("records")?;
                    let moment = moment_of(moment);
                    for bytes in records {
                        self.sort_record(host, &bytes, moment)?;
                    }
                }
                Parcel::Connections(connections) => {
                    fault::meet("connections")?;
                    if connections.len() != sockets.len() {
                        return Err("not every connection has its socket".to_owned());
                    }
                    for (bytes, socket) in connections.iter().zip(sockets) {
                        taken.push((self.read(host, bytes)?, socket.into()));
                    }
                }
                Parcel::Ask(uids) => {
                    let homes = uids.iter().map(|uid| host.bus().home(uid).0);
                    let said = self.channel()?.say(&homes.collect::<Vec<u16>>(), &[]);
                    said.map_err(|error| error.to_string())?;
                    continue;
                }
                Parcel::End => return fault::meet("last"),
            }
            self.channel()?
                .send(&[], &[])
                .map_err(|error| error.to_string())?;
        }
    }

    fn sort_record(&self, host: &mut Host, bytes: &[u8], moment: Instant) -> Result<(), String> {
        let read = || {
            let record = CoreRecord::read(bytes).map_err(|bad| bad.to_string())?;
            Ok::<_, String>(self.numbers.put_record(record))
        };
        let Some(record) = read()? else {
            return Ok(());
        };
        let cores = self.cores.len();
        let core = match record.place() {
            RecordPlace::Home(name) => host.bus().home(name).index(),
            RecordPlace::Core(core) => host.bus().keeper(core).index(),
            RecordPlace::Everywhere => {
                for core in 1..cores {
                    if let Some(record) = read()? {
                        self.deliver(core, SeatDelivery::Record(Box::new(record), moment));
                    }
                }
                0
            }
        };
        self.deliver(core, SeatDelivery::Record(Box::new(record), moment));
        Ok(())
    }

    fn read(&self, host: &Host, bytes: &[u8]) -> Result<Migration, String> {
        let migration = Migration::read(bytes, host.now());
        let mut migration = migration.map_err(|error| error.to_string())?;
        self.numbers.put(&mut migration)?;
        Ok(migration)
    }

    fn deliver(&self, core: usize, delivered: SeatDelivery) {
        if let Some(core) = self.cores.get(core) {
            // If it is gone, it says so itself.
            let _ = core.send(delivered);
        }
    }
}

impl NumberMap {
    fn listener(&self, number: u16) -> Option<u16> {
        self.listeners.get(usize::from(number)).copied().flatten()
    }

    fn namespace(&self, number: NamespaceId) -> Option<NamespaceId> {
        self.namespaces.get(number.0 as usize).copied().flatten()
    }

    /// Gives a record the numbers that are right here. `None` if it is of what is not here.
    fn put_record(&self, mut record: CoreRecord) -> Option<CoreRecord> {
        let here = record.renumber(&Renumbering {
            namespace: &|number| self.namespace(number),
            listener: &|number| self.listener(number),
        });
        if !here {
            warn!(
                "{} of a namespace that is not here any more: dropped",
                record.what()
            );
        }
        here.then_some(record)
    }

    /// Gives a connection the numbers that are right here.
    fn put(&self, migration: &mut Migration) -> Result<(), String> {
        let part = &mut migration.shard_part;
        let listener = self.listener(part.listener);
        part.listener = listener.ok_or("a connection of a listener that is not here")?;
        if let Some(entered) = part.entered {
            let namespace = self.namespace(entered);
            part.entered = Some(namespace.ok_or("a connection of a namespace that is not here")?);
        }
        Ok(())
    }
}

fn unpack(host: &mut Host, record: CoreRecord, moment: Instant) -> Result<(), String> {
    let (what, is_app) = (record.what(), matches!(record, CoreRecord::App(..)));
    match host.unpack_state(record, moment) {
        // Its listeners may be gone.
        Err(text) if is_app => warn!("{what}: {text}: dropped"),
        done => done.map_err(|text| format!("{what} cannot be taken over: {text}"))?,
    }
    Ok(())
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
