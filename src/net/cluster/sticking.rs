//! Members of groups that need no connection, kept in Redis for all nodes ([`Party`]): a set of groups for each uid, and for
//! each group a list of its uids, in which each of them is.
//!
//! A node knows the groups of the uids that have a connection there: it reads them when the first one comes, and hears what is
//! changed in the uid's channel. Bounds: a read for each such uid until Redis has answered, a step for each call.

use super::interests::SubscriptionChange;
use super::keeper::Purpose;
use super::party::Party;
use super::scripts::{Script, ScriptCall, ScriptValue};
use super::sticky_reads::{ReadUid, Stickings, StickyPurpose, StickyRead};
use crate::app::envelope::{AnswerPart, Body};
use crate::app::query::QueryResult;
use crate::app::sticky_order::{StickyAnswer, StickyNews, StickyOrder, StickyState, StickyStep};
use crate::bus::{Endpoint, Until};
use crate::ident::{ConnId, CoreId, NamespaceId, Reach};
use crate::protocol::cluster::{ClusterMessage, NodeOrder, OrderHead, encode};

impl Party {
    fn key_of_stuck(&mut self, namespace: NamespaceId, uid: &str) -> String {
        let namespace = self.spaces.key_name(namespace);
        format!("{}{{t:{namespace}:{uid}}}", self.prefix)
    }

    fn key_of_list(&mut self, namespace: NamespaceId, group: &str) -> String {
        let namespace = self.spaces.key_name(namespace);
        format!("{}{{l:{namespace}:{group}}}", self.prefix)
    }

    pub(super) fn take_sticky(
        &mut self,
        bus: &mut Endpoint<Body>,
        (from, order): (CoreId, StickyOrder),
        is_joined: bool,
    ) {
        match order {
            StickyOrder::Read { namespace, uid } if is_joined => {
                self.read_sticky_in_force((namespace, uid));
            }
            // It is asked again when Redis is back.
            StickyOrder::Read { .. } => {}
            StickyOrder::Ask {
                namespace,
                what,
                call,
            } if is_joined => {
                let run = self.sticky_call(namespace, what);
                self.run(run, Purpose::Sticky(StickyPurpose::Ask(from, call)));
            }
            StickyOrder::Ask { call, .. } => tell_asked(bus, (from, call), None),
        }
    }

    fn read_sticky_in_force(&mut self, uid: ReadUid) {
        let in_force = self.interests.is_in_force(&self.channel_of_uid(&uid.1));
        match self.stickings.reads.get_mut(&uid) {
            Some(StickyRead::Waits) => {}
            Some(read) => *read = StickyRead::Changed,
            None if in_force => self.read_sticky(uid),
            None => {
                let waiting = self.stickings.waiting.entry(uid.1.clone());
                waiting.or_default().push(uid.0);
                self.stickings.reads.insert(uid, StickyRead::Waits);
            }
        }
    }

    fn read_sticky(&mut self, uid: ReadUid) {
        let call = ScriptCall {
            script: Script::Stuck,
            keys: vec![self.key_of_stuck(uid.0, &uid.1)],
            args: Vec::new(),
        };
        self.stickings.reads.insert(uid.clone(), StickyRead::Asked);
        self.run(call, Purpose::Sticky(StickyPurpose::Read(uid)));
    }

    /// Redis has subscribed this node to these.
    pub(super) fn read_stickies_in(&mut self, change: &SubscriptionChange) {
        if !change.subscribes || self.stickings.waiting.is_empty() {
            return;
        }
        let all = self.channel_of_uid("");
        for channel in &change.channels {
            let Some(uid) = channel.strip_prefix(&*all) else {
                continue;
            };
            for namespace in self.stickings.waiting.remove(uid).unwrap_or_default() {
                self.read_sticky((namespace, Box::from(uid)));
            }
        }
    }

