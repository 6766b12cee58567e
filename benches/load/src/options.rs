//! The command line of `ringpost bench`, and the [`Plan`]s that it stands for.

use std::net::IpAddr;
use std::path::PathBuf;

use super::plan::{Kind, Plan, To};
use super::stamp::{STAMP_BYTES_MAX, STAMP_BYTES_MIN};
use super::wire::Tickets;
use super::wire::codec::Codec;
use super::wire::target::Target;
use super::{limits, meter};

/// Most connections of a run; the number of one must fit a stamp with room to spare.
const CONNECTIONS_MAX: usize = 10_000_000;
/// Who floods, if that is not said.
const FLOODERS: usize = 16;
/// Messages that each client misses before it comes back, if that is not said.
const MISSED: usize = 100;
/// Longest run without traffic where there are no pings, in seconds.
const SILENCE_SECONDS_MAX: f64 = 45.0;

/// Messages a second while a command runs, if none are asked for.
const DURING_RATE: f64 = 10_000.0;

/// Examples for the help.
pub const EXAMPLES: &str = "\
Examples:
  ringpost bench echo                                    1,000 users, 10 s, ringpost's default ports
  ringpost bench relay --connections 10000 --senders 100 --in-flight 10
  ringpost bench broadcast --connections 10000 --in-flight 16 --server-pid $(pidof ringpost)
  ringpost bench push --url ws://127.0.0.1:1235 --backend 127.0.0.1:5678
  ringpost bench relay --rate 50000                      latencies at a load that you choose
  ringpost bench flood --connections 10000 --senders 16 --size 60000 --quiet 10
  ringpost bench reconnect --connections 10000 --in-flight 100   each comes back to 100 missed messages
  ringpost bench broadcast --connections 15000 --metrics 127.0.0.1:8080  and how long a core's turn was
  ringpost bench idle --connections 1000,10000,50000 --report /tmp/report
  ringpost bench echo --url text://127.0.0.1:2345 --json | jq .server.per_million

Every message carries its sender, receiver, sequence, time and a checksum. One that is lost, doubled,
out of order, changed or delivered to the wrong connection is counted and makes the exit status 1.

The figure to compare by is the server's CPU seconds per million deliveries: rates depend on what
else the machine does, and on the clients. Bench says when its own clients were the limit.

Exit status: 0 every message arrived; 1 there were faults; 2 the run could not be made.";

