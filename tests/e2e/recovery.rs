//! Recovery by Server-Sent Events: who comes back with a position gets all that it has missed, in order and once, or is
//! told of a gap.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::api::{asked, told};
use crate::listening::{Came, Listening};
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    the_answer_begins_with_a_position,
    what_was_missed_comes_in_order_and_once,
    a_position_that_is_none_is_a_gap,
    groups_and_everybody_are_recovered_beside_the_uid,
    what_is_not_kept_keeps_its_place_behind_what_is,
    what_is_gone_is_a_gap,
    a_browser_comes_back_by_the_field_not_by_its_url,
    what_is_sent_while_somebody_catches_up_comes_once,
    after_a_gap_everything_comes,
    rules_keep_what_any_port_pushes,
    clients_that_come_and_go_miss_nothing,
    who_comes_back_takes_its_own_place,
    the_log_says_why_there_is_a_gap,
}

/// Asks by the page's listener to listen.
async fn listen(server: &Server, query: &str) -> Listening {
    let one = Listening::ask(server.address("http", "page"), query, "").await;
    assert_eq!(one.status, 200, "{}", one.head);
    one
}

/// Pushes, kept for ten minutes; where that stands.
async fn keep(server: &Server, to: Value, text: &str) -> String {
    let mut body = to;
    body["text"] = json!(text);
    body["keep"] = json!("10m");
    let answer = told(server, "/v1/push", &body.to_string()).await;
    let positions = answer["positions"].as_object().expect("positions");
    let (_, position) = positions.iter().next().expect("one");
    position.as_str().expect("a text").to_owned()
}

async fn keep_for_all(server: &Server, text: &str) {
    let body = json!({"text": text, "keep": "10m"});
    let answer = told(server, "/v1/broadcast", &body.to_string()).await;
    assert!(answer["positions"]["all"].is_string(), "{answer}");
}

/// The next event is this message, and its id this position.
async fn expect_at(one: &mut Listening, text: &str, position: &str) {
    one.expect(text).await;
    assert_eq!(one.id, position, "of {text}");
}

/// The next event tells of a gap; what it says.
async fn expect_gap(one: &mut Listening) -> Value {
    loop {
        match one.next().await {
            Came::Comment => {}
            Came::Event(kind, data) => {
                assert_eq!(kind, "gap", "{data}");
                return serde_json::from_str(&data).expect("JSON");
            }
            Came::End => panic!("it ended"),
        }
    }
}

/// With no message, so that only its first block is read.
async fn first_position(one: &mut Listening, server: &Server, uid: &str) -> String {
    let body = json!({"uid": uid, "text": "first", "keep": false});
    told(server, "/v1/push", &body.to_string()).await;
    one.expect("first").await;
    one.id.clone()
}

async fn the_answer_begins_with_a_position(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut one = listen(&server, &format!("uid={uid}")).await;
    let first = first_position(&mut one, &server, &uid).await;
    assert!(first.ends_with(":0"), "{first}");
    let position = keep(&server, json!({"uid": uid}), "kept").await;
    expect_at(&mut one, "kept", &position).await;
    // What is not kept has no id of its own.
    assert_eq!(first_position(&mut one, &server, &uid).await, position);
}

async fn what_was_missed_comes_in_order_and_once(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut one = listen(&server, &format!("uid={uid}")).await;
    let unborn = first_position(&mut one, &server, &uid).await;
    drop(one);
    let mut positions = vec![unborn];
    for number in 1..=200 {
        positions.push(keep(&server, json!({"uid": uid}), &number.to_string()).await);
    }
    for since in [0, 1, 57, 198, 199, 200] {
        let query = format!("uid={uid}&since={}", positions[since].replace(':', "%3A"));
        let mut one = listen(&server, &query).await;
        for (number, position) in positions.iter().enumerate().skip(since + 1) {
            expect_at(&mut one, &number.to_string(), position).await;
        }
        let first = first_position(&mut one, &server, &uid).await;
        assert_eq!(first, *positions[200..].first().unwrap());
    }
}

