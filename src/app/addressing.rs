//! What is for one connection by its name, wherever it is: a push, a kick, a bind, a look at it.
//!
//! A name's *keeper* is the core whose number it has (`ConnName::keeper`). Most connections are there, and nothing is
//! remembered of them. Of one that has moved the keeper knows where it is ([`Whereabouts`]), and sends on what comes for it.
//!
//! One that moves off the keeper takes its way behind all that was sent to it there, and what comes later follows it. One
//! that moves between two others leaves word of that where it was, and the keeper is told by the core that it comes to. The
//! keeper then sends a *look* after it, from one place to the next, behind all that it has sent there; until that is
//! answered it holds what comes for the connection. So nothing is lost to one that moves, and of what is said to it by its
//! name nothing overtakes what was said before. What its sender says to its uid, a group or all behind that may overtake it
//! where it has moved on from the keeper, as messages to two groups may. The look takes the words along that were left on its way.
//!
//! [`Whereabouts`]: super::whereabouts::Whereabouts

use super::abroad::last_words;
use super::calls::farewell_bytes;
use super::envelope::{AnswerPart, Body, found};
use super::local::Local;
use super::pending::Caller;
use super::query::ConnectionAnswer;
use super::to_connection::{NameStep, Order, ToConnection};
use super::whereabouts::ENDED;
use crate::bus::Until;
use crate::ident::{ConnId, ConnName, CoreId, Reach, Ticket};
use crate::payload::{Message, Payload};
use crate::protocol::cluster::NodeOrder;
use crate::shard::{Farewell, KeptName, Mark, Marked, Phase};
use crate::streams::{Address, Kind};

/// On whose account something goes on from a keeper.
enum OnwardAccount {
    /// A connection's of this core, for so many bytes.
    Own(ConnId, usize),
    /// That of who sent it here.
    Relayed,
    /// It has been paid for.
    Free,
}

/// What other nodes are to do with a connection of a name, if that is not to be done here alone.
fn order_abroad(name: ConnName, order: &Order) -> Option<NodeOrder> {
    match order {
        Order::Push(payload) => Some(NodeOrder::PushToConnection {
            name,
            payload: payload.clone(),
        }),
        Order::Kick(_, last) => Some(NodeOrder::KickConnection {
            name,
            last: last_words(last.as_deref()),
        }),
        _ => None,
    }
}

impl Local {
    /// Pushes to one connection.
    pub fn push_to_connection(
        &mut self,
        reach: Reach,
        caller: Caller,
        name: ConnName,
        message: Message<'_>,
    ) -> Ticket {
        let order = Order::Push(Payload::new(message));
        self.order(reach, caller, name, order, message.len())
    }

    /// Closes one connection.
    pub fn kick_connection(
        &mut self,
        reach: Reach,
        caller: Caller,
        name: ConnName,
        last: Option<Box<Farewell>>,
    ) -> Ticket {
        let by = self.named(&caller);
        let bytes = farewell_bytes(last.as_deref());
        self.order(reach, caller, name, Order::Kick(by, last), bytes)
    }

    /// Has something done with a connection, wherever it is.
    pub(super) fn order(
        &mut self,
        reach: Reach,
        caller: Caller,
        name: ConnName,
        order: Order,
        bytes: usize,
    ) -> Ticket {
        let payer = caller.payer();
        let is_push = matches!(order, Order::Push(_)) && !matches!(caller, Caller::Node(_));
        let is_own = self.shard.connections.is_of_this_node(name);
        let abroad = match !is_own && self.goes_abroad(&caller) {
            true => order_abroad(name, &order),
            false => None,
        };
        let call = self.open(caller, 1 + usize::from(abroad.is_some()), is_push);
        if let Some(order) = abroad {
            self.send_abroad(payer, reach, order, Some(call));
        }
        let to = ToConnection {
            name,
            moves: None,
            reach,
            order,
            asked: Some((self.core(), call)),
        };
        self.send_to_keeper(payer.unwrap_or(ConnId::NOBODY), to, bytes);
        Ticket(call)
    }

    fn send_to_keeper(&mut self, payer: ConnId, to: ToConnection, bytes: usize) {
        let keeper = self.keeper(to.name);
        let sender = Some(payer);
        if keeper == self.core() && !self.outgoing.goes_by_mail(sender) {
            return self.address(to, OnwardAccount::Own(payer, bytes));
        }
        let body = Body::ToConnection(Box::new(to));
        let connections = &mut self.shard.connections;
        self.outgoing.post(connections, keeper, sender, bytes, body);
    }

