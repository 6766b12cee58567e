//! What one seed plays with: how many cores, which limits, and what its clients say.

use std::time::Duration;

use fastrand::Rng;

use super::keeping::Keeping;
use crate::config::{Config, GroupRule, UidPolicy};

/// What no uid may be.
const NO_UID: &str = "no\u{7f}uid";
pub const GROUPS_MAX: usize = 3;
/// Namespaces that are made while it runs. One is called like an app's own, with which it has nothing to do.
const NAMESPACES: [&str; 3] = ["talk", "n1", "n2"];

/// Drawn once from the seed.
#[derive(Clone, Debug)]
pub struct Scene {
    pub cores: usize,
    pub steps: usize,
    pub clients_max: usize,
    pub uids: usize,
    pub policy: UidPolicy,
    pub per_uid: usize,
    pub outbox: usize,
    pub outbox_core: usize,
    pub transit: usize,
    pub transit_core: usize,
    /// Connections send when they are bound, which no credit holds back.
    pub says_when_bound: bool,
    /// How many in a hundred of the clients' steps are a death.
    pub deaths: u32,
    pub large: bool,
    /// What is kept, if anything is.
    pub keeping: Option<Keeping>,
    /// In which groups members are told of each other, and for how long one may be gone.
    pub presence: Option<(&'static str, Duration)>,
}

impl Scene {
    pub fn draw(rng: &mut Rng) -> Scene {
        let policies = [UidPolicy::Multi, UidPolicy::Replace, UidPolicy::Reject];
        let tight = rng.u8(..) < 100;
        Scene {
            cores: rng.usize(1..=5),
            steps: rng.usize(1500..4000),
            clients_max: rng.usize(6..50),
            uids: rng.usize(2..14),
            policy: policies[[0, 0, 0, 1, 2][rng.usize(0..5)]],
            per_uid: [2, 256][rng.usize(0..2)],
            outbox: [1 << 20, 1 << 20, 40_000, 2_000][rng.usize(0..4)],
            outbox_core: [1 << 30, 1 << 30, 1 << 30, 20_000][rng.usize(0..4)],
            transit: if tight { rng.usize(1..1_500) } else { 1 << 20 },
            transit_core: if tight { rng.usize(1..6_000) } else { 64 << 20 },
            says_when_bound: !tight && rng.bool(),
            deaths: [0, 0, 2, 10][rng.usize(0..4)],
            large: rng.u8(..) < 60,
            keeping: (rng.u8(..) < 160).then(|| Keeping::draw(rng)),
            presence: rng.bool().then(|| {
                let name = ["*", "g1"][rng.usize(0..2)];
                (name, Duration::from_millis(rng.u64(0..900)))
            }),
        }
    }

    pub fn config(&self, reloaded: bool) -> Config {
        let mut config = Config {
            cores: self.cores,
            uid_policy: self.policy,
            connections_per_uid_max: self.per_uid,
            groups_per_connection_max: GROUPS_MAX,
            outbox_bytes_max: self.outbox,
            outbox_bytes_core_max: self.outbox_core,
            transit_bytes_max: self.transit,
            transit_bytes_core_max: self.transit_core,
            ..Config::default()
        };
        if let Some((name, presence_grace)) = self.presence {
            config.groups.push(GroupRule {
                // A reload tells of others, and of none that it told of before.
                name: if reloaded { "g2" } else { name }.to_owned(),
                public: true,
                presence: true,
                presence_grace,
            });
        }
        // Clients of `ringpost.v1` come into groups by themselves.
        config.groups.push(GroupRule {
            name: "*".to_owned(),
            public: true,
            presence: false,
            presence_grace: Duration::ZERO,
        });
        if let Some(keeping) = &self.keeping {
            keeping.configure(&mut config, reloaded);
        }
        config
    }

    /// As how many a message counts that reaches all namespaces: what may be kept goes out for each by itself.
    pub fn namespaces(&self) -> usize {
        if self.keeping.is_some() { 4 } else { 1 }
    }

    /// Nothing is ever lost to a receiver that lives.
    pub fn roomy(&self) -> bool {
        self.outbox >= 1 << 20 && self.outbox_core >= 1 << 30
    }

    fn size(&self, rng: &mut Rng) -> usize {
        match rng.u8(..) {
            0..8 if self.large => rng.usize(4_000..20_000),
            0..40 => rng.usize(100..700),
            _ => rng.usize(0..40),
        }
    }

    pub fn uid(&self, rng: &mut Rng) -> String {
        match rng.u8(..) {
            0..3 => NO_UID.to_owned(),
            3..10 => "nobody".to_owned(),
            _ => format!("u{}", rng.usize(0..self.uids)),
        }
    }

    pub fn group(rng: &mut Rng) -> String {
        format!("g{}", rng.usize(0..5))
    }

    fn namespace(rng: &mut Rng) -> &'static str {
        NAMESPACES[rng.usize(0..NAMESPACES.len())]
    }

