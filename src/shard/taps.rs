//! Those outside who look at what happens here while it happens: [`Taps`], one for each that looks, on every core.
//!
//! A tap keeps what its filter wants until it is asked for that. What is beyond its bounds ([`EVENTS_MAX`],
//! [`BYTES_MAX`]) is counted, and gone: nothing here waits for who looks. One that is not asked for [`LEASE`] goes.
//! Bound: [`TAPS_MAX`] a core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::wheel::{TICKS_SECOND, Tick};
use crate::close::CloseReason;
use crate::events::MessageTold;
use crate::ident::{ConnName, CoreId, Reach};

/// Taps of a core.
pub const TAPS_MAX: usize = 8;
/// Events that wait in one.
const EVENTS_MAX: usize = 1_000;
/// Bytes that these take, about.
const BYTES_MAX: usize = 256 << 10;
/// What an event counts beside its texts.
const EVENT_COST: usize = size_of::<TapEvent>();
/// Most bytes of a message that are shown.
pub const SHOWN_BYTES_MAX: usize = 1 << 10;
/// Nobody looks any more, in ticks.
const LEASE: Tick = 60 * TICKS_SECOND;

/// Who looks: the core that asks, and a number there.
pub type TapId = (CoreId, u64);

/// The time of day, in microseconds since 1970: the cores' events are told in its order.
pub fn wall_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TapKind {
    Open,
    Connect,
    Disconnect,
    Kick,
    Push,
    Message,
}

impl TapKind {
    pub const ALL: [TapKind; 6] = [
        TapKind::Open,
        TapKind::Connect,
        TapKind::Disconnect,
        TapKind::Kick,
        TapKind::Push,
        TapKind::Message,
    ];

    pub fn name(self) -> &'static str {
        match self {
            TapKind::Open => "open",
            TapKind::Connect => "connect",
            TapKind::Disconnect => "disconnect",
            TapKind::Kick => "kick",
            TapKind::Push => "push",
            TapKind::Message => "message",
        }
    }
}

/// What somebody wants to see. What is `None` may be anything.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapFilter {
    pub reach: Reach,
    pub kinds: Vec<TapKind>,
    pub uid: Option<Box<str>>,
    pub group: Option<Box<str>>,
    /// By their numbers.
    pub listeners: Option<Box<[u16]>>,
    /// The beginnings of messages, too.
    pub with_data: bool,
}

/// What an event is about, for the filters.
#[derive(Clone, Copy)]
pub struct TapSubject<'s> {
    pub reach: Reach,
    pub kind: TapKind,
    pub uid: Option<&'s str>,
    pub group: Option<&'s str>,
    pub listener: Option<u16>,
}

impl TapFilter {
    fn wants(&self, subject: TapSubject<'_>) -> bool {
        let fits = |wanted: Option<&str>, own: Option<&str>| wanted.is_none() || wanted == own;
        self.kinds.contains(&subject.kind)
            && self.reach.meets(subject.reach)
            && fits(self.uid.as_deref(), subject.uid)
            && fits(self.group.as_deref(), subject.group)
            && self.listeners.as_ref().is_none_or(|wanted| {
                let listener = subject.listener;
                listener.is_some_and(|listener| wanted.contains(&listener))
            })
    }
}

/// One of the things that have happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapEvent {
    /// Microseconds since 1970.
    pub at: u64,
    pub what: TapNews,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TapNews {
    /// A connection's handshake is done.
    Open { of: TapPlace },
    /// It has bound a uid.
    Connect { of: TapPlace, uid: Box<str> },
    /// It has ended; without a reason it has lost its uid.
    Disconnect {
        of: TapPlace,
        uid: Option<Box<str>>,
        reason: Option<CloseReason>,
        /// It was there for so long.
        seconds: u32,
    },
    /// So many are to be closed.
    Kick { uid: Box<str>, connections: u32 },
    /// A back end has sent something.
    Push(TapPush),
    /// A client has said something for the back end.
    Message {
        of: TapPlace,
        uid: Box<str>,
        told: MessageTold,
        shown: Shown,
    },
}

/// Which connection it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapPlace {
    pub connection: ConnName,
    pub peer: SocketAddr,
    /// Its number.
    pub listener: u16,
}

/// A message to clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TapPush {
    pub to: PushedTo,
    /// Connections that it has reached.
    pub reached: u32,
    /// Whether it is kept for those that come.
    pub kept: bool,
    pub shown: Shown,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PushedTo {
    Uid(Box<str>),
    Group(Box<str>),
    Connection(ConnName),
    Everybody,
}

