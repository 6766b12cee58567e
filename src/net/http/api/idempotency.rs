//! Requests with an `id`: asked of its home core before they are carried out, and told there when they are done.
//!
//! Bound: what [`crate::app::idempotency`] keeps. A request that ends without an outcome gives its id up.

use sha2::{Digest as _, Sha256};

use super::claims::{ClaimedId, IdKey};
use super::errors::{ApiError, CommandResult};
use super::pacing::{PaceMark, RequestPace};
use super::requests::{ApiCommand, PushCommand, PushTarget};
use super::service::Api;
use crate::app::bulk::Except;
use crate::app::idempotency::{Claim, Digest, home_text};
use crate::app::query::{Query, QueryResult};
use crate::ident::EVERYBODY;
use crate::streams::Kind;

/// What is to become of a command.
pub enum Claimed<'p> {
    /// It is to be carried out; with an id, that is held meanwhile.
    Now(Option<ClaimedId<'p>>),
    /// Another request is about to.
    Later(IdKey),
    /// It was, or will not be.
    Known(Option<CommandResult>),
}

impl Api {
    /// Asks for all commands that have an id whether they are to be carried out.
    pub(super) async fn claim<'p>(
        &'p self,
        commands: &[Result<ApiCommand<'_>, ApiError>],
        pace: &mut RequestPace<'_>,
    ) -> Vec<Claimed<'p>> {
        let mut due = Vec::with_capacity(commands.len());
        let mut asked = Vec::new();
        for (nth, command) in commands.iter().enumerate() {
            due.push(Claimed::Now(None));
            if let Ok(ApiCommand::Push(push)) = command
                && let Some(id) = &push.id
            {
                let id = digest([id.as_bytes()]);
                let again = self.is_kept_abroad(push);
                let key = IdKey {
                    home: self.host.borrow_mut().tasks().home(&home_text(&id)),
                    id,
                    wanted: wanted(push),
                    again,
                };
                let IdKey {
                    home, id, wanted, ..
                } = key;
                let what = Query::Claim { id, wanted, again };
                let mark = PaceMark::new(&mut self.host.borrow_mut());
                let promise = self.host.borrow_mut().tasks().query(home, what);
                asked.push((nth, key, promise));
                pace.spend(mark, 1).await;
            }
        }
        for (nth, key, promise) in asked {
            due[nth] = self.due(key, promise.await);
        }
        due
    }

    /// Waits for what another request makes of this id.
    pub(super) async fn wait_for<'p>(&'p self, due: &mut Claimed<'p>) {
        let Claimed::Later(key) = *due else { return };
        let IdKey {
            home,
            id,
            wanted,
            again,
        } = key;
        let what = Query::Await { id, wanted, again };
        let promise = self.host.borrow_mut().tasks().query(home, what);
        *due = self.due(key, promise.await);
    }

    /// Whether Redis keeps it for all that it is for: each stream takes an id once.
    fn is_kept_abroad(&self, push: &PushCommand<'_>) -> bool {
        let mut host = self.host.borrow_mut();
        let tasks = host.tasks();
        let is_kept = |kind, name: &str| tasks.is_kept_abroad(self.reach, kind, name, push.wish);
        match &push.target {
            PushTarget::Uid(uid) if uid == EVERYBODY => is_kept(Kind::All, EVERYBODY),
            PushTarget::Uid(uid) => is_kept(Kind::Uid, uid),
            PushTarget::Uids(uids) => uids.iter().all(|uid| is_kept(Kind::Uid, uid)),
            PushTarget::Group(group) => is_kept(Kind::Group, group),
            PushTarget::Everybody => is_kept(Kind::All, EVERYBODY),
            PushTarget::Connection(..) => false,
        }
    }

    fn due(&self, key: IdKey, found: Vec<QueryResult>) -> Claimed<'_> {
        let refused = |status, code, words: &str| {
            let error = ApiError::new(status, code, words);
            Claimed::Known(Some(Err(error)))
        };
        match found.into_iter().next() {
            Some(QueryResult::Claim(Claim::Fresh)) => {
                Claimed::Now(Some(ClaimedId::new(&self.host, &self.unsettled, key)))
            }
            Some(QueryResult::Claim(Claim::FreshHere)) => Claimed::Now(Some(
                ClaimedId::new(&self.host, &self.unsettled, key).here(),
            )),
            Some(QueryResult::Claim(Claim::UnderWay)) => Claimed::Later(key),
            Some(QueryResult::Claim(Claim::Elsewhere)) => refused(
                503,
                "id_under_way",
                "another node carries out a request with this id; ask again later",
            ),
            Some(QueryResult::Claim(Claim::Lost)) => refused(
                503,
                "id_lost",
                "the node that carried out a request with this id has ended amid it: nobody knows whom it has reached, \
                 and it is not carried out again until idempotency_window is over",
            ),
            Some(QueryResult::Claim(Claim::Done(answer))) => {
                let inner = answer.strip_suffix('}').unwrap_or(&answer);
                Claimed::Known(Some(Ok(format!("{inner},\"repeated\":true}}"))))
            }
            Some(QueryResult::Claim(Claim::Conflict)) => refused(
                409,
                "id_in_use",
                "this id is that of another request, which asked for something else",
            ),
            Some(QueryResult::Claim(Claim::Full)) => refused(
                503,
                "too_many_ids",
                "as many ids are kept as may be (idempotency_ids_max); without one it is pushed",
            ),
            _ => refused(500, "internal", "the id's home has no answer"),
        }
    }
}

/// Of whom a push is for, and of what it says.
fn wanted(push: &PushCommand<'_>) -> Digest {
    let (kind, uids): (&[u8], &[_]) = match &push.target {
        PushTarget::Uid(uid) => (b"uid", std::slice::from_ref(uid)),
        PushTarget::Uids(uids) => (b"uids", uids),
        PushTarget::Group(group) => (b"group", std::slice::from_ref(group)),
        PushTarget::Connection(_, name) => (b"connection", std::slice::from_ref(name)),
        PushTarget::Everybody => (b"everybody", &[]),
    };
    let names = uids.iter().map(|uid| uid.as_bytes());
    let except = push.except.as_deref();
    let except: Vec<String> = except.into_iter().flat_map(Except::words).collect();
    let except = except.iter().map(|word| word.as_bytes());
    digest(
        [kind, push.message.as_bytes()]
            .into_iter()
            .chain(names)
            .chain(except),
    )
}

/// Of the parts and their lengths, so that no two lists of parts give the same.
fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut context = Sha256::new();
    for part in parts {
        context.update((part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    let whole = context.finalize();
    digest.copy_from_slice(&whole[..16]);
    digest
}
