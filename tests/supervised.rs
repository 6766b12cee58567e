//! The program under a service manager: what it tells through `NOTIFY_SOCKET`, and that its watchdog is silent
//! as soon as one core is stuck.
//!
//! The test stands in for the manager, and stops a single thread of the server, as a debugger does.

#![cfg(all(target_os = "linux", not(loom)))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the server is told that the manager waits for.
const WATCHDOG: Duration = Duration::from_millis(400);
/// Generous, for the machine may be busy building.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server, and the socket on which it is heard.
struct Supervised {
    child: Child,
    socket: UnixDatagram,
    path: PathBuf,
    /// Of its echo listener.
    address: String,
}

impl Supervised {
    fn start(name: &str) -> Supervised {
        Supervised::with(name, &[])
    }

    /// With settings beside.
    fn with(name: &str, settings: &[(&str, &str)]) -> Supervised {
        let path = std::env::temp_dir().join(format!("ringpost-{}-{name}", std::process::id()));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringpost"))
            .args(["--cores", "2", "--listen", "text://127.0.0.1:0=echo"])
            .envs(settings.iter().copied())
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut banner = String::new();
        BufReader::new(child.stdout.take().expect("a pipe"))
            .read_line(&mut banner)
            .expect("a banner");
        let url = banner.split_whitespace().nth(1).expect("a URL");
        let address = url.trim_start_matches("text://").to_owned();
        Supervised {
            child,
            socket,
            path,
            address,
        }
    }

    /// What it says next, within a time.
    fn hear(&self, within: Duration) -> Option<String> {
        self.socket
            .set_read_timeout(Some(within))
            .expect("a timeout");
        let mut bytes = [0; 1024];
        let count = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    /// Waits until it says something that begins so.
    fn expect(&self, beginning: &str) -> String {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.hear(PATIENCE) {
                Some(said) if said.starts_with(beginning) => return said,
                Some(said) => assert!(
                    said.starts_with("WATCHDOG=1"),
                    "{said:?} before {beginning}"
                ),
                None => break,
            }
        }
        panic!("it did not say {beginning}");
    }

    fn signal(&self, signal: i32) {
        // SAFETY: two integers, and the child is not reaped yet.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    fn echoes(&self) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.write_all(b"hello\n").expect("to write");
        let mut answer = [0; 6];
        stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"hello\n");
    }

    /// The thread of a core.
    fn core(&self, number: usize) -> i32 {
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in std::fs::read_dir(tasks).expect("its threads") {
            let task = task.expect("a thread").path();
            let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
            if name.trim() == format!("core-{number}") {
                let id = task.file_name().and_then(|id| id.to_str()?.parse().ok());
                return id.expect("a number");
            }
        }
        panic!("no thread of core {number}");
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Stops one thread, as a debugger does, and lets it go again.
struct Stopped(i32);

impl Stopped {
    fn new(thread: i32) -> Stopped {
        // SAFETY: neither request takes memory; the thread is our child's.
        let stopped = unsafe {
            libc::ptrace(libc::PTRACE_SEIZE, thread, 0usize, 0usize) == 0
                && libc::ptrace(libc::PTRACE_INTERRUPT, thread, 0usize, 0usize) == 0
                && libc::waitpid(thread, std::ptr::null_mut(), libc::__WALL) == thread
        };
        assert!(stopped, "{}", std::io::Error::last_os_error());
        Stopped(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::ptrace(libc::PTRACE_DETACH, self.0, 0usize, 0usize) };
    }
}

#[test]
fn ready_reload_and_stop_are_told() {
    let mut server = Supervised::start("states");
    let first = server.hear(PATIENCE).expect("a first word");
    assert_eq!(first, "READY=1\nSTATUS=cores: 2, listeners: 1");
    server.echoes();
    server.expect("WATCHDOG=1");
    // Not the end of it, as where nobody supervises.
    server.signal(libc::SIGHUP);
    let reloading = server.expect("RELOADING=1\nMONOTONIC_USEC=");
    let micros = reloading.rsplit('=').next().expect("a time");
    assert!(micros.parse::<u64>().is_ok_and(|micros| micros > 0));
    server.expect("READY=1");
    server.echoes();
    server.signal(libc::SIGTERM);
    server.expect("STOPPING=1");
    let status = server.child.wait().expect("an end");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_long_drain_asks_for_time_and_lives() {
    let settings = [
        ("RINGPOST_DRAIN_RATE", "1"),
        ("RINGPOST_DRAIN_TIMEOUT", "60s"),
    ];
    let mut server = Supervised::with("long", &settings);
    server.expect("READY=1");
    let connect = || TcpStream::connect(&server.address).expect("it listens");
    let clients: Vec<TcpStream> = (0..4).map(|_| connect()).collect();
    server.echoes();
    server.signal(libc::SIGTERM);
    let extended = "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=draining";
    server.expect(extended);
    let (mut extensions, mut signs) = (0, 0);
    while let Some(said) = server.hear(Duration::from_secs(3)) {
        extensions += usize::from(said.starts_with(extended));
        signs += usize::from(said.starts_with("WATCHDOG=1"));
    }
    // Four connections, one a second.
    assert!(extensions >= 2, "{extensions} times it asked for more time");
    assert!(signs >= 2, "{signs} signs of life");
    drop(clients);
    let status = server.child.wait().expect("an end");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn the_watchdog_is_silent_while_a_core_is_stuck() {
    let server = Supervised::start("stuck");
    server.expect("READY=1");
    // An idle server lives, too.
    for _ in 0..5 {
        server.expect("WATCHDOG=1");
    }
    for core in 0..2 {
        let stopped = Stopped::new(server.core(core));
        // What was said before, and the one that was asked for before.
        let until = Instant::now() + WATCHDOG;
        while Instant::now() < until {
            server.hear(Duration::from_millis(50));
        }
        assert_eq!(server.hear(WATCHDOG * 4), None, "core {core}");
        drop(stopped);
        server.expect("WATCHDOG=1");
        server.expect("WATCHDOG=1");
    }
}
