//! Names of things: cores, connections, uids, tickets. Plain values, no behaviour beyond their own limits.

mod conn_name;
mod peer_proof;
mod reach;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use conn_name::{BadConnName, ConnName};
pub use peer_proof::PeerProof;

#[cfg(not(feature = "internals"))]
pub(crate) use reach::{NamespaceId, Reach};
#[cfg(feature = "internals")]
#[doc(hidden)]
pub use reach::{NamespaceId, Reach};

/// Longest uid or group name in bytes.
pub const UID_BYTES_MAX: usize = 128;
/// The address that means everybody within reach; nobody can claim it.
pub const EVERYBODY: &str = "all";

/// A core by its number, 0 to `cores - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct CoreId(pub u16);

impl CoreId {
    /// The number as an index into a table of cores.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for CoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A connection on the core that handed the id out. It means nothing on another core.
///
/// The generation makes a stale id harmless: the slot may hold another connection by now, and
/// then whatever was meant for the old one goes nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnId {
    /// No connection: on the account of this one is what no connection pays for.
    pub(crate) const NOBODY: ConnId = ConnId {
        slot: u32::MAX >> 1,
        generation: 0,
    };

    /// Both parts in one word: the token of a timer about this connection, say.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    /// The inverse of [`ConnId::to_bits`].
    pub const fn from_bits(bits: u64) -> ConnId {
        ConnId {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// Names one question (push, kick, online, stats) until its answer comes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub(crate) u64);

/// A place in the order of a connection's replies; see `Context::reserve`.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct Reply {
    pub(crate) connection: ConnId,
    pub(crate) number: u32,
}

/// Why a string cannot be a uid or a group name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum UidError {
    /// Nothing in it.
    Empty,
    /// More than [`UID_BYTES_MAX`] bytes.
    TooLong,
    /// A control character (Unicode category Cc), which could break a log or a line protocol.
    ControlCharacter,
    /// `all`, which addresses everybody.
    Reserved,
}

impl fmt::Display for UidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UidError::Empty => "a uid needs at least one character",
            UidError::TooLong => "a uid has at most 128 bytes",
            UidError::ControlCharacter => "a uid has no control characters",
            UidError::Reserved => "\"all\" is reserved: it addresses everybody",
        })
    }
}

impl std::error::Error for UidError {}

/// Checks a uid: 1–128 bytes of UTF-8 without control characters, and not `all`.
pub fn check_uid(uid: &str) -> Result<(), UidError> {
    check_name(uid)?;
    if uid == EVERYBODY {
        return Err(UidError::Reserved);
    }
    Ok(())
}

/// Checks the name of a group, or of a member of one: the same as a uid's, but that `all` is as good as any, for it is no
/// address there.
pub fn check_name(name: &str) -> Result<(), UidError> {
    if name.is_empty() {
        return Err(UidError::Empty);
    }
    if name.len() > UID_BYTES_MAX {
        return Err(UidError::TooLong);
    }
    if !is_plain(name) && name.chars().any(char::is_control) {
        return Err(UidError::ControlCharacter);
    }
    Ok(())
}

/// Whether all is printable ASCII, as in most uids: then nothing in it needs a closer look.
fn is_plain(uid: &str) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const TOPS: u64 = ONES << 7;
    let (words, tail) = uid.as_bytes().as_chunks();
    // Eight bytes at a time. Where no top bit is set, nothing is carried or borrowed from byte to byte:
    // adding one sets it for 0x7f alone, and, once set, taking away a namespace's value keeps it for those
    // that are no less.
    let plain = words
        .iter()
        .map(|word| u64::from_ne_bytes(*word))
        .all(|word| {
            word & TOPS == 0
                && (word + ONES) & TOPS == 0
                && ((word | TOPS) - ONES * u64::from(b' ')) & TOPS == TOPS
        });
    plain && tail.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uid_is_checked_whatever_it_is_made_of() {
        for character in (0..0x3000).filter_map(char::from_u32) {
            for uid in [
                format!("{character}"),
                format!("ab{character}"),
                format!("é{character}c"),
            ] {
                let expected = match character.is_control() {
                    true => Err(UidError::ControlCharacter),
                    false => Ok(()),
                };
                assert_eq!(check_uid(&uid), expected, "{uid:?}");
            }
        }
    }

    #[test]
    fn plain_is_what_is_printable_ascii_in_every_place() {
        for len in 1..=20 {
            for at in 0..len {
                // One byte among its neighbours in value, so that a carry would show.
                for byte in 0..0x80 {
                    for around in [b' ', b'a', b'~'] {
                        let mut uid = vec![around; len];
                        uid[at] = byte;
                        let uid = String::from_utf8(uid).expect("ASCII");
                        assert_eq!(is_plain(&uid), (b' '..=b'~').contains(&byte), "{uid:?}");
                    }
                }
            }
        }
        for uid in [
            "é",
            "aaaaaaaaé",
            "aaaaaaa\u{80}",
            "李雷李雷李雷",
            "\u{7f}\u{80}aaaaaaaaa",
        ] {
            assert!(!is_plain(uid), "{uid:?}");
        }
    }

    proptest! {
        #[test]
        fn a_uid_is_checked_as_its_characters_are(uid in "[\\x00-\\xa5ab~]{1,40}") {
            let control = uid.chars().any(char::is_control);
            prop_assert_eq!(check_uid(&uid) == Err(UidError::ControlCharacter), control);
        }
    }

    #[test]
    fn uid_limits() {
        assert_eq!(check_uid(""), Err(UidError::Empty));
        assert_eq!(check_uid(&"x".repeat(128)), Ok(()));
        assert_eq!(check_uid(&"x".repeat(129)), Err(UidError::TooLong));
        assert_eq!(check_uid("a\u{7f}b"), Err(UidError::ControlCharacter));
        assert_eq!(check_uid("a\nb"), Err(UidError::ControlCharacter));
        assert_eq!(check_uid("all"), Err(UidError::Reserved));
        assert_eq!(check_uid("All"), Ok(()));
        assert_eq!(check_name("all"), Ok(()));
        assert_eq!(check_name(""), Err(UidError::Empty));
        assert_eq!(check_name("a\nb"), Err(UidError::ControlCharacter));
        assert_eq!(check_uid("李雷"), Ok(()));
    }

    #[test]
    fn connection_ids_survive_the_kernel() {
        let id = ConnId {
            slot: 7,
            generation: u32::MAX,
        };
        assert_eq!(ConnId::from_bits(id.to_bits()), id);
    }
}
