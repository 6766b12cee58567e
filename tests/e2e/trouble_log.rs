//! A log that cannot be written: the disk behind it is full, or nobody reads it. The server starts, serves and
//! stops as ever, and does not try again and again.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::sleep;

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

#[test]
fn a_server_that_can_print_nothing_serves() {
    run(async {
        // Ports of an address that is ours alone.
        let mut rng = seed::rng();
        let host = format!("127.{}.{}.{}", rng.u8(1..255), rng.u8(..), rng.u8(1..255));
        let listeners: Vec<String> = LISTENERS
            .iter()
            .zip(4_001..)
            .map(|(listener, port)| listener.replace("127.0.0.1:0", &format!("{host}:{port}")))
            .collect();
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
