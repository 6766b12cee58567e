//! From settings to a server: its apps on their listeners, and what of their settings can change while they run.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringpost::auth::backend_tokens::BackendTokens;
use ringpost::{Listen, Roles, Server, Site};

use super::listener::{AppName, CHAT_OUTBOX_BYTES, ListenerSettings, Scheme};
use super::push_messages::PushMessages;
use super::settings::Settings;
use super::tokens;
use crate::apps::backend::report::ServerFacts;
use crate::apps::backend::{Backend, TokenTimeout};
use crate::apps::chat::{Chat, Limits, Room};
use crate::apps::echo::Echo;
use crate::apps::page;
use crate::apps::push::{Push, Tells};
use crate::apps::relay::Relay;

/// What the apps look at while they run.
#[derive(Clone)]
pub struct Live {
    pub relay_errors: Arc<AtomicBool>,
    /// Whether push's clients are heard by the back end, and what becomes of that when too much waits.
    push_tells: Tells,
    pub token_timeout: TokenTimeout,
    pub room: Room,
    pub facts: ServerFacts,
}

impl Live {
    /// For apps that begin with these settings.
    pub fn new(settings: &Settings) -> Live {
        Live {
            push_tells: tells(settings),
            relay_errors: Arc::new(AtomicBool::new(settings.relay.errors)),
            token_timeout: TokenTimeout::new(settings.config.login_timeout),
            room: Room::new(&room_limits(settings)),
            facts: ServerFacts::new(),
        }
    }

    /// Has the apps go on with these.
    pub fn renew(&self, settings: &Settings) {
        let errors = settings.relay.errors;
        self.relay_errors.store(errors, Ordering::Relaxed);
        self.token_timeout.set(settings.config.login_timeout);
        self.room.renew(&room_limits(settings));
    }
}

/// The server, and its listeners in the order in which it has them. All listeners of one app share
/// one app, so that a chat on two codecs is one room.
pub fn build(settings: Settings, live: &Live) -> io::Result<(Server, Vec<ListenerSettings>)> {
    let backend_tokens = tokens::backend_tokens(&settings.backend).map_err(io::Error::other)?;
    let mut server = Server::new(settings.config)
        .backend_tokens(backend_tokens.clone())
        .webhooks(settings.webhooks)
        .cluster(settings.cluster)
        .tls(settings.tls);
    let listeners = settings.listeners;
    let has_ready = listeners.iter().any(|one| one.roles.has(Roles::EVENTS));
    let (mut ordered, mut at_paths) = (Vec::new(), Vec::new());
    for app in [
        AppName::Relay,
        AppName::Push,
        AppName::PushBackend,
        AppName::Chat,
        AppName::Echo,
    ] {
        let own = listeners.iter().filter(|one| one.app == app);
        let events = (app == AppName::Push && has_ready).then(Listen::events);
        let listens: Vec<Listen> = own.clone().map(listen).chain(events).collect();
        if !listens.is_empty() {
            server = add_app(server, app, listens, live, &backend_tokens);
        }
        let (parts, whole): (Vec<_>, Vec<_>) = own.cloned().partition(|one| one.path.is_some());
        ordered.extend(whole);
        at_paths.extend(parts);
    }
    for page in listeners.iter().filter(|one| one.app == AppName::Page) {
        let site = Site {
            roles: page.roles,
            ..page::SITE
        };
        server = server.site(listen(page), site);
        ordered.push(page.clone());
    }
    ordered.extend(at_paths);
    Ok((server, ordered))
}

fn listen(listener: &ListenerSettings) -> Listen {
    Listen {
        limits: listener.limits,
        proxy_protocol: listener.proxy_protocol,
        tls: listener.certificates.clone(),
        socket_file: listener.socket_file.clone(),
        v1: listener.app == AppName::Push && listener.scheme == Scheme::Websocket,
        ..Listen::new(listener.to_string())
    }
}

/// Puts an app on its listeners.
fn add_app(
    server: Server,
    app: AppName,
    listens: Vec<Listen>,
    live: &Live,
    backend_tokens: &BackendTokens,
) -> Server {
    match app {
        AppName::Relay => {
            let errors = live.relay_errors.clone();
            server.listen(listens, move || Relay::new(errors.clone()))
        }
        AppName::Push => {
            let tells = live.push_tells.clone();
            server.listen(listens, move || Push {
                tells: tells.clone(),
            })
        }
        AppName::PushBackend => {
            let (backend_tokens, timeout) = (backend_tokens.clone(), live.token_timeout.clone());
            let facts = live.facts.clone();
            server.listen(listens, move || {
                Backend::new(backend_tokens.clone(), timeout.clone(), facts.clone())
            })
        }
        AppName::Chat => {
            let room = live.room.clone();
            server.listen(listens, move || Chat::new(room.clone()))
        }
        AppName::Echo | AppName::Page => server.listen(listens, || Echo),
    }
}

/// Of which of push's listeners the back end hears what clients say.
fn tells(settings: &Settings) -> Tells {
    let full = settings.push.messages_full;
    let when_full = |messages| (messages == PushMessages::Webhook).then_some(full);
    let own = settings
        .listeners
        .iter()
        .filter(|one| one.app == AppName::Push);
    let own = own.filter_map(|one| Some((one.to_string(), when_full(one.messages?))));
    Tells {
        usual: when_full(settings.push.messages),
        of_listeners: own.collect(),
    }
}

/// Two rosters, one of them on its way, must fit the smallest outbox of the room.
fn room_limits(settings: &Settings) -> Limits {
    let chat = &settings.chat;
    let listeners = settings.listeners.iter();
    let outbox = listeners
        .filter(|one| one.app == AppName::Chat)
        .filter_map(|one| one.limits.outbox_bytes_max)
        .min();
    Limits {
        users_max: chat.users_max,
        roster_bytes_max: outbox.unwrap_or(CHAT_OUTBOX_BYTES).saturating_sub(256) / 2,
        roster_interval: chat.roster_interval,
    }
}
