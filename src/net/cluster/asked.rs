//! What was asked of other nodes, until it is known what has come of it: [`Asked`].

use super::members::Audience;
use crate::app::outcome::{Abroad, Unknown};
use crate::ident::CoreId;
use crate::protocol::cluster::{LookAnswer, NodeAnswer, NodeFacts, NodeId};

/// Something that was asked of other nodes.
pub struct Asked {
    pub core: CoreId,
    pub call: u64,
    pub audience: Audience,
    /// Which one was asked, if one alone was.
    pub node: Option<NodeId>,
    /// Whether this node has the uid itself. Then it was reached, whoever else has it.
    pub is_here: bool,
    /// Whether what counts is how many were reached.
    pub is_counted: bool,
    /// How many nodes have it, once Redis has said so.
    pub nodes: Option<u32>,
    pub answered: u32,
    /// How many of those are no node's, but the second process of one.
    pub asides: u32,
    pub abroad: Abroad,
    /// Nodes that may have had somebody whom Redis did not know, when it was sent.
    pub incomplete: u32,
    /// And those that Redis had lost by then.
    pub lost: u32,
    /// How many had gone by then.
    pub departures: u64,
    /// Whether it waits for a look at the others' connections.
    pub is_unsure: bool,
    /// What they say of themselves, where that is asked.
    pub nodes_told: Option<Vec<NodeFacts>>,
    /// And whom they have.
    pub looked: Option<Vec<LookAnswer>>,
}

impl Asked {
    /// Whether it is right only if all others were subscribed all the while.
    pub fn needs_look(&self) -> bool {
        let has_none = self.abroad.reached == 0 && !self.is_here;
        self.audience == Audience::Some && (has_none || self.is_counted)
    }
}

/// What it comes to.
pub fn abroad_of(answer: &NodeAnswer) -> Abroad {
    match *answer {
        NodeAnswer::Described(_) | NodeAnswer::Look(_) | NodeAnswer::Aside => Abroad::default(),
        NodeAnswer::Reached(reached) => Abroad::to(reached),
        NodeAnswer::Holds { holds, blocks } => Abroad {
            reached: u32::from(holds),
            refused: u32::from(blocks),
            ..Abroad::default()
        },
        NodeAnswer::Joined(reached, refused) => Abroad {
            reached,
            refused,
            ..Abroad::default()
        },
        NodeAnswer::Unread => Abroad {
            unknown: Unknown::nodes_silent(1),
            ..Abroad::default()
        },
    }
}
