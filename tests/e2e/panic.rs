//! An app that panics: that ends the connection it was about with 1011, is counted, and is logged with its
//! place; the core goes on serving the others, wherever in a connection's life it happens.
//!
//! The program's own apps do not panic, so the server runs in this process, with an app that does.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use ringpost::app::{Answer, App, BindError, Context, To};
use ringpost::close::CloseReason;
use ringpost::config::UidPolicy;
use ringpost::ident::{ConnId, CoreId, Ticket};
use ringpost::{Config, Message, Running, Server};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::client::Client;
use crate::on_cores;
use crate::raw::{FIN, Raw, TEXT, close_code, masked};
use crate::seed;

on_cores! {
    each_callback_that_panics_ends_its_connection_alone,
    a_panic_in_on_connect_ends_the_connection_and_leaves_nothing,
    callbacks_about_no_connection_end_none,
    a_connection_that_moves_is_ended_where_it_arrives,
    what_follows_a_bind_panics_at_home,
    a_bind_is_void_if_its_callback_panics,
    a_panic_over_the_one_replaced_does_not_keep_the_newcomer_out,
    text_and_frame_connections_are_ended_barely,
    a_server_whose_sessions_panic_at_their_end_stops,
}

/// Panics, always in the same line, and says why.
fn break_down(callback: &str, run: u64) -> ! {
    panic!("on purpose: {callback} in {run}")
}

/// The line in which it does.
const LINE: u32 = line!() - 4;

/// An app whose callbacks panic when they are asked to.
struct Fragile {
    /// Tells this test's lines in the log from those of others.
    run: u64,
    /// Whom to tell an answer.
    asked: HashMap<Ticket, ConnId>,
}

#[derive(Default)]
struct Session {
    panics_at_end: bool,
    bomb: Option<Bomb>,
}

/// Panics when it is dropped.
struct Bomb(u64);

impl Drop for Bomb {
    fn drop(&mut self) {
        break_down("on_close", self.0)
    }
}

impl Fragile {
    fn note_ticket(&mut self, cx: &Context<'_, Self>, ticket: Ticket) {
        let connection = cx.connection().expect("a message has a connection");
        self.asked.insert(ticket, connection);
    }
}

impl App for Fragile {
    type Session = Session;
    type Note = ();
    const SPACE: &'static str = "fragile";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) -> Session {
        Session::default()
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Session,
        message: Message<'_>,
    ) {
        let line = message.text().unwrap_or_default();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("echo", text) => cx.send(text),
            ("bind", uid) => cx.bind_uid(uid),
            ("bind-and-panic", uid) => {
                cx.bind_uid(uid);
                break_down("on_message", self.run)
            }
            // The bind is under way when nobody is found.
            ("bind-and-offline", uid) => {
                cx.bind_uid(uid);
                cx.send_to_uid_or_tell("no uid \n", "hello");
            }
            ("offline", _) => cx.send_to_uid_or_tell("nobody", "hello"),
            ("answer", uid) => drop(cx.online(uid)),
            ("close", _) => {
                session.panics_at_end = true;
                cx.close(CloseReason::Normal);
            }
            ("drop", _) => {
                session.bomb = Some(Bomb(self.run));
                cx.close(CloseReason::Normal);
            }
            ("later", _) => session.panics_at_end = true,
            ("timer", _) => cx.after(Duration::from_millis(1), 0),
            ("note", _) => cx.tell(To::All, ()),
            ("online", uid) => {
                let ticket = cx.online(uid);
                self.note_ticket(cx, ticket);
            }
            ("stats", _) => {
                let ticket = cx.stats();
                self.note_ticket(cx, ticket);
            }
            _ => break_down("on_message", self.run),
        }
    }

    fn on_bound(&mut self, cx: &mut Context<'_, Self>, _: &mut Session, _: Result<(), BindError>) {
        match cx.uid().is_some_and(|uid| uid.starts_with("fragile")) {
            true => break_down("on_bound", self.run),
            false => cx.send("bound"),
        }
    }

    fn on_offline(&mut self, _: &mut Context<'_, Self>, _: &mut Session, _: &str) {
        break_down("on_offline", self.run)
    }

    fn on_close(&mut self, _: &mut Context<'_, Self>, session: Session, _: CloseReason) {
        if session.panics_at_end {
            break_down("on_close", self.run)
        }
    }

    fn on_answer(&mut self, cx: &mut Context<'_, Self>, ticket: Ticket, answer: Answer) {
        let Some(connection) = self.asked.remove(&ticket) else {
            break_down("on_answer", self.run)
        };
        let text = match answer {
            Answer::Reached(count) => count.to_string(),
            Answer::Stats(stats) => serde_json::to_string(&*stats).expect("numbers and names"),
        };
        cx.send_to(connection, &text);
    }

    fn on_note(&mut self, _: &mut Context<'_, Self>, _: CoreId, (): ()) {
        break_down("on_note", self.run)
    }

    fn on_timer(&mut self, _: &mut Context<'_, Self>, _: u64) {
        break_down("on_timer", self.run)
    }
}

