//! What a server listens on, as it is asked for ([`Listeners`]) and by number ([`Layout`]).
//!
//! A connection that asks a site for events, or opens a websocket at a path of it, becomes one of a listener without a
//! socket. So every number counts, in this order: the apps' listeners, the sites, the apps' listeners at paths of sites, one
//! for the clients that listen by each site ([`Listen::events`]), and one for those of each listener that speak
//! `ringpost.v1`. Called by whoever puts a server together, and once at its start.

use std::io;
use std::sync::Arc;

use super::listen::{Listen, Listening, scheme};
use super::namespaces::NamespaceNumbers;
use crate::config::TlsFiles;
use crate::ident::{NamespaceId, Reach};
use crate::net::admission::{CLIENTS_TOGETHER, EntryRules, Pool};
use crate::net::http::{Roles, ServedSite, Site, SseListener};
use crate::net::rates::Rate;
use crate::protocol::Codec;
use crate::shard::ListenerSpec;

/// What of answers may wait before a client's further requests are not read.
const ANSWERS_BYTES_MAX: usize = 256 << 10;

/// One HTTP port.
pub struct HttpListenerPlan {
    /// Its number.
    pub number: u16,
    pub reach: Reach,
    pub served: ServedSite,
}

/// An app's listener.
pub struct AppListener {
    pub listen: Listen,
    pub spec: ListenerSpec,
    /// How fast its connections may send.
    pub rate: Rate,
    /// What they count towards.
    pub door: EntryRules,
}

/// A site's listener.
pub struct SiteListener {
    pub listen: Listen,
    pub site: Site,
    pub reach: Reach,
    pub rate: Rate,
    pub door: EntryRules,
}

/// Everything that a server is to listen on, as it is asked for.
#[derive(Default)]
pub struct Listeners {
    pub apps: Vec<AppListener>,
    pub sites: Vec<SiteListener>,
    /// Apps' listeners at paths of sites.
    mounts: Vec<AppListener>,
    /// The app's part of clients that listen by sites.
    events: Option<ListenerSpec>,
}

/// Everything that is listened on, by its number.
pub struct Layout {
    pub sites: Vec<HttpListenerPlan>,
    pub specs: Vec<ListenerSpec>,
    pub rates: Vec<Rate>,
    pub doors: Vec<EntryRules>,
    /// As they were asked for, of all but the clients' of sites.
    pub urls: Vec<String>,
    /// The certificates of those that are bound and speak TLS, by number.
    pub tls: Vec<Option<TlsFiles>>,
}

impl Layout {
    /// Whether it has the same listeners, with the same apps, as another.
    pub fn has_listeners_of(&self, other: &Layout) -> bool {
        let same = |(own, other): (&ListenerSpec, &ListenerSpec)| {
            own.app == other.app && own.namespace == other.namespace && own.binds == other.binds
        };
        self.urls == other.urls
            && self.specs.len() == other.specs.len()
            && self.specs.iter().zip(&other.specs).all(same)
    }

    /// Adds what comes next.
    fn add(&mut self, spec: ListenerSpec, rate: Rate, door: EntryRules) -> u16 {
        self.specs.push(spec);
        self.rates.push(rate);
        self.doors.push(door);
        self.specs.len() as u16 - 1
    }
}

impl Listeners {
    /// How many there are that have a URL.
    pub fn count(&self) -> usize {
        self.apps.len() + self.sites.len() + self.mounts.len()
    }

    /// The URLs of those that are bound, by number.
    pub fn asked(&self) -> Vec<String> {
        let apps = self.apps.iter().map(|app| &app.listen);
        let sites = self.sites.iter().map(|site| &site.listen);
        apps.chain(sites).map(|listen| listen.url.clone()).collect()
    }

    /// Adds an app's, which has a path or not.
    pub fn add(&mut self, listener: AppListener) {
        match listener.listen.path() {
            Some(_) => self.mounts.push(listener),
            None => self.apps.push(listener),
        }
    }

