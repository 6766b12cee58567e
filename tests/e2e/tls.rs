//! TLS on listeners: by clients that others have written (curl, `openssl s_client`, rustls), with moves and new keys in the
//! middle of records, and what is wrong with certificates, clients and files.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::time::sleep;

use crate::by_tls::{client_config, file};
use crate::on_cores;
use crate::seed;
use crate::server::{Server, command};

on_cores! {
    records_come_in_pieces_and_connections_move_amid_them,
    keys_are_renewed_both_ways,
    a_drain_ends_by_close_notify,
    what_is_no_tls_is_told_so,
    a_handshake_has_its_time,
    a_proxys_header_comes_before_the_handshake,
    certificates_are_chosen_by_name_and_read_anew,
    clients_show_certificates_where_asked,
    curl_reads_pages_and_events,
    a_record_that_was_changed_ends_the_connection,
}

const LISTENERS: &[&str] = &[
    "wss://127.0.0.1:0=relay",
    "tls+text://127.0.0.1:0=relay",
    "tls+text://127.0.0.1:0=push-backend",
    "wss://127.0.0.1:0=push",
    "https://127.0.0.1:0=page",
    "text://127.0.0.1:0=push-backend",
];

/// A server whose listeners speak TLS, and a back end's that does not.
async fn secure(cores: usize, more: &[(&str, &str)]) -> Server {
    let mut command = command(cores, more, LISTENERS);
    certify(&mut command, "p256");
    Server::spawn(command, LISTENERS.len()).await
}

fn certify(command: &mut Command, name: &str) {
    let path = |end: &str| file(&format!("{name}.{end}"));
    command.env("RINGPOST_TLS_CERTIFICATE_FILE", path("pem"));
    command.env("RINGPOST_TLS_KEY_FILE", path("key"));
}

/// A client of rustls', whose bytes we send ourselves.
struct Client {
    socket: TcpStream,
    tls: ClientConnection,
    came: Vec<u8>,
}

impl Client {
    fn begin(address: SocketAddr, host: &'static str, config: &Arc<ClientConfig>) -> Client {
        let socket = TcpStream::connect(address).expect("a connection");
        Client::over(socket, host, config)
    }

    fn over(socket: TcpStream, host: &'static str, config: &Arc<ClientConfig>) -> Client {
        socket.set_nodelay(true).expect("no delay");
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).expect("a time");
        let name = ServerName::try_from(host).expect("a name");
        let tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
        Client {
            socket,
            tls,
            came: Vec::new(),
        }
    }

    fn new(address: SocketAddr) -> Client {
        let mut client = Client::begin(address, "localhost", &client_config());
        client.shake_hands().expect("a handshake");
        client
    }

    /// What is to be sent.
    fn sealed(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut bytes).expect("a buffer takes all");
        }
        bytes
    }

    fn flush(&mut self) {
        let bytes = self.sealed();
        // Who has been refused may have closed.
        let _ = self.socket.write_all(&bytes);
    }

    fn seal(&mut self, text: &str) -> Vec<u8> {
        self.tls.writer().write_all(text.as_bytes()).expect("room");
        self.sealed()
    }

    fn send(&mut self, text: &str) {
        let bytes = self.seal(text);
        self.socket.write_all(&bytes).expect("it takes them");
    }

    fn shake_hands(&mut self) -> Result<(), String> {
        while self.tls.is_handshaking() {
            self.flush();
            if self.tls.is_handshaking() && !self.receive()? {
                return Err("the end".to_owned());
            }
        }
        self.flush();
        Ok(())
    }

    /// Takes what has come. False at the end of the stream.
    fn receive(&mut self) -> Result<bool, String> {
        let read = self.tls.read_tls(&mut self.socket);
        if read.map_err(|error| error.to_string())? == 0 {
            return Ok(false);
        }
        let state = self.tls.process_new_packets();
        let state = state.map_err(|error| error.to_string())?;
        let at = self.came.len();
        self.came.resize(at + state.plaintext_bytes_to_read(), 0);
        let read = self.tls.reader().read(&mut self.came[at..]);
        self.came.truncate(at + read.unwrap_or_default());
        self.flush();
        Ok(true)
    }

    /// Waits for a line.
    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.came.iter().position(|byte| *byte == b'\n') {
                let rest = self.came.split_off(end + 1);
                let line = std::mem::replace(&mut self.came, rest);
                return String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            }
            assert!(self.receive().expect("a line"), "no line, but the end");
        }
    }

    fn login(&mut self, uid: &str) {
        self.send(&format!("{uid}\n"));
        assert_eq!(self.line(), format!("login success, your uid is {uid}"));
    }

    /// Reads to the end, which has to be said by close_notify.
    fn read_to_close_notify(&mut self) {
        loop {
            match self.tls.reader().read(&mut [0; 1024]) {
                Ok(0) => return,
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            let more = self.receive().expect("an orderly end");
            let has_closed = self.tls.process_new_packets();
            let has_closed = has_closed.expect("records").peer_has_closed();
            assert!(more || has_closed, "the stream was cut off");
        }
    }
}

