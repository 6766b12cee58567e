//! The command line: what can be asked of the program, and which file answers.
//!
//! Bare `ringpost` serves. The other commands are clients of a running server: of its back-end port,
//! `upgrade` by a signal, and `bench` of whatever it measures; except `check` and `doctor`, which only read, `token`, which signs, and
//! `completions` and `man`, which tell of the command line itself.

mod api;
mod assembly;
mod backend;
mod banner;
mod certificates;
mod check;
mod choice;
mod cluster;
mod connections;
mod dial;
#[cfg(feature = "tls")]
mod dial_tls;
#[cfg(not(feature = "tls"))]
#[path = "dial_tls/absent.rs"]
mod dial_tls;
mod doctor;
mod drain;
mod file;
mod group_rules;
mod groups;
mod health;
mod history;
mod history_rules;
mod hooks;
mod http;
mod keys;
mod layers;
mod listener;
mod listeners;
mod live_log;
mod log;
mod manual;
mod mint;
mod nodes;
mod output;
mod panics;
mod push_messages;
mod reload;
mod rule_tables;
mod serve;
mod settings;
mod slot;
mod sources;
mod stats;
mod tokens;
mod trust;
mod upgrade;
mod value_origin;
mod values;

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::{OsStr, Resettable};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

#[cfg(feature = "bench")]
use output::{Status, complain, print};
#[cfg(feature = "bench")]
use ringpost_load::{self as bench, BenchArgs};

const LONG_ABOUT: &str = "\
A push server: clients hold a connection bound to a uid, and a back end pushes to one uid or
to everybody, on every core at once.

Without a command it serves, by default on this machine's loopback only: relay on 1234, push
on 1235 with its back end on 5678, chat on 9090, and a page to try them on 8080.";

const AFTER_HELP: &str = "\
Examples:
  ringpost                                     serve, and say what can be done with it
  ringpost --cores 2 --public                  two cores, clients from other machines too
  ringpost --preset push                       browsers on 1234, the back end on 5678
  ringpost --listen websocket://0.0.0.0:9001=echo --listen text://127.0.0.1:5678=push-backend
  ringpost --config /etc/ringpost.toml         a file; ringpost.example.toml has every key
  RINGPOST_IDLE_TIMEOUT=2m ringpost            every key is a variable, too
  ringpost check /etc/ringpost.toml            is the file right, and what would be served?
  ringpost push uid1 'your order has shipped'  to every connection of uid1
  ringpost online uid1 && echo there           exit status 0 is yes, 1 is no
  ringpost connections --sort bytes_waiting    who is connected, the fullest first
  ringpost log --uid uid1                      what happens to uid1, while it happens
  ringpost groups news                         who is in the group, and on how many connections
  ringpost nodes                               the nodes of a cluster, and how each stands
  ringpost history uid1                        what is kept for uid1, the newest 20 messages
  ringpost doctor --connections 100k           does this machine hold them, and what mends it?
  ringpost token tom --ttl 1h                  a proof for a server with auth, to try it with
  ringpost bench relay --connections 10000     load on a server; see ringpost bench --help
  ringpost health --ready                      exit status 0 while it takes clients
  ringpost upgrade                             the new program goes on, nobody is disconnected

A value is taken from the file, then from a RINGPOST_* variable, then from a flag; the later wins.
At SIGHUP a running server reads them anew; (restart) marks what it does not take over.

Exit status: 0 done, or answered ok; 1 answered fail, or the server failed, or doctor found what
breaks, or health that it is not well; 2 bad command line or configuration, or nobody answers.";

#[derive(Parser, Debug)]
#[command(
    name = "ringpost",
    version,
    about = "A push server: uids, pushes to one or to everybody, on every core at once",
    long_about = LONG_ABOUT,
    after_help = "Try --help for every flag and examples.",
    after_long_help = AFTER_HELP,
    args_conflicts_with_subcommands = true
)]
struct CommandLine {
    #[command(subcommand)]
    command: Option<CliCommand>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Subcommand, Debug)]
