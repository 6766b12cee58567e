//! Whether the cores have one descriptor table or each its own, and how a core gets its own.
//!
//! RLIMIT_NOFILE bounds a table, not a process (getrlimit(2)), and most machines and containers do not let a process raise
//! it. A thread that unshares its table has a limit of its own.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::binding::{Bound, CoreListener};
use super::start_error::named;
use crate::config::{Config, DescriptorTables};
use crate::ident::CoreId;
use crate::net::admission::DescriptorRoom;
use crate::net::handover::{Handover, Numbers, Pairs};
use crate::net::listener::{Listener, ListenerKind};

/// Descriptors of a server without connections. Counted in /proc of one with 1, 2 and 4 cores, and rounded up.
const DESCRIPTORS: usize = 24;
const DESCRIPTORS_CORE: usize = 12;
/// With room for fewer connections a server is of no use.
const CONNECTIONS_MIN: usize = 8;
/// More descriptors than this are no limit.
const UNLIMITED: usize = 1 << 31;

/// What a server's descriptors are needed for, to judge whether a table holds them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DescriptorNeed {
    /// As in the configuration; zero is no limit.
    pub max_connections: usize,
    /// How many cores there are, none being zero.
    pub cores: usize,
    /// Listeners of apps and of sites.
    pub listeners: usize,
}

impl DescriptorNeed {
    /// Descriptors that are no client's, in the one table of all cores.
    pub fn own(&self) -> usize {
        DESCRIPTORS + self.cores * (DESCRIPTORS_CORE + self.listeners)
    }

    /// Whether each core gets a table of its own, where one may have so many descriptors (RLIMIT_NOFILE).
    pub fn has_own_tables(&self, tables: DescriptorTables, descriptors_max: usize) -> bool {
        match tables {
            DescriptorTables::Auto => {
                // To one core a table of its own is no more.
                let may_help = self.max_connections > 0 && self.cores > 1;
                may_help && self.max_connections.saturating_add(self.own()) > descriptors_max
            }
            DescriptorTables::Shared => false,
            DescriptorTables::PerCore => true,
        }
    }

    /// Descriptors that are kept for connections that are no clients', where a table has so many: of a pool as many as
    /// it may have, or a 64th of all.
    pub fn kept(&self, pool_max: usize, descriptors_max: usize) -> usize {
        let share = descriptors_max / 64 + 1;
        match pool_max {
            0 => share,
            most => most.min(share),
        }
    }

    /// Clients that there may be where nothing else says how many: those that a table of so many descriptors holds
    /// beside the server's own, and what is kept for back ends and HTTP. `None` if descriptors set no limit.
    pub fn room(&self, config: &Config, descriptors_max: usize) -> Option<DescriptorRoom> {
        if descriptors_max > UNLIMITED {
            return None;
        }
        let back_ends = self.kept(config.backend_connections_max, descriptors_max);
        let http = self.kept(config.http_connections_max, descriptors_max);
        let held =
            |kept: usize| match self.has_own_tables(config.descriptor_tables, descriptors_max) {
                true => self.held_by_tables(self.cores, descriptors_max.saturating_sub(kept)),
                false => descriptors_max.saturating_sub(self.own() + kept),
            };
        Some(DescriptorRoom {
            clients: held(back_ends + http),
            with_http: held(back_ends),
        })
    }

    /// Whether a server can start and be of any use with so many descriptors; the error names the limit and the need.
    pub fn check(&self, descriptors_max: usize) -> io::Result<()> {
        let needed = self.own() + CONNECTIONS_MIN;
        if descriptors_max >= needed {
            return Ok(());
        }
        let text = format!(
            "RLIMIT_NOFILE is {descriptors_max}, and a server with {} cores and {} listeners needs {needed} descriptors \
             at least, each connection one more; raise it (ulimit -n, LimitNOFILE=), or use fewer cores",
            self.cores, self.listeners
        );
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }

    /// Connections that so many cores hold together, each with a table of so many descriptors.
    pub fn held_by_tables(&self, cores: usize, descriptors_max: usize) -> usize {
        // The doorbells of all cores, and the pairs by which connections move, are in every table.
        let own = DESCRIPTORS + DESCRIPTORS_CORE + self.listeners + 3 * cores;
        let room = descriptors_max.saturating_sub(own);
        // Chance spreads them over the cores, and the fullest decides: five standard deviations for it.
        cores.saturating_mul(room.saturating_sub(5 * room.isqrt()))
    }
}

