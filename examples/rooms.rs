//! Groups: rooms that one enters, leaves and speaks in.
//!
//! `cargo run --example rooms`, then open some `npx wscat -c ws://127.0.0.1:1234` and type
//!
//! ```text
//! tom             the first line is your name
//! /join kitchen
//! kitchen tea?    to everybody in the kitchen, on whichever core
//! /leave kitchen
//! ```
//!
//! A back end speaks over HTTP: `curl -d '{"uid":"tom","text":"hello"}' -H 'Content-Type: application/json'
//! http://127.0.0.1:8080/v1/push`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use ringpost::app::{App, BindError, Context};
use ringpost::close::CloseReason;
use ringpost::payload::Message;
use ringpost::{Config, Roles, Server, Site};

/// Rooms that one user may be in. The server has a limit too (`groups_per_connection_max`), but
/// ignores what is above it; here the user is told.
const ROOMS_MAX: usize = 8;

struct Rooms;

/// The rooms a user is in. The server knows them as well, but keeps that to itself.
type Session = BTreeSet<String>;

/// What a line asks for.
enum Command<'a> {
    Join(&'a str),
    Leave(&'a str),
    Say { room: &'a str, text: &'a str },
}

fn read(line: &str) -> Option<Command<'_>> {
    Some(match line.split_once(' ')? {
        ("/join", room) => Command::Join(room),
        ("/leave", room) => Command::Leave(room),
        (room, text) => Command::Say { room, text },
    })
}

impl App for Rooms {
    type Session = Session;
    type Note = ();
    const NAMESPACE: &'static str = "rooms";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) -> Session {
        Session::new()
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        rooms: &mut Session,
        message: Message<'_>,
    ) {
        let line = message.text().unwrap_or_default();
        let Some(name) = cx.uid() else {
            return cx.bind_uid(line);
        };
        match read(line) {
            Some(Command::Join(room)) if rooms.len() < ROOMS_MAX => {
                let news = format!("{room}: {name} is here");
                rooms.insert(room.to_owned());
                cx.join(room);
                cx.send_to_group(room, &news);
            }
            Some(Command::Leave(room)) if rooms.remove(room) => {
                let news = format!("{room}: {name} has left");
                cx.send_to_group(room, &news);
                cx.leave(room);
            }
            Some(Command::Say { room, text }) if rooms.contains(room) => {
                let said = format!("{room}: {name}: {text}");
                cx.send_to_group(room, &said);
            }
            Some(Command::Join(_)) => cx.send("you are in too many rooms"),
            Some(_) => cx.send("you are not in that room"),
            None => cx.send("try: /join ROOM, /leave ROOM, ROOM TEXT"),
        }
    }

    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut Session,
        result: Result<(), BindError>,
    ) {
        match result {
            Ok(()) => cx.send("welcome; /join a room"),
            Err(error) => cx.send(format!("choose another name: {error}")),
        }
    }

    /// The server takes the connection out of its groups; here the others are told.
    fn on_close(&mut self, cx: &mut Context<'_, Self>, rooms: Session, _: CloseReason) {
        for room in rooms {
            cx.send_to_group(&room, format!("{room}: somebody has left"));
        }
    }
}

/// All of it, also for its tests.
fn server() -> Server {
    // Back ends have the whole HTTP API for this app's users: POST /v1/push, /v1/kick, GET /v1/uids, /metrics, ….
    let site = Site {
        assets: &[],
        reach: &[Rooms::NAMESPACE],
        roles: Roles::ALL,
    };
    Server::new(Config::default())
        .listen("websocket://127.0.0.1:1234", || Rooms)
        .site("http://127.0.0.1:8080", site)
}

fn main() -> ExitCode {
    // Without a subscriber of `tracing` nothing is printed.
    tracing_subscriber::fmt()
        .with_writer(ringpost::log::stderr)
        .init();
    match server().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rooms: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Without sockets: `cargo test --example rooms`.
#[cfg(test)]
mod tests {
    use ringpost::testing::{Client, TestServer};

    use super::*;

    fn start(cores: usize) -> TestServer {
        TestServer::of(server(), cores).expect("the server can be put together")
    }

    fn enter(server: &mut TestServer, name: &str, rooms: &[&str]) -> Client {
        let client = server.connect();
        server.say(client, name);
        for room in rooms {
            server.say(client, format!("/join {room}"));
        }
        let welcome = server.take_messages(client);
        assert_eq!(welcome[0], "welcome; /join a room");
        client
    }

    #[test]
    fn a_room_is_heard_by_those_who_are_in_it() {
        for cores in 1..4 {
            let mut server = start(cores);
            let tom = enter(&mut server, "tom", &["kitchen"]);
            let ann = enter(&mut server, "ann", &["kitchen", "attic"]);
            let bob = enter(&mut server, "bob", &["attic"]);
            server.take_messages(ann);
            server.say(tom, "kitchen tea?");
            server.say(tom, "attic anybody?");
            assert_eq!(
                server.take_messages(tom),
                [
                    "kitchen: ann is here",
                    "kitchen: tom: tea?",
                    "you are not in that room"
                ]
            );
            assert_eq!(server.take_messages(ann), ["kitchen: tom: tea?"]);
            assert!(server.take_messages(bob).is_empty());
            server.say(ann, "/leave kitchen");
            server.close(ann);
            assert_eq!(server.take_messages(tom), ["kitchen: ann has left"]);
            assert_eq!(server.take_messages(bob), ["attic: somebody has left"]);
        }
    }

    #[test]
    fn nobody_is_in_more_rooms_than_there_may_be() {
        let mut server = start(2);
        let rooms: Vec<String> = (0..ROOMS_MAX).map(|room| format!("room{room}")).collect();
        let rooms: Vec<&str> = rooms.iter().map(String::as_str).collect();
        let tom = enter(&mut server, "tom", &rooms);
        server.say(tom, "/join one_more");
        assert_eq!(server.take_messages(tom), ["you are in too many rooms"]);
        server.say(tom, "help");
        assert_eq!(
            server.take_messages(tom),
            ["try: /join ROOM, /leave ROOM, ROOM TEXT"]
        );
    }

    /// Whatever is first of what happens at once, each in the room hears all of it, and in one order.
    #[test]
    fn all_hear_the_same() {
        for seed in 0..50 {
            let mut server = start(3).seeded(seed);
            let names = ["ann", "bob", "tom", "eve"];
            let clients = names.map(|name| enter(&mut server, name, &["kitchen"]));
            for client in clients {
                server.take_messages(client);
                server.post(client, "kitchen one");
                server.post(client, "kitchen two");
            }
            server.run();
            let heard = clients.map(|client| server.take_messages(client));
            assert_eq!(heard[0].len(), 8, "seed {seed}");
            assert!(
                heard.iter().all(|one| *one == heard[0]),
                "seed {seed}: {heard:?}"
            );
        }
    }
}