/// The flags of `bench`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct BenchArgs {
    /// What the clients do
    #[arg(value_enum)]
    workload: Kind,
    /// The server's listener: ws://, text:// or frame://HOST:PORT, for reconnect http://; or wss:// and the like
    ///
    /// A relay, except for push (a push or relay listener, by default ws://127.0.0.1:1235) and chat
    /// (by default ws://127.0.0.1:9090). Otherwise ws://127.0.0.1:1234. By TLS: wss://, tls+text://,
    /// tls+frame://, https://. Any certificate will do. At a Unix socket: ws+unix:///PATH, or
    /// ws+unix:///PATH:/ws, text+unix:// and so on; @NAME in place of /PATH is an abstract one.
    #[arg(
        long,
        value_name = "URL",
        help_heading = "Server",
        verbatim_doc_comment
    )]
    url: Option<String>,
    /// By TLS: connections after the first show a ticket, so that their handshakes are short ones
    #[arg(long, help_heading = "Server")]
    resume: bool,
    /// For push: the back end's text port; tls+text://HOST:PORT by TLS, unix:///PATH
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:5678")]
    #[arg(help_heading = "Server")]
    backend: String,
    /// For push and reconnect: the back end's token; the variable keeps it out of the process list
    #[arg(long, env = "RINGPOST_BACKEND_TOKEN", hide_env_values = true)]
    #[arg(help_heading = "Server")]
    token: Option<String>,
    /// The server's process, to measure its CPU and memory; repeatable
    ///
    /// On this machine it is found by its port if this is not given. Its children count too.
    #[arg(
        long,
        value_name = "PID",
        help_heading = "Server",
        verbatim_doc_comment
    )]
    server_pid: Vec<u32>,
    /// Ringpost's HTTP listener, to tell how long its cores' turns were; --token opens it, too
    #[arg(long, value_name = "HOST:PORT", help_heading = "Server")]
    metrics: Option<String>,
    /// Clients; a list such as 1000,10000 makes one run of each
    #[arg(
        short,
        long,
        value_name = "N",
        value_delimiter = ',',
        default_value = "1000"
    )]
    #[arg(help_heading = "Load")]
    connections: Vec<usize>,
    /// Measured seconds, after the warm-up
    #[arg(short, long, default_value_t = 10.0, help_heading = "Load")]
    seconds: f64,
    /// Seconds of traffic before the measured ones
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1.0,
        help_heading = "Load"
    )]
    warmup: f64,
    /// Who sends: relay 100 connections, flood 16, chat 10, push 1 back end; echo all of them, broadcast one
    #[arg(long, value_name = "N", help_heading = "Load")]
    senders: Option<usize>,
    /// Messages each sender has on the way: relay 10, push 64, flood 2, otherwise 1; for reconnect those missed, 100
    ///
    /// For broadcast this is the window, and with --rate so many become due together; for chat it is
    /// how many users are out of the room at a time (10).
    #[arg(
        long,
        value_name = "K",
        alias = "window",
        help_heading = "Load",
        verbatim_doc_comment
    )]
    in_flight: Option<usize>,
    /// For flood and reconnect: clients that get 100 small messages a second, first in the calm of the warm-up
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Load")]
    quiet: usize,
    /// For flood: whom it is for
    #[arg(
        long,
        value_enum,
        value_name = "WHOM",
        default_value = "all",
        help_heading = "Load"
    )]
    to: To,
    /// For prove: run this (by sh) before the broadcasts, while clients get messages, --rate a second (10,000)
    ///
    /// Such as an upgrade of the server. How long messages took that were under way or became due while it ran is
    /// told. If it fails, so does the run. Its output goes to standard error.
    #[arg(
        long,
        value_name = "COMMAND",
        help_heading = "Load",
        verbatim_doc_comment
    )]
    during: Option<String>,
    /// Send so many messages a second in all, however the server fares
    ///
    /// Latencies then count from when a message was due (no coordinated omission). Not for idle,
    /// chat, churn, flood and reconnect; for prove with --during only.
    #[arg(long, value_name = "R", help_heading = "Load", verbatim_doc_comment)]
    rate: Option<f64>,
    /// Bytes of a message
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 128,
        help_heading = "Load"
    )]
    size: usize,
    /// Repeats the random choices of a run
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    seed: u64,
    /// Threads that the clients are spread over; by default one for each CPU without the server
    #[arg(long, value_name = "N", help_heading = "Clients")]
    generators: Option<usize>,
    /// CPUs of the clients, such as 1-3; by default those that the server does not use
    #[arg(long, value_name = "LIST", help_heading = "Clients")]
    cpus: Option<String>,
    /// Connect from this address of this machine; repeatable
    ///
    /// To a loopback address of IPv4 the clients come from a thousand addresses each without it.
    #[arg(
        long,
        value_name = "IP",
        help_heading = "Clients",
        verbatim_doc_comment
    )]
    source: Vec<IpAddr>,
    /// Print one JSON object a run, on a line of its own
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Write an HTML page with plots into this folder; runs add up there
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    report: Option<PathBuf>,
    /// What the report calls the server
    #[arg(long, default_value = "ringpost", help_heading = "Output")]
    name: String,
}

/// The command line, checked.
pub struct Options {
    pub plans: Vec<Plan>,
    pub server_pids: Vec<u32>,
    /// As given, or else free of the server.
    pub cpus: Option<std::collections::BTreeSet<usize>>,
    pub generators: Option<usize>,
    pub json: bool,
    pub report: Option<PathBuf>,
    pub name: String,
}