/// Raises the soft limit of descriptors to the hard one, for each connection takes one. Returns how many a
/// table may have.
pub fn raise_limit() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives the calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return usize::MAX;
        }
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if before < limit.rlim_max && libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            limit.rlim_cur = before;
        }
    }
    limit.rlim_cur as usize
}

/// Gives this thread a copy of the table for itself: what is opened from now on is in one of the two only.
///
/// A signal's code may write to a descriptor by its number, so none runs on this thread any more.
pub fn make_own() -> io::Result<()> {
    // SAFETY: neither call touches memory of ours but the set, which outlives them.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigfillset(&mut signals);
        // These are this thread's own faults: put off they would end the process without a word.
        for fault in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL] {
            libc::sigdelset(&mut signals, fault);
        }
        let failed = libc::pthread_sigmask(libc::SIG_BLOCK, &signals, std::ptr::null_mut());
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        if libc::unshare(libc::CLONE_FILES) == 0 {
            return Ok(());
        }
    }
    let error = io::Error::last_os_error();
    // Containers often forbid unshare(2) and allow this, which closes nothing: there is no such descriptor.
    let none = libc::c_uint::MAX;
    // SAFETY: it touches no memory of ours.
    let done =
        unsafe { libc::syscall(libc::SYS_close_range, none, none, libc::CLOSE_RANGE_UNSHARE) };
    if done == 0 { Ok(()) } else { Err(error) }
}

/// A core's way to its listening sockets.
pub enum ListenerSource {
    /// They are in the table that all cores have.
    Bound(Bound),
    /// It finds them in its copy of the table.
    Copy { core: CoreId, copies: Arc<Copies> },
}

/// What is in the table when it is copied, by number.
pub struct Copies {
    /// For each core its listeners.
    listeners: Vec<Vec<(u16, RawFd, ListenerKind)>>,
    pairs: Numbers,
    /// Of each core, its own end and the server's.
    lanes: Vec<(RawFd, RawFd)>,
}

/// What is to be kept until each core has its copy, and then closed.
pub struct Originals {
    _bound: Vec<Bound>,
    _pairs: Pairs,
    /// The cores' ends.
    _lanes: Vec<UnixStream>,
}

/// By core, the server's end of the way by which descriptors go from one's table to the other's. There are none where all
/// have one table.
pub type Lanes = Vec<UnixStream>;

/// How each core gets what is bound for it: as it is, or in a table of its own.
pub fn for_cores(
    bound: Vec<Bound>,
    own_tables: bool,
) -> io::Result<(Vec<ListenerSource>, Lanes, Option<Originals>)> {
    if own_tables {
        let split = split(bound).map_err(|error| named("no descriptor tables", &error));
        return split.map(|(sources, lanes, originals)| (sources, lanes, Some(originals)));
    }
    let sources = bound.into_iter().map(ListenerSource::Bound);
    Ok((sources.collect(), Lanes::new(), None))
}

/// Sees to it that each core can take its own with it.
fn split(bound: Vec<Bound>) -> io::Result<(Vec<ListenerSource>, Lanes, Originals)> {
    let pairs = Pairs::open(bound.len())?;
    let lanes = bound.iter().map(|_| UnixStream::pair());
    let (cores_ends, lanes): (Vec<_>, Vec<_>) =
        lanes.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
    let numbers = |listeners: &[CoreListener]| {
        let number = |CoreListener { number, socket }: &CoreListener| {
            let descriptor = socket.descriptor().as_raw_fd();
            (*number, descriptor, socket.kind().clone())
        };
        listeners.iter().map(number).collect()
    };
    let copies = Arc::new(Copies {
        listeners: bound
            .iter()
            .map(|of_core| numbers(&of_core.listeners))
            .collect(),
        pairs: pairs.numbers(),
        lanes: cores_ends
            .iter()
            .zip(&lanes)
            .map(|(core, server)| (core.as_raw_fd(), server.as_raw_fd()))
            .collect(),
    });
    let claim = |core| ListenerSource::Copy {
        core: CoreId(core as u16),
        copies: Arc::clone(&copies),
    };
    let claims = (0..bound.len()).map(claim).collect();
    let originals = Originals {
        _bound: bound,
        _pairs: pairs,
        _lanes: cores_ends,
    };
    Ok((claims, lanes, originals))
}

