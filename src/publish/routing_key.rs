//! Routing keys: templates of `{source}`, `{type}` and `{id}`, compiled once. A key has at most the
//! 255 bytes of AMQP. Pure.

use std::collections::HashMap;

use crate::domain::delivery::SourceName;
use crate::domain::text::cut;

/// Longest routing key that AMQP can carry, in bytes.
pub const MAX_LEN: usize = 255;

/// Longest fixed text of a template, in bytes. The rest is for the event's parts.
const MAX_FIXED: usize = 128;

/// A compiled template of routing keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingKey(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Source,
    Type,
    Id,
}

impl RoutingKey {
    /// Compiles a template such as `{source}.{type}`. Text outside of braces is taken literally.
    pub fn parse(template: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = template;
        let mut fixed = 0;
        while !rest.is_empty() {
            let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
            if text.contains('}') {
                return Err(format!(
                    "routing key \"{}\" has a \"}}\" without a \"{{\"",
                    template.escape_debug()
                ));
            }
            if !text.is_empty() {
                fixed += text.len();
                parts.push(Part::Fixed(text.to_owned()));
            }
            if text.len() == rest.len() {
                break;
            }
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!(
                    "routing key \"{}\" has a \"{{\" without a \"}}\"",
                    template.escape_debug()
                ));
            };
            parts.push(match name {
                "source" => Part::Source,
                "type" => Part::Type,
                "id" => Part::Id,
                other => {
                    return Err(format!(
                        "routing key \"{}\" has an unknown part {{{}}}: use {{source}}, {{type}} and {{id}}",
                        template.escape_debug(),
                        other.escape_debug()
                    ));
                }
            });
            rest = after;
        }
        if parts.is_empty() {
            return Err("the routing key is empty: use for example \"{source}.{type}\"".to_owned());
        }
        if fixed > MAX_FIXED {
            return Err(format!(
                "the fixed text of routing key \"{}\" is longer than {MAX_FIXED} bytes",
                template.escape_debug()
            ));
        }
        Ok(Self(parts))
    }

    /// Returns the key of an event. If it would be too long, the longest parts are cut, each
    /// between two characters.
    pub fn render(&self, source: &str, event_type: &str, id: &str) -> String {
        let text = |part: &Part| match part {
            Part::Fixed(_) => None,
            Part::Source => Some(source.len()),
            Part::Type => Some(event_type.len()),
            Part::Id => Some(id.len()),
        };
        let fixed: usize = self
            .0
            .iter()
            .map(|part| {
                if let Part::Fixed(text) = part {
                    text.len()
                } else {
                    0
                }
            })
            .sum();
        let room = MAX_LEN - fixed;
        let mut each = MAX_LEN;
        while self
            .0
            .iter()
            .filter_map(text)
            .map(|len| len.min(each))
            .sum::<usize>()
            > room
        {
            each -= 1;
        }
        let mut key = String::with_capacity(64);
        for part in &self.0 {
            key.push_str(match part {
                Part::Fixed(text) => text,
                Part::Source => cut(source, each),
                Part::Type => cut(event_type, each),
                Part::Id => cut(id, each),
            });
        }
        key
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
