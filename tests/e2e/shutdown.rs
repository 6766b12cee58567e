//! The end: clients are told, what was answered `ok` has arrived, the status is 0, and nobody waits
//! for ever.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use libc::{SIGINT, SIGTERM};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::Got;
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT};
use crate::seed;
use crate::server::{Server, command};

/// Far below `drain_timeout`, which is 10 s: with clients that answer nothing has to be waited for.
const SOON: Duration = Duration::from_secs(8);

on_cores! {
    clients_get_1001_and_the_status_is_0,
    a_signal_right_after_the_banner_drains_too,
    what_was_answered_ok_has_arrived,
    what_waits_in_an_outbox_is_flushed,
    no_new_connection_is_accepted,
    drain_timeout_bounds_the_end,
    a_client_that_does_not_answer_its_close_is_reset_after_close_timeout,
    a_second_signal_leaves_at_once,
}

async fn clients_get_1001_and_the_status_is_0(cores: usize) {
    let mut rng = seed::rng();
    for signal in [SIGTERM, SIGINT] {
        let mut server = Server::start(cores).await;
        let mut clients = Vec::new();
        for scheme in ["ws", "text", "frame", "ws"] {
            clients.push(server.relay(scheme, &seed::uid(&mut rng)).await);
            clients.push(server.push(scheme, &seed::uid(&mut rng)).await);
            clients.push(server.connect(scheme, "echo").await);
            // Not logged in.
            clients.push(server.connect(scheme, "relay").await);
        }
        let mut chat = server.chat("Zoe").await;
        chat.expect_start("users:").await;
        clients.push(chat);
        clients.push(server.backend().await);
        server.signal(signal);
        for client in &mut clients {
            client.expect_end(1001).await;
        }
        drop(clients);
        let status = server.wait_exit(SOON).await;
        assert_eq!(status.code(), Some(0), "{}", server.log());
    }
}

async fn a_signal_right_after_the_banner_drains_too(cores: usize) {
    // Whoever reads the banner may take the server for started. Several tries, for it is a race.
    for _ in 0..20 {
        let mut command = command(cores, &[], &["text://127.0.0.1:0=relay"]);
        let status = tokio::task::spawn_blocking(move || {
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("the binary starts");
            let mut banner = BufReader::new(child.stdout.take().expect("a pipe"));
            banner.read_line(&mut String::new()).expect("a banner");
            let pid = i32::try_from(child.id()).expect("a pid");
            // SAFETY: `kill` takes two integers, and the child is not reaped yet.
            assert_eq!(unsafe { libc::kill(pid, SIGTERM) }, 0);
            child.wait().expect("a child to wait for")
        });
        let status = status.await.expect("no panic");
        assert_eq!(status.code(), Some(0), "{status}");
    }
}

async fn what_was_answered_ok_has_arrived(cores: usize) {
    let mut rng = seed::rng();
    let mut server = Server::start(cores).await;
    let uids = seed::uids(&mut rng, 16);
    let mut clients = Vec::new();
    for (n, uid) in uids.iter().enumerate() {
        clients.push(match n % 2 {
            0 => server.push("ws", uid).await,
            _ => server.relay("text", uid).await,
        });
    }
    let mut readers = Vec::new();
    for mut client in clients {
        readers.push(tokio::spawn(async move {
            let mut lines = Vec::new();
            loop {
                match client.next().await {
                    Got::Text(line) => lines.push(line),
                    Got::End(end) => return (lines, end),
                    other => panic!("unexpected {other:?}"),
                }
            }
        }));
    }
    // A back end in full flow when the signal comes.
    let lines: Vec<(usize, String)> = (0..30_000)
        .map(|n| {
            let to = rng.usize(..uids.len());
            (to, format!("{{\"uid\":\"{}\",\"n\":{n}}}", uids[to]))
        })
        .collect();
    let bytes: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
    let socket = TcpStream::connect(server.address("text", "push-backend"))
        .await
        .expect("a connection");
    let (reading, mut writing) = socket.into_split();
    let writer = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        // The server stops reading at some point.
        let _ = writing.write_all(bytes.as_bytes()).await;
    });
    let mut answers = tokio::io::BufReader::new(reading);
    let mut count = 0;
    loop {
        use tokio::io::AsyncBufReadExt as _;
        let mut answer = String::new();
        match answers.read_line(&mut answer).await {
            Ok(length) if length > 0 && answer.ends_with('\n') => {}
            _ => break,
        }
        assert!(
            answer == "ok\n" || count > 0,
            "line {count} was answered {answer:?}"
        );
        if answer != "ok\n" {
            break;
        }
        count += 1;
        if count == 500 {
            server.signal(SIGTERM);
        }
    }
    assert!(count >= 500, "only {count} answers");
    let mut expected: Vec<Vec<&String>> = vec![Vec::new(); uids.len()];
    for (to, line) in &lines[..count] {
        expected[*to].push(line);
    }
    for (reader, expected) in readers.into_iter().zip(expected) {
        let (lines, _) = reader.await.expect("no panic");
        let start: Vec<&String> = lines.iter().take(expected.len()).collect();
        assert!(
            start == expected,
            "{} of {} that were answered ok arrived",
            lines.len(),
            expected.len()
        );
    }
    writer.abort();
    let status = server.wait_exit(Duration::from_secs(12)).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

