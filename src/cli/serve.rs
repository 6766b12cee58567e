//! `ringpost serve`: settings from every source, then a server until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ringpost::{Listen, Roles, Server, Site};

use super::keys::KeyFlags;
use super::layers::{self, Layer, Problems};
use super::listeners::{CHAT_OUTBOX_BYTES, ListenerSettings};
use super::log::Level;
use super::reload::{Live, Reloading};
use super::settings::{AppName, Settings};
use super::{Status, doctor, drain, file, listeners, log, panics, tokens};
use crate::apps::backend::Backend;
use crate::apps::backend::report::BoundListener;
use crate::apps::chat::{Chat, Limits};
use crate::apps::echo::Echo;
use crate::apps::page;
use crate::apps::push::Push;
use crate::apps::relay::Relay;

/// The flags of `serve`.
#[derive(clap::Args, Debug)]
pub struct ServeArgs {
    /// Read this TOML file first; ringpost.example.toml lists every key
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGPOST_CONFIG",
        hide_env_values = true
    )]
    #[arg(help_heading = "Server")]
    config: Option<PathBuf>,
    /// Serve this instead of the preset; repeatable
    ///
    /// URL is websocket://, text:// or frame:// with an IP address and a port (0: any free one),
    /// APP is relay, push, push-backend, chat or echo; or http:// and page, of which page:ROLES
    /// serves these alone: page, api, metrics, events and websocket, joined by +. A websocket://
    /// URL with a path, such as websocket://127.0.0.1:8080/ws=push, is a part of the http://
    /// listener of its address.
    #[arg(
        long,
        value_name = "URL=APP",
        help_heading = "Server",
        verbatim_doc_comment
    )]
    listen: Vec<String>,
    #[command(flatten)]
    keys: KeyFlags,
}

/// Serves. The status is that of the process.
pub fn run(args: &ServeArgs) -> Status {
    let flags = Layer::from_flags(&args.keys.0, &args.listen);
    let settings = match resolve(args.config.as_deref(), flags) {
        Ok(settings) => settings,
        Err(problems) => {
            super::list(&problems);
            return Status::Trouble;
        }
    };
    let level = log::init(&settings.log);
    let _flushed = log::Flushed;
    panics::tell_escaped();
    for warning in listeners::warnings(&settings) {
        tracing::warn!("{warning}");
    }
    for warning in tokens::warnings(&settings) {
        tracing::warn!("{warning}");
    }
    for warning in doctor::warnings(&settings) {
        tracing::warn!("{warning}");
    }
    for warning in drain::warnings(&settings) {
        tracing::warn!("{warning}");
    }
    match start(args, settings, level) {
        Ok(()) => Status::Done,
        Err(error) => {
            log::say(&format!("ringpost: {error}\n"));
            Status::Failed
        }
    }
}

/// The settings from a file, the process' variables and the flags.
pub fn resolve(config: Option<&Path>, flags: Layer) -> Result<Settings, Problems> {
    let file = match config {
        Some(path) => {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| Problems(vec![format!("cannot read {name}: {error}")]))?;
            file::read(&name, &text)
        }
        None => Layer::default(),
    };
    layers::resolve([file, Layer::from_variables(std::env::vars_os()), flags])
}

/// The last step: from settings to a running server.
fn start(args: &ServeArgs, settings: Settings, level: Level) -> io::Result<()> {
    let live = Live::new(&settings);
    let facts = live.facts.clone();
    let (mut server, listeners) = build(settings.clone(), &live)?;
    let (config, values) = (args.config.clone(), args.keys.0.clone());
    let listen = args.listen.clone();
    if let Some(mut reloading) = Reloading::new(config, values, listen, settings, live, level) {
        server = server.on_reload(move |server| reloading.reload(server));
    }
    server.run_with(|running| {
        let addresses = running.listening().iter().map(|one| one.address);
        let bound: Vec<(ListenerSettings, SocketAddr)> =
            listeners.into_iter().zip(addresses).collect();
        let named = bound.iter().map(|(listener, address)| BoundListener {
            app: listener.app.to_string(),
            url: super::banner::url(listener, *address),
        });
        facts.listen(named.collect());
        log::print_aside(super::banner::banner(&bound));
    })
}

/// The server, and its listeners in the order in which it has them. All listeners of one app share
/// one app, so that a chat on two codecs is one room.
pub fn build(settings: Settings, live: &Live) -> io::Result<(Server, Vec<ListenerSettings>)> {
    let backend_tokens = tokens::backend_tokens(&settings.backend).map_err(io::Error::other)?;
    let mut server = Server::new(settings.config)
        .backend_tokens(backend_tokens.clone())
        .webhooks(settings.webhooks);
    let (mut ordered, mut at_paths) = (Vec::new(), Vec::new());
    for app in [
        AppName::Relay,
        AppName::Push,
        AppName::PushBackend,
        AppName::Chat,
        AppName::Echo,
    ] {
        let own = settings.listeners.iter().filter(|one| one.app == app);
        let own: Vec<ListenerSettings> = own.cloned().collect();
        let has_events = |one: &ListenerSettings| one.roles.has(Roles::EVENTS);
        let events = app == AppName::Push && settings.listeners.iter().any(has_events);
        if own.is_empty() && !events {
            continue;
        }
        let listens: Vec<Listen> = own
            .iter()
            .map(|one| Listen {
                limits: one.limits,
                proxy_protocol: one.proxy_protocol,
                ..Listen::new(one.to_string())
            })
            .chain(events.then(Listen::events))
            .collect();
        server = match app {
            AppName::Relay => {
                let errors = live.relay_errors.clone();
                server.listen(listens, move || Relay::new(errors.clone()))
            }
            AppName::Push => server.listen(listens, || Push),
            AppName::PushBackend => {
                let (backend_tokens, timeout) =
                    (backend_tokens.clone(), live.token_timeout.clone());
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
        };
        let (parts, whole): (Vec<_>, Vec<_>) = own.into_iter().partition(|one| one.path.is_some());
        ordered.extend(whole);
        at_paths.extend(parts);
    }
    for page in settings
        .listeners
        .iter()
        .filter(|one| one.app == AppName::Page)
    {
        let listen = Listen {
            limits: page.limits,
            proxy_protocol: page.proxy_protocol,
            ..Listen::new(page.to_string())
        };
        let site = Site {
            roles: page.roles,
            ..page::SITE
        };
        server = server.site(listen, site);
        ordered.push(page.clone());
    }
    ordered.extend(at_paths);
    Ok((server, ordered))
}

/// Two rosters, one of them on its way, must fit the smallest outbox of the room.
pub fn room_limits(settings: &Settings) -> Limits {
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
