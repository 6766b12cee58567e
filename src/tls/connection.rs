//! [`TlsConnection`]: the TLS of one connection, its handshake and then its records, with what of either is half done. It goes
//! with the connection wherever that goes.
//!
//! Bound: what is held of input is less than one record, and sealed bytes that the kernel has not taken are one record and
//! an alert at most; an idle connection has neither.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::failure::{CLOSE_NOTIFY, End};
use super::handshake::{HandshakeError, HandshakeStep, TlsHandshake};
use super::outcome::{Handshaken, TlsRefusal};
use super::records::{OpenedRecords, RECORD_PLAIN_MAX, Records, Version};

/// See the module. Nearly all are idle, so what few have is in a box of its own.
pub struct TlsConnection {
    stage: Stage,
    rest: Option<Box<Rest>>,
}

/// What few have.
#[derive(Default)]
struct Rest {
    halves: Halves,
    /// What the client is called, if it has shown a certificate.
    client_names: Vec<Box<str>>,
    /// The alert that ends what we send: [`CLOSE_NOTIFY`] unless something is wrong.
    last_alert: u8,
    has_said_last: bool,
}

impl Rest {
    fn is_default(&self) -> bool {
        self.halves.is_empty()
            && self.client_names.is_empty()
            && self.last_alert == CLOSE_NOTIFY
            && !self.has_said_last
    }
}

/// How far it is.
#[derive(Serialize, Deserialize)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are at their records, and the whole is in a box"
)]
enum Stage {
    Records(Records),
    /// It cannot be written down: it stays where it is. The last, since what is read back counts without it.
    #[serde(skip)]
    Handshake(Box<TlsHandshake>),
}

/// What is half done.
#[derive(Default, Serialize, Deserialize)]
struct Halves {
    /// A record that has come in part.
    record: Vec<u8>,
    /// Sealed bytes, or a handshake's, that the kernel has not taken.
    unsent: Vec<u8>,
    /// Whether the outbox still has the last byte of what these were made of.
    owed: bool,
    /// What was met behind input that is still to be taken.
    end: Option<End>,
}

impl Halves {
    fn is_empty(&self) -> bool {
        self.record.is_empty() && self.unsent.is_empty() && self.end.is_none()
    }
}

/// No more may be sealed with the connection's keys (see [`Exhausted`](super::records::Exhausted)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WornOut;

impl TlsConnection {
    /// One whose handshake is to begin.
    pub fn new(config: &Arc<ServerConfig>) -> Result<TlsConnection, TlsRefusal> {
        let handshake = TlsHandshake::new(config).map_err(refusal)?;
        Ok(TlsConnection::at(Stage::Handshake(Box::new(handshake))))
    }

    fn at(stage: Stage) -> TlsConnection {
        TlsConnection { stage, rest: None }
    }

    /// One whose handshake is done.
    pub fn established(records: Records) -> TlsConnection {
        TlsConnection::at(Stage::Records(records))
    }

    /// Whether nothing of it is half done.
    pub fn is_at_rest(&self) -> bool {
        let has_halves = |rest: &Rest| !rest.halves.is_empty() || rest.halves.owed;
        !self.is_shaking_hands() && !self.rest.as_deref().is_some_and(has_halves)
    }

    /// Whether the handshake is under way.
    pub fn is_shaking_hands(&self) -> bool {
        matches!(self.stage, Stage::Handshake(_))
    }

    /// What a trusted authority calls the client, if it has shown a certificate.
    pub fn client_names(&self) -> &[Box<str>] {
        self.rest.as_ref().map_or(&[], |rest| &rest.client_names)
    }

    /// What is held of what has come.
    pub fn bytes_held(&self) -> usize {
        let handshake = match &self.stage {
            Stage::Handshake(handshake) => handshake.bytes_held(),
            Stage::Records(_) => 0,
        };
        let rest = self.rest.as_ref();
        handshake + rest.map_or(0, |rest| rest.halves.record.capacity())
    }

