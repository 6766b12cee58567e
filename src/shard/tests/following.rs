//! Those who follow streams: what they are told when they come, when not all can be had, and when they end.

use super::*;
use crate::auth::GroupClaim;
use crate::payload::Payload;
use crate::protocol::v1::ClientRequest;
use crate::shard::ClientPart;
use crate::shard::ShardPart;
use crate::shard::followers::{Followed, Following, Mark, Marked, Since, Standing};
use crate::streams::{Epoch, Gap, Kind, Position, Recovery};

fn at(offset: u64) -> Position {
    let epoch = Epoch::of(7);
    Position { epoch, offset }
}

fn payload(text: &str) -> Payload {
    Payload::new(Message::Text(text))
}

/// Two listeners by events and text in one namespace, with 10 kB of outbox.
fn shard_of_events() -> Shard {
    let specs = [spec(Codec::Sse, 0, 10_000), spec(Codec::Text, 0, 10_000)];
    Shard::new(&Config::default(), Rc::from(specs), 1)
}

fn come(shard: &mut Shard, groups: &[&str], since: Option<&str>) -> ConnId {
    let groups: Vec<String> = groups.iter().map(|one| (*one).to_owned()).collect();
    let id = open(shard, 0);
    shard.follow(id, Following::of_client(&groups, since));
    assert!(shard.bind(id, "u"));
    id
}

fn to_all(shard: &mut Shard, offset: u64, text: &str) {
    let mark = Mark {
        position: at(offset),
        kept: true,
        queued: false,
    };
    let payload = payload(text);
    let marked = Marked {
        kind: Kind::All,
        name: "all",
        mark: Some(mark),
        payload: &payload,
    };
    shard.send_marked_to_everybody(NamespaceId(0), marked, &mut |_, _| at(0));
}

fn shown(shard: &Shard, id: ConnId) -> String {
    String::from_utf8(waiting(shard, id)).expect("text")
}

fn recovered(offset: u64) -> Recovery {
    Recovery::Recovered {
        after: at(offset),
        top: at(offset),
    }
}

fn gap(asked: Option<u64>, top: u64) -> Gap {
    Gap {
        asked: asked.map(at),
        first: None,
        top: at(top),
    }
}

/// Who is cut off between the first block and the event `gap` comes back with the first's positions: with these it is to
/// hear of the gap again.
#[test]
fn a_gap_is_told_before_any_position_is_beyond_it() {
    let mut shard = shard_of_events();
    let since = format!("{},nonsense", at(3));
    let id = come(&mut shard, &["g"], Some(&since));
    shard.answer_follower(id, 0, &Recovery::Gap(gap(Some(3), 9)));
    shard.answer_follower(id, 1, &Recovery::Gap(gap(None, 5)));
    shard.ask_not_for_all(id);
    assert!(shard.may_begin_to_follow(id));
    shard.begin_to_follow(id, &mut |_, _| at(0));
    let (none, shown) = (at(u64::MAX), shown(&shard, id));
    let ids: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("id:"))
        .collect();
    let expected = [
        format!("id: {},{none}", at(3)),
        format!("id: {},{none}", at(9)),
        format!("id: {},{}", at(9), at(5)),
    ];
    assert_eq!(ids, expected, "{shown}");
}

/// What is sent to everybody before the homes of its groups have answered is not told with half of its positions.
#[test]
fn nothing_comes_before_the_first_block() {
    let mut shard = shard_of_events();
    let id = come(&mut shard, &["g"], None);
    shard.answer_follower(id, 0, &recovered(2));
    to_all(&mut shard, 1, "early");
    assert_eq!(shown(&shard, id), "");
    shard.answer_follower(id, 1, &recovered(4));
    shard.begin_to_follow(id, &mut |_, _| at(0));
    let first = format!("id: {},{},{}\n\n", at(2), at(4), at(0));
    assert_eq!(shown(&shard, id), first);
    // It is read for it from behind what it has.
    let mut to_read = Vec::new();
    while let Some((_, kind, _, after)) = shard.next_to_read(id, 0) {
        to_read.push((kind, after));
    }
    let expected = [(Kind::Uid, at(2)), (Kind::Group, at(4)), (Kind::All, at(0))];
    assert_eq!(to_read, expected);
}