async fn records_come_in_pieces_and_connections_move_amid_them(cores: usize) {
    let server = secure(cores, &[]).await;
    let address = server.address("tls+text", "relay");
    let mut rng = seed::rng();
    for round in 0..24 {
        let uid = format!("user{round}-{}", rng.u32(..));
        let mut client = Client::new(address);
        // The login, what moves it, and a part of the next record at once; then the rest, in pieces.
        let mut bytes = client.seal(&format!("{uid}\n"));
        let login = bytes.len();
        let long = "x".repeat(rng.usize(1..20_000));
        bytes.extend(client.seal(&format!("{uid}:{long}\n")));
        bytes.extend(client.seal(&format!("{uid}:short\n")));
        let mut at = rng.usize(login - 1..bytes.len());
        client
            .socket
            .write_all(&bytes[..at])
            .expect("it takes them");
        if at >= login {
            assert_eq!(client.line(), format!("login success, your uid is {uid}"));
        }
        while at < bytes.len() {
            let end = (at + rng.usize(1..9_000)).min(bytes.len());
            client
                .socket
                .write_all(&bytes[at..end])
                .expect("it takes them");
            at = end;
            sleep(Duration::from_millis(rng.u64(0..3))).await;
        }
        let mut lines = vec![client.line(), client.line()];
        if lines[0].starts_with("login") {
            lines.push(client.line());
            lines.remove(0);
        }
        assert!(lines[0].ends_with(&long), "{uid}");
        assert!(lines[1].ends_with("short"), "{}", lines[1]);
    }
    server.wait_log(&["started"]).await;
}

async fn keys_are_renewed_both_ways(cores: usize) {
    if Command::new("openssl").arg("version").output().is_err() {
        return println!("openssl is not here, and not tried");
    }
    let server = secure(cores, &[]).await;
    let address = server.address("tls+text", "relay");
    for flags in [
        &["-tls1_3"][..],
        &["-tls1_2"],
        &["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
    ] {
        let mut program = Command::new("openssl")
            .args(["s_client", "-connect", &address.to_string(), "-CAfile"])
            .arg(file("ca.pem"))
            .args(["-verify_return_error", "-servername", "localhost"])
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl");
        let mut input = program.stdin.take().expect("an input");
        let mut output = BufReader::new(program.stdout.take().expect("an output"));
        let mut remarks = BufReader::new(program.stderr.take().expect("an output"));
        let mut expect = |part: &str| wait_for_line(&mut output, part);
        let uid = format!("tom{}", flags.len() + flags[0].len());
        let mut say = |text: &str| {
            input
                .write_all(format!("{text}\n").as_bytes())
                .expect("it listens");
            input.flush().expect("it listens");
        };
        say(&uid);
        expect(&format!("login success, your uid is {uid}"));
        for round in 0..6 {
            say(&format!("{uid}:round {round}"));
            expect(&format!("round {round}"));
            if flags[0] == "-tls1_3" {
                // It renews its key, and asks for one of ours the second time.
                say(if round % 2 == 0 { "k" } else { "K" });
                wait_for_line(&mut remarks, "KEYUPDATE");
            }
        }
        let _ = program.kill();
        let _ = program.wait();
    }
}

/// Waits for a line with this in it; others come between.
fn wait_for_line(from: &mut impl BufRead, part: &str) {
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        let read = from.read_line(&mut line).expect("a line");
        assert!(read > 0, "the end, and not {part:?}");
    }
}

