//! The service manager that started the process, told by sd_notify(3) when the server is ready, when it stops,
//! and that it lives. Found by the environment; without one there is nothing to tell.
//!
//! One datagram socket, connected at start and kept: a process that has run out of descriptors must still be
//! able to say that it lives. Called by `Running::wait_for` and the watchdog.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tracing::{debug, warn};

/// Time for the manager to make room in its socket. What does not go by then is not told.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the manager is to wait beyond its own time after it has last heard of a drain: for what comes after the
/// last client, which takes no more than 5 s, and some more.
const EXTENSION: Duration = Duration::from_secs(15);

/// See the module.
pub struct Supervisor {
    socket: UnixDatagram,
    /// Silence after which it takes us for stuck, where it watches at all.
    pub watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one named by `NOTIFY_SOCKET`, if any. One that cannot be reached is said and done without: it
    /// will end us by its own timeout if it minds.
    pub fn from_environment() -> Option<Supervisor> {
        let address = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
        match connect(&address) {
            Ok(socket) => Some(Supervisor {
                socket,
                watchdog: watchdog(
                    env::var("WATCHDOG_USEC").ok().as_deref(),
                    env::var("WATCHDOG_PID").ok().as_deref(),
                ),
            }),
            Err(error) => {
                warn!(%error, ?address, "NOTIFY_SOCKET cannot be reached; nobody is told of our state");
                None
            }
        }
    }

    /// Every listener is bound.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// Told to reload; it is ready again when that is done.
    pub fn reloading(&self) {
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            monotonic_micros()
        ));
    }

    /// The server drains, and needs more time.
    pub fn stopping(&self, left: Option<u64>) {
        let micros = EXTENSION.as_micros();
        let left = left.map_or(String::new(), |left| format!(", connections left: {left}"));
        self.tell(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=draining{left}"
        ));
    }

    /// Every core makes turns.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// Another process goes on in this one's place.
    pub fn succeeded_by(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    fn tell(&self, state: &str) {
        if let Err(error) = self.socket.send(state.as_bytes()) {
            debug!(%error, "the service manager could not be told {state:?}");
        }
    }
}

/// A path, or a name after `@` that is in no file system.
fn connect(address: &OsString) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match address.as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(address)?,
    }
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}

/// The time that the manager waits for a sign, unless it waits for another process'.
fn watchdog(micros: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let micros: u64 = micros?.parse().ok()?;
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
    (is_ours && micros > 0).then(|| Duration::from_micros(micros))
}

/// As the manager reads it: it takes the end of a reload only from after its own signal.
fn monotonic_micros() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_this_process() {
        let own = std::process::id().to_string();
        let seconds = |micros, pid| watchdog(micros, pid).map(|time| time.as_secs());
        assert_eq!(seconds(Some("30000000"), None), Some(30));
        assert_eq!(seconds(Some("30000000"), Some(&own)), Some(30));
        assert_eq!(seconds(Some("30000000"), Some("1")), None);
        assert_eq!(seconds(Some("0"), None), None);
        assert_eq!(seconds(Some("soon"), None), None);
        assert_eq!(seconds(None, None), None);
    }

    #[test]
    fn both_kinds_of_addresses() {
        let name = format!("ringpost-supervisor-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let path = env::temp_dir().join(&name);
        for (heard, address) in [
            (
                UnixDatagram::bind_addr(&address).unwrap(),
                OsString::from(format!("@{name}")),
            ),
            (
                UnixDatagram::bind(&path).unwrap(),
                path.clone().into_os_string(),
            ),
        ] {
            let supervisor = Supervisor {
                socket: connect(&address).unwrap(),
                watchdog: None,
            };
            supervisor.ready("1 core");
            let mut bytes = [0; 100];
            let count = heard.recv(&mut bytes).unwrap();
            assert_eq!(&bytes[..count], b"READY=1\nSTATUS=1 core");
        }
        std::fs::remove_file(path).unwrap();
    }
}
