//! What a room costs, and replies that come along with a connection.

use super::*;

/// To the room's home, and to each core that has a member: not to the others.
#[test]
fn a_room_of_three_costs_as_many_envelopes_as_it_has_members() {
    let mut cores = Cores::new(64, |cx, _, event| {
        if let Some(("message", said)) = event.split_once(' ') {
            match cx.uid() {
                Some(_) => cx.send_to_group("room", said),
                None => {
                    cx.bind_uid(said);
                    cx.join("room");
                }
            }
        }
    });
    let home = cores.hosts[0].tasks().home("room").index();
    let posted = |cores: &mut Cores| -> u64 {
        let hosts = cores.hosts.iter_mut();
        hosts.map(|host| host.envelopes()).sum()
    };
    let mut members = Vec::new();
    for core in [home, (home + 1) % 64, (home + 2) % 64, (home + 3) % 64] {
        let uid = cores.uid_of(core);
        let client = cores.open(0);
        cores.say(client, &uid);
        members.push(client);
        // Three of them at a time: one leaves when the fourth comes.
        if members.len() < 3 {
            continue;
        }
        let (at, id) = cores.clients[members[0]];
        if members.len() == 4 {
            cores.hosts[at].close(id, CloseReason::Normal);
            cores.run();
            members.remove(0);
        }
        for sender in members.clone() {
            members.iter().for_each(|one| drop(cores.lines(*one)));
            let before = posted(&mut cores);
            cores.say(sender, "hello");
            let is_home_one = cores.clients[members[0]].0 == home;
            let is_from_home = cores.clients[sender].0 == home;
            let most = match (is_home_one, is_from_home) {
                (true, true) => 2,
                (true, false) => 3,
                (false, _) => 4,
            };
            assert_eq!(posted(&mut cores) - before, most);
            for one in &members {
                assert_eq!(cores.lines(*one), ["hello"]);
            }
        }
    }
    cores.end();
}

/// They are filled from where they were reserved, in any order, and leave in theirs.
#[test]
fn replies_that_are_open_come_along() {
    for core in 0..3 {
        let mut cores = Cores::new(3, |cx, state, event| match event.split_once(' ') {
            Some(("message", "fill")) | Some(("note", _)) => {}
            Some(("message", uid)) => {
                state.places.push(cx.reserve());
                cx.bind_uid(uid);
                state.places.push(cx.reserve());
                cx.after(Duration::from_millis(5), 1);
            }
            Some(("timer", _)) => {
                while let Some(place) = state.places.pop() {
                    cx.fill(place, format!("place {}", state.places.len()));
                }
            }
            _ => {}
        });
        let uid = cores.uid_of(core);
        let client = cores.open(0);
        cores.say(client, &uid);
        assert_eq!(cores.phase(client), Phase::Home);
        cores.tick(0, Duration::from_millis(10));
        cores.run();
        assert_eq!(
            cores.lines(client),
            ["place 0", "place 1"],
            "to core {core}"
        );
        cores.end();
    }
}
