//! The model's kernel: a ring whose completions come whenever and in whatever order the seed says, over sockets
//! that are only numbers and bytes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use crate::net::wire::uring::ring::{Completion, Kernel, RingRequest};

const IN: u32 = libc::POLLIN as u32;
const OUT: u32 = libc::POLLOUT as u32;
const END: u32 = libc::POLLRDHUP as u32;
const ALL: u32 = IN | OUT | END;

/// An open socket, which lives for as long as a descriptor or a poll holds it.
#[derive(Default)]
pub struct Socket {
    /// Bytes to be read.
    pub unread: usize,
    /// The peer sends no more.
    pub end: bool,
    /// What our sends may still put into it.
    pub room: usize,
    /// A send or a look has found no room: room is told of.
    starved: bool,
    /// What our sends have put into it.
    pub sent: Vec<u8>,
    descriptors: usize,
    /// With what wakes them.
    polls: HashMap<(usize, u64), u32>,
}

impl Socket {
    fn state(&mut self) -> u32 {
        self.starved |= self.room == 0;
        (if self.unread > 0 || self.end { IN } else { 0 })
            | (if self.room > 0 { OUT } else { 0 })
            | (if self.end { END } else { 0 })
    }
}

/// What all rings share: sockets, and the table of descriptors.
#[derive(Default)]
pub struct World {
    pub sockets: HashMap<u64, Socket>,
    descriptors: HashMap<RawFd, u64>,
    next: u64,
    /// Polls that have been woken, by ring and name, with what woke them.
    woken: HashMap<(usize, u64), u32>,
}

impl World {
    pub fn open(&mut self, descriptor: RawFd, room: usize) -> u64 {
        self.next += 1;
        let socket = Socket {
            room,
            descriptors: 1,
            ..Socket::default()
        };
        self.sockets.insert(self.next, socket);
        let before = self.descriptors.insert(descriptor, self.next);
        assert_eq!(before, None, "the descriptor is open");
        self.next
    }

    pub fn close(&mut self, descriptor: RawFd) {
        let socket = self.descriptors.remove(&descriptor).unwrap();
        self.sockets.get_mut(&socket).unwrap().descriptors -= 1;
        self.drop_unheld(socket);
    }

    fn drop_unheld(&mut self, socket: u64) {
        let held = &self.sockets[&socket];
        if held.descriptors == 0 && held.polls.is_empty() {
            self.sockets.remove(&socket);
        }
    }

    pub fn arrive(&mut self, socket: u64, bytes: usize, end: bool) {
        let one = self.sockets.get_mut(&socket).unwrap();
        one.unread += bytes;
        one.end |= end;
        self.wake(socket, IN | if end { END } else { 0 });
    }

    pub fn make_room(&mut self, socket: u64, bytes: usize) {
        let one = self.sockets.get_mut(&socket).unwrap();
        one.room += bytes;
        if std::mem::take(&mut one.starved) {
            self.wake(socket, OUT);
        }
    }

    fn wake(&mut self, socket: u64, flags: u32) {
        for (poll, interest) in &self.sockets[&socket].polls {
            if flags & interest != 0 {
                *self.woken.entry(*poll).or_default() |= flags & interest;
            }
        }
    }
}

/// One ring.
pub struct Model {
    number: usize,
    world: Rc<RefCell<World>>,
    rng: fastrand::Rng,
    queue: VecDeque<RingRequest>,
    requests_max: usize,
    /// The polls that are armed, with their sockets.
    pub polls: HashMap<u64, u64>,
    cancelled: HashSet<u64>,
    ready: VecDeque<Completion>,
    completions_max: usize,
    /// What found no room.
    overflow: VecDeque<Completion>,
    /// Sends begun and not done yet: a kernel may, and their memory is read as late as that.
    kept: Vec<RingRequest>,
}

impl Model {
    pub fn new(number: usize, world: &Rc<RefCell<World>>, rng: &mut fastrand::Rng) -> Model {
        Model {
            number,
            world: Rc::clone(world),
            rng: rng.fork(),
            queue: VecDeque::new(),
            requests_max: rng.usize(1..20),
            polls: HashMap::new(),
            cancelled: HashSet::new(),
            ready: VecDeque::new(),
            completions_max: rng.usize(1..30),
            overflow: VecDeque::new(),
            kept: Vec::new(),
        }
    }

