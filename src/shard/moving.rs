//! What a shard gives up of a connection that moves to another core, and takes of one that comes from there.
//!
//! Called by the host, with the connection's session and the transport's part.

use super::slot::{Binding, Memberships, Passage, Phase};
use super::{ConnId, Dirty, Shard};

impl Shard {
    /// Takes an open connection out for its move to its uid's home core. Its session is taken from
    /// the app by the caller.
    pub fn depart(&mut self, id: ConnId, uid: Box<str>) -> Option<Passage> {
        self.get(id)?;
        let proof = self.take_proof(id);
        let entered = self.entered(id);
        let slot = self.get_mut(id)?;
        assert_eq!(slot.phase, Phase::Open, "only an open connection moves");
        let late = match slot.blocked {
            true => 0,
            false => slot.outbox.bytes(),
        };
        let (unsent, freed) = slot.outbox.flatten();
        let passage = Passage {
            listener: slot.listener,
            peer: slot.peer,
            accepted: 0,
            window: slot.window,
            entered,
            uid,
            groups: slot
                .groups
                .take()
                .map_or_else(Vec::new, |groups| groups.asked),
            unsent,
            proof,
        };
        self.outbox_bytes -= freed;
        self.backlog.settled(late);
        let accepted = self.accepted(id);
        self.release(id, passage.listener);
        Some(Passage {
            accepted,
            ..passage
        })
    }

    /// Puts a connection that has come from another core into a slot. It is to be bound next.
    pub fn arrive(&mut self, passage: &mut Passage, session: u32) -> ConnId {
        let id = self.take_slot(passage.listener, passage.peer, passage.accepted);
        self.stats.moved_in += 1;
        self.hold(id, passage.proof.take());
        self.set_entered(id, passage.entered);
        let groups = std::mem::take(&mut passage.groups);
        let unsent = std::mem::take(&mut passage.unsent);
        let mut cost = 0;
        let slot = &mut self.slots[id.slot];
        slot.phase = Phase::Open;
        slot.session = session;
        slot.window = passage.window;
        slot.binding = Binding::Asked;
        if !groups.is_empty() {
            slot.groups = Some(Box::new(Memberships {
                joined: Vec::new(),
                asked: groups,
            }));
        }
        if !unsent.is_empty() {
            cost = slot.outbox.push_moved(unsent);
            self.mark_dirty(id, Dirty::Urgent);
        }
        self.outbox_bytes += cost;
        self.backlog.queued(cost);
        self.schedule(id);
        id
    }
}
