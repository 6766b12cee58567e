//! Who a back end is: [`BackendTokens`], tokens with rights, and the users and certificates that need none. Given to the back end's port and the HTTP port at the
//! start; kept as hashes, and compared in a time that depends on how many there are and on nothing else. They may
//! change while the server runs, so they are behind a lock, taken once for a back end's connection or request.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::ident::PeerProof;

/// Longest token of a back end.
pub const BACKEND_TOKEN_BYTES_MAX: usize = 256;
/// Shortest token of a back end that the program takes: who can guess one can push to anybody.
pub const BACKEND_TOKEN_BYTES_MIN: usize = 16;
/// Most tokens.
pub const BACKEND_TOKENS_MAX: usize = 64;

/// What a back end may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rights(u8);

const NAMES: [(&str, Rights); 4] = [
    ("push", Rights::PUSH),
    ("kick", Rights::KICK),
    ("read", Rights::READ),
    ("bind", Rights::BIND),
];

impl Rights {
    /// None of them, which any token has.
    pub const NONE: Rights = Rights(0);
    /// To push to any uid, and to everybody.
    pub const PUSH: Rights = Rights(1);
    /// To close a uid's connections.
    pub const KICK: Rights = Rights(2);
    /// To ask who is online, and for the counters.
    pub const READ: Rights = Rights(4);
    /// To say whose a connection is.
    pub const BIND: Rights = Rights(8);
    /// All of them.
    pub const ALL: Rights = Rights(15);

    /// Whether all of `others` are among them.
    pub fn has(self, others: Rights) -> bool {
        self.0 & others.0 == others.0
    }

    /// These and those.
    pub fn and(self, others: Rights) -> Rights {
        Rights(self.0 | others.0)
    }

    /// Reads `push,kick`; `None` where a name is none of ours, or there is none.
    pub fn parse(text: &str) -> Option<Rights> {
        text.split(',').try_fold(Rights(0), |rights, name| {
            let (_, right) = NAMES.iter().find(|(known, _)| *known == name.trim())?;
            Some(Rights(rights.0 | right.0))
        })
    }
}

/// `push,kick`.
impl fmt::Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = NAMES.iter().filter(|(_, right)| self.has(*right));
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        f.write_str(&names.join(","))
    }
}

type Hash = [u8; 32];

/// Who has rights, and which.
#[derive(Clone, PartialEq, Eq, Default)]
struct KnownBackEnds {
    tokens: Vec<(Hash, Rights)>,
    /// Users of this machine, who come by Unix sockets.
    users: Vec<(u32, Rights)>,
    /// Names in certificates that are shown by TLS.
    certificates: Vec<(Box<str>, Rights)>,
}

impl KnownBackEnds {
    fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.users.is_empty() && self.certificates.is_empty()
    }
}

/// The tokens of back ends. Clones share them, and what becomes of them.
#[derive(Clone, Default)]
pub struct BackendTokens {
    /// Whether there are any, for good.
    any: bool,
    known: Arc<RwLock<Arc<KnownBackEnds>>>,
}

impl BackendTokens {
    /// These and one more.
    pub fn with(self, token: &str, rights: Rights) -> BackendTokens {
        self.and(|known| known.tokens.push((hash(token), rights)))
    }

    /// These, and a user of this machine (by number) who needs no token at Unix sockets.
    pub fn with_user(self, user: u32, rights: Rights) -> BackendTokens {
        self.and(|known| known.users.push((user, rights)))
    }

    /// These, and who shows a certificate of this name by TLS, where clients are asked for one.
    pub fn with_certificate(self, name: &str, rights: Rights) -> BackendTokens {
        self.and(|known| known.certificates.push((name.into(), rights)))
    }

    fn and(self, add: impl FnOnce(&mut KnownBackEnds)) -> BackendTokens {
        let mut known = KnownBackEnds::clone(&self.known());
        add(&mut known);
        BackendTokens {
            any: true,
            known: Arc::new(RwLock::new(Arc::new(known))),
        }
    }

