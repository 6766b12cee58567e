//! What cores leave to those of another process, of which there may be more or fewer: hosts without sockets.

use std::collections::BTreeSet;

use super::*;
use crate::app::homes::HomeDue;
use crate::app::idempotency::{Claim, Digest, home_text};
use crate::app::local::Local;
use crate::config::{GroupRule, HistoryRule, StreamKind};
use crate::handover::{CoreRecord, RecordPlace};
use crate::migration::{Destination, Migration};
use crate::streams::{Address, Limit, Position, Wish};

const NAMESPACE: NamespaceId = NamespaceId(0);
const UIDS: usize = 60;
const ALL: Limit = Limit {
    messages: usize::MAX,
    bytes: usize::MAX,
};

/// `bind UID`; whoever is bound is in the room.
fn script(cx: &mut Context<'_, Scripted>, _: &mut State, event: &str) {
    match event.split(' ').collect::<Vec<_>>()[..] {
        ["message", "bind", uid] | ["claimed", uid] => cx.bind_uid(uid),
        ["bound", "Ok(())"] => cx.join("room"),
        _ => {}
    }
}

fn config() -> Config {
    Config {
        history: vec![HistoryRule {
            kind: StreamKind::Uid,
            name: "*".to_owned(),
            size: 10,
            ttl: Duration::from_secs(3_600),
            queue: false,
        }],
        groups: vec![GroupRule {
            name: "room".to_owned(),
            public: false,
            presence: true,
            presence_grace: Duration::from_secs(3),
        }],
        ..Config::default()
    }
}

fn uid(number: usize) -> String {
    format!("u{number}")
}

fn digest(number: usize) -> Digest {
    let mut digest = [7; 16];
    digest[0] = number as u8;
    digest
}

impl Cores {
    fn at_home(&mut self, name: &str) -> &mut Local {
        let home = self.hosts[0].bus().home(name).index();
        &mut self.hosts[home].local
    }

    /// Cores of another process, which have all that these have.
    fn successors(&mut self, cores: usize) -> Cores {
        let mut new = Cores::with(cores, &config(), true, script);
        let packed = self.hosts[0].now();
        let mut records = Vec::new();
        for host in &mut self.hosts {
            host.pack_state(packed, &mut |record| {
                let bytes = record.write().expect("it is written");
                records.push(CoreRecord::read(&bytes).expect("it is read"));
            });
        }
        for record in records {
            let to: Vec<usize> = match record.place() {
                RecordPlace::Home(name) => vec![new.hosts[0].bus().home(name).index()],
                RecordPlace::Core(core) => vec![new.hosts[0].bus().keeper(core).index()],
                RecordPlace::Everywhere => (0..cores).collect(),
            };
            for core in to {
                let done = new.hosts[core].unpack_state(record.clone(), packed);
                done.expect("it is taken");
            }
        }
        for host in &mut new.hosts {
            host.set_now(packed.max(host.now()));
            host.unpacked();
        }
        new.run();
        new
    }

    /// Takes a client out, in writing.
    fn take_client_out(&mut self, client: usize) -> Vec<u8> {
        let (core, id) = self.clients[client];
        let host = &mut self.hosts[core];
        let session = host.take_session(id, Destination::Process);
        let session = session.expect("it may leave");
        let progress = Progress::new(Input::Ignored, Counted::Connection);
        let part = TransportPart::new(progress, host.now());
        let migration = host.take_out(id, None, session, part);
        let written = migration.expect("it is there").write();
        written.expect("its session is written")
    }

    fn put_client_in(&mut self, core: usize, written: &[u8]) -> usize {
        let host = &mut self.hosts[core];
        let mut migration = Migration::read(written, host.now()).expect("it is one");
        let id = host.take_in(&mut migration).expect("it fits");
        self.clients.push((core, id));
        self.clients.len() - 1
    }

    /// What members are told from now on, for so long.
    fn presence_news(&mut self, time: Duration) -> Vec<String> {
        let mut news = Vec::new();
        for host in &mut self.hosts {
            let (until, local) = (host.now() + time, &mut host.local);
            let rules = &local.shard.groups.rules;
            while let Some(told) = local.homes.advance(until, rules) {
                let HomeDue::Told(told) = told else { continue };
                for piece in told.pieces {
                    news.push(format!("{piece:?}"));
                }
            }
        }
        news
    }

