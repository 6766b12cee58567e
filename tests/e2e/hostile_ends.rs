//! Ends at bad moments: data after a close, a stream that ends on one side, a reset in the middle. Nothing is
//! left of such a connection, and what it had sent whole counts.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::client::{Client, Got, PATIENCE, frame};
use crate::on_cores;
use crate::raw::{BINARY, CLOSE, FIN, PING, Raw, TEXT, head_of, masked, request};
use crate::seed;
use crate::server::Server;

on_cores! {
    what_follows_a_close_is_ignored,
    one_that_goes_on_sending_after_its_close_is_cut_off,
    what_was_sent_before_half_a_close_is_answered,
    what_was_sent_before_half_a_close_is_delivered,
    half_a_close_at_any_moment_leaves_nothing,
    a_reset_at_any_moment_leaves_nothing,
}

/// How a core waits for its sockets: the ends come by other ways there.
const DRIVERS: [&str; 2] = ["auto", "epoll"];

pub async fn what_follows_a_close_is_ignored(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 8);
    let mut other = server.relay("ws", &uids[0]).await;
    for uid in &uids[1..] {
        let mut raw = Raw::open(server.address("ws", "relay")).await;
        raw.frame(FIN | TEXT, uid.as_bytes()).await;
        raw.next().await.expect("a login answer");
        let mut bytes = masked(FIN | CLOSE, &1000u16.to_be_bytes());
        let late = masked(FIN | TEXT, format!("{}:too late", uids[0]).as_bytes());
        bytes.extend(late.repeat(500));
        bytes.extend(masked(FIN | PING, b"too late"));
        bytes.extend(masked(FIN | CLOSE, &1001u16.to_be_bytes()));
        // No frame at all, which would be an error.
        bytes.extend([0xff; 100]);
        raw.write(&bytes).await;
        raw.expect(FIN | CLOSE, &1000u16.to_be_bytes()).await;
        raw.expect_end().await;
        server.wait_offline(uid).await;
    }
    other.expect_silence().await;
    assert!(server.closed("closed by peer").await >= 7);
    assert_eq!(server.closed("protocol error").await, 0);
}

async fn one_that_goes_on_sending_after_its_close_is_cut_off(cores: usize) {
    for driver in DRIVERS {
        let server = Server::with(cores, &[("DRIVER", driver)]).await;
        let (before, memory) = (server.holdings().await, server.memory());
        let mut raw = Raw::open(server.address("ws", "echo")).await;
        raw.frame(FIN | CLOSE, &1000u16.to_be_bytes()).await;
        let bytes = masked(FIN | TEXT, &[b'x'; 60_000]);
        let flood = async {
            let start = Instant::now();
            while let Ok(Ok(())) = timeout(PATIENCE, raw.socket.write_all(&bytes)).await {
                let late = start.elapsed() > Duration::from_secs(8);
                assert!(!late, "{driver}: it is read without end");
            }
        };
        server.served_meanwhile(flood).await;
        server.wait_holdings(before).await;
        server.expect_memory(memory, 1 << 20);
    }
}

async fn what_was_sent_before_half_a_close_is_answered(cores: usize) {
    for driver in DRIVERS {
        let server = Server::with(cores, &[("DRIVER", driver)]).await;
        let before = server.holdings().await;
        let mut waiting = Vec::new();
        for (scheme, app, count, length) in [
            ("ws", "echo", 100, 20_000),
            ("text", "echo", 100, 20_000),
            ("frame", "echo", 100, 20_000),
            ("text", "push-backend", 500, 20),
        ] {
            println!("{driver} {scheme} {app}");
            let line = format!("online {}", "x".repeat(length));
            let mut bytes = Vec::new();
            for _ in 0..count {
                bytes.extend(match scheme {
                    "ws" => masked(FIN | TEXT, line.as_bytes()),
                    "text" => format!("{line}\n").into_bytes(),
                    _ => frame(line.as_bytes()),
                });
            }
            let answer = if app == "echo" {
                line
            } else {
                "fail".to_owned()
            };
            let (mut client, mut writing) = half(&server, scheme, app).await;
            let asking = async {
                writing.write_all(&bytes).await.expect("it is taken");
                writing.shutdown().await.expect("half a close");
                writing
            };
            let answers = async {
                for n in 0..count {
                    let got = client.next().await;
                    assert!(
                        got == Got::Text(answer.clone()),
                        "{scheme} {app}: answer {n}"
                    );
                }
                let end = client.next().await;
                assert!(matches!(end, Got::End(_)), "{scheme} {app}: {end:?}");
            };
            // Our side stays as it is: the server is done with it all the same.
            waiting.push((tokio::join!(asking, answers).0, client));
        }
        server.wait_holdings(before).await;
    }
}

