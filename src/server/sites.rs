//! The HTTP listeners of a server being put together, and the clients that listen by them.
//!
//! A client that asks a site for events becomes a connection of a listener without a socket: each site with
//! [`Listen::events`] has one, of the number that the site has among what is listened on. Called by whoever puts a
//! server together, and once at its start.

use super::{Listen, Server};
use crate::auth::bearer::Bearers;
use crate::ident::Reach;
use crate::net::admission::{Door, Pool};
use crate::net::http::{self, Roles, Site};
use crate::net::rates::Rate;
use crate::shard::ListenerSpec;

/// One HTTP port.
pub struct SitePlan {
    /// Its number among what is listened on.
    pub number: u16,
    pub site: Site,
    pub reach: Reach,
    /// Its number among the doors.
    pub door: u16,
    pub rate: Rate,
    /// Where clients go that listen by it.
    pub events: Option<http::Door>,
}

impl Server {
    /// Serves a page, `/healthz` and `POST /v1/push` at an `http://` URL, and `GET /v1/events` for the app that has
    /// [`Listen::events`].
    pub fn site(mut self, listen: impl Into<Listen>, site: Site) -> Server {
        let listen = listen.into();
        match listen.codec() {
            Ok(None) if listen.proxy_protocol => {
                return self.mistaken("a site's listener takes no PROXY protocol");
            }
            Ok(None) => {}
            Ok(Some(_)) => return self.mistaken("a site's listener is http://"),
            Err(error) => return self.mistaken(&error),
        }
        let reach = self.reach(site.reach);
        let rate = Rate {
            messages_per_second: listen.limits.messages_per_second_max.unwrap_or(0),
            bytes_per_second: listen.limits.bytes_per_second_max.unwrap_or(0),
            message_bytes_max: self.config.http_body_bytes_max + self.config.request_head_bytes_max,
        };
        let serves_others = site.roles.has(Roles::API) || site.roles.has(Roles::METRICS);
        let pool = match serves_others {
            true => Pool::Http,
            false => Pool::HttpClients,
        };
        self.site_gates.push((self.door(&listen, pool), rate));
        self.sites.push((listen, site, reach));
        self
    }

    /// Has sites ask for one of these tokens where something is to be done. A site that other machines reach
    /// needs them.
    pub fn bearers(mut self, bearers: Bearers) -> Server {
        self.bearers = bearers;
        self
    }

    /// Has sites with the role take clients that listen, for an app.
    pub(super) fn take_events(mut self, spec: ListenerSpec) -> Server {
        if !spec.binds {
            return self.mistaken("only an app whose connections bind a uid can have events");
        }
        if self.events.replace(spec).is_some() {
            return self.mistaken("one app has the events of the sites");
        }
        self
    }

    /// What every core needs to know of the sites, and their clients' listeners, which follow the apps'.
    pub(super) fn plan_sites(&mut self) -> (Vec<SitePlan>, Vec<ListenerSpec>) {
        let first = self.listeners.len();
        let events = self.events.take();
        let (mut plans, mut specs) = (Vec::new(), Vec::new());
        for (number, ((listen, site, reach), (door, rate))) in
            self.sites.iter().zip(&self.site_gates).enumerate()
        {
            let listener = (first + number) as u16;
            if let Some(spec) = &events {
                specs.push(spec.clone());
                self.rates.push(Rate::default());
                self.doors.push(Door {
                    pool: Pool::Clients,
                    per_address_max: match listen.limits.connections_per_address_max {
                        Some(_) => door.per_address_max,
                        None => self.config.connections_per_address_max,
                    },
                    ..*door
                });
            }
            let has_role = site.roles.has(Roles::EVENTS);
            plans.push(SitePlan {
                number: listener,
                site: *site,
                reach: *reach,
                // Behind those of all connections.
                door: (first + number + events.iter().len() * self.sites.len()) as u16,
                rate: *rate,
                events: events.as_ref().filter(|_| has_role).map(|spec| http::Door {
                    listener,
                    proves: spec.proves,
                }),
            });
        }
        (plans, specs)
    }
}
