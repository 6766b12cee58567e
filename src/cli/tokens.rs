//! Tokens of back ends, from the settings and a file.

use std::path::Path;

use ringpost::auth::Keyring;
use ringpost::auth::bearer::{BEARERS_MAX, Bearers, Rights};

use super::settings::{BackendSettings, Settings};
use super::slot::is_token;

const FILE_BYTES_MAX: u64 = 64 << 10;

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
    let metadata = std::fs::metadata(file).map_err(|error| format!("{name}: {error}"))?;
    // A device or a pipe would be read for ever.
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!("{name}: expected a file of at most 64 KiB"));
    }
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
