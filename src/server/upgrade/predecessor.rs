//! [`Predecessor`]: the server that has started this process, and what it hands over.
//!
//! Found by a variable of the environment, which names a socket and the parent. Whatever goes wrong before the
//! predecessor's last word ends this process, and it goes on.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use socket2::SockRef;
use zeroize::Zeroizing;

use super::channel::Channel;
use super::fault;
use super::inventory::Inventory;
use super::lane::{ServerLane, TAKEOVER};
use super::messages::{
    ClusterOffer, Commit, Hello, OUR_ABILITIES, OUR_CLUSTER_ABILITIES, OfferEnd, OfferRest,
    OfferedSocket, Sent, SuccessorPlaces, SuccessorReply, UpgradeOffer, VERSION,
};
use super::process_parts::ProcessParts;
use super::program::VARIABLE;
use super::seat::{CoreSeat, CoreSeats, NumberMap};
use crate::handover::{self, ProcessRecord};
use crate::migration;
use crate::net::listen_address::ListenAddress;
use crate::net::listener::credentials;
use crate::server::listen::Listen;

/// Until the offer has come, which says how long there is.
const OFFER_TIME_MAX: Duration = Duration::from_secs(60);

/// How often the predecessor is told how far the cores are.
const TELLING_INTERVAL: Duration = Duration::from_millis(200);

/// The variable is about the first server of this process.
static FOUND: AtomicBool = AtomicBool::new(false);

/// Listening sockets of the predecessor's that no listener has taken yet.
#[derive(Default)]
pub struct InheritedSockets(Vec<InheritedSocket>);

struct InheritedSocket {
    offered: OfferedSocket,
    address: ListenAddress,
    descriptor: OwnedFd,
}

impl InheritedSockets {
    /// Those that a listener is to have, in the order of the predecessor's cores.
    pub fn take(&mut self, listen: &Listen, address: &ListenAddress) -> Vec<OwnedFd> {
        // Of those with any free port, one each time.
        let first = self.0.iter().filter(|one| one.offered.asked == listen.url);
        let first = first.map(|one| one.offered.nth).min();
        let is_its = |one: &InheritedSocket| match address {
            ListenAddress::Passed(name) => one.offered.passed.as_ref() == Some(name),
            _ if one.offered.passed.is_some() => false,
            ListenAddress::Ip(asked) if asked.port() == 0 => {
                one.offered.asked == listen.url && Some(one.offered.nth) == first
            }
            _ => one.address == *address,
        };
        let taken = self.0.extract_if(.., |one| is_its(one));
        // Several of its cores may have had the same.
        let mut numbers = HashSet::new();
        let taken = taken.map(|one| one.descriptor);
        taken.filter(|one| numbers.insert(inode(one))).collect()
    }
}

/// What the cores are given, until they begin.
pub struct Takeover {
    seats: CoreSeats,
    until: Instant,
    /// What is no core's.
    records: Vec<ProcessRecord>,
}

/// See the module.
pub struct Predecessor {
    control: Channel,
    offer: UpgradeOffer,
    rest: OfferRest,
    end: OfferEnd,
    /// Its end of what it and this process' thread for the cluster speak by.
    to_cluster: Option<UnixStream>,
    pid: u32,
}

