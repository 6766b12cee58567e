//! Which of this node's connections have which uids, as far as nodes tell that to each other: [`Holders`].
//!
//! A hold counts from its place in the order of the uid's channel on, which is when it has come back to this node. Bound: an
//! entry for each connection that has a uid under a `uid_policy` that is not `multi`, or whose client has a name.

use ahash::AHashMap;
use smallvec::SmallVec;

use crate::ident::{ConnId, CoreId, NamespaceId};
use crate::protocol::cluster::NodeId;
use crate::protocol::cluster_holds::{HoldHow, HoldOrder, SaidAgain};

/// How far a hold has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldStage {
    /// Its place in the order is not known yet.
    Said,
    /// It has its place, and is to go if others were before it.
    Asking,
    /// Its connection has the uid.
    Held,
    /// It has it no more, and that has no place in the order yet.
    Leaving,
}

/// One of this node's connections.
#[derive(Clone, Debug)]
pub struct OwnHold {
    pub core: CoreId,
    pub connection: ConnId,
    pub namespace: NamespaceId,
    pub client: Option<Box<str>>,
    pub serial: u64,
    pub since: u64,
    pub how: HoldHow,
    /// As it is said anew.
    pub policy: HoldHow,
    pub again: Option<SaidAgain>,
    pub stage: HoldStage,
    /// It is to be published once what is published in the uid's channel comes here.
    pub unsaid: bool,
    /// By which what is answered is known; 0 if nobody wants to know.
    pub number: u64,
    /// By which what is answered to its release is; 0 if it is not released, or nobody wants to know.
    pub release: u64,
    pub is_release_said: bool,
    /// Another one of this node has held the uid until it was there.
    pub carries: bool,
    /// It has ended, and waits for its place.
    pub is_gone: bool,
}

/// What is to be published of a hold.
pub enum Unsaid {
    Hold(OwnHold),
    Release(OwnHold),
}

/// A connection that is to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evicted {
    pub core: CoreId,
    pub connection: ConnId,
    /// For a newer one of its uid, or of its client; otherwise because it came too late.
    pub is_replaced: bool,
}

/// What this node says to another's hold.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct HoldVerdict {
    pub holds: bool,
    pub blocks: bool,
    pub evicted: SmallVec<[Evicted; 1]>,
    /// Those of this node that still ask: they are kept out.
    pub refused: SmallVec<[u64; 1]>,
    /// The hold that stays where the other is to go, which it does not know.
    pub stays: Option<u64>,
}

/// See the module.
#[derive(Default)]
pub struct Holders {
    uids: AHashMap<Box<str>, SmallVec<[OwnHold; 1]>>,
    /// Those that are asked about.
    numbers: AHashMap<u64, (Box<str>, u64)>,
    last_serial: u64,
}

impl Holders {
    /// One more, which gets a number of this node's.
    pub fn add(&mut self, uid: &str, mut hold: OwnHold) -> u64 {
        self.last_serial += 1;
        let serial = self.last_serial;
        hold.serial = serial;
        if hold.number != 0 {
            self.numbers.insert(hold.number, (Box::from(uid), serial));
        }
        match self.uids.get_mut(uid) {
            Some(holds) => holds.push(hold),
            None => {
                self.uids
                    .insert(Box::from(uid), SmallVec::from_iter([hold]));
            }
        }
        serial
    }

    pub fn is_empty(&self) -> bool {
        self.uids.is_empty()
    }

    /// Whether a connection has it already.
    pub fn has(&self, uid: &str, whose: (NamespaceId, CoreId, ConnId)) -> bool {
        let holds = self.uids.get(uid).into_iter().flatten();
        holds.into_iter().any(|hold| hold.is_of(whose))
    }

    pub fn get_mut(&mut self, uid: &str, serial: u64) -> Option<&mut OwnHold> {
        let holds = self.uids.get_mut(uid)?;
        holds.iter_mut().find(|hold| hold.serial == serial)
    }

    /// One has ended, and nobody wants to know more of that: others of this node may hold the uid on. The number by which it is
    /// asked about and will not be answered, if it is.
    pub fn remove(&mut self, uid: &str, whose: (NamespaceId, CoreId, ConnId)) -> Option<u64> {
        let holds = self.uids.get_mut(uid)?;
        let hold = holds.iter_mut().find(|hold| hold.is_of(whose))?;
        if hold.stage == HoldStage::Said && !hold.unsaid {
            // Until its place has come.
            hold.is_gone = true;
            return None;
        }
        let serial = hold.serial;
        self.remove_carried(uid, serial)
    }

