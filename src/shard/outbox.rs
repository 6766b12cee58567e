//! What waits to be written to one connection, in order, and what it counts against the limits.
//!
//! Two accounts: what waits here, [`Outbox::bytes`], and what that holds of the core's memory, where a
//! shared message counts once however many outboxes have it. Methods return changes of the latter.
//! Bound: the owner asks [`Outbox::bytes`] before it adds; an empty outbox owns no heap memory.

use std::collections::VecDeque;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use crate::config::OUTBOX_MESSAGE_COST;

/// An own chunk takes further small messages up to this size, so that a burst to one connection is
/// one slice of one write.
const CHUNK_BYTES: usize = 16 << 10;
/// Room in a new one, for an answer or two.
const OWN_BYTES_MIN: usize = 64;
/// A larger message gets a chunk of just its size: what is left over at the end of a chunk is memory that no
/// account has.
const JOINED_BYTES_MAX: usize = 1 << 10;

/// Encoded bytes not yet written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Unsent {
    pub bytes: Vec<u8>,
    /// Whether a part of their first unit may have left: it cannot be dropped then.
    pub begun: bool,
}

enum Encoded {
    /// Encoded for this connection alone.
    Own(Vec<u8>),
    /// What waited when the connection moved here, of whose first unit a part has been sent elsewhere. So it
    /// stays whole.
    Moved(Box<[u8]>),
    /// Encoded once for all connections of this core that get it.
    Shared(Rc<[u8]>),
    /// Encoded once for all, and a newer one of the same state takes its place while it waits whole.
    Refresh(Rc<[u8]>),
}

struct Chunk {
    content: Encoded,
    /// What an own or moved chunk costs. Of which group a refresh is.
    word: u64,
}

const _: () = assert!(size_of::<Chunk>() == OUTBOX_MESSAGE_COST);

/// What a message shared by several outboxes holds for each of them; its bytes are held once.
pub const SHARED_COST: usize = OUTBOX_MESSAGE_COST;

/// What leaves the accounts with a chunk.
#[derive(Default)]
struct Account {
    cost: usize,
    /// What of that was held for one outbox alone.
    own: usize,
    /// What is freed of the core's memory: the last outbox frees a shared message's bytes.
    freed: usize,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match &self.content {
            Encoded::Own(bytes) => bytes,
            Encoded::Moved(bytes) => bytes,
            Encoded::Shared(bytes) | Encoded::Refresh(bytes) => bytes,
        }
    }

    /// All that it counts for in its outbox.
    fn cost(&self) -> usize {
        match &self.content {
            Encoded::Own(_) | Encoded::Moved(_) => self.word as usize,
            Encoded::Shared(bytes) | Encoded::Refresh(bytes) => bytes.len() + OUTBOX_MESSAGE_COST,
        }
    }

    /// It leaves the accounts.
    #[inline]
    fn release(self, off: &mut Account) {
        match self.content {
            Encoded::Own(_) | Encoded::Moved(_) => {
                off.cost += self.word as usize;
                off.own += self.word as usize;
                off.freed += self.word as usize;
            }
            Encoded::Shared(bytes) | Encoded::Refresh(bytes) => {
                off.cost += bytes.len() + OUTBOX_MESSAGE_COST;
                off.own += SHARED_COST;
                off.freed += SHARED_COST;
                if Rc::strong_count(&bytes) == 1 {
                    off.freed += bytes.len();
                }
            }
        }
    }
}

#[derive(Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that the kernel has: of one message and its frame, so less than 4 GiB.
    sent: u32,
    /// What of `bytes` no other outbox holds; of 4 GiB and more no account is kept.
    own: u32,
    bytes: usize,
}

impl Outbox {
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// All that waits, each message counting [`OUTBOX_MESSAGE_COST`] more.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What of that waits here alone: all but the bytes of messages that are shared with other outboxes.
    pub fn own_bytes(&self) -> usize {
        self.own as usize
    }

    fn count(&mut self, cost: usize, own: usize) {
        self.bytes += cost;
        self.own = self.own.saturating_add(own as u32);
    }

