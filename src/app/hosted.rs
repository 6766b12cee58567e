//! An app without its type: what a core calls, with a guard around every callback.
//!
//! A panic in a callback closes the connection it is about with 1011, is counted and logged; the core goes on.

use tracing::error;

use super::JoinError;
use super::callbacks::{App, Context};
use super::local::Local;
use super::note::AnyNote;
use super::outcome::{Answer, BindError};
use crate::close::{CloseReason, Flaw};
use crate::guard::{Fault, guard};
use crate::ident::{ConnId, CoreId, Reach, Ticket};
use crate::migration::AnySession;
use crate::pages::Pages;
use crate::payload::Message;
use crate::protocol::http::opening::OpeningRequest;

pub trait Hosted {
    fn start(&mut self, local: &mut Local);
    /// Makes the connection's session and returns its key.
    fn connect(
        &mut self,
        local: &mut Local,
        id: ConnId,
        request: Option<&OpeningRequest>,
    ) -> Option<u32>;
    fn message(&mut self, local: &mut Local, id: ConnId, session: u32, message: Message<'_>);
    fn flawed(&mut self, local: &mut Local, id: ConnId, session: u32, flaw: Flaw, line: &[u8]);
    fn proved(&mut self, local: &mut Local, id: ConnId, session: u32, uid: &str);
    fn claimed(&mut self, local: &mut Local, id: ConnId, session: u32, uid: &str);
    fn bound(&mut self, local: &mut Local, id: ConnId, session: u32, result: Result<(), BindError>);
    fn joined(
        &mut self,
        local: &mut Local,
        id: ConnId,
        session: u32,
        group: &str,
        result: Result<(), JoinError>,
    );
    fn offline(&mut self, local: &mut Local, id: ConnId, session: u32, uid: &str);
    fn close(&mut self, local: &mut Local, id: ConnId, session: u32, reason: CloseReason);
    /// The answer to a call, and whose callback asked it.
    fn answer(
        &mut self,
        local: &mut Local,
        asked_by: Option<ConnId>,
        ticket: Ticket,
        answer: Answer,
    );
    fn note(&mut self, local: &mut Local, from: CoreId, note: AnyNote);
    fn timer(&mut self, local: &mut Local, token: u64);
    /// Who is in a group on other nodes.
    fn members(&mut self, local: &mut Local, group: &str, others: &[Box<str>]);
    fn take_session(&mut self, session: u32) -> Option<AnySession>;
    fn put_session(&mut self, session: AnySession) -> Option<u32>;
    /// A session as the app writes it down, if it does; it stays here.
    fn copy_session(&mut self, local: &mut Local, session: u32) -> Option<Vec<u8>>;
    /// Takes it so.
    fn pack_session(&mut self, local: &mut Local, session: u32) -> Option<Vec<u8>>;
    fn unpack_session(&mut self, local: &mut Local, bytes: &[u8]) -> Option<u32>;
    /// A connection has come from another process with its session.
    fn resumed(&mut self, local: &mut Local, id: ConnId, session: u32);
    /// The app's type.
    fn name(&self) -> &'static str;
    /// What it keeps beside sessions, as it writes that down.
    fn pack_core(&mut self, local: &mut Local) -> Option<Vec<u8>>;
    fn unpack_core(&mut self, local: &mut Local, bytes: &[u8]);
}

pub struct Hosting<A: App> {
    app: A,
    number: u8,
    reach: Reach,
    sessions: Pages<Option<A::Session>>,
}

impl<A: App> Hosting<A> {
    pub fn new(app: A, number: u8, reach: Reach) -> Hosting<A> {
        Hosting {
            app,
            number,
            reach,
            sessions: Pages::default(),
        }
    }

    fn insert(&mut self, session: A::Session) -> u32 {
        let key = self.sessions.take();
        self.sessions[key] = Some(session);
        key
    }

    fn remove(&mut self, key: u32) -> Option<A::Session> {
        let session = self.sessions.get_mut(key)?.take()?;
        self.sessions.free(key);
        Some(session)
    }

