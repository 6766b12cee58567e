//! [`Choice`]: settings that are one of a few named values; and what is said of a name that is none of them.

use ringpost::config::{Auth, DescriptorTables, Driver, MessagesFull, UidPolicy};

/// One of a few named values.
pub trait Choice {
    /// Every name, in the order in which they are listed to people.
    fn names(&self) -> &'static [&'static str];
    /// The present one.
    fn name(&self) -> &'static str;
    /// Takes the value of that name; false if there is none.
    fn choose(&mut self, name: &str) -> bool;
}

impl PartialEq for dyn Choice + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

macro_rules! choices {
    ($($type:ident { $($name:literal = $variant:ident),* $(,)? })*) => { $(
        impl Choice for $type {
            fn names(&self) -> &'static [&'static str] {
                &[$($name),*]
            }
            fn name(&self) -> &'static str {
                match self { $($type::$variant => $name,)* }
            }
            fn choose(&mut self, name: &str) -> bool {
                match name {
                    $($name => *self = $type::$variant,)*
                    _ => return false,
                }
                true
            }
        }
    )* };
}
pub(super) use choices;

choices! {
    Auth { "none" = None, "jwt" = Jwt, "hmac" = Hmac }
    Driver { "auto" = Auto, "uring" = Uring, "epoll" = Epoll }
    DescriptorTables { "auto" = Auto, "shared" = Shared, "per_core" = PerCore }
    MessagesFull { "pause" = Pause, "refuse" = Refuse }
    UidPolicy { "multi" = Multi, "replace" = Replace, "reject" = Reject }
}

/// `"a", "b" or "c"`.
pub fn one_of(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Of some names the one that a mistyped name most likely meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &'a str| name.rsplit('.').next().unwrap_or(name);
    known
        .into_iter()
        .map(|known| {
            // `errors` at the top most likely means `relay.errors`.
            let whole = strsim::jaro(name, known);
            (whole.max(strsim::jaro(name, last(known))), known)
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
