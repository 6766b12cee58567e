//! Tests of the test server: that what it plays is what a server does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::*;
use crate::app::{Answer, BindError, Context, Login, Peers, WhenFlawed, WhenFull};
#[cfg(feature = "auth")]
use crate::auth::{Keyring, ends_after};
use crate::close::Flaw;
#[cfg(feature = "auth")]
use crate::config::Auth;
use crate::ident::{CoreId, Ticket};
use crate::net::http::{Roles, Site};
use crate::payload::Message;
use crate::server::Listen;

/// Does what it is told: `bind UID`, `all TEXT`, `to UID TEXT`, `join GROUP`, `in GROUP TEXT`, `members GROUP AFTER`, `after MS`, `note TEXT`,
/// `close`, `panic`. Anything else comes back.
struct Told;

impl App for Told {
    type Session = usize;
    type Note = String;
    const NAMESPACE: &'static str = "told";

    fn on_connect(&mut self, cx: &mut Context<'_, Self>) -> usize {
        cx.send("hello");
        0
    }

    fn on_message(&mut self, cx: &mut Context<'_, Self>, said: &mut usize, message: Message<'_>) {
        *said += 1;
        let Message::Text(text) = message else {
            return cx.send(message);
        };
        let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        match command {
            "bind" => cx.bind_uid(rest),
            "all" => cx.broadcast(rest),
            "to" => cx.send_to_uid(first, more),
            "join" => cx.join(rest),
            "in" => cx.send_to_group(first, more),
            "members" => _ = cx.members(first, more, 2),
            "after" => cx.after(Duration::from_millis(rest.parse().expect("ms")), 7),
            "note" => cx.tell(app::To::All, rest.to_owned()),
            "close" => cx.close(CloseReason::Policy),
            "panic" => panic!("on purpose"),
            "said" => cx.send(said.to_string()),
            _ => cx.send(text),
        }
    }

    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut usize,
        result: Result<(), BindError>,
    ) {
        cx.send(format!("bound: {result:?}"));
    }

    fn on_answer(&mut self, cx: &mut Context<'_, Self>, _: Ticket, answer: Answer) {
        if let Answer::Members(page) = answer {
            let each = page.members.iter();
            let each: Vec<String> = each
                .map(|(name, count)| format!("{name}*{count}"))
                .collect();
            let more = if page.is_more { " and more" } else { "" };
            cx.broadcast(format!("{} of {}{more}", each.join(" "), page.total));
        }
    }

    fn on_note(&mut self, cx: &mut Context<'_, Self>, from: CoreId, note: String) {
        let core = cx.core().index();
        cx.send_to_uid("listener", format!("{note}: {} to {core}", from.index()));
    }

    fn on_timer(&mut self, cx: &mut Context<'_, Self>, token: u64) {
        cx.broadcast(format!("timer {token}"));
    }
}

/// A back end's lines: each is pushed to everybody of the other app, and so is how many that were.
struct Pushes;

impl App for Pushes {
    type Session = ();
    type Note = ();
    const NAMESPACE: &'static str = "pushes";
    const REACH: &'static [&'static str] = &[Told::NAMESPACE];
    const PEERS: Peers = Peers::BackEnds;
    const LOGIN: Login = Login::Never;
    const WHEN_FULL: WhenFull = WhenFull::Pause;
    const WHEN_FLAWED: WhenFlawed = WhenFlawed::Tell;

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut Self::Session,
        message: Message<'_>,
    ) {
        cx.push("all", message);
    }

    fn on_flawed(
        &mut self,
        cx: &mut Context<'_, Self>,
        _: &mut Self::Session,
        flaw: Flaw,
        _: &[u8],
    ) {
        cx.send(format!("{flaw:?}"));
    }

    fn on_answer(&mut self, cx: &mut Context<'_, Self>, _: Ticket, answer: Answer) {
        if let Answer::Reached(count) = answer {
            cx.broadcast(format!("reached {count}"));
        }
    }
}

const TEXT: &str = "text://127.0.0.1:5678";
const FRAME: &str = "frame://127.0.0.1:5679";

fn two_apps(cores: usize, config: Config) -> TestServer {
    let server = Server::new(config)
        .listen([URL, FRAME], || Told)
        .listen(TEXT, || Pushes);
    TestServer::of(server, cores).expect("two apps")
}

