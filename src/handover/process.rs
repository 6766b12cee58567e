//! What is the process' and no core's: [`ProcessRecord`].

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::record::{BadRecord, VERSION};
use super::webhooks::WrittenWebhooks;
use crate::events::UidEvent;

/// One thing of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ProcessRecord {
    /// Of the thread that delivers webhooks, before the events.
    Webhooks(WrittenWebhooks),
    /// An event that is to be delivered, in the order of those of its core.
    Event(Box<UidEvent>),
    /// The keys of TLS tickets of some listeners.
    Tickets(WrittenTickets),
    /// Lines of the log that standard error did not take.
    LogLost(u64),
}

/// Keys by which TLS tickets are made and read. They are overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenTickets {
    /// The files of the listeners' TLS: those with the same have the same tickets.
    pub files: Box<str>,
    /// Each with the time at which it was made, in seconds since 1970; the newest first.
    pub keys: Vec<(u64, Vec<u8>)>,
}

impl std::fmt::Debug for WrittenTickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WrittenTickets({})", self.keys.len())
    }
}

impl Drop for WrittenTickets {
    fn drop(&mut self) {
        self.keys.iter_mut().for_each(|(_, key)| key.zeroize());
    }
}

/// So much is made room for at once, that no secret is left where there was none: a record with keys has less.
const ROOM: usize = 4 << 10;

impl ProcessRecord {
    /// Writes it down. It may hold keys.
    pub fn write(&self) -> Result<Zeroizing<Vec<u8>>, BadRecord> {
        let written = postcard::to_extend(&(VERSION, self), Vec::with_capacity(ROOM))?;
        Ok(Zeroizing::new(written))
    }

    /// Reads it back.
    pub fn read(bytes: &[u8]) -> Result<ProcessRecord, BadRecord> {
        let (version, rest) = postcard::take_from_bytes::<u32>(bytes)?;
        if version != VERSION {
            return Err(BadRecord::Version(version));
        }
        let (record, rest) = postcard::take_from_bytes::<ProcessRecord>(rest)?;
        if !rest.is_empty() {
            return Err(BadRecord::Damaged("more than one is there".to_owned()));
        }
        if let ProcessRecord::Event(event) = &record {
            let checked = event.what.check();
            checked.map_err(|what| BadRecord::Damaged(what.to_owned()))?;
        }
        Ok(record)
    }
}
