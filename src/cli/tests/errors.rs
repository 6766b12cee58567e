//! What is wrong is told with its key, value, origin, and what was expected.

use super::*;
use crate::cli::keys::KEYS;

#[test]
fn an_unknown_key_names_its_line_and_the_nearest() {
    let error = from_file("cores = 1\n\nidle_timout = \"5s\"\n[relay]\nerors = true").unwrap_err();
    assert_eq!(
        error,
        "f.toml:3: unknown key \"idle_timout\"; did you mean \"idle_timeout\"?\n\
         f.toml:5: unknown key \"relay.erors\"; did you mean \"relay.errors\"?"
    );
    says(
        from_file("[relai]\nerrors = true"),
        &["f.toml:1: unknown key \"relai\""],
    );
    says(from_file("[xyzzy]"), &["f.toml:1: unknown key \"xyzzy\""]);
    says(
        from_file("[[listen]]\nurl='text://127.0.0.1:1'\nap='echo'"),
        &["f.toml:3: [[listen]]: unknown key \"ap\"; did you mean \"app\"?"],
    );
}

#[test]
fn an_unknown_variable_is_an_error() {
    says(
        from_variables(&[("RINGPOST_IDLE_TIMOUT", "5s"), ("IDLE_TIMEOUT", "x")]),
        &["unknown variable RINGPOST_IDLE_TIMOUT; did you mean RINGPOST_IDLE_TIMEOUT?"],
    );
    for (name, value) in [
        ("RINGPOST_ENVIRONMENT", "x"),
        ("RINGPOST_ENV", "x"),
        ("RINGPOST_NAMES", "/web/ringpost"),
        ("RINGPOST_PORTS", "tcp://10.0.0.1:1"),
        ("RINGPOST_LOG_NAME", "x"),
        ("RINGPOST_LOG_PORT", "1234"),
        ("RINGPOST_LOG_PORT_MAX", "1234"),
        ("RINGPOST_LOG_ENV_X", "x"),
        ("RINGPOST_", "x"),
    ] {
        let words = format!("unknown variable {name}");
        says(from_variables(&[(name, value)]), &[&words]);
    }
    assert!(from_variables(&[("RINGPOST_CONFIG", "f"), ("RINGPOST_TO", "h:1")]).is_ok());
}

/// What Docker's links and Kubernetes' services set for something of our name, or of one that begins so.
#[test]
fn what_others_set_under_our_name_is_passed_over() {
    for (name, value) in [
        ("RINGPOST_NAME", "/web/ringpost"),
        ("RINGPOST_PORT", "tcp://172.17.0.5:1234"),
        ("RINGPOST_PORT_1234_TCP", "tcp://172.17.0.5:1234"),
        ("RINGPOST_PORT_1234_TCP_ADDR", "172.17.0.5"),
        ("RINGPOST_PORT_1234_TCP_PORT", "1234"),
        ("RINGPOST_PORT_1234_TCP_PROTO", "tcp"),
        ("RINGPOST_PORT_1234_TCP_PORT_START", "1234"),
        ("RINGPOST_PORT_1234_UDP_END", "udp://172.17.0.5:1240"),
        ("RINGPOST_ENV_LANG", "C.UTF-8"),
        ("RINGPOST_ENV_RINGPOST_CORES", "2"),
        ("RINGPOST_1_NAME", "/web/ringpost_1"),
        ("RINGPOST_1_PORT", "tcp://172.17.0.5:1234"),
        ("RINGPOST_1_PORT_1234_TCP_ADDR", "172.17.0.5"),
        ("RINGPOST_1_ENV_LANG", "C.UTF-8"),
        ("RINGPOST_SERVICE_HOST", "10.0.0.1"),
        ("RINGPOST_SERVICE_PORT", "1234"),
        ("RINGPOST_SERVICE_PORT_WEBSOCKET", "1234"),
        ("RINGPOST_BACKEND_SERVICE_HOST", "10.0.0.2"),
        ("RINGPOST_BACKEND_SERVICE_PORT_TEXT", "5678"),
        ("RINGPOST_BACKEND_PORT", "tcp://10.0.0.2:5678"),
        ("RINGPOST_BACKEND_PORT_5678_TCP_PROTO", "tcp"),
    ] {
        let named = ("RINGPOST_1_NAME", "/web/ringpost_1");
        let outcome = from_variables(&[named, (name, value)]);
        assert!(outcome.is_ok(), "{name}={value}: {outcome:?}");
    }
    // None of ours looks so.
    for key in KEYS {
        let name = key.variable();
        let error = from_variables(&[(&name, "tcp://no such\u{7f}value")]);
        assert!(error.is_err(), "{name}");
    }
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let file = "origins = 'https://a.example'\ntrusted_proxies = '::1'\nauth_issuer = 'me'\n";
    let names: Vec<String> = KEYS.iter().map(|key| key.variable()).collect();
    let mut empty: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    empty.extend([
        ("RINGPOST_CONFIG", ""),
        ("RINGPOST_LISTEN", ""),
        ("RINGPOST_TO", ""),
        ("RINGPOST_WHATEVER", ""),
    ]);
    let settings = resolve([file::read("f.toml", file), variables(&empty)]);
    assert_eq!(settings.unwrap(), from_file(file).unwrap());
    // To have none of a list is another matter, and a flag.
    let settings = resolve([file::read("f.toml", file), flags(&[("origins", "")], &[])]);
    assert!(settings.unwrap().config.origins.is_empty());
}