async fn a_drain_ends_by_close_notify(cores: usize) {
    let mut server = secure(cores, &[]).await;
    let mut relay = Client::new(server.address("tls+text", "relay"));
    relay.login("tom");
    let mut waiting = Client::new(server.address("tls+text", "relay"));
    waiting.login("ann");
    server.signal(libc::SIGTERM);
    relay.read_to_close_notify();
    waiting.read_to_close_notify();
    // Ours is said, too, and waited for.
    for mut client in [relay, waiting] {
        client.tls.send_close_notify();
        client.flush();
    }
    let status = server.wait_exit(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
}

async fn what_is_no_tls_is_told_so(cores: usize) {
    let server = secure(cores, &[]).await;
    for (scheme, app) in [("wss", "relay"), ("https", "page"), ("tls+text", "relay")] {
        let mut socket = TcpStream::connect(server.address(scheme, app)).expect("a connection");
        socket
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .expect("it takes them");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an orderly end");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("speaks TLS"), "{answer}");
    }
    server.wait_log(&["without TLS"]).await;
    server.wait_closed("TLS handshake", 2).await;
    let mut socket = TcpStream::connect(server.address("tls+text", "relay")).expect("a connection");
    socket
        .write_all(b"hello, who is there?\n")
        .expect("it takes them");
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    server.wait_closed("TLS handshake", 3).await;
    // A client that trusts nobody says why it goes.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let roots = RootCertStore::empty();
    let strict = builder.expect("versions").with_root_certificates(roots);
    let strict = Arc::new(strict.with_no_client_auth());
    let mut client = Client::begin(server.address("wss", "relay"), "localhost", &strict);
    assert!(client.shake_hands().is_err());
    client.flush();
    server.wait_closed("TLS handshake", 4).await;
}

async fn a_handshake_has_its_time(cores: usize) {
    let server = secure(cores, &[("HANDSHAKE_TIMEOUT", "1s")]).await;
    let config = client_config();
    for (scheme, app) in [("wss", "relay"), ("tls+text", "relay"), ("https", "page")] {
        // Half a ClientHello, and one that is done and asks nothing more.
        let mut half = Client::begin(server.address(scheme, app), "localhost", &config);
        let hello = half.sealed();
        half.socket.write_all(&hello[..100]).expect("it takes them");
        let since = Instant::now();
        let mut end = Vec::new();
        let _ = half.socket.read_to_end(&mut end);
        assert!(since.elapsed() > Duration::from_millis(500), "{scheme}");
    }
    let mut silent = Client::new(server.address("wss", "relay"));
    while silent.receive() == Ok(true) {}
    server.wait_closed("handshake timeout", 3).await;
}

async fn a_proxys_header_comes_before_the_handshake(cores: usize) {
    let listen = |url: &str, app: &str| {
        format!("[[listen]]\nurl = \"{url}\"\napp = \"{app}\"\nproxy_protocol = true\n")
    };
    let text = [
        format!(
            "[tls]\ncertificate_file = {:?}\nkey_file = {:?}\n",
            file("p256.pem"),
            file("p256.key")
        ),
        listen("tls+text://127.0.0.1:0", "relay"),
        listen("https://127.0.0.1:0", "page:events"),
    ]
    .concat()
    .replace("\"page:events\"", "\"page\"\nroles = [\"events\"]");
    let server = Server::from_file(cores, &text).await;
    let config = client_config();
    for together in [true, false] {
        let address = server.address("tls+text", "relay");
        let socket = TcpStream::connect(address).expect("a connection");
        let mut client = Client::over(socket, "localhost", &config);
        let mut bytes = b"PROXY TCP4 192.0.2.7 192.0.2.8 4660 443\r\n".to_vec();
        if together {
            bytes.extend(client.sealed());
        }
        client.socket.write_all(&bytes).expect("it takes them");
        client.shake_hands().expect("a handshake");
        client.login(&format!("tom{together}"));
    }
    // TLS without the header is none that is let in.
    let mut client = Client::begin(server.address("tls+text", "relay"), "localhost", &config);
    assert!(client.shake_hands().is_err());
}

/// A folder of our own.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let name = format!("ringpost-tls-{}-{}", std::process::id(), fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    fn put(&self, name: &str, certificate: &str) {
        for end in ["pem", "key"] {
            let (from, to) = (
                file(&format!("{certificate}.{end}")),
                self.0.join(format!("{name}.{end}")),
            );
            // In one step, as those who renew do.
            let fresh = to.with_extension("fresh");
            std::fs::copy(from, &fresh).expect("a copy");
            std::fs::rename(fresh, to).expect("a new name");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The certificate that is shown to who asks for a host.
fn shown(address: SocketAddr, host: &'static str) -> CertificateDer<'static> {
    // Who comes back with a ticket is shown none.
    let mut config = (*client_config()).clone();
    config.resumption = Resumption::disabled();
    let mut client = Client::begin(address, host, &Arc::new(config));
    client.shake_hands().expect("a handshake");
    let shown = client.tls.peer_certificates().expect("certificates");
    shown[0].clone().into_owned()
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(&format!("{name}.pem"))).expect("a certificate")
}

async fn certificates_are_chosen_by_name_and_read_anew(cores: usize) {
    let folder = Folder::new();
    folder.put("a", "p256");
    folder.put("b", "other");
    let listeners = [
        "tls+text://127.0.0.1:0=relay",
        "text://127.0.0.1:0=push-backend",
    ];
    let mut command = command(cores, &[], &listeners);
    command.env("RINGPOST_TLS_FOLDER", &folder.0);
    let mut server = Server::spawn(command, listeners.len()).await;
    let address = server.address("tls+text", "relay");
    assert_eq!(shown(address, "localhost"), certificate("p256"));
    assert_eq!(shown(address, "other.test"), certificate("other"));
    let mut early = Client::new(address);
    early.login("early");
    folder.put("a", "p384");
    folder.put("c", "star");
    server.signal_on(libc::SIGHUP);
    server.wait_log(&["certificates have been read anew"]).await;
    assert_eq!(shown(address, "localhost"), certificate("p384"));
    assert_eq!(shown(address, "any.star.test"), certificate("star"));
    // Whoever is here goes on.
    early.send("early:still here\n");
    assert!(early.line().ends_with("still here"));
    // A mistake changes nothing.
    std::fs::copy(file("rsa.key"), folder.0.join("a.key")).expect("a copy");
    server.signal_on(libc::SIGHUP);
    server.wait_log(&["a.key", "does not belong"]).await;
    assert_eq!(shown(address, "localhost"), certificate("p384"));
}

async fn clients_show_certificates_where_asked(cores: usize) {
    let text = format!(
        "[tls]\ncertificate_file = {:?}\nkey_file = {:?}\n\
         [[listen]]\nurl = \"tls+text://127.0.0.1:0\"\napp = \"push-backend\"\nclient_ca_file = {:?}\n\
         [[listen]]\nurl = \"tls+text://127.0.0.1:0\"\napp = \"relay\"\n",
        file("p256.pem"),
        file("p256.key"),
        file("ca.pem"),
    );
    let server = Server::from_file(cores, &text).await;
    let address = server.address("tls+text", "push-backend");
    let with = |name: &str| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder
            .with_safe_default_protocol_versions()
            .expect("versions");
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca")).expect("a root");
        let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).expect("a key");
        let builder = builder.with_root_certificates(roots);
        let config = builder.with_client_auth_cert(vec![certificate(name)], key);
        Arc::new(config.expect("a pair"))
    };
    let mut known = Client::begin(address, "localhost", &with("client"));
    known.shake_hands().expect("a handshake");
    known.send("online tom\n");
    assert_eq!(known.line(), "fail");
    for config in [client_config(), with("stranger")] {
        let mut client = Client::begin(address, "localhost", &config);
        // With TLS 1.3 it is told after its own part is done.
        let _ = client.shake_hands();
        client
            .tls
            .writer()
            .write_all(b"online tom\n")
            .expect("room");
        client.flush();
        while client.receive() == Ok(true) {}
        assert_eq!(client.came, b"");
    }
    // The other listener asks nobody.
    Client::new(server.address("tls+text", "relay")).login("tom");
    // Its name has rights, and no other.
    for (name, answer) in [
        ("someone.else", "fail: the first line must be"),
        ("shop.test", "fail"),
    ] {
        let text = format!("{text}[backend]\ncertificates = [\"{name}=read\"]\n");
        let server = Server::from_file(cores, &text).await;
        let address = server.address("tls+text", "push-backend");
        let mut client = Client::begin(address, "localhost", &with("client"));
        client.shake_hands().expect("a handshake");
        client.send("online tom\n");
        let line = client.line();
        match answer {
            "fail" => assert_eq!(line, answer),
            _ => assert!(line.starts_with(answer), "{line}"),
        }
    }
}

