//! `ringpost.v1` where clients prove who they are: each way of a token, groups that it lets into, and newer ones.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::client::Client;
use crate::on_cores;
use crate::server::Server;
use crate::speaking::Speaking;
use crate::tokens::{File, SECRET, in_seconds};

on_cores! {
    a_token_comes_by_the_handshake_or_by_the_bind,
    a_bad_token_ends_it,
    only_what_the_token_or_a_rule_lets_into_is_joined,
    a_newer_token_takes_out_of_what_it_has_no_more,
    a_newer_token_that_is_none_changes_nothing,
    a_replay_obeys_a_newer_token,
}

fn token(claims: &Value) -> String {
    let mut all = json!({"sub": "kim", "exp": in_seconds(600)});
    for (name, claim) in claims.as_object().expect("claims") {
        all[name] = claim.clone();
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), &all, &key).expect("it signs")
}

async fn start(cores: usize, keys: &File) -> Server {
    let settings = format!(
        "auth = \"jwt\"\nauth_key_file = {:?}\norigins = \"none\"\n",
        keys.path()
    );
    let rules = "[[groups]]\nname = \"open.*\"\npublic = true\n";
    Server::keeping(cores, "websocket", &settings, rules).await
}

async fn bind(server: &Server, token: &str, groups: Value) -> (Speaking, Value) {
    Speaking::bind(server, json!({"token": token, "groups": groups})).await
}

async fn keep(server: &Server, group: &str, text: &str) {
    let body = json!({"group": group, "text": text, "keep": "10m"});
    crate::api::told(server, "/v1/push", &body.to_string()).await;
}

async fn a_token_comes_by_the_handshake_or_by_the_bind(cores: usize) {
    let keys = File::new(SECRET);
    let server = start(cores, &keys).await;
    let push = server.address("ws", "push");
    let kim = token(&json!({"groups": ["news"]}));
    let offer = format!("ringpost.v1, ringpost.token.{kim}");
    let bearer = format!("Bearer {kim}");
    for fields in [
        vec![("Sec-WebSocket-Protocol", &*offer)],
        vec![
            ("Sec-WebSocket-Protocol", "ringpost.v1"),
            ("Authorization", &bearer),
        ],
    ] {
        let shaken = Client::shake(push, "/", &fields).await;
        let mut one = Speaking::over(shaken.expect("let in"));
        // It is bound when it asks for that.
        one.expect_silence().await;
        let bound = one.bind_as(json!({"groups": {"news": null}})).await;
        assert_eq!(bound["uid"], "kim");
        assert!(bound["expires"].as_str().expect("a time").ends_with('Z'));
        assert!(bound["groups"]["news"].is_string(), "{bound}");
    }
    let (_, bound) = bind(&server, &kim, json!({"news": null})).await;
    assert_eq!(bound["uid"], "kim");
    assert!(bound["groups"]["news"].is_string(), "{bound}");
}

async fn a_bad_token_ends_it(cores: usize) {
    let keys = File::new(SECRET);
    let server = start(cores, &keys).await;
    let push = server.address("ws", "push");
    let kim = token(&json!({}));
    let late = token(&json!({"exp": in_seconds(-60)}));
    for (bind, code) in [
        (json!({"type": "bind", "uid": "kim"}), 4006),
        (json!({"type": "bind", "token": "a.b.c"}), 4006),
        (json!({"type": "bind", "token": kim, "uid": "tom"}), 4006),
        (json!({"type": "bind", "token": late}), 4008),
    ] {
        let mut one = Speaking::connect(push).await;
        one.ask(&bind).await;
        one.client.expect_end(code).await;
    }
    let offer = "ringpost.v1, ringpost.token.a.b.c";
    let refused = Client::shake(push, "/", &[("Sec-WebSocket-Protocol", offer)]).await;
    assert_eq!(refused.err(), Some(401));
}

