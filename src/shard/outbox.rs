//! What waits to be written to one connection, in order, and what it counts against the limits.
//!
//! Bound: the owner asks [`Outbox::bytes`] before it adds; an empty outbox owns no heap memory.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use crate::config::OUTBOX_MESSAGE_COST;

/// An own chunk takes further small messages up to this size, so that a burst to one connection is
/// one slice of one write.
const CHUNK_BYTES: usize = 16 << 10;

enum Content {
    /// Encoded for this connection alone.
    Own(Vec<u8>),
    /// What waited when the connection moved here. The other core may have sent a part of its first
    /// unit, so it stays whole.
    Moved(Vec<u8>),
    /// Encoded once for all connections of this core that get it.
    Shared(Rc<[u8]>),
    /// The same, and a newer one of the same state takes its place while it waits whole.
    Refresh(Rc<[u8]>, u64),
}

struct Chunk {
    content: Content,
    /// What leaves the outbox's account when the chunk has been written.
    cost: usize,
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Own(bytes) | Content::Moved(bytes) => bytes,
            Content::Shared(bytes) | Content::Refresh(bytes, _) => bytes,
        }
    }
}

#[derive(Default)]
pub struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that the kernel has.
    sent: usize,
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

    /// Appends one message of this connection's own; `encode` appends its encoding to what it gets.
    /// Returns what it costs.
    pub fn push_own(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> usize {
        let open = matches!(
            self.chunks.back(),
            Some(Chunk { content: Content::Own(bytes), .. }) if bytes.len() < CHUNK_BYTES
        );
        if !open {
            self.chunks.push_back(Chunk {
                content: Content::Own(Vec::new()),
                cost: 0,
            });
        }
        let Some(chunk) = self.chunks.back_mut() else {
            unreachable!("a chunk was pushed above");
        };
        let Content::Own(bytes) = &mut chunk.content else {
            unreachable!("the last chunk is an own one");
        };
        let before = bytes.len();
        encode(bytes);
        let cost = bytes.len() - before + OUTBOX_MESSAGE_COST;
        chunk.cost += cost;
        self.bytes += cost;
        cost
    }

    /// Takes what another core's outbox gave up by [`Outbox::flatten`], before anything else. Returns
    /// what it costs.
    pub fn push_moved(&mut self, bytes: Vec<u8>) -> usize {
        let cost = bytes.len() + OUTBOX_MESSAGE_COST;
        self.chunks.push_back(Chunk {
            content: Content::Moved(bytes),
            cost,
        });
        self.bytes += cost;
        cost
    }

    /// Appends one message shared with others. A refresh (of a state, by its hash) takes the place of an
    /// earlier one that still waits whole. Returns what it costs, and what the replaced one had cost.
    pub fn push_shared(&mut self, bytes: Rc<[u8]>, refresh: Option<u64>) -> (usize, usize) {
        let cost = bytes.len() + OUTBOX_MESSAGE_COST;
        let earlier = refresh.and_then(|of| self.replaceable(of));
        let replaced = earlier.and_then(|at| self.chunks.remove(at));
        let freed = replaced.map_or(0, |chunk| chunk.cost);
        self.chunks.push_back(Chunk {
            content: match refresh {
                Some(of) => Content::Refresh(bytes, of),
                None => Content::Shared(bytes),
            },
            cost,
        });
        self.bytes = self.bytes + cost - freed;
        (cost, freed)
    }

    /// Where a refresh of this state waits whole.
    fn replaceable(&self, of: u64) -> Option<usize> {
        let first_whole = usize::from(self.sent > 0);
        (first_whole..self.chunks.len())
            .find(|&at| matches!(self.chunks[at].content, Content::Refresh(_, own) if own == of))
    }

    /// What a refresh of this state would free.
    pub fn replaceable_bytes(&self, of: u64) -> usize {
        self.replaceable(of).map_or(0, |at| self.chunks[at].cost)
    }

    /// Fills `slices` with what waits, from the first unwritten byte on, as far as there is room.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            let skip = if filled == 0 { self.sent } else { 0 };
            *slice = IoSlice::new(&chunk.bytes()[skip..]);
            filled += 1;
        }
        filled
    }

    /// The kernel has taken `written` more bytes. Returns the cost of what has left whole.
    pub fn advance(&mut self, written: usize) -> usize {
        let mut freed = 0;
        self.sent += written;
        while let Some(first) = self.chunks.front() {
            let length = first.bytes().len();
            if self.sent < length {
                break;
            }
            self.sent -= length;
            freed += first.cost;
            self.chunks.pop_front();
        }
        self.bytes -= freed;
        if self.chunks.is_empty() {
            debug_assert_eq!(self.sent, 0, "no more was written than waited");
            self.chunks = VecDeque::new();
        }
        freed
    }

    /// Drops what waits, except the rest of a unit that has begun to leave: a close frame can
    /// follow that, but not stand in its middle. Returns the cost of what was dropped.
    pub fn truncate(&mut self) -> usize {
        let moved = matches!(
            self.chunks.front(),
            Some(Chunk {
                content: Content::Moved(_),
                ..
            })
        );
        let keep = usize::from(self.sent > 0 || moved);
        let freed = self.chunks.iter().skip(keep).map(|chunk| chunk.cost).sum();
        self.chunks.truncate(keep);
        self.bytes -= freed;
        freed
    }

    /// Takes everything out as plain bytes, for the connection's move to another core.
    pub fn flatten(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut skip = std::mem::take(&mut self.sent);
        for chunk in self.chunks.drain(..) {
            all.extend_from_slice(&chunk.bytes()[skip..]);
            skip = 0;
        }
        self.bytes = 0;
        self.chunks = VecDeque::new();
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = outbox.gather(&mut slices);
        slices[..count]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    fn own(outbox: &mut Outbox, bytes: &[u8]) -> usize {
        outbox.push_own(|out| out.extend_from_slice(bytes))
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
        let mut slices = [IoSlice::new(&[]); 4];
        assert_eq!(outbox.gather(&mut slices), 1);
    }

    #[test]
    fn a_refresh_replaces_one_that_waits_whole() {
        let mut outbox = Outbox::default();
        outbox.push_shared(Rc::from(&b"A"[..]), Some(1));
        own(&mut outbox, b"x");
        let (_, freed) = outbox.push_shared(Rc::from(&b"B"[..]), Some(1));
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
        here.push_moved(there.flatten());
        own(&mut here, b"tail");
        here.truncate();
        assert_eq!(contents(&here), b"ead");
        assert_eq!(here.bytes(), 3 + OUTBOX_MESSAGE_COST);
    }

    #[test]
    fn flatten_takes_the_unwritten_bytes() {
        let mut outbox = Outbox::default();
        own(&mut outbox, b"abc");
        outbox.push_shared(Rc::from(&b"def"[..]), None);
        outbox.advance(2);
        assert_eq!(outbox.flatten(), b"cdef");
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }
}
