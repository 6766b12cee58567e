//! What a client of `ringpost.v1` asks of other cores, and the frames that answer it: pages of what streams keep, and
//! of groups' members; and what it says to the back end.

use std::fmt::Write;

use super::RequestRefusal;
use crate::app::client_requests::{AskedPage, PENDING_MAX};
use crate::app::local::Local;
use crate::app::outcome::Answer;
use crate::app::pending::Caller;
use crate::app::presence::MembersAsked;
use crate::app::query::{HistoryPage, HistoryQuery, Query, QueryResult};
use crate::config::MessagesFull;
use crate::events::{MessageTold, Said};
use crate::ident::{ConnId, EVERYBODY, Reach, check_name};
use crate::protocol::v1::told::{FramePart, ToldFrame};
use crate::protocol::v1::{Content, RequestId, Spoken, SpokenStream};
use crate::shard::with_stream;
use crate::streams::{Gap, Kind, Limit};

/// Messages or members of a page, unless the request says otherwise, and at most.
const LISTED: u32 = 100;
const LISTED_MAX: u32 = 1_000;
/// Bytes of a page's messages at most. The first is there however large it is.
const BYTES_MAX: usize = 64 << 10;

impl Local {
    /// Asks for a page of what a stream keeps.
    pub(super) fn ask_history(
        &mut self,
        id: ConnId,
        asked: Option<RequestId>,
        stream: SpokenStream,
        since: Option<&str>,
        (limit, reverse): (Option<u32>, bool),
    ) -> Result<(), RequestRefusal> {
        let limit = page_of(limit)?;
        let (kind, name): (Kind, Box<str>) = match stream {
            SpokenStream::Uid => {
                let uid = self.shard.connections.uid(id).unwrap_or_default();
                (Kind::Uid, uid.into())
            }
            SpokenStream::All => (Kind::All, EVERYBODY.into()),
            SpokenStream::Group(group) => {
                check_name(&group)
                    .map_err(|error| RequestRefusal::new("bad_group", error.to_string()))?;
                if !self.shard.is_in(id, &group) {
                    self.may_follow(id, &group)?;
                }
                (Kind::Group, group.into())
            }
        };
        self.count_request(id)?;
        let namespace = self.shard.connections.namespace_of(id);
        let query = HistoryQuery {
            reach: Reach::of(namespace),
            kind,
            name: name.clone(),
            since: since.map(|text| text.parse().ok()),
            limit: Limit {
                messages: limit as usize,
                bytes: BYTES_MAX,
            },
            reverse,
        };
        let home = self.outgoing.home(&name);
        let page = AskedPage {
            connection: id,
            asked,
            kind: Some(kind),
            name,
            comes_with_join: false,
        };
        self.query(Caller::Client(Box::new(page)), home, Query::History(query));
        Ok(())
    }

    fn count_request(&mut self, id: ConnId) -> Result<(), RequestRefusal> {
        match self.requests.add(id) {
            true => Ok(()),
            false => {
                let text = format!("{PENDING_MAX} requests of this connection wait for an answer");
                Err(RequestRefusal::new("too_many_requests", text))
            }
        }
    }

    /// Asks for a page of a group's members.
    pub(super) fn ask_members(
        &mut self,
        id: ConnId,
        asked: Option<RequestId>,
        group: &str,
        limit: Option<u32>,
        cursor: Option<String>,
    ) -> Result<(), RequestRefusal> {
        let limit = page_of(limit)?;
        if !self.shard.is_in(id, group) {
            let text = "the client is not in this group";
            return Err(RequestRefusal::new("not_in_group", text));
        }
        if self.shard.groups.rules.of(group).presence.is_none() {
            let text = "the members of this group are told to nobody";
            return Err(RequestRefusal::new("not_available", text));
        }
        self.count_request(id)?;
        let page = AskedPage {
            connection: id,
            asked,
            kind: None,
            name: Box::from(group),
            comes_with_join: false,
        };
        self.look_for_members(page, cursor.unwrap_or_default().into(), limit);
        Ok(())
    }

