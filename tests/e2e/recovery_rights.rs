//! Recovery obeys rights as they are now: groups that a token lets into, tokens that have ended or lost a group, and what
//! is lost amid a replay.

use std::net::SocketAddr;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::api::told;
use crate::http::{get, post};
use crate::listening::{Came, Listening};
use crate::on_cores;
use crate::server::Server;
use crate::tokens::{File, SECRET, in_seconds, server};

on_cores! {
    a_token_lets_into_its_groups,
    groups_that_a_token_has_not_are_refused,
    a_token_that_has_ended_gets_no_history,
    a_token_that_ends_amid_a_replay_ends_it,
    who_is_taken_out_of_a_group_amid_a_replay_gets_no_more_of_it,
    who_is_kicked_amid_a_replay_gets_no_more,
}

/// More than the kernel takes for one who reads nothing, in so many messages.
const MANY: usize = 220;
const BIG: usize = 40_000;

fn token(claims: &Value) -> String {
    let mut all = json!({"sub": "kim", "exp": in_seconds(600)});
    for (name, claim) in claims.as_object().expect("claims") {
        all[name] = claim.clone();
    }
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), &all, &key).expect("it signs")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Pushes, kept; where that stands.
async fn keep(server: &Server, to: Value, text: &str) -> String {
    let mut body = to;
    body["text"] = json!(text);
    body["keep"] = json!("10m");
    let answer = told(server, "/v1/push", &body.to_string()).await;
    let positions = answer["positions"].as_object().expect("positions");
    let (_, position) = positions.iter().next().expect("one");
    position.as_str().expect("a text").to_owned()
}

/// Many large messages.
async fn keep_many(server: &Server, to: &Value) {
    let big = "x".repeat(BIG);
    for number in 0..MANY {
        keep(server, to.clone(), &format!("{number} {big}")).await;
    }
}

/// Asks for all that follows a position, and reads no more of it than the head.
async fn listen_narrow(address: SocketAddr, query: &str, lines: &str) -> Listening {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let socket = socket.connect(address).await.expect("a connection");
    let request = format!("GET /v1/events?{query} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n");
    let one = Listening::over(socket, &request).await;
    assert_eq!(one.status, 200, "{}", one.head);
    one
}

/// Reads the large messages, in order, up to whatever is none of them; how many there were, and that.
async fn read_large(one: &mut Listening) -> (usize, Came) {
    let mut count = 0;
    loop {
        match one.next().await {
            Came::Comment => {}
            Came::Event(kind, data) if kind.is_empty() && data.len() > BIG => {
                assert!(data.starts_with(&format!("{count} ")), "{data:.20}");
                count += 1;
            }
            other => return (count, other),
        }
    }
}

async fn a_token_lets_into_its_groups(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "jwt", &keys, &[("ORIGINS", "none")]).await;
    let page = server.address("http", "page");
    let kim = bearer(&token(&json!({"groups": ["news", "room.*"]})));
    let query = "group=news&group=room.7";
    let mut one = Listening::ask(page, query, &kim).await;
    assert_eq!(one.status, 200, "{}", one.head);
    let news = keep(&server, json!({"group": "news"}), "1").await;
    one.expect("1").await;
    let since = one.id.clone();
    assert!(since.contains(&news), "{since}");
    drop(one);
    keep(&server, json!({"group": "room.7"}), "2").await;
    keep(&server, json!({"group": "room.8"}), "3").await;
    let mut back = Listening::ask(page, &format!("{query}&since={since}"), &kim).await;
    back.expect("2").await;
    let own = keep(&server, json!({"uid": "kim"}), "4").await;
    back.expect("4").await;
    assert!(back.id.starts_with(&own), "{}", back.id);
    // Of one that has lost a group there is no history of that, and there is of the others.
    let less = bearer(&token(&json!({"groups": ["room.7"]})));
    let back = get_with(page, &format!("{query}&since={since}"), &less).await;
    assert_eq!(back.0, 403, "{}", back.1);
    assert!(back.1.contains("group \\\"news\\\""), "{}", back.1);
    let positions: Vec<&str> = since.split(',').collect();
    let query = format!("group=room.7&since={},{}", positions[0], positions[2]);
    let mut back = Listening::ask(page, &query, &less).await;
    let mut came = [back.next().await, back.next().await];
    came.sort_by_key(|came| format!("{came:?}"));
    assert_eq!(
        came,
        ["2", "4"].map(|text| Came::Event(String::new(), text.to_owned()))
    );
}

/// Status and body of what is refused.
async fn get_with(address: SocketAddr, query: &str, lines: &str) -> (u16, String) {
    let token = lines.trim_end().rsplit_once(' ').map_or("", |it| it.1);
    let path = format!("/v1/events?{query}&token={token}");
    let answer = get(address, &path).await;
    (answer.status, answer.body)
}

