//! The Redis of a cluster: whether it would do, and what of it may cause trouble.

use super::finding::{Finding, MendPlace, Verdict};
use super::machine::Machine;
use super::plan::DoctorPlan;

/// Tried before; all of them in one finding.
pub fn redis(_: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let trials = &plan.cluster;
    trials.first()?;
    let failed: Vec<&str> = trials
        .iter()
        .filter_map(|trial| trial.found.as_ref().err())
        .map(String::as_str)
        .collect();
    if !failed.is_empty() {
        let finding = Finding {
            verdict: Verdict::Breaks,
            ..Finding::ok("cluster's Redis", failed.join("; "))
        };
        let because =
            "The server starts without it, and serves its own users alone until it is there.";
        return Some(finding.because(because, &[]));
    }
    let found: Vec<&str> = trials
        .iter()
        .filter_map(|trial| trial.found.as_deref().ok())
        .collect();
    let doubts = trials.iter().flat_map(|trial| &trial.doubts);
    let (mut because, mut mends) = (Vec::new(), Vec::new());
    for doubt in doubts {
        if !because.contains(&doubt.because.as_str()) {
            because.push(&doubt.because);
            mends.extend(doubt.mend.clone());
        }
    }
    mends.dedup();
    let finding = Finding::ok("cluster's Redis", found.join("; ")).noted(!because.is_empty());
    let mends: Vec<_> = mends
        .into_iter()
        .map(|line| MendPlace::Redis.line(line))
        .collect();
    Some(finding.because(because.join(" "), &mends))
}