#[test]
fn of_a_list_the_entry_is_named() {
    for (name, value, entry) in [
        ("origins", "https://a.example, b.example, null", "b.example"),
        ("trusted_proxies", "10.0.0.0/8,10.0.0.0/33", "10.0.0.0/33"),
        ("webhooks.events", "connect, disconect", "disconect"),
    ] {
        let file = from_file(&format!("{name} = '{value}'"));
        says(
            file,
            &[&format!("f.toml:1: {name}: \"{entry}\": expected ")],
        );
        let error = from_flags(&[(name, value)], &[]).unwrap_err();
        assert!(error.contains(&format!("{name}: \"{entry}\"")), "{error}");
        assert!(!error.contains("a.example"), "{error}");
    }
    let listeners = variables(&[("RINGPOST_LISTEN", "text://127.0.0.1:0=echo, text://x=echo")]);
    let error = resolve([listeners]).unwrap_err().to_string();
    assert!(
        error.contains("RINGPOST_LISTEN: \"text://x=echo\""),
        "{error}"
    );
}

#[test]
fn what_is_wrong_with_a_file_that_is_named_or_a_url_has_its_place() {
    says(
        from_file(
            "cores = 1\nwebhooks.url = 'ftp://shop.example'\nwebhooks.secret = '0123456789abcdef0123456789abcdef'",
        ),
        &["f.toml:2: webhooks.url = \"ftp://shop.example\": expected a URL"],
    );
    says(
        from_file(
            "[webhooks]\nurl = 'https://me:pass@shop.example'\nsecret = '0123456789abcdef0123456789abcdef'",
        ),
        &["f.toml:2: webhooks.url: it holds a name or password"],
    );
    says(
        from_file("auth = 'jwt'\nauth_key_file = '/no/such/file'"),
        &["f.toml:2: auth_key_file /no/such/file: "],
    );
    says(
        from_variables(&[("RINGPOST_BACKEND_TOKENS_FILE", "/no/such/file")]),
        &["variable RINGPOST_BACKEND_TOKENS_FILE: backend.tokens_file /no/such/file: "],
    );
}

