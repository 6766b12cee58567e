//! `ringpost bench` against the real server, and against one that makes mistakes.
//!
//! Every workload ends with status 0 and no fault on a server that is right. Faults are planted by
//! standing between the bench and the server: a proxy that loses, doubles, exchanges or changes one
//! message, after which the status must not be 0.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::Value;

/// One run at a time: they are timed.
static MACHINE: Mutex<()> = Mutex::new(());

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGPOST_") {
            command.env_remove(name);
        }
    }
    command
}

struct Server {
    child: Child,
    /// Apps and URLs, as the banner has them.
    listeners: Vec<(String, String)>,
}

impl Server {
    fn start() -> Server {
        let listeners = [
            "websocket://127.0.0.1:0=relay",
            "text://127.0.0.1:0=relay",
            "frame://127.0.0.1:0=relay",
            "websocket://127.0.0.1:0=push",
            "text://127.0.0.1:0=push-backend",
            "websocket://127.0.0.1:0=chat",
            "http://127.0.0.1:0=page",
        ];
        Server::start_with(&listeners, &[])
    }

    #[cfg(feature = "tls")]
    fn start_by_tls() -> Server {
        let listeners = [
            "wss://127.0.0.1:0=relay",
            "tls+text://127.0.0.1:0=relay",
            "tls+frame://127.0.0.1:0=relay",
            "wss://127.0.0.1:0=push",
            "tls+text://127.0.0.1:0=push-backend",
            "wss://127.0.0.1:0=chat",
        ];
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");
        let certificate = format!("{folder}/p256.pem");
        let key = format!("{folder}/p256.key");
        let flags = [
            "--tls-certificate-file",
            &certificate,
            "--tls-key-file",
            &key,
        ];
        Server::start_with(&listeners, &flags)
    }