/// A join that is answered at once is so before the home of the group says where its stream stands.
#[test]
fn what_comes_before_the_home_has_answered_is_read() {
    let mut shard = shard_of_events();
    let id = come(&mut shard, &["g"], None);
    shard.join(id, "g", None);
    let (payload, mark) = (
        payload("x"),
        Mark {
            position: at(6),
            kept: true,
            queued: false,
        },
    );
    let marked = Marked {
        kind: Kind::Group,
        name: "g",
        mark: Some(mark),
        payload: &payload,
    };
    shard.send_marked_to_group(NamespaceId(0), marked, false, &mut |_, _| at(0));
    shard.answer_follower(id, 1, &recovered(6));
    let of_group = &shard.following(id).expect("it follows").streams[1];
    assert_eq!(
        (of_group.standing, of_group.position),
        (Standing::Behind, Some(at(5)))
    );
    assert_ne!(of_group.standing, Standing::Asked(Since::Now));
}

/// What is kept is missed by nobody who is told where it stands. Others have the newest state alone.
#[test]
fn no_refresh_takes_the_place_of_one_that_is_kept() {
    let specs = [spec(Codec::V1, 0, 10_000), spec(Codec::Text, 0, 10_000)];
    let mut shard = Shard::new(&Config::default(), Rc::from(specs), 1);
    let [told, plain] = [0, 1].map(|listener| {
        let id = open(&mut shard, listener);
        assert!(shard.bind(id, "u"));
        shard.join(id, "g", None);
        id
    });
    for offset in 1..=3 {
        let payload = payload(&format!("state {offset}"));
        let marked = Marked {
            kind: Kind::Group,
            name: "g",
            mark: Some(Mark {
                position: at(offset),
                kept: true,
                queued: false,
            }),
            payload: &payload,
        };
        shard.send_marked_to_group(NamespaceId(0), marked, true, &mut |_, _| at(0));
        shard.check();
    }
    assert_eq!(shown(&shard, plain), "state 3\n");
    let told = waiting(&shard, told).escape_ascii().to_string();
    for state in ["state 1", "state 2", "state 3"] {
        assert!(told.contains(state), "{told}");
    }
}

/// A browser goes by the last id that it has read, and what follows the event `close` is read as well.
#[test]
fn nothing_follows_an_end_and_nobody_is_read_on_for_who_is_gone() {
    let mut shard = shard_of_events();
    let id = come(&mut shard, &["g"], None);
    shard.answer_follower(id, 0, &recovered(2));
    shard.answer_follower(id, 1, &recovered(2));
    shard.begin_to_follow(id, &mut |_, _| at(0));
    shard.close(id, CloseReason::Kicked);
    let ended = shown(&shard, id);
    let missed = [(at(3), payload("x"))];
    shard.catch_up(id, 1, &missed, true, &mut |_, _| at(0));
    shard.tell_gap(id, 1, &gap(Some(2), 9), &mut |_, _| at(0));
    assert!(!shard.may_begin_to_follow(id));
    assert_eq!(shown(&shard, id), ended);
    // A piece that was on its way comes when its place in the table is gone, too.
    write_all(&mut shard, id);
    shard.remove(id);
    shard.catch_up(id, 1, &missed, true, &mut |_, _| at(0));
    assert!(!shard.followers.any_behind());
}

/// A slow one that is closed by a message gives up what others share; it is taken off the account.
#[test]
fn what_is_given_up_amid_a_message_is_off_the_account() {
    let config = Config {
        outbox_bytes_core_max: 2_000,
        ..Config::default()
    };
    let specs = [spec(Codec::Sse, 0, 10_000), spec(Codec::Text, 0, 10_000)];
    let mut shard = Shard::new(&config, Rc::from(specs), 1);
    let others: Vec<ConnId> = (0..3)
        .map(|nth| bound(&mut shard, 1, &format!("t{nth}")))
        .collect();
    for nth in 0..20 {
        bound(&mut shard, 0, &format!("u{nth}"));
    }
    for other in others {
        shard.set_blocked(other, true);
    }
    for offset in 1..20 {
        to_all(&mut shard, offset, &text(150));
        check_accounts(&shard, "a message to all");
    }
}

