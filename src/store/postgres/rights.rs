//! Rights of the login that the store uses, read by PostgreSQL's own functions. No text of an error
//! decides, and nothing is changed.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Bool, Text};

use super::PostgresStore;
use super::connection::unavailable;
use super::session::Session;
use super::standby::Standbys;
use crate::config::model::Migrate;
use crate::store::{StoreError, migrations};

/// Rights on tables and sequences without which no event can be stored.
const TO_STORE: &[(&str, &[&str])] = &[
    ("event_seq", &["USAGE"]),
    ("dedup", &["SELECT", "INSERT"]),
    ("event", &["SELECT", "INSERT"]),
    // A batch carries the confirms of others. Its rights are asked for without any, too.
    ("outbox", &["SELECT", "INSERT", "DELETE"]),
    ("published", &["INSERT"]),
    ("instance", &["SELECT", "INSERT", "UPDATE"]),
];
/// Rights for everything else: publishing, handshakes, an operator's changes, and deleting what has expired. A row
/// that is locked or stored anew needs UPDATE.
const TO_KEEP: &[(&str, &[&str])] = &[
    ("dedup", &["UPDATE", "DELETE"]),
    ("event", &["DELETE"]),
    ("outbox", &["UPDATE"]),
    ("published", &["SELECT", "UPDATE", "DELETE"]),
    ("parked", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("conflict", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("conflict_size", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("instance", &["DELETE"]),
    ("clock", &["SELECT", "INSERT", "UPDATE"]),
    ("relocation", &["SELECT"]),
    ("learned_secret", &["SELECT", "INSERT", "UPDATE"]),
    ("fetched_key", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("audit", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("sink_holder", &["SELECT", "INSERT", "UPDATE"]),
    ("republish_job", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
    ("pause", &["SELECT", "INSERT", "DELETE"]),
    ("quarantine", &["SELECT", "INSERT", "UPDATE", "DELETE"]),
];

/// Set of rights to check.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Rights to store an event.
    ToStore,
    /// All rights that the service uses.
    All,
}

/// Facts about the server and the login.
#[derive(QueryableByName)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one answer of the server"
)]
pub(super) struct Situation {
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Text)]
    encoding: String,
    #[diesel(sql_type = Bool)]
    standby: bool,
    #[diesel(sql_type = Bool)]
    read_only: bool,
    #[diesel(sql_type = Bool)]
    schema_is_there: bool,
    #[diesel(sql_type = Bool)]
    may_create_schema: bool,
    #[diesel(sql_type = Bool)]
    may_use_schema: bool,
    #[diesel(sql_type = Bool)]
    may_create_tables: bool,
    #[diesel(sql_type = Bool)]
    owns_all_tables: bool,
    #[diesel(sql_type = Bool)]
    may_read_migrations: bool,
}

const SITUATION: &str = "
    WITH schema AS (SELECT oid FROM pg_namespace WHERE nspname = $1),
         tables AS (SELECT oid, relname, relowner FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = (SELECT oid FROM schema)
                    AND relname = ANY ($2 || ARRAY['__diesel_schema_migrations']))
    SELECT current_user::text AS role, current_database()::text AS database, current_setting('server_encoding') AS encoding,
           pg_is_in_recovery() AS standby, current_setting('transaction_read_only') = 'on' AS read_only,
           EXISTS (SELECT FROM schema) AS schema_is_there,
           has_database_privilege(current_database(), 'CREATE') AS may_create_schema,
           coalesce(has_schema_privilege((SELECT oid FROM schema), 'USAGE'), false) AS may_use_schema,
           coalesce(has_schema_privilege((SELECT oid FROM schema), 'CREATE'), false) AS may_create_tables,
           coalesce((SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM tables), true) AS owns_all_tables,
           coalesce((SELECT has_table_privilege(oid, 'SELECT') FROM tables WHERE relname = '__diesel_schema_migrations'), true)
               AS may_read_migrations";

impl Situation {
    fn of(session: &Session, connection: &mut PgConnection) -> Result<Self, StoreError> {
        let ours: Vec<&str> = TO_STORE
            .iter()
            .chain(TO_KEEP)
            .map(|(object, _)| *object)
            .collect();
        let ask = |connection: &mut PgConnection| {
            sql_query(SITUATION)
                .bind::<Text, _>(&session.schema)
                .bind::<Array<Text>, _>(ours)
                .get_result(connection)
        };
        session
            .run(connection, ask)
            .map_err(|error| unavailable(&error))
    }

    /// Checks that the server takes writes, and that the login may look into the schema.
    pub(super) fn check_server(&self, schema: &str) -> Result<(), StoreError> {
        let unfit = |why: String| Err(StoreError::Unfit(why));
        if self.standby {
            return unfit(
                "PostgreSQL is a standby, which takes no writes: name the primary in store.url"
                    .to_owned(),
            );
        }
        if self.read_only {
            return unfit(format!(
                "PostgreSQL takes no writes, default_transaction_read_only is on: ALTER SYSTEM, ALTER DATABASE \"{}\" or ALTER ROLE \"{}\" \
                 RESET default_transaction_read_only, whichever it was set by",
                self.database, self.role
            ));
        }
        let lacking = match (self.may_use_schema, self.may_read_migrations) {
            (false, _) => "USAGE on the schema",
            (true, false) => "SELECT on __diesel_schema_migrations",
            (true, true) => return Ok(()),
        };
        if !self.schema_is_there {
            return Ok(());
        }
        unfit(format!(
            "the role \"{}\" lacks {lacking}: {}",
            self.role,
            self.grant(schema)
        ))
    }

    /// Checks that all characters of an event can be stored.
    pub(super) fn check_encoding(&self) -> Result<(), StoreError> {
        if matches!(self.encoding.as_str(), "UTF8" | "SQL_ASCII") {
            return Ok(());
        }
        Err(StoreError::Unfit(format!(
            "the database's encoding is {}, so that events with other characters cannot be stored: create a database with ENCODING 'UTF8' \
             TEMPLATE template0",
            self.encoding
        )))
    }

    /// Checks that the login may apply the missing migrations.
    pub(super) fn check_migrations(
        &self,
        schema: &str,
        pending: &[String],
    ) -> Result<(), StoreError> {
        let lacking = match (
            self.schema_is_there,
            self.may_create_schema,
            self.may_create_tables,
            self.owns_all_tables,
        ) {
            (false, true, ..) | (true, _, true, true) => return Ok(()),
            (false, false, ..) => format!(
                "GRANT CREATE ON DATABASE \"{}\" TO \"{}\"",
                self.database, self.role
            ),
            (true, _, false, _) => {
                format!("GRANT CREATE ON SCHEMA \"{schema}\" TO \"{}\"", self.role)
            }
            (true, _, true, false) => {
                return Err(StoreError::Unfit(format!(
                    "the migrations {} are to be applied by the owner of the tables in schema \"{schema}\", which the role \"{}\" is not: run \
                     `hookweir migrate` as the owner, and set store.migrate = \"check\"",
                    pending.join(", "),
                    self.role
                )));
            }
        };
        Err(StoreError::Unfit(format!(
            "the role \"{}\" may not apply the migrations {}: {lacking}; or run `hookweir migrate` as another role, and set store.migrate = \
             \"check\"",
            self.role,
            pending.join(", ")
        )))
    }

    /// Checks that the login may do with the tables what the service does.
    pub(super) fn check_tables(
        &self,
        session: &Session,
        connection: &mut PgConnection,
        rights: Rights,
    ) -> Result<(), StoreError> {
        let more = if rights == Rights::All { TO_KEEP } else { &[] };
        let pairs = TO_STORE
            .iter()
            .chain(more)
            .flat_map(|(object, rights)| rights.iter().map(move |right| (*object, *right)));
        let (objects, needed): (Vec<&str>, Vec<&str>) = pairs.unzip();
        let ask = |connection: &mut PgConnection| {
            sql_query(
                "SELECT object, needed FROM unnest($2, $3) WITH ORDINALITY AS n (object, needed, place)
                     JOIN pg_class c ON c.relname = n.object AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
                 WHERE NOT CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, needed) ELSE has_table_privilege(c.oid, needed) END
                 ORDER BY place",
            )
            .bind::<Text, _>(&session.schema)
            .bind::<Array<Text>, _>(objects)
            .bind::<Array<Text>, _>(needed)
            .load::<Lacking>(connection)
        };
        let lacking = session
            .run(connection, ask)
            .map_err(|error| unavailable(&error))?;
        if lacking.is_empty() {
            return Ok(());
        }
        let lacking: Vec<String> = lacking
            .iter()
            .map(|lacking| format!("{} on {}", lacking.needed, lacking.object))
            .collect();
        Err(StoreError::Unfit(format!(
            "the role \"{}\" lacks {}: {}",
            self.role,
            lacking.join(", "),
            self.grant(&session.schema)
        )))
    }

    /// Returns the statements that grant all rights on what is there.
    fn grant(&self, schema: &str) -> String {
        format!(
            "GRANT USAGE ON SCHEMA \"{schema}\" TO \"{0}\"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA \"{schema}\" TO \"{0}\"; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA \"{schema}\" TO \"{0}\"",
            self.role
        )
    }
}

