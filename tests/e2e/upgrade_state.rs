//! What a server keeps besides its connections, over upgrades: whoever asks the new process gets what the old one would have
//! said.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{read, told};
use crate::chat::roster_of;
use crate::listening::{Came, Listening};
use crate::metrics::Scrape;
use crate::on_cores;
use crate::raw::Raw;
use crate::receiver::{Receiver, SECRET};
use crate::server::{Server, binary, set_driver};

on_cores! {
    a_repeated_id_has_the_first_answer,
    kept_messages_are_recovered_from_positions_of_before,
    what_waits_for_a_login_goes_on_waiting,
    what_a_peer_has_not_acknowledged_is_lost_to_nobody,
    members_hear_of_nobody_who_stays_and_of_all_who_leave,
    sticky_members_stay,
    webhooks_are_told_once_and_go_on_counting,
    counters_go_on,
    connections_keep_their_names,
    the_room_is_who_is_there,
}

/// Clients of push by websocket and events, with rules.
const FILE: &str = "uid_policy = 'multi'\n\
    [[listen]]\nurl = 'http://127.0.0.1:0'\napp = 'page'\n\
    [[listen]]\nurl = 'websocket://127.0.0.1:0'\napp = 'push'\n\
    [[listen]]\nurl = 'text://127.0.0.1:0'\napp = 'push-backend'\n\
    [[groups]]\nname = 'room.*'\npresence = true\npresence_grace = '500ms'\n\
    [[history]]\nkind = 'uid'\nname = 'q*'\nsize = 100000\nttl = '10m'\noffline = 'queue'\n\
    [[history]]\nkind = 'uid'\nsize = 1000\nttl = '10m'\n\
    [[history]]\nkind = 'group'\nsize = 1000\nttl = '10m'\n\
    [[history]]\nkind = 'all'\nsize = 1000\nttl = '10m'\n";

async fn upgrade(server: &mut Server) {
    server.upgrade().await.expect("it is upgraded");
}

/// A server with that configuration, which the next process reads, too.
struct Configured {
    server: Server,
    file: PathBuf,
}

impl Configured {
    async fn start(cores: usize) -> Configured {
        let name = format!("ringpost-{}-{}.toml", std::process::id(), fastrand::u64(..));
        let file = std::env::temp_dir().join(name);
        write(&file, cores);
        let mut command = Command::new(binary());
        command.args(["serve", "--config"]).arg(&file);
        set_driver(&mut command);
        command.env("RINGPOST_UPGRADE_TIMEOUT", "60s");
        Configured {
            server: Server::spawn(command, 3).await,
            file,
        }
    }
}

fn write(file: &Path, cores: usize) {
    std::fs::write(file, format!("cores = {cores}\n{FILE}")).expect("a file is written");
}

