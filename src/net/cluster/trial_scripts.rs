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

/// What is not to be had where a script is refused.
const KEEPS: &str =
    "It does not keep what it is given, so that a push that would be kept is unknown";
const KNOWS_IDS: &str =
    "It does not keep the ids of requests, so that each node carries out one of its own";
const KNOWS_PLACES: &str = "It does not keep what clients acknowledge, so that they have some messages twice on another node";
const KEEPS_MEMBERS: &str =
    "It does not keep sticky members of groups, so that to join with \"sticky\" is refused";

/// A script with what it is tried with, and what is not to be had if it is refused.
type Tried<'t> = (Script, &'t [String], Vec<&'t str>, &'static str);

/// What of this node's work it would refuse, each once, and why: all scripts that a node has are tried.
pub async fn scripts_refused(
    link: &RedisLink,
    prefix: &str,
    number: u64,
) -> Result<Vec<(&'static str, String)>, String> {
    let channel = format!("{prefix}u:{number:016x}");
    let key = |kind: &str| format!("{prefix}{{t:{number:016x}}}:{kind}");
    let both = ["m", "s"].map(key);
    let kept = ["m", "s", "i"].map(key);
    let (id, places) = ([key("i")], [key("h")]);
    // What is counted is where it goes by itself.
    let (stuck, list) = (["g", "m"].map(key), ["l", "n"].map(key));
    let (run, epoch) = ("trial", "0000000000");
    let append = vec![run, epoch, "1", LIFE, LIFE, &channel, "", "", LIFE];
    let read = vec![run, epoch, LIFE, "0", "1", "1", epoch];
    // What leaves nothing, or what goes by itself.
    let first: [Tried<'_>; 13] = [
        (Script::Append, &kept, append, KEEPS),
        (Script::Read, &both, read, KEEPS),
        (Script::Delivered, &both[..1], vec![epoch, "1"], KEEPS),
        (Script::Forget, &both, vec![&channel, ""], KEEPS),
        (Script::Claim, &id, vec![run, LIFE], KNOWS_IDS),
        (Script::Settle, &id, vec![run, "", LIFE], KNOWS_IDS),
        (
            Script::Handled,
            &places,
            vec![LIFE, "1", "a", "b:1"],
            KNOWS_PLACES,
        ),
        (Script::HandledOf, &places, vec!["a"], KNOWS_PLACES),
        (Script::Stuck, &stuck[..1], vec![], KEEPS_MEMBERS),
        (Script::Marked, &stuck[1..], vec![], KEEPS_MEMBERS),
        (Script::Listed, &list[..1], vec!["1"], KEEPS_MEMBERS),
        (Script::Groups, &list[1..], vec!["", "1"], KEEPS_MEMBERS),
        (
            Script::Unstick,
            &stuck,
            vec!["g", &channel, ""],
            KEEPS_MEMBERS,
        ),
    ];
    let listed = |is_in| {
        (
            Script::List,
            &list[..],
            vec!["u", is_in, "g"],
            KEEPS_MEMBERS,
        )
    };
    let stick = vec!["g", "1", &channel, "", &channel, ""];
    let taken = [
        listed("0"),
        (Script::Stick, &stuck[..], stick, KEEPS_MEMBERS),
        (
            Script::Unstick,
            &stuck[..],
            vec!["g", &channel, ""],
            KEEPS_MEMBERS,
        ),
        listed("1"),
        listed("0"),
    ];
    let mut refused = refused_of(link, &first).await?;
    // One by one, and only what can be taken back: these would stay.
    for one in taken {
        let is_taken_back = |(what, _): &(&str, String)| *what != KEEPS && *what != KEEPS_MEMBERS;
        if refused.iter().all(is_taken_back) {
            refused.extend(refused_of(link, &[one]).await?);
        }
    }
    refused.dedup_by_key(|(what, _)| *what);
    Ok(refused)
}

async fn refused_of(
    link: &RedisLink,
    calls: &[Tried<'_>],
) -> Result<Vec<(&'static str, String)>, String> {
    let command = |(script, keys, args, _): &Tried<'_>| RedisCommand::Run {
        call: ScriptCall {
            script: *script,
            keys: keys.to_vec(),
            args: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        },
        what: Purpose::Delivered,
    };
    let batch: Arc<[RedisCommand]> = calls.iter().map(command).collect();
    let answers = link.run(batch, PATIENCE).await?;
    let refused = calls.iter().zip(answers);
    let refused = refused.filter_map(|((.., what), answer)| match answer {
        RedisAnswer::Refused(error) => Some((*what, error)),
        _ => None,
    });
    Ok(refused.collect())
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
