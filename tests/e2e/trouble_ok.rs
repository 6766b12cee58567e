//! `ok` means delivered or closed: a client that is stopped at a random moment and continued at another has
//! received exactly the messages that were answered `ok`, in order, or the first of them and then its end, for a
//! reason that is counted. Never a gap, and never one that was answered `fail`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdout, Command, Stdio};

use fastrand::Rng;
use socket2::{Domain, Socket, Type};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::client::{Client, End};
use crate::on_drivers;
use crate::raw::{CLOSE, FIN, PING, Raw, TEXT, close_code};
use crate::seed;
use crate::server::Server;

const ROUNDS: usize = 12;
const WEBSOCKETS: usize = 7;
/// Line clients, each a process that is really stopped.
const PROCESSES: usize = 3;
const CLIENTS: usize = WEBSOCKETS + PROCESSES;

on_drivers! {
    ok_means_delivered_or_closed,
}

async fn ok_means_delivered_or_closed(driver: &'static str) {
    let settings = [
        ("DRIVER", driver),
        ("MESSAGE_BYTES_MAX", "20000"),
        ("OUTBOX_BYTES_MAX", "50000"),
        ("SEND_BUFFER_BYTES", "16384"),
    ];
    let server = Server::with(2, &settings).await;
    let mut rng = seed::rng();
    let (before, memory) = (server.holdings().await, server.memory());
    let mut backend = server.backend().await;
    let (mut complete, mut closed) = (0, 0);
    for round in 0..ROUNDS {
        for outcome in play(&server, &mut backend, &mut rng, round).await {
            match outcome {
                Outcome::NeverStopped => {}
                Outcome::Complete => complete += 1,
                Outcome::Closed => closed += 1,
            }
        }
    }
    drop(backend);
    println!("{driver}: of those stopped {complete} have received all, {closed} were closed");
    assert!(
        complete >= 5,
        "only {complete} of those stopped have received all"
    );
    assert!(closed >= 5, "only {closed} of those stopped were closed");
    server.wait_holdings(before).await;
    server.expect_memory(memory, CLIENTS * 50_000 + (4 << 20));
}

/// What came of a client.
#[derive(PartialEq)]
enum Outcome {
    NeverStopped,
    /// It was stopped, and has received everything.
    Complete,
    /// It was stopped, and its connection ended.
    Closed,
}

/// What is pushed: to one client or to all, and what was answered.
struct Pushed {
    to: Option<usize>,
    line: String,
    ok: bool,
}

/// One round: clients come, lines are pushed while some of them stand still, and all go.
async fn play(server: &Server, backend: &mut Client, rng: &mut Rng, round: usize) -> Vec<Outcome> {
    let uids = seed::uids(rng, CLIENTS);
    let mut clients = Vec::new();
    for (number, uid) in uids.iter().enumerate() {
        clients.push(match number < WEBSOCKETS {
            true => Reader::websocket(server.address("ws", "push"), uid).await,
            false => Reader::process(server.address("text", "push"), uid),
        });
        server.wait_online(uid).await;
    }
    let before = server.closed("slow consumer").await;
    let count = rng.usize(40..250);
    // When each stops, if it does, and when it goes on.
    let stops: Vec<Option<(usize, usize)>> = (0..CLIENTS)
        .map(|_| (rng.u32(0..3) > 0).then(|| (rng.usize(0..count), rng.usize(0..count))))
        .map(|stop| stop.map(|(one, other)| (one.min(other), one.max(other))))
        .collect();
    // Some get the most of it.
    let favourites = [
        rng.usize(0..CLIENTS),
        rng.usize(0..CLIENTS),
        rng.usize(0..CLIENTS),
    ];
    let mut pushed = Vec::new();
    let mut at = 0;
    while at < count {
        // Pipelined now and then.
        let together = rng.usize(1..8).min(count - at);
        for number in at..at + together {
            for (client, stop) in clients.iter_mut().zip(&stops) {
                if stop.is_some_and(|(stop, _)| stop == number) {
                    client.stand_still(true);
                }
                if stop.is_some_and(|(_, go)| go == number) {
                    client.stand_still(false);
                }
            }
            let to = match rng.u32(0..10) {
                0 => None,
                1..5 => Some(favourites[rng.usize(0..favourites.len())]),
                _ => Some(rng.usize(0..CLIENTS)),
            };
            let uid = to.map_or("all", |to| &uids[to]);
            let fill = match rng.u32(0..3) {
                0 => rng.usize(0..100),
                _ => rng.usize(0..18_000),
            };
            let fill = "x".repeat(fill);
            let line =
                format!("{{\"uid\":\"{uid}\",\"n\":\"{round}-{number}\",\"fill\":\"{fill}\"}}");
            pushed.push(Pushed {
                to,
                line,
                ok: false,
            });
        }
        for one in &pushed[at..] {
            backend.send(&one.line).await;
        }
        for one in &mut pushed[at..] {
            let answer = backend.text().await;
            assert!(answer == "ok" || answer == "fail", "{answer}");
            one.ok = answer == "ok";
        }
        at += together;
    }
    finish(server, backend, clients, &uids, &stops, &pushed, before).await
}

