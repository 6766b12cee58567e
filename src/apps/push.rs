//! `push`, the client side: a browser says who it is and then listens. Who speaks is the back end
//! (see [`super::backend`]).

use ringpost::app::{App, Context, MessageTold};
use ringpost::close::CloseReason;
use ringpost::config::MessagesFull;
use ringpost::payload::Message;

use super::text_of;

/// The app.
pub struct Push {
    pub tells: Tells,
}

/// Whether the back end is told what clients say after their login, and what becomes of that when too much waits.
#[derive(Clone, Default)]
pub struct Tells {
    pub usual: Option<MessagesFull>,
    /// In place of that, by the URLs of listeners: those that say it themselves.
    pub of_listeners: Vec<(String, Option<MessagesFull>)>,
}

impl Tells {
    fn of(&self, listener: Option<&str>) -> Option<MessagesFull> {
        let mut own = self.of_listeners.iter();
        let found = own.find(|(url, _)| Some(&**url) == listener);
        found.map_or(self.usual, |(_, own)| *own)
    }
}

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
            return self.tell(cx, message);
        }
        match text_of(message) {
            Some(uid) => cx.bind_uid(uid),
            None => cx.close(CloseReason::BadLogin),
        }
    }
}

impl Push {
    /// What a client says after its login; an empty message is a heartbeat and nothing else. There is no word on this wire
    /// for a message that is refused, so its connection ends.
    fn tell(&self, cx: &mut Context<'_, Self>, message: Message<'_>) {
        if let Some(when_full) = self.tells.of(cx.listener())
            && !message.is_empty()
            && cx.tell_message(message, when_full) == MessageTold::Full
        {
            cx.close(CloseReason::Overloaded);
        }
    }
}
