//! Clients that others have written: `openssl s_client`, Python's ssl, curl. One that is not here is left out, and said so.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use super::driver::{Report, echo, http, serve};
use super::*;
use crate::tls::{End, Failure, Version};

/// Longest wait for a program that should have something to say.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn is_here(program: &str, flag: &str) -> bool {
    let is_here = Command::new(program)
        .arg(flag)
        .output()
        .is_ok_and(|output| output.status.success());
    if !is_here {
        println!("{program} is not here, and not tried");
    }
    is_here
}

/// `openssl s_client`, talked to line by line.
struct SClient {
    program: Child,
    input: Option<ChildStdin>,
    /// What it says, on both ways.
    lines: Receiver<String>,
}

impl SClient {
    fn new(port: u16, flags: &[&str]) -> SClient {
        let mut program = Command::new("openssl")
            .arg("s_client")
            .args(["-connect", &format!("127.0.0.1:{port}")])
            .args([
                "-verify_return_error",
                "-servername",
                "localhost",
                "-CAfile",
            ])
            .arg(file("ca.pem"))
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl");
        let (tell, lines) = channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(program.stdout.take().expect("an output")),
            Box::new(program.stderr.take().expect("an output")),
        ];
        for output in outputs {
            let tell = tell.clone();
            thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        let input = program.stdin.take();
        SClient {
            program,
            input,
            lines,
        }
    }

    fn say(&mut self, text: &str) {
        let input = self.input.as_mut().expect("it is not over");
        input.write_all(text.as_bytes()).expect("it listens");
        input.flush().expect("it listens");
    }

