//! Whether a cluster's Redis would do, tried out by a program that does not serve: [`ClusterTrial`].

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Builder;

use super::link::RedisLink;
use super::masters::Masters;
use super::pubsub::PubSub;
use super::target::{ClusterTarget, RedisTarget};
use super::trial_scripts::{eviction, scripts_refused};
use crate::config::Cluster;

/// How often it is asked, to see how long it takes.
const PINGS: usize = 21;
/// Redis' own limit for what waits for a subscriber, in bytes; with less a node is cut off too soon.
const OUTPUT_BYTES: u64 = 32 << 20;
/// With more, a push to another node takes long.
const SLOW: Duration = Duration::from_millis(5);

/// What has come of trying a Redis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterTrial {
    /// Where it is, as far as the configuration says.
    pub address: String,
    /// What it is, in a few words; or why it will not do.
    pub found: Result<String, String>,
    /// What works and may cause trouble, and what mends that.
    pub doubts: Vec<ClusterDoubt>,
}

/// Something about a Redis that may cause trouble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterDoubt {
    /// What it is, and what comes of it.
    pub because: String,
    /// A command for its command line, if there is one.
    pub mend: Option<String>,
}

fn doubt(because: impl Into<String>, mend: impl Into<Option<&'static str>>) -> ClusterDoubt {
    ClusterDoubt {
        because: because.into(),
        mend: mend.into().map(str::to_owned),
    }
}

/// Connects to each Redis as a node would, subscribes to channels of its own, and asks what it may; none where no cluster is
/// configured. Takes some seconds where nobody answers.
pub fn try_cluster(config: &Cluster) -> io::Result<Vec<ClusterTrial>> {
    let Some(target) = ClusterTarget::open(config)? else {
        return Ok(Vec::new());
    };
    let runtime = Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let masters = Masters::default();
    let trials = join_all(target.redis.iter().map(|it| try_target(it, &masters)));
    let mut trials = runtime.block_on(trials);
    let is_one = target.redis.iter().all(|it| it.pubsub() == PubSub::Sharded);
    if is_one {
        // Of a Redis Cluster, the first partition that will not do stands for all.
        let shown = trials.iter().position(|trial| trial.found.is_err());
        trials = vec![trials.swap_remove(shown.unwrap_or(0))];
    }
    Ok(trials)
}

async fn try_target(target: &RedisTarget, masters: &Masters) -> ClusterTrial {
    let number = fastrand::u64(1..);
    // As a node's, and no node's.
    let channels = ["n", "l", "u"].map(|kind| format!("{}{kind}:{number:016x}", target.prefix));
    let mut trial = ClusterTrial {
        address: target.address.clone(),
        found: Ok(String::new()),
        doubts: Vec::new(),
    };
    let life = format!("{}c:{number:016x}", target.prefix);
    let mut link = match RedisLink::join(target, masters, (&channels, &life)).await {
        Ok(link) => link,
        Err(error) => {
            trial.found = Err(error);
            return trial;
        }
    };
    let time = latency(link.commands()).await;
    let version = match link.server().version.as_str() {
        "" => "a version that it does not tell",
        version => version,
    };
    trial.found = Ok(format!(
        "{}, {version}, answers in {:.2} ms",
        target.address,
        time.as_secs_f64() * 1e3
    ));
    trial.doubts = doubts(&mut link, time).await;
    match scripts_refused(&link, &target.prefix, number).await {
        Ok(refused) => trial
            .doubts
            .extend(refused.into_iter().map(|(what, error)| {
                let because = format!("{what}; its user may lack a right: {error}");
                doubt(because, None)
            })),
        Err(error) => {
            let because = format!("It does not run what keeps messages: {error}");
            trial.doubts.push(doubt(because, None));
        }
    }
    trial
}

