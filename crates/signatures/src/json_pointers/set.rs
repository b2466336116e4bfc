//! Writes a value into a JSON document.

use serde_json::Value;

/// Sets a value by pointer, making the objects and arrays on the way.
pub(crate) fn set(json: &mut Value, pointer: &str, value: Value) {
    let mut at = json;
    for step in pointer.split('/').skip(1) {
        at = match step.parse::<usize>() {
            Ok(index) if !at.is_object() => {
                if !at.is_array() {
                    *at = Value::Array(Vec::new());
                }
                let Some(items) = at.as_array_mut() else {
                    return;
                };
                if items.len() <= index {
                    items.resize(index + 1, Value::Null);
                }
                &mut items[index]
            }
            _ => {
                if !at.is_object() {
                    *at = Value::Object(serde_json::Map::new());
                }
                let Some(members) = at.as_object_mut() else {
                    return;
                };
                members
                    .entry(step.replace("~1", "/").replace("~0", "~"))
                    .or_insert(Value::Null)
            }
        };
    }
    *at = value;
}
