//! A server that has stopped gives back all that it had: descriptors, threads, memory. A program may start and
//! stop one as often as it likes.
//!
//! One test alone in its process, for it counts what the process has.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ringpost::app::{App, BindError, Context};
use ringpost::config::{DescriptorTables, Driver};
use ringpost::{Config, Message, Roles, Server, Site};

/// The system's allocator, counted.
struct Counted;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one asked for here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

const CORES: usize = 2;
/// monoio's ring driver does not free this much of each core's.
const RUNTIME_BYTES: usize = 16 * CORES;

struct Shout;

impl App for Shout {
    type Session = Vec<u8>;
    type Note = ();
    const NAMESPACE: &'static str = "shout";

    fn on_connect(&mut self, _: &mut Context<'_, Shout>) -> Vec<u8> {
        vec![0; 1000]
    }

    fn on_message(&mut self, cx: &mut Context<'_, Shout>, _: &mut Vec<u8>, message: Message<'_>) {
        let text = message.text().unwrap_or_default();
        match cx.uid() {
            Some(_) => cx.broadcast(text),
            None => cx.bind_uid(text),
        }
    }

    fn on_bound(&mut self, cx: &mut Context<'_, Shout>, _: &mut Vec<u8>, _: Result<(), BindError>) {
        cx.send("welcome");
    }
}

/// Starts a server, has everybody talk, and stops it while some are still there.
fn serve_and_stop(driver: Driver, descriptor_tables: DescriptorTables) {
    let config = Config {
        cores: CORES,
        driver,
        descriptor_tables,
        close_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let site = Site {
        assets: &[],
        reach: &["shout"],
        roles: Roles::ALL,
    };
    let server = Server::new(config)
        .listen(["text://127.0.0.1:0", "frame://127.0.0.1:0"], || Shout)
        .site("http://127.0.0.1:0", site)
        .start()
        .unwrap();
    let address = |number: usize| server.listening()[number].address.ip().expect("of IP");
    let mut clients: Vec<_> = (0..20)
        .map(|number| {
            let stream = TcpStream::connect(address(0)).unwrap();
            let mut client = BufReader::new(stream);
            let uid = format!("uid{number}\n");
            client.get_mut().write_all(uid.as_bytes()).unwrap();
            assert_eq!(line(&mut client), "welcome\n");
            client
        })
        .collect();
    clients[0].get_mut().write_all(b"hello\n").unwrap();
    for client in &mut clients {
        assert_eq!(line(client), "hello\n");
    }
    let mut asking = TcpStream::connect(address(2)).unwrap();
    asking
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    assert_ne!(asking.read(&mut [0; 1000]).unwrap(), 0);
    // Half go before, half with the server; the HTTP connection stays open, too.
    clients.truncate(10);
    server.stop().unwrap();
}

fn line(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

fn held() -> (usize, usize, usize) {
    let live_bytes = LIVE_BYTES.load(Ordering::Relaxed);
    (live_bytes, count("/proc/self/fd"), count("/proc/self/task"))
}

#[test]
fn a_server_that_has_stopped_gives_back_all_it_had() {
    for (driver, tables) in [
        (Driver::Auto, DescriptorTables::Shared),
        (Driver::Epoll, DescriptorTables::Shared),
        (Driver::Auto, DescriptorTables::PerCore),
        (Driver::Epoll, DescriptorTables::PerCore),
    ] {
        // What is made once and kept for the next.
        serve_and_stop(driver, tables);
        let before = held();
        for _ in 0..5 {
            serve_and_stop(driver, tables);
        }
        let within = |(bytes, descriptors, threads): (usize, usize, usize)| {
            bytes <= before.0 + 5 * RUNTIME_BYTES && descriptors <= before.1 && threads <= before.2
        };
        // The kernel takes a ring's descriptors back a little later.
        let start = Instant::now();
        while !within(held()) && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let after = held();
        assert!(
            within(after),
            "{driver:?}, {tables:?}: {before:?} became {after:?}"
        );
    }
}