    fn start_with(listeners: &[&str], flags: &[&str]) -> Server {
        let mut command = command();
        command.args(["serve", "--cores", "2", "--log", "warn"]);
        command.args(flags);
        for listener in listeners {
            command.args(["--listen", listener]);
        }
        command.env("RINGPOST_BACKEND_TOKEN", "open-sesame-please");
        let mut child = command
            .stdout(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .expect("the server starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let of_line = |line: std::io::Result<String>| {
            let line = line.expect("a line");
            let mut words = line.split_whitespace().map(str::to_owned);
            (words.next().expect("an app"), words.next().expect("a URL"))
        };
        let listeners = lines.take(listeners.len()).map(of_line).collect();
        Server { child, listeners }
    }

    fn url(&self, app: &str, scheme: &str) -> &str {
        let mut found = self.listeners.iter();
        let found = found.find(|(its, url)| its == app && url.starts_with(scheme));
        &found.expect("such a listener").1
    }

    fn backend(&self) -> &str {
        self.url("push-backend", "text")
            .trim_start_matches("text://")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Outcome {
    status: i32,
    json: Option<Value>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn json(&self) -> &Value {
        self.json
            .as_ref()
            .unwrap_or_else(|| panic!("no JSON: {}{}", self.stdout, self.stderr))
    }

    fn fault(&self, name: &str) -> u64 {
        let faults = &self.json()["faults"];
        faults[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {faults}"))
    }
}

fn bench(arguments: &[&str]) -> Outcome {
    let output = command()
        .arg("bench")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    Outcome {
        status: output.status.code().expect("it ends by itself"),
        json: serde_json::from_str(&stdout).ok(),
        stdout,
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

const SHORT: &[&str] = &[
    "--connections",
    "200",
    "--seconds",
    "1",
    "--warmup",
    "0.1",
    "--json",
];

/// A run without faults, with the fields that a program relies on.
fn run_clean(server: &Server, arguments: &[&str]) -> Outcome {
    let outcome = bench(&[arguments, SHORT].concat());
    assert_eq!(
        outcome.status, 0,
        "{arguments:?}: {}{}",
        outcome.stdout, outcome.stderr
    );
    let json = outcome.json();
    for (name, count) in json["faults"].as_object().expect("faults") {
        assert_eq!(count, 0, "{arguments:?}: {name}");
    }
    assert_eq!(json["workload"], arguments[0]);
    assert_eq!(json["connections"], 200);
    let seconds = json["seconds"].as_f64().expect("seconds");
    // It lasts as long as its work.
    assert!(seconds >= 1.0 || arguments[0] == "prove" && seconds > 0.0);
    assert_eq!(json["server"]["pids"][0], server.child.id());
    let text = json["clients"]["verdict"].as_str().expect("a verdict");
    assert!(text.contains("% busy"), "{text}");
    if arguments[0] != "idle" {
        assert!(json["deliveries"].as_u64().expect("a count") > 0, "{json}");
        let per_million = &json["server"]["per_million"];
        for part in ["total", "user", "system"] {
            assert!(per_million[part].as_f64().expect(part) >= 0.0);
        }
        assert!(per_million["total"].as_f64() > Some(0.0), "{json}");
        let latency = &json["latency"];
        let at = |name: &str| latency[name].as_f64().expect(name);
        assert!(at("p50_us") > 0.0 && at("p50_us") <= at("p99_us"));
        assert!(at("p99_us") <= at("p99_9_us") && at("p99_9_us") <= at("max_us") * 1.01);
    }
    outcome
}

/// Its rest is no hang: it says what it does, and for how long.
#[test]
fn prove_says_why_it_rests() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let relay = server.url("relay", "ws");
    let arguments = [
        "prove",
        "--url",
        relay,
        "--connections",
        "50",
        "--warmup",
        "2",
    ];
    let outcome = bench(&arguments);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    for words in [
        "all 50 are logged in and rest for 2 s now, on purpose",
        "50 connections answer pings, ",
        " s until the broadcasts",
    ] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}

/// A server that is frozen by the command meanwhile: the messages wait for it, and that is told.
#[test]
fn what_waits_while_a_command_runs_is_told() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let relay = server.url("relay", "ws");
    let pid = server.child.id();
    let freeze = format!("echo frozen; kill -STOP {pid}; sleep 0.4; kill -CONT {pid}");
    let during = |command: &str| {
        let arguments = [
            "prove", "--url", relay, "--rate", "1000", "--during", command,
        ];
        bench(&[&arguments[..], SHORT].concat())
    };
    let outcome = during(&freeze);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("frozen"), "{}", outcome.stderr);
    let json = outcome.json();
    let waited = json["during"]["max_us"].as_f64().expect("a latency");
    assert!(waited >= 400_000.0, "{waited}");
    let took = json["command_seconds"].as_f64().expect("seconds");
    assert!(took >= 0.4, "{took}");
    // Beside it 1,000 a second, for four seconds and the command's; then three broadcasts, and one for each.
    let deliveries = json["deliveries"].as_u64().expect("a count");
    assert!(deliveries >= 4_000 + 4 * 200, "{deliveries}");
    let failed = during("exit 3");
    assert_eq!(failed.status, 2);
    assert!(
        failed
            .stderr
            .contains("--during \"exit 3\" failed: exit status: 3"),
        "{}",
        failed.stderr
    );
}

#[test]
fn every_workload_is_clean_on_a_server_that_is_right() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let relay = server.url("relay", "ws");
    for workload in [
        "connect",
        "idle",
        "echo",
        "relay",
        "broadcast",
        "churn",
        "prove",
    ] {
        let outcome = run_clean(&server, &[workload, "--url", relay]);
        if workload == "prove" {
            // Three to everybody, and one to each.
            assert_eq!(outcome.json()["deliveries_checked"], 4 * 200);
        }
        if matches!(workload, "idle" | "prove") {
            let idle = &outcome.json()["idle"];
            assert!(idle["user_bytes_per_connection"].is_number(), "{idle}");
            assert!(idle["kernel_bytes_per_connection"].is_number(), "{idle}");
            assert!(idle["cpu_ms_per_second"].is_number(), "{idle}");
        }
        if workload == "churn" {
            let outcome = outcome.json();
            assert!(
                outcome["others"]["logins"].as_u64() > Some(100),
                "{outcome}"
            );
            assert!(outcome["joining"]["p50_us"].is_number(), "{outcome}");
        }
    }
    let chat = run_clean(&server, &["chat", "--url", server.url("chat", "ws")]);
    assert!(chat.json()["others"]["joins"].as_u64() > Some(10));
    assert!(chat.json()["others"]["rosters"].as_u64() > Some(200));
}

/// Whoever comes back gets all that it has missed, and the quiet ones' latencies are told with and without them.
#[test]
fn coming_back_is_clean_and_says_what_the_quiet_waited() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let url = server.url("page", "http");
    let reconnect = ["reconnect", "--url", url, "--token", "open-sesame-please"];
    let more = ["--quiet", "5", "--in-flight", "30"];
    // On a busy machine they may be coming back all the while, and nothing is calm.
    let mut json = Value::Null;
    for _ in 0..10 {
        json = run_clean(&server, &[&reconnect[..], &more].concat())
            .json()
            .clone();
        if !json["calm"].is_null() {
            break;
        }
    }
    assert_eq!(json["others"]["came back"], 195, "{json}");
    assert!(
        json["deliveries_checked"].as_u64() >= Some(195 * 30),
        "{json}"
    );
    for latency in ["quiet", "calm"] {
        assert!(json[latency]["samples"].as_u64() > Some(5), "{json}");
    }
}

/// Each class of connections is told apart, and the quiet ones' latencies with and without the flood.
#[test]
fn a_flood_is_clean_and_says_what_the_quiet_waited() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let relay = server.url("relay", "ws");
    let page = server.url("page", "http").trim_start_matches("http://");
    let page = page.trim_end_matches('/');
    let token = "open-sesame-please";
    for more in [
        &["--size", "20000", "--in-flight", "1"][..],
        &["--size", "48", "--in-flight", "64", "--generators", "2"],
        &["--to", "one", "--quiet", "3", "--senders", "5"],
    ] {
        let flood = ["flood", "--url", relay, "--metrics", page, "--token", token];
        let outcome = run_clean(&server, &[&flood, more].concat());
        let json = outcome.json();
        for latency in ["quiet", "calm"] {
            // Some of 100 a second of each.
            assert!(json[latency]["samples"].as_u64() > Some(5), "{json}");
            assert_eq!(json[latency]["from_due"], true, "{json}");
        }
        for role in ["senders", "readers", "quiet"] {
            for harm in ["closed", "lost"] {
                assert_eq!(json["others"][format!("{role} {harm}")], 0, "{json}");
            }
        }
        assert!(json["turns"]["count"].as_u64() > Some(10), "{json}");
    }
}

