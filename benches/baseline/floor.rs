//! What the kernel alone costs: accepts, reads and sends as a push server must, and parses nothing.
//!
//! The first bytes of a connection get a fixed answer to a websocket upgrade, the next ones come back
//! as they are (so `bare://` of `ringpost bench` sees frames, logins and closes), and then it depends:
//!
//! - `echo`: everything comes back, one read and one send a time;
//! - `broadcast`: what anybody sends goes to everybody, in as many reads as it took to arrive;
//! - `connect`: the third read, a close, comes back and the connection ends, both in one packet.
//!
//! A connection is shown by the kernel when its first bytes have come, and read at once.
//!
//! With `--sends single` every send is a send(2), with `--sends ring` those of a turn are submitted to
//! the kernel together. It has no outbox: a client that does not take its bytes at once ends the program
//! with a message, since waiting would be work that a floor has not.

use std::io::{self, Error, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use clap::Parser;
use io_uring::{IoUring, opcode, squeue::Flags, types};

/// What the upgrade is answered with: the accept key is that of the RFC's example, which bench sends.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const EVENTS: usize = 512;
/// What one turn may read before its sends are submitted.
const ARENA_BYTES: usize = 4 << 20;
const READ_BYTES: usize = 64 << 10;
const RING_ENTRIES: u32 = 4_096;

#[derive(Parser)]
#[command(
    about = "What the kernel alone costs: a server that parses nothing, for bare:// of ringpost bench"
)]
struct Args {
    /// What happens to the third and later reads
    #[arg(value_enum)]
    mode: Mode,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:1234")]
    listen: SocketAddr,
    /// How bytes are sent
    #[arg(long, value_enum, default_value = "single")]
    sends: Sends,
    /// Pin to this CPU
    #[arg(long)]
    cpu: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Mode {
    /// Send them back
    Echo,
    /// Send them to everybody
    Broadcast,
    /// Send them back and close
    Connect,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Sends {
    /// One system call each
    Single,
    /// Batched through io_uring
    Ring,
}

fn main() {
    let args = Args::parse();
    if let Some(cpu) = args.cpu {
        core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
    }
    raise_descriptor_limit();
    if let Err(error) = Floor::new(&args).and_then(|floor| floor.run()) {
        eprintln!("floor: {error}");
        std::process::exit(1);
    }
}

struct Floor {
    mode: Mode,
    set: OwnedFd,
    listener: TcpListener,
    /// By descriptor: how often it was read, as far as that matters.
    reads: Vec<u8>,
    /// Those that have logged in.
    peers: Vec<RawFd>,
    out: Out,
    /// What this turn has read; sends point into it.
    arena: Vec<u8>,
    filled: usize,
    /// To be closed when the turn's sends have left.
    closing: Vec<RawFd>,
}

impl Floor {
    fn new(args: &Args) -> io::Result<Floor> {
        let listener = TcpListener::bind(args.listen)
            .map_err(|error| Error::new(error.kind(), format!("{}: {error}", args.listen)))?;
        listener.set_nonblocking(true)?;
        // SAFETY: listening again only makes the backlog longer; the descriptor is open.
        check(unsafe { libc::listen(listener.as_raw_fd(), 4_096) })?;
        // What is accepted inherits the one; the other has the kernel wait for the first bytes, a second at most.
        for option in [libc::TCP_NODELAY, libc::TCP_DEFER_ACCEPT] {
            let one: libc::c_int = 1;
            // SAFETY: the value is an int that lives through the call.
            check(unsafe {
                libc::setsockopt(
                    listener.as_raw_fd(),
                    libc::IPPROTO_TCP,
                    option,
                    (&raw const one).cast(),
                    size_of::<libc::c_int>() as u32,
                )
            })?;
        }
        // SAFETY: no pointers; the result is checked before it is owned.
        let set = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Floor {
            mode: args.mode,
            // SAFETY: a descriptor that the call above has just made for us.
            set: unsafe { OwnedFd::from_raw_fd(set) },
            listener,
            reads: Vec::new(),
            peers: Vec::new(),
            out: match args.sends {
                Sends::Single => Out::Single,
                Sends::Ring => Out::Ring(Box::new(
                    IoUring::builder()
                        .setup_single_issuer()
                        .setup_coop_taskrun()
                        .build(RING_ENTRIES)?,
                )),
            },
            arena: vec![0; ARENA_BYTES],
            filled: 0,
            closing: Vec::new(),
        })
    }

    fn run(mut self) -> io::Result<()> {
        let listening = self.listener.as_raw_fd();
        self.watch(listening)?;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            // SAFETY: there is room for that many events, and it lives through the call.
            let count = unsafe {
                libc::epoll_wait(self.set.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, -1)
            };
            match check(count) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            for event in &events[..count as usize] {
                match event.u64 as RawFd {
                    socket if socket == listening => self.accept()?,
                    socket => self.read(socket)?,
                }
            }
            self.end_turn()?;
        }
    }