    fn release(&mut self, chunk: Chunk) -> usize {
        let mut off = Account::default();
        chunk.release(&mut off);
        self.discount(off)
    }

    #[inline]
    fn discount(&mut self, off: Account) -> usize {
        self.bytes -= off.cost;
        self.own = self.own.saturating_sub(off.own as u32);
        off.freed
    }

    /// Appends one message of this connection's own; `encode` appends its encoding, of `length` bytes as far
    /// as that is known, to what it gets. Returns what it costs.
    pub fn push_own(&mut self, length: usize, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let joins = length <= JOINED_BYTES_MAX
            && matches!(
                self.chunks.back(),
                Some(Chunk { content: Encoded::Own(bytes), .. }) if bytes.len() + length <= CHUNK_BYTES
            );
        if !joins {
            self.push(
                Encoded::Own(Vec::with_capacity(length.max(OWN_BYTES_MIN))),
                0,
            );
        }
        let Some(Chunk {
            content: Encoded::Own(bytes),
            word,
        }) = self.chunks.back_mut()
        else {
            unreachable!("the last chunk is an own one");
        };
        let before = bytes.len();
        if bytes.capacity() - before < length {
            let room = (2 * bytes.capacity()).min(CHUNK_BYTES).max(before + length);
            bytes.reserve_exact(room - before);
        }
        encode(bytes);
        let cost = bytes.len() - before + OUTBOX_MESSAGE_COST;
        *word += cost as u64;
        self.count(cost, cost);
        cost
    }

    fn push(&mut self, content: Encoded, word: u64) {
        let length = self.chunks.len();
        if length == self.chunks.capacity() {
            // A long list that doubled would hold up to as much again as the account says.
            self.chunks
                .reserve_exact((length / 8).max(length.clamp(4, 16)));
        }
        self.chunks.push_back(Chunk { content, word });
    }

    /// Takes what another outbox gave up by [`Outbox::flatten`], before anything else. Returns
    /// what it costs.
    pub fn push_moved(&mut self, unsent: Unsent) -> usize {
        let Unsent { bytes, begun } = unsent;
        let cost = bytes.len() + OUTBOX_MESSAGE_COST;
        let content = match begun {
            true => Encoded::Moved(bytes.into()),
            false => Encoded::Own(bytes),
        };
        self.push(content, cost as u64);
        self.count(cost, cost);
        cost
    }

    /// Appends one message shared with others, which holds [`SHARED_COST`] here; who shares it counts
    /// its bytes. A refresh of a group takes the place of an earlier one that still waits whole. Returns
    /// what that one frees.
    pub fn push_shared(&mut self, bytes: Rc<[u8]>, refresh: Option<u64>) -> usize {
        let cost = bytes.len() + OUTBOX_MESSAGE_COST;
        let earlier = refresh.and_then(|of| self.replaceable(of));
        let replaced = earlier.and_then(|at| self.chunks.remove(at));
        let freed = replaced.map_or(0, |chunk| self.release(chunk));
        match refresh {
            Some(of) => self.push(Encoded::Refresh(bytes), of),
            None => self.push(Encoded::Shared(bytes), 0),
        }
        self.count(cost, SHARED_COST);
        freed
    }

    /// Where a refresh of this group waits whole.
    fn replaceable(&self, of: u64) -> Option<usize> {
        let first_whole = usize::from(self.sent > 0);
        (first_whole..self.chunks.len())
            .find(|&at| matches!(&self.chunks[at], Chunk { content: Encoded::Refresh(_), word } if *word == of))
    }

    /// What a refresh of this group would free of what waits here.
    pub fn replaceable_bytes(&self, of: u64) -> usize {
        self.replaceable(of).map_or(0, |at| self.chunks[at].cost())
    }

