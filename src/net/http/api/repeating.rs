//! Requests with an `id`: asked of its home core before they are carried out, and told there when they are done.
//!
//! Bound: what [`crate::app::repeats`] keeps. A request that ends without an outcome gives its id up.

use sha2::{Digest as _, Sha256};

use super::ApiError;
use super::bodies::{Command, Push, Target};
use super::carrying::Outcome;
use super::pacing::{Mark, Pace};
use crate::app::inquiry::{Finding, Inquiry};
use crate::app::repeats::{Claim, Digest};
use crate::ident::CoreId;
use crate::net::http::Port;

/// What is to become of a command.
pub enum Due<'p> {
    /// It is to be carried out; with an id, that is held meanwhile.
    Now(Option<Held<'p>>),
    /// Another request is about to.
    Later(Key),
    /// It was, or will not be.
    Known(Option<Outcome>),
}

/// An id, what it stands for, and where that is known.
#[derive(Clone, Copy)]
pub struct Key {
    home: CoreId,
    id: Digest,
    wanted: Digest,
}

/// An id that this request carries out. Others wait for that, so it is given up if nothing comes of it.
pub struct Held<'p> {
    port: &'p Port,
    key: Key,
    settled: bool,
}

impl Held<'_> {
    pub fn settle(&mut self, answer: &str) {
        self.settled = true;
        self.tell(Some(Box::from(answer)));
    }

    fn tell(&self, answer: Option<Box<str>>) {
        let Key { home, id, .. } = self.key;
        match self.port.host.try_borrow_mut() {
            // What it answers tells nothing.
            Ok(mut host) => drop(host.inquire(home, Inquiry::Settle { id, answer })),
            // A panic has ended this request within a turn. Whoever asks again must not wait for it for ever.
            Err(_) => self.port.unsettled.borrow_mut().push(self.key),
        }
    }
}

impl Port {
    /// Gives up the ids of requests that a panic has ended. Called about once a second.
    pub(in crate::net::http) fn settle_left(&self) {
        let left = std::mem::take(&mut *self.unsettled.borrow_mut());
        if left.is_empty() {
            return;
        }
        for Key { home, id, .. } in left {
            let what = Inquiry::Settle { id, answer: None };
            drop(self.host.borrow_mut().inquire(home, what));
        }
        (self.turn)();
    }
}

impl Drop for Held<'_> {
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
        commands: &[Result<Command<'_>, ApiError>],
        pace: &mut Pace<'_>,
    ) -> Vec<Due<'p>> {
        let mut due = Vec::with_capacity(commands.len());
        let mut asked = Vec::new();
        for (nth, command) in commands.iter().enumerate() {
            due.push(Due::Now(None));
            if let Ok(Command::Push(push)) = command
                && let Some(id) = &push.id
            {
                let key = Key {
                    home: self.host.borrow_mut().home(id),
                    id: digest([id.as_bytes()]),
                    wanted: wanted(push),
                };
                let Key { home, id, wanted } = key;
                let what = Inquiry::Claim { id, wanted };
                let mark = Mark::new(&mut self.host.borrow_mut());
                let waiting = self.host.borrow_mut().inquire(home, what);
                asked.push((nth, key, waiting));
                pace.spend(mark, 1).await;
            }
        }
        pace.turn();
        for (nth, key, waiting) in asked {
            due[nth] = self.due(key, waiting.await);
        }
        due
    }

    /// Waits for what another request makes of this id.
    pub(super) async fn wait_for<'p>(&'p self, due: &mut Due<'p>) {
        let Due::Later(key) = *due else { return };
        let Key { home, id, wanted } = key;
        let what = Inquiry::Await { id, wanted };
        let waiting = self.host.borrow_mut().inquire(home, what);
        *due = self.due(key, waiting.await);
    }

    fn due(&self, key: Key, found: Vec<Finding>) -> Due<'_> {
        let refused = |status, code, words: &str| {
            let error = ApiError::new(status, code, words);
            Due::Known(Some(Err(error)))
        };
        match found.into_iter().next() {
            Some(Finding::Claim(Claim::Fresh)) => Due::Now(Some(Held {
                port: self,
                key,
                settled: false,
            })),
            Some(Finding::Claim(Claim::UnderWay)) => Due::Later(key),
            Some(Finding::Claim(Claim::Done(answer))) => {
                let inner = answer.strip_suffix('}').unwrap_or(&answer);
                Due::Known(Some(Ok(format!("{inner},\"repeated\":true}}"))))
            }
            Some(Finding::Claim(Claim::Conflict)) => refused(
                409,
                "id_in_use",
                "this id is that of another request, which asked for something else",
            ),
            Some(Finding::Claim(Claim::Full)) => refused(
                503,
                "too_many_ids",
                "as many ids are kept as may be (idempotency_ids_max); without one it is pushed",
            ),
            _ => refused(500, "internal", "the id's home has no answer"),
        }
    }
}

/// Of whom a push is for, and of what it says.
fn wanted(push: &Push<'_>) -> Digest {
    let (kind, uids): (&[u8], &[_]) = match &push.target {
        Target::Uid(uid) => (b"uid", std::slice::from_ref(uid)),
        Target::Uids(uids) => (b"uids", uids),
        Target::Group(group) => (b"group", std::slice::from_ref(group)),
        Target::Everybody => (b"everybody", &[]),
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
