//! The service itself: nothing breaks, it dies, it forgets; two of them get in each other's way.

use std::process::ExitStatus;
use std::time::{Duration, Instant};

use hookweir::faults::points::{POINTS, SPOOL_POINTS};

use super::Row;
use crate::scene::{Felt, Scene, Setup};
use crate::verdict::Figures;
use crate::world::blocking;
use hookweir_testkit::load::client;
use hookweir_testkit::log_reader::LogReader;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::proxy::Line;

pub const ROWS: &[Row] = &[
    Row::new(
        "calm",
        "nothing breaks",
        |scene| Box::pin(none(scene)),
        Figures::UNHARMED,
    ),
    Row::new(
        "kill",
        "the service is killed (-9) every 0.2-2 s, and started again",
        |scene| Box::pin(kill(scene)),
        Figures::DOWN,
    ),
    Row::new(
        "cache-off",
        "no cache of recent keys",
        |scene| Box::pin(none(scene)),
        Figures::UNHARMED,
    )
    .with(|setup| {
        setup.without_spool();
        setup.set("dedup.cache_entries", 0);
    }),
    Row::new(
        "cache-one",
        "a cache of one key",
        |scene| Box::pin(none(scene)),
        Figures::UNHARMED,
    )
    .with(|setup| {
        setup.without_spool();
        setup.set("dedup.cache_entries", 1);
    }),
    Row::new(
        "cache-wiped",
        "a cache that forgets everything 20 times a second",
        |scene| Box::pin(wiped(scene)),
        Figures::UNHARMED,
    )
    .with(Setup::without_spool),
    Row::new(
        "panic",
        "an actor panics",
        |scene| Box::pin(panic(scene)),
        Figures::DOWN,
    ),
    Row::new(
        "race",
        "two instances get every delivery at the same time",
        |scene| Box::pin(race(scene)),
        Figures::UNHARMED,
    )
    .with(|setup| {
        setup.without_spool();
        (setup.instances, setup.everywhere, setup.rate) = (2, true, Some(0.0));
    }),
    Row::new(
        "two-kill",
        "two instances, one of them killed again and again",
        |scene| Box::pin(kill(scene)),
        Figures::DOWN,
    )
    .with(|setup| setup.instances = 2),
    Row::new(
        "two-frozen",
        "two instances, one frozen (SIGSTOP) for 60 s with events in its hands",
        |scene| Box::pin(frozen(scene)),
        Figures {
            in_time: false,
            ..Figures::DOWN
        },
    )
    .with(|setup| {
        setup.instances = 2;
        // The default.
        setup.set("store.lease_secs", 15);
    }),
    Row::new(
        "two-cut-off",
        "two instances, one cut off from PostgreSQL",
        |scene| Box::pin(cut_off(scene)),
        Figures {
            accepted_twice: true,
            ..Figures::HARDLY
        },
    )
    .with(|setup| (setup.instances, setup.proxy_postgres) = (2, true))
    .felt(Felt::Counter("hookweir_spooled_total", &[], 1)),
    Row::new(
        "deaths",
        "the service dies at each named point on the way of an event",
        |scene| Box::pin(deaths(scene)),
        DEATHS,
    ),
    Row::new(
        "clock",
        "two instances, the clock of one ten minutes fast, then ten minutes slow",
        |scene| Box::pin(clock(scene)),
        // RabbitMQ stands still meanwhile. A clock must not make copies of what it confirmed in time.
        Figures {
            copies_of_the_unconfirmed: true,
            ..Figures::UNHARMED
        },
    )
    // Signatures with a time are refused by a clock that is off. These have none.
    .with(|setup| {
        setup.without_spool();
        (setup.instances, setup.providers) = (2, vec![Provider::Github, Provider::Shopify]);
    }),
    Row::new(
        "restarts",
        "100 restarts in order, the listening socket handed over",
        |scene| Box::pin(restarts(scene)),
        Figures {
            copies: false,
            taken: 99.0,
            ..Figures::UNHARMED
        },
    )
    .with(|setup| {
        setup.without_spool();
        setup.activated = true;
    }),
    Row::new(
        "log-gone",
        "the reader of the log goes away",
        |scene| Box::pin(log_unread(scene, LogReader::goes_away)),
        Figures::UNHARMED,
    )
    .with(talkative)
    .felt(LOG_FELT),
    Row::new(
        "log-stalled",
        "the reader of the log stands still",
        |scene| Box::pin(log_unread(scene, LogReader::stands_still)),
        Figures::UNHARMED,
    )
    .with(talkative)
    .felt(LOG_FELT),
    Row::new(
        "log-disk-full",
        "the log's disk is full",
        |scene| Box::pin(log_disk_full(scene)),
        Figures::UNHARMED,
    )
    .with(|setup| {
        talkative(setup);
        setup.log_disk = Some(64 << 10);
    })
    .felt(LOG_FELT),
];

