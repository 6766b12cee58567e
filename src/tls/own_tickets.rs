//! [`OwnTickets`]: tickets whose keys are made here, and change every six hours. A process that goes on in the place of this
//! one gets them, so that clients come back to it with the tickets that they have.
//!
//! The lock is of who makes or reads a ticket, in a handshake; whoever changes a key has it for himself.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::rand;
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::tickets::{LIFETIME, TicketKey, open_by, seconds_now};

/// A key seals for so many seconds, and opens for as many more.
const SEALS: u64 = 6 * 60 * 60;
const SECRET_BYTES: usize = 48;

/// See the module.
pub struct OwnTickets(RwLock<OwnKeys>);

struct OwnKeys {
    current: OwnKey,
    previous: Option<OwnKey>,
}

struct OwnKey {
    /// In seconds since 1970.
    made: u64,
    secret: Zeroizing<Vec<u8>>,
    key: TicketKey,
}

impl fmt::Debug for OwnTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnTickets")
    }
}

/// A secret, and when it was made in seconds since 1970.
pub type TicketSecret = (u64, Zeroizing<Vec<u8>>);

impl OwnKey {
    fn new(now: u64) -> Option<OwnKey> {
        let mut secret = Zeroizing::new(vec![0; SECRET_BYTES]);
        rand::fill(&mut secret).ok()?;
        Some(OwnKey::of((now, secret)))
    }

    fn of((made, secret): TicketSecret) -> OwnKey {
        let key = TicketKey::of_secret(None, &secret);
        OwnKey { made, secret, key }
    }

    fn secret(&self) -> TicketSecret {
        (self.made, self.secret.clone())
    }

    fn seals(&self, now: u64) -> bool {
        // A clock that was put back makes no new one.
        now.saturating_sub(self.made) < SEALS
    }
}

impl OwnTickets {
    /// With a key of its own. An error if there is no randomness.
    pub fn new() -> Result<OwnTickets, String> {
        let current = OwnKey::new(seconds_now());
        let current = current.ok_or("TLS tickets: there is no randomness")?;
        Ok(OwnTickets(RwLock::new(OwnKeys {
            current,
            previous: None,
        })))
    }

    /// The keys, the newest first.
    pub fn secrets(&self) -> Vec<TicketSecret> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let each = std::iter::once(&keys.current).chain(&keys.previous);
        each.map(OwnKey::secret).collect()
    }

    /// Goes on with those of another process, the newest first. False if they are none.
    pub fn take_over(&self, secrets: Vec<TicketSecret>) -> bool {
        let is_one = |(_, secret): &TicketSecret| secret.len() == SECRET_BYTES;
        if !(1..=2).contains(&secrets.len()) || !secrets.iter().all(is_one) {
            return false;
        }
        let mut fresh = secrets.into_iter().map(OwnKey::of);
        let Some(current) = fresh.next() else {
            return false;
        };
        let previous = fresh.next();
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *keys = OwnKeys { current, previous };
        true
    }

    fn seal(&self, session: &[u8], now: u64) -> Option<Vec<u8>> {
        {
            let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if keys.current.seals(now) {
                return keys.current.key.seal(session, now);
            }
        }
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !keys.current.seals(now) {
            let fresh = OwnKey::new(now)?;
            let old = std::mem::replace(&mut keys.current, fresh);
            keys.previous = Some(old);
        }
        keys.current.key.seal(session, now)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let keys = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let each = std::iter::once(&keys.current).chain(&keys.previous);
        let good = each.filter(|key| now.saturating_sub(key.made) < 2 * SEALS);
        open_by(good.map(|key| &key.key), ticket, now)
    }
}

impl ProducesTickets for OwnTickets {
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
    use super::*;

    #[test]
    fn a_key_seals_for_six_hours_and_opens_for_twelve() {
        let tickets = OwnTickets::new().expect("randomness");
        let made = tickets.secrets()[0].0;
        let first = tickets
            .seal(b"a session", made + SEALS - 1)
            .expect("sealed");
        assert_eq!(tickets.secrets().len(), 1);
        let second = tickets.seal(b"another", made + SEALS).expect("sealed");
        assert_eq!(tickets.secrets().len(), 2);
        let opens = |ticket: &[u8], now| tickets.open(ticket, now).is_some();
        assert!(opens(&first, made + 2 * SEALS - 1) && opens(&second, made + 2 * SEALS - 1));
        assert!(!opens(&first, made + 2 * SEALS) && opens(&second, made + 2 * SEALS));
        tickets.seal(b"a third", made + 2 * SEALS).expect("sealed");
        assert!(!opens(&first, made + 2 * SEALS));
        assert_eq!(tickets.secrets().len(), 2);
    }

    #[test]
    fn another_process_opens_what_was_sealed_before() {
        let (old, new) = (OwnTickets::new().unwrap(), OwnTickets::new().unwrap());
        let made = old.secrets()[0].0;
        let first = old.seal(b"first", made).expect("sealed");
        let second = old.seal(b"second", made + SEALS).expect("sealed");
        let now = made + SEALS + 1;
        assert!(new.open(&first, now).is_none());
        assert!(new.take_over(old.secrets()));
        assert_eq!(new.open(&first, now).expect("opened"), b"first");
        assert_eq!(new.open(&second, now).expect("opened"), b"second");
        let third = new.seal(b"third", now).expect("sealed");
        assert_eq!(old.open(&third, now).expect("opened"), b"third");
    }

    #[test]
    fn what_are_no_keys_change_nothing() {
        let tickets = OwnTickets::new().unwrap();
        let before = tickets.secrets();
        let secret = |bytes: usize| (1, Zeroizing::new(vec![1; bytes]));
        for secrets in [
            vec![],
            vec![secret(47)],
            vec![secret(SECRET_BYTES), secret(0)],
            vec![
                secret(SECRET_BYTES),
                secret(SECRET_BYTES),
                secret(SECRET_BYTES),
            ],
        ] {
            assert!(!tickets.take_over(secrets));
        }
        assert_eq!(tickets.secrets(), before);
    }
}