    /// Arms that the kernel has not taken yet.
    pub fn arms_queued(&self) -> usize {
        let arms = |request: &&RingRequest| {
            matches!(
                request,
                RingRequest::Poll { .. } | RingRequest::PollOnce { .. }
            )
        };
        self.queue.iter().filter(arms).count()
    }

    /// Last completions of polls that have not been taken.
    pub fn ends_waiting(&self) -> usize {
        let ends = |one: &&Completion| one.user & super::super::NO_POLL == 0 && !one.more;
        self.ready.iter().chain(&self.overflow).filter(ends).count()
    }

    /// Turns some of the polls woken into completions, as any way into the kernel does.
    pub fn run_woken(&mut self) {
        let own = self.number;
        let mut woken: Vec<u64> = self.own_woken();
        self.rng.shuffle(&mut woken);
        woken.truncate(self.rng.usize(0..=woken.len()));
        for user in woken {
            let flags = self.world.borrow_mut().woken.remove(&(own, user)).unwrap();
            let socket = self.polls[&user];
            if self.cancelled.remove(&user) {
                self.end(user, -libc::ECANCELED);
                continue;
            }
            // What has woken it, or what is so by now.
            let (state, interest) = {
                let mut world = self.world.borrow_mut();
                let socket = world.sockets.get_mut(&socket).unwrap();
                (socket.state(), socket.polls[&(own, user)])
            };
            let flags = match self.rng.bool() {
                true => flags,
                false => flags | state & interest,
            };
            let full = self.ready.len() >= self.completions_max || !self.overflow.is_empty();
            if full || interest != ALL || self.rng.u8(..) < 8 {
                self.end(user, flags as i32);
            } else {
                self.complete(user, flags as i32, true);
            }
        }
    }

    fn own_woken(&self) -> Vec<u64> {
        let world = self.world.borrow();
        let own = world.woken.keys().filter(|(ring, _)| *ring == self.number);
        own.map(|(_, user)| *user).collect()
    }

    fn end(&mut self, user: u64, result: i32) {
        let socket = self.polls.remove(&user).unwrap();
        let mut world = self.world.borrow_mut();
        let poll = (self.number, user);
        world.sockets.get_mut(&socket).unwrap().polls.remove(&poll);
        world.woken.remove(&poll);
        world.drop_unheld(socket);
        drop(world);
        self.complete(user, result, false);
    }

    fn complete(&mut self, user: u64, result: i32, more: bool) {
        self.overflow.push_back(Completion { user, result, more });
        self.bring_overflow();
    }

    fn bring_overflow(&mut self) {
        while self.ready.len() < self.completions_max
            && let Some(completion) = self.overflow.pop_front()
        {
            self.ready.push_back(completion);
        }
    }

    fn begin(&mut self, request: RingRequest) {
        if let Some((user, result)) = self.issue(request) {
            self.complete(user, result, false);
        }
    }

    /// What is told of it at once, if anything is.
    fn issue(&mut self, request: RingRequest) -> Option<(u64, i32)> {
        let mut world = self.world.borrow_mut();
        let World {
            sockets,
            descriptors,
            woken,
            ..
        } = &mut *world;
        let (user, result) = match request {
            RingRequest::Poll { socket, user } | RingRequest::PollOnce { socket, user } => {
                let Some((socket, one)) = find(descriptors, sockets, socket) else {
                    return Some((user, -libc::EBADF));
                };
                let before = self.polls.insert(user, socket);
                assert_eq!(before, None, "armed twice");
                let interest = match request {
                    RingRequest::PollOnce { .. } => IN | END,
                    _ => ALL,
                };
                one.polls.insert((self.number, user), interest);
                let flags = one.state() & interest;
                if flags != 0 {
                    woken.insert((self.number, user), flags);
                }
                return None;
            }
            RingRequest::Cancel { target, user } => {
                if self.polls.contains_key(&target) {
                    self.cancelled.insert(target);
                    woken.entry((self.number, target)).or_default();
                    return None;
                }
                (user, -libc::ENOENT)
            }
            RingRequest::Send {
                socket,
                bytes,
                length,
                user,
                ..
            } => {
                // SAFETY: the wire's promise, which is what is tested.
                let bytes = unsafe { std::slice::from_raw_parts(bytes, length as usize) };
                (
                    user,
                    send(find(descriptors, sockets, socket).unwrap().1, bytes),
                )
            }
            RingRequest::SendPieces {
                socket,
                header,
                user,
                ..
            } => {
                // SAFETY: the wire's promise, which is what is tested.
                let bytes = unsafe { gathered(&*header) };
                (
                    user,
                    send(find(descriptors, sockets, socket).unwrap().1, &bytes),
                )
            }
        };
        Some((user, result))
    }
}