impl Predecessor {
    /// The server that has started this process for this, if one has; and its listening sockets.
    pub fn find() -> io::Result<Option<(Predecessor, InheritedSockets)>> {
        let Some(value) = std::env::var(VARIABLE).ok() else {
            return Ok(None);
        };
        let Some((number, pid)) = own_value(&value) else {
            // It was another process', from which this one has it.
            return Ok(None);
        };
        if FOUND.swap(true, Ordering::Relaxed) {
            return Ok(None);
        }
        // SAFETY: it is open, for it has just been looked at, the predecessor has left it open for this process alone, and
        // this is done once.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        // SAFETY: it touches no memory.
        unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        let mut control = Channel::new(UnixStream::from(socket), Instant::now() + OFFER_TIME_MAX);
        let hello = Hello {
            version: VERSION,
            migrations: vec![migration::VERSION],
            records: vec![handover::VERSION],
            release: env!("CARGO_PKG_VERSION").to_owned(),
        };
        fault::other_is(pid);
        fault::meet("hello").map_err(io::Error::other)?;
        control.say(&(hello, OUR_ABILITIES, OUR_CLUSTER_ABILITIES), &[])?;
        let (offer, rest, end): (UpgradeOffer, OfferRest, OfferEnd) = control.hear_more()?;
        fault::meet("offer").map_err(io::Error::other)?;
        control.set_until(Instant::now() + Duration::from_millis(offer.time));
        let descriptors = control.receive_all(offer.sockets.len())?;
        let sockets = offer.sockets.iter().cloned().zip(descriptors);
        let inherited = sockets.map(|(offered, descriptor)| {
            let address = address(&descriptor)?;
            Ok(InheritedSocket {
                offered,
                address,
                descriptor,
            })
        });
        let inherited = inherited.collect::<io::Result<_>>()?;
        let predecessor = Predecessor {
            control,
            offer,
            rest,
            end,
            to_cluster: None,
            pid,
        };
        Ok(Some((predecessor, InheritedSockets(inherited))))
    }

    /// What it is called in its cluster, if it is in one.
    pub fn node(&self) -> Option<String> {
        self.rest.node.clone()
    }

    /// Which node of which cluster it is, and our end of what our thread for the cluster and its own speak by, if it offers
    /// that. For one call.
    pub fn cluster(&mut self) -> io::Result<Option<(ClusterOffer, UnixStream)>> {
        let Some(offer) = self.end.cluster.clone() else {
            return Ok(None);
        };
        let (ours, theirs) = UnixStream::pair()?;
        self.to_cluster = Some(theirs);
        Ok(Some((offer, ours)))
    }

    /// How many upgrades there have been, this one counted.
    pub fn upgrades(&self) -> u64 {
        self.offer.upgrades + 1
    }

    /// This process cannot go on, and says why.
    pub fn refuse(&mut self, why: &str) {
        // If it is gone, nobody wants to know.
        let _ = self
            .control
            .say(&SuccessorReply::Refused(why.to_owned()), &[]);
    }

    /// CoreSeats for so many cores, by which they get their connections.
    pub fn seats(
        &self,
        inventory: &Inventory,
        cores: usize,
        namespaces_max: usize,
    ) -> Result<(Vec<CoreSeat>, Takeover), String> {
        let UpgradeOffer {
            listeners,
            namespaces,
            app_namespaces,
            time,
            ..
        } = &self.offer;
        let until = Instant::now() + Duration::from_millis(*time);
        let numbers = NumberMap {
            listeners: inventory.map_listeners(listeners),
            namespaces: inventory.map_namespaces(namespaces, *app_namespaces, namespaces_max)?,
        };
        let mut seats = CoreSeats::new(cores, numbers, until);
        let of_cores = std::mem::take(&mut seats.seats);
        let takeover = Takeover {
            seats,
            until,
            records: Vec::new(),
        };
        Ok((of_cores, takeover))
    }

    /// Says that all can be taken, has the cores take it, and waits for the last word. How many connections there are,
    /// and for how long they were not read.
    pub fn take_over(
        &mut self,
        inventory: &Inventory,
        takeover: &mut Takeover,
        lanes: &[ServerLane],
    ) -> Result<(u64, Duration), String> {
        let ends = takeover.open(lanes)?;
        let known = inventory.map_listeners(&self.offer.listeners);
        let ready = SuccessorReply::Ready(SuccessorPlaces {
            listeners: known.iter().map(Option::is_some).collect(),
            cores: ends.len() as u16,
        });
        fault::meet("ready")?;
        let lost = |error: io::Error| format!("the predecessor is not heard any more: {error}");
        self.control.say(&ready, &[]).map_err(lost)?;
        self.control.send_all(&ends).map_err(lost)?;
        drop(ends);
        let to_cluster = self.to_cluster.take();
        self.control.send_all(to_cluster.as_slice()).map_err(lost)?;
        drop(to_cluster);
        let mut taken = 0;
        for _ in 0..takeover.seats.begin.len() {
            taken += self.wait_for_core(&takeover.seats)?;
        }
        let (sent, _): (Sent, _) = self.control.hear().map_err(lost)?;
        if sent.connections != taken {
            return Err(format!(
                "{} connections were sent, and {taken} have come",
                sent.connections
            ));
        }
        for _ in 0..sent.records {
            let (bytes, _) = self.control.receive().map_err(lost)?;
            let bytes = Zeroizing::new(bytes);
            let record = ProcessRecord::read(&bytes).map_err(|bad| bad.to_string())?;
            takeover.records.push(record);
        }
        fault::meet("taken")?;
        self.control
            .say(&SuccessorReply::Taken(taken), &[])
            .map_err(lost)?;
        let (commit, _): (Commit, _) = self.control.hear().map_err(lost)?;
        // It is ours, whatever happens now.
        let _ = fault::meet("committed");
        Ok((taken, Duration::from_millis(commit.pause)))
    }