#[derive(QueryableByName)]
struct Lacking {
    #[diesel(sql_type = Text)]
    object: String,
    #[diesel(sql_type = Text)]
    needed: String,
}

/// Faults of a connection that waiting does not mend, by the texts of server and client library. A
/// server with another language counts as away.
pub(super) fn of_connection(text: String) -> StoreError {
    const MISTAKES: &[(&str, &str)] = &[
        (
            "authentication failed",
            "check user and password in store.url",
        ),
        ("no password supplied", "store.url names no password"),
        (
            "no pg_hba.conf entry",
            "let the server's pg_hba.conf admit this host, user and database",
        ),
        ("is not permitted to log in", "ALTER ROLE … LOGIN"),
        (
            "permission denied for database",
            "GRANT CONNECT ON DATABASE … to the role",
        ),
        (
            "no such database",
            "create it, or name another in store.url",
        ),
        (
            "no such user",
            "create the role, or name another in store.url",
        ),
        ("does not exist", "create it, or name another in store.url"),
    ];
    match MISTAKES.iter().find(|(says, _)| text.contains(says)) {
        Some((_, next)) => StoreError::Unfit(format!("{text}; {next}")),
        None if text.contains("could not translate host name") => {
            StoreError::Unavailable(format!("{text}; check the host in store.url"))
        }
        None => StoreError::Unavailable(text),
    }
}

