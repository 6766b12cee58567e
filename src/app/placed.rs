//! Messages that Redis has given their places, delivered from their streams' homes on this node.

use std::sync::Arc;

use super::abroad_streams::PlacedMessage;
use super::bulk::{ForAll, Spread, ToGroup};
use super::follow_step::FollowedStream;
use super::local::Local;
use super::outcome::Abroad;
use super::pending::Caller;
use crate::ident::{ConnId, NamespaceId, Reach};
use crate::payload::Payload;
use crate::shard::{Mark, Marked};
use crate::streams::{Address, Kind, Mirrored, Position, Wish};

impl Local {
    pub(super) fn answer_placed(&mut self, number: u64, reached: u32) {
        if number != 0 {
            self.answer_node(number, Abroad::to(reached));
        }
    }

    /// To all here who are in what the stream is of.
    pub(super) fn deliver_placed(&mut self, placed: PlacedMessage, position: Option<Position>) {
        let PlacedMessage {
            of:
                FollowedStream {
                    namespace,
                    kind,
                    name,
                },
            message: Mirrored { queue, payload, .. },
            refresh,
            except,
            number,
            ..
        } = placed;
        let mark = position.map(|position| Mark {
            position,
            kept: true,
            queued: queue,
        });
        let reach = Reach::of(namespace);
        let open = |local: &mut Local, parts| {
            let caller = Caller::Node(number);
            let is_asked = number != 0;
            is_asked.then(|| (local.core(), local.pending.open(caller, parts, None, false)))
        };
        match kind {
            Kind::Uid => {
                let reached = self.deliver_placed_to_uid(namespace, &name, mark, &payload);
                self.answer_placed(number, reached);
            }
            Kind::Group => {
                let asked = open(self, 1);
                let to_group = ToGroup {
                    reach,
                    refresh,
                    presence: false,
                    wish: Wish::Never,
                    mark,
                    except,
                    group: name,
                    payload,
                };
                self.spread_placed(ConnId::NOBODY, Arc::new(to_group), asked);
            }
            Kind::All => {
                let asked = open(self, self.outgoing.cores());
                let message = ForAll {
                    payload,
                    wish: Wish::Never,
                    except,
                };
                let spread = Spread {
                    reach,
                    message,
                    asked,
                };
                self.spread_placed_to_all(spread, mark);
            }
        }
    }

    fn deliver_placed_to_uid(
        &mut self,
        namespace: NamespaceId,
        uid: &str,
        mark: Option<Mark>,
        payload: &Payload,
    ) -> u32 {
        let marked = Marked {
            kind: Kind::Uid,
            name: uid,
            mark,
            payload,
        };
        let (store, now) = (&mut self.streams.store, self.now);
        let mut tops = |namespace, uid: &str| store.top(now, Address::uid(namespace, uid));
        let reached = self.shard.send_marked_to_uid(namespace, marked, &mut tops);
        if let Some(mark) = mark.filter(|mark| mark.queued && reached > 0) {
            self.take_as_delivered(namespace, uid, mark.position.offset);
        }
        let kept = mark.is_some();
        self.show_push_to_uid(
            Reach::of(namespace),
            uid,
            payload.message(),
            (reached, kept),
        );
        reached
    }
}
