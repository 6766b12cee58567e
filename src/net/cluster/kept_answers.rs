//! What Redis answers about streams, and what of them is published, for the cores ([`Party`]).

use std::time::{Duration, Instant};

use tracing::warn;

use super::keeper::{Purpose, WaitingRead, answer_forget, answer_kept, home_of, tell};
use super::keeping::READ_PAUSE;
use super::party::Party;
use super::scripts::ScriptValue;
use super::sticky_reads::StickyPurpose;
use crate::app::abroad::exceptions;
use crate::app::abroad_streams::{PlacedMessage, StreamNews, StreamPage};
use crate::app::envelope::Body;
use crate::app::follow_step::FollowedStream;
use crate::app::outcome::Unknown;
use crate::bus::Endpoint;
use crate::ident::NamespaceId;
use crate::protocol::cluster::{NodeAnswer, NodeOrder, OrderHead};
use crate::protocol::kept_record::KeptRecord;
use crate::streams::{Kind, Mirrored, Position};

impl Party {
    /// A script was run.
    pub(super) fn ran(
        &mut self,
        bus: &mut Endpoint<Body>,
        what: &Purpose,
        value: &ScriptValue,
        now: Instant,
    ) {
        match what {
            Purpose::Keep(number) => self.kept(bus, *number, value),
            Purpose::Read(read) => match page_of(value) {
                Some(page) => {
                    let messages = page.messages.iter();
                    let bytes = messages.map(|(_, one)| one.payload.message().len()).sum();
                    let page = Some(Box::new(page));
                    tell(
                        bus,
                        read.core,
                        bytes,
                        StreamNews::Page(read.of.clone(), page),
                    );
                }
                None => self.put_off_read(read.clone(), now),
            },
            Purpose::Compare(core, of, position) => {
                if let Some(page) = page_of(value) {
                    let (epoch, offset) = (page.epoch, page.top);
                    let there = Position { epoch, offset };
                    if there != *position {
                        tell(bus, *core, 0, StreamNews::Compared(of.clone(), there));
                    }
                    if page.floor > 0 {
                        let upto = Position {
                            epoch,
                            offset: page.floor,
                        };
                        let of = of.clone();
                        tell(bus, *core, 0, StreamNews::Forgotten { of, upto });
                    }
                }
            }
            Purpose::Forget(number) => {
                let count = value.number().and_then(|count| u32::try_from(count).ok());
                self.forgotten(bus, *number, count);
            }
            Purpose::Claim(claim) => self.claimed(bus, claim, value, now),
            Purpose::Handled(core, at) => Party::tell_handled(bus, *core, at, Some(value)),
            Purpose::Sticky(what) => self.sticky_done(bus, what, Some(value)),
            Purpose::Settle(_) | Purpose::Delivered => {}
        }
    }

    /// Redis has refused a script, or nobody knows whether it was run.
    pub(super) fn ran_not(
        &mut self,
        bus: &mut Endpoint<Body>,
        what: &Purpose,
        why: Unknown,
        now: Instant,
    ) {
        match what {
            Purpose::Keep(number) => self.end_kept(bus, *number, why),
            Purpose::Read(read) => self.put_off_read(read.clone(), now),
            Purpose::Forget(number) => self.forgotten(bus, *number, None),
            Purpose::Claim(claim) => self.claim_unknown(bus, claim),
            Purpose::Handled(core, at) => Party::tell_handled(bus, *core, at, None),
            // It is asked again when Redis is back.
            Purpose::Sticky(StickyPurpose::Mark) if why.is_away() => {}
            Purpose::Sticky(what) => self.sticky_done(bus, what, None),
            Purpose::Settle(settled) if why.is_away() => self.settle_again((**settled).clone()),
            Purpose::Settle(_) | Purpose::Compare(..) | Purpose::Delivered => {}
        }
    }

    fn put_off_read(&mut self, read: WaitingRead, now: Instant) {
        self.keeper.put_off.push_back((now + READ_PAUSE, read));
    }

    fn kept(&mut self, bus: &mut Endpoint<Body>, number: u64, value: &ScriptValue) {
        let Some(asked) = self.keeper.asked.get_mut(&number) else {
            return;
        };
        let list = value.list().unwrap_or_default();
        asked.position = list.first().and_then(|it| it.text()?.parse().ok());
        let nodes = list.get(1).and_then(ScriptValue::number).unwrap_or(0);
        asked.nodes = Some(u32::try_from(nodes).unwrap_or(0));
        self.end_kept_if_answered(bus, number);
    }

