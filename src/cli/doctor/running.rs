//! What a server that runs here keeps now, as its back-end port tells it.

use ringpost::ListenAddress;
use serde_json::Value;

use crate::cli::backend::ask_for_stats;
use crate::cli::listener::{AppName, Scheme};
use crate::cli::settings::Settings;

/// What is kept, over all cores.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeptNow {
    pub bytes: u64,
    pub streams: u64,
    /// Messages that were kept, and are gone: too old, too many, or for want of room.
    pub gone: u64,
    pub gaps: u64,
}

impl KeptNow {
    /// Asks the server whose configuration this is; `None` if it has no port to ask by.
    pub fn ask(settings: &Settings) -> Option<Result<KeptNow, String>> {
        let mut listeners = settings.listeners.iter();
        let port = listeners.find(|one| {
            let is_plain = one.scheme == Scheme::Text && !one.is_tls && !one.proxy_protocol;
            let is_known = match &one.address {
                ListenAddress::Ip(address) => address.port() != 0,
                ListenAddress::Passed(_) => false,
                _ => true,
            };
            is_plain && one.app == AppName::PushBackend && is_known
        })?;
        let answer = ask_for_stats(&port.address, settings.backend.token.clone());
        Some(answer.and_then(|text| {
            let none = || "its answer to stats is another one's".to_owned();
            let value: Value = serde_json::from_str(&text).map_err(|_| none())?;
            KeptNow::of(&value).ok_or_else(none)
        }))
    }

    fn of(stats: &Value) -> Option<KeptNow> {
        let cores = stats.get("cores")?.as_array()?;
        let sum = |name: &str| -> u64 {
            let figures = cores.iter().filter_map(|core| core.get(name)?.as_u64());
            figures.sum()
        };
        Some(KeptNow {
            bytes: sum("history_bytes"),
            streams: sum("history_streams"),
            gone: sum("history_appended").saturating_sub(sum("history_messages")),
            gaps: sum("history_gaps"),
        })
    }
}

#[cfg(test)]
mod tests {
    use ringpost::stats::{CoreStats, Stats};

    use super::*;

    #[test]
    fn the_figures_of_all_cores_are_added_up() {
        let mut stats = Stats::default();
        for number in 1..=3 {
            let mut core = CoreStats::default();
            (core.history_bytes, core.history_streams) = (1_000 * number, number);
            (core.history_appended, core.history_messages) = (100, 40);
            core.history_gaps = 2 * number;
            stats.cores.push(core);
        }
        let value = serde_json::to_value(stats).expect("JSON");
        let kept = KeptNow {
            bytes: 6_000,
            streams: 6,
            gone: 180,
            gaps: 12,
        };
        assert_eq!(KeptNow::of(&value), Some(kept));
        assert_eq!(KeptNow::of(&serde_json::json!([])), None);
    }
}
