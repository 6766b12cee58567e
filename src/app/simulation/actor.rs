//! The apps of the simulation: they do what the text of a message says, and note it in the model.
//!
//! A client's message is its number and commands, `7 bind u3;all 20`. What a note, a timer or an answer
//! makes an app do is written with commas and underlines, `all,20`, and is done in the app's own name.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use super::model::{Model, Question, Sender, Shared, Target};
use crate::app::{Answer, App, BindError, Context, EnterError, JoinError, Login, Namespace, To};
use crate::close::CloseReason;
use crate::ident::{CoreId, EVERYBODY, Reach, Reply, Ticket};
use crate::payload::Message;
use crate::streams::Wish;

/// One of the simulation's apps.
pub trait Part: 'static {
    const NUMBER: u8;
    const NAMESPACE: &'static str;
    const LOGIN: Login;
    /// The bits of the namespaces it reaches: its own is the bit of its number.
    const REACH: Reach;
}

/// Reaches its own kind only.
pub struct Talk;
/// Reaches `Talk`, too.
pub struct Desk;
/// Never binds, and reaches all.
pub struct Console;
/// Binds when it likes, and reaches `Talk`, too.
pub struct Lobby;

impl Part for Talk {
    const NUMBER: u8 = 0;
    const NAMESPACE: &'static str = "talk";
    const LOGIN: Login = Login::Required;
    const REACH: Reach = Reach(0b001);
}

impl Part for Desk {
    const NUMBER: u8 = 1;
    const NAMESPACE: &'static str = "desk";
    const LOGIN: Login = Login::Required;
    const REACH: Reach = Reach(0b011);
}

impl Part for Lobby {
    const NUMBER: u8 = 3;
    const NAMESPACE: &'static str = "lobby";
    const LOGIN: Login = Login::Optional;
    const REACH: Reach = Reach(0b1001);
}

impl Part for Console {
    const NUMBER: u8 = 2;
    const NAMESPACE: &'static str = "console";
    const LOGIN: Login = Login::Never;
    const REACH: Reach = Reach(0b1111);
}

/// Apps say nothing of being kept.
const AS_RULED: Wish = Wish::AsRuled;
/// A core guards itself against an app's panic; the lock that is poisoned then makes the run fail.
const UNBROKEN: &str = "no callback has panicked";

#[derive(PartialEq, Eq, Hash)]
enum Due {
    Answer(Ticket),
    Timer(u64),
}

pub struct Actor<P> {
    model: Shared,
    /// The token by which the world sees that every session has ended.
    alive: Arc<()>,
    replies: HashMap<Due, (Reply, String)>,
    after: HashMap<Due, String>,
    part: PhantomData<P>,
}

pub struct Session {
    client: usize,
    /// The namespace made while running that the client is in, if any.
    within: Option<Namespace>,
    next: u32,
    _alive: Arc<()>,
}

#[derive(Clone)]
pub struct Note {
    number: u64,
    then: String,
}

impl<P: Part> Actor<P> {
    pub fn new(model: Shared, alive: Arc<()>) -> Actor<P> {
        Actor {
            model,
            alive,
            replies: HashMap::new(),
            after: HashMap::new(),
            part: PhantomData,
        }
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().expect(UNBROKEN)
    }

    fn then(&mut self, cx: &mut Context<'_, Self>, then: &str) {
        let sender = Sender::App(cx.core().0, P::NUMBER);
        for command in then.split('_').filter(|command| !command.is_empty()) {
            let words: Vec<&str> = command.split(',').collect();
            match words[..] {
                ["in", name, ref rest @ ..] => {
                    let namespace = cx.namespace(name).expect("there is room");
                    self.send(cx, sender, Some(namespace), rest);
                }
                _ => _ = self.send(cx, sender, None, &words),
            }
        }
    }

    /// What any sender can do, within a namespace or where its app reaches. False if it is none of that.
    fn send(
        &mut self,
        cx: &mut Context<'_, Self>,
        sender: Sender,
        within: Option<Namespace>,
        words: &[&str],
    ) -> bool {
        match within {
            Some(namespace) => {
                let reach = Reach::of(namespace.id);
                self.send_to(&mut cx.within(namespace), sender, reach, words)
            }
            None => self.send_to(cx, sender, P::REACH, words),
        }
    }

