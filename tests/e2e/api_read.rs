//! The HTTP API: who is connected, groups, counters, and who may ask.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::api::{asked, error, number, read, told};
use crate::http::{JSON, exchange, get, post};
use crate::on_cores;
use crate::seed;
use crate::server::Server;
use crate::tokens::File;

on_cores! {
    a_uid_is_told_with_its_connections,
    every_uid_that_stays_is_listed_while_others_come_and_go,
    a_group_is_joined_pushed_to_and_left,
    a_group_is_told_up_to_a_limit,
    groups_are_listed_page_by_page,
    a_sticky_uid_is_in_from_its_bind_on,
    a_group_is_emptied,
    the_counters_are_told,
    each_route_asks_for_its_right,
    a_path_takes_its_method_alone,
    heads_that_cannot_be,
}

async fn bound(server: &Server, count: u64) {
    while server.count("bound").await != count {
        tokio::task::yield_now().await;
    }
}

async fn a_uid_is_told_with_its_connections(cores: usize) {
    let server = Server::start(cores).await;
    let uid = "a/b %?é";
    let path = "/v1/uids/a%2Fb%20%25%3f%C3%A9";
    assert_eq!(
        read(&server, path).await,
        json!({"uid": uid, "connections": 0, "list": []})
    );
    let before = humantime_now();
    let one = server.push("ws", uid).await;
    let two = server.relay("text", uid).await;
    bound(&server, 2).await;
    let after = humantime_now();
    let told = read(&server, path).await;
    assert_eq!(told["connections"], 2, "{told}");
    let list = told["list"].as_array().expect("a list");
    let of = |app: &str| {
        list.iter()
            .find(|one| one["app"] == app)
            .expect("one of it")
    };
    for (client, app, scheme) in [(&one, "push", "ws"), (&two, "relay", "text")] {
        let connection = of(app);
        assert_eq!(connection["address"], client.local().to_string());
        let url = format!("{scheme}://{}", server.address(scheme, app));
        assert_eq!(connection["listener"], url);
        assert_eq!(connection["bytes_waiting"], 0);
        let since = connection["since"].as_str().expect("a time");
        assert!(
            *before <= *since && *since <= *after,
            "{before} {since} {after}"
        );
    }
    for bad in [
        "/v1/uids/all",
        "/v1/uids/%",
        "/v1/uids/%ff",
        "/v1/uids/a%00",
    ] {
        let response = get(server.address("http", "page"), bad).await;
        assert_eq!(error(&response), (400, "bad_uid".into()), "{bad}");
    }
}

/// As the server writes it.
fn humantime_now() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

