//! [`MessagePlace`]: whose a message is and where it stands there, for those that are told so.

use std::fmt::Display;

use super::followers::Marked;
use crate::payload::Message;
use crate::protocol::v1::{ToldStream, envelope};
use crate::streams::{Kind, Position};

/// See the module. It is alike for all receivers of a message.
#[derive(Clone, Copy, Debug)]
pub struct MessagePlace<'a> {
    pub stream: ToldStream<'a>,
    /// If it is kept.
    pub position: Option<Position>,
}

impl MessagePlace<'_> {
    pub const CONNECTION: MessagePlace<'static> = MessagePlace::unkept(ToldStream::Connection);
    pub const UID: MessagePlace<'static> = MessagePlace::unkept(ToldStream::Uid);
    pub const ALL: MessagePlace<'static> = MessagePlace::unkept(ToldStream::All);

    /// The message as it is told to who is told its place.
    pub fn envelope(&self, message: Message<'_>) -> String {
        let position = self.position.as_ref().map(|one| one as &dyn Display);
        envelope(self.stream, position, message)
    }
}

impl<'a> MessagePlace<'a> {
    const fn unkept(stream: ToldStream<'a>) -> MessagePlace<'a> {
        MessagePlace {
            stream,
            position: None,
        }
    }

    /// Of a group's message that is not kept.
    pub fn group(group: &'a str) -> MessagePlace<'a> {
        MessagePlace::unkept(ToldStream::Group(group))
    }

    /// In this stream.
    pub fn of(kind: Kind, name: &'a str, position: Option<Position>) -> MessagePlace<'a> {
        let stream = match kind {
            Kind::Uid => ToldStream::Uid,
            Kind::Group => ToldStream::Group(name),
            Kind::All => ToldStream::All,
        };
        MessagePlace { stream, position }
    }
}

impl<'a> Marked<'a> {
    pub(super) fn place(&self) -> MessagePlace<'a> {
        let kept = self.mark.filter(|mark| mark.kept);
        MessagePlace::of(self.kind, self.name, kept.map(|mark| mark.position))
    }
}
