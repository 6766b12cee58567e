//! Who is logged in, as core 0 knows it: [`Roster`], its message `users:{…}`, and how long after one
//! the next may follow. Bounded by the room's seats, and, in a cluster, by those of the other nodes' rooms. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ringpost::ident::UID_BYTES_MAX;
use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use super::name;

/// What one send to one connection costs a core: the kernel's way through TCP, measured at
/// 5.6–6.5 µs of CPU for messages up to 4 KB on loopback.
const SEND_COST: Duration = Duration::from_micros(6);
/// What each byte of it costs besides, in tenths of a nanosecond: measured at 0.26–0.75 ns for messages
/// of 40–400 KB on loopback.
const BYTE_COST_TENTHS: u64 = 5;
/// Rosters take at most one part in so many of a core's time.
const SHARE: u32 = 10;

/// The users by address, so that each roster has the same order. `Id` tells two users of one
/// address apart.
pub struct Roster<Id> {
    /// Nearly always one user an address. Two are possible for a moment, when a client comes
    /// back from its old port before the end of its old connection was noticed; the newest is shown.
    users: BTreeMap<SocketAddr, SmallVec<[RosterEntry<Id>; 1]>>,
    /// Those of the other nodes of a cluster.
    others: OtherUsers,
}

/// Users of other nodes.
pub type OtherUsers = BTreeMap<SocketAddr, Box<str>>;

struct RosterEntry<Id> {
    id: Id,
    name: Box<str>,
}

impl<Id: PartialEq> Roster<Id> {
    /// An empty one.
    pub fn new() -> Roster<Id> {
        Roster {
            users: BTreeMap::new(),
            others: OtherUsers::new(),
        }
    }

    /// Enters a user. Whether it is new.
    pub fn enter(&mut self, address: SocketAddr, id: Id, name: Box<str>) -> bool {
        let here = self.users.entry(address).or_default();
        let is_new = here.iter().all(|user| user.id != id);
        if is_new {
            here.push(RosterEntry { id, name });
        }
        is_new
    }

    /// Removes that user, and nobody who has the address by now. Whether it was there.
    pub fn leave(&mut self, address: SocketAddr, id: Id) -> bool {
        let Some(here) = self.users.get_mut(&address) else {
            return false;
        };
        let before = here.len();
        here.retain(|user| user.id != id);
        let left = here.len() < before;
        if here.is_empty() {
            self.users.remove(&address);
        }
        left
    }

    /// These are the users of the other nodes. Whether that is news.
    pub fn set_others(&mut self, others: OtherUsers) -> bool {
        let is_news = self.others != others;
        self.others = others;
        is_news
    }

    pub fn others(&self) -> &OtherUsers {
        &self.others
    }

    /// How many users of this node it shows.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// `users:{"ip:port":"NAME",…}`. All users of this node are in it, and of the others the first ones that there is room
    /// for. Of two users with one address that of this node is shown.
    pub fn message(&self, bytes_max: usize) -> String {
        let own = self.users.iter();
        let own = own.filter_map(|(address, here)| Some((address, &*here.last()?.name)));
        let mut shown: Vec<(&SocketAddr, &str)> = own.collect();
        if !self.others.is_empty() {
            let bytes = |address: &SocketAddr, name: &str| entry_bytes(&address.to_string(), name);
            let taken: usize = shown
                .iter()
                .map(|(address, name)| bytes(address, name))
                .sum();
            let mut left = bytes_max.saturating_sub(taken);
            for (address, name) in &self.others {
                if self.users.contains_key(address) {
                    continue;
                }
                let Some(rest) = left.checked_sub(bytes(address, name)) else {
                    break;
                };
                left = rest;
                shown.push((address, name));
            }
            shown.sort_unstable_by_key(|(address, _)| **address);
        }
        // Strings under strings, written to memory: nothing in it can fail.
        let json = serde_json::to_string(&ShownUsers(shown)).unwrap_or_else(|_| "{}".to_owned());
        format!("users:{json}")
    }
}

