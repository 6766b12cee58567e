//! The program: the command line in `cli`, which ends in a server, in one question to one, or in load
//! on one from the crate `ringpost-load`; the apps it serves in `apps`. Its memory is `allocator`'s.

#[cfg(not(asan))]
mod allocator;
mod apps;
mod cli;

use std::process::ExitCode;

// The address sanitizer knows the blocks of its own allocator only (tests/asan).
#[cfg(not(asan))]
#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

fn main() -> ExitCode {
    cli::run()
}
