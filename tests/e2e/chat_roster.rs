//! The roster: merged, the last state always arrives, and a room has a limit.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::chat::{roster, roster_of};
use crate::client::Got;
use crate::on_cores;
use crate::server::Server;

on_cores! {
    everybody_logged_in_gets_the_new_roster_and_nobody_else,
    whoever_breaks_off_leaves_the_roster,
    two_users_of_one_name_are_two_entries,
    many_logins_at_once_cost_few_rosters_and_the_last_is_complete,
    rosters_keep_their_distance,
    a_full_room_takes_nobody_until_one_leaves,
}

async fn everybody_logged_in_gets_the_new_roster_and_nobody_else(cores: usize) {
    let server = Server::start(cores).await;
    let mut stranger = server.connect("ws", "chat").await;
    let mut zoe = server.chat("Zoe").await;
    roster_of(&mut zoe, 1).await;
    let mut max = server.chat("Max").await;
    for client in [&mut zoe, &mut max] {
        roster_of(client, 2).await;
    }
    let roster = {
        let mut third = server.chat("Third").await;
        let roster = roster_of(&mut third, 3).await;
        third.close().await;
        roster
    };
    assert_eq!(roster[zoe.local().to_string()], "Zoe");
    assert_eq!(roster[max.local().to_string()], "Max");
    for client in [&mut zoe, &mut max] {
        let last = roster_of(client, 2).await;
        assert!(!last.to_string().contains("Third"), "{last}");
    }
    stranger.expect_silence().await;
}

async fn whoever_breaks_off_leaves_the_roster(cores: usize) {
    let server = Server::start(cores).await;
    let mut zoe = server.chat("Zoe").await;
    for n in 0..4 {
        let other = server.chat(&format!("other_{n}")).await;
        roster_of(&mut zoe, 2).await;
        // No close frame: the socket just ends.
        drop(other);
        roster_of(&mut zoe, 1).await;
    }
}

async fn two_users_of_one_name_are_two_entries(cores: usize) {
    let server = Server::start(cores).await;
    let mut one = server.chat("Zoe").await;
    let mut two = server.chat("Zoe").await;
    let roster = roster_of(&mut one, 2).await;
    assert_eq!(roster_of(&mut two, 2).await, roster);
    assert!(
        roster
            .as_object()
            .expect("an object")
            .values()
            .all(|name| name == "Zoe")
    );
}

async fn many_logins_at_once_cost_few_rosters_and_the_last_is_complete(cores: usize) {
    let server = Server::with(cores, &[("CHAT_ROSTER_INTERVAL", "500ms")]).await;
    let mut watcher = server.chat("watcher").await;
    roster_of(&mut watcher, 1).await;
    let start = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..120 {
        clients.push(server.connect("ws", "chat").await);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(&format!("login:user_{n}")).await;
    }
    let mut rosters = 0;
    loop {
        let roster = roster(&watcher.expect_start("users:").await);
        rosters += 1;
        if roster.as_object().map(|users| users.len()) == Some(121) {
            break;
        }
    }
    let most = start.elapsed().as_millis() / 500 + 3;
    assert!(
        rosters <= most,
        "{rosters} rosters in {:?}",
        start.elapsed()
    );
    watcher.expect_silence().await;
    // The last state reaches each of them, too.
    for client in &mut clients {
        client.expect("notice:success").await;
        client.expect_start("msg:welcome ").await;
        roster_of(client, 121).await;
    }
    // And when all leave at once.
    drop(clients);
    let last = roster_of(&mut watcher, 1).await;
    assert_eq!(last[watcher.local().to_string()], "watcher");
    watcher.expect_silence().await;
}

async fn rosters_keep_their_distance(cores: usize) {
    let server = Server::with(cores, &[("CHAT_ROSTER_INTERVAL", "400ms")]).await;
    let mut watcher = server.chat("watcher").await;
    roster_of(&mut watcher, 1).await;
    let start = Instant::now();
    let mut rosters = 0;
    let mut others = Vec::new();
    // Something changes all the time.
    while start.elapsed() < Duration::from_secs(3) {
        others.push(server.chat("other").await);
        if others.len() > 3 {
            others.remove(0);
        }
        while let Some(got) = watcher.next_within(Duration::from_millis(20)).await {
            let Got::Text(text) = got else {
                panic!("unexpected {got:?}")
            };
            roster(&text);
            rosters += 1;
        }
    }
    let most = start.elapsed().as_millis() / 400 + 2;
    assert!(
        (2..=most).contains(&rosters),
        "{rosters} rosters in {:?}",
        start.elapsed()
    );
}

async fn a_full_room_takes_nobody_until_one_leaves(cores: usize) {
    let server = Server::with(cores, &[("CHAT_USERS_MAX", "2")]).await;
    let mut zoe = server.chat("Zoe").await;
    let max = server.chat("Max").await;
    roster_of(&mut zoe, 2).await;
    let mut third = server.connect("ws", "chat").await;
    third.send("login:Third").await;
    third.expect("notice:error room is full").await;
    third.send("msg:nihao").await;
    third.expect_start("notice:error ").await;
    max.close().await;
    roster_of(&mut zoe, 1).await;
    let start = Instant::now();
    loop {
        third.send("login:Third").await;
        let answer = third.text().await;
        if answer == "notice:success" {
            break;
        }
        assert_eq!(answer, "notice:error room is full");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "the place stays taken"
        );
        sleep(Duration::from_millis(20)).await;
    }
    third.expect("msg:welcome Third").await;
    roster_of(&mut zoe, 2).await;
}