/// Shortest time for which nobody reads the log.
const LOG_AWAY: Duration = Duration::from_secs(8);
/// Accepted deliveries that fill the queue in front of a log (8,192 lines) and a pipe, at a line each.
const LOG_FULL: usize = 10_000;
/// Longest wait for those deliveries, on a slow machine or with a service that stands still.
const LOG_PATIENCE: Duration = Duration::from_secs(240);
/// Time without one more of them after which the service stands still.
const LOG_STILL: Duration = Duration::from_secs(15);
const LOG_FELT: Felt = Felt::Counter("hookweir_log_lines_dropped_total", &[], 1);

/// So many lines that the queue in front of a log is full within seconds.
fn talkative(setup: &mut Setup) {
    setup.set("log.deliveries", "\"all\"");
    setup.set("log.filter", "\"trace\"");
}

/// The spool's own points are passed while the database cannot be asked, and an event that it has may be told "accepted" once more.
const DEATHS: Figures = Figures {
    accepted_twice: true,
    ..Figures::DOWN
};

async fn none(scene: &mut Scene<'_>) {
    scene.calm().await;
    scene.calm().await;
}

async fn kill(scene: &mut Scene<'_>) {
    for _ in 0..10 {
        scene.wait(200..2000).await;
        scene
            .fault(async |scene| {
                scene.kill(0);
                scene.apps[0].start_again().await;
            })
            .await;
    }
    scene.apps[0].ready().await;
}

/// Makes the store take its time for each key, so that batches of two instances meet.
const SLOW_KEYS: &str = "drop trigger if exists slow on dedup; create or replace function slow() returns trigger language plpgsql as
     $$ begin perform pg_sleep(0.002); return new; end $$;
     create trigger slow before insert on dedup for each row execute function slow()";

/// As fast as it goes, so that the batches of both are long and have many keys in common. The control's batches take longer.
async fn race(scene: &mut Scene<'_>) {
    if scene.careless {
        scene.place.execute(SLOW_KEYS);
    }
    let deadlocks =
        "select deadlocks as value from pg_stat_database where datname = current_database()";
    let before = scene.place.number(deadlocks);
    scene.calm().await;
    scene.calm().await;
    let twice = scene.apps[0]
        .metrics()
        .await
        .sum("hookweir_outcomes_total", &["outcome=\"duplicate\""]);
    scene.demand(
        "felt: deliveries that the other instance had too",
        twice > 100,
        twice.to_string(),
    );
    // Told with a delay of a second at most.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let deadlocks = scene.place.number(deadlocks) - before;
    scene.demand("no deadlocks", deadlocks == 0, deadlocks.to_string());
}

