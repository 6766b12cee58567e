//! What a server and its successor say to each other, in this order: [`Hello`] by the new one, [`UpgradeOffer`] by the old one,
//! [`SuccessorReply`] by the new one. Then each core of the old one sends [`Parcel`]s, and the last words are [`Sent`], [`SuccessorReply`]
//! and [`Commit`].
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
    /// That was all, of all cores.
    End,
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
