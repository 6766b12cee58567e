//! The listeners' addresses and the rules they are held to.

use ringpost::config::ListenerLimits;

use super::*;
use crate::cli::listener::ListenerSettings;

#[test]
fn addresses_of_every_form() {
    for (text, shown) in [
        ("websocket://127.0.0.1:1234", "websocket://127.0.0.1:1234"),
        ("ws://localhost:1234/", "websocket://127.0.0.1:1234"),
        ("TEXT://[::]:0", "text://[::]:0"),
        ("frame://0.0.0.0:65535", "frame://0.0.0.0:65535"),
        ("WSS://127.0.0.1:1", "wss://127.0.0.1:1"),
        ("tls+text://127.0.0.1:1", "tls+text://127.0.0.1:1"),
        ("tls+frame://127.0.0.1:1", "tls+frame://127.0.0.1:1"),
    ] {
        let listener = ListenerSettings::parse(text, "echo", ListenerLimits::default()).unwrap();
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
        ("websocket://127.0.0.1:1234/path=relay", "and there is none"),
        ("websocket://127.0.0.1:1234/a?b=relay", "nothing else"),
        ("websocket://user@127.0.0.1:1234=relay", "nothing else"),
        ("text://127.0.0.1:1234/path=relay", "only websocket://"),
        ("websocket://127.0.0.1:1234/v1/ws=relay", "is taken"),
        ("http://127.0.0.1:8080=page:websocket", "needs paths"),
        (
            "wss://127.0.0.1:1234=relay",
            "TLS needs a certificate: set tls.certificate_file",
        ),
        ("https://127.0.0.1:1234=page", "TLS needs a certificate"),
        ("https://127.0.0.1:1234=relay", "https:// serves page only"),
        ("tls+text://127.0.0.1:1234=page", "not by tls+text://"),
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
            "page is served by http:// or https:// only",
        ),
        ("http://127.0.0.1:8080=relay", "http:// serves page only"),
        ("http://0.0.0.0:8080=page", "without a token"),
        (
            "http://0.0.0.0:8080=page:events+metrics",
            "events and websocket as its only roles",
        ),
        (
            "http://127.0.0.1:8080=page:event",
            "no role is called \"event\"; did you mean \"events\"?",
        ),
        (
            "http://127.0.0.1:8080=page:",
            "\"page\", \"api\", \"metrics\", \"events\" or \"websocket\"",
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

/// The URL, app and roles of each.
fn shown(settings: Settings) -> Vec<String> {
    let listeners = settings.listeners.iter();
    let shown = listeners.map(|one| format!("{one}={}:{}", one.app, one.roles));
    shown.collect()
}

/// An HTTP listener that says this, too.
fn table(rest: &str) -> Result<Settings, String> {
    from_file(&format!(
        "[[listen]]\nurl = 'http://127.0.0.1:1'\napp = 'page'\n{rest}"
    ))
}

#[test]
fn an_http_listener_may_have_websockets_at_paths() {
    let paths = "paths = { '/ws' = 'push', '/chat' = 'chat' }";
    assert_eq!(
        shown(table(paths).unwrap()),
        [
            "http://127.0.0.1:1=page:page+api+metrics+events+websocket",
            "websocket://127.0.0.1:1/chat=chat:",
            "websocket://127.0.0.1:1/ws=push:",
        ]
    );
    let alone = table(&format!("roles = ['websocket']\n{paths}")).unwrap();
    assert_eq!(shown(alone)[0], "http://127.0.0.1:1=page:websocket");
    // As flags, in any order, and with limits of their own.
    let flags = from_flags(
        &[],
        &[
            "ws://127.0.0.1:1/ws=push",
            "http://127.0.0.1:1=page:events+websocket",
        ],
    );
    assert_eq!(
        shown(flags.unwrap()),
        [
            "websocket://127.0.0.1:1/ws=push:",
            "http://127.0.0.1:1=page:events+websocket",
        ]
    );
    let own = table(&format!(
        "connections_per_address_max = 5\n{paths}\n[[listen]]\nurl = 'ws://127.0.0.1:1/echo'\napp = 'echo'\n\
         message_bytes_max = 7"
    ));
    let own = own.unwrap().listeners;
    assert_eq!(own[1].limits.connections_per_address_max, Some(5));
    assert_eq!(own[3].limits.message_bytes_max, Some(7));
}

#[test]
fn what_is_wrong_with_paths_is_said() {
    for (rest, words) in [
        ("roles = ['events', 'websocket']", "needs paths"),
        (
            "roles = ['events']\npaths = { '/ws' = 'push' }",
            "add websocket",
        ),
        ("paths = ['/ws']", "expected a table of paths and apps"),
        (
            "paths = { '/ws' = 1 }",
            "expected a table of paths and apps",
        ),
        ("paths = { 'ws' = 'push' }", "does not begin with a slash"),
        ("paths = { '/' = 'push' }", "the path / is the page's"),
        ("paths = { '/ws' = 'pushh' }", "did you mean \"push\"?"),
        (
            "paths = { '/ws' = 'page' }",
            "page is served by http:// or https:// only",
        ),
        ("paths = { '/metrics' = 'push' }", "is taken"),
        ("paths = { '/a b' = 'push' }", "nothing else"),
        ("paths = { '/ws' = 'push-backend' }", "any web page"),
    ] {
        says(table(rest), &["f.toml:", words]);
    }
    let text = "[[listen]]\nurl = 'text://127.0.0.1:1'\napp = 'push'\npaths = { '/ws' = 'push' }";
    says(from_file(text), &["paths are those of http://"]);
    let proxied = "[[listen]]\nurl = 'ws://127.0.0.1:1/ws'\napp = 'push'\nproxy_protocol = true";
    says(from_file(proxied), &["that of the http:// listener"]);
    let free = [
        "http://127.0.0.1:0=page",
        "http://127.0.0.1:0=page",
        "ws://127.0.0.1:0/a=push",
    ];
    says(
        from_flags(&[], &free),
        &["more than one http:// listener has its address"],
    );
    let twice = [
        "http://127.0.0.1:1=page",
        "ws://127.0.0.1:1/a=push",
        "ws://127.0.0.1:1/a=chat",
    ];
    says(
        from_flags(&[], &twice),
        &["is taken by websocket://127.0.0.1:1/a"],
    );
}

#[test]
fn what_a_proxy_brings_to_http_wants_a_token() {
    let table = "[[listen]]\nurl = 'http://127.0.0.1:1'\napp = 'page'\nproxy_protocol = true\n";
    says(from_file(table), &["backend.token", "proxy_protocol"]);
    let token = format!("{table}[backend]\ntoken = 'a-token-of-more-than-thirty-two-characters'\n");
    assert!(from_file(&token).unwrap().listeners[0].proxy_protocol);
    assert!(from_file(&format!("{table}roles = ['events']")).is_ok());
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
    let error = from_file("message_bytes_max = 1000\noutbox_bytes_max = 1041").unwrap_err();
    assert!(
        error.contains("preset: listener websocket://127.0.0.1:1234 (relay)"),
        "{error}"
    );
    assert!(
        error.contains("outbox_bytes_max of at least 1042"),
        "{error}"
    );
    assert!(from_file("message_bytes_max = 1000\noutbox_bytes_max = 1042").is_ok());
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
