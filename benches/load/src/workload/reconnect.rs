//! [`Reconnect`]: clients by Server-Sent Events come back within the measured time, and each has missed messages that were
//! kept for it; beside quiet clients that stay, and are pushed to 100 times a second each.
//!
//! Before the run a back end pushes one kept message to each uid, whose position the client has then, and after it those
//! that it misses. Each client comes when it is due, gets exactly these, in order, and leaves. A gap counts as a loss of
//! what it has not got. The quiet clients have a generator of their own; their latencies are told in the calm of the
//! warm-up and beside those who come back.

use std::sync::Arc;

use serde_json::Value;

use super::crowd::{FRONT, cannot_open};
use super::driven::Workload;
use crate::pace::Pace;
use crate::plan::{Plan, Share};
use crate::record::Record;
use crate::shared::Phase;
use crate::stamp::{STAMP_BYTES_MIN, Stamp};
use crate::wire::{Client, Ending, Pool};

/// Messages a second for each quiet client.
const QUIET_RATE: f64 = 100.0;
/// About so many bytes are pushed in one request.
const BATCH_BYTES: usize = 128 << 10;

/// The slots of a generator: its clients; then a back end, or one for each quiet client.
pub fn slots(plan: &Plan, share: Share) -> usize {
    match plan.is_of_quiet(share.number) {
        true => 2 * share.connections,
        false => share.connections + 1,
    }
}

/// See the module.
pub struct Reconnect {
    plan: Arc<Plan>,
    share: Share,
    record: Record,
    is_of_quiet: bool,
    clients: Vec<Returning>,
    /// Clients for whom all that they miss has been pushed, or is in the request under way.
    filled: usize,
    filling: usize,
    /// Quiet clients that listen.
    open: usize,
    /// Pushes whose answers are still to come.
    unanswered: usize,
    pace: Pace,
    /// The next client that comes back, or is pushed to.
    next: usize,
    done: usize,
    /// Whether those of the setup have been opened, and the back ends of quiet clients.
    is_begun: bool,
    has_back_ends: bool,
    body: Vec<u8>,
}

/// One that comes back, or a quiet one.
#[derive(Default)]
struct Returning {
    /// Where it was.
    position: String,
    begun: u64,
    /// The sequence of the message that it is to get next.
    next: u32,
    /// A quiet one's last.
    sent: u32,
    is_in: bool,
    is_done: bool,
}

impl Reconnect {
    pub fn new(plan: &Arc<Plan>, share: Share) -> Reconnect {
        let is_of_quiet = plan.is_of_quiet(share.number);
        let mut clients = Vec::new();
        clients.resize_with(share.connections, Returning::default);
        let rate = match is_of_quiet {
            true => QUIET_RATE * share.connections as f64,
            false => share.connections as f64 / plan.seconds,
        };
        Reconnect {
            plan: Arc::clone(plan),
            share,
            record: Record::default(),
            is_of_quiet,
            clients,
            filled: 0,
            filling: 0,
            open: 0,
            unanswered: 0,
            pace: Pace::new(rate),
            next: 0,
            done: 0,
            is_begun: false,
            has_back_ends: false,
            body: Vec::new(),
        }
    }

    fn uid(&self, client: usize) -> String {
        self.plan.uid(self.share.first + client)
    }

    fn number(&self, client: usize) -> u32 {
        (self.share.first + client) as u32
    }

    fn fields(&self) -> String {
        let host = &self.plan.target.host;
        match &self.plan.token {
            Some(token) => format!("Host: {host}\r\nAuthorization: Bearer {token}\r\n"),
            None => format!("Host: {host}\r\n"),
        }
    }

