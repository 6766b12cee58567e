//! `GET /v1/log`: what happens on the server, while it happens, as Server-Sent Events.
//!
//! Every core has a tap for each that looks ([`Taps`](crate::shard::Taps)), which the request asks a few times a second.
//! So nothing waits for who looks: one that reads too slowly asks less often, and is told how much there was no room for.
//! Bounds: [`TAPS_MAX`] look at a time; [`WAITING_BYTES_MAX`] wait for one, and a batch.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde::Serialize;

use super::connection_lists::flag;
use super::errors::ApiError;
use super::names;
use super::queries::no_answer;
use super::service::Api;
use crate::app::query::{Query, QueryResult};
use crate::events::MessageTold;
use crate::ident::{ConnId, CoreId};
use crate::net::http::{Facts, HttpAnswer};
use crate::protocol::http::Request;
use crate::protocol::http::query::unescape;
use crate::protocol::http::response::response_head;
use crate::shard::{
    Exchange, PushedTo, Shown, TAPS_MAX, TapBatch, TapEvent, TapFilter, TapId, TapKind, TapNews,
    TapPlace, wall_micros,
};
use crate::unix_peer::ShownPeer;

/// How often the cores are asked.
const INTERVAL: Duration = Duration::from_millis(200);
/// After so much silence who looks is sent a comment: one that has gone is noticed by that.
const SILENCE: Duration = Duration::from_secs(5);
/// While more waits for who looks, no core is asked.
const WAITING_BYTES_MAX: usize = 64 << 10;
/// Events of one batch; what has happened on cores beyond that is told by the next.
const EVENTS_PER_BATCH: usize = 1_000;

const FIELDS: [(&str, &str); 4] = [
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-store"),
    ("X-Accel-Buffering", "no"),
    ("X-Content-Type-Options", "nosniff"),
];

/// One event as it is told.
#[derive(Serialize, Default)]
struct LogLine<'l> {
    at: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'l str>,
    /// To everybody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<&'l str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    kept: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The text is not all of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

impl<'l> LogLine<'l> {
    fn of(event: &'l TapEvent, facts: &'l Facts) -> LogLine<'l> {
        let at = UNIX_EPOCH + Duration::from_micros(event.at);
        let mut line = LogLine {
            at: humantime::format_rfc3339_millis(at).to_string(),
            kind: event.what.kind().name(),
            ..LogLine::default()
        };
        match &event.what {
            TapNews::Open { of } => line.put_place(of, facts),
            TapNews::Connect { of, uid } => {
                line.put_place(of, facts);
                line.uid = Some(uid);
            }
            TapNews::Disconnect {
                of,
                uid,
                reason,
                seconds,
            } => {
                line.put_place(of, facts);
                line.uid = uid.as_deref();
                line.reason = Some(reason.map_or("unbound", |reason| reason.text()));
                line.code = reason.and_then(|reason| reason.code());
                line.seconds = Some(*seconds);
            }
            TapNews::Kick { uid, connections } => {
                line.uid = Some(uid);
                line.connections = Some(*connections);
            }
            TapNews::Push(push) => {
                match &push.to {
                    PushedTo::Uid(uid) => line.uid = Some(uid),
                    PushedTo::Group(group) => line.group = Some(group),
                    PushedTo::Connection(name) => line.connection = Some(name.to_string()),
                    PushedTo::Everybody => line.all = true,
                }
                line.connections = Some(push.reached);
                line.kept = push.kept;
                line.put_message(&push.shown);
            }
            TapNews::Message {
                of,
                uid,
                told,
                shown,
            } => {
                line.put_place(of, facts);
                line.uid = Some(uid);
                line.told = Some(match told {
                    MessageTold::Taken => "taken",
                    MessageTold::Full => "full",
                    MessageTold::Unwanted => "unwanted",
                });
                line.put_message(shown);
            }
        }
        line
    }

    fn put_place(&mut self, of: &TapPlace, facts: &'l Facts) {
        let listener = facts.app_listener(of.listener);
        self.connection = Some(of.connection.to_string());
        self.address = Some(ShownPeer(of.peer).to_string());
        self.app = listener.map(|(app, _)| app);
        self.listener = listener.map(|(_, url)| url);
    }

    fn put_message(&mut self, shown: &Shown) {
        self.bytes = Some(shown.length);
        let Some(beginning) = &shown.beginning else {
            return;
        };
        self.cut = beginning.len() < shown.length;
        let mut bytes = &**beginning;
        // Half a character at its end is left out.
        if self.cut
            && let Err(error) = std::str::from_utf8(bytes)
            && error.error_len().is_none()
        {
            bytes = &bytes[..error.valid_up_to()];
        }
        self.text = Some(String::from_utf8_lossy(bytes).into_owned());
    }
}

