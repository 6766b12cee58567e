//! Faults that tests plant in a successor, by a file that a variable names. There are none but with the feature
//! `internals`.

/// Does here what the file says of this step: it dies, hangs or refuses.
#[cfg(feature = "internals")]
pub fn meet(step: &str) -> Result<(), String> {
    let Some(path) = std::env::var_os("UPGRADE_FAULT_FILE") else {
        return Ok(());
    };
    let planted = std::fs::read_to_string(path).unwrap_or_default();
    match planted.trim().split_once(' ') {
        Some(("die", at)) if at == step => {
            // SAFETY: it touches no memory.
            unsafe { libc::kill(std::process::id() as libc::pid_t, libc::SIGKILL) };
            Ok(())
        }
        Some(("hang", at)) if at == step => loop {
            std::thread::park();
        },
        Some(("refuse", at)) if at == step => Err("a test has it refuse".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(not(feature = "internals"))]
pub fn meet(_: &str) -> Result<(), String> {
    Ok(())
}
