//! Asking: push, kick, online and stats, each answered exactly once on the core that asked.
//!
//! A question goes to the core that it concerns, or to all; [`Local::find`] does there what it asks. Bound:
//! what a question costs stays on its asker's credit until it is answered.

use std::sync::Arc;

use super::Answer;
use super::effect::Effect;
use super::envelope::{Addressed, Ask, Body, Part, ToAll};
use super::inquiry::Finding;
use super::local::Local;
use super::question::{Answered, Asker};
use crate::events::KickedBy;
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach, Ticket, check_uid};
use crate::payload::{Message, Payload};

impl Local {
    /// Opens a question to one core.
    fn ask_one(&mut self, asker: Asker, bytes: usize, home: CoreId, ask: Ask) -> Ticket {
        let is_push = matches!(ask, Ask::Push { .. });
        let payer = asker.payer();
        let question = self.open(asker, 1, is_push);
        self.ask(question, home, payer, bytes, ask);
        Ticket(question)
    }

    pub(super) fn open(&mut self, asker: Asker, parts: usize, is_push: bool) -> u64 {
        // For its answers, which ride on it.
        let cost = parts * crate::bus::ENVELOPE_COST;
        let payer = asker.payer();
        if let Some(payer) = payer {
            self.shard.add_transit(payer, cost);
        }
        let payer = payer.map(|payer| (payer, cost));
        self.questions.open(asker, parts, payer, is_push)
    }

    fn ask(&mut self, question: u64, core: CoreId, payer: Option<ConnId>, bytes: usize, what: Ask) {
        if core != self.core() || self.goes_by_mail(payer) {
            self.post(core, payer, bytes, Body::Ask { question, what });
        } else {
            let part = self.find(what);
            self.answered(question, part);
        }
    }

    pub fn push(&mut self, reach: Reach, asker: Asker, uid: &str, message: Message<'_>) -> Ticket {
        if uid != EVERYBODY {
            if check_uid(uid).is_err() {
                return self.push_answered_at_once(asker, 0);
            }
            let home = self.bus.home(uid);
            if home == self.core() && !self.goes_by_mail(asker.payer()) {
                // At home already: no copy.
                let reached = self.shard.send_to_uid(reach, uid, message);
                return self.push_answered_at_once(asker, reached);
            }
            let addressed = Addressed::new(uid, message);
            let bytes = uid.len() + message.len();
            return self.ask_one(asker, bytes, home, Ask::Push { reach, addressed });
        }
        let payload = Payload::new(message);
        let payer = asker.payer();
        let path = self.path_of(payer);
        let question = self.open(asker, self.bus.cores(), true);
        if !path.is_empty() {
            self.spread_along(path, reach, payer, payload, Some(question));
            return Ticket(question);
        }
        let receivers = self.shard.count_everybody(reach);
        let to_all = Arc::new(ToAll {
            bulk: self.next_bulk(),
            reach,
            payload,
        });
        for core in self.other_cores() {
            let what = Ask::PushEverybody(Arc::clone(&to_all));
            let body = Body::Ask { question, what };
            self.post_bulk(core, payer, message.len(), receivers, body);
        }
        let what = Ask::PushEverybody(to_all);
        if self.goes_by_mail(payer) {
            let body = Body::Ask { question, what };
            self.post_bulk(self.core(), payer, message.len(), receivers, body);
            self.crossings.mailed_here(&self.bus);
        } else {
            let part = self.find(what);
            self.answered(question, part);
        }
        Ticket(question)
    }

    pub fn kick(&mut self, reach: Reach, asker: Asker, uid: &str) -> Ticket {
        if check_uid(uid).is_err() {
            return self.answer_at_once(asker, 0);
        }
        let uid = Box::from(uid);
        let home = self.bus.home(&uid);
        let by = self.named(&asker);
        self.ask_one(asker, uid.len(), home, Ask::Kick { reach, uid, by })
    }

