//! What is wrong with the webhooks' settings, and what is risky about them.

use std::net::IpAddr;

use ringpost::config::{EventKinds, Webhooks};

use super::push_messages::PushMessages;
use super::settings::Settings;

/// What is wrong with them.
pub fn problem(webhooks: &Webhooks) -> Option<String> {
    let error = ringpost::check_webhooks(webhooks).err()?;
    Some(error.to_string())
}

/// What is wrong with telling them what push's clients say.
pub fn messages_problem(settings: &Settings) -> Option<String> {
    let wanted = |messages| messages == PushMessages::Webhook;
    let mut own = settings.listeners.iter().filter_map(|one| one.messages);
    let of_one = own.any(wanted);
    let told = settings.webhooks.url.is_some() && settings.webhooks.events.has(EventKinds::MESSAGE);
    let key = match wanted(settings.push.messages) {
        true => "push.messages",
        false => "messages of a [[listen]]",
    };
    let is_wanted = of_one || wanted(settings.push.messages);
    (is_wanted && !told).then(|| {
        format!("{key} = \"webhook\" needs webhooks.url, and \"message\" among webhooks.events")
    })
}

/// What is right and may not be meant.
pub fn warning(webhooks: &Webhooks) -> Option<String> {
    let authority = webhooks.url.as_deref()?.strip_prefix("http://")?;
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_local = host == "localhost" || address.is_some_and(|address| address.is_loopback());
    (!is_local).then(|| {
        format!(
            "webhooks.url goes to {host} by http://: uids and addresses can be read on the way, and batches be held \
             back; https:// hides them"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_machine_in_the_clear_is_told() {
        for (url, warned) in [
            ("http://shop.example/hooks", true),
            ("http://192.0.2.7:8000", true),
            ("http://[2001:db8::1]/", true),
            ("https://shop.example/hooks", false),
            ("http://localhost:8000/hooks", false),
            ("http://127.0.0.1?x", false),
            ("http://[::1]:80/", false),
        ] {
            let webhooks = Webhooks {
                url: Some(url.to_owned()),
                ..Webhooks::default()
            };
            assert_eq!(warning(&webhooks).is_some(), warned, "{url}");
        }
        assert!(warning(&Webhooks::default()).is_none());
    }
}