fn told(server: &mut TestServer, uid: &str) -> Client {
    let client = server.connect();
    server.say(client, format!("bind {uid}"));
    assert_eq!(
        server.take_messages(client),
        ["hello", "bound: Ok(())"],
        "{uid}"
    );
    client
}

#[test]
fn a_connection_moves_with_its_session_and_half_a_message() {
    for cores in 1..=4 {
        let mut server = TestServer::new(cores, || Told);
        for core in 0..cores {
            let uid = (0..)
                .map(|n| format!("u{n}"))
                .find(|uid| server.home(uid) == core);
            let uid = uid.expect("one lives there");
            let client = server.dial(Dial::new().on_core(0));
            assert_eq!(server.core_of(client), Some(0));
            server.post(client, format!("bind {uid}"));
            // It comes to core 0 in one piece with the message before it, and is finished at home.
            server.send_bytes(client, b"\x81\x84\0\0\0\0sa");
            assert_eq!(server.core_of(client), Some(core));
            assert_eq!(server.uid_of(client), Some(uid));
            server.send_bytes(client, b"id");
            assert_eq!(
                server.take_messages(client),
                ["hello", "bound: Ok(())", "2"]
            );
        }
    }
}

#[test]
fn what_is_sent_reaches_whom_it_is_for() {
    let mut server = TestServer::new(3, || Told);
    let clients = ["a", "b", "c"].map(|uid| told(&mut server, uid));
    for client in &clients[..2] {
        server.say(*client, "join g");
    }
    server.say(clients[2], "to a for you");
    server.say(clients[2], "in g for both");
    server.say(clients[2], "all for all");
    assert_eq!(
        server.take_messages(clients[0]),
        ["for you", "for both", "for all"]
    );
    assert_eq!(server.take_messages(clients[1]), ["for both", "for all"]);
    assert_eq!(server.take_messages(clients[2]), ["for all"]);
    assert!(server.take_messages(clients[2]).is_empty(), "it was taken");
}

#[test]
fn apps_ask_who_is_in_a_group_and_a_panic_leaves_no_ghost() {
    for cores in 1..=4 {
        let mut config = Config::default();
        config.groups.push(crate::config::GroupRule {
            name: "room".to_owned(),
            public: false,
            presence: true,
            presence_grace: Duration::from_secs(3),
        });
        let mut server = two_apps(cores, config);
        let clients = ["a", "b", "b", "c"].map(|uid| told(&mut server, uid));
        for client in clients {
            server.say(client, "join room");
            server.say(client, "join hall");
        }
        // The others are told of a burst together.
        server.advance(Duration::from_millis(200));
        let ask = |server: &mut TestServer, question: &str| {
            server.say(clients[0], question);
            server.take_messages(clients[0])
        };
        let all = ["a*1 b*2 of 3 and more"];
        assert_eq!(ask(&mut server, "members room "), all);
        assert_eq!(ask(&mut server, "members room b"), ["c*1 of 3"]);
        assert_eq!(
            ask(&mut server, "members hall "),
            [" of 0"],
            "nobody is told"
        );
        server.allow_panics();
        for (fallen, left) in [(1, "a*1 b*1 of 3 and more"), (2, "a*1 b*0 of 3 and more")] {
            server.say(clients[fallen], "panic");
            let ended = server.close_reason(clients[fallen]);
            assert_eq!(ended, Some(CloseReason::Internal));
            assert_eq!(ask(&mut server, "members room "), [left]);
        }
        // It may come back within the grace.
        server.advance(Duration::from_secs(4));
        assert_eq!(ask(&mut server, "members room "), ["a*1 c*1 of 2"]);
    }
}

#[test]
fn notes_reach_each_core_and_timers_run_at_their_time() {
    let mut server = TestServer::new(2, || Told);
    let listener = told(&mut server, "listener");
    server.say(listener, "note n");
    let mut notes: Vec<_> = server.take_messages(listener);
    notes.sort_by(|one, other| one.bytes().cmp(other.bytes()));
    let from = server.home("listener");
    assert_eq!(notes, [0, 1].map(|to| format!("n: {from} to {to}")));
    server.say(listener, "after 1500");
    server.advance(Duration::from_millis(1_499));
    assert!(server.take_messages(listener).is_empty());
    server.advance(Duration::from_millis(1));
    assert_eq!(server.take_messages(listener), ["timer 7"]);
}

