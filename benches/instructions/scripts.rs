//! The makers of the workloads: each prepares a server, what its clients say, and what must come out.
//!
//! Their sizes are fixed: a count stays comparable for as long as nobody changes them. Each begins with
//! one message of its kind, uncounted, whose bytes must be right. Called by `workloads`.

use std::time::Duration;

use ringpost::config::{Config, HistoryRule, StreamKind};

use crate::cores::{self, BACKEND, Cores, ECHO, PUSH, RELAY, Read, Script, Step, V1};
use crate::frames::{self, Numbers};
use crate::prepared::{Outcome, Prepared};
use crate::room::ROOM;

/// Messages of a workload, or deliveries where one message goes to many.
const MESSAGES: usize = 100_000;
/// Messages to a room of three, and how many of them in one turn.
const GROUP_MESSAGES: usize = 20_000;
const GROUP_READS_PER_TURN: usize = 16;
/// Lines of a back end, fewer because each is dearer.
const LINES: usize = 50_000;
/// Messages kept of each uid, where any are.
const KEPT: u32 = 10;
/// Connections at home on each core.
const CLIENTS: usize = 1_000;
/// Clients of which a core reads something in one turn.
const READS_PER_TURN: usize = 64;
/// A relayed message's body.
const BODY_BYTES: usize = 100;
/// Connections that open, those that bind, and how many of them in one turn.
const HANDSHAKES: usize = 2_000;
const LOGINS: usize = 10_000;
const LOGINS_PER_TURN: usize = 16;

impl Script {
    /// A client says something in the step that is being written.
    fn say(&mut self, client: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.reads.push(Read {
            client,
            bytes: start..self.bytes.len(),
        });
    }

    /// Ends the step: what was said since the last is read by this core in one turn.
    fn step(&mut self, core: usize) {
        let start = self.steps.last().map_or(0, |step| step.reads.end);
        self.steps.push(Step {
            core,
            reads: start..self.reads.len(),
        });
    }
}

/// Plays something small, and returns what comes out.
fn play(cores: &mut Cores, script: &mut Script) -> Vec<u8> {
    cores.tap = Some(Vec::new());
    cores.play(&mut std::mem::take(script));
    cores.tap.take().unwrap_or_default()
}

/// Plays a script, and sees that exactly this comes out.
fn expect(cores: &mut Cores, script: &mut Script, expected: &[u8]) {
    let found = play(cores, script);
    assert!(
        found == expected,
        "expected {:?}, found {:?}",
        String::from_utf8_lossy(expected),
        String::from_utf8_lossy(&found)
    );
}

/// So many uids that live on this core.
fn uids(cores: &mut Cores, core: usize, count: usize) -> Vec<String> {
    let names = (0..).map(|number| format!("user-{number:06}"));
    names
        .filter(|uid| cores.home(uid) == core)
        .take(count)
        .collect()
}

/// Clients of this core ask to be opened.
fn open(script: &mut Script, numbers: &mut Numbers, core: usize, clients: &[(usize, &str)]) {
    for (client, _) in clients {
        script.say(*client, |out| frames::push_request(numbers, out));
    }
    script.step(core);
}

/// Clients of this core say their uids.
fn log_in(script: &mut Script, numbers: &mut Numbers, core: usize, clients: &[(usize, &str)]) {
    for (client, uid) in clients {
        script.say(*client, |out| frames::push_text(numbers, uid, out));
    }
    script.step(core);
}

