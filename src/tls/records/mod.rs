//! The record layer of an established connection (RFC 8446, 5; RFC 5246, 6.2): both directions' keys and how far they
//! are used, and nothing else. [`Records::open`] in `opening.rs`, [`Records::seal`] in `sealing.rs`.
//!
//! A record that has arrived in part stays with the caller. Keys are expanded for each call, which costs some hundred
//! nanoseconds, rather than kept, which would cost some 600 bytes for each direction. The value can be written down: it
//! moves between processes with its connection. Whoever writes it down has the keys.

mod cipher;
mod keys;
mod opening;
mod sealing;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use cipher::{Cipher, Version};
pub use keys::Secret;
use keys::TrafficKeys;
pub use opening::OpenedRecords;
pub use sealing::Exhausted;

/// Most bytes that a record holds (RFC 8446, 5.1).
pub const RECORD_PLAIN_MAX: usize = 1 << 14;
/// A record's type, version and length.
pub const HEADER_BYTES: usize = 5;
/// Most bytes that a record has beside those it holds: header, TLS 1.2's part of the nonce or TLS 1.3's type, tag.
pub const OVERHEAD_MAX: usize = HEADER_BYTES + 8 + TAG_BYTES;
/// Most bytes that may be left over of an unfinished record.
pub const RECORD_BYTES_MAX: usize = HEADER_BYTES + RECORD_PLAIN_MAX + EXPANSION_12_MAX;
/// So many records in succession without a byte for the application end the connection: empty ones, key updates,
/// warnings. Each costs us as much as one that brings something.
pub const FRUITLESS_MAX: u8 = 32;

const TAG_BYTES: usize = 16;
/// What a record of TLS 1.2 may have on top of what it holds (RFC 5246, 6.2.3), and one of TLS 1.3 (RFC 8446, 5.2).
const EXPANSION_12_MAX: usize = 2_048;
const EXPANSION_13_MAX: usize = 256;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// One direction's keys, as rustls gives them.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// As long as the cipher wants it.
    pub key: &'a [u8],
    /// Twelve bytes, of which AES-GCM in TLS 1.2 has four from the handshake.
    pub iv: &'a [u8],
    /// So many records have been sealed.
    pub sequence: u64,
}

/// The record layer of one connection.
#[derive(Serialize, Deserialize)]
pub struct Records {
    version: Version,
    cipher: Cipher,
    /// Records without a byte for the application since the last one with some.
    fruitless: u8,
    /// A handshake message of the peer's that has come in part.
    held: [u8; 4],
    held_len: u8,
    /// The peer has asked for a key update of ours; it goes before what we send next.
    owes_update: bool,
    /// Our next key update asks for one of the peer's, whose key has been used enough.
    wants_update: bool,
    /// Nothing of what arrives is looked at any more.
    ended: bool,
    /// What opens.
    theirs: TrafficKeys,
    /// What seals.
    ours: TrafficKeys,
}

impl Records {
    /// The record layer that begins with these traffic secrets (RFC 8446, 7.3), no record of either being sent yet. TLS
    /// 1.3.
    pub fn new(cipher: Cipher, theirs: &Secret, ours: &Secret) -> Records {
        Records::with(
            Version::Tls13,
            cipher,
            TrafficKeys::derived(cipher, theirs),
            TrafficKeys::derived(cipher, ours),
        )
    }

    fn with(version: Version, cipher: Cipher, theirs: TrafficKeys, ours: TrafficKeys) -> Records {
        Records {
            version,
            cipher,
            fruitless: 0,
            held: [0; 4],
            held_len: 0,
            owes_update: false,
            wants_update: false,
            ended: false,
            theirs,
            ours,
        }
    }

    /// The record layer of TLS 1.2 with these keys and IVs, of which so many records have been sealed. `None` if one is
    /// not of the cipher's length.
    pub fn new_12(cipher: Cipher, theirs: Given<'_>, ours: Given<'_>) -> Option<Records> {
        let keys =
            |given: Given<'_>| TrafficKeys::given(cipher, given.key, given.iv, given.sequence);
        let (theirs, ours) = (keys(theirs)?, keys(ours)?);
        Some(Records::with(Version::Tls12, cipher, theirs, ours))
    }

    /// The record layer of a handshake that rustls has done. `None` if `secrets`, which TLS 1.3 needs, the client's
    /// first, do not make the keys that rustls uses.
    pub(super) fn extracted(
        version: Version,
        cipher: Cipher,
        theirs: Given<'_>,
        ours: Given<'_>,
        secrets: Option<(Secret, Secret)>,
    ) -> Option<Records> {
        if version == Version::Tls12 {
            return Records::new_12(cipher, theirs, ours);
        }
        let (client, server) = secrets?;
        let mut records = Records::new(cipher, &client, &server);
        records.theirs.set_sequence(theirs.sequence);
        records.ours.set_sequence(ours.sequence);
        let are_the_same = records.theirs.are(cipher, theirs.key, theirs.iv)
            && records.ours.are(cipher, ours.key, ours.iv);
        are_the_same.then_some(records)
    }

    /// What was agreed on.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What was agreed on.
    pub fn cipher(&self) -> Cipher {
        self.cipher
    }

    /// Whether nothing more will be opened.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Has nothing more opened, whatever arrives.
    pub fn ignore_rest(&mut self) {
        self.ended = true;
    }

    /// The other end of the same connection.
    pub fn mirrored(&self) -> Records {
        Records::with(
            self.version,
            self.cipher,
            self.ours.again(),
            self.theirs.again(),
        )
    }
}

/// Tells no key.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("opened", &self.theirs.sequence())
            .field("sealed", &self.ours.sequence())
            .finish_non_exhaustive()
    }
}