    /// Has sites with the role take clients that listen, for an app.
    pub fn take_ready(&mut self, spec: ListenerSpec) -> Result<(), &'static str> {
        if !spec.binds {
            return Err("only an app whose connections bind a uid can have events");
        }
        match self.events.replace(spec) {
            Some(_) => Err("one app has the events of the sites"),
            None => Ok(()),
        }
    }

    /// Puts everything in its order. An error if an app's path is at no site.
    pub fn layout(&self, tls: &TlsFiles) -> io::Result<Layout> {
        let apps = self.apps.iter().map(|app| &app.listen);
        let sites = self.sites.iter().map(|site| &site.listen);
        let mounts = self.mounts.iter().map(|mount| &mount.listen);
        let bound = apps.clone().chain(sites.clone());
        let files = bound.map(|listen| listen.tls_files(tls));
        let files = files.collect::<Result<Vec<_>, String>>();
        let urls = apps.chain(sites).chain(mounts);
        let mut layout = Layout {
            sites: Vec::new(),
            specs: self.apps.iter().map(|app| app.spec.clone()).collect(),
            rates: self.apps.iter().map(|app| app.rate).collect(),
            doors: self.apps.iter().map(|app| app.door).collect(),
            urls: urls.map(|listen| listen.url.clone()).collect(),
            tls: files.map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?,
        };
        for asked in &self.sites {
            let number = layout.specs.len() as u16;
            layout.add(site_spec(number), asked.rate, asked.door);
            layout.sites.push(HttpListenerPlan {
                number,
                reach: asked.reach,
                served: ServedSite::new(asked.site),
            });
        }
        for mount in &self.mounts {
            let at = self.site_of(&mount.listen)?;
            let spec = ListenerSpec {
                shown: layout.specs.len() as u16,
                ..mount.spec.clone()
            };
            let number = layout.add(spec, mount.rate, mount.door);
            let path = mount.listen.path().unwrap_or_default().to_owned();
            let websockets = &mut layout.sites[at].served.websockets;
            if websockets.iter().any(|(taken, _)| *taken == path) {
                return Err(wrong(&mount.listen, "two apps have this path"));
            }
            websockets.push((path, number));
        }
        self.lay_out_events(&mut layout);
        self.lay_out_v1(&mut layout);
        Ok(layout)
    }

    fn lay_out_events(&self, layout: &mut Layout) {
        let Some(events) = &self.events else { return };
        for (at, asked) in self.sites.iter().enumerate() {
            let spec = ListenerSpec {
                // They are told as their site's.
                shown: layout.sites[at].number,
                url: Arc::from(&*asked.listen.url),
                ..events.clone()
            };
            let door = EntryRules {
                pool: Pool::Clients,
                // That has been read.
                proxied: false,
                counted_with: match asked.listen.limits.connections_per_address_max {
                    Some(_) => asked.door.counted_with,
                    None => CLIENTS_TOGETHER,
                },
                ..asked.door
            };
            let listener = layout.add(spec, Rate::default(), door);
            let has_role = asked.site.roles.has(Roles::EVENTS);
            layout.sites[at].served.sse = has_role.then_some(SseListener {
                listener,
                proves: events.proves,
                headers: events.headers,
            });
        }
    }

    /// A websocket that speaks `ringpost.v1` becomes one of a listener beside its own, with the same limits.
    fn lay_out_v1(&self, layout: &mut Layout) {
        let first_mount = self.apps.len() + self.sites.len();
        let apps = self.apps.iter().enumerate();
        let mounts = self.mounts.iter().enumerate();
        let all = apps.chain(mounts.map(|(nth, mount)| (first_mount + nth, mount)));
        for (number, listener) in all.filter(|(_, listener)| listener.listen.v1) {
            let spec = ListenerSpec {
                codec: Codec::V1,
                ..layout.specs[number].clone()
            };
            let door = EntryRules {
                proxied: false,
                ..listener.door
            };
            let v1 = layout.add(spec, listener.rate, door);
            layout.specs[number].v1 = Some(v1);
        }
    }

    /// Which site serves an app's listener that has a path.
    fn site_of(&self, listen: &Listen) -> io::Result<usize> {
        let address = listen.address()?;
        let mut at = None;
        for (number, asked) in self.sites.iter().enumerate() {
            if asked.listen.address()? == address && at.replace((number, asked.site)).is_some() {
                return Err(wrong(
                    listen,
                    "more than one http:// listener has this address",
                ));
            }
        }
        match at {
            Some((number, _)) if self.sites[number].listen.has_tls() != listen.has_tls() => {
                Err(wrong(
                    listen,
                    "with TLS (wss:// and https://) are both or neither of a path's listener and the site's of its address",
                ))
            }
            Some((number, site)) if site.roles.has(Roles::WEBSOCKET) => Ok(number),
            Some(_) => Err(wrong(
                listen,
                "the http:// listener of this address has not the role websocket",
            )),
            None => Err(wrong(
                listen,
                "a websocket:// listener with a path is served by the http:// listener of its address, and there is none",
            )),
        }
    }

    /// Adds the apps' listeners at paths of sites to what is listened on.
    pub fn add_mounts(&self, namespaces: &NamespaceNumbers, listening: &mut Vec<Listening>) {
        for mount in &self.mounts {
            let Ok(at) = self.site_of(&mount.listen) else {
                continue;
            };
            let address = listening[self.apps.len() + at].address.clone();
            let scheme = scheme(mount.spec.codec, mount.listen.has_tls());
            listening.push(Listening {
                namespace: namespaces.name(mount.spec.namespace),
                url: address.url(scheme, mount.listen.path()),
                address,
            });
        }
    }
}

