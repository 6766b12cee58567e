//! Certificates of listeners that speak TLS: whether they can be read, how long they hold, and what may keep clients out.

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
    let mut because = Vec::new();
    if *days < DAYS_LEFT_MIN {
        because.push(
            "No client connects when it has expired. Whoever renews by himself has done so by now; a new file is served \
             within a minute."
                .to_owned(),
        );
    }
    because.extend(
        plan.certificate_doubts
            .iter()
            .map(|doubt| format!("{doubt}.")),
    );
    let is_noted = !because.is_empty();
    Some(finding.noted(is_noted).because(because.join(" "), &[]))
}
