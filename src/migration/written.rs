//! A migration's written form: the number of its version, then its parts by serde and postcard.
//!
//! Nothing in it names a field, so whatever changes in a type that is part of it makes another version. What is read back
//! may be damaged: each part is checked as what comes from outside is, and nothing is allocated that has not come.
//! A listener and a namespace are written as their numbers, which whoever reads them maps to its own.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Migration, Progress, SessionPart, Spent, TransportPart};
use crate::shard::ShardPart;

/// The version that is written, and read.
pub const VERSION: u32 = 5;

/// What stands behind the version's number, borrowed where it is written.
#[derive(Serialize, Deserialize)]
struct WrittenMigration<P, G, S> {
    shard_part: P,
    progress: G,
    session: S,
    spent: Option<Spent>,
    proxied_client: Option<SocketAddr>,
    lingered: u64,
}

/// Why bytes are no connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// They are of this version, and another one is read here.
    Version(u32),
    /// They are damaged, or never were one.
    Damaged(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Version(version) => write!(
                f,
                "a connection is written in version {version}, and this server reads version {VERSION}"
            ),
            Unreadable::Damaged(what) => write!(f, "no connection was written there: {what}"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<postcard::Error> for Unreadable {
    fn from(error: postcard::Error) -> Unreadable {
        Unreadable::Damaged(error.to_string())
    }
}

impl Migration {
    /// Writes it down. `None` if its session is the value itself: the app writes that first.
    pub fn write(&self) -> Option<Vec<u8>> {
        let session = match &self.session {
            SessionPart::None => None,
            SessionPart::Written(bytes) => Some(&bytes[..]),
            SessionPart::Value(_) => return None,
        };
        let written = WrittenMigration {
            shard_part: &self.shard_part,
            progress: &self.transport_part.progress,
            session,
            spent: self.transport_part.spent,
            proxied_client: self.transport_part.proxied_client,
            lingered: self.transport_part.lingered,
        };
        postcard::to_allocvec(&(VERSION, written)).ok()
    }

    /// Writes down a copy of a connection that stays where it is.
    pub fn write_copy(
        shard_part: &ShardPart,
        progress: &Progress,
        session: &[u8],
        spent: Option<Spent>,
    ) -> Option<Vec<u8>> {
        let written = WrittenMigration {
            shard_part,
            progress,
            session: Some(session),
            spent,
            proxied_client: None,
            lingered: 0,
        };
        postcard::to_allocvec(&(VERSION, written)).ok()
    }

    /// Reads it back, at this time.
    pub fn read(bytes: &[u8], now: Instant) -> Result<Migration, Unreadable> {
        let (version, rest) = postcard::take_from_bytes::<u32>(bytes)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let (written, rest) = postcard::take_from_bytes::<
            WrittenMigration<ShardPart, Progress, Option<Vec<u8>>>,
        >(rest)?;
        if !rest.is_empty() {
            return Err(Unreadable::Damaged("more than one is there".to_owned()));
        }
        let checked = written.shard_part.check();
        checked.map_err(|what| Unreadable::Damaged(what.to_owned()))?;
        let WrittenMigration {
            shard_part,
            progress,
            session,
            spent,
            proxied_client,
            lingered,
        } = written;
        Ok(Migration {
            shard_part,
            session: session.map_or(SessionPart::None, SessionPart::Written),
            transport_part: TransportPart {
                spent,
                proxied_client,
                lingered,
                ..TransportPart::new(progress, now)
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::config::Config;
    use crate::ident::{CoreId, NamespaceId};
    use crate::migration::{Counted, Input};
    use crate::payload::Message;
    use crate::protocol::{Codec, Decoder};
    use crate::shard::{JoinRequest, ListenerSpec, SavedPhase, Shard};

    /// At home, in two groups, with half a message from it and an answer that waits for an earlier one.
    fn migration() -> Migration {
        let spec = ListenerSpec {
            binds: true,
            proves: true,
            message_bytes_max: 1_000,
            outbox_bytes_max: 1_000,
            compress: true,
            ..ListenerSpec::new(0, Codec::WebSocket, NamespaceId(0))
        };
        let mut shard = Shard::new(&Config::default(), Rc::from([spec]), 1);
        shard.clock.set_now(500);
        let id = shard.insert(0, ([192, 0, 2, 7], 4_660).into());
        assert!(shard.opened(id));
        shard.prove(id, "tom".into(), 1_800_000_000_000);
        assert!(shard.bind(id, "tom"));
        shard.join(id, "g", None);
        shard.join(id, "h", Some("him"));
        shard.send(id, Message::Text("hello"));
        shard.written(id, 3);
        shard.connections.set_core(CoreId(5));
        assert_eq!(shard.connections.tell_name(id).to_string(), "5-100000000");
        let _first = shard.reserve(id);
        let second = shard.reserve(id);
        shard.fill(second, Message::Text("later"));
        shard.clock.set_now(620);
        let mut shard_part = shard.depart(id, None).expect("it may leave");
        shard_part.accepted = 1_790_000_000;
        let mut decoder = Decoder::deflate(1_000);
        let mut input = b"\x01\x83\0\0\0\0\xc3\xa9\xc3\x89\x82\0\0\0\0hi\x80\xfe\x01\0".to_vec();
        let mut at = 0;
        while decoder.next(&mut input, &mut at) != Ok(None) {}
        let mut progress = Progress::new(Input::Messages(decoder), Counted::Address);
        progress.unread = b"unread".to_vec();
        let spent = Spent {
            messages_in: -3_000_000,
            others_in: 0,
            bytes_in: 5,
            behind: Some(1_000),
        };
        Migration {
            shard_part,
            session: SessionPart::Written(b"session".to_vec()),
            transport_part: TransportPart {
                spent: Some(spent),
                proxied_client: Some(([192, 0, 2, 9], 1).into()),
                lingered: 300,
                ..TransportPart::new(progress, Instant::now())
            },
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bytes_of(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        digits.map(|pair| byte(pair).expect("a byte")).collect()
    }

    /// That migration as version 5 has written it. While that is read at all, it is read like this; a change that breaks this
    /// test makes another version.
    const VERSION_5: &str = "050000000000000000000000ffffc0000207b42480f7c4d506030103746f6d000078780001010580808080100100010080a0\
        f1c2b134000000020167000168010368696d000001000200010781056c6174657204656c6c6f0103000180fe010000000000\
        0000000000000400010103c3a9c30200010000e807010006756e7265616402000000000000010773657373696f6e01ff9aee\
        02000a01e8070100c000020901ac02";

    #[test]
    fn what_an_earlier_release_has_written_is_read() {
        let written = migration().write().expect("its session is written");
        assert_eq!(hex(&written), VERSION_5);
        let read = Migration::read(&bytes_of(VERSION_5), Instant::now()).expect("a connection");
        let expected = migration();
        assert_eq!(read.shard_part, expected.shard_part);
        let uid = Some("tom".into());
        assert_eq!(read.shard_part.stage, SavedPhase::Home { uid, binds: None });
        let shown = |migration: &Migration| {
            let TransportPart {
                progress,
                spent,
                proxied_client,
                lingered,
                ..
            } = &migration.transport_part;
            format!("{progress:?} {spent:?} {proxied_client:?} {lingered}")
        };
        assert_eq!(shown(&read), shown(&expected));
        assert!(matches!(read.session, SessionPart::Written(bytes) if bytes == b"session"));
    }

    #[test]
    fn another_version_is_named() {
        let mut written = migration().write().expect("its session is written");
        written[0] = 7;
        let error = Migration::read(&written, Instant::now()).err();
        assert_eq!(error, Some(Unreadable::Version(7)));
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            text.contains("version 7") && text.contains("version 5"),
            "{text}"
        );
    }

    #[test]
    fn a_session_as_a_value_is_not_written() {
        let mut migration = migration();
        migration.session = SessionPart::Value(Box::new(()));
        assert_eq!(migration.write(), None);
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_refused_or_sound() {
        let written = migration().write().expect("its session is written");
        for length in 0..written.len() {
            assert!(Migration::read(&written[..length], Instant::now()).is_err());
        }
        let more = [&written[..], b"x"].concat();
        assert!(Migration::read(&more, Instant::now()).is_err());
        let mut refused = 0;
        for at in 0..written.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = written.clone();
                damaged[at] = byte;
                match Migration::read(&damaged, Instant::now()) {
                    // What it says now can be written again.
                    Ok(read) => assert!(read.write().is_some()),
                    Err(_) => refused += 1,
                }
            }
        }
        assert!(refused > 1_000, "{refused}");
    }

    #[test]
    fn names_that_nobody_can_have_are_refused() {
        for (uid, group) in [("all", "g"), ("", "g"), ("a\n", "g"), ("tom", "a\u{7f}")] {
            let mut migration = migration();
            let uid = Some(uid.into());
            migration.shard_part.stage = SavedPhase::Home { uid, binds: None };
            migration.shard_part.groups = vec![JoinRequest::new(group, None)];
            let written = migration.write().expect("its session is written");
            assert!(Migration::read(&written, Instant::now()).is_err());
        }
    }
}
