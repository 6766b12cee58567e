//! `ringpost connections`: who is connected, over a server's HTTP API; and what `push` and `kick` do with one connection.

use std::fmt::Write;
use std::io::{self, IsTerminal};
use std::time::Duration;

use ringpost::escape::Escaped;
use ringpost::ident::{ConnName, check_uid};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{ApiArgs, Problem};
use super::http::percent_encoded;
use super::output::{Status, complain, print};
use super::slot::parse_time;

/// Connections that one request may ask for.
const PAGE_MAX: u32 = 1_000;
/// Takes a terminal's cursor to its beginning, and clears what is below.
const FROM_THE_TOP: &str = "\x1b[H\x1b[J";

/// Which connections, and which server.
#[derive(clap::Args, Debug)]
pub struct ConnectionsArgs {
    /// Those of this uid alone
    #[arg(long, value_name = "UID")]
    uid: Option<String>,
    /// Those of the listener with this URL alone, as stats shows it
    #[arg(long, value_name = "URL")]
    listener: Option<String>,
    /// Those alone that have not logged in
    #[arg(long, conflicts_with = "uid")]
    unbound: bool,
    /// The fullest first, by what waits to be written to each
    #[arg(long, value_name = "FIGURE", value_parser = ["bytes_waiting"])]
    sort: Option<String>,
    /// How many at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Show their attributes, too
    #[arg(long)]
    attributes: bool,
    /// One object of JSON a connection, as the server tells it
    #[arg(long)]
    json: bool,
    /// Again and again, every so often (2s unless told), until it is ended
    #[arg(long, value_name = "TIME", value_parser = parse_time, num_args = 0..=1)]
    #[arg(default_missing_value = "2s", require_equals = true)]
    watch: Option<Duration>,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Deserialize)]
struct PageOfConnections<'p> {
    #[serde(borrow)]
    connections: Vec<&'p RawValue>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct ConnectionRow<'p> {
    connection: String,
    uid: Option<String>,
    since: String,
    address: String,
    app: Option<String>,
    bytes_waiting: u64,
    paused: bool,
    #[serde(borrow)]
    attributes: Option<&'p RawValue>,
}

/// Shows them, once or every so often.
pub fn run(args: &ConnectionsArgs) -> Status {
    if let Some(uid) = &args.uid
        && let Err(error) = check_uid(uid)
    {
        complain(&format!("\"{}\" is no uid: {error}", Escaped(uid)));
        return Status::Trouble;
    }
    let is_shown = io::stdout().is_terminal() && !args.json;
    loop {
        let text = match list(args, is_shown) {
            Ok(text) => text,
            Err(problem) => return problem.report(),
        };
        match args.watch {
            None => {
                print(&text);
                return Status::Done;
            }
            Some(interval) => {
                let before = if is_shown { FROM_THE_TOP } else { "" };
                print(&format!("{before}{text}"));
                std::thread::sleep(interval);
            }
        }
    }
}

/// Asks page by page.
fn list(args: &ConnectionsArgs, is_shown: bool) -> Result<String, Problem> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let left = args.limit - rows.len() as u32;
        let body = args
            .api
            .ask("GET", &target(args, left, cursor.as_deref()))?;
        let page: PageOfConnections<'_> =
            serde_json::from_str(&body).map_err(|_| args.api.not_ours())?;
        rows.extend(page.connections.iter().map(|raw| raw.get().to_owned()));
        cursor = page.cursor;
        // The fullest are one page.
        if cursor.is_none() || rows.len() as u32 >= args.limit {
            break;
        }
    }
    if args.json {
        return Ok(rows.iter().map(|row| format!("{row}\n")).collect());
    }
    let parsed: Result<Vec<ConnectionRow<'_>>, _> =
        rows.iter().map(|row| serde_json::from_str(row)).collect();
    let mut text = table(&parsed.map_err(|_| args.api.not_ours())?);
    if cursor.is_some() {
        text += "there are more (--limit COUNT)\n";
    }
    if is_shown && !rows.is_empty() {
        text += "ringpost kick --connection ID closes one of them\n";
    }
    Ok(text)
}

