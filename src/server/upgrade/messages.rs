//! What a server and its successor say to each other, in this order: [`Hello`] by the new one, [`UpgradeOffer`] by the old one,
//! [`SuccessorReply`] by the new one. Then each core of the old one sends [`Parcel`]s, and the last words are [`Sent`], [`SuccessorReply`]
//! and [`Commit`]. What came in later is told by [`Abilities`]: either side may be an earlier release.
//!
//! The first fields of [`Hello`] stay as they are for ever: by them the two find out that they do not understand each other.

use serde::{Deserialize, Serialize};

/// Of the conversation.
pub const VERSION: u32 = 1;

/// The new one is there, and has read its configuration.
#[derive(Serialize, Deserialize, Debug)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// The versions of a connection's written form that it reads.
    pub migrations: Vec<u32>,
    /// The versions of what is written besides.
    pub records: Vec<u32>,
    /// Its release, for people.
    pub release: String,
}

/// What stands behind [`Hello`], if whoever says it can say it: earlier releases neither say nor read it.
/// More may follow in later ones.
#[derive(Clone, Copy, Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// It takes copies of connections before it gets them, and tells how far it is.
    pub copies: bool,
}

/// What stands behind [`UpgradeOffer`].
#[derive(Clone, Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
pub struct OfferRest {
    pub abilities: Abilities,
    /// What the node is called, where it is one of a cluster.
    pub node: Option<String>,
}

/// What stands behind [`Abilities`].
#[derive(Clone, Copy, Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
pub struct ClusterAbilities {
    /// It gives a socket to its cluster's thread, if it is offered to go on as the same node: see [`ClusterOffer`].
    pub goes_on_as_node: bool,
}

/// What stands behind [`OfferRest`].
#[derive(Clone, Serialize, Deserialize, Debug, Default, PartialEq, Eq)]
pub struct OfferEnd {
    pub cluster: Option<ClusterOffer>,
}

/// To go on as the same node of a cluster. Behind the channels of the cores comes a socket to the new one's thread for the
/// cluster.
#[derive(Clone, Serialize, Deserialize, Debug, PartialEq, Eq)]
pub struct ClusterOffer {
    /// Which node it is.
    pub node: u64,
    /// By which is seen whether both are to be in the same cluster.
    pub cluster: String,
}

/// Ours.
pub const OUR_ABILITIES: Abilities = Abilities { copies: true };
pub const OUR_CLUSTER_ABILITIES: ClusterAbilities = ClusterAbilities {
    goes_on_as_node: true,
};

/// A listener, or what stands for one, by what it is wherever it has another number.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct ListenerKey {
    /// The URL that clients use.
    pub url: String,
    /// Whose it is.
    pub namespace: String,
    /// What is spoken there.
    pub codec: String,
    /// How many before it are alike.
    pub nth: u16,
}

/// A listening socket that is offered. Its descriptor follows, in this order.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct OfferedSocket {
    /// The URL that was asked for.
    pub asked: String,
    /// How many listeners before its were asked for by that URL.
    pub nth: u16,
    /// The name by which it was passed to the process, if it was.
    pub passed: Option<String>,
}

/// What the old one has.
#[derive(Serialize, Deserialize, Debug)]
pub struct UpgradeOffer {
    /// How many upgrades there have been before.
    pub upgrades: u64,
    /// What is listened on, by number.
    pub listeners: Vec<ListenerKey>,
    /// Listening sockets.
    pub sockets: Vec<OfferedSocket>,
    /// Namespaces, by number: first those of the apps.
    pub namespaces: Vec<String>,
    /// How many of them are the apps'.
    pub app_namespaces: u32,
    /// Milliseconds that are left.
    pub time: u64,
}

/// Whether the new one goes on.
#[derive(Serialize, Deserialize, Debug)]
pub enum SuccessorReply {
    /// It can take all, by as many channels, which come along.
    Ready(SuccessorPlaces),
    /// It has so many connections.
    Taken(u64),
    /// It cannot, and says why.
    Refused(String),
    /// It has done so much of what is to be done before it can say [`SuccessorReply::Taken`].
    Working(u64),
}

/// What the new one has a place for.
#[derive(Serialize, Deserialize, Debug)]
pub struct SuccessorPlaces {
    /// By the old one's number of a listener, whether it is there still.
    pub listeners: Vec<bool>,
    /// How many cores it has, each of which has a channel.
    pub cores: u16,
}

