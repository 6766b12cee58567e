//! What a task of a core (an HTTP request) asks of one core or of all: [`Inquiry`], and what each of them finds:
//! [`Finding`].
//!
//! It goes as any question does, and its answer comes back exactly once, with one finding a core asked. Bound: none
//! here; a request has so many of them under way as `net/http/api` lets it.

use super::Answer;
use super::envelope::{Body, Part};
use super::host::Host;
use super::local::Local;
use super::question::{Asker, Waiting};
use super::repeats::{Claim, Digest};
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach};
use crate::payload::{Message, Payload};
use crate::shard::{Cursor, GroupLook, UidLook, UidPage};

/// See the module.
pub enum Inquiry {
    /// Push to these uids, all of which are at home on the core asked.
    PushToUids {
        reach: Reach,
        uids: Vec<Box<str>>,
        payload: Payload,
    },
    /// The uid's present connections enter the group.
    Join {
        reach: Reach,
        uid: Box<str>,
        group: Box<str>,
    },
    Leave {
        reach: Reach,
        uid: Box<str>,
        group: Box<str>,
    },
    Uid {
        reach: Reach,
        uid: Box<str>,
    },
    Uids {
        reach: Reach,
        from: Cursor,
        uids_max: usize,
    },
    Group {
        reach: Reach,
        group: Box<str>,
        members_max: usize,
    },
    /// May a request with this id, and this digest of what it asks for, be carried out?
    Claim {
        id: Digest,
        wanted: Digest,
    },
    /// The same, answered once that is decided: if it is under way, when it is done.
    Await {
        id: Digest,
        wanted: Digest,
    },
    /// It is done, with this answer; or, without one, it was given up.
    Settle {
        id: Digest,
        answer: Option<Box<str>>,
    },
}

/// See the module.
pub enum Finding {
    Reached(u32),
    /// Of each uid, in their order.
    ReachedEach(Vec<u32>),
    Joined {
        joined: u32,
        refused: u32,
    },
    Uid(UidLook),
    Uids(UidPage),
    Group(GroupLook),
    Claim(Claim),
}

impl Inquiry {
    fn is_push(&self) -> bool {
        matches!(self, Inquiry::PushToUids { .. })
    }
}

impl Local {
    /// Asks one core.
    fn inquire(&mut self, asker: Asker, core: CoreId, what: Inquiry) {
        let question = self.questions.open(asker, 1, None, what.is_push());
        self.inquire_as(question, core, what);
    }

    fn inquire_as(&mut self, question: u64, core: CoreId, what: Inquiry) {
        let what = Box::new(what);
        let nobody = Some(ConnId::NOBODY);
        if core == self.core() && !self.goes_by_mail(nobody) {
            return self.look_into(core, question, *what);
        }
        let many = match &*what {
            Inquiry::PushToUids { uids, payload, .. } => {
                Some((payload.message().len(), uids.len()))
            }
            _ => None,
        };
        let body = Body::Inquire { question, what };
        match many {
            Some((bytes, receivers)) => self.post_bulk(core, nobody, bytes, receivers, body),
            None => self.post(core, nobody, 0, body),
        }
    }

    /// Does what an inquiry asks, on the core asked, and answers it, now or when it is known.
    pub(super) fn look_into(&mut self, from: CoreId, question: u64, what: Inquiry) {
        let now = self.now();
        let shard = &mut self.shard;
        let finding = match what {
            Inquiry::PushToUids {
                reach,
                uids,
                payload,
            } => Finding::ReachedEach(shard.send_to_uids(reach, &uids, payload.message())),
            Inquiry::Join { reach, uid, group } => {
                let (joined, refused) = shard.join_uid(reach, &uid, &group);
                self.post_interests();
                let finding = Finding::Joined { joined, refused };
                return self.reply_by_home(&group, from, question, finding);
            }
            Inquiry::Leave { reach, uid, group } => {
                Finding::Reached(shard.leave_uid(reach, &uid, &group))
            }
            Inquiry::Uid { reach, uid } => Finding::Uid(shard.look_at_uid(reach, &uid)),
            Inquiry::Uids {
                reach,
                from,
                uids_max,
            } => Finding::Uids(shard.list_uids(reach, from, uids_max)),
            Inquiry::Group {
                reach,
                group,
                members_max,
            } => Finding::Group(shard.look_at_group(reach, &group, members_max)),
            Inquiry::Claim { id, wanted } => Finding::Claim(self.repeats.claim(now, id, wanted)),
            Inquiry::Await { id, wanted } => {
                match self.repeats.wait(now, id, wanted, (from, question)) {
                    Some(claim) => Finding::Claim(claim),
                    // It is answered when the one under way is settled.
                    None => return,
                }
            }
            Inquiry::Settle { id, answer } => {
                for ((from, question), claim) in self.repeats.settle(id, answer) {
                    self.reply(from, question, Finding::Claim(claim));
                }
                Finding::Reached(0)
            }
        };
        self.reply(from, question, finding);
    }

