//! What clients of `ringpost.v1` ask, done: each frame of one comes here in place of its app.
//!
//! Their streams are followed as those of clients by events (`app/following`); what is here asks for it at any time, and says
//! in frames what has come of it. An error in a request is an answer; a bind alone ends the connection. Bound:
//! `client_requests` has how many requests of a connection may wait for another core.

mod acknowledging;
mod asking;
mod binding;
mod grouping;
mod telling;

use super::host::Host;
use super::local::Local;
use crate::ident::ConnId;
use crate::payload::Message;
use crate::protocol::v1::told::ToldFrame;
use crate::protocol::v1::{ClientRequest, PONG, RequestId, Wanted};
use crate::shard::Phase;

/// Why a request is not done: the error's name, and words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestRefusal {
    pub code: &'static str,
    pub text: String,
}

impl RequestRefusal {
    fn new(code: &'static str, text: impl Into<String>) -> RequestRefusal {
        RequestRefusal {
            code,
            text: text.into(),
        }
    }
}

impl Host {
    /// Takes a frame of a client that speaks `ringpost.v1`.
    pub(super) fn take_frame(&mut self, id: ConnId, frame: Message<'_>) {
        match ClientRequest::read(frame) {
            Ok(ClientRequest { id: asked, wanted }) => self.do_request(id, asked, wanted),
            Err(error) => {
                let told = ToldFrame::error(error.id.as_ref(), error.code, &error.text);
                self.local.shard.tell(id, told);
            }
        }
    }

    fn do_request(&mut self, id: ConnId, asked: Option<RequestId>, wanted: Wanted) {
        let is_bound = self.local.shard.connections.phase(id) == Phase::Home
            && self.local.shard.connections.uid(id).is_some();
        let local = &mut self.local;
        let done = match wanted {
            Wanted::Ping => {
                local.shard.send_as_told(id, Message::Text(PONG));
                return;
            }
            // It has counted as a heartbeat.
            Wanted::Pong => return,
            Wanted::Bind(bind) => return self.take_bind(id, asked, *bind),
            _ if !is_bound => Err(RequestRefusal::new("not_bound", "bind comes first")),
            Wanted::Join { group, since } => {
                return local.join_by_request(id, asked, &group, since.as_deref());
            }
            Wanted::Leave { group } => {
                return local.leave_by_request(id, asked.as_ref(), &group);
            }
            Wanted::Ack { stream, position } => local.acknowledge(id, &stream, &position),
            Wanted::History {
                stream,
                since,
                limit,
                reverse,
            } => {
                let since = since.as_deref();
                local.ask_history(id, asked.clone(), stream, since, (limit, reverse))
            }
            Wanted::Token { token } => self.take_newer_token(id, asked.as_ref(), &token),
            Wanted::Presence {
                group,
                limit,
                cursor,
            } => local.ask_members(id, asked.clone(), &group, limit, cursor),
            Wanted::Send { said } => local.say_to_back_end(id, asked.as_ref(), said),
        };
        if let Err(refusal) = done {
            self.local
                .refuse_request(id, asked.as_ref(), &refusal, None);
        }
    }
}

impl Local {
    /// Says why a request is not done, and about which group it is, if it is about one.
    fn refuse_request(
        &mut self,
        id: ConnId,
        asked: Option<&RequestId>,
        refusal: &RequestRefusal,
        group: Option<&str>,
    ) {
        let told = ToldFrame::error(asked, refusal.code, &refusal.text);
        let told = match group {
            Some(group) => told.string("group", group),
            None => told,
        };
        self.shard.tell(id, told);
    }
}