/// A client to read from, and its socket to write to.
async fn half(server: &Server, scheme: &str, app: &str) -> (Client, tokio::net::TcpStream) {
    let socket = std::net::TcpStream::connect(server.address(scheme, app)).expect("a connection");
    socket.set_nonblocking(true).expect("no blocking");
    let writing = socket.try_clone().expect("a second descriptor");
    let stream = |socket| tokio::net::TcpStream::from_std(socket).expect("a socket");
    (Client::over(scheme, stream(socket)).await, stream(writing))
}

async fn what_was_sent_before_half_a_close_is_delivered(cores: usize) {
    for driver in DRIVERS {
        let server = Server::with(cores, &[("DRIVER", driver)]).await;
        let uids = seed::uids(&mut seed::rng(), 6);
        let mut receiver = server.relay("ws", &uids[0]).await;
        for uid in &uids[1..] {
            let mut raw = Raw::open(server.address("ws", "relay")).await;
            let mut bytes = masked(FIN | TEXT, uid.as_bytes());
            for n in 0..100 {
                bytes.extend(masked(FIN | TEXT, format!("{}:{n}", uids[0]).as_bytes()));
            }
            // And half of another.
            bytes.extend(&masked(FIN | TEXT, b"all:never")[..6]);
            raw.write(&bytes).await;
            raw.socket.shutdown().await.expect("half a close");
            for n in 0..100 {
                receiver.expect(&n.to_string()).await;
            }
            server.wait_offline(uid).await;
        }
        receiver.expect_silence().await;
    }
}

/// Bytes after which a connection may end: what they are, the listener, and whether they are after a login.
fn moments() -> Vec<(String, &'static str, &'static str, Vec<u8>)> {
    let head = request("").into_bytes();
    let mut moments = vec![("nothing sent".to_owned(), "ws", "relay", Vec::new())];
    for cut in [1, 20, head.len() - 1] {
        let name = format!("{cut} bytes of the request");
        moments.push((name, "ws", "relay", head[..cut].to_vec()));
    }
    let behind = |bytes: &[u8]| [&head, bytes].concat();
    moments.push(("no login".to_owned(), "ws", "relay", head.clone()));
    let message = masked(FIN | TEXT, &[b'x'; 300]);
    for cut in [1, 2, 3, 7, 8, 9, 200] {
        let name = format!("{cut} bytes of a frame");
        moments.push((name, "ws", "echo", behind(&message[..cut])));
    }
    let mut fragments = masked(BINARY, &[7; 5_000]);
    moments.push(("a fragment".to_owned(), "ws", "echo", behind(&fragments)));
    fragments.extend(masked(FIN | PING, b"x"));
    fragments.extend(head_of(FIN, 5_000));
    moments.push((
        "half a fragment more".to_owned(),
        "ws",
        "echo",
        behind(&fragments),
    ));
    let broken = behind(&[masked(FIN | CLOSE, b""), masked(FIN | TEXT, b"x")].concat());
    moments.push(("after its close".to_owned(), "ws", "echo", broken));
    for app in ["relay", "push", "chat", "echo", "push-backend"] {
        moments.push((
            format!("half a line to {app}"),
            "text",
            app,
            b"half a li".to_vec(),
        ));
    }
    for cut in [2, 4, 9] {
        let bytes = frame(b"not the whole of it")[..cut].to_vec();
        moments.push((
            format!("{cut} bytes of a frame body"),
            "frame",
            "relay",
            bytes,
        ));
    }
    moments.push((
        "half a login".to_owned(),
        "text",
        "relay",
        b"uid\nuid:to my".to_vec(),
    ));
    moments
}

pub async fn half_a_close_at_any_moment_leaves_nothing(cores: usize) {
    for driver in DRIVERS {
        let server = Server::with(cores, &[("DRIVER", driver)]).await;
        let before = server.holdings().await;
        let mut waiting = Vec::new();
        for (name, scheme, app, bytes) in moments() {
            println!("{driver}: {name}");
            let mut raw = Raw::dial(server.address(scheme, app)).await;
            raw.write(&bytes).await;
            raw.socket.shutdown().await.expect("half a close");
            waiting.push(raw);
        }
        // None of ours is closed, and the server has none of them.
        server.wait_holdings(before).await;
    }
}

pub async fn a_reset_at_any_moment_leaves_nothing(cores: usize) {
    for driver in DRIVERS {
        let server = Server::with(cores, &[("DRIVER", driver)]).await;
        let (before, memory) = (server.holdings().await, server.memory());
        let moments = moments();
        let hostile = async {
            for round in 0..10 {
                for (name, scheme, app, bytes) in &moments {
                    println!("{driver}: {name}");
                    let mut raw = Raw::dial(server.address(scheme, app)).await;
                    raw.write(bytes).await;
                    // Sometimes before it has been looked at, sometimes after.
                    if round % 2 == 0 {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    raw.reset();
                }
            }
        };
        server.served_meanwhile(hostile).await;
        server.wait_holdings(before).await;
        server.expect_memory(memory, 1 << 20);
    }
}
