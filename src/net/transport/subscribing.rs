//! How a connection that asks by HTTP comes to listen, or to be a websocket: by another codec, in place.
//!
//! From then on it is a connection like any other, of an app: counted with the clients, moved to its
//! uid's home, written at the end of a turn. Called for each request that is let in.

use std::net::SocketAddr;

use tracing::debug;

use super::Transport;
use super::accepting::{ADDRESS_FULL, FULL};
use crate::app::host::Host;
use crate::close::CloseReason;
use crate::ident::ConnId;
use crate::net::connection::Input;
use crate::net::http::{Admitted, ClientIdentity};
use crate::protocol::http::HttpError;
use crate::protocol::http::head::Head;
use crate::protocol::websocket::accepting::{Wants, accept};
use crate::protocol::websocket::handshake::Refused;
use crate::protocol::{Codec, Decoder, sse};
use crate::unix_peer::ShownPeer;

/// For how many seconds a client that found no place is to stay away.
const RETRY_AFTER: (&str, &str) = ("Retry-After", "5");

impl Transport {
    /// Has it listen. It binds at once, and has its answer when it is home.
    pub(super) fn subscribe(&mut self, host: &mut Host, id: ConnId, admitted: Admitted) {
        let Admitted {
            door,
            claim,
            following,
            peer,
            origin,
            request,
        } = admitted;
        if self.stage.is_shut {
            // Without a word: a browser that is told a status does not come back, and it is to.
            host.shard().count_refused(CloseReason::Stopping);
            host.close(id, CloseReason::Stopping);
            return self.end(host, id);
        }
        if let Err(reason) = self.turn_into(host, id, door.listener, peer) {
            let answer = HttpError::new(503, reason.text()).response_with(&[RETRY_AFTER]);
            return self.refuse(host, id, &answer, reason);
        }
        if let Some(link) = self.links.get_mut(id) {
            link.progress.input = Input::Messages(Decoder::new(Codec::Sse, 0));
        }
        debug!(connection = %host.tell_name(id), peer = %ShownPeer(peer), "listens");
        // Cores count alike, but clients come from ports of their own.
        let spread = id.generation ^ u32::from(peer.port()) << 8;
        let head = sse::head(origin.as_deref(), spread);
        host.shard()
            .send_raw(id, |_, out| out.extend_from_slice(&head));
        host.shard().follow(id, following);
        host.open_by(id, Some(&request));
        match claim {
            ClientIdentity::Uid(uid) => host.claim(id, &uid),
            ClientIdentity::Credential(credential) => host.prove(id, credential),
        }
    }

    /// Has it open a websocket of this listener, if its request and who it is are right for that.
    pub(super) fn open_websocket(
        &mut self,
        host: &mut Host,
        id: ConnId,
        listener: u16,
        head: &Head<'_>,
    ) {
        let Some(peer) = host.shard().connections.peer(id) else {
            return;
        };
        let spec = &self.listeners[usize::from(listener)];
        let wants = Wants {
            forwarded: self.admission.proxies.trust(peer.ip()),
            compress: spec.compress,
            token: spec.proves,
            v1: spec.v1.is_some(),
        };
        let accepted = match accept(head, wants, spec.headers) {
            Ok(accepted) => accepted,
            Err(error) => {
                self.explain(host, id, error);
                let refused = Refused::from(error);
                return self.refuse(host, id, &refused.response, CloseReason::BadHandshake);
            }
        };
        if self.stage.is_shut {
            let reason = CloseReason::Stopping;
            let answer = HttpError::new(503, reason.text()).response_with(&[RETRY_AFTER]);
            return self.refuse(host, id, &answer, reason);
        }
        match self.turn_into(host, id, listener, peer) {
            Ok(()) => drop(self.let_in(host, id, &accepted)),
            Err(reason) => {
                let answer = match reason {
                    CloseReason::AddressLimit => ADDRESS_FULL,
                    _ => FULL,
                };
                self.refuse(host, id, &answer.response(), reason);
            }
        }
    }

    /// Has a websocket speak `ringpost.v1`. It stays counted as it is: the other listener's limits are its own's.
    pub(super) fn speak_v1(&mut self, host: &mut Host, id: ConnId) {
        let spec = host.shard().connections.listener(id);
        let Some(listener) = spec.and_then(|spec| spec.v1) else {
            return;
        };
        host.shard().speak_v1(id, listener);
        if let Some(link) = self.links.get_mut(id) {
            link.codec = Codec::V1;
        }
        if let Some(rates) = &mut self.rates {
            rates.forget(id);
            rates.enter(id, listener);
        }
    }

    /// Makes it a connection of another listener, whose places it takes; or says which limit keeps it out.
    pub(super) fn turn_into(
        &mut self,
        host: &mut Host,
        id: ConnId,
        listener: u16,
        peer: SocketAddr,
    ) -> Result<(), CloseReason> {
        let counted = match self.admission.enter(listener, peer) {
            Ok(counted) => counted,
            Err(reason) => {
                self.give_up_permit(host, id);
                return Err(reason);
            }
        };
        if let Some(link) = self.links.get_mut(id) {
            let had = std::mem::replace(&mut link.progress.counted, counted);
            self.leave(host, id, had);
        }
        host.shard().turn_into(id, listener);
        host.shard().connections.set_peer(id, peer);
        let codec = self.listeners[usize::from(listener)].codec;
        if let Some(link) = self.links.get_mut(id) {
            link.codec = codec;
        }
        if let Some(rates) = &mut self.rates {
            rates.forget(id);
            rates.enter(id, listener);
        }
        Ok(())
    }
}
