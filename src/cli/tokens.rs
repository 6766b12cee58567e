//! Tokens of back ends, from the settings and a file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ringpost::accounts::uid_of;
use ringpost::auth::Keyring;
use ringpost::auth::backend_tokens::{
    BACKEND_TOKEN_BYTES_MIN, BACKEND_TOKENS_MAX, BackendTokens, Rights,
};
use ringpost::escape::Escaped;

use super::settings::{BackendSettings, Settings};
use super::values::is_token;

const FILE_BYTES_MAX: u64 = 64 << 10;

/// What is wrong with the keys of clients' proofs and the tokens of back ends.
pub fn check(settings: &Settings) -> Vec<String> {
    let keys = Keyring::open(&settings.config).err();
    let keys = keys.map(|error| error.to_string());
    let backend_tokens = backend_tokens(&settings.backend).err();
    keys.into_iter().chain(backend_tokens).collect()
}

/// What is right and may not be meant: files with secrets that others on this machine may read.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    let keyring = Keyring::open(config).ok().flatten();
    let of_secrets = keyring.is_some_and(|keyring| keyring.has_secrets());
    let files = [
        (
            "auth_key_file",
            config.auth_key_file.as_ref().filter(|_| of_secrets),
        ),
        ("backend.tokens_file", settings.backend.tokens_file.as_ref()),
        (
            "webhooks.secret_file",
            settings.webhooks.secret_file.as_ref(),
        ),
        ("cluster.secret_file", settings.cluster.secret_file.as_ref()),
    ];
    let open = files
        .into_iter()
        .filter_map(|(key, file)| Some((key, file?)));
    open.filter(|(_, file)| others_may_read(file))
        .map(|(key, file)| {
            format!(
                "{key} {}: others on this machine may read it, and it holds secrets: chmod o-rwx",
                file.display()
            )
        })
        .collect()
}

/// By the file's mode, and the directories above it let everybody through.
fn others_may_read(file: &Path) -> bool {
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |of| of.permissions().mode());
    let passes = |above: &Path| above.as_os_str().is_empty() || mode(above) & 0o001 != 0;
    mode(file) & 0o004 != 0 && file.ancestors().skip(1).all(passes)
}

/// The tokens of back ends: the one with all rights, and those of the file.
pub fn backend_tokens(settings: &BackendSettings) -> Result<BackendTokens, String> {
    let mut backend_tokens = BackendTokens::default();
    if let Some(token) = &settings.token {
        backend_tokens = backend_tokens.with(token, Rights::ALL);
    }
    if let Some(file) = &settings.tokens_file {
        backend_tokens = read(backend_tokens, file)?;
    }
    for (name, rights) in named("backend.users", &settings.users)? {
        let user = uid_of(name).map_err(|error| format!("backend.users: {error}"))?;
        backend_tokens = backend_tokens.with_user(user, rights);
    }
    for (name, rights) in named("backend.certificates", &settings.certificates)? {
        backend_tokens = backend_tokens.with_certificate(name, rights);
    }
    Ok(backend_tokens)
}

/// Names with their rights: `www-data=push,read; root=push,kick,read,bind`.
fn named<'s>(key: &str, text: &'s Option<String>) -> Result<Vec<(&'s str, Rights)>, String> {
    let parts = text
        .as_deref()
        .unwrap_or_default()
        .split(';')
        .map(str::trim);
    let parts = parts.filter(|part| !part.is_empty());
    let read = |part: &'s str| {
        let (name, rights) = part.split_once('=')?;
        let name = name.trim();
        Some((name, Rights::parse(rights)?)).filter(|_| !name.is_empty())
    };
    let each = parts.map(|part| {
        read(part).ok_or_else(|| {
            format!(
                "{key}: \"{}\": expected NAME=RIGHTS, several with semicolons between, such as \"NAME=push,read\"; the \
                 rights are push, kick and read",
                Escaped(part)
            )
        })
    });
    let all: Vec<_> = each.collect::<Result<_, _>>()?;
    match text {
        // What was meant to guard must not leave everything open.
        Some(_) if all.is_empty() => Err(format!("{key}: there is no name in it")),
        _ => Ok(all),
    }
}

