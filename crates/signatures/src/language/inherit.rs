//! Tables that are written on top of others.

/// `table` on top of `base`, key by key. `false` takes away a table or list of `base`. What `base`
/// says of the meaning of its ids does not hold for an id of the table's own.
pub(crate) fn inherit(base: &toml::Table, table: &toml::Table) -> toml::Table {
    let mut base = base.clone();
    let own = table.get("event").and_then(toml::Value::as_table);
    let has_own_id = own.is_some_and(|event| event.contains_key("id"));
    if has_own_id && let Some(event) = base.get_mut("event").and_then(toml::Value::as_table_mut) {
        event.remove("id_kind");
        event.remove("varies");
    }
    let mut merged = overlay(&base, table);
    // `token` is short for a `signature`; the one that is written last counts.
    if table.contains_key("token") {
        merged.remove("signature");
    } else if table.contains_key("signature") {
        merged.remove("token");
    }
    merged
}

fn overlay(base: &toml::Table, table: &toml::Table) -> toml::Table {
    let mut merged = base.clone();
    for (key, value) in table {
        match (merged.get_mut(key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => *old = overlay(old, new),
            (Some(toml::Value::Table(_) | toml::Value::Array(_)), toml::Value::Boolean(false)) => {
                merged.remove(key);
            }
            _ => {
                merged.insert(key.clone(), value.clone());
            }
        }
    }
    merged
}