    fn post(&mut self, pool: &mut Pool, slot: usize, path: &str) {
        let (fields, length) = (self.fields(), self.body.len());
        let mut request = format!(
            "POST {path} HTTP/1.1\r\n{fields}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(&self.body);
        pool.send(slot, &request);
    }

    /// A push of one message to a client.
    fn compose(&mut self, client: usize, sequence: u32, keep: &str, size: usize, time: u64) {
        let head = format!(
            "{{\"uid\":\"{}\",\"keep\":{keep},\"text\":\"",
            self.uid(client)
        );
        self.body.extend_from_slice(head.as_bytes());
        let stamp = Stamp {
            sender: self.share.number as u32,
            receiver: self.number(client),
            sequence,
            time,
        };
        stamp.write(size, &mut self.body);
        self.body.extend_from_slice(b"\"}");
    }

    /// Pushes what the next few clients will miss.
    fn fill(&mut self, pool: &mut Pool, now: u64) {
        let missed = self.plan.in_flight;
        let each = (missed + 1) * (self.plan.size + 80);
        let some = (BATCH_BYTES / each).clamp(1, self.clients.len() - self.filled);
        self.body.clear();
        self.body.push(b'[');
        for client in self.filled..self.filled + some {
            for sequence in 0..=missed as u32 {
                if self.body.len() > 1 {
                    self.body.push(b',');
                }
                self.body.extend_from_slice(b"{\"push\":");
                self.compose(client, sequence, "\"1h\"", self.plan.size, now);
                self.body.push(b'}');
            }
        }
        self.body.push(b']');
        self.filling = some;
        self.post(pool, self.clients.len(), "/v1/batch");
    }

    /// What a batch is answered: where each client was before it missed anything.
    fn take_positions(&mut self, answer: &[u8]) -> Option<()> {
        let answer: Value = serde_json::from_slice(answer).ok()?;
        let answers = answer["answers"].as_array()?;
        let each = self.plan.in_flight + 1;
        for nth in 0..self.filling {
            let client = self.filled + nth;
            let uid = self.uid(client);
            let mut own = answers.get(nth * each..(nth + 1) * each)?.iter();
            let first = own.next()?["positions"][&uid].as_str()?;
            // All of them are kept.
            own.all(|answer| answer["positions"][&uid].is_string())
                .then_some(())?;
            self.clients[client].position = first.to_owned();
            self.clients[client].next = 1;
        }
        self.filled += std::mem::take(&mut self.filling);
        Some(())
    }

    fn listen(&mut self, pool: &mut Pool, slot: usize) {
        let (uid, fields) = (self.uid(slot), self.fields());
        let since = match &*self.clients[slot].position {
            "" => String::new(),
            position => format!("Last-Event-ID: {position}\r\n"),
        };
        let request = format!("GET /v1/events?uid={uid} HTTP/1.1\r\n{fields}{since}\r\n");
        pool.send(slot, request.as_bytes());
    }

    /// A quiet client is pushed to.
    fn whisper(&mut self, pool: &mut Pool, client: usize, due: u64) {
        let back_end = self.clients.len() + client;
        if !pool.is_open(back_end) {
            return;
        }
        let sequence = self.clients[client].sent;
        self.clients[client].sent += 1;
        self.body.clear();
        self.compose(client, sequence, "false", STAMP_BYTES_MIN, due);
        self.unanswered += 1;
        self.post(pool, back_end, "/v1/push");
    }

    /// A back end's answer.
    fn answer(&mut self, pool: &mut Pool, message: &[u8], now: u64) {
        let body = memchr::memmem::find(message, b"\r\n\r\n").map(|end| &message[end + 4..]);
        let is_well = message.starts_with(b"HTTP/1.1 200 ");
        let Some(body) = body.filter(|_| is_well) else {
            return self.record.fail(format!(
                "a push was answered \"{}\"",
                message[..message.len().min(300)].escape_ascii()
            ));
        };
        if self.is_of_quiet {
            self.unanswered -= 1;
            return;
        }
        match self.take_positions(body) {
            Some(()) if self.filled < self.clients.len() => self.fill(pool, now),
            Some(()) => {}
            None => self.record.fail(
                "what is pushed with \"keep\" is not kept for clients by events: reconnect wants a listener of \
                 ringpost that serves both /v1/events and /v1/push (--url http://HOST:PORT)",
            ),
        }
    }

    /// A block of a client's events.
    fn hear(&mut self, pool: &mut Pool, slot: usize, block: &[u8], now: u64) {
        if block.starts_with(b"HTTP/1.1 ") {
            if !block.starts_with(b"HTTP/1.1 200 ") {
                let head = block[..block.len().min(200)].escape_ascii();
                return self
                    .record
                    .fail(format!("listening is answered \"{head}\""));
            }
            self.open += usize::from(!std::mem::replace(&mut self.clients[slot].is_in, true));
            return;
        }
        let mut lines = block.split(|byte| *byte == b'\n');
        let data = lines.clone().find_map(|line| line.strip_prefix(b"data: "));
        let Some(data) = data else { return };
        if lines.any(|line| line == b"event: gap") {
            self.record.count("gaps told");
            let lost = self.missing(slot);
            self.record.faults.lost += lost;
            self.record
                .problem(|| format!("a gap was told: {}", data.escape_ascii()));
            self.finish(pool, slot, now);
            return;
        }
        let Some(stamp) = Stamp::read(data) else {
            return self.record.corrupt(data);
        };
        if stamp.receiver != self.number(slot) {
            self.record.faults.strayed += 1;
            return;
        }
        let one = &mut self.clients[slot];
        match stamp.sequence.cmp(&one.next) {
            std::cmp::Ordering::Less => self.record.faults.doubled += 1,
            std::cmp::Ordering::Greater => self.record.faults.reordered += 1,
            std::cmp::Ordering::Equal => {
                one.next += 1;
                let (begun, is_last) = (one.begun, one.next as usize > self.plan.in_flight);
                if self.is_of_quiet {
                    return self.record.answer(stamp.time, now);
                }
                self.record.deliver(begun, now);
                if is_last {
                    self.record.join(begun, now);
                    self.record.count("came back");
                    self.finish(pool, slot, now);
                }
            }
        }
    }

    /// What a client has not got.
    fn missing(&self, slot: usize) -> u64 {
        let one = &self.clients[slot];
        let all = match self.is_of_quiet {
            true => one.sent,
            false => self.plan.in_flight as u32 + 1,
        };
        u64::from(all.saturating_sub(one.next))
    }

    fn finish(&mut self, pool: &mut Pool, slot: usize, now: u64) {
        if !std::mem::replace(&mut self.clients[slot].is_done, true) {
            self.done += 1;
        }
        pool.leave(slot, now);
    }

    fn open_slot(&mut self, pool: &mut Pool, slot: usize, now: u64) {
        if let Err(error) = pool.open(slot, FRONT, now) {
            self.record.fail(cannot_open(&error));
        }
    }
}

impl Client for Reconnect {
    fn opened(&mut self, pool: &mut Pool, slot: usize, now: u64) {
        if slot < self.clients.len() {
            return self.listen(pool, slot);
        }
        if !self.is_of_quiet {
            self.fill(pool, now);
        }
    }

