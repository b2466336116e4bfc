//! Columns, partitions and properties of the table.

use std::sync::Arc;

use iceberg::spec::{
    MapType, NestedField, NullOrder, PrimitiveType, Schema, SortDirection, SortField, SortOrder,
    Transform, Type, UnboundPartitionSpec,
};
use iceberg::table::Table;
use iceberg::transaction::{AddColumn, ApplyTransactionAction as _, Transaction};
use iceberg::{Catalog, TableCreation};

use crate::error::{LakeError, Result};

/// Column with the message id.
pub const MESSAGE_ID: &str = "message_id";
/// Column with the name of the source.
pub const SOURCE: &str = "source";
/// Column with the time of receipt.
pub const RECEIVED_AT: &str = "received_at";
/// Column with the time of the commit.
pub const COMMITTED_AT: &str = "committed_at";
/// Column with the body, if it is UTF-8.
pub const BODY: &str = "body";
/// Columns whose values never appear in statistics: they would put parts of bodies into footers and manifests.
pub const WITHOUT_STATISTICS: [&str; 3] = [BODY, "body_bytes", "headers"];

/// A column: name, type, whether it is required, and its description.
type Column = (&'static str, PrimitiveType, bool, &'static str);

/// Columns with a primitive type, in the order of the table. Append only: readers know columns by id.
const COLUMNS: [Column; 11] = [
    (
        MESSAGE_ID,
        PrimitiveType::String,
        true,
        "id of the message, unique in the table",
    ),
    (SOURCE, PrimitiveType::String, true, "name of the source"),
    ("event_id", PrimitiveType::String, true, "the provider's id"),
    (
        "event_type",
        PrimitiveType::String,
        false,
        "the provider's type",
    ),
    (
        "content_type",
        PrimitiveType::String,
        false,
        "content type of the body",
    ),
    (
        RECEIVED_AT,
        PrimitiveType::Timestamptz,
        true,
        "time of receipt",
    ),
    (
        COMMITTED_AT,
        PrimitiveType::Timestamptz,
        true,
        "time at which the row was written",
    ),
    (
        "body",
        PrimitiveType::String,
        false,
        "the body as received, if it is UTF-8",
    ),
    (
        "body_bytes",
        PrimitiveType::Binary,
        false,
        "the body as received, if it is not UTF-8",
    ),
    (
        "conflict_of",
        PrimitiveType::String,
        false,
        "first message with this event id and another body",
    ),
    (
        "same_bytes_as",
        PrimitiveType::String,
        false,
        "first message with the same bytes",
    ),
];

/// Column with the provider's headers.
const HEADERS: &str = "headers";

/// Returns the definition of a new table at `location`.
pub fn creation(name: &str, location: String) -> Result<TableCreation> {
    let failed = LakeError::away::<iceberg::Error>;
    let mut fields: Vec<_> = (1..)
        .zip(COLUMNS)
        .map(|(id, (name, kind, required, doc))| {
            Arc::new(NestedField::new(id, name, Type::Primitive(kind), required).with_doc(doc))
        })
        .collect();
    let id = fields.len() as i32 + 1;
    let headers = NestedField::optional(id, HEADERS, headers_type(id + 1));
    fields.push(Arc::new(
        headers.with_doc("the provider's headers that the source passes on"),
    ));
    let schema = Schema::builder()
        .with_fields(fields)
        .build()
        .map_err(failed("define the table"))?;
    let field_id = |name: &str| schema.field_by_name(name).map_or(0, |field| field.id);
    // Iceberg's own REST catalog refuses a request without the spec's id.
    let by_day = UnboundPartitionSpec::builder()
        .with_spec_id(0)
        .add_partition_field(field_id(RECEIVED_AT), "received_at_day", Transform::Day)
        .map_err(failed("define the partitions"))?
        .build();
    let mut order = SortOrder::builder();
    for name in [SOURCE, RECEIVED_AT] {
        order.with_sort_field(
            SortField::builder()
                .source_id(field_id(name))
                .transform(Transform::Identity)
                .direction(SortDirection::Ascending)
                .null_order(NullOrder::First)
                .build(),
        );
    }
    let order = order
        .build(&schema)
        .map_err(failed("define the sort order"))?;
    Ok(TableCreation::builder()
        .name(name.to_owned())
        .location(location)
        .schema(schema)
        .partition_spec(by_day)
        .sort_order(order)
        .properties(properties())
        .build())
}

fn headers_type(id: i32) -> Type {
    let text = || Type::Primitive(PrimitiveType::String);
    Type::Map(MapType::optional(id, text(), id + 1, text()))
}

/// Returns the properties of a new table. Other engines that rewrite its files honour them.
fn properties() -> Vec<(String, String)> {
    let mut properties = vec![
        (
            "write.parquet.compression-codec".to_owned(),
            "zstd".to_owned(),
        ),
        (
            "write.metadata.previous-versions-max".to_owned(),
            "20".to_owned(),
        ),
        // For a REST catalog. Ours does it.
        (
            "write.metadata.delete-after-commit.enabled".to_owned(),
            "true".to_owned(),
        ),
    ];
    let metrics = |name: &str, mode: &str| {
        (
            format!("write.metadata.metrics.column.{name}"),
            mode.to_owned(),
        )
    };
    properties.extend(WITHOUT_STATISTICS.iter().map(|name| metrics(name, "none")));
    properties.extend(
        [MESSAGE_ID, "event_id"]
            .iter()
            .map(|name| metrics(name, "full")),
    );
    properties
}

/// Checks that this release can write to `table`, and adds optional columns that the table lacks: it may have
/// been made by an earlier release.
pub async fn upgrade(catalog: &dyn Catalog, table: Table) -> Result<Table> {
    let schema = table.metadata().current_schema().clone();
    let mut missing = Vec::new();
    for (name, kind, required, doc) in COLUMNS {
        match schema.field_by_name(name) {
            Some(field) if *field.field_type == Type::Primitive(kind.clone()) => {}
            Some(field) => {
                return Err(LakeError::Table(format!(
                    "column {name} of {} is {}, and must be {kind}; nothing is written",
                    table.identifier(),
                    field.field_type
                )));
            }
            None if required => {
                return Err(LakeError::Table(format!(
                    "{} has no column {name}: it is not a table of Hookweir; nothing is written",
                    table.identifier()
                )));
            }
            None => missing.push(
                AddColumn::builder()
                    .name(name)
                    .field_type(Type::Primitive(kind))
                    .doc(doc)
                    .build(),
            ),
        }
    }
    if missing.is_empty() {
        return Ok(table);
    }
    let transaction = Transaction::new(&table);
    let action = missing
        .into_iter()
        .fold(transaction.update_schema(), |a, column| {
            a.add_column(column)
        });
    let transaction = action
        .apply(transaction)
        .map_err(LakeError::away("add columns"))?;
    transaction
        .commit(catalog)
        .await
        .map_err(LakeError::away("add columns to the table"))
}
