//! What stands for TLS in a build without the feature `tls`: none can be configured, so no connection has any. Has what
//! `tls/mod.rs` has for others.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::TlsFiles;

#[path = "failure.rs"]
pub mod failure;
#[path = "outcome.rs"]
mod outcome;

pub use failure::{End, Failure};
pub use outcome::{FAILURE_KINDS, Handshaken, PEER_ALERT, RECORD, TlsRefusal, failure_index};

/// There is none.
#[derive(Debug, Serialize, Deserialize)]
pub enum TlsConnection {}

/// Is never met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WornOut;

/// What became of input: never.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedRecords {
    /// Never.
    pub taken: usize,
    /// Never.
    pub plain: usize,
    /// Never.
    pub end: Option<End>,
}

/// All of these are never called: there is none.
impl TlsConnection {
    pub fn is_shaking_hands(&self) -> bool {
        match *self {}
    }

    pub fn client_names(&self) -> &[Box<str>] {
        match *self {}
    }

    pub fn bytes_held(&self) -> usize {
        match *self {}
    }

    pub fn shake_hands(
        &mut self,
        _: &[u8],
        _: &mut Vec<u8>,
    ) -> (usize, Result<Option<Handshaken>, TlsRefusal>) {
        match *self {}
    }

    pub fn record_bytes(&self) -> usize {
        match *self {}
    }

    pub fn is_at_rest(&self) -> bool {
        match *self {}
    }

    pub fn take_record(&mut self, _: &mut [u8]) {
        match *self {}
    }

    pub fn hold(&mut self, _: &[u8]) {
        match *self {}
    }

    pub fn open(&mut self, _: &mut [u8]) -> OpenedRecords {
        match *self {}
    }

    pub fn keep_end(&mut self, _: End) {
        match *self {}
    }

    pub fn take_end(&mut self) -> Option<End> {
        match *self {}
    }

    pub fn ignore(&mut self) {
        match *self {}
    }

    pub fn seal<'a>(
        &mut self,
        _: impl Iterator<Item = &'a [u8]>,
        _: bool,
        _: &mut Vec<u8>,
    ) -> Result<usize, WornOut> {
        match *self {}
    }

    pub fn seal_last(&mut self, _: &mut Vec<u8>) {
        match *self {}
    }

    pub fn end_by(&mut self, _: u8) {
        match *self {}
    }

    pub fn say_nothing_more(&mut self) {
        match *self {}
    }

    pub fn has_said_last(&self) -> bool {
        match *self {}
    }

    pub fn keep_unsent(&mut self, _: &[u8], _: bool) {
        match *self {}
    }

    pub fn unsent_bytes(&self) -> usize {
        match *self {}
    }
}

/// There is none.
pub struct TlsListeners(Infallible);

impl TlsListeners {
    /// `None`, or an error if a listener is to speak TLS.
    pub fn open(
        files: Vec<Option<TlsFiles>>,
    ) -> io::Result<(Option<Arc<TlsListeners>>, Vec<String>)> {
        match files.iter().all(Option::is_none) {
            true => Ok((None, Vec::new())),
            false => Err(unsupported()),
        }
    }

    /// Is never called: there is none.
    pub fn read(&self, _: Vec<Option<TlsFiles>>) -> io::Result<Option<FreshTls>> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn take_over(&self, _: FreshTls) -> Vec<String> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn look(&self) -> io::Result<Option<FreshTls>> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn expires(&self) -> i64 {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn fingerprint(&self) -> Option<String> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn ticket_secrets(&self) -> Vec<(String, Vec<TicketSecret>)> {
        match self.0 {}
    }

    /// Is never called: there is none.
    pub fn take_ticket_secrets(&self, _: &str, _: Vec<TicketSecret>) -> bool {
        match self.0 {}
    }
}

/// Of a ticket's key: never.
pub type TicketSecret = (u64, zeroize::Zeroizing<Vec<u8>>);

/// There is none.
pub enum FreshTls {}

/// There is none.
pub struct TlsAcceptor(Arc<TlsListeners>);

impl TlsAcceptor {
    /// Is never called: there is no [`TlsListeners`].
    pub fn new(shared: Arc<TlsListeners>) -> TlsAcceptor {
        match shared.0 {}
    }

    /// Is never called: there is none.
    pub fn has(&self, _: u16) -> bool {
        match self.0.0 {}
    }

    /// Is never called: there is none.
    pub fn begin(&mut self, _: u16, _: bool) -> Option<Result<TlsConnection, TlsRefusal>> {
        match self.0.0 {}
    }
}

/// What is known of files that are right: never.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CheckedFiles {
    /// Never.
    pub warnings: Vec<String>,
    /// Never.
    pub expires: Option<SystemTime>,
    /// Never.
    pub days_left: i64,
    /// Never.
    pub names: Vec<String>,
}

impl CheckedFiles {
    /// Is never called: there is none.
    pub fn covers(&self, _: &str) -> bool {
        false
    }
}

/// An error: no file can be of use.
pub fn check_files(_: &TlsFiles) -> io::Result<CheckedFiles> {
    Err(unsupported())
}

/// Where certificates lead: never.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CheckedChains {
    /// Never.
    pub broken: Vec<String>,
    /// Never.
    pub untrusted: Vec<String>,
}

/// An error: no file can be of use.
pub fn check_chains(_: &TlsFiles) -> io::Result<CheckedChains> {
    Err(unsupported())
}

fn unsupported() -> io::Error {
    let text = "this build speaks no TLS; build it with the feature `tls`";
    io::Error::new(io::ErrorKind::Unsupported, text)
}
