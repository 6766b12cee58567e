//! The HTTP API: requests with an `id`, which are made once.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::api::{asked, error, told};
use crate::client::Client;
use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    the_same_id_by_any_core_pushes_once,
    an_id_is_forgotten_after_its_time,
    one_id_too_many_is_refused,
    a_batch_knows_its_ids,
    batches_that_share_ids_do_not_wait_for_each_other_in_vain,
}

async fn the_same_id_by_any_core_pushes_once(cores: usize) {
    let server = Server::start(cores).await;
    let mut random = seed::rng();
    for round in 0..6 {
        let uid = seed::uid(&mut random);
        let mut client = server.push("ws", &uid).await;
        server.wait_online(&uid).await;
        let body = json!({"uids": [uid, "absent"], "text": "once", "id": format!("order {round}")});
        let body = body.to_string();
        // At once, so that some come while the first is under way.
        let asking = (0..12).map(|_| told(&server, "/v1/push", &body));
        let answers = futures_util::future::join_all(asking).await;
        let (again, first): (Vec<&Value>, Vec<&Value>) = answers
            .iter()
            .partition(|answer| answer["repeated"] == true);
        assert_eq!((first.len(), again.len()), (1, 11));
        let verdicts = json!({&uid: "delivered", "absent": "offline"});
        for answer in &answers {
            assert_eq!(answer["verdicts"], verdicts);
            assert_eq!(answer["connections"], 1);
        }
        client.expect("once").await;
        // The same in other words is the same; something else is not.
        let spaced = body.replace(':', " :\n");
        assert_eq!(told(&server, "/v1/push", &spaced).await["repeated"], true);
        for other in [
            body.replace("once", "twice"),
            body.replace("absent", "other"),
            json!({"uid": uid, "text": "once", "id": format!("order {round}")}).to_string(),
        ] {
            let refused = asked(&server, "/v1/push", &other).await;
            assert_eq!(error(&refused), (409, "id_in_use".into()), "{other}");
        }
        client.expect_silence().await;
    }
}

async fn an_id_is_forgotten_after_its_time(cores: usize) {
    let server = Server::with(cores, &[("IDEMPOTENCY_WINDOW", "1500ms")]).await;
    let mut client = server.push("ws", "tom").await;
    server.wait_online("tom").await;
    let body = r#"{"uid":"tom","text":"hello","id":"7"}"#;
    assert_eq!(
        told(&server, "/v1/push", body).await["repeated"],
        Value::Null
    );
    assert_eq!(told(&server, "/v1/push", body).await["repeated"], true);
    client.expect("hello").await;
    client.expect_silence().await;
    sleep(Duration::from_millis(1600)).await;
    assert_eq!(
        told(&server, "/v1/push", body).await["repeated"],
        Value::Null
    );
    client.expect("hello").await;
}

async fn one_id_too_many_is_refused(cores: usize) {
    let most = 3;
    let server = Server::with(cores, &[("IDEMPOTENCY_IDS_MAX", "3")]).await;
    let body = |number: usize| format!("{{\"text\":\"x\",\"id\":\"{number}\"}}");
    let mut kept = Vec::new();
    let mut refused = 0;
    for number in 0..cores * 20 {
        let response = asked(&server, "/v1/broadcast", &body(number)).await;
        match response.status {
            200 => kept.push(number),
            _ => {
                assert_eq!(error(&response), (503, "too_many_ids".into()));
                refused += 1;
            }
        }
    }
    // With so many, each core has been asked to keep more than it may.
    assert_eq!((kept.len(), refused), (cores * most, cores * (20 - most)));
    for number in kept {
        assert_eq!(
            told(&server, "/v1/broadcast", &body(number)).await["repeated"],
            true
        );
    }
    // Who needs none is served.
    told(&server, "/v1/broadcast", "{\"text\":\"x\"}").await;
}

async fn online(server: &Server, uid: &str) -> Client {
    let client = server.push("ws", uid).await;
    server.wait_online(uid).await;
    client
}

async fn a_batch_knows_its_ids(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = online(&server, "tom").await;
    let push = |text: &str, id: &str| json!({"push": {"uid": "tom", "text": text, "id": id}});
    let batch = json!([
        push("a", "1"),
        push("b", "2"),
        push("a", "1"),
        push("c", "2")
    ]);
    let answers = told(&server, "/v1/batch", &batch.to_string()).await;
    let answers = answers["answers"].as_array().expect("answers");
    assert_eq!(answers[0]["repeated"], Value::Null);
    assert_eq!(answers[1]["verdicts"]["tom"], "delivered");
    assert_eq!(answers[2]["repeated"], true);
    assert_eq!(answers[2]["verdicts"], answers[0]["verdicts"]);
    assert_eq!(answers[3]["error"]["code"], "id_in_use");
    let again = told(&server, "/v1/batch", &batch.to_string()).await;
    assert_eq!(again["answers"][0]["repeated"], true);
    client.expect("a").await;
    client.expect("b").await;
    client.expect_silence().await;
}

async fn batches_that_share_ids_do_not_wait_for_each_other_in_vain(cores: usize) {
    const IDS: usize = 300;
    let server = Server::start(cores).await;
    let mut client = online(&server, "tom").await;
    let batch = |backwards: bool| {
        let mut numbers: Vec<usize> = (0..IDS).collect();
        if backwards {
            numbers.reverse();
        }
        let entry =
            |n: usize| json!({"push": {"uid": "tom", "text": n.to_string(), "id": n.to_string()}});
        let entries: Vec<Value> = numbers.into_iter().map(entry).collect();
        Value::from(entries).to_string()
    };
    let bodies: Vec<String> = (0..8).map(|nth| batch(nth % 2 == 1)).collect();
    let asking = bodies.iter().map(|body| told(&server, "/v1/batch", body));
    let mut made = 0;
    for answer in futures_util::future::join_all(asking).await {
        let answers = answer["answers"].as_array().expect("answers");
        assert_eq!(answers.len(), IDS);
        for answer in answers {
            assert_eq!(answer["verdicts"]["tom"], "delivered");
            made += usize::from(answer["repeated"] != true);
        }
    }
    assert_eq!(made, IDS);
    let mut got = Vec::new();
    for _ in 0..IDS {
        got.push(client.text().await.parse::<usize>().expect("a number"));
    }
    got.sort_unstable();
    assert_eq!(got, (0..IDS).collect::<Vec<_>>());
    client.expect_silence().await;
}
