//! A server being put together: [`Server`]. Its configuration, its listeners and the apps on them.
//!
//! What is wrong in it is told at its start, the first mistake alone.

use std::io;
use std::sync::Arc;

use super::layout::{AppListener, Listeners, SiteListener};
use super::listen::{Listen, Listens};
use super::namespaces::NamespaceNumbers;
use super::plan::MakeApp;
use super::reload::Reload;
use crate::app::hosted::Hosting;
use crate::app::{App, Login, Peers, WhenFlawed, WhenFull};
use crate::auth::backend_tokens::BackendTokens;
use crate::config::{
    Auth, Cluster, Config, ListenerLimits, OUTBOX_MESSAGE_COST, TlsFiles, UNIT_HEAD_BYTES, Webhooks,
};
use crate::ident::{NamespaceId, Reach};
use crate::net::admission::{CLIENTS_TOGETHER, EntryRules, HTTP_TOGETHER, Pool};
use crate::net::http::Site;
use crate::net::rates::Rate;
use crate::protocol::Codec;
use crate::protocol::http::opening::check_names;
use crate::shard::ListenerSpec;

/// Called for SIGHUP.
pub type OnReload = Box<dyn FnMut(&Reload) + Send>;

/// A server being put together: configuration, listeners and the apps on them.
///
/// ```no_run
/// # use ringpost::app::{App, Context}; use ringpost::{Config, Message, Server};
/// # struct Shout;
/// # impl App for Shout {
/// #     type Session = (); type Note = (); const NAMESPACE: &'static str = "shout";
/// #     fn on_connect(&mut self, _: &mut Context<'_, Self>) {}
/// #     fn on_message(&mut self, _: &mut Context<'_, Self>, _: &mut (), _: Message<'_>) {}
/// # }
/// Server::new(Config::default())
///     .listen("websocket://127.0.0.1:1234", || Shout)
///     .run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "a server serves when it is run or started"]
pub struct Server {
    pub(super) config: Config,
    pub(super) namespaces: NamespaceNumbers,
    pub(super) apps: Vec<(MakeApp, Reach)>,
    pub(super) listeners: Listeners,
    /// Who may push by a site.
    pub(super) backend_tokens: BackendTokens,
    /// What SIGHUP does.
    pub(super) on_reload: Option<OnReload>,
    pub(super) webhooks: Webhooks,
    pub(super) cluster: Cluster,
    /// What listeners show that speak TLS.
    pub(super) tls: TlsFiles,
    /// The first mistake in what was asked for.
    mistake: Option<io::Error>,
}

impl Server {
    /// A server with this configuration and no listeners yet.
    pub fn new(config: Config) -> Server {
        Server {
            config,
            namespaces: NamespaceNumbers::default(),
            apps: Vec::new(),
            listeners: Listeners::default(),
            backend_tokens: BackendTokens::default(),
            on_reload: None,
            webhooks: Webhooks::default(),
            cluster: Cluster::default(),
            tls: TlsFiles::default(),
            mistake: None,
        }
    }

