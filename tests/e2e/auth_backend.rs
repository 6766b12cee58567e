//! Tokens of back ends and their rights, on the text port and over HTTP.

use crate::http::{JSON, get, post};
use crate::on_cores;
use crate::server::{Server, command};
use crate::tokens::File;

on_cores! {
    each_token_has_its_rights_on_the_text_port,
    each_token_has_its_rights_over_http,
    http_may_listen_beyond_loopback_with_a_token,
    without_a_token_nothing_listens_beyond_loopback,
}

const TOKENS: &str = "# who may what\npush pusher-token-0001\nkick,read  keeper-token-0001\n\npush,kick,read all-token-0000001\n";
const BODY: &str = r#"{"uid":"tom","text":"hello"}"#;

async fn each_token_has_its_rights_on_the_text_port(cores: usize) {
    let file = File::new(TOKENS);
    let settings = [
        ("BACKEND_TOKENS_FILE", file.path()),
        ("BACKEND_TOKEN", "root-token-000001"),
    ];
    let server = Server::with(cores, &settings).await;
    for (token, push, kick, read) in [
        ("pusher-token-0001", true, false, false),
        ("keeper-token-0001", false, true, true),
        ("all-token-0000001", true, true, true),
        ("root-token-000001", true, true, true),
    ] {
        let mut backend = server.backend().await;
        assert_eq!(backend.ask(&format!("auth {token}")).await, "ok");
        for (line, right, may) in [
            ("{\"uid\":\"tom\"}", "push", push),
            ("kick tom", "kick", kick),
            ("online tom", "read", read),
        ] {
            let expected = match may {
                true => "fail".to_owned(),
                false => format!("fail: this token has no right to {right}"),
            };
            assert_eq!(backend.ask(line).await, expected, "{token}: {line}");
        }
        let stats = backend.ask("stats").await;
        assert_eq!(stats.starts_with('{'), read, "{token}: {stats}");
        assert_eq!(
            backend.ask("auth all-token-0000001").await,
            "fail: authorized already"
        );
        assert_eq!(backend.ask("nonsense").await.get(..6), Some("fail: "));
    }
    for wrong in [
        "pusher-token-000",
        "pusher-token-0001 ",
        "push pusher-token-0001",
        "PUSHER-TOKEN-0001",
        "",
    ] {
        let mut backend = server.backend().await;
        assert_eq!(
            backend.ask(&format!("auth {wrong}")).await,
            "fail: wrong token"
        );
        backend.expect_end(1008).await;
    }
    assert!(!server.log().contains("-token"));
}

async fn each_token_has_its_rights_over_http(cores: usize) {
    let file = File::new(TOKENS);
    let server = Server::with(cores, &[("BACKEND_TOKENS_FILE", file.path())]).await;
    let address = server.address("http", "page");
    for (field, status, code) in [
        ("", 401, "unauthorized"),
        ("Authorization: Bearer wrong\r\n", 401, "unauthorized"),
        ("Authorization: pusher-token-0001\r\n", 401, "unauthorized"),
        (
            "Authorization: Basic pusher-token-0001\r\n",
            401,
            "unauthorized",
        ),
        (
            "Authorization: Bearer keeper-token-0001\r\n",
            403,
            "no_right",
        ),
    ] {
        let answer = post(address, "/v1/push", &format!("{field}{JSON}"), BODY).await;
        assert_eq!(answer.status, status, "{field}");
        assert_eq!(answer.json()["error"]["code"], code, "{field}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, (status == 401).then_some("bearer"), "{field}");
    }
    for token in ["pusher-token-0001", "all-token-0000001"] {
        let field = format!("authorization:bearer {token}\r\n{JSON}");
        let answer = post(address, "/v1/push", &field, BODY).await;
        assert_eq!(
            (answer.status, &answer.json()["verdicts"]["tom"]),
            (200, &"offline".into())
        );
    }
    let twice =
        format!("Authorization: Bearer all-token-0000001\r\nAuthorization: Bearer x\r\n{JSON}");
    assert_eq!(post(address, "/v1/push", &twice, BODY).await.status, 400);
    // A large body is kept for those alone who may have something done by it.
    let large = "x".repeat(65 << 10);
    for (path, token, status) in [
        ("/v1/push", "wrong", 401),
        ("/v1/push", "pusher-token-0001", 400),
        ("/v1/push", "all-token-0000001", 400),
        ("/", "all-token-0000001", 413),
    ] {
        let field = format!("Authorization: Bearer {token}\r\n{JSON}");
        let answer = post(address, path, &field, &large).await;
        assert_eq!(answer.status, status, "{path} {token}");
    }
    // What does nothing needs none.
    assert_eq!(get(address, "/healthz").await.status, 200);
    assert_eq!(get(address, "/").await.status, 200);
}

async fn http_may_listen_beyond_loopback_with_a_token(cores: usize) {
    let listeners = ["http://0.0.0.0:0=page"];
    let server = Server::on(cores, &[("BACKEND_TOKEN", "root-token-000001")], &listeners).await;
    let mut address = server.address("http", "page");
    address.set_ip([127, 0, 0, 1].into());
    let lines = format!("Authorization: Bearer root-token-000001\r\n{JSON}");
    assert_eq!(post(address, "/v1/push", &lines, BODY).await.status, 200);
    assert_eq!(post(address, "/v1/push", JSON, BODY).await.status, 401);
}

async fn without_a_token_nothing_listens_beyond_loopback(cores: usize) {
    let empty = File::new("# nobody\n");
    for (listener, settings, words) in [
        (
            "text://0.0.0.0:0=push-backend",
            vec![],
            "RINGPOST_BACKEND_TOKEN",
        ),
        ("http://0.0.0.0:0=page", vec![], "RINGPOST_BACKEND_TOKEN"),
        ("http://[::]:0=page", vec![], "RINGPOST_BACKEND_TOKEN"),
        (
            "text://127.0.0.1:0=push-backend",
            vec![("BACKEND_TOKENS_FILE", empty.path())],
            "there is no token in it",
        ),
        (
            "websocket://127.0.0.1:0=push",
            vec![("AUTH", "jwt")],
            "auth_key_file",
        ),
        (
            "websocket://127.0.0.1:0=push",
            vec![("AUTH", "hmac"), ("AUTH_KEY_FILE", empty.path())],
            "at least 32",
        ),
        (
            "websocket://127.0.0.1:0=push",
            vec![("AUTH", "hmac"), ("AUTH_KEY_FILE", "/nowhere/keys")],
            "/nowhere/keys",
        ),
    ] {
        let outcome = command(cores, &settings, &[listener])
            .output()
            .expect("it ends");
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert_eq!(outcome.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{listener} {settings:?}: {said}");
    }
}
