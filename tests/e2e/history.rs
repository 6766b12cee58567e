//! What is kept, read and thrown away over HTTP.

use serde_json::{Value, json};

use crate::api::{error, read, told};
use crate::http::{Response, exchange, get};
use crate::listening::{Came, Listening};
use crate::on_cores;
use crate::server::Server;

on_cores! {
    a_stream_is_read_page_by_page_from_either_end,
    each_kind_of_stream_has_its_own,
    what_is_not_all_there_is_a_gap,
    what_is_thrown_away_is_gone_and_told,
    a_kick_forgets_if_it_is_to,
    a_sticky_member_by_events_hears_its_group_and_recovers_where_it_follows,
    requests_that_make_no_sense,
}

async fn keep(server: &Server, path: &str, mut body: Value) -> Value {
    body["keep"] = json!("10m");
    told(server, path, &body.to_string()).await
}

async fn delete(server: &Server, path: &str) -> Response {
    let address = server.address("http", "page");
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(address, &request).await
}

fn texts(page: &Value) -> Vec<&str> {
    let messages = page["messages"].as_array().expect("messages");
    messages
        .iter()
        .map(|message| message["text"].as_str().expect("a text"))
        .collect()
}

fn position(page: &Value, nth: usize) -> &str {
    page["messages"][nth]["position"]
        .as_str()
        .expect("a position")
}

async fn a_stream_is_read_page_by_page_from_either_end(cores: usize) {
    let server = Server::start(cores).await;
    let mut last = Value::Null;
    for nth in 0..5 {
        let body = json!({"uid": "a b", "text": format!("m{nth}")});
        last = keep(&server, "/v1/push", body).await["positions"]["a b"].clone();
    }
    let whole = read(&server, "/v1/history?uid=a%20b").await;
    assert_eq!(texts(&whole), ["m0", "m1", "m2", "m3", "m4"]);
    assert_eq!(whole["top"], last);
    assert_eq!(position(&whole, 4), last.as_str().expect("a text"));
    let first = read(&server, "/v1/history?uid=a+b&limit=2").await;
    assert_eq!(texts(&first), ["m0", "m1"]);
    // As EventSource and URLSearchParams write it.
    let since = position(&first, 1).replace(':', "%3A");
    let path = format!("/v1/history?uid=a%20b&limit=2&since={since}");
    assert_eq!(texts(&read(&server, &path).await), ["m2", "m3"]);
    let newest = read(&server, "/v1/history?uid=a%20b&limit=2&reverse=true").await;
    assert_eq!(texts(&newest), ["m4", "m3"]);
    let path = format!("/v1/history?uid=a%20b&since={}", position(&whole, 4));
    let end = read(&server, &path).await;
    assert!(texts(&end).is_empty() && end.get("gap").is_none(), "{end}");
}

async fn each_kind_of_stream_has_its_own(cores: usize) {
    let server = Server::start(cores).await;
    keep(
        &server,
        "/v1/push",
        json!({"uid": "n", "data": {"of": "uid", "n": 1.50}}),
    )
    .await;
    keep(
        &server,
        "/v1/push",
        json!({"group": "n", "data": "of group"}),
    )
    .await;
    keep(&server, "/v1/broadcast", json!({"text": "of all"})).await;
    told(&server, "/v1/push", r#"{"uid":"n","text":"not kept"}"#).await;
    let page = read(&server, "/v1/history?uid=n").await;
    assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
    // As it was written.
    assert_eq!(
        page["messages"][0]["data"].to_string(),
        r#"{"n":1.5,"of":"uid"}"#
    );
    let page = read(&server, "/v1/history?group=n").await;
    assert_eq!(texts(&page), [r#""of group""#]);
    assert_eq!(
        texts(&read(&server, "/v1/history?uid=all").await),
        ["of all"]
    );
    let page = read(&server, "/v1/history?uid=nobody").await;
    assert!(texts(&page).is_empty(), "{page}");
    assert!(page["top"].as_str().expect("a position").ends_with(":0"));
}

async fn what_is_not_all_there_is_a_gap(cores: usize) {
    let rules = r#"
[[history]]
kind = "uid"
name = "u"
size = 2
ttl = "10m"
"#;
    let server = Server::keeping(cores, "websocket", "", rules).await;
    let push = |text: &'static str| {
        let body = json!({"uid": "u", "text": text}).to_string();
        told(&server, "/v1/push", Box::leak(body.into_boxed_str()))
    };
    let first = push("m0").await["positions"]["u"].clone();
    for text in ["m1", "m2", "m3"] {
        push(text).await;
    }
    for since in [
        first.as_str().expect("a text"),
        "what-is-none",
        "zzzzzzzzzz:1",
    ] {
        let page = read(&server, &format!("/v1/history?uid=u&since={since}")).await;
        assert_eq!(texts(&page), ["m2", "m3"], "since {since}");
        assert_eq!(page["gap"]["first"], page["messages"][0]["position"]);
        assert_eq!(page["gap"]["top"], page["top"]);
    }
}

async fn what_is_thrown_away_is_gone_and_told(cores: usize) {
    let server = Server::start(cores).await;
    let mut at = Value::Null;
    for nth in 0..3 {
        let body = json!({"group": "g", "text": format!("m{nth}")});
        let answer = keep(&server, "/v1/push", body).await;
        at = match nth {
            0 => answer["positions"]["g"].clone(),
            _ => at,
        };
    }
    let answer = delete(&server, "/v1/history?group=g").await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"forgotten": 3}))
    );
    let page = read(&server, "/v1/history?group=g").await;
    assert!(texts(&page).is_empty(), "{page}");
    // The stream lives on, and who missed something is told.
    let at = at.as_str().expect("a position");
    let listener = server.address("http", "page");
    let query = format!("uid=c&group=g&since=none,{at}");
    let mut client = Listening::ask(listener, &query, "").await;
    loop {
        match client.next().await {
            Came::Comment => {}
            Came::Event(kind, data) => {
                assert_eq!(kind, "gap", "{data}");
                if data.contains(&format!("\"asked\":\"{at}\"")) {
                    break;
                }
            }
            Came::End => panic!("it ended"),
        }
    }
    let answer = keep(&server, "/v1/push", json!({"group": "g", "text": "m3"})).await;
    assert!(
        answer["positions"]["g"]
            .as_str()
            .expect("one")
            .ends_with(":4")
    );
    client.expect("m3").await;
}