/// What is shown of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// How long it is, in bytes.
    pub length: usize,
    /// Its beginning, if that is wanted.
    pub beginning: Option<Box<[u8]>>,
}

impl Shown {
    pub fn new(bytes: &[u8], with_data: bool) -> Shown {
        let beginning = &bytes[..bytes.len().min(SHOWN_BYTES_MAX)];
        Shown {
            length: bytes.len(),
            beginning: with_data.then(|| Box::from(beginning)),
        }
    }

    fn bytes(&self) -> usize {
        self.beginning.as_ref().map_or(0, |bytes| bytes.len())
    }
}

impl TapNews {
    pub fn kind(&self) -> TapKind {
        match self {
            TapNews::Open { .. } => TapKind::Open,
            TapNews::Connect { .. } => TapKind::Connect,
            TapNews::Disconnect { .. } => TapKind::Disconnect,
            TapNews::Kick { .. } => TapKind::Kick,
            TapNews::Push(_) => TapKind::Push,
            TapNews::Message { .. } => TapKind::Message,
        }
    }

    fn bytes(&self) -> usize {
        let texts = match self {
            TapNews::Open { .. } => 0,
            TapNews::Connect { uid, .. } | TapNews::Kick { uid, .. } => uid.len(),
            TapNews::Disconnect { uid, .. } => uid.as_ref().map_or(0, |uid| uid.len()),
            TapNews::Push(push) => {
                let name = match &push.to {
                    PushedTo::Uid(name) | PushedTo::Group(name) => name.len(),
                    PushedTo::Connection(_) | PushedTo::Everybody => 0,
                };
                name + push.shown.bytes()
            }
            TapNews::Message { uid, shown, .. } => uid.len() + shown.bytes(),
        };
        EVENT_COST + texts
    }
}

/// What has happened since a tap was asked last.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TapBatch {
    /// As they happened.
    pub events: Vec<TapEvent>,
    /// So many more there was no room for.
    pub dropped: u64,
}

struct Tap {
    id: TapId,
    filter: Arc<TapFilter>,
    batch: TapBatch,
    bytes: usize,
    /// When it was asked last.
    asked: Tick,
}

impl Tap {
    fn take(&mut self, news: TapNews) {
        self.bytes += news.bytes();
        let at = wall_micros();
        self.batch.events.push(TapEvent { at, what: news });
    }

    fn has_room(&self) -> bool {
        self.batch.events.len() < EVENTS_MAX && self.bytes < BYTES_MAX
    }
}

/// Those of one core.
#[derive(Default)]
pub struct Taps(Vec<Tap>);

impl Taps {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one wants to know of this.
    pub fn want(&self, subject: TapSubject<'_>) -> bool {
        self.0.iter().any(|tap| tap.filter.wants(subject))
    }

    /// Tells those that want to know; what is told is made where there is room, with a message's beginning or without.
    pub fn tell(&mut self, now: Tick, subject: TapSubject<'_>, news: impl Fn(bool) -> TapNews) {
        self.0.retain(|tap| now.saturating_sub(tap.asked) < LEASE);
        for tap in self.0.iter_mut().filter(|tap| tap.filter.wants(subject)) {
            match tap.has_room() {
                true => tap.take(news(tap.filter.with_data)),
                false => tap.batch.dropped += 1,
            }
        }
    }

    /// What has come for one since; it is there from now on if it was not. `None` if there are as many as there may be.
    pub fn ask(&mut self, now: Tick, id: TapId, filter: &Arc<TapFilter>) -> Option<TapBatch> {
        if let Some(tap) = self.0.iter_mut().find(|tap| tap.id == id) {
            tap.asked = now;
            tap.bytes = 0;
            return Some(std::mem::take(&mut tap.batch));
        }
        self.0.retain(|tap| now.saturating_sub(tap.asked) < LEASE);
        if self.0.len() >= TAPS_MAX {
            return None;
        }
        self.0.push(Tap {
            id,
            filter: Arc::clone(filter),
            batch: TapBatch::default(),
            bytes: 0,
            asked: now,
        });
        Some(TapBatch::default())
    }

