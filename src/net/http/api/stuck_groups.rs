//! In a cluster: groups that uids are in without a connection, listed behind those that nodes have ([`super::groups`]). Redis has
//! their names in their order, of each namespace in each partition.
//!
//! Bound: [`PIECES_PER_PAGE`] partitions a page, and of each as many names as the page has room for.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;

use super::errors::ApiError;
use super::gathered::NamesPage;
use super::queries::bad_cursor;
use super::service::Api;
use crate::app::sticky_order::StickyStep;

/// As [`super::gathered`] asks cores.
const PIECES_PER_PAGE: usize = 16;
/// What a cursor begins with that is one of these; no node's does.
const MARK: &str = "s.";

/// Where a page begins: in which partition, behind which name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct StuckPlace {
    partition: u16,
    after: Box<str>,
}

impl StuckPlace {
    /// As a cursor says; `None` if it is another list's.
    pub fn of(cursor: &str) -> Option<Result<StuckPlace, ApiError>> {
        let rest = cursor.strip_prefix(MARK)?;
        Some(StuckPlace::read(rest).ok_or_else(bad_cursor))
    }

    fn read(text: &str) -> Option<StuckPlace> {
        let (partition, name) = text.split_once('.')?;
        let byte = |two: &[u8]| match two {
            [_, _] => u8::from_str_radix(str::from_utf8(two).ok()?, 16).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = name.as_bytes().chunks(2).map(byte).collect();
        Some(StuckPlace {
            partition: partition.parse().ok()?,
            after: String::from_utf8(bytes?).ok()?.into(),
        })
    }

    fn cursor(&self) -> String {
        let mut text = format!("{MARK}{}.", self.partition);
        for byte in self.after.bytes() {
            // A string takes all.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl Api {
    /// Adds names from there on until a page has so many.
    pub(super) async fn add_stuck_groups(
        &self,
        page: &mut NamesPage,
        first: StuckPlace,
        limit: usize,
    ) {
        let partitions = self.host.borrow_mut().tasks().partitions();
        let mut seen: HashSet<Box<str>> = page.names.iter().cloned().collect();
        let mut at = Some(first).filter(|place| place.partition < partitions);
        for _ in 0..PIECES_PER_PAGE {
            let Some(place) = at.take_if(|_| page.names.len() < limit) else {
                break;
            };
            let most = limit - page.names.len();
            let next = match self.stuck_piece(&place, most).await {
                Some((names, next)) => {
                    let fresh = names.into_iter();
                    let fresh = fresh.filter(|name| seen.insert(name.clone()));
                    page.names.extend(fresh);
                    next
                }
                None => {
                    page.complete = Some(false);
                    None
                }
            };
            let partition = place.partition + 1;
            at = match next {
                Some(after) => Some(StuckPlace { after, ..place }),
                None => (partition < partitions).then(|| StuckPlace {
                    partition,
                    after: Box::default(),
                }),
            };
        }
        page.cursor = at.map(|place| place.cursor());
    }

    /// Up to so many names of a partition, each once, and behind which the next ones stand; `None` if Redis is away.
    async fn stuck_piece(
        &self,
        place: &StuckPlace,
        most: usize,
    ) -> Option<(Vec<Box<str>>, Option<Box<str>>)> {
        let mut names = BTreeSet::new();
        let mut are_more = false;
        for namespace in self.reach.namespaces() {
            let step = StickyStep::Groups {
                partition: place.partition,
                after: place.after.clone(),
                most,
            };
            let answers = self.steps(namespace, [step]).await.ok()?;
            let found = answers.into_iter().flat_map(|answer| answer.names);
            let found: Vec<Box<str>> = found.collect();
            are_more |= found.len() >= most;
            names.extend(found);
        }
        are_more |= names.len() > most;
        let names: Vec<Box<str>> = names.into_iter().take(most).collect();
        let next = names.last().filter(|_| are_more).cloned();
        Some((names, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors() {
        for (partition, after) in [(0, ""), (3, "room"), (15, "a&b=é.")] {
            let after = after.into();
            let place = StuckPlace { partition, after };
            let read = StuckPlace::of(&place.cursor()).expect("it is one");
            assert_eq!(read.ok(), Some(place));
        }
        assert!(StuckPlace::of("1f.0.0.0.0").is_none());
        for wrong in [
            "s.", "s.0", "s.x.61", "s.70000.", "s.0.6", "s.0.ff", "s.0.é",
        ] {
            assert!(
                StuckPlace::of(wrong).is_some_and(|it| it.is_err()),
                "{wrong}"
            );
        }
    }
}