    fn message(&mut self, pool: &mut Pool, slot: usize, message: &[u8], now: u64) {
        match slot < self.clients.len() {
            true => self.hear(pool, slot, message, now),
            false => self.answer(pool, message, now),
        }
    }

    fn ended(&mut self, _: &mut Pool, slot: usize, ending: Ending, _: u64) {
        if slot >= self.clients.len() {
            // Nothing more is asked of it where all that is missed has been pushed.
            if self.is_of_quiet || self.filled < self.clients.len() {
                let text = format!("a back end's connection: {}", ending.text());
                self.record.fail(text);
            }
            return;
        }
        if self.clients[slot].is_done {
            return;
        }
        match ending {
            Ending::Unopened(_) => self.record.faults.unopened += 1,
            _ => self.record.faults.closed += 1,
        }
        self.record.problem(|| ending.text());
        self.record.faults.lost += self.missing(slot);
        self.clients[slot].is_done = true;
        self.done += 1;
    }
}

impl Workload for Reconnect {
    fn turn(&mut self, pool: &mut Pool, phase: Phase, now: u64) -> u64 {
        let clients = self.clients.len();
        if !std::mem::replace(&mut self.is_begun, true) {
            match self.is_of_quiet {
                true => (0..clients).for_each(|slot| self.open_slot(pool, slot, now)),
                false => self.open_slot(pool, clients, now),
            }
        }
        // Not before, since a server closes who asks for nothing.
        let has_quiet = self.is_of_quiet && phase >= Phase::Rest;
        if has_quiet && !std::mem::replace(&mut self.has_back_ends, true) {
            (clients..2 * clients).for_each(|slot| self.open_slot(pool, slot, now));
        }
        let is_on = match self.is_of_quiet {
            true => phase.is_running(),
            false => phase >= Phase::Measured && phase < Phase::End,
        };
        if !is_on {
            return u64::MAX;
        }
        while self.is_of_quiet || self.next < self.clients.len() {
            let Some(due) = self.pace.take(now) else {
                break;
            };
            if self.is_of_quiet {
                self.whisper(pool, self.next % self.clients.len(), due);
            } else {
                self.clients[self.next].begun = due;
                self.open_slot(pool, self.next, now);
            }
            self.next += 1;
        }
        match self.is_of_quiet || self.next < self.clients.len() {
            true => self.pace.next(now),
            false => u64::MAX,
        }
    }

    fn up(&self) -> usize {
        match self.is_of_quiet {
            true => self.open,
            false => self.filled,
        }
    }

    fn is_ready(&self) -> bool {
        match self.is_of_quiet {
            true => self.open == self.clients.len(),
            false => self.filled == self.clients.len(),
        }
    }

    fn is_quiet(&self) -> bool {
        match self.is_of_quiet {
            true => {
                let all = self.clients.iter();
                self.unanswered == 0 && all.map(|one| one.sent - one.next).sum::<u32>() == 0
            }
            false => self.done == self.clients.len(),
        }
    }

    fn conclude(&mut self) {
        for slot in 0..self.clients.len() {
            if !self.clients[slot].is_done {
                self.record.faults.lost += self.missing(slot);
            }
        }
    }

    fn record(&mut self) -> &mut Record {
        &mut self.record
    }
}
