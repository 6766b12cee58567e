//! Certificates: which listeners need some, whether their files are right, and what to say of them.

use std::fmt::Write;
use std::net::IpAddr;

use ringpost::config::TlsFiles;
use ringpost::{CheckedCertificates, check_certificate_chains, check_certificates};

use super::listener::ListenerSettings;
use super::settings::Settings;

/// Days before a certificate's end from which on that is told. Whoever renews by himself has done it by then.
pub const DAYS_LEFT_MIN: i64 = 14;

/// Every set of certificates that listeners speak TLS with, once.
pub fn all(settings: &Settings) -> Vec<TlsFiles> {
    let speaking = settings.listeners.iter();
    let speaking = speaking.filter(|one| one.is_tls && one.path.is_none());
    let mut all = Vec::new();
    for files in speaking.map(|one| one.certificates.or(&settings.tls)) {
        if !all.contains(&files) {
            all.push(files);
        }
    }
    all
}

/// What is wrong with the keys, the files left alone.
pub fn problem(tls: &TlsFiles) -> Option<String> {
    let is_wrong = tls.key_file.is_some() && tls.certificate_file.is_none();
    is_wrong.then(|| "tls.key_file: there is no tls.certificate_file to it".to_owned())
}

/// What is wrong with a listener's.
pub fn check_listener(tls: &TlsFiles, listener: &ListenerSettings) -> Result<(), String> {
    let own = &listener.certificates;
    if own.key_file.is_some() && own.certificate_file.is_none() {
        return Err("it has a key_file, and no certificate_file".to_owned());
    }
    match listener.is_tls && own.or(tls).is_empty() {
        true => Err(
            "TLS needs a certificate: set tls.certificate_file and tls.key_file (--tls-certificate-file, \
             --tls-key-file), or tls.self_signed for a try"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

/// What is wrong with the files.
pub fn check(settings: &Settings) -> Vec<String> {
    let checked = all(settings);
    let checked = checked.iter().map(check_certificates);
    let problems = checked.filter_map(|checked| checked.err());
    problems.map(|error| error.to_string()).collect()
}

/// What is right and may not be meant.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = Vec::new();
    let is_spoken = settings.listeners.iter().any(|one| one.is_tls);
    if settings.tls != TlsFiles::default() && !is_spoken {
        warnings.push(
            "there are certificates (tls.…), and no listener speaks TLS: that takes wss://, https://, tls+text:// or \
             tls+frame:// in its URL"
                .to_owned(),
        );
    }
    for files in all(settings) {
        let Ok(checked) = check_certificates(&files) else {
            continue;
        };
        if checked.days_left < DAYS_LEFT_MIN {
            warnings.push(format!(
                "{}: expires in {} days; renew it",
                named(&files),
                checked.days_left
            ));
        }
    }
    warnings
}

/// What `check` tells of them.
pub fn describe(settings: &Settings) -> String {
    let mut text = String::new();
    for files in all(settings) {
        if let Ok(CheckedCertificates {
            days_left, names, ..
        }) = check_certificates(&files)
        {
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "TLS by {}, for {}, for {days_left} more days",
                named(&files),
                names.join(", ")
            );
        }
    }
    for doubt in doubts(settings) {
        let _ = writeln!(text, "warning: {doubt}");
    }
    text
}

/// What of the files may keep clients out, though the server takes them: chains that lead nowhere, and pages of hosts
/// that no certificate is for.
pub fn doubts(settings: &Settings) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut every = Vec::new();
    for files in all(settings) {
        let Ok(checked) = check_certificates(&files) else {
            continue;
        };
        doubts.extend(checked.warnings.iter().cloned());
        let chains = check_certificate_chains(&files).unwrap_or_default();
        doubts.extend(chains.broken);
        doubts.extend(chains.untrusted.iter().map(|one| {
            format!(
                "{}: this machine trusts no authority that it leads to ({one}); clients have to trust that one, or the \
                 file lacks a certificate between (certbot's fullchain.pem has all)",
                named(&files)
            )
        }));
        every.push(checked);
    }
    let strange = settings.config.origins.iter();
    let strange = strange.filter(|origin| !every.is_empty() && !is_near(origin, &every));
    doubts.extend(strange.map(|origin| {
        let names: Vec<&str> = every.iter().flat_map(|one| &one.names).map(|name| &**name).collect();
        format!(
            "origins has {origin}, and no certificate is for that host: its pages have to connect to one of {}",
            names.join(", ")
        )
    }));
    doubts
}

/// Which of these hosts, to which clients connect, no certificate is for.
pub fn uncovered<'a>(settings: &Settings, hosts: &'a [String]) -> Vec<&'a str> {
    let every: Vec<_> = all(settings).iter().flat_map(check_certificates).collect();
    let hosts = hosts.iter().map(|host| &**host);
    hosts
        .filter(|host| !every.iter().any(|one| one.covers(host)))
        .collect()
}

/// Whether a page's origin tells nothing of a mistake: a certificate is for its host, or for one below or beside it,
/// which its pages may connect to.
fn is_near(origin: &str, every: &[CheckedCertificates]) -> bool {
    let Some(authority) = origin.strip_prefix("https://") else {
        return true;
    };
    let host = match authority.rsplit_once(':') {
        Some((host, _)) if !authority.ends_with(']') => host,
        _ => authority,
    };
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let bare = host.trim_start_matches("*.");
    let is_address = bare.parse::<IpAddr>().is_ok();
    let parent = |name: &str| {
        let (_, parent) = name.split_once('.')?;
        (parent.contains('.') && !is_address).then(|| parent.to_owned())
    };
    let is_by = |name: &str| {
        let is_below = name
            .strip_suffix(bare)
            .is_some_and(|rest| rest.ends_with('.'));
        is_below || parent(bare).is_some_and(|it| Some(it) == parent(name))
    };
    every
        .iter()
        .any(|one| one.covers(bare) || one.names.iter().any(|name| is_by(name)))
}

/// Where they come from.
pub fn named(files: &TlsFiles) -> String {
    let file = files.certificate_file.as_ref().or(files.folder.as_ref());
    match file {
        Some(file) => file.display().to_string(),
        None => "a certificate of its own".to_owned(),
    }
}

/// What is said of a certificate that the server has made itself, beside the listeners.
pub fn of_self_signed(fingerprint: &str) -> String {
    format!("TLS by a certificate made for a try, SHA-256 fingerprint {fingerprint}\n")
}
