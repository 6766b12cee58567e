//! SIGHUP: the settings are read again from the same file, variables and flags, and what a running server can take
//! over it takes over; the rest is named.
//!
//! Which keys those are is the column `live` of the table of keys. What is wrong anywhere keeps all as it is. Called
//! on the thread that takes the signals.

use std::io::IsTerminal;
use std::path::PathBuf;

use ringpost::config::ListenerLimits;
use ringpost::{Reload, Server};
use tracing::{error, info, warn};

use super::assembly::{Live, build};
use super::keys::KEYS;
use super::layers::Layer;
use super::listener::ListenerSettings;
use super::log::Level;
use super::settings::Settings;
use super::slot::SettingSlot;
use super::sources::resolve;
use super::value_origin::ValueOrigin;
use super::{certificates, doctor, drain, group_rules, history_rules, listeners, tokens};

/// The sources of the settings, and those that the server runs with.
pub struct Reloading {
    config: Option<PathBuf>,
    values: Vec<(String, String)>,
    listen: Vec<String>,
    settings: Settings,
    live: Live,
    level: Level,
}

impl Reloading {
    /// `None` where SIGHUP means that the terminal is gone: the program was started there by hand, without a
    /// file to read anew.
    pub fn new(
        config: Option<PathBuf>,
        values: Vec<(String, String)>,
        listen: Vec<String>,
        settings: Settings,
        live: Live,
        level: Level,
    ) -> Option<Reloading> {
        let at_terminal = std::io::stdin().is_terminal() || std::io::stderr().is_terminal();
        let supervised = std::env::var_os("NOTIFY_SOCKET").is_some();
        let by_hand = config.is_none() && at_terminal && !supervised;
        (!by_hand).then_some(Reloading {
            config,
            values,
            listen,
            settings,
            live,
            level,
        })
    }

    /// What SIGHUP does.
    pub fn reload(&mut self, server: &Reload) {
        match self.take_over(server) {
            Ok(merged) => {
                // What changes is said by whichever level lets more through.
                let (old, new) = (self.settings.log.level, merged.settings.log.level);
                self.level.set(old.max(new));
                merged.tell(self.config.is_some());
                self.level.set(new);
                self.settings = merged.settings;
            }
            Err(problems) => {
                for problem in problems {
                    error!("{problem}");
                }
                error!("the configuration stays what it was");
            }
        }
    }

    fn take_over(&mut self, server: &Reload) -> Result<Merged, Vec<String>> {
        let flags = Layer::from_flags(&self.values, &self.listen);
        let read = resolve(self.config.as_deref(), flags);
        let merged = merge(&self.settings, read.map_err(|problems| problems.0)?);
        let settings = &merged.settings;
        // Each was right by itself, but they need not fit.
        let origins = vec![ValueOrigin::Running; settings.listeners.len()];
        let mut problems = listeners::check(settings, &origins);
        problems.extend(tokens::check(settings));
        problems.extend(certificates::problem(&settings.tls));
        if !problems.is_empty() {
            return Err(problems);
        }
        let built = build(settings.clone(), &self.live);
        let taken = built.and_then(|(fresh, _): (Server, _)| server.apply(fresh));
        taken.map_err(|error| vec![error.to_string()])?;
        self.live.renew(settings);
        Ok(merged)
    }
}

/// Settings to go on with, and what to say of them.
pub struct Merged {
    pub settings: Settings,
    /// Taken over: key, old and new.
    pub changed: Vec<String>,
    /// What takes a restart.
    pub fixed: Vec<String>,
}

impl Merged {
    fn tell(&self, has_file: bool) {
        for line in &self.changed {
            info!("reload: {line}");
        }
        for name in &self.fixed {
            warn!("reload: {name}: changed, takes effect after a restart");
        }
        if !has_file {
            info!(
                "reload: there is no configuration file; nothing but files of keys and tokens is read anew"
            );
        } else if self.changed.is_empty() && self.fixed.is_empty() {
            info!("reload: no key has changed");
        }
        if !self.changed.is_empty() {
            for warning in [
                listeners::warnings(&self.settings),
                doctor::warnings(&self.settings),
                drain::warnings(&self.settings),
            ]
            .concat()
            {
                warn!("{warning}");
            }
        }
    }
}

