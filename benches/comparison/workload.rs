//! [`Workload`]: what is measured of each server, as arguments of `ringpost bench`.

/// In the order of the table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub enum Workload {
    /// One sender to everybody, one message at a time
    Broadcast,
    /// One sender to everybody, 16 messages on the way
    #[value(name = "broadcast-16")]
    Broadcast16,
    /// One sender to everybody, 16 messages at once twice a second, however the server fares: each has the same load
    #[value(name = "broadcast-16-rate")]
    Broadcast16Rate,
    /// A few large messages on the way to many: 32 of 60,000 bytes
    #[value(name = "broadcast-large")]
    BroadcastLarge,
    /// 1,000 connections send to themselves, one message each
    Echo,
    /// 100 senders with 10 messages each on the way, receivers at random
    Relay,
    /// 20,000 messages a second in all, however the server fares, receivers at random: each has the same load
    #[value(name = "relay-rate")]
    RelayRate,
    /// A back end's lines through the text port, 64 on the way
    Push,
    /// Connect, upgrade, log in and leave, 200 at a time
    Connect,
    /// The same by TLS, with tickets: short handshakes
    #[value(name = "connect-resumed")]
    ConnectResumed,
    /// Connections that do nothing: memory
    Idle,
    /// 16 senders of 60,000 bytes to everybody, beside 10 quiet clients: what these wait, with it and without
    #[value(name = "flood-large")]
    FloodLarge,
    /// 16 senders of 48 bytes to everybody, 64 on the way of each, beside 10 quiet clients
    #[value(name = "flood-small")]
    FloodSmall,
    /// 16 senders of 60,000 bytes, each time to one reader: out of the quiet clients' reach
    #[value(name = "flood-one")]
    FloodOne,
}

/// Those of the table, in its order.
pub const ALL: [Workload; 11] = [
    Workload::Broadcast,
    Workload::Broadcast16,
    Workload::BroadcastLarge,
    Workload::Echo,
    Workload::Relay,
    Workload::Push,
    Workload::Connect,
    Workload::Idle,
    Workload::FloodLarge,
    Workload::FloodSmall,
    Workload::FloodOne,
];

/// What TLS has a part in, and nothing that takes long.
pub const BY_TLS: [Workload; 9] = [
    Workload::Broadcast,
    Workload::Broadcast16,
    Workload::Broadcast16Rate,
    Workload::Echo,
    Workload::Relay,
    Workload::RelayRate,
    Workload::Connect,
    Workload::ConnectResumed,
    Workload::Idle,
];

impl Workload {
    /// The column's name and what its figures are.
    pub fn title(self) -> (&'static str, &'static str) {
        match self {
            Workload::Broadcast => ("broadcast", "CPU µs"),
            Workload::Broadcast16 => ("broadcast, 16 in flight", "CPU µs"),
            Workload::Broadcast16Rate => ("broadcast, 16 at once, twice a second", "CPU µs"),
            Workload::BroadcastLarge => ("broadcast, 32 × 60 KB", "CPU µs"),
            Workload::Echo => ("echo", "CPU µs"),
            Workload::Relay => ("relay 100 × 10", "CPU µs"),
            Workload::RelayRate => ("relay, 20,000 a second", "CPU µs"),
            Workload::Push => ("push", "CPU µs"),
            Workload::Connect => ("connect + login", "CPU µs"),
            Workload::ConnectResumed => ("connect with a ticket", "CPU µs"),
            Workload::Idle => ("memory", "bytes"),
            Workload::FloodLarge => ("flood, 16 × 60 KB", "CPU µs"),
            Workload::FloodSmall => ("flood, 16 × 64 × 48 B", "CPU µs"),
            Workload::FloodOne => ("flood to single readers, 16 × 60 KB", "CPU µs"),
        }
    }

    /// How bench is called.
    pub fn arguments(self, connections: usize) -> Vec<String> {
        let with = |words: &[&str], connections: usize| -> Vec<String> {
            let words = words.iter().map(|word| (*word).to_owned());
            words
                .chain(["--connections".to_owned(), connections.to_string()])
                .collect()
        };
        let flood = |words: &[&str]| {
            let flood = ["flood", "--senders", "16", "--quiet", "10"];
            with(&[&flood, words].concat(), connections)
        };
        match self {
            Workload::Broadcast => with(&["broadcast", "--in-flight", "1"], connections),
            Workload::Broadcast16 => with(&["broadcast", "--in-flight", "16"], connections),
            Workload::Broadcast16Rate => with(
                &["broadcast", "--in-flight", "16", "--rate", "32"],
                connections,
            ),
            Workload::BroadcastLarge => with(
                &["broadcast", "--in-flight", "32", "--size", "60000"],
                connections,
            ),
            Workload::Echo => with(&["echo", "--senders", "1000"], connections),
            Workload::Relay => with(
                &["relay", "--senders", "100", "--in-flight", "10"],
                connections,
            ),
            Workload::RelayRate => with(
                &["relay", "--senders", "100", "--rate", "20000"],
                connections,
            ),
            Workload::Push => with(&["push", "--in-flight", "64"], connections),
            Workload::Connect => with(&["connect"], 200),
            Workload::ConnectResumed => with(&["connect", "--resume"], 200),
            Workload::Idle => with(&["idle"], connections),
            // So many do not pass an outbox: nobody is cut off for what a busy machine has not let it read.
            Workload::FloodLarge => flood(&["--size", "60000", "--in-flight", "1"]),
            Workload::FloodSmall => flood(&["--size", "48", "--in-flight", "64"]),
            Workload::FloodOne => flood(&["--size", "60000", "--in-flight", "2", "--to", "one"]),
        }
    }

    /// What the floor does for it; nothing where a floor would have to read.
    pub fn floor_mode(self) -> Option<&'static str> {
        match self {
            Workload::Broadcast | Workload::Broadcast16 | Workload::BroadcastLarge => {
                Some("broadcast")
            }
            Workload::Echo | Workload::Idle => Some("echo"),
            Workload::Connect => Some("connect"),
            Workload::Relay
            | Workload::RelayRate
            | Workload::Broadcast16Rate
            | Workload::Push
            | Workload::ConnectResumed => None,
            Workload::FloodLarge | Workload::FloodSmall | Workload::FloodOne => None,
        }
    }

    /// Whose floor it is held against: a relay reads and sends each message once, as an echo does.
    pub fn floor(self) -> Option<Workload> {
        match self {
            Workload::Relay => Some(Workload::Echo),
            // Each is read once and sent to everybody, as in a broadcast of that size.
            Workload::FloodLarge => Some(Workload::BroadcastLarge),
            Workload::RelayRate
            | Workload::Broadcast16Rate
            | Workload::Push
            | Workload::ConnectResumed
            | Workload::FloodSmall
            | Workload::FloodOne => None,
            own => Some(own),
        }
    }
}
