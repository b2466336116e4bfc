//! Schemas of types, read from their source: fields, words of serde, doc comments.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use syn::{Attribute, Fields, Item, Type};

/// Files with the types.
const FILES: &[&str] = &[
    "src/admin/question.rs",
    "src/operate/decisions.rs",
    "src/operate/erase.rs",
    "src/operate/import.rs",
    "src/operate/instances.rs",
    "src/operate/lakehouse.rs",
    "src/operate/log_filter.rs",
    "src/operate/search.rs",
    "src/operate/pauses.rs",
    "src/operate/problem.rs",
    "src/operate/quarantine_views.rs",
    "src/operate/question.rs",
    "src/operate/reload.rs",
    "src/operate/republish.rs",
    "src/operate/top.rs",
    "src/operate/live.rs",
    "src/operate/status.rs",
    "src/operate/unrouted.rs",
    "src/operate/views.rs",
    "src/store/catalog.rs",
    "src/store/republish.rs",
];

/// Schemas by the names of types.
pub(super) type Schemas = BTreeMap<String, Value>;

/// Returns the types of `FILES` that serde reads or writes.
pub(super) fn types() -> Schemas {
    let mut schemas = Schemas::new();
    for file in FILES {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let source = std::fs::read_to_string(path).expect("a file of the source");
        for item in syn::parse_file(&source).expect("Rust").items {
            match item {
                Item::Struct(item) if is_serde(&item.attrs) => {
                    let mut schema = object(&item.fields, &item.attrs);
                    schema["description"] = docs(&item.attrs).into();
                    schemas.insert(item.ident.to_string(), schema);
                }
                Item::Enum(item) if is_serde(&item.attrs) => {
                    let variants = item.variants.iter();
                    let words = variants.map(|variant| variant.ident.to_string().to_lowercase());
                    let words: Vec<String> = words.collect();
                    let schema = json!({ "type": "string", "enum": words, "description": docs(&item.attrs) });
                    schemas.insert(item.ident.to_string(), schema);
                }
                _ => {}
            }
        }
    }
    schemas
}

fn is_serde(attributes: &[Attribute]) -> bool {
    let mut found = false;
    let derives = attributes.iter().filter(|of| of.path().is_ident("derive"));
    for derive in derives {
        let _ = derive.parse_nested_meta(|meta| {
            let name = meta.path.segments.last().map(|last| last.ident.to_string());
            found |= matches!(name.as_deref(), Some("Serialize" | "Deserialize"));
            Ok(())
        });
    }
    found
}

/// Returns the words of serde's attributes, each with its value.
fn serde_words(attributes: &[Attribute]) -> BTreeMap<String, Option<String>> {
    let mut words = BTreeMap::new();
    for attribute in attributes.iter().filter(|of| of.path().is_ident("serde")) {
        let read = attribute.parse_nested_meta(|meta| {
            let value = match meta.value() {
                Ok(value) => Some(value.parse::<syn::LitStr>()?.value()),
                Err(_) => None,
            };
            let name = meta.path.get_ident().map(ToString::to_string);
            words.insert(name.unwrap_or_default(), value);
            Ok(())
        });
        read.expect("an attribute of serde");
    }
    words
}

fn docs(attributes: &[Attribute]) -> String {
    let lines = attributes
        .iter()
        .filter_map(|attribute| match &attribute.meta {
            syn::Meta::NameValue(doc) if doc.path.is_ident("doc") => match &doc.value {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        });
    lines.collect::<Vec<_>>().join(" ")
}

/// Returns the schema of a struct.
fn object(fields: &Fields, attributes: &[Attribute]) -> Value {
    let defaults = serde_words(attributes).contains_key("default");
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in fields {
        let words = serde_words(&field.attrs);
        let renamed = words.get("rename").cloned().flatten();
        let own = field.ident.as_ref().expect("a name").to_string();
        let name = renamed.unwrap_or(own);
        let mut schema = of_type(&field.ty);
        schema["description"] = docs(&field.attrs).into();
        if !defaults && !words.contains_key("skip_serializing_if") {
            required.push(name.clone());
        }
        properties.insert(name, schema);
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

fn of_type(of: &Type) -> Value {
    let Type::Path(path) = of else {
        panic!("a type without a schema")
    };
    let last = path.path.segments.last().expect("a name");
    let inner = || match &last.arguments {
        syn::PathArguments::AngleBracketed(of) => match of.args.first() {
            Some(syn::GenericArgument::Type(inner)) => of_type(inner),
            _ => panic!("an argument without a schema"),
        },
        _ => panic!("a type without an argument"),
    };
    match last.ident.to_string().as_str() {
        "String" => json!({ "type": "string" }),
        "bool" => json!({ "type": "boolean" }),
        "i64" => json!({ "type": "integer" }),
        "u16" | "u32" | "u64" | "usize" => json!({ "type": "integer", "minimum": 0 }),
        "Vec" => json!({ "type": "array", "items": inner() }),
        "Option" => match inner() {
            schema if schema["type"].is_string() => {
                let mut schema = schema;
                schema["type"] = json!([schema["type"], "null"]);
                schema
            }
            schema => json!({ "oneOf": [schema, { "type": "null" }] }),
        },
        name => json!({ "$ref": format!("#/components/schemas/{name}") }),
    }
}

pub(super) fn name_of<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().expect("a name")
}

/// Returns a reference to a type.
pub(super) fn schema<T>() -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", name_of::<T>()) })
}

/// Returns the fields of a type as parameters.
pub(super) fn parameters<T>(types: &Schemas) -> Vec<Value> {
    let of = types[name_of::<T>()]["properties"]
        .as_object()
        .expect("fields");
    let parameters = of.iter().map(|(name, schema)| {
        let mut schema = schema.clone();
        let description = schema["description"].take();
        // An optional one may be null.
        let (kind, is_required) = match schema["type"].take() {
            Value::Array(mut kinds) => (kinds.swap_remove(0), false),
            kind => (kind, true),
        };
        json!({ "name": name, "in": "query", "required": is_required, "description": description, "schema": { "type": kind } })
    });
    parameters.collect()
}

/// Adds the names of the types that a part of the document refers to.
pub(super) fn names_in(part: &Value, names: &mut BTreeSet<String>) {
    match part {
        Value::Object(fields) => {
            if let Some(name) = fields.get("$ref").and_then(Value::as_str) {
                names.extend(name.rsplit('/').next().map(str::to_owned));
            }
            fields.values().for_each(|field| names_in(field, names));
        }
        Value::Array(items) => items.iter().for_each(|item| names_in(item, names)),
        _ => {}
    }
}
