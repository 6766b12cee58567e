//! A server in this process, with an app whose callbacks panic when they are asked to: the program's own do not.
//!
//! Used by `panic`. What the servers of this process log is kept here; nobody else logs in it.

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
use crate::seed;

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
    const NAMESPACE: &'static str = "fragile";

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
            other => format!("{other:?}"),
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
    const NAMESPACE: &'static str = "unwelcoming";

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
pub struct Site {
    run: u64,
    running: Running,
    pub bystander: Client,
    panics: u64,
    ended: u64,
}

/// The cores' panics are what is tested: only those of the tests are worth reading. To be called before any server starts
/// in this process, for that one has the place of each panic noted in front of this.
pub fn quiet_cores() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if !thread.name().is_some_and(|name| name.starts_with("core-")) {
                before(panic);
            }
        }));
    });
}

impl Site {
    pub async fn start(cores: usize, uid_policy: UidPolicy) -> Site {
        quiet_cores();
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let lines = tracing_subscriber::fmt().with_ansi(false);
            lines.with_writer(|| Log).init();
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
        let bystander =
            Client::connect("ws", running.listening()[0].address.ip().expect("of IP")).await;
        Site {
            run,
            running,
            bystander,
            panics: 0,
            ended: 0,
        }
    }

    pub fn address(&self, listener: usize) -> SocketAddr {
        self.running.listening()[listener]
            .address
            .ip()
            .expect("of IP")
    }

    pub async fn connect(&self) -> Client {
        Client::connect("ws", self.address(0)).await
    }

    async fn stats(&mut self) -> Value {
        let stats = self.bystander.ask("stats").await;
        serde_json::from_str(&stats).unwrap_or_else(|error| panic!("{error} in {stats:?}"))
    }

    pub async fn count(&mut self, figure: &str) -> u64 {
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
    pub async fn expect_panics(&mut self, callback: &str, panics: u64, ended: u64) {
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

    pub async fn expect_offline(&mut self, uid: &str) {
        let online = self.bystander.ask(&format!("online {uid}")).await;
        assert_eq!(online, "0", "{uid} is still online");
    }

    pub async fn stop(self) {
        drop(self.bystander);
        let stopped = spawn_blocking(move || self.running.stop()).await;
        stopped.expect("no panic").expect("it stops well");
    }
}
