//! Namespaces by their numbers, and what an app's sends can reach of them.

use serde::{Deserialize, Serialize};

/// A namespace of uids and groups, by its number: first those of a server's apps, as they are registered, then those
/// that are made while it runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct NamespaceId(pub u32);

/// What an app's sends can reach: any set of the first [`Reach::TOGETHER`] namespaces, or one namespace.
///
/// In 64 bits, so that an envelope stays small: a bit a namespace, or the top bit and the number of one that has no bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reach(pub(crate) u64);

impl Reach {
    /// So many namespaces, the first ones, can be reached together with others.
    pub const TOGETHER: u32 = 63;
    /// Set where what is below it is the number of a namespace.
    const NUMBER: u64 = 1 << Reach::TOGETHER;

    /// This namespace alone.
    pub const fn of(namespace: NamespaceId) -> Reach {
        match namespace.0 < Reach::TOGETHER {
            true => Reach(1 << namespace.0),
            false => Reach(Reach::NUMBER | namespace.0 as u64),
        }
    }

    /// This namespace, too. `None` if one of several has no bit.
    pub const fn with(self, namespace: NamespaceId) -> Option<Reach> {
        let more = Reach::of(namespace);
        if self.0 == 0 || self.0 == more.0 {
            return Some(more);
        }
        match (self.0 | more.0) & Reach::NUMBER {
            0 => Some(Reach(self.0 | more.0)),
            _ => None,
        }
    }

    /// Whether both have a namespace.
    pub(crate) fn meets(self, other: Reach) -> bool {
        self.namespaces()
            .any(|own| other.namespaces().any(|others| others == own))
    }

    #[inline]
    pub(crate) fn namespaces(self) -> impl Iterator<Item = NamespaceId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            if left & Reach::NUMBER != 0 {
                left = 0;
                return Some(NamespaceId(self.0 as u32));
            }
            let lowest = NamespaceId(left.trailing_zeros());
            left &= left - 1;
            Some(lowest)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_reach_has_the_namespaces_that_were_put_in(bits in 0..1_u64 << Reach::TOGETHER) {
            let put = (0..Reach::TOGETHER).filter(|bit| bits & (1 << bit) != 0).map(NamespaceId);
            let put: Vec<NamespaceId> = put.collect();
            let reach = put.iter().try_fold(Reach::default(), |reach, namespace| reach.with(*namespace));
            prop_assert_eq!(reach.expect("all have bits").namespaces().collect::<Vec<_>>(), put);
        }

        #[test]
        fn a_reach_of_one_namespace_has_it_whatever_its_number(number in any::<u32>(), other in any::<u32>()) {
            let reach = Reach::of(NamespaceId(number));
            prop_assert_eq!(reach.namespaces().collect::<Vec<_>>(), [NamespaceId(number)]);
            prop_assert_eq!(reach.with(NamespaceId(number)), Some(reach));
            let both = reach.with(NamespaceId(other));
            prop_assert_eq!(both.is_some(), number == other || number.max(other) < Reach::TOGETHER);
            prop_assert_eq!(reach.meets(Reach::of(NamespaceId(other))), number == other);
            prop_assert!(both.is_none_or(|both| both.meets(reach) && reach.meets(both)));
        }
    }

    #[test]
    fn reaches_at_the_edges() {
        let namespaces = |reach: Reach| {
            reach
                .namespaces()
                .map(|namespace| namespace.0)
                .collect::<Vec<_>>()
        };
        assert!(namespaces(Reach::default()).is_empty());
        for number in [0, 62, 63, 64, u32::MAX] {
            assert_eq!(namespaces(Reach::of(NamespaceId(number))), [number]);
        }
        assert_eq!(
            namespaces(Reach(u64::MAX >> 1)),
            (0..63).collect::<Vec<_>>()
        );
        let of = |number| Reach::of(NamespaceId(number));
        assert_eq!(of(62).with(NamespaceId(63)), None);
        assert_eq!(of(63).with(NamespaceId(0)), None);
        assert_eq!(of(63).with(NamespaceId(64)), None);
        assert_eq!(Reach::default().with(NamespaceId(64)), Some(of(64)));
    }
}
