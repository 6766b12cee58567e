//! [`Plan`]: one run, checked and complete, and each generator's [`Share`] of it.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use super::target::Target;

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
        })
    }
}

impl Kind {
    /// What one delivery is, in the plural.
    pub fn deliveries(self) -> &'static str {
        match self {
            Kind::Connect => "logins",
            Kind::Chat => "messages and rosters",
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
    pub connections: usize,
    pub senders: usize,
    pub in_flight: usize,
    /// Messages a second of all senders together.
    pub rate: Option<f64>,
    pub size: usize,
    pub warmup: f64,
    pub seconds: f64,
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
        let (first, connections) = part(self.connections, self.generators, number);
        let (first_sender, senders) = match self.kind {
            Kind::Echo => part(self.senders.min(self.connections), self.generators, number),
            // All of it is the first generator's: there is one order.
            Kind::Broadcast | Kind::Prove => (0, usize::from(number == 0)),
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
