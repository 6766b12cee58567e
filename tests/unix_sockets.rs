//! The program at Unix sockets, and at sockets that were passed to it as systemd does.
//!
//! The test stands in for the service manager, and for back ends, proxies and clients on the same machine.

#![cfg(all(target_os = "linux", not(loom)))]

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Generous, for the machine may be busy building.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of a test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ringpost-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(cores: usize, listeners: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
    command.args(["serve", "--cores", &cores.to_string()]);
    for listener in listeners {
        command.args(["--listen", listener]);
    }
    command
}

/// A server that runs, and ends with this.
struct Server {
    child: Child,
    /// The second word of each line that it printed.
    urls: Vec<String>,
}

impl Server {
    fn start(cores: usize, listeners: &[&str]) -> Server {
        Server::spawn(command(cores, listeners), listeners.len())
    }

    fn spawn(mut command: Command, listeners: usize) -> Server {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut url = || {
            let line = lines.next()?.ok()?;
            line.split_whitespace().nth(1).map(str::to_owned)
        };
        let urls: Vec<String> = (0..listeners).filter_map(|_| url()).collect();
        assert_eq!(urls.len(), listeners, "it has not started");
        Server { child, urls }
    }

    /// Has it stop in order.
    fn stop(mut self) {
        // SAFETY: no memory is touched, and the process is our child.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        assert!(self.child.wait().expect("it ends").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says when it does not start.
fn refusal(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "{text}");
    text
}

/// One line of a stream at a time.
struct Lines<S>(BufReader<S>);

impl Lines<UnixStream> {
    fn open(path: &str) -> Lines<UnixStream> {
        let stream = UnixStream::connect(path).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Lines(BufReader::new(stream))
    }
}

impl<S: Read + Write> Lines<S> {
    fn send(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.0
            .get_mut()
            .write_all(line.as_bytes())
            .expect("it reads");
    }

    /// The next line; none at the end.
    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).expect("a line");
        (count > 0).then(|| line.trim_end().to_owned())
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(line);
        self.next().expect("an answer")
    }
}

/// What a request for a path is answered with.
fn get(path: &str, target: &str, fields: &str) -> String {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {target} HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response
}

#[test]
fn every_codec_is_spoken_and_connections_move_to_their_uids() {
    let folder = Folder::new("codecs");
    let [relay, back_end, web] = ["relay", "back-end", "web"].map(|name| folder.path(name));
    let at = [
        format!("text+unix://{relay}=relay"),
        format!("text+unix://{back_end}=push-backend"),
        format!("http+unix://{web}=page"),
        format!("websocket+unix://{web}:/ws=relay"),
        "frame+unix://@ringpost-test-codecs=relay".to_owned(),
    ];
    let listeners: Vec<&str> = at.iter().map(String::as_str).collect();
    let server = Server::start(2, &listeners);
    assert!(
        server.urls.contains(&format!("ws+unix://{web}:/ws")),
        "{:?}",
        server.urls
    );
    let uids: Vec<String> = (0..16).map(|n| format!("uid{n}")).collect();
    let mut clients: Vec<Lines<UnixStream>> = uids.iter().map(|_| Lines::open(&relay)).collect();
    let mut backend = Lines::open(&back_end);
    for (client, uid) in clients.iter_mut().zip(&uids) {
        client.send(uid);
        let online = format!("online {uid}");
        while backend.ask(&online) != "ok" {}
        assert!(
            client
                .next()
                .is_some_and(|line| line.contains("login success"))
        );
    }
    for (client, uid) in clients.iter_mut().zip(&uids) {
        let line = format!("{{\"uid\":\"{uid}\",\"text\":\"{}\"}}", "x".repeat(20_000));
        assert_eq!(backend.ask(&line), "ok");
        assert_eq!(client.next(), Some(line));
    }
    let body = "{\"uid\":\"uid1\",\"text\":\"by HTTP\"}";
    let mut http = UnixStream::connect(&web).expect("it listens");
    write!(
        http,
        "POST /v1/push HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it reads");
    let mut response = String::new();
    http.read_to_string(&mut response).expect("a response");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let pushed = clients[1].next().expect("a line");
    assert!(pushed.contains("by HTTP"), "{pushed}");
    assert!(get(&web, "/readyz", "").contains("200"));
    assert!(get(&web, "/metrics", "").contains("listener=\"ws+unix://"));
    let list = get(&web, "/v1/uids/uid1", "");
    let own = format!(
        "unix:uid={},pid={}",
        fs::metadata("/proc/self").map_or(0, |it| uid_of(&it)),
        std::process::id()
    );
    assert!(list.contains(&own), "{own} in {list}");
    // A websocket at the path, by hand.
    let mut socket = UnixStream::connect(&web).expect("it listens");
    write!(
        socket,
        "GET /ws HTTP/1.1\r\nHost: push.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://push.example\r\n\r\n"
    )
    .expect("it reads");
    let mut socket = BufReader::new(socket);
    let mut head = String::new();
    socket.read_line(&mut head).expect("a response");
    assert!(head.contains("101"), "{head}");
    server.stop();
    for path in [relay, back_end, web] {
        assert!(!Path::new(&path).exists(), "{path}");
    }
}