#[test]
fn each_end_has_its_reason() {
    let config = Config {
        outbox_bytes_max: 20_000,
        message_bytes_max: 1_000,
        ..Config::default()
    };
    let mut server = two_apps(2, config);
    let talker = told(&mut server, "talker");
    let by_app = told(&mut server, "by_app");
    server.say(by_app, "close");
    assert_eq!(server.close_reason(by_app), Some(CloseReason::Policy));
    assert_eq!(server.core_of(by_app), None);
    let by_peer = told(&mut server, "by_peer");
    server.close(by_peer);
    assert_eq!(server.close_reason(by_peer), Some(CloseReason::ByPeer));
    let broken = told(&mut server, "broken");
    server.reset(broken);
    assert_eq!(server.close_reason(broken), Some(CloseReason::Reset));
    let too_big = told(&mut server, "too_big");
    server.say(too_big, "x".repeat(1_001));
    assert_eq!(server.close_reason(too_big), Some(CloseReason::TooBig));
    let unmasked = told(&mut server, "unmasked");
    server.send_bytes(unmasked, b"\x81\x02hi");
    assert_eq!(server.close_reason(unmasked), Some(CloseReason::Protocol));
    let slow = told(&mut server, "slow");
    server.stall(slow);
    for _ in 0..30 {
        server.say(talker, format!("all {}", "x".repeat(900)));
    }
    let waits = server.close_reason(slow);
    assert_eq!(waits, None, "it has its time to take something");
    server.advance(Duration::from_secs(20));
    assert_eq!(server.close_reason(slow), Some(CloseReason::SlowConsumer));
    assert_eq!(server.close_reason(talker), None);
    // What is said after the end goes nowhere.
    server.say(slow, "too late");
}

/// Both answer pings by themselves, unless they stand still.
#[test]
fn silence_is_closed_in_its_time() {
    let config = Config::default();
    let mut server = TestServer::new(2, || Told);
    let (quick, still) = (told(&mut server, "quick"), told(&mut server, "still"));
    server.stall(still);
    server.advance(3 * config.idle_timeout);
    assert_eq!(server.close_reason(quick), None);
    assert_eq!(server.close_reason(still), Some(CloseReason::Idle));
    server.say(quick, "still here");
    assert_eq!(server.take_messages(quick), ["still here"]);
    let mute = server.connect();
    server.advance(config.login_timeout - Duration::from_secs(1));
    assert_eq!(server.close_reason(mute), None);
    server.advance(Duration::from_secs(2));
    assert_eq!(server.close_reason(mute), Some(CloseReason::LoginTimeout));
}

#[test]
fn each_codec_is_spoken() {
    let config = Config {
        message_bytes_max: 70_000,
        ..Config::default()
    };
    let mut server = two_apps(2, config);
    let framed = server.connect_to(FRAME);
    server.say(framed, "bind f");
    server.say(framed, "hi");
    server.say(framed, b"\xff\0");
    let got = server.take_messages(framed);
    assert_eq!(got[..3], ["hello", "bound: Ok(())", "hi"]);
    assert_eq!(got[3], b"\xff\0"[..]);
    let large = "x".repeat(70_000);
    for (client, size) in [(framed, 70_000), (framed, 200), (framed, 0)] {
        server.say(client, &large[..size]);
        assert_eq!(server.take_messages(client), [&large[..size]]);
    }
    let socket = told(&mut server, "w");
    for size in [0, 125, 126, 65_535, 65_536] {
        server.say(socket, &large[..size]);
        assert_eq!(server.take_messages(socket), [&large[..size]]);
    }
    server.say(socket, vec![1, 2]);
    assert_eq!(server.take_messages(socket), [vec![1, 2]]);
    // The other app's, which counts both of them.
    let lines = server.connect_to(TEXT);
    server.send_bytes(lines, b"good\n\xff\nhalf");
    server.close(lines);
    assert_eq!(server.take_messages(lines), ["NotUtf8", "Unended"]);
    assert_eq!(server.close_reason(lines), Some(CloseReason::ByPeer));
    assert_eq!(server.take_messages(socket), ["good", "reached 2"]);
}