/// One that is lost is told by whose it was.
#[test]
fn what_a_flood_loses_is_told_by_whose_it_was() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = faults_of("flood", Mistake::Lose);
    let others = &outcome.json()["others"];
    let lost = ["senders lost", "readers lost", "quiet lost"];
    let lost: u64 = lost.iter().filter_map(|name| others[name].as_u64()).sum();
    assert_eq!((outcome.fault("lost"), lost), (1, 1), "{}", outcome.stdout);
}

#[test]
fn pushes_reach_listeners_of_push_and_of_relay() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    for app in ["push", "relay"] {
        let url = server.url(app, "ws");
        let push = [
            "push",
            "--url",
            url,
            "--backend",
            server.backend(),
            "--token",
            "open-sesame-please",
        ];
        let outcome = run_clean(&server, &push);
        let json = outcome.json();
        // Each message of the whole run is answered, and delivered.
        assert_eq!(json["others"]["answered ok"], json["deliveries_checked"]);
    }
    let refused = bench(&[
        "push",
        "--url",
        server.url("push", "ws"),
        "--backend",
        server.backend(),
    ]);
    assert_eq!(refused.status, 2);
    assert!(refused.stderr.contains("--token"), "{}", refused.stderr);
}

#[test]
fn every_codec_several_generators_and_a_fixed_rate() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    for scheme in ["text", "frame"] {
        run_clean(&server, &["relay", "--url", server.url("relay", scheme)]);
    }
    let relay = server.url("relay", "ws");
    for workload in ["relay", "broadcast", "connect", "churn", "prove"] {
        let outcome = run_clean(&server, &[workload, "--url", relay, "--generators", "3"]);
        let generators = &outcome.json()["clients"]["generators"];
        assert_eq!(generators.as_array().expect("a list").len(), 3);
    }
    run_clean(
        &server,
        &[
            "chat",
            "--url",
            server.url("chat", "ws"),
            "--generators",
            "2",
        ],
    );
    for workload in ["echo", "relay"] {
        let outcome = run_clean(&server, &[workload, "--url", relay, "--rate", "1000"]);
        let json = outcome.json();
        assert_eq!(json["latency"]["from_due"], true);
        let rate = json["deliveries_per_second"].as_f64().expect("a rate");
        assert!((800.0..1_200.0).contains(&rate), "{rate}");
    }
    run_clean(
        &server,
        &[
            "broadcast",
            "--url",
            relay,
            "--rate",
            "20",
            "--in-flight",
            "4",
        ],
    );
    run_clean(
        &server,
        &["echo", "--url", relay, "--size", "5000", "--in-flight", "4"],
    );
}

