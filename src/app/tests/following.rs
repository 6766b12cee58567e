//! Clients by events that follow streams, and what their app does meanwhile.

use std::pin::pin;
use std::task::Poll;

use super::*;
use crate::shard::Following;
use crate::streams::Wish;

impl Cores {
    /// Listens by events, as this uid and in these groups.
    pub fn listen(&mut self, core: usize, uid: &str, groups: &[&str]) -> usize {
        self.listen_since(core, uid, groups, "")
    }

    /// The same from positions on; empty ones are none.
    pub fn listen_since(&mut self, core: usize, uid: &str, groups: &[&str], since: &str) -> usize {
        let since = Some(since).filter(|since| !since.is_empty());
        let groups: Vec<String> = groups.iter().map(|one| (*one).to_owned()).collect();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let id = self.hosts[core].connect(1, peer);
        self.clients.push((core, id));
        let shard = self.hosts[core].shard();
        shard.follow(id, Following::of_client(&groups, since));
        self.hosts[core].open(id);
        self.hosts[core].claim(id, uid);
        self.run();
        self.clients.len() - 1
    }
}

/// A client that follows a group and is not in it would miss what comes to it, and never know.
#[test]
fn who_finds_no_place_in_a_group_that_it_follows_is_closed() {
    let config = Config {
        groups_per_connection_max: 2,
        ..Config::default()
    };
    for cores in [1, 3] {
        let mut cores = Cores::with(cores, &config, true, |cx, _, event| {
            match event.split_once(' ') {
                None if event == "connect" => {
                    cx.join("own");
                    cx.join("other");
                }
                Some(("claimed", uid)) => cx.bind_uid(uid),
                _ => {}
            }
        });
        let without = cores.listen(0, "u1", &[]);
        assert_eq!(cores.phase(without), Phase::Home);
        let within = cores.listen(0, "u2", &["own"]);
        assert_eq!(cores.phase(within), Phase::Home);
        let beyond = cores.listen(0, "u3", &["own", "g"]);
        assert_eq!(cores.phase(beyond), Phase::Closing);
        let log = cores.log();
        assert!(log.contains(&"close Policy".to_owned()), "{log:?}");
        cores.end();
    }
}

/// A task's push to a uid that is at home elsewhere is kept as it wishes, and told where it stands.
#[test]
fn a_push_is_kept_as_it_wishes_wherever_its_uid_is_at_home() {
    let mut cores = Cores::new(2, |cx, _, event| {
        if let Some(uid) = event.strip_prefix("claimed ") {
            cx.bind_uid(uid);
        }
    });
    for home in 0..2 {
        let uid = cores.uid_of(home);
        for (number, wish) in [
            (1, Wish::For(Duration::from_secs(60))),
            (2, Wish::AsRuled),
            (3, Wish::Never),
        ] {
            let message = Message::Text("x");
            let told = cores.hosts[0].tasks().push(Reach(1), &uid, message, wish);
            cores.run();
            let mut task = std::task::Context::from_waker(std::task::Waker::noop());
            let Poll::Ready(delivered) = pin!(told).poll(&mut task) else {
                panic!("no answer");
            };
            assert_eq!(delivered.reached, 0);
            assert_eq!(delivered.position.is_some(), number == 1, "{wish:?}");
        }
        let pages = &cores.hosts[home].local.streams;
        assert_eq!(pages.store.counters().appended, 1);
    }
    // Whoever asked counts it.
    let stats = cores.hosts[0].local.shard.snapshot();
    assert_eq!((stats.pushes_kept, stats.pushes_offline), (2, 4));
    cores.end();
}

/// A position of its uid's stream costs an idle client nothing: it is that of the stream.
#[test]
fn who_has_everything_of_its_uids_stream_is_remembered_nowhere() {
    for number in [1, 3] {
        let mut cores = Cores::new(number, |cx, _, event| {
            if let Some(uid) = event.strip_prefix("claimed ") {
                cx.bind_uid(uid);
            }
        });
        for since in ["", "nonsense"] {
            let client = cores.listen_since(0, "u", &[], since);
            cores.lines(client);
            let (core, id) = cores.clients[client];
            let shard = cores.hosts[core].shard();
            assert!(shard.following(id).is_none(), "{number} {since}");
            // Of one of groups it is known which these are; and it is told of them all.
            let groups = ["g", "h", "i"];
            let client = cores.listen_since(0, "u", &groups, since);
            let lines = cores.lines(client);
            let (core, id) = cores.clients[client];
            let shard = cores.hosts[core].shard();
            assert!(shard.following(id).is_none(), "{number} {since}");
            let at_rest = groups.map(|group| shard.seen_at_rest(id, group).is_some());
            assert_eq!(at_rest, [true; 3], "{number} {since}: {lines:?}");
        }
        cores.end();
    }
}
