//! Whether what was to be kept was: each message once, in its place, and where its sender was told.

use std::collections::{HashMap, HashSet};

use super::Tally;
use super::followers::Kept;
use super::model::{Model, Sender, Sent, Target};
use super::verdict::count;
use super::world::World;
use crate::ident::{EVERYBODY, NamespaceId, check_uid};
use crate::streams::{Kind, Position};

/// The namespaces whose clients can come back.
const KEPT_NAMESPACES: [NamespaceId; 2] = [NamespaceId(0), NamespaceId(1)];

impl Sent {
    /// The kind and the name of what it was sent to, if that can be a stream.
    pub fn stream(&self) -> Option<(Kind, &str)> {
        match &self.target {
            Target::Uid(uid) => check_uid(uid).is_ok().then_some((Kind::Uid, uid)),
            Target::Group(group) => Some((Kind::Group, group)),
            Target::Everybody => Some((Kind::All, EVERYBODY)),
            Target::Own | Target::Connection(_) => None,
        }
    }
}

impl World {
    /// Which messages are kept in which namespaces.
    pub fn check_logs(&self, model: &Model, tally: &mut Tally) -> HashSet<(usize, NamespaceId)> {
        let mut kept: HashMap<(usize, NamespaceId), Position> = HashMap::new();
        for (stream, log) in &self.logs {
            let mut epochs = HashSet::new();
            let mut last: Option<Position> = None;
            let mut latest: HashMap<Sender, usize> = HashMap::new();
            for one in log {
                let Position { epoch, offset } = one.position;
                let before = last.filter(|last| last.epoch == epoch);
                let is_new = before.is_some() || epochs.insert(epoch);
                assert!(is_new, "{stream:?}: an epoch goes on behind another");
                let next = before.map_or(1, |last| last.offset + 1);
                assert_eq!(offset, next, "{stream:?}: an offset is left out");
                last = Some(one.position);
                let sent = &model.sent[one.number];
                assert_eq!(sent.stream(), Some((stream.1, &*stream.2)));
                let twice = kept.insert((one.number, stream.0), one.position);
                assert!(twice.is_none(), "m{} is kept twice", one.number);
                let latest = latest.entry(sent.sender).or_insert(one.number);
                assert!(
                    *latest <= one.number || model.may_overtake(*latest, one.number),
                    "{stream:?} has m{} behind m{latest}",
                    one.number
                );
                *latest = one.number.max(*latest);
            }
        }
        for (number, sent) in model.sent.iter().enumerate() {
            let mut first = None;
            for namespace in KEPT_NAMESPACES {
                let position = kept.get(&(number, namespace)).copied();
                first = first.or(position);
                let wanted = self.must_keep(sent, namespace);
                assert!(
                    wanted.is_none_or(|wanted| wanted == position.is_some()),
                    "m{number} to {:?} in {namespace:?}: kept {position:?}, wanted {wanted:?}",
                    sent.target
                );
            }
            if let Some(told) = sent.position {
                assert_eq!(told, first, "where m{number} stands");
            }
        }
        count(tally, "kept", kept.len());
        kept.into_keys().collect()
    }

    /// Whether a message is kept in a namespace, if that is sure.
    fn must_keep(&self, sent: &Sent, namespace: NamespaceId) -> Option<bool> {
        let reached = sent.reach.namespaces().any(|reached| reached == namespace);
        let (Some((kind, name)), Some(keeping), true) =
            (sent.stream(), &self.scene.keeping, reached)
        else {
            return Some(false);
        };
        match keeping.keeps(kind, name, sent.wish) {
            [before, after] if before == after => Some(before),
            _ => None,
        }
    }
}

/// How many come up to a position, if its life of the stream was ever one.
pub fn index(log: &[Kept], position: Position) -> Option<usize> {
    let epoch = position.epoch;
    let begins = log.iter().position(|kept| kept.position.epoch == epoch)?;
    let offset = usize::try_from(position.offset).expect("64 bits");
    Some(begins.saturating_add(offset))
}

/// Whether a life of the stream begins there, or may.
pub fn is_beginning(log: &[Kept], at: usize) -> bool {
    log.get(at).is_none_or(|kept| kept.position.offset == 1)
}
