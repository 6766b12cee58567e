//! From file, variables and flags to [`Settings`]: the later wins, and every value remembers where
//! it came from, so that an error can name it.
//!
//! A layer is read as plain text first and understood by its key's slot afterwards, so all
//! problems of all layers are reported together.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

use ringpost::config::{GroupRule, HistoryRule};
use ringpost::escape::Escaped;

use super::certificates;
use super::choice::nearest;
use super::cluster;
use super::hooks;
use super::keys::{self, KEYS, VARIABLE_PREFIX};
use super::listener::ListenerSettings;
use super::listeners;
use super::settings::Settings;
use super::slot::SettingSlot;
use super::tokens;
use super::value_origin::ValueOrigin;

/// The variables of ours that are no settings: the file to read, and what client commands talk to.
const OTHER_VARIABLES: [&str; 3] = ["RINGPOST_CONFIG", "RINGPOST_TO", "RINGPOST_LISTEN"];

/// Everything that is wrong with a configuration, one line each.
#[derive(PartialEq, Eq, Debug)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "ringpost: {problem}")?;
        }
        Ok(())
    }
}

/// What one source says, not yet understood.
#[derive(Default, Debug)]
pub struct Layer {
    /// Key, value as text, origin.
    pub values: Vec<(String, String, ValueOrigin)>,
    /// Listeners listed one by one; any puts those of earlier layers aside.
    pub listeners: Vec<(ListenerSettings, ValueOrigin)>,
    /// Rules of what is kept; the file alone can have them.
    pub history: Vec<HistoryRule>,
    /// Rules of what holds for groups; the file alone can have them.
    pub groups: Vec<GroupRule>,
    /// What could not even be read.
    pub problems: Vec<String>,
}

impl Layer {
    /// The variables of ours among those of the process.
    pub fn from_variables(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Layer {
        let mut layer = Layer::default();
        // Sorted, so that errors come in the same order each time.
        let variables: BTreeMap<_, _> = variables.into_iter().collect();
        for (name, value) in &variables {
            let name = name.to_string_lossy();
            let Some(bare) = name.strip_prefix(VARIABLE_PREFIX) else {
                continue;
            };
            // Whoever passes a variable on that may be unset passes an empty one.
            if value.is_empty() || is_link(bare, value, &variables) {
                continue;
            }
            let Some(value) = value.to_str() else {
                layer
                    .problems
                    .push(format!("variable {}: not UTF-8", Escaped(&name)));
                continue;
            };
            let origin = ValueOrigin::Variable(name.clone().into_owned());
            if name == "RINGPOST_LISTEN" {
                layer.read_listeners(value.split([',', ' ']), &origin);
            } else if let Some(key) = KEYS.iter().find(|key| key.variable() == name) {
                layer
                    .values
                    .push((key.name.to_owned(), value.to_owned(), origin));
            } else if !OTHER_VARIABLES.contains(&&*name) {
                layer.problems.push(unknown_variable(&name));
            }
        }
        layer
    }

    /// The flags: pairs of key and value, and the `URL=APP` of each `--listen`.
    pub fn from_flags(values: &[(String, String)], listeners: &[String]) -> Layer {
        let mut layer = Layer::default();
        for (name, value) in values {
            let flag = keys::find(name).map_or_else(|| name.clone(), |key| key.flag());
            layer
                .values
                .push((name.clone(), value.clone(), ValueOrigin::Flag(flag)));
        }
        let origin = ValueOrigin::Flag("listen".to_owned());
        layer.read_listeners(listeners.iter().map(String::as_str), &origin);
        layer
    }

    fn read_listeners<'a>(&mut self, pairs: impl Iterator<Item = &'a str>, origin: &ValueOrigin) {
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            match ListenerSettings::parse_pair(pair) {
                Ok(listener) => self.listeners.push((listener, origin.clone())),
                Err(error) => {
                    self.problems.push(format!(
                        "{origin}: {:?}: {error}",
                        Escaped(pair).to_string()
                    ));
                }
            }
        }
    }
}