fn target(args: &ConnectionsArgs, left: u32, cursor: Option<&str>) -> String {
    let mut target = format!("/v1/connections?limit={}", left.min(PAGE_MAX));
    for (name, value) in [
        ("uid", args.uid.as_deref()),
        ("listener", args.listener.as_deref()),
        ("sort", args.sort.as_deref()),
        ("cursor", cursor),
        ("unbound", args.unbound.then_some("true")),
        ("attributes", args.attributes.then_some("true")),
    ] {
        if let Some(value) = value {
            // Writing into a string does not fail.
            let _ = write!(target, "&{name}={}", percent_encoded(value));
        }
    }
    target
}

/// For people: what cannot be shown is escaped, so that each is one line.
fn table(rows: &[ConnectionRow<'_>]) -> String {
    let heads = ["id", "uid", "app", "address", "since", "waiting", ""];
    let mut cells: Vec<[String; 7]> = vec![heads.map(str::to_owned)];
    for row in rows {
        let notes = [
            row.paused.then(|| "paused".to_owned()),
            row.attributes.map(|it| Escaped(it.get()).to_string()),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        let shown = |text: &Option<String>| Escaped(text.as_deref().unwrap_or("-")).to_string();
        cells.push([
            Escaped(&row.connection).to_string(),
            shown(&row.uid),
            shown(&row.app),
            Escaped(&row.address).to_string(),
            Escaped(&row.since).to_string(),
            row.bytes_waiting.to_string(),
            notes.join("  "),
        ]);
    }
    let width = |nth: usize| {
        let widths = cells.iter().map(|row| row[nth].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let mut line = String::new();
        for (nth, cell) in row.iter().enumerate() {
            let width = widths[nth];
            let _ = match nth {
                5 => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Pushes a text to one connection.
pub fn push_to(api: &ApiArgs, connection: &str, text: &str) -> Status {
    let body = serde_json::json!({"connection": connection, "text": text});
    yes_or_no(api, "/v1/push", connection, &body)
}

/// Closes one connection.
pub fn kick(api: &ApiArgs, connection: &str) -> Status {
    let body = serde_json::json!({ "connection": connection });
    yes_or_no(api, "/v1/kick", connection, &body)
}

fn yes_or_no(api: &ApiArgs, target: &str, id: &str, body: &serde_json::Value) -> Status {
    if let Err(error) = id.parse::<ConnName>() {
        complain(&format!("\"{}\": {error}", Escaped(id)));
        return Status::Trouble;
    }
    let answer = match api.tell(target, &body.to_string()) {
        Ok(answer) => answer,
        Err(problem) => {
            print("fail\n");
            return problem.report();
        }
    };
    let answer: Option<serde_json::Value> = serde_json::from_str(&answer).ok();
    match answer.and_then(|answer| answer["connections"].as_u64()) {
        Some(0) => {
            print("fail\n");
            complain(&format!("no connection has the id {}", Escaped(id)));
            Status::Failed
        }
        Some(_) => {
            print("ok\n");
            Status::Done
        }
        None => api.not_ours().report(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_one_line_whatever_it_is_called() {
        let row = |uid: Option<&str>, attributes| ConnectionRow {
            connection: "3-1f".to_owned(),
            uid: uid.map(str::to_owned),
            since: "2026-01-01T00:00:00Z".to_owned(),
            address: "192.0.2.7:4711".to_owned(),
            app: Some("push".to_owned()),
            bytes_waiting: 12,
            paused: true,
            attributes,
        };
        let attributes: &RawValue = serde_json::from_str("{\"a\":1}").expect("JSON");
        let text = table(&[row(Some("to\u{1b}m"), Some(attributes)), row(None, None)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[1].contains(r"to\u{1b}m") && lines[1].ends_with("12  paused  {\"a\":1}"));
        let words: Vec<&str> = lines[2].split_whitespace().collect();
        assert_eq!(words[..3], ["3-1f", "-", "push"]);
    }
}
