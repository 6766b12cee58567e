//! What a connection is called outside, in the log, to back ends and to its client: [`ConnName`].

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ConnId, CoreId};

/// Digits of a node's number.
const NODE_DIGITS: usize = 16;
/// Most characters of a name.
const CHARS_MAX: usize = 5 + 1 + 16 + 1 + NODE_DIGITS;
/// Set in what is written of the core's number where a node follows.
const HAS_NODE: u32 = 1 << 16;

/// A connection's name for everybody outside: `3-100000002`, or, of a node of a cluster, `3-100000002-8f3a9c01d2e4b567`. It
/// stays as long as the connection, wherever that moves to, and no other connection of the server or its cluster has it,
/// nor, but for one in billions, one of its next start.
///
/// It is made of the place where the connection was when its name was first told to anybody: the core, the connection's id
/// there, and the node. What is to be made of it is nobody's but the server's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnName {
    pub(crate) core: CoreId,
    pub(crate) id: ConnId,
    /// The node's number, in bytes so that a name stays small.
    node: [u8; 8],
}

impl ConnName {
    /// Of one that is there, on this node of a cluster, or with 0 on none.
    pub(crate) const fn new(core: CoreId, id: ConnId, node: u64) -> ConnName {
        let node = node.to_ne_bytes();
        ConnName { core, id, node }
    }

    /// Its node's number; 0 where there is no cluster.
    pub(crate) const fn node(self) -> u64 {
        u64::from_ne_bytes(self.node)
    }
}

impl fmt::Debug for ConnName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut told = f.debug_struct("ConnName");
        told.field("core", &self.core).field("id", &self.id);
        match self.node() {
            0 => told.finish(),
            node => told.field("node", &node).finish(),
        }
    }
}

impl Display for ConnName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.core.0, self.id.to_bits())?;
        match self.node() {
            0 => Ok(()),
            node => write!(f, "-{node:016x}"),
        }
    }
}

/// One of no cluster.
impl From<(u16, u64)> for ConnName {
    fn from((core, bits): (u16, u64)) -> ConnName {
        ConnName::new(CoreId(core), ConnId::from_bits(bits), 0)
    }
}

/// Two numbers; and the node's, if there is one.
impl Serialize for ConnName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (core, bits) = (u32::from(self.core.0), self.id.to_bits());
        let has_node = self.node() != 0;
        let mut parts = serializer.serialize_tuple(2 + usize::from(has_node))?;
        parts.serialize_element(&(core | if has_node { HAS_NODE } else { 0 }))?;
        parts.serialize_element(&bits)?;
        if has_node {
            parts.serialize_element(&self.node())?;
        }
        parts.end()
    }
}

impl<'de> Deserialize<'de> for ConnName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ConnName, D::Error> {
        deserializer.deserialize_tuple(3, NameParts)
    }
}

/// Reads them.
struct NameParts;

impl<'de> Visitor<'de> for NameParts {
    type Value = ConnName;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("a connection's name")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<ConnName, A::Error> {
        let missing = || A::Error::custom("a connection's name with too few parts");
        let core: u32 = parts.next_element()?.ok_or_else(missing)?;
        let bits: u64 = parts.next_element()?.ok_or_else(missing)?;
        let node: u64 = match core & HAS_NODE {
            0 => 0,
            _ => parts.next_element()?.ok_or_else(missing)?,
        };
        let core = u16::try_from(core & !HAS_NODE).map_err(A::Error::custom)?;
        Ok(ConnName::new(CoreId(core), ConnId::from_bits(bits), node))
    }
}

/// A text that no connection is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadConnName;

impl Display for BadConnName {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a connection's id is a number, \"-\" and hexadecimal digits, as in 3-100000002, and in a cluster \"-\" and the \
             16 digits of a node",
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
        let (core, rest) = text.split_once('-').ok_or(BadConnName)?;
        let (id, node) = match rest.split_once('-') {
            Some((id, node)) => (id, Some(node)),
            None => (rest, None),
        };
        let is_plain = |part: &str, digit: fn(&u8) -> bool| {
            part.bytes().all(|byte| digit(&byte)) && (part == "0" || !part.starts_with('0'))
        };
        let is_lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if !is_plain(core, u8::is_ascii_digit) || !is_plain(id, is_lower_hex) {
            return Err(BadConnName);
        }
        let core = core.parse().map_err(|_| BadConnName)?;
        let number = |digits| u64::from_str_radix(digits, 16).map_err(|_| BadConnName);
        let node = match node {
            None => 0,
            Some(node) => {
                let is_one = node.len() == NODE_DIGITS && node.bytes().all(|it| is_lower_hex(&it));
                let is_one = is_one && node.bytes().any(|it| it != b'0');
                is_one.then(|| number(node)).ok_or(BadConnName)??
            }
        };
        Ok(ConnName::new(
            CoreId(core),
            ConnId::from_bits(number(id)?),
            node,
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_alone() {
        let name = ConnName::new(CoreId(3), ConnId::from_bits(0x1_0000_0002), 0);
        assert_eq!(name.to_string(), "3-100000002");
        assert_eq!("3-100000002".parse(), Ok(name));
        let of_node = ConnName::new(name.core, name.id, 0xab);
        assert_eq!(of_node.to_string(), "3-100000002-00000000000000ab");
        assert_eq!("3-100000002-00000000000000ab".parse(), Ok(of_node));
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
            "3-1f-0000000000000000",
            "3-1f-00000000000000AB",
            "3-1f-00000000000000ab-1",
            "3-1f-+0000000000000ab",
            "3-1f-0000000000000ab",
            "3-1f-",
            "3-1g",
            "٣-1f",
        ] {
            assert_eq!(bad.parse::<ConnName>(), Err(BadConnName), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_read_back(core: u16, bits: u64, node: u64) {
            for node in [0, node] {
                let name = ConnName::new(CoreId(core), ConnId::from_bits(bits), node);
                prop_assert_eq!(name.to_string().parse(), Ok(name));
                prop_assert!(name.to_string().len() <= CHARS_MAX);
                let written = postcard::to_allocvec(&(name, 7_u8)).expect("it has a length");
                prop_assert_eq!(postcard::from_bytes(&written), Ok((name, 7_u8)));
            }
            // Without a node it is what it was when there were none.
            let plain = postcard::to_allocvec(&ConnName::from((core, bits))).expect("so has it");
            prop_assert_eq!(plain, postcard::to_allocvec(&(core, bits)).expect("and this"));
        }

        #[test]
        fn what_is_read_is_written_alike(text in "[0-9]{0,6}-?[0-9a-f]{0,18}(-[0-9a-f]{14,17})?") {
            if let Ok(name) = text.parse::<ConnName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
