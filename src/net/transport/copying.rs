//! Copies of connections that stay here until another process goes on with them.

use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use super::Transport;
use super::copies::{ConnectionCopies, Copied, CopyDigest, CopyMoment, CopyPlace};
use crate::app::host::{Flow, Host};
use crate::ident::ConnId;
use crate::migration::{Destination, Input, Migration};
use crate::net::connection::Link;
use crate::shard::DepartError;

impl Transport {
    /// Copies are made from now on. Which connection another process has a copy of is remembered until
    /// [`Transport::end_copies`].
    pub fn begin_copies(&mut self, host: &mut Host) {
        let moment = CopyMoment {
            tick: host.shard().copy_moment(),
            begun: Instant::now(),
        };
        self.links.copies = Some(Box::new(ConnectionCopies::new(moment)));
    }

    /// There are none any more, and nothing has been handed over.
    pub fn end_copies(&mut self, host: &mut Host) {
        self.links.copies = None;
        self.take_aside(host);
    }

    /// All has been handed over: nothing is done with a connection from now on, until one of the processes has them.
    pub fn be_handed_over(&mut self) {
        self.stage.is_handed_over = true;
    }

    /// What is remembered of them.
    pub fn copies(&mut self) -> Option<&mut ConnectionCopies> {
        self.links.copies.as_deref_mut()
    }

    /// What a connection is by now, in writing, if it is one that has nothing under way; it stays as it is.
    pub fn copy(&mut self, host: &mut Host, id: ConnId) -> Option<(Vec<u8>, CopyDigest)> {
        let copies = self.links.copies.as_deref()?;
        let moment = copies.moment;
        if host.flow(id) != Flow::Go || self.http.permits.has_client(id) {
            return None;
        }
        let spent = match &self.rates {
            Some(rates) => Some(rates.copy(id, moment.begun)?),
            None => None,
        };
        let link = self.links.get_mut(id)?;
        if !is_at_rest(link) {
            return None;
        }
        let shard_part = host.shard().copy(id, moment.tick)?;
        let session = host.copy_session(id)?;
        let link = self.links.get(id)?;
        let written = Migration::write_copy(&shard_part, &link.progress, &session, spent)?;
        let digest = self.links.copies.as_deref()?.digest(&written);
        Some((written, digest))
    }

    /// Takes one out that there is a copy of, which is not lost by that. One that has to stay is lost to it.
    pub fn take_out_copied(
        &mut self,
        host: &mut Host,
        id: ConnId,
    ) -> Result<(Migration, TcpStream), DepartError> {
        let copies = self.links.copies.take();
        let taken = self.take_out(host, id, Destination::Process);
        self.links.copies = copies;
        if let Some(copies) = self.copies() {
            match &taken {
                Ok(_) => copies.forget(id),
                Err(_) => copies.lose(id),
            }
        }
        taken
    }

    /// How many connections are amid a handshake of TLS.
    pub fn tls_handshakes(&self, host: &mut Host) -> u64 {
        if !self.tls.is_on {
            return 0;
        }
        let ids = host.shard().connections.ids().into_iter();
        let links = ids.filter_map(|id| self.links.get(id));
        let tls = links.filter_map(|link| link.progress.tls.as_ref());
        tls.filter(|tls| tls.is_shaking_hands()).count() as u64
    }

    /// Its socket.
    pub fn socket(&self, id: ConnId) -> Option<BorrowedFd<'_>> {
        self.links.get(id).map(|link| link.stream.as_fd())
    }

    /// Where a copy of one is, and how the connection was when that was made. One whose uid is another one by now may have
    /// its home elsewhere: its copy is lost.
    pub fn copied(&mut self, host: &mut Host, id: ConnId) -> Option<(CopyPlace, CopyDigest)> {
        let copies = self.links.copies.as_deref_mut()?;
        let uid = copies.digest_uid(host.shard().connections.uid(id));
        copies.get(id, uid)
    }

    /// Copies of these are there now.
    pub fn have_copied(&mut self, copied: impl Iterator<Item = (ConnId, Copied)>) {
        if let Some(copies) = self.copies() {
            copied.for_each(|(id, copied)| copies.enter(id, copied));
        }
    }

    /// Drops all that another process goes on with by its copies. If none is left, the wire goes soon, and need not be told
    /// of each.
    pub fn leave_copied(&mut self, host: &mut Host) {
        let mut copies = self.links.copies.take();
        let mut ids = host.shard().connections.ids();
        let all = ids.len();
        ids.retain(|id| copies.as_mut().is_some_and(|it| it.has(*id)));
        let stays = ids.len() < all;
        for id in ids {
            if let Some(mut link) = self.links.take(id) {
                if stays {
                    self.release(&mut link);
                }
                host.drop_silently(id);
            }
        }
        self.take_aside(host);
    }
}

/// Whether nothing of it is half done.
fn is_at_rest(link: &mut Link) -> bool {
    let progress = &mut link.progress;
    let Input::Messages(decoder) = &mut progress.input else {
        return false;
    };
    decoder.release();
    let ends = progress.ending || progress.broken || progress.at_end;
    let ends = ends || progress.peer_closed || progress.shut;
    let tls_rests = progress.tls.as_ref().is_none_or(|tls| tls.is_at_rest());
    !ends && tls_rests && progress.bytes_held() == 0
}
