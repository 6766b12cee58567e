//! Members of groups that need no connection, in a cluster: Redis keeps them, the groups of a uid in one set, and the uids of a
//! group in a list, which may be another Redis'.
//!
//! Who is a member is in the list: it is listed before it becomes one and once more behind that, and whoever takes it out
//! of the list looks afterwards whether it has become one anew. One that was listed and is no member, since a node ended
//! amid it, counts until the group is emptied. Bound: [`STEPS_AT_ONCE`].

use super::errors::ApiError;
use super::outcomes::{Pending, refusal};
use super::pacing::{PaceMark, RequestPace};
use super::requests::MembershipCommand;
use super::service::Api;
use crate::app::promise::Promise;
use crate::app::query::QueryResult;
use crate::app::sticky_order::{StickyAnswer, StickyStep};
use crate::ident::NamespaceId;
use crate::shard::{GroupCount, JoinError, StickyError};

/// What Redis is asked before an answer is waited for.
const STEPS_AT_ONCE: usize = 256;

impl Api {
    /// Whether Redis keeps them.
    pub(super) fn keeps_stickies(&self, member: &MembershipCommand<'_>) -> bool {
        member.sticky && self.is_in_cluster()
    }

    /// A uid becomes a member for good, and then its connections; or these are none any more, and then the uid.
    pub(super) async fn change_sticky(
        &self,
        member: &MembershipCommand<'_>,
        joins: bool,
        pace: &mut RequestPace<'_>,
    ) -> Pending {
        if joins && let Err(error) = self.stick(member).await {
            return found(vec![QueryResult::NotStuck(error)]);
        }
        let mark = PaceMark::new(&mut self.host.borrow_mut());
        let promise = {
            let mut change = member.change(self.reach);
            change.sticky = false;
            let mut host = self.host.borrow_mut();
            let mut tasks = host.tasks_of(pace.speaker);
            tasks.change_membership(change, joins)
        };
        pace.spend(mark, 1).await;
        if joins {
            return Pending::Found(promise);
        }
        let mut results = promise.await;
        results.push(match self.unstick(&member.uid, &member.group).await {
            Ok(sticky) => QueryResult::Left { left: 0, sticky },
            Err(error) => QueryResult::NotStuck(error),
        });
        found(results)
    }

