//! [`Parting`]: how the cores of a server hand their connections over; [`KeptConnections`], what each has sent and may
//! have to take back.
//!
//! A connection that cannot go, or whose listener is not there any more, stays, and ends as in a drain. Bound: a batch is
//! acknowledged before the next one follows, so that few descriptors are under way.

use std::net::TcpStream;
use std::os::fd::AsFd;
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
}

impl Parting {
    pub fn new(
        channels: Vec<Channel>,
        listeners: Vec<bool>,
        reports: Sender<PartingReport>,
    ) -> Parting {
        Parting {
            channels: channels.into_iter().map(Mutex::new).collect(),
            listeners,
            reports,
            moment: Instant::now(),
        }
    }

    /// Whether the successor has this listener.
    pub fn has_listener(&self, number: u16) -> bool {
        self.listeners.get(usize::from(number)) == Some(&true)
    }

    /// Sends something by the channel that is this core's.
    fn send(
        &self,
        core: CoreId,
        parcel: &Parcel,
        sockets: &[(Migration, TcpStream)],
    ) -> Result<(), String> {
        let at = core.index() % self.channels.len().max(1);
        let channel = self.channels.get(at).ok_or("it has no core")?;
        let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
        let sockets: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
        let said = channel.say(parcel, &sockets);
        let heard = said.and_then(|()| channel.receive());
        heard.map(drop).map_err(|error| error.to_string())
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
    pub fn send_state(&self, host: &mut Host) -> Result<(), String> {
        let (core, moment) = (host.core(), nanos_of(self.moment));
        let (mut records, mut bytes, mut problem) = (Vec::new(), 0, None);
        let send = |records: &mut Vec<Vec<u8>>| {
            let records = std::mem::take(records);
            self.send(core, &Parcel::Records { moment, records }, &[])
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

impl KeptConnections {
    /// Takes out of a core what can go, and sends it. How many that are.
    pub fn hand_over(
        &mut self,
        host: &mut Host,
        transport: &mut Transport,
        parting: &Parting,
    ) -> Result<u64, String> {
        let core = host.core();
        let (mut written, mut bytes) = (Vec::new(), 0);
        for id in host.shard().connections.ids() {
            let listener = host.shard().connections.listener_number(id);
            if !listener.is_some_and(|number| parting.has_listener(number)) {
                continue;
            }
            let Ok((migration, stream)) = transport.take_out(host, id, Destination::Process) else {
                continue;
            };
            let one = migration.write();
            self.0.push((migration, stream));
            let one = one.ok_or("a connection cannot be written down")?;
            bytes += one.len();
            written.push(one);
            if written.len() == DESCRIPTORS_MAX || bytes >= BATCH_BYTES {
                transport.settle();
                self.send(core, std::mem::take(&mut written), parting)?;
                bytes = 0;
            }
        }
        transport.settle();
        if !written.is_empty() {
            self.send(core, written, parting)?;
        }
        Ok(self.0.len() as u64)
    }

    /// Sends the last ones.
    fn send(&self, core: CoreId, written: Vec<Vec<u8>>, parting: &Parting) -> Result<(), String> {
        let from = self.0.len() - written.len();
        parting.send(core, &Parcel::Connections(written), &self.0[from..])
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
