//! A program on this server: [`App`], the callbacks it has, and [`Context`], what they act through.
//!
//! What a context can do is in `app/context.rs`.

use std::marker::PhantomData;

use super::local::Local;
use super::outcome::{Answer, BindError};
use super::policy::{Login, Peers, WhenFlawed, WhenFull};
use crate::close::{CloseReason, Flaw};
use crate::ident::{ConnId, CoreId, Reach, Ticket};
use crate::payload::Message;
use crate::protocol::http::opening::OpeningRequest;
use crate::shard::JoinError;

/// A program on this server. See the crate's start page for one in twenty lines.
///
/// A panic in a callback is counted and logged with its place, and closes the connection that the callback is
/// about with 1011: in `on_answer` the one that asked, in `on_start`, `on_note`, `on_members` and `on_timer` none. The core goes
/// on with the same value, so what that shares between connections must bear it.
pub trait App: Sized + 'static {
    /// The app's state for one connection. It travels along when the connection moves to its
    /// uid's home core.
    type Session: Send + 'static;
    /// What the app's values on different cores tell each other.
    type Note: Clone + Send + 'static;

    /// The namespace of this app's uids and groups. Apps with the same name share one.
    ///
    /// It is where its connections are, unless they [enter](Context::enter) another that is made while the server runs
    /// ([`Context::namespace`]). Those have names of their own: one called like an app's is not the app's.
    const NAMESPACE: &'static str;
    /// The namespaces that this app's sends, pushes, kicks and broadcasts reach. They are apps'; one that is made while the
    /// server runs is reached by [`Context::within`] alone. Several namespaces must be among the first 63 of a server.
    const REACH: &'static [&'static str] = &[Self::NAMESPACE];
    /// Who connects to it.
    const PEERS: Peers = Peers::Clients;
    /// Whether its connections bind a uid.
    const LOGIN: Login = Login::Required;
    /// The header fields that it wants to see of the requests by which connections come
    /// ([`OpeningRequest::header`]), by their names in any case; `Cookie` for [`OpeningRequest::cookie`]. Others are not
    /// copied, and a connection keeps none of them after [`App::on_connect`]. At most 64 names, each an RFC 9110 token;
    /// else [`Server::start`](crate::Server::start) returns an error.
    const HEADERS: &'static [&'static str] = &[];
    /// What happens to a connection whose outbox is full.
    const WHEN_FULL: WhenFull = WhenFull::Close;
    /// What happens to a connection that sends what is no message.
    const WHEN_FLAWED: WhenFlawed = WhenFlawed::Close;

    /// Writes down what the app keeps of a connection that is to go on in another process, in a form of the app's own. The
    /// other process may run a later version of the app, and reads it by [`App::unpack`]. `None`, the default: the
    /// connection cannot leave this process. Called between callbacks; whatever else the app keeps of the connection
    /// stays behind, and what it was to be told or answered there does not reach it.
    fn pack(&self, session: &Self::Session) -> Option<Vec<u8>> {
        let _ = session;
        None
    }

    /// The inverse of [`App::pack`]. The connection goes on where it stopped, without [`App::on_connect`]. `None` if that
    /// is no session: the connection is dropped.
    fn unpack(&mut self, bytes: &[u8]) -> Option<Self::Session> {
        let _ = bytes;
        None
    }

    /// Writes down what the app's value on one core keeps beside its sessions, for another process that goes on in the
    /// place of this one. That may have another number of cores, so it is best made anew of the sessions
    /// ([`App::on_resumed`]), where that can be done. Nothing is lost by it: this process may go on after all. `None`, the
    /// default: nothing.
    fn pack_core(&self) -> Option<Vec<u8>> {
        None
    }

    /// The inverse of [`App::pack_core`], after [`App::on_start`] and before any connection. What was core 5's comes to
    /// core 5, or, where there are but four, to core 1.
    fn unpack_core(&mut self, cx: &mut Context<'_, Self>, bytes: &[u8]) {
        let _ = (cx, bytes);
    }

    /// A connection has come from another process, and goes on here with the session that [`App::unpack`] has read. It may
    /// be told again of one that this process has had before.
    fn on_resumed(&mut self, cx: &mut Context<'_, Self>, session: &mut Self::Session) {
        let _ = (cx, session);
    }

    /// Called once on each core before any connection.
    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        let _ = cx;
    }

    /// A connection is open (its handshake, if any, is done). Returns its session. By what request it came is shown here
    /// alone ([`Context::request`]). Closed here, it ends
    /// with an [`App::on_close`] like any other; a panic here leaves no session and calls none.
    fn on_connect(&mut self, cx: &mut Context<'_, Self>) -> Self::Session;

    /// A whole message has come from the connection.
    fn on_message(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Self::Session,
        message: Message<'_>,
    );

    /// In place of a message something has come that is none, where [`App::WHEN_FLAWED`] says so. `line` is all of it, but
    /// of one that is too long only its beginning and its end.
    fn on_flawed(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Self::Session,
        flaw: Flaw,
        line: &[u8],
    ) {
        let _ = (session, line);
        cx.close(flaw.reason());
    }

    /// The connection has proved that it is this uid, where the configuration asks for proofs: by its
    /// handshake, right after [`App::on_connect`], or by its first message, which comes here in place of
    /// [`App::on_message`]. It can bind no other. By default it is bound to it.
    fn on_proved(&mut self, cx: &mut Context<'_, Self>, session: &mut Self::Session, uid: &str) {
        let _ = session;
        cx.bind_uid(uid);
    }

    /// The request by which the connection listens ([`Listen::events`](crate::Listen::events)) names this uid, where no proof
    /// is asked for. It comes right after [`App::on_connect`]. By default the connection is bound to it.
    fn on_claimed(&mut self, cx: &mut Context<'_, Self>, session: &mut Self::Session, uid: &str) {
        let _ = session;
        cx.bind_uid(uid);
    }

    /// The outcome of [`Context::bind_uid`], on the uid's home core, before the connection's next
    /// message. After an error the connection is closed unless the app has closed it itself: with 4002
    /// where the uid is in use, with 4006 where the uid is none or is not proved, with 4008 where its proof has expired. A first message that is no proof where one must be comes here, too.
    /// [`BindError::Twice`] alone changes nothing.
    fn on_bound(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Self::Session,
        result: Result<(), BindError>,
    ) {
        let _ = (cx, session, result);
    }

    /// What has come of a join: the connection is in the group, and whatever is sent to that from now on, by anybody on any
    /// core, reaches it; or why it is not in it. What was sent before may have reached it as well.
    fn on_joined(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: &mut Self::Session,
        group: &str,
        result: Result<(), JoinError>,
    ) {
        let _ = (cx, session, group, result);
    }

    /// A message that this connection sent by [`Context::send_to_uid_or_tell`] found nobody.
    fn on_offline(&mut self, cx: &mut Context<'_, Self>, session: &mut Self::Session, uid: &str) {
        let _ = (cx, session, uid);
    }

    /// The connection has ended, or was marked to end. It is in no table any more; what the app
    /// sends to it goes nowhere.
    fn on_close(
        &mut self,
        cx: &mut Context<'_, Self>,
        session: Self::Session,
        reason: CloseReason,
    ) {
        let _ = (cx, session, reason);
    }

    /// The answer to a request, exactly once for each ticket, on the asking core.
    fn on_answer(&mut self, cx: &mut Context<'_, Self>, ticket: Ticket, answer: Answer) {
        let _ = (cx, ticket, answer);
    }

    /// A note from this app's value on core `from`.
    fn on_note(&mut self, cx: &mut Context<'_, Self>, from: CoreId, note: Self::Note) {
        let _ = (cx, from, note);
    }

    /// Who is in a group that this app watches ([`Context::watch_members`]) on other nodes of the cluster: all of them, by
    /// the names by which they are members, each once and in their order. Called on the group's home core when that has
    /// changed, some ten times a second at most; it may be the same as before. While nobody is in the group on this node,
    /// nobody is told of. Of a node that is gone nobody is there any more; while Redis is away, all stay who were.
    fn on_members(&mut self, cx: &mut Context<'_, Self>, group: &str, others: &[Box<str>]) {
        let _ = (cx, group, others);
    }

    /// A timer set by [`Context::after`] has run out.
    fn on_timer(&mut self, cx: &mut Context<'_, Self>, token: u64) {
        let _ = (cx, token);
    }
}

/// What a callback acts through. Sending never waits and never fails loudly: a message goes into the
/// outboxes of the live connections it is for, here or by one envelope to another core. What one
/// callback does to one connection happens in the order in which it is done; but what goes to a group goes by the group's
/// home core, and may come after what is done here at once ([`Context::send`], [`Context::close`]).
pub struct Context<'a, A: App> {
    pub(super) local: &'a mut Local,
    pub(super) number: u8,
    pub(super) reach: Reach,
    pub(super) connection: Option<ConnId>,
    pub(super) request: Option<&'a OpeningRequest>,
    pub(super) app: PhantomData<A>,
}

impl<'a, A: App> Context<'a, A> {
    pub(super) fn new(
        local: &'a mut Local,
        number: u8,
        reach: Reach,
        connection: Option<ConnId>,
    ) -> Context<'a, A> {
        Context {
            local,
            number,
            reach,
            connection,
            request: None,
            app: PhantomData,
        }
    }
}
