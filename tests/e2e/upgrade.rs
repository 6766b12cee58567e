//! Another process goes on in a server's place: nobody is disconnected, nothing is lost, and what goes wrong leaves all
//! as it was.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::Client;
use crate::http::{Http, get};
use crate::on_cores;
use crate::raw::Raw;
use crate::server::{Server, command};

on_cores! {
    everybody_stays,
    what_is_half_there_goes_on,
    messages_during_the_change_arrive_once_and_in_order,
    again_and_again,
    what_goes_wrong_leaves_all_as_it_was,
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

/// Clients of each codec, bound, and a back end.
struct Everybody {
    clients: Vec<(String, Client)>,
    backend: Client,
}

impl Everybody {
    async fn come(server: &Server) -> Everybody {
        let mut clients = Vec::new();
        for scheme in ["ws", "text", "frame"] {
            for nth in 0..4 {
                let uid = format!("{scheme}{nth}");
                clients.push((uid.clone(), server.relay(scheme, &uid).await));
            }
        }
        Everybody {
            clients,
            backend: server.backend().await,
        }
    }

    /// Each is reached, and reaches the next.
    async fn are_there(&mut self) {
        for at in 0..self.clients.len() {
            let uid = self.clients[at].0.clone();
            let line = format!("{{\"uid\":\"{uid}\",\"n\":1}}");
            assert_eq!(self.backend.ask(&line).await, "ok", "{uid}");
            self.clients[at].1.expect(&line).await;
            let next = (at + 1) % self.clients.len();
            let to = self.clients[next].0.clone();
            self.clients[at].1.send(&format!("{to}:from {uid}")).await;
            self.clients[next].1.expect(&format!("from {uid}")).await;
        }
        self.clients[0].1.send("all:to all").await;
        for (_, client) in &mut self.clients {
            client.expect("to all").await;
        }
    }
}

async fn everybody_stays(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut everybody = Everybody::come(&server).await;
    let mut unbound = server.connect("ws", "relay").await;
    everybody.are_there().await;
    server.upgrade().await.expect("it is upgraded");
    everybody.are_there().await;
    unbound.send("late").await;
    unbound.expect("login success, your uid is late").await;
    assert_eq!(everybody.backend.ask("online late").await, "ok");
    // Newcomers find the new process.
    let mut fresh = server.relay("ws", "fresh").await;
    fresh.send("ws0:hello").await;
    everybody.clients[0].1.expect("hello").await;
    assert!(server.wait_left().await.success());
    // Who leaves is gone.
    let (uid, client) = everybody.clients.remove(0);
    client.close().await;
    server.wait_offline(&uid).await;
}

async fn what_is_half_there_goes_on(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut text = Raw::dial(server.address("text", "relay")).await;
    text.write(b"half").await;
    let mut other = server.relay("ws", "other").await;
    let mut web = Raw::open(server.address("ws", "relay")).await;
    let whole = crate::raw::masked(0x81, b"web");
    web.write(&whole[..4]).await;
    let page = server.address("http", "page");
    let mut idle = Http::dial(page).await;
    idle.write(HEALTH).await;
    assert_eq!(idle.response().await.map(|it| it.status), Some(200));
    let mut half = Http::dial(page).await;
    half.write(b"GET /healthz HT").await;
    server.upgrade().await.expect("it is upgraded");
    text.write(b"way\n").await;
    let answer = b"login success, your uid is halfway\n";
    assert_eq!(text.take(answer.len()).await, answer);
    web.write(&whole[4..]).await;
    web.expect(0x81, b"login success, your uid is web").await;
    other.send("halfway:hello").await;
    assert_eq!(text.take(6).await, b"hello\n");
    idle.write(HEALTH).await;
    assert_eq!(idle.response().await.map(|it| it.status), Some(200));
    half.write(b"TP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(half.response().await.map(|it| it.status), Some(200));
    assert_eq!(get(page, "/readyz").await.status, 200);
}

/// One sends to all others as fast as it can be read, while the process changes.
async fn messages_during_the_change_arrive_once_and_in_order(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut receivers = Vec::new();
    for scheme in ["ws", "text", "frame"] {
        for nth in 0..3 {
            receivers.push(server.relay(scheme, &format!("{scheme}-{nth}")).await);
        }
    }
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let mut sender = server.relay("ws", "sender").await;
    let sending = tokio::spawn(async move {
        let mut count = 0;
        while !*stopped.borrow_and_update() {
            for scheme in ["ws", "text", "frame"] {
                for nth in 0..3 {
                    sender.send(&format!("{scheme}-{nth}:{count}")).await;
                }
            }
            count += 1;
            if count % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        (sender, count)
    });
    let receiving: Vec<_> = receivers
        .into_iter()
        .map(|mut receiver| {
            tokio::spawn(async move {
                let mut next: u64 = 0;
                loop {
                    let text = receiver.text().await;
                    if text == "end" {
                        return next;
                    }
                    assert_eq!(text, next.to_string());
                    next += 1;
                }
            })
        })
        .collect();
    for _ in 0..3 {
        server.upgrade().await.expect("it is upgraded");
    }
    stop.send(true).expect("it sends");
    let (mut sender, count) = sending.await.expect("it has sent");
    for scheme in ["ws", "text", "frame"] {
        for nth in 0..3 {
            sender.send(&format!("{scheme}-{nth}:end")).await;
        }
    }
    for one in receiving {
        assert_eq!(one.await.expect("in order"), count);
    }
}

async fn again_and_again(cores: usize) {
    let times = match std::env::var_os("E2E_LONG") {
        Some(_) => 50,
        None => 10,
    };
    let mut server = Server::start(cores).await;
    let mut everybody = Everybody::come(&server).await;
    for _ in 0..times {
        server.upgrade().await.expect("it is upgraded");
        everybody.are_there().await;
    }
}

/// Steps of a successor before the last word.
const STEPS: [&str; 6] = ["hello", "offer", "ready", "connections", "last", "taken"];

async fn what_goes_wrong_leaves_all_as_it_was(cores: usize) {
    let fault = Fault::new();
    let listeners = [
        "websocket://127.0.0.1:0=relay",
        "text://127.0.0.1:0=relay",
        "frame://127.0.0.1:0=relay",
        "text://127.0.0.1:0=push-backend",
    ];
    let mut command = command(cores, &[("UPGRADE_TIMEOUT", "2s")], &listeners);
    command.env("UPGRADE_FAULT_FILE", &fault.0);
    let mut server = Server::spawn(command, listeners.len()).await;
    let mut everybody = Everybody::come(&server).await;
    for step in STEPS {
        for kind in ["die", "refuse", "hang"] {
            fault.plant(&format!("{kind} {step}"));
            let said = server.upgrade().await;
            let said = said.expect_err("it cannot be done");
            let words = match kind {
                "refuse" => "a test has it refuse",
                "hang" => "upgrade_timeout",
                _ => "has ended (signal: 9",
            };
            assert!(
                said.contains(words) || said.contains("the new process"),
                "{kind} {step}: {said}"
            );
            everybody.are_there().await;
            assert!(server.is_running());
        }
    }
    fault.plant("");
    server.upgrade().await.expect("nothing is planted any more");
    everybody.are_there().await;
}

/// A file by which faults are planted in new processes.
struct Fault(PathBuf);

impl Fault {
    fn new() -> Fault {
        let name = format!(
            "ringpost-fault-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        Fault(std::env::temp_dir().join(name))
    }

    fn plant(&self, what: &str) {
        std::fs::write(&self.0, what).expect("a file is written");
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
