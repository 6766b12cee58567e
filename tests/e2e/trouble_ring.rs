//! A sandbox that forbids io_uring, as containers do by seccomp: the server serves on epoll and says so in one line,
//! or refuses to start, if it was told to use io_uring, and says what to do about it.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::client::Client;
use crate::http::Http;
use crate::run;
use crate::seed;
use crate::server::{Server, command};

const LISTENERS: [&str; 7] = [
    "websocket://127.0.0.1:0=relay",
    "text://127.0.0.1:0=relay",
    "frame://127.0.0.1:0=relay",
    "websocket://127.0.0.1:0=push",
    "text://127.0.0.1:0=push-backend",
    "websocket://127.0.0.1:0=chat",
    "http://127.0.0.1:0=page",
];

/// What sandboxes do: the call is refused, or it is as if the kernel had none; one that lets rings be made but not
/// used is the meanest.
const FORBIDDEN: [(libc::c_long, libc::c_int); 3] = [
    (libc::SYS_io_uring_setup, libc::EPERM),
    (libc::SYS_io_uring_setup, libc::ENOSYS),
    (libc::SYS_io_uring_enter, libc::EPERM),
];

/// Has this system call answered with an error in the program that the command starts.
pub fn forbid(command: &mut Command, call: libc::c_long, error: libc::c_int) {
    let filter = [
        // The first word of seccomp_data is the call's number.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 1),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | error as u32,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    install(command, filter);
}

/// The same if the call's first argument is this.
pub fn forbid_of(command: &mut Command, call: libc::c_long, first: u32, error: libc::c_int) {
    let filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, call as u32, 3),
        // The low half of the first argument.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 16, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, first, 1),
        statement(
            libc::BPF_RET | libc::BPF_K,
            libc::SECCOMP_RET_ERRNO | error as u32,
            0,
        ),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    install(command, filter);
}

fn statement(code: u32, k: u32, jump_if_not: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: jump_if_not,
        k,
    }
}

fn install<const N: usize>(command: &mut Command, filter: [libc::sock_filter; N]) {
    let install = move || {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        let (yes, no): (libc::c_ulong, libc::c_ulong) = (1, 0);
        let mode = libc::c_ulong::from(libc::SECCOMP_MODE_FILTER);
        // SAFETY: the program and its filter outlive the calls, which only read them.
        let done = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, yes, no, no, no) == 0
                && libc::prctl(libc::PR_SET_SECCOMP, mode, &program) == 0
        };
        done.then_some(()).ok_or_else(std::io::Error::last_os_error)
    };
    // SAFETY: between fork and exec it makes two system calls and nothing else.
    unsafe { command.pre_exec(install) };
}

#[test]
fn where_io_uring_is_forbidden_epoll_serves() {
    for cores in [1, 2] {
        for (call, error) in FORBIDDEN {
            println!("call {call}, error {error}");
            run(async move {
                let mut command = command(cores, &[("DRIVER", "auto")], &LISTENERS);
                forbid(&mut command, call, error);
                let server = Server::spawn(command, LISTENERS.len()).await;
                is_served_on_epoll(&server).await;
            });
        }
    }
}

async fn is_served_on_epoll(server: &Server) {
    let before = server.holdings().await;
    let uids = seed::uids(&mut seed::rng(), 6);
    let mut relays: Vec<Client> = Vec::new();
    for (scheme, uid) in ["ws", "text", "frame", "ws", "text", "frame"]
        .iter()
        .zip(&uids)
    {
        relays.push(server.relay(scheme, uid).await);
    }
    for (sender, uid) in uids.iter().enumerate() {
        let receiver = (sender + 1) % uids.len();
        relays[sender]
            .send(&format!("{}:from {uid}", uids[receiver]))
            .await;
        relays[receiver].expect(&format!("from {uid}")).await;
    }
    let mut pushed = server.push("ws", "pushed").await;
    let mut backend = server.backend().await;
    assert_eq!(backend.ask("{\"uid\":\"pushed\"}").await, "ok");
    pushed.expect("{\"uid\":\"pushed\"}").await;
    let mut chat = server.chat("somebody").await;
    chat.expect_start("users:").await;
    let mut http = Http::dial(server.address("http", "page")).await;
    for _ in 0..3 {
        http.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert_eq!(http.response().await.expect("an answer").status, 200);
    }
    drop((relays, pushed, backend, chat, http));
    server.wait_holdings(before).await;

    server.wait_log(&["started", "epoll"]).await;
    let log = server.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(told.len(), 1, "{log}");
    let says_so = told[0].contains("io_uring cannot be used, epoll is used instead");
    assert!(says_so, "{log}");
    let rings = server.descriptor_targets();
    assert!(
        !rings.iter().any(|target| target.contains("io_uring")),
        "{rings:?}"
    );
}

#[test]
fn a_server_told_to_use_io_uring_says_what_to_do_without_it() {
    for (call, error) in FORBIDDEN {
        let mut command = command(2, &[("DRIVER", "uring")], &LISTENERS);
        forbid(&mut command, call, error);
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for words in [
            "driver = \"uring\"",
            "cannot be used",
            "seccomp",
            "\"auto\" or \"epoll\"",
        ] {
            let has = said.contains(words) || words == "seccomp" && said.contains("sandbox");
            assert!(has, "no {words:?} in {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
        assert!(output.stdout.is_empty(), "nothing is served");
    }
}
