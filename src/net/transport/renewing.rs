//! Limits that change while the server runs.

use std::rc::Rc;

use tracing::debug;

use super::Transport;
use crate::app::host::Host;
use crate::config::Config;
use crate::ident::ConnId;
use crate::net::admission::EntryRules;
use crate::net::connection::Input;
use crate::net::listener;
use crate::net::origin::Origins;
use crate::net::rates::Rates;
use crate::shard::ListenerSpec;

/// What of new limits a connection has to be told.
#[derive(Clone, Copy)]
pub struct Touch {
    /// There is a rate where there was none.
    rates_begin: bool,
    /// The kernel is to ask after its silence.
    pub ask_after_silence: bool,
}

impl Transport {
    /// Goes on with these. Who is here stays, and is to be told ([`Transport::touch`]); what it has spent of its rates
    /// stays spent.
    pub fn renew(
        &mut self,
        listeners: Rc<[ListenerSpec]>,
        config: &Config,
        doors: &[EntryRules],
        rates: Option<Rates>,
    ) -> Touch {
        self.listeners = listeners;
        self.origins = Origins::new(&config.origins);
        self.admission.renew(config, doors);
        self.http.body_bytes_max = config.http_body_bytes_max;
        self.links.set_input_bytes_max(config.inbox_bytes_core_max);
        let rates_begin = self.rates.is_none() && rates.is_some();
        match (&mut self.rates, rates) {
            (Some(running), Some(fresh)) => running.renew(fresh),
            (_, fresh) => self.rates = fresh,
        }
        Touch {
            rates_begin,
            ask_after_silence: false,
        }
    }

    /// Tells one that is here.
    pub fn touch(&mut self, host: &mut Host, id: ConnId, touch: Touch) {
        self.renew_message_bytes_max(host, id);
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if touch.ask_after_silence
            && let Err(error) = listener::ask_after_silence(&link.stream)
        {
            debug!(%error, "the kernel does not ask after a connection's silence");
        }
        // His bucket is full.
        if touch.rates_begin
            && let Some(rates) = &mut self.rates
            && let Some(listener) = host.shard().connections.listener_number(id)
        {
            rates.enter(id, listener);
            if host.shard().connections.is_paused(id) {
                rates.fall_behind(id, host.now());
            }
        }
    }

    /// Whoever is here is held to the size of messages that his listener has now: what is larger could close those it
    /// is for.
    pub(super) fn renew_message_bytes_max(&mut self, host: &mut Host, id: ConnId) {
        let spec = host.shard().connections.listener(id);
        if let Some(bytes_max) = spec.map(|spec| spec.message_bytes_max)
            && let Some(link) = self.links.get_mut(id)
            && let Input::Messages(decoder) = &mut link.progress.input
        {
            decoder.set_message_bytes_max(bytes_max);
        }
    }
}
