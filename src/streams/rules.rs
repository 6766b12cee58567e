//! [`Rules`]: what of a message is kept, by the `[[history]]` rules and by what the push itself wishes.

use std::time::Duration;

use memchr::memmem;

use super::address::Kind;
use crate::config::{HistoryRule, KEEP_MAX};

/// A name with any number of `*`, each of which stands for any characters, or none. Matched in time linear in both
/// lengths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// What stands before the first `*`, between each two, and after the last; one piece if there is none.
    pieces: Box<[Box<str>]>,
    /// It is nothing but `*`.
    fits_all: bool,
}

impl Pattern {
    /// Any text is a pattern.
    pub fn new(text: &str) -> Pattern {
        let pieces = text.split('*').map(Box::from);
        Pattern {
            pieces: pieces.collect(),
            fits_all: text == "*",
        }
    }

    /// Whether the whole name fits.
    pub fn fits(&self, name: &str) -> bool {
        if self.fits_all {
            return true;
        }
        let (first, last, between) = match &*self.pieces {
            [] => return name.is_empty(),
            [whole] => return **whole == *name,
            [first, between @ .., last] => (first, last, between),
        };
        let rest = name.as_bytes().strip_prefix(first.as_bytes());
        let Some(mut rest) = rest.and_then(|rest| rest.strip_suffix(last.as_bytes())) else {
            return false;
        };
        // The leftmost place of each leaves the most for those that follow, so none is ever tried again.
        between.iter().all(|piece| {
            let Some(at) = memmem::find(rest, piece.as_bytes()) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
            true
        })
    }
}

/// What a push says of being kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Wish {
    /// Nothing, or `true`: as the rules say.
    #[default]
    AsRuled,
    /// `false`: not even where a rule says so.
    Never,
    /// For this long, with or without a rule; of a rule that fits all else holds, too.
    For(Duration),
}

/// How a message is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// Messages that its stream may have with this one; the oldest beyond that go.
    pub size: u32,
    /// For how long.
    pub ttl: Duration,
    /// Whether it waits for the uid's next login.
    pub queue: bool,
}

impl Keep {
    /// For this long, however many there are.
    fn for_time(ttl: Duration) -> Keep {
        Keep {
            size: u32::MAX,
            ttl: ttl.min(KEEP_MAX),
            queue: false,
        }
    }
}

/// The rules that hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    each: Box<[(Kind, Pattern, Keep)]>,
}

