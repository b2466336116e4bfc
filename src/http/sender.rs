//! Checks of a sender that need no byte of the body: its address, and how much it sends.

use std::net::IpAddr;

use actix_http::Request as Head;

use super::client_address::client_address;
use super::ingest::Arrival;
use super::service::IngestService;
use crate::domain::outcome::{Outcome, RejectReason, Rejection};
use crate::source::{AddressVerdict, Source};
use crate::telemetry::logs;

/// A client that may send.
#[derive(Clone, Copy)]
pub(super) struct JudgedClient {
    /// Its address, if it is known.
    pub(super) address: Option<IpAddr>,
    verdict: AddressVerdict,
}

impl JudgedClient {
    /// Returns the client of a request, or its refusal by its address.
    pub(super) fn of(
        source: &Source,
        head: &Head,
        service: &IngestService,
    ) -> Result<Self, Outcome> {
        let client = client_address(head, &service.trusted_proxies);
        let verdict = source.addresses.judge(client);
        if verdict == AddressVerdict::Refused {
            source.metrics.count_address_miss(is_signed(source, head));
            let detail = format!("{} is not in allow_from of the source", shown(client));
            let rejection = Rejection::new(RejectReason::AddressNotAllowed, detail);
            return Err(Outcome::Rejected(rejection));
        }
        Ok(Self {
            address: client,
            verdict,
        })
    }

    /// Counts a delivery of the client, or returns its refusal by the deliveries before it. Call it last: what another
    /// check refuses does not count.
    pub(super) fn admit(
        self,
        source: &Source,
        head: &Head,
        arrival: Arrival,
    ) -> Result<(), Outcome> {
        if self.verdict == AddressVerdict::Observed {
            source.metrics.count_address_miss(is_signed(source, head));
            logs::address_missed(&source.metrics, arrival.id, &shown(self.address));
        }
        // Without the header of a signature it will be refused: it takes nothing of what the provider may send.
        let counts = || !is_unsigned(source, head);
        let admitted = source.rates.admit(self.address, counts, arrival.instant);
        admitted.map_err(Outcome::Shed)
    }
}

/// Returns `true` if the head carries a proof of the scheme, right or wrong.
fn is_signed(source: &Source, head: &Head) -> bool {
    let headers = head.head().headers();
    let has = |name: &_| headers.contains_key(name);
    source.scheme.carries_proof(has, target(head))
}

/// Returns `true` if the scheme has its proof in a header, and the head has none.
fn is_unsigned(source: &Source, head: &Head) -> bool {
    source.scheme.carries_proof(|_| true, "/") && !is_signed(source, head)
}

fn target(head: &Head) -> &str {
    let target = head.uri().path_and_query();
    target.map_or("/", |target| target.as_str())
}

fn shown(client: Option<IpAddr>) -> String {
    client.map_or_else(
        || "a client that its proxy does not name (X-Forwarded-For, PROXY protocol)".to_owned(),
        |ip| ip.to_string(),
    )
}
