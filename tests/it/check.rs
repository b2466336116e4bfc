//! `hookweir check` and `/readyz` where the database or the broker is not as it must be: check finds what a start would meet, and changes
//! nothing.

mod with_servers {
    use std::process::Command;
    use std::time::Duration;

    use diesel::connection::SimpleConnection as _;
    use diesel::{Connection as _, PgConnection};
    use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
    use lapin::types::{AMQPValue, FieldTable};
    use lapin::{BasicProperties, ExchangeKind};

    use crate::publish_rig::{Rig, amqp, event, wait, with_rabbitmq};
    use hookweir_testkit::app::App;
    use hookweir_testkit::load::client;
    use hookweir_testkit::servers::{self, Server};
    use hookweir_testkit::sink::{self, Queues};

    /// Runs a command of the program in a folder of its own: its exit code, and what it printed.
    fn hookweir(args: &[&str], sets: &[String]) -> (Option<i32>, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hookweir"));
        command.args(args).current_dir(folder.path()).env_clear();
        for set in sets {
            command.args(["--set", set]);
        }
        let output = command.output().expect("the program runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr),
        )
    }

    fn name(prefix: &str) -> String {
        format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
    }

    /// A database and a login of a test's own on the shared server.
    struct Database {
        name: String,
        role: String,
        server: String,
    }

    impl Database {
        fn new() -> Self {
            let server = servers::postgres();
            let database = Self {
                name: name("check"),
                role: name("role"),
                server,
            };
            database.on_server(&[
                &format!("CREATE ROLE {} LOGIN", database.role),
                &format!("CREATE DATABASE {}", database.name),
            ]);
            database
        }

        fn url_of(&self, role: &str, database: &str) -> String {
            let (login, _) = self.server.rsplit_once('/').expect("a URL with a database");
            format!("{login}/{database}")
                .replace("postgres://postgres@", &format!("postgres://{role}@"))
        }

        fn url(&self) -> String {
            self.url_of(&self.role, &self.name)
        }

        fn on_server(&self, statements: &[&str]) {
            let mut connection = PgConnection::establish(&self.server).expect("PostgreSQL answers");
            statements
                .iter()
                .for_each(|statement| connection.batch_execute(statement).expect(statement));
        }

        fn execute(&self, statement: &str) {
            let mut connection = PgConnection::establish(&self.url_of("postgres", &self.name))
                .expect("PostgreSQL answers");
            connection.batch_execute(statement).expect(statement);
        }

        fn check(&self, more: &[&str]) -> (Option<i32>, String) {
            let sets = std::iter::once(format!("store.url={}", self.url()))
                .chain(more.iter().map(|set| (*set).to_owned()));
            hookweir(&["check"], &sets.collect::<Vec<_>>())
        }
    }