    /// Runs a callback about a connection, or about none.
    fn guard<R>(
        &mut self,
        local: &mut Local,
        connection: Option<ConnId>,
        name: &'static str,
        callback: impl FnOnce(&mut A, &mut Pages<Option<A::Session>>, &mut Context<'_, A>) -> R,
    ) -> Option<R> {
        self.guard_by(local, (connection, None), name, callback)
    }

    /// Runs a callback about a connection that has a session.
    #[inline(always)]
    fn guard_session(
        &mut self,
        local: &mut Local,
        id: ConnId,
        session: u32,
        name: &'static str,
        callback: impl FnOnce(&mut A, &mut Context<'_, A>, &mut A::Session),
    ) {
        self.guard(local, Some(id), name, |app, sessions, cx| {
            if let Some(session) = sessions.get_mut(session).and_then(Option::as_mut) {
                callback(app, cx, session);
            }
        });
    }

    /// Runs a callback with the request that the connection has come by.
    #[inline(always)]
    fn guard_by<R>(
        &mut self,
        local: &mut Local,
        (connection, request): (Option<ConnId>, Option<&OpeningRequest>),
        name: &'static str,
        callback: impl FnOnce(&mut A, &mut Pages<Option<A::Session>>, &mut Context<'_, A>) -> R,
    ) -> Option<R> {
        let (app, sessions) = (&mut self.app, &mut self.sessions);
        let mut cx = Context::new(local, self.number, self.reach, connection);
        cx.request = request;
        // The app's own state is its own affair after a panic; the session's ends with its connection.
        match guard(|| callback(app, sessions, &mut cx)) {
            Ok(result) => Some(result),
            Err(fault) => {
                panicked::<A>(local, connection, name, &fault);
                None
            }
        }
    }
}

/// A callback has panicked: that is counted and logged, and the connection it was about ends.
#[cold]
fn panicked<A: App>(
    local: &mut Local,
    connection: Option<ConnId>,
    callback: &'static str,
    fault: &Fault,
) {
    let app = std::any::type_name::<A>();
    local.shard.stats.panics += 1;
    match connection {
        Some(connection) => {
            let name = local.shard.connections.tell_name(connection);
            error!(app, callback, connection = %name, %fault, "an app panicked; its connection is closed");
            local.shard.close(connection, CloseReason::Internal);
        }
        None => error!(app, callback, %fault, "an app panicked"),
    }
}

impl<A: App> Hosted for Hosting<A> {
    fn start(&mut self, local: &mut Local) {
        self.guard(local, None, "on_start", |app, _, cx| app.on_start(cx));
    }

    fn connect(
        &mut self,
        local: &mut Local,
        id: ConnId,
        request: Option<&OpeningRequest>,
    ) -> Option<u32> {
        let session = self.guard_by(local, (Some(id), request), "on_connect", |app, _, cx| {
            app.on_connect(cx)
        })?;
        Some(self.insert(session))
    }

    fn message(&mut self, local: &mut Local, id: ConnId, session: u32, message: Message<'_>) {
        self.guard_session(local, id, session, "on_message", |app, cx, session| {
            app.on_message(cx, session, message)
        });
    }

    fn flawed(&mut self, local: &mut Local, id: ConnId, session: u32, flaw: Flaw, line: &[u8]) {
        self.guard_session(local, id, session, "on_flawed", |app, cx, session| {
            app.on_flawed(cx, session, flaw, line)
        });
    }

    fn proved(&mut self, local: &mut Local, id: ConnId, session: u32, uid: &str) {
        self.guard_session(local, id, session, "on_proved", |app, cx, session| {
            app.on_proved(cx, session, uid)
        });
    }

    fn claimed(&mut self, local: &mut Local, id: ConnId, session: u32, uid: &str) {
        self.guard_session(local, id, session, "on_claimed", |app, cx, session| {
            app.on_claimed(cx, session, uid)
        });
    }

    fn bound(
        &mut self,
        local: &mut Local,
        id: ConnId,
        session: u32,
        result: Result<(), BindError>,
    ) {
        self.guard_session(local, id, session, "on_bound", |app, cx, session| {
            app.on_bound(cx, session, result)
        });
    }

    fn joined(
        &mut self,
        local: &mut Local,
        id: ConnId,
        session: u32,
        group: &str,
        result: Result<(), JoinError>,
    ) {
        self.guard_session(local, id, session, "on_joined", |app, cx, session| {
            app.on_joined(cx, session, group, result)
        });
    }

    fn offline(&mut self, local: &mut Local, id: ConnId, session: u32, uid: &str) {
        self.guard_session(local, id, session, "on_offline", |app, cx, session| {
            app.on_offline(cx, session, uid)
        });
    }

    fn close(&mut self, local: &mut Local, id: ConnId, session: u32, reason: CloseReason) {
        if let Some(session) = self.remove(session) {
            self.guard(local, Some(id), "on_close", |app, _, cx| {
                app.on_close(cx, session, reason)
            });
        }
    }

    fn answer(
        &mut self,
        local: &mut Local,
        asked_by: Option<ConnId>,
        ticket: Ticket,
        answer: Answer,
    ) {
        let answered = self.guard(local, None, "on_answer", |app, _, cx| {
            app.on_answer(cx, ticket, answer)
        });
        // Whoever asked may wait for what was to be made of the answer.
        if let (None, Some(connection)) = (answered, asked_by) {
            local.shard.close(connection, CloseReason::Internal);
        }
    }

    fn note(&mut self, local: &mut Local, from: CoreId, note: AnyNote) {
        match note.downcast::<A::Note>() {
            Ok(note) => {
                self.guard(local, None, "on_note", |app, _, cx| {
                    app.on_note(cx, from, *note)
                });
            }
            Err(_) => debug_assert!(false, "a note goes to the app that sent it"),
        }
    }

    fn timer(&mut self, local: &mut Local, token: u64) {
        self.guard(local, None, "on_timer", |app, _, cx| {
            app.on_timer(cx, token)
        });
    }

    fn members(&mut self, local: &mut Local, group: &str, others: &[Box<str>]) {
        self.guard(local, None, "on_members", |app, _, cx| {
            app.on_members(cx, group, others)
        });
    }

    fn take_session(&mut self, session: u32) -> Option<AnySession> {
        let session = self.remove(session)?;
        Some(Box::new(session))
    }

    fn put_session(&mut self, session: AnySession) -> Option<u32> {
        let session = session.downcast::<A::Session>().ok()?;
        Some(self.insert(*session))
    }

    fn copy_session(&mut self, local: &mut Local, session: u32) -> Option<Vec<u8>> {
        self.guard(local, None, "pack", |app, sessions, _| {
            app.pack(sessions.get(session)?.as_ref()?)
        })?
    }

    fn pack_session(&mut self, local: &mut Local, session: u32) -> Option<Vec<u8>> {
        let bytes = self.copy_session(local, session)?;
        self.remove(session);
        Some(bytes)
    }

    fn unpack_session(&mut self, local: &mut Local, bytes: &[u8]) -> Option<u32> {
        let session = self.guard(local, None, "unpack", |app, _, _| app.unpack(bytes))??;
        Some(self.insert(session))
    }

    fn resumed(&mut self, local: &mut Local, id: ConnId, session: u32) {
        self.guard_session(local, id, session, "on_resumed", |app, cx, session| {
            app.on_resumed(cx, session)
        });
    }

    fn name(&self) -> &'static str {
        std::any::type_name::<A>()
    }

    fn pack_core(&mut self, local: &mut Local) -> Option<Vec<u8>> {
        self.guard(local, None, "pack_core", |app, _, _| app.pack_core())?
    }

    fn unpack_core(&mut self, local: &mut Local, bytes: &[u8]) {
        self.guard(local, None, "unpack_core", |app, _, cx| {
            app.unpack_core(cx, bytes)
        });
    }
}
