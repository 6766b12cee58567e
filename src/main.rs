//! The program: the command line in `cli`, which ends in a server or in one question to one; the apps it
//! serves in `apps`.

mod apps;
mod cli;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