impl BenchArgs {
    /// Checks what can be checked without the server.
    pub fn check(&self) -> Result<Options, String> {
        let kind = self.workload;
        let url = match (&self.url, kind) {
            (Some(url), _) => url,
            (None, Kind::Push) => "ws://127.0.0.1:1235",
            (None, Kind::Chat) => "ws://127.0.0.1:9090",
            (None, Kind::Reconnect) => "http://127.0.0.1:8080",
            (None, _) => "ws://127.0.0.1:1234",
        };
        let mut target = Target::parse(url)?;
        if self.resume {
            let tickets = target.tls.as_mut();
            *tickets.ok_or("--resume: the listener speaks no TLS (--url wss://…)")? =
                Tickets::Shown;
        }
        let backend = match kind {
            Kind::Push => Some(Target::backend(&self.backend)?),
            _ => None,
        };
        if kind == Kind::Chat && target.address.tcp().is_none() {
            return Err(
                "chat by a Unix socket: its users are told apart by their ports; bench it by TCP"
                    .to_owned(),
            );
        }
        self.check_load(&target)?;
        let cpus = match &self.cpus {
            Some(list) => Some(self.check_cpus(list)?),
            None => None,
        };
        if self.generators == Some(0) {
            return Err("--generators 0: expected 1 or more".to_owned());
        }
        let plan = |connections: usize| Plan {
            kind,
            target: target.clone(),
            backend: backend.clone(),
            token: self.token.clone(),
            metrics: self.metrics.clone(),
            connections,
            senders: self.senders.unwrap_or(match kind {
                Kind::Echo => connections,
                Kind::Push => 1,
                Kind::Chat => 10,
                Kind::Flood => FLOODERS,
                _ => 100,
            }),
            in_flight: self.in_flight.unwrap_or(match kind {
                Kind::Relay | Kind::Chat => 10,
                Kind::Push => 64,
                Kind::Flood => 2,
                Kind::Reconnect => MISSED,
                _ => 1,
            }),
            quiet: self.quiet(),
            to: self.to,
            during: self.during.clone(),
            rate: self.rate.or(self.during.as_ref().map(|_| DURING_RATE)),
            size: self.size,
            warmup: self.warmup,
            seconds: self.seconds,
            generators: 1,
            sources: self.source.clone(),
            seed: self.seed,
            run: 0,
        };
        Ok(Options {
            plans: self.connections.iter().copied().map(plan).collect(),
            server_pids: self.server_pid.clone(),
            cpus,
            generators: self.generators,
            json: self.json,
            report: self.report.clone(),
            name: self.name.clone(),
        })
    }

    fn quiet(&self) -> usize {
        match self.workload {
            Kind::Flood | Kind::Reconnect => self.quiet,
            _ => 0,
        }
    }

