//! The numbers of a server's namespaces, which apps know by name.

use std::io;

use crate::ident::{NamespaceId, Reach};

/// The namespaces of a server being put together, by number. Bound: `namespaces_max`.
#[derive(Default)]
pub struct NamespaceNumbers(Vec<&'static str>);

impl NamespaceNumbers {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// All of them, by number.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.clone()
    }

    /// The name that a namespace was given its number for.
    pub fn name(&self, namespace: NamespaceId) -> &'static str {
        self.0[namespace.0 as usize]
    }

    /// The number of a name, which it has from now on.
    pub fn number(&mut self, name: &'static str) -> NamespaceId {
        let known = self.0.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            self.0.push(name);
            self.0.len() - 1
        });
        NamespaceId(number as u32)
    }

    /// What reaches all of these. An error if one of several is not among the first so many.
    pub fn reach(&mut self, names: &[&'static str]) -> Result<Reach, String> {
        let mut reach = Reach::default();
        for name in names {
            reach = reach.with(self.number(name)).ok_or_else(|| {
                format!(
                    "what reaches several namespaces, {name:?} among them, is to be put on the server before others: \
                     only the first {} can be reached together",
                    Reach::TOGETHER
                )
            })?;
        }
        Ok(reach)
    }

    /// An error if the apps alone have more namespaces than there may be (`namespaces_max`).
    pub fn check(&self, most: usize) -> io::Result<()> {
        let own = self.count();
        if own <= most {
            return Ok(());
        }
        let text =
            format!("namespaces_max = {most}: the apps of this server have {own} of their own");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    /// A hundred of them.
    fn names() -> Vec<&'static str> {
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
            (0..100)
                .map(|number| format!("namespace{number}"))
                .collect()
        });
        NAMES.iter().map(String::as_str).collect()
    }

    #[test]
    fn a_server_may_have_more_namespaces_than_can_be_reached_together() {
        let mut namespaces = NamespaceNumbers::default();
        let names = names();
        let all = namespaces.reach(&names[..63]).expect("each has a bit");
        assert_eq!(all.namespaces().count(), 63);
        for (number, name) in names.iter().enumerate() {
            let reach = namespaces.reach(&[name, name]).expect("one alone");
            assert_eq!(reach, Reach::of(NamespaceId(number as u32)));
        }
        let error = namespaces
            .reach(&[names[0], names[63]])
            .expect_err("no bit");
        assert!(
            error.contains("space63") && error.contains("first 63"),
            "{error}"
        );
        assert!(namespaces.check(100).is_ok());
        let error = namespaces.check(99).expect_err("one too few");
        let words = "namespaces_max = 99: the apps of this server have 100";
        assert!(error.to_string().contains(words), "{error}");
    }
}
