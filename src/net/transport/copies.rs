//! Which connections of a core another process has a copy of, and where there: [`ConnectionCopies`].
//!
//! Bound: an entry for each connection, while an upgrade is under way.

use std::time::Instant;

use ahash::RandomState;

use crate::ident::ConnId;
use crate::shard::Tick;

/// What the times of a core's copies count to and from.
#[derive(Clone, Copy)]
pub struct CopyMoment {
    /// Of the shard's times, ahead.
    pub tick: Tick,
    /// Of rates: when the first copy was made.
    pub begun: Instant,
}

/// Where a copy is: at which core there, as its how manieth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopyPlace {
    pub core: u16,
    pub nth: u32,
}

/// By which a copy is known to be as the connection still is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CopyDigest([u64; 2]);

/// What is remembered of one that there is a copy of.
#[derive(Clone, Copy)]
pub struct Copied {
    pub place: CopyPlace,
    /// How it was.
    pub digest: CopyDigest,
    /// Its uid, by which its place was chosen.
    pub uid: u64,
}

/// See the module.
pub struct ConnectionCopies {
    pub moment: CopyMoment,
    /// By slot, with the connection's generation, for another one may have the slot by now.
    of: Vec<Option<(u32, Copied)>>,
    /// Of connections that are not here any more, and that nobody there knows of yet.
    lost: Vec<CopyPlace>,
    hashers: [RandomState; 2],
}

impl ConnectionCopies {
    pub fn new(moment: CopyMoment) -> ConnectionCopies {
        ConnectionCopies {
            moment,
            of: Vec::new(),
            lost: Vec::new(),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    pub fn digest(&self, written: &[u8]) -> CopyDigest {
        CopyDigest(
            self.hashers
                .each_ref()
                .map(|hasher| hasher.hash_one(written)),
        )
    }

    /// A uid, or that there is none.
    pub fn digest_uid(&self, uid: Option<&str>) -> u64 {
        self.hashers[0].hash_one(uid)
    }

    fn of(&mut self, id: ConnId) -> Option<&mut Copied> {
        let (generation, copied) = self.of.get_mut(id.slot as usize)?.as_mut()?;
        (*generation == id.generation).then_some(copied)
    }

    /// Whether there is a copy of one.
    pub fn has(&mut self, id: ConnId) -> bool {
        self.of(id).is_some()
    }

    /// Where the copy of one is, and how it was when that was made. If it has another uid than then, it is lost.
    pub fn get(&mut self, id: ConnId, uid: u64) -> Option<(CopyPlace, CopyDigest)> {
        let copied = *self.of(id)?;
        if copied.uid != uid {
            self.lose(id);
            return None;
        }
        Some((copied.place, copied.digest))
    }

    /// There is one.
    pub fn enter(&mut self, id: ConnId, copied: Copied) {
        let slot = id.slot as usize;
        if self.of.len() <= slot {
            self.of.resize(slot + 1, None);
        }
        self.of[slot] = Some((id.generation, copied));
    }

    /// It has been made anew.
    pub fn renew(&mut self, id: ConnId, digest: CopyDigest) {
        if let Some(copied) = self.of(id) {
            copied.digest = digest;
        }
    }

    /// Its connection is not here any more. The copy holds its socket, so it must go soon.
    pub fn lose(&mut self, id: ConnId) {
        if let Some(copied) = self.of(id) {
            let place = copied.place;
            self.of[id.slot as usize] = None;
            self.lost.push(place);
        }
    }

    /// Its connection goes by itself, and the copy's socket with it: it is not lost.
    pub fn forget(&mut self, id: ConnId) {
        if self.has(id) {
            self.of[id.slot as usize] = None;
        }
    }

    pub fn has_lost(&self) -> bool {
        !self.lost.is_empty()
    }

    pub fn take_lost(&mut self) -> Vec<CopyPlace> {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_its_connections_alone_and_is_lost_with_it() {
        let moment = CopyMoment {
            tick: 0,
            begun: Instant::now(),
        };
        let mut copies = ConnectionCopies::new(moment);
        let (one, other) = (
            ConnId::from_bits(3 | 1 << 32),
            ConnId::from_bits(3 | 2 << 32),
        );
        let place = CopyPlace { core: 1, nth: 7 };
        let digest = copies.digest(b"one");
        assert!(digest == copies.digest(b"one") && digest != copies.digest(b"another"));
        let uid = copies.digest_uid(Some("tom"));
        let copied = Copied { place, digest, uid };
        copies.enter(one, copied);
        assert!(copies.get(one, uid) == Some((place, digest)));
        assert!(copies.get(other, uid).is_none());
        copies.lose(other);
        assert!(!copies.has_lost() && copies.has(one));
        copies.lose(one);
        assert_eq!(copies.take_lost(), [place]);
        assert!(!copies.has(one));
        copies.enter(other, copied);
        copies.forget(other);
        assert!(!copies.has_lost() && !copies.has(other));
        // Who has another uid may be at home elsewhere.
        copies.enter(one, copied);
        let another = copies.digest_uid(None);
        assert!(copies.get(one, another).is_none());
        assert_eq!(copies.take_lost(), [place]);
    }
}
