//! The keys that proofs are checked with: [`Keyring`], read from a file and read again when told so, and
//! each core's [`Verifier`]. At most [`KEYS_MAX`](super::KEYS_MAX), so that the old key and the new hold at once while
//! whoever signs goes from one to the other.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::jwt::Parties;
use super::key_set::Keys;
use super::{Credential, CredentialError, TOKEN_BYTES_MAX, WallTime, keyfile};
use crate::config::{Auth, Config};
use crate::ident::check_uid;

const FILE_BYTES_MAX: u64 = 256 << 10;

/// The configured keys, shared by all cores.
pub struct Keyring {
    auth: Auth,
    /// How often they have been read.
    version: AtomicU64,
    held: Mutex<LoadedKeys>,
}

/// Where the keys are from, and the keys.
#[derive(Clone)]
struct LoadedKeys {
    file: PathBuf,
    parties: Parties,
    keys: Arc<Keys>,
}

impl LoadedKeys {
    fn read(auth: Auth, file: PathBuf, parties: Parties) -> io::Result<LoadedKeys> {
        let keys = Arc::new(read(auth, &file, &parties)?);
        Ok(LoadedKeys {
            file,
            parties,
            keys,
        })
    }

    /// As configured.
    fn open(auth: Auth, config: &Config) -> io::Result<LoadedKeys> {
        let Some(file) = config.auth_key_file.clone() else {
            return Err(invalid(
                "auth needs auth_key_file, the file with the key that proofs are checked with",
            ));
        };
        let parties = Parties {
            audience: config.auth_audience.clone(),
            issuer: config.auth_issuer.clone(),
        };
        LoadedKeys::read(auth, file, parties)
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
            held: Mutex::new(LoadedKeys::open(config.auth, config)?),
        })))
    }

    /// Reads the file again. From then on proofs are checked with its keys; connections that have proved who
    /// they are stay until their time is over. After an error the keys are what they were. Returns how many
    /// there are.
    pub fn reload(&self) -> io::Result<usize> {
        let LoadedKeys { file, parties, .. } = self.held();
        Ok(self.hold(LoadedKeys::read(self.auth, file, parties)?))
    }

    /// Reads the file that is configured now, for the audience and the issuer that are, as [`Keyring::reload`] does.
    pub fn renew(&self, config: &Config) -> io::Result<usize> {
        Ok(self.hold(LoadedKeys::open(self.auth, config)?))
    }

    fn hold(&self, held: LoadedKeys) -> usize {
        let count = held.keys.count();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        self.version.fetch_add(1, Ordering::Release);
        count
    }

    fn held(&self) -> LoadedKeys {
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn keys(&self) -> Arc<Keys> {
        self.held().keys
    }

    /// Whether whoever knows a key can make proofs: a public one cannot.
    pub fn has_secrets(&self) -> bool {
        self.keys().have_secrets()
    }

    /// Makes a proof for a uid with the first key that can sign, until `expires` (in seconds since 1970).
    pub fn mint(&self, uid: &str, expires: u64) -> Result<String, String> {
        self.mint_with_groups(uid, &[], expires)
    }

    /// Makes a proof that lets its client into groups, too, by names and patterns with `*`. Only JSON web tokens do.
    pub fn mint_with_groups(
        &self,
        uid: &str,
        groups: &[String],
        expires: u64,
    ) -> Result<String, String> {
        check_uid(uid).map_err(|error| error.to_string())?;
        if self.auth != Auth::Jwt && !groups.is_empty() {
            return Err("only a JSON web token has groups: set auth to \"jwt\"".to_owned());
        }
        let LoadedKeys { keys, parties, .. } = self.held();
        let token = keys.mint(uid, groups, expires, &parties);
        token.ok_or_else(|| {
            "a public key checks proofs and cannot make any: sign with the private one".to_owned()
        })
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
    pub fn verify(&mut self, token: &str, now: WallTime) -> Result<Credential, CredentialError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(CredentialError::TooLong);
        }
        let version = self.keyring.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.keys = self.keyring.keys();
        }
        self.keys.verify(token, now)
    }
}

fn read(auth: Auth, file: &PathBuf, parties: &Parties) -> io::Result<Keys> {
    let named = |problem: &str| invalid(&format!("auth_key_file {}: {problem}", file.display()));
    let metadata = std::fs::metadata(file).map_err(|error| named(&error.to_string()))?;
    // A device or a pipe would be read for ever.
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(named("expected a file of at most 256 KiB"));
    }
    let bytes = std::fs::read(file).map_err(|error| named(&error.to_string()))?;
    keyfile::parse(auth, &bytes, parties).map_err(|problem| named(&problem))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
