//! `chat`: a room whose users see each other, whichever listener and codec they came by: [`Room`] is what
//! its values on the cores share, [`Chat`] the value on one core. Bounded by the room's seats.
//!
//! **One login.** A valid `login:NAME` takes a seat and binds the user's `ip:port`, so an address is
//! bound, and reachable, exactly as long as its user is logged in. At home the user is welcomed and
//! core 0, which alone keeps the roster, gets a note; its note back puts the user into the room's
//! group, to which the rosters go. When he is in it, core 0 hears of that. Until then it holds the next roster back, for
//! [`PATIENCE`] at most.
//!
//! **Why a user sees `notice:success`, `msg:welcome NAME`, then rosters, each with himself in it:**
//! the welcome is sent before the note leaves; a roster reaches him only once he is in the group; that
//! happens by core 0's note, sent after core 0 has entered him. A note follows all that its core has sent
//! before, so earlier rosters went ahead of it, and later ones have him. The first of these is sent when he is
//! surely in the group, so he sees it, and once. Should one have gone out earlier, another follows.
//!
//! **Why there are no ghosts:** a connection that has entered leaves by a note from the same
//! core, so after it; one that closes before has told core 0 nothing; a seat is given back with the
//! session, whenever that ends. Should core 0's note find the connection gone, it goes nowhere.
//!
//! **After an upgrade** the roster is made anew of the users that have come from the process before, by the ids that they were
//! entered with: so who has not come is not in it. Nobody is told of that, unless a roster went out amid it or one was due.
//!
//! **In a cluster** the room is all nodes' rooms. A user is in the group as `ip:port NAME`, the nodes tell each other who is in
//! it, and core 0 of each is told of the other nodes' users, whom the roster has beside its own. Each node sends its own roster to its own
//! users, within its own limits: of others' users it has the first ones that there is room for.
//!
//! **Merging.** The first change after a quiet time goes out at once; then core 0 rests (see
//! [`roster::rest`]), and what has changed meanwhile goes out after it, as one roster.

mod command;
mod name;
mod roster;
mod seats;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ringpost::app::{App, BindError, Context, JoinError, To};
use ringpost::close::CloseReason;
use ringpost::ident::{ConnId, CoreId};
use ringpost::payload::Message;
use serde::{Deserialize, Serialize};

use self::command::{Command, CommandError};
use self::roster::{OtherUsers, Roster};
use self::seats::{Seat, Seats};
use super::text_of;

/// The core that keeps the roster.
const ROSTER_CORE: CoreId = CoreId(0);

/// For so long a roster waits for those who are on their way into the group.
const PATIENCE: Duration = Duration::from_secs(1);
/// The timers: of the rest between two rosters, and of the patience with the next.
const RESTED: u64 = 0;
const WAITED: u64 = 1;

/// The limits of a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Users logged in; one more login gets `notice:error room is full`.
    pub users_max: usize,
    /// Bytes of the roster message; a login whose entry would pass them gets the same. At most a little
    /// under half of `outbox_bytes_max`, so that a roster half written and the next one fit
    /// with room for messages: long names must not be able to close everybody.
    pub roster_bytes_max: usize,
    /// At most one roster goes to each user in this time.
    pub roster_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            users_max: 10_000,
            roster_bytes_max: 448 << 10,
            roster_interval: Duration::from_millis(100),
        }
    }
}

/// What the values of one room share: make one for each room, and clone it into the factory.
#[derive(Clone)]
pub struct Room {
    seats: Arc<Seats>,
    /// In microseconds.
    roster_interval: Arc<AtomicU64>,
    /// The group of those logged in. Every room has its own, since all rooms are in one namespace.
    group: Arc<str>,
}

impl Room {
    /// An empty room.
    pub fn new(limits: &Limits) -> Room {
        static ROOMS: AtomicUsize = AtomicUsize::new(0);
        let number = ROOMS.fetch_add(1, Ordering::Relaxed);
        Room {
            seats: Seats::new(limits.users_max, limits.roster_bytes_max),
            roster_interval: Arc::new(AtomicU64::new(micros(limits.roster_interval))),
            group: format!("users-{number}").into(),
        }
    }

    /// Goes on with other limits. Who is in it stays.
    pub fn renew(&self, limits: &Limits) {
        self.seats.renew(limits.users_max, limits.roster_bytes_max);
        let interval = micros(limits.roster_interval);
        self.roster_interval.store(interval, Ordering::Relaxed);
    }

