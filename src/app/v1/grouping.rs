//! Groups of a client of `ringpost.v1`: which it may join, joining and leaving them at any time, and a newer token, which may
//! have others.

use super::RequestRefusal;
use super::binding::too_many;
use crate::app::follow_step::FollowedStream;
use crate::app::host::Host;
use crate::app::local::Local;
use crate::auth::{CredentialError, looks_like_token};
use crate::ident::{ConnId, check_name};
use crate::protocol::v1::RequestId;
use crate::protocol::v1::told::ToldFrame;
use crate::shard::{ClientPart, Followed, JoinError, Joining, Since};
use crate::streams::{Kind, Pattern};

impl Local {
    /// Whether a client may join a group, and whether it is its token that lets it; or why not.
    pub(super) fn may_join(
        &self,
        client: &ClientPart,
        group: &str,
    ) -> Result<bool, RequestRefusal> {
        check_name(group).map_err(|error| RequestRefusal::new("bad_group", error.to_string()))?;
        if self.shard.groups.rules.of(group).public {
            return Ok(false);
        }
        match client.rights.patterns() {
            Ok(patterns) if fits(&patterns, group) => Ok(true),
            found => {
                let why = found.err().unwrap_or("the token's groups have it not");
                let text = format!("the group is not public, and {why}");
                Err(RequestRefusal::new("forbidden_group", text))
            }
        }
    }

    /// Whether one that is bound may join a group, as [`Local::may_join`] says it.
    pub(super) fn may_follow(&self, id: ConnId, group: &str) -> Result<bool, RequestRefusal> {
        match self.shard.client_part(id) {
            Some(client) => self.may_join(client, group),
            None => self.may_join(&ClientPart::default(), group),
        }
    }

    pub(super) fn join_by_request(
        &mut self,
        id: ConnId,
        asked: Option<RequestId>,
        group: &str,
        since: Option<&str>,
    ) {
        let since = match since {
            Some(text) => Since::At(text.parse().ok()),
            None => Since::Now,
        };
        let joined = self
            .may_follow(id, group)
            .and_then(|by_token| self.enter(id, group).map(|()| by_token));
        match joined {
            Ok(by_token) => {
                if by_token
                    && let Some(client) = self.shard.client_part_mut(id)
                    && !client.joined.iter().any(|one| **one == *group)
                {
                    client.joined.push(Box::from(group));
                }
                self.follow_joined(id, group, since, asked);
            }
            Err(refusal) => self.refuse_request(id, asked.as_ref(), &refusal, Some(group)),
        }
    }

    /// Puts it into a group here. Its stream is to be followed next.
    fn enter(&mut self, id: ConnId, group: &str) -> Result<(), RequestRefusal> {
        let joining = self.shard.join(id, group, None);
        self.post_interests();
        match joining {
            Joining::In { .. } | Joining::Later => {
                self.pay_for_join(id, group);
                Ok(())
            }
            Joining::Stale => Err(RequestRefusal::new("not_bound", "the connection is to end")),
            Joining::Refused(JoinError::TooMany) => {
                Err(too_many(self.shard.groups_per_connection_max()))
            }
            Joining::Refused(JoinError::Name(error)) => {
                Err(RequestRefusal::new("bad_group", error.to_string()))
            }
        }
    }

    /// Follows the stream of a group that it is in; it is told when the group's home has answered, which is behind all that the
    /// home was told of it before.
    fn follow_joined(&mut self, id: ConnId, group: &str, since: Since, asked: Option<RequestId>) {
        let one = Followed::new(Kind::Group, group, since);
        let serial = self.shard.follow_group(id, one);
        if let Some(client) = self.shard.client_part_mut(id) {
            client.joining.push((serial, asked));
        }
        // One that is to begin asks for all of its streams alike.
        let of = FollowedStream {
            namespace: self.shard.connections.namespace_of(id),
            kind: Kind::Group,
            name: Box::from(group),
        };
        self.ask_home(id, serial, of, since);
    }

    /// A back end has put connections into groups: those that are told places are told of it.
    pub(in crate::app) fn tell_newcomers(&mut self) {
        for (id, group) in self.shard.followers.take_newcomers() {
            let is_followed = self.shard.follows_group(id, &group);
            if self.shard.is_in(id, &group) && !is_followed {
                self.follow_joined(id, &group, Since::Now, None);
            }
        }
    }

    pub(super) fn leave_by_request(&mut self, id: ConnId, asked: Option<&RequestId>, group: &str) {
        if !self.shard.leave_untold(id, group) {
            let refusal = RequestRefusal::new("not_in_group", "the client is not in this group");
            return self.refuse_request(id, asked, &refusal, Some(group));
        }
        self.post_interests();
        let told = ToldFrame::answer("left", asked).string("group", group);
        self.shard.tell(id, told);
    }

    /// Takes it out of the groups that its token has no more.
    fn obey_token(&mut self, id: ConnId) {
        let Some(client) = self.shard.client_part_mut(id) else {
            return;
        };
        let patterns = client.rights.patterns().unwrap_or_default();
        let (kept, lost) = std::mem::take(&mut client.joined)
            .into_iter()
            .partition(|group| fits(&patterns, group));
        client.joined = kept;
        let lost: Vec<Box<str>> = lost;
        for group in lost {
            if !self.shard.groups.rules.of(&group).public {
                self.shard.leave(id, &group);
            }
        }
        self.shard.settle_following(id);
        self.post_interests();
    }
}

impl Host {
    pub(super) fn take_newer_token(
        &mut self,
        id: ConnId,
        asked: Option<&RequestId>,
        token: &str,
    ) -> Result<(), RequestRefusal> {
        let shard = &mut self.local.shard;
        if !shard
            .connections
            .listener(id)
            .is_some_and(|spec| spec.proves)
        {
            let text = "this server asks for no token";
            return Err(RequestRefusal::new("not_available", text));
        }
        if !shard.may_refresh(id) {
            let text = "a token was shown just now; show the next one a second later";
            return Err(RequestRefusal::new("too_many_requests", text));
        }
        let bad = |error: CredentialError| RequestRefusal::new("bad_token", error.text());
        if !looks_like_token(token.as_bytes()) {
            return Err(bad(crate::auth::NO_TOKEN));
        }
        let credential = self.check_credential(token).map_err(bad)?;
        let shard = &mut self.local.shard;
        if shard.proved(id) != Some(&credential.uid) {
            return Err(bad(CredentialError::OtherUid));
        }
        shard.refresh(id, credential.expires);
        if let Some(client) = shard.client_part_mut(id) {
            client.rights = credential.groups;
        }
        self.local.obey_token(id);
        self.local.tell_renewed(id, asked);
        Ok(())
    }
}

fn fits(patterns: &[String], group: &str) -> bool {
    patterns.iter().any(|one| Pattern::new(one).fits(group))
}
