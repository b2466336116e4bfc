//! Routing keys: templates of `{source}`, `{type}` and `{id}`, compiled once. A key has at most the
//! 255 bytes of AMQP. Pure.

use std::collections::HashMap;

use super::template::{Placeholder, Template, Values};
use crate::domain::delivery::SourceName;

/// Longest routing key that AMQP can carry, in bytes.
pub const MAX_LEN: usize = 255;

/// Parts that a routing key can have.
const PARTS: [Placeholder; 3] = [Placeholder::Source, Placeholder::Type, Placeholder::Id];

/// A compiled template of routing keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingKey(Template);

impl RoutingKey {
    /// Compiles a template such as `{source}.{type}`. Text outside of braces is taken literally.
    pub fn parse(template: &str) -> Result<Self, String> {
        let template = Template::parse("routing key", template, &PARTS)?;
        if template.is_empty() {
            return Err("the routing key is empty: use for example \"{source}.{type}\"".to_owned());
        }
        Ok(Self(template))
    }

    /// Returns the key of an event. If it would be too long, the longest parts are cut, each
    /// between two characters.
    pub fn render(&self, source: &str, event_type: &str, id: &str) -> String {
        let values = Values {
            source,
            event_type,
            id,
            message_id: "",
        };
        self.0.render(&values, MAX_LEN)
    }
}

/// Templates of all sources.
#[derive(Clone, Debug)]
pub struct RoutingKeys {
    default: RoutingKey,
    own: HashMap<SourceName, RoutingKey>,
}

impl RoutingKeys {
    /// Returns `own` for its sources, and `default` for all others.
    pub fn new(default: RoutingKey, own: HashMap<SourceName, RoutingKey>) -> Self {
        Self { default, own }
    }

    /// Takes over the template of a source that a reload has removed.
    pub(super) fn keep_removed(&mut self, source: &SourceName, before: &Self) {
        if let Some(key) = before.own.get(source) {
            self.own.insert(source.clone(), key.clone());
        }
    }

    /// Returns the key of an event.
    pub fn render(&self, source: &SourceName, event_type: &str, id: &str) -> String {
        self.own
            .get(source)
            .unwrap_or(&self.default)
            .render(source.as_str(), event_type, id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_is_filled_in_or_refused() {
        let render = |template: &str| {
            RoutingKey::parse(template).map(|key| key.render("stripe", "invoice.paid", "evt_1"))
        };
        assert_eq!(
            render("{source}.{type}").as_deref(),
            Ok("stripe.invoice.paid")
        );
        assert_eq!(render("in.{id}").as_deref(), Ok("in.evt_1"));
        assert_eq!(render("fixed").as_deref(), Ok("fixed"));
        for bad in [
            "",
            "{",
            "}",
            "a}b",
            "{source",
            "{sauce}",
            "{}",
            "{{source}}",
            &"x".repeat(129),
        ] {
            assert!(render(bad).is_err(), "{bad:?} was accepted");
        }
        assert!(render("{sauce}").is_err_and(|why| why.contains("{source}, {type} and {id}")));
    }

    #[test]
    fn the_longest_part_is_cut_and_the_others_stay_whole() {
        let key = RoutingKey::parse("{source}.{type}.{id}")
            .expect("valid")
            .render("stripe", "é".repeat(300).as_str(), "evt_1");
        assert!(
            key.starts_with("stripe.éé") && key.ends_with("é.evt_1"),
            "{key}"
        );
        assert!((254..=255).contains(&key.len()), "{}", key.len());
    }

    proptest! {
        #[test]
        fn no_key_is_too_long(template in "(\\{source\\}|\\{type\\}|\\{id\\}|[a-zé.]{0,9}){1,9}", kind in "\\PC{0,400}", id in "\\PC{0,512}") {
            if let Ok(key) = RoutingKey::parse(&template) {
                prop_assert!(key.render(&"s".repeat(63), &kind, &id).len() <= MAX_LEN);
            }
        }
    }
}