async fn a_kick_forgets_if_it_is_to(cores: usize) {
    let server = Server::start(cores).await;
    for nth in 0..3 {
        keep(
            &server,
            "/v1/push",
            json!({"uid": "u", "text": format!("m{nth}")}),
        )
        .await;
    }
    let _client = server.push("ws", "u").await;
    server.wait_online("u").await;
    let answer = told(&server, "/v1/kick", r#"{"uid":"u"}"#).await;
    assert_eq!(answer, json!({"connections": 1}));
    assert_eq!(texts(&read(&server, "/v1/history?uid=u").await).len(), 3);
    let batch = r#"[{"kick":{"uid":"u","forget":true}},{"kick":{"uid":"u","forget":false}}]"#;
    let answer = told(&server, "/v1/batch", batch).await;
    let expected = json!([{"connections": 0, "forgotten": 3}, {"connections": 0}]);
    assert_eq!(answer["answers"], expected);
    assert!(texts(&read(&server, "/v1/history?uid=u").await).is_empty());
}

async fn requests_that_make_no_sense(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    for (query, code) in [
        ("", "bad_query"),
        ("?uid=a&group=b", "bad_query"),
        ("?uid=a&uid=b", "bad_query"),
        ("?uid=a&cursor=b", "bad_query"),
        ("?uid=", "bad_uid"),
        ("?uid=%ff", "bad_uid"),
        ("?group=all", "bad_group"),
        ("?uid=a&limit=0", "bad_limit"),
        ("?uid=a&limit=1001", "bad_limit"),
        ("?uid=a&reverse=yes", "bad_query"),
    ] {
        let response = get(address, &format!("/v1/history{query}")).await;
        assert_eq!(error(&response), (400, code.to_owned()), "{query}");
    }
    for query in ["", "?uid=", "?uid=a&since=b"] {
        let response = delete(&server, &format!("/v1/history{query}")).await;
        assert_eq!(response.status, 400, "{query}");
    }
}

/// A sticky member is in whenever it listens. What was sent while it was away comes back where it follows the group by its
/// query; else it can be read.
async fn a_sticky_member_by_events_hears_its_group_and_recovers_where_it_follows(cores: usize) {
    let server = Server::start(cores).await;
    let page = server.address("http", "page");
    let sticky = json!({"uid": "tom", "sticky": true}).to_string();
    told(&server, "/v1/groups/news/join", &sticky).await;
    let to_news = |text: &str| json!({"group": "news", "text": text});
    keep(&server, "/v1/push", to_news("zero")).await;
    let mut plain = Listening::ask(page, "uid=tom", "").await;
    let mut follows = Listening::ask(page, "uid=tom&group=news", "").await;
    while read(&server, "/v1/groups/news").await["members"]["tom"] != 2 {
        tokio::task::yield_now().await;
    }
    keep(&server, "/v1/push", to_news("one")).await;
    plain.expect("one").await;
    follows.expect("one").await;
    let was = follows.id.clone();
    drop((plain, follows));
    server.wait_offline("tom").await;
    keep(&server, "/v1/push", to_news("two")).await;
    let mut plain = Listening::ask(page, "uid=tom", "").await;
    let query = format!("uid=tom&group=news&since={was}");
    let mut follows = Listening::ask(page, &query, "").await;
    follows.expect("two").await;
    while read(&server, "/v1/groups/news").await["members"]["tom"] != 2 {
        tokio::task::yield_now().await;
    }
    keep(&server, "/v1/push", to_news("three")).await;
    follows.expect("three").await;
    plain.expect("three").await;
    let kept = read(&server, "/v1/history?group=news").await;
    assert_eq!(texts(&kept), ["zero", "one", "two", "three"]);
    follows.expect_silence().await;
    plain.expect_silence().await;
}
