//! How far clients of `ringpost.v1` have handled their streams, as they say themselves: [`Acknowledged`], at their uids' home.
//!
//! A client that binds anew begins there in each stream of which it names no position, or an older one. Bound:
//! [`BYTES_MAX`] a core, of which the client that has said nothing for longest gives up its part first, and [`KEPT`] since a
//! client has last said something.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ahash::AHashMap;

use crate::handover::WrittenHandled;
use crate::ident::{ConnId, NamespaceId};
use crate::streams::{Kind, Position};

/// What a core holds of it.
const BYTES_MAX: usize = 16 << 20;
/// How long it is held after the last acknowledgement.
const KEPT: Duration = Duration::from_secs(24 * 3_600);
/// What a client costs besides its names, and a stream of it.
const CLIENT_BYTES: usize = 200;
const STREAM_BYTES: usize = 64;
/// Groups of a client that are remembered.
const GROUPS_MAX: usize = 64;

/// A client by its namespace, its uid and the name that it says.
pub type ClientKey = (NamespaceId, Box<str>, Box<str>);

/// How far one client has handled its streams.
#[derive(Default)]
pub(super) struct HandledStreams {
    own: Option<Position>,
    all: Option<Position>,
    groups: Vec<(Box<str>, Position)>,
    /// Its place in the order of who has said something last.
    nth: u64,
    said: Option<Instant>,
}

impl HandledStreams {
    fn bytes(&self, key: &ClientKey) -> usize {
        let groups = self.groups.iter();
        let groups: usize = groups.map(|(name, _)| STREAM_BYTES + name.len()).sum();
        CLIENT_BYTES + key.1.len() + key.2.len() + groups
    }

    /// Where it stands in a stream.
    pub(super) fn of(&self, kind: Kind, name: &str) -> Option<Position> {
        match kind {
            Kind::Uid => self.own,
            Kind::All => self.all,
            Kind::Group => {
                let mut groups = self.groups.iter();
                let found = groups.find(|(group, _)| **group == *name);
                found.map(|(_, position)| *position)
            }
        }
    }

    fn set(&mut self, kind: Kind, name: &str, position: Position) {
        match kind {
            Kind::Uid => self.own = later(self.own, position),
            Kind::All => self.all = later(self.all, position),
            Kind::Group => {
                let found = self.groups.iter_mut().find(|(group, _)| **group == *name);
                match found {
                    Some((_, at)) => *at = later(Some(*at), position).unwrap_or(position),
                    None => {
                        if self.groups.len() == GROUPS_MAX {
                            self.groups.remove(0);
                        }
                        self.groups.push((Box::from(name), position));
                    }
                }
            }
        }
    }
}

/// The further of two places; of another life of the stream it is the newer word that counts.
fn later(at: Option<Position>, said: Position) -> Option<Position> {
    match at {
        Some(at) if at.epoch == said.epoch && at.offset > said.offset => Some(at),
        _ => Some(said),
    }
}

/// See the module.
#[derive(Default)]
pub struct Acknowledged {
    each: AHashMap<ClientKey, HandledStreams>,
    /// Who has said something when, the longest ago first.
    order: BTreeMap<u64, ClientKey>,
    next: u64,
    bytes: usize,
    /// Connections that wait for what other nodes know, and for which of their questions.
    pub(super) waiting: AHashMap<ConnId, u64>,
    pub(super) questions: u64,
}

impl Acknowledged {
    pub(super) fn note(
        &mut self,
        now: Instant,
        key: ClientKey,
        kind: Kind,
        name: &str,
        position: Position,
    ) {
        let mut handled = self.take(&key).unwrap_or_default();
        handled.set(kind, name, position);
        handled.said = Some(now);
        handled.nth = self.next;
        self.next += 1;
        self.bytes += handled.bytes(&key);
        self.order.insert(handled.nth, key.clone());
        self.each.insert(key, handled);
        while let Some((_, oldest)) = self.order.first_key_value()
            && (self.bytes > BYTES_MAX || self.is_over(now, oldest))
        {
            let oldest = oldest.clone();
            self.take(&oldest);
        }
    }

    fn is_over(&self, now: Instant, key: &ClientKey) -> bool {
        let said = self.each.get(key).and_then(|handled| handled.said);
        said.is_none_or(|said| now.saturating_duration_since(said) > KEPT)
    }

    fn take(&mut self, key: &ClientKey) -> Option<HandledStreams> {
        let handled = self.each.remove(key)?;
        self.order.remove(&handled.nth);
        self.bytes -= handled.bytes(key);
        Some(handled)
    }

    /// Gives out what clients have said, at this time.
    pub(super) fn pack(&self, now: Instant, out: &mut dyn FnMut(WrittenHandled)) {
        for ((namespace, uid, client), handled) in &self.each {
            let Some(said) = handled.said else { continue };
            out(WrittenHandled {
                namespace: *namespace,
                uid: uid.clone(),
                client: client.clone(),
                own: handled.own,
                all: handled.all,
                groups: handled.groups.clone(),
                ago: now.saturating_duration_since(said),
            });
        }
    }

