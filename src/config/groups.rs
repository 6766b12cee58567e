//! [`GroupRule`]: what holds for the groups whose name it fits.

use std::time::Duration;

/// What holds for the groups whose name it fits, in every namespace. Of several that fit the first holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupRule {
    /// Which names: each `*` in it stands for any characters, or none.
    pub name: String,
    /// Whether any client may join by itself, where its wire has a way to ask for it.
    pub public: bool,
    /// Whether members are told who joins and leaves.
    pub presence: bool,
    /// For how long a member may be gone and come back without a word of it, at most [`PRESENCE_GRACE_MAX`].
    pub presence_grace: Duration,
}

/// [`GroupRule::presence_grace`], unless configured.
pub const PRESENCE_GRACE_DEFAULT: Duration = Duration::from_secs(3);
/// The most that it may be.
pub const PRESENCE_GRACE_MAX: Duration = Duration::from_secs(600);
/// Most rules: a group for which none fits has been held against all of them.
pub const GROUP_RULES_MAX: usize = 256;
