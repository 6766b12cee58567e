//! Chat: login, messages, and the errors.

use std::net::TcpListener;

use serde_json::Value;

use crate::client::Client;
use crate::on_cores;
use crate::server::Server;

/// The roster in a `users:` message.
pub fn roster(text: &str) -> Value {
    let json = text
        .strip_prefix("users:")
        .unwrap_or_else(|| panic!("no roster: {text:?}"));
    let roster: Value =
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {text:?}"));
    assert!(roster.is_object(), "{text:?}");
    roster
}

/// Takes rosters until one has so many users.
pub async fn roster_of(client: &mut Client, count: usize) -> Value {
    loop {
        let roster = roster(&client.expect_start("users:").await);
        if roster.as_object().map(|users| users.len()) == Some(count) {
            return roster;
        }
    }
}

on_cores! {
    a_login_is_welcomed_and_gets_the_roster,
    the_commands_may_be_in_any_case,
    a_name_has_3_to_20_letters_digits_or_underscores_of_any_script,
    a_name_is_what_a_login_begins_with,
    a_pile_of_marks_is_cut,
    a_bad_name_is_an_error_and_another_may_follow,
    a_second_login_is_an_error,
    a_greeting_is_answered_and_another_message_is_not,
    a_message_goes_to_the_address_it_names,
    an_address_stands_in_angle_brackets,
    messages_between_two_keep_their_order,
    a_message_to_nobody_is_an_error,
    who_is_not_logged_in_cannot_speak,
    an_unknown_command_is_an_error,
    an_ipv4_address_is_plain_on_a_dual_listener_and_ipv6_has_brackets,
}

