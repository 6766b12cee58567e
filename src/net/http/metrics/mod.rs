//! `/metrics`: what every core counts, as Prometheus' text format 0.0.4.
//!
//! A scrape is one question to all cores; their answers become families of samples here, on the core that was
//! asked, and nothing is kept. Bound: a core has some fifty samples and one a listener. Every name begins
//! `ringpost_`; units and endings follow Prometheus' rules, which `promtool` holds us to in the tests.

mod cluster;
mod facts;
mod figures;
mod page;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use prometheus::proto::{Bucket, Histogram, Metric, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};

pub use self::cluster::{ClusterFigures, RedisFigures};
pub use self::facts::{Facts, SITE, UpgradeFigures};
use self::figures::FIGURES;
use self::page::{MetricsPage, label, sample};
use super::HttpAnswer;
use crate::app;
use crate::app::host::Host;
use crate::stats::{CoreStats, Hold, Stats, TurnTimes};
use crate::tls::FAILURE_KINDS;

/// Everything that one answer says.
fn make_page(facts: &Facts, stats: &Stats, depths: &[usize]) -> MetricsPage {
    let mut page = MetricsPage::default();
    add_server(&mut page, facts, stats);
    add_upgrades(&mut page, &facts.upgrades);
    add_connections(&mut page, facts, stats);
    for figure in FIGURES {
        let samples = stats.cores.iter().map(|core| {
            let value = (figure.of)(core) as f64;
            sample(figure.kind, vec![label("core", core.core)], value)
        });
        page.family(figure.name, figure.help, figure.kind, samples.collect());
    }
    let depths = depths.iter().enumerate().map(|(core, depth)| {
        let labels = vec![label("core", core)];
        sample(MetricType::GAUGE, labels, *depth as f64)
    });
    page.family(
        "ringpost_mailbox_envelopes",
        "Envelopes that waited in the core's mailbox when the scrape began.",
        MetricType::GAUGE,
        depths.collect(),
    );
    add_pauses(&mut page, facts, stats);
    add_verdicts(&mut page, stats);
    cluster::add(&mut page, &facts.cluster);
    add_webhooks(&mut page, stats);
    add_tls(&mut page, facts, stats);
    add_evictions(&mut page, stats);
    add_closes(&mut page, stats);
    let turns = stats.cores.iter().map(turns);
    page.family(
        "ringpost_turn_duration_seconds",
        "Time that the core's turns took; its sum is the time that the core was busy.",
        MetricType::HISTOGRAM,
        turns.collect(),
    );
    page
}

fn add_server(page: &mut MetricsPage, facts: &Facts, stats: &Stats) {
    let version = vec![label("version", env!("CARGO_PKG_VERSION"))];
    page.family(
        "ringpost_build_info",
        "1, with the program's version.",
        MetricType::GAUGE,
        vec![sample(MetricType::GAUGE, version, 1.0)],
    );
    let drivers = stats.cores.iter().map(|core| {
        let labels = vec![
            label("core", core.core),
            label("runtime", core.driver.runtime),
            label("connections", core.driver.connections),
        ];
        sample(MetricType::GAUGE, labels, 1.0)
    });
    page.family(
        "ringpost_driver_info",
        "1, with what the core waits with: for its runtime, and for its connections.",
        MetricType::GAUGE,
        drivers.collect(),
    );
    let since_epoch = facts.started_at.duration_since(UNIX_EPOCH);
    page.single(
        "ringpost_start_time_seconds",
        "When the server started, in seconds since 1970.",
        since_epoch.map_or(0.0, |time| time.as_secs_f64()),
    );
    page.single(
        "ringpost_uptime_seconds",
        "Time since the server started, whatever was done to the clock.",
        facts.started.elapsed().as_secs_f64(),
    );
    let lost = sample(MetricType::COUNTER, vec![], crate::log::lost() as f64);
    page.family(
        "ringpost_log_lines_lost_total",
        "Lines of the log that standard error did not take.",
        MetricType::COUNTER,
        vec![lost],
    );
    page.single(
        "ringpost_cores",
        "Cores of the server.",
        stats.cores.len() as f64,
    );
}

fn add_upgrades(page: &mut MetricsPage, upgrades: &UpgradeFigures) {
    let results = [("done", &upgrades.done), ("failed", &upgrades.failed)];
    let samples = results.map(|(result, count)| {
        let labels = vec![label("result", result)];
        let count = count.load(Ordering::Relaxed);
        sample(MetricType::COUNTER, labels, count as f64)
    });
    page.family(
        "ringpost_upgrades_total",
        "Upgrades without a disconnect that led to this process, and those of this process that failed.",
        MetricType::COUNTER,
        samples.into(),
    );
    page.single(
        "ringpost_upgrade_pause_seconds",
        "For how long connections were not read at the last upgrade; 0 if there was none.",
        upgrades.pause.load(Ordering::Relaxed) as f64 / 1e6,
    );
}