    /// Something has come from another core for a connection, or by this one's mailbox.
    pub(super) fn take_for_connection(&mut self, to: ToConnection) {
        let Some(moves) = to.moves else {
            return self.address(to, OnwardAccount::Relayed);
        };
        if let Some(core) = self.whereabouts.gone(to.name, moves) {
            return self.send_on(core, moves + 1, to, OnwardAccount::Relayed);
        }
        let found = self.shard.connections.named(to.name);
        let here = found.filter(|(_, had)| *had == moves);
        self.carry_out(here.map(|(id, _)| id), to);
    }

    /// At its keeper: to where it is.
    fn address(&mut self, to: ToConnection, account: OnwardAccount) {
        match self.whereabouts.known(to.name) {
            Some(known) => match &mut known.held {
                Some(held) => held.push(to),
                None => {
                    let (core, moves) = (known.core, known.moves);
                    self.send_on(core, moves, to, account);
                }
            },
            None => {
                let here = self.shard.connections.named(to.name);
                self.carry_out(here.map(|(id, _)| id), to);
            }
        }
    }

    fn send_on(&mut self, core: CoreId, moves: u32, mut to: ToConnection, account: OnwardAccount) {
        to.moves = Some(moves);
        let body = Body::ToConnection(Box::new(to));
        match account {
            OnwardAccount::Own(payer, bytes) => self.outgoing.post_until(
                &mut self.shard.connections,
                core,
                Some(payer),
                bytes,
                Until::Taken,
                body,
            ),
            OnwardAccount::Relayed => self.outgoing.relay(core, Until::Taken, body),
            OnwardAccount::Free => self.outgoing.post_free(core, body),
        }
    }

    /// Does with a connection what is to be done, if it is here and within reach, and answers.
    fn carry_out(&mut self, here: Option<ConnId>, to: ToConnection) {
        let connections = &self.shard.connections;
        let here = here.filter(|id| {
            let mut within = to.reach.namespaces();
            connections.is_live(*id) && within.any(|one| one == connections.namespace_of(*id))
        });
        let part = match to.order {
            Order::Look => found(
                here.map(|id| self.shard.connection_info(id))
                    .map_or(ConnectionAnswer::None, |info| {
                        ConnectionAnswer::Is(Box::new(info))
                    }),
            ),
            Order::SetAttributes(text, merges) => found(self.set_attributes(here, &text, merges)),
            Order::Bind(uid) => match self.bind_for(here, uid, to.asked) {
                Some(answer) => found(answer),
                // It is answered when it is bound, or not.
                None => return,
            },
            Order::Unbind => found(match here {
                None => ConnectionAnswer::None,
                Some(id) => {
                    self.shard.unbind(id);
                    ConnectionAnswer::Unbound
                }
            }),
            Order::Push(payload) => {
                let reached = here.is_some_and(|id| self.deliver_to_connection(id, &payload));
                AnswerPart::Reached(u32::from(reached))
            }
            Order::Kick(by, last) => {
                if let Some(id) = here {
                    self.shard.kick_one(id, by, last.as_deref());
                }
                AnswerPart::Reached(u32::from(here.is_some()))
            }
        };
        self.answer_part(to.asked, part);
    }

    fn set_attributes(
        &mut self,
        here: Option<ConnId>,
        text: &str,
        merges: bool,
    ) -> ConnectionAnswer {
        let Some(id) = here else {
            return ConnectionAnswer::None;
        };
        match self.shard.set_attributes(id, text, merges) {
            Ok(()) => ConnectionAnswer::Attributes(self.shard.attributes(id).cloned()),
            Err(error) => ConnectionAnswer::Flawed(error),
        }
    }

    /// Into a connection's outbox, behind what it is read on for.
    fn deliver_to_connection(&mut self, id: ConnId, payload: &Payload) -> bool {
        let shard = &mut self.shard;
        if !shard.followers.is_behind(id.slot) || shard.connections.phase(id) != Phase::Home {
            return shard.send(id, payload.message());
        }
        let namespace = shard.connections.namespace_of(id);
        let uid: Box<str> = Box::from(shard.connections.uid(id).unwrap_or_default());
        let (store, now) = (&mut self.streams.store, self.now);
        let position = store.top(now, Address::uid(namespace, &uid));
        let marked = Marked {
            kind: Kind::Uid,
            name: &uid,
            mark: (position.offset > 0).then_some(Mark {
                position,
                kept: false,
                queued: false,
            }),
            payload,
        };
        let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
        shard.send_marked(id, marked, &mut tops)
    }
}