impl ListenerSource {
    /// To be called once, on the core's thread.
    pub fn redeem(self) -> io::Result<Bound> {
        let (core, copies) = match self {
            ListenerSource::Bound(bound) => return Ok(bound),
            ListenerSource::Copy { core, copies } => (core, copies),
        };
        make_own()?;
        // SAFETY: the table is this thread's alone, each number was open when it was copied, for the
        // originals are kept until all have theirs, and each is made into an owner once.
        let own = |number: &RawFd| unsafe { OwnedFd::from_raw_fd(*number) };
        let mut bound = Bound {
            listeners: Vec::new(),
            // SAFETY: likewise.
            handover: Some(unsafe { Handover::adopt(&copies.pairs, core) }),
            lane: None,
        };
        for (of_core, (core_end, server_end)) in copies.lanes.iter().enumerate() {
            drop(own(server_end));
            let core_end = UnixStream::from(own(core_end));
            if of_core == core.index() {
                bound.lane = Some(core_end);
            }
        }
        for (of_core, listeners) in copies.listeners.iter().enumerate() {
            let listeners = listeners.iter();
            let listeners = listeners.map(|(number, descriptor, kind)| CoreListener {
                number: *number,
                socket: Listener::copied(own(descriptor), kind.clone()),
            });
            if of_core == core.index() {
                bound.listeners = listeners.collect();
            } else {
                // Another core's must not stay open here when it has closed them.
                listeners.for_each(drop);
            }
        }
        Ok(bound)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::thread;

    use super::*;

    #[test]
    fn by_the_limit_unless_it_is_said() {
        let need = |max_connections| DescriptorNeed {
            max_connections,
            cores: 2,
            listeners: 3,
        };
        let own = need(0).own();
        assert_eq!(own, 54);
        let auto = DescriptorTables::Auto;
        assert!(!need(0).has_own_tables(auto, 10));
        assert!(!need(1_024 - own).has_own_tables(auto, 1_024));
        assert!(need(1_025 - own).has_own_tables(auto, 1_024));
        let alone = DescriptorNeed {
            cores: 1,
            ..need(1_024)
        };
        assert!(!alone.has_own_tables(auto, 1_024));
        assert!(!need(9_999).has_own_tables(DescriptorTables::Shared, 1_024));
        assert!(need(0).has_own_tables(DescriptorTables::PerCore, 1_024));
        assert_eq!(need(0).held_by_tables(10, 69), 0);
        // Of 20,000 each: 69 are not clients', and 705 are left for chance.
        assert_eq!(need(0).held_by_tables(10, 20_000), 192_260);
    }

    #[test]
    fn room_is_kept_for_those_who_are_no_clients() {
        let need = DescriptorNeed {
            max_connections: 0,
            cores: 2,
            listeners: 3,
        };
        let config = Config::default();
        let room = |limit| need.room(&config, limit);
        let (clients, with_http) = (20_000 - 54 - 2 * 313, 20_000 - 54 - 313);
        assert_eq!(room(20_000), Some(DescriptorRoom { clients, with_http }));
        // Of each pool no more than it may have.
        let clients = 1_048_576 - 54 - 2 * 1_024;
        assert_eq!(room(1_048_576).map(|room| room.clients), Some(clients));
        assert_eq!(room(64).map(|room| room.clients), Some(64 - 54 - 4));
        assert_eq!(room(usize::MAX), None);
        assert!(need.check(62).is_ok());
        let error = need.check(61).expect_err("too few").to_string();
        for words in ["RLIMIT_NOFILE is 61", "needs 62", "ulimit -n"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_one_opens_the_other_does_not_have() {
        let here = File::open("/dev/null").unwrap();
        let number = here.as_raw_fd();
        let is_open = |number| {
            // SAFETY: it touches no memory.
            unsafe { libc::fcntl(number, libc::F_GETFD) >= 0 }
        };
        let there = thread::spawn(move || {
            make_own().unwrap();
            assert!(is_open(number));
            let opened: Vec<File> = (0..64).map(|_| File::open("/dev/null").unwrap()).collect();
            let highest = opened.iter().map(File::as_raw_fd).max().unwrap();
            assert!(is_open(highest));
            // SAFETY: the number is a copy in this thread's own table.
            assert_eq!(unsafe { libc::close(number) }, 0);
        });
        there.join().unwrap();
        assert!(is_open(number));
        drop(here);
    }
}
