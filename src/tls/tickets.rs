//! [`TicketKeys`]: tickets whose keys come from a file, so that servers which share it take one another's.
//!
//! A ticket is its key's name, a salt, the time at which it was made, and the session, sealed by AES-256-GCM. The sealing key
//! is made of the file's and the salt, for one ticket: so no nonce comes twice, however many servers seal. The file's key is
//! bound to whom clients' certificates have to lead to. So what a listener gives that asks for none is nothing where one is
//! asked, and what was given before another authority was named is good no more.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use base64::prelude::{BASE64_STANDARD, Engine};
use rustls::RootCertStore;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::credentials::read;

/// Most keys in a file: each may be asked for its name.
const KEYS_MAX: usize = 16;
/// What a key may have, as those of nginx and HAProxy.
const KEY_BYTES: [usize; 2] = [48, 80];
const NAME_BYTES: usize = 16;
const SALT_BYTES: usize = 32;
const TIME_BYTES: usize = 8;
const HEAD_BYTES: usize = NAME_BYTES + SALT_BYTES + TIME_BYTES;
/// How long a ticket is good, in seconds: as long as those with keys of one process'.
pub const LIFETIME: u32 = 12 * 60 * 60;

/// See the module. The first one seals.
pub struct TicketKeys(Vec<TicketKey>);

/// One of them.
pub struct TicketKey {
    name: [u8; NAME_BYTES],
    secret: Prk,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.0.len())
    }
}

impl TicketKeys {
    /// Reads a file: a key a line, in Base64. `roots` is whom clients' certificates have to lead to.
    pub fn read(file: &Path, roots: Option<&RootCertStore>) -> Result<TicketKeys, String> {
        let named = file.display();
        let bytes = Zeroizing::new(read(file)?);
        let text = str::from_utf8(&bytes).map_err(|_| format!("{named}: {WANTED}"))?;
        let mut keys = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = BASE64_STANDARD.decode(line).map(Zeroizing::new);
            let key = key.ok().filter(|key| KEY_BYTES.contains(&key.len()));
            let key = key.ok_or_else(|| format!("{named}:{}: {WANTED}", number + 1))?;
            keys.push(TicketKey::of_secret(roots, &key));
        }
        match keys.len() {
            0 => Err(format!("{named}: there is no key in it; {WANTED}")),
            1..=KEYS_MAX => Ok(TicketKeys(keys)),
            many => Err(format!("{named}: {many} keys; at most {KEYS_MAX}")),
        }
    }

    fn seal(&self, session: &[u8], now: u64) -> Option<Vec<u8>> {
        self.0.first()?.seal(session, now)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        open_by(self.0.iter(), ticket, now)
    }
}

impl TicketKey {
    /// Of a secret. `roots` is whom clients' certificates have to lead to.
    pub fn of_secret(roots: Option<&RootCertStore>, secret: &[u8]) -> TicketKey {
        let secret = Salt::new(HKDF_SHA256, &bound_to(roots)).extract(secret);
        let mut name = [0; NAME_BYTES];
        expand(&secret, &[b"name"], &mut name);
        TicketKey { name, secret }
    }

    /// Makes a ticket at this time, in seconds since 1970.
    pub fn seal(&self, session: &[u8], now: u64) -> Option<Vec<u8>> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).ok()?;
        let mut ticket = Vec::with_capacity(HEAD_BYTES + session.len() + AES_256_GCM.tag_len());
        ticket.extend_from_slice(&self.name);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(&now.to_be_bytes());
        let head = Aad::from(<[u8; HEAD_BYTES]>::try_from(&ticket[..]).ok()?);
        ticket.extend_from_slice(session);
        let (nonce, sealed) = (
            Nonce::assume_unique_for_key([0; NONCE_LEN]),
            &mut ticket[HEAD_BYTES..],
        );
        let sealing = self.of_ticket(&salt);
        let tag = sealing
            .seal_in_place_separate_tag(nonce, head, sealed)
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn of_ticket(&self, salt: &[u8]) -> LessSafeKey {
        let mut key = Zeroizing::new([0; 32]);
        expand(&self.secret, &[b"ticket", salt], &mut *key);
        let key = UnboundKey::new(&AES_256_GCM, &*key);
        LessSafeKey::new(key.expect("as many bytes as it takes"))
    }
}

