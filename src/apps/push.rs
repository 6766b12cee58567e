//! `push`, the client side: a browser says who it is and then listens. Who speaks is the back end
//! (see [`super::backend`]).

use ringpost::app::{App, Context};
use ringpost::close::CloseReason;
use ringpost::payload::Message;

use super::text_of;

/// The app; it has no state.
pub struct Push;

impl App for Push {
    type Session = ();
    type Note = ();

    const NAMESPACE: &'static str = "push";
    /// A push client sends to nobody.
    const REACH: &'static [&'static str] = &[];

    /// Nothing is kept of a connection.
    fn pack(&self, _: &()) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

    /// The first message is the uid, answered by nothing; a refused one closes with 4006. What comes
    /// later has been counted as a heartbeat before it came here.
    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
        if cx.uid().is_some() {
            return;
        }
        match text_of(message) {
            Some(uid) => cx.bind_uid(uid),
            None => cx.close(CloseReason::BadLogin),
        }
    }
}