    /// Takes one out whose place in the order is past, or never comes: another one of this node goes on for it.
    fn remove_carried(&mut self, uid: &str, serial: u64) -> Option<u64> {
        let hold = self.remove_where(uid, |hold| hold.serial == serial)?;
        let number = Some(hold.number).filter(|number| *number != 0 && hold.unsaid);
        let holds = self.uids.get_mut(uid).into_iter().flatten();
        let next = holds.filter(|other| {
            other.namespace == hold.namespace && other.stage == HoldStage::Said && other.counts()
        });
        let next = next.min_by_key(|other| other.serial);
        let Some(next) = next.filter(|_| hold.counts()) else {
            return number;
        };
        if hold.unsaid {
            // What was asked is asked with that.
            if let Some(number) = number.filter(|_| next.unsaid && next.number == 0) {
                next.number = number;
                self.numbers.insert(number, (Box::from(uid), next.serial));
                return None;
            }
            return number;
        }
        next.carries = true;
        None
    }

    fn remove_where(&mut self, uid: &str, is_it: impl Fn(&OwnHold) -> bool) -> Option<OwnHold> {
        let holds = self.uids.get_mut(uid)?;
        let at = holds.iter().position(is_it)?;
        let hold = holds.swap_remove(at);
        if holds.is_empty() {
            self.uids.remove(uid);
        }
        for number in [hold.number, hold.release] {
            self.numbers.remove(&number);
        }
        Some(hold)
    }

    /// One is to be released, which somebody wants to hear of by this number. False if there is none.
    pub fn release(
        &mut self,
        uid: &str,
        whose: (NamespaceId, CoreId, ConnId),
        number: u64,
    ) -> bool {
        let mut holds = self.uids.get_mut(uid).into_iter().flatten();
        let Some(hold) = holds.find(|hold| hold.is_of(whose)) else {
            return false;
        };
        hold.release = number;
        // One that has no place yet is released behind that.
        if hold.stage == HoldStage::Held {
            hold.stage = HoldStage::Leaving;
        }
        self.numbers.insert(number, (Box::from(uid), hold.serial));
        true
    }

    /// What of a uid is to be published, in its order.
    pub fn take_unsaid(&mut self, uid: &str) -> Vec<Unsaid> {
        let mut taken = Vec::new();
        for hold in self.uids.get_mut(uid).into_iter().flatten() {
            let is_released = hold.release != 0 && !hold.is_release_said;
            if hold.unsaid && hold.stage != HoldStage::Leaving {
                taken.push(Unsaid::Hold(hold.clone()));
            }
            if is_released {
                hold.is_release_said = true;
                taken.push(Unsaid::Release(hold.clone()));
            }
            hold.unsaid = false;
        }
        taken.sort_by_key(Unsaid::serial);
        taken
    }

    /// A node's release has its place, which may be this one's: whether others have the uid.
    pub fn released(&mut self, namespace: NamespaceId, uid: &str, own: Option<u64>) -> bool {
        let holds = self.uids.get(uid).into_iter().flatten();
        let mut others = holds.filter(|hold| {
            hold.namespace == namespace
                && Some(hold.serial) != own
                && hold.counts()
                && (hold.carries || matches!(hold.stage, HoldStage::Held | HoldStage::Leaving))
        });
        let is_held = others.next().is_some();
        if let Some(own) = own {
            self.remove_where(uid, |hold| hold.serial == own);
        }
        is_held
    }

    /// One of this node's own has its place: whether others of this node were before it that keep it out.
    pub fn placed(&mut self, uid: &str, serial: u64) -> bool {
        let Some(holds) = self.uids.get_mut(uid) else {
            return false;
        };
        let Some(at) = holds.iter().position(|hold| hold.serial == serial) else {
            return false;
        };
        let own = &mut holds[at];
        if own.stage != HoldStage::Said {
            return false;
        }
        if own.is_gone {
            self.remove_carried(uid, serial);
            return false;
        }
        if own.release != 0 {
            own.stage = HoldStage::Leaving;
            return false;
        }
        let asks = own.how == HoldHow::Asks && own.again.is_none();
        own.carries = false;
        own.stage = match asks {
            true => HoldStage::Asking,
            false => HoldStage::Held,
        };
        let own = &holds[at];
        let is_before = |hold: &OwnHold| {
            hold.serial != serial
                && hold.namespace == own.namespace
                && hold.stage != HoldStage::Said
                && !hold.is_same_client(own.client.as_deref())
        };
        asks && holds.iter().any(is_before)
    }

