//! What an app's callback can do: [`Context`].

use std::net::SocketAddr;
use std::time::Duration;

use super::callbacks::{App, Context};
use super::namespaces::{Namespace, NamespaceError};
use super::note::To;
use super::pending::Caller;
use super::policy::Protocol;
use super::presence::MembersAsked;
use crate::close::CloseReason;
use crate::config::MessagesFull;
use crate::events::{MessageTold, Said};
use crate::ident::{ConnId, ConnName, CoreId, NamespaceId, PeerProof, Reach, Reply, Ticket};
use crate::payload::AsMessage;
use crate::protocol::attributes::AttributesError;
use crate::protocol::http::opening::OpeningRequest;
use crate::shard::{EnterError, GroupTraits};
use crate::streams::Wish;
use crate::unix_peer::UnixPeer;

impl<'a, A: App> Context<'a, A> {
    /// The core this callback runs on.
    pub fn core(&self) -> CoreId {
        self.local.core()
    }

    /// How many cores the server has.
    pub fn cores(&self) -> usize {
        self.local.outgoing.cores()
    }

    /// The connection this callback is about; `None` in `on_start`, `on_answer`, `on_note` and
    /// `on_timer`. Its id changes when it moves to its home core, and is final from `on_bound`
    /// (or, for apps with [`Login::Never`](super::Login), from `on_connect`) on.
    pub fn connection(&self) -> Option<ConnId> {
        self.connection
    }

    /// What this connection is called outside: in the log, to back ends by HTTP, in webhooks. The same for as long as it
    /// lasts, wherever it moves to. `None` where [`Context::connection`] is.
    ///
    /// One that is asked for before the connection is home costs some 150 bytes for as long as the connection is on another
    /// core than then; where nothing has to be told earlier, ask in [`App::on_bound`].
    pub fn connection_name(&mut self) -> Option<ConnName> {
        let connection = self.connection?;
        let connections = &mut self.local.shard.connections;
        connections
            .is_here(connection)
            .then(|| connections.tell_name(connection))
    }

    /// What is kept of the connection: an object of JSON that back ends set over HTTP, or an app by
    /// [`Context::set_attributes`]. `None` if that is empty.
    pub fn attributes(&self) -> Option<&str> {
        let attributes = self.local.shard.attributes(self.connection?)?;
        Some(attributes.text())
    }

    /// Has this object of JSON kept of the connection, in place of what was: for lists and webhooks, wherever it moves to.
    ///
    /// # Errors
    /// If it is no object, or larger than [`Config::attributes_bytes_max`](crate::Config::attributes_bytes_max); or the
    /// callback is about no connection, or one that is closing.
    pub fn set_attributes(&mut self, json: &str) -> Result<(), AttributesError> {
        let connection = self.connection.ok_or(AttributesError::NoConnection)?;
        self.local.shard.set_attributes(connection, json, false)
    }

    /// Has the fields of this object take the place of their like; one that is `null` goes.
    ///
    /// # Errors
    /// Those of [`Context::set_attributes`], which holds for all of it.
    pub fn merge_attributes(&mut self, json: &str) -> Result<(), AttributesError> {
        let connection = self.connection.ok_or(AttributesError::NoConnection)?;
        self.local.shard.set_attributes(connection, json, true)
    }

