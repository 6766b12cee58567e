//! A Redis Cluster as the partitions of a cluster of ours: [`SlotOfCluster`], each a slot, whose hash tag is in the names of
//! all that is kept and published there. Where its master is, is asked anew at each attempt to join.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, Value};
use tokio::sync::Mutex;

use super::sentinel::{ASK_TIMEOUT, at};
use super::words::in_words;

/// Of a Redis Cluster.
const SLOTS: u32 = 16_384;
/// Where its nodes are, unless the URL says otherwise.
pub const PORT: u16 = 6_379;
/// Most partitions.
pub const PARTITIONS_MAX: u16 = 256;
/// Partitions that ask where they are within this time ask once. It is shorter than the pause before one asks again.
const ASKED_TOGETHER: Duration = Duration::from_millis(40);
/// In the same words for each slot, so that the log is told once.
const NO_MASTER: &str =
    "the Redis Cluster knows no master of a slot that is in use here (redis-cli --cluster check)";

/// One slot of a Redis Cluster.
#[derive(Clone)]
pub struct SlotOfCluster {
    pub cluster: Arc<SlotMaps>,
    pub slot: u16,
}

/// What names have in braces to be in the slot of a partition, and that slot. The slots have about equal distances. That of the
/// first partition is the same however many there are, so that nodes that have other numbers of them hear of each other.
pub fn tag_of(nth: u16, of: u16) -> (String, u16) {
    let of = if nth == 0 { PARTITIONS_MAX } else { of };
    let wanted = |slot: u16| u32::from(slot) * u32::from(of) / SLOTS == u32::from(nth);
    let tags = (0..u32::MAX).map(|number| {
        let tag = format!("{nth}.{number}");
        let slot = slot_of(&tag);
        (tag, slot)
    });
    let mut found = tags.filter(|(_, slot)| wanted(*slot));
    // There is one: each of the partitions has many slots.
    found.next().unwrap_or_default()
}

/// The slot of a hash tag: its CRC-16 (XMODEM).
fn slot_of(tag: &str) -> u16 {
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    });
    crc % SLOTS as u16
}

/// A Redis Cluster, and what was said last of where its slots are.
pub struct SlotMaps {
    /// Some of its nodes.
    seeds: Vec<(String, u16)>,
    last: Mutex<AskedMap>,
}

/// When it was asked for, and what was said.
type AskedMap = Option<(Instant, Result<SlotMap, String>)>;

/// What a node of it has said of all slots.
struct SlotMap {
    slots: Value,
    /// Who has said so.
    by: String,
}

impl SlotMap {
    /// Where the master of a slot is, if it is known.
    fn master(&self, as_this: &ConnectionAddr, slot: u16) -> Option<ConnectionAddr> {
        let (name, port) = master_of(&self.slots, slot)?;
        // One that does not know its own name is where it was asked.
        let name = if name.is_empty() { &self.by } else { &name };
        Some(at(as_this, name, port))
    }
}

impl SlotMaps {
    /// Of the Redis Cluster that has these among its nodes.
    pub fn new(seeds: Vec<(String, u16)>) -> SlotMaps {
        let last = Mutex::default();
        SlotMaps { seeds, last }
    }

    /// What messages call it.
    pub fn name(&self) -> String {
        let listed = self.seeds.iter();
        let listed: Vec<_> = listed
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        format!("the Redis Cluster at {}", listed.join(", "))
    }
}

impl SlotOfCluster {
    /// Where its master is. Partitions that ask at the same time ask once. `connect` makes a client for a node, which is
    /// reached as this one is.
    pub async fn find(
        &self,
        as_this: &ConnectionInfo,
        connect: impl Fn(ConnectionInfo) -> Result<Client, RedisError>,
    ) -> Result<ConnectionAddr, String> {
        let begun = Instant::now();
        let mut last = self.cluster.last.lock().await;
        if let Some((asked, said)) = &*last
            && *asked + ASKED_TOGETHER >= begun
        {
            match said {
                Err(error) => return Err(error.clone()),
                Ok(map) => {
                    if let Some(found) = map.master(as_this.addr(), self.slot) {
                        return Ok(found);
                    }
                }
            }
        }
        let asked = Instant::now();
        let said = self.ask(as_this, connect).await;
        let found = match &said {
            Err(error) => Err(error.clone()),
            Ok(map) => {
                let found = map.master(as_this.addr(), self.slot);
                found.ok_or_else(|| NO_MASTER.to_owned())
            }
        };
        *last = Some((asked, said));
        found
    }

