//! End to end: the real binary on free ports, real sockets, with 1, 2 and 4 cores.
//!
//! One module for each part of the protocols, one test for each property, and its name says which.
//! `E2E_BIN` puts another binary in place of the one cargo built, `E2E_SEED` repeats a run's random
//! choices (each test prints its seed). With `E2E_SIGTERM` set, servers drain at a test's end; else they are
//! killed. With `E2E_TLS` set every listener speaks TLS (`by_tls`). `E2E_DRIVER` is the driver of all servers whose test wants
//! no other.
//!
//! Nothing but Rust is needed here, and for the webhooks python3 and openssl. The suites that want a browser, PHP or Python are run by
//! `tests/run`.

mod bad_handshakes;
mod bad_requests;
mod by_tls;
mod client;
mod flood;
mod fragile;
mod http;
mod listening;
mod live_log;
mod load;
mod raw;
mod receiver;
mod resources;
mod seed;
mod server;
mod speaking;
mod tokens;

mod admission;
mod anew;
mod api;
mod api_batch;
mod api_binds;
mod api_connections;
mod api_examples;
mod api_ids;
mod api_push;
mod api_read;
mod auth;
mod auth_backend;
mod auth_expiry;
mod auth_jwt;
mod auth_languages;
mod auth_wrong_tokens;
mod backend;
mod backend_access;
mod backend_flawed;
mod backend_pipeline;
mod balancers;
mod chaos;
mod chaos_v1;
mod chat;
mod chat_roster;
mod codec_across;
mod codec_deflate;
mod codec_frame;
mod codec_text;
mod codec_websocket;
mod codec_websocket_limits;
mod codec_websocket_violations;
mod drain;
mod endings;
mod heartbeat;
mod history;
mod hostile_ends;
mod hostile_frames;
mod hostile_handshake;
mod hostile_http;
mod hostile_http_bodies;
mod hostile_lines;
mod hostile_origins;
mod hostile_strangers;
mod metrics;
mod neighbours;
mod one_port;
mod order;
mod page;
mod panic;
mod presence;
mod proxies;
mod push;
mod queue;
mod rates;
mod reach;
mod recovery;
mod recovery_rights;
mod recovery_trouble;
mod relay;
mod relay_login;
mod reload;
mod roles;
mod rooms;
mod shutdown;
mod slow_consumer;
mod sse_delivery;
mod sse_hostile;
mod sse_rules;
mod start;
mod tables;
mod tenants;
mod timeouts;
mod tls;
mod tls_tickets;
mod trouble_clock;
mod trouble_descriptors;
mod trouble_host;
mod trouble_log;
mod trouble_ok;
mod trouble_resets;
mod trouble_ring;
mod trouble_stalled;
mod trouble_standstill;
mod uid_policy;
mod upgrade;
mod upgrade_again;
mod upgrade_kills;
mod upgrade_state;
mod v1;
mod v1_presence;
mod v1_rights;
mod wanderers;
mod webhook_messages;
mod webhooks;
mod webhooks_trouble;

use std::future::Future;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

/// Held for reading by every test, for writing by those that want the machine for themselves: ten
/// thousand connections take half of the descriptors a process may have here.
static MACHINE: RwLock<()> = RwLock::new(());

/// Runs one property, beside others.
pub fn run(property: impl Future<Output = ()>) {
    run_within(Duration::from_secs(90), property);
}

/// The same of one that may take longer.
pub fn run_within(time_max: Duration, property: impl Future<Output = ()>) {
    let _shared = MACHINE.read().unwrap_or_else(PoisonError::into_inner);
    block_on(
        tokio::runtime::Builder::new_current_thread(),
        time_max,
        property,
    );
}

/// Runs one property with nothing else beside it.
pub fn run_alone(property: impl Future<Output = ()>) {
    let _alone = MACHINE.write().unwrap_or_else(PoisonError::into_inner);
    block_on(
        tokio::runtime::Builder::new_multi_thread(),
        Duration::from_secs(180),
        property,
    );
}

fn block_on(
    mut builder: tokio::runtime::Builder,
    time_max: Duration,
    property: impl Future<Output = ()>,
) {
    let runtime = builder.enable_all().build().expect("a tokio runtime");
    runtime.block_on(async {
        if tokio::time::timeout(time_max, property).await.is_err() {
            panic!("the test did not end within {time_max:?}");
        }
    });
}

/// Makes a module of each property, with one test for each number of cores.
#[macro_export]
macro_rules! on_cores {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[test]
            fn with_1_core() {
                $crate::run(super::$name(1));
            }

            #[test]
            fn with_2_cores() {
                $crate::run(super::$name(2));
            }

            #[test]
            fn with_4_cores() {
                $crate::run(super::$name(4));
            }
        }
    )*};
}

/// Makes a module of each property, with one test for each way in which a core waits for its sockets.
#[macro_export]
macro_rules! on_drivers {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            /// Where the kernel has it; epoll once more where it has not.
            #[test]
            fn on_io_uring() {
                $crate::run(super::$name("auto"));
            }

            #[test]
            fn on_epoll() {
                $crate::run(super::$name("epoll"));
            }
        }
    )*};
}

/// Not a property: tells whoever runs `cargo test` alone what it does not cover.
#[test]
fn suites_outside_cargo_test() {
    println!(
        "cargo test covers the server with Rust alone. tests/run covers also: the page in headless \
         Chromium (tests/page), a PHP back end (tests/php), Python websockets (tests/python), HAProxy in \
         front (tests/haproxy), nginx, HAProxy and Caddy as examples/proxies has them (tests/proxies), the Autobahn suite (tests/conformance), and the doorbell under loom \
         (tests/loom)."
    );
}
