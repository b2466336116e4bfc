//! Templates of routing keys, topics and keys: fixed text and parts of an event, compiled once. Pure.

use crate::domain::text::cut;

/// Longest fixed text of a template, in bytes. The rest is for the event's parts.
const MAX_FIXED: usize = 128;

/// A part of an event that a template can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    /// Name of the source.
    Source,
    /// Type of the event.
    Type,
    /// Id of the event, as the provider sent it.
    Id,
    /// Id of the message.
    MessageId,
}

impl Placeholder {
    fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Type => "type",
            Self::Id => "id",
            Self::MessageId => "message_id",
        }
    }
}

/// Values of the parts of one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'v> {
    /// Name of the source.
    pub(super) source: &'v str,
    /// Type of the event.
    pub(super) event_type: &'v str,
    /// Id of the event.
    pub(super) id: &'v str,
    /// Id of the message.
    pub(super) message_id: &'v str,
}

impl<'v> Values<'v> {
    fn of(&self, part: Placeholder) -> &'v str {
        match part {
            Placeholder::Source => self.source,
            Placeholder::Type => self.event_type,
            Placeholder::Id => self.id,
            Placeholder::MessageId => self.message_id,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Of(Placeholder),
}

/// A compiled template such as `{source}.{type}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

/// Compiles a template of Kafka topics, such as `hookweir.{source}`.
pub fn topic(template: &str) -> Result<Template, String> {
    let parts = [Placeholder::Source, Placeholder::Type];
    let topic = Template::parse("topic", template, &parts)?;
    if topic.is_empty() {
        return Err("the topic is empty: use for example \"hookweir.{source}\"".to_owned());
    }
    Ok(topic)
}

/// Compiles a template of keys of Kafka records, such as `{message_id}`. Empty: no key.
pub fn record_key(template: &str) -> Result<Template, String> {
    let parts = [
        Placeholder::MessageId,
        Placeholder::Id,
        Placeholder::Source,
        Placeholder::Type,
    ];
    Template::parse("key", template, &parts)
}

impl Template {
    /// Compiles `template` with the parts in `allowed`. Text outside of braces is taken literally. `what`
    /// is the name of the option in errors.
    pub(super) fn parse(
        what: &str,
        template: &str,
        allowed: &[Placeholder],
    ) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("{what} \"{}\" {why}", template.escape_debug()));
        let mut parts = Vec::new();
        let mut rest = template;
        let mut fixed = 0;
        while !rest.is_empty() {
            let (text, after) = rest.split_once('{').unwrap_or((rest, ""));
            if text.contains('}') {
                return wrong("has a \"}\" without a \"{\"");
            }
            if !text.is_empty() {
                fixed += text.len();
                parts.push(Part::Fixed(text.to_owned()));
            }
            if text.len() == rest.len() {
                break;
            }
            let Some((name, after)) = after.split_once('}') else {
                return wrong("has a \"{\" without a \"}\"");
            };
            let Some(part) = allowed.iter().find(|part| part.name() == name) else {
                let name = name.escape_debug();
                return wrong(&format!(
                    "has an unknown part {{{name}}}: use {}",
                    list(allowed)
                ));
            };
            parts.push(Part::Of(*part));
            rest = after;
        }
        if fixed > MAX_FIXED {
            return Err(format!(
                "the fixed text of {what} \"{}\" is longer than {MAX_FIXED} bytes",
                template.escape_debug()
            ));
        }
        Ok(Self(parts))
    }

    /// Returns `true` if the template has no text and no part.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns `true` if the template is `part` and nothing else.
    pub(super) fn is_only(&self, part: Placeholder) -> bool {
        self.0 == [Part::Of(part)]
    }

    /// Returns `true` if `part` is in the template.
    pub(super) fn has(&self, part: Placeholder) -> bool {
        self.0.contains(&Part::Of(part))
    }

    /// Returns the text for an event, of at most `max` bytes. If it would be longer, the longest parts are
    /// cut, each between two characters. `max` is at least as large as the fixed text can be.
    pub(super) fn render(&self, values: &Values<'_>, max: usize) -> String {
        let len = |part: &Part| match part {
            Part::Fixed(text) => (text.len(), 0),
            Part::Of(part) => (0, values.of(*part).len()),
        };
        let fixed: usize = self.0.iter().map(|part| len(part).0).sum();
        let room = max.saturating_sub(fixed);
        let mut each = max;
        let of_parts =
            |each: usize| -> usize { self.0.iter().map(|part| len(part).1.min(each)).sum() };
        while of_parts(each) > room {
            each -= 1;
        }
        let mut text = String::with_capacity(64);
        for part in &self.0 {
            text.push_str(match part {
                Part::Fixed(text) => text,
                Part::Of(part) => cut(values.of(*part), each),
            });
        }
        text
    }
}

/// Returns the parts as `{source}, {type} and {id}`.
fn list(parts: &[Placeholder]) -> String {
    let mut list = String::new();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            list.push_str(if n + 1 == parts.len() { " and " } else { ", " });
        }
        list.push_str(&format!("{{{}}}", part.name()));
    }
    list
}
