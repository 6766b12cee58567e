//! A server in this process whose app gives each tenant a namespace of its own, made while it runs.

use std::net::SocketAddr;

use ringpost::app::{App, BindError, Context, Namespace};
use ringpost::{Config, Message, Running, Server};
use tokio::task::spawn_blocking;

use crate::client::Client;

const TENANTS: usize = 100;

/// `tenant uid` comes first, and binds. Then `uid NAME text`, `group NAME text` and `all text` send within the tenant.
struct Tenants;

impl App for Tenants {
    type Session = Option<Namespace>;
    type Note = ();
    const NAMESPACE: &'static str = "tenants";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) -> Option<Namespace> {
        None
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Option<Namespace>,
        message: Message<'_>,
    ) {
        // The tenants are read again for each who comes, as an app does that keeps them in a file.
        let tenants = (0..TENANTS).map(|number| {
            let name = name_of(number);
            let namespace = cx.namespace(&name).expect("there is room");
            (name, namespace)
        });
        let tenants: Vec<(String, Namespace)> = tenants.collect();
        let text = message.text().unwrap_or_default();
        let words: Vec<&str> = text.splitn(3, ' ').collect();
        let Some(namespace) = *session else {
            let [tenant, uid] = words[..] else { return };
            let found = tenants.iter().find(|(name, _)| name == tenant);
            let (_, namespace) = found.expect("a tenant of the file");
            cx.enter(*namespace).expect("it is not bound yet");
            *session = Some(*namespace);
            cx.join("room");
            return cx.bind_uid(uid);
        };
        let is_known = tenants.iter().any(|(_, known)| *known == namespace);
        assert!(is_known, "a name is one namespace for good");
        let mut tenant = cx.within(namespace);
        match words[..] {
            ["uid", uid, text] => tenant.send_to_uid(uid, text),
            ["group", group, text] => tenant.send_to_group(group, text),
            ["all", text] => tenant.broadcast(text),
            _ => cx.send(text),
        }
    }

    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut Option<Namespace>,
        result: Result<(), BindError>,
    ) {
        cx.send(match result {
            Ok(()) => "bound",
            Err(_) => "refused",
        });
    }
}

/// The last is called like the app's own namespace, with which it has nothing to do.
fn name_of(number: usize) -> String {
    match number {
        99 => Tenants::NAMESPACE.to_owned(),
        _ => format!("tenant{number}"),
    }
}

/// With the addresses of its websocket and its text listener.
async fn start(cores: usize) -> (Running, [SocketAddr; 2]) {
    let config = Config {
        cores,
        pin: false,
        ..Config::default()
    };
    let listens = ["websocket://127.0.0.1:0", "text://127.0.0.1:0"];
    crate::fragile::quiet_cores();
    let server = Server::new(config).listen(listens, || Tenants);
    let running = spawn_blocking(|| server.start()).await.expect("no panic");
    let running = running.expect("it starts");
    let addresses = [0, 1].map(|at| running.listening()[at].address.ip().expect("of IP"));
    (running, addresses)
}

/// Two uids, the same two in each of a hundred tenants, and a group of one name: whoever is sent to is reached, in the
/// tenant alone.
#[tokio::test]
async fn nothing_crosses_between_a_hundred_tenants() {
    for cores in [1, 2, 4] {
        let (running, [websocket, text]) = start(cores).await;
        let mut clients = Vec::new();
        for number in 0..TENANTS {
            let mut pair = Vec::new();
            for (uid, scheme, address) in [("first", "ws", websocket), ("second", "text", text)] {
                let mut client = Client::connect(scheme, address).await;
                client.send(&format!("{} {uid}", name_of(number))).await;
                client.expect("bound").await;
                pair.push(client);
            }
            clients.push(pair);
        }
        for (number, pair) in clients.iter_mut().enumerate() {
            for line in ["uid second", "group room", "all"] {
                pair[0].send(&format!("{line} {number}")).await;
            }
            pair[0].send("done").await;
        }
        for (number, pair) in clients.iter_mut().enumerate() {
            let own = number.to_string();
            // The group, all, and what it is told itself, which goes by no other core and may come first.
            let mut heard = Vec::new();
            for _ in ["group", "all", "done"] {
                heard.push(pair[0].text().await);
            }
            heard.sort();
            assert_eq!(heard, [own.clone(), own.clone(), "done".into()]);
            for _ in ["uid", "group", "all"] {
                pair[1].expect(&own).await;
            }
        }
        // Had anything crossed, it would be there before this.
        for pair in &mut clients {
            for client in pair {
                client.send("last").await;
                client.expect("last").await;
            }
        }
        drop(clients);
        spawn_blocking(|| running.stop().expect("it stops"))
            .await
            .expect("no panic");
    }
}
