//! Connections taken out of a core and put into one: what their shard knows, and their apps' sessions.

use smallvec::SmallVec;

use super::envelope::{Body, Handled};
use super::host::Host;
use super::order::Way;
use super::transfer::{Arrival, Departure, Transfer};
use crate::close::CloseReason;
use crate::ident::{ConnId, CoreId};
use crate::migration::{Destination, Migration, SessionPart, Socket, TransportPart};
use crate::shard::{DepartError, KeptName, Phase, SavedPhase, ShardPart};

/// Why a connection cannot be put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArriveError {
    /// It is of a listener that is not here, or that speaks another protocol.
    Listener,
    /// It has entered a namespace that is not here.
    Namespace,
    /// Its app does not take its session.
    SessionPart,
}

impl std::fmt::Display for ArriveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ArriveError::Listener => "its listener is not here, or speaks another protocol",
            ArriveError::Namespace => "its namespace is not here",
            ArriveError::SessionPart => "its app cannot read its session",
        })
    }
}

/// The name that one on its way keeps, if it keeps one.
#[inline]
fn name_of(migration: &Migration) -> Option<KeptName> {
    migration.shard_part.carried.as_ref()?.name
}

impl Host {
    /// Takes what the app keeps of a connection, which is to be taken out next.
    #[inline]
    pub fn take_session(
        &mut self,
        id: ConnId,
        destination: Destination,
    ) -> Result<SessionPart, DepartError> {
        self.local
            .shard
            .may_depart(id)
            .or_else(|stays| match stays {
                // Its uid is what it is taken out for.
                DepartError::Leaving => Ok(()),
                _ => Err(stays),
            })?;
        let Some((app, session)) = self.session_of(id) else {
            return Ok(SessionPart::None);
        };
        let app = &mut self.apps[app];
        match destination {
            Destination::Core => {
                let session = app.take_session(session);
                session.map(SessionPart::Value).ok_or(DepartError::Gone)
            }
            Destination::Process => {
                let bytes = app.pack_session(&mut self.local, session);
                bytes
                    .map(SessionPart::Written)
                    .ok_or(DepartError::Unwritten)
            }
        }
    }

    /// The session of a connection as its app writes it down; it stays here.
    pub fn copy_session(&mut self, id: ConnId) -> Option<Vec<u8>> {
        let (app, session) = self.session_of(id)?;
        self.apps[app].copy_session(&mut self.local, session)
    }

    /// Takes a connection out, with its session and the transport's part of it.
    #[inline]
    pub fn take_out(
        &mut self,
        id: ConnId,
        binds: Option<Box<str>>,
        session: SessionPart,
        transport_part: TransportPart,
    ) -> Result<Migration, DepartError> {
        let shard_part = self.take_from_shard(id, binds)?;
        Ok(Migration {
            shard_part,
            transport_part,
            session,
        })
    }

    /// Drops a connection that another process goes on with: nobody is told.
    pub fn drop_silently(&mut self, id: ConnId) {
        let taken = self.take_session(id, Destination::Core);
        // One that is gone has nothing to drop.
        let _ = taken.and_then(|_| self.take_from_shard(id, None));
    }

    #[inline]
    fn take_from_shard(
        &mut self,
        id: ConnId,
        binds: Option<Box<str>>,
    ) -> Result<ShardPart, DepartError> {
        let shard_part = self.local.shard.depart(id, binds)?;
        // What it has at cores that pass it on is no sender's any more.
        self.local.outgoing.take_ways(id);
        Ok(shard_part)
    }

    /// The next connection that is to move to its home core.
    #[inline]
    pub fn next_departure(&mut self) -> Option<Departure> {
        let local = &mut self.local;
        let departure = local.departures.pop();
        if departure.is_none() && !local.crossings.is_empty() {
            return local.crossings.next_ready(local.outgoing.bus());
        }
        departure
    }

    /// Whether one that was to go may do so still, having what this core has sent out since.
    pub fn may_go(&self, connection: ConnId) -> bool {
        self.local
            .crossings
            .may_go(connection, self.local.outgoing.bus())
    }

    /// Sends a connection on its way home, with the transport's part of it.
    pub fn depart(&mut self, departure: Departure, transport_part: TransportPart, socket: Socket) {
        let Departure {
            connection,
            home,
            uid,
        } = departure;
        let ways = self.local.outgoing.take_ways(connection);
        let owed_as = self.local.forward(connection, home);
        let crossing = self.local.cross(connection);
        let bind_asked = self.local.bind_answers.take(connection);
        if let Ok(session) = self.take_session(connection, Destination::Core)
            && let Ok(shard_part) = self.take_from_shard(connection, Some(uid))
        {
            // Put together in its box, so that each part is copied once.
            let moving = Box::new(Transfer {
                migration: Migration {
                    shard_part,
                    transport_part,
                    session,
                },
                socket,
                ways,
                crossing,
                owed_as,
                bind_asked,
            });
            if let Some(kept) = name_of(&moving.migration) {
                self.local.name_goes(kept, home);
            }
            self.local.outgoing.post_free(home, Body::Transfer(moving));
        }
        self.local.post_interests();
    }