/// The session of a ticket that one of these keys has made, if it is still good.
pub fn open_by<'k>(
    mut keys: impl Iterator<Item = &'k TicketKey>,
    ticket: &[u8],
    now: u64,
) -> Option<Vec<u8>> {
    let (head, sealed) = ticket.split_first_chunk::<HEAD_BYTES>()?;
    let (name, rest) = head.split_at(NAME_BYTES);
    let (salt, made) = rest.split_at(SALT_BYTES);
    let made = u64::from_be_bytes(made.try_into().ok()?);
    // Another server's clock may be ahead.
    if now.saturating_sub(made) > u64::from(LIFETIME) {
        return None;
    }
    let key = keys.find(|key| key.name == name)?;
    let mut session = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let opened = key
        .of_ticket(salt)
        .open_in_place(nonce, Aad::from(*head), &mut session);
    let length = opened.ok()?.len();
    session.truncate(length);
    Some(session)
}

const WANTED: &str =
    "expected a key a line, 48 or 80 random bytes in Base64: openssl rand -base64 48";

/// What keys are bound to.
fn bound_to(roots: Option<&RootCertStore>) -> Vec<u8> {
    let mut bytes = b"ringpost tickets".to_vec();
    for root in roots.iter().flat_map(|roots| &roots.roots) {
        for part in [&root.subject, &root.subject_public_key_info] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    bytes
}

fn expand(secret: &Prk, info: &[&[u8]], out: &mut [u8]) {
    struct Bytes(usize);
    impl KeyType for Bytes {
        fn len(&self) -> usize {
            self.0
        }
    }
    secret
        .expand(info, Bytes(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("less than 255 hashes are asked for");
}

/// Seconds since 1970.
pub fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.seal(session, seconds_now())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.open(ticket, seconds_now())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, file};
    use super::*;

    fn line(byte: u8, bytes: usize) -> String {
        BASE64_STANDARD.encode(vec![byte; bytes])
    }

    fn keys(folder: &Folder, text: &str) -> Result<TicketKeys, String> {
        TicketKeys::read(&folder.put("keys", text), None)
    }

    #[test]
    fn who_has_the_key_opens_what_another_has_sealed() {
        let folder = Folder::new("ticket-keys");
        let old = keys(&folder, &line(1, 48)).unwrap();
        let both = format!("# new, then old\n{}\n\n{}\n", line(2, 80), line(1, 48));
        let both = keys(&folder, &both).unwrap();
        let new = keys(&folder, &line(2, 80)).unwrap();
        let by = |keys: &TicketKeys| keys.seal(b"a session", 1_000).unwrap();
        let opens = |keys: &TicketKeys, ticket: &[u8]| keys.open(ticket, 1_001).is_some();
        assert_eq!(both.open(&by(&old), 1_001).unwrap(), b"a session");
        assert!(opens(&new, &by(&both)) && opens(&both, &by(&new)) && opens(&old, &by(&old)));
        assert!(!opens(&old, &by(&both)) && !opens(&new, &by(&old)));
        assert_ne!(by(&old), by(&old));
    }

    #[test]
    fn a_ticket_is_good_as_it_was_given_and_for_its_time() {
        let folder = Folder::new("ticket-times");
        let keys = keys(&folder, &line(1, 80)).unwrap();
        let ticket = keys.seal(b"a session", 100_000).unwrap();
        let until = 100_000 + u64::from(LIFETIME);
        assert!(keys.open(&ticket, until).is_some() && keys.open(&ticket, 90_000).is_some());
        assert!(keys.open(&ticket, until + 1).is_none());
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert!(keys.open(&changed, 100_000).is_none(), "{at}");
            assert!(keys.open(&ticket[..at], 100_000).is_none(), "{at}");
        }
    }

    #[test]
    fn what_was_given_without_a_certificate_is_nothing_where_one_is_asked() {
        let folder = Folder::new("ticket-roots");
        let path = folder.put("keys", line(1, 80));
        let roots = |name: &str| super::super::credentials::roots(&file(name)).unwrap();
        let (ca, other) = (roots("ca.pem"), roots("other-ca.pem"));
        let of = [None, Some(&ca), Some(&other)];
        let of = of.map(|roots| TicketKeys::read(&path, roots).unwrap());
        for (from, one) in of.iter().enumerate() {
            let ticket = one.seal(b"a session", 5).unwrap();
            for (to, other) in of.iter().enumerate() {
                assert_eq!(other.open(&ticket, 5).is_some(), from == to, "{from} {to}");
            }
        }
    }

    #[test]
    fn mistakes_are_told_with_the_line() {
        let folder = Folder::new("ticket-mistakes");
        for (text, words) in [
            ("", "the file is empty"),
            ("# nothing\n", "there is no key in it"),
            (&line(1, 32), "keys:1: expected a key a line"),
            (&format!("{}\nsecret\n", line(1, 48)), "keys:2: expected"),
            (
                &format!("{}\n", line(1, 48)).repeat(17),
                "17 keys; at most 16",
            ),
        ] {
            let error = keys(&folder, text).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(
                !error.contains("secret\n") && !error.contains("AQEB"),
                "{error}"
            );
        }
    }
}
