//! `ringpost groups`: which groups have connections, or who is in one, over a server's HTTP API.

use std::collections::BTreeMap;
use std::fmt::Write;

use ringpost::escape::Escaped;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::api::{ApiArgs, Problem};
use super::http::percent_encoded;
use super::output::{Status, complain, print};

/// Groups that one request may ask for.
const PAGE_MAX: u32 = 1_000;

/// Which groups, and which server.
#[derive(clap::Args, Debug)]
pub struct GroupsArgs {
    /// Who is in this one; without it all groups are shown
    group: Option<String>,
    /// How many groups at most
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1_000,
        conflicts_with = "group"
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// One object of JSON a group, as the server tells it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Deserialize)]
struct PageOfGroups<'p> {
    #[serde(borrow)]
    groups: Vec<&'p RawValue>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct GroupRow {
    group: String,
    connections: u64,
}

#[derive(Deserialize)]
struct GroupLook {
    connections: u64,
    members: BTreeMap<String, u64>,
    /// False if there are more members than the answer has.
    complete: bool,
}

/// Shows them.
pub fn run(args: &GroupsArgs) -> Status {
    let text = match &args.group {
        Some(group) => look(args, group),
        None => list(args),
    };
    match text {
        Ok(text) => {
            print(&text);
            Status::Done
        }
        Err(problem) => problem.report(),
    }
}

/// Who is in one group.
fn look(args: &GroupsArgs, group: &str) -> Result<String, Problem> {
    let target = format!("/v1/groups/{}", percent_encoded(group));
    let body = args.api.ask("GET", &target)?;
    let found: GroupLook = serde_json::from_str(&body).map_err(|_| args.api.not_ours())?;
    if args.json {
        return Ok(format!("{}\n", body.trim_end()));
    }
    let rows: Vec<(&str, u64)> = found
        .members
        .iter()
        .map(|(uid, connections)| (&**uid, *connections))
        .collect();
    if !found.complete {
        complain(&format!(
            "these are some of them: the group has {} connections",
            found.connections
        ));
    }
    Ok(table("uid", &rows))
}

/// All groups, page by page, the fullest first.
fn list(args: &GroupsArgs) -> Result<String, Problem> {
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let left = args.limit - rows.len() as u32;
        let mut target = format!("/v1/groups?limit={}", left.min(PAGE_MAX));
        if let Some(cursor) = &cursor {
            // Writing into a string does not fail.
            let _ = write!(target, "&cursor={}", percent_encoded(cursor));
        }
        let body = args.api.ask("GET", &target)?;
        let page: PageOfGroups<'_> =
            serde_json::from_str(&body).map_err(|_| args.api.not_ours())?;
        rows.extend(page.groups.iter().map(|raw| raw.get().to_owned()));
        cursor = page.cursor;
        if cursor.is_none() || rows.len() as u32 >= args.limit {
            break;
        }
    }
    if cursor.is_some() {
        complain("there are more (--limit COUNT)");
    }
    if args.json {
        return Ok(rows.iter().map(|row| format!("{row}\n")).collect());
    }
    let parsed: Result<Vec<GroupRow>, _> =
        rows.iter().map(|row| serde_json::from_str(row)).collect();
    let mut parsed = parsed.map_err(|_| args.api.not_ours())?;
    parsed.sort_by(|one, other| {
        let fuller = other.connections.cmp(&one.connections);
        fuller.then_with(|| one.group.cmp(&other.group))
    });
    let rows: Vec<(&str, u64)> = parsed
        .iter()
        .map(|row| (&*row.group, row.connections))
        .collect();
    Ok(table("group", &rows))
}

/// For people: what cannot be shown is escaped, so that each is one line.
fn table(what: &str, rows: &[(&str, u64)]) -> String {
    let mut text = format!("connections  {what}\n");
    for (name, connections) in rows {
        let _ = writeln!(text, "{connections:>11}  {}", Escaped(name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_one_line_whatever_it_is_called() {
        let text = table("group", &[("news", 1_200), ("a\nb", 3)]);
        assert_eq!(
            text,
            "connections  group\n       1200  news\n          3  a\\nb\n"
        );
    }
}