    /// Where a client is from the first: most are in their app's own.
    pub fn namespace_of(&self, client: usize) -> Option<&'static str> {
        let nth = client % 12;
        NAMESPACES
            .get(nth / 2)
            .copied()
            .filter(|_| !nth.is_multiple_of(2))
    }

    /// What an app does in its own name.
    fn then(&self, rng: &mut Rng) -> String {
        let size = self.size(rng);
        if rng.u8(..) < 20 {
            return format!("one,{},{size}", rng.usize(0..self.clients_max));
        }
        match rng.u8(0..7) {
            6 => {
                let (name, group) = (Self::namespace(rng), Self::group(rng));
                match rng.u8(0..3) {
                    0 => format!("in,{name},all,{size}"),
                    1 => format!("in,{name},group,{group},{size}"),
                    _ => format!("in,{name},push,{},{size}", self.uid(rng)),
                }
            }
            0 => String::new(),
            1 => format!("all,{size}"),
            2 => format!("group,{},{size}", Self::group(rng)),
            3 => format!("refresh,{},{size}", Self::group(rng)),
            4 => format!("push,{},{size}_uid,u0,8", self.uid(rng)),
            _ => format!("uid,{},{size}", self.uid(rng)),
        }
    }

    fn command(&self, rng: &mut Rng) -> String {
        let size = self.size(rng);
        match rng.u8(..) {
            0..12 => return "name".to_owned(),
            12..32 => return format!("one {} {size}", rng.usize(0..self.clients_max)),
            _ => {}
        }
        let uid = self.uid(rng);
        let group = Self::group(rng);
        match rng.u8(0..100) {
            0..24 => format!("uid {uid} {size}"),
            24..32 => format!("tell {uid} {size}"),
            32..38 => format!("all {size}"),
            38..39 => format!("tell all {size}"),
            39..47 => format!("group {group} {size}"),
            47..52 => format!("refresh {group} {size}"),
            52..58 => format!("push {uid} {size}"),
            58..60 => format!("push all {size}"),
            60..63 => format!("online {uid}"),
            63..64 => "stats".to_owned(),
            64..65 if rng.bool() => match rng.u8(0..3) {
                0 => format!("kickone {}", rng.usize(0..self.clients_max)),
                _ => format!("kick {uid}"),
            },
            64..72 => format!("join {group}"),
            72..75 => format!("leave {group}"),
            75..78 => format!("note * {}", self.then(rng)),
            78..81 => format!("note {} {}", rng.usize(0..self.cores), self.then(rng)),
            81..83 => format!("after {} {}", rng.u32(0..2000), self.then(rng)),
            83..86 => "reply now -".to_owned(),
            86..88 => format!("reply answer {uid}"),
            88..89 => format!("anew {uid}"),
            89..90 if rng.u8(..) < 60 => "unbind".to_owned(),
            90..93 => format!("reply timer {}", rng.u32(0..2000)),
            93..94 if rng.u8(..) < 40 => "close".to_owned(),
            94..95 => format!("enter {}", Self::namespace(rng)),
            _ => format!("echo {size}"),
        }
    }

    /// A client's next message without its number. `binds` says that its time to bind may have come.
    pub fn message(&self, rng: &mut Rng, binds: bool) -> String {
        let mut commands = Vec::new();
        for _ in 0..[1, 1, 1, 2, 4][rng.usize(0..5)] {
            commands.push(self.command(rng));
        }
        if binds && rng.u8(..) < 40 {
            let at = rng.usize(0..=commands.len());
            commands.insert(at, format!("enter {}", Self::namespace(rng)));
        }
        if binds && rng.u8(..) < 160 {
            let at = rng.usize(0..=commands.len());
            // Nearly one in ten is refused.
            let uid = match rng.u8(..) {
                0..20 => NO_UID.to_owned(),
                _ => self.uid(rng),
            };
            commands.insert(at, format!("bind {uid}"));
        }
        commands.join(";")
    }

    /// What one says who follows streams: it stays what it is, unless it is to be another uid.
    pub fn message_of_follower(&self, rng: &mut Rng, is_home: bool) -> Option<String> {
        let rebinds = self.keeping.as_ref().is_some_and(|keeping| keeping.rebinds);
        let message = self.message(rng, false);
        let said: Vec<&str> = message
            .split(';')
            .filter(|command| {
                let word = command.split(' ').next().unwrap_or_default();
                match word {
                    "leave" | "enter" | "close" | "unbind" => false,
                    // What it follows it has joined by then.
                    "join" => is_home,
                    "anew" => rebinds,
                    _ => true,
                }
            })
            .collect();
        (!said.is_empty()).then(|| said.join(";"))
    }

    /// How far time goes on in one step.
    pub fn pause(&self, rng: &mut Rng) -> Duration {
        Duration::from_millis(match rng.u16(..) {
            0..100 => rng.u64(1_000..30_000),
            _ => rng.u64(0..150),
        })
    }
}
