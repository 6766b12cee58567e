//! The record layer at a client's end, against `openssl s_server`: rustls does the client's handshake, and what follows is
//! ours, with new keys from both sides.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustls::KeyLog;

use super::peers::is_here;
use super::*;
use crate::tls::{Cipher, End, Records, Secret};

const PATIENCE: Duration = Duration::from_secs(120);

/// Secrets by their labels.
#[derive(Debug, Default)]
struct Told(Mutex<HashMap<String, Vec<u8>>>);

impl KeyLog for Told {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        let mut told = self.0.lock().expect("nobody has panicked");
        told.insert(label.to_owned(), secret.to_vec());
    }
}

/// `openssl s_server` for one client after another.
struct SServer {
    program: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    port: u16,
}

/// The port that it has taken, which it says in a line of its own.
fn accepting_port(output: &mut impl BufRead) -> u16 {
    for line in output.lines() {
        let line = line.expect("it goes on");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            let port = address
                .rsplit(':')
                .next()
                .and_then(|port| port.parse().ok());
            return port.expect("a port");
        }
    }
    panic!("it does not accept");
}

impl SServer {
    fn new(suite: &str) -> SServer {
        let mut program = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0"])
            .args(["-tls1_3", "-num_tickets", "0", "-ciphersuites", suite])
            .arg("-cert")
            .arg(file("p256.pem"))
            .arg("-key")
            .arg(file("p256.key"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        let mut output = BufReader::new(program.stdout.take().expect("an output"));
        let port = accepting_port(&mut output);
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        let input = program.stdin.take().expect("an input");
        SServer {
            program,
            input,
            lines,
            port,
        }
    }

    fn connect(&self) -> TcpStream {
        let start = Instant::now();
        loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(socket) => return socket,
                Err(error) => assert!(start.elapsed() < PATIENCE, "{error}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn say(&mut self, text: &str) {
        let said = self.input.write_all(text.as_bytes());
        said.and_then(|()| self.input.flush()).expect("it listens");
    }

    fn expect(&self, part: &str) {
        let mut said = Vec::new();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return,
                Ok(line) => said.push(line),
                Err(error) => panic!("no {part:?}: {error}; it said {said:#?}"),
            }
        }
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Our end of a connection.
struct OurEnd {
    socket: TcpStream,
    records: Records,
    held: Vec<u8>,
}

impl OurEnd {
    fn new(server: &SServer, cipher: Cipher) -> OurEnd {
        let told = Arc::new(Told::default());
        let mut config = (*Terms::default().client()).clone();
        config.key_log = told.clone();
        let mut client = connect(&Arc::new(config), "localhost");
        let mut socket = server.connect();
        let patience = Some(PATIENCE);
        socket.set_read_timeout(patience).expect("a time");
        while client.is_handshaking() || client.wants_write() {
            client.complete_io(&mut socket).expect("a handshake");
        }
        let told = told.0.lock().expect("nobody has panicked");
        let secret = |of: &str| {
            let secret = told.get(&format!("{of}_TRAFFIC_SECRET_0"));
            Secret::new(secret.expect("it was told")).expect("a secret")
        };
        let records = Records::new(cipher, &secret("SERVER"), &secret("CLIENT"));
        OurEnd {
            socket,
            records,
            held: Vec::new(),
        }
    }

    fn say(&mut self, text: &str) {
        let mut sealed = Vec::new();
        let sealing = self.records.seal([text.as_bytes()], &mut sealed);
        sealing.expect("a key that is good");
        self.socket.write_all(&sealed).expect("it takes them");
    }

    /// Waits for a line. What else the server says of itself is not sent.
    fn expect(&mut self, line: &str) {
        let mut heard = Vec::new();
        while !heard.ends_with(b"\n") {
            let mut piece = [0; 500];
            let read = self.socket.read(&mut piece).expect("it says something");
            assert!(read > 0, "the end, and not {line:?}");
            self.held.extend_from_slice(&piece[..read]);
            let opened = self.records.open(&mut self.held);
            assert_eq!(opened.end, None);
            heard.extend_from_slice(&self.held[..opened.plain]);
            self.held.drain(..opened.taken);
        }
        assert_eq!(String::from_utf8_lossy(&heard), line);
    }

    /// Waits for what is not for the application.
    fn expect_a_new_key(&mut self) {
        let mut taken = 0;
        while taken == 0 {
            let mut piece = [0; 500];
            let read = self.socket.read(&mut piece).expect("it says something");
            assert!(read > 0, "the end, and not a new key");
            self.held.extend_from_slice(&piece[..read]);
            let opened = self.records.open(&mut self.held);
            assert_eq!((opened.plain, opened.end), (0, None));
            taken = opened.taken;
            self.held.drain(..taken);
        }
    }

    fn end(mut self) {
        let mut sealed = Vec::new();
        self.records.seal_close(&mut sealed);
        self.socket.write_all(&sealed).expect("it takes them");
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = self.socket.read_to_end(&mut rest);
        self.held.extend(rest);
        let opened = self.records.open(&mut self.held);
        assert_eq!((opened.plain, opened.end), (0, Some(End::Closed)));
    }
}

#[test]
fn openssl_serves_us_by_every_suite_with_new_keys_from_both_sides() {
    if !is_here("openssl", "version") {
        return;
    }
    for (suite, cipher) in [
        ("TLS_AES_128_GCM_SHA256", Cipher::Aes128Gcm),
        ("TLS_AES_256_GCM_SHA384", Cipher::Aes256Gcm),
        ("TLS_CHACHA20_POLY1305_SHA256", Cipher::ChaCha20Poly1305),
    ] {
        let mut server = SServer::new(suite);
        let mut ours = OurEnd::new(&server, cipher);
        for round in 0..4 {
            // More than one record at a time, too.
            let long = "x".repeat(round * 20_000);
            ours.say(&format!("{long} line {round}\n"));
            server.expect(&format!(" line {round}"));
            server.say(&format!("answer {round}\n"));
            ours.expect(&format!("answer {round}\n"));
            // A new key of its own, and in every second round it asks for one of ours.
            server.say(["k\n", "K\n"][round % 2]);
            // What it reads together with the command is lost.
            ours.expect_a_new_key();
            server.say(&format!("by a new key {round}\n"));
            ours.expect(&format!("by a new key {round}\n"));
            ours.records.update_key(round % 2 == 0);
        }
        ours.end();
    }
}