/// The same workloads by TLS, each codec, full handshakes and short ones.
#[cfg(feature = "tls")]
#[test]
fn by_tls_all_is_clean() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start_by_tls();
    let relay = server.url("relay", "wss");
    for workload in ["relay", "broadcast", "connect", "churn"] {
        run_clean(&server, &[workload, "--url", relay]);
    }
    run_clean(&server, &["connect", "--url", relay, "--resume"]);
    run_clean(
        &server,
        &[
            "echo",
            "--url",
            relay,
            "--size",
            "50000",
            "--in-flight",
            "4",
        ],
    );
    for scheme in ["tls+text", "tls+frame"] {
        run_clean(&server, &["relay", "--url", server.url("relay", scheme)]);
    }
    run_clean(&server, &["chat", "--url", server.url("chat", "wss")]);
    let backend = server.url("push-backend", "tls+text");
    let push = server.url("push", "wss");
    let token = ["--token", "open-sesame-please"];
    run_clean(
        &server,
        &[&["push", "--url", push, "--backend", backend], &token[..]].concat(),
    );
}

/// And at Unix sockets, one with a name alone.
#[test]
fn by_unix_sockets_all_is_clean() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = std::env::temp_dir().join(format!("ringpost-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = |name: &str| folder.join(name).display().to_string();
    let name = format!("ringpost-bench-{}", std::process::id());
    let listeners = [
        format!("websocket+unix://{}=relay", path("relay")),
        format!("text+unix://@{name}=relay"),
        format!("websocket+unix://{}=push", path("push")),
        format!("text+unix://{}=push-backend", path("back-end")),
    ];
    let listeners: Vec<&str> = listeners.iter().map(|one| &**one).collect();
    let server = Server::start_with(&listeners, &[]);
    let relay = format!("ws+unix://{}", path("relay"));
    for workload in ["relay", "broadcast", "connect", "churn"] {
        run_clean(&server, &[workload, "--url", &relay]);
    }
    run_clean(
        &server,
        &["relay", "--url", &format!("text+unix://@{name}")],
    );
    let push = format!("ws+unix://{}", path("push"));
    let backend = format!("unix://{}", path("back-end"));
    let token = ["--token", "open-sesame-please"];
    run_clean(
        &server,
        &[&["push", "--url", &push, "--backend", &backend], &token[..]].concat(),
    );
    drop(server);
    let _ = std::fs::remove_dir_all(folder);
}

#[test]
fn two_numbers_of_connections_are_two_lines() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let outcome = bench(&[
        "echo",
        "--url",
        server.url("relay", "ws"),
        "--connections",
        "10,20",
        "--seconds",
        "0.3",
        "--warmup",
        "0",
        "--json",
    ]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let lines: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["connections"], &lines[1]["connections"]),
        (&10.into(), &20.into())
    );
    let shown = bench(&[
        "echo",
        "--url",
        server.url("relay", "ws"),
        "--connections",
        "10",
        "--seconds",
        "0.3",
    ]);
    assert!(
        shown.stdout.contains("s per million deliveries"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stdout.contains("faults         none"),
        "{}",
        shown.stdout
    );
}

#[test]
fn a_report_is_one_page_of_all_its_runs() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let folder = std::env::temp_dir().join(format!("ringpost-report-{}", std::process::id()));
    let report = folder.to_str().expect("UTF-8");
    for workload in ["echo", "idle"] {
        let outcome = bench(&[
            workload,
            "--url",
            server.url("relay", "ws"),
            "--connections",
            "10,30",
            "--seconds",
            "0.3",
            "--report",
            report,
            "--name",
            "mine & yours",
        ]);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    }
    let runs = std::fs::read_to_string(folder.join("runs.jsonl")).expect("the runs");
    let page = std::fs::read_to_string(folder.join("index.html")).expect("the page");
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(runs.lines().count(), 4);
    assert!(page.contains("<h2>echo</h2>") && page.contains("<h2>idle</h2>"));
    assert!(page.contains("mine &amp; yours"), "{page}");
    assert_eq!(page.matches("<svg").count(), 4, "{page}");
    assert!(!page.contains("http") && !page.contains("<script"));
}

