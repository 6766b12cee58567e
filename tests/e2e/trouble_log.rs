//! A log that cannot be written: the disk behind it is full, its reader has gone or does not read. The server starts,
//! serves and stops as ever, does not try again and again, and says what was lost when there is somebody to tell.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::http::get;
use crate::metrics::Scrape;
use crate::raw::{FIN, Raw, TEXT, request};
use crate::server::{Server, binary, command};
use crate::{run, seed};

/// As much log as there can be.
const SETTINGS: [(&str, &str); 2] = [("LOG", "debug"), ("CONNECTIONS_PER_ADDRESS_MAX", "40")];
const LISTENERS: [&str; 4] = [
    "websocket://127.0.0.1:0=relay",
    "websocket://127.0.0.1:0=echo",
    "text://127.0.0.1:0=push-backend",
    "http://127.0.0.1:0=page",
];

fn full() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.expect("a device that is always full").into()
}

/// The end of a pipe that nobody reads.
fn broken() -> Stdio {
    let (reading, writing) = std::io::pipe().expect("a pipe");
    drop(reading);
    writing.into()
}

#[test]
fn a_full_disk_behind_the_log_stops_nothing() {
    for cores in [1, 2] {
        run(async move {
            let command = command(cores, &SETTINGS, &LISTENERS);
            let server = Server::spawn_logging(command, LISTENERS.len(), full()).await;
            is_served_and_stops(server).await;
        });
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    run(async {
        let mut command = command(2, &SETTINGS, &LISTENERS);
        command.env("RINGPOST_LOG_FORMAT", "json");
        let server = Server::spawn_logging(command, LISTENERS.len(), broken()).await;
        is_served_and_stops(server).await;
    });
}

/// A pipe with no room for a single byte more, which nobody reads for now.
fn stuffed() -> (PipeReader, Stdio) {
    let (reading, mut writing) = std::io::pipe().expect("a pipe");
    let descriptor = writing.as_raw_fd();
    let set_flags = |flags: i32| {
        // SAFETY: no pointers, and the descriptor is open.
        let done = unsafe { libc::fcntl(descriptor, libc::F_SETFL, flags) };
        assert_eq!(done, 0, "the pipe's flags");
    };
    set_flags(libc::O_NONBLOCK);
    while writing.write(&[b'.'; 4096]).is_ok() {}
    let error = writing.write(b".").expect_err("a full pipe");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    set_flags(0);
    (reading, writing.into())
}

#[test]
fn a_log_whose_reader_does_not_read_stops_nothing() {
    for cores in [1, 2] {
        run(async move {
            let (_reading, writing) = stuffed();
            let settings = [("LOG", "info"), SETTINGS[1]];
            let command = command(cores, &settings, &LISTENERS);
            let server = Server::spawn_logging(command, LISTENERS.len(), writing).await;
            is_served_and_stops(server).await;
        });
    }
}

#[test]
fn lines_that_nobody_took_are_counted_and_told_of_later() {
    run(async {
        let (mut reading, writing) = stuffed();
        let command = command(2, &[("LOG", "trace")], &LISTENERS);
        let mut server = Server::spawn_logging(command, LISTENERS.len(), writing).await;
        let (start, mut lost) = (Instant::now(), 0.0);
        while lost == 0.0 {
            for _ in 0..200 {
                let mut raw = Raw::dial(server.address("ws", "relay")).await;
                let foreign = request("Origin: http://foreign.example\r\n");
                raw.write(foreign.as_bytes()).await;
                assert_eq!(raw.status().await, Some(403));
            }
            let scrape = Scrape::of(&server).await;
            lost = scrape.sum("ringpost_log_lines_lost_total", "");
            assert!(start.elapsed() < Duration::from_secs(60), "no line is lost");
        }
        let mut client = server.relay("ws", "tom").await;
        client.send("tom:hello").await;
        client.expect("hello").await;
        // Its reader wakes up.
        let (read, wanted) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            let mut text = String::new();
            while let Ok(length @ 1..) = reading.read(&mut chunk) {
                text.push_str(&String::from_utf8_lossy(&chunk[..length]));
                if text.contains("lines of the log were lost") {
                    let _ = read.send(());
                    text.clear();
                }
            }
        });
        let start = Instant::now();
        while wanted.try_recv().is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "it is not told");
            sleep(Duration::from_millis(20)).await;
        }
        server.signal(libc::SIGTERM);
        let status = server.wait_exit(Duration::from_secs(12)).await;
        assert_eq!(status.code(), Some(0));
    });
}

