//! What arrives: records opened where they lie, and what is not for the application dealt with.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use super::keys::has_explicit_nonce;
use super::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, EXPANSION_12_MAX, EXPANSION_13_MAX, FRUITLESS_MAX,
    HANDSHAKE, HEADER_BYTES, RECORD_PLAIN_MAX, Records, TAG_BYTES, Version,
};
use crate::tls::failure::{CLOSE_NOTIFY, End, Failure, USER_CANCELED};

/// A handshake message of TLS 1.3 (RFC 8446, 4.6.3).
pub(super) const KEY_UPDATE: u8 = 24;
/// An alert that does not end the connection (RFC 5246, 7.2).
const WARNING: u8 = 1;

/// What became of input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedRecords {
    /// So many bytes of the input are done with. What follows is the beginning of a record.
    pub taken: usize,
    /// So many bytes at the input's beginning are now what the peer has sent, in one piece.
    pub plain: usize,
    /// What was met after these, if nothing more can be read.
    pub end: Option<End>,
}

impl Records {
    /// Opens the records that are whole in `input`, moving what they hold to its beginning. After an end nothing more is
    /// looked at, and all is taken.
    pub fn open(&mut self, input: &mut [u8]) -> OpenedRecords {
        let (mut taken, mut plain) = (0, 0);
        let mut key = None;
        let end = loop {
            if self.ended {
                taken = input.len();
                break None;
            }
            match self.open_next(input, taken, plain, &mut key) {
                Ok(None) => break None,
                Ok(Some((record, held))) => (taken, plain) = (taken + record, plain + held),
                Err(end) => {
                    self.ended = true;
                    taken = input.len();
                    break Some(end);
                }
            }
        };
        OpenedRecords { taken, plain, end }
    }

    /// Opens the record at `at`: how long it was, and how many bytes of the application it brought to `plain`. `None` if
    /// it is not whole.
    fn open_next(
        &mut self,
        input: &mut [u8],
        at: usize,
        plain: usize,
        key: &mut Option<LessSafeKey>,
    ) -> Result<Option<(usize, usize)>, End> {
        let Some(header) = input[at..].first_chunk::<HEADER_BYTES>().copied() else {
            return Ok(None);
        };
        let length = self.check_header(header).map_err(End::Failed)?;
        let end = at + HEADER_BYTES + length;
        if end > input.len() {
            return Ok(None);
        }
        let key = key.get_or_insert_with(|| self.theirs.expanded(self.cipher));
        let record = &mut input[plain..end];
        let body = at + HEADER_BYTES - plain;
        let (kind, held) = self
            .decrypt(header, record, body, key)
            .map_err(End::Failed)?;
        if self.theirs.count() == self.cipher.records_per_key_max() {
            self.wants_update = self.version == Version::Tls13;
        }
        let held = &record[..held];
        if kind == APPLICATION_DATA && self.held_len == 0 {
            self.spend_patience(held.is_empty())?;
            return Ok(Some((HEADER_BYTES + length, held.len())));
        }
        self.spend_patience(true)?;
        let has_new_key = match kind {
            ALERT if self.held_len == 0 => self.alert(held)?,
            HANDSHAKE => self.handshake(held)?,
            // Another kind amid a message that is not complete, too (RFC 8446, 5.1).
            _ => return Err(End::Failed(Failure::UnexpectedMessage)),
        };
        if has_new_key {
            *key = self.theirs.expanded(self.cipher);
        }
        Ok(Some((HEADER_BYTES + length, 0)))
    }

    /// How long the record is that begins so.
    fn check_header(&self, header: [u8; HEADER_BYTES]) -> Result<usize, Failure> {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let (kind, expansion_max) = match self.version {
            // The version is ignored there (RFC 8446, 5.1). All is sealed, and what is not is not looked at.
            Version::Tls13 => (header[0] == APPLICATION_DATA, EXPANSION_13_MAX),
            Version::Tls12 => {
                let kind = (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&header[0]);
                (kind && header[1..3] == [3, 3], EXPANSION_12_MAX)
            }
        };
        if !kind {
            return Err(Failure::UnexpectedMessage);
        }
        if length > RECORD_PLAIN_MAX + expansion_max {
            return Err(Failure::RecordOverflow);
        }
        Ok(length)
    }

