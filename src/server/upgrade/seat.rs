//! [`CoreSeat`]: where one core of a successor gets its connections, before it makes its first turn.
//!
//! They come by the channel that is this core's; the predecessor has asked where each is at home. Nothing is done with a
//! socket before all is said.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// What has come by one core's channel that is at home there.
#[derive(Default)]
struct Come {
    /// Connections that the predecessor has taken out.
    taken_out: Vec<Seated>,
    /// Copies of others, in the order in which they have come. Some are gone since.
    copies: Vec<Option<Seated>>,
    /// By core of the predecessor, for how many ticks the times of its copies run ahead.
    aheads: Vec<u32>,
}

/// A connection that is to be put into the core.
struct Seated {
    migration: Migration,
    stream: TcpStream,
    /// The predecessor's core whose copy it is.
    copy_of: Option<u16>,
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
    /// What all cores have done.
    done: Arc<AtomicU64>,
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
    /// What all of them have done: it grows while they get on.
    pub done: Arc<AtomicU64>,
    /// To each core.
    pub begin: Vec<mpsc::Sender<()>>,
}

impl CoreSeats {
    /// One for each of so many cores.
    pub fn new(count: usize, numbers: NumberMap, until: Instant) -> CoreSeats {
        let numbers = Arc::new(numbers);
        let (report, reports) = mpsc::channel();
        let done = Arc::new(AtomicU64::new(0));
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
                done: Arc::clone(&done),
                begin: begins,
            });
        }
        CoreSeats {
            seats,
            channels,
            reports,
            done,
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
        let mut come = Come::default();
        let sorted = self.sort(host, &mut come);
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
        attend_mail(host);
        for (record, moment) in records {
            unpack(host, *record, moment)?;
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        host.unpacked();
        let aheads = come.aheads;
        let copies = come.copies.into_iter().flatten();
        let mut arrivals =
            Vec::with_capacity(copies.size_hint().1.unwrap_or(0) + come.taken_out.len());
        for mut one in copies.chain(come.taken_out) {
            if let Some(core) = one.copy_of {
                let ahead = aheads.get(usize::from(core)).ok_or("copies of no core")?;
                one.migration.shard_part.count_to_earlier(*ahead);
            }
            arrivals.push(put_in(host, one.migration, one.stream)?);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(arrivals)
    }

    /// Takes all that comes by this core's channel: connections, which are at home here, and records, which it sends to
    /// their home.
    fn sort(&mut self, host: &mut Host, come: &mut Come) -> Result<(), String> {
        loop {
            let (parcel, sockets) = self
                .channel()?
                .hear::<Parcel>()
                .map_err(|error| error.to_string())?;
            attend_mail(host);
            match parcel {
                Parcel::Records { moment, records } => {
                    fault::meet("records")?;
                    let moment = moment_of(moment);
                    for bytes in records {
                        self.sort_record(host, &bytes, moment)?;
                    }
                    self.answer()?;
                }
                Parcel::Connections(connections) => {
                    fault::meet("connections")?;
                    let of = (None, host.now());
                    come.taken_out.extend(self.seat(of, &connections, sockets)?);
                    self.answer()?;
                }
                Parcel::Copies {
                    core,
                    begun,
                    connections,
                } => {
                    fault::meet("copies")?;
                    let first = come.copies.len() as u32;
                    let of = (Some(core), moment_of(begun));
                    let seated = self.seat(of, &connections, sockets)?;
                    come.copies.extend(seated.into_iter().map(Some));
                    let said = self.channel()?.say(&first, &[]);
                    said.map_err(|error| error.to_string())?;
                }
                Parcel::Changed {
                    copies_of,
                    places,
                    connections,
                } => {
                    fault::meet("changed")?;
                    for (place, bytes) in places.iter().zip(connections) {
                        let copy = come.copies.get_mut(*place as usize);
                        let copy = copy.and_then(Option::as_mut);
                        let copy = copy.ok_or("what has changed is not there")?;
                        // What its rates count from is the same for all of a core's.
                        let moment = match copies_of {
                            Some(_) => copy.migration.transport_part.left_at,
                            None => host.now(),
                        };
                        copy.migration = self.read(&bytes, moment)?;
                        copy.copy_of = copies_of;
                    }
                    self.answer()?;
                }
                Parcel::Gone(places) => {
                    fault::meet("gone")?;
                    for place in places {
                        let copy = come.copies.get_mut(place as usize);
                        // This closes its socket.
                        *copy.ok_or("what is gone was not there")? = None;
                    }
                    self.answer()?;
                }
                Parcel::Ask(uids) => {
                    let homes = uids.iter().map(|uid| host.bus().home(uid).0);
                    let said = self.channel()?.say(&homes.collect::<Vec<u16>>(), &[]);
                    said.map_err(|error| error.to_string())?;
                }
                Parcel::End => return fault::meet("last"),
                Parcel::EndOfCopies(aheads) => {
                    come.aheads = aheads;
                    return fault::meet("last");
                }
            }
        }
    }

    fn answer(&mut self) -> Result<(), String> {
        let said = self.channel()?.send(&[], &[]);
        said.map_err(|error| error.to_string())
    }

    /// Connections as they are written, each with its socket; copies are a core's, and their rates count from that moment.
    fn seat(
        &self,
        (copy_of, moment): (Option<u16>, Instant),
        connections: &[Vec<u8>],
        sockets: Vec<OwnedFd>,
    ) -> Result<Vec<Seated>, String> {
        if connections.len() != sockets.len() {
            return Err("not every connection has its socket".to_owned());
        }
        let seat = |(bytes, socket): (&Vec<u8>, OwnedFd)| {
            Ok(Seated {
                migration: self.read(bytes, moment)?,
                stream: socket.into(),
                copy_of,
            })
        };
        connections.iter().zip(sockets).map(seat).collect()
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

    fn read(&self, bytes: &[u8], left_at: Instant) -> Result<Migration, String> {
        let migration = Migration::read(bytes, left_at);
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

/// What other nodes have wanted until now is the predecessor's to do, and finds nobody here.
fn attend_mail(host: &mut Host) {
    while let Some(envelope) = host.take() {
        host.receive(envelope);
    }
}
