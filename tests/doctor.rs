//! `ringpost doctor` on this machine: its exit status, and that a server holds as many connections as it says,
//! and hardly more.

#![cfg(all(target_os = "linux", not(loom)))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn ringpost(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RINGPOST_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = ringpost(arguments).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// Ended with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server with so many descriptors, and the address of its listener.
fn server(descriptors: u64, more: &[&str]) -> (Server, String) {
    let mut command = ringpost(&["--cores", "1", "--listen", "text://127.0.0.1:0=echo"]);
    let limit = libc::rlimit {
        rlim_cur: descriptors,
        rlim_max: descriptors,
    };
    // SAFETY: between fork and exec only setrlimit is called, which is a plain system call.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let mut child = command
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut banner = String::new();
    BufReader::new(child.stdout.take().expect("a pipe"))
        .read_line(&mut banner)
        .expect("a banner");
    let url = banner.split_whitespace().nth(1).expect("a URL");
    let address = url.trim_start_matches("text://").to_owned();
    (Server(child), address)
}

fn echoes(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).expect("a timeout");
    stream.write_all(b"hello\n").expect("to write");
    stream.read_exact(&mut [0; 6]).is_ok()
}

#[test]
fn the_status_says_whether_all_is_well() {
    let (status, stdout, stderr) = run(&["doctor", "--connections", "10"]);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("10 connections: they fit"), "{stdout}");
    assert!(stdout.lines().all(|line| line.chars().count() <= 80));

    let (status, stdout, _) = run(&["doctor", "--connections", "900M", "--json"]);
    assert_eq!(status, Some(1), "{stdout}");
    let answer: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(answer["verdict"], "breaks");
    assert!(answer["holds"].as_u64().expect("a number") < 900_000_000);
    // The rings were tried, for it is this machine.
    let findings = answer["findings"].as_array().expect("a list");
    assert!(findings.iter().any(|one| one["name"] == "io_uring"));

    // Without a number nothing can break: it says what this machine holds.
    let (status, stdout, stderr) = run(&["doctor"]);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    assert!(stdout.starts_with("This machine holds "), "{stdout}");
    assert!(
        stdout.contains(", bounded by ") && !stdout.contains("BREAKS"),
        "{stdout}"
    );
    let (status, stdout, _) = run(&["doctor", "--json"]);
    assert_eq!(status, Some(0), "{stdout}");
    let answer: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(answer["connections"], answer["holds"]);
    assert_ne!(answer["verdict"], "breaks");

    for arguments in [
        &["doctor", "--connections", "some"][..],
        &["doctor", "--pid", "4194305"],
        &["doctor", "--root", "/nowhere"],
        &["doctor", "--config", "/nowhere.toml"],
    ] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!((status, stdout.as_str()), (Some(2), ""), "{stderr}");
        assert!(!stderr.is_empty());
    }
}

#[test]
fn a_server_holds_as_many_as_it_says() {
    let (server, address) = server(300, &["--log", "off"]);
    let pid = server.0.id().to_string();
    let (status, stdout, stderr) =
        run(&["doctor", "--pid", &pid, "--connections", "1000", "--json"]);
    assert_eq!(status, Some(1), "{stdout}{stderr}");
    let answer: Value = serde_json::from_str(&stdout).expect("JSON");
    let holds = answer["holds"].as_u64().expect("a number");
    assert!((200..300).contains(&holds), "{holds}");

    let mut streams = Vec::new();
    for _ in 0..holds {
        let mut stream = TcpStream::connect(&address).expect("a connection");
        assert!(echoes(&mut stream, Duration::from_secs(20)));
        streams.push(stream);
    }
    // Further ones wait in the kernel's queue. What is left of the estimate is little.
    let more = (0..60).take_while(|_| {
        let mut stream = TcpStream::connect(&address).expect("room in the queue");
        let served = echoes(&mut stream, Duration::from_secs(2));
        streams.push(stream);
        served
    });
    let more = more.count();
    assert!(more < 60, "{more} more than {holds}");
}

#[test]
fn the_server_warns_at_its_start() {
    for (most, warns) in [("1000", true), ("100", false), ("0", false)] {
        let (mut server, _) = server(300, &["--max-connections", most]);
        server.0.kill().expect("to end it");
        let mut log = String::new();
        let mut stderr = server.0.stderr.take().expect("a pipe");
        stderr.read_to_string(&mut log).expect("UTF-8");
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
        assert_eq!(lines.len(), usize::from(warns), "{log}");
        if warns {
            assert!(
                lines[0].contains("max_connections = 1000, but only 2"),
                "{log}"
            );
            assert!(
                lines[0].contains("`ringpost doctor --connections 1000`"),
                "{log}"
            );
        }
    }
}

/// What a server that runs keeps is asked of it; where none answers that is said, and the rest even so.
#[test]
fn it_says_what_a_running_server_keeps() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    let file = std::env::temp_dir().join(format!("ringpost-doctor-{}.toml", std::process::id()));
    let text = format!(
        "cores = 1\n[[listen]]\nurl = \"text://127.0.0.1:0\"\napp = \"push\"\n[[listen]]\nurl = \"text://127.0.0.1:{port}\"\n\
         app = \"push-backend\"\n[[history]]\nkind = \"uid\"\nsize = 2\nttl = \"10m\"\noffline = \"queue\"\n"
    );
    std::fs::write(&file, text).expect("a file");
    let path = file.to_str().expect("UTF-8");
    // Lines are broken at a width.
    let doctor = || {
        let (_, said, errors) = run(&["doctor", "--config", path]);
        let words: Vec<&str> = said.split_whitespace().collect();
        (words.join(" "), errors)
    };
    let (said, errors) = doctor();
    let nothing = format!("no server answers: nothing at 127.0.0.1:{port}");
    assert!(said.contains(&nothing), "{said}{errors}");
    let mut child = ringpost(&["--config", path])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut banner = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    out.read_line(&mut banner).expect("a banner");
    let _server = Server(child);
    let mut backend = TcpStream::connect(("127.0.0.1", port)).expect("a back end");
    backend
        .write_all(b"{\"uid\":\"u\"}\n{\"uid\":\"u\"}\n{\"uid\":\"u\"}\n")
        .expect("sent");
    backend.read_exact(&mut [0; 9]).expect("three times ok");
    let (said, errors) = doctor();
    let _ = std::fs::remove_file(&file);
    assert!(
        said.contains("in 1 streams; 1 messages evicted or over, 0 gaps told"),
        "{said}{errors}"
    );
}
