//! The keys that proofs are checked with: [`Keyring`], read from a file and read again when told so, and
//! each core's [`Verifier`]. At most [`KEYS_MAX`], so that the old key and the new hold at once while
//! whoever signs goes from one to the other.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::hmac;

use super::jwt::{self, JwtKey, Parties};
use super::{Proof, ProofError, TOKEN_BYTES_MAX, WallTime, plain};
use crate::config::{Auth, Config};
use crate::ident::check_uid;

/// Most keys of a file.
pub const KEYS_MAX: usize = 8;
/// Shortest secret: as long as what it signs with (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Shortest RSA key that signatures are checked with, as PKCS #1 has one of 2,048 bits.
const RSA_BYTES_MIN: usize = 256;
const FILE_BYTES_MAX: u64 = 256 << 10;

/// The keys of a file.
enum Keys {
    Plain(Vec<hmac::Key>),
    Jwt(Vec<JwtKey>),
}

/// The configured keys, shared by all cores.
pub struct Keyring {
    auth: Auth,
    /// How often they have been read.
    version: AtomicU64,
    held: Mutex<Held>,
}

/// Where the keys are from, and the keys.
#[derive(Clone)]
struct Held {
    file: PathBuf,
    parties: Parties,
    keys: Arc<Keys>,
}

impl Held {
    fn read(auth: Auth, file: PathBuf, parties: Parties) -> io::Result<Held> {
        let keys = Arc::new(read(auth, &file, &parties)?);
        Ok(Held {
            file,
            parties,
            keys,
        })
    }

    /// As configured.
    fn open(auth: Auth, config: &Config) -> io::Result<Held> {
        let Some(file) = config.auth_key_file.clone() else {
            return Err(invalid(
                "auth needs auth_key_file, the file with the key that proofs are checked with",
            ));
        };
        let parties = Parties {
            audience: config.auth_audience.clone(),
            issuer: config.auth_issuer.clone(),
        };
        Held::read(auth, file, parties)
    }
}

impl Keyring {
    /// Reads the keys that are configured; `None` where clients need no proof. The error says what is wrong
    /// with the file.
    pub fn open(config: &Config) -> io::Result<Option<Arc<Keyring>>> {
        if config.auth == Auth::None {
            return Ok(None);
        }
        Ok(Some(Arc::new(Keyring {
            auth: config.auth,
            version: AtomicU64::new(0),
            held: Mutex::new(Held::open(config.auth, config)?),
        })))
    }

    /// Reads the file again. From then on proofs are checked with its keys; connections that have proved who
    /// they are stay until their time is over. After an error the keys are what they were. Returns how many
    /// there are.
    pub fn reload(&self) -> io::Result<usize> {
        let Held { file, parties, .. } = self.held();
        Ok(self.hold(Held::read(self.auth, file, parties)?))
    }

    /// The same with the file, the audience and the issuer that are configured now.
    pub fn renew(&self, config: &Config) -> io::Result<usize> {
        Ok(self.hold(Held::open(self.auth, config)?))
    }

    fn hold(&self, held: Held) -> usize {
        let count = held.keys.count();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.version.fetch_add(1, Ordering::Release);
        count
    }

    fn held(&self) -> Held {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keys(&self) -> Arc<Keys> {
        self.held().keys
    }

    /// Makes a proof for a uid with the first key that can sign, until `expires` (in seconds since 1970).
    pub fn mint(&self, uid: &str, expires: u64) -> Result<String, String> {
        check_uid(uid).map_err(|error| error.to_string())?;
        let Held { keys, parties, .. } = self.held();
        let token = match &*keys {
            Keys::Plain(keys) => keys.first().map(|key| plain::mint(key, uid, expires)),
            Keys::Jwt(keys) => keys.iter().find_map(|key| key.mint(uid, expires, &parties)),
        };
        token.ok_or_else(|| {
            "a public key checks proofs and cannot make any: sign with the private one".to_owned()
        })
    }
}

impl Keys {
    fn count(&self) -> usize {
        match self {
            Keys::Plain(keys) => keys.len(),
            Keys::Jwt(keys) => keys.len(),
        }
    }
}

/// One core's way to the keys: as long as they are not read anew it touches nothing that others write.
pub struct Verifier {
    keyring: Arc<Keyring>,
    version: u64,
    keys: Arc<Keys>,
}

impl Verifier {
    /// One on these keys.
    pub fn new(keyring: Arc<Keyring>) -> Verifier {
        Verifier {
            version: keyring.version.load(Ordering::Acquire),
            keys: keyring.keys(),
            keyring,
        }
    }