    /// Has these hold in place of the present ones, in all clones; whoever has shown a token keeps his rights. Says
    /// whether that is a change. Where none is asked for that stays so, and the other way round.
    pub fn renew(&self, others: &BackendTokens) -> bool {
        let fresh = others.known();
        if fresh.is_empty() == self.any || *fresh == *self.known() {
            return false;
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        true
    }

    fn known(&self) -> Arc<KnownBackEnds> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether there are none, and so nobody is asked for one.
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// What whoever shows this token may do; `None` for a token that is not among them.
    pub fn rights(&self, given: &str) -> Option<Rights> {
        if given.len() > BACKEND_TOKEN_BYTES_MAX {
            return None;
        }
        let given = hash(given);
        let (mut is_known, mut rights) = (Choice::from(0), 0);
        for (known, own) in &self.known().tokens {
            let same = known.ct_eq(&given);
            is_known |= same;
            rights.conditional_assign(&(rights | own.0), same);
        }
        bool::from(is_known).then_some(Rights(rights))
    }

    /// What a back end may do without a token, by what the machine knows of it; `None` if that is nobody.
    pub fn rights_of(&self, proof: &PeerProof) -> Option<Rights> {
        let known = self.known();
        let users = known.users.iter();
        let users = users.filter(|(user, _)| proof.user == Some(*user));
        let certificates = known.certificates.iter();
        let certificates = certificates.filter(|(name, _)| proof.certificate_names.contains(name));
        let rights = users.map(|(_, rights)| *rights);
        let mut rights = rights.chain(certificates.map(|(_, rights)| *rights));
        let first = rights.next()?;
        Some(rights.fold(first, Rights::and))
    }
}

// By hand, so that nothing that prints a configuration shows what could be tried out.
impl fmt::Debug for BackendTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendTokens({})", self.known().tokens.len())
    }
}

/// Hashed, tokens are of one length, and what a comparison could tell is of no use.
fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_rights_and_no_other_has_any() {
        let backend_tokens = BackendTokens::default()
            .with("secret", Rights::ALL)
            .with("reader", Rights::READ);
        assert_eq!(backend_tokens.rights("secret"), Some(Rights::ALL));
        assert_eq!(backend_tokens.rights("reader"), Some(Rights::READ));
        for wrong in [
            "",
            "secreT",
            "secret ",
            "secre",
            "readers",
            &"x".repeat(257),
        ] {
            assert_eq!(backend_tokens.rights(wrong), None, "{wrong:?}");
        }
        assert_eq!(BackendTokens::default().rights(""), None);
        assert!(!Rights::READ.has(Rights::PUSH) && Rights::ALL.has(Rights::KICK));
        assert_eq!(format!("{backend_tokens:?}"), "BackendTokens(2)");
    }

    #[test]
    fn users_and_certificates_have_rights_without_a_token() {
        let backend_tokens = BackendTokens::default()
            .with_user(33, Rights::PUSH)
            .with_user(33, Rights::READ)
            .with_certificate("shop.example", Rights::KICK);
        assert!(!backend_tokens.is_empty() && backend_tokens.rights("").is_none());
        let rights = |user, names: &[&str]| {
            let certificate_names = names.iter().map(|name| (*name).into()).collect();
            backend_tokens.rights_of(&PeerProof {
                user,
                certificate_names,
            })
        };
        let both = Rights::PUSH.and(Rights::READ);
        assert_eq!(rights(Some(33), &[]), Some(both));
        let three = both.and(Rights::KICK);
        assert_eq!(rights(Some(33), &["shop.example"]), Some(three));
        assert_eq!(rights(None, &["other", "shop.example"]), Some(Rights::KICK));
        for (user, names) in [
            (None, &[][..]),
            (Some(0), &[]),
            (None, &["shop.example.", "Shop.example"]),
        ] {
            assert_eq!(rights(user, names), None, "{user:?} {names:?}");
        }
    }

    #[test]
    fn tokens_change_in_every_clone_but_are_asked_for_as_before() {
        let backend_tokens = BackendTokens::default().with("old", Rights::ALL);
        let clone = backend_tokens.clone();
        let fresh = BackendTokens::default().with("new", Rights::READ);
        assert!(backend_tokens.renew(&fresh) && !backend_tokens.renew(&fresh));
        assert_eq!(clone.rights("old"), None);
        assert_eq!(clone.rights("new"), Some(Rights::READ));
        assert!(!backend_tokens.renew(&BackendTokens::default()));
        assert!(!clone.is_empty() && clone.rights("new").is_some());
        let open = BackendTokens::default();
        assert!(!open.renew(&fresh) && open.is_empty());
    }

    #[test]
    fn rights_by_name() {
        assert_eq!(Rights::parse("push,kick,read,bind"), Some(Rights::ALL));
        assert_eq!(
            Rights::parse("read, push")
                .map(|all| all.to_string())
                .as_deref(),
            Some("push,read")
        );
        for text in ["", "all", "push,", "push;kick", "Push"] {
            assert_eq!(Rights::parse(text), None, "{text:?}");
        }
    }
}
