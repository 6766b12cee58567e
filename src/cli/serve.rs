//! `ringpost serve`: settings from every source, then a server until it is told to stop.

use std::path::{Path, PathBuf};

use super::keys::KeyFlags;
use super::layers::{self, Layer, Problems};
use super::settings::Settings;
use super::{Status, complain, file, listeners, log};

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
    /// APP is relay, push, push-backend, chat or echo; or http:// and page.
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
            eprint!("{problems}");
            return Status::Trouble;
        }
    };
    log::init(&settings.log);
    for warning in listeners::warnings(&settings) {
        tracing::warn!("{warning}");
    }
    match start(settings) {
        Ok(()) => Status::Done,
        Err(error) => {
            complain(&error.to_string());
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
fn start(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    // ------------------------------------------------------------------------------------------
    // HERE the server is built and run:
    //
    //     let mut server = ringpost::Server::new(settings.config);
    //     for listener in &settings.listeners {
    //         let url = listener.to_string();          // "websocket://127.0.0.1:1234"
    //         match listener.app {
    //             AppName::Relay => server.listen(url, listener.limits, || Relay::new(…)),
    //             …                                    // settings.relay, .chat, .backend
    //         }
    //     }
    //     let bound: Vec<(Listener, SocketAddr)> = …;  // the addresses really bound
    //     super::print(&super::banner::banner(&bound));
    //     server.run()
    // ------------------------------------------------------------------------------------------
    let listeners = settings.listeners.len();
    Err(format!("no server is built in yet; {listeners} listeners were asked for").into())
}