    /// Another node's has its place.
    pub fn judge(
        &self,
        namespace: NamespaceId,
        (node, own): (NodeId, NodeId),
        order: &HoldOrder,
    ) -> HoldVerdict {
        let mut verdict = HoldVerdict::default();
        let holds = self.uids.get(&*order.uid).into_iter().flatten();
        for hold in holds.filter(|hold| hold.namespace == namespace) {
            let is_own_client = hold.is_same_client(order.client.as_deref());
            let mut evict = |is_replaced| {
                if hold.connection == ConnId::NOBODY || hold.is_gone {
                    return;
                }
                verdict.evicted.push(Evicted {
                    core: hold.core,
                    connection: hold.connection,
                    is_replaced,
                });
            };
            match hold.stage {
                HoldStage::Said => {
                    verdict.holds |= hold.carries;
                    verdict.blocks |= hold.carries && order.how == HoldHow::Asks && !is_own_client;
                }
                HoldStage::Asking if is_own_client || order.how == HoldHow::Takes => {
                    verdict.refused.push(hold.number);
                }
                HoldStage::Asking => verdict.blocks = true,
                // It has it until that has its place.
                HoldStage::Leaving => {
                    verdict.holds |= hold.counts();
                    verdict.blocks |= order.how == HoldHow::Asks && hold.counts();
                }
                HoldStage::Held => match order.again {
                    None => {
                        verdict.holds |= hold.counts();
                        match order.how {
                            _ if is_own_client => evict(true),
                            HoldHow::Takes => evict(true),
                            HoldHow::Asks => verdict.blocks = true,
                            HoldHow::Shares => {}
                        }
                    }
                    Some(_) if !is_own_client && order.how == HoldHow::Shares => {}
                    Some(again) => {
                        let newer_stays = is_own_client || order.how == HoldHow::Takes;
                        let is_older = (hold.since, own) < (order.since, node);
                        if is_older == newer_stays {
                            evict(newer_stays);
                        } else if again.wants_reply {
                            verdict.stays = Some(hold.serial);
                        }
                    }
                },
            }
        }
        verdict
    }

    /// What was asked about is answered: others keep it out, or it has the uid. If it is not sure that none keeps it out, it is
    /// to be said again, and is given.
    pub fn settled(&mut self, number: u64, is_blocked: bool, is_unsure: bool) -> Option<Box<str>> {
        let (uid, serial) = self.numbers.remove(&number)?;
        if is_blocked {
            self.remove_where(&uid, |hold| hold.serial == serial);
            return None;
        }
        let hold = self.get_mut(&uid, serial)?;
        if hold.release == number {
            self.remove_where(&uid, |hold| hold.serial == serial);
            return None;
        }
        hold.number = 0;
        if hold.stage == HoldStage::Leaving {
            return None;
        }
        hold.stage = HoldStage::Held;
        if !is_unsure || hold.release != 0 {
            return None;
        }
        hold.say_again();
        hold.unsaid.then_some(uid)
    }

    /// There is no connection to Redis: what others say meanwhile is not heard, and what is said here they have not heard.
    pub fn lose(&mut self) {
        let numbers = &mut self.numbers;
        self.uids.retain(|_, holds| {
            holds.retain(|hold| {
                let stays = hold.release == 0;
                if !stays {
                    numbers.remove(&hold.number);
                    numbers.remove(&hold.release);
                }
                stays
            });
            !holds.is_empty()
        });
        for hold in self.uids.values_mut().flatten() {
            if hold.number == 0 || hold.how != HoldHow::Asks {
                hold.stage = HoldStage::Held;
            }
            hold.say_again();
        }
    }
}

impl Unsaid {
    fn serial(&self) -> u64 {
        let (Unsaid::Hold(hold) | Unsaid::Release(hold)) = self;
        hold.serial
    }
}

impl OwnHold {
    /// Whether it is this one's, and not released.
    fn is_of(&self, whose: (NamespaceId, CoreId, ConnId)) -> bool {
        let is_there = self.release == 0 && !self.is_gone;
        is_there && (self.namespace, self.core, self.connection) == whose
    }

    fn is_same_client(&self, client: Option<&str>) -> bool {
        client.is_some() && self.client.as_deref() == client
    }

    /// Whether the uid is this one's, for those who want to know that only.
    fn counts(&self) -> bool {
        self.connection == ConnId::NOBODY || self.policy != HoldHow::Shares
    }

    fn say_again(&mut self) {
        // Nothing follows from one that is no connection's.
        self.unsaid = self.connection != ConnId::NOBODY;
        self.how = self.policy;
        self.again = Some(SaidAgain { wants_reply: true });
    }

    /// As it is said to the others.
    pub fn order(&self, uid: &str) -> HoldOrder {
        HoldOrder {
            uid: Box::from(uid),
            serial: self.serial,
            since: self.since,
            client: self.client.clone(),
            how: self.how,
            again: self.again,
        }
    }
}