/// Those there was no room for.
#[derive(Serialize)]
struct DroppedLine {
    kind: &'static str,
    dropped: u64,
}

/// One that looks.
struct Looker<'a> {
    api: &'a Api,
    /// Its connection.
    id: ConnId,
    tap: TapId,
    filter: Arc<TapFilter>,
    /// Where the next batch begins, so that each core is asked however busy others are.
    next: usize,
    /// When it was sent something last, or could not be.
    told: Instant,
    /// What happened while the cores were asked: another core, asked before, may know what came before that.
    later: Vec<TapEvent>,
    /// Events that it was not told, and is to know of.
    dropped: u64,
    /// Bytes that were queued for it, and how many of them its kernel has taken.
    queued: usize,
    taken: usize,
}

impl Api {
    /// Tells what happens until who looks has gone, or the server stops.
    pub(super) async fn log(self: Rc<Self>, request: &Request) -> HttpAnswer {
        let filter = match self.log_filter(request.query()) {
            Ok(filter) => Arc::new(filter),
            Err(error) => return error.answer(),
        };
        if request.method() == "HEAD" {
            return HttpAnswer::new(200, &FIELDS, "");
        }
        let tap = self.host.borrow_mut().tasks().new_tap();
        let mut looker = Looker {
            api: &self,
            id: self.pending_requests.connection(),
            tap,
            filter,
            next: 0,
            told: Instant::now(),
            later: Vec::new(),
            dropped: 0,
            queued: 0,
            taken: 0,
        };
        let refused = match looker.begin().await {
            Ok(()) => {
                looker.go_on().await;
                None
            }
            Err(error) => Some(error),
        };
        let mut host = self.host.borrow_mut();
        // Nobody waits for the answers.
        drop(host.tasks().query_all(|| Query::EndTap(tap)));
        match refused {
            Some(error) => error.answer().with("Retry-After", "10"),
            None => HttpAnswer::written_already(),
        }
    }

    fn log_filter(&self, query: &str) -> Result<TapFilter, ApiError> {
        let known = ["uid", "group", "listener", "kind", "data"];
        let [uid, group, listener, kind, data] = names::fields(query, known)?;
        let boxed = String::into_boxed_str;
        Ok(TapFilter {
            reach: self.reach,
            kinds: kind.map_or(Ok(TapKind::ALL.to_vec()), kinds)?,
            uid: uid.map(names::uid_in_query).transpose()?.map(boxed),
            group: group.map(names::group_in_query).transpose()?.map(boxed),
            listeners: listener.map(|url| self.listeners_at(url)).transpose()?,
            with_data: flag("data", data)?,
        })
    }
}

fn kinds(text: &str) -> Result<Vec<TapKind>, ApiError> {
    let text = unescape(text).unwrap_or_default();
    let found: Option<Vec<TapKind>> = text
        .split(',')
        .map(|name| TapKind::ALL.into_iter().find(|kind| kind.name() == name))
        .collect();
    found.ok_or_else(|| {
        let names = TapKind::ALL.map(TapKind::name).join(", ");
        ApiError::new(
            400,
            "bad_kind",
            format!("kind: expected some of {names}, with commas between"),
        )
    })
}

