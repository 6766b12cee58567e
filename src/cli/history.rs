//! `ringpost history`: what a server keeps for a uid, a group or everybody, shown or thrown away, over its HTTP API.

use clap::ArgGroup;
use ringpost::escape::Escaped;
use ringpost::ident::{EVERYBODY, check_uid};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{ApiArgs, Problem};
use super::http::percent_encoded;
use super::output::{Status, complain, print};

/// Messages that one request may ask for.
const PAGE_MAX: u32 = 1_000;

/// Whose messages, which of them, and which server.
#[derive(clap::Args, Debug)]
#[command(group = ArgGroup::new("stream").required(true).args(["uid", "group"]))]
pub struct HistoryArgs {
    /// Whose messages; "all" is what was sent to everybody
    uid: Option<String>,
    /// The messages of a group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// What follows this position, the oldest first; without it the newest
    #[arg(long, value_name = "EPOCH:OFFSET")]
    since: Option<String>,
    /// How many messages at most
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// One object of JSON a message, as the server tells it
    #[arg(long)]
    json: bool,
    /// Throw away what is kept; who comes back for it is told of a gap
    #[arg(long, conflicts_with_all = ["since", "limit", "json"])]
    forget: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Deserialize)]
struct PageAnswer<'p> {
    top: String,
    #[serde(borrow)]
    messages: Vec<&'p RawValue>,
    gap: Option<GapAnswer>,
}

#[derive(Deserialize)]
struct GapAnswer {
    asked: Option<String>,
    first: Option<String>,
}

#[derive(Deserialize)]
struct MessageAnswer<'p> {
    position: String,
    #[serde(borrow)]
    data: Option<&'p RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

/// Shows it, or has it thrown away.
pub fn run(args: &HistoryArgs) -> Status {
    let (kind, name) = match (&args.uid, &args.group) {
        (Some(uid), _) => ("uid", uid),
        (None, Some(group)) => ("group", group),
        (None, None) => return Status::Trouble,
    };
    if (kind, &**name) != ("uid", EVERYBODY)
        && let Err(error) = check_uid(name)
    {
        complain(&format!("\"{}\" is no {kind}: {error}", Escaped(name)));
        return Status::Trouble;
    }
    let stream = format!("{kind}={}", percent_encoded(name));
    let done = match args.forget {
        true => forget(args, &stream),
        false => show(args, &stream),
    };
    match done {
        Ok(()) => Status::Done,
        Err(problem) => problem.report(),
    }
}

fn forget(args: &HistoryArgs, stream: &str) -> Result<(), Problem> {
    let body = ask(args, "DELETE", stream)?;
    let forgotten = serde_json::from_str::<serde_json::Value>(&body)
        .ok()
        .and_then(|answer| answer["forgotten"].as_u64());
    let count = forgotten.ok_or_else(|| args.api.not_ours())?;
    print(&format!("{count} messages thrown away\n"));
    Ok(())
}

/// Asks page by page. Of the newest there is one page: they cannot be read on.
fn show(args: &HistoryArgs, stream: &str) -> Result<(), Problem> {
    let (mut left, mut since) = (args.limit, args.since.clone());
    loop {
        let limit = left.min(PAGE_MAX);
        let order = match &since {
            Some(since) => format!("since={}", percent_encoded(since)),
            None => "reverse=true".to_owned(),
        };
        let body = ask(args, "GET", &format!("{stream}&limit={limit}&{order}"))?;
        let mut page: PageAnswer<'_> =
            serde_json::from_str(&body).map_err(|_| args.api.not_ours())?;
        if since.is_none() {
            page.messages.reverse();
        }
        tell_gap(&page);
        let mut last = None;
        for raw in &page.messages {
            let message: MessageAnswer<'_> =
                serde_json::from_str(raw.get()).map_err(|_| args.api.not_ours())?;
            print(&match args.json {
                true => format!("{}\n", raw.get()),
                false => line(&message),
            });
            last = Some(message.position);
        }
        left -= limit.min(u32::try_from(page.messages.len()).unwrap_or(limit));
        let at_top = last.as_ref().is_none_or(|last| *last == page.top);
        if since.is_none() || at_top || left == 0 {
            if !args.json {
                complain(&format!(
                    "the position at the top is {}",
                    Escaped(&page.top)
                ));
            }
            return Ok(());
        }
        since = last;
    }
}

/// For people: what cannot be shown is escaped, so that a message is one line.
fn line(message: &MessageAnswer<'_>) -> String {
    let text = match message {
        MessageAnswer {
            data: Some(data), ..
        } => data.get().to_owned(),
        MessageAnswer {
            base64: Some(base64),
            ..
        } => format!("base64:{base64}"),
        MessageAnswer { text, .. } => text.clone().unwrap_or_default(),
    };
    format!("{}  {}\n", Escaped(&message.position), Escaped(&text))
}

fn tell_gap(page: &PageAnswer<'_>) {
    let Some(gap) = &page.gap else { return };
    let asked = match &gap.asked {
        Some(asked) => format!("not everything after {} is there", Escaped(asked)),
        None => "--since is no position of this stream".to_owned(),
    };
    complain(&match &gap.first {
        Some(first) => format!("{asked}; the oldest that is there is {}", Escaped(first)),
        None => format!("{asked}; nothing is"),
    });
}

fn ask(args: &HistoryArgs, method: &str, query: &str) -> Result<String, Problem> {
    args.api.ask(method, &format!("/v1/history?{query}"))
}
