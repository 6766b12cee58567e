//! Which pages may open a websocket, by the `Origin` that their browser sends.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::client::PATIENCE;
use crate::http::exchange;
use crate::on_cores;
use crate::raw::{Raw, request};
use crate::server::Server;

on_cores! {
    by_default_the_page_is_of_this_machine,
    a_name_that_resolves_here_is_not_ours,
    null_is_let_in_if_it_is_listed,
    a_wildcard_stands_for_what_is_below,
    what_a_web_view_sends_can_be_listed,
    a_list_takes_the_place_of_that,
    any_page_is_let_in_where_the_list_says_so,
    a_foreign_page_is_told_of_in_one_line,
    a_flood_of_foreign_pages_does_not_flood_the_log,
    what_an_origin_holds_does_not_harm_the_log,
}

/// The status that a page of this origin gets, on its way to this host.
async fn status(server: &Server, origin: Option<&str>, host: &str) -> u16 {
    let line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
    let request = request(&line).replace("Host: 127.0.0.1\r\n", &format!("Host: {host}\r\n"));
    let mut raw = Raw::dial(server.address("ws", "echo")).await;
    raw.write(request.as_bytes()).await;
    let head = raw.head().await;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status: {head}"))
}

async fn expect(server: &Server, cases: &[(Option<&str>, &str, u16)]) {
    for &(origin, host, expected) in cases {
        let got = status(server, origin, host).await;
        assert_eq!(got, expected, "a page of {origin:?} on its way to {host:?}");
    }
    let refused = cases.iter().filter(|(.., status)| *status == 403).count();
    assert_eq!(server.closed("bad handshake").await, refused as u64);
}

/// The body of the refusal that a page of this origin gets.
async fn refusal(server: &Server, origin: &str, host: &str) -> String {
    let request = request(&format!("Origin: {origin}\r\n"));
    let request = request.replace("Host: 127.0.0.1\r\n", &format!("Host: {host}\r\n"));
    let answer = exchange(server.address("ws", "echo"), &request).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    answer.body
}

