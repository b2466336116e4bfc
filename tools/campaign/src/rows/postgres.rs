//! PostgreSQL goes away in each of the ways it does. The spool takes its place, so that senders hardly notice.

use super::{Row, answers_are_cut, line_is};
use crate::scene::{Felt, Scene};
use crate::verdict::Figures;
use crate::world::blocking;
use hookweir_testkit::disk;
use hookweir_testkit::proxy::Line;

/// The spool was needed.
const SPOOLED: Felt = Felt::Counter("hookweir_spooled_total", &[], 1);
/// A commit failed, or nobody knows whether it did.
const FAILED: Felt = Felt::Counter("hookweir_commit_failures_total", &[], 1);

pub const ROWS: &[Row] = &[
    Row::new(
        "pg-kill",
        "PostgreSQL is killed, and started again after a second",
        |scene| Box::pin(kill(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED),
    Row::new(
        "both",
        "PostgreSQL is killed while RabbitMQ is frozen",
        |scene| Box::pin(both(scene)),
        Figures::HARDLY,
    )
    .felt(FAILED),
    Row::new(
        "power",
        "the service and PostgreSQL are killed at once, while RabbitMQ is frozen",
        |scene| Box::pin(power(scene)),
        Figures::DOWN,
    ),
    Row::new(
        "pg-stop",
        "PostgreSQL is stopped for the outage",
        |scene| Box::pin(stop(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED),
    Row::new(
        "pg-frozen",
        "PostgreSQL and its backends are frozen (SIGSTOP)",
        |scene| Box::pin(frozen(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED),
    Row::new(
        "pg-terminate",
        "every connection is terminated, again and again",
        |scene| Box::pin(terminate(scene)),
        Figures::HARDLY,
    )
    .felt(FAILED),
    Row::new(
        "pg-full",
        "max_connections is used up while connections end",
        |scene| Box::pin(full(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED),
    Row::new(
        "pg-locked",
        "the table of keys is locked",
        |scene| Box::pin(locked(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED),
    Row::new(
        "pg-silent",
        "the line to PostgreSQL passes nothing on",
        |scene| Box::pin(silent(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED)
    .with(|setup| setup.proxy_postgres = true),
    Row::new(
        "pg-ambiguous",
        "PostgreSQL commits, and its answer is cut off",
        |scene| Box::pin(ambiguous(scene)),
        Figures::HARDLY,
    )
    .felt(FAILED)
    .with(|setup| setup.proxy_postgres = true),
    Row::new(
        "pg-half-open",
        "the line to PostgreSQL keeps the answers back",
        |scene| Box::pin(half_open(scene)),
        Figures::HARDLY,
    )
    .felt(SPOOLED)
    .with(|setup| setup.proxy_postgres = true),
    Row::new(
        "pg-slow",
        "the line to PostgreSQL passes 100 KB a second",
        |scene| Box::pin(slow(scene)),
        Figures::HARDLY,
    )
    .felt(Felt::Counter("hookweir_commit_seconds_sum", &[], 2))
    .with(|setup| setup.proxy_postgres = true),
    Row::new(
        "pg-disk",
        "PostgreSQL's disk is full",
        |scene| Box::pin(full_disk(scene)),
        Figures::HARDLY,
    )
    .felt(FAILED)
    .with(|setup| setup.small_disk = Some(256)),
    Row::new(
        "pg-pooler",
        "a transaction pooler, with neighbours that leave settings",
        |scene| Box::pin(pooler(scene)),
        Figures::HARDLY,
    )
    .with(|setup| setup.pooler = true),
];

async fn kill(scene: &mut Scene<'_>) {
    for _ in 0..2 {
        scene
            .fault(async |scene| {
                blocking(|| scene.servers.postgres.kill());
                scene.wait(500..1500).await;
                blocking(|| scene.servers.postgres.start());
            })
            .await;
        scene.recovered().await;
        scene.wait(200..1000).await;
    }
}

/// What was answered is nowhere else than in PostgreSQL when that dies.
async fn both(scene: &mut Scene<'_>) {
    for _ in 0..3 {
        scene
            .fault(async |scene| {
                blocking(|| scene.servers.rabbitmq.pause());
                scene.wait(500..1500).await;
                blocking(|| scene.servers.postgres.kill());
                blocking(|| scene.servers.postgres.start());
                blocking(|| scene.servers.rabbitmq.resume());
            })
            .await;
        scene.recovered().await;
        scene.wait(200..1000).await;
    }
}

/// What was answered is nowhere else than on PostgreSQL's disk, and nothing but its commit has brought it there.
async fn power(scene: &mut Scene<'_>) {
    scene
        .place
        .execute("alter system set wal_writer_delay = '10s'");
    scene.place.execute("select pg_reload_conf()");
    for _ in 0..3 {
        scene
            .fault(async |scene| {
                blocking(|| scene.servers.rabbitmq.pause());
                scene.wait(300..600).await;
                scene.kill(0);
                blocking(|| scene.servers.postgres.kill());
                blocking(|| scene.servers.postgres.start());
                blocking(|| scene.servers.rabbitmq.resume());
                scene.apps[0].start_again().await;
                scene.apps[0].ready().await;
            })
            .await;
        scene.recovered().await;
        scene.wait(200..1000).await;
    }
    scene.place.execute("alter system reset wal_writer_delay");
    scene.place.execute("select pg_reload_conf()");
}

async fn stop(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.postgres.stop());
            tokio::time::sleep(scene.options.outage()).await;
            blocking(|| scene.servers.postgres.start());
        })
        .await;
}

async fn frozen(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.postgres.pause());
            scene.wait(4000..6000).await;
            blocking(|| scene.servers.postgres.resume());
        })
        .await;
}

/// Left behind in whatever session the pooler gave it.
const LEFTOVERS: &[&str] = &[
    "set synchronous_commit = off",
    "deallocate all",
    "set synchronous_commit = off; set search_path to default",
    "set default_transaction_isolation = serializable",
    "set synchronous_commit = off; set default_transaction_isolation to default",
    "set search_path = pg_catalog",
    "set synchronous_commit = off; set search_path to default",
    "set statement_timeout = 1",
    "set synchronous_commit = off; set statement_timeout to default",
];

/// No fault, but for a service that believes in sessions.
async fn pooler(scene: &mut Scene<'_>) {
    scene.place.execute(
        "create table told (durable boolean); create function tell() returns trigger language plpgsql as
         $$ begin execute format('insert into %I.told values ($1)', tg_table_schema) using current_setting('synchronous_commit') = 'on';
         return new; end $$;
         create trigger tell before insert on dedup for each row execute function tell()",
    );
    let url = scene.pooler.as_ref().expect("it was asked for").url.clone();
    scene
        .fault(async |scene| {
            let began = std::time::Instant::now();
            let neighbours: Vec<_> = (0..3)
                .map(|first| {
                    let url = url.clone();
                    tokio::task::spawn_blocking(move || neighbour(&url, first, began))
                })
                .collect();
            for neighbour in neighbours {
                neighbour.await.expect("a neighbour");
            }
            let _ = scene;
        })
        .await;
    scene.recovered().await;
    let count = |what: &str| {
        scene
            .place
            .number(&format!("select count(*) as value from told where {what}"))
    };
    let (off, on) = (count("not durable"), count("durable"));
    scene.demand("no commit that is not durable", off == 0, format!("{off}"));
    scene.demand(
        "felt: commits by way of the pooler",
        on + off > 100,
        format!("{}", on + off),
    );
}

/// For three seconds only what fails nothing, so that each commit shows if it is durable; then everything, for five.
fn neighbour(url: &str, first: usize, began: std::time::Instant) {
    use diesel::Connection as _;
    use diesel::connection::SimpleConnection as _;
    let mut connection = diesel::PgConnection::establish(url).expect("the pooler");
    for n in first.. {
        let left = match began.elapsed().as_secs() {
            0..3 => LEFTOVERS[0],
            3..8 => LEFTOVERS[n % LEFTOVERS.len()],
            _ => return,
        };
        // Some fail, because of what another one has left.
        let _ = connection.batch_execute(left);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

const OTHERS: &str = "select pg_terminate_backend(pid) from pg_stat_activity
                      where pid <> pg_backend_pid() and backend_type = 'client backend'";

async fn terminate(scene: &mut Scene<'_>) {
    for _ in 0..5 {
        scene.fault(async |scene| scene.place.execute(OTHERS)).await;
        scene.wait(100..800).await;
    }
}

/// Connections of a superuser take the places that are kept for superusers too, so that nobody else gets in.
async fn full(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let mut taken = vec![scene.place.connection()];
            scene.place.execute(OTHERS_BUT_IDLE);
            while let Some(connection) = scene.place.try_connection() {
                taken.push(connection);
            }
            scene.wait(3000..4000).await;
        })
        .await;
}

/// Those of the service; what this process has taken by now is idle and stays.
const OTHERS_BUT_IDLE: &str = "select pg_terminate_backend(pid) from pg_stat_activity
                               where pid <> pg_backend_pid() and application_name like 'hookweir%'";

async fn locked(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let mut connection = scene.place.connection();
            blocking(|| {
                crate::world::execute(
                    &mut connection,
                    "begin; lock table dedup in access exclusive mode",
                )
            });
            scene.wait(3000..4000).await;
        })
        .await;
}

async fn silent(scene: &mut Scene<'_>) {
    line_is(
        scene,
        |scene| &scene.to_postgres[0],
        Line::Silent,
        4000..6000,
    )
    .await;
}

/// PostgreSQL hears, does, and is not heard.
async fn half_open(scene: &mut Scene<'_>) {
    line_is(
        scene,
        |scene| &scene.to_postgres[0],
        Line::HalfOpen,
        4000..6000,
    )
    .await;
}

async fn slow(scene: &mut Scene<'_>) {
    line_is(
        scene,
        |scene| &scene.to_postgres[0],
        Line::Slow(100),
        6000..8000,
    )
    .await;
}

/// Whether it goes on with errors or dies of it: it is whole again when there is room and it runs.
async fn full_disk(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let ballast = scene.servers.postgres.files().join("ballast");
            blocking(|| disk::fill(&ballast));
            scene.wait(8000..10_000).await;
            blocking(|| std::fs::remove_file(&ballast).expect("the ballast goes"));
            blocking(|| scene.servers.postgres.revive());
        })
        .await;
}

async fn ambiguous(scene: &mut Scene<'_>) {
    answers_are_cut(scene, |scene| &scene.to_postgres[0], 1..400).await;
}
