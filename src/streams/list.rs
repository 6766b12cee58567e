//! [`List`]: both ends of a list whose members are linked by their numbers, so that one leaves its middle at once.

/// No member has this number.
pub const NONE: u32 = u32::MAX;

/// A member's neighbours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Links {
    pub before: u32,
    pub after: u32,
}

impl Default for Links {
    fn default() -> Links {
        Links {
            before: NONE,
            after: NONE,
        }
    }
}

/// The ends of a list. `links` of its methods lends the links of any member.
#[derive(Clone, Copy, Debug)]
pub struct List {
    pub first: u32,
    pub last: u32,
}

impl Default for List {
    fn default() -> List {
        List {
            first: NONE,
            last: NONE,
        }
    }
}

/// What holds the members of a list.
pub trait Linked {
    fn links(&mut self, number: u32) -> &mut Links;
}

impl List {
    /// Appends one that is in no such list.
    #[inline]
    pub fn push(&mut self, members: &mut impl Linked, number: u32) {
        let before = std::mem::replace(&mut self.last, number);
        *members.links(number) = Links {
            before,
            after: NONE,
        };
        match before {
            NONE => self.first = number,
            before => members.links(before).after = number,
        }
    }

    /// Removes a member.
    #[inline]
    pub fn remove(&mut self, members: &mut impl Linked, number: u32) {
        let Links { before, after } = std::mem::take(members.links(number));
        match before {
            NONE => self.first = after,
            before => members.links(before).after = after,
        }
        match after {
            NONE => self.last = before,
            after => members.links(after).before = before,
        }
    }
}
