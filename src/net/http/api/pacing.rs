//! A request's share of its core: [`RequestPace`].
//!
//! What a request queues is written, and the core goes on with other things, each time that it has done a small part of
//! a round's work. And as a connection is not read, a request waits while it has caused more than its core, or the
//! others, have come to write. So nothing that a request says is held against those it is for.

use std::time::{Duration, Instant};

use super::service::Api;
use crate::app::host::Host;
use crate::app::round::UNITS_PER_HELPING;
use crate::ident::ConnId;
use crate::shard::Debt;

/// What a helping may cause, in bytes to be written: as many as a send buffer takes.
const BYTES_PER_HELPING: u64 = 64 << 10;
/// Who waits longer than this for other cores looks less often.
const PATIENCE: Duration = Duration::from_millis(1);

/// See the module.
pub struct RequestPace<'p> {
    api: &'p Api,
    /// Units and bytes of the present helping.
    units: u64,
    bytes: u64,
    debt: Debt,
    /// Who it is as a sender, so that its messages wait for no other's.
    pub speaker: ConnId,
}

/// What a core had done when a part of a request began.
pub struct PaceMark {
    units: u64,
    bytes: u64,
}

impl PaceMark {
    pub fn new(host: &mut Host) -> PaceMark {
        PaceMark {
            units: host.work(),
            bytes: host.shard().outboxes.backlog.caused(),
        }
    }
}

impl<'p> RequestPace<'p> {
    pub fn new(api: &'p Api) -> RequestPace<'p> {
        RequestPace {
            api,
            units: 0,
            bytes: 0,
            debt: Debt::default(),
            speaker: api.host.borrow_mut().tasks().new_speaker(),
        }
    }

    /// What was done since the mark is this request's doing, and so are a few units elsewhere.
    pub async fn spend(&mut self, since: PaceMark, elsewhere: usize) {
        {
            let mut host = self.api.host.borrow_mut();
            self.units += host.work() - since.units + elsewhere as u64;
            let backlog = &host.shard().outboxes.backlog;
            let bytes = backlog.caused() - since.bytes;
            backlog.charge(&mut self.debt, bytes);
            self.bytes += bytes;
        }
        if self.units >= UNITS_PER_HELPING || self.bytes >= BYTES_PER_HELPING {
            self.rest().await;
        }
        self.catch_up().await;
    }

    /// Waits until the cores have come to write what it has caused, but for a fair part of what they are late with.
    pub async fn catch_up(&mut self) {
        let mut since = None;
        while !self.lets_on() {
            self.rest().await;
            // Our own core has nothing to do meanwhile if it is the others that are late.
            let now = Instant::now();
            if now - *since.get_or_insert(now) > PATIENCE {
                self.api.pending_requests.sleep_until(now + PATIENCE).await;
            }
        }
    }

    fn lets_on(&self) -> bool {
        let mut host = self.api.host.borrow_mut();
        host.settle_credits();
        host.has_room_to_send() && host.shard().outboxes.backlog.lets_on(self.debt)
    }

    /// Lets what it has queued be written or posted, and the core go on with other things.
    pub async fn rest(&mut self) {
        self.units = 0;
        self.bytes = 0;
        self.api.pending_requests.rest().await;
    }
}