    /// Who asks, as those outside are told.
    fn named(&self, asker: &Asker) -> KickedBy {
        match asker {
            Asker::Task(_) | Asker::Inquirer(_) => KickedBy::Http,
            Asker::App { connection, .. } => connection
                .and_then(|connection| self.shard.shown_listener(connection))
                .map_or(KickedBy::App, KickedBy::Listener),
        }
    }

    pub fn online(&mut self, reach: Reach, asker: Asker, uid: &str) -> Ticket {
        if check_uid(uid).is_err() {
            return self.answer_at_once(asker, 0);
        }
        let uid = Box::from(uid);
        let home = self.bus.home(&uid);
        self.ask_one(asker, uid.len(), home, Ask::Online { reach, uid })
    }

    pub fn stats(&mut self, asker: Asker) -> Ticket {
        let payer = asker.payer();
        let question = self.open(asker, self.bus.cores(), false);
        for core in self.other_cores() {
            self.ask(question, core, payer, 0, Ask::Stats);
        }
        self.ask(question, self.core(), payer, 0, Ask::Stats);
        Ticket(question)
    }

    /// A question whose answer is known: of a uid that is at home, or of what is no uid, which reaches
    /// nobody. It is never open and costs its asker nothing.
    fn answer_at_once(&mut self, asker: Asker, reached: u32) -> Ticket {
        let question = self.questions.number();
        self.tell_asker(question, asker, Answer::Reached(reached));
        Ticket(question)
    }

    pub(super) fn push_answered_at_once(&mut self, asker: Asker, reached: u32) -> Ticket {
        self.shard.count_push(reached);
        self.answer_at_once(asker, reached)
    }

    /// Does what a question asks, on the core that it concerns.
    pub fn find(&mut self, what: Ask) -> Part {
        match what {
            Ask::Push { reach, addressed } => Part::Reached(self.shard.send_to_uid(
                reach,
                addressed.uid(),
                addressed.message(),
            )),
            Ask::PushEverybody(to_all) => Part::Reached(self.deliver_to_everybody(&to_all)),
            Ask::Kick { reach, uid, by } => Part::Reached(self.shard.kick(reach, &uid, by)),
            Ask::Online { reach, uid } => Part::Reached(self.shard.online(reach, &uid)),
            Ask::Stats => {
                let mut stats = self.shard.snapshot();
                stats.core = self.core().0;
                stats.doorbells = self.bus.bell().rings();
                Part::Stats(Box::new(stats))
            }
        }
    }

    /// A part of an answer has come; the last one goes to who asked.
    pub fn answered(&mut self, question: u64, part: Part) {
        let Some(answered) = self.questions.part(question, part) else {
            return;
        };
        if let Some((payer, bytes)) = answered.payer {
            self.returned += 1;
            self.shard.sub_transit(payer, bytes);
        }
        if answered.is_push {
            self.count_pushes(&answered);
        }
        match answered.asker {
            Asker::Inquirer(waiting) => waiting.fulfil(answered.found),
            asker => self.tell_asker(question, asker, answered.answer),
        }
    }

    /// By verdict: one to a group is one, and one to several uids as many as these are.
    fn count_pushes(&mut self, answered: &Answered) {
        let mut of_all = None;
        if let Answer::Reached(reached) = answered.answer
            && !matches!(answered.asker, Asker::Inquirer(_))
        {
            of_all = Some(reached);
        }
        for finding in &answered.found {
            match finding {
                Finding::ReachedEach(each) => {
                    for reached in each {
                        self.shard.count_push(*reached);
                    }
                }
                Finding::Reached(reached) => of_all = Some(of_all.unwrap_or(0) + reached),
                _ => {}
            }
        }
        if let Some(reached) = of_all {
            self.shard.count_push(reached);
        }
    }

    fn tell_asker(&mut self, question: u64, asker: Asker, answer: Answer) {
        match asker {
            Asker::App { number, connection } => self.effects.push_back(Effect::Answer {
                app: number,
                asked_by: connection,
                ticket: Ticket(question),
                answer,
            }),
            Asker::Task(waiting) => waiting.fulfil(answer),
            // Its question is opened for what is found, and never answered at once.
            Asker::Inquirer(waiting) => waiting.fulfil(Vec::new()),
        }
    }
}
