//! The live log (`GET /v1/log`): what it shows, to whom, and what those who look do to the others.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

use crate::api::{error, told};
use crate::client::PATIENCE;
use crate::http::get;
use crate::listening::{Came, Listening};
use crate::on_cores;
use crate::server::Server;
use crate::tokens::File;

/// As many as may look.
const LOOKERS_MAX: usize = 8;

on_cores! {
    what_happens_is_shown_in_order,
    each_sees_what_it_asks_for,
    a_text_back_ends_pushes_are_shown,
    who_looks_needs_the_right_to_read,
    as_many_look_as_may_and_those_that_go_make_room,
    one_that_does_not_read_is_told_what_it_has_missed,
    a_server_that_stops_ends_the_log,
    the_command_and_curl_show_it,
}

/// One that looks.
struct Looker(Listening);

impl Looker {
    async fn new(server: &Server, query: &str) -> Looker {
        let looker = Looker::ask(server, query, "").await;
        assert_eq!(looker.0.status, 200, "{}", looker.0.head);
        assert!(looker.0.has("content-type: text/event-stream"));
        looker
    }

    async fn ask(server: &Server, query: &str, lines: &str) -> Looker {
        let address = server.address("http", "page");
        let socket = TcpStream::connect(address).await.expect("a connection");
        Looker(Listening::over(socket, &request(server, query, lines)).await)
    }

    /// The next event, without when it was.
    async fn next(&mut self) -> Value {
        loop {
            match self.0.next().await {
                Came::Comment => {}
                Came::Event(kind, data) => {
                    assert_eq!(kind, "");
                    let mut event: Value = serde_json::from_str(&data).expect("JSON");
                    let at = event.as_object_mut().and_then(|event| event.remove("at"));
                    let at = at.unwrap_or_default();
                    let is_time = at
                        .as_str()
                        .is_some_and(|at| at.len() == 24 && at.ends_with('Z'));
                    assert!(is_time || event["kind"] == "dropped", "{at} {event}");
                    return event;
                }
                Came::End => panic!("the log has ended"),
            }
        }
    }

    /// The kinds of the next ones.
    async fn kinds(&mut self, count: usize) -> Vec<String> {
        let mut kinds = Vec::new();
        for _ in 0..count {
            kinds.push(
                self.next().await["kind"]
                    .as_str()
                    .expect("a kind")
                    .to_owned(),
            );
        }
        kinds
    }

    async fn ends(&mut self) {
        while self.0.next().await != Came::End {}
    }
}

fn request(server: &Server, query: &str, lines: &str) -> String {
    let address = server.address("http", "page");
    format!("GET /v1/log{query} HTTP/1.1\r\nHost: {address}\r\n{lines}\r\n")
}

