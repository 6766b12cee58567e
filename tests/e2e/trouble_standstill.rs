//! A server that stands still for a while, as its process is stopped or its machine sleeps: nobody is closed for what
//! could not be read meanwhile, whatever was due in that time or was not.

use std::time::Duration;

use tokio::time::sleep;

use crate::http::Http;
use crate::on_drivers;
use crate::raw::{FIN, Raw, TEXT, masked, request};
use crate::seed;
use crate::server::Server;

on_drivers! {
    silence_while_nobody_listens_is_not_idleness,
    what_gathers_meanwhile_is_not_too_fast,
    a_request_and_a_handshake_may_be_finished_afterwards,
}

/// Stops the server for so long. What is done to it meanwhile waits in the kernel.
async fn stand_still(server: &mut Server, time: Duration, meanwhile: impl Future<Output = ()>) {
    // Not in the middle of what came before.
    sleep(Duration::from_millis(300)).await;
    server.stop_still().await;
    meanwhile.await;
    sleep(time).await;
    server.signal(libc::SIGCONT);
}

async fn silence_while_nobody_listens_is_not_idleness(driver: &'static str) {
    let settings = [
        ("DRIVER", driver),
        ("IDLE_TIMEOUT", "3s"),
        ("PING_INTERVAL", "0"),
    ];
    let mut server = Server::with(2, &settings).await;
    let uids = seed::uids(&mut seed::rng(), 6);
    let mut clients = Vec::new();
    for (scheme, uid) in ["ws", "text", "frame", "ws", "text", "frame"]
        .iter()
        .zip(&uids)
    {
        clients.push(server.relay(scheme, uid).await);
    }
    // Nothing is due before five seconds are over, so no deadline tells of this.
    stand_still(&mut server, Duration::from_millis(4_400), async {}).await;
    // Silent for over six seconds now, but for two or three in all that anybody listened.
    sleep(Duration::from_millis(1_800)).await;
    for (client, uid) in clients.iter_mut().zip(&uids) {
        client.send(&format!("{uid}:here")).await;
        client.expect("here").await;
    }
    // And it is idleness again if they say nothing now.
    for client in &mut clients {
        client.expect_end(4003).await;
    }
}

async fn what_gathers_meanwhile_is_not_too_fast(driver: &'static str) {
    let settings = [
        ("DRIVER", driver),
        ("MESSAGES_PER_SECOND_MAX", "10"),
        ("RATE_BURST", "1s"),
        // Nothing is ever due.
        ("IDLE_TIMEOUT", "0"),
        ("PING_INTERVAL", "0"),
    ];
    let mut server = Server::with(2, &settings).await;
    let mut clients = Vec::new();
    for uid in seed::uids(&mut seed::rng(), 4) {
        clients.push((server.relay("text", &uid).await, uid));
    }
    let time = Duration::from_secs(6);
    let gathering = async {
        for (client, uid) in &mut clients {
            for n in 0..40 {
                client.send(&format!("{uid}:{n}")).await;
            }
        }
    };
    stand_still(&mut server, time, gathering).await;
    for (client, _) in &mut clients {
        for n in 0..40 {
            client.expect(&n.to_string()).await;
        }
    }
    assert_eq!(server.closed("rate limit").await, 0);
}

async fn a_request_and_a_handshake_may_be_finished_afterwards(driver: &'static str) {
    let settings = [
        ("DRIVER", driver),
        ("HANDSHAKE_TIMEOUT", "3s"),
        ("LOGIN_TIMEOUT", "3s"),
    ];
    let mut server = Server::with(2, &settings).await;
    let mut halves = Vec::new();
    for _ in 0..4 {
        let mut http = Http::dial(server.address("http", "page")).await;
        http.write(b"GET /healthz HTTP/1.1\r\n").await;
        let mut raw = Raw::dial(server.address("ws", "relay")).await;
        raw.write(&request("").as_bytes()[..50]).await;
        halves.push((http, raw));
    }
    stand_still(&mut server, Duration::from_secs(5), async {}).await;
    // The other side has slept, too, and needs a moment.
    sleep(Duration::from_millis(1_200)).await;
    for (number, (http, raw)) in halves.iter_mut().enumerate() {
        http.write(b"Host: localhost\r\n\r\n").await;
        assert_eq!(http.response().await.expect("an answer").status, 200);
        raw.write(&request("").as_bytes()[50..]).await;
        assert_eq!(raw.status().await, Some(101));
        raw.write(&masked(FIN | TEXT, format!("u{number}").as_bytes()))
            .await;
        let welcome = raw.next().await.expect("a login answer");
        assert!(welcome.body.starts_with(b"login success"));
    }
    assert_eq!(server.closed("handshake timeout").await, 0);
}