/// Everybody's stream may have come less far on the core that it moves to: it goes on from where it is.
#[test]
fn one_that_moves_takes_its_place_in_everybodys_stream_along() {
    let mut shard = shard_of_events();
    let id = bound(&mut shard, 0, "u");
    to_all(&mut shard, 5, "x");
    assert!(shard.following(id).is_none(), "it has all");
    shard.follow_another_uid(id);
    shard.unbind(id);
    let following = shard.following(id).expect("it has a place");
    let of_all = following.streams.last().expect("everybody's");
    assert_eq!((of_all.kind, of_all.position), (Kind::All, Some(at(5))));
    let before = shown(&shard, id);
    to_all(&mut shard, 6, "y");
    assert_eq!(shown(&shard, id), before, "it is read where it arrives");
}

/// Any streams that one may follow, each anywhere on its way.
fn any_following(random: &mut fastrand::Rng) -> Following {
    let mut following = Following::of([]);
    following.begun = random.bool();
    following.client = random.bool().then(|| {
        let id = |text: &str| {
            let request = format!("{{\"type\":\"ping\",\"id\":{text}}}");
            ClientRequest::read(Message::Text(&request))
                .expect("a request")
                .id
        };
        Box::new(ClientPart {
            name: random.bool().then(|| "phone ü".into()),
            acknowledges: random.bool(),
            rights: GroupClaim::new(random.bool().then_some("[\"news\"]")),
            joined: vec!["news".into(); random.usize(..3)],
            bind_id: random.bool().then(|| id("\"a\"")).flatten(),
            joining: vec![(random.u32(..), id("7")); random.usize(..3)],
            refused: Vec::new(),
        })
    });
    for nth in 0..random.usize(1..5) {
        let position = |random: &mut fastrand::Rng| Position {
            epoch: Epoch::of(random.u64(..)),
            offset: *random.choice([0, 7, u64::MAX].iter()).expect("one"),
        };
        let (kind, name) = match nth {
            0 => (Kind::Uid, String::new()),
            _ => (Kind::Group, format!("gruppe ü {nth}")),
        };
        let since = match random.u8(..4) {
            0 => Since::Now,
            1 => Since::Beginning,
            2 => Since::At(None),
            _ => Since::At(Some(position(random))),
        };
        let mut one = Followed::new(kind, &name, since);
        one.position = random.bool().then(|| position(random));
        one.standing = match random.u8(..3) {
            0 => one.standing,
            1 => Standing::Behind,
            _ => Standing::Abreast,
        };
        one.gap = random.bool().then(|| Box::new(gap(Some(2), 9)));
        one.lost = random.bool();
        for held in 0..random.u64(..4) {
            let bytes = Payload::new(Message::Binary(&[held as u8, 0xff]));
            let kept_before = random.bool().then_some(held);
            one.held.push(kept_before, bytes);
            following.held_bytes += 2 + OUTBOX_MESSAGE_COST;
        }
        following.add(one);
    }
    following
}

/// Positions, gaps that are still to be told and what is held come along with a connection, written down or as they are.
#[test]
fn what_it_follows_comes_along_in_writing() {
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..500 {
        let (mut here, mut there) = (shard_of_events(), shard_of_events());
        let id = open(&mut here, 0);
        assert!(here.bind(id, "u"));
        here.follow(id, any_following(&mut random));
        let before = format!("{:?}", here.following(id).expect("it follows"));
        let part = here.depart(id, None).expect("it may leave");
        let written = postcard::to_allocvec(&part).expect("it is written");
        let mut read: ShardPart = postcard::from_bytes(&written).expect("it is read");
        assert_eq!(read, part);
        assert_eq!(read.check(), Ok(()));
        let is_behind = read.following.as_ref().is_some_and(|following| {
            !following.begun || !following.streams.iter().all(Followed::is_abreast)
        });
        let arrived = there.arrive(&mut read, 0);
        let after = format!("{:?}", there.following(arrived).expect("it follows"));
        assert_eq!(after, before);
        assert_eq!(there.followers.is_behind(arrived.slot), is_behind);
        assert!(here.following(id).is_none());
    }
}

fn to_group(shard: &mut Shard, group: &str, offset: u64, text: &str) {
    let mark = Mark {
        position: at(offset),
        kept: true,
        queued: false,
    };
    let payload = payload(text);
    let marked = Marked {
        kind: Kind::Group,
        name: group,
        mark: Some(mark),
        payload: &payload,
    };
    shard.send_marked_to_group(NamespaceId(0), marked, false, &mut |_, _| at(1));
}

