//! Documented examples, tampering, and signing back and forth, for every preset.

#![allow(
    clippy::disallowed_methods,
    reason = "tests read their data, and how long to go on"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::sign::{SignInputs, sample_body, sign};
use super::*;
use crate::crypto::mac;
use crate::language::syntax::{DocumentRef, ParamText};
use crate::language::{presets, spec, template};
use crate::scheme::{Check, Document};
use crate::sign::sample;
use crate::testing::{self, verify, *};

mod canonical;
mod catalogue;
mod certificates;
mod compile_errors;
mod engine;
mod facts;
mod fuzz;
mod handshakes;
mod http_signatures;
mod named_keys;
mod operator_events;
mod rules;
mod tamper;
mod vectors;

/// Two deliveries are one event.
fn same(a: &VerifiedEvent, b: &VerifiedEvent) -> bool {
    match (&a.identity, &b.identity) {
        (Identity::Bytes, Identity::Bytes) => {
            (a.digest, &a.event_type, &a.query) == (b.digest, &b.event_type, &b.query)
        }
        (Identity::Unknown, Identity::Unknown) => a.signed.is_some() && a.signed == b.signed,
        (one, other) => one == other,
    }
}
