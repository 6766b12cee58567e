//! Another process goes on in a server's place: nobody is disconnected, nothing is lost, and what goes wrong leaves all
//! as it was.

use std::path::PathBuf;
use std::time::Duration;

use crate::client::Client;
use crate::http::{Http, get};
use crate::on_cores;
use crate::raw::Raw;
use crate::resources::free_port;
use crate::server::{Server, command};

on_cores! {
    everybody_stays,
    with_a_descriptor_table_for_each_core,
    what_is_half_there_goes_on,
    messages_during_the_change_arrive_once_and_in_order,
    those_who_listen_by_events_and_those_who_read_late_miss_nothing,
    again_and_again,
    who_ends_a_server_amid_an_upgrade_ends_it,
    what_is_under_way_without_end_keeps_nobody_waiting,
    what_goes_wrong_leaves_all_as_it_was,
    one_that_hangs_where_everybody_waits_is_given_up_soon,
}

pub const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";

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

pub async fn everybody_stays(cores: usize) {
    everybody_stays_with(cores, "auto").await;
}

async fn with_a_descriptor_table_for_each_core(cores: usize) {
    everybody_stays_with(cores, "per_core").await;
}

async fn everybody_stays_with(cores: usize, tables: &str) {
    let mut server = Server::with(cores, &[("DESCRIPTOR_TABLES", tables)]).await;
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
pub async fn messages_during_the_change_arrive_once_and_in_order(cores: usize) {
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

pub async fn those_who_listen_by_events_and_those_who_read_late_miss_nothing(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut listening = server.listen("listens").await;
    let mut backend = server.backend().await;
    let push = |uid: &str, number: usize| {
        format!(
            "{{\"uid\":\"{uid}\",\"n\":{number},\"fill\":\"{}\"}}",
            "x".repeat(20_000)
        )
    };
    let mut late = Raw::relay_narrow(server.address("ws", "relay"), "late").await;
    // More than its kernel's buffers and ours take.
    let count = 30;
    for number in 0..count {
        assert_eq!(backend.ask(&push("late", number)).await, "ok");
    }
    assert_eq!(backend.ask(&push("listens", 1)).await, "ok");
    for round in 2..4 {
        server.upgrade().await.expect("it is upgraded");
        assert_eq!(backend.ask(&push("listens", round)).await, "ok");
        assert_eq!(backend.ask(&push("late", count + round - 2)).await, "ok");
    }
    for number in 1..4 {
        listening.expect(&push("listens", number)).await;
    }
    for number in 0..count + 2 {
        late.expect(0x81, push("late", number).as_bytes()).await;
    }
}

pub async fn again_and_again(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut everybody = Everybody::come(&server).await;
    for _ in 0..10 {
        server.upgrade().await.expect("it is upgraded");
        everybody.are_there().await;
    }
}

/// Whichever of the two processes has all by then, it drains.
async fn who_ends_a_server_amid_an_upgrade_ends_it(cores: usize) {
    for nth in 0..8 {
        let mut server = Server::start(cores).await;
        let mut client = server.relay("text", "tom").await;
        server.signal_on(libc::SIGUSR2);
        tokio::time::sleep(Duration::from_millis(nth * 5)).await;
        server.signal(libc::SIGTERM);
        let status = server.wait_left().await;
        assert!(status.success(), "{status}: {}", server.log());
        // The signal may have come too late for the first process, which then knows nothing of it.
        if let Some(pid) = server.successor_by_log() {
            server.wait_log(&["goes on in another's place"]).await;
            let pid = i32::try_from(pid).expect("a pid");
            // SAFETY: it takes two integers. A second signal so soon is the first, if that has come.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        client.drain_to_end(1001).await;
    }
}

/// Who looks at the live log; and a file of a Unix socket stays.
async fn what_is_under_way_without_end_keeps_nobody_waiting(cores: usize) {
    let path = std::env::temp_dir().join(format!("ringpost-upgrade-{}.sock", fastrand::u64(..)));
    let unix = format!("text+unix://{}=push-backend", path.display());
    let listeners = ["http://127.0.0.1:0=page", "text://127.0.0.1:0=relay", &unix];
    // The banner's line of the Unix socket is not looked at.
    let mut server = Server::spawn(command(cores, &[], &listeners), 2).await;
    let mut log = Http::dial(server.address("http", "page")).await;
    log.write(b"GET /v1/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(log.head_response().await.map(|it| it.status), Some(200));
    let mut client = server.relay("text", "tom").await;
    for _ in 0..2 {
        server.upgrade().await.expect("it is upgraded");
        assert!(path.exists());
        let socket = tokio::net::UnixStream::connect(&path).await;
        drop(socket.expect("somebody listens"));
        client.send("tom:hello").await;
        client.expect("hello").await;
    }
    // The one who looks is let go of.
    while !log.ends().await {}
    let pid = i32::try_from(server.id()).expect("a pid");
    // SAFETY: it takes two integers.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    client.drain_to_end(1001).await;
    let start = std::time::Instant::now();
    while path.exists() {
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "its file is left"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Steps of a successor before the last word.
const STEPS: [&str; 6] = ["hello", "offer", "ready", "copies", "last", "taken"];

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
            let said = server.upgrade_once().await;
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

/// Whoever is read by nobody does not wait for as long as an upgrade may take.
async fn one_that_hangs_where_everybody_waits_is_given_up_soon(cores: usize) {
    let fault = Fault::new();
    let listeners = [
        "websocket://127.0.0.1:0=relay",
        "text://127.0.0.1:0=relay",
        "frame://127.0.0.1:0=relay",
        "text://127.0.0.1:0=push-backend",
    ];
    let mut command = command(cores, &[("UPGRADE_TIMEOUT", "1h")], &listeners);
    command.env("UPGRADE_FAULT_FILE", &fault.0);
    let mut server = Server::spawn(command, listeners.len()).await;
    let mut everybody = Everybody::come(&server).await;
    for step in ["copies", "records", "last", "taken"] {
        fault.plant(&format!("hang {step}"));
        let said = server.upgrade_once().await;
        let said = said.expect_err("it cannot be done");
        assert!(said.contains("has stood still"), "{step}: {said}");
        everybody.are_there().await;
    }
}

/// A file by which faults are planted in new processes.
pub struct Fault(pub PathBuf);

impl Fault {
    pub fn new() -> Fault {
        let name = format!(
            "ringpost-fault-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        Fault(std::env::temp_dir().join(name))
    }

    pub fn plant(&self, what: &str) {
        std::fs::write(&self.0, what).expect("a file is written");
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listeners of the file that says what is to be, by their schemes and apps.
fn file_of(cores: usize, driver: &str, listeners: &[(&str, u16, &str)]) -> String {
    let listeners = listeners.iter().map(|(scheme, port, app)| {
        format!("[[listen]]\nurl = \"{scheme}://127.0.0.1:{port}\"\napp = \"{app}\"\n")
    });
    format!(
        "cores = {cores}\ndriver = \"{driver}\"\n{}",
        listeners.collect::<String>()
    )
}

#[test]
fn another_configuration_holds_from_then_on() {
    crate::run(async {
        let ports = [free_port(), free_port(), free_port()];
        let (relay, back, more) = (
            ("websocket", ports[0], "relay"),
            ("text", ports[1], "push-backend"),
            ("frame", ports[2], "relay"),
        );
        let file = Fault::new();
        file.plant(&file_of(1, "epoll", &[relay, back]));
        let mut command = std::process::Command::new(crate::server::binary());
        command.args(["serve", "--config"]).arg(&file.0);
        command.env("RINGPOST_UPGRADE_TIMEOUT", "60s");
        let mut server = Server::spawn(command, 2).await;
        let mut clients = Vec::new();
        for nth in 0..20 {
            clients.push(server.relay("ws", &format!("uid{nth}")).await);
        }
        let mut backend = server.backend().await;
        let frame = std::net::SocketAddr::from(([127, 0, 0, 1], ports[2]));
        let mut gone = None;
        for (cores, driver, listeners) in [
            (4, "auto", &[relay, back][..]),
            (2, "auto", &[relay, back, more]),
            (3, "epoll", &[back, relay]),
            (1, "auto", &[relay, back]),
        ] {
            file.plant(&file_of(cores, driver, listeners));
            server.upgrade().await.expect("it is upgraded");
            for (nth, client) in clients.iter_mut().enumerate() {
                let line = format!("{{\"uid\":\"uid{nth}\"}}");
                assert_eq!(backend.ask(&line).await, "ok");
                client.expect(&line).await;
            }
            let stats: serde_json::Value =
                serde_json::from_str(&backend.ask("stats").await).expect("stats");
            assert_eq!(stats["cores"].as_array().map(Vec::len), Some(cores));
            for nth in 0..8 {
                let mut fresh = server.relay("ws", &format!("fresh{cores}-{nth}")).await;
                fresh.send("uid0:hello").await;
                clients[0].expect("hello").await;
                fresh.close().await;
            }
            match (listeners.len(), gone.take()) {
                (3, _) => {
                    let mut client = Client::connect("frame", frame).await;
                    client.send("framed").await;
                    client.expect_start("login success").await;
                    gone = Some(client);
                }
                (_, Some(mut client)) => {
                    // Its listener is gone, and it is told so as its codec can.
                    client.drain_to_end(1001).await;
                    assert!(tokio::net::TcpStream::connect(frame).await.is_err());
                }
                _ => {}
            }
        }
        // With a mistake in it nothing happens.
        file.plant("cores = \"many\"");
        let said = server.upgrade().await.expect_err("it is no configuration");
        assert!(said.contains("exit status: 2"), "{said}");
        assert_eq!(backend.ask("online uid0").await, "ok");
    });
}

#[test]
fn who_is_no_server_is_not_asked() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let mut shell = Command::new("sh")
        .args([
            "-c",
            "trap 'echo asked; exit 1' USR2; echo ready; read line; echo not asked",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut said = BufReader::new(shell.stdout.take().expect("a pipe")).lines();
    let mut next = move || said.next().expect("a line").expect("text");
    assert_eq!(next(), "ready");
    let mut upgrade = Command::new(crate::server::binary());
    let upgrade = upgrade.args(["upgrade", "--pid", &shell.id().to_string()]);
    let asked = upgrade.output().expect("the command runs");
    assert_eq!(asked.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(
        complaint.contains("no server that can be upgraded"),
        "{complaint}"
    );
    drop(shell.stdin.take());
    assert_eq!(next(), "not asked");
    shell.wait().expect("it ends");
}