/// What a core of the old one sends to one of the new one.
#[derive(Serialize, Deserialize)]
pub enum Parcel {
    /// Some of what it keeps, as [`CoreRecord::write`](crate::handover::CoreRecord::write) writes it.
    Records {
        /// What their times count from, in nanoseconds of CLOCK_MONOTONIC.
        moment: u64,
        records: Vec<Vec<u8>>,
    },
    /// Where connections of these uids are at home; the answer is the cores' numbers, in this order.
    Ask(Vec<String>),
    /// Some connections that are at home there, as [`Migration::write`](crate::migration::Migration::write) writes them. Their descriptors come
    /// along.
    Connections(Vec<Vec<u8>>),
    /// That was all, of all cores. No copies were sent.
    End,
    /// Copies of connections that are at home there, which stay where they are for now, and their sockets. The answer is the
    /// number of the first among all copies that this core has got.
    Copies {
        /// Whose they are.
        core: u16,
        /// What their times count from, in nanoseconds of CLOCK_MONOTONIC.
        begun: u64,
        connections: Vec<Vec<u8>>,
    },
    /// These have changed.
    Changed {
        /// Whose copies they are again; `None` of what has been taken out, whose times count from now.
        copies_of: Option<u16>,
        places: Vec<u32>,
        connections: Vec<Vec<u8>>,
    },
    /// The connections of these are gone.
    Gone(Vec<u32>),
    /// That was all, of all cores. By core, for how many ticks the times of its copies run ahead.
    EndOfCopies(Vec<u32>),
}

/// All has been sent. What is no core's follows.
#[derive(Serialize, Deserialize, Debug)]
pub struct Sent {
    pub connections: u64,
    /// How many records follow, of what is no core's.
    pub records: u32,
}

/// The old one's last word: all is the new one's from now on.
#[derive(Serialize, Deserialize, Debug)]
pub struct Commit {
    /// For how long nothing has been read, in milliseconds.
    pub pause: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(value: &impl Serialize) -> String {
        let bytes = postcard::to_allocvec(value).expect("it is written");
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// As the first release that could be upgraded says and hears it. While [`VERSION`] is 1, this stays.
    #[test]
    fn what_is_said_is_said_as_before() {
        let hello = Hello {
            version: VERSION,
            migrations: vec![5],
            records: vec![1],
            release: "0.1.0".to_owned(),
        };
        assert_eq!(hex(&hello), "010105010105302e312e30");
        let offer = UpgradeOffer {
            upgrades: 2,
            listeners: vec![ListenerKey {
                url: "u".to_owned(),
                namespace: "n".to_owned(),
                codec: "c".to_owned(),
                nth: 1,
            }],
            sockets: vec![OfferedSocket {
                asked: "a".to_owned(),
                nth: 0,
                passed: Some("p".to_owned()),
            }],
            namespaces: vec!["n".to_owned()],
            app_namespaces: 1,
            time: 300,
        };
        assert_eq!(hex(&offer), "02010175016e0163010101610001017001016e01ac02");
        let ready = SuccessorPlaces {
            listeners: vec![true, false],
            cores: 2,
        };
        assert_eq!(hex(&SuccessorReply::Ready(ready)), "0002010002");
        assert_eq!(hex(&SuccessorReply::Taken(300)), "01ac02");
        assert_eq!(hex(&SuccessorReply::Refused("x".to_owned())), "020178");
        assert_eq!(hex(&SuccessorReply::Working(3)), "0303");
        let records = Parcel::Records {
            moment: 300,
            records: vec![vec![7]],
        };
        assert_eq!(hex(&records), "00ac02010107");
        assert_eq!(hex(&Parcel::Ask(vec!["u".to_owned()])), "01010175");
        assert_eq!(hex(&Parcel::Connections(vec![vec![7]])), "02010107");
        assert_eq!(hex(&Parcel::End), "03");
        let copies = Parcel::Copies {
            core: 1,
            begun: 300,
            connections: vec![vec![7]],
        };
        assert_eq!(hex(&copies), "0401ac02010107");
        let changed = Parcel::Changed {
            copies_of: Some(1),
            places: vec![2],
            connections: vec![vec![7]],
        };
        assert_eq!(hex(&changed), "0501010102010107");
        assert_eq!(hex(&Parcel::Gone(vec![2])), "060102");
        assert_eq!(hex(&Parcel::EndOfCopies(vec![2])), "070102");
        let sent = Sent {
            connections: 300,
            records: 2,
        };
        assert_eq!(hex(&sent), "ac0202");
        assert_eq!(hex(&Commit { pause: 300 }), "ac02");
    }

    #[test]
    fn an_earlier_release_says_less_and_reads_less() {
        let hello = Hello {
            version: VERSION,
            migrations: vec![5],
            records: vec![1],
            release: "0.1.0".to_owned(),
        };
        let both = postcard::to_allocvec(&(&hello, OUR_ABILITIES)).expect("it is written");
        let read: Hello = postcard::from_bytes(&both).expect("what stands behind is not read");
        assert_eq!(read.release, hello.release);
    }
}
