//! `ringpost serve`: settings from every source, then a server until it is told to stop.

use std::io;
use std::path::PathBuf;

use ringpost::ListenAddress;

use super::assembly::{Live, build};
use super::keys::KeyFlags;
use super::layers::Layer;
use super::listener::ListenerSettings;
use super::log::Level;
use super::output::Status;
use super::reload::Reloading;
use super::settings::Settings;
use super::sources::resolve;
use super::{certificates, doctor, drain, listeners, log, panics, tokens};
use crate::apps::backend::report::BoundListener;

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
    /// listener of its address. With TLS they are wss://, tls+text://, tls+frame:// and https://,
    /// and need --tls-certificate-file and --tls-key-file, or --tls-self-signed for a try.
    /// With +unix they are Unix sockets (text+unix:///run/ringpost/back-end.sock, or @NAME for an
    /// abstract one), with +fd sockets that systemd passes (text+fd://NAME).
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
            super::output::list(&problems);
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
    for warning in certificates::warnings(&settings) {
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
        let addresses = running.listening().iter().map(|one| one.address.clone());
        let bound: Vec<(ListenerSettings, ListenAddress)> =
            listeners.into_iter().zip(addresses).collect();
        let named = bound.iter().map(|(listener, address)| BoundListener {
            app: listener.app.to_string(),
            url: super::banner::url(listener, address),
        });
        facts.listen(named.collect());
        let mut text = super::banner::banner(&bound);
        if let Some(fingerprint) = running.certificate_fingerprint() {
            text.push_str(&certificates::of_self_signed(&fingerprint));
        }
        log::print_aside(text);
    })
}
