//! What a connection is called outside, in the log, to back ends and to its client: [`ConnName`].

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ConnId, CoreId};

/// Most characters of a name.
const CHARS_MAX: usize = 5 + 1 + 16;

/// A connection's name for everybody outside: `3-100000002`. It stays as long as the connection, wherever that moves to,
/// and no other connection of the server has it, nor, but for one in billions, one of its next start.
///
/// It is made of the place where the connection was when its name was first told to anybody: the core, and the
/// connection's id there. What is to be made of it is nobody's but the server's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(from = "(u16, u64)", into = "(u16, u64)")]
pub struct ConnName {
    pub(crate) core: CoreId,
    pub(crate) id: ConnId,
}

impl ConnName {
    /// Of one that is there.
    pub(crate) const fn new(core: CoreId, id: ConnId) -> ConnName {
        ConnName { core, id }
    }
}

impl Display for ConnName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.core.0, self.id.to_bits())
    }
}

impl From<(u16, u64)> for ConnName {
    fn from((core, bits): (u16, u64)) -> ConnName {
        ConnName::new(CoreId(core), ConnId::from_bits(bits))
    }
}

impl From<ConnName> for (u16, u64) {
    fn from(name: ConnName) -> (u16, u64) {
        (name.core.0, name.id.to_bits())
    }
}

/// A text that no connection is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadConnName;

impl Display for BadConnName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a connection's id is a number, \"-\" and hexadecimal digits, as in 3-100000002",
        )
    }
}

impl std::error::Error for BadConnName {}

impl FromStr for ConnName {
    type Err = BadConnName;

    /// Reads what is written by `Display`, and nothing else: one connection has one name.
    fn from_str(text: &str) -> Result<ConnName, BadConnName> {
        if text.len() > CHARS_MAX {
            return Err(BadConnName);
        }
        let (core, id) = text.split_once('-').ok_or(BadConnName)?;
        let is_plain = |part: &str, digit: fn(&u8) -> bool| {
            part.bytes().all(|byte| digit(&byte)) && (part == "0" || !part.starts_with('0'))
        };
        let is_lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !is_plain(core, u8::is_ascii_digit) || !is_plain(id, is_lower_hex) {
            return Err(BadConnName);
        }
        let core = core.parse().map_err(|_| BadConnName)?;
        let bits = u64::from_str_radix(id, 16).map_err(|_| BadConnName)?;
        Ok(ConnName::from((core, bits)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_alone() {
        let name = ConnName::new(CoreId(3), ConnId::from_bits(0x1_0000_0002));
        assert_eq!(name.to_string(), "3-100000002");
        assert_eq!("3-100000002".parse(), Ok(name));
        for bad in [
            "",
            "-",
            "3-",
            "-1f",
            "3",
            "03-1f",
            "3-01f",
            "3-1F",
            "+3-1f",
            "3-+1f",
            "3 -1f",
            "65536-1f",
            "3-10000000000000000",
            "3-1f ",
            "3-1f-1",
            "3-1g",
            "٣-1f",
        ] {
            assert_eq!(bad.parse::<ConnName>(), Err(BadConnName), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_read_back(core: u16, bits: u64) {
            let name = ConnName::from((core, bits));
            prop_assert_eq!(name.to_string().parse(), Ok(name));
            prop_assert!(name.to_string().len() <= CHARS_MAX);
        }

        #[test]
        fn what_is_read_is_written_alike(text in "[0-9]{0,6}-?[0-9a-f]{0,18}") {
            if let Ok(name) = text.parse::<ConnName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
