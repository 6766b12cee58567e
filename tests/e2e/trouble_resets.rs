//! Five thousand connections that are reset, each at a random moment of its life: between any two bytes of what
//! it sends, before or after it is answered, while others talk to it. Who stays is served all the while and misses
//! nothing; nothing is left of those who went.

use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Client, PATIENCE, frame};
use crate::on_drivers;
use crate::raw::{CLOSE, FIN, PING, Raw, TEXT, masked, request};
use crate::seed;
use crate::server::Server;

const RESETS: usize = 5_000;
const AT_ONCE: usize = 40;
/// Those who stay.
const STAYING: usize = 6;

on_drivers! {
    five_thousand_resets_leave_nothing_and_nobody_misses_a_message,
}

async fn five_thousand_resets_leave_nothing_and_nobody_misses_a_message(driver: &'static str) {
    let server = Server::with(2, &[("DRIVER", driver)]).await;
    let mut rng = seed::rng();
    let (before, memory) = (server.holdings().await, server.memory());
    let mut staying = Vec::new();
    for uid in seed::uids(&mut rng, STAYING) {
        staying.push(server.relay("ws", &uid).await);
    }
    let speaker = server.relay("ws", &seed::uid(&mut rng)).await;
    let (told, stop) = watch::channel(false);
    let speaking = tokio::spawn(speak(speaker, stop.clone()));
    let mut listening = JoinSet::new();
    for client in staying {
        listening.spawn(listen(client));
    }

    let mut resets = JoinSet::new();
    for number in 0..RESETS {
        if resets.len() == AT_ONCE {
            let ended = resets.join_next().await.expect("some are under way");
            ended.expect("a client without complaint");
        }
        let life = Life::draw(&server, &mut rng, number);
        resets.spawn(life.live(rng.fork()));
    }
    while let Some(ended) = resets.join_next().await {
        ended.expect("a client without complaint");
    }
    told.send_replace(true);
    let count = speaking.await.expect("a speaker without complaint");
    assert!(count > 20, "only {count} broadcasts went to them");
    while let Some(heard) = listening.join_next().await {
        assert_eq!(heard.expect("a listener without complaint"), count);
    }

    server.wait_holdings(before).await;
    server.expect_memory(memory, 8 << 20);
    // Some were on their way out by themselves, or were not there yet.
    let reset = server.closed("reset by peer").await;
    assert!(reset > RESETS as u64 / 4, "only {reset} were reset");
    assert_eq!(server.count("panics").await, 0);
}

/// Tells everybody a number, again and again, until it is told to stop; returns how many there were.
async fn speak(mut speaker: Client, mut stop: watch::Receiver<bool>) -> usize {
    let fill = "x".repeat(3_000);
    let mut count = 0;
    while !*stop.borrow_and_update() {
        speaker.send(&format!("all:number {count} {fill}")).await;
        next_number(&mut speaker).await;
        count += 1;
        sleep(Duration::from_millis(5)).await;
    }
    speaker.send("all:number end").await;
    count
}

/// Hears every number, in order, and the end; returns how many.
async fn listen(mut client: Client) -> usize {
    let mut count = 0;
    while let Some(number) = next_number(&mut client).await {
        assert_eq!(number, count);
        count += 1;
    }
    count
}

/// The next number that is told, past what those who are reset had to say; `None` is the end.
async fn next_number(client: &mut Client) -> Option<usize> {
    loop {
        let text = client.text().await;
        if let Some(number) = text.strip_prefix("number ") {
            let number = number.split(' ').next().expect("a word");
            return (number != "end").then(|| number.parse().expect("a number"));
        }
    }
}

/// What one connection would do if it were not reset.
struct Life {
    address: SocketAddr,
    /// What it writes, and whether an answer follows each part.
    parts: Vec<(Vec<u8>, bool)>,
}

