//! A panic in one stream's code ends nothing else: not another stream, not a connection, not the core.

use super::*;
use crate::config::{HistoryRule, StreamKind};

/// A core or two whose messages to uids and groups are all kept. A client says `uid NAME TEXT` or `group NAME TEXT`.
fn keeping(cores: usize) -> Cores {
    let rule = |kind| HistoryRule {
        kind,
        name: "*".to_owned(),
        size: 100,
        ttl: Duration::from_secs(600),
        queue: false,
    };
    let config = Config {
        history: vec![rule(StreamKind::Uid), rule(StreamKind::Group)],
        ..Config::default()
    };
    Cores::with(cores, &config, true, |cx, _, event| {
        match event.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["claimed", uid] => cx.bind_uid(uid),
            ["message", "uid", uid, text] => cx.send_to_uid(uid, Message::Text(text)),
            ["message", "group", group, text] => cx.send_to_group(group, Message::Text(text)),
            _ => {}
        }
    })
}

/// What a client by events has got: its data, or `gap`; and the id that it has then.
fn came(cores: &mut Cores, client: usize) -> (Vec<String>, String) {
    let (mut data, mut id, mut is_gap) = (Vec::new(), String::new(), false);
    for line in cores.lines(client) {
        match line.split_once(": ") {
            Some(("id", now)) => id = now.to_owned(),
            Some(("event", kind)) => is_gap = kind == "gap",
            Some(("data", _)) if std::mem::take(&mut is_gap) => data.push("gap".to_owned()),
            Some(("data", text)) => data.push(text.to_owned()),
            _ => {}
        }
    }
    (data, id)
}

impl Cores {
    fn panics(&mut self) -> u64 {
        let hosts = self.hosts.iter();
        hosts.map(|host| host.local.streams.store.panics).sum()
    }

    /// Has a stream of a name panic so often, wherever it is at home.
    fn set_fault(&mut self, what: &'static str, name: &str, times: u32) {
        let home = self.hosts[0].bus().home(name).index();
        let store = self.hosts[home].local.streams.store.unguarded();
        store.faults.set(what, name, times);
    }
}

/// Two uids and two groups: the first of each is to panic, the other is its neighbour.
fn a_panic_is_one_streams(number: usize, what: &'static str, times: u32) {
    let mut cores = keeping(number);
    let sender = cores.open(0);
    let [bad, good] = [0, 1].map(|nth| {
        let uids = (0..).map(|it| format!("u{it}"));
        let home = |uid: &String| cores.hosts[0].bus().home(uid).index() == 0;
        uids.filter(home).nth(nth).expect("without end")
    });
    let of_bad = cores.listen(0, &bad, &["g", "h"]);
    let of_good = cores.listen(0, &good, &["g", "h"]);
    let say = |cores: &mut Cores, text: &str| {
        for to in [
            format!("uid {bad}"),
            format!("uid {good}"),
            "group g".into(),
            "group h".into(),
        ] {
            cores.say(
                sender,
                &format!("{to} {text}-{}", to.rsplit(' ').next().unwrap_or("")),
            );
        }
    };
    say(&mut cores, "1");
    let all = |text: &str, uid: &str| {
        [uid, "g", "h"]
            .map(|name| format!("{text}-{name}"))
            .to_vec()
    };
    let (first, bad_since) = came(&mut cores, of_bad);
    assert_eq!(first, all("1", &bad));
    let (first, good_since) = came(&mut cores, of_good);
    assert_eq!(first, all("1", &good));
    cores.set_fault(what, &bad, times);
    cores.set_fault(what, "g", times);
    say(&mut cores, "2");
    // All who are there have it, whatever becomes of the streams.
    assert_eq!(came(&mut cores, of_bad).0, all("2", &bad), "{what}");
    assert_eq!(came(&mut cores, of_good).0, all("2", &good), "{what}");
    // Who comes back to what is forgotten is told; who comes back to what is not has it all.
    let back = cores.listen_since(0, &bad, &["g", "h"], &bad_since);
    let (mut missed, _) = came(&mut cores, back);
    missed.sort();
    assert_eq!(missed, ["2-h", "gap", "gap"], "{what}");
    let back = cores.listen_since(0, &good, &["g", "h"], &good_since);
    let (mut missed, id) = came(&mut cores, back);
    missed.sort();
    let wanted = [format!("2-{good}"), "2-h".into(), "gap".into()];
    let mut wanted = wanted.to_vec();
    wanted.sort();
    assert_eq!(missed, wanted, "{what}");
    // From then on everything is as ever.
    for fault in ["append", "read", "top"] {
        cores.set_fault(fault, &bad, 0);
        cores.set_fault(fault, "g", 0);
    }
    assert!(cores.panics() >= 2, "{what}: it never panicked");
    say(&mut cores, "3");
    assert_eq!(came(&mut cores, back).0, all("3", &good), "{what}");
    let again = cores.listen_since(0, &good, &["g", "h"], &id);
    let (mut missed, _) = came(&mut cores, again);
    missed.sort();
    let mut wanted = all("3", &good);
    wanted.sort();
    match (what, times) {
        // Until then it was asked again and again, and begun again: told once more.
        ("append", 1) => assert_eq!(missed, wanted, "{what}"),
        _ => assert!(
            missed.iter().any(|text| *text == format!("3-{good}")),
            "{what}: {missed:?}"
        ),
    }
    cores.end();
}

#[test]
fn a_panic_while_something_is_appended() {
    for number in [1, 3] {
        a_panic_is_one_streams(number, "append", 1);
        a_panic_is_one_streams(number, "append", u32::MAX);
    }
}

#[test]
fn a_panic_while_something_is_read() {
    for number in [1, 3] {
        a_panic_is_one_streams(number, "read", 1);
        a_panic_is_one_streams(number, "read", u32::MAX);
    }
}

#[test]
fn a_panic_while_it_is_asked_where_a_stream_ends() {
    for number in [1, 3] {
        a_panic_is_one_streams(number, "top", 1);
        a_panic_is_one_streams(number, "top", u32::MAX);
    }
}

/// Whose messages go in their time is not known: if that panics once none is lost, and if it does not end all are, told.
#[test]
fn a_panic_while_time_goes_on() {
    for (times, is_lost) in [(1, false), (2, true)] {
        let mut cores = keeping(1);
        let sender = cores.open(0);
        let listening = cores.listen(0, "u", &[]);
        cores.say(sender, "uid u 1");
        let (_, since) = came(&mut cores, listening);
        cores.say(sender, "uid u 2");
        let streams = &mut cores.hosts[0].local.streams;
        streams.store.unguarded().faults.set("advance", "", times);
        streams.advance(cores.started);
        assert_eq!(streams.store.unguarded().faults.left("advance", ""), 0);
        let back = cores.listen_since(0, "u", &[], &since);
        let missed = if is_lost { "gap" } else { "2" };
        assert_eq!(came(&mut cores, back).0, [missed]);
        assert!(cores.panics() >= 1);
        cores.end();
    }
}
