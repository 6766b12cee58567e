//! What nodes of a cluster say to each other: that it is read as it was written, by this release and the one before.

use std::net::SocketAddr;

use crate::config::StreamKind;
use crate::ident::{ConnId, ConnName, CoreId};
use crate::payload::{Message, Payload};
use crate::protocol::attributes::AttributesError;
use crate::protocol::cluster::*;
use crate::protocol::cluster_holds::{HoldHow, HoldOrder, ReleaseOrder, SaidAgain};
use crate::protocol::cluster_roster::{RosterState, RosterWords};
use crate::protocol::connection_facts::*;
use crate::protocol::kept_record::KeptRecord;
use crate::protocol::partitions::Partition;

fn head() -> OrderHead {
    OrderHead {
        origin: NodeId(0x1234_5678_9abc_def0),
        number: 77,
        lane: 3,
        namespaces: vec![
            NamespaceName::Apps("relay".into()),
            NamespaceName::Made("tenant".into()),
        ],
    }
}

fn orders() -> Vec<NodeOrder> {
    let payload = Payload::new(Message::Text("héllo"));
    let except = ExceptedNames {
        uids: vec!["a".into()],
        connections: vec![ConnName::from((3, 0x1_0000_0002))],
    };
    let last = LastWords {
        message: Some(payload.clone()),
        text: Some("bye".into()),
    };
    let (uid, group): (Box<str>, Box<str>) = ("李".into(), "g".into());
    let name = ConnName::from((1, 2));
    vec![
        NodeOrder::PushToUid {
            uid: uid.clone(),
            payload: Payload::new(Message::Binary(&[0xff, 0])),
        },
        NodeOrder::PushToGroup {
            group: group.clone(),
            refresh: true,
            except: except.clone(),
            payload: payload.clone(),
        },
        NodeOrder::PushToAll {
            except,
            payload: payload.clone(),
        },
        NodeOrder::PushToConnection { name, payload },
        NodeOrder::Kick {
            uid: uid.clone(),
            last: last.clone(),
        },
        NodeOrder::KickConnection { name, last },
        NodeOrder::Online { uid: uid.clone() },
        NodeOrder::Join {
            uid: uid.clone(),
            group: group.clone(),
        },
        NodeOrder::Leave { uid, group },
        NodeOrder::Describe,
        NodeOrder::Kept {
            kind: StreamKind::Group,
            name: "g".into(),
            refresh: true,
            except: ExceptedNames::default(),
            record: KeptRecord {
                millis: 86_400_000,
                queue: true,
                payload: Payload::new(Message::Text("kept")),
            },
        },
        NodeOrder::Forgotten {
            kind: StreamKind::Uid,
            name: "u".into(),
        },
    ]
}

fn looks() -> Vec<NodeOrder> {
    vec![
        NodeOrder::Look(NodeLook::Group {
            group: "g".into(),
            most: 300,
        }),
        NodeOrder::Look(NodeLook::CountGroups(vec!["g".into(), "李".into()])),
        NodeOrder::Look(NodeLook::Page {
            of: NamesOf::Groups,
            core: 1,
            from: PagePlace {
                until: u32::MAX,
                ..PagePlace::default()
            },
            most: 1,
        }),
        NodeOrder::Look(NodeLook::Connections(ConnectionsAsked {
            uid: Some("u".into()),
            listener: Some("text://a:1".into()),
            by_bytes: true,
            core: 1,
            from: 300,
            most: 100,
            ..ConnectionsAsked::default()
        })),
        NodeOrder::Look(NodeLook::ConnectionsOfUid {
            uid: "u".into(),
            most: 1_000,
        }),
        NodeOrder::Look(NodeLook::Connection {
            name: ConnName::new(CoreId(1), ConnId::from_bits(2), 3),
            order: ConnectionOrder::Look,
        }),
        NodeOrder::Look(NodeLook::Connection {
            name: ConnName::from((1, 2)),
            order: ConnectionOrder::SetAttributes {
                text: "{}".into(),
                merges: true,
            },
        }),
        NodeOrder::Look(NodeLook::Connection {
            name: ConnName::from((1, 2)),
            order: ConnectionOrder::Bind("u".into()),
        }),
        NodeOrder::Look(NodeLook::Connection {
            name: ConnName::from((1, 2)),
            order: ConnectionOrder::Unbind,
        }),
        NodeOrder::Look(NodeLook::Ungroup {
            group: "g".into(),
            most: 4_096,
        }),
        NodeOrder::Stick {
            uid: "u".into(),
            group: "g".into(),
            sticks: true,
        },
        NodeOrder::StickyBegun,
    ]
}

