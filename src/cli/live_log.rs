//! `ringpost log`: what happens on a server, while it happens, over its HTTP API.

use std::fmt::Write;

use clap::ValueEnum;
use ringpost::escape::Escaped;
use serde::Deserialize;

use super::api::ApiArgs;
use super::http::percent_encoded;
use super::output::{Status, complain, try_print};

/// Which events, and of which server.
#[derive(clap::Args, Debug)]
pub struct LogArgs {
    /// What is about this uid alone
    #[arg(long, value_name = "UID")]
    uid: Option<String>,
    /// Messages to this group alone
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Connections of the listener with this URL alone, as stats shows it
    #[arg(long, value_name = "URL")]
    listener: Option<String>,
    /// These kinds alone, with commas between
    #[arg(long, value_name = "KINDS", value_enum, value_delimiter = ',')]
    kind: Vec<LogKind>,
    /// The beginnings of messages, too
    #[arg(long)]
    data: bool,
    /// One object of JSON an event, as the server tells it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum LogKind {
    /// A connection's handshake is done
    Open,
    /// It has bound its uid
    Connect,
    /// It has ended, or lost its uid
    Disconnect,
    /// A back end has connections closed
    Kick,
    /// A back end has sent a message
    Push,
    /// A client has said something for the back end
    Message,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct LogEvent {
    at: String,
    kind: String,
    uid: Option<String>,
    group: Option<String>,
    all: bool,
    connection: Option<String>,
    address: Option<String>,
    app: Option<String>,
    reason: Option<String>,
    seconds: u64,
    connections: u64,
    kept: bool,
    told: Option<String>,
    bytes: u64,
    text: Option<String>,
    cut: bool,
    dropped: u64,
}

/// Shows it until it is ended, or the server ends it.
pub fn run(args: &LogArgs) -> Status {
    let shown = args.api.follow(&target(args), |line| {
        let Some(json) = line.strip_prefix("data: ") else {
            return true;
        };
        try_print(&match args.json {
            true => format!("{json}\n"),
            false => told(&serde_json::from_str(json).unwrap_or_default()),
        })
    });
    match shown {
        Ok(()) => {
            complain(&format!("{} tells no more", Escaped(&args.api.to)));
            Status::Failed
        }
        Err(problem) => problem.report(),
    }
}

fn target(args: &LogArgs) -> String {
    let kinds = args.kind.iter().filter_map(ValueEnum::to_possible_value);
    let kinds: Vec<String> = kinds.map(|kind| kind.get_name().to_owned()).collect();
    let kinds = kinds.join(",");
    let fields = [
        ("uid", args.uid.as_deref()),
        ("group", args.group.as_deref()),
        ("listener", args.listener.as_deref()),
        ("kind", (!kinds.is_empty()).then_some(&*kinds)),
        ("data", args.data.then_some("true")),
    ];
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let pairs = fields.map(|(name, value)| format!("{name}={}", percent_encoded(value)));
    format!("/v1/log?{}", pairs.collect::<Vec<_>>().join("&"))
}

/// For people: what cannot be shown is escaped, so that each is one line.
fn told(event: &LogEvent) -> String {
    let whom = match (&event.uid, &event.group, &event.connection) {
        _ if event.all => "all",
        (Some(name), _, _) | (None, Some(name), _) | (None, None, Some(name)) => name,
        (None, None, None) => "-",
    };
    let (at, kind) = (Escaped(&event.at), Escaped(&event.kind).to_string());
    if event.dropped > 0 {
        return format!("({} more, for which there was no room)\n", event.dropped);
    }
    let mut line = format!("{at}  {kind:10}  {}", Escaped(whom));
    let shown = |text: &Option<String>| Escaped(text.as_deref().unwrap_or("-")).to_string();
    let place = format!(
        "{} {} {}",
        shown(&event.connection),
        shown(&event.app),
        shown(&event.address)
    );
    // Writing into a string does not fail.
    let _ = match &*event.kind {
        "open" | "connect" => write!(line, "  {place}"),
        "disconnect" => {
            let (reason, seconds) = (shown(&event.reason), event.seconds);
            write!(line, "  {place}  {reason}, after {seconds} s")
        }
        "kick" => write!(line, "  {}", connections(event.connections)),
        "push" => {
            let kept = if event.kept { ", kept" } else { "" };
            let reached = connections(event.connections);
            write!(line, "  {} bytes to {reached}{kept}", event.bytes)
        }
        _ => write!(
            line,
            "  {place}  {} bytes, {}",
            event.bytes,
            shown(&event.told)
        ),
    };
    if let Some(text) = &event.text {
        let more = if event.cut { "…" } else { "" };
        let _ = write!(line, "  {}{more}", Escaped(text));
    }
    line.push('\n');
    line
}

fn connections(count: u64) -> String {
    match count {
        0 => "nobody".to_owned(),
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(json: &str) -> String {
        told(&serde_json::from_str(json).expect("JSON"))
    }

    #[test]
    fn each_is_one_line() {
        for (json, shown) in [
            (
                r#"{"at":"T","kind":"connect","uid":"to\nm","connection":"0-1f","address":"192.0.2.7:1","app":"push"}"#,
                "T  connect     to\\nm  0-1f push 192.0.2.7:1\n",
            ),
            (
                r#"{"at":"T","kind":"disconnect","connection":"0-1f","app":"push","address":"a","reason":"kicked","seconds":7}"#,
                "T  disconnect  0-1f  0-1f push a  kicked, after 7 s\n",
            ),
            (
                r#"{"at":"T","kind":"push","all":true,"connections":2,"bytes":5,"text":"ab","cut":true}"#,
                "T  push        all  5 bytes to 2 connections  ab…\n",
            ),
            (
                r#"{"at":"T","kind":"push","group":"g","connections":0,"bytes":5,"kept":true}"#,
                "T  push        g  5 bytes to nobody, kept\n",
            ),
            (
                r#"{"kind":"dropped","dropped":9}"#,
                "(9 more, for which there was no room)\n",
            ),
        ] {
            assert_eq!(line(json), shown);
        }
    }
}
