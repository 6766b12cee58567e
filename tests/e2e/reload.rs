//! SIGHUP: what can change changes, on every core and for whoever it concerns; what cannot is named; a mistake
//! changes nothing.

use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use libc::{SIGHUP, SIGTERM};
use tokio::time::sleep;

use crate::client::Client;
use crate::http::{JSON, get, post};
use crate::on_cores;
use crate::raw::{CONTINUATION, FIN, PING, PONG, Raw, TEXT, request};
use crate::server::{Server, binary, command};

on_cores! {
    fewer_connections_concern_newcomers_alone,
    limits_by_address_and_uid,
    sizes_and_rates,
    a_limit_below_what_is_gathered,
    times_hold_for_those_who_are_there,
    origins_and_what_apps_are_told,
    tokens_and_the_log,
    a_listeners_own_limits,
    a_mistake_changes_nothing,
    what_takes_a_restart_is_named,
    a_server_under_load_is_reloaded_again_and_again,
    the_drain_goes_by_what_was_read_last,
}

const LISTENERS: &str = r#"
[[listen]]
url = "websocket://127.0.0.1:0"
app = "relay"
[[listen]]
url = "text://127.0.0.1:0"
app = "relay"
[[listen]]
url = "websocket://127.0.0.1:0"
app = "push"
[[listen]]
url = "text://127.0.0.1:0"
app = "push-backend"
[[listen]]
url = "websocket://127.0.0.1:0"
app = "chat"
[[listen]]
url = "http://127.0.0.1:0"
app = "page"
[[listen]]
url = "websocket://127.0.0.1:0"
app = "echo"
"#;

/// A server, and its file.
struct Reloaded {
    server: Server,
    path: PathBuf,
    times: usize,
}

impl Drop for Reloaded {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Reloaded {
    async fn start(cores: usize, keys: &str) -> Reloaded {
        Reloaded::started_as(command(cores, &[], &[]), keys).await
    }

    async fn started_as(mut command: Command, keys: &str) -> Reloaded {
        let name = format!("ringpost-{}-{}.toml", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, format!("{keys}\n{LISTENERS}")).expect("a file is written");
        command.arg("--config").arg(&path);
        let server = Server::spawn(command, LISTENERS.matches("[[listen]]").count()).await;
        Reloaded {
            server,
            path,
            times: 0,
        }
    }