async fn curl_reads_pages_and_events(cores: usize) {
    if Command::new("curl").arg("--version").output().is_err() {
        return println!("curl is not here, and not tried");
    }
    let server = secure(cores, &[]).await;
    let page = format!("https://{}", server.address("https", "page"));
    let curl = |path: &str, more: &[&str]| {
        let output = Command::new("curl")
            .args(["-sS", "-m", "20", "--cacert"])
            .arg(file("ca.pem"))
            .args(more)
            .arg(format!("{page}{path}"))
            .output()
            .expect("curl");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success() || output.status.code() == Some(28),
            "{error}"
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(curl("/healthz", &["--tls-max", "1.2"]), "ok\n");
    assert!(curl("/", &["--tlsv1.3"]).contains("<html"));
    let mut listening = Command::new("curl")
        .args(["-sSN", "-m", "30", "--cacert"])
        .arg(file("ca.pem"))
        .arg(format!("{page}/v1/events?uid=tom"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    server.wait_online("tom").await;
    let body = r#"{"uid":"tom","data":{"percent":"88%"}}"#;
    let answer = curl(
        "/v1/push",
        &["-H", "Content-Type: application/json", "-d", body],
    );
    assert!(answer.contains("\"connections\":1"), "{answer}");
    let mut output = BufReader::new(listening.stdout.take().expect("an output"));
    wait_for_line(&mut output, "88%");
    let _ = listening.kill();
    let _ = listening.wait();
    let metrics = curl("/metrics", &[]);
    let figure = |name: &str| {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.rsplit_once(' '));
        value
            .and_then(|(_, value)| value.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no {name}"))
    };
    assert!(figure("ringpost_tls_handshakes_total{version=\"1.3\",kind=\"full\"}") >= 2.0);
    assert!(figure("ringpost_tls_handshakes_total{version=\"1.2\",kind=\"full\"}") >= 1.0);
    assert!(figure("ringpost_tls_certificate_expiry_timestamp_seconds") > 4e9);
}

async fn a_record_that_was_changed_ends_the_connection(cores: usize) {
    let server = secure(cores, &[]).await;
    let mut client = Client::new(server.address("tls+text", "relay"));
    client.login("tom");
    let mut bytes = client.seal("tom:hello\n");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    client.socket.write_all(&bytes).expect("it takes them");
    // It is told by an alert.
    let error = loop {
        match client.receive() {
            Ok(true) => {}
            Ok(false) => break "the end".to_owned(),
            Err(error) => break error,
        }
    };
    assert!(error.contains("BadRecordMac"), "{error}");
    server.wait_closed("TLS record", 1).await;
    server
        .wait_log(&["not sealed with the connection's key"])
        .await;
}

/// What a server that is started so says, and ends with.
fn refused(settings: &[(&str, &Path)]) -> String {
    let mut command = command(1, &[], &["wss://127.0.0.1:0=relay"]);
    for (name, path) in settings {
        command.env(format!("RINGPOST_TLS_{name}"), path);
    }
    let output = command.output().expect("the binary starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_mistake_is_told_at_the_start() {
    let (pem, key) = ("CERTIFICATE_FILE", "KEY_FILE");
    for (certificate, its_key, words) in [
        ("p256.pem", "rsa.key", "does not belong"),
        ("expired.pem", "expired.key", "expired"),
        ("absent.pem", "p256.key", "absent.pem"),
        ("p256.pem", "passphrase.key", "passphrase"),
        ("p256.key", "p256.key", "no certificate"),
    ] {
        let said = refused(&[(pem, &file(certificate)), (key, &file(its_key))]);
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let said = refused(&[]);
    assert!(said.contains("tls.certificate_file"), "{said}");
    let said = refused(&[(key, &file("p256.key"))]);
    assert!(said.contains("there is no tls.certificate_file"), "{said}");
}

#[test]
fn one_made_for_a_try_is_known_by_its_fingerprint() {
    crate::run(async {
        let listeners = ["wss://127.0.0.1:0=relay", "https://127.0.0.1:0=page"];
        let mut command = command(1, &[], &listeners);
        command.arg("--tls-self-signed");
        let server = Server::spawn(command, listeners.len()).await;
        let address = server.address("https", "page").to_string();
        let output = Command::new("curl")
            .args(["-sSk", "-m", "20", &format!("https://{address}/healthz")])
            .output();
        if let Ok(output) = output {
            assert_eq!(output.stdout, b"ok\n");
        }
    });
}

/// A client that answers half a second after an upgrade has begun. Whether it is served then.
fn answers_late(mut client: Client, uid: &str) -> bool {
    std::thread::sleep(Duration::from_millis(500));
    if client.shake_hands().is_err() {
        return false;
    }
    let line = client.seal(&format!("{uid}\n"));
    if client.socket.write_all(&line).is_err() {
        return false;
    }
    while !client.came.ends_with(b"\n") {
        if client.receive() != Ok(true) {
            return false;
        }
    }
    client.line() == format!("login success, your uid is {uid}")
}

#[test]
fn a_handshake_under_way_ends_before_an_upgrade() {
    crate::run(async {
        let mut server = secure(2, &[]).await;
        let address = server.address("tls+text", "relay");
        // It has a second for it, which a busy machine may not give.
        for attempt in 1..=5 {
            let mut client = Client::begin(address, "localhost", &client_config());
            client.flush();
            // The server has answered, and waits.
            let mut byte = [0];
            assert_eq!(client.socket.peek(&mut byte).expect("its part"), 1);
            let late = std::thread::spawn(move || answers_late(client, &format!("late{attempt}")));
            server.upgrade().await.expect("it is upgraded");
            if late.join().expect("no panic") {
                return;
            }
        }
        panic!("it was served after none of five upgrades");
    });
}

/// The suites' own properties, over TLS: a few of each kind. All of them are run so with `E2E_TLS` set.
mod suites {
    macro_rules! by_tls {
        ($($module:ident: $($name:ident),*;)*) => {$(
            mod $module {
                $(
                    #[test]
                    fn $name() {
                        crate::by_tls::run(crate::$module::$name(2));
                    }
                )*
            }
        )*};
    }

    by_tls! {
        relay: a_message_reaches_every_connection_of_its_uid_once, all_reaches_everybody_once_and_the_sender_too;
        push: several_connections_of_a_uid_each_get_every_push;
        chat: a_second_login_is_an_error, a_message_to_nobody_is_an_error;
        codec_text: cutting_the_bytes_anywhere_changes_nothing, a_line_without_an_end_closes_once_it_is_too_long;
        codec_frame: cutting_the_bytes_anywhere_changes_nothing, a_body_of_any_bytes_comes_back_unchanged;
        codec_deflate: compressed_messages_come_back, a_connection_that_moves_goes_on_compressing, a_bomb_closes_with_1009;
        sse_delivery: what_is_pushed_comes_in_order, one_that_does_not_read_is_closed_and_others_do_not_notice;
        api_push: each_uid_has_its_verdict, a_kick_closes_every_connection;
        upgrade: everybody_stays, messages_during_the_change_arrive_once_and_in_order,
            those_who_listen_by_events_and_those_who_read_late_miss_nothing, again_and_again;
        order: what_is_sent_while_a_connection_moves_stays_in_order, most_sends_cross_cores;
        slow_consumer: one_that_does_not_read_is_closed_and_others_do_not_notice, a_broadcast_closes_only_those_that_do_not_read;
        drain: closes_are_spread_and_readyz_tells_first;
        heartbeat: a_silent_client_is_closed_with_4003;
        hostile_frames: each_frame_against_the_rules_gets_its_code, half_messages_of_many_are_bounded_together;
        hostile_handshake: each_bad_request_gets_its_status, frames_behind_the_request_are_served_wherever_it_is_cut;
        hostile_http: heads_out_of_bounds_are_refused, a_pipeline_is_answered_in_order_and_whole;
        hostile_ends: what_follows_a_close_is_ignored, half_a_close_at_any_moment_leaves_nothing, a_reset_at_any_moment_leaves_nothing;
    }
}
