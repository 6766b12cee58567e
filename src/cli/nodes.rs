//! `ringpost nodes`: the nodes of a cluster, over the HTTP API of one of them.

use std::fmt::Write;
use std::time::Duration;

use ringpost::escape::Escaped;
use serde::Deserialize;

use super::api::{ApiArgs, Problem};
use super::output::{Status, complain, print};

/// Which node is asked.
#[derive(clap::Args, Debug)]
pub struct NodesArgs {
    /// The server's own JSON instead of a table
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    api: ApiArgs,
}

#[derive(Deserialize)]
struct ClusterTable {
    nodes: Vec<NodeRow>,
    #[serde(default)]
    nodes_unknown: u32,
    redis: Vec<RedisState>,
}

#[derive(Deserialize)]
struct NodeRow {
    node: String,
    version: String,
    seconds: u64,
    connections: u64,
    echo_micros: u64,
}

#[derive(Deserialize)]
struct RedisState {
    address: String,
    away: Option<String>,
}

/// Shows them. It fails where not all of them are there.
pub fn run(args: &NodesArgs) -> Status {
    match look(args) {
        Ok((text, status)) => {
            print(&text);
            status
        }
        Err(problem) => problem.report(),
    }
}

fn look(args: &NodesArgs) -> Result<(String, Status), Problem> {
    let body = args.api.ask("GET", "/v1/nodes")?;
    let found: ClusterTable = serde_json::from_str(&body).map_err(|_| args.api.not_ours())?;
    let status = status_of(&found);
    if args.json {
        return Ok((format!("{}\n", body.trim_end()), status));
    }
    Ok((table(&found.nodes), status))
}

/// What is wrong is complained of.
fn status_of(found: &ClusterTable) -> Status {
    if found.redis.is_empty() {
        complain("this server is by itself, and in no cluster (cluster.redis)");
        return Status::Failed;
    }
    let mut status = Status::Done;
    for line in away_lines(&found.redis) {
        complain(&line);
        status = Status::Failed;
    }
    let are_all_away = found.redis.iter().all(|redis| redis.away.is_some());
    match found.nodes_unknown {
        0 => return status,
        // How many there are nobody knows.
        _ if are_all_away => complain("other nodes cannot be asked until it is back"),
        // As in the first seconds of a Redis.
        1 => complain("1 more node has not answered, or is still to come"),
        count => complain(&format!(
            "{count} more nodes have not answered, or are still to come"
        )),
    }
    Status::Failed
}

/// Those that are away, in a line for each reason.
fn away_lines(each: &[RedisState]) -> Vec<String> {
    let away = each
        .iter()
        .filter_map(|redis| Some((redis.away.as_deref()?, &redis.address)));
    let mut reasons: Vec<(&str, &str, usize)> = Vec::new();
    for (why, address) in away {
        match reasons.iter_mut().find(|(known, ..)| *known == why) {
            Some((.., more)) => *more += 1,
            None => reasons.push((why, address, 0)),
        }
    }
    let line = |(why, address, more): (&str, &str, usize)| {
        let (why, address) = (Escaped(why), Escaped(address));
        match more {
            0 => format!("the cluster's Redis at {address} is away: {why}"),
            more => format!("the cluster's Redis at {address}, and {more} more, are away: {why}"),
        }
    };
    reasons.into_iter().map(line).collect()
}

/// For people: each is one line.
fn table(nodes: &[NodeRow]) -> String {
    let mut text = "connections    echo  up           version  node\n".to_owned();
    for row in nodes {
        let echo = match row.echo_micros {
            // Nothing has come back.
            0 => "-".to_owned(),
            micros => format!("{:.1} ms", micros as f64 / 1_000.0),
        };
        let up = humantime::format_duration(Duration::from_secs(row.seconds)).to_string();
        let (version, name) = (Escaped(&row.version), Escaped(&row.node));
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "{:>11}  {echo:>6}  {up:<11}  {version:<7}  {name}",
            row.connections
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_that_are_away_for_one_reason_are_one_line() {
        let redis = |address: &str, away: Option<&str>| RedisState {
            address: address.to_owned(),
            away: away.map(str::to_owned),
        };
        let each = [
            redis("a", None),
            redis("b", Some("refused")),
            redis("c", Some("late")),
            redis("d", Some("refused")),
        ];
        let lines = [
            "the cluster's Redis at b, and 1 more, are away: refused",
            "the cluster's Redis at c is away: late",
        ];
        assert_eq!(away_lines(&each), lines);
        assert!(away_lines(&each[..1]).is_empty());
    }

    #[test]
    fn each_node_is_one_line() {
        let row = NodeRow {
            node: "push-1\n".to_owned(),
            version: "0.1.0".to_owned(),
            seconds: 3_605,
            connections: 1_200,
            echo_micros: 250,
        };
        let away = NodeRow {
            node: "push-2".to_owned(),
            version: "0.1.0".to_owned(),
            seconds: 1,
            connections: 0,
            echo_micros: 0,
        };
        let text = table(&[row, away]);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("          0       -  1s"), "{text}");
        assert!(text.contains("       1200  0.2 ms  1h 5s"), "{text}");
    }
}
