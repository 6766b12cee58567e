//! Sending to a uid, to everybody, and from one of the app's values to another: delivered at once on the core that it is
//! for, posted to it otherwise.

use std::sync::Arc;

use super::addressed::Addressed;
use super::bulk::{ForAll, Spread, ToAll};
use super::effect::Effect;
use super::envelope::Body;
use super::local::Local;
use super::note::{AnyNote, To};
use super::order::Path;
use crate::bus::{RECEIVER_COST, Until};
use crate::ident::{ConnId, CoreId, EVERYBODY, Reach, check_uid};
use crate::payload::{Message, Payload};
use crate::protocol::cluster::{ExceptedNames, NodeOrder};
use crate::streams::{Kind, Wish};

impl Local {
    pub fn send_to_uid(
        &mut self,
        mut reach: Reach,
        payer: Option<ConnId>,
        uid: &str,
        message: Message<'_>,
        tell: bool,
    ) {
        if uid == EVERYBODY {
            return self.broadcast(reach, payer, message);
        }
        if check_uid(uid).is_err() {
            if tell && let Some(connection) = payer {
                self.tell_offline(connection, uid);
            }
            return;
        }
        let tell = payer.filter(|_| tell);
        if self.has_engine() {
            if let Some(connection) = tell {
                return self.send_in_cluster(reach, connection, uid, message);
            }
            let Some(rest) = self.keep_some(reach, payer, (Kind::Uid, uid), (message, false))
            else {
                return;
            };
            reach = rest;
            let order = NodeOrder::PushToUid {
                uid: Box::from(uid),
                payload: Payload::new(message),
            };
            self.send_abroad(payer, reach, order, None);
        }
        let home = self.outgoing.home(uid);
        if home != self.core() || self.outgoing.goes_by_mail(payer) {
            let body = Body::ToUid {
                reach,
                addressed: Addressed::new(uid, message, Wish::AsRuled),
                tell: tell.unwrap_or(ConnId::NOBODY),
            };
            self.outgoing.post(
                &mut self.shard.connections,
                home,
                payer,
                uid.len() + message.len(),
                body,
            );
        } else if self.send_to_own_uid(reach, uid, message) == 0
            && let Some(connection) = tell
        {
            self.tell_offline(connection, uid);
        }
    }

    /// Nobody was there for what another core's connection has sent; or this one's, which went by others.
    pub fn answer_offline(&mut self, from: CoreId, connection: ConnId, uid: &str) {
        if from == self.core() {
            return self.tell_offline(connection, uid);
        }
        let uid = Box::from(uid);
        self.outgoing
            .post_free(from, Body::Offline { connection, uid });
    }

    pub fn tell_offline(&mut self, connection: ConnId, uid: &str) {
        self.effects.push(Effect::Offline {
            connection,
            uid: Box::from(uid),
        });
    }

    pub fn broadcast(&mut self, mut reach: Reach, payer: Option<ConnId>, message: Message<'_>) {
        if self.has_engine() {
            let all = (Kind::All, EVERYBODY);
            let Some(rest) = self.keep_some(reach, payer, all, (message, false)) else {
                return;
            };
            reach = rest;
            let order = NodeOrder::PushToAll {
                except: ExceptedNames::default(),
                payload: Payload::new(message),
            };
            self.send_abroad(payer, reach, order, None);
        }
        if self.goes_by_home_of_all(Wish::AsRuled) {
            return self.spread_by_home(reach, payer, as_ruled(message), None);
        }
        let path = self.outgoing.path_of(payer);
        if !path.is_empty() {
            return self.spread_along(path, reach, payer, as_ruled(message), None);
        }
        let bulk = self.next_bulk();
        // It is copied for other cores only.
        if self.outgoing.cores() > 1 {
            let to_all = Arc::new(ToAll {
                bulk,
                reach,
                mark: None,
                except: None,
                payload: Payload::new(message),
            });
            let receivers = self.shard.everybody.count(reach);
            let by_mail = self.outgoing.goes_by_mail(payer).then(|| self.core());
            for core in self.other_cores().chain(by_mail) {
                let body = Body::ToEverybody(Arc::clone(&to_all));
                self.outgoing.post_bulk(
                    &mut self.shard.connections,
                    core,
                    payer,
                    message.len(),
                    receivers,
                    body,
                );
            }
            if by_mail.is_some() {
                return self.crossings.mailed_here(self.outgoing.bus());
            }
        }
        self.deliver_own(bulk, reach, message);
    }

    /// Has the last core of a path send it to everybody, this core's own included.
    pub fn spread_along(
        &mut self,
        mut path: Path,
        reach: Reach,
        payer: Option<ConnId>,
        message: ForAll,
        call: Option<u64>,
    ) {
        let payer = payer.unwrap_or(ConnId::NOBODY);
        let receivers = self.shard.everybody.count(reach) * self.outgoing.cores();
        let bytes = message.payload.message().len() + receivers * RECEIVER_COST;
        let asked = call.map(|call| (self.core(), call));
        let body = Body::Spread(Box::new(Spread {
            reach,
            message,
            asked,
        }));
        let Some(by) = path.pop() else { return };
        if path.is_empty() {
            self.outgoing.post_until(
                &mut self.shard.connections,
                by,
                Some(payer),
                bytes,
                Until::Relayed,
                body,
            );
            self.outgoing.went(Some(payer), by);
        } else {
            let mut all = path.clone();
            all.push(by);
            let cost = (Some(payer), bytes, true);
            self.outgoing.post_along(
                &mut self.shard.connections,
                Some(payer),
                path,
                by,
                cost,
                body,
            );
            self.outgoing.went_along(Some(payer), &all);
        }
    }

    /// Sends a note to the app's value on one core or all, behind all that this core has sent.
    pub fn tell(&mut self, app: u8, payer: Option<ConnId>, to: To, make: impl Fn() -> AnyNote) {
        let cores = match to {
            To::Core(core) => usize::from(core.0)..usize::from(core.0) + 1,
            To::All => 0..self.outgoing.cores(),
        };
        for core in cores.start..cores.end.min(self.outgoing.cores()) {
            let core = CoreId(core as u16);
            let connections = &mut self.shard.connections;
            let own = self
                .outgoing
                .post_note(connections, core, payer, (app, make()));
            if let Some(note) = own {
                let from = core;
                self.effects.push(Effect::Note { app, from, note });
            }
        }
    }
}

/// What an app says to everybody.
fn as_ruled(message: Message<'_>) -> ForAll {
    ForAll {
        payload: Payload::new(message),
        wish: Wish::AsRuled,
        except: None,
    }
}
