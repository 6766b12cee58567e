//! The end of a world: turns as the server takes them, until nothing is under way; then all is closed, and
//! nothing may be left.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::client::Place;
use super::model::Target;
use super::world::{Task, World};
use crate::app::host::{Flow, Host};
use crate::app::outcome::Delivered;
use crate::app::query::QueryResult;
use crate::close::CloseReason;

/// More rounds than any world needs; beyond it the cores wake each other without end.
const ROUNDS_MAX: usize = 100_000;

/// What a push to one uid has found.
fn delivered(found: Vec<QueryResult>) -> Delivered {
    match &found[..] {
        [QueryResult::DeliveredEach(each)] => each[0],
        [QueryResult::ReachedEach(each)] => Delivered {
            reached: each[0],
            ..Delivered::default()
        },
        _ => panic!("no answer to a push"),
    }
}

impl World {
    /// Lets all that was begun come to its end, closes everything, and looks at what is left.
    pub fn end(&mut self) {
        for client in 0..self.clients.len() {
            if self.clients[client].blocked {
                self.unblock(client);
            }
        }
        // Those who were cut off come when that is seen.
        for _ in 0..2 {
            self.all_come();
            // One that sleeps has nothing to do, or is woken.
            for core in 0..self.scene.cores {
                if !self.asleep[core] {
                    self.turn(core);
                }
            }
            self.rest();
        }
        self.check_quiet();
        // Timers run for two seconds at most.
        for _ in 0..4 {
            self.pass(Duration::from_millis(600));
        }
        self.check_quiet();
        self.check_attendance();
        self.check_credit();
        self.answer_tasks();
        self.model().check_settled();
        for core in 0..self.scene.cores {
            self.model().step();
            self.wake(core);
            for id in self.hosts[core].shard().connections.ids() {
                if self.hosts[core].flow(id) != Flow::End {
                    self.hosts[core].close(id, CloseReason::Stopping);
                }
            }
            self.turn(core);
        }
        self.rest();
        self.check_nothing_left();
        self.collect_kept();
    }

