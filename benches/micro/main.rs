//! `cargo bench --features internals`: what each step of the data path costs by itself, on the library's own types.
//!
//! One file a noun; each measures one thing at a time, with inputs from one seed, and looks at what came
//! out before it measures. `cargo bench -- outbox` runs what has that in its name, `cargo bench -- --test`
//! runs everything once to see that it works.
//!
//! These figures are for the parts. What a server costs, of which nearly all is the kernel's, is for
//! `ringpost bench` to say.

// Its own tests are not run from here.
#[allow(dead_code)]
#[path = "../../src/allocator.rs"]
mod allocator;
mod bus;
mod codec;
mod deadlines;
mod deflate;
mod input;
mod mask;
mod outbox;
mod streams;
#[cfg(feature = "tls")]
mod tls;
mod uids;
mod utf8;
mod wheel;

use std::time::Duration;

use criterion::Criterion;

/// The program's allocator, for several parts allocate as they do there.
#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

fn main() {
    // The command line has the last word.
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(250))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .without_plots()
        .configure_from_args();
    codec::run(&mut criterion);
    mask::run(&mut criterion);
    utf8::run(&mut criterion);
    deflate::run(&mut criterion);
    #[cfg(feature = "tls")]
    tls::run(&mut criterion);
    uids::run(&mut criterion);
    streams::run(&mut criterion);
    bus::run(&mut criterion);
    outbox::run(&mut criterion);
    wheel::run(&mut criterion);
    deadlines::run(&mut criterion);
    criterion.final_summary();
}
