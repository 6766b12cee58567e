//! Which uids and groups have somebody on this node, and so which channels it is subscribed to: [`Interests`].
//!
//! A channel is left some seconds after its last one has gone, so that a page that loads anew costs Redis nothing. Bound:
//! an entry for each uid and group of the node, and a change for each that has not been told to Redis.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ahash::AHashMap;

/// How long a channel stays when nobody is there any more.
const LINGER: Duration = Duration::from_secs(5);
/// Channels of one command.
const CHANNELS_PER_COMMAND: usize = 1_000;

/// One command to Redis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionChange {
    pub subscribes: bool,
    pub channels: Vec<Box<str>>,
}

#[derive(Default)]
struct InterestEntry {
    /// In how many namespaces it is wanted.
    wanted: u32,
    /// Whether Redis has been told, or is about to be.
    told: bool,
    /// Whether it has taken that.
    taken: bool,
    /// Another process of this node has wanted it, whose users are to come.
    adopted: bool,
}

/// See the module.
#[derive(Default)]
pub struct Interests {
    channels: AHashMap<Box<str>, InterestEntry>,
    changes: VecDeque<(bool, Box<str>)>,
    leaving: VecDeque<(Instant, Box<str>)>,
    /// What has been taken since another process was told of all; meanwhile none is left.
    recorded: Option<Vec<Box<str>>>,
    /// How many changes there have been on this connection, were given out, and are done.
    made: u64,
    given: u64,
    done: u64,
    /// Those by which the connection knows all that was there when it began.
    first: u64,
    /// One that is not done, and since when it is there.
    oldest: Option<(Instant, u64)>,
}

impl Interests {
    /// It is wanted in one more namespace.
    pub fn enter(&mut self, channel: &str, now: Instant) {
        let entry = self.channels.entry(Box::from(channel)).or_default();
        entry.wanted += 1;
        if !entry.told {
            entry.told = true;
            self.change(true, Box::from(channel), now);
        }
    }