impl Drop for Configured {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

async fn listen(server: &Server, query: &str) -> Listening {
    let one = Listening::ask(server.address("http", "page"), query, "").await;
    assert_eq!(one.status, 200, "{}", one.head);
    one
}

async fn push(server: &Server, to: Value, text: &str) {
    let mut body = to;
    body["text"] = json!(text);
    told(server, "/v1/push", &body.to_string()).await;
}

async fn a_repeated_id_has_the_first_answer(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut client = server.push("ws", "tom").await;
    let body = |number: usize| {
        json!({"uids": ["tom", "absent"], "text": format!("{number}"), "id": format!("order {number}")})
            .to_string()
    };
    let mut first = Vec::new();
    for number in 0..20 {
        first.push(told(&server, "/v1/push", &body(number)).await);
        client.expect(&number.to_string()).await;
    }
    for _ in 0..2 {
        upgrade(&mut server).await;
        for (number, first) in first.iter().enumerate() {
            let mut again = told(&server, "/v1/push", &body(number)).await;
            assert_eq!(again["repeated"], true, "{again}");
            again.as_object_mut().expect("an object").remove("repeated");
            assert_eq!(again, *first);
        }
        client.expect_silence().await;
    }
}

async fn kept_messages_are_recovered_from_positions_of_before(cores: usize) {
    let mut configured = Configured::start(cores).await;
    let server = &mut configured.server;
    let mut stays = listen(server, "uid=stays&group=news").await;
    // Who goes away knows positions of streams that are not born, and of some that are.
    let mut early = listen(server, "uid=early&group=late").await;
    push(server, json!({"uid": "early", "keep": false}), "first").await;
    early.expect("first").await;
    let unborn = early.id.replace(':', "%3A").replace(',', "%2C");
    drop(early);
    let mut next = 0;
    let mut positions = Vec::new();
    for round in 0..3 {
        for _ in 0..10 {
            let text = format!("news {next}");
            push(server, json!({"group": "news"}), &text).await;
            stays.expect(&text).await;
            push(server, json!({"uid": "stays"}), &format!("own {next}")).await;
            stays.expect(&format!("own {next}")).await;
            positions.push(stays.id.clone());
            next += 1;
        }
        if round == 1 {
            push(server, json!({"uid": "early"}), "own of early").await;
            push(server, json!({"group": "late"}), "late").await;
            let everybody = json!({"text": "to all"}).to_string();
            told(server, "/v1/broadcast", &everybody).await;
            stays.expect("to all").await;
        }
        write(&configured.file, [3, 1, 4][round]);
        upgrade(server).await;
    }
    for (nth, position) in positions.iter().enumerate().step_by(7) {
        let since = position.replace(':', "%3A").replace(',', "%2C");
        let query = format!("uid=stays&group=news&since={since}");
        let mut back = listen(server, &query).await;
        let mut missing: BTreeSet<String> = (nth + 1..next)
            .flat_map(|number| [format!("news {number}"), format!("own {number}")])
            .collect();
        if nth < 20 {
            missing.insert("to all".to_owned());
        }
        while !missing.is_empty() {
            match back.next().await {
                Came::Comment => {}
                Came::Event(kind, data) => {
                    assert_eq!(kind, "", "{data}");
                    assert!(missing.remove(&data), "{data} from {position}");
                }
                Came::End => panic!("it ended"),
            }
        }
    }
    let mut back = listen(server, &format!("uid=early&group=late&since={unborn}")).await;
    let mut missing = BTreeSet::from(["own of early", "late"]);
    while !missing.is_empty() {
        if let Came::Event(kind, data) = back.next().await {
            assert_eq!(kind, "", "{data}");
            assert!(missing.remove(&*data) || data == "to all", "{data}");
        }
    }
}

fn line(uid: &str, number: usize) -> String {
    format!("{{\"uid\":\"{uid}\",\"n\":{number}}}")
}

async fn what_waits_for_a_login_goes_on_waiting(cores: usize) {
    let mut configured = Configured::start(cores).await;
    let server = &mut configured.server;
    let mut backend = server.backend().await;
    for number in 0..100 {
        assert_eq!(backend.ask(&line("q-later", number)).await, "ok");
    }
    // One has had its own, and gets it once.
    let mut there = server.push("ws", "q-there").await;
    for number in 0..10 {
        assert_eq!(backend.ask(&line("q-there", number)).await, "ok");
        there.expect(&line("q-there", number)).await;
    }
    for round in 0..2 {
        write(&configured.file, [4, 2][round]);
        upgrade(server).await;
        let number = 100 + round;
        assert_eq!(backend.ask(&line("q-later", number)).await, "ok");
        assert_eq!(backend.ask(&line("q-there", number)).await, "ok");
        there.expect(&line("q-there", number)).await;
    }
    let mut later = server.push("ws", "q-later").await;
    for number in 0..102 {
        later.expect(&line("q-later", number)).await;
    }
    later.expect_silence().await;
    there.expect_silence().await;
    there.close().await;
    server.wait_offline("q-there").await;
    let mut again = server.push("ws", "q-there").await;
    assert_eq!(backend.ask(&line("q-there", 500)).await, "ok");
    again.expect(&line("q-there", 500)).await;
}

/// One that has not read what it was sent before the upgrade breaks off after it.
async fn what_a_peer_has_not_acknowledged_is_lost_to_nobody(cores: usize) {
    let mut configured = Configured::start(cores).await;
    let server = &mut configured.server;
    let mut backend = server.backend().await;
    let fill = "x".repeat(5_000);
    let line = |number: usize| format!("{{\"uid\":\"q1\",\"n\":{number},\"fill\":\"{fill}\"}}");
    let mut raw = Raw::dial_narrow(server.address("ws", "push")).await;
    raw.shake_hands().await;
    raw.write(&crate::raw::masked(0x81, b"q1")).await;
    server.wait_online("q1").await;
    let count = 60;
    for number in 0..count {
        assert_eq!(backend.ask(&line(number)).await, "ok");
    }
    raw.expect(0x81, line(0).as_bytes()).await;
    upgrade(server).await;
    assert_eq!(backend.ask(&line(count)).await, "ok");
    raw.expect(0x81, line(1).as_bytes()).await;
    raw.reset();
    server.wait_offline("q1").await;
    // All that it has not read comes to the next one, in order.
    let mut next = server.push("ws", "q1").await;
    let mut number = None;
    while number != Some(count as u64) {
        let text = next.text().await;
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let came = value["n"].as_u64().expect("a number");
        match number {
            None => assert!(came >= 1, "{came} was read"),
            Some(before) => assert_eq!(came, before + 1),
        }
        number = Some(came);
    }
    next.expect_silence().await;
}

/// The next event `presence`, as who has joined and who has left.
async fn news(one: &mut Listening) -> (Value, Value) {
    loop {
        if let Came::Event(kind, data) = one.next().await
            && kind == "presence"
        {
            let told: Value = serde_json::from_str(&data).expect("JSON");
            return (told["joined"].clone(), told["left"].clone());
        }
    }
}

async fn members_hear_of_nobody_who_stays_and_of_all_who_leave(cores: usize) {
    let mut configured = Configured::start(cores).await;
    let server = &mut configured.server;
    let mut ann = listen(server, "uid=ann&group=room.1").await;
    assert_eq!(news(&mut ann).await, (json!(["ann"]), json!([])));
    let tom = listen(server, "uid=tom&group=room.1").await;
    assert_eq!(news(&mut ann).await, (json!(["tom"]), json!([])));
    for cores in [2, 3, 1] {
        write(&configured.file, cores);
        upgrade(server).await;
    }
    // Longer than the grace, and than connections may take to come.
    tokio::time::sleep(Duration::from_secs(2)).await;
    ann.expect_silence().await;
    let page = read(server, "/v1/groups/room.1").await;
    assert_eq!(page["connections"], 2, "{page}");
    drop(tom);
    assert_eq!(news(&mut ann).await, (json!([]), json!(["tom"])));
    upgrade(server).await;
    let _kim = listen(server, "uid=kim&group=room.1").await;
    assert_eq!(news(&mut ann).await, (json!(["kim"]), json!([])));
    // Gone just before: told after.
    let eve = listen(server, "uid=eve&group=room.1").await;
    assert_eq!(news(&mut ann).await, (json!(["eve"]), json!([])));
    drop(eve);
    server.wait_offline("eve").await;
    upgrade(server).await;
    assert_eq!(news(&mut ann).await, (json!([]), json!(["eve"])));
}

async fn sticky_members_stay(cores: usize) {
    let mut configured = Configured::start(cores).await;
    let server = &mut configured.server;
    for number in 0..20 {
        let body = json!({"uid": format!("s{number}"), "sticky": true}).to_string();
        told(server, "/v1/groups/club/join", &body).await;
    }
    let before = server.count("sticky_members").await;
    assert!(before >= 20, "{before}");
    for cores in [3, 2] {
        write(&configured.file, cores);
        upgrade(server).await;
        assert_eq!(server.count("sticky_members").await, before);
    }
    let mut clients = Vec::new();
    for number in 0..20 {
        clients.push(server.push("ws", &format!("s{number}")).await);
    }
    push(server, json!({"group": "club", "keep": false}), "hello").await;
    for client in &mut clients {
        client.expect("hello").await;
    }
}

async fn webhooks_are_told_once_and_go_on_counting(cores: usize) {
    let mut receiver = Receiver::start().await;
    let url = receiver.url();
    let settings = [
        ("WEBHOOKS_URL", url.as_str()),
        ("WEBHOOKS_SECRET", SECRET),
        ("WEBHOOKS_BATCH_DELAY", "20ms"),
        ("WEBHOOKS_RETRY_DELAY_MAX", "200ms"),
    ];
    let mut server = Server::with(cores, &settings).await;
    let mut clients = Vec::new();
    for number in 0..10 {
        clients.push(server.relay("ws", &format!("before{number}")).await);
    }
    receiver.wait(10).await;
    // What is told now is not delivered before the upgrade.
    receiver.answer("status 503").await;
    for number in 0..10 {
        clients.push(server.relay("ws", &format!("amid{number}")).await);
    }
    upgrade(&mut server).await;
    for number in 0..10 {
        clients.push(server.relay("ws", &format!("after{number}")).await);
    }
    receiver.answer("status 200").await;
    receiver.wait(30).await;
    upgrade(&mut server).await;
    clients.drain(..5);
    let events = receiver.wait(35).await;
    // Connections that have come over are told of no more, and all is of one server, with one count a core.
    let servers: BTreeSet<String> = receiver
        .batches()
        .iter()
        .map(|batch| batch["server"].to_string())
        .collect();
    assert_eq!(servers.len(), 1, "{servers:?}");
    let ids = events.iter().map(|event| {
        let id = event["id"].as_str().expect("an id");
        let (core, number) = id.rsplit_once('-').expect("a number");
        (core.to_owned(), number.parse::<u64>().expect("a number"))
    });
    let mut of_cores = std::collections::BTreeMap::<String, BTreeSet<u64>>::new();
    for (core, number) in ids {
        assert!(of_cores.entry(core).or_default().insert(number), "twice");
    }
    for (core, numbers) in of_cores {
        let count = numbers.len() as u64;
        assert_eq!(numbers.last(), Some(&count), "{core}: {numbers:?}");
    }
    let batches = receiver.batches();
    let numbers: Vec<u64> = batches
        .iter()
        .map(|batch| batch["batch"].as_u64().expect("a number"))
        .collect();
    let mut in_order = numbers.clone();
    in_order.sort_unstable();
    in_order.dedup();
    assert_eq!(numbers, in_order, "each batch is delivered once, in order");
    assert_eq!(receiver.dropped(), 0);
}

async fn counters_go_on(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut backend = server.backend().await;
    let mut tom = server.push("ws", "tom").await;
    for number in 0..50 {
        assert_eq!(backend.ask(&line("tom", number)).await, "ok");
        tom.expect(&line("tom", number)).await;
    }
    let names = [
        "ringpost_received_messages_total",
        "ringpost_sent_messages_total",
        "ringpost_received_bytes_total",
        "ringpost_sent_bytes_total",
        "ringpost_binds_total",
        "ringpost_pushes_total",
        "ringpost_closes_total",
        "ringpost_doorbells_total",
    ];
    let mut before: Vec<f64> = vec![0.0; names.len()];
    for upgrades in 0..3 {
        let scrape = Scrape::of(&server).await;
        let (done, failed) = (r#"result="done""#, r#"result="failed""#);
        let counted = |result: &str| scrape.sum("ringpost_upgrades_total", result);
        assert_eq!((counted(done), counted(failed)), (f64::from(upgrades), 0.0));
        let pause = scrape.sum("ringpost_upgrade_pause_seconds", "");
        assert_eq!(pause > 0.0, upgrades > 0, "{pause}");
        for (name, before) in names.iter().zip(&mut before) {
            let now = scrape.sum(name, "");
            assert!(now >= *before, "{name}: {now} after {before}");
            *before = now;
        }
        upgrade(&mut server).await;
    }
    assert!(before[0] >= 50.0 && before[5] >= 50.0, "{before:?}");
    // Nobody is bound once more.
    assert_eq!(server.count("binds").await, 1);
    assert_eq!(server.count("bound").await, 1);
}

async fn connections_keep_their_names(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut clients = Vec::new();
    let mut names = BTreeSet::new();
    let name_of = async |server: &Server, uid: &str| {
        let found = read(server, &format!("/v1/uids/{uid}")).await;
        assert_eq!(found["connections"], 1, "{found}");
        found["list"][0]["connection"]
            .as_str()
            .expect("a name")
            .to_owned()
    };
    for round in 0..4 {
        for number in 0..5 {
            let uid = format!("u{round}-{number}");
            clients.push((uid.clone(), server.push("ws", &uid).await));
            assert!(names.insert(name_of(&server, &uid).await), "one name twice");
        }
        upgrade(&mut server).await;
        for (uid, client) in &mut clients {
            let name = name_of(&server, uid).await;
            assert!(names.contains(&name), "{uid} is {name}");
            let body = json!({"connection": name, "text": "to you"}).to_string();
            let answer = told(&server, "/v1/push", &body).await;
            assert_eq!(answer["connections"], 1, "{answer}");
            client.expect("to you").await;
        }
    }
}

async fn the_room_is_who_is_there(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut zoe = server.chat("Zoe").await;
    roster_of(&mut zoe, 1).await;
    let mut max = server.chat("Max").await;
    for client in [&mut zoe, &mut max] {
        roster_of(client, 2).await;
    }
    for _ in 0..2 {
        upgrade(&mut server).await;
        zoe.expect_silence().await;
        max.send(&format!("chat:<{}>:hello", zoe.local())).await;
        zoe.expect("msg:hello").await;
        // Who comes sees everybody, and everybody sees who comes and goes.
        let mut third = server.chat("Third").await;
        let roster = roster_of(&mut third, 3).await;
        assert_eq!(roster[zoe.local().to_string()], "Zoe");
        roster_of(&mut zoe, 3).await;
        roster_of(&mut max, 3).await;
        drop(third);
        roster_of(&mut zoe, 2).await;
        roster_of(&mut max, 2).await;
    }
    drop(max);
    roster_of(&mut zoe, 1).await;
    upgrade(&mut server).await;
    zoe.expect_silence().await;
    // The same room has the same seats.
    let mut last = server.chat("Last").await;
    roster_of(&mut last, 2).await;
}
