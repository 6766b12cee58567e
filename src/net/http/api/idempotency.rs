//! Requests with an `id`: asked of its home core before they are carried out, and told there when they are done.
//!
//! Bound: what [`crate::app::idempotency`] keeps. A request that ends without an outcome gives its id up.

use std::cell::RefCell;

use sha2::{Digest as _, Sha256};

use super::ApiError;
use super::errors::CommandResult;
use super::pacing::{PaceMark, RequestPace};
use super::requests::{ApiCommand, PushCommand, PushTarget};
use crate::app::host::Host;
use crate::app::idempotency::{Claim, Digest};
use crate::app::query::{Query, QueryResult};
use crate::ident::CoreId;
use crate::net::http::Port;

/// What is to become of a command.
pub enum Claimed<'p> {
    /// It is to be carried out; with an id, that is held meanwhile.
    Now(Option<ClaimedId<'p>>),
    /// Another request is about to.
    Later(IdKey),
    /// It was, or will not be.
    Known(Option<CommandResult>),
}

/// An id, what it stands for, and where that is known.
#[derive(Clone, Copy)]
pub struct IdKey {
    home: CoreId,
    id: Digest,
    wanted: Digest,
}

/// An id that this request carries out. Others wait for that, so it is given up if nothing comes of it.
pub struct ClaimedId<'p> {
    host: &'p RefCell<Host>,
    /// Those that cannot be given up when they end.
    unsettled: &'p RefCell<Vec<IdKey>>,
    key: IdKey,
    settled: bool,
}

impl ClaimedId<'_> {
    pub fn settle(&mut self, answer: &str) {
        self.settled = true;
        self.tell(Some(Box::from(answer)));
    }

    fn tell(&self, answer: Option<Box<str>>) {
        let IdKey { home, id, .. } = self.key;
        match self.host.try_borrow_mut() {
            // What it answers tells nothing.
            Ok(mut host) => drop(host.query(home, Query::Settle { id, answer })),
            // A panic has ended this request within a turn. Whoever asks again must not wait for it for ever.
            Err(_) => self.unsettled.borrow_mut().push(self.key),
        }
    }
}

impl Port {
    /// Gives up the ids of requests that a panic has ended.
    pub fn settle_left(&self) {
        if !self.unsettled.borrow().is_empty() {
            give_up(&self.host, &self.unsettled);
        }
    }
}

/// Whether there were any.
fn give_up(host: &RefCell<Host>, unsettled: &RefCell<Vec<IdKey>>) -> bool {
    let left = std::mem::take(&mut *unsettled.borrow_mut());
    for IdKey { home, id, .. } in &left {
        let what = Query::Settle {
            id: *id,
            answer: None,
        };
        drop(host.borrow_mut().query(*home, what));
    }
    !left.is_empty()
}

impl Drop for ClaimedId<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.tell(None);
        }
    }
}

impl Port {
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
                let key = IdKey {
                    home: self.host.borrow_mut().home(id),
                    id: digest([id.as_bytes()]),
                    wanted: wanted(push),
                };
                let IdKey { home, id, wanted } = key;
                let what = Query::Claim { id, wanted };
                let mark = PaceMark::new(&mut self.host.borrow_mut());
                let promise = self.host.borrow_mut().query(home, what);
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
        let IdKey { home, id, wanted } = key;
        let what = Query::Await { id, wanted };
        let promise = self.host.borrow_mut().query(home, what);
        *due = self.due(key, promise.await);
    }

    fn due(&self, key: IdKey, found: Vec<QueryResult>) -> Claimed<'_> {
        let refused = |status, code, words: &str| {
            let error = ApiError::new(status, code, words);
            Claimed::Known(Some(Err(error)))
        };
        match found.into_iter().next() {
            Some(QueryResult::Claim(Claim::Fresh)) => Claimed::Now(Some(ClaimedId {
                host: &self.host,
                unsettled: &self.unsettled,
                key,
                settled: false,
            })),
            Some(QueryResult::Claim(Claim::UnderWay)) => Claimed::Later(key),
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
        PushTarget::Everybody => (b"everybody", &[]),
    };
    let names = uids.iter().map(|uid| uid.as_bytes());
    digest([kind, push.message.as_bytes()].into_iter().chain(names))
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

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use super::*;
    use crate::app::namespaces::Registry;
    use crate::bus::{Route, connect_by};
    use crate::config::Config;

    const KEY: IdKey = IdKey {
        home: CoreId(0),
        id: [1; 16],
        wanted: [2; 16],
    };

    fn host() -> RefCell<Host> {
        let mut ends = connect_by(Route::with_seed(1, 1).unwrap()).unwrap();
        let bus = ends.remove(0);
        let listeners = Rc::from([]);
        let config = Config::default();
        RefCell::new(Host::new(
            &config,
            bus,
            listeners,
            Registry::new(1),
            Vec::new(),
            Instant::now(),
        ))
    }

    /// What its home says of the id; one core alone answers at once.
    fn claim(host: &RefCell<Host>) -> Claim {
        let IdKey { home, id, wanted } = KEY;
        let what = Query::Claim { id, wanted };
        let mut promise = pin!(host.borrow_mut().query(home, what));
        let mut context = Context::from_waker(Waker::noop());
        match promise.as_mut().poll(&mut context) {
            Poll::Ready(mut found) => match found.pop() {
                Some(QueryResult::Claim(claim)) => claim,
                _ => panic!("another answer"),
            },
            Poll::Pending => panic!("no answer"),
        }
    }

    fn held<'p>(host: &'p RefCell<Host>, unsettled: &'p RefCell<Vec<IdKey>>) -> ClaimedId<'p> {
        assert_eq!(claim(host), Claim::Fresh);
        assert_eq!(claim(host), Claim::UnderWay);
        ClaimedId {
            host,
            unsettled,
            key: KEY,
            settled: false,
        }
    }

    #[test]
    fn an_id_is_given_up_however_its_request_ends() {
        let (host, unsettled) = (host(), RefCell::default());
        // Its connection is gone.
        drop(held(&host, &unsettled));
        // A panic ends it, outside of a turn and within one.
        let held_on = held(&host, &unsettled);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _held = held_on;
            panic!("outside of a turn");
        }));
        assert!(ended.is_err());
        let held_on = held(&host, &unsettled);
        let ended = catch_unwind(AssertUnwindSafe(|| {
            let _turn = host.borrow_mut();
            let _held = held_on;
            panic!("within a turn");
        }));
        assert!(ended.is_err());
        assert_eq!(claim(&host), Claim::UnderWay);
        assert!(give_up(&host, &unsettled));
        assert!(!give_up(&host, &unsettled));
        // Who asks again carries it out, and then it is known.
        held(&host, &unsettled).settle("{}");
        assert_eq!(claim(&host), Claim::Done("{}".into()));
    }
}