/// Keeping track of those that move.
impl Local {
    /// The core that knows where a connection of this name is.
    fn keeper(&self, name: ConnName) -> CoreId {
        self.outgoing.bus().keeper(name.core)
    }

    /// A connection that keeps its name leaves for a core, moving for the so manieth time.
    pub(super) fn name_goes(&mut self, kept: KeptName, to: CoreId) {
        let KeptName { name, moves } = kept;
        let is_keeper = self.keeper(name) == self.core();
        match self.whereabouts.known(name) {
            None if is_keeper => self.whereabouts.know(name, to, moves),
            None => self.whereabouts.go(name, moves - 1, to),
            // It was looked for while it was here, and is to be once more.
            Some(_) => {
                self.whereabouts.go(name, moves - 1, to);
                self.look_anew(name, moves);
            }
        }
    }

    /// One has come that keeps its name; from that core, unless it is from another process.
    pub(super) fn name_comes(&mut self, from: Option<CoreId>, kept: KeptName) {
        let KeptName { name, moves } = kept;
        let keeper = self.keeper(name);
        if from == Some(keeper) {
            // It knows.
            return;
        }
        self.tell_keeper(keeper, name, NameStep::Came { moves });
    }

    /// Tells the keepers of those that have ended here.
    #[inline]
    pub fn post_ended_names(&mut self) {
        while let Some(KeptName { name, .. }) = self.shard.connections.names.next_ended() {
            let keeper = self.keeper(name);
            self.tell_keeper(keeper, name, NameStep::Ended);
        }
    }

    fn tell_keeper(&mut self, keeper: CoreId, name: ConnName, step: NameStep) {
        match keeper == self.core() {
            true => self.take_name_step(keeper, name, &step),
            false => self.post_name_step(keeper, name, step),
        }
    }

    fn post_name_step(&mut self, to: CoreId, name: ConnName, step: NameStep) {
        let body = Body::Name(Box::new((name, step)));
        self.outgoing.post_free(to, body);
    }

    pub(super) fn take_name_step(&mut self, from: CoreId, name: ConnName, step: &NameStep) {
        match *step {
            NameStep::Came { moves } => {
                let is_new = self.whereabouts.known(name).is_none();
                // Here from another process, it is found by itself.
                if is_new && from != self.core() {
                    return self.whereabouts.know(name, from, moves);
                }
                self.look_anew(name, moves);
            }
            NameStep::Ended => self.look_anew(name, ENDED),
            NameStep::Look { moves } => self.look(name, moves),
            NameStep::Found { moves } => self.found_at(from, name, moves),
        }
    }

    /// At its keeper: it is not where it was. It is looked for, if it is not yet.
    fn look_anew(&mut self, name: ConnName, heard: u32) {
        let Some(known) = self.whereabouts.known(name) else {
            return;
        };
        known.heard = known.heard.max(heard);
        if known.held.is_none() {
            known.held = Some(Vec::new());
            let (core, moves) = (known.core, known.moves);
            self.post_name_step(core, name, NameStep::Look { moves });
        }
    }

    /// It was here, having moved so often.
    fn look(&mut self, name: ConnName, moves: u32) {
        if let Some(core) = self.whereabouts.forget_gone(name, moves) {
            let moves = moves + 1;
            return self.post_name_step(core, name, NameStep::Look { moves });
        }
        let here = self.shard.connections.named(name);
        let moves = here.map(|(_, had)| had).filter(|had| *had == moves);
        let keeper = self.keeper(name);
        self.tell_keeper(keeper, name, NameStep::Found { moves });
    }

    /// At its keeper: what has come of a look.
    fn found_at(&mut self, core: CoreId, name: ConnName, moves: Option<u32>) {
        let own = self.core();
        let Some(known) = self.whereabouts.known(name) else {
            return;
        };
        let held = match moves {
            Some(moves) if core != own && known.heard > moves => {
                (known.core, known.moves) = (core, moves);
                return self.post_name_step(core, name, NameStep::Look { moves });
            }
            Some(moves) if core != own => {
                (known.core, known.moves) = (core, moves);
                known.held.take()
            }
            _ => {
                let held = known.held.take();
                self.whereabouts.know_no_more(name);
                held
            }
        };
        for to in held.into_iter().flatten() {
            self.address(to, OnwardAccount::Free);
        }
    }
}