fn uid_of(found: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(found)
}

#[test]
fn connections_are_spread_over_the_cores() {
    let folder = Folder::new("spread");
    let (echo, web) = (folder.path("echo"), folder.path("web"));
    let server = Server::start(
        2,
        &[
            &format!("text+unix://{echo}=echo"),
            &format!("http+unix://{web}=page"),
        ],
    );
    let clients: Vec<_> = (0..200)
        .map(|n| {
            let mut client = Lines::open(&echo);
            assert_eq!(client.ask(&n.to_string()), n.to_string());
            client
        })
        .collect();
    let metrics = get(&web, "/metrics", "");
    let of_core = |core: usize| {
        let beginning = format!("ringpost_connections{{core=\"{core}\",listener=\"text+unix");
        let line = metrics.lines().find(|line| line.starts_with(&beginning));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        count.expect("a count")
    };
    let counts = [of_core(0), of_core(1)];
    eprintln!("connections by core: {counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    // Chance decides, and the machine's other work; but neither core has all.
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    server.stop();
}

#[test]
fn a_stale_socket_is_replaced_and_nothing_else() {
    let folder = Folder::new("stale");
    let path = folder.path("echo");
    let listener = format!("text+unix://{path}=echo");
    // Of a process that was killed.
    let mut killed = Server::start(2, &[&listener]);
    killed.child.kill().expect("it runs");
    killed.child.wait().expect("it ends");
    assert!(Path::new(&path).exists());
    let server = Server::start(2, &[&listener]);
    assert_eq!(Lines::open(&path).ask("there"), "there");
    let said = refusal(command(1, &[&listener]));
    assert!(
        said.contains("another process listens there") && said.contains(&path),
        "{said}"
    );
    assert_eq!(Lines::open(&path).ask("still"), "still");
    server.stop();
    fs::write(&path, "precious").expect("writes");
    let said = refusal(command(1, &[&listener]));
    assert!(said.contains("no socket"), "{said}");
    assert_eq!(fs::read_to_string(&path).ok().as_deref(), Some("precious"));
    let missing = format!("text+unix://{}=echo", folder.path("no/echo"));
    let said = refusal(command(1, &[&missing]));
    assert!(said.contains("RuntimeDirectory"), "{said}");
}

#[test]
fn its_file_is_whose_the_configuration_says() {
    let folder = Folder::new("mode");
    let path = folder.path("echo");
    let config = folder.path("ringpost.toml");
    let write = |keys: &str| {
        let text = format!("[[listen]]\nurl = \"text+unix://{path}\"\napp = \"echo\"\n{keys}\n");
        fs::write(&config, text).expect("writes");
        let mut command = command(1, &[]);
        command.args(["--config", &config]);
        command
    };
    let own = fs::metadata("/proc/self").map_or(0, |it| uid_of(&it));
    for (keys, mode) in [
        ("", 0o660),
        ("mode = \"0606\"", 0o606),
        (&*format!("owner = \"{own}\""), 0o660),
    ] {
        let server = Server::spawn(write(keys), 1);
        let found = fs::metadata(&path).expect("it is there");
        assert_eq!(found.permissions().mode() & 0o777, mode, "{keys}");
        server.stop();
    }
    for (keys, words) in [
        ("mode = 660", "octal digits and quotes"),
        ("mode = \"9\"", "octal digits"),
        ("mode = \"1777\"", "octal digits"),
        ("owner = \"no-such-account\"", "knows no user"),
        ("group = \"no-such-account\"", "knows no group"),
    ] {
        let said = refusal(write(keys));
        assert!(said.contains(words), "{keys}: {said}");
        assert!(!Path::new(&path).exists());
    }
}

/// A listener that tells the address which counts: a roster of the chat has it.
#[test]
fn a_proxy_tells_the_client_and_nobody_claims_a_user_of_the_machine() {
    let folder = Folder::new("proxy");
    let (chat, web) = (folder.path("chat"), folder.path("web"));
    let config = folder.path("ringpost.toml");
    let text = format!(
        "trusted_proxies = \"unix:\"\n[[listen]]\nurl = \"text+unix://{chat}\"\napp = \"push\"\nproxy_protocol = true\n\
         [[listen]]\nurl = \"http+unix://{web}\"\napp = \"page\"\n"
    );
    fs::write(&config, text).expect("writes");
    let mut command = command(2, &[]);
    command.args(["--config", &config]);
    let server = Server::spawn(command, 2);
    let mut client = Lines::open(&chat);
    client.send("PROXY TCP4 192.0.2.7 192.0.2.8 4711 80\r");
    client.send("tom");
    let start = Instant::now();
    let list = loop {
        let list = get(&web, "/v1/uids/tom", "");
        if list.contains("\"address\"") || start.elapsed() > PATIENCE {
            break list;
        }
    };
    assert!(list.contains("192.0.2.7:4711"), "{list}");
    let mut liar = Lines::open(&chat);
    liar.send("PROXY TCP6 100:0:0:0:0:1:0:1 ::1 1 80\r");
    liar.send("root");
    assert!(liar.next().is_none());
    // By a field of a request it is none, either.
    let events = "/v1/events?uid=eve";
    let response = get(&web, events, "X-Forwarded-For: 100::1:0:1\r\n");
    assert!(response.starts_with("HTTP/1.1 400"), "{response}");
    // A proxy's client is on no machine of ours.
    let response = get(&web, "/v1/stats", "X-Forwarded-For: 192.0.2.7\r\n");
    assert!(response.starts_with("HTTP/1.1 403"), "{response}");
    server.stop();
}

/// The program, to which these descriptors are passed under these names.
fn passing(mut arguments: Vec<String>, sockets: &[RawFd], names: &str) -> Command {
    arguments.insert(0, env!("CARGO_BIN_EXE_ringpost").to_owned());
    let mut command = Command::new("/bin/sh");
    // Who execs keeps his number.
    command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]);
    command.args(arguments);
    command.env("LISTEN_FDS", sockets.len().to_string());
    command.env("LISTEN_FDNAMES", names);
    let sockets = sockets.to_vec();
    // SAFETY: both calls are async-signal-safe, and touch descriptors of the child alone.
    unsafe {
        command.pre_exec(move || {
            for (number, socket) in sockets.iter().enumerate() {
                // Out of the way first: one may have another's number.
                let high = libc::fcntl(*socket, libc::F_DUPFD, 100);
                if high < 0 || libc::dup2(high, 3 + number as RawFd) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                libc::close(high);
            }
            Ok(())
        });
    }
    command
}