    /// The address of the connection's peer as the server sees it, an IPv4 peer always in its plain
    /// form. `None` where [`Context::connection`] is.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.local.shard.connections.peer(self.connection?)
    }

    /// The user of this machine that connected, if the connection came by a Unix socket and no proxy has told of another
    /// client. What [`Context::peer`] has then, no network has: [`UnixPeer`].
    pub fn peer_user(&self) -> Option<u32> {
        UnixPeer::of(self.peer()?.ip()).map(|peer| peer.uid)
    }

    /// What the machine itself knows of who is at the other end. The names of a certificate are there in
    /// [`on_connect`](App::on_connect) alone.
    pub fn peer_proof(&self) -> PeerProof {
        PeerProof {
            user: self.peer_user(),
            certificate_names: self.local.certificate_names.clone(),
        }
    }

    /// The request by which the connection came, in [`App::on_connect`]; `None` in every other callback, and of a
    /// connection that came by none: text and frame connections begin with their first message. It is lent, so an app
    /// keeps in its session what it needs later, and nothing else is kept. Header fields are in it that
    /// [`App::HEADERS`] names.
    pub fn request(&self) -> Option<&'a OpeningRequest> {
        self.request
    }

    /// The listener that the connection came by: its URL, as the server was asked for it; the site's of a client that listens
    /// by events. `None` where [`Context::connection`] is.
    pub fn listener(&self) -> Option<&str> {
        let spec = self.local.shard.connections.listener(self.connection?)?;
        Some(&spec.url)
    }

    /// What the connection speaks. `None` where [`Context::connection`] is.
    pub fn protocol(&self) -> Option<Protocol> {
        let spec = self.local.shard.connections.listener(self.connection?)?;
        Protocol::of(spec.codec)
    }

    /// The uid of the connection, once bound.
    pub fn uid(&self) -> Option<&str> {
        self.local.shard.connections.uid(self.connection?)
    }

    /// The uid that the connection has proved to be, where the configuration asks for proofs.
    pub fn proved(&self) -> Option<&str> {
        self.local.shard.proved(self.connection?)
    }

    /// The namespace of this name, made if there is none: the same for every app and on every core of the server, and
    /// there until the server ends. What is called alike in two namespaces, a uid or a group, has nothing to do with each
    /// other. Names are like uids, and apart from the apps' own ([`App::NAMESPACE`]).
    ///
    /// The first time on a core this takes a lock; keep what it returns all the same, in the session say. A namespace
    /// costs its name and some 100 bytes, with two cores, until the server ends.
    ///
    /// # Errors
    /// [`NamespaceError::Name`] if the string is no name, and [`NamespaceError::Full`] if there are
    /// [`Config::namespaces_max`](crate::Config::namespaces_max), the apps' own counted.
    pub fn namespace(&mut self, name: &str) -> Result<Namespace, NamespaceError> {
        self.local.namespaces.find_or_make(name)
    }

    /// Puts the connection into this namespace, in place of the app's own ([`App::NAMESPACE`]): its uid, its groups and
    /// whoever sends to all find it there from when it is home. It may be called again until then. A uid that is asked for
    /// in the same callback ([`Context::bind_uid`]) is bound in the namespace that holds at the callback's end.
    ///
    /// This context goes on reaching what it did; see [`Context::within`].
    ///
    /// # Errors
    /// [`EnterError::AtHome`] if it is too late: the connection is bound, or, where it never binds
    /// ([`Login::Never`](super::Login)), `on_connect` is over. [`EnterError::InGroup`] if, never to bind, it has joined a
    /// group in this `on_connect`. [`EnterError::NoConnection`] if the callback is about none, or one that is closing.
    pub fn enter(&mut self, namespace: Namespace) -> Result<(), EnterError> {
        let connection = self.connection.ok_or(EnterError::NoConnection)?;
        self.local.shard.enter(connection, namespace.id)
    }

    /// The same context, but that all it sends, pushes, kicks, asks after and broadcasts reaches this namespace, and
    /// nothing else. What it does to a connection (send, bind, join, close) is done where that connection is.
    pub fn within(&mut self, namespace: Namespace) -> Context<'_, A> {
        let reach = Reach::of(namespace.id);
        Context {
            local: self.local,
            reach,
            ..*self
        }
    }

    /// Sends to the connection this callback is about.
    pub fn send(&mut self, message: impl AsMessage) {
        if let Some(connection) = self.connection {
            self.local.shard.send(connection, message.as_message());
        }
    }

    /// Sends to a connection of this core; a stale id goes nowhere.
    pub fn send_to(&mut self, connection: ConnId, message: impl AsMessage) {
        self.local.shard.send(connection, message.as_message());
    }

    /// Sends to every connection of a uid within reach.
    pub fn send_to_uid(&mut self, uid: &str, message: impl AsMessage) {
        let message = message.as_message();
        self.local
            .send_to_uid(self.reach, self.connection, uid, message, false);
    }

    /// Sends to every connection of a uid, and if nobody is there, [`App::on_offline`] is called for the sending connection (unless
    /// it has moved meanwhile: bind before you ask).
    pub fn send_to_uid_or_tell(&mut self, uid: &str, message: impl AsMessage) {
        let message = message.as_message();
        self.local
            .send_to_uid(self.reach, self.connection, uid, message, true);
    }

    /// Sends to every connection of a group within reach, on every core.
    pub fn send_to_group(&mut self, group: &str, message: impl AsMessage) {
        let message = message.as_message();
        self.local
            .send_to_group(self.reach, self.connection, group, message, false);
    }

    /// Sends a state of which only the last matters: in each outbox it takes the place of
    /// an earlier refresh of the same group that still waits.
    pub fn refresh_group(&mut self, group: &str, message: impl AsMessage) {
        let message = message.as_message();
        self.local
            .send_to_group(self.reach, self.connection, group, message, true);
    }

    /// As [`Context::refresh_group`], to those of the group's members alone that are on this node of a cluster.
    pub fn refresh_group_here(&mut self, group: &str, message: impl AsMessage) {
        let message = message.as_message();
        self.local
            .send_to_group_here(self.reach, self.connection, group, message, true);
    }

    /// Sends to everybody within reach, the sender included.
    pub fn broadcast(&mut self, message: impl AsMessage) {
        let message = message.as_message();
        self.local.broadcast(self.reach, self.connection, message);
    }

    /// How many bytes may still be sent, each receiver of a message counting by itself, before this core is late with
    /// writing what it has: then those whose messages cause more are not read for a while. An app that sends of its own
    /// accord, by timers, notes and answers, should stop where this is 0 and go on later. Nothing else does: past
    /// [`outbox_bytes_core_max`](crate::Config::outbox_bytes_core_max) connections are closed with
    /// [`CloseReason::Overloaded`].
    pub fn room(&self) -> usize {
        self.local.shard.outboxes.backlog.room()
    }

    /// Binds the connection to a uid, from any callback about it, in place of one that it has. After this callback the
    /// connection moves to the uid's home core, and [`App::on_bound`] tells the outcome there. Groups, unsent messages and
    /// open replies come along, and nothing that is sent to its groups or to all is lost to it or comes twice. From the one
    /// uid to the other it has none.
    pub fn bind_uid(&mut self, uid: &str) {
        if let Some(connection) = self.connection {
            self.local.bind_uid(connection, uid);
        }
    }

    /// Takes the connection's uid from it. It stays in its groups and among all. Where a login is required
    /// ([`Login::Required`](super::Login)) it has `login_timeout` to bind anew.
    pub fn unbind(&mut self) {
        if let Some(connection) = self.connection {
            self.local.shard.unbind(connection);
        }
    }

    /// Binds it to its peer's address as the uid, as [`Context::peer`] has it. Where connections prove who they are,
    /// this takes a proof of any uid, for an address is nobody's claim.
    pub fn bind_address(&mut self) {
        if let Some(connection) = self.connection {
            self.local.bind_address(connection);
        }
    }

    /// Puts the connection into a group. Before it is bound this waits for the bind. [`App::on_joined`] tells when it is in it
    /// for everybody, on every core, or why it is not.
    pub fn join(&mut self, group: &str) {
        if let Some(connection) = self.connection {
            self.local.join(connection, group, None);
        }
    }

    /// Puts the connection into a group under a name of its own, by which its members are listed, in place of the connection's uid.
    /// One that is in it goes by that name from now on.
    pub fn join_as(&mut self, group: &str, member: &str) {
        if let Some(connection) = self.connection {
            self.local.join(connection, group, Some(member));
        }
    }

    /// Puts a bound connection of this core into a group, from any callback; a stale id goes nowhere.
    pub fn join_for(&mut self, connection: ConnId, group: &str) {
        self.local.join(connection, group, None);
    }

    /// Puts it there under a name of its own, as [`Context::join_as`] does.
    pub fn join_for_as(&mut self, connection: ConnId, group: &str, member: &str) {
        self.local.join(connection, group, Some(member));
    }

    /// From now on [`App::on_members`] tells this app who is in a group on other nodes of a cluster, in each namespace that
    /// it reaches. To be called in [`App::on_start`], on each core. Whether there is a cluster; else it does nothing.
    ///
    /// Members of such a group are told nothing of each other, whatever the `[[groups]]` rules say of it: that is the
    /// app's to do.
    pub fn watch_members(&mut self, group: &str) -> bool {
        self.local.watch_members(self.number, self.reach, group)
    }

    /// What the `[[groups]]` rules say of a group of that name ([`Config::groups`](crate::Config::groups)); an app that has
    /// clients join by themselves asks it first. Costs a match with each rule up to the first that fits.
    pub fn group_traits(&self, group: &str) -> GroupTraits {
        self.local.shard.groups.rules.of(group)
    }

    /// Takes the connection out of a group.
    pub fn leave(&mut self, group: &str) {
        if let Some(connection) = self.connection {
            self.local.shard.leave(connection, group);
        }
    }

    /// Asks who is in a group whose members are told of each other ([`GroupTraits::presence`]), in the connection's
    /// namespace: up to so many members (10,000 at most), by name in order, behind this one; all are behind the empty name.
    /// The group's home answers with [`Answer::Members`](super::Answer::Members), behind whatever it has told of the group
    /// before, so that what it tells later is about this list. Of other groups, and in a callback that is about no connection,
    /// it is an empty one.
    pub fn members(&mut self, group: &str, after: &str, most: usize) -> Ticket {
        let caller = self.caller();
        let connections = &self.local.shard.connections;
        let own = self.connection.map(|id| connections.namespace_of(id));
        let ask = MembersAsked {
            namespace: own.unwrap_or(NamespaceId(u32::MAX)),
            group: Box::from(group),
            after: Box::from(after),
            most,
        };
        self.local.members(caller, ask)
    }

    /// Tells the back end by its webhook (the event `message`) what the connection has said. If as many wait as may, the
    /// message is refused; or it is taken, and the connection is not read until there is room, so that what it sends waits
    /// with its client ([`MessageTold::Full`] even so where far too many go beyond).
    pub fn tell_message(
        &mut self,
        message: impl AsMessage,
        when_full: MessagesFull,
    ) -> MessageTold {
        match self.connection {
            Some(connection) => {
                let said = Said::Plain(Box::from(message.as_message().bytes()));
                let shard = &mut self.local.shard;
                shard.tell_message(connection, None, said, when_full)
            }
            None => MessageTold::Unwanted,
        }
    }

    /// Closes the connection this callback is about. What was sent to it before leaves first.
    pub fn close(&mut self, reason: CloseReason) {
        if let Some(connection) = self.connection {
            self.local.shard.close(connection, reason);
        }
    }

    /// Closes a connection of this core; a stale id closes none.
    pub fn close_connection(&mut self, connection: ConnId, reason: CloseReason) {
        self.local.shard.close(connection, reason);
    }

    /// Asks: queue this for every connection of the uid within reach. `all` means everybody.
    pub fn push(&mut self, uid: &str, message: impl AsMessage) -> Ticket {
        let caller = self.caller();
        self.local
            .push(self.reach, caller, uid, message.as_message(), Wish::AsRuled)
    }

    /// As [`Context::push`], where it is enough to know whether anybody has it. In a cluster it is answered when one
    /// connection is known to, so at once where this node has it; the answer's number may lack those of other nodes.
    pub fn push_for_verdict(&mut self, uid: &str, message: impl AsMessage) -> Ticket {
        let caller = Caller::App {
            number: self.number,
            connection: self.connection,
            for_verdict: true,
        };
        self.local
            .push(self.reach, caller, uid, message.as_message(), Wish::AsRuled)
    }

    /// Asks: queue this for the connection of this name ([`Context::connection_name`]), if it is within reach, wherever it
    /// is. The answer is 1, or 0 if there is none.
    ///
    /// What is pushed to one connection so comes in order, and in order with all else that the same sender sends, unless the
    /// connection has moved since its name was asked for: then what is sent to its uid, its groups or all may come before
    /// what was pushed to its name.
    pub fn push_to_connection(&mut self, name: ConnName, message: impl AsMessage) -> Ticket {
        let caller = self.caller();
        self.local
            .push_to_connection(self.reach, caller, name, message.as_message())
    }

    /// Asks: close every connection of the uid within reach with 4007.
    pub fn kick(&mut self, uid: &str) -> Ticket {
        let caller = self.caller();
        self.local.kick(self.reach, caller, uid, None)
    }

    /// Asks: close the connection of this name with 4007, if it is within reach. The answer is 1, or 0 if there is none.
    pub fn kick_connection(&mut self, name: ConnName) -> Ticket {
        let caller = self.caller();
        self.local.kick_connection(self.reach, caller, name, None)
    }

    /// Asks: how many connections has the uid within reach?
    pub fn online(&mut self, uid: &str) -> Ticket {
        let caller = self.caller();
        self.local.online(self.reach, caller, uid)
    }

    /// Asks for the counters of every core.
    pub fn stats(&mut self) -> Ticket {
        let caller = self.caller();
        self.local.stats(caller)
    }

    /// The cores that what this callback sends to a uid or to all passes, and whether it goes to this one by its mailbox.
    #[cfg(all(test, not(loom)))]
    pub(super) fn path(&mut self) -> (super::order::Path, bool) {
        let path = self.local.outgoing.path_of(self.connection);
        (path, self.local.outgoing.goes_by_mail(self.connection))
    }

    fn caller(&self) -> Caller {
        Caller::App {
            number: self.number,
            connection: self.connection,
            for_verdict: false,
        }
    }

    /// Takes the next place in the order of the connection's replies. Replies leave in the order
    /// reserved, whenever they are filled; what [`Context::send`] sends does not wait for them. What
    /// waits counts against the outbox. They come along when the connection moves, and are filled from where they were
    /// reserved.
    ///
    /// # Panics
    /// In a callback that is about no connection.
    pub fn reserve(&mut self) -> Reply {
        let connection = self
            .connection
            .expect("a reply belongs to the connection of its callback");
        self.local.shard.reserve(connection)
    }

    /// Fills a reserved place, from any later callback on the core where it was reserved.
    pub fn fill(&mut self, reply: Reply, message: impl AsMessage) {
        self.local.fill(reply, message.as_message());
    }

    /// Sends a note to this app's value on another core, or on all.
    pub fn tell(&mut self, to: To, note: A::Note) {
        self.local
            .tell(self.number, self.connection, to, || Box::new(note.clone()));
    }

    /// Calls [`App::on_timer`] on this core after the given time, and at least 1 ms.
    /// Timers of one moment run in the order of their tokens.
    pub fn after(&mut self, time: Duration, token: u64) {
        let now = self.local.now();
        self.local.timers.set(now, self.number, time, token);
    }
}
