//! `ringpost check`: whether a file, the variables that are set and flags are right together, and what a server would
//! make of them here and now.

use std::fmt::Write;
use std::path::PathBuf;

use ringpost::escape::Escaped;

use super::banner::banner;
use super::keys::{KEYS, KeyFlags};
use super::layers::{Layer, Problems};
use super::output::{Status, print};
use super::settings::Settings;
use super::sources::resolve;
use super::{certificates, cluster, group_rules, history_rules, listeners, tokens};

/// What `check` is given: as `serve`, but for the file's place.
#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// The file; without one the variables and flags alone are checked
    #[arg(env = "RINGPOST_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Check with this listener in place of the preset's, as serve has it; repeatable
    #[arg(long, value_name = "URL=APP")]
    listen: Vec<String>,
    /// An error if no certificate is for this host, which clients connect to by TLS; repeatable
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
    #[command(flatten)]
    keys: KeyFlags,
}

/// Checks a file, variables and flags.
pub fn run(args: &CheckArgs) -> Status {
    let flags = Layer::from_flags(&args.keys.0, &args.listen);
    let settings = resolve(args.config.as_deref(), flags).map_err(|problems| problems.0);
    let checked = settings.and_then(|settings| {
        let mut problems = certificates::check(&settings);
        if problems.is_empty() {
            let uncovered = certificates::uncovered(&settings, &args.host).into_iter();
            problems.extend(
                uncovered.map(|host| format!("no certificate is for the host {}", Escaped(host))),
            );
        }
        match problems.is_empty() {
            true => Ok(settings),
            false => Err(problems),
        }
    });
    match checked {
        Ok(settings) => {
            let name = match &args.config {
                Some(config) => config.display().to_string(),
                None => "variables and flags".to_owned(),
            };
            print(&format!(
                "{}: right\n{}",
                Escaped(&name),
                describe(settings)
            ));
            Status::Done
        }
        Err(problems) => {
            super::output::list(&Problems(problems));
            Status::Trouble
        }
    }
}

/// The listeners, then the keys that differ from their defaults, then the rules of what is kept and of groups.
fn describe(mut settings: Settings) -> String {
    let configured = settings
        .listeners
        .iter()
        .map(|it| (it.clone(), it.address.clone()));
    let mut text = format!("would serve\n{}", banner(&configured.collect::<Vec<_>>()));
    let warnings = listeners::warnings(&settings).into_iter();
    let warnings = warnings.chain(tokens::warnings(&settings));
    for warning in warnings.chain(certificates::warnings(&settings)) {
        let _ = writeln!(text, "warning: {warning}");
    }
    text.push_str(&certificates::describe(&settings));
    text.push_str(&cluster::describe(&settings.cluster));
    let mut defaults = Settings::default();
    let mut changed = String::new();
    for key in KEYS {
        let value = (key.slot)(&mut settings).show();
        let default = (key.slot)(&mut defaults).show();
        if let (Some(value), true) = (&value, value != default) {
            let default = default.map_or(String::new(), |default| format!("  (default {default})"));
            let _ = writeln!(changed, "  {} = {value}{default}", key.name);
        }
    }
    match changed.is_empty() {
        true => text.push_str("with every key at its default\n"),
        false => {
            let _ = write!(text, "with\n{changed}");
        }
    }
    if !settings.config.history.is_empty() {
        text.push_str("keeping, by the first rule that fits\n");
    }
    for rule in &settings.config.history {
        let _ = writeln!(text, "  {}", history_rules::show(rule));
    }
    if !settings.config.groups.is_empty() {
        text.push_str("with groups, by the first rule that fits\n");
    }
    for rule in &settings.config.groups {
        let _ = writeln!(text, "  {}", group_rules::show(rule));
    }
    text
}