async fn a_position_that_is_none_is_a_gap(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    keep(&server, json!({"uid": uid}), "1").await;
    let top = keep(&server, json!({"uid": uid}), "2").await;
    let (epoch, _) = top.split_once(':').unwrap();
    let above = format!("{epoch}:3");
    for since in [above.as_str(), "0000000000:1", "nonsense", "a,b,c,d", "%ff"] {
        let mut one = listen(&server, &format!("uid={uid}&since={since}")).await;
        let gap = expect_gap(&mut one).await;
        assert_eq!(one.id, top, "after {since}");
        assert_eq!(gap["top"], json!(top), "after {since}");
        assert_eq!(gap["first"], json!(format!("{epoch}:1")), "after {since}");
        // No replay; it goes on from the top.
        let next = keep(&server, json!({"uid": "another"}), "x").await;
        assert_ne!(next, top);
        assert_eq!(first_position(&mut one, &server, &uid).await, top);
    }
}

async fn groups_and_everybody_are_recovered_beside_the_uid(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let query = format!("uid={uid}&group=a&group=b%20c");
    let mut one = listen(&server, &query).await;
    let unborn = first_position(&mut one, &server, &uid).await;
    assert_eq!(unborn.matches(',').count(), 2, "{unborn}");
    let own = keep(&server, json!({"uid": uid}), "own").await;
    let a = keep(&server, json!({"group": "a"}), "to a").await;
    let b = keep(&server, json!({"group": "b c"}), "to b").await;
    keep_for_all(&server, "to all").await;
    one.expect("own").await;
    one.expect("to a").await;
    one.expect("to b").await;
    one.expect("to all").await;
    let all = one
        .id
        .rsplit_once(',')
        .expect("four positions")
        .1
        .to_owned();
    assert_eq!(one.id, format!("{own},{a},{b},{all}"));
    drop(one);
    let mut back = listen(&server, &format!("{query}&since={unborn}")).await;
    let mut came = Vec::new();
    for _ in 0..4 {
        match back.next().await {
            Came::Event(kind, data) => came.push(format!("{kind}{data}")),
            other => panic!("{other:?}"),
        }
    }
    came.sort();
    assert_eq!(came, ["own", "to a", "to all", "to b"]);
    assert_eq!(back.id, format!("{own},{a},{b},{all}"));
    let own = keep(&server, json!({"uid": uid}), "own").await;
    expect_at(&mut back, "own", &format!("{own},{a},{b},{all}")).await;
    // A gap in one of them is a gap in that alone.
    let since = format!("{own},{a},nonsense,{all}");
    let mut back = listen(&server, &format!("{query}&since={since}")).await;
    let gap = expect_gap(&mut back).await;
    assert_eq!(
        (&gap["kind"], &gap["name"]),
        (&json!("group"), &json!("b c"))
    );
    assert_eq!(back.id, format!("{own},{a},{b},{all}"));
}

async fn what_is_not_kept_keeps_its_place_behind_what_is(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut backend = server.backend().await;
    let big = "x".repeat(20_000);
    let mut since = keep(&server, json!({"uid": uid}), "0").await;
    for _ in 0..3 {
        let mut missed = 0;
        for number in 0..60 {
            keep(&server, json!({"uid": uid}), &format!("{number} {big}")).await;
            missed += 1;
        }
        // It does not read yet, so that it is behind when these come.
        let mut one = listen(&server, &format!("uid={uid}&since={since}")).await;
        for number in 0..20 {
            let line = format!("{{\"uid\":\"{uid}\",\"n\":{number}}}");
            assert_eq!(backend.ask(&line).await, "ok");
            keep(&server, json!({"uid": uid}), &format!("after {number}")).await;
        }
        for number in 0..missed {
            one.expect(&format!("{number} {big}")).await;
        }
        for number in 0..20 {
            one.expect(&format!("{{\"uid\":\"{uid}\",\"n\":{number}}}"))
                .await;
            one.expect(&format!("after {number}")).await;
        }
        since = one.id.clone();
    }
}