async fn wiped(scene: &mut Scene<'_>) {
    let (client, forget) = (
        client(),
        format!("http://{}/control/forget", scene.apps[0].admin),
    );
    for _ in 0..80 {
        let answer = client
            .post(&forget)
            .send()
            .await
            .expect("the admin port answers");
        assert!(
            answer.status().is_success(),
            "a build without the feature failpoints cannot forget"
        );
        scene.wait(40..60).await;
    }
}

fn tells_of_panic(scene: &Scene<'_>) -> bool {
    let log = scene.apps[0].log();
    log.lines()
        .any(|line| line.contains("ERROR") && line.contains("panic"))
}

/// The process has to end by itself; the campaign is its service manager. It is armed by a restart, so that it dies within the fault's window.
async fn panic(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            scene.apps[0].stop().await;
            scene.apps[0]
                .set_environment(&[("FAILPOINTS", "dedup_committed=100*off->panic".into())]);
            scene.apps[0].start_again().await;
            let armed = Instant::now();
            while !tells_of_panic(scene) && armed.elapsed() < Duration::from_secs(60) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let since = Instant::now();
            let status = scene.apps[0].ended(Duration::from_secs(60)).await;
            let took = since.elapsed();
            scene.demand(
                "ends with exit code 70",
                status.code() == Some(70),
                status.to_string(),
            );
            scene.demand_in_time(
                "ends within 5 s",
                took < Duration::from_secs(5),
                format!("{} ms", took.as_millis()),
            );
            scene.apps[0].clear_environment();
            scene.apps[0].start_again().await;
            scene.apps[0].ready().await;
        })
        .await;
}

/// The broker stands still for a moment first, so that the one that is frozen has events in its hands.
async fn frozen(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            blocking(|| scene.servers.rabbitmq.pause());
            scene.wait(400..600).await;
            let paused = Instant::now();
            while scene.place.number(BY_OWNER) < 2 && paused.elapsed() < Duration::from_secs(30) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            scene.apps[0].signal("STOP");
            let stopped = Instant::now();
            let newest = scene.place.newest();
            let held = scene.place.number(BY_OWNER);
            blocking(|| scene.servers.rabbitmq.resume());
            scene.demand(
                "felt: both have events in their hands",
                held == 2,
                held.to_string(),
            );
            while scene.place.waiting(newest) > 0 && stopped.elapsed() < Duration::from_secs(50) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let took = stopped.elapsed();
            scene.demand_in_time(
                "its events are taken over within 20 s",
                took < Duration::from_secs(20),
                format!("{} ms", took.as_millis()),
            );
            tokio::time::sleep(Duration::from_secs(60).saturating_sub(stopped.elapsed())).await;
            scene.apps[0].signal("CONT");
        })
        .await;
}

const BY_OWNER: &str = "select count(distinct owner) as value from outbox";

/// At its second passage each: so that there is a first that passed, and is to be found.
async fn deaths(scene: &mut Scene<'_>) {
    let points = || POINTS.iter().chain(SPOOL_POINTS);
    for point in points() {
        scene.apps[0].set_environment(&[("FAILPOINTS", format!("{point}=1*off->return"))]);
        scene
            .fault(async |scene| {
                // The last one died already.
                if scene.apps[0].is_running() {
                    scene.kill(0);
                }
                scene.apps[0].start_again().await;
                // Nothing leaves the spool unless something got in; a start may take seconds.
                let spooled = SPOOL_POINTS.contains(point).then(|| {
                    let mut connection = scene.place.connection();
                    blocking(|| {
                        crate::world::execute(
                            &mut connection,
                            "begin; lock table dedup in access exclusive mode",
                        )
                    });
                    connection
                });
                if let Some(connection) = spooled {
                    scene.wait(7000..8000).await;
                    drop(connection);
                }
                let status = scene.apps[0].ended(Duration::from_secs(60)).await;
                if status.code().is_some() {
                    scene.demand(format!("dies at {point}"), false, status.to_string());
                }
            })
            .await;
    }
    scene.apps[0].clear_environment();
    scene.apps[0].start_again().await;
    scene.apps[0].ready().await;
    let deaths = points().count();
    scene.demand(
        "dies at each point",
        scene.windows.len() >= deaths,
        format!("{} of {deaths}", scene.windows.len()),
    );
}

