//! Machines that lack something: IPv6, the right to pin threads, descriptors. The server does without and says so, or
//! refuses to start and says what it needs.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::http::get;
use crate::server::{Server, command};
use crate::trouble_ring::{forbid, forbid_of};
use crate::{run, seed};

/// No socket of IPv6 can be made, as where the kernel was started with ipv6.disable=1.
fn without_ipv6(command: &mut Command) {
    let family = libc::AF_INET6 as u32;
    forbid_of(command, libc::SYS_socket, family, libc::EAFNOSUPPORT);
}

#[test]
fn without_ipv6_every_ipv4_address_is_listened_on() {
    run(async {
        let listeners = [
            "websocket://[::]:0=relay",
            "text://127.0.0.1:0=push-backend",
            "http://127.0.0.1:0=page",
        ];
        let mut command = command(2, &[], &listeners);
        without_ipv6(&mut command);
        let server = Server::spawn(command, listeners.len()).await;
        let address = server.address("ws", "relay");
        assert_eq!(address.ip().to_string(), "0.0.0.0");
        let uid = seed::uid(&mut seed::rng());
        let mut client = server.relay("ws", &uid).await;
        client.send(&format!("{uid}:hello")).await;
        client.expect("hello").await;
        server
            .wait_log(&["WARN", "no IPv6", "0.0.0.0", "websocket://[::]:0"])
            .await;
    });
}

/// What a command that does not start says, and its status.
fn refusal(mut command: Command) -> (Option<i32>, String) {
    let output = command.stdout(Stdio::null()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), said)
}

#[test]
fn one_address_of_ipv6_has_no_other_in_its_place() {
    let mut command = command(1, &[], &["text://[::1]:0=echo"]);
    without_ipv6(&mut command);
    let (status, said) = refusal(command);
    assert_eq!(status, Some(1), "{said}");
    let words = "cannot listen on text://[::1]:0: ";
    assert!(
        said.contains(words) && said.contains("127.0.0.1 for [::1]"),
        "{said}"
    );
}

#[test]
fn where_pinning_is_forbidden_nothing_is_said_to_be_pinned() {
    run(async {
        let listeners = ["http://127.0.0.1:0=page"];
        let mut command = command(2, &[("LOG_FORMAT", "json")], &listeners);
        forbid(&mut command, libc::SYS_sched_setaffinity, libc::EPERM);
        let server = Server::spawn(command, 1).await;
        server.wait_log(&["could not be pinned"]).await;
        server.wait_log(&["started", "\"pinned\":false"]).await;
        let page = server.address("http", "page");
        assert_eq!(get(page, "/healthz").await.status, 200);

        let server = Server::on(2, &[], &listeners).await;
        server.wait_log(&["started", "pinned=true"]).await;
        let server = Server::on(2, &[("PIN", "false")], &listeners).await;
        server.wait_log(&["started", "pinned=false"]).await;
    });
}

fn with_descriptors(count: u64, command: &mut Command) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    let set = move || {
        // SAFETY: the limit outlives the call, which reads it.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call and nothing else.
    unsafe { command.pre_exec(set) };
}

#[test]
fn with_too_few_descriptors_the_limit_and_the_need_are_named() {
    for count in [8, 16, 32, 64] {
        let mut command = command(4, &[], &["text://127.0.0.1:0=echo"]);
        with_descriptors(count, &mut command);
        let (status, said) = refusal(command);
        assert_eq!(status, Some(1), "{count}: {said}");
        let names = said.contains(&format!("RLIMIT_NOFILE is {count}, "));
        assert!(names && said.contains("needs 84 descriptors"), "{said}");
    }
}

/// Clients without end, and no limit of them configured: back ends get in even so, and HTTP.
#[test]
fn clients_leave_descriptors_for_back_ends() {
    run(async {
        let listeners = [
            "text://127.0.0.1:0=push",
            "text://127.0.0.1:0=push-backend",
            "http://127.0.0.1:0=page",
        ];
        let mut command = command(1, &[("LOGIN_TIMEOUT", "60s")], &listeners);
        with_descriptors(150, &mut command);
        let server = Server::spawn(command, listeners.len()).await;
        server
            .wait_log(&["max_connections = 0", "kept for back ends"])
            .await;
        let mut clients = Vec::new();
        for _ in 0..150 {
            clients.push(server.connect("text", "push").await);
        }
        server
            .wait_log(&["a connection was refused", "beside back ends"])
            .await;
        let mut backend = server.backend().await;
        assert_eq!(backend.ask("online nobody").await, "fail");
        let page = server.address("http", "page");
        assert_eq!(get(page, "/healthz").await.status, 200);
        assert!(!server.log().contains("cannot accept"), "{}", server.log());
    });
}
