//! What a count depends on beside the code: the compiler, valgrind, the C library and the instructions that
//! the program may use. Recorded with the counts, so that a difference can be told from a slow-down.

use std::process::Command;

use serde::{Deserialize, Serialize};

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub rustc: String,
    pub valgrind: String,
    /// `memcpy` and its like are counted, too.
    pub libc: String,
    pub target: String,
    /// The instruction sets that the whole program is compiled for.
    pub compiled_for: String,
    /// Those that it finds when it runs under valgrind, which knows AVX2 at most: what chooses its code by
    /// the CPU (UTF-8, line ends, request heads, SHA-1) does so by these.
    pub finds: String,
}

macro_rules! compiled {
    ($($name:tt)*) => { [$((cfg!(target_feature = $name), $name)),*] };
}

#[cfg(target_arch = "x86_64")]
macro_rules! found {
    ($($name:tt)*) => { [$((is_x86_feature_detected!($name), $name)),*] };
}

fn list(features: &[(bool, &str)]) -> String {
    let there = features.iter().filter(|(is, _)| *is);
    let names: Vec<&str> = there.map(|(_, name)| *name).collect();
    names.join(" ")
}

/// The instruction sets that this process finds.
#[cfg(target_arch = "x86_64")]
pub fn found() -> String {
    list(
        &found!("sse2" "ssse3" "sse4.1" "sse4.2" "popcnt" "aes" "sha" "bmi1" "bmi2" "avx" "avx2" "avx512f"),
    )
}

#[cfg(not(target_arch = "x86_64"))]
pub fn found() -> String {
    String::new()
}

impl Machine {
    /// This one; `finds` is what a process under valgrind says.
    pub fn here(finds: &str) -> Result<Machine, String> {
        // The same that has built this program: cargo and the script run it in the same directory.
        let rustc = first_line(Command::new("rustc").arg("-vV"))?;
        let compiled = list(&compiled!(
            "sse2" "ssse3" "sse4.1" "sse4.2" "popcnt" "aes" "sha" "bmi1" "bmi2" "avx" "avx2" "avx512f" "neon"
        ));
        Ok(Machine {
            rustc,
            valgrind: first_line(Command::new("valgrind").arg("--version"))?,
            libc: libc_version(),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            compiled_for: compiled,
            finds: finds.to_owned(),
        })
    }

    /// Each part that differs, as two values.
    pub fn differences<'a>(&'a self, other: &'a Machine) -> Vec<(&'static str, &'a str, &'a str)> {
        let parts = [
            ("rustc", &self.rustc, &other.rustc),
            ("valgrind", &self.valgrind, &other.valgrind),
            ("libc", &self.libc, &other.libc),
            ("target", &self.target, &other.target),
            ("compiled for", &self.compiled_for, &other.compiled_for),
            ("finds", &self.finds, &other.finds),
        ];
        let differing = parts.into_iter().filter(|(_, one, other)| one != other);
        differing
            .map(|(name, one, other)| (name, one.as_str(), other.as_str()))
            .collect()
    }
}

fn first_line(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().filter(|_| output.status.success());
    line.map(str::to_owned)
        .ok_or_else(|| format!("{program} did not say its version"))
}

#[cfg(target_env = "gnu")]
fn libc_version() -> String {
    // SAFETY: returns a static string that ends with a nul.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    format!("glibc {}", version.to_string_lossy())
}

#[cfg(not(target_env = "gnu"))]
fn libc_version() -> String {
    "not glibc".to_owned()
}