/// An app that has no session for anybody.
struct Unwelcoming(u64);

impl App for Unwelcoming {
    type Session = ();
    type Note = ();
    const SPACE: &'static str = "unwelcoming";

    fn on_connect(&mut self, _: &mut Context<'_, Self>) {
        break_down("on_connect", self.0)
    }

    fn on_message(&mut self, _: &mut Context<'_, Self>, _: &mut (), _: Message<'_>) {
        break_down("on_message", self.0)
    }

    fn on_close(&mut self, _: &mut Context<'_, Self>, (): (), _: CloseReason) {
        break_down("on_close", self.0)
    }
}

/// What the servers of this process have logged.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn log() -> String {
    String::from_utf8_lossy(&LOG.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// A server in this process, and one client that must notice nothing.
struct Site {
    run: u64,
    running: Running,
    bystander: Client,
    panics: u64,
    ended: u64,
}

impl Site {
    async fn start(cores: usize, uid_policy: UidPolicy) -> Site {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let lines = tracing_subscriber::fmt().with_ansi(false);
            lines.with_writer(|| Log).init();
            // The cores' panics are what is tested: only those of the tests are worth reading.
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let thread = std::thread::current();
                if !thread.name().is_some_and(|name| name.starts_with("core-")) {
                    before(panic);
                }
            }));
        });
        let config = Config {
            cores,
            pin: false,
            uid_policy,
            ..Config::default()
        };
        let run = seed::rng().u64(..);
        let listeners =
            ["websocket", "text", "frame"].map(|scheme| format!("{scheme}://127.0.0.1:0"));
        let mut server = Server::new(config);
        for listener in &listeners {
            server = server.listen(listener.as_str(), move || Fragile {
                run,
                asked: HashMap::new(),
            });
        }
        let running = server
            .listen("websocket://127.0.0.1:0", move || Unwelcoming(run))
            .start()
            .expect("it starts");
        let bystander = Client::connect("ws", running.listening()[0].address).await;
        Site {
            run,
            running,
            bystander,
            panics: 0,
            ended: 0,
        }
    }

    fn address(&self, listener: usize) -> SocketAddr {
        self.running.listening()[listener].address
    }

    async fn connect(&self) -> Client {
        Client::connect("ws", self.address(0)).await
    }

    async fn stats(&mut self) -> Value {
        let stats = self.bystander.ask("stats").await;
        serde_json::from_str(&stats).unwrap_or_else(|error| panic!("{error} in {stats:?}"))
    }

    async fn count(&mut self, figure: &str) -> u64 {
        let stats = self.stats().await;
        let cores = stats["cores"].as_array().expect("a list of cores");
        let pointer = format!("/{figure}");
        cores
            .iter()
            .filter_map(|core| core.pointer(&pointer)?.as_u64())
            .sum()
    }

    /// So many panics more have been counted, in this callback, which ended so many connections for it;
    /// everybody else is served on.
    async fn expect_panics(&mut self, callback: &str, panics: u64, ended: u64) {
        self.panics += panics;
        self.ended += ended;
        let expected = json!([self.panics, self.ended]);
        let start = Instant::now();
        loop {
            let counted = [
                self.count("panics").await,
                self.count("closed/internal error").await,
            ];
            if json!(counted) == expected {
                break;
            }
            let late = start.elapsed() > Duration::from_secs(10);
            assert!(!late, "{callback}: counted {counted:?}, not {expected}");
            sleep(Duration::from_millis(5)).await;
        }
        let cause = format!("on purpose: {callback} in {}", self.run);
        let logged = log();
        let lines: Vec<&str> = logged
            .lines()
            .filter(|line| line.contains(&cause))
            .collect();
        assert!(!lines.is_empty(), "{callback}: nothing was logged");
        for line in lines {
            assert!(line.contains("ERROR"), "{line}");
            assert!(line.contains(&format!("callback=\"{callback}\"")), "{line}");
            let place = format!(" at {}:{LINE}:", file!());
            assert!(line.contains(&place), "{line} does not say{place}");
        }
        assert_eq!(self.bystander.ask("echo on").await, "on", "{callback}");
        // Newcomers are served on whichever core the kernel gives them to.
        for _ in 0..4 {
            assert_eq!(
                self.connect().await.ask("echo on").await,
                "on",
                "{callback}"
            );
        }
    }

    async fn expect_offline(&mut self, uid: &str) {
        let online = self.bystander.ask(&format!("online {uid}")).await;
        assert_eq!(online, "0", "{uid} is still online");
    }

    async fn stop(self) {
        drop(self.bystander);
        let stopped = spawn_blocking(move || self.running.stop()).await;
        stopped.expect("no panic").expect("it stops well");
    }
}

