//! How clients come in that listen only: the HTTP port has read their request and hands them over.
//!
//! From then on each is a connection like any other, of a listener that has no socket of its own: counted with the
//! clients, moved to its uid's home, written at the end of a turn. Called by the core's tasks.

use std::net::{SocketAddr, TcpStream};

use tracing::debug;

use super::Transport;
use crate::app::host::Host;
use crate::auth::Proof;
use crate::close::CloseReason;
use crate::ident::ConnName;
use crate::net::admission::Counted;
use crate::net::connection::Input;
use crate::payload::Message;
use crate::protocol::http::HttpError;
use crate::protocol::{Codec, Decoder, events};

/// For how many seconds a client that found no place is to stay away.
const RETRY_AFTER: (&str, &str) = ("Retry-After", "5");

/// Who a client is.
pub enum Claim {
    /// It says so.
    Uid(String),
    /// It has proved it.
    Proof(Proof),
}

/// A client that is to listen, its request checked and read to its end, with no operation on its socket in flight.
pub struct Subscriber {
    pub stream: TcpStream,
    /// Its own address, whoever is in between.
    pub peer: SocketAddr,
    pub claim: Claim,
    /// The page's origin, if that is to be told that it is let in.
    pub origin: Option<String>,
}

impl Transport {
    /// Takes one over, as a connection of this listener. It binds at once, and has its answer when it is home.
    pub fn subscribe(&mut self, host: &mut Host, listener: u16, subscriber: Subscriber) {
        let Subscriber {
            stream,
            peer,
            claim,
            origin,
        } = subscriber;
        let counted = match self.admission.enter(listener, peer) {
            Ok(counted) => counted,
            Err(reason) => return self.send_away(host, listener, stream, peer, reason),
        };
        let input = Input::Messages(Decoder::new(Codec::Events, 0));
        let Some(id) = self.begin(host, listener, stream, peer, input, counted) else {
            return;
        };
        debug!(connection = %ConnName(host.core(), id), %peer, "listens");
        // Cores count alike, but clients come from ports of their own.
        let spread = id.generation ^ u32::from(peer.port()) << 8;
        let head = events::head(origin.as_deref(), spread);
        host.shard()
            .send_raw(id, |_, out| out.extend_from_slice(&head));
        host.open(id);
        match claim {
            Claim::Uid(uid) => host.message(id, Message::Text(&uid)),
            Claim::Proof(proof) => host.prove(id, proof),
        }
        self.depart_all(host);
    }

    /// Tells one that there is no place, if not too many are being told already.
    fn send_away(
        &mut self,
        host: &mut Host,
        listener: u16,
        stream: TcpStream,
        peer: SocketAddr,
        reason: CloseReason,
    ) {
        if !self.admission.may_tell() {
            return host.shard().count_refused(reason);
        }
        let answer = HttpError::new(503, reason.text()).response_with(&[RETRY_AFTER]);
        let (input, counted) = (Input::Ignored, Counted::Nothing);
        if let Some(id) = self.begin(host, listener, stream, peer, input, counted) {
            self.refuse(host, id, &answer, reason);
        }
    }
}
