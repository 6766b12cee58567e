//! [`Parting`]: how the cores of a server hand their connections over; [`KeptConnections`], what each has sent and may
//! have to take back.
//!
//! A connection that cannot go, or whose listener is not there any more, stays, and ends as in a drain. Bound: a batch is
//! acknowledged before the next one follows, so that few descriptors are under way.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tracing::error;

use super::channel::{Channel, DESCRIPTORS_MAX};
use super::messages::Parcel;
use super::moment::nanos_of;
use crate::app::host::Host;
use crate::ident::{ConnId, CoreId};
use crate::migration::{Destination, Migration};
use crate::net::transport::{CopyPlace, Transport};
use crate::shard::SavedPhase;

/// A batch that has so many bytes is sent.
const BATCH_BYTES: usize = 1 << 20;

/// A successor that does nothing for so long, of what is waited for while nobody may be served, hangs.
pub const STANDSTILL_MAX: Duration = Duration::from_secs(3);
/// The same while everybody is served, but for the core that waits. It fails soon: that costs nobody anything.
const SERVING_STANDSTILL_MAX: Duration = Duration::from_secs(1);

/// How many connections one core has sent, or why it could not.
pub struct PartingReport {
    pub core: CoreId,
    pub sent: Result<u64, String>,
    /// For how many ticks the times of its copies run ahead.
    pub ahead: u32,
}

/// See the module.
pub struct Parting {
    /// One to each core of the successor.
    channels: Vec<Mutex<Channel>>,
    /// By the number of a listener, whether the successor has it.
    listeners: Vec<bool>,
    reports: Sender<PartingReport>,
    /// What the times in records count from.
    moment: Instant,
    /// When nothing is waited for any longer.
    until: Instant,
    /// Nobody is served any more until all is decided.
    is_frozen: AtomicBool,
}

impl Parting {
    pub fn new(
        channels: Vec<Channel>,
        listeners: Vec<bool>,
        reports: Sender<PartingReport>,
        until: Instant,
    ) -> Parting {
        Parting {
            channels: channels.into_iter().map(Mutex::new).collect(),
            listeners,
            reports,
            moment: Instant::now(),
            until,
            is_frozen: AtomicBool::new(false),
        }
    }

    /// Nobody is served from now on: there is more patience with the successor than to have it all in vain.
    pub fn freeze(&self) {
        self.is_frozen.store(true, Ordering::Relaxed);
    }

    pub fn until(&self) -> Instant {
        self.until
    }

    /// Whether the successor has this listener.
    pub fn has_listener(&self, number: u16) -> bool {
        self.listeners.get(usize::from(number)) == Some(&true)
    }

    /// Where a core's connections go that have no home.
    fn own(&self, core: CoreId) -> usize {
        core.index() % self.channels.len().max(1)
    }

