//! Writes a value into a JSON document.

use serde_json::{Map, Value};

use super::pointer::{JsonPointer, PointerStep};

/// Sets a value by pointer, making the objects and arrays on the way. Of every element, the first
/// is set.
pub(crate) fn set(json: &mut Value, pointer: &JsonPointer, value: Value) {
    let mut at = json;
    for step in pointer.steps() {
        let next = match step {
            PointerStep::Each => element(at, 0),
            PointerStep::Key {
                index: Some(index), ..
            } if !at.is_object() => element(at, *index),
            PointerStep::Key { name, .. } => member(at, name),
        };
        let Some(next) = next else { return };
        at = next;
    }
    *at = value;
}

fn element(json: &mut Value, index: usize) -> Option<&mut Value> {
    if !json.is_array() {
        *json = Value::Array(Vec::new());
    }
    let items = json.as_array_mut()?;
    if items.len() <= index {
        items.resize(index + 1, Value::Null);
    }
    items.get_mut(index)
}

fn member<'v>(json: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    if !json.is_object() {
        *json = Value::Object(Map::new());
    }
    let members = json.as_object_mut()?;
    Some(members.entry(name).or_insert(Value::Null))
}
