//! `[[source]]`

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hookweir_signatures::SourceSpec;
use http::HeaderName;

use crate::config::define::{section, words};
use crate::config::option::{
    AllowList, Bytes, Count, Days, Flag, GIB, HeaderNames, Millis, Secrets, Secs, Table,
    TemplateKind, Text, Texts, one_of,
};
use crate::config::rules;
use crate::config::secret::Secret;
use crate::config::sink_kinds::{SinkNames, TypePatterns};
use crate::domain::delivery::SourceName;
use crate::domain::network::AllowedAddresses;
use crate::domain::sink::{EventFilter, SinkName, SourceRoute, TypePattern};

section! {
    /// A source is one inbound: `https://your.host/ingest/{path}`. If no source is configured, and only on
    /// loopback, there is a source "demo".
    #[derive(Clone)]
    pub struct Source given {
        /// Headers that are stored with events: those that the source passes on, and those that any of its
        /// sinks asks for.
        pub stored_headers: Vec<HeaderName>;
        /// References of `secrets` and `retiring_secrets`, as they are written. Hold no secret.
        pub secret_names: Vec<String>;
    } named {
        /// Name in metrics and logs: a-z, 0-9, "_" and "-".
        pub name: SourceName = "name", Text("name, unique", rules::anything), "stripe";
    } {
        /// Path after /ingest/; the name if left out.
        pub path: String = "path", Text("up to 255 characters of a-z, A-Z, 0-9, `-._~`, parted by `/`", rules::path), "stripe";
        /// Provider, as listed by `hookweir providers`. "none" accepts any request from anybody.
        pub provider: Option<String> = "provider", Text("name of a provider", rules::not_empty), "stripe";
        /// Secrets in use, any of which may have signed: "env:NAME", "file:PATH", "credential:NAME" (systemd)
        /// or "plain:TEXT" (for trials).
        pub secrets: Vec<Secret> = "secrets", Secrets { literal: false }, ["env:STRIPE_SECRET"];
        /// Secrets that are being rotated out, as in secrets: accepted as well. `hookweir sources NAME` says when
        /// each was last used, warns if only these verify, and tells when one is safe to remove.
        pub retiring_secrets: Vec<Secret> = "retiring_secrets", Secrets { literal: false }, [];
        /// true takes the secret from the provider's handshake, in place of secrets (asana, notion). The first
        /// secret is kept in the store; to accept another, run `hookweir learned NAME --forget`.
        pub learn_secret: bool = "learn_secret", Flag, false;
        /// Public keys of providers that sign with a key pair or a token: PEM, or as the provider shows them,
        /// or a reference as in secrets.
        pub public_keys: Vec<Secret> = "public_keys", Secrets { literal: true }, [];
        /// URL of the provider's key set.
        pub jwks: Option<String> = "jwks", Text("URL", rules::web_url), "https://provider.example/keys";
        /// URL of this source as entered at the provider. Required if the provider signs it.
        pub public_url: Option<String> = "public_url", Text("URL", rules::web_url), "https://your.host/ingest/stripe";
        /// Other values that a provider needs: audience, issuer, api_key.
        pub params: BTreeMap<String, String> = "params", Texts, { };
        /// Headers of the request that are passed on to the queue. A value that is not UTF-8 is read as
        /// Latin-1; a value over 1024 bytes is left out.
        pub forward_headers: Vec<HeaderName> = "forward_headers", HeaderNames, ["user-agent"];
        /// Sinks that events go to, by name; all of them if left out.
        pub sinks: Vec<SinkName> = "sinks", SinkNames, ["default"];
        /// Types of the events that go to any sink; all if left out. Other events are accepted, counted as
        /// filtered, and kept as long as published ones.
        pub event_types: Vec<TypePattern> = "event_types", TypePatterns, ["order.*", "refund.*"];
        /// Types of events that go to no sink.
        pub except_event_types: Vec<TypePattern> = "except_event_types", TypePatterns, ["ping"];
        /// Routing key of this source; that of the sink if left out.
        pub routing_key: Option<String> = "routing_key", TemplateKind::RoutingKey, "{source}.{type}";
        /// Kafka topic of this source; that of the sink if left out.
        pub topic: Option<String> = "topic", TemplateKind::Topic, "hookweir.{source}";
        /// Key of this source's Kafka records; that of the sink if left out.
        pub record_key: Option<String> = "record_key", TemplateKind::Key, "{message_id}";
        /// "whole" passes a POST of several events on as one message, "split" makes a message of each event.
        /// If left out, the provider's preset decides.
        pub batch: Option<Batch> = "batch", one_of::<Batch>(), "whole";
        /// Treatment of equal bytes under another event id, or without an id. "publish" passes the event on
        /// with the header x-hookweir-same-bytes-as. "drop" answers it as a duplicate for same_bytes_span_secs:
        /// if a provider sends equal bytes for two events, "drop" loses the second.
        pub same_bytes: SameBytes = "same_bytes", one_of::<SameBytes>(), "publish";
        /// Time in which equal bytes are dropped; required with same_bytes = "drop".
        pub same_bytes_span: Option<Duration> = "same_bytes_span_secs", Secs(1..=604_800), 60;
        /// Largest body; that of the provider or of `[limits]` if left out.
        pub max_body_bytes: Option<usize> = "max_body_bytes", Bytes(1..=GIB), 1048576;
        /// Time to answer; that of the provider or of `[limits]` if left out.
        pub deadline: Option<Duration> = "deadline_ms", Millis(100..=60_000), 2500;
        /// Time in which a redelivery is recognised; that of the provider or of `[dedup]` if left out.
        pub window: Option<Duration> = "window_days", Days(1..=366), 7;
        /// Addresses that may send; all if left out. A delivery from elsewhere is answered 403, and nothing of it is
        /// kept. Behind a proxy, set server.trusted_proxies. Providers change their addresses: begin with
        /// allow_from_mode = "observe". A signature is the better proof.
        pub allow_from: Vec<AllowedAddresses> = "allow_from", AllowList, ["stripe"];
        /// "refuse" answers deliveries from elsewhere with 403. "observe" takes them, and counts them in
        /// hookweir_address_misses_total.
        pub allow_from_mode: AllowFromMode = "allow_from_mode", one_of::<AllowFromMode>(), "refuse";
        /// Deliveries a second that the source takes, on this instance; no limit if left out. A delivery above is
        /// answered 429 (or as the provider demands) with Retry-After, before its body is kept. A delivery without
        /// the header of a signature does not count. Anybody can make one up: set the limit of a client, too.
        pub rate_limit_per_sec: Option<u32> = "rate_limit_per_sec", Count(1..=1_000_000), 500;
        /// Deliveries that may come at once, above rate_limit_per_sec; those of two seconds if left out.
        pub rate_limit_burst: Option<u32> = "rate_limit_burst", Count(1..=1_000_000), 1000;
        /// Deliveries a second that the source takes from one address, as rate_limit_per_sec. Of IPv6, 64 bits count
        /// as one address. 10,000 addresses are remembered; further ones share one limit.
        pub client_rate_limit_per_sec: Option<u32> = "client_rate_limit_per_sec", Count(1..=1_000_000), 50;
        /// Deliveries that may come at once from one address; those of two seconds if left out.
        pub client_rate_limit_burst: Option<u32> = "client_rate_limit_burst", Count(1..=1_000_000), 100;
        /// true allows provider = "none" on a public address.
        pub allow_unverified_public: bool = "allow_unverified_public", Flag, false;
        /// Scheme of your own, or a provider's with changes, in the words of docs/reference/schemes.md.
        pub scheme: Option<toml::Table> = "scheme", Table, { like = "stripe", timestamp = { tolerance_secs = 60 } };
    }
}

