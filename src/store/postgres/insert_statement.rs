//! The statement that stores a batch. Most events are new, and a plain `INSERT` of a large batch takes a fifth less of PostgreSQL's time
//! than one that looks out for conflicts row by row; but a known key makes it fail. So there are two forms, and of each a second one with
//! the columns that few events fill. Their texts are whole, in `sql/`.

use std::borrow::Cow;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::Error;
use diesel::serialize::ToSql;
use diesel::sql_types::{Array, BigInt, Binary, HasSqlType, Nullable, Text};

use super::session::Session;
use crate::domain::delivery::{InstanceId, Marks};
use crate::domain::sink::{SinkName, SinkSet, Sinks};
use crate::faults::mutants::Mutant;
use crate::store::NewEvent;
use crate::store::row::{headers_to_text, millis};

/// The statement in its forms. They differ in what a known key does, and in the columns that few events fill.
const INSERT: &str = include_str!("sql/insert.sql");
const INSERT_WARY: &str = include_str!("sql/insert_wary.sql");
const INSERT_FULL: &str = include_str!("sql/insert_full.sql");
const INSERT_FULL_WARY: &str = include_str!("sql/insert_full_wary.sql");

/// Rows that a sink has confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConfirmedRows<'a> {
    pub(super) sink: &'a str,
    pub(super) seqs: &'a [i64],
}

impl ConfirmedRows<'_> {
    pub(super) const NONE: Self = Self {
        sink: "",
        seqs: &[],
    };
}

/// A batch as arrays.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    keys: Vec<&'a [u8]>,
    guards: Vec<Option<&'a [u8]>>,
    digests: Vec<&'a [u8]>,
    sources: Vec<&'a str>,
    event_ids: Vec<&'a str>,
    event_types: Vec<Option<&'a str>>,
    content_types: Vec<Option<&'a str>>,
    headers: Vec<String>,
    received_at: Vec<i64>,
    ttls: Vec<i64>,
    bodies: Vec<&'a [u8]>,
    verified_by: Vec<Option<&'a str>>,
    owner: &'a [u8],
    /// Name of the sink, if all events go to the same one.
    sink: Option<&'a str>,
    confirmed: ConfirmedRows<'a>,
    /// None if no event fills these columns, and all events go to the same sink.
    more: Option<More<'a>>,
}

/// Columns that few events fill.
#[derive(Debug)]
struct More<'a> {
    messages: Vec<Option<&'a [u8]>>,
    replays: Vec<Option<&'a [u8]>>,
    conflicts_of: Vec<Option<&'a [u8]>>,
    same_bytes_as: Vec<Option<&'a [u8]>>,
    /// Names of the sinks of each event, with commas between. An ordered sink has the event's key behind
    /// it: `kafka=1234`. No name has a comma or an equals sign.
    sinks: Vec<String>,
}

impl<'a> More<'a> {
    /// Returns `true` if `new` fills one of the columns.
    fn fills(new: &NewEvent) -> bool {
        new.replay.is_some() || new.marks != Marks::default() || new.own_message().is_some()
    }

