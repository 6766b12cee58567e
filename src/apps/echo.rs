//! `echo`: answers each message with itself, text with text and binary with binary. It needs no
//! login; it is for trying a connection and for conformance suites.

use ringpost::app::{App, Context, Login};
use ringpost::payload::Message;

/// The app; it has no state.
pub struct Echo;

impl App for Echo {
    type Session = ();
    type Note = ();

    const NAMESPACE: &'static str = "echo";
    const LOGIN: Login = Login::Never;

    /// Nothing is kept of a connection.
    fn pack(&self, _: &()) -> Option<Vec<u8>> {
        Some(Vec::new())
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<()> {
        bytes.is_empty().then_some(())
    }

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

    fn on_message(&mut self, cx: &mut Context<'_, Self>, _: &mut (), message: Message<'_>) {
        cx.send(message);
    }
}
