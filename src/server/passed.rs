//! [`PassedSockets`]: listening sockets that whoever starts the process passes to it, by name.
//!
//! As systemd does (sd_listen_fds(3)): descriptors from 3 on, so many as `LISTEN_FDS` says, their names in
//! `LISTEN_FDNAMES`, for the process that `LISTEN_PID` names. The sockets stay with systemd too, so who connects while no
//! process is there waits for the next one. Each has to be some listener's: one that nobody accepts from would leave its
//! clients waiting for ever. Taken once, at the server's start.

use std::fmt::Write;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use socket2::{SockRef, Type};

use crate::net::listener::{AcceptOptions, Listener};

/// The first descriptor that is passed.
const FIRST: RawFd = 3;
/// More are none that a service manager passes.
const COUNT_MAX: i32 = 1024;

/// Sockets that were passed, and not taken by a listener yet.
pub struct PassedSockets {
    /// By name, in their order; taken ones are gone.
    sockets: Vec<(String, OwnedFd)>,
    /// Of all that were passed.
    names: Vec<String>,
    /// Why there are none, where that may be a mistake.
    absent: Option<String>,
}

/// The environment's variables, as far as they are about it.
#[derive(Default)]
struct PassingVariables {
    pid: Option<String>,
    count: Option<String>,
    names: Option<String>,
}

impl PassingVariables {
    /// Names of the sockets passed to this process; in words why there are none.
    fn names(&self, own_pid: u32) -> Result<Result<Vec<String>, String>, String> {
        let (Some(pid), Some(count)) = (&self.pid, &self.count) else {
            return Ok(Err(
                "none was passed to this process (LISTEN_FDS is not set); a .socket unit does that, or \
                 systemd-socket-activate"
                    .to_owned(),
            ));
        };
        if pid.trim().parse() != Ok(own_pid) {
            return Ok(Err(format!(
                "LISTEN_PID says that they were passed to the process {pid:?}, and this is {own_pid}: something in \
                 between has started it anew, such as a shell without exec"
            )));
        }
        let count = match count.trim().parse() {
            Ok(count @ 0..=COUNT_MAX) => count as usize,
            _ => {
                return Err(format!(
                    "LISTEN_FDS = {count:?}: expected a number of sockets"
                ));
            }
        };
        let names = self.names.as_deref().unwrap_or_default();
        let names: Vec<String> = match names {
            // So systemd says, too, where a socket has no name.
            "" => vec!["unknown".to_owned(); count],
            names => names.split(':').map(str::to_owned).collect(),
        };
        if names.len() != count {
            return Err(format!(
                "LISTEN_FDS says {count} and LISTEN_FDNAMES names {}: {names:?}",
                names.len()
            ));
        }
        Ok(Ok(names))
    }
}

impl PassedSockets {
    /// Those of the process' environment.
    pub fn take() -> io::Result<PassedSockets> {
        let variable = |name| std::env::var(name).ok();
        let passing = PassingVariables {
            pid: variable("LISTEN_PID"),
            count: variable("LISTEN_FDS"),
            names: variable("LISTEN_FDNAMES"),
        };
        let names = match passing.names(std::process::id()).map_err(wrong)? {
            Ok(names) => names,
            Err(absent) => {
                return Ok(PassedSockets {
                    sockets: Vec::new(),
                    names: Vec::new(),
                    absent: Some(absent),
                });
            }
        };
        let numbered = (FIRST..).zip(names.iter().cloned());
        let own = |(number, name): (RawFd, String)| {
            check(number, &name)?;
            // SAFETY: the variables, which are about this very process, give it to us, and this is called once.
            Ok((name, unsafe { OwnedFd::from_raw_fd(number) }))
        };
        Ok(PassedSockets {
            sockets: numbered.map(own).collect::<io::Result<_>>()?,
            names,
            absent: None,
        })
    }

    /// The one of a name, as a listener of so many cores.
    pub fn listener(
        &mut self,
        name: &str,
        cores: usize,
        options: AcceptOptions,
    ) -> io::Result<Listener> {
        if self.names.iter().filter(|one| *one == name).count() > 1 {
            return Err(wrong(format!(
                "{} passed sockets have the name {name:?}; give each a .socket unit of its own, with FileDescriptorName=",
                self.names.len()
            )));
        }
        let at = self.sockets.iter().position(|(one, _)| one == name);
        let Some(at) = at else {
            let mut text = format!("no passed socket has the name {name:?}");
            // Writing to a String does not fail.
            let _ = match &self.absent {
                Some(absent) => write!(text, ": {absent}"),
                None if self.names.iter().any(|one| one == name) => {
                    write!(text, " any more: another listener has taken it")
                }
                None => write!(text, "; those passed are {:?}", self.names),
            };
            return Err(wrong(text));
        };
        let (_, socket) = self.sockets.remove(at);
        Listener::passed(socket, cores, options)
    }

