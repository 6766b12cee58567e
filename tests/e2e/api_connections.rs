//! The HTTP API about single connections, by their ids: pushes, kicks with a last word, whom a message to many is not for.

use serde_json::{Value, json};

use crate::api::{asked, error, read, told};
use crate::client::Client;
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    one_of_a_uids_connections_is_pushed_to,
    one_is_kicked_with_a_last_word,
    a_message_to_many_leaves_some_out,
    a_push_to_one_is_made_once,
    what_cannot_be_is_said,
}

/// The id of a client's connection, as the API tells it.
pub async fn id_of(server: &Server, uid: &str, client: &Client) -> String {
    let address = client.local().to_string();
    let told = read(server, &format!("/v1/uids/{uid}")).await;
    let list = told["list"].as_array().expect("a list");
    let one = list.iter().find(|one| one["address"] == address);
    let one = one.unwrap_or_else(|| panic!("{address} is not in {told}"));
    one["connection"].as_str().expect("an id").to_owned()
}

/// So many are bound.
pub async fn bound(server: &Server, count: u64) {
    while server.count("bound").await < count {
        tokio::task::yield_now().await;
    }
}

async fn one_of_a_uids_connections_is_pushed_to(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 5);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push((
            uid,
            server.push("ws", uid).await,
            server.push("text", uid).await,
        ));
    }
    bound(&server, 10).await;
    for (uid, one, other) in &mut clients {
        let id = id_of(&server, uid, one).await;
        assert_eq!(id, id_of(&server, uid, one).await, "it stays");
        let body = json!({"connection": id, "data": {"to": id}}).to_string();
        let answer = told(&server, "/v1/push", &body).await;
        let expected = json!({"verdicts": {&id: "delivered"}, "connections": 1});
        assert_eq!(answer, expected);
        one.expect(&json!({"to": id}).to_string()).await;
        other.expect_silence().await;
    }
    // In a batch, in order with what is for its uid.
    let (uid, one, other) = &mut clients[0];
    let id = id_of(&server, uid, one).await;
    let batch = json!([
        {"push": {"uid": uid, "text": "1"}},
        {"push": {"connection": id, "text": "2"}},
        {"push": {"uid": uid, "text": "3"}},
    ]);
    told(&server, "/v1/batch", &batch.to_string()).await;
    for text in ["1", "2", "3"] {
        one.expect(text).await;
    }
    for text in ["1", "3"] {
        other.expect(text).await;
    }
    // Nobody is called so any more.
    let (uid, one, _other) = clients.remove(0);
    drop(one);
    while read(&server, &format!("/v1/uids/{uid}")).await["connections"] != 1 {
        tokio::task::yield_now().await;
    }
    let body = json!({"connection": id, "text": "x"}).to_string();
    let answer = told(&server, "/v1/push", &body).await;
    assert_eq!(
        answer,
        json!({"verdicts": {&id: "offline"}, "connections": 0})
    );
}

async fn one_is_kicked_with_a_last_word(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut one = server.push("ws", &uid).await;
    let mut other = server.push("ws", &uid).await;
    bound(&server, 2).await;
    let id = id_of(&server, &uid, &one).await;
    let kick = json!({"connection": id, "data": {"bye": 1}, "reason": "été “soon”"}).to_string();
    assert_eq!(
        told(&server, "/v1/kick", &kick).await,
        json!({"connections": 1})
    );
    one.expect("{\"bye\":1}").await;
    one.expect_end_saying(4007, "été “soon”").await;
    assert_eq!(
        told(&server, "/v1/kick", &kick).await,
        json!({"connections": 0})
    );
    other.expect_silence().await;
    // And of a uid, all kinds of clients.
    let mut lines = server.push("text", &uid).await;
    let mut events = server.listen(&uid).await;
    bound(&server, 3).await;
    let longest = "x".repeat(123);
    let kick = json!({"uid": uid, "text": "good night", "reason": longest}).to_string();
    assert_eq!(
        told(&server, "/v1/kick", &kick).await,
        json!({"connections": 3})
    );
    other.expect("good night").await;
    other.expect_end_saying(4007, &longest).await;
    lines.expect("good night").await;
    lines.expect_end(4007).await;
    events.expect("good night").await;
    let close = events.expect_close(4007).await;
    assert_eq!(close["reason"], longest);
}

