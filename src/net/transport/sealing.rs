//! What leaves connections that speak TLS: what waits is sealed before the round's writes, and what the kernel has not taken
//! of it is kept.
//!
//! What is sealed is off the outbox, but for its last byte while the kernel has not taken all: so the outbox of one whose
//! kernel takes no more is not empty, and what stands in it first has begun to leave. Bound: a record a write.

use super::Transport;
use super::writes::SealedWrite;
use crate::net::wire::Written;
use crate::shard::{Phase, Shard};

/// Memory for sealed bytes that is kept from round to round.
const SEALED_KEPT: usize = 256 << 10;

impl Transport {
    /// Seals what waits for the connections listed that speak TLS.
    pub(super) fn seal(&mut self, shard: &Shard) {
        let writes = &mut self.writes;
        for &id in &writes.connections {
            let Some(link) = self.links.get_mut(id) else {
                continue;
            };
            let ends = shard.connections.phase(id) == Phase::Closing && !link.awaits_close();
            let Some(tls) = &mut link.progress.tls else {
                continue;
            };
            let from = writes.sealed.len();
            let pieces = shard.connections.pieces(id);
            let sealed = tls.seal(pieces, ends, &mut writes.sealed);
            writes.sealed_writes.push(SealedWrite {
                id,
                from,
                to: writes.sealed.len(),
                plain: sealed.unwrap_or_default(),
                is_last: ends && tls.has_said_last(),
                is_worn_out: sealed.is_err(),
                waits: tls.is_shaking_hands() && from == writes.sealed.len(),
            });
        }
    }

    /// Has the results say what they mean for the outboxes.
    pub(super) fn keep_unsent(&mut self) {
        let writes = &mut self.writes;
        let mut results = writes.results.iter_mut();
        for sealed in writes.sealed_writes.drain(..) {
            let Some((_, result)) = results.find(|(id, _)| *id == sealed.id) else {
                break;
            };
            let taken = match *result {
                Written::Bytes(taken) => taken,
                Written::Blocked => 0,
                Written::Broken => continue,
            };
            if sealed.is_worn_out {
                *result = Written::Broken;
                continue;
            }
            if sealed.waits {
                *result = Written::Blocked;
                continue;
            }
            let rest = &writes.sealed[sealed.from + taken..sealed.to];
            if rest.is_empty() {
                *result = Written::Bytes(sealed.plain);
                continue;
            }
            if let Some(link) = self.links.get_mut(sealed.id)
                && let Some(tls) = &mut link.progress.tls
            {
                tls.keep_unsent(rest, sealed.plain > 0);
            }
            if *result != Written::Blocked || sealed.plain > 1 {
                *result = Written::Bytes(sealed.plain.saturating_sub(1));
            }
        }
        writes.sealed.clear();
        writes.sealed.shrink_to(SEALED_KEPT);
    }
}
