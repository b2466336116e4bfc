//! Checks of a sender that need no byte of the body: its address, and how much it sends.

use std::net::IpAddr;
use std::time::Instant;

use actix_http::Request as Head;

use super::client_address::client_address;
use super::ingest::Arrival;
use super::service::IngestService;
use crate::domain::outcome::{Outcome, RejectReason, Rejection};
use crate::source::{AddressVerdict, Source};
use crate::telemetry::logs;

/// Returns the refusal of a sender by its address.
pub(super) fn address_is_allowed(
    source: &Source,
    head: &Head,
    service: &IngestService,
) -> Result<(), Outcome> {
    let client = client_address(head, &service.trusted_proxies);
    match source.addresses.judge(client) {
        AddressVerdict::Allowed | AddressVerdict::Observed => Ok(()),
        AddressVerdict::Refused => {
            source.metrics.count_address_miss(is_signed(source, head));
            let detail = format!("{} is not in allow_from of the source", shown(client));
            let rejection = Rejection::new(RejectReason::AddressNotAllowed, detail);
            Err(Outcome::Rejected(rejection))
        }
    }
}

/// Returns the refusal of a delivery by its sender's address, or by the deliveries that came before it. Call it once
/// for each delivery: it counts.
pub(super) fn admit_sender(
    source: &Source,
    head: &Head,
    service: &IngestService,
    arrival: Arrival,
) -> Result<(), Outcome> {
    address_is_allowed(source, head, service)?;
    let client = client_address(head, &service.trusted_proxies);
    if source.addresses.judge(client) == AddressVerdict::Observed {
        source.metrics.count_address_miss(is_signed(source, head));
        logs::address_missed(&source.metrics, arrival.id, &shown(client));
    }
    let admitted = source.rates.admit(client, Instant::now());
    admitted.map_err(Outcome::Shed)
}

fn is_signed(source: &Source, head: &Head) -> bool {
    let headers = head.head().headers();
    let target = head.uri().path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let has = |name: &_| headers.contains_key(name);
    source.scheme.carries_proof(has, target)
}

fn shown(client: Option<IpAddr>) -> String {
    client.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string())
}
