//! Members of groups that need no connection, kept in Redis for all nodes ([`Party`]): a set of groups for each uid, and for
//! each group a list of its uids, in which each of them is.
//!
//! A node knows the groups of the uids that have a connection there: it reads them when the first one comes, and hears what is
//! changed in the uid's channel. Bounds: a read for each such uid until Redis has answered, a step for each call.
//!
//! Where nobody is such a member nothing is read. Redis counts the uids that have a set: the *mark*. A node asks for it once it
//! is subscribed, and all nodes hear of the first one in the step that makes it one. Then the cores read for all that are here,
//! and from then on for those that come: who came before is among the former. What a node might not have heard it sees
//! within [`WORDS_PER_COMPARISON`] words of its own. That there is none any more is seen by the next connection to Redis.

use super::interests::SubscriptionChange;
use super::keeper::{Purpose, tell_all};
use super::party::Party;
use super::scripts::{Script, ScriptCall, ScriptValue};
use super::sticky_reads::{ReadUid, Stickings, StickyPurpose, StickyRead};
use crate::app::abroad_streams::StreamNews;
use crate::app::envelope::{AnswerPart, Body};
use crate::app::query::QueryResult;
use crate::app::sticky_order::{StickyAnswer, StickyNews, StickyOrder, StickyState, StickyStep};
use crate::bus::{Endpoint, Until};
use crate::ident::{ConnId, CoreId, NamespaceId, Reach};
use crate::protocol::cluster::{ClusterMessage, NodeOrder, OrderHead, encode};

/// So often it is asked whether there are any.
const WORDS_PER_COMPARISON: u32 = 10;

impl Party {
    fn key_of_mark(&self) -> String {
        format!("{}sticky", self.prefix)
    }

    /// Asks Redis whether any uid is a member for good.
    pub(super) fn ask_for_mark(&mut self) {
        self.stickings.is_told = self.stickings.are_there;
        self.read_mark();
    }

    fn read_mark(&mut self) {
        self.stickings.unasked = 0;
        let call = ScriptCall {
            script: Script::Marked,
            keys: vec![self.key_of_mark()],
            args: Vec::new(),
        };
        self.run(call, Purpose::Sticky(StickyPurpose::Mark));
    }

    /// Now and then, where none is known: the word of the first one may be lost.
    pub(super) fn compare_mark(&mut self) {
        self.stickings.unasked += 1;
        if !self.stickings.are_there && self.stickings.unasked >= WORDS_PER_COMPARISON {
            self.read_mark();
        }
    }

    /// Redis has some, or had none when it was asked: if it has said since that there is one, that is newer.
    pub(super) fn note_mark(&mut self, bus: &mut Endpoint<Body>, are_there: bool) {
        let known = &mut self.stickings;
        if !known.are_there && (are_there || !known.is_told) {
            (known.are_there, known.is_told) = (are_there, true);
            tell_all(bus, || StreamNews::HasStickies(self.partition, are_there));
        }
    }

    fn key_of_stuck(&mut self, namespace: NamespaceId, uid: &str) -> String {
        let namespace = self.spaces.key_name(namespace);
        format!("{}{{t:{namespace}:{uid}}}", self.prefix)
    }

    fn key_of_list(&mut self, namespace: NamespaceId, group: &str) -> String {
        let namespace = self.spaces.key_name(namespace);
        format!("{}{{l:{namespace}:{group}}}", self.prefix)
    }

    fn key_of_names(&mut self, namespace: NamespaceId) -> String {
        let namespace = self.spaces.key_name(namespace);
        format!("{}groups:{namespace}", self.prefix)
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
        let mark = self.key_of_mark();
        let (script, keys, args) = match what {
            StickyStep::Stick { uid, group, most } => {
                let [channel, message] = self.sticky_message(namespace, &uid, &group, true);
                let all = self.channel_of_all().into_bytes();
                let begun = encode(&self.sticky_order(Reach::default(), NodeOrder::StickyBegun));
                let keys = vec![self.key_of_stuck(namespace, &uid), mark];
                let args = vec![bytes(&group), number(most), channel, message, all, begun];
                (Script::Stick, keys, args)
            }
            StickyStep::Unstick { uid, group } => {
                let [channel, message] = self.sticky_message(namespace, &uid, &group, false);
                let keys = vec![self.key_of_stuck(namespace, &uid), mark];
                (Script::Unstick, keys, vec![bytes(&group), channel, message])
            }
            StickyStep::GroupsOf { uid } => {
                let keys = vec![self.key_of_stuck(namespace, &uid)];
                (Script::Stuck, keys, Vec::new())
            }
            StickyStep::List { group, uid, is_in } => {
                let list = self.key_of_list(namespace, &group);
                let args = vec![bytes(&uid), number(usize::from(is_in)), bytes(&group)];
                (Script::List, vec![list, self.key_of_names(namespace)], args)
            }
            StickyStep::Groups { after, most, .. } => {
                let keys = vec![self.key_of_names(namespace)];
                (Script::Groups, keys, vec![bytes(&after), number(most)])
            }
            StickyStep::Listed { group, most } => {
                let keys = vec![self.key_of_list(namespace, &group)];
                (Script::Listed, keys, vec![number(most)])
            }
        };
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
        let order = NodeOrder::Stick {
            uid: Box::from(uid),
            group: Box::from(group),
            sticks,
        };
        let message = encode(&self.sticky_order(Reach::of(namespace), order));
        [self.channel_of_uid(uid).into_bytes(), message]
    }