/// What of the settings just read can be taken over by a server that runs with others.
pub fn merge(running: &Settings, read: Settings) -> Merged {
    let mut old = running.clone();
    let mut merged = Merged {
        settings: read,
        changed: Vec::new(),
        fixed: Vec::new(),
    };
    // Whether tokens are asked for at all stays as it is.
    let same_guard = old.backend.asks_for_token() == merged.settings.backend.asks_for_token();
    for key in KEYS {
        let (mut from, mut to) = ((key.slot)(&mut old), (key.slot)(&mut merged.settings));
        if from == to {
            continue;
        }
        let guards = key.name.starts_with("backend.");
        if key.live && (same_guard || !guards) {
            let [from, to] = [from.show(), to.show()].map(|it| it.unwrap_or("nothing".to_owned()));
            let line = match matches!((key.slot)(&mut old), SettingSlot::Secret(..)) {
                true => format!("{}: changed (it is not shown)", key.name),
                false => format!("{}: {from} -> {to}", key.name),
            };
            merged.changed.push(line);
        } else {
            to.take(&mut from);
            merged.fixed.push(key.name.to_owned());
        }
    }
    let (old_rules, new_rules) = (&old.config, &merged.settings.config);
    let of_history = history_rules::changed(&old_rules.history, &new_rules.history);
    let of_groups = group_rules::changed(&old_rules.groups, &new_rules.groups);
    merged
        .changed
        .extend(of_history.into_iter().chain(of_groups));
    merge_listeners(&old.listeners, &mut merged);
    merged
}

/// Of listeners their own limits can change.
fn merge_listeners(running: &[ListenerSettings], merged: &mut Merged) {
    let read = &mut merged.settings.listeners;
    let place = |one: &ListenerSettings| {
        let path = one.path.clone();
        let what = (one.app, one.roles, one.proxy_protocol, one.messages);
        let at = (one.address.clone(), one.socket_file.clone());
        ((one.scheme, one.is_tls), at, path, what)
    };
    if !running.iter().map(place).eq(read.iter().map(place)) {
        *read = running.to_vec();
        // A preset that has changed has been named.
        if !merged
            .fixed
            .iter()
            .any(|name| name == "preset" || name == "public")
        {
            merged.fixed.push("listen".to_owned());
        }
        return;
    }
    for (old, new) in running.iter().zip(read) {
        // What its connections count towards is settled when they come.
        if old.limits.connections_per_address_max.is_some()
            != new.limits.connections_per_address_max.is_some()
        {
            new.limits.connections_per_address_max = old.limits.connections_per_address_max;
            let name = format!("listen {new} ({}): connections_per_address_max", new.app);
            merged.fixed.push(name);
        }
        if old.certificates != new.certificates {
            let line = format!("listen {new} ({}): other certificates", new.app);
            merged.changed.push(line);
        }
        for ((name, from), (_, to)) in shown(&old.limits).into_iter().zip(shown(&new.limits)) {
            if from != to {
                let line = format!("listen {new} ({}): {name}: {from} -> {to}", new.app);
                merged.changed.push(line);
            }
        }
    }
}

fn shown(limits: &ListenerLimits) -> [(&'static str, String); 6] {
    fn show(value: Option<impl ToString>) -> String {
        value.map_or("nothing".to_owned(), |value| value.to_string())
    }
    // Without `..`: a new one does not compile until it is shown.
    let ListenerLimits {
        message_bytes_max,
        outbox_bytes_max,
        connections_per_address_max,
        messages_per_second_max,
        bytes_per_second_max,
        compress,
    } = *limits;
    [
        ("message_bytes_max", show(message_bytes_max)),
        ("outbox_bytes_max", show(outbox_bytes_max)),
        (
            "connections_per_address_max",
            show(connections_per_address_max),
        ),
        ("messages_per_second_max", show(messages_per_second_max)),
        ("bytes_per_second_max", show(bytes_per_second_max)),
        ("compress", show(compress)),
    ]
}
