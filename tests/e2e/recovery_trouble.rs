//! Recovery in trouble: two back ends with one id, a slow consumer that comes back, a server that is started anew under
//! load, and clients that compress.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::time::sleep;

use crate::api::{read, told};
use crate::codec_deflate::inflate;
use crate::listening::{Came, Listening};
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, masked};
use crate::seed;
use crate::server::Server;

on_cores! {
    one_id_from_two_back_ends_is_kept_once,
    a_slow_consumer_comes_back_with_what_it_was_written_last,
    a_server_started_anew_under_load_tells_everybody,
    what_waits_and_what_is_kept_comes_to_clients_that_compress,
}

/// Pushes, kept.
async fn keep(server: &Server, to: &Value, text: &str) -> Value {
    let mut body = to.clone();
    body["text"] = json!(text);
    body["keep"] = json!("10m");
    told(server, "/v1/push", &body.to_string()).await
}

async fn one_id_from_two_back_ends_is_kept_once(cores: usize) {
    let server = Server::start(cores).await;
    let mut random = seed::rng();
    for round in 0..8 {
        let uid = seed::uid(&mut random);
        let query = format!("uid={uid}&group=g{round}");
        let mut one = Listening::ask(server.address("http", "page"), &query, "").await;
        assert_eq!(one.status, 200, "{}", one.head);
        for to in [json!({"uid": uid}), json!({"group": format!("g{round}")})] {
            let mut body = to.clone();
            body["text"] = json!("once");
            body["keep"] = json!("10m");
            body["id"] = json!(format!("{round} {to}"));
            let body = body.to_string();
            // Each by a connection, and so maybe a core, of its own; some while the first is under way.
            let asking = (0..8).map(|_| told(&server, "/v1/push", &body));
            let answers = futures_util::future::join_all(asking).await;
            let positions: Vec<&Value> = answers.iter().map(|it| &it["positions"]).collect();
            assert!(positions[0].is_object(), "{}", answers[0]);
            assert!(
                positions.iter().all(|it| *it == positions[0]),
                "{answers:?}"
            );
            one.expect("once").await;
        }
        one.expect_silence().await;
        for of in [format!("uid={uid}"), format!("group=g{round}")] {
            let page = read(&server, &format!("/v1/history?{of}")).await;
            assert_eq!(page["messages"].as_array().map(Vec::len), Some(1), "{page}");
        }
    }
}

