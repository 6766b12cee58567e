//! The HTTP port: the page, its push, and whom it refuses.

use crate::http::{Http, JSON, Response, exchange, get, post};
use crate::on_cores;
use crate::seed;
use crate::server::Server;
use crate::tokens::{File, SECRET};

/// A push as the page makes it.
async fn push(server: &Server, body: &str) -> Response {
    let address = server.address("http", "page");
    let origin = format!("Origin: http://{address}\r\n{JSON}");
    post(address, "/v1/push", &origin, body).await
}

on_cores! {
    healthz_is_well,
    the_page_is_html_without_dangerous_means,
    the_page_is_told_where_a_token_is_asked_for,
    an_unknown_path_is_404_and_a_wrong_method_405,
    a_push_tells_who_got_it,
    a_push_needs_no_origin_but_a_foreign_one_is_refused,
    an_unknown_host_is_refused,
    a_push_must_be_json_of_the_right_shape,
    a_body_too_large_is_413,
    a_connection_serves_several_requests,
    a_malformed_request_is_refused,
}

async fn healthz_is_well(cores: usize) {
    let server = Server::start(cores).await;
    // Several connections, so that each core answers some.
    for _ in 0..16 {
        assert_eq!(
            get(server.address("http", "page"), "/healthz").await.status,
            200
        );
    }
}

async fn the_page_is_html_without_dangerous_means(cores: usize) {
    let server = Server::start(cores).await;
    let page = get(server.address("http", "page"), "/").await;
    assert_eq!(page.status, 200);
    let kind = page.header("content-type").expect("a content type");
    assert!(kind.starts_with("text/html"), "{kind}");
    assert!(page.body.to_lowercase().contains("<!doctype html>"));
    for word in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
    ] {
        assert!(!page.body.contains(word), "the page uses {word}");
    }
}

async fn the_page_is_told_where_a_token_is_asked_for(cores: usize) {
    let keys = File::new(SECRET);
    let (back_end, client) = (("BACKEND_TOKEN", "0123456789abcdef"), ("AUTH", "hmac"));
    let auth = [client, ("AUTH_KEY_FILE", keys.path())];
    for (settings, of_back_ends, of_clients) in [
        (&[][..], false, false),
        (&[back_end], true, false),
        (&auth, false, true),
    ] {
        let server = Server::with(cores, settings).await;
        let list = get(server.address("http", "page"), "/listeners.json").await;
        let list = list.json();
        let listeners = list.as_array().expect("a list");
        assert_eq!(listeners.len(), 12, "{list}");
        for one in listeners {
            let token = match one["app"].as_str().expect("an app") {
                "push-backend" => of_back_ends,
                "echo" => false,
                _ => of_clients,
            };
            assert_eq!(one["token"], token, "{one}");
        }
    }
}

async fn an_unknown_path_is_404_and_a_wrong_method_405(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    assert_eq!(get(address, "/no/such/page").await.status, 404);
    assert_eq!(get(address, "/v1/push").await.status, 405);
    assert_eq!(post(address, "/healthz", JSON, "{}").await.status, 405);
}

async fn a_push_tells_who_got_it(cores: usize) {
    let server = Server::start(cores).await;
    for uid in seed::uids(&mut seed::rng(), 4) {
        let nobody = push(&server, &format!("{{\"uid\":\"{uid}\",\"text\":\"hi\"}}"))
            .await
            .json();
        assert_eq!(nobody["verdicts"][&uid], "offline", "{nobody}");
        assert_eq!(nobody["connections"], 0, "{nobody}");
        let mut relay = server.relay("ws", &uid).await;
        let mut other = server.push("text", &uid).await;
        while server.count("bound").await % 2 != 0 {
            tokio::task::yield_now().await;
        }
        let response = push(
            &server,
            &format!("{{\"uid\":\"{uid}\",\"text\":\"grüße 🌍\"}}"),
        )
        .await;
        assert_eq!(response.status, 200, "{response:?}");
        let verdict = response.json();
        assert_eq!(verdict["verdicts"][&uid], "delivered", "{verdict}");
        assert_eq!(verdict["connections"], 2, "{verdict}");
        for client in [&mut relay, &mut other] {
            let text = client.text().await;
            assert!(text.contains("grüße 🌍"), "{text:?}");
            client.expect_silence().await;
        }
        relay.close().await;
        other.close().await;
        server.wait_offline(&uid).await;
    }
}