async fn what_is_gone_is_a_gap(cores: usize) {
    let server = Server::with(cores, &[("HISTORY_BYTES_CORE_MAX", "65536")]).await;
    let uid = seed::uid(&mut seed::rng());
    let big = "x".repeat(1_000);
    let mut positions = Vec::new();
    for number in 0..200 {
        positions.push(keep(&server, json!({"uid": uid}), &format!("{number} {big}")).await);
    }
    let mut one = listen(&server, &format!("uid={uid}&since={}", positions[0])).await;
    let gap = expect_gap(&mut one).await;
    assert_eq!(gap["asked"], json!(positions[0]));
    assert_eq!(gap["top"], json!(positions[199]));
    let first = gap["first"].as_str().expect("some are there");
    let first = positions
        .iter()
        .position(|one| one == first)
        .expect("one of them");
    assert!((100..199).contains(&first), "{first}");
    // From right before the first that is there all can be had, from one earlier not.
    let query = format!("uid={uid}&since={}", positions[first - 1]);
    let mut one = listen(&server, &query).await;
    for (number, position) in positions.iter().enumerate().skip(first) {
        expect_at(&mut one, &format!("{number} {big}"), position).await;
    }
    let query = format!("uid={uid}&since={}", positions[first - 2]);
    expect_gap(&mut listen(&server, &query).await).await;
}

async fn a_browser_comes_back_by_the_field_not_by_its_url(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let first = keep(&server, json!({"uid": uid}), "1").await;
    let second = keep(&server, json!({"uid": uid}), "2").await;
    let third = keep(&server, json!({"uid": uid}), "3").await;
    let address = server.address("http", "page");
    let query = format!("uid={uid}&since={first}");
    let field = format!("Last-Event-ID: {second}\r\n");
    let mut one = Listening::ask(address, &query, &field).await;
    expect_at(&mut one, "3", &third).await;
    // Empty ones are none.
    let mut one = listen(&server, &format!("uid={uid}&since=")).await;
    assert_eq!(first_position(&mut one, &server, &uid).await, third);
    let mut one = Listening::ask(address, &query, "Last-Event-ID: \r\n").await;
    expect_at(&mut one, "2", &second).await;
    for (query, code) in [
        ("group=", "bad_group"),
        ("group=a&group=a", "bad_group"),
        ("group=%ff", "bad_group"),
    ] {
        let one = Listening::ask(address, &format!("uid={uid}&{query}"), "").await;
        assert_eq!(one.status, 400, "{query}: {code}");
    }
    for keep in ["\"0s\"", "\"10 moons\"", "\"1000d\"", "7", "null"] {
        let body = format!("{{\"uid\":\"u\",\"text\":\"x\",\"keep\":{keep}}}");
        let answer = asked(&server, "/v1/push", &body).await;
        assert_eq!(answer.status, 400, "{keep}: {answer:?}");
    }
}

async fn what_is_sent_while_somebody_catches_up_comes_once(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let query = format!("uid={uid}&group=g");
    let mut one = listen(&server, &query).await;
    let mut since = first_position(&mut one, &server, &uid).await;
    drop(one);
    let mut sent = [0, 0];
    let mut came = [0, 0];
    for round in 0..30 {
        let again = format!("{query}&since={since}");
        let (mut one, ()) = tokio::join!(listen(&server, &again), async {
            for _ in 0..10 {
                for (nth, to) in [json!({"uid": uid}), json!({"group": "g"})]
                    .into_iter()
                    .enumerate()
                {
                    keep(&server, to, &format!("{nth} {}", sent[nth])).await;
                    sent[nth] += 1;
                }
            }
        });
        while came != sent {
            let Came::Event(kind, data) = one.next().await else {
                continue;
            };
            assert_eq!(kind, "", "round {round}: {data}");
            let (nth, number) = data.split_once(' ').expect("two");
            let nth: usize = nth.parse().expect("a number");
            assert_eq!(number.parse(), Ok(came[nth]), "round {round} of {nth}");
            came[nth] += 1;
        }
        since = one.id.clone();
    }
}

