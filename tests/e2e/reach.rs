//! Who reaches whom: relay reaches relay, the back end reaches relay and push, chat only chat.

use crate::on_cores;
use crate::seed;
use crate::server::Server;

on_cores! {
    a_relay_client_reaches_no_push_connection,
    the_same_uid_in_relay_and_push_is_two_addresses_to_relay_and_one_to_the_back_end,
    the_back_end_reaches_relay_and_push,
    the_back_end_does_not_reach_chat,
    a_relay_client_does_not_reach_chat,
    nobody_can_claim_a_chat_address,
    a_chat_user_reaches_neither_relay_nor_push,
}

async fn a_relay_client_reaches_no_push_connection(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 9);
    let mut relay = server.relay("ws", &uids[0]).await;
    for uid in &uids[1..] {
        let mut push = server.push("ws", uid).await;
        relay.send(&format!("{uid}:forged")).await;
        relay
            .expect(&format!("error: uid \"{uid}\" is not online"))
            .await;
        relay.send("all:forged").await;
        relay.expect("forged").await;
        push.expect_silence().await;
    }
}

async fn the_same_uid_in_relay_and_push_is_two_addresses_to_relay_and_one_to_the_back_end(
    cores: usize,
) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut push = server.push("ws", &uid).await;
    let mut relay = server.relay("ws", &uid).await;
    relay.send(&format!("{uid}:from relay")).await;
    relay.expect("from relay").await;
    push.expect_silence().await;
    let line = format!("{{\"uid\":\"{uid}\"}}");
    assert_eq!(server.backend().await.ask(&line).await, "ok");
    relay.expect(&line).await;
    push.expect(&line).await;
}

async fn the_back_end_reaches_relay_and_push(cores: usize) {
    let server = Server::start(cores).await;
    let mut rng = seed::rng();
    let mut backend = server.backend().await;
    for scheme in ["ws", "text", "frame"] {
        let uids = seed::uids(&mut rng, 2);
        let mut relay = server.relay(scheme, &uids[0]).await;
        let mut push = server.push(scheme, &uids[1]).await;
        for (client, uid) in [(&mut relay, &uids[0]), (&mut push, &uids[1])] {
            let line = format!("{{\"uid\":\"{uid}\",\"n\":1}}");
            assert_eq!(backend.ask(&line).await, "ok");
            client.expect(&line).await;
        }
    }
}

async fn the_back_end_does_not_reach_chat(cores: usize) {
    let server = Server::start(cores).await;
    let mut chat = server.chat("Zoe").await;
    chat.expect_start("users:").await;
    let address = chat.local();
    let mut backend = server.backend().await;
    assert_eq!(backend.ask(&format!("online {address}")).await, "fail");
    assert_eq!(backend.ask(&format!("kick {address}")).await, "fail");
    assert_eq!(
        backend.ask(&format!("{{\"uid\":\"{address}\"}}")).await,
        "fail"
    );
    assert_eq!(backend.ask("{\"uid\":\"all\"}").await, "fail");
    chat.expect_silence().await;
}

async fn a_relay_client_does_not_reach_chat(cores: usize) {
    let server = Server::start(cores).await;
    let mut chat = server.chat("Zoe").await;
    chat.expect_start("users:").await;
    let mut relay = server.relay("ws", &seed::uid(&mut seed::rng())).await;
    relay.send("all:hello").await;
    relay.expect("hello").await;
    relay.send(&format!("{}:hello", chat.local())).await;
    relay
        .expect_start("error: uid \"127.0.0.1\" is not online")
        .await;
    chat.expect_silence().await;
}

async fn nobody_can_claim_a_chat_address(cores: usize) {
    let server = Server::start(cores).await;
    let mut zoe = server.chat("Zoe").await;
    zoe.expect_start("users:").await;
    // A push uid may look like an address, but it is one in another namespace.
    let mut claimant = server.push("ws", &zoe.local().to_string()).await;
    let mut max = server.chat("Max").await;
    max.expect_start("users:").await;
    zoe.expect_start("users:").await;
    max.send(&format!("chat:<{}>:for Zoe alone", zoe.local()))
        .await;
    zoe.expect("msg:for Zoe alone").await;
    claimant.expect_silence().await;
    // And pushing to the claimed address finds the claimant, not the chat user.
    let line = format!("{{\"uid\":\"{}\"}}", zoe.local());
    assert_eq!(server.backend().await.ask(&line).await, "ok");
    claimant.expect(&line).await;
    zoe.expect_silence().await;
}

async fn a_chat_user_reaches_neither_relay_nor_push(cores: usize) {
    let server = Server::start(cores).await;
    let uids = seed::uids(&mut seed::rng(), 2);
    let mut relay = server.relay("ws", &uids[0]).await;
    let mut push = server.push("ws", &uids[1]).await;
    let mut chat = server.chat("Zoe").await;
    chat.expect_start("users:").await;
    for uid in &uids {
        chat.send(&format!("chat:<{uid}>:hello")).await;
        chat.expect_start("notice:error ").await;
    }
    for other in [relay.local(), push.local()] {
        chat.send(&format!("chat:<{other}>:hello")).await;
        chat.expect_start("notice:error ").await;
    }
    relay.expect_silence().await;
    push.expect_silence().await;
}
