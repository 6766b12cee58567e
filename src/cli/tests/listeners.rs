//! The listeners' addresses and the rules they are held to.

use ringpost::config::ListenerLimits;

use super::*;
use crate::cli::listeners::Listener;

#[test]
fn addresses_of_every_form() {
    for (text, shown) in [
        ("websocket://127.0.0.1:1234", "websocket://127.0.0.1:1234"),
        ("ws://localhost:1234/", "websocket://127.0.0.1:1234"),
        ("TEXT://[::]:0", "text://[::]:0"),
        ("frame://0.0.0.0:65535", "frame://0.0.0.0:65535"),
    ] {
        let listener = Listener::parse(text, "echo", ListenerLimits::default()).unwrap();
        assert_eq!(listener.to_string(), shown);
    }
}

#[test]
fn what_is_wrong_with_a_listener_is_said() {
    for (pair, words) in [
        ("websocket://127.0.0.1=relay", "the port is missing"),
        ("websocket://[::]=relay", "the port is missing"),
        (
            "websocket://127.0.0.1:70000=relay",
            "\"70000\" is not a number from 0 to 65535",
        ),
        ("websocket://127.0.0.1:=relay", "the port \"\""),
        ("websocket://::1:1234=relay", "in brackets"),
        (
            "websocket://example.com:1234=relay",
            "the host \"example.com\"",
        ),
        ("websocket://:1234=relay", "the host \"\""),
        ("websocket://127.0.0.1:1234/path=relay", "nothing else"),
        (
            "wss://127.0.0.1:1234=relay",
            "TLS proxy (nginx, HAProxy, Caddy)",
        ),
        (
            "https://127.0.0.1:1234=page",
            "TLS proxy (nginx, HAProxy, Caddy)",
        ),
        ("udp://127.0.0.1:1234=relay", "unknown scheme \"udp\""),
        ("127.0.0.1:1234=relay", "SCHEME://HOST:PORT"),
        ("websocket://127.0.0.1:1234", "expected URL=APP"),
        (
            "websocket://127.0.0.1:1234=relai",
            "did you mean \"relay\"?",
        ),
        (
            "websocket://127.0.0.1:1234=xyzzy",
            "\"relay\", \"push\", \"push-backend\", \"chat\", \"echo\" or \"page\"",
        ),
        (
            "websocket://127.0.0.1:1234=page",
            "page is served by http:// only",
        ),
        ("http://127.0.0.1:8080=relay", "http:// serves page only"),
        ("http://0.0.0.0:8080=page", "without a token"),
        (
            "http://0.0.0.0:8080=page:events+metrics",
            "with events as its only role",
        ),
        (
            "http://127.0.0.1:8080=page:event",
            "no role is called \"event\"; did you mean \"events\"?",
        ),
        (
            "http://127.0.0.1:8080=page:",
            "\"page\", \"api\", \"metrics\" or \"events\"",
        ),
        ("websocket://127.0.0.1:1=relay:page", "relay has none"),
        ("text://0.0.0.0:5678=push-backend", "unless backend.token"),
        ("websocket://127.0.0.1:5678=push-backend", "any web page"),
    ] {
        let error = from_flags(&[], &[pair]).expect_err(pair);
        assert!(error.starts_with("flag --listen: "), "{error}");
        assert!(
            error.contains(words),
            "{pair}: expected {words:?} in: {error}"
        );
    }
}

#[test]
fn roles_of_http_listeners() {
    let of = |settings: Settings| -> Vec<String> {
        let listeners = settings.listeners.iter();
        listeners.map(|one| one.roles.to_string()).collect()
    };
    let both = "http://127.0.0.1:1=page:events+api";
    let settings = from_flags(
        &[],
        &["http://127.0.0.1:2=page", both, "text://127.0.0.1:3=echo"],
    );
    assert_eq!(
        of(settings.unwrap()),
        ["page+api+metrics+events", "api+events", ""]
    );
    let table = |roles: &str| {
        from_file(&format!(
            "[[listen]]\nurl = 'http://127.0.0.1:1'\napp = 'page'\nroles = {roles}"
        ))
    };
    assert_eq!(of(table("['metrics']").unwrap()), ["metrics"]);
    says(table("[]"), &["f.toml:4", "no role at all"]);
    says(
        table("['pages']"),
        &["listen.roles", "did you mean \"page\""],
    );
    says(
        table("'page'"),
        &["expected a list such as", "not a single value"],
    );
    says(table("[1]"), &["expected a list such as"]);
}