    /// Puts an app on one or more listeners: a URL (`websocket://`, `text://` or `frame://`), a
    /// [`Listen`] ([`Listen::events`], too), or several of them. `make` is called once on each core.
    pub fn listen<A: App>(
        mut self,
        listens: impl Listens,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Server {
        let added = self.add_app(make).and_then(|(number, namespace)| {
            let mut listens = listens.listens().into_iter();
            listens.try_for_each(|listen| self.add_listener::<A>(number, namespace, listen))
        });
        self.unless_mistaken(added)
    }

    /// Serves a page, `/healthz` and the API at an `http://` URL, `GET /v1/events` for the app that has
    /// [`Listen::events`], and websockets for apps that have a path there (`websocket://`, with the same host and port).
    pub fn site(mut self, listen: impl Into<Listen>, site: Site) -> Server {
        let added = self.add_site(listen.into(), site);
        self.unless_mistaken(added)
    }

    /// Has sites ask for one of these tokens where something is to be done. A site that other machines reach
    /// needs them.
    pub fn backend_tokens(mut self, backend_tokens: BackendTokens) -> Server {
        self.backend_tokens = backend_tokens;
        self
    }

    /// Has a back end told by HTTP of connections that bind a uid or end, and of kicks. Without a URL it is not.
    pub fn webhooks(mut self, webhooks: Webhooks) -> Server {
        self.webhooks = webhooks;
        self
    }

    /// Makes it one of a cluster: what is pushed here reaches users of every node that has the same Redis.
    pub fn cluster(mut self, cluster: Cluster) -> Server {
        self.cluster = cluster;
        self
    }

    /// Has listeners with TLS (`wss://`, `https://`, `tls+text://`, `tls+frame://`) show these certificates, unless they have
    /// their own ([`Listen::tls`]). The files are looked at once a minute, and what has changed is read for new connections.
    pub fn tls(mut self, files: TlsFiles) -> Server {
        self.tls = files;
        self
    }

    /// What a running server ([`Server::run`]) does when it gets SIGHUP: reads its configuration anew, say, and has
    /// what can change taken over by [`Reload::apply`]. Without this SIGHUP reads the keys of clients' proofs anew,
    /// if there are any or a service manager watches; else it ends the process.
    pub fn on_reload(mut self, reload: impl FnMut(&Reload) + Send + 'static) -> Server {
        self.on_reload = Some(Box::new(reload));
        self
    }

    /// The first mistake in what was asked for, as an error.
    pub(super) fn check(&mut self) -> io::Result<()> {
        self.mistake.take().map_or(Ok(()), Err)
    }

    fn unless_mistaken(mut self, added: Result<(), String>) -> Server {
        if let Err(text) = added {
            let mistake = || io::Error::new(io::ErrorKind::InvalidInput, text);
            self.mistake.get_or_insert_with(mistake);
        }
        self
    }

    /// Adds an app, which has this number and this namespace.
    fn add_app<A: App>(
        &mut self,
        make: impl Fn() -> A + Send + Sync + 'static,
    ) -> Result<(u8, NamespaceId), String> {
        let namespace = self.namespaces.number(A::NAMESPACE);
        let reach = self.namespaces.reach(A::REACH)?;
        check_names(A::HEADERS)?;
        let number = u8::try_from(self.apps.len()).map_err(|_| "a server has at most 256 apps")?;
        let make: MakeApp = Arc::new(move |at, reach| Box::new(Hosting::new(make(), at, reach)));
        self.apps.push((make, reach));
        Ok((number, namespace))
    }

    /// Adds one of an app's listeners.
    fn add_listener<A: App>(
        &mut self,
        app: u8,
        namespace: NamespaceId,
        listen: Listen,
    ) -> Result<(), String> {
        let Some(codec) = listen.codec()? else {
            return Err(
                "an app's listener is websocket://, text:// or frame://, or one of these with TLS"
                    .into(),
            );
        };
        let spec = self.spec::<A>(app, namespace, codec, &listen)?;
        if codec == Codec::Sse {
            return Ok(self.listeners.take_ready(spec)?);
        }
        if listen.v1 && (codec != Codec::WebSocket || !spec.binds) {
            return Err(format!(
                "{}: only a websocket of an app whose connections bind a uid can speak ringpost.v1",
                listen.url
            ));
        }
        if listen.path().is_some() && codec != Codec::WebSocket {
            return Err(format!(
                "{}: of apps' listeners only websocket:// has a path",
                listen.url
            ));
        }
        let pool = match A::PEERS {
            Peers::Clients => Pool::Clients,
            Peers::BackEnds => Pool::BackEnds,
        };
        let (rate, door) = (self.rate(&listen.limits, &spec), self.door(&listen, pool));
        self.listeners.add(AppListener {
            listen,
            spec,
            rate,
            door,
        });
        Ok(())
    }

    /// What an app's listener is to the cores.
    fn spec<A: App>(
        &self,
        app: u8,
        namespace: NamespaceId,
        codec: Codec,
        listen: &Listen,
    ) -> Result<ListenerSpec, String> {
        let (config, limits) = (&self.config, &listen.limits);
        let message_bytes_max = limits.message_bytes_max.unwrap_or(config.message_bytes_max);
        let outbox_bytes_max = limits.outbox_bytes_max.unwrap_or(config.outbox_bytes_max);
        let needed = message_bytes_max + UNIT_HEAD_BYTES + OUTBOX_MESSAGE_COST;
        if outbox_bytes_max < needed {
            return Err(format!(
                "{}: outbox_bytes_max {outbox_bytes_max} cannot hold one message of message_bytes_max \
                 {message_bytes_max}; it needs at least {needed}",
                listen.url
            ));
        }
        Ok(ListenerSpec {
            app,
            codec,
            namespace,
            binds: A::LOGIN != Login::Never,
            optional: A::LOGIN == Login::Optional,
            proves: A::LOGIN == Login::Required && config.auth != Auth::None,
            pauses: A::WHEN_FULL == WhenFull::Pause,
            tells: A::WHEN_FLAWED == WhenFlawed::Tell,
            message_bytes_max,
            outbox_bytes_max,
            compress: limits.compress.unwrap_or(config.compress),
            shown: self.listeners.apps.len() as u16,
            url: Arc::from(&*listen.url),
            // By its number, which it has when all is laid out.
            v1: None,
            headers: A::HEADERS,
        })
    }

    /// How fast connections of an app's listener may send.
    fn rate(&self, limits: &ListenerLimits, spec: &ListenerSpec) -> Rate {
        // Unless a listener says otherwise only users' connections, as with their deadlines.
        let unless_own = |rate: usize| if spec.binds { rate } else { 0 };
        Rate {
            messages_per_second: limits
                .messages_per_second_max
                .unwrap_or(unless_own(self.config.messages_per_second_max)),
            bytes_per_second: limits
                .bytes_per_second_max
                .unwrap_or(unless_own(self.config.bytes_per_second_max)),
            message_bytes_max: spec.message_bytes_max,
        }
    }

    fn add_site(&mut self, listen: Listen, site: Site) -> Result<(), String> {
        match listen.codec()? {
            None if listen.path().is_some() => return Err("a site's listener has no path".into()),
            None => {}
            Some(_) => return Err("a site's listener is http:// or https://".into()),
        }
        let reach = self.namespaces.reach(site.reach)?;
        let rate = Rate {
            messages_per_second: listen.limits.messages_per_second_max.unwrap_or(0),
            bytes_per_second: listen.limits.bytes_per_second_max.unwrap_or(0),
            message_bytes_max: self.config.http_body_bytes_max + self.config.request_head_bytes_max,
        };
        // Whose they are their requests show.
        let door = self.door(&listen, Pool::HttpClients);
        self.listeners.sites.push(SiteListener {
            listen,
            site,
            reach,
            rate,
            door,
        });
        Ok(())
    }

    /// What the connections of the next listener count towards.
    fn door(&self, listen: &Listen, pool: Pool) -> EntryRules {
        let number = self.listeners.count();
        let own = listen.limits.connections_per_address_max;
        let general = self.config.connections_per_address_max;
        let (general, together) = match pool {
            Pool::Clients => (general, CLIENTS_TOGETHER),
            Pool::HttpClients | Pool::Http => (general, HTTP_TOGETHER),
            Pool::BackEnds => (0, CLIENTS_TOGETHER),
        };
        EntryRules {
            pool,
            proxied: listen.proxy_protocol,
            per_address_max: own.unwrap_or(general),
            counted_with: own.map_or(together, |_| 1 + number as u16),
            on_loopback: listen.is_on_loopback(),
        }
    }
}

impl Reload {
    /// Has the running server go on with the limits, times, origins, keys, certificates and tokens of this one, which is not
    /// started. It must have the same listeners, with the same apps. Of its configuration the cores, the descriptors,
    /// the send buffers and the way of proving are passed over. After an error all is as it was. Newcomers are held
    /// to lower limits on their number from then on, while those that are there stay; times and sizes hold for all.
    pub fn apply(&self, mut server: Server) -> io::Result<()> {
        server.check()?;
        server.namespaces.check(server.config.namespaces_max)?;
        let layout = server.listeners.layout(&server.tls)?;
        self.take_over(server.config, layout, &server.backend_tokens)
    }
}
