//! `ringpost token`: a client's token, made for trying, as whoever knows the users makes them; or a back end's.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use ringpost::auth::{Keyring, ends_after};

use super::layers::Layer;
use super::output::{Status, complain, print};
use super::slot::parse_time;
use super::sources::resolve;

/// What `ringpost token` is given.
#[derive(clap::Args, Debug)]
pub struct TokenArgs {
    /// Whose it is
    #[arg(required_unless_present = "back_end")]
    uid: Option<String>,
    /// Make a token of a back end instead, for backend.token or backend.tokens_file
    #[arg(long, conflicts_with = "uid")]
    back_end: bool,
    /// A group that the client may put itself into; * in it stands for any characters. Only with auth = "jwt"
    #[arg(long = "group", value_name = "PATTERN", conflicts_with = "back_end")]
    groups: Vec<String>,
    /// How long it holds
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_time)]
    ttl: Duration,
    /// The server's configuration, with auth and auth_key_file; or set RINGPOST_AUTH and
    /// RINGPOST_AUTH_KEY_FILE
    #[arg(
        long,
        value_name = "FILE",
        env = "RINGPOST_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
}

/// Makes a proof for a uid, as whoever knows the users would, and prints it.
pub fn run(args: &TokenArgs) -> Status {
    let made = match &args.uid {
        Some(uid) => mint(uid, args),
        None => random(),
    };
    match made {
        Ok(token) => {
            print(&format!("{token}\n"));
            Status::Done
        }
        Err(problem) => {
            complain(problem.trim_end());
            Status::Trouble
        }
    }
}

/// A word that nobody guesses: 32 hexadecimal digits.
fn random() -> Result<String, String> {
    let mut bytes = [0; 16];
    let source = std::fs::File::open("/dev/urandom");
    source
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| format!("there is no randomness: /dev/urandom: {error}"))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

fn mint(uid: &str, args: &TokenArgs) -> Result<String, String> {
    let settings = resolve(args.config.as_deref(), Layer::default());
    let settings = settings.map_err(|problems| problems.0.join("\nringpost: "))?;
    let keyring = Keyring::open(&settings.config).map_err(|error| error.to_string())?;
    let keyring = keyring.ok_or(
        "auth is \"none\", so no token proves anything; set auth (RINGPOST_AUTH) and auth_key_file",
    )?;
    keyring.mint_with_groups(uid, &args.groups, ends_after(args.ttl))
}