    /// Waits for a line that has this in it, and passes over the others.
    fn expect(&mut self, part: &str) -> String {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => said.push(line),
                Err(error) => panic!("no {part:?}: {error}; it said {said:#?}"),
            }
        }
    }

    fn echoes(&mut self, line: &str) {
        self.say(&format!("{line}\n"));
        self.expect(line);
    }

    /// Ends its input, and waits for it to go.
    fn end(mut self) {
        self.input = None;
        let status = self.program.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for SClient {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn one(reports: Vec<Report>) -> Report {
    let [report] = <[Report; 1]>::try_from(reports).expect("one connection");
    report
}

#[test]
fn openssl_speaks_every_suite_and_group_and_renews_keys() {
    if !is_here("openssl", "version") {
        return;
    }
    let server = server(&["p256", "rsa"]);
    for (suite, group) in [
        ("TLS_AES_128_GCM_SHA256", "X25519"),
        ("TLS_AES_256_GCM_SHA384", "P-256"),
        ("TLS_CHACHA20_POLY1305_SHA256", "P-384"),
        // It asks for a group that is not spoken, and is asked again.
        ("TLS_AES_128_GCM_SHA256", "X448:X25519"),
    ] {
        let (port, serving) = serve(server.lines().clone(), 1, echo);
        let mut client = SClient::new(port, &["-tls1_3", "-ciphersuites", suite, "-groups", group]);
        client.expect("Verification: OK");
        for round in 0..3 {
            client.echoes(&format!("line {round}"));
            // It asks for one of ours, too.
            client.say("K\n");
            client.expect("KEYUPDATE");
            client.echoes(&format!("after a new key {round}"));
            client.say("k\n");
            client.expect("KEYUPDATE");
            client.echoes(&format!("after another {round}"));
        }
        client.end();
        let report = one(serving.join().expect("no panic"));
        assert_eq!(report.end, Some(End::Closed), "{report:?}");
        assert_eq!(report.records.expect("records").version(), Version::Tls13);
    }
}

#[test]
fn openssl_speaks_tls_1_2_and_is_refused_a_second_handshake() {
    if !is_here("openssl", "version") {
        return;
    }
    let server = server(&["p256", "rsa"]);
    for kind in ["ECDSA", "RSA"] {
        for cipher in [
            "AES128-GCM-SHA256",
            "AES256-GCM-SHA384",
            "CHACHA20-POLY1305",
        ] {
            let (port, serving) = serve(server.lines().clone(), 1, echo);
            let suite = format!("ECDHE-{kind}-{cipher}");
            let mut client = SClient::new(port, &["-tls1_2", "-cipher", &suite]);
            client.expect("Verification: OK");
            client.echoes("one");
            client.echoes("two");
            client.say("R\n");
            client.expect("RENEGOTIATING");
            client.expect("no renegotiation");
            let report = one(serving.join().expect("no panic"));
            assert_eq!(
                report.end,
                Some(End::Failed(Failure::Renegotiation)),
                "{suite}"
            );
            assert_eq!(report.records.expect("records").version(), Version::Tls12);
        }
    }
}

#[test]
fn openssl_may_send_small_padded_records() {
    if !is_here("openssl", "version") {
        return;
    }
    let server = server(&["p256"]);
    for flags in [
        &["-tls1_3", "-max_send_frag", "512"][..],
        &["-tls1_3", "-record_padding", "1000"],
        &["-tls1_3", "-record_padding", "16384"],
        &["-tls1_2", "-max_send_frag", "600"],
    ] {
        let (port, serving) = serve(server.lines().clone(), 1, echo);
        let mut client = SClient::new(port, flags);
        client.expect("Verification: OK");
        for length in [1, 500, 8_000] {
            // It sends what it reads at once, which may be a part of the line.
            client.echoes(&"x".repeat(length));
        }
        client.end();
        let report = one(serving.join().expect("no panic"));
        assert_eq!(
            (report.end, report.bytes),
            (Some(End::Closed), 8_504),
            "{flags:?}"
        );
    }
}

#[test]
fn openssl_comes_back_with_its_ticket() {
    if !is_here("openssl", "version") {
        return;
    }
    let server = server(&["p256"]);
    for version in ["-tls1_2", "-tls1_3"] {
        let folder = Folder::new(version);
        let ticket = folder.0.join("ticket");
        let ticket = ticket.to_str().expect("a path in UTF-8");
        let (port, serving) = serve(server.lines().clone(), 2, echo);
        for flag in ["-sess_out", "-sess_in"] {
            let mut client = SClient::new(port, &[version, flag, ticket]);
            client.expect(if flag == "-sess_in" {
                "Reused, TLSv1."
            } else {
                "New, TLSv1."
            });
            client.echoes("hello");
            client.end();
        }
        let reports = serving.join().expect("no panic");
        let resumed: Vec<bool> = reports.iter().map(|report| report.is_resumed).collect();
        assert_eq!(resumed, [false, true]);
    }
}

#[test]
fn openssl_shows_a_certificate_or_is_refused() {
    if !is_here("openssl", "version") {
        return;
    }
    let sources = Sources {
        client_ca_file: Some(file("ca.pem")),
        ..sources(&["p256"])
    };
    let (server, _) = TlsServer::open(&sources, NOW).expect("certificates");
    let (port, serving) = serve(server.lines().clone(), 2, echo);
    let [certificate, key] = ["client.pem", "client.key"].map(file);
    let [certificate, key] =
        [&certificate, &key].map(|path| path.to_str().expect("a path in UTF-8"));
    let mut client = SClient::new(port, &["-cert", certificate, "-key", key]);
    client.echoes("hello");
    client.end();
    let mut client = SClient::new(port, &[]);
    client.expect("certificate required");
    let reports = serving.join().expect("no panic");
    assert_eq!(reports[0].end, Some(End::Closed));
    let error = reports[1].error.as_ref().expect("a refusal");
    assert_eq!(error.kind(), "certificate");
}

fn succeeded(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said} {complaint}");
    said
}

/// Sends a megabyte in pieces of many lengths, reads it back, and ends the connection as TLS has it.
const PYTHON: &str = r#"
import random, socket, ssl, sys, threading
port, ca, version = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
with socket.create_connection(("127.0.0.1", port)) as plain:
    with context.wrap_socket(plain, server_hostname="localhost") as tls:
        rng = random.Random(1)
        lines = [b"%d " % n + b"x" * rng.choice([0, 1, 100, 5000, 16384, 30000]) + b"\n" for n in range(200)]
        got = b""
        for line in lines:
            tls.sendall(line)
            while len(got) < len(line):
                got += tls.recv(70000)
            assert got == line, (line[:20], got[:20])
            got = b""
        version = tls.version()
        tls.unwrap()
        print(version, sum(map(len, lines)))
"#;

#[test]
fn python_sends_lines_of_many_lengths_and_both_ends_close() {
    if !is_here("python3", "--version") {
        return;
    }
    let server = server(&["rsa"]);
    for (version, name) in [("TLSv1_2", "TLSv1.2"), ("TLSv1_3", "TLSv1.3")] {
        let (port, serving) = serve(server.http().clone(), 1, echo);
        let output = Command::new("python3")
            .args(["-c", PYTHON, &port.to_string()])
            .arg(file("ca.pem"))
            .arg(version)
            .output()
            .expect("python3");
        let report = one(serving.join().expect("no panic"));
        let said = succeeded(&output);
        assert_eq!(said.trim(), format!("{name} {}", report.bytes));
        assert_eq!(report.end, Some(End::Closed));
    }
}

#[test]
fn curl_gets_its_answer_and_without_tls_an_explanation() {
    if !is_here("curl", "--version") {
        return;
    }
    let server = server(&["p256"]);
    for (flags, expected) in [
        (&[][..], "hello\n"),
        (&["--tls-max", "1.2"], "hello\n"),
        (&["--http1.1"], "hello\n"),
    ] {
        let (port, serving) = serve(server.http().clone(), 1, http);
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "120", "--cacert"])
            .arg(file("ca.pem"))
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
            .args(flags)
            .arg(format!("https://localhost:{port}/"))
            .output()
            .expect("curl");
        assert_eq!(succeeded(&output), expected);
        let report = one(serving.join().expect("no panic"));
        assert!(matches!(report.end, None | Some(End::Closed)), "{report:?}");
    }
    let (port, serving) = serve(server.http().clone(), 1, http);
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "120"])
        .arg(format!("http://127.0.0.1:{port}/"))
        .output()
        .expect("curl");
    let said = succeeded(&output);
    assert!(
        said.starts_with("HTTP/1.1 400 ") && said.contains("This port speaks TLS"),
        "{said}"
    );
    let report = one(serving.join().expect("no panic"));
    assert_eq!(report.error.expect("an error").kind(), "plain");
}
