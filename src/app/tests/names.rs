//! Tests of what connections are called: the same wherever they move to, and at no cost to those whom nobody has asked after.

use super::*;

/// `name`: sends it; `bind UID`.
fn script(cx: &mut Context<'_, Scripted>, _: &mut State, event: &str) {
    match event.split(' ').collect::<Vec<_>>()[..] {
        ["message", "name"] => {
            let name = cx.connection_name().expect("it is about one");
            cx.send(name.to_string());
        }
        ["message", "bind", uid] => cx.bind_uid(uid),
        _ => {}
    }
}

fn name_of(cores: &mut Cores, client: usize) -> String {
    cores.say(client, "name");
    let mut lines = cores.lines(client);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.remove(0)
}

#[test]
fn a_connection_is_called_by_the_place_where_that_was_first_asked() {
    for asks_first in [true, false] {
        let mut cores = Cores::new(3, script);
        let client = cores.open(0);
        let uids: Vec<String> = [1, 2, 1, 0].map(|core| cores.uid_of(core)).into();
        let mut name = asks_first.then(|| name_of(&mut cores, client));
        for uid in &uids {
            cores.say(client, &format!("bind {uid}"));
            let now = name_of(&mut cores, client);
            assert_eq!(*name.get_or_insert(now.clone()), now);
        }
        let first = if asks_first { "0-" } else { "1-" };
        assert!(name.is_some_and(|name| name.starts_with(first)));
        cores.end();
    }
}

#[test]
fn one_whose_name_nobody_was_told_leaves_nothing_behind() {
    let mut cores = Cores::new(2, script);
    let client = cores.open(0);
    let uid = cores.uid_of(1);
    cores.say(client, &format!("bind {uid}"));
    assert!(cores.hosts[1].shard().connections.names.is_empty());
    name_of(&mut cores, client);
    // It is called by where it is.
    assert!(cores.hosts[1].shard().connections.names.is_empty());
    let uid = cores.uid_of(0);
    cores.say(client, &format!("bind {uid}"));
    assert!(!cores.hosts[0].shard().connections.names.is_empty());
    assert!(cores.hosts[1].shard().connections.names.is_empty());
    let (core, id) = cores.clients[client];
    cores.hosts[core].close(id, CloseReason::ByPeer);
    cores.run();
    cores.hosts[core].shard().remove(id);
    assert!(cores.hosts[core].shard().connections.names.is_empty());
}
