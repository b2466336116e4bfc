//! PostgreSQL and RabbitMQ for the benchmark: private servers of `tests/servers`, with the settings of a small production machine.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Integer, Text};
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use serde::Serialize;
use tokio::runtime::Runtime;

use hookweir_testkit::processes::parent;
use hookweir_testkit::servers::Server;

/// PostgreSQL settings that differ from the defaults. None makes a commit less durable.
pub(crate) const POSTGRES: [(&str, &str); 6] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "8GB"),
    ("wal_buffers", "16MB"),
    ("checkpoint_timeout", "15min"),
    ("autovacuum_naptime", "10s"),
    ("max_connections", "100"),
];

/// PostgreSQL.
pub(crate) struct Postgres {
    pub(crate) server: Server,
    pub(crate) pid: u32,
}

impl Postgres {
    /// With [`POSTGRES`], or `plain`: as it comes.
    pub(crate) fn start(plain: bool) -> Result<Self, Box<dyn Error>> {
        let mut server = Server::postgres();
        let mut connection = PgConnection::establish(&server.url)?;
        for (name, value) in POSTGRES.into_iter().filter(|_| !plain) {
            connection.batch_execute(&format!("ALTER SYSTEM SET {name} = '{value}'"))?;
        }
        drop(connection);
        server.stop();
        server.start();
        let mut connection = PgConnection::establish(&server.url)?;
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            let value = text(
                &mut connection,
                &format!("SELECT current_setting('{name}') AS value"),
            )?;
            if value != "on" {
                return Err(format!(
                    "PostgreSQL has {name} = {value}: nothing measured with it would mean anything"
                )
                .into());
            }
        }
        let backend = sql_query("SELECT pg_backend_pid() AS value")
            .get_result::<IntegerValue>(&mut connection)?
            .value;
        let pid = parent(backend.unsigned_abs()).ok_or("PostgreSQL's process cannot be found")?;
        Ok(Self { server, pid })
    }

    pub(crate) fn connect(&self) -> Result<PgConnection, Box<dyn Error>> {
        Ok(PgConnection::establish(&self.server.url)?)
    }

    /// Runs statements, each by itself.
    pub(crate) fn run(&self, statements: &[&str]) -> Result<(), Box<dyn Error>> {
        let mut connection = self.connect()?;
        statements
            .iter()
            .try_for_each(|statement| connection.batch_execute(statement))?;
        Ok(())
    }

    /// Returns the number that a query selects as `value`.
    pub(crate) fn number(&self, query: &str) -> Result<u64, Box<dyn Error>> {
        number(&mut self.connect()?, query)
    }

    /// Tells when what a query counts is less than `few`; nothing, if that takes longer than `patience`.
    pub(crate) fn watch(
        &self,
        query: &'static str,
        few: u64,
        patience: Duration,
    ) -> Result<Receiver<Instant>, Box<dyn Error>> {
        let mut connection = self.connect()?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let until = Instant::now() + patience;
            while Instant::now() < until {
                if number(&mut connection, query).is_ok_and(|count| count < few) {
                    // Nobody listens any more when the run has ended.
                    let _ = tell.send(Instant::now());
                    return;
                }
                thread::sleep(Duration::from_millis(500));
            }
        });
        Ok(told)
    }

    /// The service's tables as the statistics see them.
    pub(crate) fn tables(&self) -> Result<BTreeMap<String, Table>, Box<dyn Error>> {
        let rows: Vec<TableRow> = sql_query(
            "SELECT relname::text AS name, pg_total_relation_size(relid) AS bytes, n_live_tup AS live, n_dead_tup AS dead
             FROM pg_stat_user_tables WHERE schemaname = 'hookweir'",
        )
        .load(&mut self.connect()?)?;
        let table = |row: TableRow| {
            (
                row.name,
                Table {
                    bytes: row.bytes.unsigned_abs(),
                    live: row.live,
                    dead: row.dead,
                },
            )
        };
        Ok(rows.into_iter().map(table).collect())
    }

    /// An empty database with nothing left to write.
    pub(crate) fn clear(&self) -> Result<(), Box<dyn Error>> {
        self.run(&[
            "DROP SCHEMA IF EXISTS hookweir CASCADE",
            "DROP SCHEMA IF EXISTS ceiling CASCADE",
            "DROP TABLE IF EXISTS public.peer_key",
            "CHECKPOINT",
        ])
    }

    /// Seconds that one commit with its flush takes, half of the time.
    pub(crate) fn commit_seconds(&self) -> Result<f64, Box<dyn Error>> {
        let mut connection = self.connect()?;
        connection.batch_execute("CREATE TABLE IF NOT EXISTS public.one (n bigint)")?;
        let mut took: Vec<f64> = Vec::new();
        for _ in 0..300 {
            let began = Instant::now();
            connection.batch_execute("INSERT INTO public.one VALUES (1)")?;
            took.push(began.elapsed().as_secs_f64());
        }
        took.sort_by(f64::total_cmp);
        Ok(took[took.len() / 2])
    }
}