fn looked() -> Vec<LookAnswer> {
    let facts = ConnectionFacts {
        name: ConnName::new(CoreId(1), ConnId::from_bits(2), 3),
        uid: Some("u".into()),
        attributes: None,
        since: 1_700_000_000,
        address: SocketAddr::from(([127, 0, 0, 1], 99)),
        listener: Some(("push".into(), "text://a:1".into())),
        bytes_waiting: 300,
        paused: true,
    };
    let outcomes = [
        ConnectionOutcome::None,
        ConnectionOutcome::Is(Box::new(facts.clone())),
        ConnectionOutcome::Attributes(None),
        ConnectionOutcome::Flawed(AttributesError::TooLarge(1_024)),
        ConnectionOutcome::Bound,
        ConnectionOutcome::Unbound,
        ConnectionOutcome::InUse,
        ConnectionOutcome::Busy,
    ];
    let mut looked = vec![
        LookAnswer::Connections(ConnectionsTold {
            list: vec![facts],
            count: 1,
            next: Some(2),
            cores: 3,
        }),
        LookAnswer::Ungrouped {
            connections: 1,
            sticky: 2,
            is_more: true,
        },
    ];
    looked.extend(outcomes.into_iter().map(LookAnswer::Connection));
    looked
}

/// Whose a uid is.
fn holds() -> Vec<NodeOrder> {
    vec![
        NodeOrder::Hold(HoldOrder {
            uid: "u".into(),
            serial: 5,
            since: 1 << 40,
            client: Some("tab".into()),
            how: HoldHow::Asks,
            again: Some(SaidAgain { wants_reply: true }),
        }),
        NodeOrder::Release(ReleaseOrder {
            uid: "u".into(),
            serial: 5,
        }),
    ]
}

fn rosters() -> Vec<NodeOrder> {
    let roster = |about: RosterWords| {
        let group = "g".into();
        NodeOrder::Roster { group, about }
    };
    vec![
        roster(RosterWords::Ask(RosterState {
            life: u64::MAX,
            serial: 2,
            members: 3,
            sum: 4,
        })),
        roster(RosterWords::Told {
            life: 1,
            serial: 2,
            members: vec![("李".into(), 3), ("a".into(), 0)],
        }),
        roster(RosterWords::List {
            life: 1,
            serial: 2,
            first: true,
            last: false,
            members: vec![("a".into(), 1)],
        }),
        roster(RosterWords::Check(RosterState::default())),
        roster(RosterWords::Ended),
    ]
}

fn messages() -> Vec<ClusterMessage> {
    let orders = orders().into_iter().chain(looks());
    let orders = orders.chain(holds()).chain(rosters());
    let mut messages: Vec<_> = orders
        .map(|order| ClusterMessage::Order(head(), order))
        .collect();
    messages.push(ClusterMessage::Answers(vec![
        (1, NodeAnswer::Reached(2)),
        (u64::MAX, NodeAnswer::Joined(1, u32::MAX)),
        (3, NodeAnswer::Unread),
        (
            4,
            NodeAnswer::Described(NodeFacts {
                node: NodeId(3),
                name: "a".into(),
                version: "0.1.0".into(),
                seconds: 5,
                connections: 6,
                echo_micros: 7,
            }),
        ),
        (
            5,
            NodeAnswer::Look(LookAnswer::Group {
                connections: 3,
                sticky: 1,
                members: vec![("a".into(), 3)],
                complete: true,
            }),
        ),
        (6, NodeAnswer::Look(LookAnswer::Counts(vec![(1, 0)]))),
        (
            7,
            NodeAnswer::Look(LookAnswer::Page {
                names: vec!["a".into()],
                next: Some(PagePlace::default()),
                cores: 2,
            }),
        ),
    ]));
    messages.extend(looked().into_iter().map(|looked| {
        let answer = NodeAnswer::Look(looked);
        ClusterMessage::Answers(vec![(8, answer)])
    }));
    let (holds, blocks) = (true, false);
    let held = NodeAnswer::Holds { holds, blocks };
    messages.push(ClusterMessage::Answers(vec![(8, held)]));
    for state in [NodeState::Subscribing, NodeState::Whole, NodeState::Leaving] {
        messages.push(ClusterMessage::Word(NodeWord {
            node: NodeId(8),
            name: "b".into(),
            link: u64::MAX,
            client: 9,
            state,
            asks: state == NodeState::Subscribing,
            partition: Partition { nth: 1, of: 3 },
        }));
    }
    // A node's two processes in an upgrade.
    messages.push(ClusterMessage::Answers(vec![(8, NodeAnswer::Aside)]));
    messages.push(ClusterMessage::Word(NodeWord {
        node: NodeId(8),
        name: "b".into(),
        link: 1,
        client: 9,
        state: NodeState::Shadow,
        asks: false,
        partition: Partition { nth: 1, of: 3 },
    }));
    messages.push(ClusterMessage::Marker(300));
    messages
}

