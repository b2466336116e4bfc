//! Reads a table into the types of [`spec`](crate::language::spec), with every mistake in it, each
//! at its key.

use std::fmt;

use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::language::key_path::{KeyPath, PathStep};
use crate::nearest::nearest;

/// Most mistakes that are looked for.
const MAX_FAULTS: usize = 64;

/// Mistake in a table: its key, such as `timestamp.toleranse_secs`, and its description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) key: KeyPath,
    pub(crate) text: String,
}

impl Fault {
    pub(crate) fn new(key: KeyPath, text: impl Into<String>) -> Self {
        Self {
            key,
            text: text.into(),
        }
    }

    fn here(text: String) -> Self {
        Self::new(KeyPath::default(), text)
    }

    fn below(mut self, step: PathStep) -> Self {
        self.key = self.key.below(step);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.steps().is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.key, self.text)
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::here(text.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::here(format!("expected {expected}, found {found}"))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let hint = match nearest(field, known.iter().copied()) {
            Some(name) => format!("; did you mean {name}?"),
            None => match known.iter().find(|known| is_near_stem(field, known)) {
                Some(name) => format!("; did you mean {name}?"),
                None => format!("; the keys are {}", known.join(", ")),
            },
        };
        Self::new(KeyPath::of(field), format!("no such key{hint}"))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        let hint = nearest(word, known.iter().copied())
            .map(|word| format!("; did you mean \"{word}\"?"))
            .unwrap_or_default();
        Self::here(format!(
            "expected one of \"{}\", found \"{}\"{hint}",
            known.join("\", \""),
            word.escape_debug()
        ))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(KeyPath::of(field), "missing")
    }
}

/// Returns `true` if `field` is near to a word without its unit: `toleranse` to `tolerance_secs`.
fn is_near_stem(field: &str, word: &str) -> bool {
    word.rsplit_once('_')
        .is_some_and(|(stem, _)| nearest(field, [stem]).is_some())
}

/// Reads `table`. A key with a mistake in it is left out and reading goes on: what comes of the
/// rest, and all of the mistakes.
pub(crate) fn all<T: for<'de> Deserialize<'de>>(table: toml::Table) -> (Option<T>, Vec<Fault>) {
    let (mut value, mut faults) = (toml::Value::Table(table), Vec::new());
    loop {
        let fault = match T::deserialize(Node(&value)) {
            Ok(read) => return (Some(read), faults),
            Err(fault) => fault,
        };
        let removed = remove(&mut value, fault.key.steps());
        faults.push(fault);
        if !removed || faults.len() == MAX_FAULTS {
            return (None, faults);
        }
    }
}

/// Takes away what a fault is in; an element of a list with its list. False if there is no such
/// thing.
fn remove(value: &mut toml::Value, path: &[PathStep]) -> bool {
    match (value, path) {
        (toml::Value::Table(table), [PathStep::Key(key)]) => table.remove(key).is_some(),
        (toml::Value::Table(table), [PathStep::Key(key), PathStep::Index(_)]) => {
            table.remove(key).is_some()
        }
        (toml::Value::Table(table), [PathStep::Key(key), rest @ ..]) => {
            table.get_mut(key).is_some_and(|value| remove(value, rest))
        }
        (toml::Value::Array(items), [PathStep::Index(index), rest @ ..]) => items
            .get_mut(*index)
            .is_some_and(|value| remove(value, rest)),
        _ => false,
    }
}

/// A value that is read.
struct Node<'v>(&'v toml::Value);

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            toml::Value::String(text) => visitor.visit_borrowed_str(text),
            toml::Value::Integer(number) => visitor.visit_i64(*number),
            toml::Value::Float(number) => visitor.visit_f64(*number),
            toml::Value::Boolean(truth) => visitor.visit_bool(*truth),
            toml::Value::Datetime(time) => visitor.visit_string(time.to_string()),
            toml::Value::Array(items) => visitor.visit_seq(Items(items.iter().enumerate())),
            toml::Value::Table(table) => visitor.visit_map(Entries {
                entries: table.iter(),
                current: None,
            }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            toml::Value::String(word) => visitor.visit_enum(Word(word)),
            other => Err(Fault::here(format!(
                "expected a word in quotes, found {}",
                other.type_str()
            ))),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct
        identifier ignored_any
    }
}

struct Items<'v>(std::iter::Enumerate<std::slice::Iter<'v, toml::Value>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        let Some((index, item)) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(Node(item))
            .map(Some)
            .map_err(|fault| fault.below(PathStep::Index(index)))
    }
}

struct Entries<'v> {
    entries: toml::map::Iter<'v, String, toml::Value>,
    current: Option<(&'v String, &'v toml::Value)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        self.current = self.entries.next();
        let Some((key, _)) = self.current else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let Some((key, value)) = self.current.take() else {
            return Err(Fault::here("a value without its key".to_owned()));
        };
        seed.deserialize(Node(value))
            .map_err(|fault| fault.below(PathStep::Key(key.clone())))
    }
}

/// A word that names a variant without content.
struct Word<'v>(&'v str);

impl<'de> EnumAccess<'de> for Word<'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Fault> {
        let word: StrDeserializer<'_, Fault> = self.0.into_deserializer();
        Ok((seed.deserialize(word)?, self))
    }
}

impl<'de> VariantAccess<'de> for Word<'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, _: S) -> Result<S::Value, Fault> {
        Err(Fault::here(format!("\"{}\" does not stand alone", self.0)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::here(format!("\"{}\" does not stand alone", self.0)))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fault> {
        Err(Fault::here(format!("\"{}\" does not stand alone", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::spec::SchemeSpec;

    #[test]
    fn every_misspelt_key_of_a_scheme_is_told_with_the_nearest_one() {
        let table = r#"
            kind = "hmca"
            messge = "{body}"
            signature = [{ from = "header:x", encodng = "hex" }]
            timestamp = { from = "header:t", tolerance_secs = "5" }
            handshake = [{ when = { methd = "GET" }, respond = {} }]
            zzz = 1
        "#;
        let (spec, faults) = all::<SchemeSpec>(table.parse().expect("TOML"));
        assert!(spec.is_none(), "its kind is missing");
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for start in [
            "kind: expected one of \"hmac\", ",
            "messge: no such key; did you mean message?",
            "signature[0].encodng: no such key; did you mean encoding?",
            "timestamp.tolerance_secs: expected u64, found string",
            "handshake[0].when.methd: no such key; did you mean method?",
            "zzz: no such key; the keys are kind, ",
        ] {
            assert!(
                said.iter().any(|said| said.starts_with(start)),
                "{start} is not in {said:#?}"
            );
        }
        let (spec, faults) =
            all::<SchemeSpec>("kind = \"hmac\"\nmessge = \"x\"".parse().expect("TOML"));
        assert!(
            spec.is_some_and(|spec| spec.message.is_none()) && faults.len() == 1,
            "the rest is read"
        );
    }
}
