//! One of the two processes of an upgrade is killed, at each of its steps: before the last word the old one goes on, or with
//! it everybody is disconnected; after it the new one. Never do both serve, and nobody is left half served.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::client::{Client, Got};
use crate::http::Http;
use crate::server::{Server, command};
use crate::upgrade::{Fault, HEALTH};

/// Steps of the new process before the last word, and of the old one.
const NEW: [&str; 8] = [
    "hello",
    "offer",
    "ready",
    "copies",
    "records",
    "connections",
    "last",
    "taken",
];
const OLD: [&str; 10] = [
    "old looked",
    "old heard",
    "old ready",
    "old connected",
    "old copied",
    "old held",
    "old frozen",
    "old kept sent",
    "old all sent",
    "old confirmed",
];
/// Those after it.
const NEW_AFTER: [&str; 2] = ["committed", "gone on"];
const OLD_AFTER: [&str; 1] = ["old committed"];

/// Longer than a loaded machine takes.
const TIME_MAX: Duration = Duration::from_secs(20);

/// Clients of each codec, one that asks by HTTP now and then, and a back end.
struct Few {
    clients: Vec<(String, Client)>,
    idle: Http,
    backend: Client,
}

impl Few {
    async fn come(server: &Server) -> Few {
        let mut clients = Vec::new();
        for scheme in ["ws", "text", "frame"] {
            clients.push((scheme.to_owned(), server.relay(scheme, scheme).await));
        }
        let mut idle = Http::dial(server.address("http", "page")).await;
        idle.write(HEALTH).await;
        assert_eq!(idle.response().await.map(|it| it.status), Some(200));
        Few {
            clients,
            idle,
            backend: server.backend().await,
        }
    }

    /// Each is reached once.
    async fn are_there(&mut self, when: &str) {
        for (uid, client) in &mut self.clients {
            let line = format!("{{\"uid\":\"{uid}\",\"n\":1}}");
            assert_eq!(self.backend.ask(&line).await, "ok", "{when}: {uid}");
            client.expect(&line).await;
        }
        self.idle.write(HEALTH).await;
        let answer = self.idle.response().await.map(|it| it.status);
        assert_eq!(answer, Some(200), "{when}");
    }

    /// Each sees an end.
    async fn are_gone(&mut self, when: &str) {
        for (uid, client) in &mut self.clients {
            let got = client.next_within(TIME_MAX).await;
            assert!(
                matches!(got, Some(Got::End(_))),
                "{when}: {uid} sees {got:?}"
            );
        }
        let got = self.backend.next_within(TIME_MAX).await;
        assert!(
            matches!(got, Some(Got::End(_))),
            "{when}: the back end sees {got:?}"
        );
        while !self.idle.ends().await {}
    }
}

/// Nobody listens there any more.
async fn is_nobodys(address: SocketAddr, when: &str) {
    let start = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        assert!(start.elapsed() < TIME_MAX, "{when}: somebody listens still");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whose step it is, who is killed, and whether the last word has been said.
#[derive(Clone, Copy)]
struct Kill {
    step: &'static str,
    step_is_olds: bool,
    kills_old: bool,
    is_after: bool,
}

impl Kill {
    fn all() -> impl Iterator<Item = Kill> {
        let steps = [
            (&NEW[..], false, false),
            (&OLD[..], true, false),
            (&NEW_AFTER[..], false, true),
            (&OLD_AFTER[..], true, true),
        ];
        steps
            .into_iter()
            .flat_map(|(steps, step_is_olds, is_after)| {
                steps.iter().flat_map(move |step| {
                    [false, true].map(|kills_old| Kill {
                        step,
                        step_is_olds,
                        kills_old,
                        is_after,
                    })
                })
            })
    }

    /// Whether there is nobody to kill yet: the new one is not started then.
    fn is_of_nobody(self) -> bool {
        !self.kills_old && self.step == "old looked"
    }

    fn fault(self) -> String {
        let kind = match self.kills_old == self.step_is_olds {
            true => "die",
            false => "kill",
        };
        format!("{kind} {}", self.step)
    }

    async fn try_it(self) {
        let when = self.fault();
        let fault = Fault::new();
        fault.plant(&when);
        let listeners = [
            "websocket://127.0.0.1:0=relay",
            "text://127.0.0.1:0=relay",
            "frame://127.0.0.1:0=relay",
            "text://127.0.0.1:0=push-backend",
            "http://127.0.0.1:0=page",
        ];
        let mut command = command(2, &[("UPGRADE_TIMEOUT", "60s")], &listeners);
        command.env("UPGRADE_FAULT_FILE", &fault.0);
        let mut server = Server::spawn(command, listeners.len()).await;
        let address = server.address("text", "relay");
        let mut few = Few::come(&server).await;
        few.are_there(&when).await;
        server.signal_on(libc::SIGUSR2);
        match (self.is_after, self.kills_old) {
            (false, false) => {
                server
                    .wait_log(&["it has failed, and this process goes on"])
                    .await;
                few.are_there(&when).await;
                assert!(server.is_running(), "{when}");
                // Nothing of it is left: the next one goes well.
                fault.plant("");
                server.upgrade().await.expect("it is upgraded");
                few.are_there(&when).await;
            }
            (false, true) => {
                server.wait_exit(TIME_MAX).await;
                server.be_ended();
                few.are_gone(&when).await;
                is_nobodys(address, &when).await;
            }
            (true, false) => {
                let status = server.wait_exit(TIME_MAX).await;
                assert!(status.success(), "{when}: {status}");
                server.be_ended();
                few.are_gone(&when).await;
                is_nobodys(address, &when).await;
            }
            (true, true) => {
                server.wait_exit(TIME_MAX).await;
                server.be_ended();
                server.wait_log(&["goes on in another's place"]).await;
                few.are_there(&when).await;
                assert!(server.successor_by_start().is_some(), "{when}");
            }
        }
    }
}

#[test]
fn whoever_is_killed_at_whichever_step() {
    crate::run_within(Duration::from_secs(300), async {
        for kill in Kill::all().filter(|kill| !kill.is_of_nobody()) {
            kill.try_it().await;
        }
    });
}
