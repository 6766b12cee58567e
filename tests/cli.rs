//! The program as its users meet it: help, `check`, exit statuses, and the client commands against
//! a stand-in for the back-end port.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread::JoinHandle;

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
struct ConfigFile(std::path::PathBuf);

impl ConfigFile {
    fn new(name: &str, text: &str) -> ConfigFile {
        let path =
            std::env::temp_dir().join(format!("ringpost-{}-{name}.toml", std::process::id()));
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
        "preset = 'push'\nidle_timeout = '2m'\npublic = true\n",
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
