//! The plain model: what the app's callbacks did and saw, in lists, from which `verdict` says who must
//! have got what.
//!
//! Time is a count: each step of the scheduler begins a new thousand million, each thing noted takes the
//! next number. Every message is named by its place in [`Model::sent`], so that one sender's messages
//! are in order where the numbers rise.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Mutex;
use std::time::Instant;

use super::left_out::LeftOut;
use super::scene::{GROUPS_MAX, Scene};
use crate::app::Answer;
use crate::bus::Route;
use crate::close::CloseReason;
use crate::ident::{ConnName, CoreId, EVERYBODY, NamespaceId, Reach};
use crate::protocol::Codec;
use crate::streams::{Kind, Position, Wish};

pub type Stamp = u64;

const STEP: Stamp = 1_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sender {
    Client(usize),
    /// The value of an app on a core, from a callback that is about no connection.
    App(u16, u8),
    /// A task of a core.
    Task(u16),
}

impl Sender {
    /// On whose account it sends: what no connection sends is its core's.
    pub fn account(self) -> Sender {
        match self {
            Sender::Client(_) => self,
            Sender::App(core, _) | Sender::Task(core) => Sender::Task(core),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    Uid(String),
    Everybody,
    Group(String),
    /// One connection by its name, which it was told.
    Connection(usize),
    /// The sending client itself.
    Own,
}

pub struct Sent {
    pub sender: Sender,
    pub core: u16,
    pub at: Stamp,
    pub target: Target,
    pub reach: Reach,
    /// The cores that it passes on its way.
    pub path: Vec<u16>,
    /// It goes to its own core by its mailbox.
    pub by_mail: bool,
    pub refresh: bool,
    /// Whom of those that it is for it is not for.
    pub except: LeftOut,
    /// The sender wants to hear of it if nobody is there, and can.
    pub tell: bool,
    /// What the answer to it was, if it was a question.
    pub reached: Option<u32>,
    /// To everybody, by the home of everybody's stream.
    pub by_home: bool,
    /// How it is to be kept.
    pub wish: Wish,
    /// Where it stands, if its sender was told that.
    pub position: Option<Option<Position>>,
    pub text: String,
}

/// A connection's stay in a group.
pub struct Stay {
    pub group: String,
    pub from: Stamp,
    /// When it was told that it is in it.
    pub told: Stamp,
    pub until: Stamp,
}

/// A connection's time with a uid.
pub struct Tenure {
    pub uid: String,
    pub core: u16,
    pub from: Stamp,
    pub until: Stamp,
}

#[derive(Clone, Copy, Debug)]
pub struct Closed {
    /// It was closed between these two.
    pub earliest: Stamp,
    pub latest: Stamp,
    pub reason: CloseReason,
    pub time: Instant,
}

/// What is known of one client.
pub struct Track {
    pub namespace: NamespaceId,
    pub codec: Codec,
    pub opened: Option<(Stamp, Instant)>,
    /// Since when it is home, and on which core it was bound last.
    pub home: Option<(Stamp, u16)>,
    /// All cores where it has been home.
    pub cores: Vec<u16>,
    pub uid: Option<String>,
    pub uids: Vec<Tenure>,
    /// Since when it has no uid, by the clock of the core where it was then.
    pub without: Option<Instant>,
    pub asked_to_bind: bool,
    pub refused: bool,
    pub asked_to_close: bool,
    pub closed: Option<Closed>,
    pub stays: Vec<Stay>,
    pub asked: Vec<String>,
    /// Joins that are not answered yet, by group.
    pub joins: BTreeMap<String, usize>,
    /// Groups that it was told to be in.
    pub answered_joins: BTreeSet<String>,
    /// Messages of its that the app got.
    pub executed: u32,
    pub reserved: u32,
    pub offline: BTreeMap<String, usize>,
    /// It vanished, or was cut off: what was on its way to it may be lost.
    pub lossy: bool,
    pub heard: Instant,
    /// What it was told to be called.
    pub name: Option<ConnName>,
    /// The groups that one follows from its request on.
    pub follows: Vec<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Question {
    Push(usize),
    Kick,
    Online(String, Reach),
    Stats,
}

pub struct Asked {
    pub question: Question,
    pub app: u8,
    pub at: Stamp,
    pub answered: Option<Stamp>,
    pub reached: u32,
}

/// The model as the apps of all cores and the world share it, on one thread.
pub type Shared = Rc<Mutex<Model>>;

pub struct Model {
    pub scene: Scene,
    pub route: Route,
    pub clock: Stamp,
    pub clients: Vec<Track>,
    pub sent: Vec<Sent>,
    /// By core, when its mailbox was seen empty.
    pub emptied: Vec<Vec<Stamp>>,
    pub asked: HashMap<(u16, u64), Asked>,
    /// By sending core, receiving core and app: notes under way.
    notes: BTreeMap<(u16, u16, u8), VecDeque<u64>>,
    noted: u64,
    timers: BTreeMap<u64, (u16, u8, Instant)>,
    timed: u64,
    pub now: Vec<Instant>,
    pub refused_joins: usize,
    /// How often a connection that was home has moved.
    pub crossed: usize,
    /// When replies were filled.
    pub filled: Vec<Stamp>,
    /// Uids kicked, with the reach of who did it.
    pub kicked: Vec<(String, Reach)>,
    /// Clients kicked by what they are called, with the reach of who did it.
    pub kicked_by_name: Vec<(usize, Reach)>,
    /// By core, whether it goes by the rules of the reload.
    pub reloaded: Vec<bool>,
}

impl Model {
    pub fn new(scene: Scene, route: Route, started: Instant) -> Model {
        let cores = scene.cores;
        Model {
            scene,
            route,
            clock: STEP,
            clients: Vec::new(),
            sent: Vec::new(),
            emptied: vec![Vec::new(); cores],
            asked: HashMap::new(),
            notes: BTreeMap::new(),
            noted: 0,
            timers: BTreeMap::new(),
            timed: 0,
            now: vec![started; cores],
            refused_joins: 0,
            crossed: 0,
            filled: Vec::new(),
            kicked: Vec::new(),
            kicked_by_name: Vec::new(),
            reloaded: vec![false; cores],
        }
    }

    pub fn step(&mut self) {
        self.clock = (self.clock / STEP + 1) * STEP;
    }

    pub fn stamp(&mut self) -> Stamp {
        self.clock += 1;
        self.clock
    }

    /// The last moment of the step in which something was noted.
    pub fn step_end(at: Stamp) -> Stamp {
        match at {
            Stamp::MAX => Stamp::MAX,
            _ => at / STEP * STEP + STEP - 1,
        }
    }

    /// A client is told what it is called.
    pub fn named(&mut self, client: usize, name: ConnName) {
        let known = *self.clients[client].name.get_or_insert(name);
        assert_eq!(
            known, name,
            "a connection is called the same wherever it is"
        );
    }

    pub fn filled(&mut self) {
        let at = self.stamp();
        self.filled.push(at);
    }

    pub fn emptied(&mut self, core: u16) {
        let at = self.stamp();
        self.emptied[usize::from(core)].push(at);
    }

    /// Notes a message and returns its text.
    pub fn send(
        &mut self,
        (sender, core): (Sender, u16),
        target: Target,
        reach: Reach,
        (path, by_mail): (&[CoreId], bool),
        bytes: usize,
        wish: Wish,
    ) -> String {
        let at = self.stamp();
        let mut path = match &target {
            Target::Own => Vec::new(),
            Target::Group(group) => Vec::from([self.route.home(group).0]),
            _ => path.iter().map(|core| core.0).collect(),
        };
        // What is kept of everybody's goes by the home of that, as if it were a group.
        let keeps = self.scene.keeping.as_ref();
        let keeps = keeps.map(|keeping| keeping.keeps(Kind::All, EVERYBODY, wish));
        let reloaded = usize::from(self.reloaded[usize::from(core)]);
        let by_home = target == Target::Everybody && keeps.is_some_and(|keeps| keeps[reloaded]);
        if by_home {
            path = Vec::from([self.route.home(EVERYBODY).0]);
        }
        let mut text = format!("m{} ", self.sent.len());
        while text.len() < bytes {
            text.push((b'a' + (text.len() % 26) as u8) as char);
        }
        self.sent.push(Sent {
            sender,
            core,
            at,
            target,
            reach,
            path,
            by_mail,
            refresh: false,
            except: LeftOut::default(),
            tell: false,
            reached: None,
            by_home,
            wish,
            position: None,
            text: text.clone(),
        });
        text
    }

    pub fn last_sent(&mut self) -> (usize, &mut Sent) {
        let number = self.sent.len() - 1;
        (number, &mut self.sent[number])
    }

    pub fn opened(&mut self, client: usize, core: u16, home: bool) {
        let (at, time) = (self.stamp(), self.now[usize::from(core)]);
        let track = &mut self.clients[client];
        assert!(track.opened.is_none(), "on_connect once");
        track.opened = Some((at, time));
        track.heard = time;
        track.without = Some(time);
        if home {
            track.home = Some((at, core));
            track.cores.push(core);
        }
    }

    pub fn bound(&mut self, client: usize, core: u16, uid: Option<&str>) {
        self.be_home(client, core, uid);
        for group in self.clients[client].follows.clone() {
            self.join(client, &group);
        }
    }

    fn be_home(&mut self, client: usize, core: u16, uid: Option<&str>) {
        let at = self.stamp();
        let track = &mut self.clients[client];
        assert!(track.closed.is_none(), "on_bound before on_close");
        let (from, was) = track.home.unwrap_or((at, core));
        track.home = Some((from, core));
        track.cores.push(core);
        self.crossed += usize::from(was != core);
        let uid = uid.expect("a bound connection has its uid").to_owned();
        // One that has asked for the uid that it has goes on with it.
        if track.uid.as_ref() != Some(&uid) {
            assert!(
                track.uid.is_none(),
                "a uid is taken before another is given"
            );
            track.uids.push(Tenure {
                uid: uid.clone(),
                core,
                from: at,
                until: Stamp::MAX,
            });
            track.uid = Some(uid);
        }
        for group in std::mem::take(&mut track.asked) {
            track.stays.push(Stay {
                group,
                from: at,
                told: Stamp::MAX,
                until: Stamp::MAX,
            });
        }
    }

    /// It asks for another uid, or for none.
    pub fn unbound(&mut self, client: usize, core: u16, for_uid: Option<&str>) {
        let (at, time) = (self.stamp(), self.now[usize::from(core)]);
        let track = &mut self.clients[client];
        if track.uid.as_deref() != for_uid
            && let Some(last) = track.uids.last_mut()
        {
            last.until = last.until.min(at);
            if track.uid.take().is_some() {
                track.without = Some(time);
            }
        }
    }

    pub fn closed(&mut self, client: usize, core: u16, reason: CloseReason) {
        let (latest, time) = (self.stamp(), self.now[usize::from(core)]);
        let track = &mut self.clients[client];
        assert!(track.opened.is_some(), "on_connect before on_close");
        assert!(track.closed.is_none(), "on_close once");
        if matches!(
            reason,
            CloseReason::Overloaded | CloseReason::SlowConsumer | CloseReason::Reset
        ) {
            track.lossy = true;
        }
        track.closed = Some(Closed {
            earliest: latest / STEP * STEP,
            latest,
            reason,
            time,
        });
    }

    pub fn join(&mut self, client: usize, group: &str) {
        let from = self.stamp();
        let track = &mut self.clients[client];
        let open = |stay: &&Stay| stay.until == Stamp::MAX;
        let joined = track.stays.iter().filter(open).count() + track.asked.len();
        *track.joins.entry(group.to_owned()).or_default() += 1;
        let inside = track.stays.iter().filter(open).any(|s| s.group == group)
            || track.asked.iter().any(|asked| asked == group);
        if track.closed.is_some() || inside || joined >= GROUPS_MAX {
            return;
        }
        if track.home.is_none() {
            track.asked.push(group.to_owned());
        } else {
            track.stays.push(Stay {
                group: group.to_owned(),
                from,
                told: Stamp::MAX,
                until: Stamp::MAX,
            });
        }
    }

    pub fn joined(&mut self, client: usize, group: &str) {
        let at = self.stamp();
        let track = &mut self.clients[client];
        track.answered_joins.insert(group.to_owned());
        let open = |stay: &&mut Stay| stay.group == group && stay.until == Stamp::MAX;
        if let Some(stay) = track.stays.iter_mut().find(open) {
            stay.told = stay.told.min(at);
        }
    }

    pub fn leave(&mut self, client: usize, group: &str) {
        let at = self.stamp();
        let track = &mut self.clients[client];
        track.asked.retain(|asked| asked != group);
        let open = |stay: &&mut Stay| stay.group == group && stay.until == Stamp::MAX;
        if let Some(stay) = track.stays.iter_mut().find(open) {
            stay.until = at;
        }
    }

    pub fn asked(&mut self, core: u16, app: u8, ticket: u64, at: Stamp, question: Question) {
        let asked = Asked {
            question,
            app,
            at,
            answered: None,
            reached: 0,
        };
        let before = self.asked.insert((core, ticket), asked);
        assert!(before.is_none(), "a ticket is given once");
    }

    pub fn answered(&mut self, core: u16, app: u8, ticket: u64, answer: Answer) {
        let at = self.stamp();
        let cores = self.scene.cores;
        let asked = self.asked.get_mut(&(core, ticket));
        let asked = asked.expect("an answer comes to the core that asked");
        assert_eq!(asked.app, app, "an answer comes to the app that asked");
        assert!(asked.answered.is_none(), "a ticket is answered once");
        asked.answered = Some(at);
        match (answer, &asked.question) {
            (Answer::Stats(stats), Question::Stats) => {
                let numbers: Vec<u16> = stats.cores.iter().map(|core| core.core).collect();
                assert_eq!(numbers, Vec::from_iter(0..cores as u16));
            }
            (Answer::Reached(reached), Question::Push(number)) => {
                asked.reached = reached;
                self.sent[*number].reached = Some(reached);
            }
            (Answer::Reached(reached), Question::Kick | Question::Online(..)) => {
                asked.reached = reached;
            }
            (answer, question) => panic!("{question:?} was answered by {answer:?}"),
        }
    }

    pub fn told(&mut self, from: u16, to: u16, app: u8, number: u64) {
        let way = self.notes.entry((from, to, app)).or_default();
        way.push_back(number);
    }

    pub fn next_note(&mut self) -> u64 {
        self.noted += 1;
        self.noted
    }

    pub fn note_heard(&mut self, from: u16, to: u16, app: u8, number: u64) {
        let next = self
            .notes
            .get_mut(&(from, to, app))
            .and_then(VecDeque::pop_front);
        assert_eq!(next, Some(number), "notes come once and in order");
    }

    pub fn next_timer(&mut self, core: u16, app: u8, after: std::time::Duration) -> u64 {
        self.timed += 1;
        let due = self.now[usize::from(core)] + after;
        self.timers.insert(self.timed, (core, app, due));
        self.timed
    }

    pub fn timer_out(&mut self, core: u16, app: u8, token: u64) {
        let timer = self.timers.remove(&token);
        let (on, of, due) = timer.expect("a timer runs out once");
        assert_eq!((on, of), (core, app), "a timer is its app's on its core");
        assert!(due <= self.now[usize::from(core)], "not before its time");
    }

    /// Nothing is under way any more: all notes, answers and timers have come.
    pub fn check_settled(&self) {
        for (way, notes) in &self.notes {
            assert!(notes.is_empty(), "notes lost on {way:?}: {notes:?}");
        }
        assert!(self.timers.is_empty(), "timers lost: {:?}", self.timers);
        for (ticket, asked) in &self.asked {
            let question = &asked.question;
            assert!(
                asked.answered.is_some(),
                "no answer: {ticket:?} {question:?}"
            );
        }
    }
}