async fn a_slow_consumer_comes_back_with_what_it_was_written_last(cores: usize) {
    let server = Server::with(cores, &[("OUTBOX_BYTES_MAX", "200000")]).await;
    let address = server.address("http", "page");
    let big = "x".repeat(30_000);
    let uid = seed::uid(&mut seed::rng());
    let to = json!({"uid": uid});
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let socket = socket.connect(address).await.expect("a connection");
    let request = format!("GET /v1/events?uid={uid} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut one = Listening::over(socket, &request).await;
    assert_eq!(one.status, 200, "{}", one.head);
    let mut sent = 0;
    while server.closed("slow consumer").await == 0 {
        keep(&server, &to, &format!("{sent} {big}")).await;
        sent += 1;
        assert!(sent < 2_000, "60 MB are waiting for one connection");
    }
    for _ in 0..20 {
        keep(&server, &to, &format!("{sent} {big}")).await;
        sent += 1;
    }
    // What the kernel had of it comes, whole events and in order, and then the end.
    let mut came = 0;
    while let Came::Event(kind, data) = one.next().await {
        if kind == "close" {
            continue;
        }
        assert_eq!((kind.as_str(), data), ("", format!("{came} {big}")));
        came += 1;
    }
    assert!(came < sent, "it was no slow consumer");
    let query = format!("uid={uid}&since={}", one.id);
    let mut back = Listening::ask(address, &query, "").await;
    assert_eq!(back.status, 200, "{}", back.head);
    for number in came..sent {
        back.expect(&format!("{number} {big}")).await;
    }
    back.expect_silence().await;
}

/// Which of a client's positions an event has moved, by their place; of a message, its number.
struct Reader {
    one: Listening,
    ids: Vec<String>,
}

impl Reader {
    async fn come(server: &Server, query: &str) -> Reader {
        let one = Listening::ask(server.address("http", "page"), query, "").await;
        assert_eq!(one.status, 200, "{}", one.head);
        Reader {
            one,
            ids: Vec::new(),
        }
    }

    /// The next message or gap: whether it is a gap, and of what; or where it is from and its number.
    async fn next(&mut self) -> (bool, String, usize) {
        loop {
            match self.one.next().await {
                Came::Comment => {}
                Came::End => panic!("it ended"),
                Came::Event(kind, data) if kind == "gap" => {
                    let gap: Value = serde_json::from_str(&data).expect("JSON");
                    let name = gap["name"].as_str().expect("a name").to_owned();
                    let (_, offset) = gap["top"]
                        .as_str()
                        .and_then(|top| top.split_once(':'))
                        .expect("a top");
                    return (true, name, offset.parse().expect("a number"));
                }
                Came::Event(kind, data) => {
                    assert_eq!(kind, "", "{data}");
                    self.ids.push(self.one.id.clone());
                    let (name, number) = data.split_once(' ').expect("a name and a number");
                    return (false, name.to_owned(), number.parse().expect("a number"));
                }
            }
        }
    }
}

async fn a_server_started_anew_under_load_tells_everybody(cores: usize) {
    const CLIENTS: usize = 12;
    let mut random = seed::rng();
    let uids = seed::uids(&mut random, CLIENTS);
    let addresses: Vec<(String, Value)> = uids
        .iter()
        .map(|uid| (uid.clone(), json!({"uid": uid})))
        .chain([("g".to_owned(), json!({"group": "g"}))])
        .collect();
    let query = |uid: &str, since: &str| format!("uid={uid}&group=g&since={since}");
    let first = Server::start(cores).await;
    let mut clients = Vec::new();
    for uid in &uids {
        clients.push(Reader::come(&first, &query(uid, "")).await);
    }
    for number in 1..=20 {
        for (name, to) in &addresses {
            keep(&first, to, &format!("{name} {number}")).await;
        }
    }
    // Each has read some of it, and is amid more.
    for client in &mut clients {
        for _ in 0..10 {
            let (is_gap, ..) = client.next().await;
            assert!(!is_gap);
        }
    }
    let ids: Vec<String> = clients.iter().map(|one| one.one.id.clone()).collect();
    drop((clients, first));
    let second = Server::start(cores).await;
    let load = async {
        for number in 1..=40 {
            for (name, to) in &addresses {
                keep(&second, to, &format!("{name} {number}")).await;
            }
        }
    };
    let coming = async {
        let mut back = Vec::new();
        for (uid, id) in uids.iter().zip(&ids) {
            back.push(Reader::come(&second, &query(uid, id)).await);
            sleep(Duration::from_millis(random.u64(0..10))).await;
        }
        back
    };
    let ((), mut back) = tokio::join!(load, coming);
    for (client, uid) in back.iter_mut().zip(&uids) {
        // Offsets and numbers are the same: of each stream a gap is told, and from its top on everything comes.
        let mut next: HashMap<String, usize> = HashMap::new();
        while next.len() < 2 || next.values().any(|next| *next <= 40) {
            let (is_gap, name, number) = client.next().await;
            assert!(name == *uid || name == "g", "{name} is not for {uid}");
            match is_gap {
                true => assert_eq!(next.insert(name, number + 1), None, "told twice"),
                false => {
                    let wanted = next.get_mut(&name);
                    let wanted = wanted.unwrap_or_else(|| panic!("{uid} was not told of {name}"));
                    assert_eq!(number, *wanted, "of {name}");
                    *wanted += 1;
                }
            }
        }
    }
}

async fn what_waits_and_what_is_kept_comes_to_clients_that_compress(cores: usize) {
    let rules = r#"
[[history]]
kind = "uid"
size = 1000
ttl = "10m"
offline = "queue"
"#;
    let server = Server::keeping(cores, "websocket", "compress = true", rules).await;
    let mut backend = server.backend().await;
    let line = |number: usize| {
        let items = r#"{"name":"something","price":12.5},"#.repeat(1 + number % 40);
        format!("{{\"uid\":\"kim\",\"n\":{number},\"items\":[{items}0]}}")
    };
    for number in 0..60 {
        assert_eq!(backend.ask(&line(number)).await, "ok");
    }
    let mut raw = Raw::dial(server.address("ws", "push")).await;
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let head = raw.shake_hands_with(offer).await;
    assert!(head.contains("permessage-deflate"), "{head}");
    raw.write(&masked(FIN | TEXT, b"kim")).await;
    // Or what has waited went to the other one.
    server.wait_online("kim").await;
    // Beside it one without compression, so that messages are for several.
    let mut plain = server.push("ws", "kim").await;
    let mut compressed = 0;
    for number in 0..100 {
        if number >= 60 {
            assert_eq!(backend.ask(&line(number)).await, "ok");
        }
        let frame = raw.next().await.expect("a frame");
        let body = match frame.first & 0x40 {
            0 => frame.body,
            _ => {
                compressed += 1;
                inflate(&frame.body)
            }
        };
        assert_eq!(String::from_utf8(body).expect("text"), line(number));
    }
    assert!(compressed > 10, "only {compressed} were compressed");
    // The other one may have taken over what this one's kernel had not acknowledged yet, and has what is newer.
    let mut last = String::new();
    while last != line(99) {
        last = plain.text().await;
    }
}
