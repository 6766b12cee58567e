//! Back ends that do not wait for each answer: all come, in order, and one that does not read is
//! paused rather than closed.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::client::PATIENCE;
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    ten_thousand_lines_are_answered_in_order,
    answers_of_different_kinds_keep_their_order,
    lines_before_an_end_of_stream_are_answered,
    one_that_does_not_read_its_answers_is_paused_and_then_gets_all,
}

async fn ten_thousand_lines_are_answered_in_order(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let online = seed::uids(&mut rng, 16);
    let offline = seed::uids(&mut rng, 16);
    let mut clients = Vec::new();
    for uid in &online {
        clients.push(server.push("ws", uid).await);
    }
    let (mut lines, mut answers) = (String::new(), Vec::new());
    for n in 0..10_000 {
        let (line, answer) = match rng.u8(..5) {
            0 => (format!("online {}", offline[rng.usize(..16)]), "fail"),
            1 => (format!("online {}", online[rng.usize(..16)]), "ok"),
            2 => (
                format!("{{\"uid\":\"{}\",\"n\":{n}}}", offline[rng.usize(..16)]),
                "fail",
            ),
            3 => ("nonsense".to_owned(), "fail: "),
            _ => (
                format!("{{\"uid\":\"{}\",\"n\":{n}}}", online[rng.usize(..16)]),
                "ok",
            ),
        };
        lines.push_str(&line);
        lines.push('\n');
        answers.push(answer);
    }
    let mut backend = server.backend().await;
    backend.send_bytes(lines.as_bytes()).await;
    for (n, expected) in answers.iter().enumerate() {
        let answer = backend.text().await;
        let right = match *expected {
            "fail: " => answer.starts_with("fail: "),
            exact => answer == exact,
        };
        assert!(right, "line {n} was answered {answer:?}, not {expected:?}");
    }
    backend.expect_silence().await;
}

async fn answers_of_different_kinds_keep_their_order(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, 4);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(server.push("ws", uid).await);
    }
    let mut backend = server.backend().await;
    let mut lines = String::new();
    for uid in &uids {
        // Questions to all cores, to one, and to none, mixed.
        lines.push_str(&format!(
            "stats\nnonsense\n{{\"uid\":\"all\"}}\nonline {uid}\nkick {uid}\nonline {uid}\n"
        ));
    }
    for _ in 0..30 {
        lines.push_str("nonsense\nstats\n");
    }
    backend.send_bytes(lines.as_bytes()).await;
    for _ in &uids {
        backend.expect_start("{").await;
        backend.expect_start("fail: ").await;
        for answer in ["ok", "ok", "ok", "fail"] {
            backend.expect(answer).await;
        }
    }
    for _ in 0..30 {
        backend.expect_start("fail: ").await;
        backend.expect_start("{").await;
    }
}

async fn lines_before_an_end_of_stream_are_answered(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 200);
    let mut backend = server.backend().await;
    let lines: String = uids.iter().map(|uid| format!("online {uid}\n")).collect();
    backend.send_bytes(lines.as_bytes()).await;
    for _ in &uids {
        backend.expect("fail").await;
    }
    backend.close().await;
}

async fn one_that_does_not_read_its_answers_is_paused_and_then_gets_all(cores: usize) {
    let server = Server::start(cores).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut socket = socket
        .connect(server.address("text", "push-backend"))
        .await
        .expect("a connection");
    let bytes = write_until_paused(&mut socket).await;
    assert_bounded(&server).await;
    // What is read from now on comes in larger pieces.
    SockRef::from(&socket)
        .set_recv_buffer_size(1 << 20)
        .expect("a large buffer");
    let (reading, mut writing) = socket.into_split();
    // The pause may have come within a line.
    let rest = if bytes % LINE == 0 { "" } else { "\n" };
    let writer = tokio::spawn(async move {
        let last = format!("{rest}online nobody\n");
        writing
            .write_all(last.as_bytes())
            .await
            .expect("the connection lives");
        writing
    });
    let mut answers = BufReader::new(reading).lines();
    let lines = bytes.div_ceil(LINE);
    for n in 0..=lines {
        let answer = timeout(PATIENCE, answers.next_line())
            .await
            .unwrap_or_else(|_| panic!("answer {n} of {lines} does not come"))
            .expect("the connection lives")
            .unwrap_or_else(|| panic!("closed after {n} of {lines} answers"));
        if n < lines {
            assert!(answer.starts_with("fail: "), "{answer:?}");
        } else {
            assert_eq!(answer, "fail");
        }
    }
    writer.await.expect("the last line was written");
}

/// Of each line of nonsense.
const LINE: usize = 64;

/// Writes such lines until the server takes no more; returns how many bytes it took.
async fn write_until_paused(socket: &mut TcpStream) -> usize {
    let line = format!("{}\n", "x".repeat(LINE - 1));
    let chunk = line.repeat(100);
    let mut bytes = 0;
    // They and their answers are several times what the kernel and 1 MiB hold.
    while bytes < 64_000_000 {
        let from = bytes % chunk.len();
        match timeout(
            Duration::from_secs(3),
            socket.write(&chunk.as_bytes()[from..]),
        )
        .await
        {
            Ok(written) => bytes += written.expect("the connection lives"),
            Err(_) => return bytes,
        }
    }
    panic!("the server took {bytes} bytes without being read");
}

/// While one back end is paused, others are served and the server holds little.
async fn assert_bounded(server: &Server) {
    sleep(Duration::from_millis(200)).await;
    let waiting = server.count("outbox_bytes").await;
    assert!(waiting > 0, "nothing waits");
    assert!(waiting < 3 << 20, "{waiting} bytes of answers wait");
    assert_eq!(server.backend().await.ask("online nobody").await, "fail");
    assert_eq!(server.closed("slow consumer").await, 0);
}