async fn groups_that_a_token_has_not_are_refused(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "jwt", &keys, &[("ORIGINS", "none")]).await;
    let page = server.address("http", "page");
    let many: Vec<String> = (0..65).map(|number| format!("g{number}")).collect();
    for (claims, words) in [
        (json!({}), "has no groups"),
        (json!({"groups": null}), "has no groups"),
        (json!({"groups": "news"}), "no list of strings"),
        (json!({"groups": ["news", 7]}), "no list of strings"),
        (json!({"groups": many}), "more than 64 groups"),
        (json!({"groups": []}), "have it not"),
        (json!({"groups": ["new", "news.*", "News"]}), "have it not"),
    ] {
        let token = token(&claims);
        let (status, body) = get_with(page, "group=news", &bearer(&token)).await;
        assert_eq!(status, 403, "{claims}: {body}");
        assert!(body.contains("forbidden_group"), "{claims}: {body}");
        assert!(body.contains("group \\\"news\\\""), "{claims}: {body}");
        assert!(body.contains(words), "{claims}: {body}");
        // Without groups such a token is as good as any.
        let one = Listening::ask(page, "", &bearer(&token)).await;
        assert_eq!(one.status, 200, "{claims}: {}", one.head);
    }
}

async fn a_token_that_has_ended_gets_no_history(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "jwt", &keys, &[("ORIGINS", "none")]).await;
    let page = server.address("http", "page");
    let short = token(&json!({"exp": in_seconds(3), "groups": ["news"]}));
    let mut one = Listening::ask(page, "group=news", &bearer(&short)).await;
    assert_eq!(one.status, 200, "{}", one.head);
    one.expect_close(4008).await;
    keep(&server, json!({"uid": "kim"}), "for kim").await;
    keep(&server, json!({"group": "news"}), "for news").await;
    let query = format!("group=news&since={}", one.id);
    let (status, body) = get_with(page, &query, &bearer(&short)).await;
    assert_eq!(status, 401, "{body}");
    assert!(!body.contains("for "), "{body}");
    let long = token(&json!({"groups": ["news"]}));
    let mut back = Listening::ask(page, &query, &bearer(&long)).await;
    let mut came = [back.next().await, back.next().await];
    came.sort_by_key(|came| format!("{came:?}"));
    let all = ["for kim", "for news"];
    assert_eq!(
        came,
        all.map(|text| Came::Event(String::new(), text.to_owned()))
    );
}

async fn a_token_that_ends_amid_a_replay_ends_it(cores: usize) {
    let keys = File::new(SECRET);
    let server = server(cores, "jwt", &keys, &[("ORIGINS", "none")]).await;
    let page = server.address("http", "page");
    let first = keep(&server, json!({"uid": "kim"}), "first").await;
    keep_many(&server, &json!({"uid": "kim"})).await;
    let short = bearer(&token(&json!({"exp": in_seconds(3)})));
    let mut one = listen_narrow(page, &format!("since={first}"), &short).await;
    server.wait_closed("authorization expired", 1).await;
    let (count, end) = read_large(&mut one).await;
    assert!(count < MANY, "all of it came");
    let told = matches!(&end, Came::Event(kind, _) if kind == "close");
    assert!(told || end == Came::End, "{end:?}");
}

async fn who_is_taken_out_of_a_group_amid_a_replay_gets_no_more_of_it(cores: usize) {
    let server = Server::start(cores).await;
    let page = server.address("http", "page");
    let first = keep(&server, json!({"group": "g"}), "first").await;
    keep_many(&server, &json!({"group": "g"})).await;
    let query = format!("uid=kim&group=g&since=nonsense,{first}");
    let mut one = listen_narrow(page, &query, "").await;
    assert!(matches!(one.next().await, Came::Event(kind, _) if kind == "gap"));
    let body = json!({"uid": "kim"}).to_string();
    let left = told(&server, "/v1/groups/g/leave", &body).await;
    assert_eq!(left["connections"], json!(1), "{left}");
    keep(&server, json!({"group": "g"}), "not for kim").await;
    keep(&server, json!({"uid": "kim"}), "for kim").await;
    let (count, next) = read_large(&mut one).await;
    assert!(count < MANY, "all of it came");
    assert_eq!(next, Came::Event(String::new(), "for kim".to_owned()));
    // In it again, it is told that it has not all of it.
    let joined = told(&server, "/v1/groups/g/join", &body).await;
    assert_eq!(joined["connections"], json!(1), "{joined}");
    let top = keep(&server, json!({"group": "g"}), "again").await;
    let Came::Event(kind, data) = one.next().await else {
        panic!("it ended");
    };
    let gap: Value = serde_json::from_str(&data).expect("JSON");
    assert_eq!(
        (kind.as_str(), &gap["first"]),
        ("gap", &json!(top)),
        "{data}"
    );
    one.expect("again").await;
    assert!(one.id.ends_with(&top), "{}", one.id);
}

async fn who_is_kicked_amid_a_replay_gets_no_more(cores: usize) {
    let server = Server::start(cores).await;
    let page = server.address("http", "page");
    let first = keep(&server, json!({"uid": "kim"}), "first").await;
    keep_many(&server, &json!({"uid": "kim"})).await;
    let mut one = listen_narrow(page, &format!("uid=kim&since={first}"), "").await;
    let body = json!({"uid": "kim", "forget": true}).to_string();
    let kicked = post(page, "/v1/kick", crate::http::JSON, &body).await;
    assert_eq!(kicked.status, 200, "{kicked:?}");
    let (count, end) = read_large(&mut one).await;
    assert!(count < MANY, "all of it came");
    let told = matches!(&end, Came::Event(kind, _) if kind == "close");
    assert!(told || end == Came::End, "{end:?}");
}
