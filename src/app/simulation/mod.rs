//! A seeded simulation: several hosts on one thread, their bus, and clients that say, move, die and wait,
//! held against a plain model of who must have got what. Some of them follow streams: they are cut off and come back
//! with their positions, while messages are kept, evicted and thrown away.
//!
//! `SIM_SEED=7 cargo test --lib simulation` repeats one seed (`SIM_CLIENT=3` beside it shows what that client has received;
//! `-- --nocapture`); without it so many are tried as fit a
//! few seconds, `SIM_SEEDS` of them if that is set.

mod actor;
mod attendance;
mod claims;
mod client;
mod followers;
mod keeping;
mod left_out;
mod logs;
mod model;
mod questions;
mod recovery;
mod rest;
mod scene;
mod speaking;
mod spoken;
mod sse;
mod transport;
mod verdict;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::World;

/// How often something happened, by its name: a simulation in which it never does tests nothing of it.
type Tally = BTreeMap<&'static str, usize>;

/// What must have happened in some hundred seeds, each at least so often.
const USUAL: &[(&str, usize)] = &[
    ("sent", 100_000),
    ("claims", 200_000),
    ("claims elsewhere", 50_000),
    ("asked", 20_000),
    ("moved", 1_000),
    ("paused", 10_000),
    ("transit", 8_000),
    ("backlog", 30),
    ("memory", 500),
    ("answers", 500),
    ("slept", 2_000),
    ("offline", 3_000),
    ("crossed", 300),
    ("joins answered", 1_000),
    ("joins refused", 100),
    ("refreshed", 8_000),
    ("kicked", 400),
    ("replaced", 200),
    ("uid in use", 200),
    ("bad login", 400),
    ("slow consumer", 500),
    ("reset by peer", 80),
    ("closed by peer", 60),
    ("normal", 150),
    ("lives", 4_000),
    ("kept", 40_000),
    ("followed to the end", 500),
    ("to one connection", 1_000),
    ("to one that has moved", 400),
    ("claims of followers", 4_000),
    ("gaps", 700),
    ("gaps of errors", 200),
    ("discarded", 1_000),
    ("reloads", 300),
    ("members", 100),
    ("presence told", 100),
    ("left out", 400),
    ("acknowledged", 200),
    ("left by itself", 25),
    ("joined anew", 5),
];

const SEEDS: u64 = 400;
/// How often all tables are counted from scratch.
const STEPS_A_CHECK: usize = 16;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().expect("a number"))
}

fn play(seed: u64, tally: &mut Tally) {
    let mut world = World::new(seed);
    for step in 0..world.scene.steps {
        world.step();
        if step % STEPS_A_CHECK == 0 {
            world.check();
        }
    }
    world.end();
    if let Some(client) = number("SIM_CLIENT") {
        let one = &world.clients[client as usize];
        println!("{:?} {}", one.life, one.received.escape_ascii());
    }
    world.judge(tally);
    for (name, count) in &world.tally {
        *tally.entry(name).or_default() += count;
    }
}

fn play_named(seed: u64, tally: &mut Tally) {
    if let Err(cause) = catch_unwind(AssertUnwindSafe(|| play(seed, tally))) {
        eprintln!("repeat with SIM_SEED={seed}");
        resume_unwind(cause);
    }
}

#[test]
fn shards_and_bus_match_a_plain_model() {
    let mut tally = Tally::new();
    if let Some(seed) = number("SIM_SEED") {
        play_named(seed, &mut tally);
        return println!("{tally:#?}");
    }
    let seeds = number("SIM_SEEDS").unwrap_or(SEEDS);
    (0..seeds).for_each(|seed| play_named(seed, &mut tally));
    println!("{tally:#?}");
    for (name, least) in USUAL {
        let count = tally.get(name).copied().unwrap_or(0);
        assert!(
            count >= *least || seeds < SEEDS,
            "{name}: {count} times only"
        );
    }
}