/// One that has all of these groups, up to 4 of each, and of its uid's up to 1.
fn abreast(shard: &mut Shard, groups: &[&str]) -> ConnId {
    let id = come(shard, groups, None);
    shard.answer_follower(id, 0, &recovered(1));
    for (nth, group) in groups.iter().enumerate() {
        assert!(matches!(shard.join(id, group, None), Joining::In { .. }));
        shard.answer_follower(id, 1 + nth, &recovered(4));
    }
    shard.begin_to_follow(id, &mut |_, _| at(1));
    for nth in 0..=groups.len() {
        shard.catch_up(id, nth, &[], true, &mut |_, _| at(1));
    }
    write_all(shard, id);
    id
}

fn ids_of(shown: &str) -> Vec<&str> {
    let ids = shown.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.collect()
}

/// Who has everything is told the positions of all of its groups, in their order, and nothing is kept for it but which
/// these are.
#[test]
fn who_rests_is_told_all_of_its_positions() {
    for count in 1..5 {
        let mut shard = shard_of_events();
        let names = ["d", "c", "b", "a"];
        let groups = &names[..count];
        let clients = [(); 2].map(|()| abreast(&mut shard, groups));
        for id in clients {
            assert!(shard.following(id).is_none());
        }
        // It has this.
        to_group(&mut shard, groups[0], 4, "old");
        to_group(&mut shard, groups[count - 1], 5, "one");
        to_group(&mut shard, groups[0], 6, "two");
        to_group(&mut shard, groups[0], 6, "two again");
        for id in clients {
            let shown = shown(&shard, id);
            assert!(
                !shown.contains("old") && !shown.contains("again"),
                "{shown}"
            );
            let mut expected = vec![at(4); count];
            let text = |groups: &[Position]| {
                let all = [at(1)].into_iter().chain(groups.iter().copied());
                let all: Vec<String> = all.map(|one| one.to_string()).collect();
                all.join(",")
            };
            expected[count - 1] = at(5);
            let first = text(&expected);
            expected[0] = at(6);
            assert_eq!(ids_of(&shown), [first, text(&expected)], "{shown}");
        }
    }
}

/// What has come to its groups is not sent for again: it takes its places along, and goes on without a group that it has
/// left.
#[test]
fn who_rests_leaves_and_moves_with_its_places() {
    let mut shard = shard_of_events();
    let (id, other) = (
        abreast(&mut shard, &["g", "h"]),
        abreast(&mut shard, &["g", "h"]),
    );
    to_group(&mut shard, "g", 5, "one");
    assert!(shard.leave(id, "g"));
    write_all(&mut shard, id);
    to_group(&mut shard, "g", 6, "not for it");
    to_group(&mut shard, "h", 9, "for it");
    let shown_to = shown(&shard, id);
    assert!(!shown_to.contains("not for it"), "{shown_to}");
    let positions = format!("{},{},{}", at(1), at(5), at(9));
    assert_eq!(ids_of(&shown_to), [positions], "{shown_to}");
    shard.follow_another_uid(other);
    let part = shard.depart(other, Some("v".into())).expect("it may leave");
    let following = part.following.expect("it follows");
    let places: Vec<_> = following
        .streams
        .iter()
        .map(|one| (&*one.name, one.position))
        .collect();
    assert_eq!(places[1..3], [("g", Some(at(6))), ("h", Some(at(9)))]);
}

/// A message that comes for one connection alone, because it was on its way when it was sent, puts none of the others on.
#[test]
fn what_one_gets_alone_is_still_to_come_for_the_others() {
    let mut shard = shard_of_events();
    let clients = [(); 2].map(|()| abreast(&mut shard, &["g"]));
    let mark = Mark {
        position: at(5),
        kept: true,
        queued: false,
    };
    let payload = payload("x");
    let marked = Marked {
        kind: Kind::Group,
        name: "g",
        mark: Some(mark),
        payload: &payload,
    };
    shard.send_marked(clients[0], marked, &mut |_, _| at(1));
    to_group(&mut shard, "g", 5, "x");
    to_group(&mut shard, "g", 6, "y");
    for id in clients {
        let shown = shown(&shard, id);
        let positions = [5, 6].map(|offset| format!("{},{}", at(1), at(offset)));
        assert_eq!(ids_of(&shown), positions, "{shown}");
    }
}