/// Clients of an app, logged in at home on this core.
fn at_home(cores: &mut Cores, listener: u16, core: usize, count: usize) -> Vec<(usize, String)> {
    let mut numbers = Numbers(core as u64);
    let clients: Vec<(usize, String)> = uids(cores, core, count)
        .into_iter()
        .map(|uid| (cores.add_client(listener), uid))
        .collect();
    let login = |uid: &str| match listener {
        V1 => format!(r#"{{"type":"bind","uid":"{uid}"}}"#),
        _ => uid.to_owned(),
    };
    let mut script = Script::default();
    for some in clients.chunks(READS_PER_TURN) {
        let some: Vec<(usize, &str)> = some.iter().map(|(client, uid)| (*client, &**uid)).collect();
        open(&mut script, &mut numbers, core, &some);
        let logins: Vec<String> = some.iter().map(|(_, uid)| login(uid)).collect();
        let clients = some.iter().map(|(client, _)| *client);
        let logins: Vec<(usize, &str)> = clients.zip(logins.iter().map(|text| &**text)).collect();
        log_in(&mut script, &mut numbers, core, &logins);
    }
    cores.play(&mut script);
    clients
}

fn letters(numbers: &mut Numbers, count: usize) -> String {
    let letter = |_| char::from(b'a' + numbers.below(26) as u8);
    (0..count).map(letter).collect()
}

/// Senders and receivers drawn at random, one message a read; across two cores, each sends to the other.
pub fn relay(on: usize) -> Prepared {
    let mut cores = Cores::new(on);
    let homes: Vec<Vec<(usize, String)>> = (0..on)
        .map(|core| at_home(&mut cores, RELAY, core, CLIENTS))
        .collect();
    let mut numbers = Numbers(1);
    let mut script = Script::default();
    let mut bytes = 0;
    let say = |script: &mut Script, numbers: &mut Numbers, core: usize| {
        let (sender, _) = homes[core][numbers.below(CLIENTS)];
        let (_, receiver) = &homes[on - 1 - core][numbers.below(CLIENTS)];
        let body = letters(numbers, BODY_BYTES);
        let text = format!("{receiver}:{body}");
        script.say(sender, |out| frames::push_text(numbers, &text, out));
        frames::sent_text(&body)
    };
    let sent = say(&mut script, &mut numbers, 0);
    script.step(0);
    expect(&mut cores, &mut script, &sent);
    for number in 0..MESSAGES {
        let core = number / READS_PER_TURN % on;
        bytes += say(&mut script, &mut numbers, core).len();
        if (number + 1) % READS_PER_TURN == 0 || number + 1 == MESSAGES {
            script.step(core);
        }
    }
    let messages = MESSAGES as u64;
    Prepared {
        cores,
        script,
        expected: Outcome {
            messages,
            queued: messages,
            envelopes: if on > 1 { messages } else { 0 },
            moved: 0,
            bytes: bytes as u64,
        },
    }
}

/// One speaks to everybody, itself included; so many messages wait when everybody is written.
pub fn broadcast(waiting: usize) -> Prepared {
    let mut cores = Cores::new(1);
    let clients = at_home(&mut cores, RELAY, 0, CLIENTS);
    let sender = clients[CLIENTS / 2].0;
    let mut numbers = Numbers(2);
    let mut script = Script::default();
    let body = letters(&mut numbers, BODY_BYTES);
    let text = format!("all:{body}");
    let sent = frames::sent_text(&body);
    script.say(sender, |out| frames::push_text(&mut numbers, &text, out));
    script.step(0);
    expect(&mut cores, &mut script, &sent.repeat(CLIENTS));
    let rounds = MESSAGES / CLIENTS / waiting;
    for _ in 0..rounds {
        script.say(sender, |out| {
            for _ in 0..waiting {
                frames::push_text(&mut numbers, &text, out);
            }
        });
        script.step(0);
    }
    let messages = (rounds * waiting * CLIENTS) as u64;
    Prepared {
        cores,
        script,
        expected: Outcome {
            messages,
            queued: messages,
            envelopes: 0,
            moved: 0,
            bytes: messages * sent.len() as u64,
        },
    }
}

/// One of three, each at home on a core of his own and none on the room's, speaks to the room.
pub fn group(on: usize) -> Prepared {
    let mut cores = Cores::new(on);
    let home = cores.home(ROOM);
    let mut members = Vec::new();
    for core in (0..on).filter(|core| *core != home).take(3) {
        members.extend(
            at_home(&mut cores, cores::ROOM, core, 1)
                .into_iter()
                .map(|(client, _)| (core, client)),
        );
    }
    let (core, sender) = members[0];
    let mut numbers = Numbers(7);
    let mut script = Script::default();
    let body = letters(&mut numbers, BODY_BYTES);
    let sent = frames::sent_text(&body);
    script.say(sender, |out| frames::push_text(&mut numbers, &body, out));
    script.step(core);
    expect(&mut cores, &mut script, &sent.repeat(members.len()));
    for number in 0..GROUP_MESSAGES {
        script.say(sender, |out| frames::push_text(&mut numbers, &body, out));
        if (number + 1) % GROUP_READS_PER_TURN == 0 || number + 1 == GROUP_MESSAGES {
            script.step(core);
            (0..on).for_each(|core| script.step(core));
            (0..on).for_each(|core| script.step(core));
        }
    }
    let deliveries = (GROUP_MESSAGES * members.len()) as u64;
    Prepared {
        cores,
        script,
        expected: Outcome {
            messages: GROUP_MESSAGES as u64,
            queued: deliveries,
            // To the room's home, and to each core that has a member.
            envelopes: (GROUP_MESSAGES * (1 + members.len())) as u64,
            moved: 0,
            bytes: deliveries * sent.len() as u64,
        },
    }
}

/// A back end on core 0 writes lines ahead, 16 of which come in one read; each is for one client, and gets an answer.
pub fn push(on: usize) -> Prepared {
    lines_to(Cores::new(on), on, PUSH, 0)
}

/// [`push`] to clients that speak `ringpost.v1`.
pub fn push_v1() -> Prepared {
    lines_to(Cores::new(1), 1, V1, 0)
}

/// [`push`], where of each uid the last [`KEPT`] messages are kept: each that comes takes the place of an older one.
pub fn push_kept() -> Prepared {
    let config = Config {
        history: vec![HistoryRule {
            kind: StreamKind::Uid,
            name: "*".into(),
            size: KEPT,
            ttl: Duration::from_secs(600),
            queue: false,
        }],
        ..Config::default()
    };
    lines_to(Cores::configured(1, &config), 1, PUSH, KEPT)
}

fn lines_to(mut cores: Cores, on: usize, listener: u16, kept: u32) -> Prepared {
    const LINES_PER_READ: usize = 16;
    let sent = |line: &str| match listener {
        V1 => frames::sent_text(&format!(
            r#"{{"type":"message","stream":"uid","data":{line}}}"#
        )),
        _ => frames::sent_text(line),
    };
    let clients = at_home(&mut cores, listener, on - 1, CLIENTS);
    let backend = cores.add_client(BACKEND);
    let mut numbers = Numbers(3);
    let mut bytes = 0;
    let line = |numbers: &mut Numbers| {
        let (_, uid) = &clients[numbers.below(CLIENTS)];
        let text = letters(numbers, BODY_BYTES / 2);
        format!(
            r#"{{"uid":"{uid}","type":"note","id":{},"text":"{text}"}}"#,
            numbers.below(1_000_000)
        )
    };
    let mut script = Script::default();
    let first = line(&mut numbers);
    script.say(backend, |out| {
        out.extend_from_slice(format!("{first}\n").as_bytes())
    });
    script.step(0);
    let expected = [sent(&first), b"ok\n".to_vec()].concat();
    expect(&mut cores, &mut script, &expected);
    for (_, uid) in &clients {
        for _ in 0..kept {
            let line = format!(r#"{{"uid":"{uid}","type":"note"}}"#);
            script.say(backend, |out| {
                out.extend_from_slice(format!("{line}\n").as_bytes())
            });
        }
        script.step(0);
    }
    cores.play(&mut std::mem::take(&mut script));
    for _ in 0..LINES / LINES_PER_READ {
        script.say(backend, |out| {
            for _ in 0..LINES_PER_READ {
                let line = line(&mut numbers);
                bytes += sent(&line).len() + b"ok\n".len();
                out.extend_from_slice(line.as_bytes());
                out.push(b'\n');
            }
        });
        for core in 0..on {
            script.step(core);
        }
    }
    let messages = LINES as u64;
    Prepared {
        cores,
        script,
        expected: Outcome {
            messages,
            queued: 2 * messages,
            envelopes: if on > 1 { 2 * messages } else { 0 },
            moved: 0,
            bytes: bytes as u64,
        },
    }
}

/// Connections that ask to be opened.
pub fn handshake() -> Prepared {
    let mut cores = Cores::new(1);
    let mut numbers = Numbers(4);
    let mut script = Script::default();
    let first = cores.add_client(RELAY);
    script.say(first, |out| frames::push_request(&mut numbers, out));
    script.step(0);
    let found = play(&mut cores, &mut script);
    assert!(found.starts_with(b"HTTP/1.1 101 ") && found.ends_with(b"\r\n\r\n"));
    assert_eq!(found.len(), frames::ACCEPTED_BYTES);
    for _ in 0..HANDSHAKES / LOGINS_PER_TURN {
        for _ in 0..LOGINS_PER_TURN {
            let client = cores.add_client(RELAY);
            script.say(client, |out| frames::push_request(&mut numbers, out));
        }
        script.step(0);
    }
    Prepared {
        cores,
        script,
        expected: Outcome {
            messages: HANDSHAKES as u64,
            queued: 0,
            envelopes: 0,
            moved: 0,
            bytes: (HANDSHAKES * frames::ACCEPTED_BYTES) as u64,
        },
    }
}

/// Open connections that say their uid, which lives on the core that has accepted them or on the other.
pub fn bind(on: usize) -> Prepared {
    let mut cores = Cores::new(on);
    let uids = uids(&mut cores, on - 1, LOGINS + 1);
    let mut numbers = Numbers(5);
    let mut script = Script::default();
    let clients: Vec<(usize, &str)> = uids
        .iter()
        .map(|uid| (cores.add_client(RELAY), &**uid))
        .collect();
    for some in clients.chunks(READS_PER_TURN) {
        open(&mut script, &mut numbers, 0, some);
    }
    cores.play(&mut std::mem::take(&mut script));
    let answer = |uid: &str| frames::sent_text(&format!("login success, your uid is {uid}"));
    let (first, rest) = clients.split_at(1);
    log_in(&mut script, &mut numbers, 0, first);
    expect(&mut cores, &mut script, &answer(first[0].1));
    for some in rest.chunks(LOGINS_PER_TURN) {
        log_in(&mut script, &mut numbers, 0, some);
        if on > 1 {
            script.step(1);
        }
    }
    let moved = if on > 1 { LOGINS as u64 } else { 0 };
    Prepared {
        cores,
        script,
        expected: Outcome {
            messages: LOGINS as u64,
            queued: LOGINS as u64,
            envelopes: moved,
            moved,
            bytes: rest.iter().map(|(_, uid)| answer(uid).len() as u64).sum(),
        },
    }
}

/// Clients that get back what they send.
pub fn echo() -> Prepared {
    const ECHOES: usize = 20_000;
    let mut cores = Cores::new(1);
    let clients: Vec<usize> = (0..CLIENTS).map(|_| cores.add_client(ECHO)).collect();
    let mut numbers = Numbers(6);
    let mut script = Script::default();
    for client in &clients {
        script.say(*client, |out| frames::push_request(&mut numbers, out));
    }
    script.step(0);
    cores.play(&mut script);
    let mut script = Script::default();
    let body = letters(&mut numbers, 1024).into_bytes();
    let sent = frames::sent_binary(&body);
    script.say(clients[0], |out| {
        frames::push_binary(&mut numbers, &body, out)
    });
    script.step(0);
    expect(&mut cores, &mut script, &sent);
    for number in 0..ECHOES {
        let client = clients[numbers.below(CLIENTS)];
        script.say(client, |out| frames::push_binary(&mut numbers, &body, out));
        if (number + 1) % READS_PER_TURN == 0 || number + 1 == ECHOES {
            script.step(0);
        }
    }
    let messages = ECHOES as u64;
    Prepared {
        cores,
        script,
        expected: Outcome {
            messages,
            queued: messages,
            envelopes: 0,
            moved: 0,
            bytes: messages * sent.len() as u64,
        },
    }
}