    /// In one namespace and not in another is nowhere.
    async fn stick(&self, member: &MembershipCommand<'_>) -> Result<(), StickyError> {
        let mut done = Vec::new();
        for namespace in self.reach.namespaces() {
            match self.stick_in(namespace, &member.uid, &member.group).await {
                Ok(true) => done.push(namespace),
                Ok(false) => {}
                Err(error) => {
                    for namespace in done {
                        let uids = [Box::from(&*member.uid)];
                        self.unstick_in(namespace, &member.group, &uids).await?;
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Whether it is one only now.
    async fn stick_in(
        &self,
        namespace: NamespaceId,
        uid: &str,
        group: &str,
    ) -> Result<bool, StickyError> {
        let most = self.host.borrow_mut().shard().groups_per_connection_max();
        let uids = [Box::from(uid)];
        self.list(namespace, group, &uids, true).await?;
        let stick = StickyStep::Stick {
            uid: Box::from(uid),
            group: Box::from(group),
            most,
        };
        match self.steps(namespace, [stick]).await?.first() {
            Some(answer) if answer.number < 0 => {
                self.unlist(namespace, group, &uids).await?;
                Err(StickyError::Join(JoinError::TooMany))
            }
            Some(answer) => {
                self.list(namespace, group, &uids, true).await?;
                Ok(answer.number > 0)
            }
            None => Err(StickyError::Away),
        }
    }

    /// Ends that. Whether it was one.
    async fn unstick(&self, uid: &str, group: &str) -> Result<bool, StickyError> {
        let uids = [Box::from(uid)];
        let mut was = false;
        for namespace in self.reach.namespaces() {
            was |= self.unstick_in(namespace, group, &uids).await? > 0;
        }
        Ok(was)
    }

    /// How many of these were members.
    async fn unstick_in(
        &self,
        namespace: NamespaceId,
        group: &str,
        uids: &[Box<str>],
    ) -> Result<u64, StickyError> {
        let steps = uids.iter().map(|uid| StickyStep::Unstick {
            uid: uid.clone(),
            group: Box::from(group),
        });
        let answers = self.steps(namespace, steps).await?;
        let was = answers.iter().filter(|answer| answer.number > 0).count() as u64;
        self.unlist(namespace, group, uids).await?;
        Ok(was)
    }

    async fn list(
        &self,
        namespace: NamespaceId,
        group: &str,
        uids: &[Box<str>],
        is_in: bool,
    ) -> Result<Vec<StickyAnswer>, StickyError> {
        let steps = uids.iter().map(|uid| StickyStep::List {
            group: Box::from(group),
            uid: uid.clone(),
            is_in,
        });
        self.steps(namespace, steps).await
    }

    /// Takes these out of the list, but for those that have become members meanwhile.
    async fn unlist(
        &self,
        namespace: NamespaceId,
        group: &str,
        uids: &[Box<str>],
    ) -> Result<(), StickyError> {
        let taken = self.list(namespace, group, uids, false).await?;
        let taken = uids.iter().zip(taken).filter(|(_, was)| was.number > 0);
        let taken: Vec<Box<str>> = taken.map(|(uid, _)| uid.clone()).collect();
        let steps = taken.iter().cloned();
        let steps = steps.map(|uid| StickyStep::GroupsOf { uid });
        let groups = self.steps(namespace, steps).await?;
        let members = taken.into_iter().zip(groups);
        let members = members.filter(|(_, known)| known.names.iter().any(|name| **name == *group));
        let members: Vec<Box<str>> = members.map(|(uid, _)| uid).collect();
        self.list(namespace, group, &members, true).await?;
        Ok(())
    }

    /// Ends all memberships of a group. How many there were; a uid that several namespaces have counts once.
    pub(super) async fn unstick_all(&self, group: &str) -> Result<u64, ApiError> {
        let mut most = 0;
        for namespace in self.reach.namespaces() {
            let mut count = 0;
            loop {
                let listed = StickyStep::Listed {
                    group: Box::from(group),
                    most: STEPS_AT_ONCE,
                };
                let answers = self.steps(namespace, [listed]).await.map_err(refusal)?;
                let uids = answers.into_iter().flat_map(|answer| answer.names);
                let uids: Vec<Box<str>> = uids.collect();
                if uids.is_empty() {
                    break;
                }
                let ended = self.unstick_in(namespace, group, &uids).await;
                count += ended.map_err(refusal)?;
            }
            most = most.max(count);
        }
        Ok(most)
    }

    /// Puts in how many uids each group has; whether Redis has said so.
    pub(super) async fn count_stuck(
        &self,
        groups: &[impl AsRef<str>],
        counts: &mut [GroupCount],
    ) -> bool {
        counts.iter_mut().for_each(|count| count.sticky = 0);
        for namespace in self.reach.namespaces() {
            let steps = groups.iter().map(|group| StickyStep::Listed {
                group: Box::from(group.as_ref()),
                most: 0,
            });
            let Ok(answers) = self.steps(namespace, steps).await else {
                return false;
            };
            for (count, answer) in counts.iter_mut().zip(answers) {
                let here = usize::try_from(answer.number).unwrap_or_default();
                count.sticky = count.sticky.max(here);
            }
        }
        true
    }

    /// The groups of a uid, each once, if Redis tells them.
    pub(super) async fn stuck_groups(&self, uid: &str) -> Option<Vec<Box<str>>> {
        let mut groups = Vec::new();
        for namespace in self.reach.namespaces() {
            let step = StickyStep::GroupsOf {
                uid: Box::from(uid),
            };
            let answers = self.steps(namespace, [step]).await.ok()?;
            groups.extend(answers.into_iter().flat_map(|answer| answer.names));
        }
        groups.sort_unstable();
        groups.dedup();
        Some(groups)
    }

    /// Has Redis do these, and tells what has come of each.
    pub(super) async fn steps(
        &self,
        namespace: NamespaceId,
        steps: impl IntoIterator<Item = StickyStep>,
    ) -> Result<Vec<StickyAnswer>, StickyError> {
        let mut steps = steps.into_iter().peekable();
        let mut answers = Vec::new();
        while steps.peek().is_some() {
            let some: Vec<_> = {
                let mut host = self.host.borrow_mut();
                let mut tasks = host.tasks();
                let some = steps.by_ref().take(STEPS_AT_ONCE);
                some.map(|step| tasks.sticky(namespace, step)).collect()
            };
            for promise in some {
                match promise.await.pop() {
                    Some(QueryResult::Sticky(Some(answer))) => answers.push(answer),
                    _ => return Err(StickyError::Away),
                }
            }
        }
        Ok(answers)
    }
}

/// It is known.
fn found(results: Vec<QueryResult>) -> Pending {
    let promise = Promise::default();
    promise.fulfil(results);
    Pending::Found(promise)
}
