//! The TOML file as a [`Layer`]: which keys stand on which lines, not yet what they mean.

use std::ops::Range;
use std::rc::Rc;

use ringpost::Roles;
use ringpost::config::{ListenerLimits, SocketFile, TlsFiles};
use ringpost::escape::Escaped;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, BYTES_MAX, COUNT_MAX, KEYS, MESSAGE_BYTES_MAX};
use super::layers::{Layer, unknown_key};
use super::listener::{ListenerSettings, parse_roles};
use super::push_messages::PushMessages;
use super::settings::Settings;
use super::slot::SettingSlot;
use super::value_origin::ValueOrigin;

/// The keys of a `[[listen]]` table.
const LISTEN_KEYS: [&str; 18] = [
    "url",
    "app",
    "roles",
    "paths",
    "message_bytes_max",
    "outbox_bytes_max",
    "connections_per_address_max",
    "messages_per_second_max",
    "bytes_per_second_max",
    "proxy_protocol",
    "compress",
    "messages",
    "certificate_file",
    "key_file",
    "client_ca_file",
    "mode",
    "owner",
    "group",
];

/// A configuration file being read.
pub struct File<'a> {
    name: Rc<str>,
    text: &'a str,
}

/// Reads a file's text; `name` is what errors call it.
pub fn read(name: &str, text: &str) -> Layer {
    let text = text.trim_start_matches('\u{feff}');
    let mut layer = Layer::default();
    let file = File {
        name: Escaped(name).to_string().into(),
        text,
    };
    match DeTable::parse(text) {
        Ok(table) => file.read_table("", table.get_ref(), &mut layer),
        Err(error) => {
            let span = error.span().unwrap_or_default();
            let origin = file.origin(span.clone());
            let mut problem = format!("{origin}: {}", Escaped(error.message()));
            if error.message() == "duplicate key" {
                let key = text.get(span).unwrap_or_default();
                problem.push_str(&format!(" \"{}\": it stands above already", Escaped(key)));
            }
            layer.problems.push(problem);
        }
    }
    layer
}

impl File<'_> {
    pub(super) fn origin(&self, span: Range<usize>) -> ValueOrigin {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ValueOrigin::File {
            name: self.name.clone(),
            line,
        }
    }

    /// Flattens a table: `[relay] errors = …` is the key `relay.errors`.
    fn read_table(&self, prefix: &str, table: &DeTable<'_>, layer: &mut Layer) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let name = format!("{prefix}{}", key.get_ref());
            let origin = self.origin(key.span());
            if name == "listen" {
                self.read_listen(value, layer);
                continue;
            }
            if name == "history" {
                self.read_history(
                    value.get_ref(),
                    &origin,
                    &mut layer.history,
                    &mut layer.problems,
                );
                continue;
            }
            if name == "groups" {
                self.read_groups(
                    value.get_ref(),
                    &origin,
                    &mut layer.groups,
                    &mut layer.problems,
                );
                continue;
            }
            match value.get_ref() {
                DeValue::Table(inner) if has_keys(&name) => {
                    self.read_table(&format!("{name}."), inner, layer);
                }
                _ if !prefix.is_empty() && is_misplaced(prefix, key.get_ref()) => {
                    let table = format!("[{}]", prefix.trim_end_matches('.'));
                    let problem = misplaced(key.get_ref(), &table);
                    layer.problems.push(format!("{origin}: {problem}"));
                }
                value => match as_text(value).or_else(|| as_list(&name, value)) {
                    Some(text) => layer.values.push((name, text, origin)),
                    None => layer.problems.push(wrong_type(&name, value, &origin)),
                },
            }
        }
    }

    fn read_listen(&self, value: &Spanned<DeValue<'_>>, layer: &mut Layer) {
        let origin = self.origin(value.span());
        let tables = match value.get_ref() {
            DeValue::Array(tables) => tables,
            other => {
                layer.problems.push(format!(
                    "{origin}: listen: expected tables [[listen]] with url and app, not {}",
                    kind(other)
                ));
                return;
            }
        };
        for item in tables.iter() {
            let origin = self.origin(item.span());
            let listener = match item.get_ref() {
                DeValue::Table(table) => self.read_listener(table, &origin),
                other => Err(format!(
                    "{origin}: listen: expected a table with url and app, not {}",
                    kind(other)
                )),
            };
            match listener {
                Ok(listeners) => {
                    let listeners = listeners.into_iter();
                    layer
                        .listeners
                        .extend(listeners.map(|listener| (listener, origin.clone())));
                }
                Err(problem) => layer.problems.push(problem),
            }
        }
    }

    /// A listener, and those at paths of it.
    fn read_listener(
        &self,
        table: &DeTable<'_>,
        origin: &ValueOrigin,
    ) -> Result<Vec<ListenerSettings>, String> {
        let mut read = ListenTable::default();
        for (key, value) in table.iter() {
            let origin = self.origin(key.span());
            let name = &**key.get_ref();
            if !LISTEN_KEYS.contains(&name) {
                // A table's name is enough: `[log]` would stand for itself.
                let problem = match keys::find(name) {
                    Some(_) => misplaced(name, "[[listen]]"),
                    None => unknown_key(name, LISTEN_KEYS),
                };
                return Err(format!("{origin}: [[listen]]: {problem}"));
            }
            read.take(name, value.get_ref())
                .map_err(|problem| format!("{origin}: listen.{name}{problem}"))?;
        }
        for (name, text) in [("url", &read.url), ("app", &read.app)] {
            if text.is_empty() {
                return Err(format!("{origin}: [[listen]] needs a key \"{name}\""));
            }
        }
        let named = format!(
            "listen \"{}\" = \"{}\"",
            Escaped(&read.url),
            Escaped(&read.app)
        );
        read.listeners()
            .map_err(|problem| format!("{origin}: {named}: {problem}"))
    }
}