    fn roster_interval(&self) -> Duration {
        Duration::from_micros(self.roster_interval.load(Ordering::Relaxed))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The app's value on one core.
pub struct Chat {
    room: Room,
    /// Empty but on [`ROSTER_CORE`], as what follows.
    roster: Roster<ConnId>,
    /// Whether the roster has changed since it was last sent.
    changed: bool,
    /// Whether the timer runs after which the next roster may be sent.
    resting: bool,
    /// Users of the roster that are not in the group yet, and whether a roster has gone out meanwhile.
    coming: HashMap<SocketAddr, bool>,
    /// Whether the timer runs after which it is sent without them.
    waiting: bool,
    /// Whether a roster has gone out since this value was made.
    has_sent: bool,
    /// Whether other nodes may have users of the room, too.
    in_cluster: bool,
}

/// A user from the login on.
pub struct User {
    name: Box<str>,
    address: SocketAddr,
    /// Held until the session ends.
    _seat: Seat,
    /// The connection's final id, once core 0 has been told of the user.
    entered: Option<ConnId>,
}

/// A user in writing.
#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    name: &'a str,
    address: SocketAddr,
    entered: Option<u64>,
}

/// What a core has beside its users, in writing.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct PackedCore {
    is_due: bool,
    others: OtherUsers,
}

/// What the cores tell each other.
#[derive(Clone)]
pub enum Note {
    /// To core 0: this user of mine has been welcomed.
    Enter {
        connection: ConnId,
        address: SocketAddr,
        name: Box<str>,
    },
    /// To core 0: this user of mine has come from the process before, where the roster had him.
    Resumed {
        connection: ConnId,
        address: SocketAddr,
        name: Box<str>,
    },
    /// From core 0: the user is in the roster, and may have it.
    Entered {
        connection: ConnId,
        /// By what name it is in the group, if by one of its own.
        member: Option<Box<str>>,
    },
    /// To core 0: a user of mine is in the group, and waits for a roster.
    Joined { address: SocketAddr },
    /// To core 0: this user of mine has gone.
    Leave {
        connection: ConnId,
        address: SocketAddr,
    },
    /// To core 0: who is in the group on other nodes.
    Others(OtherUsers),
}

impl Chat {
    /// The value of one core in a room.
    pub fn new(room: Room) -> Chat {
        Chat {
            room,
            roster: Roster::new(),
            changed: false,
            resting: false,
            coming: HashMap::new(),
            waiting: false,
            has_sent: false,
            in_cluster: false,
        }
    }

    /// Takes a seat and binds the address; [`App::on_bound`] goes on from there. Whoever finds no seat
    /// stays unbound and may try again until `login_timeout`.
    fn log_in(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Option<User>,
        name: &str,
    ) -> Result<(), CommandError> {
        if session.is_some() {
            return Err(CommandError::SecondLogin);
        }
        if cx.proved().is_some_and(|proved| proved != name) {
            return Err(CommandError::OtherName);
        }
        let Some(address) = cx.peer() else {
            return Ok(());
        };
        let uid = address.to_string();
        let bytes = roster::entry_bytes(&uid, name);
        let seat = self.room.seats.take(bytes).ok_or(CommandError::RoomFull)?;
        *session = Some(User {
            name: name.into(),
            address,
            _seat: seat,
            entered: None,
        });
        cx.bind_address();
        Ok(())
    }

    /// Does what one message asks for.
    fn obey(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Option<User>,
        message: Message<'_>,
    ) -> Result<(), CommandError> {
        let message = text_of(message).ok_or(CommandError::Unknown)?;
        match (command::read(message)?, session.as_ref()) {
            (Command::Login(name), _) => self.log_in(cx, session, name)?,
            (_, None) => return Err(CommandError::NotLoggedIn),
            (Command::Nihao, Some(user)) => cx.send(format!("msg:nihao {}", user.name)),
            (Command::Silence, Some(_)) => {}
            // What is no address is nobody's. This also keeps `all` out of here.
            (Command::Say { to, .. }, Some(_)) if !command::is_address(to) => {
                return Err(CommandError::NoSuchUser);
            }
            (Command::Say { to, text }, Some(_)) => {
                cx.send_to_uid_or_tell(to, format!("msg:{text}"));
            }
        }
        Ok(())
    }

    /// Sends the roster, unless one has been sent lately, or somebody is on his way to it; then it waits for a timer.
    fn send_roster(&mut self, cx: &mut Context<'_, Self>) {
        if self.resting || !self.changed {
            return;
        }
        if !self.coming.is_empty() {
            if !self.waiting {
                self.waiting = true;
                cx.after(PATIENCE, WAITED);
            }
            return;
        }
        self.send_now(cx);
    }

