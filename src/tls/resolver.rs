//! Which certificate a client is shown: the first that covers the name it asks for and whose key it can check.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::names::covers;

/// A certificate that is served.
#[derive(Debug)]
pub struct Served {
    /// The hosts that it is for, in lower case.
    pub names: Vec<Box<str>>,
    pub key: Arc<CertifiedKey>,
}

/// All certificates, in the order in which they are configured.
#[derive(Debug)]
pub struct Resolver(pub Vec<Served>);

impl Resolver {
    /// The one for a client that asks for `host`, if it does, and accepts keys of this kind.
    fn choose(
        &self,
        host: Option<&str>,
        accepts: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Served> {
        let host = host.map(str::to_ascii_lowercase);
        let is_for = |served: &&Served| {
            let host = host.as_deref();
            host.is_some_and(|host| served.names.iter().any(|name| covers(name, host)))
        };
        // An exact name goes before one with a star.
        let is_named = |served: &&Served| {
            let host = host.as_deref();
            host.is_some_and(|host| served.names.iter().any(|name| **name == *host))
        };
        let accepted = || self.0.iter().filter(|served| accepts(&served.key));
        // Who asks for a name that we have none for sees the first, and can tell by that what is wrong.
        accepted()
            .find(is_named)
            .or_else(|| accepted().find(is_for))
            .or_else(|| accepted().next())
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let accepts = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        let served = self.choose(hello.server_name(), accepts)?;
        Some(served.key.clone())
    }
}