    /// What the token proves at this time.
    pub fn verify(&mut self, token: &str, now: WallTime) -> Result<Proof, ProofError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(ProofError::TooLong);
        }
        let version = self.keyring.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.keys = self.keyring.keys();
        }
        match &*self.keys {
            Keys::Plain(keys) => plain::verify(keys, token, now),
            Keys::Jwt(keys) => jwt::verify(keys, token, now),
        }
    }
}

fn read(auth: Auth, file: &PathBuf, parties: &Parties) -> io::Result<Keys> {
    let named = |problem: &str| invalid(&format!("auth_key_file {}: {problem}", file.display()));
    let metadata = std::fs::metadata(file).map_err(|error| named(&error.to_string()))?;
    // A device or a pipe would be read for ever.
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(named("expected a file of at most 256 KiB"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| named(&error.to_string()))?;
    parse(auth, &text, parties).map_err(|problem| named(&problem))
}

/// Reads what is in a file: PEM blocks, or else a secret a line.
fn parse(auth: Auth, text: &str, parties: &Parties) -> Result<Keys, String> {
    let keys = if text.contains("-----BEGIN ") {
        if auth == Auth::Hmac {
            return Err(
                "auth = \"hmac\" takes a secret, and this is PEM; public keys are for \"jwt\""
                    .to_owned(),
            );
        }
        let blocks = blocks(text)?;
        let beside = blocks
            .iter()
            .fold(text.to_owned(), |beside, block| beside.replace(block, "\n"));
        if beside
            .lines()
            .any(|line| line.trim().len() >= SECRET_BYTES_MIN)
        {
            return Err(
                "it holds PEM and what may be secrets; a file has keys of one kind".to_owned(),
            );
        }
        let keys = blocks.iter().map(|block| public(block, parties));
        Keys::Jwt(keys.collect::<Result<_, _>>()?)
    } else {
        let secrets = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let secrets: Vec<&str> = secrets.collect();
        if secrets.iter().any(|one| one.len() < SECRET_BYTES_MIN) {
            return Err(format!(
                "a secret has at least {SECRET_BYTES_MIN} characters on one line; make one with: openssl rand \
                 -hex 32"
            ));
        }
        match auth {
            Auth::Hmac => Keys::Plain(
                secrets
                    .iter()
                    .map(|one| hmac::Key::new(hmac::HMAC_SHA256, one.as_bytes()))
                    .collect(),
            ),
            _ => Keys::Jwt(
                secrets
                    .iter()
                    .map(|one| JwtKey::secret(one.as_bytes(), parties))
                    .collect(),
            ),
        }
    };
    match keys.count() {
        0 => Err("there is no key in it".to_owned()),
        1..=KEYS_MAX => Ok(keys),
        count => Err(format!("{count} keys; at most {KEYS_MAX} are tried")),
    }
}

/// Takes PEM apart into its blocks.
fn blocks(text: &str) -> Result<Vec<&str>, String> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(begin) = rest.find("-----BEGIN ") {
        rest = &rest[begin..];
        let unended = || "a PEM block without its END".to_owned();
        let end = rest.find("-----END ").ok_or_else(unended)?;
        let after = rest[end..].find('\n').map_or(rest.len(), |line| end + line);
        blocks.push(&rest[..after]);
        rest = &rest[after..];
    }
    Ok(blocks)
}

fn public(block: &str, parties: &Parties) -> Result<JwtKey, String> {
    if block.contains("PRIVATE KEY-----") {
        return Err(
            "a private key does not belong on this server, which only checks: openssl pkey -in FILE -pubout"
                .to_owned(),
        );
    }
    let known = [
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN RSA PUBLIC KEY-----",
    ];
    let key = known
        .iter()
        .any(|begin| block.starts_with(begin))
        .then(|| JwtKey::public(block.as_bytes(), parties))
        .flatten();
    let key = key.ok_or("expected public keys of RSA (RS256) or Ed25519 (EdDSA), or a secret")?;
    if key.is_rsa() && key.len() < RSA_BYTES_MIN {
        return Err("an RSA key has at least 2048 bits".to_owned());
    }
    Ok(key)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
