//! What every core waits and writes with: io_uring for its runtime and its wire, or epoll for either.
//!
//! Found out once at start, by trying. A core whose own ring is refused later (the limit of locked memory is
//! shared by all) goes on with epoll, if it may.

use std::fmt;
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tracing::warn;

use crate::config::Driver as Wanted;
use crate::net::wire::{Wire, WireKind};

/// Entries of a runtime's ring. Few operations are in flight: no connection on the wire has one there.
pub const RING_ENTRIES: u32 = 4096;

/// Tries of a core for its ring, so far apart: the kernel takes its time to give back the locked memory of
/// the rings that were tried out before.
const TRIES_MAX: usize = 20;
const TRY_INTERVAL: Duration = Duration::from_millis(10);

/// What a core's runtime waits with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuntimeKind {
    /// io_uring; completions are run only when the core asks for them (Linux 6.1).
    UringDeferred,
    /// io_uring of older kernels.
    Uring,
    Epoll,
}

/// The drivers in use, the same on every core unless one has to fall back.
pub struct Drivers {
    pub runtime: RuntimeKind,
    pub wire: WireKind,
    pub may_fall_back: bool,
    /// One warning is enough, however many cores it is about.
    warned: Once,
    /// Whether a core has had to fall back.
    fallen_back: AtomicBool,
}

impl fmt::Display for Drivers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.runtime, self.wire) {
            (RuntimeKind::Epoll, _) => "epoll",
            (_, WireKind::Epoll) => "io_uring, connections on epoll",
            (_, WireKind::Uring) if self.fallen_back.load(Ordering::Relaxed) => {
                "io_uring, some cores on epoll"
            }
            (_, WireKind::Uring) => "io_uring",
        })
    }
}

pub fn ring_builder(kind: RuntimeKind) -> io_uring::Builder {
    let mut builder = io_uring::IoUring::builder();
    if kind == RuntimeKind::UringDeferred {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    builder
}

/// What may be done about a ring that is refused.
fn hint(cause: &io::Error) -> &'static str {
    match cause.raw_os_error() {
        Some(libc::ENOMEM) => {
            "RLIMIT_MEMLOCK is too small, each core needs some 700 KiB of it (ulimit -l, LimitMEMLOCK=)"
        }
        Some(libc::EPERM) => "it is forbidden here (seccomp, or kernel.io_uring_disabled)",
        Some(libc::ENOSYS) => "this kernel or sandbox has none",
        Some(libc::EINVAL) => "it needs Linux 6.1",
        None => "it needs Linux 6.1, this one behaves otherwise",
        _ => "the kernel refused it",
    }
}

impl Drivers {
    /// Finds out which drivers work here, by using them as a core would.
    pub fn choose(wanted: Wanted) -> io::Result<Drivers> {
        let mut drivers = Drivers {
            runtime: RuntimeKind::Epoll,
            wire: WireKind::Epoll,
            may_fall_back: wanted != Wanted::Uring,
            warned: Once::new(),
            fallen_back: AtomicBool::new(false),
        };
        if wanted == Wanted::Epoll {
            return Ok(drivers);
        }
        match try_runtime() {
            Ok(kind) => drivers.runtime = kind,
            Err(cause) => {
                drivers.refused("io_uring", &cause)?;
                return Ok(drivers);
            }
        }
        match Wire::probe(WireKind::Uring) {
            Ok(()) => drivers.wire = WireKind::Uring,
            Err(cause) => drivers.refused("io_uring for connections", &cause)?,
        }
        Ok(drivers)
    }

    /// An error where io_uring was asked for, else a warning.
    fn refused(&self, what: &str, cause: &io::Error) -> io::Result<()> {
        let hint = hint(cause);
        if !self.may_fall_back {
            let text = format!(
                "driver = \"uring\": {what} cannot be used: {hint}: {cause}; with driver = \"auto\" or \
                 \"epoll\" it is not needed"
            );
            return Err(io::Error::new(cause.kind(), text));
        }
        self.fallen_back.store(true, Ordering::Relaxed);
        self.warned.call_once(|| {
            warn!(%cause, "{what} cannot be used, epoll is used instead: {hint}");
        });
        Ok(())
    }

    /// A core's own runtime could not have its ring. An error, unless there is another way.
    pub fn runtime_refused(&self, cause: &io::Error) -> io::Result<()> {
        self.refused("io_uring on every core", cause)
    }

    /// A core's wire.
    pub fn wire(&self, kind: WireKind) -> io::Result<Wire> {
        match patiently(|| Wire::new(kind)) {
            Err(cause) if kind == WireKind::Uring => {
                self.refused("io_uring for connections on every core", &cause)?;
                Wire::new(WireKind::Epoll)
            }
            made => made,
        }
    }
}

/// One kind of ring that was made to see whether the kernel gives it to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RingTrial {
    /// What a core has it for: its `runtime`, or its `connections`.
    pub what: &'static str,
    /// The flags that it was made with.
    pub flags: &'static str,
    /// Why it does not work; `None` if it does.
    pub refusal: Option<String>,
}

/// Makes the rings that a server's core would, and lets them go again. Of two for the runtime one is enough.
pub fn try_rings() -> Vec<RingTrial> {
    let told = |result: io::Result<()>| {
        let refusal = result.err();
        refusal.map(|cause| format!("{}: {cause}", hint(&cause)))
    };
    let runtime = |kind| told(patiently(|| ring_builder(kind).build(RING_ENTRIES)).map(drop));
    vec![
        RingTrial {
            what: "runtime",
            flags: "SINGLE_ISSUER DEFER_TASKRUN",
            refusal: runtime(RuntimeKind::UringDeferred),
        },
        RingTrial {
            what: "runtime",
            flags: "without flags",
            refusal: runtime(RuntimeKind::Uring),
        },
        RingTrial {
            what: "connections",
            flags: "SINGLE_ISSUER COOP_TASKRUN TASKRUN_FLAG SUBMIT_ALL",
            refusal: told(Wire::probe(WireKind::Uring)),
        },
    ]
}

/// Tries again for a while where it is only memory that lacks.
pub fn patiently<T>(make: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES_MAX {
        match make() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => thread::sleep(TRY_INTERVAL),
            made => return made,
        }
    }
    make()
}

fn try_runtime() -> io::Result<RuntimeKind> {
    let mut last = None;
    for kind in [RuntimeKind::UringDeferred, RuntimeKind::Uring] {
        match ring_builder(kind).build(RING_ENTRIES).and_then(enter) {
            Ok(()) => return Ok(kind),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("no ring was tried")))
}

/// A ring that can be made but not entered would leave its core deaf.
fn enter(mut ring: io_uring::IoUring) -> io::Result<()> {
    let nothing = io_uring::opcode::Nop::new().build();
    // SAFETY: it points to no memory.
    unsafe { ring.submission().push(&nothing) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    Ok(())
}
