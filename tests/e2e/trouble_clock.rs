//! Clocks that step by two days, forward and back: heartbeats, timeouts and pings hold on.
//!
//! The machine's clock cannot be set in a test, nor can a time namespace set the time of day. So a small library
//! (`clock.c`, built by the C compiler that Rust links with) is preloaded into the server and answers for libc's
//! clocks; that it does is seen by the times in the log.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::{Client, Got};
use crate::http::Http;
use crate::on_drivers;
use crate::raw::Raw;
use crate::seed;
use crate::server::{Server, command};

const TWO_DAYS: i64 = 2 * 86_400;
const LISTENERS: [&str; 5] = [
    "websocket://127.0.0.1:0=relay",
    "text://127.0.0.1:0=relay",
    "text://127.0.0.1:0=push-backend",
    "websocket://127.0.0.1:0=chat",
    "http://127.0.0.1:0=page",
];

on_drivers! {
    the_time_of_day_may_step_as_it_likes,
    a_core_whose_own_clock_leaps_takes_it_for_a_standstill,
}

/// Where the server's clocks are set.
struct Clock {
    folder: PathBuf,
}

impl Clock {
    /// Builds the library, beside a file for the clocks.
    fn make() -> Clock {
        let name = format!(
            "ringpost-clock-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder");
        let clock = Clock { folder };
        clock.set(0, 0);
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.library())
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/clock.c"))
            .status();
        assert!(built.expect("cc runs").success());
        clock
    }

    fn library(&self) -> PathBuf {
        self.folder.join("clock.so")
    }

    fn file(&self) -> PathBuf {
        self.folder.join("ahead")
    }

    /// Seconds by which the time of day and the monotonic clock are ahead from now on.
    fn set(&self, day: i64, monotonic: i64) {
        use std::os::unix::fs::FileExt;
        let bytes = [day.to_ne_bytes(), monotonic.to_ne_bytes()].concat();
        let mut options = fs::File::options();
        // In place, for the server has it in its memory.
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.file());
        file.expect("a file")
            .write_all_at(&bytes, 0)
            .expect("it is written");
    }

    async fn serve(&self, driver: &str) -> Server {
        let settings = [
            ("DRIVER", driver),
            ("LOG", "debug"),
            ("IDLE_TIMEOUT", "3s"),
            ("PING_INTERVAL", "1s"),
            ("LOGIN_TIMEOUT", "4s"),
            ("HANDSHAKE_TIMEOUT", "4s"),
        ];
        let mut command = command(2, &settings, &LISTENERS);
        command.env("LD_PRELOAD", self.library());
        command.env("CLOCK_AHEAD", self.file());
        Server::spawn(command, LISTENERS.len()).await
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What the server writes into its log is of this time of day from now on, as the server has it.
async fn expect_time_of_day(server: &Server, ahead: i64) {
    let start = Instant::now();
    loop {
        // A line of its own.
        drop(server.backend().await);
        sleep(Duration::from_millis(20)).await;
        let log = server.log();
        let last = log.lines().last().expect("a line");
        if (seconds_ahead(last) - ahead as f64).abs() < 600.0 {
            return;
        }
        let late = start.elapsed() > Duration::from_secs(10);
        assert!(!late, "{last} is not {ahead} s ahead");
    }
}

/// How far the time that a line of the log begins with is ahead of the time here.
fn seconds_ahead(line: &str) -> f64 {
    let first = line.split(' ').next().expect("a time");
    let time = humantime::parse_rfc3339(first).expect("a time");
    match time.duration_since(SystemTime::now()) {
        Ok(later) => later.as_secs_f64(),
        Err(earlier) => -earlier.duration().as_secs_f64(),
    }
}

/// Websockets that answer pings, and lines that beat by themselves: none may be closed.
struct Beating {
    tasks: Vec<JoinHandle<()>>,
    pings: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Beating {
    async fn begin(server: &Server) -> Beating {
        let pings = std::sync::Arc::<std::sync::atomic::AtomicUsize>::default();
        let mut tasks = Vec::new();
        for uid in seed::uids(&mut seed::rng(), 4) {
            let mut line = server.relay("text", &format!("{uid}-line")).await;
            let beat = format!("{uid}-line:beat");
            tasks.push(tokio::spawn(async move {
                loop {
                    assert_eq!(line.ask(&beat).await, "beat");
                    sleep(Duration::from_millis(700)).await;
                }
            }));
            let mut raw = Raw::relay_narrow(server.address("ws", "relay"), &uid).await;
            let count = std::sync::Arc::clone(&pings);
            tasks.push(tokio::spawn(async move {
                loop {
                    let frame = raw.next().await.expect("the connection lives");
                    assert_eq!(frame.first, crate::raw::FIN | crate::raw::PING, "{frame:?}");
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    raw.frame(crate::raw::FIN | 0xa, &frame.body).await;
                }
            }));
        }
        Beating { tasks, pings }
    }

    fn pings(&self) -> usize {
        self.pings.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// All of them live on, and are pinged, for as long as whatever else is looked at.
    async fn live_on<T>(&mut self, meanwhile: impl Future<Output = T>) -> T {
        let before = self.pings();
        let result = meanwhile.await;
        for task in &mut self.tasks {
            let ended = timeout(Duration::ZERO, &mut *task).await;
            assert!(ended.is_err(), "one of them was closed: {ended:?}");
        }
        assert!(self.pings() > before, "nobody was pinged");
        result
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn the_time_of_day_may_step_as_it_likes(driver: &'static str) {
    let clock = Clock::make();
    let server = clock.serve(driver).await;
    let mut beating = Beating::begin(&server).await;
    expect_time_of_day(&server, 0).await;
    for ahead in [TWO_DAYS, -TWO_DAYS, 0] {
        let before = server.holdings().await;
        // They have their time, not more and not less, though the clock steps within it.
        let mut silent = server.relay("text", "silent").await;
        let opening = Raw::dial(server.address("ws", "relay")).await;
        let no_login = server.connect("ws", "chat").await;
        let start = Instant::now();
        sleep(Duration::from_millis(300)).await;
        clock.set(ahead, 0);
        let meanwhile = async {
            sleep(Duration::from_millis(1_500)).await;
            silent.expect_silence().await;
            expect_time_of_day(&server, ahead).await;
            silent.expect_end(4003).await;
            let (mut opening, mut no_login) = (opening, no_login);
            assert!(opening.next().await.is_err());
            no_login.expect_end(4004).await;
        };
        beating.live_on(meanwhile).await;
        let took = start.elapsed();
        assert!(took > Duration::from_millis(3_700), "after {took:?}");
        server.wait_holdings(before).await;
    }
}

async fn a_core_whose_own_clock_leaps_takes_it_for_a_standstill(driver: &'static str) {
    let clock = Clock::make();
    let server = clock.serve(driver).await;
    let before = server.holdings().await;
    let mut beating = Beating::begin(&server).await;
    let mut http = Http::dial(server.address("http", "page")).await;
    http.write(b"GET /healthz HTTP/1.1\r\n").await;
    sleep(Duration::from_millis(500)).await;
    clock.set(TWO_DAYS, TWO_DAYS);
    let meanwhile = async {
        sleep(Duration::from_secs(2)).await;
        http.write(b"Host: localhost\r\n\r\n").await;
        assert_eq!(http.response().await.expect("an answer").status, 200);
        // From here on there are deadlines as ever.
        let mut silent = server.relay("text", "silent").await;
        let start = Instant::now();
        assert_eq!(silent.next().await, Got::End(crate::client::End::Bare));
        let took = start.elapsed();
        assert!(took > Duration::from_millis(2_500), "after {took:?}");
        let mut chat: Client = server.connect("ws", "chat").await;
        chat.expect_end(4004).await;
    };
    beating.live_on(meanwhile).await;
    drop((beating, http));
    server.wait_holdings(before).await;
}
