//! Layers over each other: the later wins.

use std::time::Duration;

use ringpost::config::{Driver, ListenerLimits, UidPolicy};

use super::*;
use crate::cli::keys::KEYS;
use crate::cli::listener::AppName;
use crate::cli::listeners::warnings;
use crate::cli::settings::{LogFormat, LogLevel};

#[test]
fn the_later_layer_wins() {
    let file = || {
        file::read(
            "f.toml",
            "cores = 1\nidle_timeout = \"1s\"\nping_interval = \"1s\"",
        )
    };
    let environment = || {
        variables(&[
            ("RINGPOST_IDLE_TIMEOUT", "2s"),
            ("RINGPOST_PING_INTERVAL", "2s"),
        ])
    };
    let flags = || flags(&[("ping_interval", "3s")], &[]);
    let settings = resolve([file(), environment(), flags()]).unwrap();
    assert_eq!(settings.config.cores, 1);
    assert_eq!(settings.config.idle_timeout, Duration::from_secs(2));
    assert_eq!(settings.config.ping_interval, Duration::from_secs(3));
    assert_eq!(settings.config.login_timeout, Duration::from_secs(10));
}

#[test]
fn every_kind_of_value_in_the_file() {
    let settings = from_file(
        "cores = 0x10\npin = false\ndriver = 'epoll'\nuid_policy = 'replace'\n\
         message_bytes_max = 1_000\noutbox_bytes_max = '2 MiB'\nidle_timeout = 0\nlog = 'debug'\n\
         log_format = 'json'\nrelay.errors = false\nchat = { users_max = 7, roster_interval = '1s' }\n\
         [backend]\ntoken = 's3cret-s3cret-s3cret'\n",
    )
    .unwrap();
    assert_eq!((settings.config.cores, settings.config.pin), (16, false));
    assert_eq!(settings.config.driver, Driver::Epoll);
    assert_eq!(settings.config.uid_policy, UidPolicy::Replace);
    assert_eq!(settings.config.message_bytes_max, 1_000);
    assert_eq!(settings.config.outbox_bytes_max, 2 << 20);
    assert_eq!(settings.config.idle_timeout, Duration::ZERO);
    assert_eq!(
        (settings.log.level, settings.log.format),
        (LogLevel::Debug, LogFormat::Json)
    );
    assert!(!settings.relay.errors);
    assert_eq!(settings.chat.users_max, 7);
    assert_eq!(settings.chat.roster_interval, Duration::from_secs(1));
    assert_eq!(
        settings.backend.token.as_deref(),
        Some("s3cret-s3cret-s3cret")
    );
}

#[test]
fn every_key_is_a_variable() {
    for key in KEYS {
        // What no key takes, so each must complain, and by its own name.
        let name = key.variable();
        let error = from_variables(&[(&name, "no such\u{7f}value")]).unwrap_err();
        assert!(
            error.starts_with(&format!("variable {name}: {}", key.name)),
            "{error}"
        );
    }
}

#[test]
fn listeners_of_a_later_layer_replace_those_before() {
    let one = "[[listen]]\nurl = 'frame://127.0.0.1:1'\napp = 'relay'\n";
    let settings = from_file(one).unwrap();
    assert_eq!(
        served(&settings),
        [("frame://127.0.0.1:1".to_owned(), "relay")]
    );

    let two = variables(&[(
        "RINGPOST_LISTEN",
        "text://127.0.0.1:2=echo, ws://[::1]:3=chat",
    )]);
    let settings = resolve([file::read("f.toml", one), two]).unwrap();
    let expected = [
        ("text://127.0.0.1:2".to_owned(), "echo"),
        ("websocket://[::1]:3".to_owned(), "chat"),
    ];
    assert_eq!(served(&settings), expected);

    let preset = flags(&[("preset", "push")], &[]);
    let settings = resolve([file::read("f.toml", one), preset]).unwrap();
    let push = [
        ("websocket://127.0.0.1:1234".to_owned(), "push"),
        ("text://127.0.0.1:5678".to_owned(), "push-backend"),
    ];
    assert_eq!(served(&settings), push);
}