#[test]
fn who_listens_by_events_says_who_he_is_by_his_request() {
    let site = Site {
        assets: &[],
        reach: &[],
        roles: Roles::ALL,
    };
    let server = Server::new(Config::default())
        .site("http://127.0.0.1:0", site)
        .listen([Listen::new(URL), Listen::events()], || Told);
    let mut server = TestServer::of(server, 2).expect("an app with events");
    let listening = server.dial(Dial::to("events://").as_uid("e"));
    let talker = server.connect();
    server.say(talker, "to e one\nand two");
    server.say(talker, "to e ");
    assert_eq!(
        server.take_messages(listening),
        ["hello", "bound: Ok(())", "one\nand two", ""]
    );
    server.say(talker, "bind e");
    server.close(listening);
    assert_eq!(server.close_reason(listening), Some(CloseReason::ByPeer));
}

#[cfg(feature = "auth")]
#[test]
fn a_token_proves_who_one_is() {
    let file = std::env::temp_dir().join(format!("ringpost-testing-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef0123456789abcdef").expect("a key file");
    let config = Config {
        auth: Auth::Hmac,
        auth_key_file: Some(file.clone()),
        ..Config::default()
    };
    let keyring = Keyring::open(&config)
        .expect("keys")
        .expect("they are asked for");
    let server = TestServer::of(Server::new(config).listen(URL, || Told), 2);
    std::fs::remove_file(&file).expect("it is there");
    let mut server = server.expect("the keys are read");
    let ends = ends_after(Duration::from_secs(60));
    let token = |uid| keyring.mint(uid, ends).expect("a token");
    let by_request = server.dial(Dial::new().with_token(token("ann")));
    let by_message = server.connect();
    server.say(by_message, token("bob"));
    for client in [by_request, by_message] {
        assert_eq!(server.take_messages(client), ["hello", "bound: Ok(())"]);
    }
    assert_eq!(server.uid_of(by_message).as_deref(), Some("bob"));
    let forged = server.dial(Dial::new().with_token("x.1.z"));
    assert!(server.take_messages(forged).is_empty(), "the app knew it");
    let claims = server.connect();
    server.say(claims, "carol");
    for client in [forged, claims] {
        assert_eq!(server.close_reason(client), Some(CloseReason::BadLogin));
    }
}

/// What a seed draws is what it draws again; and different seeds draw differently.
#[test]
fn a_seed_repeats_itself() {
    let play = |seed: Option<u64>| {
        let server = TestServer::new(3, || Told);
        let mut server = match seed {
            Some(seed) => server.seeded(seed),
            None => server,
        };
        let clients: Vec<Client> = (0..9).map(|_| server.connect()).collect();
        for round in 0..4 {
            if round == 1 {
                server.run();
            }
            for (number, client) in clients.iter().enumerate() {
                match round {
                    0 => server.post(*client, format!("bind u{number}")),
                    _ => server.post(*client, format!("all {number}.{round}")),
                }
            }
        }
        server.run();
        let all: Vec<_> = clients
            .iter()
            .map(|one| server.take_messages(*one))
            .collect();
        for got in &all {
            // Whatever the order: of each sender all that it said since the receiver was there, in its order.
            for sender in 0..9 {
                let prefix = format!("{sender}.");
                let said = got.iter().filter_map(Received::text);
                let said: Vec<_> = said.filter(|text| text.starts_with(&prefix)).collect();
                assert!(said.is_sorted(), "{got:?}");
                assert_eq!(said.last(), Some(&&*format!("{sender}.3")), "{got:?}");
            }
        }
        all
    };
    assert_eq!(play(None), play(None));
    assert_eq!(play(Some(7)), play(Some(7)));
    let drawn: Vec<_> = (0..10).map(|seed| play(Some(seed))).collect();
    assert!(drawn.iter().any(|all| *all != drawn[0]));
}

#[test]
fn a_panic_fails_the_test_unless_it_is_allowed() {
    let mut server = TestServer::new(1, || Told);
    let client = told(&mut server, "u");
    let outcome = catch_unwind(AssertUnwindSafe(|| server.say(client, "panic")));
    let cause = outcome.expect_err("it is told");
    let text = cause.downcast_ref::<&str>().expect("words");
    assert!(text.contains("a callback has panicked"), "{text}");
    server.allow_panics();
    let other = told(&mut server, "other");
    server.say(other, "panic");
    for closed in [client, other] {
        assert_eq!(server.close_reason(closed), Some(CloseReason::Internal));
    }
}

#[test]
fn a_server_that_would_not_start_is_an_error() {
    let server = Server::new(Config::default()).listen("wss://127.0.0.1:1", || Told);
    let error = TestServer::of(server, 1).err().expect("no TLS");
    assert!(error.to_string().contains("TLS"), "{error}");
    let server = Server::new(Config::default()).listen(URL, || Told);
    assert!(TestServer::of(server, 0).is_err(), "no cores");
}

/// Tells each newcomer by what request it came.
struct Mirror;

impl App for Mirror {
    type Session = Option<String>;
    type Note = ();
    const NAMESPACE: &'static str = "mirror";
    const LOGIN: Login = Login::Optional;
    const HEADERS: &'static [&'static str] = &["Cookie", "X-Tenant"];

    fn on_connect(&mut self, cx: &mut Context<'_, Self>) -> Option<String> {
        let listener = cx.listener().unwrap_or_default().to_owned();
        let (protocol, peer) = (cx.protocol(), cx.peer());
        let by = (protocol.expect("one"), listener, peer.expect("one"));
        cx.send(format!("{by:?}"));
        let request = cx.request()?;
        // It is lent for the whole callback, whatever the context is used for.
        cx.send(format!("{} {:?}", request.path(), request.query()));
        for (name, value) in request.cookies() {
            cx.send(format!("{name}={value}"));
        }
        request.header("x-tenant").map(str::to_owned)
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        tenant: &mut Option<String>,
        _: Message<'_>,
    ) {
        assert_eq!(cx.request(), None, "it is over");
        cx.send(format!("{tenant:?} {:?}", cx.protocol()));
    }

    fn on_close(&mut self, cx: &mut Context<'_, Self>, _: Option<String>, _: CloseReason) {
        assert!(cx.request().is_none());
    }
}