    /// Opens a record whose body begins at `body` and ends with `record`, to the beginning of that: its kind, and how
    /// long what it held is.
    fn decrypt(
        &self,
        header: [u8; HEADER_BYTES],
        record: &mut [u8],
        mut body: usize,
        key: &LessSafeKey,
    ) -> Result<(u8, usize), Failure> {
        let bad = |_| Failure::BadRecordMac;
        if self.version == Version::Tls13 {
            let nonce = Nonce::assume_unique_for_key(self.theirs.nonce());
            let opened = key
                .open_within(nonce, Aad::from(header), record, body..)
                .map_err(bad)?;
            if opened.len() > RECORD_PLAIN_MAX + 1 {
                return Err(Failure::RecordOverflow);
            }
            // Zeros after the type are padding (RFC 8446, 5.4).
            let kind = opened.iter().rposition(|byte| *byte != 0);
            let kind = kind.ok_or(Failure::UnexpectedMessage)?;
            return Ok((opened[kind], kind));
        }
        let nonce = if has_explicit_nonce(self.version, self.cipher) {
            let explicit = record[body..].first_chunk().copied();
            body += 8;
            self.theirs
                .nonce_with(explicit.ok_or(Failure::BadRecordMac)?)
        } else {
            Nonce::assume_unique_for_key(self.theirs.nonce())
        };
        let len = record.len().checked_sub(body + TAG_BYTES);
        let len = len.ok_or(Failure::BadRecordMac)?;
        let associated = Aad::from(self.theirs.associated_12(header[0], len));
        let opened = key
            .open_within(nonce, associated, record, body..)
            .map_err(bad)?;
        if opened.len() > RECORD_PLAIN_MAX {
            return Err(Failure::RecordOverflow);
        }
        Ok((header[0], opened.len()))
    }

    fn spend_patience(&mut self, is_fruitless: bool) -> Result<(), End> {
        self.fruitless = match is_fruitless {
            true => self.fruitless.saturating_add(1),
            false => 0,
        };
        match self.fruitless > FRUITLESS_MAX {
            true => Err(End::Failed(Failure::Fruitless)),
            false => Ok(()),
        }
    }

    /// An alert has come. It changes no key.
    fn alert(&mut self, alert: &[u8]) -> Result<bool, End> {
        // They are not sent in fragments (RFC 8446, 5.1), and two are not in one record.
        let &[level, alert] = alert else {
            let failure = match alert {
                [] => Failure::UnexpectedMessage,
                _ => Failure::Decode,
            };
            return Err(End::Failed(failure));
        };
        match (self.version, alert) {
            (_, CLOSE_NOTIFY) => Err(End::Closed),
            (_, USER_CANCELED) => Ok(false),
            (Version::Tls12, _) if level == WARNING => Ok(false),
            _ => Err(End::Alert(alert)),
        }
    }

    /// A part of the handshake messages that may come now. True if what follows has a new key.
    fn handshake(&mut self, part: &[u8]) -> Result<bool, End> {
        if part.is_empty() {
            return Err(End::Failed(Failure::UnexpectedMessage));
        }
        if self.version == Version::Tls12 {
            // Whatever it is, it would begin another handshake.
            return Err(End::Failed(Failure::Renegotiation));
        }
        let kept = usize::from(self.held_len).min(self.held.len());
        let whole = || self.held[..kept].iter().chain(part).copied();
        let expected = [KEY_UPDATE, 0, 0, 1];
        for (at, (byte, expected)) in whole().zip(expected).enumerate() {
            if byte != expected {
                let failure = match at {
                    0 => Failure::UnexpectedMessage,
                    _ => Failure::Decode,
                };
                return Err(End::Failed(failure));
            }
        }
        let asks = match whole().nth(expected.len()) {
            None => {
                let kept_now = kept + part.len();
                self.held[kept..kept_now].copy_from_slice(part);
                self.held_len = kept_now as u8;
                return Ok(false);
            }
            Some(0) => false,
            Some(1) => true,
            Some(_) => return Err(End::Failed(Failure::IllegalParameter)),
        };
        // Nothing that the old key has sealed follows (RFC 8446, 5.1).
        if kept + part.len() > expected.len() + 1 {
            return Err(End::Failed(Failure::UnexpectedMessage));
        }
        self.held_len = 0;
        self.owes_update |= asks;
        self.theirs.update(self.cipher);
        Ok(true)
    }
}