    /// Time goes on, which wakes every core.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        for core in 0..self.scene.cores {
            self.model().step();
            self.tick(core);
            self.turn(core);
        }
        self.rest();
    }

    fn rest(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut worked = false;
            for core in 0..self.scene.cores {
                let rung = self.hosts[core].bus().drain();
                if rung || self.has_wire_events(core) || self.hosts[core].has_readers() {
                    self.turn(core);
                    worked = true;
                }
            }
            if !worked {
                return;
            }
        }
        panic!("the cores do not come to rest");
    }

    /// Whether the wire would wake the core: the input of a paused connection does not, the peer's end of
    /// one that is closed does.
    fn has_wire_events(&mut self, core: usize) -> bool {
        let host = &mut self.hosts[core];
        self.clients.iter().any(|one| match one.place {
            Place::Opening(on, _) => on == core,
            Place::On(on, id) if on == core => match host.flow(id) {
                Flow::Go => one.has_input() && !one.paused,
                Flow::End => host.shard().connections.outbox_is_empty(id),
                _ => false,
            },
            _ => false,
        })
    }

    /// One turn as the server takes it.
    fn turn(&mut self, core: usize) {
        self.asleep[core] = false;
        self.hosts[core].bus().disarm();
        self.deliver(core, usize::MAX);
        self.hosts[core].settle_credits();
        for client in 0..self.clients.len() {
            let (Place::Opening(on, _) | Place::On(on, _)) = self.clients[client].place else {
                continue;
            };
            if on == core && !self.clients[client].paused {
                self.read(client, usize::MAX);
            }
        }
        let paused: Vec<usize> = self.paused_on(core).collect();
        for client in paused {
            self.read(client, usize::MAX);
        }
        self.hosts[core].read_on();
        self.hosts[core].run_timers();
        while let Some(id) = self.hosts[core].shard().next_dirty(true) {
            let client = self.links[core][&id];
            self.write_to(core, id, client, 0);
        }
        self.share_out(core);
        self.finish(core);
        self.depart_all(core);
        let paused = self.paused_on(core).next().is_some();
        let can_resume = self.can_resume(core);
        let has_readers = self.hosts[core].has_readers();
        self.hosts[core].publish_taken();
        let bus = self.hosts[core].bus();
        bus.want_credit(paused);
        if can_resume || has_readers || !bus.arm() {
            bus.ring_self();
        }
        self.asleep[core] = true;
    }

    /// Every core sleeps: then nobody may wait for anything.
    fn check_quiet(&mut self) {
        self.check();
        let look = self.hosts[0].bus().counters().look();
        assert!(look.settled(), "envelopes are left: {look:?}");
        // As a core's next turn does first.
        self.hosts.iter_mut().for_each(Host::settle_credits);
        for host in &mut self.hosts {
            assert!(!host.has_readers(), "somebody is not read on for");
            assert!(
                !host.shard().followers.any_behind(),
                "somebody is behind for good"
            );
        }
        for (client, one) in self.clients.iter().enumerate() {
            match one.place {
                Place::Gone => continue,
                Place::Travelling | Place::Opening(..) => {
                    panic!("client {client} is lost in {:?}", one.place)
                }
                Place::On(core, id) => {
                    let flow = self.hosts[core].flow(id);
                    if flow == Flow::End {
                        continue;
                    }
                    let hold = self.hosts[core].hold(id);
                    assert_eq!(flow, Flow::Go, "client {client} is stuck: {hold:?}");
                    assert!(!one.has_input(), "client {client} is not read");
                    assert!(self.hosts[core].shard().connections.outbox_is_empty(id));
                }
            }
        }
    }

    /// All credit is back. A core of which no connection waits for credit takes it with its next turn.
    fn check_credit(&mut self) {
        for host in &mut self.hosts {
            for id in host.shard().connections.ids() {
                assert_eq!(host.shard().connections.transit(id), 0, "credit is lost");
            }
            let local = host.local();
            assert_eq!(local.outgoing.bus().in_transit_bytes(), 0, "credit is lost");
            assert_eq!(local.pending.bytes(), 0, "a question's credit is lost");
            assert!(!host.has_pending_calls(), "a question is open");
            assert!(local.departures.is_empty());
        }
    }

    fn answer_tasks(&mut self) {
        for (number, mut promise) in std::mem::take(&mut self.tasks) {
            let mut task = Context::from_waker(Waker::noop());
            let delivered = match promise {
                Task::Push(ref mut promise) => pin!(promise).poll(&mut task),
                Task::Query(ref mut promise) => pin!(promise).poll(&mut task).map(delivered),
            };
            let Poll::Ready(Delivered {
                reached, position, ..
            }) = delivered
            else {
                panic!("a task has no answer");
            };
            let sent = &mut self.model().sent[number];
            sent.reached = Some(reached);
            // Of one to a uid an app's push tells no position.
            if position.is_some()
                || !matches!((&promise, &sent.target), (Task::Push(_), Target::Uid(_)))
            {
                sent.position = Some(position);
            }
        }
    }

    fn check_nothing_left(&mut self) {
        for (client, one) in self.clients.iter().enumerate() {
            assert_eq!(one.place, Place::Gone, "client {client} was not let go");
        }
        for host in &mut self.hosts {
            host.shard().check();
            assert_eq!(host.shard().leftovers(), 0);
            assert_eq!(host.shard().snapshot().outbox_bytes, 0);
            assert_eq!(host.bus().in_transit_bytes(), 0);
            assert!(!host.has_pending_calls());
            let local = host.local();
            assert!(
                local.homes.is_empty(),
                "a home knows of members that are gone"
            );
            assert!(local.crossings.is_empty(), "somebody is still to cross");
            assert!(local.forwards.is_empty(), "replies are still waited for");
            assert!(local.bind_answers.is_empty(), "a bind is not answered");
            assert!(
                local.whereabouts.is_empty(),
                "somebody is still known who has moved"
            );
            assert!(
                local.outgoing.bus().has_passed_all(),
                "something is still to be paid back"
            );
            let counters = host.bus().counters();
            assert!(counters.look().settled());
            assert_eq!(counters.undeliverable(), 0);
        }
        // The world's own, and one for each app's value.
        let apps = self.scene.cores * 4;
        assert_eq!(
            Arc::strong_count(&self.alive),
            1 + apps,
            "sessions are left"
        );
    }
}