#[test]
fn an_app_sees_the_request_it_came_by() {
    let server = Server::new(Config::default()).listen([URL, TEXT], || Mirror);
    let mut server = TestServer::of(server, 2).expect("an app");
    let dial = Dial::new()
        .at("/rooms/7?name=%C3%BC&x")
        .from(([192, 0, 2, 1], 80))
        .with_header("X-Secret", "not asked for")
        .with_header("cookie", "sid=abc; theme=dark")
        .with_header("X-Tenant", "blue");
    let client = server.dial(dial);
    server.say(client, "?");
    assert_eq!(
        server.take_messages(client),
        [
            "(WebSocket, \"websocket://127.0.0.1:0\", 192.0.2.1:80)",
            "/rooms/7 Some(\"name=%C3%BC&x\")",
            "sid=abc",
            "theme=dark",
            "Some(\"blue\") Some(WebSocket)",
        ]
    );
    let plain = server.connect();
    assert_eq!(server.take_messages(plain)[1..], ["/ None"]);
    let lines = server.connect_to(TEXT);
    server.say(lines, "?");
    assert_eq!(
        server.take_messages(lines),
        [
            "(Text, \"text://127.0.0.1:5678\", 127.0.0.1:10002)",
            "None Some(Text)"
        ]
    );
    let refused = server.dial(Dial::new().at("no path"));
    assert_eq!(
        server.close_reason(refused),
        Some(CloseReason::BadHandshake)
    );
}

/// Asks for what is no header.
struct Asks;

impl App for Asks {
    type Session = ();
    type Note = ();
    const NAMESPACE: &'static str = "asks";
    const HEADERS: &'static [&'static str] = &["Set Cookie"];

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {}
    fn on_message(&mut self, _: &mut Context<'_, Self>, _: &mut (), _: Message<'_>) {}
}

#[test]
fn what_is_no_header_is_a_mistake() {
    let server = Server::new(Config::default()).listen(URL, || Asks);
    let error = TestServer::of(server, 1).err().expect("no name");
    assert!(error.to_string().contains("\"Set Cookie\""), "{error}");
}