fn wrong(listen: &Listen, text: &str) -> io::Error {
    let text = format!("{}: {text}", listen.url);
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// What connections of a site are until they are another listener's. They have no app, and are in no namespace.
fn site_spec(number: u16) -> ListenerSpec {
    ListenerSpec {
        pauses: true,
        message_bytes_max: 0,
        outbox_bytes_max: ANSWERS_BYTES_MAX,
        shown: number,
        ..ListenerSpec::new(u8::MAX, Codec::Http, NamespaceId(0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Server;
    use super::*;
    use crate::app::{App, Context};
    use crate::config::Config;
    use crate::payload::Message;

    struct Silent;

    impl App for Silent {
        type Session = ();
        type Note = ();
        const NAMESPACE: &'static str = "silent";

        fn on_connect(&mut self, _: &mut Context<'_, Self>) {}

        fn on_message(&mut self, _: &mut Context<'_, Self>, _: &mut (), _: Message<'_>) {}
    }

    const SITE: Site = Site {
        assets: &[],
        reach: &["silent"],
        roles: Roles::ALL,
    };

    fn server(listens: &[&str]) -> Server {
        let listens: Vec<Listen> = listens.iter().map(|url| Listen::new(*url)).collect();
        Server::new(Config::default()).listen(listens, || Silent)
    }

    #[test]
    fn everything_has_its_number() {
        let listens = [
            "websocket://127.0.0.1:2/a",
            "text://127.0.0.1:1",
            "websocket://127.0.0.1:3/b",
        ];
        let server = server(&listens)
            .listen(Listen::events(), || Silent)
            .site("http://127.0.0.1:2", SITE)
            .site("http://127.0.0.1:3", SITE);
        let layout = server
            .listeners
            .layout(&TlsFiles::default())
            .expect("it is right");
        let codecs: Vec<Codec> = layout.specs.iter().map(|spec| spec.codec).collect();
        let (http, socket, events) = (Codec::Http, Codec::WebSocket, Codec::Sse);
        assert_eq!(
            codecs,
            [Codec::Text, http, http, socket, socket, events, events]
        );
        // Clients that listen are told as their site's.
        let shown: Vec<u16> = layout.specs.iter().map(|spec| spec.shown).collect();
        assert_eq!(shown, [0, 1, 2, 3, 4, 1, 2]);
        assert_eq!(layout.urls.len(), 5);
        assert_eq!((layout.rates.len(), layout.doors.len()), (7, 7));
        let pools: Vec<Pool> = layout.doors.iter().map(|door| door.pool).collect();
        assert_eq!(
            pools.iter().filter(|pool| **pool == Pool::Clients).count(),
            5
        );
        for (site, (path, websocket), listener) in [(0, ("/a", 3), 5), (1, ("/b", 4), 6)] {
            let site = &layout.sites[site];
            assert_eq!(site.served.websockets, [(path.to_owned(), websocket)]);
            assert_eq!(site.served.sse.map(|door| door.listener), Some(listener));
        }
    }

    #[test]
    fn a_path_is_at_one_site_that_has_the_role() {
        let events = Site {
            roles: Roles::EVENTS,
            ..SITE
        };
        let at = "websocket://127.0.0.1:2/a";
        for (server, words) in [
            (server(&[at]), "there is none"),
            (
                server(&[at]).site("http://127.0.0.1:3", SITE),
                "there is none",
            ),
            (
                server(&[at]).site("http://127.0.0.1:2", events),
                "has not the role",
            ),
            (
                server(&[at, at]).site("http://127.0.0.1:2", SITE),
                "two apps have this path",
            ),
            (
                server(&["websocket://127.0.0.1:0/a"])
                    .site("http://127.0.0.1:0", SITE)
                    .site("http://127.0.0.1:0", SITE),
                "more than one",
            ),
            (
                server(&["text://127.0.0.1:2/a"]),
                "only websocket:// has a path",
            ),
            (
                server(&[]).site("http://127.0.0.1:2/a", SITE),
                "has no path",
            ),
        ] {
            let error = match server.start() {
                Ok(_) => panic!("it starts, and should say {words:?}"),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(words), "{words:?} in {error}");
        }
    }
}