async fn each_callback_that_panics_ends_its_connection_alone(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for (line, callback, code) in [
        ("panic", "on_message", 1011),
        ("bind fragile", "on_bound", 1011),
        ("offline", "on_offline", 1011),
        ("answer one", "on_answer", 1011),
        ("answer two", "on_answer", 1011),
        ("answer three", "on_answer", 1011),
        // What ends already ends as it would.
        ("close", "on_close", 1000),
        ("drop", "on_close", 1000),
    ] {
        println!("{line}");
        let mut client = site.connect().await;
        assert_eq!(client.ask("echo before").await, "before");
        client.send(line).await;
        client.expect_end(code).await;
        site.expect_panics(callback, 1, u64::from(code == 1011))
            .await;
    }
    site.expect_offline("fragile").await;
    site.stop().await;
}

async fn a_panic_in_on_connect_ends_the_connection_and_leaves_nothing(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for _ in 0..8 {
        let mut raw = Raw::dial(site.address(3)).await;
        // With a message behind the request, which nobody can take any more.
        let mut bytes = crate::raw::request("").into_bytes();
        bytes.extend(masked(FIN | TEXT, b"hello"));
        raw.write(&bytes).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
        raw.expect_close(&[1011]).await;
        site.expect_panics("on_connect", 1, 1).await;
    }
    let start = Instant::now();
    while site.count("connections").await > 1 {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "connections are left"
        );
        sleep(Duration::from_millis(10)).await;
    }
    site.stop().await;
}

async fn callbacks_about_no_connection_end_none(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    let mut client = site.connect().await;
    client.send("timer").await;
    site.expect_panics("on_timer", 1, 0).await;
    client.send("note").await;
    site.expect_panics("on_note", cores as u64, 0).await;
    assert_eq!(client.ask("echo still here").await, "still here");
    site.stop().await;
}

async fn a_connection_that_moves_is_ended_where_it_arrives(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    // So many that with several cores some of them move, all but for one run in a billion.
    for n in 0..30 {
        let uid = format!("fragile-{n}");
        let mut client = site.connect().await;
        client.send(&format!("bind {uid}")).await;
        client.expect_end(1011).await;
        site.expect_offline(&uid).await;
    }
    site.expect_panics("on_bound", 30, 30).await;
    assert_eq!(site.count("moved_in").await > 0, cores > 1);
    assert_eq!(site.count("bound").await, 0);
    site.stop().await;
}