async fn what_happens_is_shown_in_order(cores: usize) {
    let server = Server::start(cores).await;
    let mut looker = Looker::new(&server, "").await;
    let client = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    let url = format!("ws://{}", server.address("ws", "push"));
    let open = looker.next().await;
    let connection = open["connection"].clone();
    let place = json!({
        "connection": connection, "address": client.local().to_string(), "app": "push", "listener": url
    });
    let with = |more: Value| {
        let mut event = place.clone();
        let fields = event.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        event
    };
    assert_eq!(open, with(json!({"kind": "open"})));
    assert_eq!(
        looker.next().await,
        with(json!({"kind": "connect", "uid": "tom"}))
    );

    told(&server, "/v1/push", r#"{"uid":"tom","text":"hello"}"#).await;
    let push = json!({"kind": "push", "uid": "tom", "connections": 1, "bytes": 5});
    assert_eq!(looker.next().await, push);
    told(
        &server,
        "/v1/push",
        r#"{"uids":["tom","nobody"],"text":"hello"}"#,
    )
    .await;
    let mut both = [looker.next().await, looker.next().await];
    both.sort_by_key(|event| event["connections"].as_u64());
    let none = json!({"kind": "push", "uid": "nobody", "connections": 0, "bytes": 5});
    assert_eq!(both, [none, push]);
    told(&server, "/v1/groups/news/join", r#"{"uid":"tom"}"#).await;
    told(&server, "/v1/push", r#"{"group":"news","data":{"a":1}}"#).await;
    let group = json!({"kind": "push", "group": "news", "connections": 1, "bytes": 7});
    assert_eq!(looker.next().await, group);
    let to_one = json!({"connection": connection, "text": "x"}).to_string();
    told(&server, "/v1/push", &to_one).await;
    let one = json!({"kind": "push", "connection": connection, "connections": 1, "bytes": 1});
    assert_eq!(looker.next().await, one);
    told(&server, "/v1/broadcast", r#"{"text":"é"}"#).await;
    let all = json!({"kind": "push", "all": true, "connections": 1, "bytes": 2});
    assert_eq!(looker.next().await, all);
    told(
        &server,
        "/v1/push",
        r#"{"uid":"tom","text":"x","keep":"1m"}"#,
    )
    .await;
    let kept = json!({"kind": "push", "uid": "tom", "connections": 1, "bytes": 1, "kept": true});
    assert_eq!(looker.next().await, kept);

    told(&server, "/v1/kick", r#"{"uid":"tom"}"#).await;
    let kick = json!({"kind": "kick", "uid": "tom", "connections": 1});
    assert_eq!(looker.next().await, kick);
    let mut end = looker.next().await;
    let seconds = end.as_object_mut().and_then(|end| end.remove("seconds"));
    assert!(seconds.is_some_and(|seconds| seconds.as_u64().is_some()));
    let kicked = json!({"kind": "disconnect", "uid": "tom", "reason": "kicked", "code": 4007});
    assert_eq!(end, with(kicked));
    // One that has not logged in ends without a uid; one that loses its uid stays.
    server.connect("ws", "push").await.close().await;
    assert_eq!(looker.kinds(2).await, ["open", "disconnect"]);
    let _client = server.push("ws", "ann").await;
    server.wait_online("ann").await;
    assert_eq!(looker.next().await["kind"], "open");
    let connection = looker.next().await["connection"].clone();
    let path = format!(
        "/v1/connections/{}/unbind",
        connection.as_str().expect("an id")
    );
    told(&server, &path, "{}").await;
    let unbound = looker.next().await;
    assert_eq!(
        (&unbound["reason"], &unbound["uid"]),
        (&json!("unbound"), &json!("ann"))
    );
}

async fn each_sees_what_it_asks_for(cores: usize) {
    let server = Server::start(cores).await;
    let listener = format!("listener=ws%3A%2F%2F{}", server.address("ws", "relay"));
    let mut tom = Looker::new(&server, "?uid=tom").await;
    let mut ends = Looker::new(&server, "?kind=disconnect,kick").await;
    let mut news = Looker::new(&server, "?group=news&data=true").await;
    let mut relay = Looker::new(&server, &format!("?{listener}")).await;
    let one = server.push("ws", "tom").await;
    let two = server.relay("ws", "ann").await;
    for uid in ["tom", "ann"] {
        server.wait_online(uid).await;
    }
    let long = "水".repeat(400);
    for body in [
        json!({"uid": "ann", "text": "x"}),
        json!({"uid": "tom", "text": "x"}),
        json!({"group": "other", "text": "x"}),
        json!({"group": "news", "text": long}),
    ] {
        told(&server, "/v1/push", &body.to_string()).await;
    }
    one.close().await;
    two.close().await;
    // One that has not logged in has no uid.
    assert_eq!(tom.kinds(3).await, ["connect", "push", "disconnect"]);
    assert_eq!(ends.kinds(2).await, ["disconnect", "disconnect"]);
    let push = news.next().await;
    let shown = json!({
        "kind": "push", "group": "news", "connections": 0, "bytes": 1200, "text": "水".repeat(341), "cut": true
    });
    assert_eq!(push, shown);
    assert_eq!(relay.kinds(3).await, ["open", "connect", "disconnect"]);
    for (query, code) in [
        ("kind=pushes", "bad_kind"),
        ("kind=push,", "bad_kind"),
        ("uid=all", "bad_uid"),
        ("group=%ff", "bad_group"),
        ("listener=ws%3A%2F%2Fnowhere", "bad_listener"),
        ("data=1", "bad_query"),
        ("data=true&data=true", "bad_query"),
    ] {
        let response = get(server.address("http", "page"), &format!("/v1/log?{query}")).await;
        assert_eq!(error(&response), (400, code.into()), "{query}");
    }
}

async fn a_text_back_ends_pushes_are_shown(cores: usize) {
    let server = Server::start(cores).await;
    let _tom = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    let mut looker = Looker::new(&server, "?data=true").await;
    let mut backend = server.backend().await;
    let line = r#"{"uid":"tom","text":"é"}"#;
    assert_eq!(backend.ask(line).await, "ok");
    let shown = looker.next().await;
    let expected =
        json!({"kind": "push", "uid": "tom", "connections": 1, "bytes": line.len(), "text": line});
    assert_eq!(shown, expected);
    let line = r#"{"uid":"all","text":"x"}"#;
    assert_eq!(backend.ask(line).await, "ok");
    let shown = looker.next().await;
    let expected =
        json!({"kind": "push", "all": true, "connections": 1, "bytes": line.len(), "text": line});
    assert_eq!(shown, expected);
    assert_eq!(backend.ask(r#"{"uid":"nobody"}"#).await, "fail");
    assert_eq!(looker.next().await["connections"], 0);
}

async fn who_looks_needs_the_right_to_read(cores: usize) {
    let file = File::new("push push-token-000000001\nread read-token-000000001\n");
    let server = Server::with(cores, &[("BACKEND_TOKENS_FILE", file.path())]).await;
    for (lines, status) in [
        ("", 401),
        ("Authorization: Bearer push-token-000000001\r\n", 403),
        ("Authorization: Bearer read-token-000000001\r\n", 200),
    ] {
        let looker = Looker::ask(&server, "", lines).await;
        assert_eq!(looker.0.status, status, "{lines}");
    }
    let open = Server::start(cores).await;
    for (lines, status) in [
        ("Origin: https://elsewhere.example\r\n", 403),
        ("X-Forwarded-For: 192.0.2.7\r\n", 403),
    ] {
        let looker = Looker::ask(&open, "", lines).await;
        assert_eq!(looker.0.status, status, "{lines}");
    }
}

async fn as_many_look_as_may_and_those_that_go_make_room(cores: usize) {
    let server = Server::start(cores).await;
    let mut lookers = Vec::new();
    for _ in 0..LOOKERS_MAX {
        lookers.push(Looker::new(&server, "").await);
    }
    let one_more = Looker::ask(&server, "", "").await;
    assert_eq!(one_more.0.status, 503);
    assert!(one_more.0.has("retry-after: 10"), "{}", one_more.0.head);
    // Those that are gone without a word are noticed by the next comment or event.
    for (number, looker) in lookers.drain(..).enumerate() {
        if number % 2 == 0 {
            looker.0.socket.set_zero_linger().expect("an option");
        }
    }
    let start = Instant::now();
    let mut looker = loop {
        let looker = Looker::ask(&server, "?kind=push", "").await;
        if looker.0.status == 200 {
            break looker;
        }
        assert!(start.elapsed() < 2 * PATIENCE, "no place for another");
        sleep(Duration::from_millis(50)).await;
    };
    told(&server, "/v1/broadcast", r#"{"text":"x"}"#).await;
    assert_eq!(looker.next().await["kind"], "push");
}

async fn one_that_does_not_read_is_told_what_it_has_missed(cores: usize) {
    const PUSHES: usize = 20_000;
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let socket = socket.connect(address).await.expect("a connection");
    let query = "?kind=push&data=true";
    let mut slow = Looker(Listening::over(socket, &request(&server, query, "")).await);
    let mut backend = server.backend().await;
    let line = format!("{{\"uid\":\"nobody\",\"text\":\"{}\"}}\n", "x".repeat(900));
    let sent = tokio::spawn(async move {
        // Nobody waits for who looks: all are answered meanwhile.
        for _ in 0..PUSHES / 100 {
            backend.send_bytes(line.repeat(100).as_bytes()).await;
            for _ in 0..100 {
                backend.expect("fail").await;
            }
        }
    });
    sent.await.expect("sent");
    let (mut seen, mut dropped) = (0, 0);
    while seen + dropped < PUSHES {
        let event = slow.next().await;
        match event["kind"].as_str() {
            Some("push") => seen += 1,
            _ => dropped += event["dropped"].as_u64().expect("how many") as usize,
        }
    }
    assert_eq!(seen + dropped, PUSHES);
    assert!(dropped > 0 && seen > 0, "{seen} seen, {dropped} dropped");
    // It goes on.
    told(&server, "/v1/broadcast", r#"{"text":"x"}"#).await;
    assert_eq!(slow.next().await["all"], true);
}

async fn a_server_that_stops_ends_the_log(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut looker = Looker::new(&server, "?kind=disconnect").await;
    let _client = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    server.signal(libc::SIGTERM);
    // The ends that it causes are shown before.
    assert_eq!(looker.next().await["code"], 1001);
    looker.ends().await;
    assert!(server.wait_exit(PATIENCE).await.success());
}

async fn the_command_and_curl_show_it(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page").to_string();
    let shell = |command: String| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]);
        tokio::task::spawn_blocking(move || shell.output().expect("a shell"))
    };
    let watched = shell(format!(
        "timeout 60 {} log --to {address} --kind push --data | head -n 1",
        crate::server::binary()
    ));
    let asked = shell(format!(
        "curl -sSN --noproxy '*' --max-time 60 'http://{address}/v1/log?kind=push' | grep -m 1 data"
    ));
    let (mut watched, mut asked) = (Box::pin(watched), Box::pin(asked));
    let mut shown = Vec::new();
    while shown.len() < 2 {
        told(&server, "/v1/push", r#"{"uid":"tom","text":"a\u001bb"}"#).await;
        tokio::select! {
            output = &mut watched, if !shown.iter().any(|(name, _)| *name == "command") => {
                shown.push(("command", output.expect("an end").stdout));
            }
            output = &mut asked, if !shown.iter().any(|(name, _)| *name == "curl") => {
                shown.push(("curl", output.expect("an end").stdout));
            }
            () = sleep(Duration::from_millis(50)) => {}
        }
    }
    for (name, text) in shown {
        let text = String::from_utf8(text).expect("text");
        match name {
            "curl" => assert!(text.starts_with("data: {\"at\":\""), "{text}"),
            _ => assert!(
                text.contains("  push        tom  3 bytes to nobody  a\\u{1b}b\n"),
                "{text}"
            ),
        }
    }
}