impl Looker<'_> {
    /// Has every core keep what happens.
    async fn begin(&mut self) -> Result<(), ApiError> {
        let cores = self.api.host.borrow_mut().tasks().cores();
        for core in 0..cores {
            if self.ask(core).await?.is_none() {
                let words =
                    format!("{TAPS_MAX} look at what happens already, which is as many as may");
                return Err(ApiError::new(503, "too_many_look", words));
            }
        }
        let mut host = self.api.host.borrow_mut();
        host.shard().set_exchange(self.id, Exchange::Telling);
        drop(host);
        self.write(&response_head(200, &FIELDS, None, false));
        // So that who looks knows that it has begun.
        self.write(b":\n\n");
        Ok(())
    }

    /// Tells what happens, until it is over.
    async fn go_on(&mut self) {
        let pending_requests = Rc::clone(&self.api.pending_requests);
        let _endless = pending_requests.begin_endless();
        while !pending_requests.are_ending() && self.is_there() {
            pending_requests
                .sleep_until(Instant::now() + INTERVAL)
                .await;
            let now = Instant::now();
            self.note_taken();
            let told = match self.waiting() > WAITING_BYTES_MAX {
                false => self.tell(now).await,
                // Asked all the same now and then, or it would be taken for gone.
                true if now - self.told >= SILENCE => self.pass_over(now).await,
                true => Ok(()),
            };
            if told.is_err() {
                return;
            }
        }
        // What the server's stop has caused so far: once more for what came while the cores were asked.
        for _ in 0..2 {
            if !self.is_there() || self.tell(Instant::now()).await.is_err() {
                return;
            }
        }
    }

    /// Tells what has happened since.
    async fn tell(&mut self, now: Instant) -> Result<(), ApiError> {
        let batch = self.collect(EVENTS_PER_BATCH).await?;
        let mut text = String::new();
        for event in &batch.events {
            put_line(&mut text, &LogLine::of(event, &self.api.facts));
        }
        let dropped = std::mem::take(&mut self.dropped) + batch.dropped;
        if dropped > 0 {
            let kind = "dropped";
            put_line(&mut text, &DroppedLine { kind, dropped });
        }
        if text.is_empty() && now - self.told >= SILENCE {
            text.push_str(":\n\n");
        }
        if !text.is_empty() {
            self.told = now;
            self.write(text.as_bytes());
        }
        Ok(())
    }

    /// It has not come to read what it was told before: what has happened since it will not be told.
    async fn pass_over(&mut self, now: Instant) -> Result<(), ApiError> {
        let batch = self.collect(usize::MAX).await?;
        self.dropped += batch.events.len() as u64 + batch.dropped;
        self.told = now;
        Ok(())
    }

    /// What has happened on the cores until now, in order: about so much.
    async fn collect(&mut self, events: usize) -> Result<TapBatch, ApiError> {
        let until = wall_micros();
        let cores = self.api.host.borrow_mut().tasks().cores();
        let mut all = TapBatch {
            events: std::mem::take(&mut self.later),
            dropped: 0,
        };
        for _ in 0..cores {
            if all.events.len() >= events {
                break;
            }
            let batch = self.ask(self.next).await?.unwrap_or_default();
            all.events.extend(batch.events);
            all.dropped += batch.dropped;
            self.next += 1;
            if self.next >= cores {
                self.next = 0;
            }
        }
        // Of one core they are in order, which this keeps.
        all.events.sort_by_key(|event| event.at);
        let now = all.events.partition_point(|event| event.at < until);
        self.later = all.events.split_off(now);
        Ok(all)
    }

    async fn ask(&self, core: usize) -> Result<Option<TapBatch>, ApiError> {
        let (id, filter) = (self.tap, Arc::clone(&self.filter));
        let what = Query::Tap { id, filter };
        let core = CoreId(core as u16);
        let promise = self.api.host.borrow_mut().tasks().query(core, what);
        match promise.await.pop() {
            Some(QueryResult::Tapped(batch)) => Ok(batch),
            _ => Err(no_answer()),
        }
    }

    /// Whether it is still there, as far as is known.
    fn is_there(&self) -> bool {
        let mut host = self.api.host.borrow_mut();
        host.shard().connections.exchange(self.id) == Some(Exchange::Telling)
    }

    fn waiting(&self) -> usize {
        let mut host = self.api.host.borrow_mut();
        host.shard().connections.bytes_waiting(self.id)
    }

    /// While it takes what it is sent its connection is not idle.
    fn note_taken(&mut self) {
        let taken = self.queued - self.waiting().min(self.queued);
        if taken > self.taken {
            self.taken = taken;
            let mut host = self.api.host.borrow_mut();
            host.shard().set_exchange(self.id, Exchange::Telling);
        }
    }

    /// Queues this for it.
    fn write(&mut self, bytes: &[u8]) {
        self.queued += bytes.len();
        let mut host = self.api.host.borrow_mut();
        let shard = host.shard();
        shard.work.copied(bytes.len());
        shard.send_raw(self.id, |_, out| out.extend_from_slice(bytes));
    }
}

fn put_line(text: &mut String, line: &impl Serialize) {
    // Of strings and numbers alone; it does not fail.
    let json = serde_json::to_string(line).unwrap_or_default();
    text.push_str("data: ");
    text.push_str(&json);
    text.push_str("\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named() {
        assert_eq!(kinds("push"), Ok(vec![TapKind::Push]));
        assert_eq!(
            kinds("connect%2Cdisconnect"),
            Ok(vec![TapKind::Connect, TapKind::Disconnect])
        );
        for bad in ["", "pushes", "push,", "push,all", "%ff"] {
            assert_eq!(
                kinds(bad).map_err(|error| error.code),
                Err("bad_kind"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_message_that_is_cut_ends_with_a_whole_character() {
        let shown = |text: &str, cut: usize| {
            let mut line = LogLine::default();
            line.put_message(&Shown {
                length: text.len(),
                beginning: Some(text.as_bytes()[..cut].into()),
            });
            (line.text.expect("it is shown"), line.cut)
        };
        assert_eq!(shown("水", 3), ("水".to_owned(), false));
        assert_eq!(shown("a水", 3), ("a".to_owned(), true));
        assert_eq!(shown("a水b", 4), ("a水".to_owned(), true));
        let mut line = LogLine::default();
        line.put_message(&Shown {
            length: 2,
            beginning: Some([b'a', 0xff].into()),
        });
        assert_eq!(line.text.as_deref(), Some("a\u{fffd}"));
    }
}