/// Puts the layers on top of each other and holds the outcome against the rules.
pub fn resolve(layers: impl IntoIterator<Item = Layer>) -> Result<Settings, Problems> {
    let mut settings = Settings::default();
    let mut problems = Vec::new();
    let mut listeners = Vec::new();
    let mut public_from = ValueOrigin::Preset;
    let mut places: BTreeMap<&str, ValueOrigin> = BTreeMap::new();
    for layer in layers {
        problems.extend(layer.problems);
        for (name, text, origin) in layer.values {
            if let Err(problem) = put(&mut settings, &name, &text, &origin) {
                problems.push(problem);
            }
            if let Some(key) = keys::find(&name) {
                places.insert(key.name, origin.clone());
            }
            match name.as_str() {
                // A preset asked for later puts aside what was listed before it.
                "preset" => listeners.clear(),
                "public" => public_from = origin,
                _ => {}
            }
        }
        settings.config.history.extend(layer.history);
        settings.config.groups.extend(layer.groups);
        if !layer.listeners.is_empty() {
            listeners = layer.listeners;
        }
    }
    let origins: Vec<ValueOrigin>;
    if listeners.is_empty() {
        settings.listeners = listeners::of_preset(settings.preset, settings.public);
        origins = vec![ValueOrigin::Preset; settings.listeners.len()];
    } else {
        (settings.listeners, origins) = listeners.into_iter().unzip();
        if settings.public {
            problems.push(format!(
                "{public_from}: public opens the listeners of a preset only; write the address into \
                 the listeners of your own, such as websocket://[::]:1234"
            ));
        }
    }
    listeners::join_paths(&mut settings.listeners);
    problems.extend(listeners::check(&settings, &origins));
    let of_files = tokens::check(&settings).into_iter();
    let of_files = of_files.chain(hooks::problem(&settings.webhooks));
    let of_files = of_files.chain(hooks::messages_problem(&settings));
    let of_files = of_files.chain(cluster::problem(&settings));
    let of_files = of_files.chain(certificates::problem(&settings.tls));
    problems.extend(of_files.map(|problem| placed(problem, &places)));
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(Problems(problems))
    }
}

/// A problem with the place of the key that it is about, which it names first.
fn placed(problem: String, places: &BTreeMap<&str, ValueOrigin>) -> String {
    let is_of = |name: &str| {
        let rest = problem.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric()))
    };
    match places.iter().find(|(name, _)| is_of(name)) {
        Some((_, origin)) => format!("{origin}: {problem}"),
        None => problem,
    }
}

fn put(
    settings: &mut Settings,
    name: &str,
    text: &str,
    origin: &ValueOrigin,
) -> Result<(), String> {
    let Some(key) = keys::find(name) else {
        return Err(format!(
            "{origin}: {}",
            unknown_key(name, KEYS.iter().map(|key| key.name))
        ));
    };
    let mut slot = (key.slot)(settings);
    let secret = matches!(slot, SettingSlot::Secret(..));
    slot.put(text).map_err(|expected| match secret {
        true => format!("{origin}: {name}: expected {expected} (the value is not shown)"),
        false => {
            let text = Escaped(text).to_string();
            match slot.misfit(&text) {
                Some(entry) => format!("{origin}: {name}: {entry:?}: expected {expected}"),
                None => format!("{origin}: {name} = {text:?}: expected {expected}"),
            }
        }
    })
}

/// An error's words for a key that is none of those known.
pub fn unknown_key<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let shown = Escaped(name);
    match nearest(name, known) {
        Some(near) => format!("unknown key \"{shown}\"; did you mean \"{near}\"?"),
        None => format!("unknown key \"{shown}\"; ringpost.example.toml lists every key"),
    }
}

fn unknown_variable(name: &str) -> String {
    let known: Vec<String> = KEYS
        .iter()
        .map(|key| key.variable())
        .chain(OTHER_VARIABLES.map(str::to_owned))
        .collect();
    // Compared without the prefix, which would make everything look alike.
    let bare = known.iter().map(|known| &known[VARIABLE_PREFIX.len()..]);
    let shown = Escaped(name);
    match nearest(&name[VARIABLE_PREFIX.len()..], bare) {
        Some(near) => {
            format!("unknown variable {shown}; did you mean {VARIABLE_PREFIX}{near}?")
        }
        None => format!("unknown variable {shown}; ringpost.example.toml lists every key"),
    }
}

/// Whether a variable, by its name without our prefix, is one that Docker's links or Kubernetes' services set for
/// something called `ringpost`, or `ringpost-something`: its names begin as ours do, and none of our keys looks like
/// them.
fn is_link(bare: &str, value: &OsStr, variables: &BTreeMap<OsString, OsString>) -> bool {
    if bare == "NAME" || bare == "PORT" || bare.starts_with("PORT_") || bare.starts_with("ENV_") {
        return true;
    }
    let text = value.to_string_lossy();
    let is_address = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|it| text.starts_with(it));
    // Of something else's, such as RINGPOST_REDIS_1_PORT_6379_TCP_ADDR.
    let of_port = bare.split_once("_PORT_").is_some_and(|(_, rest)| {
        let (port, rest) = rest.split_once('_').unwrap_or((rest, ""));
        let kinds = ["TCP", "UDP", "SCTP"];
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        is_number && kinds.iter().any(|kind| rest.starts_with(kind))
    });
    let of_environment = bare.split_once("_ENV_").is_some_and(|(alias, _)| {
        let name = OsString::from(format!("{VARIABLE_PREFIX}{alias}_NAME"));
        variables.get(&name).is_some_and(|name| is_container(name))
    });
    let is_name = bare.ends_with("_NAME") && is_container(value);
    let of_service = bare.contains("SERVICE_HOST") || bare.contains("SERVICE_PORT");
    of_port || of_environment || is_name || of_service || bare.ends_with("_PORT") && is_address
}

/// Docker writes the names of both containers of a link: `/web/ringpost`.
fn is_container(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"/")
}
