//! Namespaces that are made while a server runs: their names, and which number each has.
//!
//! All cores of a server share one [`Registry`], behind a lock. Each core keeps what it has found there
//! ([`Namespaces`]), so it asks once for each name, and nothing that is sent ever asks. A namespace stays until the server
//! ends, because apps keep its number. Bound: `namespaces_max` of them, the apps' own counted.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ahash::AHashSet;

use crate::ident::{NamespaceId, UidError, check_uid};

/// A namespace of uids and groups that was made while the server runs
/// ([`Context::namespace`](super::Context::namespace)). The same on every core of that server, and nothing on another's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Namespace {
    pub(crate) id: NamespaceId,
}

/// Why there is no namespace of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The string is no name: names are like uids.
    Name(UidError),
    /// The server has as many as it may have ([`Config::namespaces_max`](crate::Config::namespaces_max)), which is this
    /// many.
    Full(usize),
}

impl fmt::Display for NamespaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamespaceError::Name(error) => {
                write!(f, "no name of a namespace, which is like a uid: {error}")
            }
            NamespaceError::Full(most) => write!(
                f,
                "the server has as many namespaces as it may have, {most}; namespaces_max sets another number"
            ),
        }
    }
}

impl std::error::Error for NamespaceError {}

/// A namespace by its name, in one block however many cores know it.
#[derive(Clone)]
struct NameEntry(Arc<Entry>);

struct Entry {
    namespace: NamespaceId,
    name: Box<str>,
}

impl Borrow<str> for NameEntry {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Hash for NameEntry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for NameEntry {
    fn eq(&self, other: &NameEntry) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for NameEntry {}

/// All namespaces of a server.
pub struct Registry {
    known: Mutex<AHashSet<NameEntry>>,
    /// So many namespaces, the first ones, are the apps'.
    apps: u32,
    /// How many namespaces there are, the apps' first.
    namespaces: AtomicU32,
}

impl Registry {
    /// Of a server whose apps have so many namespaces.
    pub fn new(apps: usize) -> Arc<Registry> {
        Arc::new(Registry {
            known: Mutex::default(),
            apps: apps as u32,
            namespaces: AtomicU32::new(apps as u32),
        })
    }

    /// How many of the namespaces are the apps'.
    pub fn apps(&self) -> usize {
        self.apps as usize
    }

    /// How many namespaces there are, the apps' counted: each number is less.
    pub fn count(&self) -> u32 {
        self.namespaces.load(Ordering::Acquire)
    }

    /// The names of those that were made, in the order of their numbers.
    pub fn made_names(&self) -> Vec<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<&NameEntry> = known.iter().collect();
        entries.sort_unstable_by_key(|entry| entry.0.namespace.0);
        let names = entries.iter().map(|entry| entry.0.name.to_string());
        names.collect()
    }

    /// The namespace of this name, made as a core does.
    pub fn make(&self, name: &str, most: usize) -> Result<NamespaceId, NamespaceError> {
        check_uid(name).map_err(NamespaceError::Name)?;
        Ok(self.find_or_make(name, most)?.0.namespace)
    }

    /// The name of one that was made while the server runs. Looks at all of them: for what is sent to other nodes alone.
    #[cfg(feature = "cluster")]
    pub fn name(&self, namespace: NamespaceId) -> Option<Box<str>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|entry| entry.0.namespace == namespace);
        found.map(|entry| entry.0.name.clone())
    }

    /// One of this name, if it was made.
    #[cfg(feature = "cluster")]
    pub fn find(&self, name: &str) -> Option<NamespaceId> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(name).map(|entry| entry.0.namespace)
    }

    /// The namespace of this name, made if there is none and there may be one more than `most - 1` namespaces.
    fn find_or_make(&self, name: &str, most: usize) -> Result<NameEntry, NamespaceError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(name) {
            return Ok(found.clone());
        }
        // Only changed here, under the lock.
        let number = self.count();
        if number as usize >= most || number == u32::MAX {
            return Err(NamespaceError::Full(most));
        }
        let named = NameEntry(Arc::new(Entry {
            namespace: NamespaceId(number),
            name: Box::from(name),
        }));
        known.insert(named.clone());
        self.namespaces.store(number + 1, Ordering::Release);
        Ok(named)
    }
}