    /// An error if one is no listener's.
    pub fn check_left(&self) -> io::Result<()> {
        if self.sockets.is_empty() {
            return Ok(());
        }
        let left: Vec<&str> = self.sockets.iter().map(|(name, _)| &**name).collect();
        Err(wrong(format!(
            "sockets were passed that no listener takes: {left:?}; add listeners such as text+fd://{}, or have them not \
             passed",
            left[0]
        )))
    }
}

/// An error if the descriptor is no listening socket for streams.
fn check(number: RawFd, name: &str) -> io::Result<()> {
    // SAFETY: it is looked at only, and if it is not open that is an error.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
    let socket = SockRef::from(&borrowed);
    let listens = socket
        .r#type()
        .and_then(|kind| Ok((kind, socket.is_listener()?)));
    let what = match listens {
        Ok((Type::STREAM, true)) => return Ok(()),
        Ok((Type::STREAM, false)) => {
            "a connection, and no listening socket (Accept=no in its unit)".to_owned()
        }
        Ok(_) => "no socket for streams (ListenStream= in its unit)".to_owned(),
        Err(error) => format!("no socket: {error}"),
    };
    Err(wrong(format!(
        "the passed descriptor {number} ({name:?}) is {what}"
    )))
}

fn wrong(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(
        pid: &str,
        count: &str,
        names: Option<&str>,
    ) -> Result<Result<Vec<String>, String>, String> {
        PassingVariables {
            pid: Some(pid.to_owned()),
            count: Some(count.to_owned()),
            names: names.map(str::to_owned),
        }
        .names(42)
    }

    #[test]
    fn what_is_passed_is_told_by_variables() {
        let two = vec!["web".to_owned(), "back-end".to_owned()];
        assert_eq!(names("42", "2", Some("web:back-end")), Ok(Ok(two)));
        assert_eq!(names("42", "0", None), Ok(Ok(Vec::new())));
        assert_eq!(names("42", "1", None), Ok(Ok(vec!["unknown".to_owned()])));
        assert!(matches!(names("43", "1", Some("web")), Ok(Err(text)) if text.contains("43")));
        for count in ["", "x", "-1", "100000"] {
            assert!(names("42", count, None).is_err(), "{count:?}");
        }
        assert!(names("42", "2", Some("web")).is_err());
        let none = PassingVariables::default().names(42);
        assert!(matches!(none, Ok(Err(text)) if text.contains("LISTEN_FDS")));
    }

    #[test]
    fn each_is_asked_for_by_its_name_once_and_none_is_left() {
        let listening = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
            OwnedFd::from(listener)
        };
        let passed = |all: &[&str]| PassedSockets {
            sockets: all
                .iter()
                .map(|name| (name.to_string(), listening()))
                .collect(),
            names: all.iter().map(|name| name.to_string()).collect(),
            absent: None,
        };
        let options = AcceptOptions {
            send_buffer_bytes: 0,
            watch: crate::net::listener::KeepaliveMode::Sent,
            first: false,
        };
        let mut two = passed(&["web", "back-end"]);
        let error = |result: io::Result<Listener>| match result {
            Ok(_) => panic!("it is an error"),
            Err(error) => error.to_string(),
        };
        assert!(error(two.listener("wbe", 1, options)).contains("\"wbe\""));
        assert!(two.listener("web", 1, options).is_ok());
        assert!(error(two.listener("web", 1, options)).contains("another listener"));
        assert!(
            two.check_left()
                .is_err_and(|it| it.to_string().contains("text+fd://back-end"))
        );
        assert!(two.listener("back-end", 1, options).is_ok() && two.check_left().is_ok());
        let mut same = passed(&["unknown", "unknown"]);
        assert!(error(same.listener("unknown", 1, options)).contains("FileDescriptorName"));
    }

    #[test]
    fn a_descriptor_that_is_no_listening_socket_is_refused() {
        use std::os::fd::AsRawFd;
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let file = std::fs::File::open("/dev/null").expect("opens");
        for (number, word) in [
            (one.as_raw_fd(), "Accept=no"),
            (datagrams.as_raw_fd(), "ListenStream"),
            (file.as_raw_fd(), "no socket"),
        ] {
            let error = check(number, "x").err().map(|error| error.to_string());
            assert!(error.is_some_and(|text| text.contains(word)), "{word}");
        }
    }
}
