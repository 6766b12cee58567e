//! How a connection proves who it is, before it binds: by its handshake, or by its first message.
//!
//! Only on listeners whose apps bind a uid, and only where the configuration asks for proofs. There a first
//! message that is no proof never reaches the app. Later ones are the app's, but for `auth TOKEN` with a
//! further proof of the same uid, which puts off the connection's end.

use super::host::Host;
use super::outcome::{BindError, ending};
use crate::auth::{Credential, CredentialError, NO_TOKEN, Verifier, looks_like_token, wall_time};
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::payload::Message;
use crate::shard::Phase;

/// What may stand before a token in a message, and does before a further one.
const MARK: &[u8] = b"auth ";

impl Host {
    /// Has connections prove who they are, on the listeners that say so. Before it is started.
    pub fn set_verifier(&mut self, verifier: Verifier) {
        self.local.shard.credentials.set_wall(wall_time());
        self.verifier = Some(verifier);
    }

    /// The time that proofs end by is read once a turn, as the other one is, and only where there are any.
    pub(super) fn read_wall(&mut self) {
        if self.verifier.is_some() {
            self.local.shard.credentials.set_wall(wall_time());
        }
    }

    /// What a token that the handshake has brought proves.
    pub fn check_credential(&mut self, token: &str) -> Result<Credential, CredentialError> {
        let now = self.local.shard.credentials.wall();
        match &mut self.verifier {
            Some(verifier) => verifier.verify(token, now),
            None => Err(CredentialError::Missing),
        }
    }

    /// What opened the connection has named its uid, which needs no proof here.
    pub fn claim(&mut self, id: ConnId, uid: &str) {
        if let Some((app, session)) = self.session_of(id) {
            self.apps[app].claimed(&mut self.local, id, session, uid);
            self.settle();
        }
    }

    /// A connection that is open has proved who it is; its app is told.
    pub fn prove(&mut self, id: ConnId, credential: Credential) {
        self.accept_proof(id, credential);
        self.settle();
    }

    fn accept_proof(&mut self, id: ConnId, credential: Credential) {
        let shard = &mut self.local.shard;
        shard.prove(id, credential.uid.clone(), credential.expires);
        if let Some((app, session)) = self.session_of(id) {
            self.apps[app].proved(&mut self.local, id, session, &credential.uid);
        }
    }

    /// Takes the message if it is a proof, or stands where one must. False if it is the app's.
    pub(super) fn take_credential(&mut self, id: ConnId, message: Message<'_>) -> bool {
        let shard = &self.local.shard;
        if !shard
            .connections
            .listener(id)
            .is_some_and(|spec| spec.proves)
        {
            return false;
        }
        let bytes = message.bytes();
        let marked = bytes.strip_prefix(MARK);
        // Whoever is bound has proved something, so that most messages are looked at no further.
        if marked.is_none() && shard.connections.phase(id) == Phase::Home {
            return false;
        }
        if shard.proved(id).is_none() {
            match self.check_bytes(marked.unwrap_or(bytes)) {
                Ok(credential) => self.accept_proof(id, credential),
                Err(error) => self.refuse(id, BindError::Unproved(error)),
            }
            return true;
        }
        match marked {
            Some(token) if looks_like_token(token) => {
                self.renew(id, token);
                true
            }
            _ => false,
        }
    }

    fn check_bytes(&mut self, token: &[u8]) -> Result<Credential, CredentialError> {
        match std::str::from_utf8(token) {
            Ok(token) if looks_like_token(token.as_bytes()) => self.check_credential(token),
            _ if token.is_empty() => Err(CredentialError::Missing),
            _ => Err(NO_TOKEN),
        }
    }

    /// A further proof of a connection that has shown one.
    fn renew(&mut self, id: ConnId, token: &[u8]) {
        if !self.local.shard.may_refresh(id) {
            return self.local.shard.close(id, CloseReason::RateLimit);
        }
        let shown = match self.check_bytes(token) {
            Ok(credential) if self.local.shard.proved(id) != Some(&credential.uid) => {
                Err(CredentialError::OtherUid)
            }
            shown => shown,
        };
        match shown {
            Ok(credential) => self.local.shard.refresh(id, credential.expires),
            Err(error) => {
                let peer = self.local.shard.connections.peer(id);
                self.refusals.tell(id, peer, &BindError::Unproved(error));
                self.local.shard.close(id, ending(error));
            }
        }
    }
}
