//! The HTTP API about single connections: their attributes, binds by a back end, lists of them.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::api::{error, read, told};
use crate::api_connections::{bound, id_of};
use crate::client::Client;
use crate::http::exchange;
use crate::on_cores;
use crate::receiver::Receiver;
use crate::seed;
use crate::server::Server;
use crate::tokens::File;
use crate::webhooks::telling;

on_cores! {
    attributes_are_set_and_told,
    a_back_end_binds_one_that_has_not_logged_in,
    one_that_is_unbound_has_a_time_for_its_login,
    one_that_is_bound_elsewhere_keeps_its_id,
    connections_are_listed_page_by_page,
    the_fullest_come_first,
    binding_has_a_right_of_its_own,
}

/// Has a request of this method answered, and says its status and body.
pub async fn request(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let address = server.address("http", "page");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    let response = exchange(address, &request).await;
    (response.status, response.json())
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (
        answer.0,
        answer.1["error"]["code"].as_str().unwrap_or("none"),
    )
}

/// All connections that a list has, page by page.
async fn list(server: &Server, query: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/connections?limit={limit}{query}{cursor}");
        let page = read(server, &path).await;
        let found = page["connections"].as_array().expect("a list");
        assert!(found.len() <= limit, "{page}");
        all.extend(found.iter().cloned());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

async fn attributes_are_set_and_told(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[("ATTRIBUTES_BYTES_MAX", "30")]).await;
    let one = server.push("ws", "tom").await;
    bound(&server, 1).await;
    let id = id_of(&server, "tom", &one).await;
    let path = format!("/v1/connections/{id}");
    let own = format!("{path}/attributes");
    let told = read(&server, &path).await;
    assert_eq!(told["attributes"], json!({}));
    let address = server.address("http", "page");
    let big = r#"{ "n" : 12345678901234567890 }"#;
    let head = format!(
        "PUT {own} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{big}",
        big.len()
    );
    let set = exchange(address, &head).await;
    let expected = format!(r#"{{"connection":"{id}","attributes":{{"n":12345678901234567890}}}}"#);
    assert_eq!(set.body.trim_end(), expected, "no digit is lost");
    for (method, body, now) in [
        (
            "PUT",
            json!({"a": 1, "b": [null]}),
            json!({"a": 1, "b": [null]}),
        ),
        (
            "PATCH",
            json!({"a": null, "c": "x"}),
            json!({"b": [null], "c": "x"}),
        ),
        ("PATCH", json!({}), json!({"b": [null], "c": "x"})),
        (
            "PUT",
            json!({"device": "phone"}),
            json!({"device": "phone"}),
        ),
    ] {
        let (status, told) = request(&server, method, &own, &body).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(told, json!({"connection": id, "attributes": now}));
    }
    let long = json!({"long": "x".repeat(30)});
    for (method, path, body, expected) in [
        ("PUT", &own, &long, (413, "attributes_too_large")),
        ("PATCH", &own, &long, (413, "attributes_too_large")),
        ("PUT", &own, &json!([1]), (400, "bad_request")),
        ("DELETE", &own, &json!({}), (405, "method_not_allowed")),
        (
            "PUT",
            &"/v1/connections/0-1f/attributes".to_owned(),
            &json!({}),
            (404, "no_connection"),
        ),
        (
            "PUT",
            &"/v1/connections/x/attributes".to_owned(),
            &json!({}),
            (400, "bad_connection"),
        ),
        (
            "GET",
            &"/v1/connections/0-1f".to_owned(),
            &Value::Null,
            (404, "no_connection"),
        ),
    ] {
        let answer = request(&server, method, path, body).await;
        assert_eq!(code(&answer), expected, "{method} {path} {body}");
    }
    let all = list(&server, "&uid=tom&attributes=true", 10).await;
    assert_eq!(all[0]["attributes"], json!({"device": "phone"}));
    assert!(list(&server, "", 10).await[0].get("attributes").is_none());
    drop(one);
    let events = receiver.wait(2).await;
    assert!(events[0].get("attributes").is_none());
    assert_eq!(events[1]["attributes"], json!({"device": "phone"}));
    assert_eq!(events[1]["connection"], id.as_str());
}

/// The id of the one connection that has not logged in.
async fn unbound(server: &Server, client: &Client) -> String {
    let address = client.local().to_string();
    loop {
        let all = list(server, "&unbound=true", 100).await;
        if let Some(one) = all.iter().find(|one| one["address"] == address) {
            assert_eq!(one["uid"], Value::Null);
            return one["connection"].as_str().expect("an id").to_owned();
        }
        tokio::task::yield_now().await;
    }
}

async fn a_back_end_binds_one_that_has_not_logged_in(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[("UID_POLICY", "reject")]).await;
    let uids = seed::uids(&mut seed::rng(), 6);
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for uid in &uids {
        let mut client = server.connect("ws", "push").await;
        let id = unbound(&server, &client).await;
        let attributes = json!({"of": uid});
        let own = format!("/v1/connections/{id}/attributes");
        assert_eq!(request(&server, "PUT", &own, &attributes).await.0, 200);
        // Before its login it is reached, too.
        let push = json!({"connection": id, "text": "who are you?"}).to_string();
        assert_eq!(told(&server, "/v1/push", &push).await["connections"], 1);
        client.expect("who are you?").await;
        let path = format!("/v1/connections/{id}/bind");
        let bind = request(&server, "POST", &path, &json!({"uid": uid})).await;
        assert_eq!(bind, (200, json!({"connection": id, "uid": uid})));
        // Again, it is that already.
        assert_eq!(
            request(&server, "POST", &path, &json!({"uid": uid})).await,
            bind
        );
        ids.push(id);
        clients.push(client);
    }
    for ((uid, id), client) in uids.iter().zip(&ids).zip(&mut clients) {
        let body = json!({"uid": uid, "text": "by uid"}).to_string();
        assert_eq!(told(&server, "/v1/push", &body).await["connections"], 1);
        let body = json!({"connection": id, "text": "by id"}).to_string();
        assert_eq!(told(&server, "/v1/push", &body).await["connections"], 1);
        client.expect("by uid").await;
        client.expect("by id").await;
        assert_eq!(id_of(&server, uid, client).await, *id);
        let told = read(&server, &format!("/v1/connections/{id}")).await;
        assert_eq!(told["attributes"], json!({"of": uid}));
    }
    let events = receiver.wait(uids.len()).await;
    for (event, (uid, id)) in events.iter().zip(uids.iter().zip(&ids)) {
        assert_eq!(event["event"], "connect");
        assert_eq!(
            (&event["uid"], &event["connection"]),
            (&json!(uid), &json!(id))
        );
        assert_eq!(event["attributes"], json!({"of": uid}));
    }
    // A uid that is taken.
    let mut other = server.connect("ws", "push").await;
    let id = unbound(&server, &other).await;
    let path = format!("/v1/connections/{id}/bind");
    let refused = request(&server, "POST", &path, &json!({"uid": uids[0]})).await;
    assert_eq!(code(&refused), (409, "uid_in_use"));
    other.expect_end(4002).await;
    let gone = request(&server, "POST", &path, &json!({"uid": uids[0]})).await;
    assert_eq!(code(&gone), (404, "no_connection"));
    // A connection that never has a uid.
    let bad = request(&server, "POST", &path, &json!({"uid": "all"})).await;
    assert_eq!(code(&bad), (400, "bad_uid"));
}

