//! [`Parting`]: how the cores of a server hand their connections over; [`KeptConnections`], what each has sent and may
//! have to take back.
//!
//! A connection that cannot go, or whose listener is not there any more, stays, and ends as in a drain. Bound: a batch is
//! acknowledged before the next one follows, so that few descriptors are under way.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::error;

use super::channel::{Channel, DESCRIPTORS_MAX};
use super::messages::Parcel;
use super::moment::nanos_of;
use crate::app::host::Host;
use crate::ident::CoreId;
use crate::migration::{Destination, Migration};
use crate::net::transport::Transport;
use crate::shard::SavedPhase;

/// A batch that has so many bytes is sent.
const BATCH_BYTES: usize = 1 << 20;

/// How many connections one core has sent, or why it could not.
pub struct PartingReport {
    pub core: CoreId,
    pub sent: Result<u64, String>,
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
        }
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
        let done = act(ours.get_mut(to).unwrap_or(&mut channel));
        done.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => {
                "upgrade_timeout was not enough for the new process to take all".to_owned()
            }
            _ => error.to_string(),
        })
    }

    /// Sends something to a core there, and waits until it has it.
    fn send(
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

    /// Tells each core of the successor that it has all.
    pub fn end(&self) -> Result<(), String> {
        for channel in &self.channels {
            let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
            let said = channel.say(&Parcel::End, &[]);
            said.map_err(|error| error.to_string())?;
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

    /// A core says how many it has sent.
    pub fn report(&self, core: CoreId, sent: Result<u64, String>) {
        // Nobody may be waiting any more.
        let _ = self.reports.send(PartingReport { core, sent });
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

impl KeptConnections {
    /// Takes out of a core what can go, and sends it. How many that are.
    pub fn hand_over(
        &mut self,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<u64, String> {
        let mut heaps: Vec<Heap> = Vec::new();
        heaps.resize_with(parting.channels.len(), Heap::default);
        let ids = host.shard().connections.ids();
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
            let homes = self.homes(host.core(), from, parting, ours)?;
            for (place, home) in (from..).zip(homes) {
                let written = self.0[place].0.write();
                let written = written.ok_or("a connection cannot be written down")?;
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
        Ok(self.0.len() as u64)
    }

    /// Where those from this one on are at home there.
    fn homes(
        &self,
        core: CoreId,
        from: usize,
        parting: &Parting,
        ours: &mut [Channel],
    ) -> Result<Vec<usize>, String> {
        let uid = |(migration, _): &(Migration, TcpStream)| match &migration.shard_part.stage {
            SavedPhase::Home { uid: Some(uid), .. } => Some(uid.to_string()),
            _ => None,
        };
        let uids: Vec<Option<String>> = self.0[from..].iter().map(uid).collect();
        let own = parting.own(core);
        if parting.channels.len() < 2 || uids.iter().all(Option::is_none) {
            return Ok(vec![own; uids.len()]);
        }
        let asked = uids.iter().flatten().cloned().collect();
        let mut homes = parting.ask(core, ours, asked)?.into_iter();
        let home = |uid: &Option<String>| match uid {
            Some(_) => homes.next().map(usize::from),
            None => Some(own),
        };
        let homes: Option<Vec<usize>> = uids.iter().map(home).collect();
        homes.ok_or_else(|| "not every uid has a home there".to_owned())
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