    /// A node has said whom a kept message has reached there.
    pub(super) fn answered_kept(
        &mut self,
        bus: &mut Endpoint<Body>,
        number: u64,
        answer: &NodeAnswer,
    ) {
        if let Some(asked) = self.keeper.asked.get_mut(&number) {
            asked.answered += 1;
            match answer {
                NodeAnswer::Reached(reached) => {
                    asked.reached = asked.reached.saturating_add(*reached);
                }
                NodeAnswer::Unread => asked.unknown.add(Unknown::nodes_silent(1)),
                _ => {}
            }
            self.end_kept_if_answered(bus, number);
        }
    }

    fn end_kept_if_answered(&mut self, bus: &mut Endpoint<Body>, number: u64) {
        let asked = self.keeper.asked.get(&number);
        if asked.is_some_and(|asked| asked.nodes.is_some_and(|nodes| asked.answered >= nodes)) {
            self.end_kept(bus, number, Unknown::default());
        }
    }

    pub(super) fn end_kept(&mut self, bus: &mut Endpoint<Body>, number: u64, silent: Unknown) {
        let Some(mut asked) = self.keeper.asked.remove(&number) else {
            return;
        };
        asked.unknown.add(silent);
        // Where Redis has not said that it has it, nobody is told that it has come.
        let reached = asked.position.map_or(0, |_| asked.reached);
        let waits = asked.queue && reached == 0;
        let to = (asked.core, asked.call);
        answer_kept(bus, to, reached, asked.unknown, asked.position, waits);
    }

    fn forgotten(&mut self, bus: &mut Endpoint<Body>, number: u64, count: Option<u32>) {
        let Some(asked) = self.keeper.forgets.get_mut(&number) else {
            return;
        };
        asked.left -= 1;
        asked.count += count.unwrap_or(0);
        asked.failed |= count.is_none();
        if asked.left == 0
            && let Some(asked) = self.keeper.forgets.remove(&number)
        {
            answer_forget(
                bus,
                asked.asked_by,
                Some(asked.count).filter(|_| !asked.failed),
            );
        }
    }

    /// A message of a stream has come, with the position that Redis has written before it.
    pub(super) fn arrived_placed(
        &mut self,
        bus: &mut Endpoint<Body>,
        position: &str,
        (head, order): (OrderHead, NodeOrder),
    ) {
        let reach = self.spaces.reach(&head.namespaces);
        let namespace = reach.and_then(|reach| reach.namespaces().next());
        let (Ok(position), Some(namespace)) = (position.parse(), namespace) else {
            return self.answer_node_or_self(
                bus,
                (head.origin, head.number),
                NodeAnswer::Reached(0),
            );
        };
        if self.is_behind(bus) {
            return;
        }
        match order {
            NodeOrder::Kept {
                kind,
                name,
                refresh,
                except,
                record,
            } => {
                let number = self.number_of_order((head.origin, head.number));
                let placed = PlacedMessage {
                    of: stream(namespace, kind, name),
                    position: Some(position),
                    message: Mirrored {
                        left: Some(Duration::from_millis(record.millis)),
                        queue: record.queue,
                        payload: record.payload,
                    },
                    refresh,
                    except: exceptions(except),
                    number,
                };
                self.post_placed(bus, placed);
            }
            NodeOrder::Forgotten { kind, name } => {
                let of = stream(namespace, kind, name);
                let home = home_of(bus, &of);
                let upto = position;
                tell(bus, home, 0, StreamNews::Forgotten { of, upto });
            }
            _ => {
                if let Some(unsaid) = self.strange.may_log(Instant::now()) {
                    warn!(unsaid, "cluster: a message with a place that has none");
                }
            }
        }
    }
}

fn stream(namespace: NamespaceId, kind: Kind, name: Box<str>) -> FollowedStream {
    FollowedStream {
        namespace,
        kind,
        name,
    }
}

/// A piece of a stream as Redis answers it. It may be anything.
fn page_of(value: &ScriptValue) -> Option<StreamPage> {
    let [epoch, top, floor, delivered, born, found] = value.list()? else {
        return None;
    };
    let epoch: Position = format!("{}:0", epoch.text()?).parse().ok()?;
    let number = |value: &ScriptValue| value.text()?.parse::<u64>().ok();
    let mut messages = Vec::new();
    for entry in found.list()?.chunks_exact(3) {
        let left = entry[1].text()?.parse::<i64>().ok()?;
        let left = u64::try_from(left).ok().filter(|left| *left > 0);
        let record = match left {
            Some(_) => KeptRecord::decode(entry[2].bytes()?)?,
            None => KeptRecord::nothing(),
        };
        let message = Mirrored {
            left: left.map(Duration::from_millis),
            queue: record.queue,
            payload: record.payload,
        };
        messages.push((number(&entry[0])?, message));
    }
    Some(StreamPage {
        epoch: epoch.epoch,
        top: number(top)?,
        floor: number(floor)?,
        delivered: number(delivered)?,
        born: number(born)?,
        messages,
    })
}