    /// Puts in a connection that has come from another process; see [`Host::put_in`].
    pub fn take_in(&mut self, migration: &mut Migration) -> Result<ConnId, ArriveError> {
        let id = self.put_in(migration, SmallVec::new())?;
        if let Some(kept) = name_of(migration) {
            self.local.name_comes(None, kept);
        }
        // It has come from no core.
        self.local.shard.stats.moved_in -= 1;
        if let Some((app, session)) = self.session_of(id) {
            self.apps[app].resumed(&mut self.local, id, session);
        }
        // One that has all of its streams need not have each of them remembered here, either.
        self.local.shard.settle_following(id);
        self.local.read_stickies(id);
        self.settle_in(id, migration);
        Ok(id)
    }

    /// Puts a connection in, without a word to its app.
    #[inline]
    fn put_in(
        &mut self,
        migration: &mut Migration,
        ways: SmallVec<[Way; 2]>,
    ) -> Result<ConnId, ArriveError> {
        let shard_part = &mut migration.shard_part;
        let spec = self.listeners.get(usize::from(shard_part.listener));
        let spec = spec.ok_or(ArriveError::Listener)?;
        let (app, input) = (
            usize::from(spec.app),
            &migration.transport_part.progress.input,
        );
        if !input.fits(shard_part, spec.codec) {
            return Err(ArriveError::Listener);
        }
        if let Some(namespace) = shard_part.entered
            && namespace.0 >= self.local.namespaces.count()
        {
            return Err(ArriveError::Namespace);
        }
        let is_known = matches!(
            shard_part.stage,
            SavedPhase::Open { .. } | SavedPhase::Home { .. }
        );
        let session = match std::mem::replace(&mut migration.session, SessionPart::None) {
            SessionPart::None if !is_known => None,
            SessionPart::Value(session) if is_known => self.apps[app].put_session(session),
            SessionPart::Written(bytes) if is_known => {
                self.apps[app].unpack_session(&mut self.local, &bytes)
            }
            _ => None,
        };
        if session.is_none() && is_known {
            return Err(ArriveError::SessionPart);
        }
        let id = self
            .local
            .shard
            .arrive(shard_part, session.unwrap_or(u32::MAX));
        self.local.outgoing.put_ways(id, ways);
        Ok(id)
    }

    /// Binds one that has come for its uid, and lets the joins take effect that it has asked for on its way.
    fn settle_in(&mut self, id: ConnId, migration: &mut Migration) {
        let (SavedPhase::Open { binds } | SavedPhase::Home { binds, .. }) =
            &mut migration.shard_part.stage
        else {
            return self.settle();
        };
        let uid = binds.take();
        if self.local.shard.connections.phase(id) == Phase::Home {
            self.local.settle_joins(id);
        }
        if let Some(uid) = uid {
            self.bind(id, &uid);
        }
        self.settle();
    }

    /// One has come from another core.
    pub(super) fn received(&mut self, from: CoreId, mut moving: Box<Transfer>) -> Handled {
        // It stays in its box, but for what the transport gets of it.
        let ways = std::mem::take(&mut moving.ways);
        match self.put_in(&mut moving.migration, ways) {
            Ok(connection) => {
                if let Some(kept) = name_of(&moving.migration) {
                    self.local.name_comes(Some(from), kept);
                }
                if let Some(asked) = moving.bind_asked.take() {
                    self.local.bind_answers.put(connection, asked);
                }
                if let Some(was) = moving.owed_as {
                    self.local.expect_replies(from, was, connection);
                }
                if let Some(crossing) = &moving.crossing
                    && !self.local.catch_up(connection, from, crossing)
                {
                    // More than may be kept was sent while it was on its way.
                    self.local.shard.close(connection, CloseReason::Overloaded);
                }
                self.settle_in(connection, &mut moving.migration);
                Handled::Arrived(Arrival {
                    connection,
                    transport_part: moving.migration.transport_part,
                    socket: moving.socket,
                })
            }
            Err(refused) => {
                debug_assert!(
                    false,
                    "all cores have the same listeners and apps: {refused}"
                );
                Handled::Done
            }
        }
    }
}