    /// Nobody looks by this one any more.
    pub fn end(&mut self, id: TapId) {
        self.0.retain(|tap| tap.id != id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::NamespaceId;

    const ID: TapId = (CoreId(1), 7);

    fn filter() -> TapFilter {
        TapFilter {
            reach: Reach::of(NamespaceId(1)),
            kinds: TapKind::ALL.to_vec(),
            uid: None,
            group: None,
            listeners: None,
            with_data: false,
        }
    }

    fn subject(uid: &str) -> TapSubject<'_> {
        TapSubject {
            reach: Reach::of(NamespaceId(1)),
            kind: TapKind::Kick,
            uid: Some(uid),
            group: None,
            listener: None,
        }
    }

    fn kick(uid: &str) -> TapNews {
        TapNews::Kick {
            uid: uid.into(),
            connections: 1,
        }
    }

    #[test]
    fn each_sees_what_it_wants_and_no_other_namespace() {
        let any = filter();
        let push = TapSubject {
            kind: TapKind::Push,
            group: Some("g"),
            listener: Some(3),
            ..subject("tom")
        };
        assert!(any.wants(subject("tom")) && any.wants(push));
        let elsewhere = Reach::of(NamespaceId(2));
        let both = elsewhere.with(NamespaceId(1)).expect("both have bits");
        let reaching = |reach| TapSubject { reach, ..push };
        assert!(!any.wants(reaching(elsewhere)) && any.wants(reaching(both)));
        for (narrow, push_fits) in [
            (
                TapFilter {
                    uid: Some("tom".into()),
                    ..filter()
                },
                true,
            ),
            (
                TapFilter {
                    uid: Some("ann".into()),
                    ..filter()
                },
                false,
            ),
            (
                TapFilter {
                    group: Some("g".into()),
                    ..filter()
                },
                true,
            ),
            (
                TapFilter {
                    listeners: Some([3].into()),
                    ..filter()
                },
                true,
            ),
            (
                TapFilter {
                    listeners: Some([2].into()),
                    ..filter()
                },
                false,
            ),
            (
                TapFilter {
                    kinds: vec![TapKind::Kick],
                    ..filter()
                },
                false,
            ),
        ] {
            assert_eq!(narrow.wants(push), push_fits, "{narrow:?}");
        }
    }

    #[test]
    fn what_has_no_room_is_counted_and_the_rest_is_there_once() {
        let mut taps = Taps::default();
        let filter = Arc::new(filter());
        assert_eq!(taps.ask(0, ID, &filter), Some(TapBatch::default()));
        for (told, kept, dropped) in [(EVENTS_MAX, EVENTS_MAX, 0), (EVENTS_MAX + 3, EVENTS_MAX, 3)]
        {
            for _ in 0..told {
                taps.tell(1, subject("tom"), |_| kick("tom"));
            }
            let batch = taps.ask(1, ID, &filter).expect("it is there");
            assert_eq!((batch.events.len(), batch.dropped), (kept, dropped));
            assert_eq!(taps.ask(1, ID, &filter), Some(TapBatch::default()));
        }
        // By bytes, too: the last may be over.
        let large = "x".repeat(100 << 10);
        for _ in 0..5 {
            taps.tell(1, subject("tom"), |_| kick(&large));
        }
        let batch = taps.ask(1, ID, &filter).expect("it is there");
        assert_eq!((batch.events.len(), batch.dropped), (3, 2));
    }

    #[test]
    fn so_many_look_and_those_that_are_gone_make_room() {
        let mut taps = Taps::default();
        let filter = Arc::new(filter());
        let id = |number: usize| (CoreId(0), number as u64);
        for number in 0..TAPS_MAX {
            assert!(taps.ask(0, id(number), &filter).is_some());
        }
        assert_eq!(taps.ask(0, id(TAPS_MAX), &filter), None);
        taps.end(id(3));
        assert!(taps.ask(0, id(TAPS_MAX), &filter).is_some());
        // One is asked, the others' time is over.
        assert!(taps.ask(LEASE - 1, id(0), &filter).is_some());
        taps.tell(LEASE, subject("tom"), |_| kick("tom"));
        assert_eq!(taps.0.len(), 1);
        taps.tell(2 * LEASE - 1, subject("tom"), |_| kick("tom"));
        assert!(taps.is_empty());
    }

    #[test]
    fn a_message_is_shown_from_its_beginning() {
        let bytes = [b'x'; SHOWN_BYTES_MAX + 1];
        assert_eq!(Shown::new(&bytes, false).beginning, None);
        let shown = Shown::new(&bytes, true);
        let beginning = shown.beginning.expect("it is wanted");
        assert_eq!(
            (shown.length, beginning.len()),
            (SHOWN_BYTES_MAX + 1, SHOWN_BYTES_MAX)
        );
    }
}
