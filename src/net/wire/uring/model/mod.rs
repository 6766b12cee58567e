//! The wire against a model of the kernel: completions, endings, moves and the reuse of slots and descriptors in
//! every order that a seed may bring.
//!
//! What must hold: no byte that arrived stays unread, none that was queued is lost, doubled or out of order,
//! nothing is read from memory after its write is over, and in the end no poll is left and every socket is
//! closed. A failing run prints `WIRE_SEED=n`, which repeats it; `WIRE_SEEDS=n` tries n.

mod kernel;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use super::Uring;
use crate::ident::ConnId;
use crate::net::wire::{Batch, BatchMemory, Watch, Written};
use kernel::{Model, World};

const SEEDS: u64 = 400;
const STEPS: usize = 600;
const WIRES: usize = 2;
const SLOTS: usize = 12;

struct Connection {
    stream: TcpStream,
    socket: u64,
    /// Boxes of its own for each piece, so that an address sanitizer sees a piece read too late.
    outbox: VecDeque<Box<[u8]>>,
    queued: Vec<u8>,
    blocked: bool,
    watch: Watch,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    connection: Option<Connection>,
}

/// What must have happened at least so often in all seeds: where it never does, nothing of it is tested.
const USUAL: usize = 1_000;

/// How often something happened.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    stale: usize,
    watched_again: usize,
    recalled: usize,
    short: usize,
    blocked: usize,
    moved: usize,
}

struct Core {
    wire: Uring<Model>,
    tally: Tally,
    slots: Vec<Slot>,
    batch: BatchMemory,
}

struct Run {
    rng: fastrand::Rng,
    world: Rc<RefCell<World>>,
    cores: Vec<Core>,
    /// A byte of its own for each place of each stream.
    next: u8,
}

impl Core {
    fn settle(&mut self) {
        self.wire.settle();
    }

    /// What the transport does with what is ready.
    fn take(&mut self, world: &RefCell<World>) -> bool {
        let mut ready = Vec::new();
        self.wire.take(&mut ready);
        for one in &ready {
            let id = one.connection();
            let slot = &mut self.slots[id.slot as usize];
            let Some(connection) = slot
                .connection
                .as_mut()
                .filter(|_| slot.generation == id.generation)
            else {
                self.tally.stale += 1;
                continue;
            };
            assert!(!one.broken, "no socket breaks here");
            if one.recalled && connection.watch != Watch::Recalled {
                self.tally.stale += 1;
                continue;
            }
            self.tally.recalled += usize::from(one.recalled);
            if one.writable {
                connection.blocked = false;
            }
            if one.readable {
                let mut world = world.borrow_mut();
                world.sockets.get_mut(&connection.socket).unwrap().unread = 0;
            }
            if one.unwatched || one.recalled {
                self.tally.watched_again += 1;
                self.wire.watch(id, &connection.stream);
                connection.watch = Watch::Always;
            }
        }
        !ready.is_empty()
    }

    /// What the transport does with what waits, as often as something does.
    fn flush(&mut self) {
        loop {
            let mut batch = Batch::new(std::mem::take(&mut self.batch));
            for (number, slot) in self.slots.iter().enumerate() {
                if let Some(connection) = &slot.connection
                    && !connection.blocked
                    && !connection.outbox.is_empty()
                {
                    let pieces = connection.outbox.iter().map(|piece| &**piece);
                    batch.push(id(number, slot), &connection.stream, pieces);
                }
            }
            self.wire.write(&mut batch);
            let mut done = Vec::new();
            self.batch = batch.finish(&mut done);
            if done.is_empty() {
                return;
            }
            for (id, written) in done {
                let slot = &mut self.slots[id.slot as usize];
                let connection = slot.connection.as_mut().unwrap();
                match written {
                    Written::Bytes(bytes) => {
                        connection.wrote(bytes);
                        self.tally.short += usize::from(!connection.outbox.is_empty());
                    }
                    Written::Blocked => {
                        connection.blocked = true;
                        self.tally.blocked += 1;
                        if connection.watch == Watch::Once {
                            connection.watch = Watch::Recalled;
                            self.wire.forget(id);
                        }
                    }
                    Written::Broken => panic!("no socket breaks here"),
                }
            }
        }
    }