fn add_connections(page: &mut MetricsPage, facts: &Facts, stats: &Stats) {
    let mut samples = Vec::new();
    for (number, (app, url)) in facts.listeners.iter().enumerate() {
        for core in &stats.cores {
            let open = core.by_listener.get(number).copied().unwrap_or(0);
            let labels = vec![
                label("core", core.core),
                label("listener", url),
                label("app", app),
            ];
            samples.push(sample(MetricType::GAUGE, labels, open as f64));
        }
    }
    page.family(
        "ringpost_connections",
        "Open connections, those still in their handshake or closing included.",
        MetricType::GAUGE,
        samples,
    );
}

fn add_pauses(page: &mut MetricsPage, facts: &Facts, stats: &Stats) {
    let mut samples = Vec::new();
    for (number, (app, url)) in facts.listeners.iter().enumerate() {
        for hold in Hold::ALL {
            let times = stats
                .cores
                .iter()
                .filter_map(|core| core.paused.get(number));
            let seconds: f64 = times.map(|by| by[hold as usize].as_secs_f64()).sum();
            if seconds > 0.0 {
                let labels = vec![
                    label("listener", url),
                    label("app", app),
                    label("reason", hold.name()),
                ];
                samples.push(sample(MetricType::COUNTER, labels, seconds));
            }
        }
    }
    page.family(
        "ringpost_paused_seconds_total",
        "Time in which connections were not read, all of them added up, by listener and by what it waited for.",
        MetricType::COUNTER,
        samples,
    );
}

fn add_verdicts(page: &mut MetricsPage, stats: &Stats) {
    let delivered = stats.sum(|core| core.pushes_delivered);
    let offline = stats.sum(|core| core.pushes_offline);
    let kept = stats.sum(|core| core.pushes_kept);
    let verdicts = [
        ("delivered", delivered),
        ("kept", kept),
        ("offline", offline),
        ("unknown", stats.sum(|core| core.pushes_unknown)),
    ];
    let samples = verdicts.map(|(verdict, count)| {
        let labels = vec![label("verdict", verdict)];
        sample(MetricType::COUNTER, labels, count as f64)
    });
    page.family(
        "ringpost_pushes_total",
        "Pushes of back ends by their verdict: whether at least one connection was reached, or else the message is kept.",
        MetricType::COUNTER,
        samples.into(),
    );
}

/// Where some listener speaks it.
fn add_tls(page: &mut MetricsPage, facts: &Facts, stats: &Stats) {
    let Some(tls) = &facts.tls else { return };
    let kinds = [
        ("1.3", "full"),
        ("1.3", "resumed"),
        ("1.2", "full"),
        ("1.2", "resumed"),
    ];
    let samples = kinds.iter().enumerate().map(|(nth, (version, kind))| {
        let labels = vec![label("version", version), label("kind", kind)];
        let count = stats.sum(|core| core.tls_handshakes[nth]);
        sample(MetricType::COUNTER, labels, count as f64)
    });
    page.family(
        "ringpost_tls_handshakes_total",
        "TLS handshakes that were done: in full, or resumed by a ticket.",
        MetricType::COUNTER,
        samples.collect(),
    );
    let samples = FAILURE_KINDS.iter().enumerate().map(|(nth, reason)| {
        let count = stats.sum(|core| core.tls_failures[nth]);
        sample(
            MetricType::COUNTER,
            vec![label("reason", reason)],
            count as f64,
        )
    });
    page.family(
        "ringpost_tls_failures_total",
        "TLS that failed: in the handshake, by an alert of the peer's later (peer_alert), or by a wrong record (record).",
        MetricType::COUNTER,
        samples.collect(),
    );
    page.single(
        "ringpost_tls_certificate_expiry_timestamp_seconds",
        "When the first of the certificates expires, in seconds since 1970.",
        tls.expires() as f64,
    );
}

/// By why they went.
fn add_evictions(page: &mut MetricsPage, stats: &Stats) {
    let reasons = ["bytes", "size", "time"];
    let samples = reasons.iter().enumerate().map(|(nth, reason)| {
        let labels = vec![label("reason", reason)];
        let count = stats.sum(|core| core.history_evicted[nth]);
        sample(MetricType::COUNTER, labels, count as f64)
    });
    page.family(
        "ringpost_history_evicted_total",
        "Kept messages that went: for want of room (history_bytes_core_max), for their stream's size, for their time.",
        MetricType::COUNTER,
        samples.collect(),
    );
}