/// What a proxy does to one line on its way to a client.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    Lose,
    Double,
    Exchange,
    Change,
    Misroute,
}

/// Passes a text listener's lines on, and makes one mistake with a stamped one of a connection. Lets a
/// good many through first.
fn proxy(server: String, mistake: Mistake) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let countdown = Arc::new(AtomicU64::new(50));
    let clients: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(&server).expect("the server");
            let (mut up, mut down) = (
                upstream.try_clone().expect("a clone"),
                client.try_clone().expect("a clone"),
            );
            thread::spawn(move || {
                let _ = std::io::copy(&mut down, &mut up);
                let _ = up.shutdown(Shutdown::Write);
            });
            let (countdown, clients) = (Arc::clone(&countdown), Arc::clone(&clients));
            let clone = client.try_clone().expect("a clone");
            clients.lock().expect("no panic").push(clone);
            thread::spawn(move || {
                pass(upstream, &client, mistake, &countdown, &clients);
                let _ = client.shutdown(Shutdown::Both);
            });
        }
    });
    format!("text://{address}")
}

fn pass(
    upstream: TcpStream,
    mut client: &TcpStream,
    mistake: Mistake,
    countdown: &AtomicU64,
    clients: &Mutex<Vec<TcpStream>>,
) {
    let mut lines = BufReader::new(upstream);
    let mut line = Vec::new();
    let mut kept: Option<Vec<u8>> = None;
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
            return;
        }
        let is_stamped = !line.starts_with(b"login");
        let due = || {
            let step = |left: u64| left.checked_sub(1);
            countdown.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) == Ok(1)
        };
        let mut out = line.clone();
        if let Some(held) = kept.take() {
            out.extend(held);
        } else if is_stamped && due() {
            match mistake {
                Mistake::Lose => continue,
                Mistake::Double => out.extend_from_slice(&line),
                Mistake::Change => out[60] ^= 1,
                Mistake::Exchange => {
                    kept = Some(line.clone());
                    continue;
                }
                Mistake::Misroute => {
                    let clients = clients.lock().expect("no panic");
                    let is_other =
                        |one: &&TcpStream| one.peer_addr().ok() != client.peer_addr().ok();
                    // The newest is one of the run, and not of the probe before it.
                    let mut other = clients.iter().rev().find(is_other).expect("another");
                    let _ = other.write_all(&line);
                    continue;
                }
            }
        }
        if client.write_all(&out).is_err() {
            return;
        }
    }
}

/// The faults of a run through a proxy that makes one mistake.
fn faults_of(workload: &str, mistake: Mistake) -> Outcome {
    faults_of_more(workload, mistake, &[])
}

fn faults_of_more(workload: &str, mistake: Mistake, more: &[&str]) -> Outcome {
    let server = Server::start();
    let upstream = server.url("relay", "text").trim_start_matches("text://");
    let url = proxy(upstream.to_owned(), mistake);
    let arguments = [
        workload,
        "--url",
        &url,
        "--connections",
        match workload {
            "prove" => "15",
            // 5 senders, 10 quiet ones, and readers.
            "flood" => "20",
            _ => "5",
        },
        "--senders",
        "5",
        "--in-flight",
        "4",
        "--seconds",
        "0.5",
        "--warmup",
        "0.1",
        "--json",
    ];
    let outcome = bench(&[&arguments[..], more].concat());
    assert_eq!(
        outcome.status, 1,
        "{workload} {mistake:?}: {}{}",
        outcome.stdout, outcome.stderr
    );
    outcome
}

#[test]
fn a_mistake_on_the_way_is_found_and_named() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    for workload in ["echo", "relay", "broadcast"] {
        for (mistake, fault) in [
            (Mistake::Lose, "lost"),
            (Mistake::Double, "doubled"),
            (Mistake::Change, "corrupt"),
        ] {
            let outcome = faults_of(workload, mistake);
            assert_eq!(
                outcome.fault(fault),
                1,
                "{workload} {mistake:?}: {}",
                outcome.stdout
            );
            assert_eq!(outcome.fault("reordered"), 0, "{workload} {mistake:?}");
        }
    }
    for (mistake, fault) in [(Mistake::Double, "doubled"), (Mistake::Lose, "lost")] {
        let outcome = faults_of("prove", mistake);
        assert_ne!(outcome.fault(fault), 0, "prove {mistake:?}");
    }
    let accompanied = faults_of_more(
        "prove",
        Mistake::Lose,
        &["--during", "true", "--rate", "200"],
    );
    assert_eq!(accompanied.fault("lost"), 1, "{}", accompanied.stdout);
    // To himself with several in flight, so that the next line is of the same sender.
    let outcome = faults_of("echo", Mistake::Exchange);
    assert_eq!(outcome.fault("reordered"), 1, "{}", outcome.stdout);
    assert_eq!(outcome.fault("lost"), 0);
}