/// One core's end of it.
pub struct Namespaces {
    registry: Arc<Registry>,
    /// What this core has found.
    found: AHashSet<NameEntry>,
    most: usize,
}

impl Namespaces {
    pub fn new(registry: Arc<Registry>, most: usize) -> Namespaces {
        Namespaces {
            registry,
            found: AHashSet::new(),
            most,
        }
    }

    /// Makes no more than so many from now on; those that are there stay.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    pub fn count(&self) -> u32 {
        self.registry.count()
    }

    /// Whether it is an app's own, and not one that was made.
    pub fn is_apps(&self, namespace: NamespaceId) -> bool {
        (namespace.0 as usize) < self.registry.apps()
    }

    pub fn find_or_make(&mut self, name: &str) -> Result<Namespace, NamespaceError> {
        if let Some(named) = self.found.get(name) {
            let id = named.0.namespace;
            return Ok(Namespace { id });
        }
        check_uid(name).map_err(NamespaceError::Name)?;
        let named = self.registry.find_or_make(name, self.most)?;
        let id = named.0.namespace;
        self.found.insert(named);
        Ok(Namespace { id })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Each name is the same namespace on both cores, whichever asks first and however often, and no other name's.
    #[test]
    fn two_cores_make_ten_thousand_together() {
        const COUNT: u32 = 10_000;
        let registry = Registry::new(3);
        let barrier = Barrier::new(2);
        let core = |backwards: bool| {
            let mut namespaces = Namespaces::new(Arc::clone(&registry), 65_536);
            barrier.wait();
            let mut found = vec![None; COUNT as usize];
            for nth in 0..2 * COUNT {
                let number = match backwards {
                    true => COUNT - 1 - nth % COUNT,
                    false => nth % COUNT,
                };
                let made = namespaces.find_or_make(&format!("tenant{number}"));
                let before = found[number as usize].replace(made.expect("there is room"));
                assert!(before.is_none() || before == found[number as usize]);
            }
            found
        };
        let found = thread::scope(|scope| {
            let cores = [false, true].map(|backwards| scope.spawn(move || core(backwards)));
            cores.map(|core| core.join().expect("it makes them"))
        });
        assert_eq!(found[0], found[1]);
        let mut numbers: Vec<u32> = found[0].iter().flatten().map(|one| one.id.0).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(3..3 + COUNT));
        assert_eq!(registry.count(), 3 + COUNT);
    }

    #[test]
    fn one_too_many_is_an_error_that_names_the_key() {
        let registry = Registry::new(2);
        let mut namespaces = Namespaces::new(Arc::clone(&registry), 4);
        let first = namespaces.find_or_make("a").expect("the third of four");
        namespaces.find_or_make("b").expect("the fourth");
        let error = namespaces.find_or_make("c").expect_err("no room");
        assert_eq!(error, NamespaceError::Full(4));
        assert!(error.to_string().contains("4; namespaces_max"), "{error}");
        // Those that are there are found, by a core that has not seen them, too.
        namespaces.set_most(1);
        assert_eq!(namespaces.find_or_make("a"), Ok(first));
        let mut other = Namespaces::new(registry, 1);
        assert_eq!(other.find_or_make("a"), Ok(first));
        other.set_most(5);
        assert!(other.find_or_make("c").is_ok());
    }

    #[test]
    fn a_name_is_like_a_uid() {
        let mut namespaces = Namespaces::new(Registry::new(1), 10);
        for (name, error) in [
            ("", UidError::Empty),
            ("all", UidError::Reserved),
            ("a\nb", UidError::ControlCharacter),
            (&*"x".repeat(129), UidError::TooLong),
        ] {
            let refused = namespaces.find_or_make(name);
            assert_eq!(refused, Err(NamespaceError::Name(error)), "{name:?}");
        }
        assert_eq!(namespaces.count(), 1);
    }
}
