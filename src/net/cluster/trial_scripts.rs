//! Whether a Redis would keep what the nodes give it: its scripts, tried on keys of their own that go by themselves, and what
//! it does when it is full.

use std::sync::Arc;
use std::time::Duration;

use super::keeper::Purpose;
use super::link::RedisLink;
use super::party::{RedisAnswer, RedisCommand};
use super::scripts::{Script, ScriptCall};

const PATIENCE: Duration = Duration::from_secs(5);
/// For so many milliseconds Redis keeps what is tried.
const LIFE: &str = "1000";

/// Why it does not run what keeps messages and ids; `None` where it does.
pub async fn scripts_refused(link: &RedisLink, prefix: &str, number: u64) -> Option<String> {
    let channel = format!("{prefix}u:{number:016x}");
    let stream = format!("{prefix}{{t:{number:016x}}}");
    let both = vec![format!("{stream}:m"), format!("{stream}:s")];
    let meta = vec![format!("{stream}:m")];
    let (run, epoch) = ("trial", "0000000000");
    let calls: [(Script, &[String], &[&str]); 4] = [
        (
            Script::Append,
            &both,
            &[run, epoch, "1", LIFE, LIFE, &channel, "", ""],
        ),
        (
            Script::Read,
            &both,
            &[run, epoch, LIFE, "0", "1", "1", epoch],
        ),
        (Script::Delivered, &meta, &[epoch, "1"]),
        (Script::Forget, &both, &[run, &channel, ""]),
    ];
    let command = |(script, keys, args): (Script, &[String], &[&str])| RedisCommand::Run {
        call: ScriptCall {
            script,
            keys: keys.to_vec(),
            args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        },
        what: Purpose::Delivered,
    };
    let batch: Arc<[RedisCommand]> = calls.into_iter().map(command).collect();
    match link.run(batch, PATIENCE).await {
        Ok(answers) => answers.into_iter().find_map(|answer| match answer {
            RedisAnswer::Refused(error) => Some(error),
            _ => None,
        }),
        Err(error) => Some(error),
    }
}

/// By which policy it throws keys away when it is full, of what INFO tells of its memory; `None` where it throws none away.
pub fn eviction(info: &str) -> Option<&str> {
    let line = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let policy = line("maxmemory_policy")?;
    let has_limit = line("maxmemory").is_some_and(|bytes| bytes != "0");
    (has_limit && policy != "noeviction").then_some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_throws_keys_away_is_known() {
        let info = |bytes, policy| {
            format!("# Memory\r\nmaxmemory:{bytes}\r\nmaxmemory_policy:{policy}\r\n")
        };
        assert_eq!(eviction(&info(1, "allkeys-lru")), Some("allkeys-lru"));
        assert_eq!(eviction(&info(1, "noeviction")), None);
        assert_eq!(eviction(&info(0, "volatile-ttl")), None);
        assert_eq!(eviction(""), None);
    }
}