    fn check_load(&self, target: &Target) -> Result<(), String> {
        let kind = self.workload;
        let least = match kind {
            Kind::Chat | Kind::Churn => 2,
            // And one who reads.
            Kind::Flood => self
                .senders
                .unwrap_or(FLOODERS)
                .saturating_add(self.quiet)
                .saturating_add(1),
            Kind::Reconnect => self.quiet.saturating_add(1),
            _ => 1,
        };
        for connections in &self.connections {
            if !(least..=CONNECTIONS_MAX).contains(connections) {
                return Err(format!(
                    "--connections {connections}: {kind} takes {least} to {CONNECTIONS_MAX}"
                ));
            }
        }
        if !(self.seconds >= 0.1 && self.seconds <= 86_400.0) {
            return Err("--seconds: expected 0.1 to 86400".to_owned());
        }
        if !(self.warmup >= 0.0 && self.warmup <= 3_600.0) {
            return Err("--warmup: expected 0 to 3600".to_owned());
        }
        if self.senders == Some(0) || self.in_flight == Some(0) {
            return Err("--senders and --in-flight: expected 1 or more".to_owned());
        }
        if self.in_flight.is_some_and(|count| count > 1_000_000) {
            return Err("--in-flight: expected at most 1000000".to_owned());
        }
        if !(STAMP_BYTES_MIN..=STAMP_BYTES_MAX).contains(&self.size) {
            return Err(format!(
                "--size {}: a message has {STAMP_BYTES_MIN} to {STAMP_BYTES_MAX} bytes, the first \
                 {STAMP_BYTES_MIN} of which say whose it is",
                self.size
            ));
        }
        if self.during.is_some() && kind != Kind::Prove {
            return Err(format!("--during is for prove, not for {kind}"));
        }
        if let Some(rate) = self.rate {
            if matches!(
                kind,
                Kind::Idle | Kind::Chat | Kind::Churn | Kind::Flood | Kind::Reconnect
            ) || (kind == Kind::Prove && self.during.is_none())
            {
                return Err(format!("--rate is not for {kind}"));
            }
            if !(rate > 0.0 && rate <= 1e8) {
                return Err("--rate: expected more than 0 and at most 100 million".to_owned());
            }
        }
        if (target.codec == Codec::Http) != (kind == Kind::Reconnect) {
            return Err(format!(
                "--url \"{}\": reconnect speaks http:// or https://, and all others ws://, text:// or frame://, \
                 or wss://, tls+text:// or tls+frame://",
                target.url
            ));
        }
        let is_silent = kind == Kind::Idle && self.seconds + self.warmup > SILENCE_SECONDS_MAX;
        let takes_bare = matches!(
            kind,
            Kind::Connect | Kind::Idle | Kind::Echo | Kind::Broadcast
        );
        if target.codec == Codec::Bare && !takes_bare {
            return Err(format!(
                "bare:// is for connect, idle, echo and broadcast: {kind} needs a server that reads"
            ));
        }
        if is_silent && !target.codec.has_handshake() {
            return Err(format!(
                "idle over text:// or frame:// lasts at most {SILENCE_SECONDS_MAX} s: there are no \
                 pings, and the server closes those who are silent"
            ));
        }
        Ok(())
    }

    fn check_cpus(&self, list: &str) -> Result<std::collections::BTreeSet<usize>, String> {
        let cpus = meter::parse_cpus(list)
            .ok_or_else(|| format!("--cpus \"{list}\": expected a list such as 0-3,8"))?;
        let own = meter::own_cpus();
        match cpus.is_subset(&own) {
            true => Ok(cpus),
            false => Err(format!("--cpus {list}: this process may use {own:?} only")),
        }
    }
}

/// How many generators a plan gets, once it is known what the machine gives.
pub fn settle_generators(
    plan: &mut Plan,
    asked: Option<usize>,
    free_cpus: usize,
) -> Result<bool, String> {
    let descriptors = limits::raise_descriptors();
    let own_tables = limits::has_own_tables();
    // More than a few cannot be kept busy by any server of this machine.
    let otherwise = free_cpus.clamp(1, 16);
    plan.generators =
        limits::generators(plan.connections, asked, otherwise, descriptors, own_tables)?;
    if plan.kind == Kind::Flood {
        // Each has a reader.
        let most = plan.connections - plan.quiet - plan.senders;
        plan.generators = plan.generators.min(most) + usize::from(plan.quiet > 0);
    }
    if plan.kind == Kind::Reconnect {
        let most = plan.connections - plan.quiet;
        plan.generators = plan.generators.min(most) + usize::from(plan.quiet > 0);
    }
    let sources = super::wire::Sources::new(&plan.sources, &plan.target.address, 0);
    let each = plan.connections.div_ceil(plan.generators);
    match sources.is_shared() {
        true => limits::check_ports(plan.connections, &sources)?,
        false => limits::check_ports(each, &sources)?,
    }
    Ok(own_tables)
}
