//! Configurations that must not start: each ends with an error that says what is wrong.

use std::process::Output;

use crate::run;
use crate::server::command;

/// Runs a server that must refuse to start, and takes what it said.
async fn refusal(settings: &[(&str, &str)], listeners: &[&str]) -> String {
    let mut command = command(1, settings, listeners);
    let Output {
        status,
        stderr,
        stdout,
    } = tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the binary starts");
        for _ in 0..1_000 {
            if child.try_wait().expect("a child to ask for").is_some() {
                return child.wait_with_output().expect("its output");
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = child.kill();
        panic!("it started: {:?}", child.wait_with_output());
    })
    .await
    .expect("no panic");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert!(!status.success(), "it ended well: {said}");
    assert!(
        status.code().is_some_and(|code| code != 101),
        "it panicked ({status}): {said}"
    );
    assert!(
        !said.is_empty(),
        "it said nothing; stdout: {}",
        String::from_utf8_lossy(&stdout)
    );
    said
}

#[test]
fn a_back_end_port_beyond_loopback_wants_a_token() {
    run(async {
        for host in ["0.0.0.0", "[::]"] {
            let listener = format!("text://{host}:0=push-backend");
            let said = refusal(&[], &[&listener]).await;
            assert!(said.contains("token"), "{said}");
        }
    });
}

#[test]
fn a_back_end_port_that_pages_could_open_wants_a_token() {
    run(async {
        let said = refusal(&[], &["websocket://127.0.0.1:0=push-backend"]).await;
        assert!(said.contains("token"), "{said}");
    });
}

#[test]
fn wss_wants_a_certificate_and_says_which_keys_name_it() {
    run(async {
        let said = refusal(&[], &["wss://127.0.0.1:0=relay"]).await;
        let names = ["tls.certificate_file", "tls.key_file", "tls.self_signed"];
        assert!(names.iter().all(|name| said.contains(name)), "{said}");
    });
}

#[test]
fn an_outbox_must_hold_one_largest_message() {
    run(async {
        let listeners = ["websocket://127.0.0.1:0=relay"];
        let said = refusal(&[("OUTBOX_BYTES_MAX", "1000")], &listeners).await;
        assert!(said.contains("outbox_bytes_max"), "{said}");
        let settings = [
            ("OUTBOX_BYTES_MAX", "65567"),
            ("MESSAGE_BYTES_MAX", "65536"),
        ];
        let said = refusal(&settings, &listeners).await;
        assert!(said.contains("outbox_bytes_max"), "{said}");
    });
}

#[test]
fn an_unknown_setting_is_named() {
    run(async {
        let said = refusal(
            &[("NO_SUCH_SETTING", "1")],
            &["websocket://127.0.0.1:0=relay"],
        )
        .await;
        assert!(said.to_lowercase().contains("no_such_setting"), "{said}");
    });
}

#[test]
fn a_bad_value_is_named_with_what_was_expected() {
    run(async {
        let listeners = ["websocket://127.0.0.1:0=relay"];
        for (name, value) in [
            ("IDLE_TIMEOUT", "soon"),
            ("UID_POLICY", "maybe"),
            ("OUTBOX_BYTES_MAX", "-1"),
        ] {
            let said = refusal(&[(name, value)], &listeners).await;
            assert!(said.to_lowercase().contains(&name.to_lowercase()), "{said}");
            assert!(said.contains(value), "{said}");
        }
    });
}

#[test]
fn a_port_in_use_is_named() {
    run(async {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        let said = refusal(&[], &[&format!("websocket://{address}=relay")]).await;
        assert!(said.contains(&address), "{said}");
    });
}
