//! Limits that change while the server runs.

use std::rc::Rc;

use tracing::debug;

use super::Transport;
use crate::app::host::Host;
use crate::config::Config;
use crate::ident::ConnId;
use crate::net::admission::Door;
use crate::net::connection::Input;
use crate::net::listener;
use crate::net::origin::Origins;
use crate::net::rates::Rates;
use crate::shard::ListenerSpec;

impl Transport {
    /// Goes on with these. Who is here stays; what it has spent of its rates stays spent.
    pub fn renew(
        &mut self,
        host: &mut Host,
        listeners: Rc<[ListenerSpec]>,
        config: &Config,
        doors: &[Door],
        rates: Option<Rates>,
    ) {
        self.listeners = listeners;
        self.origins = Origins::new(&config.origins);
        self.admission.renew(config, doors);
        self.halves.set_max(config.inbox_bytes_core_max);
        match (&mut self.rates, rates) {
            (Some(running), Some(fresh)) => running.renew(fresh),
            (Some(_), None) => self.rates = None,
            (None, Some(fresh)) => self.begin_rates(host, fresh),
            (None, None) => {}
        }
        for id in host.shard().ids() {
            self.renew_message_bytes_max(host, id);
        }
    }

    /// Whoever is here is held to the size of messages that his listener has now: what is larger could close those it
    /// is for.
    pub(super) fn renew_message_bytes_max(&mut self, host: &mut Host, id: ConnId) {
        let spec = host.shard().listener(id);
        if let Some(bytes_max) = spec.map(|spec| spec.message_bytes_max)
            && let Some(link) = self.link(id)
            && let Input::Messages(decoder) = &mut link.input
        {
            decoder.set_message_bytes_max(bytes_max);
        }
    }

    /// Has the kernel ask after the silence of everybody who is here, since nobody else does.
    pub fn ask_after_silence(&mut self, host: &mut Host) {
        for id in host.shard().ids() {
            if let Some(link) = self.link(id)
                && let Err(error) = listener::ask_after_silence(&link.stream)
            {
                debug!(%error, "the kernel does not ask after a connection's silence");
            }
        }
    }

    /// There is a rate where there was none: everybody's bucket is full.
    fn begin_rates(&mut self, host: &mut Host, mut rates: Rates) {
        for id in host.shard().ids() {
            if let Some(listener) = host.shard().listener_number(id)
                && self.link(id).is_some()
            {
                rates.enter(id, listener);
            }
        }
        for id in self.paused.ids() {
            rates.fall_behind(id, host.now());
        }
        self.rates = Some(rates);
    }
}
