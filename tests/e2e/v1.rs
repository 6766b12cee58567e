//! `ringpost.v1`: what its clients ask, and what they are told.

use serde_json::{Value, json};

use crate::api::told;
use crate::client::Client;
use crate::on_cores;
use crate::receiver::Receiver;
use crate::server::Server;
use crate::speaking::{Speaking, server};
use crate::webhooks::telling;

on_cores! {
    who_asks_for_it_has_it_and_nobody_else,
    a_bind_is_answered_by_all_that_a_client_needs,
    messages_of_each_stream_say_whose_they_are,
    data_is_told_as_it_reads_best,
    groups_are_joined_and_left_at_any_time,
    a_back_end_puts_in_and_takes_out,
    each_error_has_its_name_and_ends_nothing,
    a_bind_that_fails_ends_the_connection,
    pings_go_both_ways,
    history_comes_by_pages,
    one_client_takes_its_own_place,
    who_acknowledges_begins_there,
    who_comes_back_has_all_in_order_and_once,
    what_comes_while_it_catches_up_comes_once,
    plain_clients_notice_nothing,
    what_a_client_says_reaches_the_back_end,
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

async fn push(server: &Server, to: Value, text: &str) {
    let mut body = to;
    body["text"] = json!(text);
    told(server, "/v1/push", &body.to_string()).await;
}

async fn who_asks_for_it_has_it_and_nobody_else(cores: usize) {
    let server = Server::start(cores).await;
    let push = server.address("ws", "push");
    let with = |offer: &'static str| [("Sec-WebSocket-Protocol", offer)];
    for offer in ["ringpost.v2", "ringpost.v2, ringpost.v9"] {
        let refused = Client::shake(push, "/", &with(offer)).await;
        assert_eq!(refused.err(), Some(400), "{offer}");
    }
    for offer in [
        "ringpost.v1",
        "ringpost.v2, ringpost.v1",
        "ringpost, ringpost.v1",
    ] {
        let one = Client::shake(push, "/", &with(offer)).await;
        let mut one = Speaking::over(one.expect("it is spoken"));
        one.bind_as(json!({"uid": "kim"})).await;
    }
    // Others pass the offer over, and their clients' library says so.
    let relay = server.address("ws", "relay");
    let shaken = Client::shake(relay, "/", &[]).await;
    let mut one = shaken.expect("a plain one");
    one.send("kim").await;
    one.expect("login success, your uid is kim").await;
}

async fn a_bind_is_answered_by_all_that_a_client_needs(cores: usize) {
    let server = server(cores, "").await;
    let bind = json!({"uid": "kim", "id": 7, "groups": {"news": null}, "later": {"x": []}});
    let (mut one, bound) = Speaking::bind(&server, bind).await;
    assert_eq!(bound["id"], 7);
    assert_eq!(bound["uid"], "kim");
    let connection = bound["connection"].as_str().expect("an id");
    assert!(connection.contains('-'), "{connection}");
    let time = bound["time"].as_str().expect("a time");
    assert!(
        time.ends_with('Z') && time.len() == "2026-11-29T19:00:00.123Z".len(),
        "{time}"
    );
    assert_eq!(bound["ping_interval"], 25.0);
    assert!(
        bound["positions"]["uid"]
            .as_str()
            .expect("one")
            .ends_with(":0")
    );
    assert!(
        bound["groups"]["news"]
            .as_str()
            .expect("one")
            .ends_with(":0")
    );
    assert!(bound["positions"].get("all").is_none() && bound.get("expires").is_none());
    keep_for_all(&server, "x").await;
    one.expect("all", "x").await.expect("it is kept");
    let (_, bound) = Speaking::bind(&server, json!({"uid": "kim"})).await;
    assert_eq!(bound["positions"]["all"], json!(one.positions["all"]));
}

async fn keep_for_all(server: &Server, text: &str) {
    let body = json!({"text": text, "keep": "10m"});
    told(server, "/v1/broadcast", &body.to_string()).await;
}

async fn messages_of_each_stream_say_whose_they_are(cores: usize) {
    let server = server(cores, "").await;
    let mut one = Speaking::of(&server, "kim", &["news", "a \"b\""]).await;
    push(&server, json!({"uid": "kim"}), "own").await;
    assert_eq!(one.expect("uid", "own").await, None);
    let at = keep(&server, json!({"uid": "kim"}), "kept").await;
    assert_eq!(one.expect("uid", "kept").await, Some(at));
    push(&server, json!({"group": "news"}), "to news").await;
    assert_eq!(one.expect("group/news", "to news").await, None);
    let at = keep(&server, json!({"group": "a \"b\""}), "to b").await;
    assert_eq!(one.expect("group/a \"b\"", "to b").await, Some(at));
    told(&server, "/v1/broadcast", r#"{"text":"to all"}"#).await;
    assert_eq!(one.expect("all", "to all").await, None);
    keep_for_all(&server, "kept for all").await;
    assert!(one.expect("all", "kept for all").await.is_some());
    let uids = json!({"uids": ["kim", "tom"], "text": "several"});
    told(&server, "/v1/push", &uids.to_string()).await;
    assert_eq!(one.expect("uid", "several").await, None);
    let large = "x".repeat(10_000);
    let uids = json!({"uids": ["kim", "tom"], "text": large});
    told(&server, "/v1/push", &uids.to_string()).await;
    assert_eq!(one.expect("uid", &large).await, None);
}

async fn data_is_told_as_it_reads_best(cores: usize) {
    let server = server(cores, "").await;
    let mut one = Speaking::of(&server, "kim", &[]).await;
    let mut back_end = server.backend().await;
    assert_eq!(back_end.ask(r#"{"uid":"kim","n": 1.50}"#).await, "ok");
    let frame = one.frame().await;
    assert_eq!(frame["data"], json!({"uid": "kim", "n": 1.50}));
    told(
        &server,
        "/v1/push",
        r#"{"uid":"kim","text":"{\"a\": \u00e9"}"#,
    )
    .await;
    one.expect("uid", "{\"a\": é").await;
    told(&server, "/v1/push", r#"{"uid":"kim","data":[1,"\u2028"]}"#).await;
    assert_eq!(one.frame().await["data"], json!([1, "\u{2028}"]));
    told(&server, "/v1/push", r#"{"uid":"kim","data":"a\nb"}"#).await;
    assert_eq!(one.frame().await["text"], "\"a\\nb\"");
}

async fn groups_are_joined_and_left_at_any_time(cores: usize) {
    let server = server(cores, "").await;
    let mut one = Speaking::of(&server, "kim", &[]).await;
    let first = keep(&server, json!({"group": "news"}), "1").await;
    let joined = one
        .answer(json!({"type": "join", "id": "a", "group": "news"}))
        .await;
    assert_eq!(
        joined,
        json!({"type": "joined", "id": "a", "group": "news", "position": first})
    );
    let second = keep(&server, json!({"group": "news"}), "2").await;
    assert_eq!(one.expect("group/news", "2").await, Some(second.clone()));
    let left = one
        .answer(json!({"type": "leave", "id": "b", "group": "news"}))
        .await;
    assert_eq!(left, json!({"type": "left", "id": "b", "group": "news"}));
    let third = keep(&server, json!({"group": "news"}), "3").await;
    // Back from where it was, with what it has missed and what comes.
    let join = json!({"type": "join", "group": "news", "since": second});
    assert_eq!(one.answer(join).await["position"], json!(second));
    assert_eq!(one.expect("group/news", "3").await, Some(third));
    push(&server, json!({"group": "news"}), "4").await;
    assert_eq!(one.expect("group/news", "4").await, None);
    // Anew from the first, though it is in it.
    let join = json!({"type": "join", "group": "news", "since": first});
    assert_eq!(one.answer(join).await["position"], json!(first));
    one.expect("group/news", "2").await;
    one.expect("group/news", "3").await;
    let join = json!({"type": "join", "group": "news", "since": "nonsense"});
    let joined = one.answer(join).await;
    assert_eq!(
        (&joined["type"], &joined["position"]),
        (&json!("joined"), &json!(null))
    );
    let gap = one.frame().await;
    assert_eq!(
        (&gap["type"], &gap["first"]),
        (&json!("gap"), &json!(first))
    );
    assert_eq!(
        (&gap["asked"], &gap["group"]),
        (&json!(null), &json!("news"))
    );
    push(&server, json!({"group": "news"}), "5").await;
    assert_eq!(one.expect("group/news", "5").await, None);
    one.ask(&json!({"type": "leave", "group": "chat"})).await;
    one.expect_error("not_in_group").await;
}

async fn a_back_end_puts_in_and_takes_out(cores: usize) {
    let server = server(cores, "").await;
    let mut one = Speaking::of(&server, "kim", &[]).await;
    let kim = r#"{"uid":"kim"}"#;
    let answer = told(&server, "/v1/groups/vip/join", kim).await;
    assert_eq!(answer["connections"], 1, "{answer}");
    let joined = one.frame().await;
    assert_eq!(
        (&joined["type"], &joined["group"]),
        (&json!("joined"), &json!("vip"))
    );
    assert!(
        joined.get("id").is_none() && joined["position"].is_string(),
        "{joined}"
    );
    keep(&server, json!({"group": "vip"}), "1").await;
    one.expect("group/vip", "1").await.expect("it is kept");
    // What a uid is in for good its next connection is in at once.
    let sticky = r#"{"uid":"tom","sticky":true}"#;
    told(&server, "/v1/groups/vip/join", sticky).await;
    let (mut tom, bound) = Speaking::bind(&server, json!({"uid": "tom"})).await;
    assert!(bound["groups"]["vip"].is_string(), "{bound}");
    assert_eq!(tom.frame().await["type"], "joined");
    told(&server, "/v1/groups/vip/leave", kim).await;
    assert_eq!(one.frame().await, json!({"type": "left", "group": "vip"}));
    keep(&server, json!({"group": "vip"}), "2").await;
    one.expect_silence().await;
}

async fn each_error_has_its_name_and_ends_nothing(cores: usize) {
    let server = server(cores, "groups_per_connection_max = 2\n").await;
    let mut one = Speaking::connect(server.address("ws", "push")).await;
    for (text, code) in [
        ("kim", "bad_json"),
        ("{\"type\":\"join\",\"group\":\"news\"}", "not_bound"),
        ("{\"type\":\"history\",\"stream\":\"uid\"}", "not_bound"),
        (
            "{\"type\":\"bind\",\"ack\":true,\"uid\":\"kim\"}",
            "bad_request",
        ),
    ] {
        one.client.send(text).await;
        one.expect_error(code).await;
    }
    let groups = json!({"a": null, "b": null, "c": null, "": null});
    let bound = one.bind_as(json!({"uid": "kim", "groups": groups})).await;
    let joined = bound["groups"].as_object().expect("groups");
    assert_eq!(joined.len(), 2, "{bound}");
    let mut told = [one.frame().await, one.frame().await];
    told.sort_by_key(|one| one["error"]["code"].to_string());
    assert_eq!(told[0]["error"]["code"], "bad_group");
    assert_eq!(told[0]["group"], "");
    assert_eq!(told[1]["error"]["code"], "too_many_groups");
    for (text, code) in [
        (r#"{"type":"bind","uid":"kim"}"#, "already_bound"),
        (r#"{"type":"join","id":1,"group":"d"}"#, "too_many_groups"),
        (r#"{"type":"join","id":1,"group":""}"#, "bad_group"),
        (r#"{"type":"join","id":1}"#, "bad_request"),
        (r#"{"type":"leave","id":1,"group":"d"}"#, "not_in_group"),
        (
            r#"{"type":"token","id":1,"token":"a.b.c"}"#,
            "not_available",
        ),
        (r#"{"type":"send","id":1,"text":"a"}"#, "not_available"),
        (r#"{"type":"presence","id":1,"group":"a"}"#, "not_available"),
        (
            r#"{"type":"ack","id":1,"stream":"uid","position":"0000000000:1"}"#,
            "bad_request",
        ),
        (
            r#"{"type":"history","id":1,"stream":"uid","limit":0}"#,
            "bad_request",
        ),
        (r#"{"type":"subscribe","id":1}"#, "unknown_type"),
    ] {
        one.client.send(text).await;
        let error = one.expect_error(code).await;
        if text.contains("\"id\"") {
            assert_eq!(error["id"], 1, "{error}");
        }
    }
    one.client.send_binary(b"{}").await;
    one.expect_error("bad_json").await;
    push(&server, json!({"uid": "kim"}), "still here").await;
    one.expect("uid", "still here").await;
}

async fn a_bind_that_fails_ends_the_connection(cores: usize) {
    let file = "uid_policy = \"reject\"\nlogin_timeout = \"1s\"\n[[listen]]\nurl = \"websocket://127.0.0.1:0\"\napp = \"push\"\n";
    let server = Server::from_file(cores, file).await;
    let _there = Client::shake(server.address("ws", "push"), "/", &[])
        .await
        .expect("plain")
        .send("kim")
        .await;
    for (bind, code) in [
        (json!({"type": "bind"}), 4006),
        (json!({"type": "bind", "uid": ""}), 4006),
        (json!({"type": "bind", "uid": "all"}), 4006),
    ] {
        let mut one = Speaking::connect(server.address("ws", "push")).await;
        one.ask(&bind).await;
        one.client.expect_end(code).await;
    }
    // Who says nothing of the kind is no client, either.
    let mut one = Speaking::connect(server.address("ws", "push")).await;
    one.ask(&json!({"type": "ping"})).await;
    assert_eq!(one.frame().await, json!({"type": "pong"}));
    one.client.expect_end(4004).await;
}

async fn pings_go_both_ways(cores: usize) {
    let settings = [("PING_INTERVAL", "1s"), ("IDLE_TIMEOUT", "3s")];
    let server = Server::with(cores, &settings).await;
    let mut one = Speaking::of(&server, "kim", &[]).await;
    for _ in 0..3 {
        one.client.expect(r#"{"type":"ping"}"#).await;
        one.ask(&json!({"type": "pong"})).await;
    }
    one.client.send(r#"{"type":"ping"}"#).await;
    one.client.expect(r#"{"type":"pong"}"#).await;
    // Who does not answer is closed.
    one.client.drain_to_end(4003).await;
}

async fn history_comes_by_pages(cores: usize) {
    let server = server(cores, "").await;
    let mut at = Vec::new();
    for number in 0..5 {
        at.push(keep(&server, json!({"group": "news"}), &number.to_string()).await);
    }
    let mut one = Speaking::of(&server, "kim", &[]).await;
    let asked = json!({"type": "history", "id": 1, "stream": "group", "group": "news", "limit": 2});
    let page = one.answer(asked.clone()).await;
    let message = |nth: usize| json!({"position": at[nth], "text": nth.to_string()});
    let expected = json!({"type": "history", "id": 1, "stream": "group", "group": "news",
        "top": at[4], "messages": [message(0), message(1)]});
    assert_eq!(page, expected);
    let mut since = asked.clone();
    since["since"] = json!(at[1]);
    assert_eq!(
        one.answer(since).await["messages"],
        json!([message(2), message(3)])
    );
    let mut reverse = asked.clone();
    reverse["reverse"] = json!(true);
    assert_eq!(
        one.answer(reverse).await["messages"],
        json!([message(4), message(3)])
    );
    let mut nonsense = asked;
    nonsense["since"] = json!("nonsense");
    let page = one.answer(nonsense).await;
    assert_eq!(
        page["gap"],
        json!({"asked": null, "first": at[0], "top": at[4]})
    );
    let own = keep(&server, json!({"uid": "kim"}), "own").await;
    one.expect("uid", "own").await;
    let page = one
        .answer(json!({"type": "history", "stream": "uid"}))
        .await;
    assert_eq!(page["messages"], json!([{"position": own, "text": "own"}]));
    let page = one
        .answer(json!({"type": "history", "stream": "all"}))
        .await;
    assert_eq!(page["messages"], json!([]));
}

async fn one_client_takes_its_own_place(cores: usize) {
    for policy in ["reject", "replace", "multi"] {
        let more = format!("uid_policy = \"{policy}\"\nconnections_per_uid_max = 1\n");
        let file = format!(
            "{more}[[listen]]\nurl = \"websocket://127.0.0.1:0\"\napp = \"push\"\n\
             [[listen]]\nurl = \"text://127.0.0.1:0\"\napp = \"push-backend\"\n"
        );
        let server = Server::from_file(cores, &file).await;
        let bind = json!({"uid": "kim", "client": "phone"});
        let (mut first, _) = Speaking::bind(&server, bind.clone()).await;
        let (mut second, _) = Speaking::bind(&server, bind).await;
        first.client.expect_end(4001).await;
        // Another device is kept out, or takes its place, as ever.
        let mut other = Speaking::connect(server.address("ws", "push")).await;
        other
            .ask(&json!({"type": "bind", "uid": "kim", "client": "tablet"}))
            .await;
        match policy {
            "replace" => second.client.expect_end(4001).await,
            _ => other.client.expect_end(4002).await,
        }
    }
}

async fn who_acknowledges_begins_there(cores: usize) {
    let server = server(cores, "").await;
    let bind = json!({"uid": "kim", "client": "phone", "ack": true, "groups": {"news": null}});
    let (mut one, _) = Speaking::bind(&server, bind.clone()).await;
    let mut own = Vec::new();
    let mut news = Vec::new();
    for number in 0..4 {
        own.push(keep(&server, json!({"uid": "kim"}), &number.to_string()).await);
        one.expect("uid", &number.to_string()).await;
        news.push(keep(&server, json!({"group": "news"}), &number.to_string()).await);
        one.expect("group/news", &number.to_string()).await;
    }
    one.ask(&json!({"type": "ack", "stream": "uid", "position": own[1]}))
        .await;
    one.ask(&json!({"type": "ack", "stream": "group", "group": "news", "position": news[2]}))
        .await;
    one.ask(&json!({"type": "ack", "id": 1, "stream": "group", "group": "x", "position": news[2]}))
        .await;
    one.expect_error("not_in_group").await;
    // It takes its own place, and has what it has not handled once more.
    let (mut back, bound) = Speaking::bind(&server, bind.clone()).await;
    assert_eq!(bound["positions"]["uid"], json!(own[1]));
    assert_eq!(bound["groups"]["news"], json!(news[2]));
    let mut came = Vec::new();
    for _ in 0..3 {
        let frame = back.frame().await;
        came.push(frame["position"].as_str().expect("kept").to_owned());
    }
    came.sort();
    let mut expected = vec![own[2].clone(), own[3].clone(), news[3].clone()];
    expected.sort();
    assert_eq!(came, expected);
    // What it names counts for more if it is further, and only then.
    for (named, begins) in [(&own[3], &own[3]), (&own[0], &own[1])] {
        let mut bind = bind.clone();
        bind["positions"] = json!({"uid": named});
        let (_, bound) = Speaking::bind(&server, bind).await;
        assert_eq!(bound["positions"]["uid"], json!(begins));
    }
    // Another device has said nothing.
    let bind = json!({"uid": "kim", "client": "tablet", "ack": true});
    let (_, bound) = Speaking::bind(&server, bind).await;
    assert_eq!(bound["positions"]["uid"], json!(own[3]));
}

async fn plain_clients_notice_nothing(cores: usize) {
    let server = server(cores, "").await;
    let mut plain = server.push("ws", "kim").await;
    let mut one = Speaking::of(&server, "kim", &["news"]).await;
    told(&server, "/v1/groups/news/join", r#"{"uid":"kim"}"#).await;
    for (to, text) in [
        (json!({"uid": "kim"}), "own"),
        (json!({"group": "news"}), "to news"),
    ] {
        keep(&server, to.clone(), text).await;
        push(&server, to, text).await;
        for _ in 0..2 {
            plain.expect(text).await;
        }
    }
    for _ in 0..4 {
        assert_eq!(one.frame().await["type"], "message");
    }
    // Its words are what they were.
    plain.send(r#"{"type":"ping"}"#).await;
    plain.expect_silence().await;
}

async fn who_comes_back_has_all_in_order_and_once(cores: usize) {
    let server = server(cores, "").await;
    let mut one = Speaking::of(&server, "kim", &["news"]).await;
    let was = one.positions.clone();
    let mut sent = 0;
    for round in 0..5 {
        drop(one);
        let padding = "x".repeat(1_000 * round);
        for _ in 0..100 {
            keep(&server, json!({"uid": "kim"}), &format!("{sent} {padding}")).await;
            keep(
                &server,
                json!({"group": "news"}),
                &format!("{sent} {padding}"),
            )
            .await;
            sent += 1;
        }
        let mut back = Speaking::connect(server.address("ws", "push")).await;
        // From the very beginning, or from where it was.
        back.positions = was.clone();
        let first = sent - 100 * (round + 1);
        back.bind_as(back.coming_back("kim")).await;
        let (mut own, mut news) = (first, first);
        while own < sent || news < sent {
            let frame = back.frame().await;
            assert_eq!(frame["type"], "message", "{frame:.200}");
            let next = match frame["stream"] == "uid" {
                true => &mut own,
                false => &mut news,
            };
            let text = frame["text"].as_str().expect("text");
            assert_eq!(text.split_once(' ').expect("two").0, next.to_string());
            *next += 1;
        }
        let (mut again, bound) = Speaking::back(&server, "kim", &back).await;
        assert_eq!(bound["positions"]["uid"], json!(back.positions["uid"]));
        again.expect_silence().await;
        one = again;
    }
}

async fn what_comes_while_it_catches_up_comes_once(cores: usize) {
    let server = server(cores, "").await;
    let one = Speaking::of(&server, "kim", &["g"]).await;
    let mut was = one.positions.clone();
    drop(one);
    let (mut sent, mut came) = ([0, 0], [0, 0]);
    for round in 0..20 {
        let mut back = Speaking::connect(server.address("ws", "push")).await;
        back.positions = was.clone();
        let binding = async {
            back.bind_as(back.coming_back("kim")).await;
        };
        let pushing = async {
            for _ in 0..10 {
                for (nth, to) in [json!({"uid": "kim"}), json!({"group": "g"})]
                    .into_iter()
                    .enumerate()
                {
                    keep(&server, to, &sent[nth].to_string()).await;
                    sent[nth] += 1;
                }
            }
        };
        tokio::join!(binding, pushing);
        while came != sent {
            let frame = back.frame().await;
            assert_eq!(frame["type"], "message", "round {round}: {frame}");
            let nth = usize::from(frame["stream"] == "group");
            assert_eq!(frame["text"], came[nth].to_string(), "round {round}");
            came[nth] += 1;
        }
        was = back.positions.clone();
    }
}

async fn what_a_client_says_reaches_the_back_end(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[]).await;
    let (mut one, bound) = Speaking::bind(&server, json!({"uid": "kim"})).await;
    let said = [
        json!({"type": "send", "id": 1, "text": "hello \"you\""}),
        json!({"type": "send", "id": "b", "data": {"move": "e4", "n": 1.5}}),
        json!({"type": "send", "data": "a string"}),
    ];
    let ids = [json!(1), json!("b"), json!(null)];
    for frame in &said {
        one.ask(frame).await;
    }
    for id in &ids[..2] {
        assert_eq!(one.frame().await, json!({"type": "sent", "id": id}));
    }
    assert_eq!(one.frame().await, json!({"type": "sent"}));
    let events = receiver.wait(4).await;
    assert_eq!(events[0]["event"], "connect");
    assert_eq!(events[0]["connection"], bound["connection"]);
    for (nth, (event, frame)) in events[1..].iter().zip(&said).enumerate() {
        assert_eq!(event["request"], ids[nth]);
        assert_eq!(
            (&event["event"], &event["uid"]),
            (&json!("message"), &json!("kim"))
        );
        assert_eq!(event["connection"], bound["connection"]);
        assert_eq!(
            (&event["text"], &event["data"]),
            (&frame["text"], &frame["data"])
        );
    }
    // Where nobody wants to hear it, it is told.
    let server = telling(cores, &receiver, &[("WEBHOOKS_EVENTS", "connect")]).await;
    let mut one = Speaking::of(&server, "kim", &[]).await;
    one.ask(&said[0]).await;
    one.expect_error("not_available").await;
}
