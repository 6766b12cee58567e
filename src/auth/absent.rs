//! What stands for the keys in a build without the feature `auth`: none can be configured, so nothing is proved. Has what
//! `keys.rs` has for others.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use super::{Credential, CredentialError, WallTime};
use crate::config::{Auth, Config};

/// There is none.
pub struct Keyring(Infallible);

impl Keyring {
    /// `None`, or an error if clients are to prove who they are.
    pub fn open(config: &Config) -> io::Result<Option<Arc<Keyring>>> {
        match config.auth {
            Auth::None => Ok(None),
            _ => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "auth: this build cannot check proofs; build it with the feature `auth`",
            )),
        }
    }

    /// Is never called: there is none.
    pub fn reload(&self) -> io::Result<usize> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn renew(&self, _: &Config) -> io::Result<usize> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn has_secrets(&self) -> bool {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn mint(&self, _: &str, _: u64) -> Result<String, String> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn mint_with_groups(&self, _: &str, _: &[String], _: u64) -> Result<String, String> {
        match self.0 {}
    }
}

/// There is none.
pub struct Verifier(Arc<Keyring>);

impl Verifier {
    /// Is never called: there is no [`Keyring`].
    pub fn new(keyring: Arc<Keyring>) -> Verifier {
        match keyring.0 {}
    }

    /// Is never called: there is none.
    pub fn verify(&mut self, _: &str, _: WallTime) -> Result<Credential, CredentialError> {
        match self.0.0 {}
    }
}