async fn a_login_is_welcomed_and_gets_the_roster(cores: usize) {
    let server = Server::start(cores).await;
    for scheme in ["ws", "text"] {
        let mut client = server.connect(scheme, "chat").await;
        client.send("login:Zoe").await;
        client.expect("notice:success").await;
        client.expect("msg:welcome Zoe").await;
        let roster = roster_of(&mut client, 1).await;
        assert_eq!(roster[client.local().to_string()], "Zoe", "{roster}");
        client.close().await;
        // The room is empty again before the next one enters.
        while server.count("bound").await > 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn the_commands_may_be_in_any_case(cores: usize) {
    let server = Server::start(cores).await;
    for (login, msg, chat) in [
        ("login", "msg", "chat"),
        ("LOGIN", "MSG", "CHAT"),
        ("lOgIn", "Msg", "cHaT"),
    ] {
        let mut client = server.connect("ws", "chat").await;
        client.send(&format!("{login}:Zoe")).await;
        client.expect("notice:success").await;
        client.expect("msg:welcome Zoe").await;
        roster_of(&mut client, 1).await;
        client.send(&format!("{msg}:nihao")).await;
        client.expect("msg:nihao Zoe").await;
        let own = client.local();
        client.send(&format!("{chat}:<{own}>:to myself")).await;
        client.expect("msg:to myself").await;
        client.close().await;
        while server.count("bound").await > 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Logs in and says as whom, after everybody's roster has that name.
async fn named(server: &Server, login: &str) -> String {
    let mut client = server.connect("ws", "chat").await;
    client.send(&format!("login:{login}")).await;
    client.expect("notice:success").await;
    let welcome = client.text().await;
    let name = welcome.strip_prefix("msg:welcome ").expect("a welcome");
    let own = client.local().to_string();
    while roster(&client.expect_start("users:").await)[&own] != *name {}
    name.to_owned()
}

async fn a_name_has_3_to_20_letters_digits_or_underscores_of_any_script(cores: usize) {
    let server = Server::start(cores).await;
    for name in [
        "abc",
        "x_9",
        "___",
        "Зоя",
        "王小明",
        "Ünal_42",
        "abcdefghijklmnopqrst",
        "абвгдежзийклмнопрсту",
        // Marks count with their letter, and stay as they came.
        "प्रिया",
        "நமஸ்தே",
        "မြန်မာ",
        "ខ្មែរ",
        "Jose\u{301}",
    ] {
        assert_eq!(named(&server, name).await, name);
    }
}

async fn a_name_is_what_a_login_begins_with(cores: usize) {
    let server = Server::start(cores).await;
    for (login, name) in [
        ("Tom Smith", "Tom"),
        ("Tom:", "Tom"),
        ("Tom<img src=x>", "Tom"),
        ("Jose\u{301} Luis", "Jose\u{301}"),
        ("abcdefghijklmnopqrstu", "abcdefghijklmnopqrst"),
        (&"e\u{301}".repeat(30), &"e\u{301}".repeat(20)),
    ] {
        assert_eq!(named(&server, login).await, name);
    }
}

async fn a_pile_of_marks_is_cut(cores: usize) {
    let server = Server::start(cores).await;
    let pile = format!("abc{}", "\u{301}".repeat(20_000));
    let name = named(&server, &pile).await;
    assert!(
        name.starts_with("abc\u{301}") && name.len() < 20,
        "{name:?}"
    );
}

async fn a_bad_name_is_an_error_and_another_may_follow(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.connect("ws", "chat").await;
    for name in [
        "",
        "ab",
        "王",
        "a b c",
        " abc",
        "<img src=x>",
        "a-b-c",
        "ab\u{7f}c",
        "Jo\u{301}",
        "\u{301}abc",
        "🌍🌍🌍",
    ] {
        client.send(&format!("login:{name}")).await;
        client.expect_start("notice:error ").await;
    }
    client.send("login:Zoe").await;
    client.expect("notice:success").await;
}

pub async fn a_second_login_is_an_error(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.chat("Zoe").await;
    client.expect_start("users:").await;
    for name in ["Max", "Zoe"] {
        client.send(&format!("login:{name}")).await;
        client.expect_start("notice:error ").await;
    }
    // The first name stays.
    client.send("msg:nihao").await;
    client.expect("msg:nihao Zoe").await;
}

async fn a_greeting_is_answered_and_another_message_is_not(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.chat("Zoe").await;
    client.expect_start("users:").await;
    client.send("msg:nihao").await;
    client.expect("msg:nihao Zoe").await;
    client.send("msg:other").await;
    client.send("msg:").await;
    client.expect_silence().await;
}

async fn a_message_goes_to_the_address_it_names(cores: usize) {
    let server = Server::start(cores).await;
    let mut clients = Vec::new();
    for n in 0..8 {
        clients.push(server.chat(&format!("user_{n}")).await);
    }
    for client in &mut clients {
        roster_of(client, 8).await;
    }
    for from in 0..8 {
        for to in 0..8 {
            let address = clients[to].local();
            clients[from]
                .send(&format!("chat:<{address}>:from {from}: <b>&</b> a:b"))
                .await;
            clients[to]
                .expect(&format!("msg:from {from}: <b>&</b> a:b"))
                .await;
        }
    }
    for client in &mut clients {
        client.expect_silence().await;
    }
}

async fn an_address_stands_in_angle_brackets(cores: usize) {
    let server = Server::start(cores).await;
    let mut zoe = server.chat("Zoe").await;
    let mut max = server.chat("Max").await;
    roster_of(&mut zoe, 2).await;
    roster_of(&mut max, 2).await;
    let address = zoe.local();
    for message in [
        format!("chat:{address}:hello"),
        format!("chat:{address}>:hello"),
        format!("chat:<{address}:hello"),
        format!("chat:<{address}>hello"),
        format!("chat:<{address}>"),
        format!("chat: <{address}>:hello"),
        format!("chat:<<{address}>>:hello"),
        "chat:hello".to_owned(),
        "chat:".to_owned(),
    ] {
        max.send(&message).await;
        max.expect_start("notice:error ").await;
    }
    // The text is whatever follows, nothing included.
    for text in ["", "hi: there", "a>:b", "<b>", "a\r\nb\n"] {
        max.send(&format!("chat:<{address}>:{text}")).await;
        zoe.expect(&format!("msg:{text}")).await;
    }
    zoe.expect_silence().await;
}

async fn messages_between_two_keep_their_order(cores: usize) {
    let server = Server::start(cores).await;
    let mut zoe = server.chat("Zoe").await;
    let mut max = server.chat("Max").await;
    roster_of(&mut zoe, 2).await;
    for n in 0..300 {
        max.send(&format!("chat:<{}>:{n}", zoe.local())).await;
    }
    for n in 0..300 {
        zoe.expect(&format!("msg:{n}")).await;
    }
}

pub async fn a_message_to_nobody_is_an_error(cores: usize) {
    let server = Server::start(cores).await;
    let mut zoe = server.chat("Zoe").await;
    zoe.expect_start("users:").await;
    let stranger = server.connect("ws", "chat").await;
    for message in [
        "chat:<127.0.0.1:1>:hello".to_owned(),
        "chat:<10.0.0.1:80>:hello".to_owned(),
        "chat:<Zoe>:hello".to_owned(),
        "chat:<>:hello".to_owned(),
        "chat:<all>:hello".to_owned(),
        // Connected, but not logged in.
        format!("chat:<{}>:hello", stranger.local()),
    ] {
        zoe.send(&message).await;
        zoe.expect("notice:error no such user").await;
    }
    // One who has left.
    let max = server.chat("Max").await;
    let address = max.local();
    roster_of(&mut zoe, 2).await;
    max.close().await;
    roster_of(&mut zoe, 1).await;
    zoe.send(&format!("chat:<{address}>:hello")).await;
    zoe.expect("notice:error no such user").await;
}

async fn who_is_not_logged_in_cannot_speak(cores: usize) {
    let server = Server::start(cores).await;
    let mut zoe = server.chat("Zoe").await;
    zoe.expect_start("users:").await;
    let mut stranger = server.connect("ws", "chat").await;
    for message in [
        "msg:nihao",
        "msg:other",
        &format!("chat:<{}>:hello", zoe.local()),
    ] {
        stranger.send(message).await;
        stranger.expect_start("notice:error ").await;
    }
    zoe.expect_silence().await;
}

async fn an_unknown_command_is_an_error(cores: usize) {
    let server = Server::start(cores).await;
    let mut client = server.chat("Zoe").await;
    client.expect_start("users:").await;
    for message in ["", "hello", "quit:", "users:", ":", "notice:success"] {
        client.send(message).await;
        client.expect_start("notice:error ").await;
    }
    client.send_binary(b"\xff\xfe").await;
    client.expect_start("notice:error ").await;
}

async fn an_ipv4_address_is_plain_on_a_dual_listener_and_ipv6_has_brackets(cores: usize) {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        println!("no IPv6 on this machine ({error}): its addresses are not tested");
        return;
    }
    let server = Server::on(cores, &[], &["websocket://[::]:0=chat"]).await;
    let port = server.address("ws", "chat").port();
    let mut four = Client::connect("ws", ([127, 0, 0, 1], port).into()).await;
    let mut six = Client::connect("ws", (std::net::Ipv6Addr::LOCALHOST, port).into()).await;
    for (client, name) in [(&mut four, "four"), (&mut six, "six")] {
        client.send(&format!("login:{name}")).await;
        client.expect("notice:success").await;
        client.expect(&format!("msg:welcome {name}")).await;
    }
    let roster = roster_of(&mut four, 2).await;
    assert_eq!(
        roster[format!("127.0.0.1:{}", four.local().port())],
        "four",
        "{roster}"
    );
    assert_eq!(
        roster[format!("[::1]:{}", six.local().port())],
        "six",
        "{roster}"
    );
    roster_of(&mut six, 2).await;
    four.send(&format!(
        "chat:<[::1]:{}>:to six: hello",
        six.local().port()
    ))
    .await;
    six.expect("msg:to six: hello").await;
    six.send(&format!("chat:<127.0.0.1:{}>:to four", four.local().port()))
        .await;
    four.expect("msg:to four").await;
}