    /// Takes what belongs to the handshake off the beginning of `input`: how much, and what it has come to if it is over.
    /// Appends what is to be sent to `output`, also when it fails.
    pub fn shake_hands(
        &mut self,
        input: &[u8],
        output: &mut Vec<u8>,
    ) -> (usize, Result<Option<Handshaken>, TlsRefusal>) {
        let Stage::Handshake(handshake) = &mut self.stage else {
            return (0, Ok(None));
        };
        let (taken, step) = handshake.advance(input, output);
        let established = match step {
            Ok(HandshakeStep::More) => return (taken, Ok(None)),
            Ok(HandshakeStep::Done(established)) => *established,
            Err(error) => {
                // The alert has been said.
                self.rest().has_said_last = true;
                return (taken, Err(refusal(error)));
            }
        };
        if !established.client_names.is_empty() {
            self.rest().client_names = established.client_names.clone();
        }
        let handshaken = Handshaken {
            is_resumed: established.is_resumed,
            is_retried: established.is_retried,
            is_old: established.records.version() == Version::Tls12,
            client_names: established.client_names,
        };
        self.stage = Stage::Records(*established.records);
        (taken, Ok(Some(handshaken)))
    }
}

/// What arrives.
impl TlsConnection {
    /// How many bytes of a record that has come in part are held.
    pub fn record_bytes(&self) -> usize {
        let rest = self.rest.as_ref();
        rest.map_or(0, |rest| rest.halves.record.len())
    }

    /// Puts these in front of what has been read behind them.
    pub fn take_record(&mut self, input: &mut [u8]) {
        if let Some(rest) = &mut self.rest {
            let record = std::mem::take(&mut rest.halves.record);
            input[..record.len()].copy_from_slice(&record);
            self.tidy();
        }
    }

    /// Keeps the beginning of a record.
    pub fn hold(&mut self, record: &[u8]) {
        if !record.is_empty() {
            self.rest().halves.record = record.to_vec();
        }
    }

    /// Opens the records that are whole, where they lie (see [`Records::open`]).
    pub fn open(&mut self, input: &mut [u8]) -> OpenedRecords {
        match &mut self.stage {
            Stage::Records(records) => records.open(input),
            Stage::Handshake(_) => OpenedRecords {
                taken: 0,
                plain: 0,
                end: None,
            },
        }
    }

    /// Keeps an end until what came before it is taken.
    pub fn keep_end(&mut self, end: End) {
        self.rest().halves.end = Some(end);
    }

    /// The end that was kept.
    pub fn take_end(&mut self) -> Option<End> {
        let end = self.rest.as_mut()?.halves.end.take();
        self.tidy();
        end
    }

    /// Drops what is held of what has come, and opens no more.
    pub fn ignore(&mut self) {
        if let Some(rest) = &mut self.rest {
            rest.halves.record = Vec::new();
            rest.halves.end = None;
            self.tidy();
        }
        if let Stage::Records(records) = &mut self.stage {
            records.ignore_rest();
        }
    }
}

