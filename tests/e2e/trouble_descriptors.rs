//! No descriptors left: who is there is served as before, nothing spins, one line a second tells of it, and
//! who waits outside comes in as soon as there are some again.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::Client;
use crate::http::Http;
use crate::on_drivers;
use crate::raw::{Raw, request};
use crate::seed;
use crate::server::Server;

/// Descriptors that the server has left.
const LEFT: usize = 5;
/// Newcomers at each port: some come in, most do not.
const NEWCOMERS: usize = 30;
/// The ports at which they come.
const PORTS: [(&str, &str); 3] = [("ws", "relay"), ("text", "push-backend"), ("http", "page")];

on_drivers! {
    without_descriptors_those_who_are_there_are_served,
    a_server_without_descriptors_stops_in_order,
}

/// Connections that the kernel has taken, and the server mostly has not.
async fn flood(server: &Server) -> Vec<TcpStream> {
    let mut newcomers = Vec::new();
    for _ in 0..NEWCOMERS {
        for (scheme, app) in PORTS {
            let newcomer = TcpStream::connect(server.address(scheme, app)).await;
            newcomers.push(newcomer.expect("the kernel takes it"));
        }
    }
    server.wait_log(&["cannot accept", "ulimit"]).await;
    newcomers
}

/// Those who are there before.
struct Crowd {
    relays: Vec<(Client, String)>,
    pushed: (Client, String),
    backend: Client,
    http: Http,
}

impl Crowd {
    async fn gather(server: &Server) -> Crowd {
        let uids = seed::uids(&mut seed::rng(), 7);
        let mut relays = Vec::new();
        for (scheme, uid) in ["ws", "text", "frame", "ws", "text", "frame"]
            .iter()
            .zip(&uids)
        {
            relays.push((server.relay(scheme, uid).await, uid.clone()));
        }
        let mut crowd = Crowd {
            relays,
            pushed: (server.push("ws", &uids[6]).await, uids[6].clone()),
            backend: server.backend().await,
            http: Http::dial(server.address("http", "page")).await,
        };
        crowd.is_served().await;
        crowd
    }

    /// Each asks for something and gets it.
    async fn is_served(&mut self) {
        let to: Vec<String> = self.relays.iter().map(|(_, uid)| uid.clone()).collect();
        for sender in 0..to.len() {
            let receiver = (sender + 1) % to.len();
            let (client, uid) = &mut self.relays[sender];
            client.send(&format!("{}:from {uid}", to[receiver])).await;
            let text = format!("from {uid}");
            self.relays[receiver].0.expect(&text).await;
        }
        let line = format!("{{\"uid\":\"{}\"}}", self.pushed.1);
        assert_eq!(self.backend.ask(&line).await, "ok");
        self.pushed.0.expect(&line).await;
        let get = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        self.http.write(get).await;
        let answer = self.http.response().await.expect("an answer");
        assert_eq!(answer.status, 200);
    }
}

async fn without_descriptors_those_who_are_there_are_served(driver: &'static str) {
    let settings = [
        ("DRIVER", driver),
        // Those who wait outside say nothing, and are not to be closed for it.
        ("HANDSHAKE_TIMEOUT", "60s"),
        ("LOGIN_TIMEOUT", "60s"),
    ];
    let server = Server::with(2, &settings).await;
    let before = server.holdings().await;
    let mut crowd = Crowd::gather(&server).await;
    server.limit_descriptors(Some(LEFT));
    let newcomers = flood(&server).await;
    let limited = server.descriptors();

    // Nothing happens now, and nothing is done.
    let (spent, lines) = (server.cpu_time(), server.log().lines().count());
    sleep(Duration::from_secs(3)).await;
    let spent = server.cpu_time() - spent;
    assert!(spent < Duration::from_millis(400), "{spent:?} of work");
    let said = server.log().lines().count() - lines;
    assert!((1..=4).contains(&said), "{said} lines: {}", server.log());
    for _ in 0..5 {
        crowd.is_served().await;
    }
    assert!(server.descriptors() <= limited);

    // Those who have had enough of waiting go: there is room again.
    drop(newcomers);
    expect_all_ports_open(&server).await;
    crowd.is_served().await;

    // Descriptors come back: those who have waited are served.
    server.limit_descriptors(Some(LEFT));
    let newcomers = flood(&server).await;
    server.limit_descriptors(None);
    for (number, newcomer) in newcomers.into_iter().enumerate() {
        let (scheme, _) = PORTS[number % PORTS.len()];
        ask(scheme, newcomer).await;
    }
    crowd.is_served().await;
    drop(crowd);
    server.wait_holdings(before).await;
}

async fn expect_all_ports_open(server: &Server) {
    for (scheme, app) in PORTS {
        let newcomer = TcpStream::connect(server.address(scheme, app)).await;
        ask(scheme, newcomer.expect("a connection")).await;
    }
}

/// One that has just connected asks for something, and gets it.
async fn ask(scheme: &str, newcomer: TcpStream) {
    let mut raw = Raw::over(newcomer);
    match scheme {
        "ws" => {
            raw.write(request("").as_bytes()).await;
            assert_eq!(raw.status().await, Some(101));
        }
        "http" => {
            raw.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await;
            assert_eq!(raw.status().await, Some(200));
        }
        _ => {
            let mut backend = Client::over(scheme, raw.socket).await;
            assert_eq!(backend.ask("online nobody").await, "fail");
        }
    }
}

async fn a_server_without_descriptors_stops_in_order(driver: &'static str) {
    let mut server = Server::with(2, &[("DRIVER", driver)]).await;
    let crowd = Crowd::gather(&server).await;
    server.limit_descriptors(Some(0));
    let _newcomers = flood(&server).await;
    server.signal(libc::SIGTERM);
    for (mut client, _) in crowd.relays {
        client.expect_end(1001).await;
    }
    // What looks for leaks at its end, in a program built for that, wants some.
    server.limit_descriptors(None);
    let status = server.wait_exit(Duration::from_secs(12)).await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
}