async fn rules_keep_what_any_port_pushes(cores: usize) {
    let file = r#"
[[listen]]
url = "text://127.0.0.1:0"
app = "relay"
[[listen]]
url = "text://127.0.0.1:0"
app = "push-backend"
[[listen]]
url = "http://127.0.0.1:0"
app = "page"
[[history]]
kind = "uid"
name = "k*"
size = 3
ttl = "10m"
[[history]]
kind = "all"
size = 10
ttl = "10m"
"#;
    let server = Server::from_file(cores, file).await;
    let mut backend = server.backend().await;
    let line = |uid: &str, number: usize| format!("{{\"uid\":\"{uid}\",\"n\":{number}}}");
    let mut one = listen(&server, "uid=kim").await;
    let unborn = first_position(&mut one, &server, "kim").await;
    drop(one);
    server.wait_offline("kim").await;
    // The text port's own answer is what it was: nobody is there.
    for number in 0..3 {
        assert_eq!(backend.ask(&line("kim", number)).await, "fail");
        assert_eq!(backend.ask(&line("tom", number)).await, "fail");
    }
    assert_eq!(backend.ask(&line("all", 9)).await, "fail");
    let mut back = listen(&server, &format!("uid=kim&since={unborn}")).await;
    let mut came = Vec::new();
    for _ in 0..4 {
        if let Came::Event(kind, data) = back.next().await {
            came.push(format!("{kind}{data}"));
        }
    }
    came.sort();
    let mut sent: Vec<String> = (0..3).map(|number| line("kim", number)).collect();
    sent.push(line("all", 9));
    sent.sort();
    assert_eq!(came, sent);
    drop(back);
    server.wait_offline("kim").await;
    // One more than its rule has, and the oldest is gone.
    assert_eq!(backend.ask(&line("kim", 3)).await, "fail");
    expect_gap(&mut listen(&server, &format!("uid=kim&since={unborn}")).await).await;
    // A push may say otherwise, and of whom no rule is, nothing is kept.
    for (uid, keep, verdict) in [
        ("kate", json!(true), "kept"),
        ("kate", json!(false), "offline"),
        ("tom", json!(true), "offline"),
        ("tom", json!("1m"), "kept"),
    ] {
        let body = json!({"uid": uid, "text": "x", "keep": keep});
        let answer = told(&server, "/v1/push", &body.to_string()).await;
        assert_eq!(answer["verdicts"][uid], json!(verdict), "{body}");
        assert_eq!(answer["positions"].is_object(), verdict == "kept", "{body}");
    }
}

/// What is kept between a home's answer and the client's being told of the gap is behind the gap's top.
async fn after_a_gap_everything_comes(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let query = format!("uid={uid}&group=g&group=h&since=nonsense");
    let addresses = [
        json!({"uid": uid}),
        json!({"group": "g"}),
        json!({"group": "h"}),
    ];
    let mut sent = 0;
    for round in 0..40 {
        let keep_some = async {
            let from = sent;
            for number in from..from + 8 {
                for to in &addresses {
                    keep(&server, to.clone(), &number.to_string()).await;
                }
            }
        };
        let (mut one, ()) = tokio::join!(listen(&server, &query), keep_some);
        sent += 8;
        // By kind and name the offset that comes next: messages have their own numbers, one less.
        let mut next: HashMap<usize, usize> = HashMap::new();
        while next.len() < 3 || next.values().any(|next| *next <= sent) {
            let Came::Event(kind, _) = one.next().await else {
                continue;
            };
            let offsets: Vec<usize> = one
                .id
                .split(',')
                .map(|one| {
                    one.split_once(':')
                        .expect("a position")
                        .1
                        .parse()
                        .expect("a number")
                })
                .collect();
            for (nth, offset) in offsets.into_iter().enumerate() {
                // Of this one it is still to be told the gap.
                if offset == usize::MAX {
                    continue;
                }
                let next = next.entry(nth).or_insert(offset + 1);
                assert!(
                    offset < *next + 1,
                    "round {round}: {nth} went from {next} to {offset}"
                );
                if kind.is_empty() && offset == *next {
                    *next += 1;
                }
            }
        }
    }
}

