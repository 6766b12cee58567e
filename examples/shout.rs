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
    const SPACE: &'static str = "shout";

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
