//! What push's clients say after their login, told to the back end by the webhook event `message`.

use serde_json::{Value, json};

use crate::api::read;
use crate::api_binds::request;
use crate::client::Client;
use crate::on_cores;
use crate::receiver::{Receiver, SECRET};
use crate::server::Server;
use crate::speaking::Speaking;
use crate::webhooks::telling;

on_cores! {
    what_clients_say_is_told_in_full_and_in_order,
    nothing_is_told_unless_that_is_wanted,
    a_listener_may_have_it_otherwise,
    what_is_said_comes_with_the_attributes_of_who_says_it,
    who_says_too_much_waits_and_loses_nothing,
    who_says_too_much_is_refused_where_that_is_wanted,
}

const MESSAGES: (&str, &str) = ("PUSH_MESSAGES", "webhook");
const EVENTS: (&str, &str) = ("WEBHOOKS_EVENTS", "message");

fn content(event: &Value) -> Value {
    let fields = ["data", "text", "base64"].into_iter();
    let told: Vec<Value> = fields
        .filter_map(|field| Some(json!({field: event.get(field)?})))
        .collect();
    assert_eq!(told.len(), 1, "{event}");
    told[0].clone()
}

async fn what_clients_say_is_told_in_full_and_in_order(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[MESSAGES]).await;
    let mut tom = server.push("ws", "tom").await;
    tom.send(r#"{"move": "e4","n":1.50}"#).await;
    tom.send("").await;
    tom.send("hello").await;
    tom.send_binary(b"\xff\x00").await;
    tom.send("12").await;
    let events = receiver.wait(5).await;
    assert_eq!(events[0]["event"], "connect");
    let said: Vec<Value> = events[1..].iter().map(content).collect();
    assert_eq!(
        said,
        [
            json!({"data": {"move": "e4", "n": 1.50}}),
            json!({"text": "hello"}),
            json!({"base64": "/wA="}),
            json!({"text": "12"}),
        ]
    );
    for event in &events[1..] {
        assert_eq!(event["event"], "message");
        for field in ["uid", "connection", "address", "app", "listener"] {
            assert_eq!(event[field], events[0][field], "{field}");
        }
    }
    tom.close().await;
    assert_eq!(receiver.wait(6).await[5]["event"], "disconnect");
    assert_eq!(server.count("webhook_messages").await, 4);
}

async fn nothing_is_told_unless_that_is_wanted(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[]).await;
    let mut tom = server.push("ws", "tom").await;
    tom.send("hello").await;
    tom.close().await;
    let events = receiver.wait(2).await;
    assert!(events.iter().all(|event| event["event"] != "message"));
}

async fn a_listener_may_have_it_otherwise(cores: usize) {
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let file = format!(
        "origins = '*'\n[[listen]]\nurl = 'websocket://127.0.0.1:0'\napp = 'push'\nmessages = 'webhook'\n\
         [[listen]]\nurl = 'text://127.0.0.1:0'\napp = 'push'\n\
         [[listen]]\nurl = 'text://127.0.0.1:0'\napp = 'push-backend'\n\
         [[listen]]\nurl = 'http://127.0.0.1:0'\napp = 'page'\nmessages = 'webhook'\npaths = {{ '/ws' = 'push' }}\n\
         [webhooks]\nurl = '{url}'\nsecret = '{SECRET}'\nbatch_delay = '20ms'\nevents = 'message'\n"
    );
    let server = Server::from_file_with(cores, &file, 5).await;
    let mut quiet = server.push("text", "quiet").await;
    quiet.send("nobody hears this").await;
    let mut loud = server.push("ws", "loud").await;
    loud.send("by websocket").await;
    let page = server.address("http", "page");
    let mut at_path = Client::shake(page, "/ws", &[]).await.expect("a websocket");
    at_path.send("third").await;
    server.wait_online("third").await;
    at_path.send("at a path").await;
    quiet.close().await;
    server.wait_offline("quiet").await;
    let events = receiver.wait(2).await;
    let mut said: Vec<_> = events.iter().map(|event| event["text"].as_str()).collect();
    said.sort_unstable();
    assert_eq!(said, [Some("at a path"), Some("by websocket")]);
}

