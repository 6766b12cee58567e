//! What keeps a server from starting, told with what was to be done and what mends it: an error's number alone helps
//! nobody.

use std::io;

/// An error of the system, with what was to be done and what mends it where that is known.
pub fn named(what: &str, error: &io::Error) -> io::Error {
    let hint = match error.raw_os_error() {
        Some(libc::EMFILE) => {
            "; the process has as many descriptors as it may (RLIMIT_NOFILE: ulimit -n, LimitNOFILE=)"
        }
        Some(libc::ENFILE) => "; the machine has as many descriptors as it may (fs.file-max)",
        Some(libc::EAGAIN) => {
            "; there may be no more threads (RLIMIT_NPROC: ulimit -u; pids.max of the control group: TasksMax=)"
        }
        Some(libc::ENOMEM) => "; there is no memory for it",
        Some(libc::EPERM | libc::EACCES) => {
            "; it is forbidden here (seccomp, or a security module)"
        }
        _ => "",
    };
    io::Error::new(error.kind(), format!("{what}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_be_done_comes_first() {
        let error = named(
            "no thread for a core",
            &io::Error::from_raw_os_error(libc::EAGAIN),
        );
        assert!(error.to_string().starts_with("no thread for a core: "));
        assert!(error.to_string().contains("TasksMax="));
    }
}
