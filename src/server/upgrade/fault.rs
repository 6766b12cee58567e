//! Faults that tests plant in a server and its successor, by a file that a variable names. There are none but with the
//! feature `internals`.

#[cfg(feature = "internals")]
use std::sync::atomic::{AtomicU32, Ordering};

/// The process at the other end.
#[cfg(feature = "internals")]
static OTHER: AtomicU32 = AtomicU32::new(0);

/// This is the process at the other end.
#[cfg(feature = "internals")]
pub fn other_is(pid: u32) {
    OTHER.store(pid, Ordering::Relaxed);
}

/// Does here what the file says of this step: this process dies, hangs or refuses, or the other one is killed.
#[cfg(feature = "internals")]
pub fn meet(step: &str) -> Result<(), String> {
    let Some(path) = std::env::var_os("UPGRADE_FAULT_FILE") else {
        return Ok(());
    };
    let planted = std::fs::read_to_string(path).unwrap_or_default();
    match planted.trim().split_once(' ') {
        Some(("die", at)) if at == step => kill(std::process::id()),
        Some(("kill", at)) if at == step => {
            let other = OTHER.load(Ordering::Relaxed);
            kill(other);
            // Or what is said next would reach it still, or not.
            while is_there(other) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        Some(("hang", at)) if at == step => loop {
            std::thread::park();
        },
        Some(("refuse", at)) if at == step => return Err("a test has it refuse".to_owned()),
        _ => {}
    }
    Ok(())
}

#[cfg(feature = "internals")]
fn kill(pid: u32) {
    // 0 would be all processes of the group.
    if pid > 0 {
        // SAFETY: it touches no memory.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGKILL) };
    }
}

/// Whether a process has any thread that lives: its descriptors are closed with the last one.
#[cfg(feature = "internals")]
fn is_there(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    threads > 1 || threads == 1 && !status.contains("State:\tZ")
}

#[cfg(not(feature = "internals"))]
pub fn other_is(_: u32) {}

#[cfg(not(feature = "internals"))]
pub fn meet(_: &str) -> Result<(), String> {
    Ok(())
}