/// Both ends of a terminal, whose output somebody has stopped (Ctrl-S).
fn stopped_terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut its) = (-1, -1);
    let (name, termios, size) = (std::ptr::null_mut(), std::ptr::null(), std::ptr::null());
    // SAFETY: both numbers outlive the call, and what may be null is.
    let opened = unsafe { libc::openpty(&mut ours, &mut its, name, termios, size) };
    assert_eq!(opened, 0, "a terminal");
    // SAFETY: the call has just made both for us.
    let ends = unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(its)) };
    // SAFETY: no pointers, and the descriptor is open.
    assert_eq!(unsafe { libc::tcflow(its, libc::TCOOFF) }, 0);
    ends
}

#[test]
fn a_terminal_whose_output_is_stopped_stops_nothing_else() {
    run(async {
        let listeners = own_listeners();
        let urls: Vec<&str> = listeners.iter().map(String::as_str).collect();
        let (_person, terminal) = stopped_terminal();
        let copy = terminal.try_clone().expect("a copy");
        let mute = [terminal.into(), copy.into()];
        let server = Server::spawn_mute(command(2, &SETTINGS, &urls), &listeners, mute).await;
        is_served_and_stops(server).await;
    });
}

/// Ports of an address that is ours alone.
fn own_listeners() -> Vec<String> {
    let mut rng = seed::rng();
    let host = format!("127.{}.{}.{}", rng.u8(1..255), rng.u8(..), rng.u8(1..255));
    let own =
        |(listener, port): (&&str, u16)| listener.replace("127.0.0.1:0", &format!("{host}:{port}"));
    LISTENERS.iter().zip(4_001..).map(own).collect()
}

#[test]
fn a_server_that_can_print_nothing_serves() {
    run(async {
        let listeners = own_listeners();
        let urls: Vec<&str> = listeners.iter().map(String::as_str).collect();
        let command = command(2, &SETTINGS, &urls);
        let server = Server::spawn_mute(command, &listeners, [full(), full()]).await;
        is_served_and_stops(server).await;
    });
}

/// What cannot be said is no reason to end otherwise than with the status for it.
#[test]
fn a_mistake_that_cannot_be_told_has_its_status_even_so() {
    let status = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).stdout(full()).stderr(full());
        command.status().expect("it runs").code()
    };
    assert_eq!(status(&["serve", "--listen", "nonsense"]), Some(2));
    assert_eq!(status(&["check", "/dev/null/nowhere"]), Some(2));
    assert_eq!(
        status(&["serve", "--listen", "text://127.0.0.1:0=relay", "--drivel"]),
        Some(2)
    );
}

async fn is_served_and_stops(mut server: Server) {
    let before = server.holdings().await;
    let uids = seed::uids(&mut seed::rng(), 6);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(server.relay("ws", uid).await);
    }
    for _ in 0..20 {
        // Each is a line of the log, or some: who comes, moves and goes, whose page is foreign.
        let mut foreign = Raw::dial(server.address("ws", "echo")).await;
        foreign
            .write(request("Origin: http://foreign.example\r\n").as_bytes())
            .await;
        assert_eq!(foreign.status().await, Some(403));
        for (sender, uid) in uids.iter().enumerate() {
            let receiver = (sender + 1) % uids.len();
            clients[sender]
                .send(&format!("{}:from {uid}", uids[receiver]))
                .await;
            clients[receiver].expect(&format!("from {uid}")).await;
        }
    }
    // More than may come in, from an address of their own.
    let mut many = Vec::new();
    for _ in 0..80 {
        let mut raw = Raw::dial_from([127, 0, 0, 2], server.address("ws", "echo")).await;
        raw.write_if_open(request("").as_bytes()).await;
        many.push(raw);
    }
    // Two cores need not let them in as they came.
    let mut let_in = Vec::new();
    for (number, raw) in many.iter_mut().enumerate() {
        if raw.status().await == Some(101) {
            let_in.push(number);
        }
    }
    assert_eq!(let_in.len(), 40);
    let one = &mut many[let_in[0]];
    one.frame(FIN | TEXT, b"hello").await;
    one.expect(FIN | TEXT, b"hello").await;
    let health = get(server.address("http", "page"), "/healthz").await;
    assert_eq!(health.status, 200);
    drop((many, clients));
    server.wait_holdings(before).await;
    let spent = server.cpu_time();
    sleep(Duration::from_secs(1)).await;
    let spent = server.cpu_time() - spent;
    assert!(spent < Duration::from_millis(300), "{spent:?} of work");
    assert_eq!(server.count("panics").await, 0);
    server.signal(libc::SIGTERM);
    let status = server.wait_exit(Duration::from_secs(12)).await;
    assert_eq!(status.code(), Some(0));
}
