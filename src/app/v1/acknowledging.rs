//! Acknowledgements of clients of `ringpost.v1`: taken, and begun from.

use super::RequestRefusal;
use crate::app::abroad::ToEngine;
use crate::app::abroad_streams::{HandledAt, HandledPlace, StreamOrder};
use crate::app::acknowledged::ClientKey;
use crate::app::local::Local;
use crate::ident::ConnId;
use crate::protocol::v1::SpokenStream;
use crate::shard::{Followed, Since};
use crate::streams::{Kind, Position};

impl Local {
    fn client_key(&self, id: ConnId) -> Option<ClientKey> {
        let client = self.shard.client_part(id)?;
        let name = client.name.clone().filter(|_| client.acknowledges)?;
        let uid = self.shard.connections.uid(id)?;
        let namespace = self.shard.connections.namespace_of(id);
        Some((namespace, uid.into(), name))
    }

    /// It says how far it has handled a stream.
    pub(super) fn acknowledge(
        &mut self,
        id: ConnId,
        stream: &SpokenStream,
        position: &str,
    ) -> Result<(), RequestRefusal> {
        let bad = |text: &str| RequestRefusal::new("bad_request", text);
        let position: Position = position
            .parse()
            .map_err(|error| bad(&format!("position: {error}")))?;
        let Some(key) = self.client_key(id) else {
            return Err(bad(
                "only who binds with client and \"ack\":true acknowledges",
            ));
        };
        let (kind, name) = match stream {
            SpokenStream::Uid => (Kind::Uid, ""),
            SpokenStream::All => (Kind::All, ""),
            SpokenStream::Group(group) if self.shard.is_in(id, group) => (Kind::Group, &**group),
            SpokenStream::Group(_) => {
                let text = "the client is not in this group";
                return Err(RequestRefusal::new("not_in_group", text));
            }
        };
        let now = self.now();
        if self.has_engine() {
            let place = HandledPlace {
                of: key.clone(),
                kind,
                name: Box::from(name),
                at: position,
            };
            let bytes = key.1.len() + key.2.len() + name.len();
            let order = ToEngine::Stream(StreamOrder::Handled(place));
            self.tell_engine_for(id, bytes, order);
        }
        self.acknowledged.note(now, key, kind, name, position);
        Ok(())
    }

    /// In a cluster one that has come is asked about first: it may have acknowledged on another node. Whether it waits for that.
    pub(in crate::app) fn asks_for_handled(&mut self, id: ConnId) -> bool {
        if !self.has_engine() {
            return false;
        }
        let Some(of) = self.client_key(id) else {
            return false;
        };
        self.acknowledged.questions += 1;
        let token = self.acknowledged.questions;
        self.acknowledged.waiting.insert(id, token);
        let at = HandledAt {
            connection: id,
            token,
            of,
            places: Vec::new(),
        };
        self.tell_engine(ToEngine::Stream(StreamOrder::AskHandled(Box::new(at))));
        true
    }

    /// What other nodes know of it; nothing where Redis is away.
    pub(in crate::app) fn take_handled(&mut self, at: HandledAt) {
        let HandledAt {
            connection: id,
            token,
            of,
            places,
        } = at;
        if self.acknowledged.waiting.get(&id) != Some(&token) {
            return;
        }
        self.acknowledged.waiting.remove(&id);
        let now = self.now();
        if self.client_key(id).as_ref() != Some(&of) {
            return;
        }
        for (kind, name, position) in places {
            let key = of.clone();
            self.acknowledged.note(now, key, kind, &name, position);
        }
        self.begin_where_acknowledged(id);
        self.follow_asked(id);
    }

    /// One that is bound begins where its client has said that it is, if that is further than what it names.
    pub(in crate::app) fn begin_where_acknowledged(&mut self, id: ConnId) {
        let Some(key) = self.client_key(id) else {
            return;
        };
        let now = self.now();
        let Some(handled) = self.acknowledged.get(now, &key) else {
            return;
        };
        let Some(following) = self.shard.following_mut(id) else {
            return;
        };
        let mut knows_all = false;
        for one in &mut following.streams {
            let Some(asked) = one.asked() else { continue };
            knows_all |= one.kind == Kind::All;
            let Some(handled) = handled.of(one.kind, &one.name) else {
                continue;
            };
            let is_further = match asked {
                Since::Now | Since::Beginning => true,
                Since::At(None) => false,
                Since::At(Some(at)) => at.epoch == handled.epoch && handled.offset > at.offset,
            };
            if is_further {
                one.ask_since(Since::At(Some(handled)));
            }
        }
        if !knows_all && let Some(all) = handled.of(Kind::All, "") {
            let all = Since::At(Some(all));
            following.add(Followed::new(Kind::All, "", all));
        }
    }
}