/// The median, for a first one is late.
async fn latency(commands: &mut MultiplexedConnection) -> Duration {
    let mut times = Vec::new();
    for _ in 0..PINGS {
        let start = Instant::now();
        let _: Result<String, _> = redis::cmd("PING").query_async(commands).await;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[PINGS / 2]
}

async fn doubts(link: &mut RedisLink, time: Duration) -> Vec<ClusterDoubt> {
    let mut doubts = Vec::new();
    if time > SLOW {
        let because = "It is far away, or has no CPU: each push to a user of another node takes that long, and twice \
                       that until who asked is answered.";
        doubts.push(doubt(because, None));
    }
    if link.server().version.is_empty() {
        let because = "It does not tell its version, nor for how long it is up (INFO is not allowed): after a start \
                       verdicts are unknown for some seconds in any case.";
        doubts.push(doubt(because, None));
    }
    let memory = redis::cmd("INFO").arg("memory").to_owned();
    let memory: Result<String, redis::RedisError> = memory.query_async(link.commands()).await;
    if let Some(policy) = memory.as_deref().ok().and_then(eviction) {
        let because = format!(
            "It throws keys away when it is full (maxmemory-policy {policy}): kept messages are gone, which clients \
             are told as gaps, and ids, so that a request may be carried out twice."
        );
        doubts.push(doubt(because, "CONFIG SET maxmemory-policy noeviction"));
    }
    // Of no connection, so that nothing ends: what is wrong is the number, or the right.
    let ended: Result<u64, redis::RedisError> = redis::cmd("CLIENT")
        .arg("KILL")
        .arg("ID")
        .arg(0)
        .query_async(link.commands())
        .await;
    let has_right = |error: &redis::RedisError| error.code() != Some("NOPERM");
    if link.client() == 0 || ended.as_ref().is_err_and(|error| !has_right(error)) {
        let because = "The connection of a node that has vanished cannot be ended (CLIENT KILL is not allowed): its \
                       users stay unknown until Redis notices by itself.";
        doubts.push(doubt(because, "CONFIG SET tcp-keepalive 5"));
    }
    if let Some(limits) = setting(link, "client-output-buffer-limit").await
        && let Some(bytes) = pubsub_limit(&limits)
        && bytes < OUTPUT_BYTES
    {
        let because = format!(
            "It cuts off a node for which {bytes} bytes wait (client-output-buffer-limit pubsub); a burst to \
             everybody may be as much."
        );
        let mend = "CONFIG SET client-output-buffer-limit \"pubsub 256mb 64mb 60\"";
        doubts.push(doubt(because, mend));
    }
    doubts
}

/// One that may not be asked for is not known.
async fn setting(link: &mut RedisLink, name: &str) -> Option<String> {
    let told: Result<HashMap<String, String>, redis::RedisError> = redis::cmd("CONFIG")
        .arg("GET")
        .arg(name)
        .query_async(link.commands())
        .await;
    told.ok()?.remove(name)
}

/// What may wait for a subscriber, of all the limits as Redis lists them; `None` where there is none.
fn pubsub_limit(limits: &str) -> Option<u64> {
    let mut words = limits.split_whitespace();
    words.find(|word| *word == "pubsub")?;
    let numbers: Vec<u64> = words.take(2).filter_map(|word| word.parse().ok()).collect();
    numbers.into_iter().filter(|bytes| *bytes > 0).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_redis_lists_them() {
        let limits = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(pubsub_limit(limits), Some(32 << 20));
        assert_eq!(pubsub_limit("pubsub 0 0 0"), None);
        assert_eq!(pubsub_limit("normal 0 0 0"), None);
    }

    #[test]
    fn who_does_not_answer_is_told() {
        let config = Cluster {
            // Nobody listens at this one.
            redis: Some("redis://127.0.0.1:1".to_owned()),
            ..Cluster::default()
        };
        let trials = try_cluster(&config).expect("a runtime");
        let [trial] = &trials[..] else {
            panic!("one Redis is configured: {trials:?}");
        };
        let error = trial.found.as_ref().expect_err("nobody is there");
        assert!(error.contains("127.0.0.1:1"), "{error}");
        assert!(try_cluster(&Cluster::default()).is_ok_and(|trials| trials.is_empty()));
    }
}