#[test]
fn a_key_below_a_table_that_it_is_not_of_is_told_where_it_belongs() {
    says(
        from_file("[[listen]]\nurl='text://127.0.0.1:1'\napp='echo'\nlog = 'debug'"),
        &[
            "f.toml:4: [[listen]]: \"log\" is a key of the whole server",
            "move it above",
        ],
    );
    says(
        from_file("[relay]\nerrors = true\nidle_timeout = '5s'"),
        &["f.toml:3: \"idle_timeout\" is a key of the whole server, and what follows [relay]"],
    );
    says(
        from_file("cores = 1\n\ncores = 2"),
        &["f.toml:3: duplicate key \"cores\": it stands above already"],
    );
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let settings = from_file("\u{feff}cores = 3\r\nlog = 'debug'\r\n").unwrap();
    assert_eq!(settings.config.cores, 3);
    says(
        from_file("\u{feff}cores = 1\nbad = 1"),
        &["f.toml:2: unknown key \"bad\""],
    );
}

#[test]
fn a_token_that_could_be_guessed_is_refused_with_a_way_out() {
    let error = from_variables(&[("RINGPOST_BACKEND_TOKEN", "s3cret")]).unwrap_err();
    for words in ["16 to 256", "ringpost token --back-end"] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!error.contains("s3cret"), "{error}");
    assert!(from_variables(&[("RINGPOST_BACKEND_TOKEN", "0123456789abcdef")]).is_ok());
}

#[test]
fn a_bad_value_names_key_value_origin_and_what_was_expected() {
    assert_eq!(
        from_file("cores = \"many\"").unwrap_err(),
        "f.toml:1: cores = \"many\": expected a whole number from 0 to 1024"
    );
    assert_eq!(
        from_variables(&[("RINGPOST_DRIVER", "kqueue")]).unwrap_err(),
        "variable RINGPOST_DRIVER: driver = \"kqueue\": expected \"auto\", \"uring\" or \"epoll\""
    );
    assert_eq!(
        from_flags(&[("relay.errors", "maybe")], &[]).unwrap_err(),
        "flag --relay-errors: relay.errors = \"maybe\": expected true or false"
    );
    says(
        from_file("idle_timeout = 55"),
        &["idle_timeout = \"55\"", "with its unit"],
    );
    says(
        from_file("cores = 1025"),
        &["cores = \"1025\"", "0 to 1024"],
    );
    says(
        from_file("cores = [1]"),
        &["f.toml:1: cores: expected a whole number", "an array"],
    );
    says(
        from_file("message_bytes_max = 0"),
        &["message_bytes_max = \"0\"", "a size from 1"],
    );
    says(
        from_file("outbox_bytes_max = '1 MB'"),
        &["outbox_bytes_max = \"1 MB\"", "64 KiB"],
    );
    says(
        from_file("login_timeout = '0s'"),
        &["login_timeout = \"0s\"", "from 1ms"],
    );
    says(
        from_file("chat.users_max = -1"),
        &["f.toml:1: chat.users_max = \"-1\""],
    );
    says(from_file("log = \"a\\nb\""), &["log = \"a\\\\nb\""]);
}

#[test]
fn a_syntax_error_names_its_line() {
    says(from_file("cores = 1\npin = \n"), &["f.toml:2: "]);
    says(
        from_file("cores = 1\ncores = 2\n"),
        &["f.toml:2: ", "duplicate"],
    );
}

#[test]
fn all_problems_of_all_layers_are_told_at_once() {
    let layers = [
        file::read("f.toml", "cores = -1\nfoo_bar = 1"),
        variables(&[("RINGPOST_PIN", "perhaps")]),
        flags(&[("log", "loud")], &["quic://127.0.0.1:1=echo"]),
    ];
    let problems = resolve(layers).unwrap_err();
    assert_eq!(problems.0.len(), 5, "{problems}");
}

#[test]
fn a_token_is_never_shown() {
    let error = from_variables(&[("RINGPOST_BACKEND_TOKEN", "two words of a secret")]).unwrap_err();
    assert!(
        error.contains("RINGPOST_BACKEND_TOKEN: backend.token: expected"),
        "{error}"
    );
    assert!(!error.contains("two words"), "{error}");
    let settings =
        from_variables(&[("RINGPOST_BACKEND_TOKEN", "hunter2-hunter2-hunter2")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2-hunter2-hunter2"));
}
