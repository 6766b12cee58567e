//! An app for the workloads of groups: who says his uid is in the room, and what he says then goes to all in it.

use ringpost::app::{App, Context};
use ringpost::payload::Message;

pub struct Room;

/// The room's name, of which its home core is made.
pub const ROOM: &str = "room";

impl App for Room {
    type Session = bool;
    type Note = ();

    const NAMESPACE: &'static str = "room";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) -> bool {
        false
    }

    fn on_message(&mut self, cx: &mut Context<'_, Self>, in_it: &mut bool, message: Message<'_>) {
        match (message, *in_it) {
            (message, true) => cx.send_to_group(ROOM, message),
            (Message::Text(uid), false) => {
                *in_it = true;
                cx.bind_uid(uid);
                cx.join(ROOM);
            }
            _ => {}
        }
    }
}