#[test]
fn public_opens_the_client_listeners_alone_and_warns() {
    let settings = from_flags(&[("public", "true")], &[]).unwrap();
    let open: Vec<AppName> = settings
        .listeners
        .iter()
        .filter(|it| !it.is_local())
        .map(|it| it.app)
        .collect();
    assert_eq!(open, [AppName::Relay, AppName::Push, AppName::Chat]);
    let warned = warnings(&settings);
    assert_eq!(warned.len(), 1);
    assert!(warned[0].contains("only a claim"), "{warned:?}");
    assert_eq!(
        warnings(&from_flags(&[], &[]).unwrap()),
        Vec::<String>::new()
    );

    says(
        from_flags(&[("public", "true")], &["text://127.0.0.1:1=echo"]),
        &["flag --public", "write the address"],
    );
}

#[test]
fn echo_has_large_limits_of_its_own() {
    let settings = from_flags(&[], &["websocket://127.0.0.1:0=echo"]).unwrap();
    let limits = ListenerLimits {
        message_bytes_max: Some(16 << 20),
        outbox_bytes_max: Some(32 << 20),
        compress: Some(true),
        ..ListenerLimits::default()
    };
    assert_eq!(settings.listeners[0].limits, limits);
    let own = "[[listen]]\nurl='text://127.0.0.1:0'\napp='echo'\nmessage_bytes_max='1 KiB'\ncompress=false";
    let settings = from_file(own).unwrap();
    assert_eq!(settings.listeners[0].limits.message_bytes_max, Some(1_024));
    assert_eq!(settings.listeners[0].limits.compress, Some(false));
    let wrong = "[[listen]]\nurl='text://127.0.0.1:0'\napp='echo'\ncompress='fast'";
    says(
        from_file(wrong),
        &["f.toml:4", "listen.compress = \"fast\""],
    );
}

#[test]
fn a_listener_may_have_rates_and_proxies_of_its_own() {
    let own = "[[listen]]\nurl='text://127.0.0.1:0'\napp='push'\nmessages_per_second_max=7\n\
               bytes_per_second_max='1 KiB'\nproxy_protocol=true";
    let listener = from_file(own).unwrap().listeners.remove(0);
    let limits = ListenerLimits {
        messages_per_second_max: Some(7),
        bytes_per_second_max: Some(1_024),
        ..ListenerLimits::default()
    };
    assert_eq!((listener.limits, listener.proxy_protocol), (limits, true));
    let page = "[[listen]]\nurl='http://127.0.0.1:0'\napp='page'\n";
    let own = "messages_per_second_max=3\nbytes_per_second_max=4\nconnections_per_address_max=5";
    let limits = ListenerLimits {
        messages_per_second_max: Some(3),
        bytes_per_second_max: Some(4),
        connections_per_address_max: Some(5),
        ..ListenerLimits::default()
    };
    let listener = from_file(&format!("{page}{own}"))
        .unwrap()
        .listeners
        .remove(0);
    assert_eq!(listener.limits, limits);
    for (rest, words) in [
        ("proxy_protocol=true", "backend.token"),
        ("message_bytes_max=1000", "do not apply to page"),
        ("outbox_bytes_max=1000", "do not apply to page"),
        ("compress=true", "do not apply to page"),
        ("proxy_protocol='maybe'", "expected true or false"),
        ("messages_per_second_max=-1", "expected a whole number"),
    ] {
        says(from_file(&format!("{page}{rest}")), &["f.toml:", words]);
    }
}

#[test]
fn whoever_may_claim_any_address_is_warned_of() {
    let warned = |proxies: &str, host: &str| {
        let file = format!(
            "trusted_proxies='{proxies}'\n[[listen]]\nurl='text://{host}:1'\napp='echo'\n\
             proxy_protocol=true"
        );
        warnings(&from_file(&file).unwrap())
    };
    assert!(warned("", "0.0.0.0")[0].contains("trusted_proxies"));
    assert_eq!(warned("", "127.0.0.1"), Vec::<String>::new());
    assert_eq!(warned("10.0.0.0/8", "0.0.0.0"), Vec::<String>::new());
}
