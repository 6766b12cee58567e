//! Limits that change while the server runs.

use std::rc::Rc;

use super::Transport;
use crate::app::host::Host;
use crate::config::Config;
use crate::net::admission::Door;
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
        for id in &self.paused {
            rates.fall_behind(*id, host.now());
        }
        self.rates = Some(rates);
    }
}
