//! [`Plan`]: one run, checked and complete, and each generator's [`Share`] of it.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::wire::target::Target;

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Connect, upgrade, log in and leave, as often as it goes
    Connect,
    /// Hold connections that do nothing: memory per connection, CPU per second
    Idle,
    /// Everybody sends to himself and waits
    Echo,
    /// A few senders, many receivers chosen at random
    Relay,
    /// One sender to everybody
    Broadcast,
    /// Everybody logs in and rests for the warm-up; then each gets broadcasts and a message of his own
    Prove,
    /// A back end's lines through the text port, pipelined
    Push,
    /// A chat room that people join and leave, while others talk
    Chat,
    /// Half of the connections come and go while the others relay
    Churn,
    /// Some flood everybody, or readers at random, beside quiet clients, whose latencies are told with and without it
    Flood,
    /// Clients by events come back within the measured seconds, and each gets what it has missed, beside quiet clients
    Reconnect,
}

/// Whom a flood is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum To {
    /// Everybody, the quiet clients as well
    All,
    /// One reader at a time, chosen at random
    One,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Connect => "connect",
            Kind::Idle => "idle",
            Kind::Echo => "echo",
            Kind::Relay => "relay",
            Kind::Broadcast => "broadcast",
            Kind::Prove => "prove",
            Kind::Push => "push",
            Kind::Chat => "chat",
            Kind::Churn => "churn",
            Kind::Flood => "flood",
            Kind::Reconnect => "reconnect",
        })
    }
}

impl Kind {
    /// What one delivery is, in the plural.
    pub fn deliveries(self) -> &'static str {
        match self {
            Kind::Connect => "logins",
            Kind::Chat => "messages and rosters",
            Kind::Reconnect => "messages replayed",
            _ => "deliveries",
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub target: Target,
    /// Where the back end's lines go, if the workload has any.
    pub backend: Option<Target>,
    pub token: Option<String>,
    /// Where the server's metrics are, if its turns are to be told.
    pub metrics: Option<String>,
    pub connections: usize,
    pub senders: usize,
    /// Clients beside a flood, or beside those who come back; the last of all.
    pub quiet: usize,
    /// Whom a flood is for.
    pub to: To,
    /// A command that is run while each client of `prove` gets messages.
    pub during: Option<String>,
    pub in_flight: usize,
    /// Messages a second of all senders together.
    pub rate: Option<f64>,
    pub size: usize,
    pub warmup: f64,
    pub seconds: f64,
    /// The last one is the quiet clients', if there are any.
    pub generators: usize,
    pub sources: Vec<IpAddr>,
    pub seed: u64,
    /// In every uid, so that two runs do not meet.
    pub run: u32,
}

/// One generator's part.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    /// Which generator, from 0.
    pub number: usize,
    /// The number of its first connection among all.
    pub first: usize,
    pub connections: usize,
    /// The number of its first sender among all.
    pub first_sender: usize,
    pub senders: usize,
    pub in_flight: usize,
    pub rate: Option<f64>,
}

impl Plan {
    /// The share of generator `number`: as even as can be, and at least one sender.
    pub fn share(&self, number: usize) -> Share {
        let others = self.generators - usize::from(self.quiet > 0);
        let (first, connections) = match self.is_of_quiet(number) {
            true => (self.connections - self.quiet, self.quiet),
            false => part(self.connections - self.quiet, others, number),
        };
        let (first_sender, senders) = match self.kind {
            Kind::Echo => part(self.senders.min(self.connections), self.generators, number),
            // All of it is the first generator's: there is one order.
            Kind::Broadcast | Kind::Prove => (0, usize::from(number == 0)),
            Kind::Flood if self.is_of_quiet(number) => (self.senders, 0),
            Kind::Flood => part(self.senders, others, number),
            _ => {
                let all = self.senders.max(self.generators);
                part(all, self.generators, number)
            }
        };
        Share {
            number,
            first,
            connections,
            first_sender,
            senders,
            in_flight: match self.kind {
                // Here it is of all together: so many are out of the room at a time.
                Kind::Chat => part(self.in_flight, self.generators, number).1.max(1),
                _ => self.in_flight,
            },
            rate: match self.kind {
                Kind::Broadcast => self.rate.filter(|_| number == 0),
                _ => self.rate.map(|rate| rate / self.generators as f64),
            },
        }
    }

    /// Whether a generator has the quiet clients, and nobody else.
    pub fn is_of_quiet(&self, number: usize) -> bool {
        self.quiet > 0 && number + 1 == self.generators
    }

    /// The uid of a connection.
    pub fn uid(&self, index: usize) -> String {
        format!("{:08x}-{index}", self.run)
    }
}

/// The first and the number of those that part `number` of `parts` has.
fn part(all: usize, parts: usize, number: usize) -> (usize, usize) {
    let (each, more) = (all / parts, all % parts);
    (
        number * each + number.min(more),
        each + usize::from(number < more),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the generators: nobody is left out, and each that floods has somebody who reads.
    #[test]
    fn a_flood_is_shared_out_whole() {
        for (connections, senders, quiet, flooding) in
            [(27, 16, 10, 1), (31, 16, 10, 5), (3, 1, 1, 1), (9, 4, 0, 3)]
        {
            let plan = Plan {
                kind: Kind::Flood,
                target: Target::parse("ws://127.0.0.1:1").unwrap(),
                backend: None,
                token: None,
                metrics: None,
                connections,
                senders,
                quiet,
                to: To::One,
                during: None,
                in_flight: 1,
                rate: None,
                size: 48,
                warmup: 0.0,
                seconds: 1.0,
                generators: flooding + usize::from(quiet > 0),
                sources: Vec::new(),
                seed: 1,
                run: 1,
            };
            let shares: Vec<Share> = (0..plan.generators)
                .map(|number| plan.share(number))
                .collect();
            let (mut next, mut sender) = (0, 0);
            for share in &shares {
                assert_eq!(
                    (share.first, share.first_sender),
                    (next, sender),
                    "{share:?}"
                );
                assert!(share.connections > share.senders, "{share:?}");
                assert_eq!(plan.is_of_quiet(share.number), share.number == flooding);
                next += share.connections;
                sender += share.senders;
            }
            assert_eq!((next, sender), (connections, senders));
            let last = shares[plan.generators - 1];
            assert!(quiet == 0 || (last.connections, last.senders) == (quiet, 0));
        }
    }

    #[test]
    fn the_parts_are_the_whole() {
        for (all, parts) in [(10, 3), (3, 3), (19_999, 7), (2, 3)] {
            let mut next = 0;
            for number in 0..parts {
                let (first, count) = part(all, parts, number);
                assert_eq!(first, next);
                next += count;
            }
            assert_eq!(next, all);
        }
    }
}