    fn send_now(&mut self, cx: &mut Context<'_, Self>) {
        for misses in self.coming.values_mut() {
            *misses = true;
        }
        let message = self.roster.message(self.room.seats.bytes_max());
        cx.refresh_group_here(&self.room.group, &message);
        self.changed = false;
        self.has_sent = true;
        self.resting = true;
        let rest = roster::rest(
            self.room.roster_interval(),
            self.roster.len(),
            message.len(),
        );
        cx.after(rest, RESTED);
    }
}

impl App for Chat {
    /// `None` until the login.
    type Session = Option<User>;
    type Note = Note;

    const NAMESPACE: &'static str = "chat";

    /// Nothing before the login. A user as the roster has him: by the id that he entered it with, which says who leaves.
    fn pack(&self, session: &Option<User>) -> Option<Vec<u8>> {
        let packed = session.as_ref().map(|user| Packed {
            name: &user.name,
            address: user.address,
            entered: user.entered.map(ConnId::to_bits),
        });
        serde_json::to_vec(&packed).ok()
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<Option<User>> {
        let packed: Option<Packed<'_>> = serde_json::from_slice(bytes).ok()?;
        let Some(packed) = packed else {
            return Some(None);
        };
        let Packed {
            name,
            address,
            entered,
        } = packed;
        if !name::is_whole(name) {
            return None;
        }
        let bytes = roster::entry_bytes(&address.to_string(), name);
        Some(Some(User {
            name: name.into(),
            address,
            _seat: self.room.seats.keep(bytes),
            entered: entered.map(ConnId::from_bits),
        }))
    }

    /// Whether a roster was due, and whom it had of other nodes.
    fn pack_core(&self) -> Option<Vec<u8>> {
        let packed = PackedCore {
            is_due: self.changed || !self.coming.is_empty(),
            others: self.roster.others().clone(),
        };
        let is_any = packed.is_due || !packed.others.is_empty();
        is_any.then(|| serde_json::to_vec(&packed).ok())?
    }

    fn unpack_core(&mut self, cx: &mut Context<'_, Self>, bytes: &[u8]) {
        let packed = serde_json::from_slice(bytes).unwrap_or(PackedCore {
            is_due: true,
            others: OtherUsers::new(),
        });
        self.roster.set_others(packed.others);
        if packed.is_due {
            // When those have come who are to be in it.
            self.changed = true;
            self.waiting = true;
            cx.after(PATIENCE, WAITED);
        }
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        self.in_cluster = cx.watch_members(&self.room.group);
    }

    fn on_resumed(&mut self, cx: &mut Context<'_, Self>, session: &mut Option<User>) {
        if let Some(user) = session
            && let Some(connection) = user.entered
        {
            let note = Note::Resumed {
                connection,
                address: user.address,
                name: user.name.clone(),
            };
            cx.tell(To::Core(ROSTER_CORE), note);
        }
    }

    fn on_connect(&mut self, _: &mut Context<'_, Self>) -> Option<User> {
        None
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Option<User>,
        message: Message<'_>,
    ) {
        if let Err(error) = self.obey(cx, session, message) {
            cx.send(error.notice());
        }
    }

    /// Who has to prove a uid is logged in with it as the name: with all of it, or two users whose uids begin alike
    /// would pass for each other.
    fn on_proved(&mut self, cx: &mut Context<'_, Self>, session: &mut Option<User>, uid: &str) {
        let done = match name::is_whole(uid) {
            true => self.log_in(cx, session, uid),
            false => Err(CommandError::BadName),
        };
        if let Err(error) = done {
            cx.send(error.notice());
            // Whoever found the room full may try again; what is no name stays none.
            if error == CommandError::BadName {
                cx.close(CloseReason::BadLogin);
            }
        }
    }

    /// After an error, which here means that the address is in use, the library closes.
    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Option<User>,
        result: Result<(), BindError>,
    ) {
        if let Err(error) = result {
            *session = None;
            return cx.send(format!("notice:error {error}"));
        }
        let (Some(user), Some(connection)) = (session, cx.connection()) else {
            return;
        };
        user.entered = Some(connection);
        cx.send("notice:success");
        cx.send(format!("msg:welcome {}", user.name));
        let note = Note::Enter {
            connection,
            address: user.address,
            name: user.name.clone(),
        };
        cx.tell(To::Core(ROSTER_CORE), note);
    }