enum CliCommand {
    /// Run the server (the same without "serve")
    Serve(serve::ServeArgs),
    /// Send {"uid":UID,"text":TEXT} to every connection of a uid; "all" is everybody
    #[command(
        override_usage = "ringpost push [OPTIONS] <UID> <TEXT>\n       ringpost push [OPTIONS] --connection <ID> <TEXT>"
    )]
    Push {
        /// Whom to push to, and what; with --connection what alone
        #[arg(required = true, num_args = 1..=2, value_names = ["UID", "TEXT"])]
        words: Vec<String>,
        #[command(flatten)]
        one: OneConnection,
        #[command(flatten)]
        server: backend::ServerArgs,
    },
    /// Close every connection of a uid, or one connection
    Kick {
        /// Whom to close
        #[arg(required_unless_present = "connection", conflicts_with = "connection")]
        uid: Option<String>,
        #[command(flatten)]
        one: OneConnection,
        #[command(flatten)]
        server: backend::ServerArgs,
    },
    /// Show who is connected: ids, uids, addresses, what waits for each
    Connections(connections::ConnectionsArgs),
    /// Show what happens, while it happens: connects, ends and messages
    Log(live_log::LogArgs),
    /// Show which groups have connections, or who is in one
    Groups(groups::GroupsArgs),
    /// Show the nodes of a cluster: what each has, and how it reaches Redis
    Nodes(nodes::NodesArgs),
    /// Ask whether a uid has a connection
    Online {
        /// Whom to ask for
        uid: String,
        #[command(flatten)]
        server: backend::ServerArgs,
    },
    /// Show what a server keeps for a uid, a group or everybody, or throw it away
    History(history::HistoryArgs),
    /// Show a running server's counters
    Stats {
        /// The server's own line of JSON instead of a table
        #[arg(long)]
        json: bool,
        /// Again and again, every so often (2s unless told), until it is ended
        #[arg(long, value_name = "TIME", value_parser = slot::parse_time, num_args = 0..=1)]
        #[arg(default_missing_value = "2s", require_equals = true)]
        watch: Option<Duration>,
        #[command(flatten)]
        server: backend::ServerArgs,
    },
    /// Put load on a running server: measure it, and check that every message arrives
    #[cfg(feature = "bench")]
    Bench(Box<BenchArgs>),
    /// Make a token that proves a uid to a server with auth, for trying; or a back end's
    Token(mint::TokenArgs),
    /// Say whether a configuration is right (file, variables, flags), and what it serves
    Check(Box<check::CheckArgs>),
    /// Say how many connections this machine holds, what would break, and what mends it
    Doctor(doctor::DoctorArgs),
    /// Ask whether a server lives, or takes clients: for a container's health check
    Health(health::HealthArgs),
    /// Have a running server hand its connections over to the newly installed program
    Upgrade(upgrade::UpgradeArgs),
    /// Print what a shell completes commands and flags by
    Completions(manual::CompletionsArgs),
    /// Write the manual pages, one a command
    Man(manual::ManArgs),
}

/// One connection in place of a uid's, which the server's HTTP API finds.
#[derive(clap::Args, Debug)]
struct OneConnection {
    /// One connection by its id, as connections shows it, in place of a uid
    #[arg(long, value_name = "ID")]
    connection: Option<String>,
    /// The server's http:// port with its API, or unix:///PATH, for --connection
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    api: String,
}

/// The command that takes an empty variable for an unset one, as [`layers`] does.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |arg: &clap::Arg| {
        let value = arg.get_env().and_then(std::env::var_os);
        value.is_some_and(|value| value.is_empty())
    };
    command
        .mut_args(|arg| match is_empty(&arg) {
            true => arg.env(Resettable::<OsStr>::Reset),
            false => arg,
        })
        .mut_subcommands(without_empty_variables)
}

/// Says how a command is used, and ends.
fn misused(words: &str) -> ! {
    let error = clap::error::ErrorKind::WrongNumberOfValues;
    CommandLine::command().error(error, words).exit()
}

/// Does what the command line asks for.
pub fn run() -> ExitCode {
    let command = without_empty_variables(CommandLine::command());
    let line = CommandLine::from_arg_matches(&command.get_matches());
    let line = line.unwrap_or_else(|error| error.exit());
    let status = match line.command {
        None => serve::run(&line.serve),
        Some(CliCommand::Serve(args)) => serve::run(&args),
        Some(CliCommand::Push { words, one, server }) => match (&one.connection, &words[..]) {
            (Some(id), [text]) => connections::push_to(&server.api(&one.api), id, text),
            (None, [uid, text]) => backend::push(&server, uid, text),
            (Some(_), _) => misused("push --connection takes the text alone, and no uid"),
            (None, _) => misused("push takes a uid and a text: ringpost push UID TEXT"),
        },
        Some(CliCommand::Kick { uid, one, server }) => match &one.connection {
            Some(id) => connections::kick(&server.api(&one.api), id),
            None => backend::kick(&server, &uid.unwrap_or_default()),
        },
        Some(CliCommand::Connections(args)) => connections::run(&args),
        Some(CliCommand::Log(args)) => live_log::run(&args),
        Some(CliCommand::Groups(args)) => groups::run(&args),
        Some(CliCommand::Nodes(args)) => nodes::run(&args),
        Some(CliCommand::Online { uid, server }) => backend::online(&server, &uid),
        Some(CliCommand::History(args)) => history::run(&args),
        Some(CliCommand::Stats {
            json,
            watch,
            server,
        }) => backend::stats(&server, json, watch),
        #[cfg(feature = "bench")]
        Some(CliCommand::Bench(args)) => measure(&args),
        Some(CliCommand::Token(args)) => mint::run(&args),
        Some(CliCommand::Check(args)) => check::run(&args),
        Some(CliCommand::Doctor(args)) => doctor::run(&args),
        Some(CliCommand::Health(args)) => health::run(&args),
        Some(CliCommand::Upgrade(args)) => upgrade::run(&args),
        Some(CliCommand::Completions(args)) => manual::completions(&args, CommandLine::command()),
        Some(CliCommand::Man(args)) => manual::pages(&args, CommandLine::command()),
    };
    status.into()
}

#[cfg(feature = "bench")]
fn measure(args: &BenchArgs) -> Status {
    match bench::run(args, print) {
        Ok(bench::Verdict::Clean) => Status::Done,
        Ok(bench::Verdict::Faulty) => Status::Failed,
        Err(problem) => {
            complain(&problem);
            Status::Trouble
        }
    }
}

#[cfg(test)]
mod tests;
