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
    for redis in &found.redis {
        if let Some(away) = &redis.away {
            let (address, away) = (Escaped(&redis.address), Escaped(away));
            complain(&format!("the cluster's Redis at {address} is away: {away}"));
            status = Status::Failed;
        }
    }
    match found.nodes_unknown {
        0 => status,
        count => {
            complain(&format!("{count} more have not answered"));
            Status::Failed
        }
    }
}

/// For people: each is one line.
fn table(nodes: &[NodeRow]) -> String {
    let mut text = "connections    echo  up           version  node\n".to_owned();
    for row in nodes {
        let echo = format!("{:.1} ms", row.echo_micros as f64 / 1_000.0);
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
    fn each_node_is_one_line() {
        let row = NodeRow {
            node: "push-1\n".to_owned(),
            version: "0.1.0".to_owned(),
            seconds: 3_605,
            connections: 1_200,
            echo_micros: 250,
        };
        let text = table(&[row]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("       1200  0.2 ms  1h 5s"), "{text}");
    }
}
