//! What requests by HTTP are answered: at once, or when that is known. What an answer is, [`Port`](crate::net::http::Port)
//! decides.
//!
//! Nothing is kept here: a request whose answer is not known yet is one of the core's pending requests.

use tracing::error;

use super::Transport;
use crate::app::host::Host;
use crate::close::CloseReason;
use crate::guard::guard;
use crate::ident::{ConnId, Reply};
use crate::net::connection::{Counted, Link};
use crate::net::http::{Desk, FinishedRequest, HttpAnswer, Manner, Routed};
use crate::payload::Message;
use crate::protocol::http::{HttpError, Request};
use crate::shard::Exchange;

impl Transport {
    /// The request of a proxy's client is answered, or will not be.
    pub(super) fn end_client_permit(&mut self, id: ConnId) {
        if let Some((listener, client)) = self.http.permits.take_client(id) {
            self.admission.leave_address(listener, client);
        }
    }

    /// Says why there is no more, and ends.
    pub(super) fn refuse_request(
        &mut self,
        host: &mut Host,
        id: ConnId,
        error: HttpError,
        reason: CloseReason,
    ) {
        self.end_client_permit(id);
        // The limits on connections and rates have told the log of themselves.
        if reason == CloseReason::Protocol {
            self.explain(host, id, error);
        }
        if error.status == 401
            && let Some((_, port)) = self.port(host, id)
            && let Some(peer) = host.shard().connections.peer(id)
        {
            let answer = HttpAnswer {
                is_last: true,
                ..HttpAnswer::error(error.status, "bad_request", error.text)
            };
            let routed = port.hold_back(answer, peer);
            return self.follow(host, id, Manner::PLAIN, routed);
        }
        self.refuse(host, id, &error.refusal(), reason);
    }

    /// A request has come whole.
    pub(super) fn take_whole(&mut self, host: &mut Host, id: ConnId, request: Request) {
        let Some((listener, port)) = self.port(host, id) else {
            return;
        };
        let Some(peer) = host.shard().connections.peer(id) else {
            return;
        };
        let manner = Manner::of(&request);
        let mut desk = Desk {
            host,
            origins: &mut self.origins,
            proxies: &self.admission.proxies,
            peer,
            on_loopback: self.admission.is_on_loopback(listener),
            stopping: self.stage.is_stopping,
        };
        let routed = port.route(request, &mut desk);
        self.follow(host, id, manner, routed);
    }

    /// Does what was decided about a request.
    fn follow(&mut self, host: &mut Host, id: ConnId, manner: Manner, routed: Routed) {
        host.shard().set_exchange(id, Exchange::Answering);
        match routed {
            Routed::Listens(admitted) => {
                self.end_client_permit(id);
                self.subscribe(host, id, *admitted);
            }
            Routed::Later(work) => {
                let reply = host.shard().reserve(id);
                self.http.pending_requests.begin(reply, manner, work);
            }
            Routed::Now(answer) => {
                let done = FinishedRequest {
                    reply: host.shard().reserve(id),
                    manner,
                    answer: Ok(answer),
                };
                self.answer(host, done);
            }
        }
    }

    /// A request's answer is known, or lost by a panic, which ends its connection.
    pub fn answer(&mut self, host: &mut Host, done: FinishedRequest) {
        let FinishedRequest {
            reply,
            manner,
            answer,
        } = done;
        let id = reply.connection;
        self.end_client_permit(id);
        let answered =
            answer.and_then(|answer| guard(|| self.write_answer(host, reply, manner, answer)));
        if let Err(fault) = answered {
            host.shard().stats.panics += 1;
            error!(connection = %host.tell_name(id), %fault, "a panic; its HTTP connection is closed");
            host.close(id, CloseReason::Internal);
        }
        // What has come meanwhile: another request, or the peer's end.
        if let Some(link) = self.links.get_mut(id)
            && (link.progress.readable || !link.progress.unread.is_empty())
        {
            self.read_later(id);
        }
    }

    fn write_answer(
        &mut self,
        host: &mut Host,
        reply: Reply,
        mut manner: Manner,
        answer: HttpAnswer,
    ) {
        let id = reply.connection;
        if let Some(error) = answer.told {
            self.explain(host, id, error);
        }
        let is_provisional = |link: &mut Link| link.progress.counted == Counted::Provisional;
        let has_place = !self.links.get_mut(id).is_some_and(is_provisional);
        manner.keep_alive &= has_place && !self.stage.is_stopping && !answer.is_last;
        let bytes = match answer.is_written {
            true => Vec::new(),
            false => answer.written(manner),
        };
        host.shard().work.copied(bytes.len());
        host.shard().fill(reply, Message::Binary(&bytes));
        match (manner.keep_alive, self.stage.is_stopping) {
            (true, _) => host.shard().set_exchange(id, Exchange::Idle),
            (false, true) => host.close(id, CloseReason::Stopping),
            (false, false) => host.close(id, CloseReason::Normal),
        }
    }
}
