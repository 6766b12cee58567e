//! What leaves: whole writes sealed into records of up to 16 KiB, and alerts.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

use super::keys::has_explicit_nonce;
use super::{
    ALERT, APPLICATION_DATA, Cipher, HANDSHAKE, HEADER_BYTES, RECORD_PLAIN_MAX, Records, TAG_BYTES,
    Version,
};
use crate::tls::failure::{CLOSE_NOTIFY, NO_RENEGOTIATION, USER_CANCELED};

/// A connection of TLS 1.2 has sent as many records as its key may seal, and has no way to a new one: it has to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exhausted;

/// A record in `out` that has begun at `start` and lacks its end.
struct Begun {
    start: usize,
    body: usize,
}

impl Records {
    /// How many bytes [`seal`](Records::seal) makes of so many: at most, a key update included.
    pub fn sealed_bytes_max(plain: usize) -> usize {
        plain + (plain / RECORD_PLAIN_MAX + 2) * super::OVERHEAD_MAX + 5
    }

    /// Appends all pieces to `out`, sealed as one write. No pieces make no record.
    pub fn seal<'a>(
        &mut self,
        pieces: impl IntoIterator<Item = &'a [u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), Exhausted> {
        let mut key = self.ours.expanded(self.cipher);
        let mut begun = None;
        for mut piece in pieces {
            while !piece.is_empty() {
                let record = match begun.take() {
                    Some(record) => record,
                    None => {
                        self.renew_key(&mut key, out)?;
                        self.begin(APPLICATION_DATA, out)
                    }
                };
                let room = RECORD_PLAIN_MAX - (out.len() - record.body);
                let (now, later) = piece.split_at(room.min(piece.len()));
                out.extend_from_slice(now);
                piece = later;
                if now.len() == room {
                    self.finish(record, APPLICATION_DATA, &key, out);
                } else {
                    begun = Some(record);
                }
            }
        }
        if let Some(record) = begun {
            self.finish(record, APPLICATION_DATA, &key, out);
        }
        Ok(())
    }

    /// Appends the alert that says that no more comes from us.
    pub fn seal_close(&mut self, out: &mut Vec<u8>) {
        self.seal_alert(CLOSE_NOTIFY, out);
    }

    /// Appends an alert.
    pub fn seal_alert(&mut self, alert: u8, out: &mut Vec<u8>) {
        let is_warning = [CLOSE_NOTIFY, USER_CANCELED, NO_RENEGOTIATION].contains(&alert);
        let level = if is_warning { 1 } else { 2 };
        self.seal_record(ALERT, &[level, alert], out);
    }

    /// Begins a new key of ours with what is sent next, and has the peer do the same if it is asked to. With TLS 1.2 there
    /// is none.
    pub fn update_key(&mut self, asks: bool) {
        self.owes_update = self.version == Version::Tls13;
        self.wants_update |= asks;
    }

    /// Goes on with a new key, if one is asked for or the old one has sealed enough (RFC 8446, 4.6.3 and 5.5).
    fn renew_key(&mut self, key: &mut LessSafeKey, out: &mut Vec<u8>) -> Result<(), Exhausted> {
        let is_worn = self.ours.sequence() >= self.cipher.records_per_key_max();
        match self.version {
            Version::Tls12 if is_worn => return Err(Exhausted),
            Version::Tls13 if is_worn || self.owes_update || self.wants_update => {}
            _ => return Ok(()),
        }
        let key_update = [
            super::opening::KEY_UPDATE,
            0,
            0,
            1,
            self.wants_update.into(),
        ];
        self.seal_record(HANDSHAKE, &key_update, out);
        self.ours.update(self.cipher);
        *key = self.ours.expanded(self.cipher);
        (self.owes_update, self.wants_update) = (false, false);
        Ok(())
    }

    /// Appends one record of any kind, also one that has no place. It holds `RECORD_PLAIN_MAX` bytes at most, if the peer is
    /// to take it.
    pub fn seal_record(&mut self, kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
        let key = self.ours.expanded(self.cipher);
        let record = self.begin(kind, out);
        out.extend_from_slice(bytes);
        self.finish(record, kind, &key, out);
    }

    /// Begins a record: its header, whose length is not known yet, and what the nonce shows of itself.
    fn begin(&self, kind: u8, out: &mut Vec<u8>) -> Begun {
        let start = out.len();
        let shown = match self.version {
            Version::Tls13 => APPLICATION_DATA,
            Version::Tls12 => kind,
        };
        out.extend_from_slice(&[shown, 3, 3, 0, 0]);
        if has_explicit_nonce(self.version, self.cipher) {
            out.extend_from_slice(&self.ours.nonce()[4..]);
        }
        let body = out.len();
        Begun { start, body }
    }

    /// Seals what was appended since.
    fn finish(&mut self, record: Begun, kind: u8, key: &LessSafeKey, out: &mut Vec<u8>) {
        let Begun { start, body } = record;
        let plain = out.len() - body;
        if self.version == Version::Tls13 {
            out.push(kind);
        }
        let length = out.len() + TAG_BYTES - start - HEADER_BYTES;
        out[start + 3..start + HEADER_BYTES].copy_from_slice(&(length as u16).to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(self.ours.nonce());
        let (header, in_out) = out.split_at_mut(body);
        let sealed = match self.version {
            Version::Tls13 => {
                let header: [u8; HEADER_BYTES] =
                    header[start..].try_into().expect("nothing but the header");
                key.seal_in_place_separate_tag(nonce, Aad::from(header), in_out)
            }
            Version::Tls12 => {
                let associated = Aad::from(self.ours.associated_12(kind, plain));
                key.seal_in_place_separate_tag(nonce, associated, in_out)
            }
        };
        let tag = sealed.expect("a record is shorter than what the algorithm seals");
        out.extend_from_slice(tag.as_ref());
        self.ours.count();
    }
}

impl Cipher {
    /// Its name in a log, with the version's.
    pub fn name(self) -> &'static str {
        match self {
            Cipher::Aes128Gcm => "AES-128-GCM",
            Cipher::Aes256Gcm => "AES-256-GCM",
            Cipher::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }
}