    fn sticky_order(&mut self, reach: Reach, order: NodeOrder) -> ClusterMessage {
        let head = OrderHead {
            origin: self.node,
            number: 0,
            lane: 0,
            namespaces: self.spaces.names(reach),
        };
        ClusterMessage::Order(head, order)
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
            // One that does not say may have some; of one that is away nothing is read.
            StickyPurpose::Mark => {
                let count = value.map(|value| value.number().unwrap_or_default());
                self.note_mark(bus, count.is_none_or(|count| count > 0));
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::app::namespaces::Registry;
    use crate::bus::connect_with_engine;
    use crate::net::admission::ConnectionCounters;
    use crate::net::cluster::own_facts::OwnFacts;
    use crate::net::cluster::party::RedisCommand;
    use crate::net::cluster::spaces::Spaces;
    use crate::net::http::Facts;
    use crate::protocol::cluster::NodeId;
    use crate::protocol::partitions::Partition;

    struct Node {
        party: Party,
        engine: Endpoint<Body>,
        core: Endpoint<Body>,
    }

    impl Node {
        fn joined() -> Node {
            let (mut cores, engine) = connect_with_engine(1).expect("doorbells");
            let spaces = Spaces::new(vec!["push"], Registry::new(1));
            let counters = Arc::new(ConnectionCounters::new(None));
            let own = OwnFacts::new("one", 0, counters, Arc::new(Facts::new(Vec::new(), None)));
            let who = (NodeId(1), Partition::WHOLE);
            let party = Party::new(who, "p:", spaces, Duration::from_secs(1), own);
            let core = cores.pop().expect("one");
            let mut node = Node {
                party,
                engine,
                core,
            };
            node.joins();
            node
        }

        fn joins(&mut self) {
            self.party.keeper_joined(&mut self.engine, "run");
        }

        /// How often Redis is asked by now whether there are any.
        fn asks(&mut self) -> usize {
            let waiting = self.party.take_waiting();
            let is_mark = |command: &&RedisCommand| matches!(command, RedisCommand::Run { call, .. } if call.script == Script::Marked);
            waiting.iter().filter(is_mark).count()
        }

        fn is_answered(&mut self, count: i64) {
            let value = ScriptValue::Number(count);
            let what = StickyPurpose::Mark;
            self.party
                .sticky_done(&mut self.engine, &what, Some(&value));
        }

        fn hears_of_the_first(&mut self) {
            let order = NodeOrder::StickyBegun;
            let message = encode(&self.party.sticky_order(Reach::default(), order));
            self.party.arrived(&mut self.engine, &message);
        }

        /// What its core is told.
        fn told(&mut self) -> Vec<bool> {
            let mut told = Vec::new();
            while let Some(envelope) = self.core.take() {
                if let Body::StreamNews(news) = envelope.body
                    && let StreamNews::HasStickies(_, has) = *news
                {
                    told.push(has);
                }
            }
            told
        }
    }

    #[test]
    fn what_is_newer_holds() {
        let mut node = Node::joined();
        assert_eq!(node.asks(), 1);
        // The first one comes behind the question, and its news before the answer.
        node.hears_of_the_first();
        node.is_answered(0);
        assert_eq!(node.told(), [true]);
        node.hears_of_the_first();
        node.is_answered(0);
        assert!(node.told().is_empty(), "it is not read anew for each");
        // Another connection, where there is none any more: its answer comes first.
        node.party.lose_sticky_reads();
        node.joins();
        node.is_answered(0);
        node.hears_of_the_first();
        assert_eq!(node.told(), [false, true]);
    }

    #[test]
    fn news_that_is_lost_is_missed() {
        let mut node = Node::joined();
        node.is_answered(0);
        assert_eq!((node.asks(), node.told()), (1, vec![false]));
        for _ in 1..WORDS_PER_COMPARISON {
            node.party.compare_mark();
        }
        assert_eq!(node.asks(), 0);
        node.party.compare_mark();
        assert_eq!(node.asks(), 1);
        node.is_answered(0);
        assert!(node.told().is_empty(), "the core knows that");
        (0..WORDS_PER_COMPARISON).for_each(|_| node.party.compare_mark());
        node.is_answered(3);
        assert_eq!((node.asks(), node.told()), (1, vec![true]));
        (0..3 * WORDS_PER_COMPARISON).for_each(|_| node.party.compare_mark());
        assert_eq!(node.asks(), 0);
    }

    #[test]
    fn a_redis_that_does_not_say_may_have_some() {
        let mut node = Node::joined();
        let what = StickyPurpose::Mark;
        node.party.sticky_done(&mut node.engine, &what, None);
        assert_eq!(node.told(), [true]);
    }
}