impl PostgresStore {
    /// Tries what a start does, and changes nothing. Returns its findings, in sentences.
    pub(in crate::store) fn check(&self) -> Result<Vec<String>, StoreError> {
        let schema = &self.session.schema;
        let connection = &mut self.connect()?;
        let situation = Situation::of(&self.session, connection)?;
        situation.check_server(schema)?;
        situation.check_encoding()?;
        let pending = self.pending_in(connection)?;
        if situation.schema_is_there {
            situation.check_tables(&self.session, connection, Rights::All)?;
        }
        match (pending.is_empty(), self.migrate) {
            (true, _) => {
                let settings = self.session.describe(connection);
                let standbys = Standbys::of(connection).map_err(|error| unavailable(&error))?;
                let found =
                    "reached, durable, its schema is up to date, and the role has all rights";
                Ok([
                    Some(found.to_owned()),
                    Some(settings.map_err(|error| unavailable(&error))?),
                    standbys.describe(),
                ]
                .into_iter()
                .flatten()
                .collect())
            }
            (false, Migrate::Auto) => {
                situation.check_migrations(schema, &pending)?;
                Ok(vec![format!(
                    "reached and durable; a start will apply the migrations {}, and may do so",
                    pending.join(", ")
                )])
            }
            (false, Migrate::Check) => Err(migrations::to_be_applied(&pending)),
        }
    }

    /// Returns the right that is missing for the migrations, if there is one.
    pub(super) fn lacking_for(
        &self,
        connection: &mut PgConnection,
        pending: &[String],
    ) -> Option<StoreError> {
        let schema = &self.session.schema;
        let situation = Situation::of(&self.session, connection).ok()?;
        situation
            .check_server(schema)
            .and_then(|()| situation.check_migrations(schema, pending))
            .err()
    }

    /// Checks that the login may put triggers on the tables, and take them away.
    pub(super) fn check_ownership(&self) -> Result<(), StoreError> {
        let situation = Situation::of(&self.session, &mut *self.get()?)?;
        if situation.owns_all_tables && situation.may_create_tables {
            return Ok(());
        }
        Err(StoreError::Unfit(format!(
            "the role \"{}\" may not close the schema \"{}\" for a move: run the command as the owner of its tables, who also needs CREATE on \
             the schema",
            situation.role, self.session.schema
        )))
    }

    /// Checks that the login can still store events.
    pub(super) fn check_rights(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let schema = &self.session.schema;
        let situation = Situation::of(&self.session, connection)?;
        situation.check_server(schema)?;
        situation.check_tables(&self.session, connection, Rights::ToStore)
    }
}
