//! What is wrong is told with its key, value, origin, and what was expected.

use super::*;

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
fn an_unknown_variable_is_an_error_but_for_those_kubernetes_makes() {
    says(
        from_variables(&[("RINGPOST_IDLE_TIMOUT", "5s"), ("IDLE_TIMEOUT", "x")]),
        &["unknown variable RINGPOST_IDLE_TIMOUT; did you mean RINGPOST_IDLE_TIMEOUT?"],
    );
    let service = ("RINGPOST_PORT_1234_TCP_ADDR", "10.0.0.1");
    says(
        from_variables(&[service]),
        &["unknown variable RINGPOST_PORT_1234_TCP_ADDR"],
    );
    assert!(from_variables(&[service, ("KUBERNETES_SERVICE_HOST", "10.0.0.1")]).is_ok());
    assert!(from_variables(&[("RINGPOST_CONFIG", "f"), ("RINGPOST_TO", "h:1")]).is_ok());
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
    let error = from_variables(&[("RINGPOST_BACKEND_TOKEN", "two words")]).unwrap_err();
    assert!(
        error.contains("RINGPOST_BACKEND_TOKEN: backend.token: expected"),
        "{error}"
    );
    assert!(!error.contains("two words"), "{error}");
    let settings = from_variables(&[("RINGPOST_BACKEND_TOKEN", "hunter2")]).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
}