#[test]
fn a_listener_for_events_alone_is_for_clients() {
    let public = from_flags(&[], &["http://[::]:1=page:events"]).unwrap();
    let warnings = crate::cli::listeners::warnings(&public);
    assert!(
        warnings
            .iter()
            .any(|one| one.contains("page (http://[::]:1)")),
        "{warnings:?}"
    );
    let token = variables(&[("RINGPOST_BACKEND_TOKEN", "hunter2-hunter2-hunter2")]);
    let metrics = resolve([token, flags(&[], &["http://[::]:1=page:metrics"])]);
    assert!(crate::cli::listeners::warnings(&metrics.unwrap()).is_empty());
}

#[test]
fn a_token_opens_the_back_end_port() {
    let listen = [
        "text://[::]:5678=push-backend",
        "websocket://0.0.0.0:1=push-backend",
    ];
    let token = variables(&[("RINGPOST_BACKEND_TOKEN", "hunter2-hunter2-hunter2")]);
    assert!(resolve([token, flags(&[], &listen)]).is_ok());
    // All of 127.0.0.0/8 is loopback, in either family.
    for host in ["127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
        let pair = format!("text://{host}:5678=push-backend");
        assert!(from_flags(&[], &[&pair]).is_ok(), "{pair}");
    }
}

/// What comes by a proxy is not of this machine, though the listener is.
#[test]
fn a_back_end_port_behind_a_proxy_wants_a_token() {
    let table =
        "[[listen]]\nurl = 'text://127.0.0.1:5678'\napp = 'push-backend'\nproxy_protocol = true\n";
    says(from_file(table), &["backend.token", "proxy_protocol"]);
    let token = format!("{table}[backend]\ntoken = 'a-token-of-more-than-thirty-two-characters'\n");
    assert!(from_file(&token).is_ok(), "{token}");
}

#[test]
fn an_outbox_holds_one_largest_message() {
    let error = from_file("message_bytes_max = 1000\noutbox_bytes_max = 1045").unwrap_err();
    assert!(
        error.contains("preset: listener websocket://127.0.0.1:1234 (relay)"),
        "{error}"
    );
    assert!(
        error.contains("outbox_bytes_max of at least 1046"),
        "{error}"
    );
    assert!(from_file("message_bytes_max = 1000\noutbox_bytes_max = 1046").is_ok());
    says(
        from_file("\n[[listen]]\nurl='text://127.0.0.1:1'\napp='echo'\noutbox_bytes_max='16 MiB'"),
        &["f.toml:2: listener text://127.0.0.1:1 (echo)", "16 MiB"],
    );
    says(
        from_file("outbox_bytes_core_max = '64 KiB'"),
        &["outbox_bytes_core_max = 64 KiB"],
    );
}

#[test]
fn no_address_twice() {
    let twice = |a: &str, b: &str| from_flags(&[], &[a, b]);
    for (a, b) in [
        ("text://127.0.0.1:7=echo", "frame://127.0.0.1:7=chat"),
        ("text://[::]:7=echo", "frame://0.0.0.0:7=chat"),
        (
            "text://[::ffff:127.0.0.1]:7=echo",
            "frame://127.0.0.1:7=chat",
        ),
    ] {
        says(twice(a, b), &["its address is taken by text://", "(echo)"]);
    }
    for (a, b) in [
        ("text://127.0.0.1:0=echo", "frame://127.0.0.1:0=chat"),
        ("text://127.0.0.1:7=echo", "frame://127.0.0.2:7=chat"),
    ] {
        assert!(twice(a, b).is_ok(), "{a} {b}");
    }
}
