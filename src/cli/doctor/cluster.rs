//! The Redis of a cluster: whether it would do, and what of it may cause trouble.

use super::finding::{Finding, MendPlace, Verdict};
use super::machine::Machine;
use super::plan::DoctorPlan;

/// Tried before.
pub fn redis(_: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let trial = plan.cluster.as_ref()?;
    let found = match &trial.found {
        Ok(found) => found.clone(),
        Err(error) => {
            let finding = Finding {
                verdict: Verdict::Breaks,
                ..Finding::ok("cluster's Redis", error.clone())
            };
            let because =
                "The server starts without it, and serves its own users alone until it is there.";
            return Some(finding.because(because, &[]));
        }
    };
    let finding = Finding::ok("cluster's Redis", found).noted(!trial.doubts.is_empty());
    let because: Vec<&str> = trial
        .doubts
        .iter()
        .map(|one| one.because.as_str())
        .collect();
    let mends = trial.doubts.iter().filter_map(|one| one.mend.clone());
    let mends: Vec<_> = mends.map(|line| MendPlace::Redis.line(line)).collect();
    Some(finding.because(because.join(" "), &mends))
}