async fn clients_that_come_and_go_miss_nothing(cores: usize) {
    const CLIENTS: usize = 24;
    const ROUNDS: usize = 400;
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let uids = seed::uids(&mut rng, CLIENTS);
    let mut clients: Vec<Option<Listening>> = Vec::new();
    let mut ids = Vec::new();
    for (nth, uid) in uids.iter().enumerate() {
        let mut one = listen(&server, &format!("uid={uid}&group=g{}", nth % 3)).await;
        ids.push(first_position(&mut one, &server, uid).await);
        clients.push(Some(one));
    }
    // What each address was sent, and how far each client has come in what it is sent.
    let mut sent: HashMap<String, usize> = HashMap::new();
    let mut came: Vec<HashMap<String, usize>> = vec![HashMap::new(); CLIENTS];
    for _ in 0..ROUNDS {
        let who = rng.usize(..CLIENTS);
        match clients[who].take() {
            Some(one) if rng.u8(..) < 60 => {
                // Read a part; the rest is lost with the connection.
                if !one.id.is_empty() {
                    ids[who].clone_from(&one.id);
                }
                clients[who] = None;
            }
            Some(one) => clients[who] = Some(one),
            None => {
                let query = format!("uid={}&group=g{}&since={}", uids[who], who % 3, ids[who]);
                clients[who] = Some(listen(&server, &query).await);
            }
        }
        let (address, to) = match rng.u8(..3) {
            0 => (uids[who].clone(), json!({"uid": uids[who]})),
            1 => ("g1".to_owned(), json!({"group": "g1"})),
            _ => ("all".to_owned(), Value::Null),
        };
        let number = sent.entry(address.clone()).or_default();
        let text = format!("{address} {number}");
        *number += 1;
        match to.is_null() {
            true => keep_for_all(&server, &text).await,
            false => drop(keep(&server, to, &text).await),
        }
        // Some read now, some later.
        if rng.bool() {
            let reader = rng.usize(..CLIENTS);
            read_some(&mut clients[reader], &mut came[reader], 3).await;
        }
    }
    for (who, uid) in uids.iter().enumerate() {
        if clients[who].is_none() {
            let query = format!("uid={uid}&group=g{}&since={}", who % 3, ids[who]);
            clients[who] = Some(listen(&server, &query).await);
        }
        let own = sent.get(uid).copied().unwrap_or_default();
        let group = format!("g{}", who % 3);
        let wanted = [
            (uid.clone(), own),
            (group.clone(), 0),
            ("all".to_owned(), 0),
        ];
        let wanted = wanted.map(|(address, count)| {
            let count = sent.get(&address).copied().unwrap_or(count);
            (address, count)
        });
        let is_done = |came: &HashMap<String, usize>| {
            wanted
                .iter()
                .all(|(address, count)| came.get(address).copied().unwrap_or_default() == *count)
        };
        while !is_done(&came[who]) {
            read_some(&mut clients[who], &mut came[who], 1).await;
        }
    }
}

/// Reads some events, each the next of its address.
async fn read_some(client: &mut Option<Listening>, came: &mut HashMap<String, usize>, most: usize) {
    let Some(one) = client else { return };
    for _ in 0..most {
        let next = tokio::time::timeout(
            std::time::Duration::from_millis(if most == 1 { 30_000 } else { 5 }),
            one.next(),
        );
        let Ok(Came::Event(kind, data)) = next.await else {
            return;
        };
        assert_eq!(kind, "", "{data}");
        let (address, number) = data.rsplit_once(' ').expect("an address and a number");
        let wanted = came.entry(address.to_owned()).or_default();
        assert_eq!(number.parse(), Ok(*wanted), "of {address}");
        *wanted += 1;
    }
}

/// Under `reject`: the old connection is not known to be dead yet.
async fn who_comes_back_takes_its_own_place(cores: usize) {
    let server = Server::with(cores, &[("UID_POLICY", "reject")]).await;
    let mut one = listen(&server, "uid=kim").await;
    let unborn = first_position(&mut one, &server, "kim").await;
    // Who names none is a stranger, and so is one with a position of nothing here.
    for query in ["uid=kim", "uid=kim&since=zzzzzzzzzz:0", "uid=kim&since=x"] {
        let other = Listening::ask(server.address("http", "page"), query, "").await;
        assert_eq!(other.status, 409, "{query}: {}", other.head);
    }
    let mut back = listen(&server, &format!("uid=kim&since={unborn}")).await;
    one.expect_close(4001).await;
    let position = keep(&server, json!({"uid": "kim"}), "a").await;
    expect_at(&mut back, "a", &position).await;
    let mut again = listen(&server, &format!("uid=kim&since={position}")).await;
    let next = keep(&server, json!({"uid": "kim"}), "b").await;
    expect_at(&mut again, "b", &next).await;
}

async fn the_log_says_why_there_is_a_gap(cores: usize) {
    let server = Server::with(cores, &[("LOG", "info")]).await;
    let _one = listen(&server, "uid=kim&since=zzzzzzzzzz:7").await;
    let words = ["told of a gap", "name=kim", "zzzzzzzzzz:7", "another life"];
    server.wait_log(&words).await;
    // Another reason is said even if it comes at once.
    let _two = listen(&server, "uid=kim&since=nonsense").await;
    let words = ["told of a gap", "name=kim", "its position is none"];
    server.wait_log(&words).await;
}
