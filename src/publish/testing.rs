//! Routing keys for unit tests.

use std::collections::HashMap;

use super::routing_key::{RoutingKey, RoutingKeys};

pub(super) fn keys(template: &str) -> RoutingKeys {
    RoutingKeys::new(
        RoutingKey::parse(template).expect("a template"),
        HashMap::new(),
    )
}
