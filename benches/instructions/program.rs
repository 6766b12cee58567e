//! Instruction counts of fixed workloads, recorded and compared: a guard against slow-downs that holds on
//! a noisy machine.
//!
//! Each workload is a server without sockets: bytes as clients send them go through the decoders, the apps,
//! the shards, the bus and the outboxes of one or two cores, up to the slices of a write. Not in it: the
//! kernel, the runtime, the wire. `check` runs each under callgrind and compares with `counts.json`:
//!
//! ```text
//! benches/instructions/check             compares; fails where the record is more than 5 % off
//! benches/instructions/check --record    writes the record anew
//! ```

#[path = "../../src/allocator.rs"]
mod allocator;
#[allow(dead_code, reason = "a part of the program, used in part")]
#[path = "../../src/apps/mod.rs"]
mod apps;
mod check;
mod cores;
mod frames;
mod machine;
mod prepared;
mod record;
mod room;
mod scripts;
mod workloads;

use std::process::ExitCode;

use ringpost::Server;
use workloads::{WORKLOADS, Workload};

/// As in the server that ships.
#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

fn main() -> ExitCode {
    keep_the_server();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["check"] => check::compare(),
        ["check", "--record"] => check::record(),
        ["run", name] => match Workload::find(name) {
            Some(workload) => check::print_run(workload),
            None => usage(),
        },
        _ => usage(),
    }
}

/// Has the whole server linked, though it is not run. Without the rest of it the optimizer takes what the rest shares
/// with a workload for called from one place, and inlines what the server that ships has out of line.
fn keep_the_server() {
    let run: fn(Server) -> std::io::Result<()> = Server::run;
    std::hint::black_box(run);
}

fn usage() -> ExitCode {
    let names: Vec<&str> = WORKLOADS.iter().map(|workload| workload.name).collect();
    eprintln!(
        "usage: instructions check [--record] | instructions run NAME\nnames: {}",
        names.join(" ")
    );
    ExitCode::from(2)
}