impl Rules {
    /// The rules as they are configured.
    pub fn new(configured: &[HistoryRule]) -> Rules {
        let each = configured.iter().map(|rule| {
            let keep = Keep {
                size: rule.size,
                ttl: rule.ttl.min(KEEP_MAX),
                queue: rule.queue,
            };
            (rule.kind, Pattern::new(&rule.name), keep)
        });
        Rules {
            each: each.collect(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Whether and how a message is kept. Without any rule and wish that is one comparison.
    #[inline]
    pub fn what_to_keep(&self, kind: Kind, name: &str, wish: Wish) -> Option<Keep> {
        if self.each.is_empty() && wish == Wish::AsRuled {
            return None;
        }
        self.decide(kind, name, wish)
    }

    fn decide(&self, kind: Kind, name: &str, wish: Wish) -> Option<Keep> {
        if wish == Wish::Never {
            return None;
        }
        let fits = |(of, pattern, _): &&(Kind, Pattern, Keep)| *of == kind && pattern.fits(name);
        let ruled = self.each.iter().find(fits).map(|(_, _, keep)| *keep);
        match (wish, ruled) {
            (Wish::For(ttl), Some(ruled)) => Some(Keep {
                ttl: ttl.min(KEEP_MAX),
                ..ruled
            }),
            (Wish::For(ttl), None) => Some(Keep::for_time(ttl)),
            (_, ruled) => ruled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn rule(kind: Kind, name: &str, size: u32) -> HistoryRule {
        HistoryRule {
            kind,
            name: name.to_owned(),
            size,
            ttl: Duration::from_secs(60),
            queue: kind == Kind::Uid,
        }
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*", "anything", true),
            ("", "", true),
            ("", "x", false),
            ("order", "order", true),
            ("order", "orders", false),
            ("order.*", "order.", true),
            ("order.*", "order", false),
            ("*.eu", "shop.eu", true),
            ("*.eu", "shop.eu.com", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acbc", true),
            ("a*b*c", "acb", false),
            ("**", "x", true),
            ("a**b", "ab", true),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "aab", false),
            ("é*", "été", true),
        ] {
            assert_eq!(Pattern::new(pattern).fits(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_holds() {
        let rules = Rules::new(&[
            rule(Kind::Group, "room.small.*", 1),
            rule(Kind::Group, "room.*", 2),
            rule(Kind::Uid, "*", 3),
        ]);
        let size = |kind, name| {
            let keep = rules.what_to_keep(kind, name, Wish::AsRuled);
            keep.map(|keep| keep.size)
        };
        assert_eq!(size(Kind::Group, "room.small.a"), Some(1));
        assert_eq!(size(Kind::Group, "room.a"), Some(2));
        assert_eq!(size(Kind::Group, "hall"), None);
        assert_eq!(size(Kind::Uid, "room.a"), Some(3));
        assert_eq!(size(Kind::All, "all"), None);
    }

    #[test]
    fn what_a_push_wishes() {
        let (none, some) = (Rules::default(), Rules::new(&[rule(Kind::Uid, "u*", 3)]));
        let minute = Duration::from_secs(60);
        let wish = Wish::For(2 * minute);
        let keep = |size, ttl, queue| Some(Keep { size, ttl, queue });
        assert_eq!(none.what_to_keep(Kind::Uid, "u1", Wish::AsRuled), None);
        assert_eq!(none.what_to_keep(Kind::Uid, "u1", Wish::Never), None);
        assert_eq!(some.what_to_keep(Kind::Uid, "u1", Wish::Never), None);
        let ruled = some.what_to_keep(Kind::Uid, "u1", Wish::AsRuled);
        assert_eq!(ruled, keep(3, minute, true));
        // A time works without a rule; where one fits, the rest of it holds.
        let alone = none.what_to_keep(Kind::Uid, "u1", wish);
        assert_eq!(alone, keep(u32::MAX, 2 * minute, false));
        let both = some.what_to_keep(Kind::Uid, "u1", wish);
        assert_eq!(both, keep(3, 2 * minute, true));
        let other = some.what_to_keep(Kind::Group, "u1", wish);
        assert_eq!(other, keep(u32::MAX, 2 * minute, false));
        let forever = none.what_to_keep(Kind::Uid, "u1", Wish::For(Duration::MAX));
        assert_eq!(forever, keep(u32::MAX, KEEP_MAX, false));
    }

    /// The plain way, which tries everything.
    fn fits_plainly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, name) => name.is_none(),
            (Some((b'*', rest)), _) => (0..=name.len()).any(|at| fits_plainly(rest, &name[at..])),
            (Some((wanted, rest)), Some((given, others))) => {
                wanted == given && fits_plainly(rest, others)
            }
            (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matches_as_the_plain_way_does(pattern in "[ab*]{0,8}", name in "[ab]{0,12}") {
            let plain = fits_plainly(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(Pattern::new(&pattern).fits(&name), plain);
        }
    }

    /// What would take a matcher that goes back longer than anybody waits.
    #[test]
    fn no_pattern_takes_long() {
        let pattern = Pattern::new(&"a*".repeat(10_000));
        let name = "a".repeat(9_999) + &"b".repeat(10_000);
        let began = Instant::now();
        assert!(!pattern.fits(&(name.clone() + "b")));
        assert!(pattern.fits(&("a".to_owned() + &name)));
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
