//! Members of groups that need no connection, in a cluster: Redis keeps them, and a uid's home core knows those of a uid that
//! has a connection here. It reads them when the first one comes, and hears what is changed.

use tracing::warn;

use super::abroad::ToEngine;
use super::local::Local;
use super::pending::Caller;
use super::sticky_order::{StickyNews, StickyOrder, StickyState, StickyStep};
use crate::escape::Escaped;
use crate::ident::{ConnId, NamespaceId, Reach};
use crate::protocol::partitions::{Partition, Topic};
use crate::shard::Phase;

impl Local {
    /// One is bound: which groups its uid has, if it is the first one here. Nobody asks where no uid has any.
    #[inline]
    pub(super) fn read_stickies(&mut self, id: ConnId) {
        if !self.sticky_partitions.is_empty() {
            self.read_stickies_of(id);
        }
    }

    #[cold]
    #[inline(never)]
    fn read_stickies_of(&mut self, id: ConnId) {
        let namespace = self.shard.connections.namespace_of(id);
        if self.shard.connections.phase(id) != Phase::Home {
            return;
        }
        let Some(uid) = self.shard.connections.uid(id).map(Box::<str>::from) else {
            return;
        };
        let mut partitions = self.sticky_partitions.iter();
        if partitions.any(|it| it.has(Topic::Uid(&uid)))
            && self.shard.online(Reach::of(namespace), &uid) == 1
        {
            // Behind the word that it is here.
            self.tell_uid_news();
            self.tell_engine(ToEngine::Sticky(StickyOrder::Read { namespace, uid }));
        }
    }

    /// A Redis is back, and has groups of uids or of none; or it has the first of them. From now on they are read, or not.
    /// Those of all that are here are read once, unless there were none and are none.
    pub(super) fn note_stickies_in(&mut self, partition: Partition, has: bool) {
        let before = self.sticky_partitions.len();
        self.sticky_partitions.retain(|it| *it != partition);
        let had = self.sticky_partitions.len() < before;
        if has {
            self.sticky_partitions.push(partition);
        }
        // What another process has left may be over.
        if has || had || self.shard.has_stuck_uids() {
            self.tell_uid_news();
            self.read_all_stickies(partition);
        }
    }

    fn read_all_stickies(&mut self, partition: Partition) {
        for (namespace, uid) in self.shard.bound_uids() {
            if partition.has(Topic::Uid(&uid)) {
                self.tell_engine(ToEngine::Sticky(StickyOrder::Read { namespace, uid }));
            }
        }
    }

    /// Has Redis do a step.
    pub(super) fn ask_sticky(&mut self, caller: Caller, namespace: NamespaceId, what: StickyStep) {
        let call = self.pending.open(caller, 1, None, false);
        self.tell_engine(ToEngine::Sticky(StickyOrder::Ask {
            namespace,
            what,
            call,
        }));
    }

    /// What Redis has of a uid that is at home here. What is known here already is not done again: its connections may have
    /// left the group by themselves.
    pub(super) fn take_sticky_news(&mut self, news: StickyNews) {
        let StickyNews {
            namespace,
            uid,
            what,
        } = news;
        let reach = Reach::of(namespace);
        if self.shard.online(reach, &uid) == 0 {
            return;
        }
        let known = self.shard.stuck_groups(reach, &uid);
        let (joined, left) = match what {
            StickyState::One {
                group,
                sticks: true,
            } => (vec![group], Vec::new()),
            StickyState::One { group, .. } => (Vec::new(), vec![group]),
            StickyState::All(groups) => {
                let left = known.iter().filter(|group| !groups.contains(group));
                let left = left.cloned().collect();
                (groups, left)
            }
        };
        for group in left {
            if self.shard.unstick(reach, &uid, &group) {
                self.shard.leave_uid(reach, &uid, &group);
            }
        }
        let most = self.shard.groups_per_connection_max();
        for group in joined {
            if known.contains(&group) {
                continue;
            }
            // Another node may let a uid be in more.
            if self.shard.stuck_groups(reach, &uid).len() >= most {
                return self.say_that_there_are_more(&uid);
            }
            self.shard.stick_again(namespace, &uid, &group);
            self.shard.join_uid(reach, &uid, &group);
        }
    }

    #[cold]
    fn say_that_there_are_more(&mut self, uid: &str) {
        let now = self.now();
        if let Some(unsaid) = self.sticky_beyond.may_log(now) {
            warn!(
                unsaid,
                uid = %Escaped(uid),
                "cluster: a uid is a sticky member of more groups than this node lets it be (groups_per_connection_max), and \
                 misses what goes to the others"
            );
        }
    }
}