/// What a table `[[listen]]` says.
#[derive(Default)]
struct ListenTable {
    url: String,
    app: String,
    limits: ListenerLimits,
    proxy_protocol: bool,
    messages: Option<PushMessages>,
    certificates: TlsFiles,
    socket_file: SocketFile,
    roles: Option<Roles>,
    /// Paths, and the apps at them.
    paths: Vec<(String, String)>,
}

impl ListenTable {
    /// Takes the value of a key. The error follows its name.
    fn take(&mut self, name: &str, value: &DeValue<'_>) -> Result<(), String> {
        match name {
            "roles" => {
                self.roles = Some(read_roles(value).map_err(|error| format!(": {error}"))?);
                return Ok(());
            }
            "paths" => {
                self.paths = read_paths(value).map_err(|error| format!(": {error}"))?;
                return Ok(());
            }
            _ => {}
        }
        let Some(text) = as_text(value) else {
            return Err(format!(": expected one value, not {}", kind(value)));
        };
        let taken = match name {
            "url" => {
                self.url = text;
                return Ok(());
            }
            "app" => {
                self.app = text;
                return Ok(());
            }
            "mode" => parse_mode(value, &text).map(|mode| self.socket_file.mode = Some(mode)),
            "owner" => parse_account(&text).map(|name| self.socket_file.owner = Some(name)),
            "group" => parse_account(&text).map(|name| self.socket_file.group = Some(name)),
            "proxy_protocol" => SettingSlot::Switch(&mut self.proxy_protocol).put(&text),
            "messages" => {
                let place = self.messages.get_or_insert_default();
                SettingSlot::Choice(place).put(&text)
            }
            "certificate_file" => {
                SettingSlot::File(&mut self.certificates.certificate_file).put(&text)
            }
            "key_file" => SettingSlot::File(&mut self.certificates.key_file).put(&text),
            "client_ca_file" => SettingSlot::File(&mut self.certificates.client_ca_file).put(&text),
            "compress" => {
                let place = self.limits.compress.get_or_insert_default();
                SettingSlot::Switch(place).put(&text)
            }
            _ => put_limit(&mut self.limits, name, &text),
        };
        taken.map_err(|expected| {
            let shown = Escaped(&text).to_string();
            format!(" = {shown:?}: expected {expected}")
        })
    }

    /// The listener that it describes, and those at paths of it.
    fn listeners(self) -> Result<Vec<ListenerSettings>, String> {
        let listener = ListenerSettings::parse(&self.url, &self.app, self.limits)?
            .with_proxy_protocol(self.proxy_protocol)?
            .with_certificates(self.certificates)?
            .with_messages(self.messages)?
            .with_socket_file(self.socket_file)?;
        let listener = match self.roles {
            Some(roles) => listener.with_roles(roles)?,
            None => listener,
        };
        let parts = self.paths.iter();
        let parts = parts.map(|(path, app)| listener.at_path(path, app));
        let parts: Vec<ListenerSettings> = parts.collect::<Result<_, _>>()?;
        Ok([vec![listener], parts].concat())
    }
}

/// The mode of a file, in octal digits, as chmod(1) takes it. A number would be read otherwise than it looks.
fn parse_mode(value: &DeValue<'_>, text: &str) -> Result<u32, String> {
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(text, 8).ok();
    match (value, mode) {
        (DeValue::String(_), Some(mode)) if is_octal && mode <= 0o777 => Ok(mode),
        _ => Err("a mode in octal digits and quotes, such as \"0660\"".to_owned()),
    }
}