    /// What waits, in pieces, from the first unwritten byte on.
    #[inline]
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.sent as usize;
        self.chunks.iter().map(move |chunk| {
            // The kernel has a part of the first one only.
            &chunk.bytes()[std::mem::take(&mut skip)..]
        })
    }

    /// The kernel has taken `written` more bytes. Returns what is freed by what has left whole.
    pub fn advance(&mut self, written: usize) -> usize {
        let mut off = Account::default();
        let mut sent = self.sent as usize + written;
        while let Some(first) = self.chunks.front() {
            let length = first.bytes().len();
            if sent < length {
                break;
            }
            sent -= length;
            if let Some(first) = self.chunks.pop_front() {
                first.release(&mut off);
            }
        }
        self.sent = sent as u32;
        let freed = self.discount(off);
        if self.chunks.is_empty() {
            debug_assert_eq!(self.sent, 0, "no more was written than waited");
            self.chunks = VecDeque::new();
        }
        freed
    }

    /// Drops what waits, except the rest of a unit that has begun to leave: a close frame can
    /// follow that, but not stand in its middle. Returns what is freed.
    pub fn truncate(&mut self) -> usize {
        let keep = usize::from(self.has_begun());
        let mut freed = 0;
        while self.chunks.len() > keep
            && let Some(chunk) = self.chunks.pop_back()
        {
            freed += self.release(chunk);
        }
        freed
    }

    /// Whether a part of the first unit has left, here or elsewhere.
    fn has_begun(&self) -> bool {
        let first = self.chunks.front().map(|chunk| &chunk.content);
        self.sent > 0 || matches!(first, Some(Encoded::Moved(_)))
    }

    /// Drops everything. Returns what is freed.
    pub fn clear(&mut self) -> usize {
        let mut off = Account::default();
        let all = std::mem::take(self);
        all.chunks
            .into_iter()
            .for_each(|chunk| chunk.release(&mut off));
        off.freed
    }

    /// Takes everything out as plain bytes, for the connection's move elsewhere, and says what is freed here.
    pub fn flatten(&mut self) -> (Unsent, usize) {
        let begun = self.has_begun();
        let length: usize = self.pieces().map(<[u8]>::len).sum();
        let mut bytes = Vec::with_capacity(length);
        let mut skip = self.sent as usize;
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.bytes()[skip..]);
            skip = 0;
        }
        (Unsent { bytes, begun }, self.clear())
    }

    /// What it holds of the core's memory, but for shared messages that were `seen` in other outboxes.
    #[cfg(test)]
    pub fn held(&self, seen: &mut std::collections::HashSet<*const u8>) -> usize {
        let held = self.chunks.iter().map(|chunk| match &chunk.content {
            Encoded::Own(_) | Encoded::Moved(_) => chunk.word as usize,
            Encoded::Shared(bytes) | Encoded::Refresh(bytes) => {
                SHARED_COST + usize::from(seen.insert(bytes.as_ptr())) * bytes.len()
            }
        });
        held.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(outbox: &Outbox) -> Vec<u8> {
        outbox.pieces().flatten().copied().collect()
    }

    fn own(outbox: &mut Outbox, bytes: &[u8]) -> usize {
        outbox.push_own(bytes.len(), |out| out.extend_from_slice(bytes))
    }

    #[test]
    fn partial_writes_keep_order_and_account() {
        let mut outbox = Outbox::default();
        own(&mut outbox, b"one");
        outbox.push_shared(Rc::from(&b"two"[..]), None);
        own(&mut outbox, b"three");
        assert_eq!(contents(&outbox), b"onetwothree");
        assert_eq!(outbox.bytes(), 11 + 3 * OUTBOX_MESSAGE_COST);
        assert_eq!(outbox.advance(4), 3 + OUTBOX_MESSAGE_COST);
        assert_eq!(contents(&outbox), b"wothree");
        outbox.advance(7);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn small_messages_share_a_chunk() {
        let mut outbox = Outbox::default();
        for _ in 0..100 {
            own(&mut outbox, b"0123456789");
        }
        assert_eq!(outbox.pieces().count(), 1);
    }

    #[test]
    fn a_refresh_replaces_one_that_waits_whole() {
        let mut outbox = Outbox::default();
        outbox.push_shared(Rc::from(&b"A"[..]), Some(1));
        own(&mut outbox, b"x");
        let freed = outbox.push_shared(Rc::from(&b"B"[..]), Some(1));
        assert_eq!(freed, 1 + OUTBOX_MESSAGE_COST);
        assert_eq!(contents(&outbox), b"xB");
        assert_eq!(outbox.bytes(), 2 + 2 * OUTBOX_MESSAGE_COST);
    }

    #[test]
    fn a_refresh_leaves_one_of_another_state() {
        let mut outbox = Outbox::default();
        outbox.push_shared(Rc::from(&b"A"[..]), Some(1));
        outbox.push_shared(Rc::from(&b"B"[..]), Some(2));
        assert_eq!(outbox.replaceable_bytes(1), 1 + OUTBOX_MESSAGE_COST);
        outbox.push_shared(Rc::from(&b"C"[..]), Some(1));
        assert_eq!(contents(&outbox), b"BC");
    }

    #[test]
    fn a_refresh_leaves_one_that_has_begun() {
        let mut outbox = Outbox::default();
        outbox.push_shared(Rc::from(&b"AAAA"[..]), Some(1));
        outbox.advance(1);
        outbox.push_shared(Rc::from(&b"B"[..]), Some(1));
        assert_eq!(contents(&outbox), b"AAAB");
    }

    #[test]
    fn a_refresh_leaves_one_of_another_group() {
        let mut outbox = Outbox::default();
        outbox.push_shared(Rc::from(&b"A"[..]), Some(1));
        outbox.push_shared(Rc::from(&b"B"[..]), Some(2));
        outbox.push_shared(Rc::from(&b"C"[..]), Some(1));
        assert_eq!(contents(&outbox), b"BC");
    }

    #[test]
    fn truncate_keeps_the_unit_in_flight() {
        let mut outbox = Outbox::default();
        outbox.push_shared(Rc::from(&b"head"[..]), None);
        outbox.push_shared(Rc::from(&b"tail"[..]), None);
        outbox.advance(1);
        outbox.truncate();
        assert_eq!(contents(&outbox), b"ead");
        assert_eq!(outbox.bytes(), 4 + OUTBOX_MESSAGE_COST);
        let mut untouched = Outbox::default();
        untouched.push_shared(Rc::from(&b"head"[..]), None);
        untouched.truncate();
        assert!(untouched.is_empty());
    }

    #[test]
    fn truncate_keeps_the_unit_that_another_core_began() {
        let mut there = Outbox::default();
        own(&mut there, b"head");
        there.advance(1);
        let mut here = Outbox::default();
        here.push_moved(there.flatten().0);
        own(&mut here, b"tail");
        here.truncate();
        assert_eq!(contents(&here), b"ead");
        assert_eq!(here.bytes(), 3 + OUTBOX_MESSAGE_COST);
    }

    #[test]
    fn what_has_not_begun_elsewhere_can_be_dropped() {
        let (mut there, mut here) = (Outbox::default(), Outbox::default());
        own(&mut there, b"head");
        here.push_moved(there.flatten().0);
        own(&mut here, b"tail");
        assert_eq!(contents(&here), b"headtail");
        here.truncate();
        assert!(here.is_empty());
        // One that has begun has so after another move, too.
        own(&mut there, b"head");
        there.advance(1);
        here.push_moved(there.flatten().0);
        there.push_moved(here.flatten().0);
        there.truncate();
        assert_eq!(contents(&there), b"ead");
    }

    #[test]
    fn flatten_takes_the_unwritten_bytes() {
        let mut outbox = Outbox::default();
        own(&mut outbox, b"abc");
        outbox.push_shared(Rc::from(&b"def"[..]), None);
        outbox.advance(2);
        let freed = 6 + 2 * OUTBOX_MESSAGE_COST;
        let bytes = b"cdef".to_vec();
        assert_eq!(outbox.flatten(), (Unsent { bytes, begun: true }, freed));
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }
}