fn serve(listeners: &[&str]) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned(), "--cores".to_owned(), "2".to_owned()];
    for listener in listeners {
        arguments.extend(["--listen".to_owned(), listener.to_string()]);
    }
    arguments
}

#[test]
fn sockets_that_are_passed_go_to_the_listeners_that_name_them() {
    let folder = Folder::new("passed");
    let path = folder.path("relay");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
    let unix = UnixListener::bind(&path).expect("binds");
    let address = tcp.local_addr().expect("an address");
    let sockets = [tcp.as_raw_fd(), unix.as_raw_fd()];
    let listeners = serve(&["text+fd://second=echo", "text+fd://first=echo"]);
    let command = passing(listeners, &sockets, "first:second");
    let server = Server::spawn(command, 2);
    assert_eq!(
        server.urls,
        [format!("text+unix://{path}"), format!("text://{address}")]
    );
    assert_eq!(Lines::open(&path).ask("by the path"), "by the path");
    let mut by_tcp = Lines(BufReader::new(
        TcpStream::connect(address).expect("it listens"),
    ));
    assert_eq!(by_tcp.ask("by TCP"), "by TCP");
    server.stop();
    // They are whose they were.
    assert!(Path::new(&path).exists());
    for (listeners, count, names, words) in [
        (
            &["text+fd://third=echo"][..],
            2,
            "first:second",
            "no passed socket has the name \"third\"",
        ),
        (
            &["text+fd://first=echo"][..],
            2,
            "first:second",
            "no listener takes: [\"second\"]",
        ),
        (
            &["text+fd://first=echo"][..],
            2,
            "first:first",
            "FileDescriptorName",
        ),
        (&["text+fd://first=echo"][..], 2, "first", "LISTEN_FDNAMES"),
        (
            &["text+fd://first=push-backend"][..],
            1,
            "first",
            "kept to loopback",
        ),
    ] {
        let said = refusal(passing(serve(listeners), &sockets[..count], names));
        assert!(said.contains(words), "{words:?} in {said}");
    }
    let said = refusal({
        let mut command = command_of(&serve(&["text+fd://first=echo"]));
        command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
        command
    });
    assert!(said.contains("LISTEN_PID"), "{said}");
    let said = refusal(command_of(&serve(&["text+fd://first=echo"])));
    assert!(said.contains(".socket unit"), "{said}");
}