#[test]
fn a_message_to_the_wrong_connection_is_found() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = faults_of("relay", Mistake::Misroute);
    assert_eq!(outcome.fault("strayed"), 1, "{}", outcome.stdout);
    assert_eq!(outcome.fault("lost"), 1, "{}", outcome.stdout);
}

#[test]
fn a_server_that_dies_is_no_success() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let url = server.url("relay", "ws").to_owned();
    let mut killer = TcpStream::connect(server.backend()).expect("the back end's port");
    let mut run = command()
        .args([
            "bench",
            "echo",
            "--url",
            &url,
            "--connections",
            "3",
            "--seconds",
            "2",
            "--json",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    thread::sleep(std::time::Duration::from_millis(1_500));
    // Whoever they are: everybody goes when the server does.
    let _ = killer.write_all(b"auth open-sesame-please\n");
    drop(server);
    let mut stdout = String::new();
    let mut pipe = run.stdout.take().expect("a pipe");
    pipe.read_to_string(&mut stdout).expect("UTF-8");
    assert_ne!(run.wait().expect("an end").code(), Some(0), "{stdout}");
}

#[test]
fn what_is_wrong_is_said() {
    let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start();
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("ws://{}", listener.local_addr().expect("an address"))
    };
    let text = server.url("relay", "text").replace("text://", "ws://");
    let chat = server.url("chat", "ws");
    let relay = server.url("relay", "ws");
    for (arguments, words) in [
        (&["echo", "--url", &nobody][..], "is the server running"),
        (
            &["relay", "--url", relay, "--during", "true"],
            "--during is for prove, not for relay",
        ),
        (
            &["prove", "--url", relay, "--rate", "5"],
            "--rate is not for prove",
        ),
        (
            &["echo", "--url", "wss://127.0.0.1:1"],
            "is the server running",
        ),
        (
            &["echo", "--url", &relay.replace("ws:", "wss:")],
            "speak TLS",
        ),
        (&["echo", "--url", relay, "--resume"], "speaks no TLS"),
        (&["echo", "--url", "nonsense"], "no scheme"),
        (&["echo", "--url", chat], "wants a relay listener"),
        (&["chat", "--url", relay], "wants a chat listener"),
        (&["echo", "--url", &text], "websocket listener"),
        (
            &["push", "--url", relay, "--backend", &relay[5..]],
            "--backend",
        ),
        (&["echo", "--url", relay, "--size", "9"], "--size 9"),
        (&["idle", "--url", relay, "--rate", "9"], "--rate"),
        (
            &["echo", "--url", relay, "--connections", "0"],
            "--connections 0",
        ),
        (&["flood", "--url", relay, "--connections", "26"], "27 to"),
        (
            &["echo", "--url", relay, "--metrics", &nobody[5..]],
            "--metrics",
        ),
        (&["echo", "--url", relay, "--metrics", &relay[5..]], "HTTP"),
        (
            &[
                "echo",
                "--url",
                relay,
                "--connections",
                "90000",
                "--generators",
                "1",
            ],
            "--generators",
        ),
        (
            &["echo", "--url", relay, "--server-pid", "4194304"],
            "no such process",
        ),
        (&["echo", "--url", relay, "--cpus", "4000"], "--cpus"),
        (&["dance"], "possible values"),
    ] {
        let outcome = bench(arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}: {}", outcome.stderr);
        assert!(
            outcome.stderr.contains(words),
            "{arguments:?}: {}",
            outcome.stderr
        );
        assert_eq!(outcome.stdout, "", "{arguments:?}");
    }
    let help = bench(&["--help"]);
    for words in [
        "Examples:",
        "--server-pid",
        "--in-flight",
        "Exit status",
        "broadcast",
    ] {
        assert!(help.stdout.contains(words), "{words}: {}", help.stdout);
    }
}