/// A user or a group of this machine, by name or number.
fn parse_account(text: &str) -> Result<String, String> {
    let is_one = !text.is_empty()
        && !text
            .chars()
            .any(|one| one.is_whitespace() || one.is_control());
    let expected = || "a name or a number of this machine's accounts".to_owned();
    is_one.then(|| text.to_owned()).ok_or_else(expected)
}

/// Which apps have websockets at which paths of an HTTP listener.
fn read_paths(value: &DeValue<'_>) -> Result<Vec<(String, String)>, String> {
    let expected = |what: &DeValue<'_>| {
        let kind = kind(what);
        format!("expected a table of paths and apps, such as {{ \"/ws\" = \"push\" }}, not {kind}")
    };
    let DeValue::Table(table) = value else {
        return Err(expected(value));
    };
    let each = table.iter().map(|(path, app)| {
        let app = app.get_ref();
        let name = app.as_str().ok_or_else(|| expected(app))?;
        Ok((path.get_ref().to_string(), name.to_owned()))
    });
    each.collect()
}

/// What of an HTTP listener is served: a list of names.
fn read_roles(value: &DeValue<'_>) -> Result<Roles, String> {
    let expected = || {
        format!(
            "expected a list such as [\"page\", \"api\"], not {}",
            kind(value)
        )
    };
    let DeValue::Array(names) = value else {
        return Err(expected());
    };
    let names = names.iter().map(|name| name.get_ref().as_str());
    let names: Vec<&str> = names.collect::<Option<_>>().ok_or_else(expected)?;
    parse_roles(names.into_iter())
}

/// Takes a limit of a listener's own, by the name that the server's has, too. The error says what was
/// expected.
fn put_limit(limits: &mut ListenerLimits, name: &str, text: &str) -> Result<(), String> {
    let mut value = 0;
    let mut slot = match name {
        "connections_per_address_max" | "messages_per_second_max" => {
            SettingSlot::Count(&mut value, 0..=COUNT_MAX)
        }
        "bytes_per_second_max" => SettingSlot::Bytes(&mut value, 0..=BYTES_MAX),
        _ => SettingSlot::Bytes(&mut value, 1..=2 * MESSAGE_BYTES_MAX),
    };
    slot.put(text)?;
    let place = match name {
        "message_bytes_max" => &mut limits.message_bytes_max,
        "outbox_bytes_max" => &mut limits.outbox_bytes_max,
        "connections_per_address_max" => &mut limits.connections_per_address_max,
        "messages_per_second_max" => &mut limits.messages_per_second_max,
        _ => &mut limits.bytes_per_second_max,
    };
    *place = Some(value);
    Ok(())
}

/// Whether a key of a table is none, but would be one above all tables.
fn is_misplaced(prefix: &str, name: &str) -> bool {
    keys::find(&format!("{prefix}{name}")).is_none() && keys::find(name).is_some()
}

pub fn misplaced(name: &str, table: &str) -> String {
    format!(
        "\"{}\" is a key of the whole server, and what follows {table} belongs to that: move it above the first table",
        Escaped(name)
    )
}

/// Whether some key is inside the table of that name.
fn has_keys(table: &str) -> bool {
    KEYS.iter().any(|key| {
        key.name
            .strip_prefix(table)
            .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// A single value as the text that a variable or flag would have.
pub fn as_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Integer(number) => Some(
            i128::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| number.to_string(), |number| number.to_string()),
        ),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// A list of names with their rights, or of URLs, as the text of a variable.
fn as_list(name: &str, value: &DeValue<'_>) -> Option<String> {
    let DeValue::Array(parts) = value else {
        return None;
    };
    let parts: Option<Vec<&str>> = parts.iter().map(|part| part.get_ref().as_str()).collect();
    match name {
        "cluster.redis" => return parts.map(|parts| parts.join(", ")),
        "backend.users" | "backend.certificates" => {}
        _ => return None,
    }
    match parts?.join("; ") {
        // No name at all, which is not the same as no key.
        none if none.is_empty() => Some(";".to_owned()),
        names => Some(names),
    }
}

fn wrong_type(name: &str, value: &DeValue<'_>, origin: &ValueOrigin) -> String {
    let kind = kind(value);
    match keys::find(name) {
        Some(key) => {
            let expected = (key.slot)(&mut Settings::default()).expected();
            format!("{origin}: {name}: expected {expected}, not {kind}")
        }
        None => format!(
            "{origin}: {}",
            unknown_key(name, KEYS.iter().map(|key| key.name))
        ),
    }
}

pub fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
        _ => "a single value",
    }
}
