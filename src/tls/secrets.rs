//! The traffic secrets of a handshake (RFC 8446, 7.1), which rustls tells by its [`KeyLog`] alone.
//!
//! A log is shared by all connections; whose secret it is told is known by whose handshake is being worked on, on this
//! thread, at this moment. It could also be looked up by the client's random value, which another client may repeat.

use std::cell::RefCell;

use rustls::KeyLog;

use super::records::Secret;

thread_local! {
    /// Of the handshake that this thread is working on.
    static CAUGHT: RefCell<Option<Secrets>> = const { RefCell::new(None) };
}

/// Both directions' secrets, as far as they are known. TLS 1.2 has none.
#[derive(Default, Debug)]
pub struct Secrets {
    pub client: Option<Secret>,
    pub server: Option<Secret>,
}

impl Secrets {
    /// Runs one step of a handshake, and keeps what secrets it makes.
    pub fn catch<T>(&mut self, step: impl FnOnce() -> T) -> T {
        CAUGHT.set(Some(std::mem::take(self)));
        let done = step();
        *self = CAUGHT.take().unwrap_or_default();
        done
    }
}

/// What rustls tells secrets to.
#[derive(Debug)]
pub struct Catch;

const CLIENT: &str = "CLIENT_TRAFFIC_SECRET_0";
const SERVER: &str = "SERVER_TRAFFIC_SECRET_0";

impl KeyLog for Catch {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        CAUGHT.with_borrow_mut(|caught| {
            let Some(caught) = caught else { return };
            match label {
                CLIENT => caught.client = Secret::new(secret),
                SERVER => caught.server = Secret::new(secret),
                _ => {}
            }
        });
    }

    fn will_log(&self, label: &str) -> bool {
        label == CLIENT || label == SERVER
    }
}