    fn watch(&self, socket: RawFd) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: socket as u64,
        };
        let set = self.set.as_raw_fd();
        // SAFETY: both descriptors are open, and the event lives through the call.
        check(unsafe { libc::epoll_ctl(set, libc::EPOLL_CTL_ADD, socket, &mut event) }).map(|_| ())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let (no_address, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
            // SAFETY: no address is asked for, which null pointers say.
            let socket =
                unsafe { libc::accept4(self.listener.as_raw_fd(), no_address, no_len, flags) };
            let socket = match check(socket) {
                Ok(socket) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(Error::new(error.kind(), format!("accept: {error}"))),
            };
            let at = socket as usize;
            if self.reads.len() <= at {
                self.reads.resize(at + 1, 0);
            }
            self.reads[at] = 0;
            self.read(socket)?;
            self.watch(socket)?;
        }
    }

    fn read(&mut self, socket: RawFd) -> io::Result<()> {
        if self.arena.len() - self.filled < READ_BYTES {
            self.end_turn()?;
        }
        let room = &mut self.arena[self.filled..][..READ_BYTES];
        // SAFETY: the kernel writes at most that many bytes into it.
        let count = unsafe { libc::recv(socket, room.as_mut_ptr().cast(), room.len(), 0) };
        let count = match usize::try_from(count) {
            Ok(0) => return self.close(socket),
            Ok(count) => count,
            Err(_) => match Error::last_os_error() {
                error if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                _ => return self.close(socket),
            },
        };
        let bytes = &self.arena[self.filled..][..count];
        let reads = &mut self.reads[socket as usize];
        *reads = reads.saturating_add(1).min(3);
        match (*reads, self.mode) {
            (1, _) => self.out.send(socket, ANSWER)?,
            (2, mode) => {
                self.out.send(socket, bytes)?;
                if mode == Mode::Broadcast {
                    self.peers.push(socket);
                }
            }
            (_, Mode::Echo) => self.out.send(socket, bytes)?,
            (_, Mode::Broadcast) => {
                for peer in &self.peers {
                    self.out.send(*peer, bytes)?;
                }
            }
            (_, Mode::Connect) => {
                self.out.send_last(socket, bytes)?;
                self.closing.push(socket);
            }
        }
        if matches!(self.out, Out::Ring(_)) {
            self.filled += count;
        }
        Ok(())
    }

    /// Only at the end of a run, or, where connections come and go, a few at a time.
    fn close(&mut self, socket: RawFd) -> io::Result<()> {
        self.peers.retain(|peer| *peer != socket);
        self.closing.push(socket);
        Ok(())
    }

    fn end_turn(&mut self) -> io::Result<()> {
        self.out.submit()?;
        self.filled = 0;
        for socket in self.closing.drain(..) {
            // SAFETY: accepted by us, and closed once: it was read to its end, or after its third read.
            unsafe { libc::close(socket) };
        }
        Ok(())
    }
}

/// How bytes leave.
enum Out {
    Single,
    Ring(Box<IoUring>),
}

impl Out {
    /// The bytes must stay until `submit`.
    fn send(&mut self, socket: RawFd, bytes: &[u8]) -> io::Result<()> {
        self.send_with(socket, bytes, 0)
    }

    /// Sends the last bytes: the kernel waits for the end of the stream, which comes with the turn's end.
    fn send_last(&mut self, socket: RawFd, bytes: &[u8]) -> io::Result<()> {
        self.send_with(socket, bytes, libc::MSG_MORE)
    }

    fn send_with(&mut self, socket: RawFd, bytes: &[u8], more: libc::c_int) -> io::Result<()> {
        match self {
            Out::Single => {
                let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | more;
                // SAFETY: the bytes live through the call.
                let count =
                    unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
                match usize::try_from(count) {
                    Ok(count) if count == bytes.len() => Ok(()),
                    Ok(_) => Err(Error::other("a client is behind")),
                    Err(_) => tolerate(Error::last_os_error()),
                }
            }
            Out::Ring(ring) => {
                // Without WAITALL a part of the bytes would count as success.
                let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL | more;
                let send = opcode::Send::new(types::Fd(socket), bytes.as_ptr(), bytes.len() as u32)
                    .flags(flags)
                    .build()
                    .flags(Flags::SKIP_SUCCESS);
                // SAFETY: the arena keeps the bytes until they are submitted, and MSG_DONTWAIT keeps the
                // kernel from coming back to them.
                while unsafe { ring.submission().push(&send) }.is_err() {
                    submit(ring)?;
                }
                Ok(())
            }
        }
    }

    fn submit(&mut self) -> io::Result<()> {
        match self {
            Out::Single => Ok(()),
            Out::Ring(ring) => submit(ring),
        }
    }
}

fn submit(ring: &mut IoUring) -> io::Result<()> {
    if ring.submission().is_empty() {
        return Ok(());
    }
    ring.submit()?;
    for completion in ring.completion() {
        if completion.result() < 0 {
            tolerate(Error::from_raw_os_error(-completion.result()))?;
        } else {
            return Err(Error::other("a client is behind"));
        }
    }
    Ok(())
}

/// A client that has gone is read to its end soon; one that is behind has no place here.
fn tolerate(error: Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EPIPE | libc::ECONNRESET | libc::EBADF) => Ok(()),
        Some(libc::EAGAIN) => Err(Error::other("a client is behind")),
        _ => Err(error),
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(Error::last_os_error()),
        result => Ok(result),
    }
}

/// As many connections as the process may have at all.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the struct lives through both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}