    /// Every poll is somewhere: queued, in the kernel, or ended and not yet heard of.
    fn check(&self) {
        let kernel = &self.wire.kernel;
        let known = kernel.arms_queued() + kernel.polls.len() + kernel.ends_waiting();
        assert_eq!(self.wire.polls, known, "polls are lost, or counted twice");
    }
}

impl Connection {
    fn wrote(&mut self, mut bytes: usize) {
        while bytes > 0 {
            let first = self.outbox.pop_front().expect("no more than was queued");
            if bytes < first.len() {
                self.outbox.push_front(first[bytes..].into());
                return;
            }
            bytes -= first.len();
        }
    }
}

fn id(number: usize, slot: &Slot) -> ConnId {
    ConnId {
        slot: number as u32,
        generation: slot.generation,
    }
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = fastrand::Rng::with_seed(seed);
        let world = Rc::default();
        let cores = (0..WIRES)
            .map(|number| Core {
                wire: Uring::over(Model::new(number, &world, &mut rng)),
                tally: Tally::default(),
                slots: (0..SLOTS).map(|_| Slot::default()).collect(),
                batch: BatchMemory::default(),
            })
            .collect();
        Run {
            rng,
            world,
            cores,
            next: 0,
        }
    }

    fn step(&mut self) {
        let core = self.rng.usize(0..WIRES);
        let slot = self.rng.usize(0..SLOTS);
        match self.rng.u8(0..14) {
            0..2 => self.accept(core, slot),
            2..5 => self.happen(core, slot),
            5..7 => self.queue(core, slot),
            7..9 => self.cores[core].flush(),
            9..11 => {
                self.cores[core].take(&self.world);
            }
            11 => self.cores[core].settle(),
            12 => self.cores[core].wire.kernel.run_woken(),
            _ if self.rng.bool() => self.close(core, slot),
            _ => self.depart(core, slot),
        }
        self.cores[core].check();
    }

    fn accept(&mut self, core: usize, slot: usize) {
        if self.cores[core].slots[slot].connection.is_some() {
            return;
        }
        // Never read nor written: it only has a number, one that is used again as numbers are.
        let stream = TcpStream::from(OwnedFd::from(File::open("/dev/null").unwrap()));
        let room = self.rng.usize(0..40);
        let socket = self.world.borrow_mut().open(stream.as_raw_fd(), room);
        let connection = Connection {
            stream,
            socket,
            outbox: VecDeque::new(),
            queued: Vec::new(),
            blocked: false,
            watch: Watch::Always,
        };
        self.install(core, slot, connection);
    }

    fn install(&mut self, core: usize, number: usize, mut connection: Connection) {
        let core = &mut self.cores[core];
        let slot = &mut core.slots[number];
        if self.rng.bool() {
            core.wire.watch_once(id(number, slot), &connection.stream);
            connection.watch = Watch::Once;
        } else {
            core.wire.watch(id(number, slot), &connection.stream);
            connection.watch = Watch::Always;
        }
        slot.connection = Some(connection);
    }

    /// The peer does something.
    fn happen(&mut self, core: usize, slot: usize) {
        let Some(connection) = &self.cores[core].slots[slot].connection else {
            return;
        };
        let mut world = self.world.borrow_mut();
        match self.rng.u8(0..5) {
            0..2 => world.arrive(connection.socket, self.rng.usize(1..100), false),
            2 => world.arrive(connection.socket, 0, true),
            _ => world.make_room(connection.socket, self.rng.usize(1..60)),
        }
    }

    fn queue(&mut self, core: usize, slot: usize) {
        let Some(connection) = &mut self.cores[core].slots[slot].connection else {
            return;
        };
        for _ in 0..self.rng.usize(1..4) {
            let length = self.rng.u8(1..30);
            let piece: Box<[u8]> = (0..length).map(|at| self.next.wrapping_add(at)).collect();
            self.next = self.next.wrapping_add(length);
            connection.queued.extend_from_slice(&piece);
            connection.outbox.push_back(piece);
        }
    }

    fn close(&mut self, core: usize, number: usize) {
        let core = &mut self.cores[core];
        let slot = &mut core.slots[number];
        let Some(connection) = slot.connection.take() else {
            return;
        };
        self.world.borrow_mut().close(connection.stream.as_raw_fd());
        drop(connection);
        core.wire.forget(id(number, slot));
        slot.generation += 1;
    }

    /// It moves to another core, which may close it before this one's kernel has heard of it.
    fn depart(&mut self, from: usize, number: usize) {
        let to = (from + 1) % WIRES;
        let free = |slot: &Slot| slot.connection.is_none();
        let Some(free) = self.cores[to].slots.iter().position(free) else {
            return;
        };
        let core = &mut self.cores[from];
        let slot = &mut core.slots[number];
        let Some(mut connection) = slot.connection.take() else {
            return;
        };
        core.wire.forget(id(number, slot));
        slot.generation += 1;
        connection.blocked = false;
        core.tally.moved += 1;
        self.install(to, free, connection);
    }

    /// Lets everything happen that is still to.
    fn calm_down(&mut self) {
        let mut quiet = 0;
        while quiet < 20 {
            let mut busy = false;
            for core in &mut self.cores {
                core.settle();
                core.wire.kernel.run_woken();
                busy |= core.take(&self.world);
                core.flush();
                busy |= core.wire.has_ready();
                core.check();
            }
            quiet = if busy { 0 } else { quiet + 1 };
        }
    }

    fn finish(mut self) -> [Tally; WIRES] {
        for connection in self.connections() {
            let socket = connection.socket;
            self.world.borrow_mut().make_room(socket, 1 << 20);
        }
        self.calm_down();
        for connection in self.connections() {
            let world = self.world.borrow();
            let socket = &world.sockets[&connection.socket];
            assert_eq!(socket.unread, 0, "readiness was lost");
            assert!(!connection.blocked, "room was not told of");
            assert!(connection.outbox.is_empty(), "something was not written");
            assert_eq!(
                socket.sent, connection.queued,
                "lost, doubled or out of order"
            );
        }
        for core in 0..WIRES {
            for slot in 0..SLOTS {
                self.close(core, slot);
            }
        }
        self.calm_down();
        for core in &self.cores {
            assert_eq!(core.wire.polls, 0, "a poll is left");
            assert!(core.wire.kernel.polls.is_empty());
        }
        assert!(
            self.world.borrow().sockets.is_empty(),
            "a socket stays open"
        );
        std::array::from_fn(|core| self.cores[core].tally)
    }

    fn connections(&self) -> impl Iterator<Item = &Connection> {
        let slots = self.cores.iter().flat_map(|core| &core.slots);
        slots.filter_map(|slot| slot.connection.as_ref())
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_is_lost_or_left_whatever_the_order() {
    let seeds = match number("WIRE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WIRE_SEEDS").unwrap_or(SEEDS),
    };
    let (tried, mut sum) = (seeds.clone().count() as u64, Tally::default());
    for seed in seeds {
        let run = std::panic::catch_unwind(|| {
            let mut run = Run::new(seed);
            for _ in 0..STEPS {
                run.step();
            }
            run.finish()
        });
        let Ok(tallies) = run else {
            panic!("to repeat this: WIRE_SEED={seed}");
        };
        for one in tallies {
            sum.stale += one.stale;
            sum.watched_again += one.watched_again;
            sum.recalled += one.recalled;
            sum.short += one.short;
            sum.blocked += one.blocked;
            sum.moved += one.moved;
        }
    }
    println!("{sum:?}");
    let counts = [
        sum.stale,
        sum.watched_again,
        sum.recalled,
        sum.short,
        sum.blocked,
        sum.moved,
    ];
    let usual = counts.iter().all(|count| *count >= USUAL);
    assert!(usual || tried < SEEDS, "too seldom: {sum:?}");
}