fn add_webhooks(page: &mut MetricsPage, stats: &Stats) {
    let results = [
        ("sent", stats.sum(|core| core.webhooks_sent)),
        ("failed", stats.sum(|core| core.webhooks_failed)),
        ("dropped", stats.sum(|core| core.webhooks_dropped)),
    ];
    let samples = results.map(|(result, count)| {
        let labels = vec![label("result", result)];
        sample(MetricType::COUNTER, labels, count as f64)
    });
    page.family(
        "ringpost_webhooks_total",
        "Events for webhooks: taken by the receiver, given up, or without room to wait.",
        MetricType::COUNTER,
        samples.into(),
    );
}

/// Every reason, those that have not occurred too: a rate wants a first value.
fn add_closes(page: &mut MetricsPage, stats: &Stats) {
    page.closes(
        "ringpost_closes_total",
        "Connections that ended, or were refused, by the reason.",
        |reason| stats.sum(|core| core.closed.get(reason).copied().unwrap_or(0)),
    );
    page.closes(
        "ringpost_http_closes_total",
        "HTTP connections that ended, by the reason; those that became a client's are not among them.",
        |reason| stats.sum(|core| core.http_closed.get(reason).copied().unwrap_or(0)),
    );
}

fn turns(core: &CoreStats) -> Metric {
    let mut sum = 0;
    let buckets = TurnTimes::BOUNDS.iter().zip(&core.turns.counts);
    let buckets = buckets.map(|(bound, count)| {
        sum += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound.as_secs_f64());
        bucket.set_cumulative_count(sum);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(core.turns.counts.iter().sum());
    histogram.set_sample_sum(core.turns.total.as_secs_f64());
    let mut metric = Metric::from_label(vec![label("core", core.core)]);
    metric.set_histogram(histogram);
    metric
}

/// What `/metrics` answers on a core of this host.
pub async fn scrape(host: Rc<RefCell<Host>>, facts: Arc<Facts>) -> HttpAnswer {
    let gathering = host.borrow_mut().snapshot();
    let app::Answer::Stats(stats) = gathering.stats.await else {
        return HttpAnswer::error(500, "internal", "the cores' answer is none");
    };
    let page = make_page(&facts, &stats, &gathering.depths);
    match TextEncoder::new().encode_to_string(&page.families) {
        Ok(text) => HttpAnswer::new(
            200,
            &[
                ("Content-Type", TEXT_FORMAT),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
            ],
            text,
        ),
        Err(error) => HttpAnswer::error(500, "internal", &error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseReason;
    use std::collections::HashSet;

    fn lines(cores: usize) -> Vec<String> {
        let facts = Facts::new(vec![("relay", "ws://127.0.0.1:1\"\\".to_owned())], None);
        let core = |core: usize| CoreStats {
            core: core as u16,
            ..CoreStats::default()
        };
        let stats = Stats {
            cores: (0..cores).map(core).collect(),
        };
        let page = make_page(&facts, &stats, &vec![3; cores]);
        let text = TextEncoder::new().encode_to_string(&page.families).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn every_name_is_ours_and_comes_once() {
        let lines = lines(2);
        let types = lines.iter().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<&str> = types.map(|rest| rest.split(' ').next().unwrap()).collect();
        assert!(names.len() > FIGURES.len());
        assert!(names.iter().all(|name| name.starts_with("ringpost_")));
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }

    #[test]
    fn a_core_that_has_counted_nothing_yet_has_every_sample() {
        let lines = lines(1);
        for reason in CloseReason::ALL {
            let line = format!("ringpost_closes_total{{reason=\"{reason}\"}} 0");
            assert!(lines.contains(&line), "{line}");
        }
        let escaped =
            r#"ringpost_connections{core="0",listener="ws://127.0.0.1:1\"\\",app="relay"} 0"#;
        assert!(lines.iter().any(|line| line == escaped), "{lines:?}");
        assert!(lines.contains(&"ringpost_mailbox_envelopes{core=\"0\"} 3".to_owned()));
    }

    #[test]
    fn a_histogram_counts_upwards_to_all() {
        let mut core = CoreStats::default();
        for micros in [1, 7, 7, 3_000_000] {
            core.turns.add(std::time::Duration::from_micros(micros));
        }
        let metric = turns(&core);
        let histogram = metric.get_histogram();
        let counts: Vec<u64> = histogram
            .get_bucket()
            .iter()
            .map(Bucket::cumulative_count)
            .collect();
        assert_eq!(counts[..3], [1, 3, 3]);
        assert_eq!(counts.last(), Some(&3));
        assert_eq!(histogram.get_sample_count(), 4);
        assert!((histogram.get_sample_sum() - 3.000_015).abs() < 1e-9);
    }
}