async fn what_follows_a_bind_panics_at_home(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for n in 0..30 {
        let uid = format!("u{n}");
        let mut raw = Raw::open(site.address(0)).await;
        let mut bytes = masked(FIN | TEXT, format!("bind {uid}").as_bytes());
        bytes.extend(masked(FIN | TEXT, b"echo here"));
        bytes.extend(masked(FIN | TEXT, b"panic"));
        bytes.extend(masked(FIN | TEXT, b"echo not here"));
        raw.write(&bytes).await;
        // What came before it is answered, what comes after it is not.
        raw.expect(FIN | TEXT, b"bound").await;
        raw.expect(FIN | TEXT, b"here").await;
        raw.expect_close(&[1011]).await;
        site.expect_offline(&uid).await;
    }
    site.expect_panics("on_message", 30, 30).await;
    assert_eq!(site.count("moved_in").await > 0, cores > 1);
    site.stop().await;
}

async fn a_bind_is_void_if_its_callback_panics(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for (line, callback) in [
        ("bind-and-panic", "on_message"),
        ("bind-and-offline", "on_offline"),
    ] {
        for n in 0..10 {
            let uid = format!("u{n}");
            let mut client = site.connect().await;
            client.send(&format!("{line} {uid}")).await;
            let said = client.drain_to_end(1011).await;
            assert!(
                said.is_empty() || callback == "on_offline",
                "{line}: {said:?}"
            );
            site.expect_offline(&uid).await;
        }
        site.expect_panics(callback, 10, 10).await;
    }
    assert_eq!(site.count("bound").await, 0);
    site.stop().await;
}

async fn a_panic_over_the_one_replaced_does_not_keep_the_newcomer_out(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Replace).await;
    for n in 0..8 {
        let uid = format!("u{n}");
        let mut older = site.connect().await;
        older.send("later").await;
        assert_eq!(older.ask(&format!("bind {uid}")).await, "bound");
        let mut newer = site.connect().await;
        assert_eq!(newer.ask(&format!("bind {uid}")).await, "bound");
        older.expect_end(4001).await;
        assert_eq!(newer.ask("echo here").await, "here");
        assert_eq!(site.bystander.ask(&format!("online {uid}")).await, "1");
    }
    site.expect_panics("on_close", 8, 0).await;
    site.stop().await;
}

async fn text_and_frame_connections_are_ended_barely(cores: usize) {
    let mut site = Site::start(cores, UidPolicy::Multi).await;
    for (scheme, listener) in [("text", 1), ("frame", 2)] {
        let mut client = Client::connect(scheme, site.address(listener)).await;
        assert_eq!(client.ask("echo before").await, "before");
        client.send("panic").await;
        client.expect_end(1011).await;
        site.expect_panics("on_message", 1, 1).await;
    }
    site.stop().await;
}

async fn a_server_whose_sessions_panic_at_their_end_stops(cores: usize) {
    let site = Site::start(cores, UidPolicy::Multi).await;
    let mut clients = Vec::new();
    for n in 0..8 {
        let mut raw = Raw::open(site.address(0)).await;
        raw.frame(FIN | TEXT, b"later").await;
        raw.frame(FIN | TEXT, format!("bind u{n}").as_bytes()).await;
        raw.expect(FIN | TEXT, b"bound").await;
        clients.push(raw);
    }
    let stopping = tokio::spawn(site.stop());
    for raw in &mut clients {
        let frame = raw.next().await.expect("a close frame");
        assert_eq!(close_code(&frame), Some(1001));
        raw.write_if_open(&masked(crate::raw::CLOSE | FIN, &1001u16.to_be_bytes()))
            .await;
    }
    stopping.await.expect("it stops well");
}
