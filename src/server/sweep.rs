//! What is done to everybody on a core, some of them a round: [`Sweeps`].
//!
//! A reload looks at every connection, and the end of the server closes every one. Who is there when it begins is
//! listed, and taken from the list round by round; who comes later has the new limits already, or is closed where he
//! comes. Bound: eight bytes a connection for each sweep under way.

use std::collections::VecDeque;

use crate::app::host::Host;
use crate::ident::ConnId;
use crate::net::transport::{Touch, Transport};

/// Connections of one round.
pub const TOUCHED_PER_ROUND: usize = 1_024;

/// What is done to each.
#[derive(Clone, Copy)]
pub enum SweepTask {
    /// It is held to other limits. `since_now`: to a time of silence that begins now.
    Renew { since_now: bool, touch: Touch },
    /// It is closed, because the server stops.
    Close,
}

/// See the module.
#[derive(Default)]
pub struct Sweeps(VecDeque<(SweepTask, Vec<ConnId>)>);

impl Sweeps {
    /// Begins with those that are there now.
    pub fn begin(&mut self, host: &mut Host, transport: &mut Transport, what: SweepTask) {
        let mut ids = host.shard().connections.ids();
        ids.reverse();
        self.0.push_back((what, ids));
        self.go_on(host, transport);
    }

    /// Whether some are left.
    pub fn is_under_way(&self) -> bool {
        !self.0.is_empty()
    }

    /// Does what one round may.
    pub fn go_on(&mut self, host: &mut Host, transport: &mut Transport) {
        let Some((what, ids)) = self.0.front_mut() else {
            return;
        };
        for _ in 0..TOUCHED_PER_ROUND {
            let Some(id) = ids.pop() else { break };
            match *what {
                SweepTask::Renew { since_now, touch } => {
                    host.shard().renew_connection(id, since_now);
                    transport.touch(host, id, touch);
                }
                SweepTask::Close => transport.close(host, id),
            }
        }
        if ids.is_empty() {
            self.0.pop_front();
        }
    }
}
