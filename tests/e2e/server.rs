//! The server under test: the real binary in a process of its own, on free ports.
//!
//! It ends with its [`Server`]. A server that died, or panicked anywhere, fails the test even if
//! the clients noticed nothing, and its log is printed with every failure.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use crate::by_tls;
use crate::client::Client;

/// What every test's server listens on: each app on each codec that the tests speak it over.
const LISTENERS: &[&str] = &[
    "websocket://127.0.0.1:0=relay",
    "text://127.0.0.1:0=relay",
    "frame://127.0.0.1:0=relay",
    "websocket://127.0.0.1:0=push",
    "text://127.0.0.1:0=push",
    "frame://127.0.0.1:0=push",
    "text://127.0.0.1:0=push-backend",
    "websocket://127.0.0.1:0=chat",
    "text://127.0.0.1:0=chat",
    "websocket://127.0.0.1:0=echo",
    "text://127.0.0.1:0=echo",
    "frame://127.0.0.1:0=echo",
    "http://127.0.0.1:0=page",
];

/// Time to start; generous, for the machine may be busy building.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Time to end by itself where `E2E_SIGTERM` asks for that.
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the binary lies.
pub fn binary() -> String {
    std::env::var("E2E_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ringpost").to_owned())
}

/// Has a server wait as `E2E_DRIVER` says, unless the test has it otherwise.
pub fn set_driver(command: &mut Command) {
    if let Some(driver) = std::env::var_os("E2E_DRIVER") {
        command.env("RINGPOST_DRIVER", driver);
    }
}

/// `ringpost serve` with these listeners and `RINGPOST_*` settings, and none from our own environment.
pub fn command(cores: usize, settings: &[(&str, &str)], listeners: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGPOST_")) {
        command.env_remove(name);
    }
    command.args(["serve", "--cores", &cores.to_string()]);
    for listener in listeners {
        match by_tls::is_on() {
            true => command.args(["--listen", &by_tls::secure(listener)]),
            false => command.args(["--listen", listener]),
        };
    }
    if by_tls::is_on() && !listeners.is_empty() {
        command.env("RINGPOST_TLS_CERTIFICATE_FILE", by_tls::file("p256.pem"));
        command.env("RINGPOST_TLS_KEY_FILE", by_tls::file("p256.key"));
    }
    set_driver(&mut command);
    // However busy the machine is.
    command.env("RINGPOST_UPGRADE_TIMEOUT", "60s");
    for (name, value) in settings {
        command.env(format!("RINGPOST_{name}"), value);
    }
    command.stdin(Stdio::null());
    command
}

/// Whether there is far more to run than processors, of late.
pub fn is_machine_busy() -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").expect("Linux");
    let load = load.split(' ').next().and_then(|load| load.parse().ok());
    let processors = std::thread::available_parallelism().expect("a number");
    load.unwrap_or(0.0) > 2.0 * processors.get() as f64
}

/// A running server.
pub struct Server {
    child: Child,
    listeners: Vec<Listener>,
    log: Arc<Mutex<String>>,
    /// Set once the test has made it end, so that its end is no failure.
    ended: bool,
    /// The process that goes on in its place, if one does.
    successor: Option<u32>,
}

struct Listener {
    app: String,
    scheme: String,
    address: SocketAddr,
}

impl Listener {
    /// Has clients without TLS reach it, if it has.
    fn come_by_tls(&mut self) {
        if let Some(scheme) = by_tls::plain_scheme(&self.scheme) {
            self.scheme = scheme.to_owned();
            self.address = by_tls::front(self.address);
        }
    }
}

impl Server {
    /// Starts one with the defaults.
    pub async fn start(cores: usize) -> Server {
        Server::with(cores, &[]).await
    }

    /// Starts one with settings, named as in `RINGPOST_*` without the prefix.
    pub async fn with(cores: usize, settings: &[(&str, &str)]) -> Server {
        Server::on(cores, settings, LISTENERS).await
    }

    /// Starts one with settings and listeners of the test's own.
    pub async fn on(cores: usize, settings: &[(&str, &str)], listeners: &[&str]) -> Server {
        Server::spawn(command(cores, settings, listeners), listeners.len()).await
    }

