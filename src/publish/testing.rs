//! Options of messages for unit tests.

use std::collections::HashMap;

use super::envelope::MessageOptions;
use super::routing_key::{RoutingKey, RoutingKeys};

pub(super) fn keys(template: &str) -> RoutingKeys {
    RoutingKeys::new(
        RoutingKey::parse(template).expect("a template"),
        HashMap::new(),
    )
}

pub(super) fn message_options(template: &str) -> MessageOptions {
    MessageOptions {
        keys: keys(template),
        forwarded: HashMap::new(),
    }
}