    fn change(&mut self, subscribes: bool, channel: Box<str>, now: Instant) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push(channel.clone());
        }
        self.changes.push_back((subscribes, channel));
        self.made += 1;
        self.oldest = self.oldest.or(Some((now, self.made)));
    }

    /// Whether somebody is there who wants it.
    pub fn is_wanted(&self, channel: &str) -> bool {
        let entry = self.channels.get(channel);
        entry.is_some_and(|entry| entry.wanted > 0)
    }

    /// Channels that are wanted, or still to be left.
    pub fn count(&self) -> usize {
        self.channels.len()
    }

    /// Redis has done all that was given out.
    pub fn told(&mut self, now: Instant) {
        self.done = self.given;
        if self.oldest.is_some_and(|(_, change)| change <= self.done) {
            self.oldest = (self.made > self.done).then_some((now, self.made));
        }
    }

    /// Whether Redis knows all that was there when the connection began, and since then has been behind by no more than this.
    pub fn are_told(&self, behind: Duration, now: Instant) -> bool {
        let is_behind = |(since, _)| now.saturating_duration_since(since) > behind;
        self.done >= self.first && !self.oldest.is_some_and(is_behind)
    }

    /// In one less.
    pub fn leave(&mut self, channel: &str, now: Instant) {
        let Some(entry) = self.channels.get_mut(channel) else {
            return;
        };
        entry.wanted = entry.wanted.saturating_sub(1);
        if entry.wanted == 0 {
            self.leaving.push_back((now + LINGER, Box::from(channel)));
        }
    }

    /// Redis has taken this change.
    pub fn confirm(&mut self, change: &SubscriptionChange) {
        for channel in &change.channels {
            if let Some(entry) = self.channels.get_mut(channel) {
                entry.taken = change.subscribes;
            }
        }
    }

    /// Whether what is published in a channel comes to this node.
    pub fn is_in_force(&self, channel: &str) -> bool {
        let entry = self.channels.get(channel);
        entry.is_some_and(|entry| entry.taken)
    }

    /// When a channel is to be left next.
    pub fn next_due(&self) -> Option<Instant> {
        let leaving = self.leaving.front().filter(|_| self.recorded.is_none());
        leaving.map(|(at, _)| *at)
    }

    /// Leaves those channels whose time is over.
    pub fn advance(&mut self, now: Instant) {
        while let Some((at, _)) = self.leaving.front()
            && *at <= now
            && self.recorded.is_none()
        {
            let Some((_, channel)) = self.leaving.pop_front() else {
                return;
            };
            let entry = self.channels.get(&channel);
            if entry.is_some_and(|entry| entry.wanted == 0 && !entry.adopted) {
                self.channels.remove(&channel);
                self.change(false, channel, now);
            }
        }
    }

    /// The next command to Redis, with what is alike and follows each other.
    pub fn next_change(&mut self) -> Option<SubscriptionChange> {
        let subscribes = self.changes.front()?.0;
        let mut channels = Vec::new();
        while channels.len() < CHANNELS_PER_COMMAND
            && self
                .changes
                .front()
                .is_some_and(|(way, _)| *way == subscribes)
        {
            channels.extend(self.changes.pop_front().map(|(_, channel)| channel));
        }
        self.given += channels.len() as u64;
        Some(SubscriptionChange {
            subscribes,
            channels,
        })
    }

    /// There is a connection that knows of none of them.
    pub fn begin_anew(&mut self, now: Instant) {
        self.changes.clear();
        self.leaving.clear();
        let is_kept = |entry: &InterestEntry| entry.wanted > 0 || entry.adopted;
        self.channels.retain(|_, entry| is_kept(entry));
        let channels = self.channels.keys();
        self.changes = channels.map(|channel| (true, channel.clone())).collect();
        for entry in self.channels.values_mut() {
            (entry.told, entry.taken) = (true, false);
        }
        (self.given, self.done) = (0, 0);
        self.made = self.changes.len() as u64;
        self.first = self.made;
        self.oldest = (self.made > 0).then_some((now, self.made));
    }

    /// All channels, for another process; from now on those that are new are recorded, and none is left.
    pub fn begin_recording(&mut self) -> Vec<Box<str>> {
        self.recorded = Some(Vec::new());
        self.channels.keys().cloned().collect()
    }

    /// Those that are new since.
    pub fn take_recorded(&mut self) -> Vec<Box<str>> {
        self.recorded
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// No other process wants to know any more.
    pub fn end_recording(&mut self) {
        self.recorded = None;
    }

    /// Takes a channel for users whom another process has, and who are to come.
    pub fn adopt(&mut self, channel: Box<str>, now: Instant) {
        let entry = self.channels.entry(channel.clone()).or_default();
        entry.adopted = true;
        if !entry.told {
            entry.told = true;
            self.change(true, channel, now);
        }
    }

    /// They have come: what nobody wants is left after a while.
    pub fn end_adoption(&mut self, now: Instant) {
        for (channel, entry) in &mut self.channels {
            if std::mem::take(&mut entry.adopted) && entry.wanted == 0 {
                self.leaving.push_back((now + LINGER, channel.clone()));
            }
        }
    }

    /// Leaves all of them, and these, whoever wants them.
    pub fn leave_all(&mut self, more: impl IntoIterator<Item = String>, now: Instant) {
        (self.recorded, self.leaving) = (None, VecDeque::new());
        for channel in std::mem::take(&mut self.channels).into_keys() {
            self.change(false, channel, now);
        }
        for channel in more {
            self.change(false, channel.into(), now);
        }
    }

    /// Whether Redis has done all there is.
    pub fn are_done(&self) -> bool {
        self.done == self.made
    }

    /// Channels that Redis is still to be told of.
    #[cfg(test)]
    pub fn untold(&self) -> usize {
        self.changes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(subscribes: bool, channels: &[&str]) -> Option<SubscriptionChange> {
        Some(SubscriptionChange {
            subscribes,
            channels: channels.iter().map(|name| Box::from(*name)).collect(),
        })
    }

    #[test]
    fn a_channel_is_taken_once_and_left_late() {
        let (mut interests, now) = (Interests::default(), Instant::now());
        interests.enter("a", now);
        interests.enter("a", now);
        interests.enter("b", now);
        assert_eq!(interests.next_change(), change(true, &["a", "b"]));
        assert_eq!(interests.next_change(), None);
        interests.leave("a", now);
        assert_eq!(interests.next_due(), None, "it is wanted elsewhere");
        interests.leave("a", now);
        interests.leave("b", now);
        interests.enter("b", now);
        let due = interests.next_due().expect("a is to be left");
        interests.advance(due - Duration::from_millis(1));
        assert_eq!(interests.next_change(), None);
        interests.advance(due);
        assert_eq!(interests.next_change(), change(false, &["a"]));
        interests.enter("a", now);
        assert_eq!(interests.next_change(), change(true, &["a"]));
    }

    #[test]
    fn changes_are_told_in_their_order() {
        let (mut interests, now) = (Interests::default(), Instant::now());
        interests.enter("a", now);
        interests.leave("a", now);
        interests.advance(now + LINGER);
        interests.enter("a", now);
        assert_eq!(interests.next_change(), change(true, &["a"]));
        assert_eq!(interests.next_change(), change(false, &["a"]));
        assert_eq!(interests.next_change(), change(true, &["a"]));
        assert_eq!(interests.untold(), 0);
    }

    #[test]
    fn a_new_connection_is_told_of_all_that_is_wanted() {
        let (mut interests, now) = (Interests::default(), Instant::now());
        for nth in 0..2_500 {
            interests.enter(&format!("c{nth}"), now);
        }
        interests.leave("c7", now);
        while interests.next_change().is_some() {}
        interests.begin_anew(now);
        assert_eq!(interests.untold(), 2_499);
        let mut told = Vec::new();
        while let Some(change) = interests.next_change() {
            assert!(change.subscribes && change.channels.len() <= CHANNELS_PER_COMMAND);
            told.extend(change.channels);
        }
        told.sort_unstable();
        told.dedup();
        assert_eq!(told.len(), 2_499);
        assert!(!told.contains(&Box::from("c7")));
        // One that has gone meanwhile comes back as if it were new.
        interests.enter("c7", now);
        assert_eq!(interests.next_change(), change(true, &["c7"]));
        assert_eq!(interests.next_due(), None);
    }

    #[test]
    fn another_process_is_told_and_takes_them() {
        let (mut old, mut new, now) = (Interests::default(), Interests::default(), Instant::now());
        old.enter("a", now);
        old.enter("b", now);
        let mut all = old.begin_recording();
        all.sort_unstable();
        assert_eq!(all, [Box::from("a"), Box::from("b")]);
        old.enter("c", now);
        old.leave("a", now);
        old.advance(now + LINGER);
        assert_eq!(old.next_due(), None, "none is left meanwhile");
        assert_eq!(old.take_recorded(), [Box::from("c")]);
        all.push("c".into());
        for channel in all {
            new.adopt(channel, now);
        }
        // Its first connection to Redis comes later.
        new.begin_anew(now);
        assert_eq!(new.untold(), 3);
        while new.next_change().is_some() {
            assert!(!new.are_done());
            new.told(now);
        }
        assert!(new.are_done());
        new.enter("b", now);
        new.enter("c", now);
        assert_eq!(new.next_change(), None, "Redis knows of them");
        new.end_adoption(now);
        new.advance(now + LINGER);
        assert_eq!(new.next_change(), change(false, &["a"]));
        // The old one goes.
        while old.next_change().is_some() {}
        old.leave_all(["n".to_owned()], now);
        let mut left = old.next_change().expect("all of them").channels;
        left.sort_unstable();
        assert_eq!(left, ["a", "b", "c", "n"].map(Box::from));
    }

    #[test]
    fn who_is_behind_is_not_told() {
        let (mut interests, now) = (Interests::default(), Instant::now());
        let (behind, later) = (LINGER / 10, now + LINGER);
        interests.begin_anew(now);
        assert!(interests.are_told(behind, later), "there is nothing");
        for nth in 0..1_500 {
            interests.enter(&format!("c{nth}"), now);
        }
        assert!(interests.are_told(behind, now));
        assert!(!interests.are_told(behind, later));
        interests.begin_anew(now);
        assert!(!interests.are_told(behind, now), "nothing is done yet");
        for _ in 0..2 {
            assert!(!interests.are_told(behind, now));
            assert!(interests.next_change().is_some());
            // More follow all the time.
            interests.enter(&format!("d{}", interests.given), now);
            interests.told(later);
        }
        assert!(interests.are_told(behind, later));
        assert!(!interests.are_told(behind, later + LINGER), "and they last");
        while interests.next_change().is_some() {
            interests.told(later);
        }
        assert!(interests.are_told(behind, later + LINGER));
    }
}