    fn sum(&mut self, figure: impl Fn(&crate::stats::CoreStats) -> u64) -> u64 {
        let each = self
            .hosts
            .iter()
            .map(|host| figure(&host.local.own_stats()));
        each.sum()
    }
}

/// What back ends have asked for, at the homes of all that it is about.
fn filled(cores: usize) -> Cores {
    let mut cores = Cores::with(cores, &config(), true, script);
    for number in 0..UIDS {
        let uid = uid(number);
        let local = cores.at_home(&uid);
        let reach = Reach::of(NAMESPACE);
        for nth in 0..=number % 4 {
            let text = format!("{uid} {nth}");
            local.deliver_to_uid(reach, &uid, Message::Text(&text), Wish::AsRuled);
        }
        let group = format!("g{}", number % 7);
        local
            .shard
            .stick(reach, &uid, &group)
            .expect("there is room");
        local.post_interests();
        local.shard.stats.messages_in += 10;
        let now = local.now();
        let said = (NAMESPACE, Box::from(&*uid), Box::from("tab"));
        let top = local.streams.store.top(now, Address::uid(NAMESPACE, &uid));
        local.acknowledged.note(now, said, StreamKind::Uid, "", top);
        let id = digest(number);
        let local = cores.at_home(&home_text(&id));
        assert_eq!(local.idempotency.claim(now, id, id), Claim::Fresh);
        local.idempotency.settle(id, Some(uid.into()));
    }
    cores.run();
    cores
}

fn there(cores: &mut Cores, uid: &str) -> (Position, Vec<String>) {
    let local = cores.at_home(uid);
    let (now, of) = (local.now(), Address::uid(NAMESPACE, uid));
    let store = local.streams.store.unguarded();
    let top = store.top(now, of);
    let piece = store.read_what_is_there(now, of, 0, ALL);
    let texts = piece.map(|(position, payload)| format!("{position} {:?}", payload.message()));
    (top, texts.collect())
}

#[test]
fn whatever_is_asked_of_other_cores_has_the_same_answer() {
    for (before, after) in [(1, 1), (1, 3), (3, 1), (3, 2), (2, 4)] {
        let mut old = filled(before);
        let mut new = old.successors(after);
        // And once more.
        for _ in 0..2 {
            let generations = old.hosts.iter_mut();
            let last = generations
                .map(|host| host.shard().connections.generation())
                .max();
            for number in 0..UIDS {
                let uid = uid(number);
                assert_eq!(
                    there(&mut new, &uid),
                    there(&mut old, &uid),
                    "{before} {after}"
                );
                let reach = Reach::of(NAMESPACE);
                let groups = new.at_home(&uid).shard.stuck_groups(reach, &uid);
                let group = format!("g{}", number % 7);
                assert_eq!(groups, [Box::from(&*group)]);
                let home = new.hosts[0].bus().home(&uid);
                let cores = new.at_home(&group).homes.cores(reach, &group);
                assert!(cores.contains(&home), "its messages come to {uid}");
                let (top, _) = there(&mut new, &uid);
                let local = new.at_home(&uid);
                let said = (NAMESPACE, Box::from(&*uid), Box::from("tab"));
                let handled = local
                    .acknowledged
                    .get(local.now(), &said)
                    .expect("it has said");
                assert_eq!(handled.of(StreamKind::Uid, ""), Some(top));
                let id = digest(number);
                let local = new.at_home(&home_text(&id));
                let claim = local.idempotency.claim(local.now(), id, id);
                assert_eq!(claim, Claim::Done(uid.into()));
            }
            assert_eq!(new.sum(|core| core.messages_in), 10 * UIDS as u64);
            let appended = old.sum(|core| core.history_appended);
            assert_eq!(new.sum(|core| core.history_appended), appended);
            assert!(appended > UIDS as u64);
            let sticky = |cores: &mut Cores| cores.sum(|core| core.sticky_members);
            assert_eq!(sticky(&mut new), sticky(&mut old));
            let client = new.open(0);
            assert!(Some(new.clients[client].1.generation) > last);
            old = new;
            new = old.successors(before);
        }
    }
}

