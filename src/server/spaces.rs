//! The numbers of a server's spaces, which apps know by name.

use super::Server;
use crate::ident::{Reach, SPACES_MAX, Space};

impl Server {
    pub(super) fn space(&mut self, name: &'static str) -> Space {
        let number = match self.spaces.iter().position(|known| *known == name) {
            Some(number) => number,
            None => {
                assert!(
                    self.spaces.len() < SPACES_MAX,
                    "a server has at most {SPACES_MAX} spaces"
                );
                self.spaces.push(name);
                self.spaces.len() - 1
            }
        };
        Space(number as u8)
    }

    pub(super) fn reach(&mut self, names: &[&'static str]) -> Reach {
        names
            .iter()
            .fold(Reach::default(), |reach, name| reach.with(self.space(name)))
    }
}