    impl Drop for Database {
        fn drop(&mut self) {
            if let Ok(mut connection) = PgConnection::establish(&self.server) {
                let _ =
                    connection.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name));
                let _ = connection
                    .batch_execute(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.role));
            }
        }
    }

    #[test]
    fn a_role_without_rights_fails_check_with_the_statements_that_give_them() {
        let database = Database::new();
        let refused = |more: &[&str], said: &[&str]| {
            let (code, text) = database.check(more);
            assert_eq!(code, Some(69), "{said:?}: {text}");
            said.iter()
                .for_each(|said| assert!(text.contains(said), "{said} is not in {text}"));
            text
        };
        refused(
            &[],
            &[&format!(
                "GRANT CREATE ON DATABASE \"{}\" TO \"{}\"",
                database.name, database.role
            )],
        );
        let (code, text) = hookweir(
            &["migrate"],
            &[format!(
                "store.url={}",
                database.url_of("postgres", &database.name)
            )],
        );
        assert_eq!(code, Some(0), "{text}");
        refused(
            &["store.migrate=check"],
            &["lacks USAGE on the schema", "GRANT USAGE ON SCHEMA"],
        );
        database.execute(&format!(
            "GRANT USAGE ON SCHEMA hookweir TO {}",
            database.role
        ));
        database.execute(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA hookweir TO {}",
            database.role
        ));
        let text = refused(&["store.migrate=check"], &["lacks USAGE on event_seq: "]);

        // What it says to run is enough.
        let (_, statements) = text.split_once("event_seq: ").expect("statements");
        database.execute(statements.lines().next().expect("a line"));
        let (code, text) = database.check(&["store.migrate=check"]);
        assert!(
            code == Some(0) && text.contains("and the role has all rights"),
            "{text}"
        );

        database.execute(&format!(
            "REVOKE INSERT ON hookweir.event, hookweir.outbox FROM {}",
            database.role
        ));
        refused(&[], &["lacks INSERT on event, INSERT on outbox"]);
        database.execute(&format!(
            "GRANT INSERT ON hookweir.event, hookweir.outbox TO {}",
            database.role
        ));
        database.execute(&format!(
            "REVOKE ALL ON hookweir.sink_holder FROM {}",
            database.role
        ));
        let said = "lacks SELECT on sink_holder, INSERT on sink_holder, UPDATE on sink_holder";
        refused(&[], &[said]);
    }

    #[test]
    fn a_database_that_takes_no_writes_or_not_all_characters_fails_check() {
        let database = Database::new();
        database.execute(&format!(
            "GRANT CREATE ON DATABASE {} TO {}",
            database.name, database.role
        ));
        assert_eq!(database.check(&[]).0, Some(0), "a start may migrate");
        database.on_server(&[&format!(
            "ALTER DATABASE {} SET default_transaction_read_only = on",
            database.name
        )]);
        // With several hosts the client library refuses it by itself.
        for more in ["", "?target_session_attrs=any"] {
            let (code, text) = database.check(&[&format!("store.url={}{more}", database.url())]);
            assert!(
                code == Some(69) && text.contains("read") && text.contains("only"),
                "{text}"
            );
        }
        let latin = name("latin");
        database.on_server(&[&format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")]);
        let (code, text) = database.check(&[&format!(
            "store.url={}",
            database.url_of("postgres", &latin)
        )]);
        database.on_server(&[&format!("DROP DATABASE {latin}")]);
        assert!(
            code == Some(69) && text.contains("encoding is LATIN1"),
            "{text}"
        );
    }

    #[test]
    fn check_says_if_a_promoted_standby_can_lack_events() {
        let pair = Server::postgres_pair();
        let store = [format!("store.url={}", pair.url)];
        let (code, text) = hookweir(&["migrate"], &store);
        assert_eq!(code, Some(0), "{text}");
        let (code, text) = hookweir(&["check"], &store);
        assert!(
            code == Some(0) && text.contains("a promoted one has every event"),
            "{text}"
        );
        let mut connection = PgConnection::establish(&pair.url).expect("PostgreSQL answers");
        let alone = "ALTER SYSTEM SET synchronous_standby_names = ''";
        for statement in [alone, "SELECT pg_reload_conf()"] {
            connection.batch_execute(statement).expect(statement);
        }
        // The server's processes read a new setting one after the other.
        wait("check to say that no commit waits", || {
            let (code, text) = hookweir(&["check"], &store);
            code == Some(0)
                && text.contains("events that were answered 2xx just before may be missing")
        });
    }

    /// One event, which is answered 200 whatever the store says: the spool takes it.
    async fn take_one(app: &App, id: &str) {
        let url = format!("http://{}/ingest/s", app.listen);
        let answer = client()
            .post(url)
            .body(format!("{{\"id\":\"{id}\"}}"))
            .send()
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 200, "{}", app.log());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_was_never_reached_is_not_ready_and_loses_nothing() {
        let database = Database::new();
        let missing = name("missing");
        let source = "[[source]]\nname = \"s\"\nprovider = \"none\"\n";
        let config = format!(
            "store.url = \"{}\"\n{source}",
            database.url_of("postgres", &missing)
        );
        let mut app = App::launch(&config).await;
        take_one(&app, "1").await;
        let why = app.not_ready().await;
        assert!(
            why.contains("never reached")
                && why.contains("does not exist")
                && why.contains("create it"),
            "{why}"
        );
        assert!(
            why.contains("deliveries are still accepted"),
            "it says that deliveries are taken: {why}"
        );
        database.on_server(&[&format!("CREATE DATABASE {missing}")]);
        app.ready().await;
        sink::files_hold(&app.events(), 1).await;

        // A restart in mid-outage is as ready as the process before it: this disk knows that the store was reached.
        assert!(app.stop().await.success());
        let away = [&format!("ALTER DATABASE {missing} WITH ALLOW_CONNECTIONS false")[..]];
        database.on_server(&away);
        app.start_again().await;
        app.ready().await;
        let health = app.health().await;
        assert!(
            health.contains("not currently accepting connections") && health.contains("degraded"),
            "{health}"
        );
        take_one(&app, "2").await;
        database.on_server(&[&format!(
            "ALTER DATABASE {missing} WITH ALLOW_CONNECTIONS true"
        )]);
        app.until_healthy().await;
        sink::files_hold(&app.events(), 2).await;
        assert!(app.stop().await.success());
        database.on_server(&[&format!("DROP DATABASE {missing} WITH (FORCE)")]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rights_that_are_taken_away_make_the_service_not_ready_until_they_are_back() {
        let database = Database::new();
        database.execute(&format!(
            "GRANT CREATE ON DATABASE {} TO {}",
            database.name, database.role
        ));
        let config = format!(
            "store.url = \"{}\"\n[[source]]\nname = \"s\"\nprovider = \"none\"\n",
            database.url()
        );
        let app = App::start(&config).await;
        take_one(&app, "1").await;
        database.execute(&format!(
            "REVOKE INSERT ON hookweir.event FROM {}",
            database.role
        ));
        take_one(&app, "2").await;
        let why = app.not_ready().await;
        assert!(
            why.contains("lacks INSERT on event") && why.contains("GRANT"),
            "{why}"
        );
        assert!(
            !why.contains(&database.role),
            "who logs in is not for everybody to read: {why}"
        );
        take_one(&app, "3").await;
        database.execute(&format!(
            "GRANT INSERT ON hookweir.event TO {}",
            database.role
        ));
        app.ready().await;
        sink::files_hold(&app.events(), 3).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topology_that_does_not_fit_fails_check_and_stays_as_it_was() {
        let queues = Queues::new(&servers::amqp());
        let (connection, channel) = queues.channel().await;
        let exchange = |suffix: &str| format!("{}-{suffix}", queues.exchange);
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        for (suffix, kind) in [
            ("direct", ExchangeKind::Direct),
            ("topic", ExchangeKind::Topic),
        ] {
            channel
                .exchange_declare(
                    exchange(suffix).into(),
                    kind,
                    durable,
                    FieldTable::default(),
                )
                .await
                .expect("declared");
        }
        let mut ttl = FieldTable::default();
        ttl.insert("x-message-ttl".into(), AMQPValue::LongInt(60_000));
        channel
            .queue_declare(
                queues.events.as_str().into(),
                QueueDeclareOptions::durable(),
                ttl,
            )
            .await
            .expect("declared");

        let check = |sets: &[String]| {
            let fixed = [
                format!("publisher.url={}", servers::amqp()),
                format!("publisher.exchange={}", queues.exchange),
                format!("publisher.unrouted_queue={}", queues.unrouted),
                format!("publisher.queue={}-none", queues.events),
            ];
            hookweir(&["check"], &[&fixed[..], sets].concat())
        };
        for (sets, said) in [
            (
                vec![format!("publisher.exchange={}", exchange("direct"))],
                "name another exchange in publisher.exchange",
            ),
            (
                vec![format!("publisher.exchange={}", exchange("topic"))],
                "rabbitmqctl set_policy",
            ),
            (
                vec![format!("publisher.queue={}", queues.events)],
                "publisher.queue_type",
            ),
        ] {
            let (code, text) = check(&sets);
            assert!(
                code == Some(69) && text.contains("of another kind") && text.contains(said),
                "{sets:?}: {text}"
            );
        }
        let (code, text) = check(&[]);
        assert!(
            code == Some(0)
                && text.contains("is missing; it will be declared")
                && text.contains("has the rights"),
            "{text}"
        );
        assert!(!text.contains("guest:guest"), "{text}");
        let passive = ExchangeDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let there = channel
            .exchange_declare(
                queues.exchange.as_str().into(),
                ExchangeKind::Topic,
                passive,
                FieldTable::default(),
            )
            .await;
        assert!(there.is_err(), "check has declared nothing");
        let _ = connection.close(200, "done".into()).await;
    }

    #[test]
    fn a_broker_user_without_rights_fails_check_and_readiness_says_that_events_wait() {
        let server = Server::rabbitmq();
        let queues = Queues::new(&server.url);
        let url = server.url.replace("guest:guest", "app:hunter2");
        let permit = |configure: &str, write: &str, read: &str| {
            server.ctl(&["set_permissions", "-p", "/", "app", configure, write, read]);
        };
        server.ctl(&["add_user", "app", "hunter2"]);
        let check = |more: &[&str]| {
            let sets = [
                format!("publisher.url={url}"),
                format!("publisher.exchange={}", queues.exchange),
                format!("publisher.queue={}", queues.events),
                format!("publisher.unrouted_queue={}", queues.unrouted),
            ];
            let more: Vec<String> = more.iter().map(|set| (*set).to_owned()).collect();
            let (code, text) = hookweir(&["check"], &[&sets[..], &more].concat());
            assert!(!text.contains("hunter2"), "{text}");
            (code, text)
        };
        // Nothing is there yet.
        for (configure, write, read) in [("^$", ".*", ".*"), (".*", "^$", ".*"), (".*", ".*", "^$")]
        {
            permit(configure, write, read);
            let (code, text) = check(&[]);
            assert!(
                code == Some(69)
                    && text.contains("refused for user")
                    && text.contains("set_permissions"),
                "{text}"
            );
        }
        permit(".*", ".*", ".*");
        assert_eq!(check(&[]).0, Some(0));

        let rig = Rig::start(&amqp(&url, &queues.exchange));
        rig.up();
        rig.accept(event("s", "1", b"{}"));
        rig.drained();
        assert_eq!(
            check(&[]).0,
            Some(0),
            "what is there is as it would be declared"
        );
        assert_eq!(rig.stop(Duration::from_secs(5)), 0);
        permit(".*", "^$", ".*");
        let (code, text) = check(&["publisher.declare=false"]);
        assert!(code == Some(69) && text.contains("publishing to"), "{text}");
        // The broker asks for a right once for each channel, so this is what a service meets that connects anew.
        let rig = Rig::start(&with_rabbitmq(amqp(&url, &queues.exchange), |rabbitmq| {
            rabbitmq.declare = false
        }));
        rig.up();
        rig.accept(event("s", "2", b"{}"));
        wait("health to say why events wait", || {
            rig.why_not().contains("events wait in the outbox") && rig.why_not().contains("refused")
        });
        permit(".*", ".*", ".*");
        rig.drained();
        wait("health to be ready again", || rig.why_not() == "Ready");
        assert_eq!(rig.stop(Duration::from_secs(5)), 0);
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        assert_eq!(
            runtime.block_on(queues.count(&queues.events)),
            2,
            "the probes of check are no messages"
        );
    }

    /// A broker that takes the probe of `check` would have a message that nobody sent.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_publish_with_a_wrong_expiration_is_refused_by_the_broker() {
        let queues = Queues::new(&servers::amqp());
        let (_connection, channel) = queues.channel().await;
        channel
            .confirm_select(lapin::options::ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        let never = BasicProperties::default().with_expiration("no number".into());
        let confirm = channel
            .basic_publish(
                "amq.topic".into(),
                "x".into(),
                Default::default(),
                b"",
                never,
            )
            .await
            .expect("sent");
        assert!(confirm.await.is_err(), "the probe of check is a message");
    }
}