    fn new(batch: &[&'a NewEvent], sinks: &Sinks, of_events: &[SinkSet]) -> Self {
        let names = |(new, set): (&&NewEvent, &SinkSet)| {
            let names = sinks.order_keys(*set, &new.source, &new.body, &new.message);
            let names = names.map(|(name, key)| match key {
                None => name.to_string(),
                Some(key) => format!("{name}={}", key.0),
            });
            names.collect::<Vec<_>>().join(",")
        };
        Self {
            sinks: batch.iter().zip(of_events).map(names).collect(),
            messages: batch
                .iter()
                .map(|new| new.own_message().map(|message| &message.as_bytes()[..]))
                .collect(),
            replays: batch
                .iter()
                .map(|new| new.replay.as_ref().map(|replay| &replay.as_bytes()[..]))
                .collect(),
            conflicts_of: batch
                .iter()
                .map(|new| {
                    new.marks
                        .conflict_of
                        .as_ref()
                        .map(|first| &first.as_bytes()[..])
                })
                .collect(),
            same_bytes_as: batch
                .iter()
                .map(|new| {
                    new.marks
                        .same_bytes_as
                        .as_ref()
                        .map(|first| &first.as_bytes()[..])
                })
                .collect(),
        }
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(
        owner: &'a InstanceId,
        sinks: &'a Sinks,
        batch: &[&'a NewEvent],
        confirmed: ConfirmedRows<'a>,
    ) -> Self {
        let of_events: Vec<SinkSet> = batch.iter().map(|new| new.wanted_by(sinks)).collect();
        let sink = common(&of_events).and_then(|set| sinks.only_in(set));
        let full = sink.is_none() || sinks.is_ordered() || batch.iter().any(|new| More::fills(new));
        Self {
            keys: batch.iter().map(|new| &new.key.as_bytes()[..]).collect(),
            guards: batch
                .iter()
                .map(|new| new.bytes_key.as_ref().map(|key| &key.as_bytes()[..]))
                .collect(),
            digests: batch.iter().map(|new| &new.digest.as_bytes()[..]).collect(),
            sources: batch.iter().map(|new| new.source.as_str()).collect(),
            event_ids: batch.iter().map(|new| new.event_id.as_str()).collect(),
            event_types: batch.iter().map(|new| new.event_type.as_deref()).collect(),
            content_types: batch
                .iter()
                .map(|new| new.content_type.as_deref())
                .collect(),
            headers: batch
                .iter()
                .map(|new| headers_to_text(&new.headers))
                .collect(),
            received_at: batch.iter().map(|new| new.received_at.0).collect(),
            ttls: batch.iter().map(|new| millis(new.window)).collect(),
            bodies: batch.iter().map(|new| &new.body[..]).collect(),
            verified_by: batch.iter().map(|new| new.verified_by.as_deref()).collect(),
            owner: owner.as_bytes(),
            sink: sink.map(SinkName::as_str),
            confirmed,
            more: full.then(|| More::new(batch, sinks, &of_events)),
        }
    }
}

/// Returns the set that all of `sets` are equal to.
fn common(sets: &[SinkSet]) -> Option<SinkSet> {
    let (first, rest) = sets.split_first()?;
    rest.iter().all(|set| set == first).then_some(*first)
}

/// Statement that stores them. If it is not `WARY`, a known key makes it fail. With `FULL` it has the columns of [`More`], and any number
/// of sinks for each event. Each form is a type of its own, so that diesel prepares it once for each connection.
#[derive(Debug)]
struct Insert<'a, const WARY: bool, const FULL: bool>(&'a Rows<'a>, &'a Session);

impl<const WARY: bool, const FULL: bool> Insert<'_, WARY, FULL> {
    const TEXT: &'static str = match (WARY, FULL) {
        (false, false) => INSERT,
        (true, false) => INSERT_WARY,
        (false, true) => INSERT_FULL,
        (true, true) => INSERT_FULL_WARY,
    };
}

impl<const WARY: bool, const FULL: bool> QueryFragment<Pg> for Insert<'_, WARY, FULL> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let (rows, text) = (self.0, with_mistakes(Self::TEXT));
        let mut values = Values::of(&text, out);
        values.bind::<Array<BigInt>, _>(rows.confirmed.seqs)?;
        values.bind::<Text, _>(rows.confirmed.sink)?;
        values.bind::<Text, _>(&*self.1.schema)?;
        values.bind::<Array<Binary>, _>(&rows.keys)?;
        values.bind::<Array<Nullable<Binary>>, _>(&rows.guards)?;
        values.bind::<Array<Binary>, _>(&rows.digests)?;
        values.bind::<Array<Text>, _>(&rows.sources)?;
        values.bind::<Array<Text>, _>(&rows.event_ids)?;
        values.bind::<Array<Nullable<Text>>, _>(&rows.event_types)?;
        values.bind::<Array<Nullable<Text>>, _>(&rows.content_types)?;
        values.bind::<Array<Text>, _>(&rows.headers)?;
        values.bind::<Array<BigInt>, _>(&rows.received_at)?;
        values.bind::<Array<BigInt>, _>(&rows.ttls)?;
        values.bind::<Array<Binary>, _>(&rows.bodies)?;
        values.bind::<Array<Nullable<Text>>, _>(&rows.verified_by)?;
        if let Some(more) = rows.more.as_ref().filter(|_| FULL) {
            values.bind::<Array<Nullable<Binary>>, _>(&more.messages)?;
            values.bind::<Array<Nullable<Binary>>, _>(&more.replays)?;
            values.bind::<Array<Nullable<Binary>>, _>(&more.conflicts_of)?;
            values.bind::<Array<Nullable<Binary>>, _>(&more.same_bytes_as)?;
            values.bind::<Array<Text>, _>(&more.sinks)?;
        }
        values.bind::<Binary, _>(rows.owner)?;
        if let Some(sink) = rows.sink.filter(|_| !FULL) {
            values.bind::<Text, _>(sink)?;
        }
        Ok(())
    }
}

