//! Certificates of listeners that speak TLS: whether they can be read, and how long they hold.

use super::finding::{Finding, MendPlace};
use super::machine::Machine;
use super::plan::DoctorPlan;
use crate::cli::certificates::DAYS_LEFT_MIN;

/// The first that cannot be served, or the one that expires first.
pub fn certificates(_: &Machine, plan: &DoctorPlan) -> Option<Finding> {
    let wrong = plan.certificates.iter().find_map(|one| one.as_ref().err());
    if let Some(error) = wrong {
        let because = "The server does not start with it; one that runs goes on with what it has.";
        let mend = [MendPlace::Configuration.line("tls.certificate_file = \"…\"")];
        let finding = Finding::ok("certificates", error.clone()).noted(true);
        return Some(finding.because(because, &mend));
    }
    let days = plan.certificates.iter().flatten().min()?;
    let finding = Finding::ok("certificates", format!("for {days} more days"));
    let because = "No client connects when it has expired. Whoever renews by himself has done so by now; a new file \
                   is served within a minute.";
    Some(finding.noted(*days < DAYS_LEFT_MIN).because(because, &[]))
}