#[test]
fn connections_and_presence_come_to_other_cores_without_a_word() {
    let mut old = Cores::with(2, &config(), true, script);
    let clients: Vec<usize> = (0..6)
        .map(|number| {
            let client = old.open(number % 2);
            old.say(client, &format!("bind {}", uid(number)));
            client
        })
        .collect();
    assert!(!old.presence_news(Duration::from_secs(1)).is_empty());
    // One leaves just before.
    let (core, id) = old.clients[clients[5]];
    old.hosts[core].close(id, CloseReason::ByPeer);
    old.run();
    let moved = old.sum(|core| core.moved_in);
    let mut new = old.successors(3);
    for (number, client) in clients[..5].iter().enumerate() {
        let written = old.take_client_out(*client);
        // The last of them gets lost.
        if number < 4 {
            let home = new.hosts[0].bus().home(&uid(number)).index();
            new.put_client_in(home, &written);
        }
    }
    new.run();
    let count = |what: &str| {
        new.log()
            .iter()
            .filter(|event| event.starts_with(what))
            .count()
    };
    assert_eq!(
        (count("resumed"), count("connect"), count("core")),
        (4, 0, 2)
    );
    assert_eq!(new.sum(|core| core.moved_in), moved);
    let page = new
        .at_home("room")
        .homes
        .members(NAMESPACE, "room", ("", 9));
    assert_eq!((page.total, page.members.len()), (6, 6));
    assert_eq!(new.presence_news(Duration::from_secs(1)), [""; 0]);
    let left = new.presence_news(Duration::from_secs(5));
    assert_eq!(left.len(), 1);
    assert!(left[0].contains("left: [\"u5\"]"), "{left:?}");
    let left = new.presence_news(Duration::from_secs(30));
    assert!(left[0].contains("left: [\"u4\"]"), "{left:?}");
    let page = new
        .at_home("room")
        .homes
        .members(NAMESPACE, "room", ("", 9));
    let names: BTreeSet<&str> = page.members.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, BTreeSet::from(["u0", "u1", "u2", "u3"]));
}

#[test]
fn who_has_all_of_its_streams_is_no_dearer_in_another_process() {
    let mut old = Cores::with(2, &config(), true, script);
    let clients: Vec<usize> = (0..4)
        .map(|number| old.listen(number % 2, &uid(number), &["g", "h"]))
        .collect();
    let mut new = old.successors(3);
    for (number, client) in clients.into_iter().enumerate() {
        let written = old.take_client_out(client);
        let home = new.hosts[0].bus().home(&uid(number)).index();
        let client = new.put_client_in(home, &written);
        let (core, id) = new.clients[client];
        let shard = new.hosts[core].shard();
        assert!(shard.following(id).is_none(), "{number}");
        for group in ["g", "h"] {
            let (_, seen) = shard.seen_at_rest(id, group).expect("it rests");
            assert!(seen.is_some(), "{number} {group}");
        }
    }
}

#[test]
fn connections_that_are_taken_back_have_never_left() {
    let mut cores = Cores::with(2, &config(), true, script);
    let clients: Vec<usize> = (0..6)
        .map(|number| {
            let client = cores.open(number % 2);
            cores.say(client, &format!("bind {}", uid(number)));
            client
        })
        .collect();
    assert!(!cores.presence_news(Duration::from_secs(1)).is_empty());
    let group_core = cores.hosts[0].bus().home("room").index();
    cores.hosts.iter_mut().for_each(Host::hold_interests);
    let taken: Vec<(usize, Vec<u8>)> = clients
        .iter()
        .map(|client| (cores.clients[*client].0, cores.take_client_out(*client)))
        .collect();
    cores.run();
    for (core, written) in &taken {
        cores.put_client_in(*core, written);
    }
    cores.hosts.iter_mut().for_each(Host::release_interests);
    cores.run();
    let homes = &cores.hosts[group_core].local.homes;
    let page = homes.members(NAMESPACE, "room", ("", 9));
    assert_eq!((page.total, page.members.len()), (6, 6));
    assert!(page.members.iter().all(|(_, count)| *count == 1));
    assert_eq!(cores.presence_news(Duration::from_secs(60)), [""; 0]);
}
