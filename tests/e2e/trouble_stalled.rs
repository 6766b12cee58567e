//! Twenty readers that stall under a load that goes on: each is cut off as a slow consumer after a bounded number
//! of bytes, and what others ask for comes as soon as it did while all of them read.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Client;
use crate::on_drivers;
use crate::raw::{FIN, Raw, TEXT};
use crate::seed;
use crate::server::Server;
use crate::slow_consumer::expect_slow_consumer;

const STALLED: usize = 20;
const OUTBOX: usize = 200_000;
/// An outbox, what the kernel holds at both ends, and some.
const BYTES_MAX: usize = 2 << 20;
const LINE: usize = 10_000;
/// Rounds of pushes for each phase that is measured.
const ROUNDS: usize = 60;

on_drivers! {
    stalled_readers_are_cut_off_and_nobody_waits_for_them,
}

async fn stalled_readers_are_cut_off_and_nobody_waits_for_them(driver: &'static str) {
    let outbox = OUTBOX.to_string();
    let settings = [("DRIVER", driver), ("OUTBOX_BYTES_MAX", outbox.as_str())];
    let server = Server::with(2, &settings).await;
    let mut rng = seed::rng();
    let (before, memory) = (server.holdings().await, server.memory());
    let uids = seed::uids(&mut rng, STALLED);
    let mut readers = Vec::new();
    for uid in &uids {
        readers.push(Raw::relay_narrow(server.address("ws", "relay"), uid).await);
    }
    let mut others = Others::gather(&server).await;
    let mut pusher = Pusher::new(&server, &uids).await;

    // The same load first while they read.
    let (stall, stalls) = watch::channel(false);
    let mut reading = JoinSet::new();
    for reader in readers {
        reading.spawn(read_until(reader, stalls.clone()));
    }
    let while_reading = others.measure(pusher.rounds(ROUNDS)).await;
    assert_eq!(pusher.cut_off(), 0, "they read");
    stall.send_replace(true);
    let mut stalled = Vec::new();
    while let Some(reader) = reading.join_next().await {
        stalled.push(reader.expect("a reader without complaint"));
    }

    pusher.forget_bytes();
    let while_stalled = others.measure(pusher.until_all_are_cut_off()).await;
    println!("{driver}: {while_reading:?} while they read, {while_stalled:?} while they did not");
    // Generous, for others use this machine. Who had to wait for one of them would wait until it is cut off.
    let is_flat = |before: Duration, now: Duration, more: u64| {
        let most = 4 * before + Duration::from_millis(more);
        assert!(now <= most, "{now:?}, and {before:?} while they read");
    };
    is_flat(while_reading.median, while_stalled.median, 20);
    is_flat(while_reading.late, while_stalled.late, 200);
    is_flat(while_reading.longest, while_stalled.longest, 500);
    server.wait_closed("slow consumer", STALLED as u64).await;
    for mut reader in stalled {
        expect_slow_consumer(&mut reader).await;
    }
    assert_eq!(server.closed("slow consumer").await, STALLED as u64);
    drop((others, pusher));
    server.wait_holdings(before).await;
    server.expect_memory(memory, STALLED * OUTBOX + (4 << 20));
}

/// Reads on until it is told to stall.
async fn read_until(mut reader: Raw, mut stalls: watch::Receiver<bool>) -> Raw {
    loop {
        tokio::select! {
            frame = reader.next() => assert_eq!(frame.expect("it reads").first, FIN | TEXT),
            _ = stalls.wait_for(|stalls| *stalls) => return reader,
        }
    }
}

/// A back end that pushes to all of them in turn.
struct Pusher {
    backend: Client,
    /// Each line, the bytes that were taken for it, and whether its receiver is gone.
    lines: Vec<(String, usize, bool)>,
}

impl Pusher {
    async fn new(server: &Server, uids: &[String]) -> Pusher {
        let fill = "x".repeat(LINE);
        let line = |uid| format!("{{\"uid\":\"{uid}\",\"fill\":\"{fill}\"}}");
        Pusher {
            backend: server.backend().await,
            lines: uids.iter().map(|uid| (line(uid), 0, false)).collect(),
        }
    }

    fn cut_off(&self) -> usize {
        self.lines.iter().filter(|(.., gone)| *gone).count()
    }

    fn forget_bytes(&mut self) {
        for (_, bytes, _) in &mut self.lines {
            *bytes = 0;
        }
    }

    async fn round(&mut self) {
        for (line, bytes, gone) in &mut self.lines {
            match self.backend.ask(line).await.as_str() {
                "ok" => {
                    assert!(!*gone, "it came back");
                    *bytes += line.len();
                    assert!(*bytes <= BYTES_MAX, "{bytes} bytes were taken for one");
                }
                answer => {
                    assert_eq!(answer, "fail");
                    *gone = true;
                }
            }
        }
        sleep(Duration::from_millis(2)).await;
    }

    async fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.round().await;
        }
    }

    /// The bound on bytes bounds the rounds.
    async fn until_all_are_cut_off(&mut self) {
        while self.cut_off() < STALLED {
            self.round().await;
        }
    }
}

/// Those who have nothing to do with it, on whichever core.
struct Others {
    clients: Vec<(Client, String, String)>,
}

/// How long their answers took.
#[derive(Debug)]
struct Waits {
    median: Duration,
    /// Nineteen of twenty took no longer.
    late: Duration,
    longest: Duration,
}

impl Others {
    async fn gather(server: &Server) -> Others {
        let mut clients = Vec::new();
        for _ in 0..3 {
            let echo = server.connect("ws", "echo").await;
            clients.push((echo, "hello".to_owned(), "hello".to_owned()));
            let backend = server.backend().await;
            clients.push((backend, "online nobody".to_owned(), "fail".to_owned()));
        }
        for uid in seed::uids(&mut seed::rng(), 6) {
            let relay = server.relay("text", &uid).await;
            clients.push((relay, format!("{uid}:hello"), "hello".to_owned()));
        }
        Others { clients }
    }

    /// Has each ask in turn for as long as something else goes on.
    async fn measure(&mut self, load: impl Future<Output = ()>) -> Waits {
        let mut load = pin!(load);
        let mut waits = Vec::new();
        let asking = async {
            loop {
                for (client, question, answer) in &mut self.clients {
                    let start = Instant::now();
                    assert_eq!(client.ask(question).await, *answer);
                    waits.push(start.elapsed());
                }
            }
        };
        tokio::select! {
            () = &mut load => {}
            () = asking => {}
        }
        assert!(waits.len() > 20, "only {} answers", waits.len());
        waits.sort_unstable();
        Waits {
            median: waits[waits.len() / 2],
            late: waits[waits.len() * 19 / 20],
            longest: waits[waits.len() - 1],
        }
    }
}