    /// Sends what the words say by a context that reaches so far.
    fn send_to(
        &mut self,
        cx: &mut Context<'_, Self>,
        sender: Sender,
        reach: Reach,
        words: &[&str],
    ) -> bool {
        let who = (sender, cx.core().0);
        let bytes = |word: &str| word.parse().expect("a number of bytes");
        let shared = Shared::clone(&self.model);
        let mut model = shared.lock().expect(UNBROKEN);
        let (path, by_mail) = cx.path();
        let path = (&path[..], by_mail);
        let text = match *words {
            ["all", size] | ["uid" | "tell" | "push", EVERYBODY, size] => {
                model.send(who, Target::Everybody, reach, path, bytes(size), AS_RULED)
            }
            ["group" | "refresh", group, size] => {
                let group = Target::Group(group.to_owned());
                model.send(who, group, reach, path, bytes(size), AS_RULED)
            }
            ["one", client, size] => {
                let client: usize = client.parse().expect("a client");
                let name = model.clients.get(client).and_then(|track| track.name);
                let Some(name) = name else { return true };
                let to = Target::Connection(client);
                let text = model.send(who, to, reach, path, bytes(size), AS_RULED);
                let (number, sent) = model.last_sent();
                let at = sent.at;
                let ticket = cx.push_to_connection(name, &text);
                model.asked(who.1, P::NUMBER, ticket.0, at, Question::Push(number));
                return true;
            }
            ["uid" | "tell" | "push", uid, size] => {
                let uid = Target::Uid(uid.to_owned());
                model.send(who, uid, reach, path, bytes(size), AS_RULED)
            }
            _ => return false,
        };
        let home = match sender {
            Sender::Client(client) => model.clients[client].home.is_some(),
            _ => false,
        };
        let (number, sent) = model.last_sent();
        let at = sent.at;
        match *words {
            ["uid", uid, _] => cx.send_to_uid(uid, &text),
            ["tell", uid, _] => {
                sent.tell = home && uid != EVERYBODY && cx.connection().is_some();
                cx.send_to_uid_or_tell(uid, &text);
            }
            ["push", uid, _] => {
                let ticket = cx.push(uid, &text);
                model.asked(who.1, P::NUMBER, ticket.0, at, Question::Push(number));
            }
            ["group", group, _] => cx.send_to_group(group, &text),
            ["refresh", group, _] => {
                sent.refresh = true;
                cx.refresh_group(group, &text);
            }
            _ => cx.broadcast(&text),
        }
        true
    }

    /// What only a connection can do, or asks for.
    fn act(&mut self, cx: &mut Context<'_, Self>, session: &mut Session, words: &[&str]) {
        let client = session.client;
        // Now and then one speaks to where its app reaches, though it is elsewhere.
        let within = session.within.filter(|_| !session.next.is_multiple_of(4));
        if self.send(cx, Sender::Client(client), within, words) {
            return;
        }
        let core = cx.core().0;
        let shared = Shared::clone(&self.model);
        let mut model = shared.lock().expect(UNBROKEN);
        match *words {
            ["bind", uid] => {
                model.clients[client].asked_to_bind = true;
                model.unbound(client, core, Some(uid));
                cx.bind_uid(uid);
            }
            ["anew", uid] => {
                if cx.uid().is_some() {
                    model.unbound(client, core, Some(uid));
                    cx.bind_uid(uid);
                }
            }
            ["unbind"] => {
                model.unbound(client, core, None);
                cx.unbind();
            }
            ["echo", size] => {
                let bytes = size.parse().expect("a number of bytes");
                let who = (Sender::Client(client), core);
                let way = (&[][..], false);
                let text = model.send(who, Target::Own, P::REACH, way, bytes, AS_RULED);
                cx.send(&text);
            }
            ["join", group] => {
                model.join(client, group);
                cx.join(group);
            }
            ["leave", group] => {
                model.leave(client, group);
                cx.leave(group);
            }
            ["name"] => {
                let name = cx.connection_name().expect("it is about one");
                model.named(client, name);
            }
            ["close"] => {
                model.clients[client].asked_to_close = true;
                cx.close(CloseReason::Normal);
            }
            ["enter", name] => {
                Self::enter(cx, &mut model, session, name);
            }
            ["kickone", one] => {
                let one: usize = one.parse().expect("a client");
                let name = model.clients.get(one).and_then(|track| track.name);
                let Some(name) = name else { return };
                let at = model.stamp();
                let ticket = cx.kick_connection(name);
                model.kicked_by_name.push((one, P::REACH));
                model.asked(core, P::NUMBER, ticket.0, at, Question::Kick);
            }
            ["kick", uid] => Self::kick(cx, &mut model, within, uid),
            ["online", uid] => {
                self.online(cx, &mut model, within, uid);
            }
            ["stats"] => {
                let at = model.stamp();
                let ticket = cx.stats();
                model.asked(core, P::NUMBER, ticket.0, at, Question::Stats);
            }
            ["note", to, then] => self.tell(cx, &mut model, to, then),
            ["after", time, then] => {
                let token = Self::after(cx, &mut model, time);
                self.after.insert(Due::Timer(token), then.to_owned());
            }
            ["reply", when, what] => {
                self.reply(cx, &mut model, session, (when, what));
            }
            _ => panic!("no command: {words:?}"),
        }
    }