/// What leaves.
impl TlsConnection {
    /// Appends what is written next to `out`: what the kernel has not taken, or up to a record of what the pieces hold. If
    /// they are the last (`ends`) and all fit in, the alert follows them that ends the stream. Returns how many bytes of the
    /// pieces have left by that, once the kernel takes it.
    pub fn seal<'a>(
        &mut self,
        pieces: impl Iterator<Item = &'a [u8]>,
        ends: bool,
        out: &mut Vec<u8>,
    ) -> Result<usize, WornOut> {
        if let Some(Rest { halves, .. }) = self.rest.as_deref_mut()
            && !halves.unsent.is_empty()
        {
            out.extend_from_slice(&std::mem::take(&mut halves.unsent));
            let owed = std::mem::take(&mut halves.owed);
            self.tidy();
            return Ok(usize::from(owed));
        }
        let Stage::Records(records) = &mut self.stage else {
            // It waits for the handshake.
            return Ok(0);
        };
        let (mut room, mut is_all) = (RECORD_PLAIN_MAX, true);
        let taken = pieces.map_while(|piece| {
            let now = &piece[..piece.len().min(room)];
            is_all &= now.len() == piece.len();
            room -= now.len();
            (!now.is_empty() || piece.is_empty()).then_some(now)
        });
        records.seal(taken, out).map_err(|_| WornOut)?;
        if is_all && ends {
            self.seal_last(out);
        }
        Ok(RECORD_PLAIN_MAX - room)
    }

    /// Appends the alert that ends what we send, once.
    pub fn seal_last(&mut self, out: &mut Vec<u8>) {
        if self.is_shaking_hands() || self.has_said_last() {
            return;
        }
        let rest = self.rest();
        rest.has_said_last = true;
        let alert = rest.last_alert;
        if let Stage::Records(records) = &mut self.stage {
            records.seal_alert(alert, out);
        }
    }

    /// Has this alert end what we send, in place of close_notify.
    pub fn end_by(&mut self, alert: u8) {
        self.rest().last_alert = alert;
    }

    /// Has nothing said to a peer that is gone.
    pub fn say_nothing_more(&mut self) {
        self.rest().has_said_last = true;
    }

    /// Whether what ends the stream has been said, and is the last of what is sent.
    pub fn has_said_last(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.has_said_last)
    }

    /// Keeps what the kernel has not taken, behind what is kept already; the outbox has the last byte of it still if it is
    /// `owed`.
    pub fn keep_unsent(&mut self, bytes: &[u8], owed: bool) {
        if !bytes.is_empty() {
            let halves = &mut self.rest().halves;
            halves.unsent.extend_from_slice(bytes);
            halves.owed |= owed;
        }
    }

    /// How many bytes the kernel has not taken.
    pub fn unsent_bytes(&self) -> usize {
        let rest = self.rest.as_ref();
        rest.map_or(0, |rest| rest.halves.unsent.len())
    }

    fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    fn tidy(&mut self) {
        if self.rest.as_ref().is_some_and(|rest| rest.is_default()) {
            self.rest = None;
        }
    }
}

/// How it is written down.
#[derive(Serialize, Deserialize)]
struct WrittenTls<S, H, N> {
    stage: S,
    halves: Option<H>,
    client_names: Option<N>,
    last_alert: u8,
    has_said_last: bool,
}

impl Serialize for TlsConnection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rest = self.rest.as_deref();
        let halves = rest.map(|rest| &rest.halves);
        let client_names = rest.map(|rest| &rest.client_names);
        let written = WrittenTls {
            stage: &self.stage,
            halves: halves.filter(|halves| !halves.is_empty()),
            client_names: client_names.filter(|names| !names.is_empty()),
            last_alert: rest.map_or(CLOSE_NOTIFY, |rest| rest.last_alert),
            has_said_last: self.has_said_last(),
        };
        written.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for TlsConnection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TlsConnection, D::Error> {
        let written: WrittenTls<Stage, Halves, Vec<Box<str>>> =
            WrittenTls::deserialize(deserializer)?;
        let rest = Rest {
            halves: written.halves.unwrap_or_default(),
            client_names: written.client_names.unwrap_or_default(),
            last_alert: written.last_alert,
            has_said_last: written.has_said_last,
        };
        let mut read = TlsConnection::at(written.stage);
        read.rest = (!rest.is_default()).then(|| Box::new(rest));
        Ok(read)
    }
}

/// Tells no key.
impl fmt::Debug for TlsConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage: &dyn fmt::Debug = match &self.stage {
            Stage::Handshake(handshake) => handshake,
            Stage::Records(records) => records,
        };
        f.debug_struct("TlsConnection")
            .field("stage", stage)
            .field("record", &self.record_bytes())
            .field("unsent", &self.unsent_bytes())
            .finish_non_exhaustive()
    }
}

fn refusal(error: HandshakeError) -> TlsRefusal {
    TlsRefusal {
        kind: error.kind(),
        text: error.to_string(),
    }
}
