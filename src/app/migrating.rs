//! Connections taken out of a core and put into one: what their shard knows, and their apps' sessions.

use smallvec::SmallVec;

use super::envelope::{Body, Move};
use super::host::{Arrival, Host, Leaving, Received};
use super::local::QUEUE_KEPT;
use super::order::Way;
use crate::close::CloseReason;
use crate::ident::{ConnId, CoreId};
use crate::migration::{Carriage, Crossing, Migrant, Session, Socket};
use crate::shard::{Phase, Stage, Stays};

/// Why a connection cannot be put in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It is of a listener that is not here, or that speaks another protocol.
    Listener,
    /// It has entered a namespace that is not here.
    Namespace,
    /// Its app does not take its session.
    Session,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refused::Listener => "its listener is not here, or speaks another protocol",
            Refused::Namespace => "its namespace is not here",
            Refused::Session => "its app cannot read its session",
        })
    }
}

impl Host {
    /// Takes what the app keeps of a connection, which is to be taken out next.
    #[inline]
    pub fn take_session(&mut self, id: ConnId, crossing: Crossing) -> Result<Session, Stays> {
        self.local
            .shard
            .may_depart(id)
            .or_else(|stays| match stays {
                // Its uid is what it is taken out for.
                Stays::Leaving => Ok(()),
                _ => Err(stays),
            })?;
        let Some((app, session)) = self.session_of(id) else {
            return Ok(Session::None);
        };
        let app = &mut self.apps[app];
        match crossing {
            Crossing::Core => {
                let session = app.take_session(session);
                session.map(Session::Value).ok_or(Stays::Gone)
            }
            Crossing::Process => {
                let bytes = app.pack_session(&mut self.local, session);
                bytes.map(Session::Written).ok_or(Stays::Unwritten)
            }
        }
    }

    /// Takes a connection out, with its session and the transport's part of it.
    #[inline]
    pub fn take_out(
        &mut self,
        id: ConnId,
        binds: Option<Box<str>>,
        session: Session,
        carriage: Carriage,
    ) -> Result<Migrant, Stays> {
        let passage = self.local.shard.depart(id, binds)?;
        // What it has at cores that pass it on is no sender's any more.
        self.local.ways.take(id);
        Ok(Migrant {
            passage,
            carriage,
            session,
        })
    }

    /// The next connection that is to move to its home core.
    #[inline]
    pub fn next_leaving(&mut self) -> Option<Leaving> {
        let local = &mut self.local;
        let leaving = local.leaving.pop_front();
        if leaving.is_none() && !local.crossings.is_empty() {
            return local.crossings.next_ready(&local.bus);
        }
        if leaving.is_none() && self.local.leaving.capacity() > QUEUE_KEPT {
            self.local.leaving.shrink_to(QUEUE_KEPT);
        }
        leaving
    }

    /// Whether one that was to go may do so still, having what this core has sent out since.
    pub fn may_go(&self, connection: ConnId) -> bool {
        self.local.crossings.may_go(connection, &self.local.bus)
    }

    /// Sends a connection on its way home, with the transport's part of it.
    pub fn depart(&mut self, leaving: Leaving, carriage: Carriage, socket: Socket) {
        let Leaving {
            connection,
            home,
            uid,
        } = leaving;
        let ways = self.local.ways.take(connection);
        let owed_as = self.local.forward(connection, home);
        let crossing = self.local.cross(connection);
        if let Ok(session) = self.take_session(connection, Crossing::Core)
            && let Ok(migrant) = self.take_out(connection, Some(uid), session, carriage)
        {
            let moving = Box::new(Move {
                migrant,
                socket,
                ways,
                crossing,
                owed_as,
            });
            self.local.post_free(home, Body::Move(moving));
        }
        self.local.post_interests();
    }

    /// Puts in a connection that has come from another process; see [`Host::put_in`].
    pub fn take_in(&mut self, migrant: &mut Migrant) -> Result<ConnId, Refused> {
        let id = self.put_in(migrant, SmallVec::new())?;
        self.settle_in(id, migrant);
        Ok(id)
    }

    /// Puts a connection in, without a word to its app.
    #[inline]
    fn put_in(
        &mut self,
        migrant: &mut Migrant,
        ways: SmallVec<[Way; 2]>,
    ) -> Result<ConnId, Refused> {
        let passage = &mut migrant.passage;
        let spec = self.listeners.get(usize::from(passage.listener));
        let spec = spec.ok_or(Refused::Listener)?;
        let (app, input) = (usize::from(spec.app), &migrant.carriage.progress.input);
        if !input.fits(passage, spec.codec) {
            return Err(Refused::Listener);
        }
        if let Some(space) = passage.entered
            && space.0 >= self.local.namespaces.spaces()
        {
            return Err(Refused::Namespace);
        }
        let is_known = matches!(passage.stage, Stage::Open { .. } | Stage::Home { .. });
        let session = match std::mem::replace(&mut migrant.session, Session::None) {
            Session::None if !is_known => None,
            Session::Value(session) if is_known => self.apps[app].put_session(session),
            Session::Written(bytes) if is_known => {
                self.apps[app].unpack_session(&mut self.local, &bytes)
            }
            _ => None,
        };
        if session.is_none() && is_known {
            return Err(Refused::Session);
        }
        let id = self
            .local
            .shard
            .arrive(passage, session.unwrap_or(u32::MAX));
        self.local.ways.put(id, ways);
        Ok(id)
    }

    /// Binds one that has come for its uid, and lets the joins take effect that it has asked for on its way.
    fn settle_in(&mut self, id: ConnId, migrant: &mut Migrant) {
        let (Stage::Open { binds } | Stage::Home { binds, .. }) = &mut migrant.passage.stage else {
            return self.settle();
        };
        let uid = binds.take();
        if self.local.shard.phase(id) == Phase::Home {
            self.local.settle_joins(id);
        }
        if let Some(uid) = uid {
            self.bind(id, &uid);
        }
        self.settle();
    }

    /// One has come from another core.
    pub(super) fn received(&mut self, from: CoreId, moving: Box<Move>) -> Received {
        let Move {
            mut migrant,
            socket,
            ways,
            crossing,
            owed_as,
        } = *moving;
        match self.put_in(&mut migrant, ways) {
            Ok(connection) => {
                if let Some(was) = owed_as {
                    self.local.expect_replies(from, was, connection);
                }
                if let Some(crossing) = crossing
                    && !self.local.catch_up(connection, from, &crossing)
                {
                    // More than may be kept was sent while it was on its way.
                    self.local.shard.close(connection, CloseReason::Overloaded);
                }
                self.settle_in(connection, &mut migrant);
                Received::Arrived(Arrival {
                    connection,
                    carriage: migrant.carriage,
                    socket,
                })
            }
            Err(refused) => {
                debug_assert!(
                    false,
                    "all cores have the same listeners and apps: {refused}"
                );
                Received::Done
            }
        }
    }
}