fn read(backend_tokens: BackendTokens, file: &Path) -> Result<BackendTokens, String> {
    let name = format!("backend.tokens_file {}", file.display());
    let metadata = std::fs::metadata(file).map_err(|error| format!("{name}: {error}"))?;
    // A device or a pipe would be read for ever.
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(format!("{name}: expected a file of at most 64 KiB"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    let before = backend_tokens.is_empty();
    let lines = text.lines().enumerate();
    let lines =
        lines.map(|(number, line)| (number + 1, line.trim_start_matches('\u{feff}').trim()));
    let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (backend_tokens, count) = lines.try_fold((backend_tokens, 0), |(backend_tokens, count), (number, line)| {
        // The line itself is not shown: it holds a secret.
        let (token, rights) = parse(line).ok_or_else(|| {
            format!(
                "{name}:{number}: expected rights and a token, such as \"push,kick TOKEN\"; the rights are push, \
                 kick and read, the token has 16 to 256 printable ASCII characters; `ringpost token --back-end` \
                 makes one"
            )
        })?;
        Ok::<_, String>((backend_tokens.with(token, rights), count + 1))
    })?;
    match count {
        // A file that was meant to guard must not leave everything open.
        0 if before => Err(format!("{name}: there is no token in it")),
        0..=BACKEND_TOKENS_MAX => Ok(backend_tokens),
        _ => Err(format!(
            "{name}: {count} tokens; at most {BACKEND_TOKENS_MAX}"
        )),
    }
}

fn parse(line: &str) -> Option<(&str, Rights)> {
    let (rights, token) = line.rsplit_once([' ', '\t'])?;
    Some((token, Rights::parse(rights.trim())?))
        .filter(|(token, _)| token.len() >= BACKEND_TOKEN_BYTES_MIN && is_token(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let name = format!(
            "ringpost-marked-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, "\u{feff}push 0123456789abcdef\r\n").unwrap();
        let backend_tokens = read(BackendTokens::default(), &file);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(
            backend_tokens.unwrap().rights("0123456789abcdef"),
            Rights::parse("push")
        );
    }

    #[test]
    fn a_file_of_secrets_that_others_may_read_is_warned_of() {
        let name = format!(
            "ringpost-tokens-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let mut settings = Settings::default();
        settings.config.auth = ringpost::config::Auth::Hmac;
        settings.config.auth_key_file = Some(file.clone());
        settings.backend.tokens_file = Some(file.clone());
        settings.webhooks.secret_file = Some(file.clone());
        let warned = |mode: u32| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, mode).unwrap();
            let warned = warnings(&settings);
            let keys = warned
                .iter()
                .map(|line| line.split(' ').next().unwrap().to_owned());
            keys.collect::<Vec<_>>()
        };
        let all = [
            "auth_key_file",
            "backend.tokens_file",
            "webhooks.secret_file",
        ];
        assert_eq!(warned(0o604), all);
        assert_eq!(warned(0o644), all);
        assert!(warned(0o600).is_empty() && warned(0o640).is_empty());
        std::fs::remove_file(&file).unwrap();
        assert!(warnings(&settings).is_empty());
    }

    #[test]
    fn names_have_their_rights() {
        let read = |text: &str| {
            named("backend.users", &Some(text.to_owned()))
                .ok()
                .map(|all| {
                    let all = all.into_iter();
                    all.map(|(name, rights)| format!("{name}:{rights}"))
                        .collect::<Vec<_>>()
                })
        };
        let two = ["a:push,read", "b c:kick"].map(str::to_owned);
        assert_eq!(read("a=push, read ; b c=kick;"), Some(two.to_vec()));
        for text in ["", ";", "a", "a=", "a=all", "=push", "a=push b=push"] {
            assert_eq!(read(text), None, "{text:?}");
        }
        let users = |text: &str| {
            let users = Some(text.to_owned());
            backend_tokens(&BackendSettings {
                users,
                ..BackendSettings::default()
            })
        };
        assert!(users("root=push").is_ok_and(|tokens| !tokens.is_empty()));
        assert!(users("no-such-account=push").is_err_and(|text| text.contains("no user")));
    }

    #[test]
    fn a_line_is_rights_and_a_token() {
        let token = "0123456789abcdef";
        let line = |rights: &str| format!("{rights}{token}");
        assert_eq!(parse(&line("push ")), Some((token, Rights::PUSH)));
        assert_eq!(
            parse(&line("push, kick,read,bind \t")),
            Some((token, Rights::ALL))
        );
        for line in [
            line(""),
            line("all "),
            line("push \u{7f}"),
            line("abc push,kick x "),
            "push".to_owned(),
            "push 0123456789abcde".to_owned(),
        ] {
            assert_eq!(parse(&line), None, "{line:?}");
        }
    }
}
