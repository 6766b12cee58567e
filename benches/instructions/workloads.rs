//! The workloads by name, and how one is run: prepared, counted, and held against what must come out.
//!
//! `check` runs each in a process of its own, and only [`instructions_counted`] is counted there.

use crate::cores::{Cores, Script};
use crate::prepared::{Outcome, Prepared};
use crate::scripts::{bind, broadcast, echo, group, handshake, push, push_kept, push_v1, relay};

pub struct Workload {
    pub name: &'static str,
    /// What its messages are, for the reader of the table.
    pub what: &'static str,
    prepare: fn() -> Prepared,
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "relay",
        what: "uid:message to one on the same core",
        prepare: || relay(1),
    },
    Workload {
        name: "relay-bus",
        what: "uid:message to one on the other core",
        prepare: || relay(2),
    },
    Workload {
        name: "broadcast",
        what: "all:message to 1,000, a write each",
        prepare: || broadcast(1),
    },
    Workload {
        name: "broadcast-16",
        what: "the same, 16 in one write",
        prepare: || broadcast(16),
    },
    Workload {
        name: "group-8",
        what: "to a room of three on three of 8 cores, by its home",
        prepare: || group(8),
    },
    Workload {
        name: "group-64",
        what: "the same on 64 cores",
        prepare: || group(64),
    },
    Workload {
        name: "push",
        what: "a back end's line to one on its core, answered",
        prepare: || push(1),
    },
    Workload {
        name: "push-bus",
        what: "a back end's line to one on the other core, answered",
        prepare: || push(2),
    },
    Workload {
        name: "push-kept",
        what: "the same on its core, kept in place of its uid's oldest message",
        prepare: push_kept,
    },
    Workload {
        name: "push-v1",
        what: "the same on its core, to one that speaks ringpost.v1",
        prepare: push_v1,
    },
    Workload {
        name: "handshake",
        what: "a websocket opened, as a browser asks",
        prepare: handshake,
    },
    Workload {
        name: "bind",
        what: "a uid said and bound on the same core",
        prepare: || bind(1),
    },
    Workload {
        name: "bind-move",
        what: "a uid said, its connection moved to the other core",
        prepare: || bind(2),
    },
    Workload {
        name: "echo-1k",
        what: "1 KiB binary, answered with itself",
        prepare: echo,
    },
];

impl Workload {
    pub fn find(name: &str) -> Option<&'static Workload> {
        WORKLOADS.iter().find(|workload| workload.name == name)
    }

    /// Prepares it, runs the counted part, and holds what came out against what must.
    pub fn run(&self) -> Outcome {
        let Prepared {
            mut cores,
            mut script,
            expected,
        } = (self.prepare)();
        let before = cores.counts();
        let bytes_before = cores.bytes_out;
        instructions_counted(&mut cores, &mut script);
        let after = cores.counts();
        let outcome = Outcome {
            messages: expected.messages,
            queued: after[0] - before[0],
            envelopes: after[1] - before[1],
            moved: after[2] - before[2],
            bytes: cores.bytes_out - bytes_before,
        };
        assert_eq!(outcome, expected, "{}: something else came out", self.name);
        outcome
    }
}

/// The counted part, under a name that callgrind can be told.
#[inline(never)]
#[unsafe(no_mangle)]
fn instructions_counted(cores: &mut Cores, script: &mut Script) {
    cores.play(script);
}