    /// What the first node says that knows its master, or the last that answers.
    async fn ask(
        &self,
        as_this: &ConnectionInfo,
        connect: impl Fn(ConnectionInfo) -> Result<Client, RedisError>,
    ) -> Result<SlotMap, String> {
        let (mut last, mut other) = (String::new(), None);
        for (host, port) in &self.cluster.seeds {
            let to = at(as_this.addr(), host, *port);
            let to = as_this.clone().set_addr(to);
            let asked = async {
                let client = connect(to).map_err(|error| error.to_string())?;
                ask(&client).await.map_err(|error| refused(&error))
            };
            match tokio::time::timeout(ASK_TIMEOUT, asked).await {
                Ok(Ok(slots)) => {
                    let by = host.clone();
                    let map = SlotMap { slots, by };
                    if map.master(as_this.addr(), self.slot).is_some() {
                        return Ok(map);
                    }
                    other = Some(map);
                }
                Ok(Err(error)) => last = format!("{host}:{port}: {error}"),
                Err(_) => last = format!("{host}:{port} does not answer"),
            }
        }
        other.ok_or_else(|| format!("no node of the Redis Cluster says where things are: {last}"))
    }
}

async fn ask(client: &Client) -> Result<Value, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ASK_TIMEOUT))
        .set_response_timeout(None);
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    let mut connection = connection.await?;
    redis::cmd("CLUSTER")
        .arg("SLOTS")
        .query_async(&mut connection)
        .await
}

fn refused(error: &RedisError) -> String {
    match error.code() {
        Some("NOPERM") => "this user may not ask it; its ACL needs +cluster|slots".to_owned(),
        _ if error.to_string().contains("cluster support disabled") => {
            "it is none of a Redis Cluster; name it by redis://".to_owned()
        }
        _ => in_words(error),
    }
}

/// Of ranges of slots with their nodes, the master of one; it may be anything.
fn master_of(slots: &Value, slot: u16) -> Option<(String, u16)> {
    let Value::Array(ranges) = slots else {
        return None;
    };
    ranges.iter().find_map(|range| {
        let Value::Array(range) = range else {
            return None;
        };
        let [
            Value::Int(first),
            Value::Int(last),
            Value::Array(master),
            ..,
        ] = &range[..]
        else {
            return None;
        };
        if !(*first..=*last).contains(&i64::from(slot)) {
            return None;
        }
        let name = match master.first()? {
            Value::BulkString(name) => String::from_utf8(name.clone()).ok()?,
            Value::SimpleString(name) => name.clone(),
            Value::Nil => String::new(),
            _ => return None,
        };
        // As it says it where it has been told to name none.
        let name = if name == "?" { String::new() } else { name };
        match master.get(1)? {
            Value::Int(port) => Some((name, u16::try_from(*port).ok()?)),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // `CLUSTER KEYSLOT` says so.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
        for of in [1, 3, 16, 256] {
            for nth in 0..of {
                let (tag, slot) = tag_of(nth, of);
                assert_eq!(slot_of(&tag), slot);
                assert_eq!(u32::from(slot) * u32::from(of) / SLOTS, u32::from(nth));
            }
        }
        // Nodes of all releases have to agree.
        for of in [1, 16, 256] {
            assert_eq!(tag_of(0, of).0, "0.178");
        }
        assert_eq!(tag_of(1, 2).0, "1.0");
    }

    #[test]
    fn masters_of_slots() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let node = |name: Value, port| Value::Array(vec![name, Value::Int(port), text("id")]);
        let range =
            |first, last, node| Value::Array(vec![Value::Int(first), Value::Int(last), node]);
        let slots = Value::Array(vec![
            range(0, 99, node(text("a"), 1)),
            range(100, 200, node(Value::Nil, 2)),
            Value::Int(3),
            range(201, 300, node(text("b"), 70_000)),
        ]);
        assert_eq!(master_of(&slots, 99), Some(("a".to_owned(), 1)));
        assert_eq!(master_of(&slots, 100), Some((String::new(), 2)));
        for slot in [201, 301] {
            assert_eq!(master_of(&slots, slot), None);
        }
        assert_eq!(master_of(&Value::Nil, 0), None);
    }
}