async fn one_that_is_unbound_has_a_time_for_its_login(cores: usize) {
    let server = Server::with(cores, &[("LOGIN_TIMEOUT", "1s")]).await;
    let mut client = server.push("ws", "tom").await;
    let mut other = server.push("ws", "tim").await;
    bound(&server, 2).await;
    let id = id_of(&server, "tom", &client).await;
    let path = format!("/v1/connections/{id}/unbind");
    for _ in 0..2 {
        let told = request(&server, "POST", &path, &json!({})).await;
        assert_eq!(told, (200, json!({"connection": id, "uid": null})));
    }
    let body = json!({"uid": "tom", "text": "x"}).to_string();
    assert_eq!(told(&server, "/v1/push", &body).await["connections"], 0);
    client.expect_end(4004).await;
    other.expect_silence().await;
}

async fn one_that_is_bound_elsewhere_keeps_its_id(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 12);
    let mut client = server.connect("ws", "push").await;
    let id = unbound(&server, &client).await;
    let path = format!("/v1/connections/{id}/bind");
    for uid in &uids {
        let bind = request(&server, "POST", &path, &json!({"uid": uid})).await;
        assert_eq!(bind.0, 200, "{}", bind.1);
        let batch: Vec<Value> = (0..5)
            .map(|nth| json!({"push": {"connection": id, "text": format!("{uid} {nth}")}}))
            .collect();
        let answers = told(&server, "/v1/batch", &Value::from(batch).to_string()).await;
        for answer in answers["answers"].as_array().expect("answers") {
            assert_eq!(answer["connections"], 1, "{answer}");
        }
        for nth in 0..5 {
            client.expect(&format!("{uid} {nth}")).await;
        }
        assert_eq!(id_of(&server, uid, &client).await, id);
    }
    let kick = json!({"connection": id}).to_string();
    assert_eq!(told(&server, "/v1/kick", &kick).await["connections"], 1);
    client.expect_end(4007).await;
}