impl Life {
    fn draw(server: &Server, rng: &mut Rng, number: usize) -> Life {
        let uid = format!("{}-{number}", seed::uid(rng));
        let login = |uid: &str| (masked(FIN | TEXT, uid.as_bytes()), true);
        let open = || (request("").into_bytes(), true);
        let filler = "x".repeat(rng.usize(0..5_000));
        let (scheme, app, parts) = match rng.u32(0..9) {
            0 | 1 => {
                let mut parts = vec![open(), login(&uid)];
                parts.push((masked(FIN | TEXT, b"all:I was here"), true));
                let mine = format!("{uid}:{filler}");
                parts.push((masked(FIN | TEXT, mine.as_bytes()).repeat(3), true));
                parts.push((masked(TEXT, filler.as_bytes()), false));
                parts.push((masked(FIN | PING, b"ping"), true));
                parts.push((masked(FIN | CLOSE, &1000u16.to_be_bytes()), true));
                ("ws", "relay", parts)
            }
            2 => {
                let talk = format!("all:I was here\n{uid}:{filler}\n");
                let parts = vec![(format!("{uid}\n").into_bytes(), true), (talk.into(), true)];
                ("text", "relay", parts)
            }
            3 => {
                let talk = [
                    frame(b"all:I was here"),
                    frame(format!("{uid}:x").as_bytes()),
                ];
                let parts = vec![(frame(uid.as_bytes()), true), (talk.concat(), true)];
                ("frame", "relay", parts)
            }
            4 => {
                let heartbeat = (masked(FIN | TEXT, b"heartbeat"), false);
                // Nothing answers a login here, but somebody's words to all may.
                let login = (login(&uid).0, false);
                ("ws", "push", vec![open(), login, heartbeat])
            }
            5 => {
                let line = format!("{{\"uid\":\"{uid}\",\"fill\":\"{filler}\"}}\n");
                let all = "{\"uid\":\"all\"}\nonline nobody\nstats\n";
                let parts = vec![(line.repeat(5).into(), true), (all.into(), true)];
                ("text", "push-backend", parts)
            }
            6 => {
                let message = masked(FIN | TEXT, filler.as_bytes());
                ("ws", "echo", vec![open(), (message.repeat(4), true)])
            }
            7 => {
                let login = (
                    masked(FIN | TEXT, format!("login:u{number}").as_bytes()),
                    true,
                );
                let talk = (masked(FIN | TEXT, b"msg:nihao"), true);
                ("ws", "chat", vec![open(), login, talk])
            }
            _ => {
                let get = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
                let post =
                    "POST /v1/push HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{";
                let parts = vec![(get.into(), true), (post.into(), false)];
                ("http", "page", parts)
            }
        };
        Life {
            address: server.address(scheme, app),
            parts,
        }
    }

    /// Lives until the moment of the reset.
    async fn live(self, mut rng: Rng) {
        let bytes: usize = self.parts.iter().map(|(part, _)| part.len()).sum();
        // Half of them at the end of a part, where most is under way; the others anywhere.
        let mut left = match rng.bool() {
            true => {
                let count = rng.usize(0..=self.parts.len());
                let parts = self.parts[..count].iter();
                parts.map(|(part, _)| part.len()).sum()
            }
            false => rng.usize(0..=bytes),
        };
        let mut raw = Raw::dial(self.address).await;
        for (part, answered) in &self.parts {
            let length = part.len().min(left);
            raw.write_if_open(&part[..length]).await;
            left -= length;
            if left == 0 {
                break;
            }
            // A byte of the answer tells that it is there; what else there is stays unread.
            if *answered && rng.u32(0..4) > 0 {
                let mut byte = [0];
                let read = timeout(PATIENCE, raw.socket.read(&mut byte)).await;
                assert!(read.expect("an answer").is_ok_and(|count| count == 1));
            }
        }
        match rng.u32(0..3) {
            0 => {}
            1 => tokio::task::yield_now().await,
            _ => sleep(Duration::from_micros(rng.u64(0..4_000))).await,
        }
        raw.reset();
    }
}