    /// Starts one with a configuration file, which says all but the cores.
    pub async fn from_file(cores: usize, file: &str) -> Server {
        Server::from_file_with(cores, file, file.matches("[[listen]]").count()).await
    }

    /// Starts one that keeps messages: clients of push come by this scheme, beside a back end's port and the page. What
    /// its file says besides stands before the listeners, and its rules behind them.
    pub async fn keeping(cores: usize, scheme: &str, settings: &str, rules: &str) -> Server {
        let listeners = [(scheme, "push"), ("text", "push-backend"), ("http", "page")];
        let each = listeners.map(|(scheme, app)| {
            format!("[[listen]]\nurl = \"{scheme}://127.0.0.1:0\"\napp = \"{app}\"\n")
        });
        Server::from_file(cores, &format!("{settings}\n{}{rules}", each.concat())).await
    }

    /// Starts one with a configuration file whose listeners are so many, those at paths counted.
    pub async fn from_file_with(cores: usize, file: &str, listeners: usize) -> Server {
        let name = format!("ringpost-{}-{}.toml", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, file).expect("a file is written");
        let mut command = command(cores, &[], &[]);
        command.arg("--config").arg(&path);
        let server = Server::spawn(command, listeners).await;
        let _ = std::fs::remove_file(path);
        server
    }

    /// Starts one, by a [`command`] that may have been changed, that is to have so many listeners.
    pub async fn spawn(command: Command, listeners: usize) -> Server {
        Server::spawn_logging(command, listeners, Stdio::piped()).await
    }