fn command_of(arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringpost"));
    command.args(arguments);
    command
}

/// Whoever connects while no process is there waits for the next one: nobody is refused.
#[test]
fn a_restart_loses_no_connect() {
    let folder = Folder::new("restart");
    let path = folder.path("echo");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
    let unix = UnixListener::bind(&path).expect("binds");
    let address = tcp.local_addr().expect("an address");
    let sockets: [OwnedFd; 2] = [tcp.into(), unix.into()];
    let numbers = sockets.each_ref().map(AsRawFd::as_raw_fd);
    let start = || {
        let listeners = serve(&["text+fd://tcp=echo", "text+fd://unix=echo"]);
        Server::spawn(passing(listeners, &numbers, "tcp:unix"), 2)
    };
    let (over, answered, ended) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    // What a connection came to: an answer, or its end by the process that had let it in.
    let count = |stream: Box<dyn Stream>| match stream.talk() {
        true => answered.fetch_add(1, Ordering::Relaxed),
        false => ended.fetch_add(1, Ordering::Relaxed),
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                count(Box::new(
                    TcpStream::connect(address).expect("nobody is refused"),
                ));
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                count(Box::new(
                    UnixStream::connect(&path).expect("nobody is refused"),
                ));
            }
        });
        let mut server = start();
        for round in 1..=4 {
            let before = answered.load(Ordering::Relaxed);
            let begun = Instant::now();
            while answered.load(Ordering::Relaxed) < before + 20 {
                assert!(
                    begun.elapsed() < PATIENCE,
                    "round {round}: nobody is answered"
                );
                thread::sleep(Duration::from_millis(1));
            }
            server.stop();
            server = start();
        }
        over.store(true, Ordering::Relaxed);
        // Who waits is answered before it ends.
        while Lines::open(&path).ask("last") != "last" {}
        thread::sleep(Duration::from_millis(1));
        server
    });
    assert!(answered.load(Ordering::Relaxed) >= 80);
}

/// A stream of either kind.
trait Stream: Read + Write {
    /// Whether a line came back.
    fn talk(self: Box<Self>) -> bool;
}

