//! Fifty upgrades, one after the other, under traffic.

use std::time::Duration;

use tokio::sync::watch;

use crate::server::Server;

const TIMES: usize = 50;
const SCHEMES: [&str; 3] = ["ws", "text", "frame"];

/// One sends all the while, whoever reads by events gets what a back end pushes, and nothing is lost, doubled or late.
pub async fn fifty_in_a_row_under_traffic(cores: usize) {
    let mut server = Server::start(cores).await;
    let mut listening = server.listen("listens").await;
    let mut backend = server.backend().await;
    let mut receiving = Vec::new();
    for scheme in SCHEMES {
        let mut receiver = server.relay(scheme, scheme).await;
        receiving.push(tokio::spawn(async move {
            let mut next: u64 = 0;
            loop {
                let text = receiver.text().await;
                if text == "end" {
                    return next;
                }
                assert_eq!(text, next.to_string(), "{scheme}");
                next += 1;
            }
        }));
    }
    let mut sender = server.relay("ws", "sender").await;
    let (stop, mut stopped) = watch::channel(false);
    let sending = tokio::spawn(async move {
        let mut count = 0;
        while !*stopped.borrow_and_update() {
            for scheme in SCHEMES {
                sender.send(&format!("{scheme}:{count}")).await;
            }
            count += 1;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for scheme in SCHEMES {
            sender.send(&format!("{scheme}:end")).await;
        }
        count
    });
    for nth in 0..TIMES {
        let line = format!("{{\"uid\":\"listens\",\"n\":{nth}}}");
        assert_eq!(backend.ask(&line).await, "ok");
        server.upgrade().await.expect("it is upgraded");
        listening.expect(&line).await;
    }
    stop.send(true).expect("it sends");
    let count = sending.await.expect("it has sent");
    for one in receiving {
        assert_eq!(one.await.expect("in order"), count);
    }
}

#[test]
fn with_2_cores() {
    crate::run_within(Duration::from_secs(240), fifty_in_a_row_under_traffic(2));
}

/// All of it by TLS.
#[test]
fn with_2_cores_by_tls() {
    crate::by_tls::run_within(Duration::from_secs(240), fifty_in_a_row_under_traffic(2));
}
