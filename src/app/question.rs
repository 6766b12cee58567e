//! Questions under way: who asked, and what has been answered so far. Each ends with exactly one answer.
//!
//! Bound: a question's cost stays on its asker's credit until it is answered.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};

use ahash::{AHashMap, RandomState};

use super::Answer;
use super::envelope::Part;
use super::inquiry::Finding;
use crate::ident::ConnId;
use crate::stats::{CoreStats, Stats};

pub enum Asker {
    App {
        number: u8,
        /// Whose callback asked. It pays, and it is closed if the app panics over the answer.
        connection: Option<ConnId>,
    },
    /// A task of this core (an HTTP request).
    Task(Waiting<Answer>),
    /// The same, of more than there is an [`Answer`] for.
    Inquirer(Waiting<Vec<Finding>>),
}

/// Places that the table of open questions keeps when it is empty.
const QUESTIONS_KEPT: usize = 1 << 10;

impl Asker {
    /// Whose credit the question is on, if anybody's.
    pub fn payer(&self) -> Option<ConnId> {
        match self {
            Asker::App { connection, .. } => *connection,
            Asker::Task(_) | Asker::Inquirer(_) => Some(ConnId::NOBODY),
        }
    }
}

struct Question {
    asker: Asker,
    parts_left: usize,
    reached: u32,
    stats: Vec<CoreStats>,
    found: Vec<Finding>,
    payer: Option<(ConnId, usize)>,
    is_push: bool,
}

/// A question whose last part has come.
pub struct Answered {
    pub asker: Asker,
    pub answer: Answer,
    /// What was found, in place of an answer.
    pub found: Vec<Finding>,
    pub payer: Option<(ConnId, usize)>,
    /// Whether it was to push something, and its answer is a verdict.
    pub is_push: bool,
}

#[derive(Default)]
pub struct Questions {
    next: u64,
    open: AHashMap<u64, Question>,
    /// Credited bytes of all open questions.
    bytes: usize,
}

impl Questions {
    /// A table that hashes by this, for runs that are to be alike.
    pub fn with_hasher(hasher: RandomState) -> Questions {
        Questions {
            open: AHashMap::with_hasher(hasher),
            ..Questions::default()
        }
    }

    #[cfg(test)]
    pub fn capacity(&self) -> usize {
        self.open.capacity()
    }

    /// The number of a question that is answered at once.
    pub fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn open(
        &mut self,
        asker: Asker,
        parts: usize,
        payer: Option<(ConnId, usize)>,
        is_push: bool,
    ) -> u64 {
        let number = self.number();
        self.bytes += payer.map_or(0, |(_, bytes)| bytes);
        self.open.insert(
            number,
            Question {
                asker,
                parts_left: parts,
                reached: 0,
                stats: Vec::new(),
                found: Vec::new(),
                payer,
                is_push,
            },
        );
        number
    }

    /// Takes one part; the whole answer, if that was the last.
    pub fn part(&mut self, number: u64, part: Part) -> Option<Answered> {
        let question = self.open.get_mut(&number)?;
        match part {
            Part::More(cores) => question.parts_left += cores as usize + 1,
            Part::Reached(count) => question.reached += count,
            Part::Stats(stats) => question.stats.push(*stats),
            Part::Found(finding) => question.found.push(*finding),
        }
        question.parts_left -= 1;
        if question.parts_left > 0 {
            return None;
        }
        let mut question = self.open.remove(&number)?;
        // After a burst the table would be as large as that for good.
        if self.open.is_empty() && self.open.capacity() > 2 * QUESTIONS_KEPT {
            self.open.shrink_to(QUESTIONS_KEPT);
        }
        self.bytes -= question.payer.map_or(0, |(_, bytes)| bytes);
        let answer = if question.stats.is_empty() {
            Answer::Reached(question.reached)
        } else {
            question.stats.sort_by_key(|stats| stats.core);
            Answer::Stats(Box::new(Stats {
                cores: question.stats,
            }))
        };
        Some(Answered {
            asker: question.asker,
            answer,
            found: question.found,
            payer: question.payer,
            is_push: question.is_push,
        })
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the open questions of one connection cost it, for the simulation.
    #[cfg(test)]
    pub fn owed_by(&self, payer: ConnId) -> usize {
        let payers = self.open.values().filter_map(|question| question.payer);
        let own = payers.filter(|(id, _)| *id == payer);
        own.map(|(_, bytes)| bytes).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// The answer that a task of this core waits for.
pub struct Waiting<T> {
    state: Rc<RefCell<(Option<T>, Option<Waker>)>>,
}

// By hand, for what is waited for need be neither.
impl<T> Clone for Waiting<T> {
    fn clone(&self) -> Waiting<T> {
        Waiting {
            state: Rc::clone(&self.state),
        }
    }
}

impl<T> Default for Waiting<T> {
    fn default() -> Waiting<T> {
        Waiting {
            state: Rc::new(RefCell::new((None, None))),
        }
    }
}

impl<T> Waiting<T> {
    pub fn fulfil(&self, answer: T) {
        let mut state = self.state.borrow_mut();
        state.0 = Some(answer);
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

impl<T> Future for Waiting<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<T> {
        let mut state = self.state.borrow_mut();
        match state.0.take() {
            Some(answer) => Poll::Ready(answer),
            None => {
                state.1 = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}