async fn what_is_said_comes_with_the_attributes_of_who_says_it(cores: usize) {
    let receiver = Receiver::start().await;
    let server = telling(cores, &receiver, &[MESSAGES, EVENTS]).await;
    let mut plain = server.push("ws", "plain").await;
    let (mut told_all, _) = Speaking::bind(&server, json!({"uid": "v1"})).await;
    plain.send("before").await;
    assert!(receiver.wait(1).await[0].get("attributes").is_none());
    for uid in ["plain", "v1"] {
        let list = read(&server, &format!("/v1/uids/{uid}")).await;
        let id = list["list"][0]["connection"]
            .as_str()
            .expect("an id")
            .to_owned();
        let set = json!({"attributes": {"plan": "pro", "of": uid}});
        let own = format!("/v1/connections/{id}/attributes");
        assert_eq!(
            request(&server, "PUT", &own, &set["attributes"]).await.0,
            200
        );
    }
    plain.send("with").await;
    told_all
        .ask(&json!({"type": "send", "id": 1, "text": "with"}))
        .await;
    assert_eq!(told_all.frame().await["type"], "sent");
    let events = receiver.wait(3).await;
    for event in &events[1..] {
        assert_eq!(event["text"], "with");
        assert_eq!(
            event["attributes"],
            json!({"plan": "pro", "of": event["uid"]}),
            "{event}"
        );
    }
}

/// While the receiver takes nothing, clients are not read; when it does, all that they have said comes, in order.
async fn who_says_too_much_waits_and_loses_nothing(cores: usize) {
    const COUNT: usize = 300;
    let mut receiver = Receiver::start().await;
    receiver.answer("status 503").await;
    let more = [
        MESSAGES,
        EVENTS,
        ("WEBHOOKS_QUEUE_BYTES_MAX", "64 KiB"),
        ("WEBHOOKS_RETRY_DELAY_MAX", "50ms"),
        ("IDLE_TIMEOUT", "0s"),
        ("PING_INTERVAL", "0s"),
    ];
    let server = telling(cores, &receiver, &more).await;
    let clients = ["tom", "ann"].map(|uid| {
        let (server, text) = (&server, "x".repeat(2_000));
        async move {
            let mut client = server.push("text", uid).await;
            for number in 0..COUNT {
                client.send(&format!("{number} {text}")).await;
            }
            client
        }
    });
    let [tom, ann] = clients;
    let both = async { tokio::join!(tom, ann) };
    let eased = async {
        while read(&server, "/v1/uids/tom").await["list"][0]["paused"] != true {
            tokio::task::yield_now().await;
        }
        // So much waits, and no more is read.
        let waits = server.count("webhook_messages").await;
        assert!(waits < 60, "{waits} wait");
        receiver.answer("status 200").await;
    };
    let (_clients, ()) = tokio::join!(both, eased);
    let events = receiver.wait(2 * COUNT).await;
    for uid in ["tom", "ann"] {
        let own = events.iter().filter(|event| event["uid"] == uid);
        let numbers: Vec<usize> = own
            .map(|event| {
                let text = event["text"].as_str().expect("text");
                text.split(' ')
                    .next()
                    .expect("a number")
                    .parse()
                    .expect("it is")
            })
            .collect();
        assert_eq!(numbers, (0..COUNT).collect::<Vec<_>>(), "{uid}");
    }
    assert_eq!(receiver.dropped(), 0);
    assert_eq!(server.count("webhook_messages_refused").await, 0);
}

async fn who_says_too_much_is_refused_where_that_is_wanted(cores: usize) {
    let mut receiver = Receiver::start().await;
    receiver.answer("status 503").await;
    let more = [
        MESSAGES,
        EVENTS,
        ("PUSH_MESSAGES_FULL", "refuse"),
        ("WEBHOOKS_QUEUE_BYTES_MAX", "16 KiB"),
        ("WEBHOOKS_RETRY_DELAY_MAX", "50ms"),
    ];
    let server: Server = telling(cores, &receiver, &more).await;
    let mut tom = server.push("ws", "tom").await;
    let text = "x".repeat(2_000);
    for _ in 0..20 {
        if tom.try_send(&text).await.is_err() {
            break;
        }
    }
    tom.drain_to_end(1013).await;
    receiver.answer("status 200").await;
    let told = server.count("webhook_messages").await;
    assert!((3..6).contains(&told), "{told}");
    assert_eq!(receiver.wait(told as usize).await.len() as u64, told);
    assert!(server.count("webhook_messages_refused").await >= 1);
}
