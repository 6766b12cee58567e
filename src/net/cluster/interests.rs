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
}

/// See the module.
#[derive(Default)]
pub struct Interests {
    channels: AHashMap<Box<str>, InterestEntry>,
    changes: VecDeque<(bool, Box<str>)>,
    leaving: VecDeque<(Instant, Box<str>)>,
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
        self.leaving.front().map(|(at, _)| *at)
    }

    /// Leaves those channels whose time is over.
    pub fn advance(&mut self, now: Instant) {
        while let Some((at, _)) = self.leaving.front()
            && *at <= now
        {
            let Some((_, channel)) = self.leaving.pop_front() else {
                return;
            };
            let entry = self.channels.get(&channel);
            if entry.is_some_and(|entry| entry.wanted == 0) {
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
        self.channels.retain(|_, entry| entry.wanted > 0);
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
