//! The program as its users meet it: help, `check`, exit statuses, and the client commands against
//! a stand-in for the back-end port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The program, with none of our variables inherited.
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

struct Outcome {
    status: i32,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Outcome {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    Outcome {
        status: status.code().expect("it ends by itself"),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}

/// A file of its own for a test, removed at the end.
struct ConfigFile(PathBuf);

impl ConfigFile {
    /// A file of its own, whatever other tests name theirs: they run side by side.
    fn new(name: &str, text: &str) -> ConfigFile {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let path = std::env::temp_dir().join(format!("ringpost-{process}-{number}-{name}.toml"));
        std::fs::write(&path, text).expect("a temporary file");
        ConfigFile(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for ConfigFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Answers the lines of one connection with the given ones, then closes it. Yields what it was asked.
fn back_end_port(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let thread = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
        let mut asked = Vec::new();
        for answer in answers {
            asked.push(lines.next().expect("a line").expect("UTF-8"));
            (&stream).write_all(answer.as_bytes()).expect("to write");
        }
        // What comes after the last answer, up to the client's end.
        asked.extend(lines.map_while(Result::ok));
        asked
    });
    (address, thread)
}

/// An address on which nothing listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

#[test]
fn help_and_version() {
    let help = run(&mut ringpost(&["--help"]));
    assert_eq!(help.status, 0);
    for words in [
        "Examples:",
        "push",
        "--public",
        "--cores",
        "--listen",
        "RINGPOST_",
        "Exit status",
    ] {
        assert!(
            help.stdout.contains(words),
            "no {words:?} in:\n{}",
            help.stdout
        );
    }
    let version = run(&mut ringpost(&["--version"]));
    assert_eq!(
        version.stdout,
        format!("ringpost {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_bad_command_line_is_status_2() {
    for arguments in [
        &["--corse", "2"][..],
        &["push", "uid"],
        &["--preset", "push", "--listen", "x=y"],
    ] {
        let outcome = run(&mut ringpost(arguments));
        assert_eq!(outcome.status, 2, "{arguments:?}: {}", outcome.stderr);
        assert!(outcome.stdout.is_empty());
    }
}

#[test]
fn check_says_what_would_be_served() {
    let file = ConfigFile::new(
        "right",
        "preset = 'push'\nidle_timeout = '2m'\npublic = true\n\
         [[history]]\nkind = 'all'\nsize = 10\nttl = '1m'\n",
    );
    let outcome = run(&mut ringpost(&["check", file.path()]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let words: Vec<Vec<&str>> = outcome
        .stdout
        .lines()
        .map(|line| line.split_whitespace().take(2).collect())
        .collect();
    assert!(
        words.contains(&vec!["push", "ws://[::]:1234"]),
        "{}",
        outcome.stdout
    );
    assert!(
        words.contains(&vec!["push-backend", "text://127.0.0.1:5678"]),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("only a claim"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome
            .stdout
            .contains("idle_timeout = \"2m\"  (default \"55s\")"),
        "{}",
        outcome.stdout
    );
    let rules = "keeping, by the first rule that fits\n  all: 10 messages, 1m\n";
    assert!(outcome.stdout.ends_with(rules), "{}", outcome.stdout);
}

#[test]
fn check_shows_no_token() {
    let file = ConfigFile::new("token", "[backend]\ntoken = 'hunter2-hunter2-hunter2'\n");
    let outcome = run(&mut ringpost(&["check", file.path()]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("backend.token = (hidden)"),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stdout.contains("hunter2"), "{}", outcome.stdout);
}

#[test]
fn a_bad_configuration_is_status_2_wherever_it_comes_from() {
    let file = ConfigFile::new("wrong", "cores = 2\nidle_timout = '5s'\n");
    let line = format!(
        "{}:2: unknown key \"idle_timout\"; did you mean \"idle_timeout\"?",
        file.path()
    );
    for arguments in [&["check", file.path()], &["--config", file.path()]] {
        let outcome = run(&mut ringpost(arguments));
        assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""));
        assert!(outcome.stderr.contains(&line), "{}", outcome.stderr);
    }
    let outcome = run(ringpost(&["serve"]).env("RINGPOST_CONFIG", file.path()));
    assert!(outcome.stderr.contains(&line), "{}", outcome.stderr);

    let outcome = run(ringpost(&["--log", "error"]).env("RINGPOST_CORES", "many"));
    assert_eq!(outcome.status, 2);
    assert!(
        outcome
            .stderr
            .contains("variable RINGPOST_CORES: cores = \"many\": expected a whole")
    );

    let outcome = run(&mut ringpost(&["--pin", "perhaps"]));
    assert_eq!(outcome.status, 2);
    assert!(
        outcome
            .stderr
            .contains("flag --pin: pin = \"perhaps\": expected true or false")
    );

    let outcome = run(&mut ringpost(&["check", "/nowhere/at-all.toml"]));
    assert_eq!(outcome.status, 2);
    assert!(
        outcome.stderr.contains("cannot read /nowhere/at-all.toml"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn push_sends_one_line_of_json() {
    let (to, port) = back_end_port(&["ok\n"]);
    let outcome = run(&mut ringpost(&[
        "push",
        "--to",
        &to,
        "u\"1",
        "two\nlines é",
    ]));
    assert_eq!(
        (outcome.status, outcome.stdout.as_str()),
        (0, "ok\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(
        port.join().unwrap(),
        [r#"{"uid":"u\"1","text":"two\nlines é"}"#]
    );
}

#[test]
fn fail_is_status_1() {
    let (to, port) = back_end_port(&["fail\n"]);
    let outcome = run(ringpost(&["online", "uid1"]).env("RINGPOST_TO", to));
    assert_eq!((outcome.status, outcome.stdout.as_str()), (1, "fail\n"));
    assert!(outcome.stderr.contains("\"uid1\""), "{}", outcome.stderr);
    assert_eq!(port.join().unwrap(), ["online uid1"]);

    let (to, port) = back_end_port(&["fail: not today \x1b[2J\n"]);
    let outcome = run(&mut ringpost(&["kick", "--to", &to, "uid1"]));
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stderr
            .contains(r"the server says: not today \u{1b}[2J"),
        "{}",
        outcome.stderr
    );
    assert_eq!(port.join().unwrap(), ["kick uid1"]);
}

#[test]
fn the_token_goes_first() {
    let (to, port) = back_end_port(&["ok\n", "ok\n"]);
    let outcome = run(ringpost(&["kick", "--to", &to, "uid1"])
        .env("RINGPOST_BACKEND_TOKEN", "sesame-of-16-chars"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        port.join().unwrap(),
        ["auth sesame-of-16-chars", "kick uid1"]
    );

    // Refused: what was asked is not even sent.
    let (to, port) = back_end_port(&["fail: bad token\n"]);
    let outcome = run(&mut ringpost(&["stats", "--to", &to, "--token", "wrong"]));
    assert_eq!(outcome.status, 1);
    assert!(outcome.stderr.contains("bad token"), "{}", outcome.stderr);
    assert_eq!(port.join().unwrap(), ["auth wrong"]);
}

#[test]
fn whoever_shows_no_token_is_told_by_which_flag() {
    const ANSWERS: [&[&str]; 2] = [
        &["fail: the first line must be \"auth TOKEN\"\n"],
        &["fail: wrong token\n"],
    ];
    for answers in ANSWERS {
        let (to, _port) = back_end_port(answers);
        let outcome = run(&mut ringpost(&["push", "--to", &to, "uid1", "text"]));
        assert_eq!(outcome.status, 1);
        assert!(outcome.stderr.contains("--token"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("RINGPOST_BACKEND_TOKEN"));
    }
}

#[test]
fn a_token_for_back_ends_is_made_and_taken() {
    let tokens: Vec<String> = (0..2)
        .map(|_| {
            let outcome = run(&mut ringpost(&["token", "--back-end"]));
            assert_eq!(outcome.status, 0, "{}", outcome.stderr);
            outcome.stdout.trim().to_owned()
        })
        .collect();
    assert_ne!(tokens[0], tokens[1]);
    for (token, status) in [(tokens[0].as_str(), 0), ("s3cret", 2)] {
        let outcome = run(ringpost(&["check"]).env("RINGPOST_BACKEND_TOKEN", token));
        assert_eq!(outcome.status, status, "{}", outcome.stderr);
    }
    assert_eq!(run(&mut ringpost(&["token"])).status, 2);
}

#[test]
fn variables_and_flags_are_checked_without_a_file() {
    let outcome = run(ringpost(&["check", "--cores", "3"]).env("RINGPOST_IDLE_TIMEOUT", "7s"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    for words in [
        "variables and flags: right",
        "cores = 3",
        "idle_timeout = \"7s\"",
    ] {
        assert!(outcome.stdout.contains(words), "{}", outcome.stdout);
    }
    let listen = ["check", "--listen", "text://127.0.0.1:9=echo"];
    assert!(
        run(&mut ringpost(&listen))
            .stdout
            .contains("text://127.0.0.1:9")
    );
    let outcome = run(ringpost(&["check", "--cores", "some"]).env("RINGPOST_IDLE_TIMOUT", "7s"));
    assert_eq!(outcome.status, 2);
    for words in ["flag --cores", "unknown variable RINGPOST_IDLE_TIMOUT"] {
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}

#[test]
fn empty_variables_are_unset_ones() {
    let empty = [
        "CONFIG",
        "TO",
        "BACKEND_TOKEN",
        "AUTH",
        "ORIGINS",
        "LISTEN",
        "CORES",
    ];
    let with_empty = |arguments: &[&str]| {
        let mut command = ringpost(arguments);
        for name in empty {
            command.env(format!("RINGPOST_{name}"), "");
        }
        command
    };
    let outcome = run(&mut with_empty(&["check"]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("with every key at its default"));
    let (to, port) = back_end_port(&["ok\n"]);
    let outcome = run(&mut with_empty(&["online", "--to", &to, "uid1"]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(port.join().unwrap(), ["online uid1"]);
    assert_eq!(run(&mut with_empty(&["doctor"])).status, 0);
    // Where it would take the default server, and nobody is there.
    let outcome = run(&mut with_empty(&["online", "uid1", "--timeout", "1s"]));
    assert!(
        !outcome.stderr.contains("no address to connect to"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn stats_are_watched_until_nobody_answers() {
    const ANSWER: &str =
        "{\"version\":\"9.9\",\"uptime_seconds\":61,\"cores\":[{\"core\":0,\"connections\":3}]}\n";
    let (to, port) = back_end_port(&[ANSWER]);
    let outcome = run(&mut ringpost(&["stats", "--watch=10ms", "--to", &to]));
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
    assert!(
        outcome.stdout.starts_with("ringpost 9.9, up 1m 1s\n"),
        "{}",
        outcome.stdout
    );
    assert_eq!(port.join().unwrap(), ["stats"]);
}

#[test]
fn stats_as_table_and_as_json() {
    const ANSWER: &str =
        "{\"cores\":[{\"core\":0,\"connections\":3},{\"core\":1,\"connections\":4}]}\n";
    let (to, port) = back_end_port(&[ANSWER]);
    let outcome = run(&mut ringpost(&["stats", "--to", &to]));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let row = outcome
        .stdout
        .lines()
        .find(|line| line.starts_with("connections"))
        .expect("a row");
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["connections", "7", "3", "4"]
    );
    assert_eq!(port.join().unwrap(), ["stats"]);

    let (to, _port) = back_end_port(&[ANSWER]);
    let outcome = run(&mut ringpost(&["stats", "--json", "--to", &to]));
    assert_eq!(outcome.stdout, ANSWER);
}

#[test]
fn trouble_is_status_2_and_says_what_to_do() {
    let to = nobody();
    let outcome = run(&mut ringpost(&["stats", "--to", &to]));
    assert_eq!(outcome.status, 2);
    let words = format!("nothing listens on {to}; is ringpost running? (--to HOST:PORT)");
    assert!(outcome.stderr.contains(&words), "{}", outcome.stderr);

    let outcome = run(&mut ringpost(&["stats", "--to", "nonsense"]));
    assert_eq!(outcome.status, 2);
    assert!(
        outcome.stderr.contains("\"nonsense\" is no address"),
        "{}",
        outcome.stderr
    );

    for uid in ["all", "a\nb", ""] {
        let outcome = run(&mut ringpost(&["kick", "--to", &to, uid]));
        assert_eq!(outcome.status, 2);
        assert!(outcome.stderr.contains("is no uid"), "{}", outcome.stderr);
    }

    let (to, _port) = back_end_port(&["HTTP/1.1 400 Bad Request\r\n"]);
    let outcome = run(&mut ringpost(&["online", "--to", &to, "uid1"]));
    assert_eq!(outcome.status, 2);
    assert!(
        outcome
            .stderr
            .contains("not the answer of a push-backend port"),
        "{}",
        outcome.stderr
    );

    // Accepted by the kernel, answered by nobody.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = silent.local_addr().expect("an address").to_string();
    let outcome = run(&mut ringpost(&[
        "online",
        "--timeout",
        "100ms",
        "--to",
        &to,
        "uid1",
    ]));
    assert_eq!(outcome.status, 2);
    assert!(
        outcome.stderr.contains("within 100ms"),
        "{}",
        outcome.stderr
    );
}

/// A directory of its own for a test, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ringpost-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a help says: the first words of its lines that begin with this.
fn first_words<'h>(help: &'h str, beginning: &str) -> Vec<&'h str> {
    let words = help.lines().filter_map(|line| {
        let is_indented = line.starts_with("  ");
        let word = line
            .split([' ', '<', '[', '='])
            .find(|word| !word.is_empty());
        word.filter(|word| is_indented && word.starts_with(beginning))
    });
    words.collect()
}

#[test]
fn the_manual_has_every_command_and_flag_and_what_it_is_for() {
    let directory = Directory::new("man");
    let path = directory.0.to_str().expect("UTF-8");
    let written = run(&mut ringpost(&["man", path]));
    assert_eq!((written.status, written.stderr.as_str()), (0, ""), "{path}");
    let page = directory.file("ringpost.1");
    let help = run(&mut ringpost(&["--help"])).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("the commands");
    let (commands, flags) = commands.split_once("\n\n").expect("their end");
    let commands = first_words(commands, "");
    let commands = commands.iter().filter(|command| **command != "help");
    assert!(commands.clone().count() > 10, "{help}");
    for command in commands.clone() {
        assert!(
            page.contains(&format!("ringpost\\-{command}(1)")),
            "{command}"
        );
        let page = directory.file(&format!("ringpost-{command}.1"));
        let help = run(&mut ringpost(&[command, "--help"])).stdout;
        for flag in first_words(&help, "--") {
            let flag = flag.replace('-', "\\-");
            assert!(page.contains(&flag), "{command}: no {flag} in {page}");
        }
    }
    let flags = first_words(flags, "--");
    assert!(flags.len() > 50, "{flags:?}");
    for flag in flags {
        let item = format!(".TP\n\\fB{}\\fR", flag.replace('-', "\\-"));
        let (_, rest) = page.split_once(&item).unwrap_or_else(|| panic!("{flag}"));
        let about = rest.lines().nth(1).unwrap_or_default();
        assert!(
            about.len() > 10 && !about.starts_with('.'),
            "{flag}: {about:?}"
        );
    }
    assert!(page.contains("SIGHUP") && page.contains("drain_timeout"));
    let lost = run(&mut ringpost(&["man", "/nonexistent"]));
    assert_eq!(lost.status, 1);
    assert!(lost.stderr.contains("/nonexistent/"), "{}", lost.stderr);
}

#[test]
fn completions_have_every_command_and_the_values_of_a_flag() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&mut ringpost(&["completions", shell]));
        assert_eq!((script.status, script.stderr.as_str()), (0, ""), "{shell}");
        // These two know no values.
        let values: &[&str] = match shell {
            "elvish" | "powershell" => &[],
            _ => &["per_core", "replace"],
        };
        for word in ["doctor", "back-end", "drain-timeout"].iter().chain(values) {
            assert!(script.stdout.contains(word), "{shell}: no {word}");
        }
    }
    assert_eq!(run(&mut ringpost(&["completions", "tcsh"])).status, 2);
}

/// A server of a page and a websocket, and the addresses of both.
fn server() -> (Child, Vec<String>) {
    let listeners = ["http://127.0.0.1:0=page", "websocket://127.0.0.1:0=push"];
    let mut command = ringpost(&["--cores", "1", "--pin", "false", "--drain-delay", "5m"]);
    command.args(["--listen", listeners[0], "--listen", listeners[1]]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut banner = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut address = || {
        let line = banner.next().expect("a line").expect("UTF-8");
        let url = line.split_whitespace().nth(1).expect("a URL");
        let address = url.split_once("://").expect("a URL").1;
        address.trim_end_matches('/').to_owned()
    };
    let addresses = vec![address(), address()];
    (child, addresses)
}

#[test]
fn health_is_a_status() {
    let (mut child, addresses) = server();
    let ask = |more: &[&str], to: &str| {
        run(ringpost(&["health", "--timeout", "1m", "--to", to]).args(more))
    };
    for to in &addresses {
        let lives = ask(&[], to);
        assert_eq!((lives.status, lives.stderr.as_str()), (0, ""), "{to}");
        let ready = ask(&["--ready"], to);
        assert_eq!(
            (ready.status, ready.stdout.as_str()),
            (0, "ready\n"),
            "{to}"
        );
    }
    // It stops: it takes no clients, and lives.
    let id = child.id().try_into().expect("an id");
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(id, libc::SIGTERM) }, 0);
    let refused = loop {
        let ready = ask(&["--ready"], &addresses[0]);
        if ready.status != 0 {
            break ready;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let words = "answers /readyz with 503: draining\n";
    assert_eq!(refused.status, 1);
    assert!(refused.stderr.ends_with(words), "{}", refused.stderr);
    assert_eq!(ask(&[], &addresses[1]).status, 0);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let gone = ask(&[], &nobody());
    assert_eq!(gone.status, 1);
    let words = "nothing listens on";
    assert!(gone.stderr.contains(words), "{}", gone.stderr);
    let (to, thread) = back_end_port(&["fail\n"]);
    let other = ask(&[], &to);
    assert_eq!(other.status, 1);
    assert!(
        other.stderr.contains("--to names another"),
        "{}",
        other.stderr
    );
    thread.join().expect("no panic");
    // One that accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let to = silent.local_addr().expect("an address").to_string();
    let late = run(&mut ringpost(&["health", "--timeout", "50ms", "--to", &to]));
    assert_eq!(late.status, 1);
    assert!(late.stderr.contains("within 50ms"), "{}", late.stderr);
}

#[test]
fn history_is_shown_and_thrown_away() {
    let (mut child, addresses) = server();
    let to = &addresses[1];
    let ask = |more: &[&str]| run(ringpost(&["history", "--timeout", "1m", "--to", to]).args(more));
    let nothing = ask(&["tom"]);
    assert_eq!((nothing.status, nothing.stdout.as_str()), (0, ""));
    let mut positions = Vec::new();
    for text in [
        r#""text":"one\n""#,
        r#""data":{"n":[2]}"#,
        r#""text":"three""#,
    ] {
        let body = format!(r#"{{"uid":"tom","keep":"10m",{text}}}"#);
        let mut stream = std::net::TcpStream::connect(to).expect("it listens");
        let length = body.len();
        let head = format!(
            "POST /v1/push HTTP/1.0\r\nHost: {to}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut response = String::new();
        stream.read_to_string(&mut response).expect("it answers");
        let (_, body) = response.split_once("\r\n\r\n").expect("a body");
        let answer: serde_json::Value = serde_json::from_str(body).expect("JSON");
        positions.push(
            answer["positions"]["tom"]
                .as_str()
                .expect("it is kept")
                .to_owned(),
        );
    }
    let all = ask(&["tom"]);
    let lines = [
        format!("{}  one\\n\n", positions[0]),
        format!("{}  {{\"n\":[2]}}\n", positions[1]),
        format!("{}  three\n", positions[2]),
    ];
    assert_eq!((all.status, all.stdout), (0, lines.concat()));
    assert!(all.stderr.contains(&positions[2]), "{}", all.stderr);
    assert_eq!(ask(&["tom", "--limit", "1"]).stdout, lines[2]);
    let later = ask(&["tom", "--since", &positions[0], "--limit", "1"]);
    assert_eq!(later.stdout, lines[1]);
    let json = ask(&["tom", "--json", "--since", &positions[1]]);
    let expected = format!("{{\"position\":\"{}\",\"text\":\"three\"}}\n", positions[2]);
    assert_eq!(json.stdout, expected);
    let gap = ask(&["tom", "--since", "none"]);
    assert_eq!((gap.status, gap.stdout), (0, lines.concat()));
    assert!(gap.stderr.contains("is no position"), "{}", gap.stderr);
    assert_eq!(ask(&["tom", "--forget"]).stdout, "3 messages thrown away\n");
    assert_eq!(ask(&["tom"]).stdout, "");
    let nowhere = run(&mut ringpost(&[
        "history",
        "--group",
        "g",
        "--to",
        &addresses[0],
    ]));
    assert_eq!(nowhere.status, 1, "{}", nowhere.stderr);
    assert_eq!(ask(&[]).status, 2);
    assert_eq!(ask(&["tom", "--group", "g"]).status, 2);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn connections_are_shown_and_reached() {
    let (mut child, addresses) = server();
    let to = &addresses[1];
    let ask =
        |more: &[&str]| run(ringpost(&["connections", "--timeout", "1m", "--to", to]).args(more));
    let nobody = ask(&[]);
    assert_eq!((nobody.status, nobody.stdout.lines().count()), (0, 1));
    let mut stream = std::net::TcpStream::connect(to).expect("it listens");
    let request = format!("GET /v1/events?uid=tom HTTP/1.1\r\nHost: {to}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines();
    let mut next = |start: &str| {
        let mut lines = lines.by_ref().map(|line| line.expect("UTF-8"));
        lines.find(|line| line.starts_with(start)).expect("a line")
    };
    next("id:");
    let join = r#"{"uid":"tom"}"#;
    let length = join.len();
    let mut api = std::net::TcpStream::connect(to).expect("it listens");
    let request = format!(
        "POST /v1/groups/news%20one/join HTTP/1.1\r\nHost: {to}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{join}"
    );
    api.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    api.read_to_string(&mut answer).expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let groups =
        |more: &[&str]| run(ringpost(&["groups", "--timeout", "1m", "--to", to]).args(more));
    assert_eq!(
        groups(&[]).stdout,
        "connections  group\n          1  news one\n"
    );
    assert_eq!(
        groups(&["news one"]).stdout,
        "connections  uid\n          1  tom\n"
    );
    assert_eq!(
        groups(&["--json"]).stdout,
        "{\"group\":\"news one\",\"connections\":1}\n"
    );
    assert_eq!(groups(&["nobody's"]).stdout, "connections  uid\n");
    assert_eq!(groups(&["--limit", "0"]).status, 2);
    let one = ask(&["--json", "--uid", "tom", "--attributes"]);
    let told: serde_json::Value = serde_json::from_str(&one.stdout).expect("one object");
    let id = told["connection"].as_str().expect("an id");
    assert_eq!(told["attributes"], serde_json::json!({}));
    for more in [&[][..], &["--sort", "bytes_waiting"], &["--limit", "1"]] {
        let table = ask(more).stdout;
        assert!(table.contains(id) && table.contains("tom"), "{table}");
    }
    assert_eq!(ask(&["--unbound"]).stdout.lines().count(), 1);
    let with_one = |command: &[&str], id: &str, text: &[&str]| {
        let mut program = ringpost(command);
        program.args(["--timeout", "1m", "--api", to, "--connection", id]);
        run(program.args(text))
    };
    let pushed = with_one(&["push"], id, &["hello"]);
    assert_eq!(
        (pushed.status, pushed.stdout.as_str()),
        (0, "ok\n"),
        "{}",
        pushed.stderr
    );
    assert_eq!(next("data: hello"), "data: hello");
    let kicked = with_one(&["kick"], id, &[]);
    assert_eq!(
        (kicked.status, kicked.stdout.as_str()),
        (0, "ok\n"),
        "{}",
        kicked.stderr
    );
    next("event: close");
    let gone = with_one(&["kick"], id, &[]);
    assert_eq!((gone.status, gone.stdout.as_str()), (1, "fail\n"));
    assert!(
        gone.stderr.contains("no connection has the id"),
        "{}",
        gone.stderr
    );
    let wrong = with_one(&["push"], "3", &["hello"]);
    assert_eq!(wrong.status, 2);
    assert!(wrong.stderr.contains("3-100000002"), "{}", wrong.stderr);
    assert_eq!(with_one(&["kick", "tom"], id, &[]).status, 2);
    assert_eq!(run(&mut ringpost(&["kick"])).status, 2);
    assert_eq!(ask(&["--uid", "all"]).status, 2);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

fn certificate(name: &str) -> String {
    format!("{}/tests/certificates/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// What `check` says of a file with this certificate, whose authority is trusted or not.
fn check_certificate(
    (pem, key): (&str, &str),
    origins: &str,
    hosts: &[&str],
    is_trusted: bool,
) -> Outcome {
    let text = format!(
        "origins = '{origins}'\n[tls]\ncertificate_file = '{pem}'\nkey_file = '{key}'\n\
         [[listen]]\nurl = 'wss://127.0.0.1:0'\napp = 'push'\n"
    );
    let file = ConfigFile::new("certificate", &text);
    let mut command = ringpost(&["check", file.path()]);
    for host in hosts {
        command.args(["--host", host]);
    }
    let roots = if is_trusted { "ca.pem" } else { "other-ca.pem" };
    run(command.env("SSL_CERT_FILE", certificate(roots)))
}

#[test]
fn check_looks_where_certificates_lead() {
    let of = |name: &str| {
        [
            certificate(&format!("{name}.pem")),
            certificate(&format!("{name}.key")),
        ]
    };
    for name in ["p256", "rsa", "ed25519", "star", "chain"] {
        let [pem, key] = of(name);
        let trusted = check_certificate((&pem, &key), "", &[], true);
        assert_eq!(trusted.status, 0, "{}", trusted.stderr);
        assert!(!trusted.stdout.contains("warning"), "{}", trusted.stdout);
        let untrusted = check_certificate((&pem, &key), "", &[], false);
        assert_eq!(untrusted.status, 0, "{}", untrusted.stderr);
        let words = "no authority that it leads to";
        let authority = "by ringpost test ca)";
        let out = &untrusted.stdout;
        assert!(out.contains(words) && out.contains(authority), "{out}");
    }
    // A chain whose second is not the issuer of the first.
    let [pem, key] = of("chain");
    let own = std::fs::read_to_string(&pem).expect("a file");
    let end = own.find("-----END CERTIFICATE-----").expect("its end") + 26;
    let other = std::fs::read_to_string(certificate("other-ca.pem")).expect("a file");
    let torn = ConfigFile::new("torn-chain", &format!("{}{other}", &own[..end]));
    let broken = check_certificate((torn.path(), &key), "", &[], true);
    assert_eq!(broken.status, 0, "{}", broken.stderr);
    assert!(
        broken.stdout.contains("its chain does not hold"),
        "{}",
        broken.stdout
    );
    // Without the one between, as cert.pem has it.
    let short = ConfigFile::new("short-chain", &own[..end]);
    let short = check_certificate((short.path(), &key), "", &[], true);
    assert!(short.stdout.contains("fullchain.pem"), "{}", short.stdout);
    assert!(
        short.stdout.contains("by ringpost test between"),
        "{}",
        short.stdout
    );
}

#[test]
fn check_looks_for_whom_certificates_are() {
    let [pem, key] = [certificate("p256.pem"), certificate("p256.key")];
    let check =
        |origins: &str, hosts: &[&str]| check_certificate((&pem, &key), origins, hosts, true);
    for origins in [
        "https://ringpost.test",
        "https://ringpost.test:8443",
        "https://127.0.0.1",
        "https://[::1]:8443",
        "http://shop.example",
        "null",
        "*",
    ] {
        let outcome = check(origins, &[]);
        assert!(
            !outcome.stdout.contains("warning"),
            "{origins}: {}",
            outcome.stdout
        );
    }
    for origin in [
        "https://www.ringpost.test",
        "https://*.shop.example",
        "https://192.0.2.1",
    ] {
        let outcome = check(&format!("https://localhost, {origin}"), &[]);
        let words = format!("warning: origins has {origin}, and no certificate is for that host");
        assert!(outcome.stdout.contains(&words), "{}", outcome.stdout);
        assert_eq!(outcome.status, 0);
    }
    assert_eq!(
        check("", &["localhost", "RINGPOST.test", "127.0.0.1"]).status,
        0
    );
    let outcome = check("", &["localhost", "www.ringpost.test"]);
    assert_ne!(outcome.status, 0);
    let words = "no certificate is for the host www.ringpost.test";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    // Pages beside the server, or above it, connect to it by its name.
    let [pem, key] = [certificate("star.pem"), certificate("star.key")];
    for origin in [
        "https://a.star.test",
        "https://star.test",
        "https://*.star.test",
    ] {
        let outcome = check_certificate((&pem, &key), origin, &["any.star.test"], true);
        assert!(
            !outcome.stdout.contains("warning"),
            "{origin}: {}",
            outcome.stdout
        );
    }
}