    fn kick(cx: &mut Context<'_, Self>, model: &mut Model, within: Option<Namespace>, uid: &str) {
        let at = model.stamp();
        let (reach, ticket) = match within {
            Some(namespace) => (Reach::of(namespace.id), cx.within(namespace).kick(uid)),
            None => (P::REACH, cx.kick(uid)),
        };
        model.kicked.push((uid.to_owned(), reach));
        model.asked(cx.core().0, P::NUMBER, ticket.0, at, Question::Kick);
    }

    fn enter(cx: &mut Context<'_, Self>, model: &mut Model, session: &mut Session, name: &str) {
        let namespace = cx.namespace(name).expect("there is room");
        let track = &mut model.clients[session.client];
        match cx.enter(namespace) {
            Ok(()) => {
                assert!(track.home.is_none(), "it stays where it is");
                track.namespace = namespace.id;
                session.within = Some(namespace);
            }
            Err(EnterError::AtHome) => assert!(track.home.is_some()),
            // It is closing: it has asked for that, or what it got did not fit.
            Err(error) => assert_eq!(error, EnterError::NoConnection),
        }
    }

    /// Reserves a reply, which is filled now, with an answer, or when a time is over.
    fn reply(
        &mut self,
        cx: &mut Context<'_, Self>,
        model: &mut Model,
        session: &Session,
        (when, what): (&str, &str),
    ) {
        let client = session.client;
        let within = session.within.filter(|_| !session.next.is_multiple_of(4));
        let number = model.clients[client].reserved;
        model.clients[client].reserved += 1;
        let text = format!("r{client}.{number}");
        let reply = cx.reserve();
        let due = match when {
            "now" => {
                model.filled();
                return cx.fill(reply, &text);
            }
            "answer" => Due::Answer(self.online(cx, model, within, what)),
            _ => Due::Timer(Self::after(cx, model, what)),
        };
        self.replies.insert(due, (reply, text));
    }

    fn online(
        &mut self,
        cx: &mut Context<'_, Self>,
        model: &mut Model,
        within: Option<Namespace>,
        uid: &str,
    ) -> Ticket {
        let at = model.stamp();
        let (ticket, reach) = match within {
            Some(namespace) => (cx.within(namespace).online(uid), Reach::of(namespace.id)),
            None => (cx.online(uid), P::REACH),
        };
        let question = Question::Online(uid.to_owned(), reach);
        model.asked(cx.core().0, P::NUMBER, ticket.0, at, question);
        ticket
    }

    fn after(cx: &mut Context<'_, Self>, model: &mut Model, time: &str) -> u64 {
        let time = Duration::from_millis(time.parse().expect("milliseconds"));
        let token = model.next_timer(cx.core().0, P::NUMBER, time);
        cx.after(time, token);
        token
    }

    fn tell(&mut self, cx: &mut Context<'_, Self>, model: &mut Model, to: &str, then: &str) {
        let cores = cx.cores() as u16;
        let (to, receivers) = match to.parse() {
            Ok(core) => (To::Core(CoreId(core)), core..core + 1),
            Err(_) => (To::All, 0..cores),
        };
        let number = model.next_note();
        for receiver in receivers.filter(|core| *core < cores) {
            model.told(cx.core().0, receiver, P::NUMBER, number);
        }
        let then = then.to_owned();
        cx.tell(to, Note { number, then });
    }

    fn due(&mut self, cx: &mut Context<'_, Self>, due: Due) {
        if let Some((reply, text)) = self.replies.remove(&due) {
            self.model().filled();
            cx.fill(reply, &text);
        }
        if let Some(then) = self.after.remove(&due) {
            self.then(cx, &then);
        }
    }
}

