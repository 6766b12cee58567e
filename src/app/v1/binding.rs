//! The bind of a client of `ringpost.v1`: who it is, where it was, and the groups that it wants at once.

use super::RequestRefusal;
use crate::app::host::Host;
use crate::app::local::Local;
use crate::app::outcome::BindError;
use crate::auth::{Credential, CredentialError};
use crate::ident::{ConnId, NamespaceId, Reach, UidError};
use crate::protocol::v1::{BindRequest, RequestId};
use crate::shard::{ClientPart, Followed, Following, Phase, Since, UntoldRefusal};
use crate::streams::Kind;

impl Host {
    /// Its handshake has brought a token: it is bound when it asks for that.
    pub fn hold_proof(&mut self, id: ConnId, credential: Credential) {
        let Credential {
            uid,
            expires,
            groups,
        } = credential;
        self.local.shard.prove(id, uid, expires);
        if groups != Default::default()
            && let Some(client) = self.local.shard.client_part_mut(id)
        {
            client.rights = groups;
        }
    }

    pub(super) fn take_bind(&mut self, id: ConnId, asked: Option<RequestId>, bind: BindRequest) {
        let shard = &self.local.shard;
        if shard.connections.phase(id) != Phase::Open || shard.connections.has_asked(id) {
            let refusal = RequestRefusal::new("already_bound", "a connection is bound once");
            return self
                .local
                .refuse_request(id, asked.as_ref(), &refusal, None);
        }
        let proves = shard
            .connections
            .listener(id)
            .is_some_and(|spec| spec.proves);
        let uid = match proves {
            true => self.proved_uid(id, &bind).map_err(BindError::Unproved),
            false => match &bind.uid {
                Some(uid) => Ok(Box::from(&**uid)),
                None => Err(BindError::Uid(UidError::Empty)),
            },
        };
        let uid = match uid {
            Ok(uid) => uid,
            Err(error) => return self.refuse(id, error),
        };
        self.local.follow_by_bind(id, asked, &bind);
        let Some((app, session)) = self.session_of(id) else {
            return;
        };
        let app = &mut self.apps[app];
        match proves {
            true => app.proved(&mut self.local, id, session, &uid),
            false => app.claimed(&mut self.local, id, session, &uid),
        }
    }

    /// The uid that it has proved to be, by its handshake or by this.
    fn proved_uid(&mut self, id: ConnId, bind: &BindRequest) -> Result<Box<str>, CredentialError> {
        if let Some(token) = &bind.token {
            let credential = self.check_credential(token)?;
            self.hold_proof(id, credential);
        }
        let proved = self.local.shard.proved(id);
        let proved = proved.ok_or(CredentialError::Missing)?;
        match &bind.uid {
            Some(uid) if **uid != *proved => Err(CredentialError::OtherUid),
            _ => Ok(proved.into()),
        }
    }
}

impl Local {
    /// What it follows from when it is bound.
    fn follow_by_bind(&mut self, id: ConnId, asked: Option<RequestId>, bind: &BindRequest) {
        let mut client = match self.shard.client_part_mut(id) {
            Some(client) => std::mem::take(client),
            None => ClientPart::default(),
        };
        client.name = bind.client.as_deref().map(Box::from);
        client.acknowledges = bind.ack;
        client.bind_id = asked;
        let since = |text: &Option<String>| match text {
            Some(text) => Since::At(text.parse().ok()),
            None => Since::Now,
        };
        let own = since(&bind.positions.uid);
        let all = match &bind.positions.all {
            Some(_) => Some(since(&bind.positions.all)),
            // It has had a connection, and nothing to everybody was ever kept by then.
            None => (own != Since::Now).then_some(Since::Beginning),
        };
        let mut following = Following::of([Followed::new(Kind::Uid, "", own)]);
        let most = self.shard.groups_per_connection_max();
        let mut taken: Vec<&str> = Vec::new();
        for (group, position) in &bind.groups.0 {
            let may = match taken.len() < most {
                _ if taken.contains(&&**group) => continue,
                true => self.may_join(&client, group),
                false => Err(too_many(most)),
            };
            match may {
                Ok(by_token) => {
                    taken.push(group);
                    if by_token {
                        client.joined.push(Box::from(&**group));
                    }
                    following.add(Followed::new(Kind::Group, group, since(position)));
                }
                Err(refusal) => client.refused.push(UntoldRefusal {
                    group: Box::from(&**group),
                    code: refusal.code.into(),
                    text: refusal.text.into(),
                }),
            }
        }
        if let Some(all) = all {
            following.add(Followed::new(Kind::All, "", all));
        }
        following.client = (!client.is_empty()).then(|| Box::new(client));
        self.shard.follow(id, following);
    }

    /// Binds it, in place of what its client had before.
    pub(in crate::app) fn bind_at_home(&mut self, id: ConnId, uid: &str, comes_back: bool) -> bool {
        // What a client is called is kept with what it follows.
        if self.shard.followers.is_empty() || !self.shard.connections.is_told_places(id) {
            return self.shard.bind_as(id, uid, comes_back, &[]);
        }
        let namespace = self.shard.connections.namespace_of(id);
        let own = self.own_places(id, namespace, uid);
        self.shard.bind_as(id, uid, comes_back, &own)
    }

    /// Whether the uid has connections that are not of this one's client.
    pub(in crate::app) fn has_others(&self, id: ConnId, uid: &str) -> bool {
        let namespace = self.shard.connections.namespace_of(id);
        let present = self.shard.online(Reach::of(namespace), uid) as usize;
        present > self.own_places(id, namespace, uid).len()
    }

    /// The connection of this uid that a client which binds had before, by the name that it says.
    fn own_places(&self, id: ConnId, namespace: NamespaceId, uid: &str) -> Vec<ConnId> {
        let name_of = |id: ConnId| self.shard.client_part(id)?.name.as_deref();
        let Some(name) = name_of(id) else {
            return Vec::new();
        };
        let others = self.shard.connections_of(namespace, uid);
        let mut own: Vec<ConnId> = others.into_iter().collect();
        own.retain(|other| *other != id && name_of(*other) == Some(name));
        own
    }
}

/// Why one more group is too many.
pub(super) fn too_many(most: usize) -> RequestRefusal {
    let text = format!("a connection has at most {most} groups");
    RequestRefusal::new("too_many_groups", text)
}
