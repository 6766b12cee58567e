//! `ringpost upgrade`: a running server is asked by SIGUSR2 to hand all over to the program that stands by now where it
//! was started from, and says how that has gone.

use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use ringpost::escape::Escaped;
use ringpost::machine::asker_name;

use super::output::{Status, complain, print};
use super::slot::parse_time;

/// Longest answer.
const ANSWER_BYTES_MAX: usize = 4 << 10;

/// Which server, and how long it is waited for.
#[derive(clap::Args, Debug)]
pub struct UpgradeArgs {
    /// The server's process; without it the only one that runs here
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: Option<u32>,
    /// How long to wait for the server to say how it has gone
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "60s")]
    timeout: Duration,
}

/// Asks, and prints what has come of it.
pub fn run(args: &UpgradeArgs) -> Status {
    match ask(args) {
        Ok(answer) => match answer.split_once(' ') {
            Some(("ok", text)) => {
                print(&format!("{}\n", Escaped(text)));
                Status::Done
            }
            Some((_, text)) => {
                complain(&format!("the server goes on as it was: {}", Escaped(text)));
                Status::Failed
            }
            None => trouble("the server has answered what is no answer"),
        },
        Err(problem) => trouble(&problem),
    }
}

fn trouble(problem: &str) -> Status {
    complain(problem);
    Status::Trouble
}

fn ask(args: &UpgradeArgs) -> Result<String, String> {
    let pid = match args.pid {
        Some(pid) if takes_upgrades(pid) => pid,
        Some(pid) => {
            return Err(format!(
                "process {pid} is no server that can be upgraded: it does not run, or takes no SIGUSR2"
            ));
        }
        None => find()?,
    };
    let socket = claim(pid)?;
    let timed = socket.set_read_timeout(Some(args.timeout.max(Duration::from_millis(1))));
    timed.map_err(|error| error.to_string())?;
    // SAFETY: it touches no memory.
    if unsafe { libc::kill(pid as libc::pid_t, libc::SIGUSR2) } != 0 {
        let error = io::Error::last_os_error();
        return Err(format!("process {pid} cannot be asked: {error}"));
    }
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    match socket.recv(&mut answer) {
        Ok(length) => Ok(String::from_utf8_lossy(&answer[..length]).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(format!(
            "process {pid} was asked, and has not said how it has gone within {}; its log does",
            humantime::format_duration(args.timeout)
        )),
        Err(error) => Err(format!("nothing is heard of process {pid}: {error}")),
    }
}

/// The name at which the server says how it has gone.
fn claim(pid: u32) -> Result<UnixDatagram, String> {
    let address = SocketAddr::from_abstract_name(asker_name(pid));
    let claimed = address.and_then(|address| UnixDatagram::bind_addr(&address));
    claimed.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("somebody else upgrades process {pid} already"),
        _ => format!("no answer of process {pid} could be heard: {error}"),
    })
}

/// The one server that runs here.
fn find() -> Result<u32, String> {
    let entries =
        fs::read_dir("/proc").map_err(|error| format!("/proc cannot be read: {error}"))?;
    let own = std::process::id();
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_server = |pid: &u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        *pid != own && name.trim_end() == "ringpost" && takes_upgrades(*pid)
    };
    let found: Vec<u32> = pids.filter(is_server).collect();
    match found[..] {
        [pid] => Ok(pid),
        [] => Err("no server runs here that can be upgraded; --pid names one".to_owned()),
        _ => Err(format!(
            "several servers run here, {found:?}: say which by --pid"
        )),
    }
}

/// Whether it is a server of ours that takes SIGUSR2. Others may end by it, shells that catch it among them.
fn takes_upgrades(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let mut threads = threads.into_iter().flatten().flatten();
    let has_core = threads.any(|thread| {
        let name = fs::read_to_string(thread.path().join("comm"));
        name.is_ok_and(|name| name.trim_end() == "core-0")
    });
    has_core && catches_signal(pid)
}

fn catches_signal(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = status.lines();
    let caught = lines.find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    caught.is_some_and(|caught| caught & (1 << (libc::SIGUSR2 - 1)) != 0)
}