impl<S: Read + Write> Stream for S {
    fn talk(mut self: Box<Self>) -> bool {
        let is_end = |kind| {
            matches!(
                kind,
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
            )
        };
        let mut talk = || {
            self.write_all(b"hello\n")?;
            let mut answer = [0; 6];
            self.read_exact(&mut answer)?;
            Ok::<_, std::io::Error>(answer)
        };
        match talk() {
            Ok(answer) => answer == *b"hello\n",
            Err(error) if is_end(error.kind()) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_user_has_rights_without_a_token() {
    let folder = Folder::new("users");
    let (back_end, web) = (folder.path("back-end"), folder.path("web"));
    let own = fs::metadata("/proc/self").map_or(0, |it| uid_of(&it));
    let at = [
        format!("text+unix://{back_end}=push-backend"),
        format!("http+unix://{web}=page"),
        "text://127.0.0.1:0=push-backend".to_owned(),
    ];
    let listeners: Vec<&str> = at.iter().map(String::as_str).collect();
    let config = folder.path("ringpost.toml");
    let with = |users: &str| {
        fs::write(&config, format!("[backend]\nusers = {users}\n")).expect("writes");
        let mut command = command(2, &listeners);
        command.args(["--config", &config]);
        command
    };
    let start = |users: &str, token: Option<&str>| {
        let mut command = with(users);
        command.envs(token.map(|token| ("RINGPOST_BACKEND_TOKEN", token)));
        Server::spawn(command, 3)
    };
    let token = "a-token-of-all-rights";
    let server = start(
        &format!("[\"{own}=read\", \"{}=push\"]", own + 1),
        Some(token),
    );
    let mut known = Lines::open(&back_end);
    assert_eq!(known.ask("online tom"), "fail");
    assert_eq!(
        known.ask("kick tom"),
        "fail: this token has no right to kick"
    );
    // A token adds to what the user may do.
    assert_eq!(
        known.ask("auth another-token-of-none"),
        "fail: authorized already"
    );
    assert_eq!(known.ask(&format!("auth {token}")), "ok");
    assert_eq!(known.ask("kick tom"), "fail");
    assert_eq!(
        known.ask(&format!("auth {token}")),
        "fail: authorized already"
    );
    let ok = |response: &str| response.starts_with("HTTP/1.1 200");
    assert!(ok(&get(&web, "/metrics", "")));
    // What a proxy brings is not that user's, and a wrong token is wrong.
    let response = get(&web, "/metrics", "X-Forwarded-For: 192.0.2.7\r\n");
    assert!(response.starts_with("HTTP/1.1 401"), "{response}");
    let response = get(
        &web,
        "/metrics",
        "Authorization: Bearer not-the-right-token\r\n",
    );
    assert!(response.starts_with("HTTP/1.1 401"), "{response}");
    // Nobody is a user by TCP.
    let address = server
        .urls
        .iter()
        .find_map(|url| url.strip_prefix("text://"));
    let stream = TcpStream::connect(address.expect("by TCP")).expect("it listens");
    let mut stranger = Lines(BufReader::new(stream));
    assert!(
        stranger
            .ask("online tom")
            .contains("the first line must be")
    );
    server.stop();
    let server = start(&format!("[\"{}=push,kick,read\"]", own + 1), None);
    assert!(
        Lines::open(&back_end)
            .ask("online tom")
            .contains("the first line must be")
    );
    server.stop();
    for (users, words) in [
        ("[\"root\"]", "NAME=RIGHTS"),
        ("[\"root=all\"]", "NAME=RIGHTS"),
        ("[]", "there is no name"),
        ("[\"no-such-account=push\"]", "knows no user"),
    ] {
        let said = refusal(with(users));
        assert!(said.contains(words), "{users}: {said}");
    }
}

#[test]
fn client_commands_reach_it() {
    let folder = Folder::new("commands");
    let (back_end, web) = (folder.path("back-end"), folder.path("web"));
    let server = Server::start(
        1,
        &[
            &format!("text+unix://{back_end}=push-backend"),
            &format!("http+unix://{web}=page"),
        ],
    );
    let run = |arguments: &[&str]| {
        let output = command_of(
            &arguments
                .iter()
                .map(|one| one.to_string())
                .collect::<Vec<_>>(),
        )
        .output()
        .expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (to, web_to) = (format!("unix://{back_end}"), format!("unix://{web}"));
    let (code, said) = run(&["online", "--to", &to, "nobody"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(run(&["stats", "--to", &to]).1.contains(&back_end));
    assert_eq!(
        run(&["health", "--to", &web_to]),
        (Some(0), "ok\n".to_owned())
    );
    let (code, said) = run(&["health", "--to", &format!("{web_to}x")]);
    assert!(
        code == Some(1) && said.contains("nothing listens on"),
        "{said}"
    );
    server.stop();
}

#[test]
fn client_commands_speak_tls() {
    let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");
    let file = |name: &str| format!("{certificates}/{name}");
    let listeners = [
        "tls+text://127.0.0.1:0=push-backend",
        "https://127.0.0.1:0=page",
    ];
    let mut command = command(1, &listeners);
    command.args([
        "--tls-certificate-file",
        &file("p256.pem"),
        "--tls-key-file",
        &file("p256.key"),
    ]);
    let server = Server::spawn(command, 2);
    let host = |url: &str, scheme: &str| {
        let rest = url.strip_prefix(scheme).expect("its scheme");
        rest.trim_end_matches('/').replace("127.0.0.1", "localhost")
    };
    let lines = format!("tls://{}", host(&server.urls[0], "tls+text://"));
    let web = format!("https://{}", host(&server.urls[1], "https://"));
    let run = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|one| one.to_string()).collect();
        let output = command_of(&arguments).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (ca, pem) = (
        file("ca.pem"),
        fs::read_to_string(file("p256.pem")).expect("it is there"),
    );
    assert!(pem.contains("BEGIN CERTIFICATE"));
    let (code, said) = run(&["push", "--to", &lines, "--ca-file", &ca, "tom", "hello"]);
    assert!(
        code == Some(1) && said.contains("no connection of"),
        "{said}"
    );
    let (code, said) = run(&["health", "--to", &web, "--ca-file", &ca]);
    assert_eq!((code, &*said), (Some(0), "ok\n"));
    // Neither the system nor another fingerprint vouches for it.
    let (code, said) = run(&["health", "--to", &web]);
    assert!(
        code == Some(1) && said.contains("--fingerprint SHA256"),
        "{said}"
    );
    let (code, said) = run(&["stats", "--to", &lines, "--fingerprint", &"00".repeat(32)]);
    assert!(
        code == Some(2) && said.contains("another fingerprint"),
        "{said}"
    );
    let (_, said) = run(&["stats", "--to", &lines, "--fingerprint", "00"]);
    assert!(said.contains("64 hexadecimal digits"), "{said}");
    let output = Command::new("openssl")
        .args([
            "x509",
            "-noout",
            "-fingerprint",
            "-sha256",
            "-in",
            &file("p256.pem"),
        ])
        .output();
    // Where openssl is.
    if let Ok(output) = output {
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        let fingerprint = shown
            .trim()
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .to_owned();
        let (code, said) = run(&["stats", "--to", &lines, "--fingerprint", &fingerprint]);
        assert_eq!(code, Some(0), "{said}");
    }
    server.stop();
}

#[test]
fn client_commands_show_certificates_where_they_are_asked() {
    let certificates = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/certificates");
    let file = |name: &str| format!("{certificates}/{name}");
    let mut command = command(1, &["tls+text://127.0.0.1:0=push-backend"]);
    command.env("RINGPOST_TLS_CERTIFICATE_FILE", file("p256.pem"));
    command.env("RINGPOST_TLS_KEY_FILE", file("p256.key"));
    command.env("RINGPOST_TLS_CLIENT_CA_FILE", file("ca.pem"));
    command.env("RINGPOST_BACKEND_CERTIFICATES", "shop.test=push,read");
    let server = Server::spawn(command, 1);
    let address = server.urls[0].trim_start_matches("tls+text://");
    let to = format!(
        "tls://{}",
        address
            .trim_end_matches('/')
            .replace("127.0.0.1", "localhost")
    );
    let run = |arguments: &[&str], pair: Option<(&str, &str)>| {
        let mut words = arguments.to_vec();
        let trust = ["--to", &to, "--ca-file", &file("ca.pem")].map(str::to_owned);
        words.extend(trust.iter().map(String::as_str));
        let pair = pair.map(|(pem, key)| [file(pem), file(key)]);
        if let Some([pem, key]) = &pair {
            words.extend(["--certificate-file", pem, "--key-file", key]);
        }
        let words: Vec<String> = words.iter().map(|one| one.to_string()).collect();
        let output = command_of(&words).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let shop = Some(("client.pem", "client.key"));
    let (code, offline) = run(&["online", "nobody"], shop);
    assert_eq!(code, Some(1), "{offline}");
    let (code, said) = run(&["push", "nobody", "hello"], shop);
    assert!(
        code == Some(1) && said.contains("no connection of"),
        "{said}"
    );
    // Its name has no right to kick.
    let (code, said) = run(&["kick", "nobody"], shop);
    assert!(code != Some(0) && said.contains("kick"), "{said}");
    // None, one of another authority, and one whose name has no rights.
    for pair in [
        None,
        Some(("stranger.pem", "stranger.key")),
        Some(("till.pem", "till.key")),
    ] {
        let (code, said) = run(&["online", "nobody"], pair);
        assert!(
            code != Some(0) && said != offline && !said.is_empty(),
            "{pair:?}: {said}"
        );
    }
    let (code, said) = run(&["online", "nobody"], Some(("client.pem", "p256.key")));
    assert!(code == Some(2) && said.contains("client.pem"), "{said}");
    server.stop();
}