impl<P: Part> App for Actor<P> {
    type Session = Session;
    type Note = Note;

    const NAMESPACE: &'static str = P::NAMESPACE;
    const LOGIN: Login = P::LOGIN;

    fn on_connect(&mut self, cx: &mut Context<'_, Self>) -> Session {
        let client = cx.peer().expect("a connection has a peer").port().into();
        let home = P::LOGIN != Login::Required;
        let mut model = self.model();
        let name = model.scene.namespace_of(client);
        let name = name.filter(|_| !model.clients[client].follows_streams());
        let within = name.map(|name| cx.namespace(name).expect("there is room"));
        if let Some(namespace) = within {
            cx.enter(namespace).expect("it is not too late");
            model.clients[client].namespace = namespace.id;
        }
        model.opened(client, cx.core().0, home);
        Session {
            client,
            within,
            next: 0,
            _alive: Arc::clone(&self.alive),
        }
    }

    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Session,
        message: Message<'_>,
    ) {
        let text = message.text().expect("clients send text");
        let (number, commands) = text.split_once(' ').expect("a numbered message");
        let mut model = self.model();
        assert_eq!(
            number,
            session.next.to_string(),
            "each message once, in order"
        );
        model.clients[session.client].executed += 1;
        drop(model);
        session.next += 1;
        for command in commands.split(';') {
            let words: Vec<&str> = command.split(' ').collect();
            self.act(cx, session, &words);
        }
    }

    fn on_claimed(&mut self, cx: &mut Context<'_, Self>, session: &mut Session, uid: &str) {
        let mut model = self.model();
        model.clients[session.client].asked_to_bind = true;
        drop(model);
        cx.bind_uid(uid);
    }

    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Session,
        result: Result<(), BindError>,
    ) {
        let client = session.client;
        match result {
            Ok(()) => {
                let mut model = self.model();
                model.bound(client, cx.core().0, cx.uid());
                let says = model.scene.says_when_bound;
                drop(model);
                if says {
                    self.act(cx, session, &["group", "g0", "12"]);
                    self.act(cx, session, &["echo", "10"]);
                }
            }
            Err(BindError::Twice) => {}
            Err(_) => {
                let mut model = self.model();
                model.clients[client].refused = true;
                // It may have come there for that.
                model.clients[client].cores.push(cx.core().0);
            }
        }
    }

    fn on_joined(
        &mut self,
        _: &mut Context<'_, Self>,
        session: &mut Session,
        group: &str,
        result: Result<(), JoinError>,
    ) {
        let mut model = self.model();
        let track = &mut model.clients[session.client];
        // What it follows it joins by itself, and anew if it moves before all of its streams have answered.
        if !track.follows.iter().any(|followed| followed == group) {
            let joins = track.joins.get_mut(group);
            let joins = joins.expect("a join that was asked for");
            assert!(*joins > 0, "a join is answered once");
            *joins -= 1;
        }
        if result.is_ok() {
            model.joined(session.client, group);
        }
        model.refused_joins += usize::from(result == Err(JoinError::TooMany));
    }

    fn on_offline(&mut self, _: &mut Context<'_, Self>, session: &mut Session, uid: &str) {
        let mut model = self.model();
        let offline = &mut model.clients[session.client].offline;
        *offline.entry(uid.to_owned()).or_default() += 1;
    }

    fn on_close(&mut self, cx: &mut Context<'_, Self>, session: Session, reason: CloseReason) {
        let mut model = self.model();
        model.closed(session.client, cx.core().0, reason);
        // It goes nowhere.
        cx.send("to the dead");
    }

    fn on_answer(&mut self, cx: &mut Context<'_, Self>, ticket: Ticket, answer: Answer) {
        let core = cx.core().0;
        let mut model = self.model();
        model.answered(core, P::NUMBER, ticket.0, answer);
        drop(model);
        self.due(cx, Due::Answer(ticket));
    }

    fn on_note(&mut self, cx: &mut Context<'_, Self>, from: CoreId, note: Note) {
        let mut model = self.model();
        model.note_heard(from.0, cx.core().0, P::NUMBER, note.number);
        drop(model);
        self.then(cx, &note.then);
    }

    fn on_timer(&mut self, cx: &mut Context<'_, Self>, token: u64) {
        let mut model = self.model();
        model.timer_out(cx.core().0, P::NUMBER, token);
        drop(model);
        self.due(cx, Due::Timer(token));
    }
}