/// Values for the placeholders of a whole statement, which stand in order, each once. diesel writes the placeholder of a value itself:
/// those of the text are left out.
struct Values<'a, 'b, 't> {
    out: AstPass<'a, 'b, Pg>,
    parts: std::str::Split<'t, char>,
}

impl<'a, 'b, 't> Values<'a, 'b, 't> {
    fn of(text: &'t str, out: AstPass<'a, 'b, Pg>) -> Self {
        let parts = text.split('$');
        let mut values = Self { out, parts };
        values.push_text();
        values
    }

    /// Writes the text up to the next placeholder.
    fn push_text(&mut self) {
        let part = self.parts.next().unwrap_or_default();
        let text = part.trim_start_matches(|c: char| c.is_ascii_digit());
        self.out.push_sql(text);
    }

    fn bind<T, U>(&mut self, value: &'b U) -> QueryResult<()>
    where
        Pg: HasSqlType<T>,
        U: ToSql<T, Pg> + ?Sized,
    {
        self.out.push_bind_param::<T, U>(value)?;
        self.push_text();
        Ok(())
    }
}

/// Part of the statements that makes a commit durable, whatever the session was told.
const SYNCED: &str = "set_config('synchronous_commit',
            CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE 'on' END, true)";

/// Returns `text` with the mistakes that a test has asked for.
fn with_mistakes(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if Mutant::UnsortedBatches.is_on() {
        text = text.replace("ORDER BY key", "ORDER BY random()").into();
    }
    if Mutant::SettingsOfTheSession.is_on() {
        text = text.replace(SYNCED, "'on'").into();
    }
    if Mutant::SynchronousCommitOff.is_on() {
        text = text.replace("ELSE 'on'", "ELSE 'off'").into();
    }
    text
}

impl<const WARY: bool, const FULL: bool> QueryId for Insert<'_, WARY, FULL> {
    type QueryId = Insert<'static, WARY, FULL>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const WARY: bool, const FULL: bool> Query for Insert<'_, WARY, FULL> {
    type SqlType = (BigInt, BigInt, Text);
}

impl<const WARY: bool, const FULL: bool> RunQueryDsl<PgConnection> for Insert<'_, WARY, FULL> {}

impl Rows<'_> {
    /// Place and number of each event that was new.
    pub(super) fn store(
        &self,
        connection: &mut PgConnection,
        session: &Session,
        wary: bool,
    ) -> QueryResult<Vec<(i64, i64)>> {
        let stored = session.run(connection, |connection| {
            self.load(connection, session, wary)
        })?;
        if let Some((_, _, in_force)) = stored
            .iter()
            .find(|(_, _, in_force)| !session.is_durable(in_force))
        {
            return Err(Error::DeserializationError(
                format!("the commit was not durable: synchronous_commit was {in_force}").into(),
            ));
        }
        Ok(stored
            .into_iter()
            .map(|(place, seq, _)| (place, seq))
            .collect())
    }

    /// Stores them and rolls that back. Fails where storing them does.
    pub(super) fn try_out(
        &self,
        connection: &mut PgConnection,
        session: &Session,
        wary: bool,
    ) -> QueryResult<()> {
        let undone = session.run(connection, |connection| {
            connection.transaction(|connection| {
                self.load(connection, session, wary)?;
                Err::<(), _>(Error::RollbackTransaction)
            })
        });
        match undone {
            Err(Error::RollbackTransaction) => Ok(()),
            undone => undone,
        }
    }

    fn load(
        &self,
        connection: &mut PgConnection,
        session: &Session,
        wary: bool,
    ) -> QueryResult<Vec<(i64, i64, String)>> {
        match (wary, self.more.is_some()) {
            (false, false) => Insert::<false, false>(self, session).load(connection),
            (false, true) => Insert::<false, true>(self, session).load(connection),
            (true, false) => Insert::<true, false>(self, session).load(connection),
            (true, true) => Insert::<true, true>(self, session).load(connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_have_their_placeholders_in_order_and_are_durable() {
        for (text, placeholders) in [
            (INSERT, 17),
            (INSERT_WARY, 17),
            (INSERT_FULL, 21),
            (INSERT_FULL_WARY, 21),
        ] {
            let numbers: Vec<usize> = text
                .split('$')
                .skip(1)
                .map(|part| {
                    let digits = part.find(|c: char| !c.is_ascii_digit());
                    part[..digits.unwrap_or(part.len())]
                        .parse()
                        .expect("a number")
                })
                .collect();
            assert_eq!(numbers, (1..=placeholders).collect::<Vec<_>>(), "{text}");
            for part in [SYNCED, "ORDER BY key", "ELSE 'on'"] {
                assert!(text.contains(part), "{part} is not in {text}");
            }
        }
    }
}
