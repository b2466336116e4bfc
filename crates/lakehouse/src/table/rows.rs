//! Events as Arrow columns.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, LargeBinaryArray, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};

use crate::event::{Event, Millis};

/// Returns `events` as a batch with the columns of `schema`. A column that this release does not know is null.
pub(super) fn record_batch(
    schema: &SchemaRef,
    events: &[&Event],
    committed_at: Millis,
) -> Result<RecordBatch, ArrowError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| column(field, events, committed_at));
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

fn column(field: &Field, events: &[&Event], committed_at: Millis) -> Result<ArrayRef, ArrowError> {
    let utf8 = |event: &Event| std::str::from_utf8(&event.body).is_ok();
    Ok(match field.name().as_str() {
        "message_id" => texts(
            events
                .iter()
                .map(|event| Some(event.message_id.to_string())),
        ),
        "source" => texts(events.iter().map(|event| Some(event.source.as_str()))),
        "event_id" => texts(events.iter().map(|event| Some(event.event_id.as_str()))),
        "event_type" => texts(events.iter().map(|event| event.event_type.as_deref())),
        "content_type" => texts(events.iter().map(|event| event.content_type.as_deref())),
        "received_at" => times(events.iter().map(|event| event.received_at)),
        "committed_at" => times(events.iter().map(|_| committed_at)),
        "headers" => headers(field, events)?,
        "body" => texts(
            events
                .iter()
                .map(|event| std::str::from_utf8(&event.body).ok()),
        ),
        "body_bytes" => Arc::new(LargeBinaryArray::from_iter(
            events
                .iter()
                .map(|event| (!utf8(event)).then_some(&event.body[..])),
        )),
        "conflict_of" => texts(
            events
                .iter()
                .map(|event| event.conflict_of.map(|id| id.to_string())),
        ),
        "same_bytes_as" => texts(
            events
                .iter()
                .map(|event| event.same_bytes_as.map(|id| id.to_string())),
        ),
        _ => new_null_array(field.data_type(), events.len()),
    })
}

fn texts<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values))
}

fn times(values: impl Iterator<Item = Millis>) -> ArrayRef {
    let array = TimestampMicrosecondArray::from_iter_values(values.map(Millis::micros));
    Arc::new(array.with_timezone("+00:00"))
}

/// Returns the headers as a map, in the types that the schema says: they carry the ids of the fields.
fn headers(field: &Field, events: &[&Event]) -> Result<ArrayRef, ArrowError> {
    let unexpected = || ArrowError::SchemaError("the column headers is not a map".to_owned());
    let DataType::Map(entry, sorted) = field.data_type() else {
        return Err(unexpected());
    };
    let DataType::Struct(fields) = entry.data_type() else {
        return Err(unexpected());
    };
    let all = || events.iter().flat_map(|event| &event.headers);
    let keys = texts(all().map(|(name, _)| Some(name)));
    let values = texts(all().map(|(_, value)| Some(value)));
    let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
    let offsets = arrow_buffer::OffsetBuffer::from_lengths(events.iter().map(|e| e.headers.len()));
    let map = MapArray::try_new(entry.clone(), offsets, entries, None, *sorted)?;
    Ok(Arc::new(map))
}