async fn every_uid_that_stays_is_listed_while_others_come_and_go(cores: usize) {
    let server = Server::start(cores).await;
    let mut random = seed::rng();
    let mut staying = Vec::new();
    for number in 0..30 {
        let uid = format!("stays {number}");
        let client = server.push("text", &uid).await;
        staying.push((uid, client));
    }
    bound(&server, 30).await;
    for limit in [1, 7, 1_000] {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut cursor: Option<String> = None;
        let mut coming = Vec::new();
        for page in 0..2_000 {
            let path = match &cursor {
                Some(cursor) => format!("/v1/uids?limit={limit}&cursor={cursor}"),
                None => format!("/v1/uids?limit={limit}"),
            };
            let told = read(&server, &path).await;
            let uids = told["uids"].as_array().expect("uids");
            assert!(uids.len() <= limit);
            for uid in uids {
                *seen
                    .entry(uid.as_str().expect("a uid").to_owned())
                    .or_default() += 1;
            }
            cursor = told["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
            // Others come, so that tables grow; and one that stays does so by another connection.
            if page < 40 {
                coming.push(server.push("text", &format!("{limit} {page}")).await);
                let (uid, client) = &mut staying[random.usize(0..30)];
                let next = server.push("text", uid).await;
                while number(&read(&server, &path_of(uid)).await["connections"]) < 2 {
                    tokio::task::yield_now().await;
                }
                std::mem::replace(client, next).close().await;
            }
        }
        assert_eq!(cursor, None, "the listing has no end");
        for (uid, _) in &staying {
            assert_eq!(seen.get(uid), Some(&1), "pages of {limit} with {uid}");
        }
    }
    for query in [
        "cursor=x",
        "cursor=99.0.0.0",
        "limit=0",
        "limit=10001",
        "limit=1&limit=1",
        "a=1",
    ] {
        let response = get(server.address("http", "page"), &format!("/v1/uids?{query}")).await;
        assert_eq!(error(&response).0, 400, "{query}");
    }
}

fn path_of(uid: &str) -> String {
    format!("/v1/uids/{}", uid.replace(' ', "%20"))
}

async fn a_group_is_joined_pushed_to_and_left(cores: usize) {
    let server = Server::with(cores, &[("GROUPS_PER_CONNECTION_MAX", "2")]).await;
    let mut clients = Vec::new();
    for uid in ["a", "a", "b", "c", "d"] {
        clients.push(server.push("ws", uid).await);
    }
    bound(&server, 5).await;
    let join = |group: &'static str, uid: &'static str| {
        let server = &server;
        async move {
            let body = json!({"uid": uid}).to_string();
            told(server, &format!("/v1/groups/{group}/join"), &body).await
        }
    };
    assert_eq!(
        join("room%201", "a").await,
        json!({"connections": 2, "refused": 0})
    );
    assert_eq!(
        join("room%201", "a").await,
        json!({"connections": 2, "refused": 0})
    );
    assert_eq!(
        join("room%201", "b").await,
        json!({"connections": 1, "refused": 0})
    );
    assert_eq!(
        join("room%201", "nobody").await,
        json!({"connections": 0, "refused": 0})
    );
    assert_eq!(
        join("2", "b").await,
        json!({"connections": 1, "refused": 0})
    );
    assert_eq!(
        join("3", "b").await,
        json!({"connections": 0, "refused": 1})
    );
    let group = read(&server, "/v1/groups/room%201").await;
    assert_eq!(
        group,
        json!({"group": "room 1", "connections": 3, "members": {"a": 2, "b": 1}, "complete": true})
    );
    let push = |text: &str| json!({"group": "room 1", "text": text}).to_string();
    assert_eq!(
        told(&server, "/v1/push", &push("hi")).await,
        json!({"connections": 3})
    );
    for client in &mut clients[..3] {
        client.expect("hi").await;
    }
    let left = told(&server, "/v1/groups/room%201/leave", r#"{"uid":"a"}"#).await;
    assert_eq!(left, json!({"connections": 2}));
    let left = told(&server, "/v1/groups/room%201/leave", r#"{"uid":"a"}"#).await;
    assert_eq!(left, json!({"connections": 0}));
    assert_eq!(
        told(&server, "/v1/push", &push("ho")).await,
        json!({"connections": 1})
    );
    clients[2].expect("ho").await;
    for client in &mut clients {
        client.expect_silence().await;
    }
    let empty = read(&server, "/v1/groups/nowhere").await;
    assert_eq!(
        empty,
        json!({"group": "nowhere", "connections": 0, "members": {}, "complete": true})
    );
}

async fn a_group_is_told_up_to_a_limit(cores: usize) {
    let server = Server::start(cores).await;
    let mut clients = Vec::new();
    for number in 0..12 {
        clients.push(server.push("text", &format!("u{number}")).await);
    }
    bound(&server, 12).await;
    let entries: Vec<Value> = (0..12)
        .map(|number| json!({"join": {"group": "g", "uid": format!("u{number}")}}))
        .collect();
    told(&server, "/v1/batch", &Value::from(entries).to_string()).await;
    for (limit, complete) in [(1, false), (11, false), (12, true), (13, true)] {
        let group = read(&server, &format!("/v1/groups/g?limit={limit}")).await;
        assert_eq!(group["connections"], 12);
        assert_eq!(group["complete"], complete, "{limit}");
        let members = group["members"].as_object().expect("members");
        assert_eq!(members.len(), limit.min(12));
    }
}

async fn groups_are_listed_page_by_page(cores: usize) {
    let server = Server::start(cores).await;
    let mut clients = Vec::new();
    for number in 0..30 {
        clients.push(server.push("text", &format!("u{number}")).await);
    }
    bound(&server, 30).await;
    assert_eq!(
        read(&server, "/v1/groups").await,
        json!({"groups": [], "cursor": null})
    );
    // Each is in two groups, and the first of them in one that is called as another's namespace would.
    let entries: Vec<Value> = (0..30)
        .flat_map(|number| {
            [
                (number, format!("g{number}")),
                (number, "all of them".to_owned()),
            ]
        })
        .map(|(number, group)| json!({"join": {"group": group, "uid": format!("u{number}")}}))
        .collect();
    told(&server, "/v1/batch", &Value::from(entries).to_string()).await;
    for limit in [1, 7, 31, 10_000] {
        let (mut seen, mut cursor) = (BTreeMap::new(), None::<String>);
        for _ in 0..1_000 {
            let path = match &cursor {
                Some(cursor) => format!("/v1/groups?limit={limit}&cursor={cursor}"),
                None => format!("/v1/groups?limit={limit}"),
            };
            let page = read(&server, &path).await;
            let groups = page["groups"].as_array().expect("groups");
            assert!(groups.len() <= limit);
            for group in groups {
                let name = group["group"].as_str().expect("a name").to_owned();
                let connections = number(&group["connections"]);
                assert_eq!(seen.insert(name, connections), None, "one twice");
            }
            cursor = page["cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 31, "pages of {limit}");
        assert_eq!(seen.remove("all of them"), Some(30));
        assert!(seen.values().all(|connections| *connections == 1));
    }
    for client in clients {
        client.close().await;
    }
    bound(&server, 0).await;
    assert_eq!(read(&server, "/v1/groups").await["groups"], json!([]));
    for query in [
        "cursor=x",
        "cursor=99.0.0.0",
        "limit=0",
        "limit=10001",
        "a=1",
    ] {
        let response = get(
            server.address("http", "page"),
            &format!("/v1/groups?{query}"),
        )
        .await;
        assert_eq!(error(&response).0, 400, "{query}");
    }
}

/// A message to the group that is sent as soon as the uid is known to be bound reaches it, on whichever core each is.
async fn a_sticky_uid_is_in_from_its_bind_on(cores: usize) {
    let server = Server::start(cores).await;
    for number in 0..10 {
        let (uid, group) = (format!("u{number}"), format!("g{number}"));
        let join = format!("/v1/groups/{group}/join");
        let sticky = json!({"uid": uid, "sticky": true}).to_string();
        assert_eq!(
            told(&server, &join, &sticky).await,
            json!({"connections": 0, "refused": 0, "sticky": true})
        );
        assert_eq!(
            read(&server, &format!("/v1/groups/{group}")).await,
            json!({"group": group, "connections": 0, "sticky": 1, "members": {}, "complete": true})
        );
        let mut client = server.push("ws", &uid).await;
        while number_of(&server, &uid).await < 1 {
            tokio::task::yield_now().await;
        }
        let push = json!({"group": group, "text": "hi"}).to_string();
        assert_eq!(
            told(&server, "/v1/push", &push).await,
            json!({"connections": 1})
        );
        client.expect("hi").await;
        let look = read(&server, &path_of(&uid)).await;
        assert_eq!(look["sticky"], json!([group]));
        // Who is there stays where only those are meant that come later, and the other way round.
        let leave = format!("/v1/groups/{group}/leave");
        let now = json!({"uid": uid, "sticky": false}).to_string();
        assert_eq!(told(&server, &leave, &now).await, json!({"connections": 1}));
        let mut second = server.push("text", &uid).await;
        while number_of(&server, &uid).await < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(
            told(&server, "/v1/push", &push).await,
            json!({"connections": 1})
        );
        second.expect("hi").await;
        let all = json!({"uid": uid}).to_string();
        assert_eq!(
            told(&server, &leave, &all).await,
            json!({"connections": 1, "sticky": true})
        );
        client.close().await;
        second.close().await;
    }
    assert_eq!(read(&server, "/v1/groups").await["groups"], json!([]));
    assert_eq!(server.count("sticky_bytes").await, 0);
}

async fn number_of(server: &Server, uid: &str) -> u64 {
    number(&read(server, &path_of(uid)).await["connections"])
}

async fn a_group_is_emptied(cores: usize) {
    let server = Server::with(cores, &[("STICKY_BYTES_CORE_MAX", "4 KiB")]).await;
    let mut clients = Vec::new();
    for uid in ["a", "b", "b", "c"] {
        clients.push(server.push("text", uid).await);
    }
    bound(&server, 4).await;
    for uid in ["a", "b", "d"] {
        let body = json!({"uid": uid, "sticky": uid != "a"}).to_string();
        told(&server, "/v1/groups/g/join", &body).await;
    }
    let emptied = told(&server, "/v1/groups/g/ungroup", "{}").await;
    assert_eq!(emptied, json!({"connections": 3, "sticky": 2}));
    let emptied = told(&server, "/v1/groups/g/ungroup", "{}").await;
    assert_eq!(emptied, json!({"connections": 0, "sticky": 0}));
    let push = json!({"group": "g", "text": "hi"}).to_string();
    assert_eq!(
        told(&server, "/v1/push", &push).await,
        json!({"connections": 0})
    );
    for client in &mut clients {
        client.expect_silence().await;
    }
    // More than there is room for is refused by name, in a batch in its place, and changes nothing.
    let entries: Vec<Value> = (0..100)
        .map(|number| json!({"join": {"group": "g", "uid": format!("x{number}"), "sticky": true}}))
        .collect();
    let answers = told(&server, "/v1/batch", &Value::from(entries).to_string()).await;
    let answers = answers["answers"].as_array().expect("answers");
    let refused = answers
        .iter()
        .filter(|answer| answer.get("error").is_some());
    let refused: Vec<&Value> = refused.collect();
    assert!(!refused.is_empty() && refused.len() < 100);
    assert!(
        refused
            .iter()
            .all(|one| one["error"]["code"] == "sticky_full"),
        "{refused:?}"
    );
    let look = read(&server, "/v1/groups/g").await;
    assert_eq!(number(&look["sticky"]) as usize, 100 - refused.len());
}

async fn the_counters_are_told(cores: usize) {
    let server = Server::start(cores).await;
    let _client = server.push("ws", "tom").await;
    bound(&server, 1).await;
    let stats = read(&server, "/v1/stats").await;
    let of_cores = stats["cores"].as_array().expect("cores");
    assert_eq!(of_cores.len(), cores);
    let sum: u64 = of_cores.iter().map(|core| number(&core["bound"])).sum();
    assert_eq!(sum, 1);
}

async fn each_route_asks_for_its_right(cores: usize) {
    let file = File::new(
        "push p-token-of-a-back-end\nkick k-token-of-a-back-end\nread r-token-of-a-back-end\n",
    );
    let server = Server::with(cores, &[("BACKEND_TOKENS_FILE", file.path())]).await;
    let address = server.address("http", "page");
    for (method, path, body, right) in [
        ("POST", "/v1/push", r#"{"uid":"u","text":"x"}"#, "p"),
        ("POST", "/v1/broadcast", r#"{"text":"x"}"#, "p"),
        ("POST", "/v1/kick", r#"{"uid":"u"}"#, "k"),
        ("POST", "/v1/groups/g/join", r#"{"uid":"u"}"#, "p"),
        ("POST", "/v1/groups/g/leave", r#"{"uid":"u"}"#, "p"),
        ("POST", "/v1/groups/g/ungroup", "{}", "p"),
        ("GET", "/v1/groups/g", "", "r"),
        ("GET", "/v1/groups", "", "r"),
        ("GET", "/v1/uids/u", "", "r"),
        ("GET", "/v1/uids", "", "r"),
        ("GET", "/v1/history?uid=u", "", "r"),
        ("DELETE", "/v1/history?uid=u", "", "p"),
        ("GET", "/v1/stats", "", "r"),
        ("POST", "/v1/batch", "[]", "pkr"),
        ("GET", "/openapi.json", "", "pkr-"),
    ] {
        for token in ["p", "k", "r", "-"] {
            let field = format!("Authorization: Bearer {token}-token-of-a-back-end\r\n{JSON}");
            let length = body.len();
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{field}\
                 Content-Length: {length}\r\n\r\n{body}"
            );
            let response = exchange(address, &request).await;
            match (right.contains(token), token) {
                (true, _) => assert_eq!(response.status, 200, "{path} {token}: {response:?}"),
                (false, "-") => assert_eq!(error(&response), (401, "unauthorized".into())),
                (false, _) => {
                    assert_eq!(error(&response), (403, "no_right".into()), "{path} {token}");
                }
            }
        }
    }
    // In a batch each entry is looked at.
    let field = format!("Authorization: Bearer k-token-of-a-back-end\r\n{JSON}");
    let batch = r#"[{"push":{"uid":"u","text":"x"}},{"kick":{"uid":"u"}},{"join":{"group":"g","uid":"u"}}]"#;
    let answers = post(address, "/v1/batch", &field, batch).await.json();
    assert_eq!(answers["answers"][0]["error"]["code"], "no_right");
    assert_eq!(answers["answers"][1], json!({"connections": 0}));
    assert_eq!(answers["answers"][2]["error"]["code"], "no_right");
}

async fn a_path_takes_its_method_alone(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    for (path, reads) in [
        ("/v1/push", false),
        ("/v1/batch", false),
        ("/v1/groups/g/join", false),
        ("/v1/groups/g", true),
        ("/v1/groups", true),
        ("/v1/uids", true),
        ("/v1/uids/u", true),
        ("/openapi.json", true),
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
                 Content-Length: 0\r\n\r\n"
            );
            let mut http = crate::http::Http::dial(address).await;
            http.write(request.as_bytes()).await;
            let response = match method {
                "HEAD" => http.head_response().await,
                _ => http.response().await,
            };
            let response = response.expect("an answer");
            let good = matches!(method, "GET" | "HEAD") == reads
                && matches!(method, "GET" | "HEAD" | "POST");
            let expected = match (good, reads) {
                (true, true) => 200,
                // Without a body of its type.
                (true, false) => 415,
                _ => 405,
            };
            assert_eq!(response.status, expected, "{method} {path}");
            if expected == 405 {
                let allowed = if reads { "get, head" } else { "post" };
                assert_eq!(response.header("allow"), Some(allowed));
            }
        }
    }
    let response = asked(&server, "/v1/nothing", "{}").await;
    assert_eq!(error(&response), (404, "not_found".into()));
}

async fn heads_that_cannot_be(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let mut seen = BTreeSet::new();
    for (lines, status, code) in [
        ("Host: evil.example\r\n".to_owned(), 421, "unknown_host"),
        (
            format!("Host: {address}\r\nOrigin: http://evil.example\r\n"),
            403,
            "foreign_origin",
        ),
        (
            format!("Host: {address}\r\nContent-Length: 99999999\r\n"),
            413,
            "body_too_large",
        ),
        (
            format!("Host: {address}\r\nX: {}\r\n", "x".repeat(20_000)),
            431,
            "head_too_large",
        ),
        ("X: no host\r\n".to_owned(), 400, "bad_request"),
    ] {
        let request = format!("GET /v1/uids HTTP/1.1\r\nConnection: close\r\n{lines}\r\n");
        let response = exchange(address, &request).await;
        assert_eq!(error(&response), (status, code.into()), "{lines:.60}");
        seen.insert(status);
    }
    assert_eq!(seen.len(), 5);
}