/// The lines of the log about pages that were refused, once there is one.
async fn lines(server: &Server) -> Vec<String> {
    let start = Instant::now();
    loop {
        let log = server.log();
        let lines = log.lines().filter(|line| line.contains("foreign origin"));
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        if !lines.is_empty() || start.elapsed() > PATIENCE {
            return lines;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

async fn by_default_the_page_is_of_this_machine(cores: usize) {
    let server = Server::start(cores).await;
    expect(
        &server,
        &[
            (None, "push.example:1234", 101),
            (Some("null"), "127.0.0.1:1234", 403),
            // Whoever owns a name can have it resolve to this machine.
            (Some("http://push.example"), "push.example:1234", 403),
            (Some("https://Push.Example"), "pUSH.eXAMPLE", 403),
            (Some("http://192.0.2.7:8080"), "192.0.2.7:1234", 403),
            (Some("http://[2001:db8::1]:80"), "[2001:db8::1]:1234", 403),
            // The names of this machine are one.
            (Some("http://localhost:8080"), "127.0.0.1:1234", 101),
            (Some("http://127.0.0.1:8080"), "localhost:1234", 101),
            (Some("http://[::1]:8080"), "127.0.0.1:1234", 101),
            (Some("http://localhost"), "[::1]:1234", 101),
            (Some("http://127.0.0.2"), "127.0.0.1:1234", 101),
            // Others are not.
            (Some("http://evil.example"), "push.example:1234", 403),
            (Some("http://evil.example:1234"), "push.example:1234", 403),
            (Some("http://evil.example"), "127.0.0.1:1234", 403),
            (Some("http://push.example"), "127.0.0.1:1234", 403),
            (Some("http://localhost"), "push.example:1234", 403),
            (Some("http://localhost.evil.example"), "localhost:1234", 403),
            (Some("http://127.0.0.1.evil.example"), "127.0.0.1:1234", 403),
            (Some("http://evil.example/127.0.0.1"), "127.0.0.1:1234", 403),
            (
                Some("http://127.0.0.1:80@evil.example"),
                "127.0.0.1:1234",
                403,
            ),
            (Some("http://notpush.example"), "push.example", 403),
            (Some("http://www.push.example"), "push.example", 403),
            (Some("http://192.0.2.8"), "192.0.2.7", 403),
            (Some("push.example"), "push.example", 403),
            (Some("Null, null"), "push.example", 403),
            (Some(""), "push.example", 403),
        ],
    )
    .await;
}

async fn a_list_takes_the_place_of_that(cores: usize) {
    let listed = "https://shop.example, http://127.0.0.1:8080,https://big.example:443, null";
    let server = Server::with(cores, &[("ORIGINS", listed)]).await;
    expect(
        &server,
        &[
            (None, "push.example", 101),
            (Some("null"), "push.example", 101),
            (Some("https://shop.example"), "push.example", 101),
            (Some("https://SHOP.example"), "push.example", 101),
            (Some("https://big.example"), "push.example", 101),
            (Some("http://127.0.0.1:8080"), "127.0.0.1:1234", 101),
            // One origin is scheme, host and port.
            (Some("http://shop.example"), "push.example", 403),
            (Some("https://shop.example:8443"), "push.example", 403),
            (Some("http://127.0.0.1"), "127.0.0.1:1234", 403),
            (Some("http://localhost:8080"), "127.0.0.1:1234", 403),
            (Some("https://push.example"), "push.example", 403),
            (Some("https://evil.example"), "shop.example", 403),
        ],
    )
    .await;
    let server = Server::with(cores, &[("ORIGINS", "https://shop.example")]).await;
    expect(
        &server,
        &[
            (Some("null"), "push.example", 403),
            (None, "push.example", 101),
        ],
    )
    .await;
}

async fn a_name_that_resolves_here_is_not_ours(cores: usize) {
    let listeners = [
        "websocket://127.0.0.1:0=echo",
        "websocket://0.0.0.0:0=echo",
        "text://127.0.0.1:0=push-backend",
    ];
    let server = Server::on(cores, &[], &listeners).await;
    let evil = Some("http://evil.example:1234");
    expect(
        &server,
        &[
            (evil, "evil.example:1234", 403),
            (None, "evil.example:1234", 101),
        ],
    )
    .await;
    let body = refusal(&server, "http://evil.example:1234", "evil.example:1234").await;
    assert!(body.contains("\"origins\""), "{body}");
    server
        .wait_log(&["WARN", "evil.example:1234", "\"origins\"", "loopback"])
        .await;
    // A listener for other machines has no names of its own, and goes by what its pages say.
    let open = server.addresses("ws", "echo")[1];
    let open = format!("127.0.0.1:{}", open.port())
        .parse()
        .expect("an address");
    let request = request("Origin: http://push.example\r\n").replace("127.0.0.1", "push.example");
    let mut raw = Raw::dial(open).await;
    raw.write(request.as_bytes()).await;
    assert_eq!(raw.status().await, Some(101));
    // As behind a proxy on this machine.
    let server = Server::with(cores, &[("ORIGINS", "https://push.example")]).await;
    expect(
        &server,
        &[
            (Some("https://push.example"), "push.example", 101),
            (Some("https://evil.example"), "evil.example", 403),
        ],
    )
    .await;
}

async fn null_is_let_in_if_it_is_listed(cores: usize) {
    let server = Server::start(cores).await;
    let body = refusal(&server, "null", "127.0.0.1").await;
    assert!(
        body.contains("\"origins\"") && body.contains("null"),
        "{body}"
    );
    server
        .wait_log(&["WARN", "\"null\" under \"origins\""])
        .await;
    let server = Server::with(cores, &[("ORIGINS", "null, http://localhost:8000")]).await;
    expect(
        &server,
        &[
            (Some("null"), "127.0.0.1", 101),
            (Some("http://localhost:8000"), "127.0.0.1", 101),
            (Some("http://localhost"), "127.0.0.1", 403),
        ],
    )
    .await;
}

async fn a_wildcard_stands_for_what_is_below(cores: usize) {
    let server = Server::with(cores, &[("ORIGINS", "https://*.shop.example")]).await;
    expect(
        &server,
        &[
            (Some("https://a.shop.example"), "push.example", 101),
            (Some("https://b.a.Shop.example"), "push.example", 101),
            (Some("https://shop.example"), "push.example", 403),
            (Some("http://a.shop.example"), "push.example", 403),
            (Some("https://a.shop.example:8443"), "push.example", 403),
            (Some("https://evilshop.example"), "push.example", 403),
            (Some("https://a.shop.example.evil.example"), "x", 403),
            (Some("https://evil.example/.shop.example"), "x", 403),
        ],
    )
    .await;
}

async fn what_a_web_view_sends_can_be_listed(cores: usize) {
    let server = Server::start(cores).await;
    expect(&server, &[(Some("file://"), "127.0.0.1", 403)]).await;
    let server = Server::with(cores, &[("ORIGINS", "file://, capacitor://localhost")]).await;
    expect(
        &server,
        &[
            (Some("file://"), "127.0.0.1", 101),
            (Some("capacitor://localhost"), "push.example", 101),
            (Some("ionic://localhost"), "push.example", 403),
        ],
    )
    .await;
}

async fn any_page_is_let_in_where_the_list_says_so(cores: usize) {
    let server = Server::with(cores, &[("ORIGINS", "*")]).await;
    for origin in ["http://evil.example", "null", "", "nonsense"] {
        expect(&server, &[(Some(origin), "push.example", 101)]).await;
    }
}

async fn a_foreign_page_is_told_of_in_one_line(cores: usize) {
    let server = Server::start(cores).await;
    expect(
        &server,
        &[(Some("http://evil.example:81"), "127.0.0.1", 403)],
    )
    .await;
    let lines = lines(&server).await;
    let [line] = &lines[..] else {
        panic!("one line is due, not {lines:?}");
    };
    // Whom, and what to do about it.
    for part in [
        "WARN",
        "http://evil.example:81",
        "127.0.0.1:",
        "\"origins\"",
    ] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    // The key it names is one, and the refused page is let in by it.
    let server = Server::with(cores, &[("ORIGINS", "http://evil.example:81")]).await;
    expect(
        &server,
        &[(Some("http://evil.example:81"), "127.0.0.1", 101)],
    )
    .await;
}

async fn a_flood_of_foreign_pages_does_not_flood_the_log(cores: usize) {
    let server = Server::start(cores).await;
    let start = Instant::now();
    for n in 0..300 {
        let origin = format!("http://evil-{n}.example");
        assert_eq!(status(&server, Some(&origin), "127.0.0.1").await, 403);
    }
    assert_eq!(server.closed("bad handshake").await, 300);
    let seconds = start.elapsed().as_secs() as usize;
    let lines = lines(&server).await;
    assert!(
        !lines.is_empty() && lines.len() <= cores * (seconds + 1),
        "{lines:?}"
    );
}

async fn what_an_origin_holds_does_not_harm_the_log(cores: usize) {
    // One core each, for a core says one line a second.
    for (origin, shown) in [
        ("http://a\u{202e}b.example", r"http://a\u{202e}b.example"),
        ("http://\u{85}WARN", r"http://\u{85}WARN"),
        (r"http://\n", r"http://\\n"),
    ] {
        let server = Server::start(cores).await;
        assert_eq!(status(&server, Some(origin), "127.0.0.1").await, 403);
        let lines = lines(&server).await;
        assert!(lines.len() == 1 && lines[0].contains(shown), "{lines:?}");
    }
    let server = Server::start(cores).await;
    let long = format!("http://{}", "\u{e9}".repeat(3_000));
    assert_eq!(status(&server, Some(&long), "127.0.0.1").await, 403);
    let lines = lines(&server).await;
    assert!(lines.len() == 1 && lines[0].len() < 600, "{lines:?}");
}