/// The bytes of all pieces, one after the other.
///
/// # Safety
///
/// The header points to pieces, and these to bytes, that are there.
unsafe fn gathered(header: &libc::msghdr) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe {
        std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen as _)
            .iter()
            .flat_map(|one| std::slice::from_raw_parts(one.iov_base.cast::<u8>(), one.iov_len))
            .copied()
            .collect()
    }
}

fn find<'a>(
    descriptors: &HashMap<RawFd, u64>,
    sockets: &'a mut HashMap<u64, Socket>,
    descriptor: RawFd,
) -> Option<(u64, &'a mut Socket)> {
    let socket = *descriptors.get(&descriptor)?;
    Some((socket, sockets.get_mut(&socket)?))
}

fn send(socket: &mut Socket, bytes: &[u8]) -> i32 {
    let length = bytes.len().min(socket.room);
    socket.room -= length;
    socket.sent.extend_from_slice(&bytes[..length]);
    socket.starved |= length < bytes.len();
    match length {
        0 => -libc::EAGAIN,
        length => length as i32,
    }
}

impl Kernel for Model {
    unsafe fn push(&mut self, request: RingRequest) -> bool {
        let room = self.queue.len() < self.requests_max;
        if room {
            self.queue.push_back(request);
        }
        room
    }

    fn queued(&mut self) -> usize {
        self.queue.len()
    }

    fn enter(&mut self, wait: bool) -> io::Result<()> {
        match self.rng.u8(..) {
            0..10 => return Err(io::Error::from_raw_os_error(libc::EINTR)),
            10..12 => return Err(io::Error::from_raw_os_error(libc::EAGAIN)),
            _ => {}
        }
        self.bring_overflow();
        // Mostly all of them.
        let most = match self.rng.u8(..) {
            0..50 => self.rng.usize(0..=self.queue.len()),
            _ => self.queue.len(),
        };
        for _ in 0..most {
            if let Some(request) = self.queue.pop_front() {
                let sends = matches!(
                    request,
                    RingRequest::Send { .. } | RingRequest::SendPieces { .. }
                );
                match sends && self.rng.u8(..) < 30 {
                    true => self.kept.push(request),
                    false => self.begin(request),
                }
            }
        }
        self.run_woken();
        self.rng.shuffle(&mut self.kept);
        let done = match self.kept.len() {
            0 => 0,
            kept => self.rng.usize(usize::from(wait)..=kept),
        };
        for request in self.kept.split_off(self.kept.len() - done) {
            self.begin(request);
        }
        let nothing = self.ready.is_empty() && self.overflow.is_empty();
        assert!(!wait || !nothing || self.has_work(), "it waits for ever");
        Ok(())
    }

    fn has_work(&mut self) -> bool {
        !self.own_woken().is_empty()
    }

    fn overflows(&mut self) -> bool {
        !self.overflow.is_empty()
    }

    fn reap(&mut self, most: usize, mut take: impl FnMut(Completion)) {
        for _ in 0..most {
            match self.ready.pop_front() {
                Some(completion) => take(completion),
                None => break,
            }
        }
    }

    fn has_completions(&mut self) -> bool {
        !self.ready.is_empty()
    }
}
