//! [`Program`]: by what a process was started, so that its successor is started likewise.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};

/// Names the socket by which a process is another's successor, and that one: `DESCRIPTOR:PID`.
pub const VARIABLE: &str = "SUCCEEDS_RINGPOST";

/// What is about the one process alone that was given it.
const OWN_VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// What the kernel puts behind the path of a file that is not there any more.
const DELETED: &str = " (deleted)";

/// The program of this process. Its environment and directory are looked at when a successor is started.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be called at the start: later another file may stand at the path.
    pub fn of_process() -> io::Result<Program> {
        let path = env::current_exe()?;
        let shown = path.to_string_lossy();
        let path = match shown.strip_suffix(DELETED) {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            _ => path,
        };
        Ok(Program {
            path,
            arguments: env::args_os().collect(),
        })
    }

    /// Where it lies.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Starts what stands at the path by now, with this socket.
    pub fn start(&self, socket: &UnixStream) -> io::Result<Child> {
        let number = socket.as_raw_fd();
        let mut command = Command::new(&self.path);
        let (name, arguments) = self
            .arguments
            .split_first()
            .map_or((None, &[][..]), |(name, rest)| (Some(name), rest));
        if let Some(name) = name {
            command.arg0(name);
        }
        command.args(arguments);
        for variable in OWN_VARIABLES {
            command.env_remove(variable);
        }
        command.env(VARIABLE, format!("{number}:{}", std::process::id()));
        // SAFETY: between fork and exec it makes one system call, which touches no memory.
        unsafe {
            command.pre_exec(move || match libc::fcntl(number, libc::F_SETFD, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        command.spawn()
    }
}
