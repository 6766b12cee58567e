//! Unix sockets that a listener binds: their names claimed from nobody who lives, given to whom the configuration says,
//! and taken away at the end.
//!
//! A socket's file outlives its process. Whether somebody listens there a connect tells: if it is refused, the file is
//! replaced. Called at the server's start.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::listen_address::ListenAddress;
use super::listener::credentials;
use crate::accounts::{gid_of, uid_of};
use crate::config::SocketFile;

/// Owner and group may connect, unless the configuration says otherwise: who connects may push, or claims a uid.
const MODE: u32 = 0o660;

/// What a process has left goes some time after it: its rings, and with them what they wait for, are taken down by the
/// kernel afterwards. Until then it seems to listen.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(5);

/// A socket's file, which is removed with this, if it is still the one that was made.
pub struct ClaimedPath {
    path: PathBuf,
    /// Its device, its number there, and when it was made: numbers are soon used again. Nothing where it is another
    /// process's by now.
    identity: Option<(u64, u64, i64, i64)>,
}

impl Drop for ClaimedPath {
    fn drop(&mut self) {
        // Another server may have replaced it while this one was on its way out.
        if self.identity.is_some() && identity(&self.path).ok() == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64, i64, i64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

impl ClaimedPath {
    /// Takes on the file of a socket that another process has made and given to us.
    pub fn take_on(address: &ListenAddress) -> Option<ClaimedPath> {
        let ListenAddress::Path(path) = address else {
            return None;
        };
        let path = PathBuf::from(path);
        let identity = Some(identity(&path).ok()?);
        Some(ClaimedPath { path, identity })
    }

    /// Leaves the file to another process, if it is at this address.
    pub fn leave_to_others(mut self, is_theirs: impl Fn(&ListenAddress) -> bool) {
        let address = ListenAddress::Path(self.path.to_string_lossy().into_owned());
        if is_theirs(&address) {
            self.identity = None;
        }
    }
}

/// Makes the socket, which does not listen yet: nobody can connect. An error says what is in the way.
pub fn bind(
    address: &ListenAddress,
    file: &SocketFile,
) -> io::Result<(Socket, Option<ClaimedPath>)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
    let path = match address {
        ListenAddress::Path(path) => Path::new(path),
        ListenAddress::Abstract(name) => {
            socket.bind(&SockAddr::unix(format!("\0{name}"))?)?;
            return Ok((socket, None));
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    clear(path)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let claimed = ClaimedPath {
        path: path.to_owned(),
        identity: Some(identity(path)?),
    };
    hand_over(path, file)?;
    Ok((socket, Some(claimed)))
}

/// Gives it to whom the configuration says. The mode comes last: before it the file is nobody else's.
fn hand_over(path: &Path, file: &SocketFile) -> io::Result<()> {
    let number = |name: &Option<String>, of: fn(&str) -> Result<u32, String>| {
        let number = name.as_deref().map(of).transpose();
        number.map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))
    };
    let (owner, group) = (number(&file.owner, uid_of)?, number(&file.group, gid_of)?);
    if owner.is_some() || group.is_some() {
        chown(path, owner, group).map_err(|error| {
            let text = format!(
                "its owner or group cannot be set: {error}; only root gives a file away, others to groups of theirs"
            );
            io::Error::new(error.kind(), text)
        })?;
    }
    let mode = file.mode.unwrap_or(MODE);
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Removes a socket that nobody listens at. An error if somebody does, or it is no socket.
fn clear(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let taken = |text: &str| io::Error::new(io::ErrorKind::AlreadyExists, text);
    if !found.file_type().is_socket() {
        return Err(taken("there is a file that is no socket; it is left alone"));
    }
    let until = Instant::now() + CLOSING_TIME_MAX;
    loop {
        // Not blocking: a full queue is somebody's, too.
        let client = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        let tried = client.connect(&SockAddr::unix(path)?);
        if tried.is_err() || !is_left_by_dead(&client) || Instant::now() > until {
            return judge(path, tried);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the process that listens where this has connected is gone. Its socket may be in the hands of another.
fn is_left_by_dead(client: &Socket) -> bool {
    let found = credentials(client);
    // SAFETY: no memory is touched, and the signal 0 is none.
    found.is_ok_and(|it| it.pid > 0 && unsafe { libc::kill(it.pid, 0) } != 0)
        && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH)
}

/// Removes a socket by what came of connecting to it.
fn judge(path: &Path, tried: io::Result<()>) -> io::Result<()> {
    let taken = |text: &str| io::Error::new(io::ErrorKind::AlreadyExists, text);
    match tried {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(taken(
            "there is a socket, and whether somebody listens there may not be asked; remove it if nobody does",
        )),
        Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
            Err(taken("there is a socket of another kind; it is left alone"))
        }
        _ => Err(taken("another process listens there (see: ss -xlp)")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn path() -> PathBuf {
        let name = format!("ringpost-{}-{}.sock", std::process::id(), fastrand::u64(..));
        std::env::temp_dir().join(name)
    }

    fn at(path: &Path) -> ListenAddress {
        ListenAddress::Path(path.to_str().expect("UTF-8").to_owned())
    }

    #[test]
    fn its_file_has_the_mode_and_goes_with_it() {
        let path = path();
        for (mode, expected) in [(None, 0o660), (Some(0o606), 0o606)] {
            let file = SocketFile {
                mode,
                ..SocketFile::default()
            };
            let (_socket, claimed) = bind(&at(&path), &file).expect("it is free");
            let found = fs::metadata(&path).expect("it is there");
            assert_eq!(found.permissions().mode() & 0o777, expected);
            // Nobody gets in before it listens.
            assert!(UnixStream::connect(&path).is_err());
            drop(claimed);
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_stale_one_is_replaced_and_one_that_is_listened_at_is_not() {
        let path = path();
        drop(UnixListener::bind(&path).expect("binds"));
        let (socket, stale) = bind(&at(&path), &SocketFile::default()).expect("nobody answers");
        socket.listen(1).expect("listens");
        for _ in 0..5 {
            let error = bind(&at(&path), &SocketFile::default()).err();
            assert_eq!(
                error.map(|it| it.kind()),
                Some(io::ErrorKind::AlreadyExists)
            );
        }
        // Who has been replaced leaves the other's alone.
        drop(socket);
        let (_fresh, claimed) = bind(&at(&path), &SocketFile::default()).expect("nobody answers");
        drop(stale);
        assert!(path.exists());
        drop(claimed);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_stale_socket_of_our_kind_is_left_alone() {
        let file = path();
        fs::write(&file, "precious").expect("writes");
        assert!(bind(&at(&file), &SocketFile::default()).is_err());
        assert_eq!(fs::read_to_string(&file).ok().as_deref(), Some("precious"));
        fs::remove_file(&file).expect("removes");
        let other = path();
        let _datagrams = UnixDatagram::bind(&other).expect("binds");
        assert!(bind(&at(&other), &SocketFile::default()).is_err());
        assert!(other.exists());
        fs::remove_file(&other).expect("removes");
    }

    #[test]
    fn an_abstract_one_has_no_file() {
        let name = format!("ringpost-{}-{}", std::process::id(), fastrand::u64(..));
        let address = ListenAddress::Abstract(name.clone());
        let (socket, claimed) = bind(&address, &SocketFile::default()).expect("it is free");
        assert!(claimed.is_none());
        socket.listen(1).expect("listens");
        let found = UnixAddress::from_abstract_name(&name).expect("a name");
        UnixStream::connect_addr(&found).expect("connects");
        let error = bind(&address, &SocketFile::default()).err();
        assert_eq!(error.map(|it| it.kind()), Some(io::ErrorKind::AddrInUse));
    }
}
