//! What goes between cores for one connection, by its name: [`ToConnection`], and [`NameStep`]s in knowing where it is.

use super::bulk::ReplyTo;
use crate::events::KickedBy;
use crate::ident::{ConnName, Reach};
use crate::payload::Payload;
use crate::protocol::connection_facts::ConnectionOrder;
use crate::shard::Farewell;

/// What is for one connection.
pub struct ToConnection {
    pub name: ConnName,
    /// How often it had moved when it came to the core that this goes to; none of what goes to the keeper.
    pub moves: Option<u32>,
    pub reach: Reach,
    pub order: Order,
    pub asked: ReplyTo,
}

/// What is to be done with it.
pub enum Order {
    Push(Payload),
    Kick(KickedBy, Option<Box<Farewell>>),
    Look,
    /// To have these attributes; or, if it is so, with those that it has.
    SetAttributes(Box<str>, bool),
    Bind(Box<str>),
    Unbind,
}

impl From<ConnectionOrder> for Order {
    fn from(order: ConnectionOrder) -> Order {
        match order {
            ConnectionOrder::Look => Order::Look,
            ConnectionOrder::SetAttributes { text, merges } => Order::SetAttributes(text, merges),
            ConnectionOrder::Bind(uid) => Order::Bind(uid),
            ConnectionOrder::Unbind => Order::Unbind,
        }
    }
}

/// What cores tell each other of where a connection is.
pub enum NameStep {
    /// To its keeper: it has come here, having moved so often.
    Came { moves: u32 },
    /// To its keeper: it has ended here.
    Ended,
    /// From its keeper: is it where it has come to with so many moves?
    Look { moves: u32 },
    /// To its keeper: it is here, having moved so often; or no more.
    Found { moves: Option<u32> },
}
