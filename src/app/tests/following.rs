//! Clients by events that follow streams, and what their app does meanwhile.

use super::*;
use crate::shard::Following;

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