/// Lets all go on, has each receive what it still can, and judges it.
async fn finish(
    server: &Server,
    backend: &mut Client,
    clients: Vec<Reader>,
    uids: &[String],
    stops: &[Option<(usize, usize)>],
    pushed: &[Pushed],
    closed_before: u64,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    let mut ended = 0;
    for (number, client) in clients.into_iter().enumerate() {
        // Those stopped to the last go on here. The last line of all comes to whoever has not been closed.
        let last = format!("{{\"uid\":\"{}\",\"last\":1}}", uids[number]);
        client.stand_still(false);
        let reached = backend.ask(&last).await == "ok";
        let (received, end) = client.finish(&last).await;
        let expected: Vec<&str> = pushed
            .iter()
            .filter(|one| one.ok && one.to.is_none_or(|to| to == number))
            .map(|one| one.line.as_str())
            .collect();
        let stopped = stops[number].is_some();
        let so_far = &expected[..received.len().min(expected.len())];
        let gap = received
            .iter()
            .zip(so_far)
            .position(|(got, meant)| got != meant);
        assert_eq!(
            gap, None,
            "client {number}: a message is missing or another's"
        );
        assert!(
            received.len() <= expected.len(),
            "client {number}: too many"
        );
        outcomes.push(match end {
            None => {
                assert!(reached);
                assert_eq!(
                    received.len(),
                    expected.len(),
                    "client {number}: the rest is missing"
                );
                match stopped {
                    true => Outcome::Complete,
                    false => Outcome::NeverStopped,
                }
            }
            Some(end) => {
                let code = matches!(end, End::Code(code) if code != Some(4005));
                assert!(!code, "client {number} was closed: {end:?}");
                ended += 1;
                match stopped {
                    true => Outcome::Closed,
                    false => Outcome::NeverStopped,
                }
            }
        });
    }
    assert_eq!(server.closed("slow consumer").await - closed_before, ended);
    outcomes
}

/// A client with a small window, which can be stopped.
enum Reader {
    WebSocket {
        still: watch::Sender<bool>,
        reading: JoinHandle<(Vec<String>, End)>,
    },
    /// A process that copies what comes over its socket.
    Process {
        process: Child,
        reading: JoinHandle<(Vec<String>, End)>,
    },
}

/// What ends every client's lines.
const LAST: &str = ",\"last\":1}";

impl Reader {
    async fn websocket(address: SocketAddr, uid: &str) -> Reader {
        let mut raw = Raw::dial_narrow(address).await;
        raw.shake_hands().await;
        raw.frame(FIN | TEXT, uid.as_bytes()).await;
        let (still, mut stills) = watch::channel(false);
        let reading = tokio::spawn(async move {
            let mut lines: Vec<String> = Vec::new();
            loop {
                stills
                    .wait_for(|still| !*still)
                    .await
                    .expect("the round goes on");
                let frame = tokio::select! {
                    biased;
                    _ = stills.wait_for(|still| *still) => continue,
                    frame = raw.next() => frame,
                };
                match frame {
                    Err(end) => return (lines, end),
                    Ok(frame) if frame.first == FIN | CLOSE => {
                        return (lines, End::Code(close_code(&frame)));
                    }
                    Ok(frame) if frame.first == FIN | PING => {}
                    Ok(frame) => {
                        assert_eq!(frame.first, FIN | TEXT);
                        lines.push(String::from_utf8(frame.body).expect("text"));
                    }
                }
                if lines.last().is_some_and(|line| line.ends_with(LAST)) {
                    return (lines, End::Bare);
                }
            }
        });
        Reader::WebSocket { still, reading }
    }

    fn process(address: SocketAddr, uid: &str) -> Reader {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small window");
        socket.connect(&address.into()).expect("a connection");
        let mut stream = std::net::TcpStream::from(socket);
        stream
            .write_all(format!("{uid}\n").as_bytes())
            .expect("it leaves");
        let mut process = Command::new("cat")
            .stdin(OwnedFd::from(stream))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cat is everywhere");
        let copied = process.stdout.take().expect("a pipe");
        Reader::Process {
            process,
            reading: spawn_blocking(|| read_lines(copied)),
        }
    }

    fn stand_still(&self, still_now: bool) {
        match self {
            Reader::WebSocket { still, .. } => {
                still.send_replace(still_now);
            }
            Reader::Process { process, .. } => {
                let signal = if still_now {
                    libc::SIGSTOP
                } else {
                    libc::SIGCONT
                };
                let pid = libc::pid_t::try_from(process.id()).expect("a pid");
                // SAFETY: two integers; the process is a child that is not reaped before its end here.
                assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
            }
        }
    }

    /// What has come, without the last line; and the end, if it came before that.
    async fn finish(self, last: &str) -> (Vec<String>, Option<End>) {
        let (mut lines, end) = match self {
            Reader::WebSocket {
                still: _still,
                reading,
            } => reading.await.expect("no complaint"),
            Reader::Process {
                mut process,
                reading,
            } => {
                let read = reading.await.expect("no complaint");
                let _ = process.kill();
                process.wait().expect("a child to wait for");
                read
            }
        };
        match lines.pop_if(|line| line == last) {
            Some(_) => (lines, None),
            None => (lines, Some(end)),
        }
    }
}

/// Whole lines up to the last, or the end of the stream.
fn read_lines(copied: ChildStdout) -> (Vec<String>, End) {
    let mut copied = BufReader::new(copied);
    let mut lines: Vec<String> = Vec::new();
    while !lines.last().is_some_and(|line| line.ends_with(LAST)) {
        let mut line = String::new();
        let count = copied
            .read_line(&mut line)
            .expect("a pipe that can be read");
        if count == 0 || line.pop() != Some('\n') {
            break;
        }
        lines.push(line);
    }
    (lines, End::Bare)
}