async fn a_message_to_many_leaves_some_out(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 6);
    let mut clients = Vec::new();
    for uid in &uids {
        let (one, other) = (server.push("ws", uid).await, server.push("text", uid).await);
        clients.push((uid, one, other));
    }
    bound(&server, 12).await;
    for uid in &uids {
        let join = json!({"uid": uid}).to_string();
        told(&server, "/v1/groups/g/join", &join).await;
    }
    let mut except = Vec::new();
    for (uid, one, _) in &clients[1..3] {
        except.push(id_of(&server, uid, one).await);
    }
    // Nobody is one of these.
    except.push("0-1f".to_owned());
    let except = json!({"uids": [uids[0], "nobody", 7], "connections": except});
    let sends = [
        (
            "/v1/push",
            json!({"group": "g", "text": "a", "except": except}),
        ),
        ("/v1/broadcast", json!({"text": "b", "except": except})),
        (
            "/v1/push",
            json!({"uid": "all", "text": "c", "except": except}),
        ),
    ];
    for (path, body) in &sends {
        let answer = told(&server, path, &body.to_string()).await;
        assert_eq!(answer["connections"], 12 - 4, "{body}");
    }
    let body = json!({"uid": "all", "text": "end", "except": {}}).to_string();
    assert_eq!(told(&server, "/v1/push", &body).await["connections"], 12);
    for (nth, (_, one, other)) in clients.iter_mut().enumerate() {
        for (client, is_left_out) in [(one, nth < 3), (other, nth < 1)] {
            if !is_left_out {
                for text in ["a", "b", "c"] {
                    client.expect(text).await;
                }
            }
            client.expect("end").await;
        }
    }
}

async fn a_push_to_one_is_made_once(cores: usize) {
    let server = Server::start(cores).await;
    let mut one = server.push("ws", "tom").await;
    bound(&server, 1).await;
    let id = id_of(&server, "tom", &one).await;
    let body = json!({"connection": id, "text": "once", "id": "7"});
    let first = told(&server, "/v1/push", &body.to_string()).await;
    let again = told(&server, "/v1/push", &body.to_string()).await;
    assert_eq!(again["repeated"], true, "{again}");
    assert_eq!(again["verdicts"], first["verdicts"]);
    one.expect("once").await;
    one.expect_silence().await;
    // To another one it is another request, and so is one that leaves somebody out.
    let others: [Value; 2] = [
        json!({"uid": id, "text": "once", "id": "7"}),
        json!({"connection": "0-1", "text": "once", "id": "7"}),
    ];
    for other in others {
        let refused = asked(&server, "/v1/push", &other.to_string()).await;
        assert_eq!(error(&refused), (409, "id_in_use".into()), "{other}");
    }
    let all = json!({"text": "all", "id": "8"}).to_string();
    told(&server, "/v1/broadcast", &all).await;
    let some = json!({"text": "all", "id": "8", "except": {"uids": ["tom"]}}).to_string();
    let refused = asked(&server, "/v1/broadcast", &some).await;
    assert_eq!(error(&refused), (409, "id_in_use".into()));
}

async fn what_cannot_be_is_said(cores: usize) {
    let server = Server::start(cores).await;
    let many: Vec<String> = (0..1_001).map(|number| format!("0-{number:x}")).collect();
    let long = "é".repeat(62);
    for (path, body, code) in [
        (
            "push",
            json!({"connection": "x", "text": "a"}),
            "bad_connection",
        ),
        (
            "push",
            json!({"connection": "00-1f", "text": "a"}),
            "bad_connection",
        ),
        (
            "push",
            json!({"connection": "", "text": "a"}),
            "bad_connection",
        ),
        ("push", json!({"connection": 7, "text": "a"}), "bad_request"),
        (
            "push",
            json!({"connection": "0-1", "uid": "tom", "text": "a"}),
            "bad_request",
        ),
        (
            "push",
            json!({"connection": "0-1", "text": "a", "keep": "1m"}),
            "bad_request",
        ),
        (
            "push",
            json!({"uid": "tom", "text": "a", "except": {}}),
            "bad_request",
        ),
        (
            "push",
            json!({"group": "g", "text": "a", "except": {"uids": ["all"]}}),
            "bad_uid",
        ),
        (
            "push",
            json!({"group": "g", "text": "a", "except": {"connections": ["1"]}}),
            "bad_connection",
        ),
        (
            "broadcast",
            json!({"text": "a", "except": {"connections": many}}),
            "too_many",
        ),
        (
            "broadcast",
            json!({"text": "a", "except": ["tom"]}),
            "bad_request",
        ),
        (
            "kick",
            json!({"connection": "0-1", "forget": true}),
            "bad_request",
        ),
        ("kick", json!({"connection": "-1"}), "bad_connection"),
        ("kick", json!({"uid": "tom", "reason": long}), "bad_reason"),
        (
            "kick",
            json!({"uid": "tom", "reason": "a\nb"}),
            "bad_reason",
        ),
        (
            "kick",
            json!({"uid": "tom", "text": "a", "data": 1}),
            "bad_request",
        ),
        ("kick", json!({}), "bad_request"),
    ] {
        let refused = asked(&server, &format!("/v1/{path}"), &body.to_string()).await;
        assert_eq!(
            error(&refused),
            (400, code.into()),
            "{body}: {}",
            refused.body
        );
    }
}
