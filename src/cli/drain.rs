//! Whether a drain has the time that it takes.

use std::time::Duration;

use super::settings::Settings;

/// What to say of it, at the start and after a reload.
pub fn warnings(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    let (connections, rate) = (config.max_connections, config.drain_rate);
    if connections == 0 || rate == 0 {
        return Vec::new();
    }
    let needed = Duration::from_secs_f64(connections as f64 / rate as f64);
    if needed <= config.drain_timeout {
        return Vec::new();
    }
    vec![format!(
        "drain_timeout = {} is too short to close max_connections = {connections} at drain_rate = {rate} a second, which \
         takes {}: who is left by then is closed at once",
        humantime::format_duration(config.drain_timeout),
        humantime::format_duration(Duration::from_secs(needed.as_secs() + 1)),
    )]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_that_is_too_short_is_told() {
        for (connections, rate, seconds, told) in [
            (1_000_000, 5_000, 10, true),
            (1_000_000, 5_000, 200, false),
            (1_000_000, 0, 10, false),
            (0, 5_000, 10, false),
            (50_001, 5_000, 10, true),
        ] {
            let mut settings = Settings::default();
            settings.config.max_connections = connections;
            settings.config.drain_rate = rate;
            settings.config.drain_timeout = Duration::from_secs(seconds);
            let warnings = warnings(&settings);
            assert_eq!(
                !warnings.is_empty(),
                told,
                "{connections} {rate}: {warnings:?}"
            );
        }
    }
}
