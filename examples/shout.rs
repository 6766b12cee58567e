//! An app in under 40 lines: say who you are, and all you say is shouted to everybody.
//!
//! `cargo run --example shout`, then open some `npx wscat -c ws://127.0.0.1:1234` and type.

use std::process::ExitCode;

use ringpost::app::{App, BindError, Context};
use ringpost::payload::Message;
use ringpost::{Config, Server};

struct Shout;

impl App for Shout {
    type Session = ();
    type Note = ();
    const NAMESPACE: &'static str = "shout";

    fn on_connect(&mut self, cx: &mut Context<'_, Self>) {
        cx.send("who are you?");
    }

    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
        let text = message.text().unwrap_or_default();
        match cx.uid() {
            Some(name) => {
                let shout = format!("{name}: {}!", text.to_uppercase());
                cx.broadcast(&shout);
            }
            None => cx.bind_uid(text),
        }
    }

    fn on_bound(&mut self, cx: &mut Context<'_, Self>, _: &mut (), _: Result<(), BindError>) {
        cx.send("speak");
    }
}

fn main() -> ExitCode {
    // What the server has to say, where it listens first, it says by `tracing`: without a subscriber nothing is printed.
    tracing_subscriber::fmt()
        .with_writer(ringpost::log::stderr)
        .init();
    let server = Server::new(Config::default()).listen("websocket://127.0.0.1:1234", || Shout);
    match server.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shout: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Without sockets: `cargo test --example shout`.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringpost::CloseReason;
    use ringpost::testing::TestServer;

    use super::*;

    #[test]
    fn everybody_hears_who_shouts_on_whichever_core() {
        let mut server = TestServer::new(2, || Shout);
        let (ann, bob) = (server.connect(), server.connect());
        assert_eq!(server.take_messages(ann), ["who are you?"]);
        server.say(ann, "ann");
        server.say(bob, "bob");
        server.say(ann, "tea");
        assert_eq!(server.take_messages(ann), ["speak", "ann: TEA!"]);
        assert_eq!(
            server.take_messages(bob),
            ["who are you?", "speak", "ann: TEA!"]
        );
    }

    #[test]
    fn who_does_not_say_who_he_is_is_closed() {
        let mut server = TestServer::new(1, || Shout);
        let nobody = server.connect();
        server.advance(Duration::from_secs(60));
        assert_eq!(server.close_reason(nobody), Some(CloseReason::LoginTimeout));
    }
}