    fn on_joined(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Option<User>,
        _: &str,
        _: Result<(), JoinError>,
    ) {
        if let Some(User { address, .. }) = *session {
            cx.tell(To::Core(ROSTER_CORE), Note::Joined { address });
        }
    }

    fn on_offline(&mut self, cx: &mut Context<'_, Self>, _: &mut Option<User>, _: &str) {
        cx.send(CommandError::NoSuchUser.notice());
    }

    fn on_close(&mut self, cx: &mut Context<'_, Self>, session: Option<User>, _: CloseReason) {
        let Some(user) = session else {
            return;
        };
        if let Some(connection) = user.entered {
            let address = user.address;
            let note = Note::Leave {
                connection,
                address,
            };
            cx.tell(To::Core(ROSTER_CORE), note);
        }
    }

    fn on_note(&mut self, cx: &mut Context<'_, Self>, from: CoreId, note: Note) {
        match note {
            Note::Enter {
                connection,
                address,
                name,
            } => {
                let member = self.in_cluster.then(|| roster::member_name(address, &name));
                let member = member.map(Box::from);
                self.roster.enter(address, connection, name);
                self.coming.insert(address, false);
                self.changed = true;
                cx.tell(To::Core(from), Note::Entered { connection, member });
            }
            Note::Resumed {
                connection,
                address,
                name,
            } => {
                let is_new = self.roster.enter(address, connection, name);
                self.changed |= is_new && self.has_sent;
                // It has what the others have.
                if !self.changed || self.waiting {
                    return;
                }
            }
            Note::Entered { connection, member } => match member {
                Some(member) => cx.join_for_as(connection, &self.room.group, &member),
                None => cx.join_for(connection, &self.room.group),
            },
            Note::Joined { address } => {
                let misses = self.coming.remove(&address);
                self.changed |= misses.unwrap_or(false);
            }
            Note::Leave {
                connection,
                address,
            } => {
                if self.roster.leave(address, connection) {
                    self.coming.remove(&address);
                    self.changed = true;
                }
            }
            Note::Others(others) => self.changed |= self.roster.set_others(others),
        }
        self.send_roster(cx);
    }

    fn on_members(&mut self, cx: &mut Context<'_, Self>, _: &str, others: &[Box<str>]) {
        let others = roster::other_users(others.iter().map(|member| &**member));
        cx.tell(To::Core(ROSTER_CORE), Note::Others(others));
    }

    fn on_timer(&mut self, cx: &mut Context<'_, Self>, token: u64) {
        match token {
            RESTED => {
                self.resting = false;
                self.send_roster(cx);
            }
            _ => {
                self.waiting = false;
                if self.changed && !self.resting && !self.coming.is_empty() {
                    return self.send_now(cx);
                }
                self.send_roster(cx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_written_and_keeps_his_seat() {
        let limits = Limits {
            users_max: 1,
            ..Limits::default()
        };
        let (old, new) = (Room::new(&limits), Room::new(&limits));
        let old = Chat::new(old);
        let mut chat = Chat::new(new);
        let seat = old.room.seats.take(30).expect("a seat");
        let user = User {
            name: "李雷1".into(),
            address: ([192, 0, 2, 7], 4_660).into(),
            _seat: seat,
            entered: Some(ConnId::from_bits(1 << 40 | 5)),
        };
        let bytes = old.pack(&Some(user)).expect("a user is written");
        // Another has the one seat there already, and the user is in all the same.
        let other = chat.room.seats.take(30).expect("a seat");
        let again = chat.unpack(&bytes).expect("a session").expect("a user");
        assert_eq!(&*again.name, "李雷1");
        assert_eq!(again.address, ([192, 0, 2, 7], 4_660).into());
        assert_eq!(again.entered.map(ConnId::to_bits), Some(1 << 40 | 5));
        drop(other);
        assert!(chat.room.seats.take(30).is_none());
        drop(again);
        assert!(chat.room.seats.take(30).is_some());
        let bytes = chat.pack(&None).expect("nobody is written");
        assert!(chat.unpack(&bytes).is_some_and(|session| session.is_none()));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        let mut chat = Chat::new(Room::new(&Limits::default()));
        let user =
            |name: &str| format!(r#"{{"name":"{name}","address":"192.0.2.7:1","entered":null}}"#);
        assert!(chat.unpack(user("lucy").as_bytes()).is_some());
        for bytes in ["", "7", "{}", &user("no name"), &user("x\\u0000")] {
            assert!(chat.unpack(bytes.as_bytes()).is_none(), "{bytes}");
        }
    }
}