    /// The same when the home of a group has been told who is in it.
    fn reply_by_home(&mut self, group: &str, to: CoreId, question: u64, finding: Finding) {
        let home = self.bus.home(group);
        if home == self.core() || self.bus.cores() == 1 {
            return self.reply(to, question, finding);
        }
        let part = Part::Found(Box::new(finding));
        self.send_back(home, to, None, Body::Answer { question, part });
    }

    fn reply(&mut self, to: CoreId, question: u64, finding: Finding) {
        let part = Part::Found(Box::new(finding));
        if to == self.core() {
            self.answered(question, part);
        } else {
            self.post_free(to, Body::Answer { question, part });
        }
    }
}

/// What a task asks. What it has queued is written or posted by the next turn, which the task is to make.
impl Host {
    /// The same as the apps' push; `all` is everybody.
    pub fn push(&mut self, reach: Reach, uid: &str, message: Message<'_>) -> Waiting<Answer> {
        let waiting = Waiting::default();
        let asker = Asker::Task(waiting.clone());
        self.local.push(reach, asker, uid, message);
        self.settle();
        waiting
    }

    /// The cores that what tasks send to a uid or to all passes, and whether it goes to this one by its mailbox.
    #[cfg(all(test, not(loom)))]
    pub fn path_of_tasks(&mut self) -> (super::order::Path, bool) {
        let path = self.local.path_of(Some(ConnId::NOBODY));
        (path, self.local.goes_by_mail(Some(ConnId::NOBODY)))
    }

    /// To everybody in a group.
    pub fn push_to_group(
        &mut self,
        reach: Reach,
        group: &str,
        message: Message<'_>,
    ) -> Waiting<Answer> {
        let waiting = Waiting::default();
        let asker = Asker::Task(waiting.clone());
        self.local.push_to_group(reach, asker, group, message);
        self.settle();
        waiting
    }

    /// To everybody within reach.
    pub fn broadcast(&mut self, reach: Reach, message: Message<'_>) -> Waiting<Answer> {
        self.push(reach, EVERYBODY, message)
    }

    /// Closes the uid's connections.
    pub fn kick(&mut self, reach: Reach, uid: &str) -> Waiting<Answer> {
        let waiting = Waiting::default();
        self.local.kick(reach, Asker::Task(waiting.clone()), uid);
        self.settle();
        waiting
    }

    /// A sender of its own, for a request.
    pub fn new_speaker(&mut self) -> ConnId {
        self.local.ways.new_speaker()
    }

    /// From now on this request asks; or, with [`ConnId::NOBODY`], none does.
    pub fn set_speaker(&mut self, speaker: ConnId) {
        self.local.ways.set_speaker(speaker);
    }

    /// The counters of every core.
    pub fn stats(&mut self) -> Waiting<Answer> {
        let waiting = Waiting::default();
        self.local.stats(Asker::Task(waiting.clone()));
        waiting
    }

    /// How many cores there are to ask.
    pub fn cores(&mut self) -> usize {
        self.local.bus.cores()
    }

    /// How many name spaces the server has; each number is less.
    pub fn spaces(&self) -> u32 {
        self.local.namespaces.spaces()
    }

    /// The core that has what is called so: a uid's connections, what is known of an id.
    pub fn home(&mut self, name: &str) -> CoreId {
        self.local.bus.home(name)
    }

    /// Asks one core.
    pub fn inquire(&mut self, core: CoreId, what: Inquiry) -> Waiting<Vec<Finding>> {
        let waiting = Waiting::default();
        self.local
            .inquire(Asker::Inquirer(waiting.clone()), core, what);
        self.settle();
        waiting
    }

    /// Asks every core; the findings come in no order.
    pub fn inquire_all(&mut self, what: impl Fn() -> Inquiry) -> Waiting<Vec<Finding>> {
        let waiting = Waiting::default();
        let asker = Asker::Inquirer(waiting.clone());
        let cores = self.local.bus.cores();
        let is_push = what().is_push();
        let question = self.local.questions.open(asker, cores, None, is_push);
        let own = self.local.core();
        for core in self.local.other_cores().chain([own]) {
            self.local.inquire_as(question, core, what());
        }
        self.settle();
        waiting
    }
}
