//! An id that a request carries out: [`ClaimedId`], which gives it up if nothing comes of it.
//!
//! Others who ask with the same id wait for that. Bound: what [`crate::app::idempotency`] keeps; [`UnsettledIds`] has at
//! most one for each request that a panic has ended, until the connection's core looks again.

use std::cell::RefCell;

use crate::app::host::Host;
use crate::app::idempotency::Digest;
use crate::app::query::Query;
use crate::ident::CoreId;

/// An id, what it stands for, and where that is known.
#[derive(Clone, Copy)]
pub struct IdKey {
    pub home: CoreId,
    pub id: Digest,
    pub wanted: Digest,
    /// In a cluster it can be done again, and is not done twice.
    pub again: bool,
}

/// Ids of requests that a panic has ended, and that are still to be given up.
#[derive(Default)]
pub struct UnsettledIds(RefCell<Vec<IdKey>>);

impl UnsettledIds {
    /// Gives them up; whether there were any.
    pub fn give_up(&self, host: &RefCell<Host>) -> bool {
        if self.0.borrow().is_empty() {
            return false;
        }
        for IdKey { home, id, .. } in std::mem::take(&mut *self.0.borrow_mut()) {
            let what = Query::Settle { id, answer: None };
            drop(host.borrow_mut().tasks().query(home, what));
        }
        true
    }
}

/// An id that this request carries out.
pub struct ClaimedId<'p> {
    host: &'p RefCell<Host>,
    /// Those that cannot be given up when they end.
    unsettled: &'p UnsettledIds,
    key: IdKey,
    /// It holds on this node of a cluster alone.
    is_here: bool,
    settled: bool,
}

impl<'p> ClaimedId<'p> {
    /// Of an id whose home has said that it is fresh.
    pub fn new(host: &'p RefCell<Host>, unsettled: &'p UnsettledIds, key: IdKey) -> ClaimedId<'p> {
        ClaimedId {
            host,
            unsettled,
            key,
            is_here: false,
            settled: false,
        }
    }

    /// Marks it as one that other nodes do not know.
    pub fn here(mut self) -> ClaimedId<'p> {
        self.is_here = true;
        self
    }

    /// By which what it does is kept once, if all of it is kept by Redis, which has the claim.
    pub fn carried(&self) -> Option<Digest> {
        (self.key.again && !self.is_here).then_some(self.key.id)
    }

    /// It was carried out, and this is its answer, which says where the id holds if that is not everywhere.
    pub fn settle(&mut self, answer: &mut String) {
        self.settled = true;
        if self.is_here && answer.pop().is_some() {
            answer.push_str(",\"id_scope\":\"node\"}");
        }
        self.tell(Some(Box::from(&**answer)));
    }

    fn tell(&self, answer: Option<Box<str>>) {
        let IdKey { home, id, .. } = self.key;
        match self.host.try_borrow_mut() {
            // What it answers tells nothing.
            Ok(mut host) => drop(host.tasks().query(home, Query::Settle { id, answer })),
            // A panic has ended this request within a turn. Whoever asks again must not wait for it for ever.
            Err(_) => self.unsettled.0.borrow_mut().push(self.key),
        }
    }
}

impl Drop for ClaimedId<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.tell(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};
    use std::time::Instant;

    use super::*;
    use crate::app::idempotency::Claim;
    use crate::app::namespaces::Registry;
    use crate::app::query::QueryResult;
    use crate::bus::{Route, connect_by};
    use crate::config::Config;

    const KEY: IdKey = IdKey {
        home: CoreId(0),
        id: [1; 16],
        wanted: [2; 16],
        again: false,
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
        let IdKey {
            home, id, wanted, ..
        } = KEY;
        let again = false;
        let what = Query::Claim { id, wanted, again };
        let mut promise = pin!(host.borrow_mut().tasks().query(home, what));
        let mut context = Context::from_waker(Waker::noop());
        match promise.as_mut().poll(&mut context) {
            Poll::Ready(mut found) => match found.pop() {
                Some(QueryResult::Claim(claim)) => claim,
                _ => panic!("another answer"),
            },
            Poll::Pending => panic!("no answer"),
        }
    }

    fn held<'p>(host: &'p RefCell<Host>, unsettled: &'p UnsettledIds) -> ClaimedId<'p> {
        assert_eq!(claim(host), Claim::Fresh);
        assert_eq!(claim(host), Claim::UnderWay);
        ClaimedId::new(host, unsettled, KEY)
    }

    #[test]
    fn an_id_is_given_up_however_its_request_ends() {
        let (host, unsettled) = (host(), UnsettledIds::default());
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
        assert!(unsettled.give_up(&host));
        assert!(!unsettled.give_up(&host));
        // Who asks again carries it out, and then it is known.
        held(&host, &unsettled).settle(&mut "{}".to_owned());
        assert_eq!(claim(&host), Claim::Done("{}".into()));
    }
}