/// RabbitMQ stands still for longer than a lease meanwhile, so that leases are renewed and looked at by a clock that is off.
async fn clock(scene: &mut Scene<'_>) {
    for minutes in [10, -10] {
        scene
            .fault(async |scene| {
                super::host::set_clock(scene, minutes * 60_000).await;
                scene.wait(1000..2000).await;
                blocking(|| scene.servers.rabbitmq.pause());
                scene.wait(7000..8000).await;
                blocking(|| scene.servers.rabbitmq.resume());
            })
            .await;
        scene.recovered().await;
    }
}

/// No fault: a restart is something that nobody should notice.
async fn restarts(scene: &mut Scene<'_>) {
    for restart in 1..=100 {
        scene.weigh(0);
        let status = scene.apps[0].stop().await;
        if !status.success() {
            scene.demand(
                format!("restart {restart} stops in order"),
                false,
                status.to_string(),
            );
        }
        scene.apps[0].start_again().await;
        scene.apps[0].ready().await;
        scene.wait(50..200).await;
    }
}

async fn cut_off(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            scene.to_postgres[0].set(Line::Cut);
            scene.wait(7000..9000).await;
            scene.to_postgres[0].set(Line::Open);
        })
        .await;
}

/// Nobody reads the log for a while, or ever again; a line for each delivery is written.
async fn log_unread(scene: &mut Scene<'_>, harm: fn(&LogReader)) {
    scene
        .fault(async |scene| {
            let (taken, reader) = (scene.load().taken(), scene.apps[0].log_reader());
            harm(&reader);
            let ended = log_overflows(scene, taken).await;
            demand_going_on(scene, taken, ended);
            reader.reads();
            revive(scene).await;
        })
        .await;
}

async fn log_disk_full(scene: &mut Scene<'_>) {
    scene
        .fault(async |scene| {
            let taken = scene.load().taken();
            blocking(|| scene.log_disk.as_ref().expect("a disk of its own").fill());
            let ended = log_overflows(scene, taken).await;
            demand_going_on(scene, taken, ended);
            blocking(|| scene.log_disk.as_ref().expect("a disk of its own").free());
            revive(scene).await;
        })
        .await;
}

/// Waits until more lines were written than the log's queue holds, or the service stands still. Returns the status of a service that ended.
async fn log_overflows(scene: &mut Scene<'_>, taken: usize) -> Option<ExitStatus> {
    tokio::time::sleep(LOG_AWAY).await;
    let since = Instant::now();
    let (mut last, mut seen) = (scene.load().taken(), since);
    while last - taken < LOG_FULL && since.elapsed() < LOG_PATIENCE && seen.elapsed() < LOG_STILL {
        let ended = scene.apps[0].has_ended();
        if ended.is_some() {
            return ended;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = scene.load().taken();
        if now > last {
            (last, seen) = (now, Instant::now());
        }
    }
    scene.apps[0].has_ended()
}

/// Demands that the service runs and has taken events meanwhile.
fn demand_going_on(scene: &mut Scene<'_>, taken: usize, ended: Option<ExitStatus>) {
    let more = scene.load().taken() - taken;
    scene.demand(
        "takes events while its log is not read",
        more > 1000,
        more.to_string(),
    );
    scene.demand(
        "goes on running without its log",
        ended.is_none(),
        ended.map_or("it runs".into(), |status| status.to_string()),
    );
}

/// Starts the service again if it has ended, so that the rest of the account can be closed.
async fn revive(scene: &mut Scene<'_>) {
    if !scene.apps[0].is_running() {
        scene.apps[0].start_again().await;
        scene.apps[0].ready().await;
    }
}
