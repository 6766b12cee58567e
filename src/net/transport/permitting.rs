//! Which HTTP connection gets a permit, and which goes for it ([`HttpPermits`](super::permits::HttpPermits)).

use super::Transport;
use crate::app::host::Host;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::connection::Counted;
use crate::net::http::RequestKind;
use crate::shard::Exchange;

/// Provisional connections of one core.
const PROVISIONAL_MAX: usize = 64;

impl Transport {
    /// Ends a connection that asks nothing, for another: a back end's for a back end's. False if there is none that has for a
    /// while.
    pub(super) fn make_room(&mut self, host: &mut Host, for_back_end: bool) -> bool {
        let links = &self.links;
        let is_like = |id: ConnId| {
            let link = links.get(id);
            link.is_some_and(|link| link.progress.counted.is_back_end() == for_back_end)
        };
        let Some(id) = self.http.permits.longest(host.shard(), is_like) else {
            return false;
        };
        host.close(id, CloseReason::Idle);
        self.end(host, id);
        true
    }

    /// Takes a newcomer in that found no permit. Of too many the oldest is told so.
    pub(super) fn receive_provisional(&mut self, host: &mut Host, id: ConnId) {
        host.shard().set_exchange(id, Exchange::Provisional);
        let provisional = &mut self.http.permits.provisional;
        provisional.push_back(id);
        if provisional.len() > PROVISIONAL_MAX {
            provisional
                .retain(|id| host.shard().connections.exchange(*id) == Some(Exchange::Provisional));
            if provisional.len() > PROVISIONAL_MAX
                && let Some(oldest) = provisional.pop_front()
            {
                host.close(oldest, CloseReason::ConnectionLimit);
            }
        }
    }

    /// Counts a request's connection as what its head shows it to be. An error if it has no permit, and needs one.
    pub(super) fn take_permit(
        &mut self,
        host: &mut Host,
        id: ConnId,
        listener: u16,
        kind: RequestKind,
    ) -> Result<(), CloseReason> {
        let counted = self.links.get_mut(id).map(|link| link.progress.counted);
        let Some((mut counted, peer)) = counted.zip(host.shard().connections.peer(id)) else {
            return Ok(());
        };
        let is_provisional = counted == Counted::Provisional;
        match kind {
            RequestKind::Other if is_provisional => return Err(CloseReason::ConnectionLimit),
            RequestKind::BackEnd if !counted.is_back_end() => {}
            _ => return Ok(()),
        }
        let mut entered = self.admission.promote(listener, &mut counted, peer);
        if entered.is_err() && self.make_room(host, true) {
            entered = self.admission.promote(listener, &mut counted, peer);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.progress.counted = counted;
        }
        match is_provisional {
            true => entered.inspect(|()| self.http.permits.add(host.shard(), id)),
            // It has another.
            false => Ok(()),
        }
    }

    /// One that is refused counts towards nothing any more. False if too many are being told already.
    pub(super) fn give_up_permit(&mut self, host: &mut Host, id: ConnId) -> bool {
        if !self.admission.may_tell() {
            return false;
        }
        if let Some(link) = self.links.get_mut(id) {
            let had = std::mem::replace(&mut link.progress.counted, Counted::Nothing);
            self.leave(host, id, had);
        }
        true
    }
}