    /// Spawns one with a log of its own: what it says is not known then.
    pub async fn spawn_logging(mut command: Command, listeners: usize, log_to: Stdio) -> Server {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log_to)
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        let printed = Arc::new(Mutex::new(String::new()));
        if let Some(pipe) = child.stderr.take() {
            collect(pipe, Arc::clone(&log));
        }
        collect(child.stdout.take().expect("a pipe"), Arc::clone(&printed));
        let mut server = Server {
            child,
            listeners: Vec::new(),
            log,
            ended: false,
            successor: None,
        };
        let start = Instant::now();
        loop {
            server.listeners = parse_banner(&text_of(&printed));
            if server.listeners.len() == listeners {
                if by_tls::is_on() {
                    server.listeners.iter_mut().for_each(Listener::come_by_tls);
                }
                return server;
            }
            if let Some(status) = server.child.try_wait().expect("a child to ask for") {
                panic!("the server ended at its start: {status}");
            }
            assert!(
                start.elapsed() < START_TIMEOUT,
                "no listener lines; it printed: {}",
                text_of(&printed)
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Starts one that can say nothing at all, on listeners whose ports are known.
    pub async fn spawn_mute(
        mut command: Command,
        listeners: &[String],
        mute: [Stdio; 2],
    ) -> Server {
        let [stdout, stderr] = mute;
        let child = command.stdout(stdout).stderr(stderr).spawn();
        let banner: String = listeners
            .iter()
            .map(|listener| {
                let (url, app) = listener.split_once('=').expect("URL=APP");
                format!("{app} {url}\n")
            })
            .collect();
        let mut server = Server {
            child: child.expect("the binary starts"),
            listeners: parse_banner(&banner),
            log: Arc::default(),
            ended: false,
            successor: None,
        };
        let start = Instant::now();
        for number in 0..server.listeners.len() {
            let address = server.listeners[number].address;
            while tokio::net::TcpStream::connect(address).await.is_err() {
                if let Some(status) = server.child.try_wait().expect("a child to ask for") {
                    panic!("the server ended at its start: {status}");
                }
                assert!(start.elapsed() < START_TIMEOUT, "nobody listens");
                sleep(Duration::from_millis(20)).await;
            }
        }
        server
    }

    /// The address of the listener with this scheme (`ws`, `text`, `frame`, `http`) and app.
    pub fn address(&self, scheme: &str, app: &str) -> SocketAddr {
        self.listeners
            .iter()
            .find(|listener| listener.scheme == scheme && listener.app == app)
            .unwrap_or_else(|| panic!("no listener {scheme}://…={app}"))
            .address
    }

    /// The addresses of all of them.
    pub fn addresses(&self, scheme: &str, app: &str) -> Vec<SocketAddr> {
        let listeners = self.listeners.iter();
        let own = listeners.filter(|listener| listener.scheme == scheme && listener.app == app);
        own.map(|listener| listener.address).collect()
    }

    /// Connects to an app over a codec.
    pub async fn connect(&self, scheme: &str, app: &str) -> Client {
        Client::connect(scheme, self.address(scheme, app)).await
    }

    /// Connects to the back end's port.
    pub async fn backend(&self) -> Client {
        self.connect("text", "push-backend").await
    }

    /// Logs in to relay and takes its answer.
    pub async fn relay(&self, scheme: &str, uid: &str) -> Client {
        let mut client = self.connect(scheme, "relay").await;
        client.send(uid).await;
        client
            .expect(&format!("login success, your uid is {uid}"))
            .await;
        client
    }

    /// Logs in to push, which answers nothing, and waits until the back end finds it online. The uid
    /// must be new.
    pub async fn push(&self, scheme: &str, uid: &str) -> Client {
        let mut client = self.connect(scheme, "push").await;
        client.send(uid).await;
        self.wait_online(uid).await;
        client
    }

    /// Waits until the back end finds the uid online.
    pub async fn wait_online(&self, uid: &str) {
        self.wait_answer(&format!("online {uid}"), "ok").await;
    }

    /// Waits until the back end finds the uid offline.
    pub async fn wait_offline(&self, uid: &str) {
        self.wait_answer(&format!("online {uid}"), "fail").await;
    }

    async fn wait_answer(&self, line: &str, answer: &str) {
        let mut backend = self.backend().await;
        let start = Instant::now();
        while backend.ask(line).await != answer {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "{line:?} did not become {answer:?}"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Logs in to chat under a name, and takes the answers up to the first roster.
    pub async fn chat(&self, name: &str) -> Client {
        let mut client = self.connect("ws", "chat").await;
        client.send(&format!("login:{name}")).await;
        client.expect("notice:success").await;
        client.expect(&format!("msg:welcome {name}")).await;
        client
    }

    /// The answer to `stats`.
    pub async fn stats(&self) -> Value {
        let mut backend = self.backend().await;
        let line = backend.ask("stats").await;
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in stats {line:?}"))
    }

    /// A figure of `stats`, summed over the cores.
    pub async fn count(&self, figure: &str) -> u64 {
        self.stats()
            .await
            .get("cores")
            .and_then(Value::as_array)
            .expect("stats has a list of cores")
            .iter()
            .map(|core| core[figure].as_u64().expect("a figure of every core"))
            .sum()
    }

    /// How many connections ended for this reason, summed over the cores.
    pub async fn closed(&self, reason: &str) -> u64 {
        closed_in(&self.stats().await, reason)
    }

    /// Waits until at least so many connections ended for this reason.
    pub async fn wait_closed(&self, reason: &str, count: u64) {
        let start = Instant::now();
        while self.closed(reason).await < count {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "not {count} connections ended for {reason:?}: {}",
                self.stats().await
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends the server a signal that it goes on after.
    pub fn signal_on(&mut self, signal: i32) {
        self.signal(signal);
        self.ended = false;
    }

    /// Sends the server a signal that ends it.
    pub fn signal(&mut self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: `kill` takes two integers. The child is not reaped before `wait_exit`, so the pid
        // is still its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "signal {signal} was not delivered");
        self.ended = true;
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.successor.unwrap_or(self.child.id())
    }

    /// Has another process go on in its place: `ringpost upgrade`. What that says, if it has failed. Where the machine is too busy
    /// to give the new process its time it is tried again, as who reads that would.
    pub async fn upgrade(&mut self) -> Result<(), String> {
        for _ in 0..20 {
            match self.upgrade_once().await {
                Err(said) if said.contains("has stood still") && is_machine_busy() => {}
                upgraded => return upgraded,
            }
        }
        Err("it stands still again and again".to_owned())
    }

    /// The same, tried once.
    pub async fn upgrade_once(&mut self) -> Result<(), String> {
        let pid = self.id().to_string();
        let mut asking = Command::new(binary());
        asking.args(["upgrade", "--pid", &pid]).stdin(Stdio::null());
        let asked = tokio::task::spawn_blocking(move || asking.output()).await;
        let asked = asked.expect("no panic").expect("the command runs");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if !asked.status.success() {
            return Err(said(&asked.stderr));
        }
        let printed = said(&asked.stdout);
        let mut words = printed.split_whitespace();
        let successor = words.nth(1).and_then(|pid| pid.parse().ok());
        self.successor = Some(successor.unwrap_or_else(|| panic!("no process in {printed:?}")));
        self.ended = true;
        Ok(())
    }

    /// The process that all has been handed to, if the log says so.
    pub fn successor_by_log(&mut self) -> Option<u32> {
        let log = self.log();
        let line = log.lines().find(|line| line.contains("this one leaves"))?;
        let (_, rest) = line.split_once("pid=")?;
        self.successor = rest.split_whitespace().next()?.parse().ok();
        self.successor
    }

    /// The new process that was started last, if the log says so.
    pub fn successor_by_start(&mut self) -> Option<u32> {
        let log = self.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("has read its configuration"))?;
        let (_, rest) = line.split_once("pid=")?;
        self.successor = rest.split_whitespace().next()?.parse().ok();
        self.successor
    }

    /// That it has ended by now is no failure.
    pub fn be_ended(&mut self) {
        self.ended = true;
    }

    /// The status of the first process, which another has gone on for.
    pub async fn wait_left(&mut self) -> ExitStatus {
        self.wait_exit(END_TIMEOUT).await
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child to ask for").is_none()
    }

    /// Waits for the end after [`Server::signal`].
    pub async fn wait_exit(&mut self, time_max: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child to wait for") {
                return status;
            }
            assert!(
                start.elapsed() < time_max,
                "the server still runs after {time_max:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has it drain, if it does so soon: what is only looked at in the end, as leaks are, is looked at then.
    fn end_by_itself(&mut self) {
        self.signal(libc::SIGTERM);
        let start = Instant::now();
        while self.is_running() && start.elapsed() < END_TIMEOUT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }

    /// Waits until the log has a line with all of these words.
    pub async fn wait_log(&self, words: &[&str]) {
        let start = Instant::now();
        let has_all = |line: &str| words.iter().all(|word| line.contains(word));
        while !self.log().lines().any(has_all) {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "no line with {words:?} in the log: {}",
                self.log()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let died = self.child.try_wait().ok().flatten();
        if died.is_none() && std::env::var_os("E2E_SIGTERM").is_some() {
            self.end_by_itself();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(successor) = self.successor {
            let pid = i32::try_from(successor).expect("a pid");
            // SAFETY: it takes two integers; a server that has ended by itself is a failure that the log tells.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{log}");
            return;
        }
        assert!(!log.contains("panicked"), "the server panicked:\n{log}");
        if let (false, Some(status)) = (self.ended, died) {
            panic!("the server died ({status}):\n{log}");
        }
    }
}

/// How many connections ended for this reason, by an answer to `stats`.
pub fn closed_in(stats: &Value, reason: &str) -> u64 {
    stats["cores"]
        .as_array()
        .expect("stats has a list of cores")
        .iter()
        .map(|core| core["closed"][reason].as_u64().unwrap_or(0))
        .sum()
}

/// Collects a pipe in a thread, so that the server never waits for us.
fn collect(pipe: impl Read + Send + 'static, text: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut text = text.lock().unwrap_or_else(PoisonError::into_inner);
            text.push_str(&String::from_utf8_lossy(&line));
            text.push('\n');
        }
    });
}

fn text_of(text: &Mutex<String>) -> String {
    text.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// The listener lines of the banner: the app first, then somewhere its URL.
fn parse_banner(printed: &str) -> Vec<Listener> {
    let mut listeners = Vec::new();
    // The last line may be half there.
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    for line in whole.lines() {
        let mut words = line.split_whitespace();
        let (Some(app), Some(url)) = (words.next(), words.find(|word| word.contains("://"))) else {
            continue;
        };
        let (scheme, rest) = url.split_once("://").expect("just found");
        let host = rest.split('/').next().unwrap_or(rest);
        let Ok(address) = host.parse() else { continue };
        listeners.push(Listener {
            app: app.to_owned(),
            scheme: if scheme == "websocket" { "ws" } else { scheme }.to_owned(),
            address,
        });
    }
    listeners
}