fn text(connection: &mut PgConnection, query: &str) -> Result<String, Box<dyn Error>> {
    Ok(sql_query(query).get_result::<TextValue>(connection)?.value)
}

fn number(connection: &mut PgConnection, query: &str) -> Result<u64, Box<dyn Error>> {
    Ok(sql_query(query)
        .get_result::<NumberValue>(connection)?
        .value
        .unsigned_abs())
}

/// A table: its size with indexes and all, and its rows, alive and dead, as PostgreSQL estimates them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) bytes: u64,
    pub(crate) live: i64,
    pub(crate) dead: i64,
}

/// RabbitMQ.
pub(crate) struct Rabbit {
    pub(crate) server: Server,
    pub(crate) pid: u32,
    runtime: Runtime,
}

impl Rabbit {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let server = Server::rabbitmq();
        let pid = Self::pid_of(&server)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        Ok(Self {
            server,
            pid,
            runtime,
        })
    }

    fn pid_of(server: &Server) -> Result<u32, Box<dyn Error>> {
        let answer = server.ctl(&["--silent", "eval", "list_to_integer(os:getpid())."]);
        Ok(answer
            .trim()
            .parse()
            .map_err(|_| format!("RabbitMQ's process id is {answer:?}"))?)
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub(crate) async fn channel(
        &self,
    ) -> Result<(lapin::Connection, lapin::Channel), Box<dyn Error>> {
        let connection = lapin::Connection::connect(&self.server.url, Default::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    /// Messages in a queue.
    pub(crate) fn messages(&self, queue: &str) -> Result<u64, Box<dyn Error>> {
        self.block_on(async {
            let (connection, channel) = self.channel().await?;
            let passive = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let queue = channel
                .queue_declare(queue.into(), passive, FieldTable::default())
                .await?;
            connection.close(200, "done".into()).await?;
            Ok(u64::from(queue.message_count()))
        })
    }

    /// Starts it again, where it was stopped.
    pub(crate) fn start_again(&mut self) -> Result<(), Box<dyn Error>> {
        self.server.start();
        self.pid = Self::pid_of(&self.server)?;
        Ok(())
    }

    /// Empties a queue, and tells how many messages it had.
    pub(crate) fn purge(&self, queue: &str) -> Result<u64, Box<dyn Error>> {
        self.block_on(async {
            let (connection, channel) = self.channel().await?;
            let purged = channel
                .queue_purge(queue.into(), Default::default())
                .await?;
            connection.close(200, "done".into()).await?;
            Ok(u64::from(purged))
        })
    }

    /// Deletes the queues that the service declares.
    pub(crate) fn clear(&self) -> Result<(), Box<dyn Error>> {
        self.block_on(async {
            let (connection, channel) = self.channel().await?;
            for queue in [
                "hookweir.events",
                "hookweir.unrouted",
                "ceiling",
                "peer.events",
            ] {
                channel
                    .queue_delete(queue.into(), QueueDeleteOptions::default())
                    .await?;
            }
            connection.close(200, "done".into()).await?;
            Ok(())
        })
    }
}

#[derive(QueryableByName)]
struct TextValue {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct IntegerValue {
    #[diesel(sql_type = Integer)]
    value: i32,
}

#[derive(QueryableByName)]
struct NumberValue {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct TableRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = BigInt)]
    live: i64,
    #[diesel(sql_type = BigInt)]
    dead: i64,
}
