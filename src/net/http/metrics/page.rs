//! An answer of `/metrics` in the making: [`MetricsPage`], and the samples that its families have.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use crate::close::CloseReason;

/// One answer in the making.
#[derive(Default)]
pub struct MetricsPage {
    pub families: Vec<MetricFamily>,
}

impl MetricsPage {
    /// A family without samples is none, and left out.
    pub fn family(&mut self, name: &str, help: &str, kind: MetricType, samples: Vec<Metric>) {
        if samples.is_empty() {
            return;
        }
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(samples);
        self.families.push(family);
    }

    /// A counter of endings.
    pub fn closes(&mut self, name: &str, help: &str, count: impl Fn(usize) -> u64) {
        let samples = CloseReason::ALL.iter().map(|reason| {
            let labels = vec![label("reason", reason.text())];
            sample(MetricType::COUNTER, labels, count(reason.index()) as f64)
        });
        self.family(name, help, MetricType::COUNTER, samples.collect());
    }

    /// What there is one of.
    pub fn single(&mut self, name: &str, help: &str, value: f64) {
        let sample = sample(MetricType::GAUGE, vec![], value);
        self.family(name, help, MetricType::GAUGE, vec![sample]);
    }
}

pub fn label(name: &str, value: impl ToString) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_string());
    pair
}

pub fn sample(kind: MetricType, labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut metric = Metric::from_label(labels);
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}