words! {
    /// Treatment of a POST with several events.
    pub enum Batch {
        /// One message.
        Whole = "whole",
        /// One message per event.
        Split = "split",
    }
}

words! {
    /// Treatment of deliveries from addresses that are not allowed.
    pub enum AllowFromMode {
        /// They are answered 403.
        Refuse = "refuse",
        /// They are taken, and counted.
        Observe = "observe",
    }
}

words! {
    /// Treatment of equal bytes under another event id.
    pub enum SameBytes {
        /// The event is published with a mark.
        Publish = "publish",
        /// The event is answered as a duplicate.
        Drop = "drop",
    }
}

impl Source {
    /// Returns the sinks of the source's events, and their filter.
    pub fn route(&self) -> SourceRoute {
        SourceRoute {
            sinks: self.sinks.clone(),
            filter: EventFilter {
                only: self.event_types.clone(),
                except: self.except_event_types.clone(),
            },
        }
    }

    /// Returns the time in which equal bytes under another id are dropped; `None` if they are published.
    pub fn drop_same_bytes(&self) -> Option<Duration> {
        self.same_bytes_span
            .filter(|_| self.same_bytes == SameBytes::Drop)
    }

    /// Returns `true` if each event of a POST becomes a message; `None` if the provider's preset decides.
    pub fn split(&self) -> Option<bool> {
        self.batch.map(|batch| batch == Batch::Split)
    }

    /// Returns scheme and keys as the signature engine takes them.
    pub fn spec(&self) -> SourceSpec {
        SourceSpec {
            provider: self.provider.clone(),
            scheme: self.scheme.clone(),
            secrets: [&self.secrets[..], &self.retiring_secrets].concat(),
            learn_secret: self.learn_secret,
            public_keys: self.public_keys.clone(),
            jwks: self.jwks.clone(),
            public_url: self.public_url.clone(),
            params: self.params.clone(),
            split: self.split(),
            routes_by_type: self
                .routing_key
                .as_ref()
                .is_none_or(|key| key.contains("{type}")),
            max_body_bytes: self.max_body_bytes,
        }
    }

    /// Returns the key of a secret that stands for one that could not be read.
    pub fn unread(&self) -> Option<String> {
        let first = |list: &[Secret], key: &str| {
            list.iter()
                .position(Secret::is_unread)
                .map(|at| format!("{key}[{at}]"))
        };
        first(&self.secrets, "secrets")
            .or_else(|| first(&self.retiring_secrets, "retiring_secrets"))
            .or_else(|| first(&self.public_keys, "public_keys"))
    }

    /// Returns the key of this configuration for one of the signature engine, which has all secrets in one list.
    pub fn own_key(&self, key: &str) -> String {
        let position = key
            .strip_prefix("secrets[")
            .and_then(|rest| rest.strip_suffix(']'));
        let position = position.and_then(|position| position.parse::<usize>().ok());
        match position.and_then(|position| position.checked_sub(self.secrets.len())) {
            Some(position) => format!("retiring_secrets[{position}]"),
            None => key.to_owned(),
        }
    }
}

/// Shows only the name, path and provider: `params`, `scheme` and URLs may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