    /// It has joined a group: it is told who is there, the first of them, if members are told of each other.
    pub(super) fn list_members(&mut self, id: ConnId, group: &str) {
        if self.shard.groups.rules.of(group).presence.is_none() {
            return;
        }
        let page = AskedPage {
            connection: id,
            asked: None,
            kind: None,
            name: Box::from(group),
            comes_with_join: true,
        };
        self.look_for_members(page, Box::default(), LISTED);
    }

    fn look_for_members(&mut self, page: AskedPage, after: Box<str>, most: u32) {
        let ask = MembersAsked {
            namespace: self.shard.connections.namespace_of(page.connection),
            group: page.name.clone(),
            after,
            most: most as usize,
        };
        self.members(Caller::Client(Box::new(page)), ask);
    }

    /// A page of a group's members has come.
    pub(in crate::app) fn tell_members(&mut self, asked: AskedPage, answer: Answer) {
        if !asked.comes_with_join {
            self.requests.answered(asked.connection);
        }
        let Answer::Members(page) = answer else {
            return;
        };
        let mut members = FramePart::new();
        for (name, connections) in &page.members {
            members = members.json(name, connections);
        }
        let told = ToldFrame::answer("members", asked.asked.as_ref())
            .string("group", &asked.name)
            .json("members", members.end());
        let last = page.members.last().filter(|_| page.is_more);
        let told = match last {
            Some((name, _)) => told.string("cursor", name),
            None => told.quoted("cursor", None::<&str>),
        };
        let told = match page.is_partial {
            true => told.json("complete", false),
            false => told,
        };
        self.shard.tell(asked.connection, told);
    }

    /// Tells the back end what a client says.
    pub(super) fn say_to_back_end(
        &mut self,
        id: ConnId,
        asked: Option<&RequestId>,
        said: Spoken,
    ) -> Result<(), RequestRefusal> {
        let said = match said {
            Spoken::Text(text) => Said::Text(text),
            Spoken::Data(json) => Said::Data(json),
        };
        let request = asked.map(RequestId::json);
        let refusal = match self
            .shard
            .tell_message(id, request, said, MessagesFull::Refuse)
        {
            MessageTold::Taken => {
                self.shard.tell(id, ToldFrame::answer("sent", asked));
                return Ok(());
            }
            MessageTold::Unwanted => ("not_available", "no back end is told what clients say"),
            MessageTold::Full => ("overloaded", "the back end has not taken what waits for it"),
        };
        Err(RequestRefusal::new(refusal.0, refusal.1))
    }

    /// What was asked for has been found.
    pub(in crate::app) fn tell_found(&mut self, asked: AskedPage, found: QueryResult) {
        let id = asked.connection;
        self.requests.answered(id);
        if let QueryResult::History(page) = found {
            let told = told_page(&asked, &page);
            self.shard.tell(id, told);
        }
    }
}

/// How many are asked for.
fn page_of(limit: Option<u32>) -> Result<u32, RequestRefusal> {
    let limit = limit.unwrap_or(LISTED);
    match (1..=LISTED_MAX).contains(&limit) {
        true => Ok(limit),
        false => {
            let text = format!("limit: expected 1 to {LISTED_MAX}");
            Err(RequestRefusal::new("bad_request", text))
        }
    }
}

fn told_page(asked: &AskedPage, page: &HistoryPage) -> ToldFrame {
    let mut messages = String::from("[");
    for (position, payload) in &page.messages {
        if messages.len() > 1 {
            messages.push(',');
        }
        let content = Content::of(payload.message().bytes());
        // Of a string or of JSON; it does not fail, nor does writing.
        let content = serde_json::to_string(&content).unwrap_or_default();
        let rest = content.strip_prefix('{').unwrap_or_default();
        let _ = write!(messages, "{{\"position\":\"{position}\",{rest}");
    }
    messages.push(']');
    let kind = asked.kind.unwrap_or(Kind::Uid);
    let told = ToldFrame::answer("history", asked.asked.as_ref())
        .with(|told| with_stream(told, kind, &asked.name))
        .quoted("top", Some(page.top))
        .json("messages", messages);
    match &page.gap {
        Some(gap) => told.json("gap", told_gap(gap)),
        None => told,
    }
}

fn told_gap(gap: &Gap) -> String {
    let part = FramePart::new().quoted("asked", gap.asked);
    let part = part.quoted("first", gap.first);
    part.quoted("top", Some(gap.top)).end()
}
