//! The numbers of a server's spaces, which apps know by name.

use std::io;

use super::Server;
use crate::ident::{Reach, Space};

impl Server {
    pub(super) fn space(&mut self, name: &'static str) -> Space {
        let known = self.spaces.iter().position(|known| *known == name);
        let number = known.unwrap_or_else(|| {
            self.spaces.push(name);
            self.spaces.len() - 1
        });
        Space(number as u32)
    }

    /// An error if one of several is not among the first so many.
    pub(super) fn reach(&mut self, names: &[&'static str]) -> Result<Reach, String> {
        let mut reach = Reach::default();
        for name in names {
            reach = reach.with(self.space(name)).ok_or_else(|| {
                format!(
                    "what reaches several name spaces, {name:?} among them, is to be put on the server before others: \
                     only the first {} can be reached together",
                    Reach::TOGETHER
                )
            })?;
        }
        Ok(reach)
    }

    /// An error if the apps alone have more spaces than there may be.
    pub(super) fn check_namespaces(&self) -> io::Result<()> {
        let (own, most) = (self.spaces.len(), self.config.namespaces_max);
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
    use super::*;
    use crate::config::Config;

    fn names(count: usize) -> Vec<&'static str> {
        let names = (0..count).map(|number| &*format!("space{number}").leak());
        names.collect()
    }

    #[test]
    fn a_server_may_have_more_spaces_than_can_be_reached_together() {
        let mut server = Server::new(Config::default());
        let names = names(100);
        let all = server.reach(&names[..63]).expect("each has a bit");
        assert_eq!(all.spaces().count(), 63);
        for (number, name) in names.iter().enumerate() {
            let reach = server.reach(&[name, name]).expect("one alone");
            assert_eq!(reach, Reach::of(Space(number as u32)));
        }
        let error = server.reach(&[names[0], names[63]]).expect_err("no bit");
        assert!(
            error.contains("space63") && error.contains("first 63"),
            "{error}"
        );
        server.config.namespaces_max = 100;
        assert!(server.check_namespaces().is_ok());
        server.config.namespaces_max = 99;
        let error = server.check_namespaces().expect_err("one too few");
        let words = "namespaces_max = 99: the apps of this server have 100";
        assert!(error.to_string().contains(words), "{error}");
    }
}