async fn a_push_needs_no_origin_but_a_foreign_one_is_refused(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    let address = server.address("http", "page");
    let body = format!("{{\"uid\":\"{uid}\",\"text\":\"hi\"}}");
    assert_eq!(post(address, "/v1/push", JSON, &body).await.status, 200);
    client.text().await;
    let port = address.port();
    for origin in [
        "http://evil.example".to_owned(),
        format!("http://evil.example:{port}"),
        format!("http://127.0.0.1:{}", port ^ 1),
        format!("http://127.0.0.1:{port}.evil.example"),
        "null".to_owned(),
        String::new(),
    ] {
        let lines = format!("Origin: {origin}\r\n{JSON}");
        let response = post(address, "/v1/push", &lines, &body).await;
        assert_eq!(response.status, 403, "origin {origin:?}");
    }
    client.expect_silence().await;
}

async fn an_unknown_host_is_refused(cores: usize) {
    let server = Server::start(cores).await;
    let uid = seed::uid(&mut seed::rng());
    let mut client = server.relay("ws", &uid).await;
    let address = server.address("http", "page");
    let body = format!("{{\"uid\":\"{uid}\",\"text\":\"hi\"}}");
    // As after DNS rebinding: origin and host agree, but neither is ours.
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{}", address.port()),
        "127.0.0.1.evil.example".to_owned(),
    ] {
        let response = exchange(
            address,
            &format!(
                "POST /v1/push HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{JSON}\
                 Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
        .await;
        assert!(
            [403, 421].contains(&response.status),
            "host {host:?}: {response:?}"
        );
    }
    client.expect_silence().await;
    let port = address.port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(
            exchange(address, &request).await.status,
            200,
            "host {host:?}"
        );
    }
}

async fn a_push_must_be_json_of_the_right_shape(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let good = "{\"uid\":\"x\",\"text\":\"hi\"}";
    for kind in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\n",
    ] {
        assert_eq!(
            post(address, "/v1/push", kind, good).await.status,
            415,
            "{kind:?}"
        );
    }
    let charset = "Content-Type: application/json; charset=utf-8\r\n";
    assert_eq!(post(address, "/v1/push", charset, good).await.status, 200);
    let long = format!("{{\"uid\":\"{}\",\"text\":\"hi\"}}", "x".repeat(129));
    for body in [
        "",
        "hello",
        "{",
        "[]",
        "null",
        "{}",
        "{\"uid\":\"x\"}",
        "{\"text\":\"hi\"}",
        "{\"uid\":null,\"text\":\"hi\"}",
        "{\"uid\":\"\",\"text\":\"hi\"}",
        "{\"uid\":\"x\",\"text\":\"hi\"} more",
        &long,
    ] {
        let response = post(address, "/v1/push", JSON, body).await;
        assert_eq!(response.status, 400, "{body:?}: {response:?}");
    }
}

async fn a_body_too_large_is_413(cores: usize) {
    let server = Server::start(cores).await;
    let mut http = Http::dial(server.address("http", "page")).await;
    let address = server.address("http", "page");
    // The announcement is enough.
    let head = format!(
        "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: {}\r\n\r\n",
        (4 << 20) + 1
    );
    http.write(head.as_bytes()).await;
    assert_eq!(http.response().await.expect("an answer").status, 413);
}

async fn a_connection_serves_several_requests(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let mut http = Http::dial(address).await;
    for path in ["/healthz", "/", "/healthz"] {
        http.write(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
            .await;
        assert_eq!(http.response().await.expect("an answer").status, 200);
    }
    http.write(
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(http.response().await.expect("an answer").status, 200);
    assert!(http.ends().await, "it stays open after Connection: close");
}

async fn a_malformed_request_is_refused(cores: usize) {
    let server = Server::start(cores).await;
    let address = server.address("http", "page");
    let many: String = (0..2_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    for request in [
        "nonsense\r\n\r\n".to_owned(),
        "GET /v1/stats HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nHost: {address}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nBad Name: x\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost : {address}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\n{many}\r\n"),
        format!(
            "GET /healthz HTTP/1.1\r\nHost: {address}\r\n{}: x\r\n\r\n",
            "n".repeat(70_000)
        ),
        format!(
            "GET /{} HTTP/1.1\r\nHost: {address}\r\n\r\n",
            "x".repeat(200_000)
        ),
        format!(
            "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"
        ),
        format!("POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: -1\r\n\r\n"),
        format!(
            "POST /v1/push HTTP/1.1\r\nHost: {address}\r\n{JSON}Content-Length: 5\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        ),
    ] {
        let mut http = Http::dial(address).await;
        http.write(request.as_bytes()).await;
        // Refused with a status, or cut off where there is nothing to be said.
        if let Some(response) = http.response().await {
            let start: String = request.chars().take(60).collect();
            assert!(
                (400..=505).contains(&response.status),
                "{start:?}: {response:?}"
            );
        }
    }
    assert_eq!(get(address, "/healthz").await.status, 200);
}