    /// Has this done with the channel to a core there, while no other core here uses it: with `ours`, where each core has a
    /// descriptor table of its own.
    fn with<R>(
        &self,
        to: usize,
        ours: &mut [Channel],
        act: impl FnOnce(&mut Channel) -> io::Result<R>,
    ) -> Result<R, String> {
        let channel = self.channels.get(to).ok_or("it has no such core")?;
        let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = ours.get_mut(to).unwrap_or(&mut channel);
        let standstill_max = match self.is_frozen.load(Ordering::Relaxed) {
            true => STANDSTILL_MAX,
            false => SERVING_STANDSTILL_MAX,
        };
        channel.set_until(self.until.min(Instant::now() + standstill_max));
        act(channel).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut if Instant::now() < self.until => {
                format!("the new process has stood still for {standstill_max:?}")
            }
            io::ErrorKind::TimedOut => {
                "upgrade_timeout was not enough for the new process to take all".to_owned()
            }
            _ => error.to_string(),
        })
    }

    /// Copies of our ends, for cores with descriptor tables of their own.
    pub fn ends(&self) -> Result<Vec<UnixStream>, String> {
        let end = |channel: &Mutex<Channel>| {
            let channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
            channel
                .socket()
                .try_clone()
                .map_err(|error| error.to_string())
        };
        self.channels.iter().map(end).collect()
    }

    /// How many cores there are there.
    pub fn cores(&self) -> usize {
        self.channels.len()
    }

    /// Sends something to a core there, and waits until it has it.
    pub(super) fn send(
        &self,
        to: usize,
        ours: &mut [Channel],
        parcel: &Parcel,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(), String> {
        self.with(to, ours, |channel| {
            channel.say(parcel, sockets)?;
            channel.receive().map(drop)
        })
    }

    /// Sends something to a core there that has an answer.
    pub(super) fn send_for<T: DeserializeOwned>(
        &self,
        to: usize,
        ours: &mut [Channel],
        parcel: &Parcel,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<T, String> {
        self.with(to, ours, |channel| {
            channel.say(parcel, sockets)?;
            channel.hear().map(|(answer, _)| answer)
        })
    }

    /// Where connections are at home there that have these uids.
    pub(super) fn homes(
        &self,
        core: CoreId,
        ours: &mut [Channel],
        uids: Vec<Option<String>>,
    ) -> Result<Vec<usize>, String> {
        let own = self.own(core);
        if self.channels.len() < 2 || uids.iter().all(Option::is_none) {
            return Ok(vec![own; uids.len()]);
        }
        let asked = uids.iter().flatten().cloned().collect();
        let mut homes = self.ask(core, ours, asked)?.into_iter();
        let home = |uid: &Option<String>| match uid {
            Some(_) => homes.next().map(usize::from),
            None => Some(own),
        };
        let homes: Option<Vec<usize>> = uids.iter().map(home).collect();
        homes.ok_or_else(|| "not every uid has a home there".to_owned())
    }

    /// Where connections of these uids are at home there.
    fn ask(
        &self,
        core: CoreId,
        ours: &mut [Channel],
        uids: Vec<String>,
    ) -> Result<Vec<u16>, String> {
        self.with(self.own(core), ours, |channel| {
            channel.say(&Parcel::Ask(uids), &[])?;
            channel.hear().map(|(homes, _)| homes)
        })
    }

    /// Tells each core of the successor that it has all. By core here, for how many ticks the times of copies run ahead, if
    /// there are any.
    pub fn end(&self, ahead: Option<Vec<u32>>) -> Result<(), String> {
        let parcel = ahead.map_or(Parcel::End, Parcel::EndOfCopies);
        (0..self.channels.len())
            .try_for_each(|core| self.with(core, &mut [], |channel| channel.say(&parcel, &[])))
    }

    /// Tells the successor which connections are gone that it has copies of.
    pub fn tell_lost(&self, transport: &mut Transport, ours: &mut [Channel]) -> Result<(), String> {
        let Some(copies) = transport.copies().filter(|copies| copies.has_lost()) else {
            return Ok(());
        };
        let mut lost = copies.take_lost();
        lost.sort_unstable_by_key(|place| (place.core, place.nth));
        for of_core in lost.chunk_by(|one, next| one.core == next.core) {
            let places = of_core.iter().map(|place| place.nth).collect();
            let core = usize::from(of_core[0].core);
            self.send(core, ours, &Parcel::Gone(places), &[])?;
        }
        Ok(())
    }

    /// Sends what a core keeps besides its connections. It goes on having it.
    pub fn send_state(&self, host: &mut Host, ours: &mut [Channel]) -> Result<(), String> {
        let (core, moment) = (host.core(), nanos_of(self.moment));
        let (mut records, mut bytes, mut problem) = (Vec::new(), 0, None);
        let to = self.own(core);
        let mut send = |records: &mut Vec<Vec<u8>>| {
            let records = std::mem::take(records);
            self.send(to, ours, &Parcel::Records { moment, records }, &[])
        };
        host.pack_state(self.moment, &mut |record| {
            if problem.is_some() {
                return;
            }
            match record.write() {
                Ok(written) => {
                    bytes += written.len();
                    records.push(written);
                }
                Err(bad) => problem = Some(bad.to_string()),
            }
            if bytes >= BATCH_BYTES {
                bytes = 0;
                problem = send(&mut records).err();
            }
        });
        match problem {
            Some(problem) => Err(problem),
            None if records.is_empty() => Ok(()),
            None => send(&mut records),
        }
    }

    /// A core says how many it has sent, and for how long the times of its copies run ahead.
    pub fn report(&self, core: CoreId, sent: Result<u64, String>, ahead: u32) {
        // Nobody may be waiting any more.
        let _ = self.reports.send(PartingReport { core, sent, ahead });
    }
}

/// Connections that have been sent, as they were.
#[derive(Default)]
pub struct KeptConnections(Vec<(Migration, TcpStream)>);

/// Connections for one core there, that have not been sent yet.
#[derive(Default)]
struct Heap {
    written: Vec<Vec<u8>>,
    /// Their places among all that are kept.
    places: Vec<usize>,
    bytes: usize,
}

impl Heap {
    fn is_full(&self) -> bool {
        self.places.len() == DESCRIPTORS_MAX || self.bytes >= BATCH_BYTES
    }
}

/// Of copies, those that are otherwise by now.
struct Otherwise {
    /// Whose copies they are again, if they were not taken out.
    copies_of: Option<u16>,
    /// By core there.
    of_cores: Vec<Changes>,
}

#[derive(Default)]
struct Changes {
    places: Vec<u32>,
    connections: Vec<Vec<u8>>,
    bytes: usize,
}

impl Otherwise {
    fn new(cores: usize, copies_of: Option<u16>) -> Otherwise {
        let mut of_cores = Vec::new();
        of_cores.resize_with(cores, Changes::default);
        Otherwise {
            copies_of,
            of_cores,
        }
    }

    /// Adds one, and sends those that make a batch.
    fn push(
        &mut self,
        place: CopyPlace,
        written: Vec<u8>,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<(), String> {
        let core = usize::from(place.core);
        let changes = self.of_cores.get_mut(core).ok_or("there is no such core")?;
        changes.bytes += written.len();
        changes.places.push(place.nth);
        changes.connections.push(written);
        match changes.bytes >= BATCH_BYTES {
            true => self.send(core, parting, ours),
            false => Ok(()),
        }
    }

    fn send(&mut self, core: usize, parting: &Parting, ours: &mut [Channel]) -> Result<(), String> {
        let changes = std::mem::take(&mut self.of_cores[core]);
        if changes.places.is_empty() {
            return Ok(());
        }
        let parcel = Parcel::Changed {
            copies_of: self.copies_of,
            places: changes.places,
            connections: changes.connections,
        };
        parting.send(core, ours, &parcel, &[])
    }

    fn finish(&mut self, parting: &Parting, ours: &mut [Channel]) -> Result<(), String> {
        (0..self.of_cores.len()).try_for_each(|core| self.send(core, parting, ours))
    }
}

impl KeptConnections {
    /// Takes out of a core what can go and has not been copied, and sends it; of what has been, sends what has changed. How
    /// many that are in all.
    pub fn hand_over(
        &mut self,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<u64, String> {
        let ids = host.shard().connections.ids();
        let (copied, ids) = self.hand_over_copied(host, transport, parting, ours, ids)?;
        let mut heaps: Vec<Heap> = Vec::new();
        heaps.resize_with(parting.channels.len(), Heap::default);
        for ids in ids.chunks(DESCRIPTORS_MAX) {
            let from = self.0.len();
            for id in ids {
                let listener = host.shard().connections.listener_number(*id);
                if !listener.is_some_and(|number| parting.has_listener(number)) {
                    continue;
                }
                // One that cannot go stays.
                if let Ok(taken) = transport.take_out(host, *id, Destination::Process) {
                    self.0.push(taken);
                }
            }
            transport.settle();
            let homes = parting.homes(host.core(), ours, self.uids(from))?;
            for (place, home) in (from..).zip(homes) {
                let written = written(&self.0[place].0)?;
                let heap = heaps.get_mut(home).ok_or("there is no such core")?;
                heap.bytes += written.len();
                heap.written.push(written);
                heap.places.push(place);
                if heap.is_full() {
                    self.send(home, std::mem::take(heap), parting, ours)?;
                }
            }
        }
        for (home, heap) in heaps.into_iter().enumerate() {
            if !heap.places.is_empty() {
                self.send(home, heap, parting, ours)?;
            }
        }
        Ok(self.0.len() as u64 + copied)
    }

    /// Those of which there are copies: sends what has changed since. How many stay where they are until all is done, and
    /// the others of these.
    fn hand_over_copied(
        &mut self,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
        ours: &mut [Channel],
        ids: Vec<ConnId>,
    ) -> Result<(u64, Vec<ConnId>), String> {
        let (mut copied, mut others) = (0, Vec::new());
        let mut changed = Otherwise::new(parting.cores(), Some(host.core().0));
        let mut taken_out = Otherwise::new(parting.cores(), None);
        for id in ids {
            let found = transport.copied(host, id);
            let Some((place, before)) = found else {
                others.push(id);
                continue;
            };
            match transport.copy(host, id) {
                Some((_, digest)) if digest == before => copied += 1,
                Some((written, _)) => {
                    copied += 1;
                    changed.push(place, written, parting, ours)?;
                }
                // Something is under way. Where it stays, its copy is lost.
                None => match transport.take_out_copied(host, id) {
                    Ok(taken) => {
                        let written = written(&taken.0)?;
                        self.0.push(taken);
                        taken_out.push(place, written, parting, ours)?;
                    }
                    Err(_) => others.push(id),
                },
            }
        }
        transport.settle();
        changed.finish(parting, ours)?;
        taken_out.finish(parting, ours)?;
        parting.tell_lost(transport, ours)?;
        Ok((copied, others))
    }

    /// The uids of those from this one on.
    fn uids(&self, from: usize) -> Vec<Option<String>> {
        let uid = |(migration, _): &(Migration, TcpStream)| match &migration.shard_part.stage {
            SavedPhase::Home { uid: Some(uid), .. } => Some(uid.to_string()),
            _ => None,
        };
        self.0[from..].iter().map(uid).collect()
    }

    fn send(
        &self,
        to: usize,
        heap: Heap,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<(), String> {
        let sockets = heap.places.iter().map(|place| self.0[*place].1.as_fd());
        let sockets: Vec<_> = sockets.collect();
        let parcel = Parcel::Connections(heap.written);
        parting.send(to, ours, &parcel, &sockets)
    }

    /// Puts all back, as if nothing had been.
    pub fn put_back(&mut self, host: &mut Host, transport: &mut Transport) {
        for (migration, stream) in std::mem::take(&mut self.0) {
            if let Err(refused) = transport.take_back(host, migration, stream) {
                error!(%refused, "a connection that was to move to another process is lost");
            }
        }
        host.release_interests();
    }

    /// They are another process' now: no socket is shut down, our descriptors are closed.
    pub fn let_go(&mut self) {
        self.0 = Vec::new();
    }
}

fn written(migration: &Migration) -> Result<Vec<u8>, String> {
    let written = migration.write();
    written.ok_or_else(|| "a connection cannot be written down".to_owned())
}