    fn sticky_call(&mut self, namespace: NamespaceId, what: StickyStep) -> ScriptCall {
        let number = |number: usize| number.to_string().into_bytes();
        let bytes = |text: &str| text.as_bytes().to_vec();
        let (script, key, args) = match what {
            StickyStep::Stick { uid, group, most } => {
                let [channel, message] = self.sticky_message(namespace, &uid, &group, true);
                let args = vec![bytes(&group), number(most), channel, message];
                (Script::Stick, self.key_of_stuck(namespace, &uid), args)
            }
            StickyStep::Unstick { uid, group } => {
                let [channel, message] = self.sticky_message(namespace, &uid, &group, false);
                let args = vec![bytes(&group), channel, message];
                (Script::Unstick, self.key_of_stuck(namespace, &uid), args)
            }
            StickyStep::GroupsOf { uid } => {
                let key = self.key_of_stuck(namespace, &uid);
                (Script::Stuck, key, Vec::new())
            }
            StickyStep::List { group, uid, is_in } => {
                let args = vec![bytes(&uid), number(usize::from(is_in))];
                (Script::List, self.key_of_list(namespace, &group), args)
            }
            StickyStep::Listed { group, most } => {
                let key = self.key_of_list(namespace, &group);
                (Script::Listed, key, vec![number(most)])
            }
        };
        let keys = vec![key];
        ScriptCall { script, keys, args }
    }

    /// By which channel the nodes that have a uid hear of a change, and as what.
    fn sticky_message(
        &mut self,
        namespace: NamespaceId,
        uid: &str,
        group: &str,
        sticks: bool,
    ) -> [Vec<u8>; 2] {
        let head = OrderHead {
            origin: self.node,
            number: 0,
            lane: 0,
            namespaces: self.spaces.names(Reach::of(namespace)),
        };
        let order = NodeOrder::Stick {
            uid: Box::from(uid),
            group: Box::from(group),
            sticks,
        };
        let message = encode(&ClusterMessage::Order(head, order));
        [self.channel_of_uid(uid).into_bytes(), message]
    }

    /// A script was run; or, without a value, it was not, or nobody knows.
    pub(super) fn sticky_done(
        &mut self,
        bus: &mut Endpoint<Body>,
        what: &StickyPurpose,
        value: Option<&ScriptValue>,
    ) {
        match what {
            StickyPurpose::Ask(core, call) => {
                tell_asked(bus, (*core, *call), value.map(answer_of));
            }
            StickyPurpose::Read(uid) => {
                if self.stickings.reads.remove(uid) == Some(StickyRead::Changed) && value.is_some()
                {
                    return self.read_sticky(uid.clone());
                }
                if let Some(value) = value {
                    let groups = answer_of(value).names;
                    tell_sticky(bus, uid.0, &uid.1, StickyState::All(groups));
                }
            }
        }
    }

    /// A uid's groups were changed, by whichever node.
    pub(super) fn sticky_came(
        &mut self,
        bus: &mut Endpoint<Body>,
        head: &OrderHead,
        (uid, group, sticks): (Box<str>, Box<str>, bool),
    ) {
        let reach = self.spaces.reach(&head.namespaces).unwrap_or_default();
        for namespace in reach.namespaces() {
            let read = self.stickings.reads.get_mut(&(namespace, uid.clone()));
            if let Some(read) = read.filter(|read| **read == StickyRead::Asked) {
                *read = StickyRead::Changed;
            }
            let group = group.clone();
            tell_sticky(bus, namespace, &uid, StickyState::One { group, sticks });
        }
    }

    /// There is no connection to Redis any more.
    pub(super) fn lose_sticky_reads(&mut self) {
        self.stickings = Stickings::default();
    }
}

/// A number, or names, or both.
fn answer_of(value: &ScriptValue) -> StickyAnswer {
    let (number, names) = match value.list() {
        None => (value.number().unwrap_or_default(), None),
        Some([ScriptValue::Number(number), names]) => (*number, names.list()),
        Some(names) => (0, Some(names)),
    };
    let names = names.unwrap_or_default().iter();
    let names = names.filter_map(ScriptValue::text).map(Box::from).collect();
    StickyAnswer { number, names }
}

fn tell_sticky(bus: &mut Endpoint<Body>, namespace: NamespaceId, uid: &str, what: StickyState) {
    let bytes = uid.len()
        + match &what {
            StickyState::All(groups) => groups.iter().map(|group| group.len()).sum(),
            StickyState::One { group, .. } => group.len(),
        };
    let news = StickyNews {
        namespace,
        uid: Box::from(uid),
        what,
    };
    let (core, payer) = (bus.home(uid), Some((ConnId::NOBODY, bytes)));
    bus.post(core, payer, Until::Taken, Body::Sticky(Box::new(news)));
}

fn tell_asked(bus: &mut Endpoint<Body>, (core, call): (CoreId, u64), answer: Option<StickyAnswer>) {
    let part = AnswerPart::Found(Box::new(QueryResult::Sticky(answer)));
    bus.post(core, None, Until::Taken, Body::Answer { call, part });
}