/// What a message shows, in its order.
struct ShownUsers<'r>(Vec<(&'r SocketAddr, &'r str)>);

impl Serialize for ShownUsers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// As what a user is a member of the room's group, whom the other nodes are told of: `ip:port NAME`, of which a name
/// with very many marks loses the last ones.
pub fn member_name(address: SocketAddr, name: &str) -> String {
    let address = address.to_string();
    let left = UID_BYTES_MAX.saturating_sub(address.len() + 1);
    let mut ends = (0..=left.min(name.len())).rev();
    let end = ends.find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{address} {}", &name[..end])
}

/// The users of other nodes, of the names of the room's members there.
pub fn other_users<'m>(members: impl Iterator<Item = &'m str>) -> OtherUsers {
    let users = members.filter_map(|member| {
        let (address, name) = member.split_once(' ')?;
        let is_name = name::is_whole(name);
        is_name.then_some((address.parse().ok()?, Box::from(name)))
    });
    users.collect()
}

/// The bytes that a user adds to the message: `"ip:port":"NAME",`, where nothing needs an escape.
pub fn entry_bytes(address: &str, name: &str) -> usize {
    address.len() + name.len() + r#""":"","#.len()
}

/// How long after a roster of so many bytes to so many users the next may follow: the interval
/// configured, stretched so that all cores together spend at most a tenth of one core on rosters.
pub fn rest(interval: Duration, users: usize, bytes: usize) -> Duration {
    let bytes_cost = Duration::from_nanos((bytes as u64).saturating_mul(BYTE_COST_TENTHS) / 10);
    let users = u32::try_from(users).unwrap_or(u32::MAX);
    let cost = (SEND_COST.saturating_add(bytes_cost)).saturating_mul(users);
    interval.max(cost.saturating_mul(SHARE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn roster(entries: &[(&str, &str)]) -> Roster<usize> {
        let mut roster = Roster::new();
        for (id, (at, name)) in entries.iter().enumerate() {
            roster.enter(address(at), id, (*name).into());
        }
        roster
    }

    #[test]
    fn the_message_has_one_order_whoever_came_first() {
        let expected = r#"users:{"10.0.0.1:9":"Tom","10.0.0.1:80":"李雷","[2001:db8::1]:5":"Ann"}"#;
        let entries = [
            ("10.0.0.1:80", "李雷"),
            ("[2001:db8::1]:5", "Ann"),
            ("10.0.0.1:9", "Tom"),
        ];
        assert_eq!(roster(&entries).message(usize::MAX), expected);
        let entries = [entries[2], entries[0], entries[1]];
        assert_eq!(roster(&entries).message(usize::MAX), expected);
        assert_eq!(roster(&[]).message(usize::MAX), "users:{}");
    }

    #[test]
    fn what_a_name_holds_stays_in_its_string() {
        // No such name gets past the login; the roster does not rely on that.
        let hostile = "\"},\"x\":\"\\\n\u{1}";
        let message = roster(&[("10.0.0.1:80", hostile)]).message(usize::MAX);
        assert!(!message.contains(char::is_control));
        let json: serde_json::Value =
            serde_json::from_str(message.strip_prefix("users:").unwrap()).unwrap();
        assert_eq!(json, serde_json::json!({ "10.0.0.1:80": hostile }));
    }

    #[test]
    fn the_bytes_of_entries_are_those_of_the_message() {
        let entries = [("10.0.0.1:80", "李雷_"), ("[2001:db8::1]:5", "Ann")];
        let bytes: usize = entries.iter().map(|(at, name)| entry_bytes(at, name)).sum();
        // One comma less, one pair of braces more.
        assert_eq!(
            roster(&entries).message(usize::MAX).len(),
            "users:{}".len() + bytes - 1
        );
    }

    #[test]
    fn users_of_other_nodes_are_shown_as_far_as_there_is_room() {
        let mut users = roster(&[("10.0.0.1:80", "Tom")]);
        let members = [
            "10.0.0.2:80 Ann",
            "[2001:db8::1]:5 李雷_",
            "10.0.0.1:80 Other",
        ];
        let others = other_users(members.into_iter());
        assert!(users.set_others(others.clone()));
        assert!(!users.set_others(others));
        let all = r#"users:{"10.0.0.1:80":"Tom","10.0.0.2:80":"Ann","[2001:db8::1]:5":"李雷_"}"#;
        assert_eq!(users.message(usize::MAX), all);
        let most = entry_bytes("10.0.0.1:80", "Tom") + entry_bytes("10.0.0.2:80", "Ann");
        let some = r#"users:{"10.0.0.1:80":"Tom","10.0.0.2:80":"Ann"}"#;
        assert_eq!(users.message(most), some);
        assert_eq!(users.message(most - 1), r#"users:{"10.0.0.1:80":"Tom"}"#);
        assert_eq!(users.message(0), r#"users:{"10.0.0.1:80":"Tom"}"#);
        assert!(users.leave(address("10.0.0.1:80"), 0));
        assert!(
            users
                .message(usize::MAX)
                .contains(r#""10.0.0.1:80":"Other""#)
        );
        assert!(users.set_others(OtherUsers::new()));
        assert_eq!(users.message(usize::MAX), "users:{}");
    }

    #[test]
    fn a_user_is_known_by_the_name_as_a_member() {
        let at = address("[2001:db8:1111:2222:3333:4444:5555:6666]:65535");
        // 20 characters with all the marks that a name may have.
        let longest = "a\u{302}\u{302}\u{302}\u{302}".repeat(20);
        let longest = name::beginning(&longest).expect("a name");
        for name in ["Tom", "李雷_", &"𐐷".repeat(20), longest] {
            let member = member_name(at, name);
            assert!(member.len() <= UID_BYTES_MAX, "{member}");
            let others = other_users([&*member].into_iter());
            let shown = others.get(&at).expect("a user");
            assert!(name.starts_with(&**shown) && (shown.len() == name.len() || name == longest));
        }
        for member in [
            "",
            "Tom",
            "10.0.0.1:80",
            "10.0.0.1:80 ",
            "10.0.0.1 Tom",
            "10.0.0.1:80 no name",
            "x:1 Tom",
        ] {
            assert!(other_users([member].into_iter()).is_empty(), "{member}");
        }
    }

    #[test]
    fn a_late_end_takes_nobody_else_along() {
        let at = "10.0.0.1:80";
        let mut users = roster(&[(at, "old"), (at, "new")]);
        assert_eq!(users.len(), 1);
        assert_eq!(users.message(usize::MAX), r#"users:{"10.0.0.1:80":"new"}"#);
        assert!(users.leave(address(at), 0));
        assert_eq!(users.message(usize::MAX), r#"users:{"10.0.0.1:80":"new"}"#);
        assert!(!users.leave(address(at), 0));
        assert!(users.leave(address(at), 1));
        assert!(!users.leave(address(at), 1));
        assert_eq!(users.message(usize::MAX), "users:{}");

        let mut users = roster(&[(at, "old"), (at, "new")]);
        assert!(users.leave(address(at), 1));
        assert_eq!(users.message(usize::MAX), r#"users:{"10.0.0.1:80":"old"}"#);
    }

    #[test]
    fn the_rest_is_stretched_to_a_tenth_of_a_core() {
        let interval = Duration::from_millis(100);
        assert_eq!(rest(interval, 0, 8), interval);
        assert_eq!(rest(interval, 100, 3_500), interval);
        // 1,000 users: 1,000 × (6 µs + 35,000 × 0.5 ns) = 23.5 ms, so one in 235 ms.
        assert_eq!(rest(interval, 1_000, 35_000), Duration::from_millis(235));
        assert_eq!(rest(Duration::ZERO, 1, 1_000), Duration::from_micros(65));
        // Absurd figures neither overflow nor panic.
        assert!(rest(interval, usize::MAX, usize::MAX) > interval);
    }
}