    /// Takes in what one has said to another process, packed at that time; however many there are.
    pub(super) fn unpack(&mut self, packed: Instant, one: WrittenHandled) {
        let key = (one.namespace, one.uid, one.client);
        self.take(&key);
        let mut groups = one.groups;
        groups.truncate(GROUPS_MAX);
        let handled = HandledStreams {
            own: one.own,
            all: one.all,
            groups,
            nth: self.next,
            said: Some(packed.checked_sub(one.ago).unwrap_or(packed)),
        };
        self.next += 1;
        self.bytes += handled.bytes(&key);
        self.order.insert(handled.nth, key.clone());
        self.each.insert(key, handled);
    }

    /// All of them have come.
    pub(super) fn unpacked(&mut self) {
        let mut each: Vec<(Option<Instant>, ClientKey)> = self
            .each
            .iter()
            .map(|(key, handled)| (handled.said, key.clone()))
            .collect();
        each.sort_unstable();
        self.order.clear();
        for (_, key) in each {
            if let Some(handled) = self.each.get_mut(&key) {
                handled.nth = self.next;
                self.order.insert(self.next, key);
                self.next += 1;
            }
        }
    }

    pub(super) fn get(&self, now: Instant, key: &ClientKey) -> Option<&HandledStreams> {
        let handled = self.each.get(key)?;
        (!self.is_over(now, key)).then_some(handled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::Epoch;

    fn key(client: &str) -> ClientKey {
        (NamespaceId(0), "tom".into(), client.into())
    }

    fn at(epoch: u64, offset: u64) -> Position {
        Position {
            epoch: Epoch::of(epoch),
            offset,
        }
    }

    #[test]
    fn the_furthest_of_each_stream_is_kept() {
        let (mut table, now) = (Acknowledged::default(), Instant::now());
        table.note(now, key("a"), Kind::Uid, "", at(1, 5));
        table.note(now, key("a"), Kind::Uid, "", at(1, 3));
        table.note(now, key("a"), Kind::Group, "news", at(7, 1));
        table.note(now, key("b"), Kind::Uid, "", at(1, 1));
        let handled = table.get(now, &key("a")).expect("it has said something");
        assert_eq!(handled.of(Kind::Uid, ""), Some(at(1, 5)));
        assert_eq!(handled.of(Kind::Group, "news"), Some(at(7, 1)));
        assert_eq!(handled.of(Kind::Group, "chat"), None);
        assert_eq!(handled.of(Kind::All, ""), None);
        // Another life of the stream.
        table.note(now, key("a"), Kind::Uid, "", at(2, 1));
        let handled = table.get(now, &key("a")).expect("it has said something");
        assert_eq!(handled.of(Kind::Uid, ""), Some(at(2, 1)));
        assert!(table.get(now, &key("c")).is_none());
        assert!(table.get(now + KEPT * 2, &key("a")).is_none());
    }

    /// What several tables have, in another one.
    #[test]
    fn what_clients_have_said_goes_along() {
        let start = Instant::now();
        let said = |seconds: u64| start + Duration::from_secs(seconds);
        let mut tables = [0, 1].map(|_| Acknowledged::default());
        for number in 0..10_u64 {
            let table = &mut tables[number as usize % 2];
            let key = key(&number.to_string());
            table.note(said(number), key.clone(), Kind::Uid, "", at(1, number));
            table.note(said(number), key, Kind::Group, "news", at(7, number));
        }
        let (packed, mut fresh) = (said(100), Acknowledged::default());
        for table in &tables {
            table.pack(packed, &mut |one| fresh.unpack(packed, one));
        }
        fresh.unpacked();
        assert_eq!(
            fresh.bytes,
            tables.iter().map(|table| table.bytes).sum::<usize>()
        );
        let order: Vec<&str> = fresh.order.values().map(|key| &*key.2).collect();
        assert_eq!(order, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        for number in 0..10_u64 {
            let key = key(&number.to_string());
            let end = said(number) + KEPT;
            let handled = fresh.get(end, &key).expect("it has said something");
            assert_eq!(handled.of(Kind::Uid, ""), Some(at(1, number)));
            assert_eq!(handled.of(Kind::Group, "news"), Some(at(7, number)));
            assert!(fresh.get(end + Duration::from_nanos(1), &key).is_none());
        }
    }

    #[test]
    fn what_it_takes_is_bounded() {
        let (mut table, now) = (Acknowledged::default(), Instant::now());
        let most = BYTES_MAX / CLIENT_BYTES;
        for client in 0..most + 100 {
            let key = key(&client.to_string());
            table.note(now, key, Kind::Uid, "", at(1, 1));
            assert!(table.bytes <= BYTES_MAX);
        }
        assert!(table.get(now, &key("0")).is_none());
        assert!(table.get(now, &key(&(most + 99).to_string())).is_some());
        // Those that have said nothing for long go with the next word of any.
        table.note(now + KEPT * 2, key("a"), Kind::Uid, "", at(1, 1));
        assert_eq!((table.each.len(), table.order.len()), (1, 1));
        for group in 0..GROUPS_MAX + 10 {
            let name = group.to_string();
            table.note(now + KEPT * 2, key("a"), Kind::Group, &name, at(1, 1));
        }
        let bytes: usize = table.each.iter().map(|(key, one)| one.bytes(key)).sum();
        assert_eq!(table.bytes, bytes);
        assert_eq!(table.each[&key("a")].groups.len(), GROUPS_MAX);
    }
}
