//! Surroundings of a row: the servers, its schema and queues there, and their contents in the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::{Connection as _, PgConnection, QueryableByName, RunQueryDsl as _, SqliteConnection};

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use hookweir_testkit::kafka::{create_led_topic, create_topic, records};
use hookweir_testkit::oracle::{Arrivals, Kept};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::{Server, address};
use hookweir_testkit::sink::{Message, Queues};

/// Starting, stopping and asking servers blocks; the load goes on meanwhile.
pub fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The campaign's own servers: any row may do anything to them.
pub struct Servers {
    pub postgres: Server,
    pub rabbitmq: Server,
}

impl Servers {
    /// Fresh ones.
    pub fn start() -> Self {
        std::thread::scope(|scope| {
            let rabbitmq = scope.spawn(Server::rabbitmq);
            Self {
                postgres: Server::postgres(),
                rabbitmq: rabbitmq.join().expect("RabbitMQ starts"),
            }
        })
    }

    /// Up again, whatever a row that failed half-way has left. A server that serves nobody is replaced; returns what its log said.
    pub fn restore(&mut self) -> Option<String> {
        let mut said = None;
        for server in [&mut self.postgres, &mut self.rabbitmq] {
            server.resume();
            server.revive();
            let since = Instant::now();
            while !server.serves() {
                if since.elapsed() > TO_RECOVER {
                    said.get_or_insert_with(String::new).push_str(&server.log());
                    *server = server.another();
                    break;
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        }
        said
    }
}

/// Time that a server is given to serve again.
const TO_RECOVER: Duration = Duration::from_secs(30);

/// Topics of one row's own, one for each source.
pub struct Topics {
    pub url: String,
    /// The URL of the service, if it logs in.
    pub login: Option<String>,
    /// Beginning of their names.
    pub prefix: String,
}

impl Topics {
    /// The topic of a source.
    pub fn of(&self, provider: Provider) -> String {
        format!("{}.{}", self.prefix, provider.name())
    }

    /// Makes them. With several nodes, two must have an event before it is confirmed.
    pub fn create(&self, settings: &[(&str, &str)]) {
        for provider in Provider::ALL {
            create_topic(&self.url, &self.of(provider), 3, settings);
        }
    }

    /// Makes them with a replica on each of three nodes, of which the first leads.
    pub fn create_led(&self, settings: &[(&str, &str)]) {
        for provider in Provider::ALL {
            create_led_topic(&self.url, &self.of(provider), settings);
        }
    }

    fn read(&self, mut each: impl FnMut(Message)) {
        for provider in Provider::ALL {
            self.read_one(provider).into_iter().for_each(&mut each);
        }
    }

    fn read_one(&self, provider: Provider) -> Vec<Message> {
        let records = records(&self.url, &self.of(provider));
        records.into_iter().map(Message::from).collect()
    }
}

/// A schema and queues of one row's own.
pub struct Place {
    pub postgres: String,
    pub schema: String,
    pub queues: Queues,
    /// The sink, where it is Kafka.
    pub topics: Option<Topics>,
    /// The second sink, where there is one.
    pub second: Option<Topics>,
    /// Messages of topics that were deleted later.
    kept: Vec<Message>,
    /// The store, where it is a file.
    pub sqlite: Option<PathBuf>,
    /// The store was lost and came out of a backup.
    pub is_restored: bool,
    role: Option<String>,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct Named {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    event_id: String,
    #[diesel(sql_type = Nullable<Binary>)]
    digest: Option<Vec<u8>>,
}

impl Place {
    /// Fresh ones.
    pub fn on(postgres: &str, rabbitmq: &str) -> Self {
        let schema = format!("campaign_{}", uuid::Uuid::now_v7().simple());
        Self {
            postgres: postgres.to_owned(),
            schema,
            queues: Queues::new(&one_node(rabbitmq)),
            topics: None,
            second: None,
            kept: Vec::new(),
            sqlite: None,
            is_restored: false,
            role: None,
        }
    }

    /// Makes a role that may log in and owns the schema. Returns its name.
    pub fn plain_role(&mut self) -> String {
        let (schema, role) = (&self.schema, format!("{}_role", self.schema));
        self.execute(&format!(
            "create role {role} login; create schema {schema} authorization {role}"
        ));
        self.role = Some(role.clone());
        role
    }

    /// Makes exchange and queues, as an operator would who wants no more than that.
    pub async fn declare(&self) {
        let (connection, channel) = self.queues.channel().await;
        let (exchange, queue) = (self.queues.exchange.as_str(), self.queues.events.as_str());
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .exchange_declare(
                exchange.into(),
                ExchangeKind::Topic,
                durable,
                FieldTable::default(),
            )
            .await
            .expect("an exchange");
        for name in [queue, self.queues.unrouted.as_str()] {
            let durable = QueueDeclareOptions {
                durable: true,
                ..Default::default()
            };
            channel
                .queue_declare(name.into(), durable, FieldTable::default())
                .await
                .expect("a queue");
        }
        channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                "#".into(),
                Default::default(),
                FieldTable::default(),
            )
            .await
            .expect("bound");
        let _ = connection.close(200, "done".into()).await;
    }

    fn connect(&self) -> PgConnection {
        let mut connection = self.establish();
        connection
            .batch_execute(&format!("set search_path to {}", self.schema))
            .expect("a search path");
        connection
    }

    /// Returns a connection to a PostgreSQL that may be coming up, or have no place for it yet.
    fn establish(&self) -> PgConnection {
        let since = Instant::now();
        loop {
            match PgConnection::establish(&self.postgres) {
                Ok(connection) => return connection,
                Err(error) if since.elapsed() > TO_RECOVER => {
                    panic!("PostgreSQL does not answer the campaign: {error}")
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Runs SQL in the row's schema.
    pub fn execute(&self, sql: &str) {
        blocking(|| self.connect().batch_execute(sql))
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// A number that SQL in the row's store gives, as `value`.
    pub fn number(&self, sql: &str) -> i64 {
        let query = diesel::sql_query(sql);
        let number = blocking(|| match &self.sqlite {
            None => query.get_result::<Number>(&mut self.connect()),
            Some(file) => query.get_result(&mut open(file)),
        });
        number
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
            .value
    }

    /// A connection for what a row does to the database over a while.
    pub fn connection(&self) -> PgConnection {
        blocking(|| self.connect())
    }

    /// The same, or none where PostgreSQL takes no more.
    pub fn try_connection(&self) -> Option<PgConnection> {
        blocking(|| PgConnection::establish(&self.postgres)).ok()
    }

    /// The newest row that there ever was.
    pub fn newest(&self) -> i64 {
        self.number("select coalesce(max(seq), 0) as value from event")
    }

    /// Rows in the outbox up to that one.
    pub fn waiting(&self, newest: i64) -> i64 {
        self.number(&format!(
            "select count(*) as value from outbox where seq <= {newest}"
        ))
    }

    /// Every message that came out, the number of those that nothing was bound for, and what the store keeps.
    pub async fn collect(&self) -> (Arrivals, usize, Kept) {
        let (mut arrivals, mut unrouted) = (Arrivals::default(), 0);
        if self.is_restored {
            arrivals = Arrivals::of_several_receipts();
        }
        if let Some(topics) = &self.topics {
            self.kept.iter().for_each(|message| arrivals.add(message));
            blocking(|| topics.read(|message| arrivals.add(&message)));
        } else {
            self.queues
                .empty(&self.queues.events, |message| arrivals.add(&message))
                .await;
            self.queues
                .empty(&self.queues.unrouted, |message| {
                    unrouted += 1;
                    arrivals.add(&message);
                })
                .await;
        }
        (arrivals, unrouted, self.kept_by_store())
    }

    fn kept_by_store(&self) -> Kept {
        let parked = self.named(
            "select event.source, event.event_id, null as digest from parked join event using (seq)",
        );
        let conflicts = self.named("select source, event_id, digest from conflict");
        Kept {
            parked: parked
                .into_iter()
                .map(|row| format!("{} {}", row.source, row.event_id))
                .collect(),
            conflicts: conflicts
                .into_iter()
                .map(|row| {
                    let digest = row.digest.expect("a digest");
                    let digest = digest.try_into().expect("a SHA-256");
                    (row.source, row.event_id, digest)
                })
                .collect(),
        }
    }

    fn named(&self, sql: &str) -> Vec<Named> {
        let query = diesel::sql_query(sql);
        let rows = blocking(|| match &self.sqlite {
            None => query.load(&mut self.connect()),
            Some(file) => query.load(&mut open(file)),
        });
        rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Takes the messages of a topic before it is deleted.
    pub fn keep(&mut self, provider: Provider) {
        let topics = self.topics.as_ref().expect("topics");
        self.kept.extend(blocking(|| topics.read_one(provider)));
    }

    /// Every message that came out at the second sink, if there is one.
    pub fn collect_second(&self) -> Option<Arrivals> {
        let topics = self.second.as_ref()?;
        let mut arrivals = Arrivals::default();
        blocking(|| topics.read(|message| arrivals.add(&message)));
        Some(arrivals)
    }

    /// Leaves the servers as they were.
    pub async fn remove(&self) {
        self.queues.delete().await;
        self.execute(&format!("drop schema if exists {} cascade", self.schema));
        if let Some(role) = &self.role {
            self.execute(&format!("drop owned by {role}; drop role {role}"));
        }
    }
}

/// Opens the store beside the service that has it.
fn open(file: &Path) -> SqliteConnection {
    let mut connection =
        SqliteConnection::establish(&file.to_string_lossy()).expect("the store is there");
    connection
        .batch_execute("PRAGMA busy_timeout = 10000")
        .expect("a timeout");
    connection
}

/// Runs SQL on a connection that is kept.
pub fn execute(connection: &mut PgConnection, sql: &str) {
    connection
        .batch_execute(sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The same URL with the first of its hosts alone.
fn one_node(url: &str) -> String {
    let Some((before, rest)) = url.split_once(',') else {
        return url.to_owned();
    };
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    format!("{before}{path}")
}

/// The same URL by way of another address.
pub fn by_way_of(url: &str, proxy: SocketAddr) -> String {
    url.replace(&address(url).to_string(), &proxy.to_string())
}