#[test]
fn a_message_is_read_as_it_was_written() {
    for message in messages() {
        assert_eq!(decode(&encode(&message)), Ok(message));
    }
}

/// What was ever released. A message of a later release gets a line more, and none is changed or goes as long as nodes
/// of the release before are read.
const WRITTEN: &str = include_str!("cluster-1.txt");

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |two: &[u8]| u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.map(byte).collect();
    bytes.expect("hexadecimal digits")
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nodes of two adjacent releases are one cluster: what the one before has written means the same to this one.
#[test]
fn what_was_released_is_read_as_it_was_meant() {
    let lines = WRITTEN.lines().filter(|line| !line.starts_with('#'));
    let written: Vec<(&str, &str)> = lines
        .map(|line| line.split_once(' ').expect("bytes and words"))
        .collect();
    for (hex, words) in &written {
        let message = decode(&from_hex(hex)).expect(words);
        assert_eq!(format!("{message:?}"), *words);
    }
    let lacking = messages().into_iter().filter_map(|message| {
        let hex = to_hex(&encode(&message));
        let is_there = written.iter().any(|(known, _)| *known == hex);
        (!is_there).then(|| format!("{hex} {message:?}\n"))
    });
    let lacking: String = lacking.collect();
    assert!(lacking.is_empty(), "cluster-1.txt lacks:\n{lacking}");
}

/// With nothing but zeros behind it a kind that is known is read: so one that is not recorded is found.
#[test]
fn every_kind_is_recorded() {
    let head = OrderHead {
        origin: NodeId(1),
        number: 1,
        lane: 0,
        namespaces: Vec::new(),
    };
    let order = encode(&ClusterMessage::Order(head, NodeOrder::Describe));
    let answer = encode(&ClusterMessage::Answers(vec![(1, NodeAnswer::Unread)]));
    let recorded = messages();
    let kinds_of = |message: &ClusterMessage| match message {
        ClusterMessage::Order(_, order) => vec![(true, first(order))],
        ClusterMessage::Answers(answers) => {
            answers.iter().map(|(_, it)| (false, first(it))).collect()
        }
        ClusterMessage::Word(_) | ClusterMessage::Marker(_) => Vec::new(),
    };
    let recorded: Vec<(bool, u8)> = recorded.iter().flat_map(kinds_of).collect();
    for (is_order, whole) in [(true, order), (false, answer)] {
        // The kind is the last of these.
        let stem = &whole[..whole.len() - 1];
        for kind in 0..127 {
            let bytes = [stem, &[kind], &[0; 64]].concat();
            let is_recorded = recorded.contains(&(is_order, kind));
            assert_eq!(decode(&bytes).is_ok(), is_recorded, "{is_order} {kind}");
        }
    }
}

fn first(what: &impl serde::Serialize) -> u8 {
    let bytes = postcard::to_extend(what, Vec::new());
    bytes.expect("it is written")[0]
}

/// What a node of this release's first version has written: a node of a later one has to read it.
#[test]
fn what_version_1_wrote_is_read() {
    let order = NodeOrder::PushToUid {
        uid: "u".into(),
        payload: Payload::new(Message::Text("hi")),
    };
    let head = OrderHead {
        origin: NodeId(1),
        number: 2,
        lane: 3,
        namespaces: vec![NamespaceName::Apps("push".into())],
    };
    let message = ClusterMessage::Order(head, order);
    let bytes = b"\x01\x00\x01\x02\x03\x01\x00\x04push\x00\x01u\x01\x02hi";
    assert_eq!(encode(&message), bytes);
    assert_eq!(decode(bytes), Ok(message));
}

#[test]
fn an_order_of_a_later_kind_is_known_by_its_head() {
    let mut bytes = encode(&ClusterMessage::Order(head(), orders().remove(6)));
    let kind = bytes.len() - 1 - 1 - "李".len();
    assert_eq!(bytes[kind], 6);
    bytes[kind] = 99;
    assert_eq!(decode(&bytes), Err(DecodeError::Unknown(head())));
    bytes[0] = VERSION + 1;
    assert_eq!(decode(&bytes), Err(DecodeError::Version(VERSION + 1)));
}

/// Cut anywhere, and with any byte changed, it is a message or an error.
#[test]
fn what_is_damaged_is_refused_or_another_message() {
    for message in messages() {
        let whole = encode(&message);
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err(), "{message:?} up to {end}");
        }
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                let _ = decode(&bytes);
            }
        }
    }
    assert_eq!(decode(b""), Err(DecodeError::Flawed));
}
