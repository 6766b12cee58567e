//! Tokens: those of back ends, from the settings and a file, and a client's, made for trying (`ringpost token`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use ringpost::auth::bearer::{BEARERS_MAX, Bearers, Rights};
use ringpost::auth::{Keyring, ends_after};

use super::layers::Layer;
use super::settings::{BackendSettings, Settings};
use super::slot::{is_token, parse_time};
use super::{Status, complain, print, serve};

/// What `ringpost token` is given.
#[derive(clap::Args, Debug)]
pub struct TokenArgs {
    /// Whose it is
    uid: String,
    /// How long it holds
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time)]
    ttl: Duration,
    /// The server's configuration, with auth and auth_key_file; or set RINGPOST_AUTH and
    /// RINGPOST_AUTH_KEY_FILE
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGPOST_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

/// Makes a proof for a uid, as whoever knows the users would, and prints it.
pub fn run(args: &TokenArgs) -> Status {
    match mint(args) {
        Ok(token) => {
            print(&format!("{token}\n"));
            Status::Done
        }
        Err(problem) => {
            complain(problem.trim_end());
            Status::Trouble
        }
    }
}

fn mint(args: &TokenArgs) -> Result<String, String> {
    let settings = serve::resolve(args.config.as_deref(), Layer::default());
    let settings = settings.map_err(|problems| problems.0.join("\nringpost: "))?;
    let keyring = Keyring::open(&settings.config).map_err(|error| error.to_string())?;
    let keyring = keyring.ok_or(
        "auth is \"none\", so no token proves anything; set auth (RINGPOST_AUTH) and auth_key_file",
    )?;
    keyring.mint(&args.uid, ends_after(args.ttl))
}

/// What is wrong with the keys of clients' proofs and the tokens of back ends.
pub fn check(settings: &Settings) -> Vec<String> {
    let keys = Keyring::open(&settings.config).err();
    let keys = keys.map(|error| error.to_string());
    let bearers = bearers(&settings.backend).err();
    keys.into_iter().chain(bearers).collect()
}

/// The tokens of back ends: the one with all rights, and those of the file.
pub fn bearers(settings: &BackendSettings) -> Result<Bearers, String> {
    let mut bearers = Bearers::default();
    if let Some(token) = &settings.token {
        bearers = bearers.with(token, Rights::ALL);
    }
    match &settings.tokens_file {
        Some(file) => read(bearers, file),
        None => Ok(bearers),
    }
}

fn read(bearers: Bearers, file: &Path) -> Result<Bearers, String> {
    let name = format!("backend.tokens_file {}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let before = bearers.is_empty();
    let lines = text.lines().enumerate();
    let lines = lines.map(|(number, line)| (number + 1, line.trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (bearers, count) = lines.try_fold((bearers, 0), |(bearers, count), (number, line)| {
        // The line itself is not shown: it holds a secret.
        let (token, rights) = parse(line).ok_or_else(|| {
            format!(
                "{name}:{number}: expected rights and a token, such as \"push,kick TOKEN\"; the rights are push, \
                 kick and read, the token has 1 to 256 printable ASCII characters"
            )
        })?;
        Ok::<_, String>((bearers.with(token, rights), count + 1))
    })?;
    match count {
        // A file that was meant to guard must not leave everything open.
        0 if before => Err(format!("{name}: there is no token in it")),
        0..=BEARERS_MAX => Ok(bearers),
        _ => Err(format!("{name}: {count} tokens; at most {BEARERS_MAX}")),
    }
}

fn parse(line: &str) -> Option<(&str, Rights)> {
    let (rights, token) = line.rsplit_once([' ', '\t'])?;
    Some((token, Rights::parse(rights.trim())?)).filter(|(token, _)| is_token(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_rights_and_a_token() {
        assert_eq!(parse("push abc"), Some(("abc", Rights::PUSH)));
        assert_eq!(parse("push, kick,read \tabc"), Some(("abc", Rights::ALL)));
        for line in ["abc", "push", "all abc", "push a\u{7f}c", "abc push,kick x"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