    /// Writes the file anew, signals, and waits until the log has so many lines of the reload more.
    async fn reload_whole(&mut self, text: &str, word: &str) {
        std::fs::write(&self.path, text).expect("a file is written");
        let before = self.server.log().matches(word).count();
        self.server.signal_on(SIGHUP);
        for _ in 0..1_000 {
            if self.server.log().matches(word).count() > before {
                // The words after it.
                sleep(Duration::from_millis(20)).await;
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no line with {word:?} in the log: {}", self.server.log());
    }

    /// Has it read its file again with other keys.
    async fn reload(&mut self, keys: &str) {
        self.times += 1;
        // A key that changes each time, so that there is always something to be said.
        let marker = format!("http_connections_max = {}", 1_024 + self.times);
        let text = format!("{marker}\n{keys}\n{LISTENERS}");
        self.reload_whole(&text, "http_connections_max: ").await;
    }

    async fn open(&self, app: &str) -> Option<u16> {
        let mut raw = Raw::dial(self.server.address("ws", app)).await;
        raw.write_if_open(request("").as_bytes()).await;
        raw.status().await
    }
}

async fn ends_with(client: &mut Client, code: u16) {
    // Behind what it is told first.
    client.drain_to_end(code).await;
}

async fn fewer_connections_concern_newcomers_alone(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let mut clients = Vec::new();
    for n in 0..6 {
        clients.push(it.server.relay("ws", &format!("u{n}")).await);
    }
    it.reload("max_connections = 3").await;
    it.server.wait_log(&["max_connections: 0 -> 3"]).await;
    // Those who are there stay and are served.
    for n in 0..6 {
        clients[n].send(&format!("u{}:hi", (n + 1) % 6)).await;
        clients[(n + 1) % 6].expect("hi").await;
    }
    assert_eq!(it.open("push").await, Some(503));
    // They were there before they were counted, and count.
    for client in clients.drain(3..) {
        client.close().await;
    }
    it.server.wait_closed("closed by peer", 3).await;
    assert_eq!(it.open("push").await, Some(503));
    clients.pop().expect("a client").close().await;
    it.server.wait_closed("closed by peer", 4).await;
    // It counts until its socket is gone.
    sleep(Duration::from_millis(100)).await;
    let third = it.server.relay("ws", "third").await;
    assert_eq!(it.open("push").await, Some(503));
    it.reload("").await;
    for n in 0..5 {
        clients.push(it.server.relay("text", &format!("more{n}")).await);
    }
    drop(third);
}

async fn limits_by_address_and_uid(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let _early = it.server.relay("ws", "early").await;
    it.reload("connections_per_address_max = 1").await;
    let first = it.server.relay("ws", "first").await;
    assert_eq!(it.open("relay").await, Some(429));
    it.reload("").await;
    let mut second = it.server.relay("ws", "first").await;
    // Counted when it came, and given back though there is no limit any more.
    first.close().await;
    it.reload("connections_per_address_max = 1\nuid_policy = \"reject\"")
        .await;
    it.server.wait_closed("closed by peer", 1).await;
    let mut again = it.server.connect("ws", "relay").await;
    again.send("first").await;
    ends_with(&mut again, 4002).await;
    it.reload("connections_per_uid_max = 1").await;
    let mut again = it.server.connect("ws", "relay").await;
    again.send("first").await;
    ends_with(&mut again, 4002).await;
    it.reload("uid_policy = \"replace\"").await;
    let _newest = it.server.relay("ws", "first").await;
    ends_with(&mut second, 4001).await;
}

async fn sizes_and_rates(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let mut fast = it.server.relay("ws", "fast").await;
    it.reload("messages_per_second_max = 5\nmessage_bytes_max = 100\nhttp_body_bytes_max = 20\nrequest_head_bytes_max = 1024")
        .await;
    let cookie = format!("Cookie: {}\r\n", "c".repeat(1_024));
    let mut raw = Raw::dial(it.server.address("ws", "relay")).await;
    raw.write_if_open(request(&cookie).as_bytes()).await;
    assert_eq!(raw.status().await, Some(431));
    let large = post(it.server.address("http", "page"), "/v1/push", &cookie, "").await;
    assert_eq!(large.status, 431);
    for n in 0..6 {
        let _ = fast.try_send(&format!("fast:{n}")).await;
    }
    let mut got = fast.drain_to_end(1008).await;
    got.retain(|line| line.len() == 1);
    assert!(got.len() <= 5, "{got:?}");
    let mut long = it.server.relay("ws", "long").await;
    long.send(&format!("long:{}", "x".repeat(200))).await;
    ends_with(&mut long, 1009).await;
    let address = it.server.address("http", "page");
    let body = r#"{"uid":"nobody","text":"more than twenty bytes"}"#;
    assert_eq!(post(address, "/v1/push", JSON, body).await.status, 413);
    it.reload("").await;
    assert_eq!(post(address, "/v1/push", JSON, body).await.status, 200);
    let mut free = it.server.relay("ws", "free").await;
    for n in 0..50 {
        free.send(&format!("free:{n}")).await;
        free.expect(&n.to_string()).await;
    }
}

/// A message in fragments, of which more is there already than one may have from now on.
async fn a_limit_below_what_is_gathered(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    for last in [&b""[..], b"x"] {
        it.reload("").await;
        let mut raw = Raw::open(it.server.address("ws", "relay")).await;
        raw.frame(FIN | TEXT, b"half").await;
        raw.next().await.expect("a login answer");
        raw.frame(TEXT, &[b'x'; 600]).await;
        // It has been read when this is answered.
        raw.frame(FIN | PING, b"").await;
        raw.expect(FIN | PONG, b"").await;
        it.reload("message_bytes_max = 500").await;
        raw.frame(FIN | CONTINUATION, last).await;
        raw.expect_close(&[1009]).await;
    }
    assert_eq!(it.server.closed("message too big").await, 2);
}

async fn times_hold_for_those_who_are_there(cores: usize) {
    // So long that nobody is looked at within this test unless the reload sees to it.
    let keys = "idle_timeout = \"0s\"\nping_interval = \"0s\"\nlogin_timeout = \"10m\"\nhandshake_timeout = \"10m\"";
    let mut it = Reloaded::start(cores, keys).await;
    let mut idle = it.server.relay("ws", "idle").await;
    let mut stranger = it.server.connect("ws", "relay").await;
    let mut half = Raw::dial(it.server.address("ws", "relay")).await;
    half.write(b"GET / HTTP/1.1\r\n").await;
    it.reload("idle_timeout = \"1s\"\nping_interval = \"0s\"\nlogin_timeout = \"300ms\"\nhandshake_timeout = \"300ms\"")
        .await;
    ends_with(&mut stranger, 4004).await;
    ends_with(&mut idle, 4003).await;
    it.server.wait_closed("handshake timeout", 1).await;
    it.reload("idle_timeout = \"0s\"\nping_interval = \"0s\"")
        .await;
    let mut quiet = it.server.relay("ws", "quiet").await;
    assert_eq!(quiet.next_within(Duration::from_secs(4)).await, None);
}

async fn origins_and_what_apps_are_told(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let foreign = [("origin", "https://shop.example")];
    let address = it.server.address("ws", "relay");
    let refused = Client::shake(address, "/", &foreign).await;
    assert_eq!(refused.err(), Some(403));
    let mut old = it.server.relay("ws", "old").await;
    let _guest = it.server.chat("Anna").await;
    it.reload("origins = \"https://shop.example\"\nrelay.errors = false\nchat.users_max = 1")
        .await;
    for _ in 0..4 * cores {
        Client::shake(address, "/", &foreign).await.expect("101");
    }
    old.send("no colon").await;
    old.send("old:after").await;
    old.expect("after").await;
    let mut late = it.server.connect("ws", "chat").await;
    late.send("login:Zoe").await;
    late.expect("notice:error room is full").await;
    it.reload("").await;
    old.send("no colon").await;
    old.expect_start("error: ").await;
    late.send("login:Zoe").await;
    late.expect("notice:success").await;
}

async fn tokens_and_the_log(cores: usize) {
    let mut it = Reloaded::start(cores, "backend.token = \"the-first-of-all\"").await;
    let mut shown = it.server.backend().await;
    assert_eq!(shown.ask("auth the-first-of-all").await, "ok");
    it.reload("backend.token = \"another-one-of-them\"\nlog = \"debug\"")
        .await;
    it.server.wait_log(&["log: \"info\" -> \"debug\""]).await;
    // Whoever has shown it stays.
    assert_eq!(shown.ask("online nobody").await, "fail");
    for _ in 0..4 * cores {
        let mut old = it.server.backend().await;
        assert_eq!(old.ask("auth the-first-of-all").await, "fail: wrong token");
        let mut new = it.server.backend().await;
        assert_eq!(new.ask("auth another-one-of-them").await, "ok");
    }
    it.server.wait_log(&["DEBUG", "accepted"]).await;
    // The last that is said of it.
    it.reload("log = \"warn\"").await;
    it.server.wait_log(&["log: \"debug\" -> \"warn\""]).await;
    let _unsaid = it.server.connect("ws", "relay").await;
    sleep(Duration::from_millis(100)).await;
    let log = it.server.log();
    let last = log.lines().last().expect("a line");
    assert!(last.contains("reload: ") || last.contains("WARN"), "{log}");
    // Without any token everybody could push from then on.
    assert!(
        log.contains("backend.token: changed, takes effect after a restart"),
        "{log}"
    );
    let mut still = it.server.backend().await;
    assert!(
        still
            .ask("online nobody")
            .await
            .starts_with("fail: the first line")
    );
    assert!(
        !log.contains("the-first-of-all") && !log.contains("another-one-of-them"),
        "{log}"
    );
}

async fn a_listeners_own_limits(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let mut echo = it.server.connect("ws", "echo").await;
    let own = format!("{LISTENERS}messages_per_second_max = 3\n");
    it.reload_whole(&own, "(echo): messages_per_second_max: nothing -> 3")
        .await;
    for n in 0..5 {
        let _ = echo.try_send(&n.to_string()).await;
    }
    assert!(echo.drain_to_end(1008).await.len() <= 3);
    let own = format!("{LISTENERS}connections_per_address_max = 3\n");
    let word = "(echo): connections_per_address_max: changed, takes effect after a restart";
    it.reload_whole(&own, word).await;
}

async fn a_mistake_changes_nothing(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let mut client = it.server.relay("ws", "tom").await;
    for mistake in [
        "max_connections = 1\nidle_timout = \"1s\"",
        "max_connections = 1\nidle_timeout = \"soon\"",
        "max_connections = 1\noutbox_bytes_max = 100",
        "max_connections = 1\nbackend.tokens_file = \"/no/such/file\"",
        "max_connections = 1\n[[",
    ] {
        let text = format!("{mistake}\n{LISTENERS}");
        it.reload_whole(&text, "the configuration stays what it was")
            .await;
        let checked = Command::new(binary())
            .arg("check")
            .arg(&it.path)
            .output()
            .expect("it runs");
        assert_eq!(checked.status.code(), Some(2));
        // In the words of `ringpost check`.
        let words = String::from_utf8_lossy(&checked.stderr).into_owned();
        let log = it.server.log();
        for line in words.lines() {
            let line = line.strip_prefix("ringpost: ").expect("its name first");
            assert!(log.contains(line), "no {line:?} in {log}");
        }
        it.server.relay("ws", "another").await.close().await;
    }
    std::fs::remove_file(&it.path).expect("it was there");
    it.server.signal_on(SIGHUP);
    it.server.wait_log(&["ERROR", "cannot read"]).await;
    client.send("tom:still").await;
    client.expect("still").await;
    it.reload("max_connections = 1").await;
    assert_eq!(it.open("relay").await, Some(503));
}

async fn what_takes_a_restart_is_named(cores: usize) {
    let mut command = command(cores, &[], &[]);
    // A variable would win over the file.
    command.env_remove("RINGPOST_DRIVER");
    let mut it = Reloaded::started_as(command, "").await;
    let other = LISTENERS.replacen("websocket://127.0.0.1:0", "websocket://127.0.0.2:0", 1);
    let keys = "cores = 3\npin = false\ndriver = \"epoll\"\nsend_buffer_bytes = \"128 KiB\"\nauth = \"none\"\n\
                log_format = \"json\"\nuid_policy = \"reject\"";
    it.reload_whole(&format!("{keys}\n{other}"), "listen: changed")
        .await;
    let log = it.server.log();
    // The cores are a flag's here, and flags win.
    for name in ["pin", "driver", "send_buffer_bytes", "log_format", "listen"] {
        let line = format!("{name}: changed, takes effect after a restart");
        assert_eq!(log.matches(&line).count(), 1, "{line}: {log}");
    }
    assert!(!log.contains("cores: changed") && !log.contains("auth: changed"));
    // And the rest was taken over.
    let _first = it.server.relay("ws", "first").await;
    let mut again = it.server.connect("ws", "relay").await;
    again.send("first").await;
    ends_with(&mut again, 4002).await;
}

/// Limits come and go while clients come, move to their home cores, talk and leave.
async fn a_server_under_load_is_reloaded_again_and_again(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let address = it.server.address("ws", "relay");
    let mut talkers = Vec::new();
    for talker in 0..6 {
        talkers.push(tokio::spawn(async move {
            let mut said = 0;
            for round in 0..25 {
                let uid = format!("t{talker}-{round}");
                let mut client = Client::connect("ws", address).await;
                client.send(&uid).await;
                client.expect_start("login success").await;
                for n in 0..10 {
                    client.send(&format!("{uid}:{n}")).await;
                    client.expect(&n.to_string()).await;
                    said += 1;
                }
                client.close().await;
            }
            said
        }));
    }
    let mut times = 0;
    while !talkers.iter().all(|talker| talker.is_finished()) || times < 10 {
        let keys = match times % 3 {
            0 => {
                "messages_per_second_max = 100000\nconnections_per_address_max = 1000\nmax_connections = 5000"
            }
            1 => "idle_timeout = \"20s\"\nping_interval = \"5s\"\nbytes_per_second_max = \"1 GiB\"",
            _ => "",
        };
        it.reload(keys).await;
        times += 1;
    }
    for talker in talkers {
        assert_eq!(talker.await.expect("no panic"), 250);
    }
    // Nothing is counted twice, nor given back twice.
    it.server.wait_closed("closed by peer", 150).await;
    sleep(Duration::from_millis(100)).await;
    it.reload("max_connections = 2\nconnections_per_address_max = 2")
        .await;
    let _one = it.server.relay("ws", "one").await;
    let _two = it.server.relay("ws", "two").await;
    assert_eq!(it.open("relay").await, Some(503));
}

async fn the_drain_goes_by_what_was_read_last(cores: usize) {
    let mut it = Reloaded::start(cores, "").await;
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(it.server.relay("ws", &format!("u{n}")).await);
    }
    it.reload("drain_rate = 5\ndrain_timeout = \"30s\"").await;
    let start = std::time::Instant::now();
    it.server.signal(SIGTERM);
    it.server.wait_log(&["closing clients", "rate=5"]).await;
    // Not while it drains.
    it.server.signal(SIGHUP);
    let mut reading = Vec::new();
    for mut client in clients {
        reading.push(tokio::spawn(async move { client.expect_end(1001).await }));
    }
    for client in reading {
        client.await.expect("no panic");
    }
    assert!(start.elapsed() > Duration::from_millis(1_200));
    let status = it.server.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(0));
    it.server.wait_log(&["nothing is read anew"]).await;
}

/// A terminal, of which one end is ours.
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: two places for descriptors; the rest may be null.
    let opened = unsafe { libc::openpty(&mut ours, &mut theirs, none, none.cast(), none.cast()) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call has just made them for us.
    unsafe { (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

#[test]
fn without_a_file_it_says_so_and_lives() {
    crate::run(async {
        let mut server = Server::on(1, &[], &["text://127.0.0.1:0=echo"]).await;
        server.signal_on(SIGHUP);
        server.wait_log(&["there is no configuration file"]).await;
        let mut echo = server.connect("text", "echo").await;
        assert_eq!(echo.ask("hello").await, "hello");
    });
}

#[test]
fn at_a_terminal_without_a_file_it_ends_with_the_terminal() {
    crate::run(async {
        let listener = "text://127.0.0.1:0=echo";
        let (_ours, theirs) = terminal();
        let mut by_hand = command(1, &[], &[listener]);
        by_hand.stdin(Stdio::from(theirs));
        // Who runs the tests by nohup has it ignored, and so would the server.
        // SAFETY: the call may be made between fork and exec (signal-safety(7)).
        unsafe {
            by_hand.pre_exec(|| match libc::signal(SIGHUP, libc::SIG_DFL) {
                libc::SIG_ERR => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let mut server = Server::spawn(by_hand, 1).await;
        server.signal(SIGHUP);
        let status = server.wait_exit(Duration::from_secs(5)).await;
        assert_eq!(status.signal(), Some(SIGHUP));
        // With one it is read anew.
        let file = format!("{LISTENERS}\n");
        let path = std::env::temp_dir().join(format!("ringpost-{}-tty.toml", std::process::id()));
        std::fs::write(&path, &file).expect("a file is written");
        let (_ours, theirs) = terminal();
        let mut with_file = command(1, &[], &[]);
        with_file
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::from(theirs));
        let mut server = Server::spawn(with_file, file.matches("[[listen]]").count()).await;
        server.signal_on(SIGHUP);
        server.wait_log(&["no key has changed"]).await;
        assert!(server.is_running());
        assert_eq!(
            get(server.address("http", "page"), "/readyz").await.status,
            200
        );
        let _ = std::fs::remove_file(path);
    });
}