async fn what_waits_in_an_outbox_is_flushed(cores: usize) {
    let mut server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut late = Raw::relay_narrow(server.address("ws", "relay"), &uid).await;
    let mut backend = server.backend().await;
    let line = |n| {
        format!(
            "{{\"uid\":\"{uid}\",\"n\":{n},\"fill\":\"{}\"}}",
            "x".repeat(50_000)
        )
    };
    for n in 0..18 {
        assert_eq!(backend.ask(&line(n)).await, "ok");
    }
    server.signal(SIGTERM);
    sleep(Duration::from_millis(100)).await;
    for n in 0..18 {
        late.expect(FIN | TEXT, line(n).as_bytes()).await;
    }
    late.expect_close(&[1001]).await;
    drop(backend);
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
}

async fn no_new_connection_is_accepted(cores: usize) {
    let mut server =
        Server::with(cores, &[("CLOSE_TIMEOUT", "20s"), ("DRAIN_TIMEOUT", "20s")]).await;
    // One that does not answer its close holds the drain.
    let _deaf = Raw::relay_narrow(server.address("ws", "relay"), "deaf").await;
    let address = server.address("ws", "relay");
    server.signal(SIGTERM);
    let start = Instant::now();
    loop {
        match TcpStream::connect(address).await {
            Err(_) => break,
            // One that the kernel took before the listener closed ends at once.
            Ok(_) => sleep(Duration::from_millis(20)).await,
        }
        assert!(start.elapsed() < Duration::from_secs(5), "it still accepts");
    }
    assert!(server.is_running(), "it did not wait for its client");
}

async fn drain_timeout_bounds_the_end(cores: usize) {
    let mut server =
        Server::with(cores, &[("CLOSE_TIMEOUT", "20s"), ("DRAIN_TIMEOUT", "2s")]).await;
    let _deaf = Raw::relay_narrow(server.address("ws", "relay"), "deaf").await;
    let start = Instant::now();
    server.signal(SIGTERM);
    let status = server.wait_exit(Duration::from_secs(8)).await;
    assert!(
        start.elapsed() > Duration::from_millis(1_500),
        "it left after {:?}",
        start.elapsed()
    );
    assert_eq!(status.code(), Some(0), "{}", server.log());
}

async fn a_client_that_does_not_answer_its_close_is_reset_after_close_timeout(cores: usize) {
    let mut server = Server::start(cores).await;
    let _deaf = Raw::relay_narrow(server.address("ws", "relay"), "deaf").await;
    server.signal(SIGTERM);
    assert_eq!(server.wait_exit(SOON).await.code(), Some(0));
}

async fn a_second_signal_leaves_at_once(cores: usize) {
    for (first, second) in [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGTERM, SIGINT)] {
        let mut server =
            Server::with(cores, &[("CLOSE_TIMEOUT", "30s"), ("DRAIN_TIMEOUT", "30s")]).await;
        let mut deaf = Raw::relay_narrow(server.address("ws", "relay"), "deaf").await;
        server.signal(first);
        deaf.next().await.expect("the close frame");
        // One that comes with the first, as where a whole group of processes is told, is no second one.
        server.signal(second);
        sleep(Duration::from_millis(1_300)).await;
        assert!(server.is_running(), "it did not wait for its client");
        server.signal(second);
        server.wait_exit(Duration::from_secs(3)).await;
    }
}