async fn only_what_the_token_or_a_rule_lets_into_is_joined(cores: usize) {
    let keys = File::new(SECRET);
    let server = start(cores, &keys).await;
    let kim = token(&json!({"groups": ["news", "room.*"]}));
    let groups = json!({"news": null, "room.7": null, "open.1": null, "other": null});
    let (mut one, bound) = bind(&server, &kim, groups).await;
    assert_eq!(
        bound["groups"].as_object().expect("groups").len(),
        3,
        "{bound}"
    );
    assert_eq!(one.expect_error("forbidden_group").await["group"], "other");
    one.ask(&json!({"type": "join", "group": "room7"})).await;
    one.expect_error("forbidden_group").await;
    one.ask(&json!({"type": "history", "stream": "group", "group": "other"}))
        .await;
    one.expect_error("forbidden_group").await;
    let joined = one.answer(json!({"type": "join", "group": "open.2"})).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    // A token without groups lets into what is public alone.
    let (mut one, _) = bind(&server, &token(&json!({})), json!({})).await;
    one.ask(&json!({"type": "join", "group": "news"})).await;
    one.expect_error("forbidden_group").await;
}

async fn a_newer_token_takes_out_of_what_it_has_no_more(cores: usize) {
    let keys = File::new(SECRET);
    let server = start(cores, &keys).await;
    let kim = token(&json!({"groups": ["news", "room.*"]}));
    let groups = json!({"news": null, "room.7": null, "open.1": null});
    let (mut one, _) = bind(&server, &kim, groups).await;
    // A back end may put it anywhere.
    crate::api::told(&server, "/v1/groups/vip/join", r#"{"uid":"kim"}"#).await;
    assert_eq!(one.frame().await["type"], "joined");
    let newer = token(&json!({"groups": ["room.7"], "exp": in_seconds(900)}));
    one.ask(&json!({"type": "token", "id": 1, "token": newer}))
        .await;
    assert_eq!(one.frame().await, json!({"type": "left", "group": "news"}));
    let renewed = one.frame().await;
    assert_eq!(
        (&renewed["type"], &renewed["id"]),
        (&json!("renewed"), &json!(1))
    );
    assert!(renewed["expires"].is_string(), "{renewed}");
    keep(&server, "news", "not for it").await;
    for group in ["room.7", "open.1", "vip"] {
        keep(&server, group, "for it").await;
        one.expect(&format!("group/{group}"), "for it").await;
    }
    one.ask(&json!({"type": "join", "group": "news"})).await;
    one.expect_error("forbidden_group").await;
}

async fn a_newer_token_that_is_none_changes_nothing(cores: usize) {
    let keys = File::new(SECRET);
    let server = start(cores, &keys).await;
    let kim = token(&json!({"groups": ["news"]}));
    let (mut one, _) = bind(&server, &kim, json!({"news": null})).await;
    for bad in ["nonsense".to_owned(), token(&json!({"sub": "tom"}))] {
        one.ask(&json!({"type": "token", "id": "a", "token": bad}))
            .await;
        assert_eq!(one.expect_error("bad_token").await["id"], "a");
    }
    // Each costs a signature.
    for _ in 0..8 {
        one.ask(&json!({"type": "token", "token": "a.b.c"})).await;
    }
    let mut codes = Vec::new();
    for _ in 0..8 {
        codes.push(
            one.frame().await["error"]["code"]
                .as_str()
                .expect("a code")
                .to_owned(),
        );
    }
    assert!(codes.contains(&"too_many_requests".to_owned()), "{codes:?}");
    keep(&server, "news", "still there").await;
    one.expect("group/news", "still there").await;
}

async fn a_replay_obeys_a_newer_token(cores: usize) {
    let keys = File::new(SECRET);
    let server = start(cores, &keys).await;
    let kim = token(&json!({"groups": ["news"]}));
    let (one, bound) = bind(&server, &kim, json!({"news": null})).await;
    drop(one);
    let big = "x".repeat(40_000);
    const MANY: usize = 220;
    for number in 0..MANY {
        keep(&server, "news", &format!("{number} {big}")).await;
    }
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let push = server.address("ws", "push");
    let socket = socket.connect(push).await.expect("a connection");
    let shaken = Client::shake_over(socket, "/", &[crate::speaking::FIELD]).await;
    let mut one = Speaking::over(shaken.expect("let in"));
    let groups = json!({"news": bound["groups"]["news"]});
    one.bind_as(json!({"token": kim, "groups": groups})).await;
    let newer = token(&json!({"groups": [], "exp": in_seconds(900)}));
    one.ask(&json!({"type": "token", "token": newer})).await;
    let mut count = 0;
    loop {
        let frame = one.frame().await;
        match frame["type"].as_str() {
            Some("message") => count += 1,
            Some("left") => break,
            _ => panic!("{frame}"),
        }
    }
    assert!(count < MANY, "all of it came");
    assert_eq!(one.frame().await["type"], "renewed");
    one.expect_silence().await;
}