async fn connections_are_listed_page_by_page(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 9);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(server.push("ws", uid).await);
        clients.push(server.relay("text", uid).await);
    }
    let silent = server.connect("ws", "push").await;
    bound(&server, 18).await;
    unbound(&server, &silent).await;
    for limit in [1, 4, 1_000] {
        let all = list(&server, "", limit).await;
        let ids: HashSet<&str> = all
            .iter()
            .map(|one| one["connection"].as_str().expect("an id"))
            .collect();
        assert_eq!((all.len(), ids.len()), (19, 19), "a page of {limit}");
        let of_uid = list(&server, &format!("&uid={}", uids[0]), limit).await;
        assert_eq!(of_uid.len(), 2);
        let url = format!("ws://{}", server.address("ws", "push"));
        let of_listener = list(&server, &format!("&listener={url}"), limit).await;
        assert_eq!(of_listener.len(), 10);
        assert!(of_listener.iter().all(|one| one["app"] == "push"));
    }
    for (query, expected) in [
        ("cursor=x", "bad_cursor"),
        ("cursor=ff.0", "bad_cursor"),
        ("limit=0", "bad_limit"),
        ("limit=1001", "bad_limit"),
        ("sort=since", "bad_sort"),
        ("sort=bytes_waiting&cursor=0.0", "bad_query"),
        ("unbound=1", "bad_query"),
        ("uid=tom&unbound=true", "bad_query"),
        ("listener=ws://nobody", "bad_listener"),
        ("uid=all", "bad_uid"),
        ("more=1", "bad_query"),
    ] {
        let path = format!("/v1/connections?{query}");
        let answer = request(&server, "GET", &path, &Value::Null).await;
        assert_eq!(code(&answer), (400, expected), "{query}");
    }
}

async fn the_fullest_come_first(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 4);
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(server.push("ws", uid).await);
    }
    bound(&server, 4).await;
    // Their kernels and ours take some of it; what waits for the last is the most.
    let text = "x".repeat(100_000);
    for (nth, uid) in uids.iter().enumerate().skip(2) {
        let id = id_of(&server, uid, &clients[nth]).await;
        let mut waits = 0;
        while waits < nth as u64 * 100_000 {
            let body = json!({"connection": id, "text": text}).to_string();
            assert_eq!(told(&server, "/v1/push", &body).await["connections"], 1);
            let one = read(&server, &format!("/v1/connections/{id}")).await;
            waits = one["bytes_waiting"].as_u64().expect("a number");
        }
    }
    // Their kernels may go on taking some, so it is looked at until that is over.
    let fullest = async |limit| {
        let all = list(&server, "&sort=bytes_waiting", limit).await;
        let told = |one: &Value| (one["uid"].clone(), one["bytes_waiting"].as_u64());
        all.iter().map(told).collect::<Vec<_>>()
    };
    let (all, one) = loop {
        let (all, one) = (fullest(10).await, fullest(1).await);
        if all == fullest(10).await {
            break (all, one);
        }
    };
    assert_eq!(all.len(), 4);
    for full in &uids[2..] {
        assert!(all[..2].iter().any(|it| it.0 == *full), "{all:?}");
    }
    assert!(all[0].1 >= all[1].1 && all[1].1 > Some(0), "{all:?}");
    assert_eq!(all[2].1, Some(0));
    assert_eq!(one, all[..1]);
}

async fn binding_has_a_right_of_its_own(cores: usize) {
    let file = File::new("push,kick,read pushes-and-knows-all\nbind only-binds-connections\n");
    let server = Server::with(cores, &[("BACKEND_TOKENS_FILE", file.path())]).await;
    let mut client = server.connect("ws", "push").await;
    let address = server.address("http", "page");
    let ask = async |method: &str, path: &str, token: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        exchange(address, &request).await
    };
    let all = loop {
        let all = ask(
            "GET",
            "/v1/connections?unbound=true",
            "pushes-and-knows-all",
            "",
        )
        .await;
        if all.json()["connections"][0].is_object() {
            break all.json();
        }
    };
    let id = all["connections"][0]["connection"].as_str().expect("an id");
    let path = format!("/v1/connections/{id}/bind");
    let body = "{\"uid\":\"tom\"}";
    let refused = ask("POST", &path, "pushes-and-knows-all", body).await;
    assert_eq!(error(&refused).0, 403, "{}", refused.body);
    let bind = ask("POST", &path, "only-binds-connections", body).await;
    assert_eq!(bind.status, 200, "{}", bind.body);
    let unread = ask("GET", "/v1/connections", "only-binds-connections", "").await;
    assert_eq!(error(&unread).0, 403);
    let push = "{\"uid\":\"tom\",\"text\":\"hello\"}";
    let pushed = ask("POST", "/v1/push", "pushes-and-knows-all", push).await;
    assert_eq!(pushed.json()["connections"], 1);
    client.expect("hello").await;
}
