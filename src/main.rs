//! The program: the command line in `cli`, which ends in a server, in one question to one, or in load
//! on one from `bench`; the apps it serves in `apps`.

mod apps;
mod bench;
mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
