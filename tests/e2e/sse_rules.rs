//! Server-Sent Events: who is let in, by which uid, from which page, and how many.

use tokio::io::AsyncWriteExt;

use crate::http::{exchange, get};
use crate::listening::Listening;
use crate::on_cores;
use crate::seed;
use crate::server::Server;
use crate::tokens::{self, File, OTHER, SECRET, in_seconds, sign, token};

on_cores! {
    what_is_no_uid_is_refused,
    a_uid_is_read_as_forms_write_it,
    reject_answers_409,
    replace_ends_the_older_stream,
    a_uid_has_so_many_connections,
    they_count_as_clients,
    an_address_has_so_many,
    proxies_tell_whose_they_are,
    foreign_pages_are_kept_out,
    listed_pages_are_let_in,
    a_token_says_who_it_is,
    a_stream_ends_with_its_proof,
    tokens_come_from_our_pages_alone,
    on_loopback_the_host_must_be_ours,
}

async fn what_is_no_uid_is_refused(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    for query in [
        "",
        "uid=",
        "uid=all",
        "uid=a%00",
        "uid=a&uid=b",
        "uid=%ff",
        "u=a",
    ] {
        let answer = get(address, &format!("/v1/events?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        assert_eq!(answer.json()["error"]["code"], "bad_uid", "{query}");
    }
    let long = get(address, &format!("/v1/events?uid={}", "x".repeat(129))).await;
    assert_eq!(long.status, 400);
    for (method, status) in [("POST", 405), ("HEAD", 405), ("OPTIONS", 204)] {
        let request = format!(
            "{method} /v1/events?uid=a HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        );
        let mut http = crate::http::Http::dial(address).await;
        http.write(request.as_bytes()).await;
        let answer = http.head_response().await.expect("an answer");
        assert_eq!(answer.status, status, "{method}");
    }
    let newer = format!("GET /v1/events?uid=a HTTP/2.0\r\nHost: {address}\r\n\r\n");
    assert_eq!(exchange(address, &newer).await.status, 505);
    // After a refusal the connection goes on.
    let twice = format!("GET /v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut http = crate::http::Http::dial(address).await;
    for _ in 0..2 {
        http.write(twice.as_bytes()).await;
        assert_eq!(http.response().await.expect("an answer").status, 400);
    }
    assert_eq!(server.count("uids").await, 0);
}

async fn a_uid_is_read_as_forms_write_it(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let _one = Listening::ask(address, "x=1&uid=a+b%2B%e6%b0%b4&y", "").await;
    let mut backend = server.backend().await;
    assert_eq!(backend.ask("online a b+水").await, "ok");
}

async fn reject_answers_409(cores: usize) {
    let server = Server::with(cores, &[("UID_POLICY", "reject")]).await;
    let address = server.address("http", "page");
    for uid in seed::uids(&mut seed::rng(), 6) {
        let mut first = server.push("ws", &uid).await;
        let query = format!("uid={uid}");
        let from = format!("Origin: http://{address}\r\n");
        let mut second = Listening::ask(address, &query, &from).await;
        assert_eq!(second.status, 409, "{}", second.head);
        assert!(!second.has("content-type: text/event-stream"));
        second.socket.shutdown().await.expect("an end");
        let line = format!("{{\"uid\":\"{uid}\"}}");
        assert_eq!(server.backend().await.ask(&line).await, "ok");
        first.expect(&line).await;
    }
    assert_eq!(server.closed("uid in use").await, 6);
}

async fn replace_ends_the_older_stream(cores: usize) {
    let server = Server::with(cores, &[("UID_POLICY", "replace")]).await;
    let uid = seed::uid(&mut seed::rng());
    let mut first = server.listen(&uid).await;
    let mut second = server.listen(&uid).await;
    first.expect_close(4001).await;
    let line = format!("{{\"uid\":\"{uid}\"}}");
    assert_eq!(server.backend().await.ask(&line).await, "ok");
    second.expect(&line).await;
}

async fn a_uid_has_so_many_connections(cores: usize) {
    let server = Server::with(cores, &[("CONNECTIONS_PER_UID_MAX", "2")]).await;
    let uid = seed::uid(&mut seed::rng());
    let _kept = (server.listen(&uid).await, server.listen(&uid).await);
    let third = Listening::ask(server.address("http", "page"), &format!("uid={uid}"), "").await;
    assert_eq!(third.status, 409);
}

async fn they_count_as_clients(cores: usize) {
    let settings = [("MAX_CONNECTIONS", "3"), ("HTTP_CONNECTIONS_MAX", "2")];
    let server = Server::with(cores, &settings).await;
    let address = server.address("http", "page");
    let first = server.listen("a").await;
    // More than there may be HTTP connections.
    let _kept = (server.listen("b").await, server.listen("c").await);
    let fourth = Listening::ask(address, "uid=d", "").await;
    assert_eq!(fourth.status, 503, "{}", fourth.head);
    assert!(fourth.has("retry-after: 5"), "{}", fourth.head);
    assert_eq!(get(address, "/healthz").await.status, 200);
    drop(first);
    server.wait_offline("a").await;
    server.listen("d").await;
    assert_eq!(server.closed("connection limit").await, 1);
}

async fn an_address_has_so_many(cores: usize) {
    let server = Server::with(cores, &[("CONNECTIONS_PER_ADDRESS_MAX", "1")]).await;
    let address = server.address("http", "page");
    let first = server.listen("a").await;
    let second = Listening::ask(address, "uid=b", "").await;
    assert_eq!(second.status, 503, "{}", second.head);
    assert!(second.has("retry-after: 5"));
    drop((first, second));
    server.wait_offline("a").await;
    server.listen("c").await;
    assert_eq!(server.closed("address limit").await, 1);
}

async fn proxies_tell_whose_they_are(cores: usize) {
    let settings = [
        ("CONNECTIONS_PER_ADDRESS_MAX", "1"),
        ("TRUSTED_PROXIES", "127.0.0.1"),
    ];
    let server = Server::with(cores, &settings).await;
    let address = server.address("http", "page");
    let by = |ip: &str| format!("X-Forwarded-For: {ip}\r\n");
    let mut kept = Vec::new();
    for (uid, ip, status) in [
        ("uid=a", "192.0.2.1", 200),
        ("uid=b", "192.0.2.2", 200),
        ("uid=c", "192.0.2.1", 503),
    ] {
        let one = Listening::ask(address, uid, &by(ip)).await;
        assert_eq!(one.status, status, "{uid}");
        kept.push(one);
    }
    kept.clear();
    server.wait_offline("a").await;
    let again = Listening::ask(address, "uid=a", &by("192.0.2.1")).await;
    assert_eq!(again.status, 200);
}

async fn foreign_pages_are_kept_out(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    for (lines, status) in [
        ("Origin: https://evil.example\r\n", 403),
        ("Origin: http://localhost:3000\r\n", 200),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: none\r\n", 200),
        ("", 200),
    ] {
        let one = Listening::ask(address, "uid=a", lines).await;
        assert_eq!(one.status, status, "{lines}");
        let origin = lines.trim().strip_prefix("Origin: ");
        let told = format!(
            "access-control-allow-origin: {}",
            origin.unwrap_or_default()
        );
        assert_eq!(
            one.has(&told),
            status == 200 && origin.is_some(),
            "{}",
            one.head
        );
    }
    assert_eq!(server.closed("bad handshake").await, 4);
}

async fn listed_pages_are_let_in(cores: usize) {
    let server = Server::with(cores, &[("ORIGINS", "https://shop.example")]).await;
    let address = server.address("http", "page");
    for (lines, status) in [
        ("Origin: https://shop.example\r\n", 200),
        ("Origin: https://shop.example:8443\r\n", 403),
        ("Origin: http://localhost\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 403),
    ] {
        let one = Listening::ask(address, "uid=a", lines).await;
        assert_eq!(one.status, status, "{lines}");
        if status == 200 {
            assert!(one.has("access-control-allow-origin: https://shop.example"));
            assert!(one.has("access-control-allow-credentials: true"));
            assert!(one.has("vary: origin"));
        }
    }
    // What they ask first they may read, and an error; what others are told says nothing to their page.
    let mut http = crate::http::Http::dial(address).await;
    for (request, origin, status, read) in [
        (
            "OPTIONS /v1/events?uid=a",
            "https://shop.example",
            204,
            true,
        ),
        ("GET /v1/events?uid=all", "https://shop.example", 400, true),
        ("PUT /v1/events?uid=a", "https://shop.example", 405, true),
        (
            "OPTIONS /v1/events?uid=a",
            "https://evil.example",
            403,
            false,
        ),
        ("GET /v1/stats", "https://shop.example", 403, false),
    ] {
        let head = format!("{request} HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\n");
        http.write(format!("{head}\r\n").as_bytes()).await;
        let answer = match status {
            204 => http.head_response().await,
            _ => http.response().await,
        };
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, status, "{request} {origin}");
        let allowed = answer.header("access-control-allow-origin");
        assert_eq!(allowed, read.then_some(origin), "{request} {origin}");
        let credentials = answer.header("access-control-allow-credentials");
        assert_eq!(credentials, read.then_some("true"), "{request} {origin}");
    }
}

async fn a_token_says_who_it_is(cores: usize) {
    let keys = File::new(SECRET);
    let server = tokens::server(cores, "hmac", &keys, &[]).await;
    let address = server.address("http", "page");
    let own = format!("Origin: http://{address}\r\n");
    let field = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let (good, bad) = (token("a"), sign(OTHER, "a", in_seconds(60)));
    let late = sign(SECRET, "a", in_seconds(-5));
    for (query, lines, status) in [
        (format!("token={good}"), own.clone(), 200),
        (format!("token={good}&uid=a"), own.clone(), 200),
        (String::new(), field(&good), 200),
        ("uid=a".to_owned(), field(&good), 200),
        ("uid=a".to_owned(), own.clone(), 401),
        (format!("token={good}&uid=b"), own.clone(), 401),
        (format!("token={bad}"), own.clone(), 401),
        (format!("token={late}"), own.clone(), 401),
        (String::new(), field("nonsense"), 401),
        (format!("token={good}"), field(&good), 400),
    ] {
        let one = Listening::ask(address, &query, &lines).await;
        assert_eq!(one.status, status, "{query} {lines}");
        if status == 200 {
            let mut backend = server.backend().await;
            assert_eq!(backend.ask("online a").await, "ok");
            drop(one);
            server.wait_offline("a").await;
        }
    }
    assert!(server.closed("bad login").await >= 4);
}

async fn a_stream_ends_with_its_proof(cores: usize) {
    let keys = File::new(SECRET);
    let server = tokens::server(cores, "hmac", &keys, &[]).await;
    let address = server.address("http", "page");
    let expires = in_seconds(2);
    let token = sign(SECRET, "a", expires);
    let field = format!("Authorization: Bearer {token}\r\n");
    let mut one = Listening::ask(address, "", &field).await;
    assert_eq!(one.status, 200);
    one.expect_close(4008).await;
    assert!(in_seconds(0) >= expires, "before its time");
}

async fn tokens_come_from_our_pages_alone(cores: usize) {
    let keys = File::new(SECRET);
    let server = tokens::server(cores, "hmac", &keys, &[]).await;
    let address = server.address("http", "page");
    let query = format!("token={}", token("a"));
    for (lines, status) in [
        ("", 403),
        ("Origin: null\r\n", 403),
        ("Origin: https://evil.example\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
    ] {
        let one = Listening::ask(address, &query, lines).await;
        assert_eq!(one.status, status, "{lines}");
    }
}

/// A page's own requests say no origin, and over plain HTTP nothing else either: the name in Host is all there is.
async fn on_loopback_the_host_must_be_ours(cores: usize) {
    let listeners = ["http://127.0.0.1:0=page:events", "http://127.0.0.1:0=page"];
    for (origins, expected) in [("", [403, 403]), ("https://push.example", [200, 200])] {
        let server = Server::on(cores, &[("ORIGINS", origins)], &listeners).await;
        let addresses = server.addresses("http", "page");
        for (address, status) in addresses.into_iter().zip(expected) {
            let request = "GET /v1/events?uid=a HTTP/1.1\r\nHost: push.example\r\n\r\n";
            let socket = tokio::net::TcpStream::connect(address).await;
            let one = Listening::over(socket.expect("a connection"), request).await;
            assert_eq!(one.status, status);
        }
    }
    // One for other machines answers to any.
    let server = Server::on(cores, &[], &["http://0.0.0.0:0=page:events"]).await;
    let port = server.address("http", "page").port();
    let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    let request = "GET /v1/events?uid=a HTTP/1.1\r\nHost: push.example\r\n\r\n";
    let one = Listening::over(socket.expect("a connection"), request).await;
    assert_eq!(one.status, 200);
}
