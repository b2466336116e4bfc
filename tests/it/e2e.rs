//! The promise, shown from outside: what providers sent and were answered against what came out at the other end.
//!
//! Every test sends what was not answered 2xx again until it is, as a provider would, and only then counts: events die on the redelivery.

mod embedded;
mod first_steps;
mod guides;
mod hostile;
mod named_keys;
mod ordered;
mod published;
mod room;
mod service_manager;
mod sinks;
mod with_kafka;
pub(crate) mod with_servers;

use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::metrics::Metrics;
use hookweir_testkit::provider::Provider;

/// The outcomes that the instances counted add up to what was sent to them: nothing is counted twice, nothing not at all.
fn check_outcomes(ledger: &Ledger, instances: &[Metrics]) {
    for provider in Provider::ALL {
        let source = format!("source=\"{}\"", provider.name());
        let sum = |name: &str, labels: &[&str]| -> usize {
            let labels: Vec<_> = labels.iter().chain([&source.as_str()]).copied().collect();
            instances
                .iter()
                .map(|metrics| metrics.sum(name, &labels))
                .sum()
        };
        let entries = || {
            ledger
                .entries
                .iter()
                .filter(|entry| entry.provider == provider)
        };
        let attempts = entries().map(|entry| entry.attempts.len()).sum::<usize>();
        let genuine = entries().filter(|entry| !entry.forged).count();
        let forged = entries().filter(|entry| entry.forged).count();
        let others = entries()
            .flat_map(|entry| &entry.attempts)
            .filter(|attempt| attempt.other_body)
            .count();

        let counted = |label: &str| {
            sum(
                "hookweir_outcomes_total",
                &[&format!("outcome=\"{label}\"")],
            )
        };
        let outcomes = (
            counted("accepted"),
            counted("duplicate"),
            counted("rejected"),
        );
        assert_eq!(
            outcomes,
            (genuine, attempts - genuine - forged, forged),
            "accepted, duplicate, rejected of {source}"
        );
        assert_eq!(
            sum("hookweir_outcomes_total", &[]),
            attempts,
            "all outcomes of {source}"
        );
        assert_eq!(
            sum("hookweir_received_total", &[]),
            attempts,
            "received by {source}"
        );
        assert_eq!(
            sum("hookweir_conflicts_total", &[]),
            others,
            "conflicts of {source}"
        );
    }
}
