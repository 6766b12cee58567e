//! [`Roles`]: which parts of the HTTP port a listener serves, and which of them a path belongs to.
//!
//! A set of five, copied about. What belongs to a role that a listener does not have is not found there;
//! `/healthz` and `/readyz` belong to none and answer everywhere. The program's configuration makes them, the
//! port asks them once a request.

use std::fmt;

/// Parts of the HTTP port, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Roles(u8);

/// Each role by its name, in the order in which they are listed to people.
const NAMES: [(&str, Roles); 5] = [
    ("page", Roles::PAGE),
    ("api", Roles::API),
    ("metrics", Roles::METRICS),
    ("events", Roles::EVENTS),
    ("websocket", Roles::WEBSOCKET),
];

impl Roles {
    /// The page, and what it loads.
    pub const PAGE: Roles = Roles(1);
    /// What back ends ask for, below `/v1/`.
    pub const API: Roles = Roles(2);
    /// `/metrics`.
    pub const METRICS: Roles = Roles(4);
    /// `GET /v1/events`, by which clients listen.
    pub const EVENTS: Roles = Roles(8);
    /// Websockets, at the paths that apps have there.
    pub const WEBSOCKET: Roles = Roles(16);
    /// None of them.
    pub const NONE: Roles = Roles(0);
    /// All of them.
    pub const ALL: Roles = Roles(31);

    /// Whether all of these are among them.
    pub fn has(self, roles: Roles) -> bool {
        self.0 & roles.0 == roles.0
    }

    /// All of these and those.
    pub const fn with(self, roles: Roles) -> Roles {
        Roles(self.0 | roles.0)
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Roles> {
        NAMES
            .iter()
            .find_map(|(known, role)| (*known == name).then_some(*role))
    }

    /// Every name there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    /// Whether clients alone have business there: it is like a websocket's port then, open to whoever may bind.
    pub fn are_for_clients(self) -> bool {
        self != Roles::NONE && Roles::EVENTS.with(Roles::WEBSOCKET).has(self)
    }

    /// What a path belongs to; of what is answered everywhere, none.
    pub(super) fn of_path(path: &str) -> Roles {
        match path {
            "/healthz" | "/readyz" => Roles::NONE,
            "/v1/events" => Roles::EVENTS,
            "/metrics" => Roles::METRICS,
            "/openapi.json" => Roles::API,
            path if path == "/v1" || path.starts_with("/v1/") => Roles::API,
            _ => Roles::PAGE,
        }
    }
}

/// Their names, joined as the program's listeners have them.
impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let own = NAMES.iter().filter(|(_, role)| self.has(*role));
        for (number, (name, _)) in own.enumerate() {
            let between = if number > 0 { "+" } else { "" };
            write!(f, "{between}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set() {
        let all = Roles::names().filter_map(Roles::named);
        assert_eq!(all.fold(Roles::NONE, Roles::with), Roles::ALL);
        assert_eq!(Roles::named("pages"), None);
        let two = Roles::EVENTS.with(Roles::PAGE);
        assert_eq!(two.to_string(), "page+events");
        assert!(two.has(Roles::EVENTS) && !two.has(Roles::API) && two.has(Roles::NONE));
        assert!(Roles::EVENTS.are_for_clients());
        assert!(!two.are_for_clients() && !Roles::NONE.are_for_clients());
    }

    #[test]
    fn each_path_has_one() {
        for (path, role) in [
            ("/", Roles::PAGE),
            ("/app.js", Roles::PAGE),
            ("/listeners.json", Roles::PAGE),
            ("/v1/push", Roles::API),
            ("/v1/uids/events", Roles::API),
            ("/v1", Roles::API),
            ("/v1x", Roles::PAGE),
            ("/metrics", Roles::METRICS),
            ("/v1/events", Roles::EVENTS),
            ("/v1/events/", Roles::API),
            ("/healthz", Roles::NONE),
            ("/readyz", Roles::NONE),
        ] {
            assert_eq!(Roles::of_path(path), role, "{path}");
        }
    }
}