    /// How many connections one more core has. Meanwhile the predecessor is told how far all are.
    fn wait_for_core(&mut self, seats: &CoreSeats) -> Result<u64, String> {
        loop {
            match seats.reports.recv_timeout(TELLING_INTERVAL) {
                Ok(report) => return report,
                Err(RecvTimeoutError::Disconnected) => return Err("a core has ended".to_owned()),
                Err(RecvTimeoutError::Timeout) if self.rest.abilities.copies => {
                    let done = seats.done.load(Ordering::Relaxed);
                    let said = self.control.say(&SuccessorReply::Working(done), &[]);
                    said.map_err(|error| {
                        format!("the predecessor does not hear any more: {error}")
                    })?;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// The process that was there before.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Takeover {
    /// Gives each core its channel, now that each has its descriptor table. The predecessor's ends.
    fn open(&mut self, lanes: &[ServerLane]) -> Result<Vec<UnixStream>, String> {
        let mut ends = Vec::new();
        for (core, to_core) in self.seats.channels.iter().enumerate() {
            let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
            ends.push(theirs);
            match lanes.get(core) {
                Some(lane) => {
                    let given = lane.give(TAKEOVER, &[ours]);
                    given.map_err(|error| format!("core {core} gets no channel: {error}"))?;
                }
                // If it is gone, it says so itself.
                None => drop(to_core.send(Channel::new(ours, self.until))),
            }
        }
        Ok(ends)
    }

    /// Has the process go on with what is no core's, and the cores begin.
    pub fn begin(self, process_parts: &ProcessParts) {
        process_parts.unpack(self.records);
        for core in &self.seats.begin {
            // If it is gone, the server ends.
            let _ = core.send(());
        }
    }
}

/// The descriptor and the process that a variable's value names, if that process has made what the descriptor is of. It
/// may be gone by now.
fn own_value(value: &str) -> Option<(RawFd, u32)> {
    let (number, pid) = value.split_once(':')?;
    let (number, pid): (RawFd, u32) = (number.parse().ok()?, pid.parse().ok()?);
    // SAFETY: it touches no memory.
    if number < 0 || unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
        return None;
    }
    // SAFETY: it is open, and only looked at.
    let socket = unsafe { BorrowedFd::borrow_raw(number) };
    let made_by = credentials(&socket).ok()?.pid;
    (made_by as u32 == pid).then_some((number, pid))
}

/// By which a socket is the same as another.
fn inode(socket: &OwnedFd) -> Option<u64> {
    // SAFETY: all zeros are a value of this type, and it outlives the call.
    unsafe {
        let mut found: libc::stat = std::mem::zeroed();
        (libc::fstat(socket.as_raw_fd(), &mut found) == 0).then_some(found.st_ino)
    }
}

fn address(socket: &OwnedFd) -> io::Result<ListenAddress> {
    let address = SockRef::from(socket).local_addr()?;
    let name = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match (address.as_socket(), address.as_pathname()) {
        (Some(ip), _) => ListenAddress::Ip(ip),
        (None, Some(path)) => ListenAddress::Path(name(path.as_os_str().as_encoded_bytes())),
        (None, None) => {
            ListenAddress::Abstract(name(address.as_abstract_namespace().unwrap_or_default()))
        }
    })
}
